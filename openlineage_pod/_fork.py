"""Locks, descriptors and forks: what a forked child needs anew, and what a job that becomes a daemon must not meet.

A fork copies the memory of the process with one thread alone, so a lock that another thread holds stays locked for ever
in the child.
"""

from __future__ import annotations

import os
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from openlineage_pod._threads import ReentrantLock, late_imports

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["RemadeLock", "importing", "out_of_the_way"]

# A fork does not wait longer for an import of ours: that may hang.
_MAX_IMPORT = 10.0
# Our descriptors have the last numbers that the process may have, or these: `select` takes none above 1023.
_MAX_DESCRIPTOR, _ROOM = 1024, 32


class RemadeLock(ReentrantLock):
    """A lock that a forked child gets anew."""

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__()
        os.register_at_fork(after_in_child=super().__init__)


_import_lock = RemadeLock()


@contextmanager
def importing() -> Iterator[None]:
    """Keep this process from forking while the block imports.

    A child of a fork in the middle of an import would wait for ever for a module that no thread of its own imports. So
    our threads import under this lock, and whoever forks waits for it. They may do so while the interpreter ends.
    """
    with _import_lock, late_imports():
        yield


def _before_fork() -> None:
    _import_lock.acquire(timeout=_MAX_IMPORT)


def _after_fork_in_parent() -> None:
    with suppress(RuntimeError):  # the wait in _before_fork timed out: an import hangs, and the fork had to go on
        _import_lock.release()


def out_of_the_way(descriptor: int) -> int:
    """Return a descriptor that is to stay open with a high number, and close the one with a low number.

    A job that closes all descriptors, as a daemon does, opens others under the lowest numbers. What we still write to,
    or close, would be a file of the job's.
    """
    import fcntl  # deferred: the job's first line does not wait for it

    try:
        high = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, min(os.sysconf("SC_OPEN_MAX"), _MAX_DESCRIPTOR) - _ROOM)
    except (OSError, ValueError):  # there is none left
        return descriptor
    os.close(descriptor)
    return high


os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent)
