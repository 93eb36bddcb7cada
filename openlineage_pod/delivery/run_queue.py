"""The queue of runs: each with its events in their order, taken by one worker at a time."""

from __future__ import annotations

import math
import time
from collections import deque
from heapq import heappop, heappush
from typing import TYPE_CHECKING

from openlineage_pod._threads import Empty, ReentrantLock, SimpleQueue

if TYPE_CHECKING:
    from collections.abc import Callable

    from openlineage_pod.delivery.ledger import Event

__all__ = ["RunQueue"]


class RunQueue:
    """Runs that have events to deliver. A run is ready, or parked, or with a worker, and with one only.

    Attributes:
        on_put: called after each `put`.

    """

    def __init__(self) -> None:
        self.on_put: Callable[[], None] = lambda: None
        # Run id -> its events, in order.
        self._events: dict[str, list[Event]] = {}
        # Reentrant: a signal handler or a finaliser that closes the delivery may interrupt its holder.
        self._queueing = ReentrantLock()
        # A heap by the number of a run's next event, so that a parent's end comes after those of its children; and one
        # item for each of its entries, for which the workers wait.
        self._ready: list[tuple[float, str]] = []
        self._signals: SimpleQueue[None] = SimpleQueue()
        # One item for each entry of `_ready` that only wakes a worker. A deque appends and pops atomically.
        self._wakes: deque[None] = deque()
        self._parked: deque[str] = deque()
        self._next_unparking = 0.0

    def put(self, event: Event) -> None:
        """Put an event behind the others of its run, and the run where a worker finds it."""
        with self._queueing:
            events = self._events.setdefault(event.run_id, [])
            events.append(event)
            if len(events) == 1:
                self._make_ready(event.number, event.run_id)
        self.on_put()

    def _make_ready(self, number: float, run_id: str) -> None:
        """Let a worker take an entry; the caller holds `_queueing`."""
        heappush(self._ready, (number, run_id))
        self._signals.put(None)

    def take(self, timeout: float | None) -> str:
        """Return the id of the run whose turn it is; empty after `timeout` seconds (None: never), or by `wake`."""
        try:
            self._signals.get(timeout=timeout)
        except Empty:
            return ""
        with self._queueing:
            run_id = heappop(self._ready)[1]
        if not run_id:
            self._wakes.pop()
        return run_id

    def wake(self, workers: int) -> None:
        """Have as many workers return from `take` once nothing is ready any more."""
        for _ in range(workers):
            self._wakes.append(None)
            with self._queueing:
                self._make_ready(math.inf, "")

    def next_event(self, run_id: str) -> Event:
        """Return the next event of a run that the caller has taken."""
        return self._events[run_id][0]

    def advance(self, run_id: str) -> None:
        """Remove the resolved event of a run that the caller has taken; give the run back if it has others."""
        with self._queueing:
            events = self._events[run_id]
            del events[0]
            if events:
                self._make_ready(events[0].number, run_id)
            else:
                del self._events[run_id]

    def end_behind(self, run_id: str) -> Event | None:
        """Return the terminal event that waits behind others of a run that the caller has taken, or None."""
        events = self._events[run_id]
        return events[-1] if len(events) > 1 and events[-1].is_end else None

    def before(self, event: Event) -> list[Event]:
        """Return the events of a run before this one of its events, in order."""
        events = self._events[event.run_id]
        return events[: events.index(event)]

    def remove(self, event: Event) -> None:
        """Remove a resolved event that is not the next one of its run, which the caller has taken."""
        with self._queueing:
            self._events[event.run_id].remove(event)

    def park(self, run_id: str) -> None:
        """Put a run whose event keeps failing aside, so that other runs go first."""
        self._parked.append(run_id)

    def unpark(self) -> str:
        """Take the run that has been parked for longest; empty if there is none."""
        try:
            return self._parked.popleft()
        except IndexError:
            return ""

    def is_time_to_unpark(self) -> bool:
        """Return whether the parked runs are to be tried again."""
        return time.monotonic() >= self._next_unparking

    def postpone_unparking(self, seconds: float) -> None:
        """Leave the parked runs alone for so long; called by the worker that tries them."""
        self._next_unparking = time.monotonic() + seconds

    @property
    def parked(self) -> int:
        """How many runs are parked."""
        return len(self._parked)

    @property
    def ready(self) -> int:
        """How many runs wait for a worker. Takes no lock: a signal handler may ask while it interrupts `put`."""
        return max(0, len(self._ready) - len(self._wakes))
