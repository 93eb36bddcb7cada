"""`openlineage-pod relay`: delivers from a spool what other processes put there, and ends the runs that they did not.

It runs beside the job, as a sidecar of its pod or as an agent of its node, so it survives what kills the job.
"""

from __future__ import annotations

import math
import signal
import threading
import time
from typing import TYPE_CHECKING

from openlineage_pod._guard import guarded, logger
from openlineage_pod._stderr import write_stderr
from openlineage_pod._threads import start_thread
from openlineage_pod.delivery.drain import drain
from openlineage_pod.delivery.retry import RetryPolicy
from openlineage_pod.delivery.spool import Spool
from openlineage_pod.delivery.transports.base import NOT_CONFIGURED, describe
from openlineage_pod.delivery.transports.connect import connect
from openlineage_pod.events.secrets import Secrets
from openlineage_pod.settings import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from openlineage_pod.events.document import Document
    from openlineage_pod.settings import Settings

__all__ = ["relay"]

_POLL = 0.2
_POLL_WHILE_FAILING = 1.0
# How long one event is tried again before the next run has its turn.
_PATIENCE = 2.0
# Of the grace period: what is left of it at the end, before the SIGKILL; and what the last deliveries may take.
_RESERVE = 1.0
_LAST_PASS = 2.0
# How much longer a request under way is waited for.
_LATE = 0.2


def relay(path: str, settings: Settings, stop_signals: Sequence[signal.Signals]) -> int:
    """Deliver what appears in the spool at `path` until told to stop, then what is left; return the exit status.

    A run whose process has ended without a word gets the end that the process prepared for this case: ABORT if it was
    asked to stop, else FAIL. After the signal, living processes have the grace period to report themselves; then
    those runs are aborted whose processes were asked to stop. The whole never takes longer than the grace period.

    Args:
        path: the spool directory; made where it is missing.
        settings: the transport, the grace period and the limits.
        stop_signals: what tells it to stop; the caller has blocked them, before there was any thread.

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
    worker = _Relay(spool, transport.emit, settings)
    thread = start_thread(worker.run, "relay")
    signal.sigwait(stop_signals)
    end = time.monotonic() + settings.grace_period - min(_RESERVE, settings.grace_period / 2)
    worker.stop(end)
    thread.join(max(0.0, end - time.monotonic()) + _LATE)
    left = len(spool.entries()) + len(spool.unreported)
    spool.release()
    if left:
        write_stderr(f"openlineage-pod relay: {left} events are left in {path}\n", time.monotonic() + _LATE)
    return 1 if left else 0


class _Relay:
    def __init__(self, spool: Spool, emit: Callable[[Document], None], settings: Settings) -> None:
        self._spool = spool
        self._emit = emit
        self._secrets = Secrets.from_env(settings.environ, patterns=settings.redact)
        self._retry = RetryPolicy()
        self._end = math.inf
        self._stopping = threading.Event()
        self._is_failing = False

    def stop(self, end: float) -> None:
        """Have `run` come to its end, at the time `end` of `time.monotonic()` at the latest."""
        self._end = end
        self._retry.close(end)
        self._stopping.set()

    def run(self) -> None:
        """Deliver until stopped, then what is left."""
        while not self._stopping.is_set():
            with guarded("relay"):
                self._pass()
            self._stopping.wait(_POLL_WHILE_FAILING if self._is_failing else _POLL)
        # The last pass is also for the runs of processes that were asked to stop and still live: they get no other end.
        last_call = self._end - min(_LAST_PASS, max(0.0, self._end - time.monotonic()) / 2)
        with guarded("relay the rest"):
            while self._spool.is_in_use() and time.monotonic() < last_call:
                self._pass()
                time.sleep(min(_POLL, max(0.0, last_call - time.monotonic())))
            # Another process may be delivering, and may stop before it has come to everything.
            while not self._pass(all_of_them=True) and self._spool.is_in_use() and time.monotonic() < self._end:
                time.sleep(min(_POLL, max(0.0, self._end - time.monotonic())))

    def _pass(self, *, all_of_them: bool = False) -> bool:
        """Deliver what there is; say whether nobody else was delivering."""
        with self._spool.left_behind(all_of_them=all_of_them) as entries:
            failure = drain(self._spool, entries or [], self._deliver, self._secrets, self._stopping.is_set)
        if failure is None:
            self._is_failing = False
        elif not self._is_failing:  # one line per outage
            self._is_failing = True
            logger.warning("events wait in %s: %s", self._spool.path, describe(failure, self._secrets))
        return entries is not None

    def _deliver(self, document: Document) -> None:
        self._retry.call(lambda: self._emit(document), lambda _error: None, _PATIENCE)
