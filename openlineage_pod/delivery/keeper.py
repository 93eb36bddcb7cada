"""Keeping what is not delivered: in the spool, or else as a recoverable line on stderr."""

from __future__ import annotations

import time
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from openlineage_pod._guard import guarded, logger
from openlineage_pod.delivery.last_resort import PRINT_TIMEOUT, print_event, print_superseded

if TYPE_CHECKING:
    from collections.abc import Callable

    from openlineage_pod.delivery.ledger import Event, Ledger
    from openlineage_pod.delivery.spool import Spool
    from openlineage_pod.events.document import Document
    from openlineage_pod.settings import Settings

__all__ = ["Keeper"]

# Spooled events whose documents are kept in memory as well: the directory may vanish.
_MAX_KEPT = 100
# Runs of which it is remembered that their START was printed or rejected.
_MAX_ASIDE = 10_000


class Keeper:
    """The spool of this process, if it has one, and the last resort.

    Attributes:
        spool: None without `OPENLINEAGE_POD_SPOOL_DIR`, until the preparer has opened it, and where that is impossible.
        prints_rejected: whether a rejected event was printed.

    """

    def __init__(self, settings: Settings, ledger: Ledger) -> None:
        self.spool: Spool | None = None
        self.prints_rejected = False
        self._settings = settings
        self._ledger = ledger
        # The entries that the backend left in the spool because of the key: this process tries them no more.
        self.held: set[str] = set()
        # The runs whose START was printed, rejected or held, and what to do when their end is delivered.
        self._aside: dict[str, Callable[[], object]] = {}
        # Runs whose terminal event was lost; their fallback stays in the spool.
        self._lost: set[str] = set()
        self._open: Callable[[], Spool] | None = None
        if path := settings.spool_dir:
            # Deferred: most jobs have no spool. Not to the thread that opens it: a fork must not meet it importing.
            from openlineage_pod.delivery.spool import Spool

            self._open = partial(Spool, path, settings.spool_max_bytes)

    def open_spool(self) -> Spool | None:
        """Return the spool; None if none is configured, or after a warning where its directory cannot be used."""
        try:
            return self._open() if self._open else None
        except OSError as error:
            logger.warning(
                "the spool %s cannot be used (%s), so undelivered events are kept in memory only",
                self._settings.spool_dir,
                error,
            )
            return None

    def write(self, event: Event, document: Document) -> None:
        """Put an event into the spool, if there is one; else it stays in memory."""
        spool = self.spool
        if spool is None:
            return
        try:
            event.entry = spool.write(document)
        except OSError as error:
            if not spool.failing:
                spool.failing = True
                logger.warning("the spool %s cannot be written to (%s); events are kept in memory", spool.path, error)
        else:
            spool.failing = False
            if len(self._ledger) > _MAX_KEPT:
                event.document = None

    def write_fallback(self, document: Document) -> None:
        """Leave a fallback terminal event in the spool, for a process that dies. No-op without a spool."""
        if self.spool is not None and not self.spool.failing:
            with suppress(OSError):  # what is wrong with the spool, the event itself will tell
                self.spool.write_fallback(document)

    def remove_fallback(self, run_id: str) -> None:
        """Remove the fallback of a run, unless its terminal event was lost."""
        if self.spool is not None and run_id not in self._lost:
            self.spool.remove_fallback(run_id)

    def read(self, event: Event) -> Document | None:
        """Return the document of an event that is in the spool alone; None if it has gone."""
        return self.spool.read(event.entry) if event.entry is not None and self.spool is not None else None

    def resolve(self, event: Event, outcome: str) -> None:
        """Claim an event and count it, unless somebody has claimed it already."""
        if event.claim():
            self.resolve_claimed(event, outcome)

    def resolve_claimed(self, event: Event, outcome: str) -> None:
        """Count an event that the caller has claimed."""
        if event.is_end and event.entry is None and self._settings.spool_dir:
            if outcome == "pending":
                self._lost.add(event.run_id)
            else:
                self.remove_fallback(event.run_id)
        self._ledger.resolve(event, outcome)

    def accept(self, event: Event) -> None:
        """Take an event that the backend accepted out of the spool, and count it."""
        is_mine = event.claim()  # first: else what is missing in the spool passes for vanished
        if event.entry is not None and self.spool is not None:
            self.spool.remove(event.entry)
        if event.is_end and event.run_id in self._aside:
            # The START was refused or printed. No replay may send it now: it would re-open the run.
            self._aside.pop(event.run_id)()
        if is_mine:  # last: the process may end as soon as nothing is unresolved
            self.resolve_claimed(event, "delivered")

    def supersede(self, event: Event) -> None:
        """Set an event aside that came too late, as the backend accepts the end of its run; and count it."""
        is_mine = event.claim()  # first, as in `accept`
        if event.entry is not None and self.spool is not None:
            self.spool.supersede(event.entry)
        if is_mine:
            self.resolve_claimed(event, "superseded")

    def reject(self, event: Event, document: Document, reason: str) -> None:
        """Set an event that the backend refused for good aside in the spool, or print it; and count it."""
        if not event.claim():  # first, as in `accept`
            return
        if event.entry is not None and self.spool is not None and self.spool.reject(event.entry, document, reason):
            self._note_aside(event, partial(self.spool.rejected.supersede_start, event.run_id))
            self.resolve_claimed(event, "rejected")
        else:
            self._print_claimed(event, time.monotonic() + PRINT_TIMEOUT, "rejected")

    def hold(self, event: Event) -> bool:
        """Leave an event in the spool for later processes, and count it; return False if it is not there."""
        if event.entry is None or self.spool is None:
            return False
        if event.claim():
            self.held.add(event.entry.name)
            self._note_aside(event, partial(self.spool.supersede, event.entry))
            self.resolve_claimed(event, "spooled")
        return True

    def rewrite(self, event: Event) -> None:
        """Put a spooled event into the spool once more if its directory has vanished meanwhile."""
        entry = event.entry
        if self.spool is not None and entry is not None and not self.spool.has(entry) and not event.is_claimed:
            event.entry = None
            if event.document is not None:
                self.write(event, event.document)

    def leave(self, event: Event, deadline: float) -> None:
        """Leave an undelivered event where it can be found: in the spool, or else on stderr until the deadline."""
        if event.entry is not None:
            self.resolve(event, "spooled")
        else:
            self.print(event, deadline)

    def print(self, event: Event, deadline: float) -> None:
        """Write an event to stderr as a line from which it can be delivered later."""
        if event.claim():
            self._print_claimed(event, deadline, "printed")

    def _print_claimed(self, event: Event, deadline: float, outcome: str) -> None:
        printed = False
        if self._settings.last_resort:
            with guarded("print an event"):
                printed = event.document is not None and print_event(event.document, deadline)
        if printed:
            self._note_aside(event, lambda: print_superseded(event.run_id, time.monotonic() + PRINT_TIMEOUT))
        self.prints_rejected |= printed and outcome == "rejected"
        self.resolve_claimed(event, outcome if printed or outcome == "rejected" else "pending")

    def _note_aside(self, event: Event, supersede: Callable[[], object]) -> None:
        if not event.is_end and len(self._aside) < _MAX_ASIDE:
            self._aside[event.run_id] = supersede
