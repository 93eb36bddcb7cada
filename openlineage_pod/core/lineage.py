"""`lineage_run`: the decorator and context manager that put a run around a function or a block."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from functools import partial, update_wrapper
from os.path import basename, splitext
from typing import TYPE_CHECKING, Any

from openlineage_pod._guard import guarded
from openlineage_pod.core.current import NULL_RUN, activate, current_recorder, deactivate, make_run
from openlineage_pod.core.runtime import existing_runtime, runtime
from openlineage_pod.datasets.dataset import as_sources
from openlineage_pod.delivery.report import DeliveryReport

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Generator, Iterable, Iterator, Mapping
    from types import TracebackType
    from typing import ParamSpec, TypeVar, overload

    from openlineage_pod.core.run import LineageRun, RunRecorder
    from openlineage_pod.datasets.dataset import DatasetSource

    P = ParamSpec("P")
    R = TypeVar("R")
    OpenRun = Callable[[str], RunRecorder | None]

__all__ = ["LineageScope", "flush", "lineage_run"]

# Bits of a code object's flags (https://docs.python.org/3/library/inspect.html#inspect-module-co-flags), written out
# because importing inspect would cost the job 10 ms.
_GENERATOR, _COROUTINE, _ITERABLE_COROUTINE, _ASYNC_GENERATOR = 0x20, 0x80, 0x100, 0x200


_MAX_FLUSH = 3600.0


class LineageScope:
    """What `lineage_run(…)` returns: a decorator, and a context manager for `with` and `async with`.

    It holds the arguments and no state of a run: each call of the decorated function and each entry makes a run of its
    own, so concurrent, recursive and threaded use is safe.
    """

    def __init__(self, job_name: str | None = None, job_namespace: str | None = None, **options: Any) -> None:
        self._job_name = job_name
        self._job_namespace = job_namespace
        self._options = options
        # Runs entered with this object as a context manager and not left yet.
        self._entered: list[RunRecorder | None] = []

    def __call__(self, function: Callable[P, R], /) -> Callable[P, R]:
        """Decorate a function, method, coroutine function, generator function or asynchronous generator function.

        Raises:
            TypeError: `function` cannot be called (a classmethod or property: put this decorator below that one).

        """
        if not callable(function) or isinstance(function, type):
            kind = "class" if isinstance(function, type) else type(function).__name__
            raise TypeError(
                f"@lineage_run decorates a function or method, not a {kind}; "
                "below @classmethod or @property it does, and a job name goes as in @lineage_run('name')"
            )
        wrapper = _wrapper_for(function, partial(self._open, description=_first_paragraph(function)))
        return update_wrapper(wrapper, function)

    def __enter__(self) -> LineageRun:
        run = self._open(_command_name())
        self._entered.append(run)
        activate(run)
        return run.run if run is not None else NULL_RUN

    def __exit__(
        self, _kind: type[BaseException] | None, error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        _leave(self._left(), error)

    async def __aenter__(self) -> LineageRun:
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.__exit__(kind, error, traceback)

    def _open(self, default_name: str, description: str = "") -> RunRecorder | None:
        """Start a run, with this description of its job; return None where none is reported."""
        with guarded("start a lineage run"):
            current = runtime()
            if not current.settings.disabled:
                run = make_run(
                    current,
                    job_name=self._job_name,
                    job_namespace=self._job_namespace,
                    default_name=default_name,
                    description=description,
                    **self._options,
                )
                run.start()
                return run
        return None

    def _left(self) -> RunRecorder | None:
        """Return the run that is being left: the innermost active one of this context, if it was entered here."""
        run = current_recorder()
        while run is not None and run not in self._entered:
            run = run.enclosing
        with guarded("find the run that is being left"):
            if run is not None:
                self._entered.remove(run)
            else:
                run = self._entered.pop()  # entered in another context, as a fixture may be
        return run


if TYPE_CHECKING:

    @overload
    def lineage_run(function: Callable[P, R], /) -> Callable[P, R]: ...

    @overload
    def lineage_run(
        job_name: str | None = None,
        /,
        *,
        namespace: str | None = None,
        inputs: Iterable[DatasetSource] | DatasetSource = (),
        outputs: Iterable[DatasetSource] | DatasetSource = (),
        run_facets: Mapping[str, Any] | None = None,
        job_facets: Mapping[str, Any] | None = None,
    ) -> LineageScope: ...


def lineage_run(
    job_name: Any = None,
    /,
    *,
    namespace: str | None = None,
    inputs: Iterable[DatasetSource] | DatasetSource = (),
    outputs: Iterable[DatasetSource] | DatasetSource = (),
    run_facets: Mapping[str, Any] | None = None,
    job_facets: Mapping[str, Any] | None = None,
) -> Any:
    """Report the run of a function or of a block to the OpenLineage backend that the environment configures.

    Three forms::

        @lineage_run                                   # the job is named after the function
        def main(): ...

        @lineage_run("ingest_accounts", inputs=["postgres://warehouse:5432/crm.public.accounts"])
        def main(): ...                                # also async def, generators, async generators, methods

        with lineage_run("ingest_accounts") as run:    # also: async with
            run.add_output("s3://lake/accounts")

    The run starts (event START) when the body starts and ends with it:

    - COMPLETE: it returned, its generator was exhausted or closed, or it raised `SystemExit` with 0 or None;
    - FAIL, with the error's message and stack trace: any other exception, `SystemExit` with another code;
    - ABORT: `KeyboardInterrupt`, `asyncio.CancelledError`, SIGTERM;
    - FAIL or ABORT also after `run.fail(reason)` or `run.abort(reason)`.

    The parent is the enclosing run, else the one that the environment names (`OPENLINEAGE_CONTEXT`,
    `OPENLINEAGE_PARENT_ID` or `OPENLINEAGE_PARENT_RUN_ID` and `_JOB_NAME`), as Airflow's task does.

    The body's result, exception and exit status are exactly what they are without lineage. Events are delivered by a
    thread beside the job; at the end of the process at most `OPENLINEAGE_POD_FLUSH_TIMEOUT` seconds (5) are spent on
    what is left, and what cannot be delivered is printed on stderr. Within a body `current_run()` is its run.

    Args:
        job_name: The job's name. Default: `OPENLINEAGE_JOB_NAME` for an outermost run, else
            `<parent job name>.<function or command name>`.
        namespace: The job's namespace. Default: `OPENLINEAGE_NAMESPACE`, else the parent's, else `default`.
        inputs: Datasets the run reads: URIs, local paths, `(namespace, name)` pairs, `dataset(…)`, or
            openlineage-python's dataset objects. More can be added with `run.add_input`.
        outputs: Datasets the run writes, alike.
        run_facets: Run facets by key: openlineage-python's facet objects or dictionaries.
        job_facets: Job facets by key, alike.

    Returns:
        For the bare decorator the decorated function, else an object that decorates, and that is a context manager
        whose `with` and `async with` give the `LineageRun`.

    Raises:
        ConfigurationError: When the run starts, with `OPENLINEAGE_POD_STRICT=true` and a wrong setting.
        TypeError: When something is decorated that cannot be called.

    """
    if job_name is not None and not isinstance(job_name, str):
        return LineageScope()(job_name)
    return LineageScope(
        job_name,
        namespace,
        inputs=as_sources(inputs),
        outputs=as_sources(outputs),
        run_facets=run_facets,
        job_facets=job_facets,
    )


def flush(timeout: float | None = None) -> DeliveryReport:
    """Wait until the events so far are delivered, and say what became of the events of this process.

    Rarely needed: the end of the process flushes by itself. Never raises.

    Args:
        timeout: The longest wait in seconds; default: `OPENLINEAGE_POD_FLUSH_TIMEOUT` (5).

    """
    current = existing_runtime()
    if current is None:
        return DeliveryReport()
    # Not guarded: an exception that arrives in the wait is the job's own, such as that of its time limit.
    is_number = isinstance(timeout, (int, float)) and timeout == timeout  # noqa: PLR0124  not NaN
    return current.delivery.flush(min(timeout, _MAX_FLUSH) if is_number and timeout is not None else None)


def _command_name() -> str:
    """Return what the running command is called, without its extension: `nightly_script` for nightly_script.py."""
    name = splitext(basename(sys.argv[0]))[0] if sys.argv else ""
    return name if name and name != "-c" else "python"


def _first_paragraph(function: Any) -> str:
    """Return the first paragraph of a function's docstring as one line; empty if it has none."""
    inner = _inner(function)
    # An object that can be called inherits its docstring: its own says nothing of what a call does.
    text = getattr(inner, "__doc__", None) if _code_of(inner) is not None else None
    if not isinstance(text, str):
        return ""
    lines = [line.strip() for line in text.strip().splitlines()]
    return " ".join(lines[: lines.index("")] if "" in lines else lines)


