"""Delivery: takes drafts from the job's threads and gets their events to the backend.

    job's threads          intake thread                              lane threads
    submit(draft) ──► inbox ──► document, masked, limited, spooled ──► transport, retried

The intake never waits for the network, so an event is in the spool within milliseconds whatever the backend does. A
lane takes a run and delivers its events in their order; while a backlog of runs builds up, further lanes start.

Between the job's threads and ours there is one queue and one table of unsettled events. What becomes of an event is
decided by whoever claims it; that is what makes every event counted once, also when the deadline of the exit overtakes
a request that is still under way. The job's threads hold no lock in `submit`: a signal handler or a finaliser may call
it while it interrupts `submit` itself.
"""

from __future__ import annotations

import itertools
import math
import sys
import threading
import time
from collections import deque
from contextlib import contextmanager, suppress
from queue import Empty, PriorityQueue, SimpleQueue
from typing import TYPE_CHECKING, Any

from openlineage_pod._guard import guarded, logger, masking
from openlineage_pod._sigterm import deferring_sigterm
from openlineage_pod.delivery.drain import drain
from openlineage_pod.delivery.last_resort import print_event
from openlineage_pod.delivery.report import DeliveryReport
from openlineage_pod.delivery.retry import RetryPolicy, is_transient
from openlineage_pod.delivery.spool import Spool
from openlineage_pod.delivery.transports.client import NOT_CONFIGURED, configured_secrets, connect, describe
from openlineage_pod.events.document import Draft, fallback_event, to_document
from openlineage_pod.events.secrets import Redactor
from openlineage_pod.events.truncate import truncate_event
from openlineage_pod.settings import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from openlineage_pod.delivery.spool import Entry
    from openlineage_pod.delivery.transports.client import Backend
    from openlineage_pod.settings import Settings

__all__ = ["Delivery"]

# What is printed after the deadline goes to a pipe that is normally read at once.
_PRINT_TIMEOUT = 0.2
# With a spool, the exit does not wait longer than this for a backend that accepts nothing.
_SPOOLED_EXIT = 0.7
# How long one event may hold up the others of its lane.
_PATIENCE = 10.0
# How often the events that were put aside are tried again.
_SECOND_TRY = 5.0
_SECOND_TRY_AT_EXIT = 0.2
# A lane with this many events ahead is a backlog.
_BACKLOG = 4
_MAX_WORKERS = 64
# Unsettled events that are kept in memory; spooled ones are on disk and do not count.
_MAX_IN_MEMORY = 10_000
# Spooled events whose documents are kept in memory as well, and those of which at least the place is.
_MAX_KEPT = 100
_MAX_AT_HAND = 1000
# How long the first lane leaves the interpreter to the job before its imports compete for it.
_HEAD_START = 0.01


class _Item:
    """An event on its way: first a draft, then its document, or only its place in the spool."""

    __slots__ = ("_unclaimed", "document", "draft", "entry", "is_end", "is_will", "number", "run_id")

    def __init__(self, number: int, run_id: str, draft: Draft | None = None, *, is_will: bool = False) -> None:
        self.number = number
        self.is_will = is_will
        self.is_end = draft is not None and draft.event_type != "START" and not is_will
        self.run_id = run_id
        self.draft = draft
        self.document: dict[str, Any] | None = None
        self.entry: Entry | None = None
        self._unclaimed = [True]

    def claim(self) -> bool:
        """Take over the say in what becomes of the event; True for one caller only."""
        try:
            return self._unclaimed.pop()  # atomic
        except IndexError:
            return False

    @property
    def is_claimed(self) -> bool:
        """Whether somebody has the say in it already."""
        return not self._unclaimed


# Has the intake take up events that are in the spool alone.
_READ_BACK = _Item(-1, "")


