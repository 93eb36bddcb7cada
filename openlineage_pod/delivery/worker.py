"""Delivery: takes drafts from the job's threads and gets their events to the backend.

    job's threads          intake thread                              lane threads
    submit(draft) ──► inbox ──► document, masked, limited, spooled ──► transport, retried

The intake never waits for the network, so an event is in the spool within milliseconds whatever the backend does. One
lane delivers the events of a run in their order; while a backlog builds up, further lanes start, each run bound to one.

Between the job's threads and ours there is one queue and one table of unsettled events. What becomes of an event is
decided by whoever claims it; that is what makes every event counted once, also when the deadline of the exit overtakes
a request that is still under way. The job's threads hold no lock in `submit`: a signal handler or a finaliser may call
it while it interrupts `submit` itself.
"""

from __future__ import annotations

import itertools
import sys
import threading
import time
from collections import deque
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any

from openlineage_pod._guard import ConfigurationError, guarded, logger
from openlineage_pod.delivery.last_resort import print_event
from openlineage_pod.delivery.report import DeliveryReport
from openlineage_pod.delivery.retry import RetryPolicy, is_transient
from openlineage_pod.delivery.spool import Spool
from openlineage_pod.delivery.transport import NOT_CONFIGURED, configured_secrets, connect, describe
from openlineage_pod.events import Draft, to_document
from openlineage_pod.limits import limited
from openlineage_pod.redaction import Redactor

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from openlineage_pod.delivery.spool import Entry
    from openlineage_pod.delivery.transport import Backend
    from openlineage_pod.settings import Settings

__all__ = ["Delivery"]

# What is printed after the deadline goes to a pipe that is normally read at once.
_PRINT_TIMEOUT = 0.2
# With a spool, the exit does not wait longer than this for a backend that has not accepted anything of late.
_SPOOLED_EXIT = 0.7
# How long one event may hold up the others of its lane.
_PATIENCE = 10.0
# How often the events that were put aside are tried again.
_SECOND_TRY = 5.0
_SECOND_TRY_AT_EXIT = 0.2
# A lane with this many events ahead is a backlog.
_BACKLOG = 4
_MOST_LANES = 64
# Unsettled events that are kept in memory; spooled ones are on disk and do not count.
_MOST_IN_MEMORY = 10_000
# Spooled events that are kept in memory as well.
_MOST_KEPT = 100
# How long the first lane leaves the interpreter to the job before its imports compete for it.
_HEAD_START = 0.01


