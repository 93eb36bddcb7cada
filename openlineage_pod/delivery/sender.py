"""Sending: what the transports of this process make of its events."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from openlineage_pod._guard import logger
from openlineage_pod._threads import Event as ThreadEvent
from openlineage_pod.delivery.ledger import MAX_ATTEMPTS_ALONE
from openlineage_pod.delivery.retry import is_key_refused, is_transient
from openlineage_pod.delivery.transports.base import NOT_CONFIGURED, describe, limit_request, phase_of, target_of
from openlineage_pod.settings import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from openlineage_pod.delivery.keeper import Keeper
    from openlineage_pod.delivery.ledger import Event, Ledger
    from openlineage_pod.delivery.prepare import Preparer
    from openlineage_pod.delivery.retry import RetryPolicy
    from openlineage_pod.delivery.transports.base import Transport
    from openlineage_pod.events.document import Document
    from openlineage_pod.events.secrets import Secrets
    from openlineage_pod.settings import Settings

__all__ = ["Sender"]

# Seconds that the first worker leaves the interpreter to the job before its imports compete for it.
_HEAD_START = 0.01
# When a START may be overtaken during the exit, as a share of its time.
_EXIT_SHARE_ALONE = 0.25
# The share of the rest of the exit that a request of a START may take, and the least: the end of its run needs some.
_START_SHARE = 0.5
_MIN_REQUEST = 0.01
# With a spool, the exit does not wait longer than this for a backend that accepts nothing.
_SPOOLED_EXIT = 0.7


class Sender:
    """Sends events by the transports of this process, and knows what the backend makes of them.

    Attributes:
        is_healthy: whether the backend has accepted an event.
        is_failing: whether the last event failed.
        is_connected: set when there is a transport, or it is known that there is none.
        is_proven: set with the first event that the backend accepts; further workers wait for it.
        transport: the first one; None before, and where none is configured or can be built.

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
        retry: RetryPolicy,
    ) -> None:
        self.is_healthy = False
        self.is_failing = False
        self.is_connected = ThreadEvent()
        self.is_proven = ThreadEvent()
        self.transport: Transport | None = None
        self._settings = settings
        self._connect = connect
        self._secrets = secrets
        self._ledger = ledger
        self._keeper = keeper
        self._preparer = preparer
        self._retry = retry
        self._transports: list[Transport] = []
        # Those that a START goes through at the moment, by its number.
        self._starts: dict[int, Transport] = {}
        self._last_failure = ""
        self._is_key_refused = False
        # When the exit began, and when it ends.
        self._exit: tuple[float, float] | None = None
        # When the backend last accepted an event, or was first asked to.
        self._last_progress: float | None = None

    # --- transports

    def connect_first(self) -> Transport | None:
        """Import and connect; runs on the first worker."""
        try:
            # Give the job its first lines before the imports compete with it for the interpreter; unless it ends.
            self._retry.wait_for_close(_HEAD_START)
            self._connect_first()
        finally:
            self.is_connected.set()
        return self.transport

    def _connect_first(self) -> None:
        fault: Exception | None = None
        try:
            self.transport = self._connect(self._settings.environ)
        except Exception as error:
            fault = error
        # No event comes before. Until then it is not known whether there is a spool, nor what has to be masked.
        self._preparer.wait_until_ready(None if self._exit is None else self._exit[1] - time.monotonic())
        spool = self._keeper.spool
        if self.transport is not None:
            self._transports.append(self.transport)
        elif fault is not None or spool is None:
            self._last_failure = self._fault(fault)
            logger.warning("%s", self._last_failure)
        if self.transport is None and spool is not None:
            spool.hand_over()

    def connect_further(self) -> Transport | None:
        """Return a transport to use beside the first one, or None if that is not possible."""
        transport = self.transport.clone() if self.transport is not None else None
        if transport is not None:
            self._transports.append(transport)
        return transport

    def connect_drainer(self) -> Transport | None:
        """Return a transport for the thread that drains the spool, or None if none is configured."""
        # A connection of its own: transports other than HTTP are not known to be thread-safe.
        return self.transport and (self.transport.clone() or self._connect(self._settings.environ))

    def disconnect(self, transport: Transport) -> None:
        """Close a transport, which delivers nothing any more."""
        if transport in self._transports:
            self._transports.remove(transport)
        transport.close()

    def _fault(self, error: Exception | None) -> str:
        if error is None:
            return NOT_CONFIGURED
        if isinstance(error, ConfigurationError):
            return str(error)
        return f"no lineage transport can be built: {describe(error, self._secrets)}"

    # --- one event

    def deliver(
        self,
        event: Event,
        transport: Transport | None,
        budget: float,
        gives_up: Callable[[], bool] = lambda: False,
        overtaken: Sequence[Event] = (),
    ) -> bool:
        """Try to deliver an event for up to `budget` seconds; return whether it is resolved.

        Args:
            event: what to deliver.
            transport: None if there is none; then the event is kept.
            budget: seconds for the attempts.
            gives_up: is asked after each failure; true: there is no further attempt.
            overtaken: earlier events of the run, which are superseded if the backend accepts this one.

        """
        if event.is_claimed:
            return True  # printed at the deadline
        if transport is None:
            self._preparer.keep(event)
            return True
        document = event.document or self._keeper.read(event)
        if document is None:
            where = event.entry.path if event.entry is not None else "its document, which could not be made,"
            logger.warning("an event of run %s is lost: %s has gone", event.run_id, where)
            self._keeper.resolve(event, "pending")
            return True
        if self._last_progress is None:
            self._last_progress = time.monotonic()
            self._ledger.notify()

        def attempt() -> None:
            event.attempts += 1
            self._emit(event, document, transport)

        try:
            self._retry.call(attempt, self._on_failure, budget, gives_up)
        except Exception as error:
            if is_transient(error):
                self._on_failure(error)
                return False
            self._reject(event, document, error)
        else:
            self.is_healthy, self.is_failing, self._last_progress = True, False, time.monotonic()
            self.is_proven.set()
            for earlier in overtaken:  # first: the exit may be about to print what is unresolved
                self._keeper.supersede(earlier)
            self._keeper.accept(event)
        return True

    def _emit(self, event: Event, document: Document, transport: Transport) -> None:
        """Deliver an event or raise; during the exit a START leaves time for the end of its run, whatever happens."""
        timeout = getattr(transport, "timeout", None)
        if event.is_end or timeout is None:
            transport.emit(document)
            return
        self._starts[event.number] = transport
        try:
            self._limit_starts()
            transport.emit(document)
        finally:
            del self._starts[event.number]
            if self._exit is not None:  # each transport inside a composite one has a limit of its own until then
                transport.timeout = timeout  # type: ignore[attr-defined]

    def _limit_starts(self) -> None:
        if self._exit is not None:
            seconds = max(_MIN_REQUEST, (self._exit[1] - time.monotonic()) * _START_SHARE)
            for transport in list(self._starts.values()):
                limit_request(transport, seconds)

    def _reject(self, event: Event, document: Document, error: Exception) -> None:
        reason = self._last_failure = describe(error, self._secrets)
        if is_key_refused(error) and self._keeper.hold(event):
            if not self._is_key_refused:  # one line for all events
                self._is_key_refused = True
                logger.warning(
                    "access to the lineage backend is refused: %s; events stay in the spool %s until the next process, "
                    "a relay or `openlineage-pod replay` delivers them",
                    reason,
                    self._settings.spool_dir,
                )
            return
        logger.warning(
            "the lineage backend refused the %s event of job %s, run %s, for good: %s",
            document.event_type,
            document.job_name,
            event.run_id,
            reason,
        )
        self._keeper.reject(event, document, reason)

    def _on_failure(self, error: BaseException) -> None:
        self._last_failure = describe(error, self._secrets)
        if not self.is_failing:  # one line per outage
            self.is_failing = True
            logger.warning("lineage events cannot be delivered at the moment, trying again: %s", self._last_failure)
        self._ledger.notify()

    def may_be_overtaken(self, event: Event) -> bool:
        """Return whether the terminal event of a run may go before this one, which keeps failing."""
        if event.attempts >= event.attempts_alone:
            return True
        if self._exit is None:
            return False
        started, deadline = self._exit
        is_near = time.monotonic() >= started + (self.exit_deadline(deadline, started) - started) * _EXIT_SHARE_ALONE
        return is_near and event.attempts > 0 and event.attempts_alone == MAX_ATTEMPTS_ALONE

    # --- the exit

    def note_failure(self, text: str) -> None:
        """Remember why events are not delivered."""
        self._last_failure = text

    def close(self, started: float, deadline: float) -> None:
        """Send the terminal events that wait behind failing ones soon: the process ends at the deadline."""
        self._exit = (started, deadline)
        self._limit_starts()

    def exit_deadline(self, deadline: float, started: float) -> float:
        """Return how long the exit waits: with the events safe in a spool, only while the backend accepts some."""
        if self._keeper.spool is None:
            return deadline
        if self.is_failing:
            return min(deadline, started + _SPOOLED_EXIT)
        if self._last_progress is None:
            return deadline  # it has not been asked yet
        return min(deadline, max(started, self._last_progress) + _SPOOLED_EXIT)

    @property
    def target(self) -> str:
        """Where the events go, for a message."""
        return target_of(self.transport) if self.transport is not None else "nowhere"

    @property
    def cause(self) -> str:
        """Why events are not delivered: the request under way, else the last failure; empty if there was none."""
        if not self.is_connected.is_set():
            return "the lineage transport was not ready yet"
        if self._last_progress is not None and not self.is_failing:
            phase = next(filter(None, map(phase_of, list(self._transports))), "")
            if phase or not (self.is_healthy or self._last_failure):
                return f"{self.target} has given no answer yet{phase and f' ({phase})'}"
        return self._last_failure
