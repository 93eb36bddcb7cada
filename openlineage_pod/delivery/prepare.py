"""Preparing: a draft becomes a document, masked and within the size limit, and goes into the spool.

The preparer never waits for the network, so an event is in the spool within milliseconds whatever the backend does.
"""

from __future__ import annotations

import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from openlineage_pod._guard import guarded, logger
from openlineage_pod._once import Once
from openlineage_pod._sigterm import deferring_sigterm
from openlineage_pod._threads import Empty, ReentrantLock, SimpleQueue, Thread, new_thread, sleep
from openlineage_pod._threads import Event as ThreadEvent
from openlineage_pod.delivery.last_resort import PRINT_TIMEOUT
from openlineage_pod.delivery.ledger import Event
from openlineage_pod.events.document import Document, fallback_event, to_document, warn_once
from openlineage_pod.events.namespaces import clean_namespaces
from openlineage_pod.events.truncate import truncate_event

if TYPE_CHECKING:
    from collections.abc import Iterator

    from openlineage_pod.delivery.keeper import Keeper
    from openlineage_pod.delivery.ledger import Ledger
    from openlineage_pod.delivery.run_queue import RunQueue
    from openlineage_pod.events.document import Draft
    from openlineage_pod.events.secrets import Secrets
    from openlineage_pod.settings import Settings

__all__ = ["Preparer"]

# Unresolved events that are kept in memory; spooled ones are on disk and do not count.
_MAX_IN_MEMORY = 10_000
# Spooled events of which at least the place is kept in memory.
_MAX_AT_HAND = 1000
# Given back before events are kept, for a job that has no memory left. Until then it is only an address: nobody writes
# to it.
_reserve = [bytes(4 << 20)]
# Has the thread read back events that are in the spool alone.
_READ_BACK = Event(-1, "")


