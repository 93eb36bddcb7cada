"""Delivery: takes drafts from the job's threads and gets their events to the backend.

job's threads          preparer                                   workers
submit(draft) ──► inbox ──► document, masked, cut, spooled ──► run queue ──► transport, retried
                                                                                │
                    ledger: what became of each event  ◄───────────────────────┘
"""

from __future__ import annotations

import math
import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from openlineage_pod._guard import guarded
from openlineage_pod._sigterm import deferring_sigterm
from openlineage_pod._threads import allocate_lock
from openlineage_pod.delivery.keeper import Keeper
from openlineage_pod.delivery.last_resort import PRINT_TIMEOUT
from openlineage_pod.delivery.ledger import Event, Ledger
from openlineage_pod.delivery.prepare import Preparer
from openlineage_pod.delivery.retry import RetryPolicy
from openlineage_pod.delivery.run_queue import RunQueue
from openlineage_pod.delivery.sender import Sender
from openlineage_pod.delivery.summary import Summary
from openlineage_pod.delivery.transports.connect import connect
from openlineage_pod.delivery.worker import Workers
from openlineage_pod.events.secrets import SECRETS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from openlineage_pod.delivery.report import DeliveryReport
    from openlineage_pod.delivery.transports.base import Transport
    from openlineage_pod.events.document import Draft
    from openlineage_pod.settings import Settings

__all__ = ["Delivery"]


