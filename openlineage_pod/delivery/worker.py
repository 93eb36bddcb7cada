"""The delivery thread: takes drafts from the job's threads and gets their events to the backend.

    job's thread                delivery thread
    submit(draft) ──► inbox ──► document ──► typed event ──► transport, retried

Between the two there is one queue and one table of unsettled events, and no lock that the job's thread holds while
it does more than a dictionary operation: `submit` may be called from a signal handler or a finaliser that interrupted
`submit` itself. An event belongs to whoever takes it out of the table: that is what makes every event counted once,
also when the deadline of the exit overtakes a request that is still under way.
"""

from __future__ import annotations

import itertools
import os
import sys
import threading
import time
from queue import SimpleQueue
from typing import TYPE_CHECKING

from openlineage_pod._guard import ConfigurationError, guarded, logger
from openlineage_pod.delivery.last_resort import print_event
from openlineage_pod.delivery.report import DeliveryReport
from openlineage_pod.delivery.retry import RetryPolicy, is_transient
from openlineage_pod.delivery.transport import NOT_CONFIGURED, connect, describe, preload
from openlineage_pod.events import Draft, to_document

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from openlineage_pod.delivery.transport import Backend
    from openlineage_pod.settings import Settings

__all__ = ["Delivery"]

# Held while the delivery thread imports, and by whoever forks: a child of a fork in the middle of an import would wait
# for ever for a module that no thread of its own is importing. Reentrant, because an import may itself fork.
_importing = threading.RLock()
_LONGEST_IMPORT = 10.0
# What is printed after the deadline goes to a pipe that is normally read at once.
_PRINT_TIMEOUT = 0.2


class Delivery:
    """Delivers the events of one process. Every method may be called from any thread; none raises.

    Args:
        settings: where to, and how long the end of the process may wait.
        connect: makes the backend, on the delivery thread; returns None if none is configured.

    """

    def __init__(self, settings: Settings, connect: Callable[[Mapping[str, str]], Backend | None] = connect) -> None:
        self._settings = settings
        self._connect = connect
        self._retry = RetryPolicy()
        self._inbox: SimpleQueue[int | threading.Event] = SimpleQueue()
        self._unsettled: dict[int, Draft] = {}
        self._numbers = itertools.count()
        self._counts = dict.fromkeys(DeliveryReport._fields, 0)
        # Reentrant: a signal handler may interrupt the main thread between its acquire and release.
        self._counting = threading.RLock()
        self._starting = threading.RLock()
        self._thread: threading.Thread | None = None
        self._exit_budget = settings.flush_timeout
        self._closed = False
        self._failing = False

    def submit(self, draft: Draft) -> None:
        """Take over an event; returns within microseconds, without any I/O."""
        number = next(self._numbers)
        self._unsettled[number] = draft
        self._inbox.put(number)
        self._start()
        if self._closed:
            # An exit handler of the job that runs after ours reports a run of its own.
            self.close()

    def flush(self, timeout: float | None = None) -> DeliveryReport:
        """Wait up to `timeout` seconds (default: the flush timeout) until all events so far are settled."""
        # While the interpreter is torn down (an unexhausted generator is closed then), no thread runs any more.
        if self._thread is not None and self._thread.is_alive() and not sys.is_finalizing():
            marker = threading.Event()
            self._inbox.put(marker)
            marker.wait(self._settings.flush_timeout if timeout is None else timeout)
        return self.report()

    def close(self) -> DeliveryReport:
        """Deliver within what is left of the flush timeout, print the rest, and say what became of the events."""
        started = time.monotonic()
        self._closed = True
        end = started + self._exit_budget
        # The reserve is for printing: the whole must not exceed the flush timeout.
        deadline = end - min(_PRINT_TIMEOUT, self._exit_budget / 10)
        self._retry.close(deadline)
        try:
            if self._unsettled:
                self.flush(deadline - started)
        finally:
            # Also when Ctrl-C interrupts the wait: what is undelivered must not go without a word.
            print_deadline = max(end, time.monotonic() + _PRINT_TIMEOUT / 2)
            for number in list(self._unsettled):
                self._print(number, print_deadline)
            self._exit_budget = max(0.0, end - time.monotonic())
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

    def _start(self) -> None:
        if self._thread is not None:
            return
        with self._starting, guarded("start the delivery thread"):
            if self._thread is None:
                # A daemon: a thread that hangs in a request must not hold up the end of the process.
                thread = threading.Thread(target=self._run, name="openlineage-pod", daemon=True)
                thread.start()
                self._thread = thread

    def _run(self) -> None:
        # Give the job its first line before the imports below compete with it for the interpreter.
        time.sleep(0.01)
        backend: Backend | None = None
        try:
            with _importing:
                preload()
                backend = self._connect(self._settings.environ)
            if backend is None:
                logger.warning(NOT_CONFIGURED)
        except ConfigurationError as error:
            logger.warning("%s", error)
        except Exception as error:
            logger.warning("no lineage transport can be built: %s", describe(error, self._settings.environ))
        while True:
            entry = self._inbox.get()
            if isinstance(entry, threading.Event):
                entry.set()
            elif backend is None:
                self._print(entry, time.monotonic() + _PRINT_TIMEOUT)
            else:
                with guarded("deliver an event"):
                    self._deliver(entry, backend)

    def _deliver(self, number: int, backend: Backend) -> None:
        draft = self._unsettled.get(number)
        if draft is None:
            return  # printed at the deadline
        document = to_document(draft)
        try:
            self._retry.call(lambda: backend.emit(document), self._on_failure)
        except Exception as error:
            if is_transient(error):
                return  # the deadline has passed; close() prints what is unsettled
            logger.warning(
                "the lineage backend refused the %s event of job %s, run %s, for good: %s",
                draft.event_type,
                draft.job_name,
                draft.run_id,
                describe(error, self._settings.environ),
            )
            self._print(number, time.monotonic() + _PRINT_TIMEOUT, "rejected")
        else:
            self._failing = False
            self._settle(number, "delivered")

    def _on_failure(self, error: BaseException) -> None:
        if not self._failing:  # one line per outage
            self._failing = True
            logger.warning(
                "lineage events cannot be delivered at the moment, trying again: %s",
                describe(error, self._settings.environ),
            )

    def _settle(self, number: int, as_what: str) -> None:
        if self._unsettled.pop(number, None) is not None:
            self._count(as_what)

    def _print(self, number: int, deadline: float, as_what: str = "printed") -> None:
        """Take the event out of the table and write it to stderr as a line from which it can be delivered later."""
        draft = self._unsettled.pop(number, None)
        if draft is None:
            return
        printed = False
        if self._settings.last_resort:
            with guarded("print an event"):
                printed = print_event(to_document(draft), deadline)
        self._count(as_what if printed or as_what == "rejected" else "pending")

    def _count(self, as_what: str) -> None:
        with self._counting:
            self._counts[as_what] += 1


def _before_fork() -> None:
    _importing.acquire(timeout=_LONGEST_IMPORT)


def _after_fork_in_parent() -> None:
    try:
        _importing.release()
    except RuntimeError:
        return  # the wait in _before_fork timed out: an import hangs, and the fork had to go on


def _after_fork_in_child() -> None:
    global _importing  # noqa: PLW0603  the old lock may be held by a thread that does not exist here
    _importing = threading.RLock()


os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)
