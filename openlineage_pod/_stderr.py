"""Writing to stderr without ever blocking the job: nobody may be reading the pipe behind it."""

from __future__ import annotations

import logging
import os
import select
import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from openlineage_pod._fork import RemadeLock
from openlineage_pod._threads import poll, write

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["BoundedHandler", "handlers_of", "reaches_console", "write_stderr"]

# One text at a time.
_writing = RemadeLock()
# A pipe that is read at all takes a line at once.
_MAX_WAIT = 0.2


def write_stderr(text: str, deadline: float, *, is_ascii: bool = True) -> bool:
    """Write `text` to the file descriptor of stderr until `deadline`; say whether all of it was written.

    It is written in ASCII, with escapes, or else in the encoding of `sys.stderr`.

    Not through `sys.stderr`: at the end of a process that was interrupted by a signal, the job's own thread may hold
    the lock of that object. `deadline` is a time of `time.monotonic()`.
    """
    if sys.__stderr__ is None or not _writing.acquire(timeout=max(0.0, deadline - time.monotonic())):
        return False
    try:
        descriptor = sys.__stderr__.fileno()
        ready_to_write = poll()
        ready_to_write.register(descriptor, select.POLLOUT)
        encoding = "ascii" if is_ascii else sys.__stderr__.encoding
        left = memoryview(text.encode(encoding, "backslashreplace"))
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
        if not self.shows:
            return
        line = f"{self.format(record)}\n"
        if sys.stderr is not None and sys.stderr is not sys.__stderr__:
            with suppress(Exception):  # the job, or its test runner, has put something else in its place
                sys.stderr.write(line)
        else:
            write_stderr(line, time.monotonic() + _MAX_WAIT)

    @property
    def shows(self) -> bool:
        """Whether this handler writes the records that it gets."""
        return all(handler is self for handler in _handlers(self._logger))


def _handlers(logger: logging.Logger) -> Iterator[logging.Handler]:
    at: logging.Logger | None = logger
    while at is not None:
        yield from at.handlers
        at = at.parent if at.propagate else None


def handlers_of(logger: logging.Logger, level: int) -> list[logging.Handler]:
    """Return the handlers that get what is logged at this level."""
    if not logger.isEnabledFor(level):
        return []
    handlers: list[logging.Handler | None] = [*_handlers(logger)] or [logging.lastResort]
    return [handler for handler in handlers if handler is not None and handler.level <= level]


def reaches_console(logger: logging.Logger, level: int) -> bool:
    """Return whether a handler writes what is logged at this level to stderr or stdout, as far as one can know."""
    return any(map(_is_console, handlers_of(logger, level)))


def _is_console(handler: logging.Handler) -> bool:
    if isinstance(handler, BoundedHandler):
        return handler.shows
    stream = getattr(handler, "stream", None)
    if stream is None:
        return False
    with suppress(Exception):  # a stream that is closed, or has no descriptor
        status = os.fstat(stream.fileno())
        return any(os.path.samestat(status, os.fstat(descriptor)) for descriptor in (1, 2))
    return stream in (sys.stderr, sys.stdout)
