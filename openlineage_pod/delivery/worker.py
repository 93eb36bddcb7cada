"""Workers: the threads that deliver events.

A worker takes a run and delivers its events in their order. While a backlog of runs builds up, further workers start;
they end when there has been nothing to do for a while.
"""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING

from openlineage_pod._guard import guarded, logger
from openlineage_pod._sigterm import deferring_sigterm
from openlineage_pod._threads import Event as ThreadEvent
from openlineage_pod._threads import Thread, allocate_lock, new_thread, start_thread
from openlineage_pod.delivery.drain import drain
from openlineage_pod.delivery.retry import is_transient
from openlineage_pod.delivery.transports.base import NOT_CONFIGURED, describe
from openlineage_pod.settings import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from openlineage_pod.delivery.keeper import Keeper
    from openlineage_pod.delivery.ledger import Event, Ledger
    from openlineage_pod.delivery.prepare import Preparer
    from openlineage_pod.delivery.retry import RetryPolicy
    from openlineage_pod.delivery.run_queue import RunQueue
    from openlineage_pod.delivery.transports.base import Transport
    from openlineage_pod.events.document import Document
    from openlineage_pod.events.secrets import Secrets
    from openlineage_pod.settings import Settings

__all__ = ["Workers"]

# Seconds after which an event that keeps failing is parked, so that other runs go first.
_ATTEMPT_BUDGET = 10.0
# Seconds between two attempts at the parked runs.
_PARKED_PAUSE = 5.0
_PARKED_PAUSE_AT_EXIT = 0.2
# With a spool, the exit does not wait longer than this for a backend that accepts nothing.
_SPOOLED_EXIT = 0.7
# Runs that wait for each worker before a further one starts.
_BACKLOG = 4
_MAX_WORKERS = 64
# The same, as long as the backend has accepted nothing, and for the job's threads: each start costs them some time.
_MAX_EARLY = 8
# Seconds without work after which a further worker ends.
_MAX_IDLE = 5.0
# Seconds that the first worker leaves the interpreter to the job before its imports compete for it.
_HEAD_START = 0.01


