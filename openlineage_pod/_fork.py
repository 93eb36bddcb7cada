"""The lock between imports and forks.

A child of a fork in the middle of an import would wait for ever for a module that no thread of its own is importing.
So our threads import under this lock, and whoever forks waits for it.
"""

from __future__ import annotations

import os
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["importing"]

# Reentrant, because an import may itself fork.
_lock = threading.RLock()
_MAX_IMPORT = 10.0


@contextmanager
def importing() -> Iterator[None]:
    """Keep this process from forking while the block imports."""
    with _lock:
        yield


def _before_fork() -> None:
    _lock.acquire(timeout=_MAX_IMPORT)


def _after_fork_in_parent() -> None:
    with suppress(RuntimeError):  # the wait in _before_fork timed out: an import hangs, and the fork had to go on
        _lock.release()


def _after_fork_in_child() -> None:
    global _lock  # noqa: PLW0603  the old one may be held by a thread that does not exist here
    _lock = threading.RLock()


os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)
