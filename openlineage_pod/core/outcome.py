"""How a body ended: its exception as a run state and an error to report."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Literal, NamedTuple

from openlineage_pod.events.facets import facet

if TYPE_CHECKING:
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
# What the job's own __str__ or __repr__ may raise; a KeyboardInterrupt is the user's.
_RAISED = (Exception, SystemExit, GeneratorExit)


def outcome_of(error: BaseException | None, traceback: TracebackType | None = None) -> Outcome:
    """Return the outcome of a body that was left by `error` (None: it returned). Never raises.

    | error | state |
    |---|---|
    | None, GeneratorExit (the consumer closed the generator), SystemExit with 0 or None | COMPLETE |
    | KeyboardInterrupt, asyncio.CancelledError | ABORT |
    | anything else | FAIL |
    """
    if error is None or isinstance(error, GeneratorExit):
        return COMPLETE
    if isinstance(error, SystemExit):
        if error.code is None or error.code == 0:
            return COMPLETE
        return Outcome("FAIL", f"exited with {_shown(error.code)}", _stack_trace(error, traceback))
    state: State = "ABORT" if isinstance(error, KeyboardInterrupt) or _is_cancellation(error) else "FAIL"
    return Outcome(state, _message(error), _stack_trace(error, traceback))


def _is_cancellation(error: BaseException) -> bool:
    # A body can only be cancelled by asyncio if asyncio is loaded; importing it here would cost every job 30 ms.
    asyncio = sys.modules.get("asyncio.exceptions")
    return asyncio is not None and isinstance(error, asyncio.CancelledError)


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
        return "".join(formatter.format_exception(type(error), error, traceback or error.__traceback__))
    except _RAISED:
        try:
            return "".join(formatter.format_tb(traceback or error.__traceback__))
        except _RAISED:
            return None