class Workers:
    """All workers of a process, what they know of the backend, and the thread that drains the spool.

    All threads that the exit needs are started before it begins: Python 3.12 refuses new ones from then on.

    Attributes:
        is_healthy: whether the backend has accepted an event.
        is_failing: whether the last event failed.
        is_connected: set when the first worker has made a transport, or has found out that there is none.

    """

    def __init__(
        self,
        settings: Settings,
        connect: Callable[[Mapping[str, str]], Transport | None],
        *,
        secrets: Secrets,
        ledger: Ledger,
        keeper: Keeper,
        preparer: Preparer,
        queue: RunQueue,
        retry: RetryPolicy,
    ) -> None:
        self.is_healthy = False
        self.is_failing = False
        self._settings = settings
        self._connect = connect
        self._secrets = secrets
        self._ledger = ledger
        self._keeper = keeper
        self._preparer = preparer
        self._queue = queue
        self._retry = retry
        self._workers: list[_Worker] = []
        self._max_workers = _MAX_WORKERS
        self._growing = allocate_lock()
        self._drainer: Thread | None = None
        self._transport: Transport | None = None
        self.is_connected = ThreadEvent()
        # Set with the first event that the backend accepts, or by `stop`: further workers wait for it.
        self._is_proven = ThreadEvent()
        self._is_closed = False
        self._is_stopped = False
        # When the backend last accepted an event, or was first asked to.
        self._last_progress: float | None = None
        queue.on_put = self.grow

    # --- threads

    @property
    def has_asked(self) -> bool:
        """Whether the backend was given an event."""
        return self._last_progress is not None

    @property
    def are_running(self) -> bool:
        """Whether there is a worker."""
        return bool(self._workers)

    def start(self) -> None:
        """Start the first worker, and with a spool the thread that drains it, once.

        Raises:
            RuntimeError: The process may have no more threads.

        """
        if not self._workers:
            self._start_worker(is_first=True)
        if self._settings.spool_dir and self._drainer is None:
            self._drainer = start_thread(self._drain, "drain")

    def grow(self, *, by_job: bool = False) -> None:
        """Start a further worker while runs wait behind a backend that does not fail, or was not reached yet.

        Called for each event that is queued, and by each worker before it takes a run. The job's threads call it too,
        because Python 3.12 refuses new threads during the exit. It never waits for a lock, because the caller may be a
        signal handler or a finaliser that has interrupted the thread that holds it.
        """
        count = len(self._workers)
        waiting = max(self._queue.ready, self._preparer.waiting)  # a run may count among both
        limit = self._max_workers if self.is_healthy and not by_job else min(self._max_workers, _MAX_EARLY)
        if (self.is_failing and self.is_healthy) or waiting < _BACKLOG * count or not 0 < count < limit:
            return
        if self._growing.acquire(blocking=False):
            try:
                # No more threads: those that run take the backlog over.
                with suppress(RuntimeError), deferring_sigterm:
                    self._start_worker(is_first=False)
            finally:
                self._growing.release()

    def _start_worker(self, *, is_first: bool) -> None:
        worker = _Worker(self, self._queue, self._preparer, is_first=is_first)
        self._workers.append(worker)  # first: it may leave at once
        try:
            worker.thread.start()
        except BaseException:
            if worker.thread.ident is None:  # else it runs, and only the wait for it was interrupted
                self.leave(worker)
            raise

    def close(self) -> None:
        """Have parked runs tried again at once, and then often: the process ends."""
        self._is_closed = True
        self._queue.wake(len(self._workers))

    def stop(self) -> None:
        """End the threads once they have done what is queued."""
        self._is_stopped = True
        self._is_proven.set()
        self._queue.wake(len(self._workers))

    def leave(self, worker: _Worker) -> None:
        """Note that a worker ends."""
        with suppress(ValueError):
            self._workers.remove(worker)

    def ends_without_work(self, worker: _Worker) -> bool:
        """Return whether a worker ends now that it found nothing to do. During the exit none does: more may come."""
        return self._is_stopped or not (worker.is_first or self._is_closed or self._queue.parked)

    @property
    def parked_pause(self) -> float:
        """Seconds after which parked runs are tried again."""
        return _PARKED_PAUSE_AT_EXIT if self._is_closed else _PARKED_PAUSE

    # --- the exit

    def exit_deadline(self, deadline: float, started: float) -> float:
        """Return how long the exit waits: with the events safe in a spool, only while the backend accepts some."""
        if self._keeper.spool is None:
            return deadline
        if self.is_failing:
            return min(deadline, started + _SPOOLED_EXIT)
        if self._last_progress is None:
            return deadline  # it has not been asked yet
        return min(deadline, max(started, self._last_progress) + _SPOOLED_EXIT)

    def join_drainer(self, deadline: float) -> None:
        """Wait until the deadline for the thread that drains the spool."""
        if self._drainer is not None:
            self._drainer.join(max(0.0, deadline - time.monotonic()))

    # --- the backend

    def first_transport(self) -> Transport | None:
        """Import and connect; runs on the first worker."""
        # Give the job its first lines before the imports compete with it for the interpreter; unless it ends already.
        self._retry.wait_for_close(_HEAD_START)
        fault: Exception | None = None
        try:
            self._transport = self._connect(self._settings.environ)
        except Exception as error:
            fault = error
        # No event comes before. Until then it is not known whether there is a spool, nor what has to be masked.
        self._preparer.wait_until_ready()
        spool = self._keeper.spool
        if isinstance(fault, ConfigurationError):
            logger.warning("%s", fault)
        elif fault is not None:
            logger.warning("no lineage transport can be built: %s", describe(fault, self._secrets))
        elif self._transport is None and spool is None:
            logger.warning("%s; until then events are only printed", NOT_CONFIGURED)
        if self._transport is None:
            self._max_workers = 1
            self._is_proven.set()  # those that wait for it end
            if spool is not None:
                spool.hand_over()
        return self._transport

    def further_transport(self) -> Transport | None:
        """Wait until the backend has accepted an event; return a transport to it, or None if there is to be none."""
        while not self._is_proven.wait(_MAX_IDLE):
            if not (self._is_closed or self._queue.ready):
                return None
        if self._transport is None or self._is_stopped:
            return None
        transport = None
        try:
            transport = self._transport.clone()
        finally:
            if transport is None:
                self._max_workers = 1
        return transport

    def deliver(self, event: Event, transport: Transport | None, budget: float) -> bool:
        """Try to deliver an event for up to `budget` seconds; return whether it is resolved."""
        if event.is_claimed:
            return True  # printed at the deadline
        if transport is None:
            self._preparer.keep(event)
            return True
        document = event.document or self._keeper.read(event)
        if document is None:
            where = event.entry.path if event.entry is not None else "its document, which could not be made,"
            logger.warning("an event is lost: %s has gone", where)
            self._keeper.resolve(event, "pending")
            return True
        if self._last_progress is None:
            self._last_progress = time.monotonic()
            self._ledger.notify()
        try:
            self._retry.call(lambda: transport.emit(document), self._on_failure, budget)
        except Exception as error:
            if is_transient(error):
                self._on_failure(error)
                return False
            self._reject(event, document, error)
        else:
            self.is_healthy, self.is_failing, self._last_progress = True, False, time.monotonic()
            self._is_proven.set()
            self._keeper.accept(event)
        return True

    def _reject(self, event: Event, document: Document, error: Exception) -> None:
        reason = describe(error, self._secrets)
        logger.warning(
            "the lineage backend refused the %s event of job %s, run %s, for good: %s",
            document.event_type,
            document.job_name,
            event.run_id,
            reason,
        )
        self._keeper.reject(event, document, reason)

    def _on_failure(self, error: BaseException) -> None:
        if not self.is_failing:  # one line per outage
            self.is_failing = True
            logger.warning(
                "lineage events cannot be delivered at the moment, trying again: %s", describe(error, self._secrets)
            )
        self._ledger.notify()

    def _drain(self) -> None:
        """Deliver what processes before this one left in the spool."""
        self.is_connected.wait()
        spool, transport = self._keeper.spool, self._transport
        if spool is None or transport is None:
            return
        with guarded("drain the spool"), spool.left_behind() as entries:
            # A connection of its own: transports other than HTTP are not known to be thread-safe.
            transport = transport.clone() or self._connect(self._settings.environ) or transport
            emit, last_resort = transport.emit, self._settings.last_resort
            drain(spool, entries or [], emit, self._secrets, lambda: self._is_closed, last_resort=last_resort)


