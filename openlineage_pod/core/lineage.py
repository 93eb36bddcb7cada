"""`lineage_run`: the decorator and context manager that put a run around a function or a block."""

from __future__ import annotations

import sys
import threading
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from openlineage_pod._guard import guarded
from openlineage_pod.core.current import NULL_RUN, activate, active_recorders, make_run
from openlineage_pod.core.program import Program, this_program
from openlineage_pod.core.runtime import existing_runtime, runtime
from openlineage_pod.core.wrapping import first_paragraph, leave, wrap
from openlineage_pod.datasets.dataset import as_sources
from openlineage_pod.delivery.report import DeliveryReport

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable, Mapping
    from types import CodeType, FrameType, TracebackType
    from typing import ParamSpec, TypeVar, overload

    from openlineage_pod.core.run import LineageRun, RunRecorder
    from openlineage_pod.datasets.dataset import DatasetSource

    P = ParamSpec("P")
    R = TypeVar("R")
    T = TypeVar("T")

__all__ = ["LineageScope", "flush", "lineage_run"]

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
        # Runs that were entered with this object as a context manager and not left yet, with the frame that entered.
        self._entered: list[_Entry] = []

    def __call__(self, function: Callable[P, R], /) -> Callable[P, R]:
        """Decorate a function, method, coroutine function, generator function or asynchronous generator function.

        Raises:
            TypeError: `function` cannot be called (a classmethod or property: put this decorator below that one).

        """
        description = first_paragraph(function)
        decorated: Callable[P, R] = wrap(function, partial(self._open, description=description))
        return decorated

    def __enter__(self) -> LineageRun:
        return self._enter(sys._getframe(1))  # noqa: SLF001  documented, without a public counterpart

    def __exit__(
        self, _kind: type[BaseException] | None, error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        leave(self._left(sys._getframe(1)), error)  # noqa: SLF001

    # Not `async def`: the frame that enters is the caller of these two.
    def __aenter__(self) -> Coroutine[Any, Any, LineageRun]:
        return _done(self._enter(sys._getframe(1)))  # noqa: SLF001

    def __aexit__(
        self, _kind: type[BaseException] | None, error: BaseException | None, _traceback: TracebackType | None
    ) -> Coroutine[Any, Any, None]:
        leave(self._left(sys._getframe(1)), error)  # noqa: SLF001
        return _done(None)

    def _enter(self, caller: FrameType) -> LineageRun:
        run = self._open()
        if run is not None and threading.current_thread() is threading.main_thread():
            run.watch_unhandled_errors()
        self._entered.append(_Entry(run, id(caller), caller.f_code))
        activate(run)
        return run.run if run is not None else NULL_RUN

    def _open(self, function: str = "", description: str = "") -> RunRecorder | None:
        """Start the run of a function, with this description of its job, or of a block; None if none is reported."""
        with guarded("start a lineage run"):
            current = runtime()
            if not current.settings.disabled:
                run = make_run(
                    current,
                    job_name=self._job_name,
                    job_namespace=self._job_namespace,
                    program=Program(function) if function else this_program(current.settings.environ),
                    description=description,
                    **self._options,
                )
                return run if run.start() else None
        return None

    def _left(self, caller: FrameType) -> RunRecorder | None:
        """Return the run that is being left; the first that there is counts.

        1. The last one that the leaving frame entered: the blocks of one frame are nested, also if the frame is that
           of a generator whose steps alternate with other code.
        2. The innermost one that is active in this context: an ExitStack enters and leaves in frames of its own.
        3. The last one entered: a fixture may be left in another context.
        """
        with guarded("find the run that is being left"):
            entered = self._entered[::-1]
            by_frame = [each for each in entered if each.frame == id(caller) and each.code is caller.f_code]
            by_context = [each for recorder in active_recorders() for each in entered if each.run is recorder]
            entry = [*by_frame, *by_context, *entered][0]
            self._entered.remove(entry)
            return entry.run
        return None


class _Entry(NamedTuple):
    """A run that was entered, and who entered it: the id of the frame and its code.

    Not the frame itself, which would keep the job's local variables alive. The id of a frame that has gone may belong
    to a later one, such as that of `ExitStack.__exit__`, but that has another code.
    """

    run: RunRecorder | None
    frame: int
    code: CodeType


async def _done(result: T) -> T:
    return result


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
    - FAIL or ABORT also after `run.fail(reason)` or `run.abort(reason)`;
    - in a notebook or shell, for a run that one cell enters and another one leaves: as a cell in between that failed.

    The parent is the enclosing run, else the one that the environment names (`OPENLINEAGE_CONTEXT`,
    `OPENLINEAGE_PARENT_ID` or `OPENLINEAGE_PARENT_RUN_ID` and `_JOB_NAME`), as Airflow's task does.

    The body's result, exception and exit status are exactly what they are without lineage. Events are delivered by a
    thread beside the job; at the end of the process at most `OPENLINEAGE_POD_FLUSH_TIMEOUT` seconds (5) are spent on
    what is left, and what cannot be delivered is printed on stderr. Within a body `current_run()` is its run.

    Args:
        job_name: The job's name. Default: `OPENLINEAGE_JOB_NAME` for an outermost run, else
            `<parent job name>.<function, script, module or notebook>`.
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
