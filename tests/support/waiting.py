"""Waiting for a state, and the time that a test allows."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["HANGS", "at_most", "wait_until"]

# Ends a test that hangs. Never a test of how long something takes.
HANGS = 180.0


def wait_until(condition: Callable[[], object], what: str, *, seconds: float = HANGS, every: float = 0.02) -> None:
    """Return as soon as `condition()` is true; `what` names that state in the error."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"after {seconds:g} s still not: {what}"
        time.sleep(every)


def at_most(promised: float = 0) -> float:
    """Return the seconds that a test allows for what the package promises within `promised` seconds (0: at once).

    That is twice the promise, and ten seconds in which Python starts and ends, however busy the machine is. Tight
    figures belong to the benchmarks.
    """
    return 2 * promised + 10
