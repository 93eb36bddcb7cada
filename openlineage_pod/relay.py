"""`openlineage-pod relay`: delivers from a spool what other processes put there, and ends the runs that they did not.

It runs beside the job, as a sidecar of its pod or as an agent of its node, so it survives what kills the job.
"""

from __future__ import annotations

import signal
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

from openlineage_pod._guard import ConfigurationError, logger
from openlineage_pod.delivery.drain import drain
from openlineage_pod.delivery.retry import RetryPolicy
from openlineage_pod.delivery.spool import Spool
from openlineage_pod.delivery.transport import NOT_CONFIGURED, configured_secrets, connect, describe
from openlineage_pod.redaction import Redactor

if TYPE_CHECKING:
    from openlineage_pod.settings import Settings

__all__ = ["relay"]

_POLL = 0.2
_POLL_WHILE_FAILING = 1.0
# How long one event is tried again before the next run has its turn.
_PATIENCE = 2.0
# Of the grace period, what is kept for the last deliveries before the SIGKILL.
_RESERVE = 3.0


def relay(path: str, settings: Settings) -> int:
    """Deliver what appears in the spool at `path` until SIGTERM or SIGINT, then what is left; return the exit status.

    A run whose process has ended without a word gets the end that the process prepared for this case: ABORT if it was
    asked to stop, else FAIL. After the signal, living processes have the grace period to report themselves; then
    their runs are ended in the same way.

    Args:
        path: the spool directory; made where it is missing.
        settings: the transport, the grace period and the limits.

    Returns:
        0 if nothing is left in the spool, else 1.

    Raises:
        ConfigurationError: No transport is configured or can be built.
        OSError: The directory cannot be used.

    """
    backend = connect(settings.environ)
    if backend is None:
        raise ConfigurationError(NOT_CONFIGURED)
    return _Relay(Spool(path, settings.spool_max_bytes), backend.emit, settings).run()


class _Relay:
    def __init__(self, spool: Spool, emit: Any, settings: Settings) -> None:
        self._spool = spool
        self._emit = emit
        self._grace = settings.grace_period
        self._redactor = Redactor(configured_secrets(settings.environ), patterns=settings.redact)
        self._retry = RetryPolicy()
        self._stopping = threading.Event()
        self._is_failing = False

    def run(self) -> int:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self._stopping.set())
        while not self._stopping.is_set():
            self._pass()
            self._stopping.wait(_POLL_WHILE_FAILING if self._is_failing else _POLL)
        self._finish()
        left = len(self._spool.entries())
        self._spool.release()
        if left:
            print(f"openlineage-pod relay: {left} events are left in {self._spool.path}", file=sys.stderr)
        return 1 if left else 0

    def _finish(self) -> None:
        end = time.monotonic() + self._grace - min(_RESERVE, self._grace / 2) / 2
        last_call = end - min(_RESERVE, self._grace / 2) / 2
        self._retry.close(end)
        while True:
            is_last = time.monotonic() >= last_call
            self._pass(all_of_them=is_last)
            if is_last or not self._spool.is_in_use():
                return
            time.sleep(min(_POLL, max(0.0, last_call - time.monotonic())))

    def _pass(self, *, all_of_them: bool = False) -> None:
        with self._spool.left_behind(all_of_them=all_of_them) as entries:
            failure = drain(self._spool, entries, self._deliver, self._redactor, self._stopping.is_set)
        if failure is None:
            self._is_failing = False
        elif not self._is_failing:  # one line per outage
            self._is_failing = True
            logger.warning("events wait in %s: %s", self._spool.path, describe(failure, self._redactor))

    def _deliver(self, document: dict[str, Any]) -> None:
        self._retry.call(lambda: self._emit(document), lambda _error: None, _PATIENCE)
