"""Workers: the threads that deliver events.

A worker takes a run and delivers its events in their order. While a backlog of runs builds up, further workers start;
they end when there has been nothing to do for a while.
"""

from __future__ import annotations

import time
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from openlineage_pod._fork import importing
from openlineage_pod._guard import guarded
from openlineage_pod._sigterm import deferring_sigterm
from openlineage_pod._threads import Thread, allocate_lock, new_thread, start_thread
from openlineage_pod.delivery.draining import Draining
from openlineage_pod.delivery.transports.base import emit_for_sure, limit_request
from openlineage_pod.delivery.transports.bounded import BoundedTransport

if TYPE_CHECKING:
    from collections.abc import Callable

    from openlineage_pod.delivery.keeper import Keeper
    from openlineage_pod.delivery.ledger import Event
    from openlineage_pod.delivery.prepare import Preparer
    from openlineage_pod.delivery.run_queue import RunQueue
    from openlineage_pod.delivery.sender import Sender
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
# Runs that wait for each worker before a further one starts.
_BACKLOG = 4
_MAX_WORKERS = 64
# The same, as long as the backend has accepted nothing, and for the job's threads: each start costs them some time.
_MAX_EARLY = 8
# Attempts to deliver a START between two attempts to overtake it.
_ATTEMPTS_BETWEEN = 4
# Seconds without work after which a further worker ends.
_MAX_IDLE = 5.0


class Workers:
    """All workers of a process, and the thread that drains the spool.

    All threads that the exit needs are started before it begins: Python 3.12 refuses new ones from then on.
    """

    def __init__(
        self,
        settings: Settings,
        secrets: Secrets,
        *,
        sender: Sender,
        keeper: Keeper,
        preparer: Preparer,
        queue: RunQueue,
    ) -> None:
        self._settings = settings
        self._secrets = secrets
        self._sender = sender
        self._keeper = keeper
        self._preparer = preparer
        self._queue = queue
        self._workers: list[_Worker] = []
        self._max_workers = _MAX_WORKERS
        self._growing = allocate_lock()
        self._drainer: Thread | None = None
        self.draining = Draining()
        self._is_closed = False
        self._is_stopped = False
        queue.on_put = self.grow

    # --- threads

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
        sender, count = self._sender, len(self._workers)
        waiting = max(self._queue.ready, self._preparer.waiting)  # a run may count among both
        limit = self._max_workers if sender.is_healthy and not by_job else min(self._max_workers, _MAX_EARLY)
        if (sender.is_failing and sender.is_healthy) or waiting < _BACKLOG * count or not 0 < count < limit:
            return
        if self._growing.acquire(blocking=False):
            try:
                # No more threads: those that run take the backlog over.
                with suppress(RuntimeError), deferring_sigterm:
                    self._start_worker(is_first=False)
            finally:
                self._growing.release()

    def _start_worker(self, *, is_first: bool) -> None:
        worker = _Worker(self, self._sender, self._queue, self._preparer, is_first=is_first)
        self._workers.append(worker)  # first: it may leave at once
        try:
            worker.thread.start()
        except BaseException:
            if worker.thread.ident is None:  # else it runs, and only the wait for it was interrupted
                self.leave(worker)
            raise

    def work_here(self, goes_on: Callable[[], bool], deadline: float) -> None:
        """Deliver on this thread while `goes_on()`, until the deadline: no worker could be started."""
        _Worker(self, self._sender, self._queue, self._preparer, is_first=True).work_here(goes_on, deadline)

    def close(self) -> None:
        """Have parked runs tried again at once, and then often: the process ends."""
        self._is_closed = True
        self._queue.wake(len(self._workers))

    def stop(self) -> None:
        """End the threads once they have done what is queued."""
        self._is_stopped = True
        self._sender.is_proven.set()
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

    def join_drainer(self, deadline: float) -> None:
        """Wait until the deadline for the thread that drains the spool."""
        if self._drainer is not None:
            self._drainer.join(max(0.0, deadline - time.monotonic()))

    def drain(self, deadline: float) -> list[Document]:
        """Wait until the deadline for what the transport has queued; return the events that it has not delivered."""
        sender = self._sender
        undelivered = self.draining.ask(sender.transport, deadline, lambda: self._queue.wake(len(self._workers)))
        if undelivered:
            sender.note_failure(f"{sender.target} has not delivered at its end all events that it had taken")
        return undelivered

    def connect(self) -> Transport | None:
        """Return the transport of a further worker, once the backend has accepted an event; None if it gets none."""
        sender = self._sender
        while not sender.is_proven.wait(_MAX_IDLE):
            if not (self._is_closed or self._queue.ready):
                return None
        if sender.transport is None or self._is_stopped:
            return None
        transport = None
        try:
            transport = sender.connect_further()
        finally:
            if transport is None:
                self._max_workers = 1
        return transport

    def _drain(self) -> None:
        """Deliver what processes before this one left in the spool."""
        self._sender.is_connected.wait()
        spool = self._keeper.spool
        if spool is None or self._sender.transport is None:
            return
        with guarded("drain the spool"), spool.left_behind() as entries:
            transport = self._sender.connect_drainer() if entries else None
            if not entries or transport is None:
                return
            with importing():
                from openlineage_pod.delivery.drain import drain  # deferred: most jobs find nothing left behind
            emit, is_over = partial(emit_for_sure, transport), lambda: self._is_closed
            try:
                drain(spool, entries, emit, self._secrets, is_over, last_resort=self._settings.last_resort)
            finally:
                transport.close()


