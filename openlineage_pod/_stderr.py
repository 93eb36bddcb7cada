"""Writing to stderr without ever blocking the job: nobody may be reading the pipe behind it."""

from __future__ import annotations

import logging
import select
import sys
import time
from contextlib import suppress

from openlineage_pod._fork import RemadeLock
from openlineage_pod._threads import poll, write

__all__ = ["BoundedHandler", "write_stderr"]

# One text at a time.
_writing = RemadeLock()
# A pipe that is read at all takes a line at once.
_MAX_WAIT = 0.2


def write_stderr(text: str, deadline: float) -> bool:
    """Write `text` to the file descriptor of stderr until `deadline`; say whether all of it was written.

    Not through `sys.stderr`: at the end of a process that was interrupted by a signal, the job's own thread may hold
    the lock of that object. `deadline` is a time of `time.monotonic()`.
    """
    if sys.__stderr__ is None or not _writing.acquire(timeout=max(0.0, deadline - time.monotonic())):
        return False
    try:
        descriptor = sys.__stderr__.fileno()
        ready_to_write = poll()
        ready_to_write.register(descriptor, select.POLLOUT)
        left = memoryview(text.encode("ascii", "backslashreplace"))
        while left:
            ready = ready_to_write.poll(max(0, deadline - time.monotonic()) * 1000)
            if not ready or not ready[0][1] & select.POLLOUT:
                return False
            # What poll() promises for a pipe is room for PIPE_BUF bytes; more could block.
            written = write(descriptor, left[: select.PIPE_BUF])
            left = left[written:]
    except (OSError, ValueError):
        return False  # stderr is closed: there is nobody left to tell
    finally:
        _writing.release()
    return True


class BoundedHandler(logging.Handler):
    """Shows warnings of a logger in a job that configured no logging, as `logging.lastResort` would; but never blocks.

    Where the job has a handler of its own for them, that one shows them, and this one is silent.
    """

    def __init__(self, logger: logging.Logger) -> None:
        super().__init__(logging.WARNING)
        self.setFormatter(logging.Formatter(f"{logger.name}: %(message)s"))
        self._logger = logger

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record."""
        if self._is_shown_by_others():
            return
        line = f"{self.format(record)}\n"
        if sys.stderr is not None and sys.stderr is not sys.__stderr__:
            with suppress(Exception):  # the job, or its test runner, has put something else in its place
                sys.stderr.write(line)
        else:
            write_stderr(line, time.monotonic() + _MAX_WAIT)

    def _is_shown_by_others(self) -> bool:
        logger: logging.Logger | None = self._logger
        while logger is not None:
            if any(handler is not self for handler in logger.handlers):
                return True
            logger = logger.parent if logger.propagate else None
        return False
