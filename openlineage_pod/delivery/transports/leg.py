"""A transport of openlineage-python or of the job's own, as delivery uses it."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from openlineage.client.transport import Transport

from openlineage_pod._guard import logger
from openlineage_pod.delivery.transports.base import REQUEST_TIMEOUT

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Leg", "OwnLeg", "QueueError", "QueuedLeg", "TransformLeg", "close_leg", "event_key"]

# What waits for the queue of a transport, and returns whether it is empty.
_WAITS = ("wait_for_completion", "flush")
_FAILURES = ("failed", "failures", "errors", "dropped")


class Leg(Transport):
    """One transport, alone or inside another one.

    Attributes:
        inner: what delivers.
        timeout: seconds that one request may take; None if it has no such limit.
        confirms: an event that `emit` has taken is delivered; else only what `close` returns says so.

    """

    timeout: float | None = None
    confirms = True

    def __init__(self, inner: Transport) -> None:
        self.inner: Any = inner
        self.kind, self.name, self.priority = inner.kind, inner.name, inner.priority

    @property
    def legs(self) -> list[Leg]:
        """The transports inside this one."""
        return []

    @property
    def target(self) -> str:
        """Where the events go, for a message."""
        return self.kind or type(self.inner).__name__

    @property
    def phase(self) -> str:
        """What the request under way is waiting for; empty if there is none."""
        return ""

    def emit(self, event: Any) -> Any:
        """Deliver one event or raise."""
        return self.inner.emit(event)

    def close(self, timeout: float = -1) -> bool:
        """Wait up to `timeout` seconds for what is queued, and close; return False if an event was not delivered."""
        return _call(self.inner.close, timeout) is not False

    def clone(self) -> Leg | None:
        """Return a further one to use at the same time, or None: most transports are not known to be thread-safe."""
        return None


class OwnLeg(Leg):
    """A transport of the job's own, which may keep events until it is closed."""

    def __init__(self, inner: Transport) -> None:
        super().__init__(inner)
        self.confirms = type(inner).close is Transport.close

    def close(self, timeout: float = -1) -> bool:
        """Wait up to `timeout` seconds for what is queued, and close; return False if an event was not delivered."""
        return super().close(timeout) and not _failures(self.inner)


class QueueError(Exception):
    """A transport with a queue has not delivered an event, or has not said so in time."""


class QueuedLeg(Leg):
    """A transport with a queue and a method that waits for it: each event is waited for.

    An event that is not done in time stays in the queue: the next attempt waits for it again and does not repeat it.
    """

    def __init__(self, inner: Transport) -> None:
        super().__init__(inner)
        self.timeout = REQUEST_TIMEOUT
        self._wait: Callable[[float], object] = next(filter(callable, (getattr(inner, name, None) for name in _WAITS)))
        # Queued events, and how many had failed before each.
        self._queued: dict[tuple[str, ...], int] = {}

    @staticmethod
    def fits(transport: Transport) -> bool:
        """Return whether a transport has a method that waits for its queue."""
        return any(callable(getattr(transport, name, None)) for name in _WAITS)

    def emit(self, event: Any) -> None:
        """Deliver one event or raise."""
        key = event_key(event)
        if key not in self._queued:
            failures = _failures(self.inner)
            self.inner.emit(event)
            self._queued[key] = failures
        is_done = _call(self._wait, self.timeout) is not False
        if _failures(self.inner) > self._queued[key]:
            del self._queued[key]
            raise QueueError(f"the transport {self.target} reports that it could not deliver an event")
        if not is_done:
            raise QueueError(f"the transport {self.target} has not delivered an event within {self.timeout:g} seconds")
        del self._queued[key]

    def close(self, timeout: float = -1) -> bool:
        """Wait up to `timeout` seconds for what is queued, and close; return False if an event was not delivered."""
        self._queued.clear()
        return super().close(timeout)


class TransformLeg(Leg):
    """A transport that changes events before another one delivers them."""

    def __init__(self, inner: Any, leg: Leg) -> None:
        super().__init__(inner)
        inner.transport = self._leg = leg
        self.confirms = leg.confirms

    @property
    def legs(self) -> list[Leg]:
        """The transport behind the transformer."""
        return [self._leg]

    @property
    def target(self) -> str:
        """Where the events go, for a message."""
        return self._leg.target

    @property
    def phase(self) -> str:
        """What the request under way is waiting for; empty if there is none."""
        return self._leg.phase


def close_leg(leg: Leg, timeout: float) -> bool:
    """Close a leg within `timeout` seconds; return False if an event was not delivered. An error is one warning."""
    try:
        return leg.close(timeout)
    except Exception as error:
        logger.warning("transport %s: closing it failed: %s: %s", leg.name or leg.target, type(error).__name__, error)
        return False


def event_key(event: Any) -> tuple[str, ...]:
    """Return what is the same for each attempt to deliver an event."""
    return str(event.run.runId), str(event.eventType), str(event.eventTime)


def _failures(transport: Any) -> int:
    """Return how many events a transport says that it could not deliver."""
    statistics: Any = getattr(transport, "get_stats", dict)()
    return sum(statistics.get(name, 0) for name in _FAILURES) if isinstance(statistics, dict) else 0


def _call(method: Callable[..., Any], seconds: float | None) -> Any:
    """Call a method with a timeout, or without one if it takes none."""
    try:
        inspect.signature(method).bind(seconds)
    except TypeError:
        return method()
    except ValueError:
        pass  # one of C code, which does not tell what it takes
    return method(seconds)