class _Worker:
    """A thread that takes runs, one after the other, and delivers their events in order.

    A run whose event keeps failing is parked, with its later events, and is tried again from time to time. In the end
    its terminal event goes without it: many consumers read nothing else.
    """

    def __init__(
        self, workers: Workers, sender: Sender, queue: RunQueue, preparer: Preparer, *, is_first: bool
    ) -> None:
        self._workers = workers
        self._sender = sender
        self._queue = queue
        self._preparer = preparer
        self.is_first = is_first
        self._transport: Transport | None = None
        self.thread = new_thread(self._run, "worker")

    def _run(self) -> None:
        try:
            with guarded("connect to the backend"):
                self._transport = self._sender.connect_first() if self.is_first else self._workers.connect()
            while self.is_first or self._transport is not None:
                with guarded("start a further worker"):
                    self._workers.grow()
                if not self._queue.parked and not self._queue.ready:
                    self._preparer.read_back()
                run_id = self._queue.take(self._timeout())
                if self.is_first and not run_id:
                    with guarded("drain the transport"):
                        self._workers.draining.run_if_asked(self._transport)
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
                self._sender.disconnect(self._transport)

    def work_here(self, goes_on: Callable[[], bool], deadline: float) -> None:
        """Deliver on the thread of the caller."""
        if not self._sender.is_connected.is_set():
            self._sender.connect_first()
        transport = self._sender.transport
        if transport is None or not limit_request(transport, deadline - time.monotonic()):
            return  # nobody knows how long it would take
        self._transport = BoundedTransport(transport, deadline)
        while goes_on() and (remaining := deadline - time.monotonic()) > 0:
            run_id = self._queue.take(min(self._workers.parked_pause, remaining))
            with guarded("deliver an event"):
                if run_id:
                    self._deliver(run_id, _ATTEMPT_BUDGET)
                else:
                    self._unpark()
        self._transport.close()

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
        """Try to deliver the next event of a run, and give the run back."""
        event = self._queue.next_event(run_id)

        def gives_way() -> bool:
            return self._sender.may_be_overtaken(event) and self._queue.end_behind(run_id) is not None

        if self._sender.deliver(event, self._transport, budget, gives_way) or (gives_way() and self._overtake(event)):
            self._queue.advance(run_id)
        else:
            self._queue.park(run_id)

    def _overtake(self, event: Event) -> bool:
        """Try to deliver the terminal event of the run before `event`; return whether that resolves `event` as well."""
        end = self._queue.end_behind(event.run_id)
        if end is None or not self._sender.deliver(end, self._transport, 0, overtaken=self._queue.before(end)):
            event.attempts_alone = event.attempts + _ATTEMPTS_BETWEEN  # else an outage would get twice the requests
            return False
        self._queue.remove(end)
        return event.is_claimed