class Preparer:
    """The thread that prepares events, one by one, and queues their runs.

    Attributes:
        is_closed: whether the process ends: then a run's own terminal event is there already, and needs no fallback.
        has_spilled: whether events of this process are in the spool alone, and have to be read back.

    """

    def __init__(self, settings: Settings, secrets: Secrets, ledger: Ledger, keeper: Keeper, queue: RunQueue) -> None:
        self.is_closed = False
        self.has_spilled = False
        self._settings = settings
        self._secrets = secrets
        self._ledger = ledger
        self._keeper = keeper
        self._queue = queue
        self._inbox: SimpleQueue[Event | None] = SimpleQueue()
        # The runs of the events in it. Each use is one atomic step, as a signal handler may interrupt `put`.
        self._waiting: dict[str, None] = {}
        # Held by whoever makes documents and writes them to the spool: else the events of a run change places there.
        self._preparing = ReentrantLock()
        self._is_keeping_all = False
        self._is_asked_for_more = False
        self._is_overflowing = False
        self._thread: Thread | None = None
        self._begun = Once()
        self._is_ready = ThreadEvent()

    @property
    def is_running(self) -> bool:
        """Whether the thread runs."""
        return self._thread is not None and self._thread.is_alive()

    @property
    def waiting(self) -> int:
        """How many runs have events that wait to be prepared, at least."""
        return len(self._waiting)

    def start(self) -> None:
        """Start the thread, once.

        Raises:
            RuntimeError: The process may have no more threads.

        """
        if not self._begun.is_taken:
            thread: Thread = new_thread(lambda: self._run(thread), "prepare")
            thread.start()
            self._thread = self._thread or thread

    def wait_until_ready(self, timeout: float | None) -> None:
        """Wait up to `timeout` seconds until the credentials are read, and the spool is open or cannot be used."""
        self._is_ready.wait(timeout)

    def stop(self) -> None:
        """End the thread once it has done what is queued."""
        self._inbox.put(None)

    def put(self, event: Event) -> None:
        """Queue an event; without any I/O or lock."""
        self._waiting[event.run_id] = None
        self._inbox.put(event)

    def read_back(self) -> None:
        """Have events that are in the spool alone read back, if there are any."""
        if self.has_spilled and not self._is_asked_for_more:
            self._is_asked_for_more = True
            self._inbox.put(_READ_BACK)

    def keep_all(self, deadline: float) -> None:
        """Leave everything undelivered where it can be found: in the spool, or on stderr until the deadline."""
        _reserve.clear()
        now = time.monotonic()
        self._is_keeping_all = True
        try:
            # The thread may hang in the file system; half of the time is left for printing.
            with self._alone(max(0.0, deadline - now) / 2) as alone:
                # Not from the inbox: the thread may have taken the START of a run from it whose end is still there.
                for event in self._ledger.unresolved():
                    with deferring_sigterm:  # a claimed event that is not yet printed would be lost
                        self._save(event, deadline, to_spool=alone or not self._settings.last_resort)
                        self._keeper.leave(event, deadline)
        finally:
            self._is_keeping_all = False

    def keep(self, event: Event) -> None:
        """Leave one event where it can be found, as no transport is there to take it."""
        _reserve.clear()
        deadline = time.monotonic() + PRINT_TIMEOUT
        with self._alone(PRINT_TIMEOUT) as alone:
            self._save(event, deadline, to_spool=alone)
        self._keeper.leave(event, deadline)

    @contextmanager
    def _alone(self, timeout: float) -> Iterator[bool]:
        """Keep others from preparing events; yield whether they could be kept from it within `timeout` seconds."""
        alone = self._preparing.acquire(timeout=timeout)
        try:
            yield alone
        finally:
            if alone:
                self._preparing.release()

    def _run(self, thread: Thread) -> None:
        if not self._begun.take():
            return  # the start of another thread was interrupted, but it runs
        self._thread = thread
        self._get_ready()
        while (event := self._inbox.get()) is not None:
            self._handle(event)
            if self._is_keeping_all:
                sleep(0.001)  # else the next event could have the lock before the end of the process has it

    def work_here(self) -> None:
        """Prepare what waits on this thread, unless the other one could be started."""
        if self._begun.take():
            self._get_ready()
        with suppress(Empty):
            while not self.is_running and (event := self._inbox.get(block=False)) is not None:
                self._handle(event)

    def _handle(self, event: Event) -> None:
        self._waiting.pop(event.run_id, None)
        if event is _READ_BACK:
            with guarded("read events back from the spool"), self._preparing:
                self._read_back()
            return
        with guarded("prepare an event"):
            with self._preparing:
                self._prepare(event)
            if not event.is_fallback:
                self._make_room(event)
        with guarded("queue an event"):
            if not event.is_claimed and not event.is_fallback:
                self._queue.put(event)

    def _get_ready(self) -> None:
        try:
            self._open()
        finally:
            self._is_ready.set()
        self._ledger.notify()  # how long the end of the process waits depends on the spool

    def _open(self) -> None:
        with guarded("read the configured keys"):
            self._secrets.read(self._settings.environ)
        if self._settings.spool_dir:
            with guarded("open the spool"):
                spool = self._keeper.open_spool()
                with self._preparing:  # of what is kept at one time, all is spooled or all is printed
                    self._keeper.spool = spool

    def _prepare(self, event: Event) -> None:
        """Make the document, and put it into the spool; from there on only its place is kept.

        The caller holds `_preparing`. It may be interrupted at any place, by a signal handler that prepares the same
        event, or by Ctrl-C: then whoever comes next does it all once more.
        """
        draft, keeper = event.draft, self._keeper
        if draft is None:
            return
        if event.is_fallback:
            if not self.is_closed:
                keeper.write_fallback(self._document(draft))
        elif not event.is_claimed:
            event.document = document = self._document(draft)
            if keeper.spool is not None and event.entry is None and not event.is_claimed:
                if not event.is_end:
                    keeper.write_fallback(Document(fallback_event(document.fields)))
                keeper.write(event, document)
        event.draft = None
        # A START that is claimed was printed, for the end did not wait for us: then the run's end was, too, or is lost.
        is_over = event.entry is not None if event.is_end else event.is_claimed
        if is_over:
            keeper.remove_fallback(event.run_id)

    def _document(self, draft: Draft) -> Document:
        """Return the event as it may leave this pod: within the size limit, without credentials, safe to store."""
        # First cut, which bounds the time that masking takes: a regular expression holds the interpreter.
        fields, document = self._within_limit(to_document(draft))
        # Last the namespaces: no later step may put a character into them that takes a backend down.
        clean, warnings = clean_namespaces(self._secrets.document(fields, by_form=self._settings.redact))
        for warning in warnings:
            warn_once(draft.run_id, draft.job_name, warning)
        return document if clean == fields else self._within_limit(clean)[1]  # it may have become longer

    def _within_limit(self, fields: dict[str, Any]) -> tuple[dict[str, Any], Document]:
        document, limit = Document(fields), self._settings.max_event_bytes
        if len(document.body) > limit:
            fields, _ = truncate_event(fields, limit, document.body)
            document = Document(fields)
        return fields, document

    def _make_room(self, event: Event) -> None:
        """Let go of an event that has been prepared, where there are too many."""
        if event.entry is not None:
            if self.has_spilled or len(self._ledger) > _MAX_AT_HAND:
                self.has_spilled = True
                self._keeper.resolve(event, "spooled")
            return
        if len(self._ledger) <= _MAX_IN_MEMORY:
            self._is_overflowing = False
            return
        if not self._is_overflowing:
            self._is_overflowing = True
            logger.warning("more than %d lineage events are undelivered; further ones are printed", _MAX_IN_MEMORY)
        self._keeper.print(event, time.monotonic() + PRINT_TIMEOUT)

    def _read_back(self) -> None:
        """Take up the oldest events of this process that are in the spool alone. Meanwhile none goes past them."""
        spool = self._keeper.spool
        if spool is not None:
            known = {event.entry.name for event in self._ledger.unresolved() if event.entry is not None}
            known |= self._keeper.held
            others = [entry for entry in spool.entries() if entry.owner == spool.owner and entry.name not in known]
            for entry in others[:_MAX_AT_HAND]:
                self._queue.put(self._ledger.reopen(entry))
            self.has_spilled = len(others) > _MAX_AT_HAND
        self._is_asked_for_more = False
        self._ledger.notify()

    def _save(self, event: Event, deadline: float, *, to_spool: bool) -> None:
        """Have an undelivered event in the spool, or else in memory.

        `to_spool`: the caller holds `_preparing`; else the spool is not touched.
        """
        with guarded("keep an event"):
            if not to_spool:
                if (draft := event.draft) is not None and event.document is None and time.monotonic() < deadline:
                    event.document = self._document(draft)
                return
            if time.monotonic() < deadline:  # else there is no time left to make the document
                self._prepare(event)
            self._keeper.rewrite(event)