def _inner(function: Any) -> Any:
    """Return what a `functools.partial` calls, or the function itself."""
    while isinstance(function, partial):
        function = function.func
    return function


def _wrapper_for(function: Callable[..., Any], open_run: OpenRun) -> Callable[..., Any]:
    """Return a wrapper of the same kind as `function`, so that an inspection sees no difference."""
    inner = _inner(function)
    name = getattr(inner, "__name__", type(inner).__name__)
    code = _code_of(inner) or _code_of(type(inner).__call__)
    flags = code.co_flags if code is not None else 0
    if flags & _ASYNC_GENERATOR:
        return _async_generator_wrapper(function, open_run, name)
    if flags & (_COROUTINE | _ITERABLE_COROUTINE):
        return _coroutine_wrapper(function, open_run, name)
    if flags & _GENERATOR:
        return _generator_wrapper(function, open_run, name)
    return _function_wrapper(function, open_run, name)


def _code_of(function: Any) -> Any:
    return getattr(getattr(function, "__func__", function), "__code__", None)


def _leave(run: RunRecorder | None, error: BaseException | None) -> None:
    """End a run, and make the one that encloses it the current one again."""
    if run is not None:
        deactivate(run, run.enclosing)
        run.close(error)


def _close(run: RunRecorder | None, error: BaseException | None) -> None:
    """End a run that is not the current one."""
    if run is not None:
        run.close(error)