class _Item:
    """An event on its way: first a draft, then its document, or only its place in the spool."""

    __slots__ = ("_unclaimed", "document", "draft", "entry", "number", "run_id")

    def __init__(self, number: int, draft: Draft) -> None:
        self.number = number
        self.run_id = draft.run_id
        self.draft: Draft | None = draft
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
        self._redactor = Redactor(configured_secrets(settings.environ), patterns=settings.redact)
        self._inbox: SimpleQueue[_Item] = SimpleQueue()
        self._unsettled: dict[int, _Item] = {}
        self._numbers = itertools.count()
        self._counts = dict.fromkeys(DeliveryReport._fields, 0)
        # Reentrant: a signal handler may interrupt the main thread between its acquire and release.
        self._counting = threading.RLock()
        self._starting = threading.RLock()
        self._intake: threading.Thread | None = None
        self._spool: Spool | None = None
        self._lanes: list[_Lane] = []
        # Run id -> its lane and how many of its events are there.
        self._bound: dict[str, tuple[_Lane, int]] = {}
        self._binding = threading.Lock()
        self._drainer: threading.Thread | None = None
        # Queues and not events: put() is reentrant, and may interrupt the very get() that waits.
        self._waiting: list[SimpleQueue[None]] = []
        self._exit_budget = settings.flush_timeout
        self._closed = False
        self._healthy = False
        self._failing = False
        self._overflowing = False

    def submit(self, draft: Draft) -> None:
        """Take over an event; returns within microseconds, without any I/O."""
        item = _Item(next(self._numbers), draft)
        self._unsettled[item.number] = item
        self._inbox.put(item)
        self._start()
        if self._closed:
            # An exit handler of the job that runs after ours reports a run of its own.
            self.close()

    def flush(self, timeout: float | None = None) -> DeliveryReport:
        """Wait up to `timeout` seconds (default: the flush timeout) until all events so far are settled."""
        timeout = self._settings.flush_timeout if timeout is None else timeout
        self._wait(time.monotonic() + timeout)
        return self.report()

    def close(self) -> DeliveryReport:
        """Deliver within what is left of the flush timeout, print the rest, and say what became of the events."""
        started = time.monotonic()
        self._closed = True
        if self._unsettled:
            self._start()  # a signal may have interrupted the job's thread before it got there
        end = started + self._exit_budget
        # The reserve is for printing: the whole must not exceed the flush timeout.
        deadline = end - min(_PRINT_TIMEOUT, self._exit_budget / 10)
        self._retry.close(deadline)
        for lane in list(self._lanes):
            lane.wake()
        try:
            self._wait(deadline, at_exit=True)
            if self._drainer is not None and not sys.is_finalizing():
                self._drainer.join(max(0.0, self._exit_deadline(deadline, started) - time.monotonic()))
        finally:
            if self._unsettled and self._lanes and not (self._failing or self._healthy) and self._spool is None:
                logger.warning("the lineage backend has given no answer yet")
            # Also when Ctrl-C interrupts the wait: what is undelivered must not go without a word.
            print_deadline = max(end, time.monotonic() + _PRINT_TIMEOUT / 2)
            for item in list(self._unsettled.values()):
                self._keep(item, print_deadline)
            self._wait(print_deadline)  # for those that a thread of ours is printing at the moment
            self._exit_budget = max(0.0, end - time.monotonic())
            if self._spool is not None:
                self._spool.release()
        report = self.report()
        if report.delivered != sum(report):
            logger.warning("at exit not all lineage events were delivered: %s", report)
        return report

    def report(self) -> DeliveryReport:
        """Return what has become of the events so far."""
        with self._counting:
            counts = dict(self._counts)
        counts["pending"] += len(self._unsettled)
        return DeliveryReport(**counts)

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
        last = next(self._numbers)
        started = time.monotonic()
        waiter: SimpleQueue[None] = SimpleQueue()
        self._waiting.append(waiter)
        try:
            while self._is_running() and self._oldest(last) < last:
                until = self._exit_deadline(deadline, started) if at_exit else deadline
                remaining = until - time.monotonic()
                if remaining <= 0:
                    return
                with suppress(Empty):
                    waiter.get(timeout=remaining)
        finally:
            self._waiting.remove(waiter)

    def _oldest(self, none: int) -> int:
        """Return the number of the oldest unsettled event, or `none`."""
        try:
            return next(iter(self._unsettled), none)  # in the order of insertion
        except RuntimeError:
            return -1  # changed by another thread meanwhile: look again

    def _exit_deadline(self, deadline: float, started: float) -> float:
        """Return how long the exit waits: with the events safe in a spool, only for a backend that is well."""
        if self._spool is None or (self._healthy and not self._failing):
            return deadline
        return min(deadline, started + _SPOOLED_EXIT)

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
        if self._settings.spool_dir:
            try:
                self._spool = Spool(self._settings.spool_dir, self._settings.spool_max_bytes)
            except OSError as error:
                logger.warning(
                    "the spool %s cannot be used (%s), so undelivered events are kept in memory only",
                    self._settings.spool_dir,
                    error,
                )
        while True:
            item = self._inbox.get()
            with guarded("prepare an event"):
                self._prepare(item)
            with guarded("queue an event"):
                if not item.is_claimed:
                    self._lane_for(item.run_id).put(item)

    def _prepare(self, item: _Item) -> None:
        """Make the document, and put it into the spool; from there on only its place is kept."""
        document = self._document(item)
        if document is None:
            return
        if self._spool is not None:
            self._write(item, document, self._spool)
        if item.entry is not None:
            return
        item.document, item.draft = document, None
        if len(self._unsettled) > _MOST_IN_MEMORY:
            if not self._overflowing:
                self._overflowing = True
                logger.warning("more than %d lineage events are undelivered; further ones are printed", _MOST_IN_MEMORY)
            self._keep(item, time.monotonic() + _PRINT_TIMEOUT)
        else:
            self._overflowing = False

    def _document(self, item: _Item) -> dict[str, Any] | None:
        """Return the event as it may leave this pod: within the size limit, and without credentials."""
        draft = item.draft
        if draft is None:
            return item.document
        document, left_out = limited(to_document(draft), self._settings.max_event_bytes)
        if left_out:
            logger.warning(
                "the %s event of job %s exceeds OPENLINEAGE_POD_MAX_EVENT_BYTES=%d; left out: %s",
                draft.event_type,
                draft.job_name,
                self._settings.max_event_bytes,
                ", ".join(left_out)[:500],
            )
        redacted: dict[str, Any] = self._redactor.document(document)
        return redacted

    def _write(self, item: _Item, document: dict[str, Any], spool: Spool) -> None:
        try:
            item.entry = spool.write(document)
        except OSError as error:
            if not spool.failing:
                spool.failing = True
                logger.warning("the spool %s cannot be written to (%s); events are kept in memory", spool.path, error)
        else:
            spool.failing = False
            # A few stay in memory, too, for the case that the directory vanishes.
            item.draft, item.document = None, document if len(self._unsettled) <= _MOST_KEPT else None

    # --- lanes

    def _lane_for(self, run_id: str) -> _Lane:
        """Return the lane of the run, or bind it to the emptiest; a new one starts while all have a backlog."""
        with self._binding:
            lane, count = self._bound.get(run_id, (None, 0))
            if lane is None:
                lane = min(self._lanes, key=lambda lane: lane.ahead, default=None)
                if lane is None or (lane.ahead >= _BACKLOG and len(self._lanes) < _MOST_LANES):
                    backend = self._lanes[0].another_backend() if self._lanes else None
                    if not self._lanes or backend is not None:
                        lane = _Lane(self, backend)
                        self._lanes.append(lane)
            assert lane is not None  # noqa: S101  the first pass of a run made one
            self._bound[run_id] = (lane, count + 1)
            lane.ahead += 1
            return lane

    def _released(self, item: _Item) -> None:
        """Note that an event has left its lane; with the last one of a run there, the run is bound no longer."""
        with self._binding:
            lane, count = self._bound.pop(item.run_id)
            lane.ahead -= 1
            if count > 1:
                self._bound[item.run_id] = (lane, count - 1)

    def _first_backend(self) -> Backend | None:
        """Import and connect; runs on the first lane."""
        # Give the job its first lines before the imports compete with it for the interpreter; unless it ends already.
        self._retry.wait_for_close(_HEAD_START)
        backend: Backend | None = None
        environ = self._settings.environ
        try:
            backend = self._connect(environ)
            if backend is None and self._spool is None:
                logger.warning(NOT_CONFIGURED)
        except ConfigurationError as error:
            logger.warning("%s", error)
        except Exception as error:
            logger.warning("no lineage transport can be built: %s", describe(error, self._redactor))
        if backend is not None and self._spool is not None:
            with guarded("start the draining of the spool"):
                self._drainer = _started(lambda: self._drain(backend), "openlineage-pod-drainer")
        return backend

    def deliver(self, item: _Item, backend: Backend | None, patience: float) -> bool:
        """Try to deliver an event for up to `patience` seconds; say whether it is settled."""
        if item.is_claimed:
            return True  # printed at the deadline
        if backend is None:
            self._keep(item, time.monotonic() + _PRINT_TIMEOUT)
            return True
        document = item.document
        if document is None and item.entry is not None and self._spool is not None:
            document = self._spool.read(item.entry)
        if document is None:
            logger.warning("%s has gone from the spool, and was not delivered from here", item.entry)
            self._settle(item, "pending")
            return True
        try:
            self._retry.call(lambda: backend.emit(document), self._on_failure, patience)
        except Exception as error:
            if is_transient(error):
                self._on_failure(error)
                return False
            self._reject(item, document, error)
        else:
            self._healthy, self._failing = True, False
            if item.entry is not None and self._spool is not None:
                self._spool.remove(item.entry)
            self._settle(item, "delivered")
        return True

    def _reject(self, item: _Item, document: dict[str, Any], error: Exception) -> None:
        reason = describe(error, self._redactor)
        logger.warning(
            "the lineage backend refused the %s event of job %s, run %s, for good: %s",
            document["eventType"],
            document["job"]["name"],
            item.run_id,
            reason,
        )
        if item.entry is not None and self._spool is not None and self._spool.reject(item.entry, document, reason):
            self._settle(item, "rejected")
        else:
            self._print(item, time.monotonic() + _PRINT_TIMEOUT, "rejected")

    def _on_failure(self, error: BaseException) -> None:
        if not self._failing:  # one line per outage
            self._failing = True
            logger.warning(
                "lineage events cannot be delivered at the moment, trying again: %s", describe(error, self._redactor)
            )
        self._tell_waiting()

    def _drain(self, backend: Backend) -> None:
        """Deliver what processes before this one left in the spool; a run whose event fails is left for the next."""
        spool = self._spool
        if spool is None:
            return
        with guarded("drain the spool"), spool.left_behind() as entries:
            failed: set[str] = set()
            for entry in entries:
                if entry.run_id in failed:
                    continue
                document = spool.read(entry)
                if document is None:
                    continue
                try:
                    backend.emit(document)
                except Exception as error:
                    if not is_transient(error):
                        reason = describe(error, self._redactor)
                        logger.warning("the lineage backend refused %s for good: %s", entry.path, reason)
                        spool.reject(entry, document, reason)
                        continue
                    failed.add(entry.run_id)
                    if self._closed:
                        return
                else:
                    spool.remove(entry)

    # --- settling

    def _settle(self, item: _Item, as_what: str) -> None:
        if item.claim():
            self._finish(item, as_what)

    def _finish(self, item: _Item, as_what: str) -> None:
        """Count an event that the caller has claimed."""
        with self._counting:
            self._counts[as_what] += 1
        self._unsettled.pop(item.number, None)
        self._tell_waiting()

    def _tell_waiting(self) -> None:
        for waiter in list(self._waiting):
            waiter.put(None)

    def _keep(self, item: _Item, deadline: float) -> None:
        """Leave an undelivered event where it can be found: in the spool, or else on stderr."""
        spool = self._spool
        if spool is not None and not item.is_claimed and not (item.entry and spool.has(item.entry)):
            item.entry = None
            with guarded("spool an event"):
                document = self._document(item)
                if document is not None:
                    self._write(item, document, spool)
        if item.entry is not None:
            self._settle(item, "spooled")
        else:
            self._print(item, deadline)

    def _print(self, item: _Item, deadline: float, as_what: str = "printed") -> None:
        """Write the event to stderr as a line from which it can be delivered later."""
        if not item.claim():
            return
        printed = False
        if self._settings.last_resort:
            with guarded("print an event"):
                document = self._document(item)
                printed = document is not None and print_event(document, deadline)
        self._finish(item, as_what if printed or as_what == "rejected" else "pending")


