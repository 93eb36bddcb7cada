"""The one boundary between our errors and the job: what we raise by mistake ends here, as one log line."""

from __future__ import annotations

import logging
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from openlineage_pod._redaction.forms import redact
from openlineage_pod._stderr import BoundedHandler
from openlineage_pod.settings import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

__all__ = ["guarded", "logger", "mask_log_lines"]


class _Masking(logging.Filter):
    """Masks credentials in every line that we log: messages quote what was wrong, and that may be a password."""

    def __init__(self) -> None:
        super().__init__()
        self.mask: Callable[[str], str] = redact

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = self.mask(record.getMessage()), ()
        return True


class _QuietLogger(logging.Logger):
    """Logs through the logger that `logging` has under our name, and never raises: we log between two steps of ours.

    That logger's class may be any (`logging.setLoggerClass`), as may the job's handlers, filters and record factory.
    """

    def __init__(self, registered: logging.Logger) -> None:
        super().__init__(registered.name)
        self._registered = registered

    def isEnabledFor(self, level: int) -> bool:  # noqa: N802  the base class's name
        with suppress(Exception):
            return self._registered.isEnabledFor(level)
        return False

    def callHandlers(self, record: logging.LogRecord) -> None:  # noqa: N802
        self._registered.handle(record)

    def _log(self, *args: Any, **options: Any) -> None:
        with suppress(Exception):
            super()._log(*args, **{"stacklevel": 2, **options})


_registered = logging.getLogger("openlineage_pod")
with suppress(Exception):  # of a logger's class that the job has set
    _registered.addHandler(BoundedHandler(_registered))
logger = _QuietLogger(_registered)
_masking = _Masking()
logger.addFilter(_masking)

# The tests' fixture replaces it with one that remembers the errors, so that none hides behind the boundary.
swallowed: list[Exception] | None = None


def mask_log_lines(mask: Callable[[str], str]) -> None:
    """Mask every line that we log with `mask` from now on, instead of by patterns alone."""
    _masking.mask = mask


@contextmanager
def guarded(doing: str) -> Iterator[None]:
    """Turn any `Exception` of the block into one warning that names what we were `doing`.

    `ConfigurationError` passes: it exists only in strict mode, where the user asked for it. So does what belongs to the
    job, wherever it arrives: every `BaseException` that is no `Exception`, such as KeyboardInterrupt, and what a signal
    handler raises, such as the exception of a time limit.
    """
    try:
        yield
    except ConfigurationError:
        raise
    except Exception as error:
        if _is_from_signal_handler(error):
            raise
        if swallowed is not None:
            swallowed.append(error)
        logger.warning("could not %s (%s: %s); the job goes on without it", doing, type(error).__name__, error)


def _is_from_signal_handler(error: Exception) -> bool:
    """Return whether the error comes from a function that got a number and the frame that it interrupted."""
    interrupted: FrameType | None = None
    step = error.__traceback__
    while step is not None:
        values: list[Any] = []
        for value in step.tb_frame.f_locals.values():
            values += value if type(value) is tuple else [value]
        if interrupted is not None and any(value is interrupted for value in values):
            return any(isinstance(value, int) for value in values)
        interrupted = step.tb_frame
        step = step.tb_next
    return False
