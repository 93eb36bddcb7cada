"""How a body ended: its exception as a run state and an error to report."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Literal, NamedTuple

from openlineage_pod.events.facets import facet

if TYPE_CHECKING:
    from traceback import TracebackException
    from types import TracebackType

__all__ = ["COMPLETE", "Outcome", "outcome_of"]

State = Literal["COMPLETE", "FAIL", "ABORT"]


class Outcome(NamedTuple):
    """The terminal state of a run, and why when it is not COMPLETE. `stack_trace` is None where there is none.

    `language` is what the facet calls the programming language.
    """

    state: State
    message: str = ""
    stack_trace: str | None = None
    language: str = "PYTHON"

    def to_facet(self) -> dict[str, object] | None:
        """Return the `errorMessage` run facet, JSON-ready, or None for a run that completed."""
        if self.state == "COMPLETE":
            return None
        error = facet("ErrorMessageRunFacet", message=self.message, programmingLanguage=self.language)
        if self.stack_trace is not None:
            error["stackTrace"] = self.stack_trace
        return error


COMPLETE = Outcome("COMPLETE")
_PACKAGE = os.path.join(os.path.dirname(os.path.dirname(__file__)), "")
# What the job's own __str__ or __repr__ may raise; a KeyboardInterrupt is the user's.
_RAISED = (Exception, SystemExit, GeneratorExit)

# Exceptions of libraries, by the top of their module's name and their own: importing them would cost every job time.
# Those that end a program with the status in their `exit_code`, as SystemExit does with its `code`.
_EXITS = {("asyncclick", "Exit"), ("click", "Exit"), ("typer", "Exit")}
# Those by which somebody else cancels the body. GreenletExit is what gevent and eventlet kill a greenlet with.
_CANCELLATIONS = {("asyncio", "CancelledError"), ("greenlet", "GreenletExit"), ("trio", "Cancelled")}


def outcome_of(error: BaseException | None, traceback: TracebackType | None = None) -> Outcome:
    """Return the outcome of a body that was left by `error` (None: it returned). Never raises.

    | error | state |
    |---|---|
    | None; GeneratorExit (the consumer closed the generator) | COMPLETE |
    | SystemExit, or the Exit of click or typer, with 0 or None | COMPLETE |
    | KeyboardInterrupt; a cancellation by asyncio, trio, gevent or eventlet | ABORT |
    | anything else | FAIL |
    """
    if error is None or isinstance(error, GeneratorExit):
        return COMPLETE
    if isinstance(error, SystemExit) or _is_one_of(_EXITS, error):
        code = error.code if isinstance(error, SystemExit) else getattr(error, "exit_code", None)
        if code is None or _is_zero(code):
            return COMPLETE
        return Outcome("FAIL", f"exited with {_shown(code)}", _stack_trace(error, traceback))
    is_abort = isinstance(error, KeyboardInterrupt) or _is_one_of(_CANCELLATIONS, error)
    return Outcome("ABORT" if is_abort else "FAIL", _message(error), _stack_trace(error, traceback))


def _is_one_of(names: set[tuple[str, str]], error: BaseException) -> bool:
    """Return whether the error's class, or one that it is derived from, has one of these names."""
    classes = [(getattr(cls, "__module__", None), cls.__name__) for cls in type.mro(type(error))]
    return any(isinstance(module, str) and (module.partition(".")[0], name) in names for module, name in classes)


def _is_zero(code: object) -> bool:
    """Return whether Python exits with the status 0 for this code: 0.0 is printed, and the status is 1."""
    return isinstance(code, int) and int.__eq__(code, 0)


def _shown(value: object) -> str:
    try:
        return repr(value)
    except _RAISED as fault:
        return f"{type(value).__name__} (it cannot be shown: {type(fault).__name__})"


def _message(error: BaseException) -> str:
    name = type(error).__name__
    try:
        text = str(error)
    except _RAISED as fault:
        # An exception whose own __str__ raises still has a type to report.
        return f"{name} (its message cannot be shown: {type(fault).__name__})"
    return f"{name}: {text}" if text else name


def _stack_trace(error: BaseException, traceback: TracebackType | None) -> str | None:
    import traceback as formatter  # deferred: only a failing job pays for it

    try:
        described = formatter.TracebackException(type(error), error, traceback or error.__traceback__, compact=True)
        _leave_out_own_frames(described)
        return "".join(described.format())
    except _RAISED:
        try:
            return "".join(formatter.format_tb(traceback or error.__traceback__))
        except _RAISED:
            return None


def _leave_out_own_frames(described: TracebackException) -> None:
    """Leave our wrappers out of the stacks of an exception and of those behind it: the job's own frames say it all."""
    left = [described]
    while left:
        each = left.pop()
        each.stack[:] = [frame for frame in each.stack if not frame.filename.startswith(_PACKAGE)]
        behind = (each.__cause__, each.__context__, *(getattr(each, "exceptions", None) or ()))
        left += [other for other in behind if other is not None]
