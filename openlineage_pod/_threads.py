"""The one factory of all threads that this package starts."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["start_thread"]


def start_thread(target: Callable[[], None], name: str) -> threading.Thread:
    """Start a daemon thread called `openlineage-pod-<name>`, and return it.

    A daemon, because a request that hangs must not keep the process from ending.

    Raises:
        RuntimeError: The process may have no more threads, or its interpreter is finalizing (Python 3.12 refuses new
            threads from the end of the main thread's last line on, before the first exit handler runs).

    """
    thread = threading.Thread(target=target, name=f"openlineage-pod-{name}", daemon=True)
    thread.start()
    return thread
