"""The ledger: which events are unresolved, and what became of the others.

What becomes of an event is decided by whoever claims it. That makes every event counted once, also when the deadline of
the exit overtakes a request that is still under way.
"""

from __future__ import annotations

import itertools
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from openlineage_pod._once import Once
from openlineage_pod._threads import Empty, ReentrantLock, SimpleQueue
from openlineage_pod.delivery.report import DeliveryReport
from openlineage_pod.events.document import TERMINAL_TYPES

if TYPE_CHECKING:
    from collections.abc import Callable

    from openlineage_pod.delivery.spool import Entry
    from openlineage_pod.events.document import Document, Draft

__all__ = ["MAX_ATTEMPTS_ALONE", "Event", "Ledger"]


MAX_ATTEMPTS_ALONE = 6
"""Attempts to deliver a START before the terminal event of its run may overtake it."""


class Event:
    """An event on its way: first a draft, then its document, or only its place in the spool."""

    __slots__ = (
        "_claim",
        "attempts",
        "attempts_alone",
        "document",
        "draft",
        "entry",
        "is_end",
        "is_fallback",
        "number",
        "run_id",
    )

    def __init__(self, number: int, run_id: str, draft: Draft | None = None, *, is_fallback: bool = False) -> None:
        self.number = number
        self.run_id = run_id
        self.is_fallback = is_fallback
        self.is_end = draft is not None and draft.event_type in TERMINAL_TYPES and not is_fallback
        # To deliver it; and how many of them go before the terminal event of its run may overtake it.
        self.attempts = 0
        self.attempts_alone = MAX_ATTEMPTS_ALONE
        self.draft = draft
        self.document: Document | None = None
        self.entry: Entry | None = None
        self._claim = Once()

    def claim(self) -> bool:
        """Claim the event; return True for exactly one caller, which then decides what becomes of it."""
        return self._claim.take()

    @property
    def is_claimed(self) -> bool:
        """Whether somebody has claimed it already."""
        return self._claim.is_taken


class Ledger:
    """Every unresolved event of one process, and the counts of those that are resolved.

    The job's threads hold no lock in `add`: a signal handler or a finaliser may call it while it interrupts `add`.
    """

    def __init__(self) -> None:
        self._unresolved: dict[int, Event] = {}
        self._numbers = itertools.count()
        self._counts = dict.fromkeys(DeliveryReport._fields, 0)
        # Reentrant: a signal handler may interrupt the main thread between its acquire and release.
        self._counting = ReentrantLock()
        # Queues and not events: put() is reentrant, and may interrupt the very get() that waits.
        self._waiting: list[SimpleQueue[None]] = []

    def __len__(self) -> int:
        return len(self._unresolved)

    def add(self, event: Event) -> None:
        """Note an event, unresolved from now on."""
        self._unresolved[event.number] = event

    def reopen(self, entry: Entry) -> Event:
        """Return the event of an entry of the spool, which counted as spooled until now."""
        event = Event(self.next_number(), entry.run_id)
        event.entry, event.is_end = entry, entry.is_end
        with self._counting:
            self._counts["spooled"] -= 1
        self.add(event)
        return event

    def take_back(self, document: Document) -> Event:
        """Return the event of a document that counted as delivered until now."""
        event = Event(self.next_number(), document.run_id)
        event.document, event.is_end = document, document.event_type in TERMINAL_TYPES
        with self._counting:
            self._counts["delivered"] -= 1
        self.add(event)
        return event

    def next_number(self) -> int:
        """Return a number above those of all events so far."""
        return next(self._numbers)

    def resolve(self, event: Event, outcome: str) -> None:
        """Count an event that the caller has claimed, as one of the fields of `DeliveryReport`."""
        with self._counting:
            self._counts[outcome] += 1
        self._unresolved.pop(event.number, None)
        self.notify()

    def unresolved(self) -> list[Event]:
        """Return the unresolved events, oldest first."""
        return list(self._unresolved.values())

    def has_older(self, number: float) -> bool:
        """Return whether an event below this number is unresolved."""
        try:
            return next(iter(self._unresolved), number) < number  # in the order of insertion
        except RuntimeError:
            return True  # changed by another thread meanwhile: the caller looks again

    def report(self) -> DeliveryReport:
        """Return what has become of the events so far."""
        with self._counting:
            counts = dict(self._counts)
        counts["pending"] += len(self._unresolved)
        return DeliveryReport(**counts)

    def wait(self, goes_on: Callable[[], bool], deadline: Callable[[], float]) -> None:
        """Wait while `goes_on()`, until the time `deadline()`; both are asked again whenever something has changed."""
        waiter: SimpleQueue[None] = SimpleQueue()
        self._waiting.append(waiter)
        try:
            while goes_on() and (remaining := deadline() - time.monotonic()) > 0:
                with suppress(Empty):
                    waiter.get(timeout=remaining)
        finally:
            self._waiting.remove(waiter)

    def notify(self) -> None:
        """Wake all waiters, which look again."""
        for waiter in list(self._waiting):
            waiter.put(None)