class Delivery:
    """Delivers the events of one process. Every method may be called from any thread; none raises.

    Args:
        settings: where to, and how long the end of the process may wait.
        connect: makes the backend, on a thread of the delivery; returns None if none is configured.

    """

    def __init__(self, settings: Settings, connect: Callable[[Mapping[str, str]], Backend | None] = connect) -> None:
        self._settings = settings
        self._connect = connect
        self._retry = RetryPolicy()
        # The intake replaces it by one that knows the configured keys: one of them may be in a file.
        self._redactor = Redactor()
        self._inbox: SimpleQueue[_Item | None] = SimpleQueue()
        self._unsettled: dict[int, _Item] = {}
        self._numbers = itertools.count()
        self._counts = dict.fromkeys(DeliveryReport._fields, 0)
        # Reentrant: a signal handler may interrupt the main thread between its acquire and release.
        self._counting = threading.RLock()
        self._starting = threading.RLock()
        # Held by whoever makes documents and writes them to the spool: else the events of a run change places there.
        self._preparing = threading.RLock()
        # Runs whose ends are nowhere: others shall report them.
        self._lost: set[str] = set()
        self._keeping = False
        self._intake: threading.Thread | None = None
        self._spool: Spool | None = None
        self._lanes: list[_Lane] = []
        # Run id -> its events, in order. A run is in `ready`, or in `aside`, or with a lane, and with one only.
        self._queued: dict[str, list[_Item]] = {}
        self._queueing = threading.Lock()
        # By the number of a run's next event, so that a parent's end comes after those of its children.
        self.ready: PriorityQueue[tuple[float, str]] = PriorityQueue()
        self.aside: deque[str] = deque()
        self._drainer: threading.Thread | None = None
        # Queues and not events: put() is reentrant, and may interrupt the very get() that waits.
        self._waiting: list[SimpleQueue[None]] = []
        self._exit_budget = settings.flush_timeout
        self._closed = False
        self._healthy = False
        self._failing = False
        self._overflowing = False
        # Whether events of this process are in the spool alone, and have to be read back.
        self._spilled = False
        self._asked_for_more = False
        self._stopped = False
        self._closing_end: float | None = None
        self._reported: DeliveryReport | None = None
        # When the backend last accepted an event, or was first asked to.
        self._last_progress: float | None = None
        self.next_second_try = 0.0

    def submit(self, draft: Draft) -> None:
        """Take over an event; returns within microseconds, without any I/O."""
        item = _Item(next(self._numbers), draft.run_id, draft)
        self._unsettled[item.number] = item
        self._inbox.put(item)
        self._start()
        if self._closed:
            # An exit handler of the job that runs after ours reports a run of its own.
            self.close()

    def bequeath(self, draft: Draft) -> None:
        """Have a run's terminal event reported by others should this process end without one; it takes a spool."""
        if self._settings.spool_dir:
            self._inbox.put(_Item(next(self._numbers), draft.run_id, draft, is_will=True))
            self._start()

    def flush(self, timeout: float | None = None) -> DeliveryReport:
        """Wait up to `timeout` seconds (default: the flush timeout) until all events so far are settled."""
        timeout = self._settings.flush_timeout if timeout is None else timeout
        self._wait(time.monotonic() + timeout)
        return self.report()

    def close(self, within: float | None = None) -> DeliveryReport:
        """Deliver within what is left of the flush timeout, print the rest, and say what became of the events.

        `within`: seconds that it may take at most, where there is less than the flush timeout.
        """
        started = time.monotonic()
        # A signal handler may close while the end of the process is closing already.
        limits = (self._exit_budget, within, self._closing_end and self._closing_end - started)
        self._exit_budget = max(0.0, min(limit for limit in limits if limit is not None))
        self._closed = True
        if self._unsettled:
            self._start()  # a signal may have interrupted the job's thread before it got there
        end = self._closing_end = started + self._exit_budget
        # The reserve is for printing: the whole must not exceed the flush timeout.
        deadline = end - min(_PRINT_TIMEOUT, self._exit_budget / 10)
        with deferring_sigterm:  # a handler that closes once more must not find their locks taken
            self._retry.close(deadline)
            self._wake_lanes()  # what stepped aside is tried once more
        try:
            self._wait(deadline, at_exit=True)
            if self._drainer is not None and not sys.is_finalizing():
                self._drainer.join(max(0.0, self._exit_deadline(deadline, started) - time.monotonic()))
        finally:
            # Also when Ctrl-C interrupts the wait: what is undelivered must not go without a word.
            print_deadline = max(end, time.monotonic() + _PRINT_TIMEOUT / 2)
            has_no_answer = self._unsettled and self._lanes and not (self._failing or self._healthy)
            try:
                self._keep_all(print_deadline)
            except KeyboardInterrupt:
                self._keep_all(print_deadline)
                raise
            self._spilled = False  # what is in the spool alone stays there
            self._wait(print_deadline)  # for those that a thread of ours is printing at the moment
            if has_no_answer and self._spool is None:
                logger.warning("the lineage backend has given no answer yet")
            self._exit_budget = max(0.0, end - time.monotonic())
            self._closing_end = None
            if self._spool is not None:
                self._spool.release()
        report = self.report()
        if report.delivered != sum(report) and report != self._reported:
            self._reported = report
            logger.warning("at exit not all lineage events were delivered: %s", report)
        return report

    def _keep_all(self, deadline: float) -> None:
        """Leave everything undelivered where it can be found."""
        now = time.monotonic()
        self._keeping = True
        try:
            # The intake may hang in the file system; half of the time is left for printing.
            with self._alone(max(0.0, deadline - now) / 2) as alone:
                # Not from the inbox: the intake may have taken the START of a run from it whose end is still there.
                for item in list(self._unsettled.values()):
                    with deferring_sigterm:  # a claimed event that is not yet printed would be lost
                        self._save(item, deadline, to_spool=alone or not self._settings.last_resort)
                        self._leave(item, deadline)
        finally:
            self._keeping = False

    @contextmanager
    def _alone(self, patience: float) -> Iterator[bool]:
        """Keep others from preparing events; give whether they could be kept from it within some seconds."""
        alone = self._preparing.acquire(timeout=patience)
        try:
            yield alone
        finally:
            if alone:
                self._preparing.release()

    def report(self) -> DeliveryReport:
        """Return what has become of the events so far."""
        with self._counting:
            counts = dict(self._counts)
        counts["pending"] += len(self._unsettled)
        return DeliveryReport(**counts)

    def stop(self) -> None:
        """End the threads once they have done what is queued; for tests, which make many deliveries in one process."""
        self._inbox.put(None)
        self._stopped = True
        self._wake_lanes()

    def abandon(self) -> None:
        """Let go of what a forked child has inherited and must not use."""
        if self._spool is not None:
            self._spool.abandon()

    @property
    def second_try(self) -> float:
        """Seconds after which events that stepped aside are tried again."""
        return _SECOND_TRY_AT_EXIT if self._closed else _SECOND_TRY

    # --- waiting

    def _wait(self, deadline: float, *, at_exit: bool = False) -> None:
        """Wait until all events so far are settled, or the deadline."""
        # What is read back from the spool gets new numbers.
        last = math.inf if at_exit or self._spilled else next(self._numbers)
        started = time.monotonic()
        waiter: SimpleQueue[None] = SimpleQueue()
        self._waiting.append(waiter)
        try:
            while self._is_running() and (self._oldest(last) < last or self._spilled):
                until = self._exit_deadline(deadline, started) if at_exit else deadline
                remaining = until - time.monotonic()
                if remaining <= 0:
                    return
                with suppress(Empty):
                    waiter.get(timeout=remaining)
        finally:
            self._waiting.remove(waiter)

    def _oldest(self, none: float) -> float:
        """Return the number of the oldest unsettled event, or `none`."""
        try:
            return next(iter(self._unsettled), none)  # in the order of insertion
        except RuntimeError:
            return -1  # changed by another thread meanwhile: look again

    def _exit_deadline(self, deadline: float, started: float) -> float:
        """Return how long the exit waits: with the events safe in a spool, only while the backend accepts some."""
        if self._spool is None:
            return deadline
        if self._failing:
            return min(deadline, started + _SPOOLED_EXIT)
        if self._last_progress is None:
            return deadline  # it has not been asked yet
        return min(deadline, max(started, self._last_progress) + _SPOOLED_EXIT)

    def _is_running(self) -> bool:
        # While the interpreter is torn down (an unexhausted generator is closed then), no thread runs any more.
        return self._intake is not None and self._intake.is_alive() and not sys.is_finalizing()

    # --- intake

    def _start(self) -> None:
        if self._intake is not None:
            return
        with self._starting, guarded("start the delivery thread"):
            if self._intake is None:
                self._intake = _started(self._take_in, "openlineage-pod-intake")

    def _take_in(self) -> None:
        with guarded("read the configured keys"):
            secrets = configured_secrets(self._settings.environ)
            self._redactor = Redactor(secrets, patterns=self._settings.redact)
            masking.redactor = Redactor(secrets)
        if self._settings.spool_dir:
            try:
                spool = Spool(self._settings.spool_dir, self._settings.spool_max_bytes)
                with self._preparing:  # of what is kept at one time, all is spooled or all is printed
                    self._spool = spool
            except OSError as error:
                logger.warning(
                    "the spool %s cannot be used (%s), so undelivered events are kept in memory only",
                    self._settings.spool_dir,
                    error,
                )
        self._tell_waiting()  # how long the end of the process waits depends on the spool
        while True:
            item = self._inbox.get()
            if item is None:
                return
            if item is _READ_BACK:
                with guarded("read events back from the spool"), self._preparing:
                    self._read_back()
                continue
            with guarded("prepare an event"):
                with self._preparing:
                    self._prepare(item)
                if not item.is_will:
                    self._make_room(item)
            with guarded("queue an event"):
                if not item.is_claimed and not item.is_will:
                    self._queue(item)
            if self._keeping:
                time.sleep(0.001)  # else the next event could have the lock before the end of the process has it

    def _prepare(self, item: _Item) -> None:
        """Make the document, and put it into the spool; from there on only its place is kept.

        The caller holds `_preparing`. It may be interrupted at any place, by a signal handler that prepares the same
        event, or by Ctrl-C: then whoever comes next does it all once more.
        """
        draft, spool = item.draft, self._spool
        if draft is None:
            return
        if item.is_will:
            if not self._closed:  # else the run's own end is there by now
                self._bequeath(self._document(draft))
        elif not item.is_claimed:
            item.document = document = self._document(draft)
            if spool is not None and item.entry is None and not item.is_claimed:
                if not item.is_end:
                    self._bequeath(fallback_event(document))
                self._write(item, document, spool)
        item.draft = None
        # A claimed START was printed, for the end did not wait for us: then the run's end was, too, or is lost.
        is_over = item.entry is not None if item.is_end else item.is_claimed
        if spool is not None and is_over and item.run_id not in self._lost:
            spool.withdraw(item.run_id)

    def _make_room(self, item: _Item) -> None:
        """Let go of an event that has been prepared, where there are too many."""
        if item.entry is not None:
            if self._spilled or len(self._unsettled) > _MAX_AT_HAND:
                self._spilled = True
                self._settle(item, "spooled")
            return
        if len(self._unsettled) <= _MAX_IN_MEMORY:
            self._overflowing = False
            return
        if not self._overflowing:
            self._overflowing = True
            logger.warning("more than %d lineage events are undelivered; further ones are printed", _MAX_IN_MEMORY)
        self._print(item, time.monotonic() + _PRINT_TIMEOUT)

    def ask_for_more(self) -> None:
        """Have events that are in the spool alone read back; called by a lane without work."""
        if self._spilled and not self._asked_for_more:
            self._asked_for_more = True
            self._inbox.put(_READ_BACK)

    def _read_back(self) -> None:
        """Take up the oldest events of this process that are in the spool alone. Meanwhile none goes past them."""
        spool = self._spool
        if spool is not None:
            at_hand = {item.entry.name for item in list(self._unsettled.values()) if item.entry is not None}
            others = [entry for entry in spool.entries() if entry.owner == spool.owner and entry.name not in at_hand]
            for entry in others[:_MAX_AT_HAND]:
                item = _Item(next(self._numbers), entry.run_id)
                item.entry = entry
                with self._counting:
                    self._counts["spooled"] -= 1
                self._unsettled[item.number] = item
                self._queue(item)
            self._spilled = len(others) > _MAX_AT_HAND
        self._asked_for_more = False
        self._tell_waiting()

    def _bequeath(self, will: dict[str, Any]) -> None:
        """Leave the terminal event of a run to others, should this process end without one."""
        if self._spool is not None and not self._spool.failing:
            with suppress(OSError):  # what is wrong with the spool, the event itself will tell
                self._spool.bequeath(will)

    def _document(self, draft: Draft) -> dict[str, Any]:
        """Return the event as it may leave this pod: within the size limit, and without credentials."""
        limit = self._settings.max_event_bytes
        document, _ = truncate_event(to_document(draft), limit)
        # Masking may make it longer.
        return truncate_event(self._redactor.document(document), limit)[0]

    def _write(self, item: _Item, document: dict[str, Any], spool: Spool) -> None:
        try:
            item.entry = spool.write(document)
        except OSError as error:
            if not spool.failing:
                spool.failing = True
                logger.warning("the spool %s cannot be written to (%s); events are kept in memory", spool.path, error)
        else:
            spool.failing = False
            if len(self._unsettled) > _MAX_KEPT:  # a few stay in memory, too: the directory may vanish
                item.document = None

    # --- lanes

    def _queue(self, item: _Item) -> None:
        """Put an event behind the others of its run, and the run where a lane finds it."""
        with self._queueing:
            events = self._queued.setdefault(item.run_id, [])
            events.append(item)
            if len(events) == 1:
                self.ready.put((item.number, item.run_id))
        self.start_lane()

    def _wake_lanes(self) -> None:
        for _ in list(self._lanes):
            self.ready.put((math.inf, ""))

    @property
    def is_stopped(self) -> bool:
        """Whether a lane without work ends."""
        return self._stopped

    def start_lane(self) -> None:
        """Start the first lane; or, while runs wait behind a backend that is well, a further one."""
        with self._queueing:
            backend = None
            if self._lanes:
                is_backlog = self.ready.qsize() >= _BACKLOG * len(self._lanes) and len(self._lanes) < _MAX_WORKERS
                if is_backlog and self._healthy and not self._failing:
                    backend = self._lanes[0].another_backend()
                if backend is None:
                    return
            self._lanes.append(_Lane(self, backend))

    def next_of(self, run_id: str) -> _Item:
        """Return the next event of a run that is with a lane."""
        return self._queued[run_id][0]

    def next_turn(self, run_id: str) -> None:
        """Take the settled event of a run away, and have the run wait for its next turn if there are others."""
        with self._queueing:
            events = self._queued[run_id]
            del events[0]
            if events:
                self.ready.put((events[0].number, run_id))
            else:
                del self._queued[run_id]

    def _first_backend(self) -> Backend | None:
        """Import and connect; runs on the first lane."""
        # Give the job its first lines before the imports compete with it for the interpreter; unless it ends already.
        self._retry.wait_for_close(_HEAD_START)
        backend: Backend | None = None
        environ = self._settings.environ
        try:
            backend = self._connect(environ)
            if backend is None and self._spool is None:
                logger.warning("%s; until then events are only printed", NOT_CONFIGURED)
        except ConfigurationError as error:
            logger.warning("%s", error)
        except Exception as error:
            logger.warning("no lineage transport can be built: %s", describe(error, self._redactor))
        if backend is None and self._spool is not None:
            self._spool.hand_over()
        if backend is not None and self._spool is not None:
            with guarded("start the draining of the spool"):
                self._drainer = _started(lambda: self._drain(backend), "openlineage-pod-drainer")
        return backend

    def deliver(self, item: _Item, backend: Backend | None, patience: float) -> bool:
        """Try to deliver an event for up to `patience` seconds; say whether it is settled."""
        if item.is_claimed:
            return True  # printed at the deadline
        if backend is None:
            deadline = time.monotonic() + _PRINT_TIMEOUT
            with self._alone(_PRINT_TIMEOUT) as alone:
                self._save(item, deadline, to_spool=alone)
            self._leave(item, deadline)
            return True
        document = item.document
        if document is None and item.entry is not None and self._spool is not None:
            document = self._spool.read(item.entry)
        if document is None:
            where = item.entry.path if item.entry is not None else "its document, which could not be made,"
            logger.warning("an event is lost: %s has gone", where)
            self._settle(item, "pending")
            return True
        if self._last_progress is None:
            self._last_progress = time.monotonic()
            self._tell_waiting()
        try:
            self._retry.call(lambda: backend.emit(document), self._on_failure, patience)
        except Exception as error:
            if is_transient(error):
                self._on_failure(error)
                return False
            self._reject(item, document, error)
        else:
            self._healthy, self._failing, self._last_progress = True, False, time.monotonic()
            self._accepted(item)
        return True

    def _accepted(self, item: _Item) -> None:
        is_mine = item.claim()  # first: else what is missing in the spool passes for vanished
        if item.entry is not None and self._spool is not None:
            self._spool.remove(item.entry)
        if is_mine:
            self._finish(item, "delivered")

    def _reject(self, item: _Item, document: dict[str, Any], error: Exception) -> None:
        reason = describe(error, self._redactor)
        logger.warning(
            "the lineage backend refused the %s event of job %s, run %s, for good: %s",
            document["eventType"],
            document["job"]["name"],
            item.run_id,
            reason,
        )
        if not item.claim():  # first, as in `_accepted`
            return
        if item.entry is not None and self._spool is not None and self._spool.reject(item.entry, document, reason):
            self._finish(item, "rejected")
        else:
            self._print_claimed(item, time.monotonic() + _PRINT_TIMEOUT, "rejected")

    def _on_failure(self, error: BaseException) -> None:
        if not self._failing:  # one line per outage
            self._failing = True
            logger.warning(
                "lineage events cannot be delivered at the moment, trying again: %s", describe(error, self._redactor)
            )
        self._tell_waiting()

    def _drain(self, backend: Backend) -> None:
        """Deliver what processes before this one left in the spool."""
        if self._spool is not None:
            with guarded("drain the spool"), self._spool.left_behind() as entries:
                # A connection of its own: transports other than HTTP are not known to bear two threads.
                backend = backend.another() or self._connect(self._settings.environ) or backend
                drain(self._spool, entries or [], backend.emit, self._redactor, lambda: self._closed)

    # --- settling

    def _settle(self, item: _Item, as_what: str) -> None:
        if item.claim():
            self._finish(item, as_what)

    def _finish(self, item: _Item, as_what: str) -> None:
        """Count an event that the caller has claimed."""
        if item.is_end and item.entry is None and self._settings.spool_dir:
            if as_what == "pending":
                self._lost.add(item.run_id)
            elif self._spool is not None:
                self._spool.withdraw(item.run_id)
        with self._counting:
            self._counts[as_what] += 1
        self._unsettled.pop(item.number, None)
        self._tell_waiting()

    def _tell_waiting(self) -> None:
        for waiter in list(self._waiting):
            waiter.put(None)

    def _save(self, item: _Item, deadline: float, *, to_spool: bool) -> None:
        """Have an undelivered event in the spool, or else in memory.

        `to_spool`: the caller holds `_preparing`; else the spool is not touched.
        """
        with guarded("keep an event"):
            if not to_spool:
                if (draft := item.draft) is not None and item.document is None and time.monotonic() < deadline:
                    item.document = self._document(draft)
                return
            if time.monotonic() < deadline:  # else there is no time left to make the document
                self._prepare(item)
            spool, entry = self._spool, item.entry
            if spool is not None and entry is not None and not spool.has(entry) and not item.is_claimed:
                item.entry = None  # the directory has vanished
                if item.document is not None:
                    self._write(item, item.document, spool)

    def _leave(self, item: _Item, deadline: float) -> None:
        """Leave a saved event where it can be found: in the spool, or else on stderr."""
        if item.entry is not None:
            self._settle(item, "spooled")
        else:
            self._print(item, deadline)

    def _print(self, item: _Item, deadline: float) -> None:
        """Write the event to stderr as a line from which it can be delivered later."""
        if item.claim():
            self._print_claimed(item, deadline, "printed")

    def _print_claimed(self, item: _Item, deadline: float, as_what: str) -> None:
        printed = False
        if self._settings.last_resort:
            with guarded("print an event"):
                printed = item.document is not None and print_event(item.document, deadline)
        self._finish(item, as_what if printed or as_what == "rejected" else "pending")