class _Worker:
    """A thread that takes runs, one after the other, and delivers their events in order.

    A run whose event keeps failing is parked, with its later events, and is tried again from time to time.
    """

    def __init__(self, workers: Workers, queue: RunQueue, preparer: Preparer, *, is_first: bool) -> None:
        self._workers = workers
        self._queue = queue
        self._preparer = preparer
        self.is_first = is_first
        self._transport: Transport | None = None
        self.thread = new_thread(self._run, "worker")

    def _run(self) -> None:
        try:
            with guarded("connect to the backend"):
                self._connect()
            while self.is_first or self._transport is not None:
                with guarded("start a further worker"):
                    self._workers.grow()
                if not self._queue.parked and not self._queue.ready:
                    self._preparer.read_back()
                run_id = self._queue.take(self._timeout())
                if not run_id and self._workers.ends_without_work(self):
                    break
                with guarded("deliver an event"):
                    if run_id:
                        self._deliver(run_id, _ATTEMPT_BUDGET)
                    # Also while other runs keep coming.
                    if not run_id or self._queue.is_time_to_unpark():
                        self._unpark()
        finally:
            self._workers.leave(self)
        if self._transport is not None:
            with guarded("close a connection"):
                self._transport.close()

    def _connect(self) -> None:
        if not self.is_first:
            self._transport = self._workers.further_transport()
            return
        try:
            self._transport = self._workers.first_transport()
        finally:
            self._workers.is_connected.set()

    def _timeout(self) -> float | None:
        if self._queue.parked:
            return self._workers.parked_pause
        return None if self.is_first else _MAX_IDLE

    def _unpark(self) -> None:
        self._queue.postpone_unparking(self._workers.parked_pause)
        for _ in range(self._queue.parked):
            if run_id := self._queue.unpark():
                self._deliver(run_id, 0)

    def _deliver(self, run_id: str, budget: float) -> None:
        if self._workers.deliver(self._queue.next_event(run_id), self._transport, budget):
            self._queue.advance(run_id)
        else:
            self._queue.park(run_id)
