"""Wrappers that put a run around a callable, each of the same kind as what it wraps."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from functools import partial, update_wrapper
from types import FunctionType, MethodType
from typing import TYPE_CHECKING, Any

from openlineage_pod.core.current import activate, current_recorder, deactivate

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Generator, Iterator

    from openlineage_pod.core.run import RunRecorder

    OpenRun = Callable[[str], RunRecorder | None]

__all__ = ["first_paragraph", "leave", "wrap"]

# Bits of a code object's flags (https://docs.python.org/3/library/inspect.html#inspect-module-co-flags), written out
# because importing inspect would cost the job 10 ms.
_GENERATOR, _COROUTINE, _ITERABLE_COROUTINE, _ASYNC_GENERATOR = 0x20, 0x80, 0x100, 0x200


def wrap(function: Callable[..., Any], open_run: OpenRun) -> Any:
    """Return `function` with a run around each call; it is called, bound and inspected as `function` is.

    | function | wrapper |
    |---|---|
    | staticmethod | staticmethod |
    | function | function of the same kind: plain, coroutine, generator, asynchronous generator |
    | other callable: partial, builtin function, bound method, lru_cache, object with `__call__` | `_CallableWrapper` |

    Raises:
        TypeError: `function` cannot be called, or is a class.

    """
    if isinstance(function, staticmethod):
        return staticmethod(wrap(function.__func__, open_run))
    if not callable(function) or isinstance(function, type):
        kind = "class" if isinstance(function, type) else type(function).__name__
        raise TypeError(
            f"@lineage_run cannot decorate a {kind}. "
            "Put it below @classmethod or @property; to name the job write @lineage_run('name')."
        )
    wrapper = _wrapper_for(function, open_run)
    if not isinstance(function, FunctionType):
        wrapper = _CallableWrapper(wrapper)
    return update_wrapper(wrapper, function)


class _CallableWrapper(partial[Any]):
    """Wraps a callable that is not a function: a class makes a method of it only if it does of the callable.

    It is a partial, because `inspect` looks into one for the kind of function.
    """

    __wrapped__: Any

    def __get__(self, instance: object, owner: type | None = None) -> Any:
        bind = getattr(type(self.__wrapped__), "__get__", None)
        if instance is None or bind is None or bind(self.__wrapped__, instance, owner) is self.__wrapped__:
            return self
        return MethodType(self, instance)

    def __getattr__(self, name: str) -> Any:
        """Return an attribute of the callable, such as `cache_clear` of what lru_cache made."""
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self.__wrapped__, name)

    def __reduce__(self) -> Any:
        """Pickle it by its name, as functions are, if it has one."""
        return getattr(self.__wrapped__, "__qualname__", None) or super().__reduce__()


def first_paragraph(function: Any) -> str:
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


def leave(run: RunRecorder | None, error: BaseException | None) -> None:
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
            leave(run, error)
            raise
        leave(run, None)
        return result

    return wrapper


def _coroutine_wrapper(function: Callable[..., Any], open_run: OpenRun, name: str) -> Callable[..., Any]:
    async def wrapper(*args: Any, **kwargs: Any) -> Any:
        run = open_run(name)
        activate(run)
        try:
            result = await function(*args, **kwargs)
        except BaseException as error:
            leave(run, error)
            raise
        leave(run, None)
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
