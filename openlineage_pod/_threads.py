"""The one factory of all threads that this package starts."""

from __future__ import annotations

import sys
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["new_thread", "start_thread"]


def new_thread(target: Callable[[], None], name: str) -> threading.Thread:
    """Return a daemon thread called `openlineage-pod-<name>`, which is not started yet.

    A daemon, because a request that hangs must not keep the process from ending.
    """
    return threading.Thread(target=_without_warnings(target), name=f"openlineage-pod-{name}", daemon=True)


class _OurThreads:
    """The message of a warnings filter: it matches every text, but only in a thread of ours."""

    def __init__(self) -> None:
        self.idents: set[int] = set()

    def match(self, _text: str) -> bool:
        """Return whether this thread is ours."""
        return threading.get_ident() in self.idents


_ours = _OurThreads()
_FILTER = ("ignore", _ours, Warning, None, 0)


def _without_warnings(target: Callable[[], None]) -> Callable[[], None]:
    """Return `target` for a thread in which no warning is printed or raised.

    A job that turns warnings into errors, or asks for more of them, means its own code. The filter is added only then:
    the filters are the job's, and every thread has the same.
    """

    def run() -> None:
        import warnings  # deferred: the job's first line does not wait for it

        filters: list[Any] = warnings.filters  # type: ignore[assignment]
        is_strict = any(action == "error" for action, *_ in filters)
        if (is_strict or sys.warnoptions or sys.flags.warn_default_encoding) and _FILTER not in filters:
            filters.insert(0, _FILTER)
        _ours.idents.add(threading.get_ident())
        try:
            target()
        finally:
            _ours.idents.discard(threading.get_ident())

    return run


def start_thread(target: Callable[[], None], name: str) -> threading.Thread:
    """Start such a thread, and return it.

    Raises:
        RuntimeError: The process may have no more threads, or its interpreter is finalizing (Python 3.12 refuses new
            threads from the end of the main thread's last line on, before the first exit handler runs).

    """
    thread = new_thread(target, name)
    thread.start()
    return thread
