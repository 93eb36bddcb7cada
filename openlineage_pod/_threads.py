"""The one factory of all threads that this package starts."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["new_thread", "start_thread"]


def new_thread(target: Callable[[], None], name: str) -> threading.Thread:
    """Return a daemon thread called `openlineage-pod-<name>`, which is not started yet.

    A daemon, because a request that hangs must not keep the process from ending.
    """
    return threading.Thread(target=target, name=f"openlineage-pod-{name}", daemon=True)


def start_thread(target: Callable[[], None], name: str) -> threading.Thread:
    """Start such a thread, and return it.

    Raises:
        RuntimeError: The process may have no more threads, or its interpreter is finalizing (Python 3.12 refuses new
            threads from the end of the main thread's last line on, before the first exit handler runs).

    """
    thread = new_thread(target, name)
    thread.start()
    return thread