class _Lane:
    """A thread that delivers the events of the runs bound to it, each run's in their order.

    An event that keeps failing steps aside with the later ones of its run, and is tried again from time to time.
    """

    def __init__(self, delivery: Delivery, backend: Backend | None) -> None:
        self.ahead = 0
        self._delivery = delivery
        self._backend = backend
        self._is_first = backend is None
        self._queue: SimpleQueue[_Item | None] = SimpleQueue()
        self._aside: dict[str, deque[_Item]] = {}
        _started(self._run, "openlineage-pod-lane")

    def put(self, item: _Item) -> None:
        """Queue an event."""
        self._queue.put(item)

    def wake(self) -> None:
        """Have the events that stepped aside tried once more, because the process is ending."""
        self._queue.put(None)

    def another_backend(self) -> Backend | None:
        """Return a backend for another lane, or None if there is none yet or the transport allows only one."""
        return self._backend.another() if self._backend is not None else None

    def _run(self) -> None:
        if self._is_first:
            self._backend = self._delivery._first_backend()
        while True:
            try:
                item = self._queue.get(timeout=self._delivery.second_try if self._aside else None)
            except Empty:
                item = None
            with guarded("deliver an event"):
                if item is None:
                    self._try_aside()
                elif item.run_id in self._aside:
                    self._aside[item.run_id].append(item)
                elif not self._settled(item, _PATIENCE):
                    self._aside[item.run_id] = deque([item])

    def _try_aside(self) -> None:
        for run_id, items in list(self._aside.items()):
            while items and self._settled(items[0], 0):
                items.popleft()
            if not items:
                del self._aside[run_id]

    def _settled(self, item: _Item, patience: float) -> bool:
        settled = self._delivery.deliver(item, self._backend, patience)
        if settled:
            self._delivery._released(item)
        return settled


def _started(target: Callable[[], None], name: str) -> threading.Thread:
    """Return a started daemon thread: one that hangs in a request must not hold up the end of the process."""
    thread = threading.Thread(target=target, name=name, daemon=True)
    thread.start()
    return thread