@contextmanager
def _active(run: RunRecorder | None) -> Iterator[None]:
    """Make `run` the current one for a step of a generator, and then again the one of the consumer."""
    consumers = current_recorder()
    activate(run)
    try:
        yield
    finally:
        deactivate(run, consumers)


def _function_wrapper(function: Callable[..., Any], open_run: OpenRun, name: str) -> Callable[..., Any]:
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        run = open_run(name)
        activate(run)
        try:
            result = function(*args, **kwargs)
        except BaseException as error:
            _leave(run, error)
            raise
        _leave(run, None)
        return result

    return wrapper


def _coroutine_wrapper(function: Callable[..., Any], open_run: OpenRun, name: str) -> Callable[..., Any]:
    async def wrapper(*args: Any, **kwargs: Any) -> Any:
        run = open_run(name)
        activate(run)
        try:
            result = await function(*args, **kwargs)
        except BaseException as error:
            _leave(run, error)
            raise
        _leave(run, None)
        return result

    return wrapper


def _generator_wrapper(function: Callable[..., Any], open_run: OpenRun, name: str) -> Callable[..., Any]:
    """Drive the generator step by step (PEP 380): its run is current only while its own code runs.

    A `yield from` would leave the run current for the consumer's code between two steps.
    """

    def wrapper(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
        run = open_run(name)
        try:
            with _active(run):
                generator = function(*args, **kwargs)
            step, argument = generator.send, None
            while True:
                try:
                    with _active(run):
                        item = step(argument)
                except StopIteration as stop:
                    result = stop.value
                    break
                try:
                    argument = yield item
                    step = generator.send
                except BaseException as thrown:
                    step, argument = generator.throw, thrown
        except BaseException as error:
            _close(run, error)
            raise
        _close(run, None)
        return result

    return wrapper


def _async_generator_wrapper(function: Callable[..., Any], open_run: OpenRun, name: str) -> Callable[..., Any]:
    """Do for an asynchronous generator what `_generator_wrapper` does for a plain one (PEP 525)."""

    async def wrapper(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
        run = open_run(name)
        try:
            with _active(run):
                generator = function(*args, **kwargs)
            step = _first_step(generator)
            while True:
                try:
                    with _active(run):
                        item = await step
                except StopAsyncIteration:
                    break
                try:
                    step = generator.asend((yield item))
                except BaseException as thrown:
                    step = generator.athrow(thrown)
        except BaseException as error:
            _close(run, error)
            raise
        _close(run, None)

    return wrapper


def _first_step(generator: Any) -> Any:
    """Begin an asynchronous generator without the event loop's hooks: the loop is to close its wrapper, not it."""
    hooks = sys.get_asyncgen_hooks()
    sys.set_asyncgen_hooks(None, None)
    try:
        return generator.asend(None)
    finally:
        sys.set_asyncgen_hooks(*hooks)