class _Lane:
    """A thread that takes runs, one after the other, and delivers their events in order.

    A run whose event keeps failing steps aside, with its later events, and is tried again from time to time.
    """

    def __init__(self, delivery: Delivery, backend: Backend | None) -> None:
        self._delivery = delivery
        self._backend = backend
        self._is_first = backend is None
        _started(self._run, "openlineage-pod-lane")

    def another_backend(self) -> Backend | None:
        """Return a backend for another lane, or None if there is none yet or the transport allows only one."""
        return self._backend.another() if self._backend is not None else None

    def _run(self) -> None:
        delivery = self._delivery
        if self._is_first:
            self._backend = delivery._first_backend()
        while True:
            if not delivery.aside and delivery.ready.empty():
                delivery.ask_for_more()
            try:
                _, run_id = delivery.ready.get(timeout=delivery.second_try if delivery.aside else None)
            except Empty:
                run_id = ""
            with guarded("deliver an event"):
                if run_id:
                    delivery.start_lane()
                    self._deliver(run_id, _PATIENCE)
                elif delivery.is_stopped:
                    return
                # Also while there is no end of other runs.
                if not run_id or time.monotonic() >= delivery.next_second_try:
                    self._try_aside()

    def _try_aside(self) -> None:
        self._delivery.next_second_try = time.monotonic() + self._delivery.second_try
        with suppress(IndexError):
            for _ in range(len(self._delivery.aside)):
                self._deliver(self._delivery.aside.popleft(), 0)

    def _deliver(self, run_id: str, patience: float) -> None:
        delivery = self._delivery
        if delivery.deliver(delivery.next_of(run_id), self._backend, patience):
            delivery.next_turn(run_id)
        else:
            delivery.aside.append(run_id)


def _started(target: Callable[[], None], name: str) -> threading.Thread:
    """Return a started daemon thread: one that hangs in a request must not hold up the end of the process."""
    thread = threading.Thread(target=target, name=name, daemon=True)
    thread.start()
    return thread