class Delivery:
    """Delivers the events of one process. Every method may be called from any thread; none raises.

    Args:
        settings: where to, and how long the end of the process may wait.
        connect: makes the transport, on a thread of the delivery; returns None if none is configured.

    """

    def __init__(self, settings: Settings, connect: Callable[[Mapping[str, str]], Transport | None] = connect) -> None:
        self._settings = settings
        self._retry = RetryPolicy()
        self._ledger = Ledger()
        self._keeper = Keeper(settings, self._ledger)
        queue = RunQueue()
        self._preparer = Preparer(settings, SECRETS, self._ledger, self._keeper, queue)
        self._sender = Sender(
            settings,
            connect,
            secrets=SECRETS,
            ledger=self._ledger,
            keeper=self._keeper,
            preparer=self._preparer,
            retry=self._retry,
        )
        self._workers = Workers(
            settings, SECRETS, sender=self._sender, keeper=self._keeper, preparer=self._preparer, queue=queue
        )
        self._summary = Summary(SECRETS.text, on_stderr=settings.summary)
        self._is_started = False
        self._is_without_threads = False
        self._is_working_here = False
        self._starting = allocate_lock()
        self._is_closed = False
        self._has_begun_exit = False
        self._exit_budget = settings.flush_timeout
        self._closing_end: float | None = None

    def submit(self, draft: Draft) -> None:
        """Take over an event, without any I/O; while runs pile up this starts a thread.

        An exception that arrives meanwhile, such as a KeyboardInterrupt, leaves nothing taken over.
        """
        self._start()
        self._workers.grow(by_job=True)
        self._summary.note(draft)
        event = Event(self._ledger.next_number(), draft.run_id, draft)
        self._ledger.add(event)
        self._preparer.put(event)
        if self._is_closed:
            # An exit handler of the job that runs after ours reports a run of its own.
            self.close()

    def write_fallback(self, draft: Draft) -> None:
        """Leave a fallback terminal event in the spool, for a process that dies. No-op without a spool."""
        if self._settings.spool_dir:
            self._start()
            self._preparer.put(Event(self._ledger.next_number(), draft.run_id, draft, is_fallback=True))

    def flush(self, timeout: float | None = None) -> DeliveryReport:
        """Wait up to `timeout` seconds (default: the flush timeout) until all events so far are resolved."""
        timeout = self._settings.flush_timeout if timeout is None else timeout
        self._wait(time.monotonic() + timeout)
        return self.report()

    def close(self, within: float | None = None) -> DeliveryReport:
        """Deliver within what is left of the flush timeout, keep the rest, and return what became of the events.

        `within`: seconds that it may take at most, where there is less than the flush timeout.
        """
        started = time.monotonic()
        # A signal handler may close while the end of the process is closing already.
        limits = (self._exit_budget, within, self._closing_end and self._closing_end - started)
        self._exit_budget = max(0.0, min(limit for limit in limits if limit is not None))
        self._is_closed = self._preparer.is_closed = True
        if len(self._ledger):
            self._start()  # a signal may have interrupted the job's thread before it got there
        end = self._closing_end = started + self._exit_budget
        # The reserve is for printing: the whole must not exceed the flush timeout.
        deadline = end - min(PRINT_TIMEOUT, self._exit_budget / 10)
        with deferring_sigterm:  # a handler that closes once more must not find their locks taken
            self._retry.close(deadline)
            self._sender.close(started, deadline)
            self._workers.close()
        try:
            self._work_here(deadline)
            self._wait(deadline, at_exit=True)
            if not sys.is_finalizing():
                self._workers.join_drainer(self._sender.exit_deadline(deadline, started))
                self._drain(deadline)
        finally:
            # Also when Ctrl-C interrupts the wait: what is undelivered must not be lost without a word.
            self._keep_rest(end)
        report = self.report()
        self._summary.write(
            report, self._sender.target, self._sender.cause, prints_rejected=self._keeper.prints_rejected
        )
        return report

    def begin_exit(self) -> None:
        """Deliver what is queued, within half of the flush timeout, which `close` has less then.

        Called before the exit handlers of libraries, which end threads and connections that a transport uses.
        """
        if self._has_begun_exit or self._sender.is_failing or not len(self._ledger):
            return
        self._has_begun_exit = True
        started = time.monotonic()
        self._wait(started + self._exit_budget / 2, at_exit=True)
        self._exit_budget = max(0.0, self._exit_budget - (time.monotonic() - started))

    def report(self) -> DeliveryReport:
        """Return what has become of the events so far."""
        return self._ledger.report()

    def stop(self) -> None:
        """End the threads once they have done what is queued; for tests, which make many deliveries in one process."""
        self._preparer.stop()
        self._workers.stop()

    def abandon(self) -> None:
        """Let go of what a forked child has inherited and must not use."""
        if self._keeper.spool is not None:
            self._keeper.spool.abandon()

    def _start(self) -> None:
        """Start all threads, at the first event: Python 3.12 refuses new ones from the beginning of the exit on."""
        # Never waits for the lock: a finaliser may call this while it interrupts its holder.
        if self._is_started or not self._starting.acquire(blocking=False):
            return
        try:
            # Told once: each event tries it again, as other processes may have ended.
            telling = suppress(RuntimeError) if self._is_without_threads else guarded("start the delivery threads")
            with telling, deferring_sigterm:
                try:
                    self._preparer.start()
                    self._workers.start()
                except RuntimeError:
                    self._is_without_threads = True
                    raise
                self._is_started = True
        finally:
            self._starting.release()
            self._ledger.notify()

    def _work_here(self, deadline: float) -> None:
        """Deliver on this thread where no other one can be had: at a limit of processes, or at the exit (3.12)."""
        if self._is_working_here or not len(self._ledger) or sys.is_finalizing() or self._is_running():
            return
        self._is_working_here = True  # a signal handler may close once more meanwhile
        try:
            with guarded("deliver without a thread"):
                self._preparer.work_here()
                self._workers.work_here(lambda: len(self._ledger) > 0, deadline)
        finally:
            self._is_working_here = False

    def _wait(self, deadline: float, *, at_exit: bool = False) -> None:
        """Wait until all events so far are resolved, or the deadline."""
        # What is read back from the spool gets new numbers.
        last = math.inf if at_exit or self._preparer.has_spilled else self._ledger.next_number()
        started = time.monotonic()

        def goes_on() -> bool:
            return self._is_running() and (self._ledger.has_older(last) or self._preparer.has_spilled)

        def until() -> float:
            return self._sender.exit_deadline(deadline, started) if at_exit else deadline

        self._ledger.wait(goes_on, until)

    def _drain(self, deadline: float) -> None:
        """Wait for what the transport has queued; what it has not delivered is undelivered again."""
        for document in self._workers.drain(deadline):
            self._keeper.write(self._ledger.take_back(document), document)

    def _is_running(self) -> bool:
        # While the interpreter is torn down (an unexhausted generator is closed then), no thread runs any more.
        if sys.is_finalizing():
            return False
        # Another thread may be at starting them.
        return self._starting.locked() or (self._preparer.is_running and self._workers.are_running)

    def _keep_rest(self, end: float) -> None:
        """Leave what is undelivered where it can be found, and release the spool."""
        print_deadline = max(end, time.monotonic() + PRINT_TIMEOUT / 2)
        try:
            self._preparer.keep_all(print_deadline)
        except KeyboardInterrupt:
            self._preparer.keep_all(print_deadline)
            raise
        self._preparer.has_spilled = False  # what is in the spool alone stays there
        self._wait(print_deadline)  # for those that a thread of ours is printing at the moment
        self._exit_budget = max(0.0, end - time.monotonic())
        self._closing_end = None
        if self._keeper.spool is not None:
            self._keeper.spool.release()
