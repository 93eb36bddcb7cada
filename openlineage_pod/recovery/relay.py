"""`openlineage-pod relay`: deliver the events that other processes spooled, and end the runs of dead processes.

It runs in another container than the job, as a sidecar of the pod or as an agent of the node, so it survives the job.
"""

from __future__ import annotations

import math
import signal
import threading
import time
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING

from openlineage_pod._guard import guarded, logger
from openlineage_pod._stderr import write_stderr
from openlineage_pod._threads import start_thread
from openlineage_pod.delivery.drain import drain
from openlineage_pod.delivery.retry import RetryPolicy, is_key_refused
from openlineage_pod.delivery.spool import Spool
from openlineage_pod.delivery.transports.base import NOT_CONFIGURED, describe, emit_for_sure
from openlineage_pod.delivery.transports.connect import connect
from openlineage_pod.events.secrets import SECRETS
from openlineage_pod.settings import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from openlineage_pod.delivery.spool import Entry
    from openlineage_pod.events.document import Document
    from openlineage_pod.settings import Settings

__all__ = ["relay"]

_POLL = 0.2
_POLL_WHILE_FAILING = 1.0
# While the backend refuses the key: many refusals may have the address of the relay blocked.
_POLL_WHILE_REFUSED = 10.0
# Seconds for the attempts to deliver one event before the next run gets its turn.
_TURN_BUDGET = 2.0
# Passes in which a START may fail before the terminal event of its run overtakes it.
_MAX_PASSES_ALONE = 2
# Seconds of the grace period that stay unused before the SIGKILL.
_EXIT_RESERVE = 1.0
# Seconds of the grace period for the deliveries after the living processes had their time.
_LAST_PASS = 2.0
# Seconds to wait for a request under way after its time is over.
_REQUEST_WAIT = 0.2


def relay(path: str, settings: Settings, stop_signals: Sequence[signal.Signals]) -> int:
    """Deliver the events in a spool until a stop signal, then the events that are left; return the exit status.

    A run whose process died without a terminal event gets the fallback event that the process left: ABORT if the
    process was asked to stop, else FAIL. After the stop signal, living processes have the grace period to report their
    own runs. Then the runs of processes that were asked to stop are aborted. All of this fits into the grace period.

    Args:
        path: the spool directory; made if it does not exist.
        settings: the transport, the grace period and the limits.
        stop_signals: the signals that stop it; the caller has blocked them before it started any thread.

    Returns:
        0 if nothing is left in the spool, else 1.

    Raises:
        ConfigurationError: No transport is configured or can be built.
        OSError: The directory cannot be used.

    """
    transport = connect(settings.environ)
    if transport is None:
        raise ConfigurationError(NOT_CONFIGURED)
    spool = Spool(path, settings.spool_max_bytes)
    spool.relay_only()
    worker = _Relay(spool, partial(emit_for_sure, transport), last_resort=settings.last_resort)
    thread = start_thread(worker.run, "relay")
    signal.sigwait(stop_signals)
    end = time.monotonic() + settings.grace_period - min(_EXIT_RESERVE, settings.grace_period / 2)
    worker.stop(end)
    thread.join(max(0.0, end - time.monotonic()) + _REQUEST_WAIT)
    left = len(spool.entries()) + len(spool.unreported)
    spool.release()
    if left:
        write_stderr(f"openlineage-pod relay: {left} events are left in {path}\n", time.monotonic() + _REQUEST_WAIT)
    return 1 if left else 0


class _Relay:
    def __init__(self, spool: Spool, emit: Callable[[Document], None], *, last_resort: bool) -> None:
        self._spool = spool
        self._emit = emit
        self._last_resort = last_resort
        self._retry = RetryPolicy()
        self._end = math.inf
        self._stopping = threading.Event()
        self._is_failing = False
        self._pause = _POLL
        # By run: the passes in which its event failed.
        self._failures: Counter[str] = Counter()

    def stop(self, end: float) -> None:
        """Make `run` return, at `end` (a time of `time.monotonic()`) at the latest."""
        self._end = end
        self._retry.close(end)
        self._stopping.set()

    def run(self) -> None:
        """Deliver until `stop` is called, then the events that are left."""
        while not self._stopping.is_set():
            with guarded("relay"):
                self._pass()
            self._stopping.wait(self._pause)
        # The last pass also ends the runs of processes that were asked to stop and still live: nobody else will.
        last_call = self._end - min(_LAST_PASS, max(0.0, self._end - time.monotonic()) / 2)
        with guarded("relay the rest"):
            while self._spool.is_in_use() and time.monotonic() < last_call:
                self._pass()
                time.sleep(min(self._pause, max(0.0, last_call - time.monotonic())))
            # Another process may hold the drain lock, and may stop before it has delivered everything.
            while not self._pass(all_of_them=True) and self._spool.is_in_use() and time.monotonic() < self._end:
                time.sleep(min(_POLL, max(0.0, self._end - time.monotonic())))

    def _pass(self, *, all_of_them: bool = False) -> bool:
        """Deliver the events that are there; return False if another process holds the drain lock."""
        with self._spool.left_behind(all_of_them=all_of_them) as entries:
            failure = drain(
                self._spool,
                entries or [],
                self._deliver,
                SECRETS,
                self._stopping.is_set,
                last_resort=self._last_resort,
                emit_once=self._emit,
                may_be_overtaken=self._may_be_overtaken,
            )
        if failure is None:
            self._is_failing, self._pause = False, _POLL
            self._failures.clear()
        elif not self._is_failing:  # one line per outage
            self._is_failing = True
            logger.warning("events wait in %s: %s", self._spool.path, describe(failure, SECRETS))
        if failure is not None:
            self._pause = _POLL_WHILE_REFUSED if is_key_refused(failure) else _POLL_WHILE_FAILING
        return entries is not None

    def _may_be_overtaken(self, entry: Entry) -> bool:
        self._failures[entry.run_id] += 1
        return self._stopping.is_set() or self._failures[entry.run_id] >= _MAX_PASSES_ALONE

    def _deliver(self, document: Document) -> None:
        self._retry.call(lambda: self._emit(document), lambda _error: None, _TURN_BUDGET)
