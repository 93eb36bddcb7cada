"""Several transports of which each gets every event, each retried on its own.

openlineage-python's own composite counts an event as delivered when one of its transports has accepted it, and gives it
to all of them again when it is tried again.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from openlineage_pod.delivery.retry import is_transient
from openlineage_pod.delivery.transports.base import phase_of, target_of
from openlineage_pod.delivery.transports.leg import Leg, close_leg, event_key

if TYPE_CHECKING:
    from openlineage.client.transport.composite import CompositeTransport

__all__ = ["CompositeLeg", "LegError", "LegRefusedError"]

# Undelivered events of which it is remembered who has accepted them.
_MAX_REMEMBERED = 10_000


class LegError(Exception):
    """One of several transports has failed."""

    def __init__(self, leg: Leg, error: Exception) -> None:
        super().__init__(f"transport {leg.name or leg.kind}: {type(error).__name__}: {error}")
        if (response := getattr(error, "response", None)) is not None:
            self.response = response


class LegRefusedError(LegError, ValueError):
    """One of several transports refuses an event for good."""


class CompositeLeg(Leg):
    """Gives each event to its legs, in their order, until each has accepted or refused it.

    | `continue_on_failure` | `continue_on_success` | an event is delivered |
    |---|---|---|
    | true | true (both defaults) | when all legs have accepted it |
    | true | false | when the first leg has accepted it; the next one is tried after a failure |
    | false | true | when all have accepted it; a leg gets it only after those before it |
    | false | false | when the first leg has accepted it; no other is ever tried |
    """

    def __init__(self, inner: CompositeTransport, legs: list[Leg]) -> None:
        super().__init__(inner)
        self._legs = legs
        self._goes_on_after_failure = bool(inner.config.continue_on_failure)
        self._goes_on_after_success = bool(inner.config.continue_on_success)
        self.confirms = all(leg.confirms for leg in legs)
        # Of each undelivered event: the numbers of the legs that are done with it, with the refusal if it was refused.
        self._done: dict[tuple[str, ...], dict[int, LegError | None]] = {}

    @property
    def legs(self) -> list[Leg]:
        """The transports that get every event."""
        return self._legs

    @property
    def target(self) -> str:
        """Where the events go, for a message."""
        return ", ".join(map(target_of, self._legs))  # type: ignore[arg-type]

    @property
    def phase(self) -> str:
        """What the request under way is waiting for; empty if there is none."""
        return next(filter(None, map(phase_of, self._legs)), "")  # type: ignore[arg-type]

    def emit(self, event: Any) -> None:
        """Deliver one event, to the legs that have not accepted it at an earlier attempt, or raise.

        Raises:
            LegError: A leg has not accepted it.

        """
        key = event_key(event)
        done = self._done.setdefault(key, {})
        while len(self._done) > _MAX_REMEMBERED:
            del self._done[next(iter(self._done))]
        failure = self._emit(event, done)
        if failure is None or not is_transient(failure):
            self._done.pop(key, None)
        if failure is not None:
            raise failure

    def _emit(self, event: Any, done: dict[int, LegError | None]) -> LegError | None:
        """Return what keeps the event from being delivered: first of all what may pass."""
        passing: LegError | None = None
        for number, leg in enumerate(self._legs):
            if number not in done:
                try:
                    leg.emit(event)
                except Exception as error:
                    if is_transient(error):
                        passing = passing or LegError(leg, error)
                    else:
                        done[number] = LegRefusedError(leg, error)
                else:
                    done[number] = None
            has_accepted = number in done and done[number] is None
            if has_accepted and not self._goes_on_after_success:
                return None
            if not has_accepted and not self._goes_on_after_failure:
                break
        return passing or next(filter(None, done.values()), None)

    def close(self, timeout: float = -1) -> bool:
        """Close all legs within `timeout` seconds; return False if an event was not delivered."""
        deadline = time.monotonic() + timeout
        closed = [
            close_leg(leg, timeout if timeout <= 0 else max(0.0, deadline - time.monotonic())) for leg in self._legs
        ]
        return all(closed)

    def clone(self) -> CompositeLeg | None:
        """Return a further one to use at the same time, or None if that is not possible for each leg."""
        legs = [clone for leg in self._legs if (clone := leg.clone()) is not None]
        if len(legs) < len(self._legs):
            return None
        further = CompositeLeg(self.inner, legs)
        further._done = self._done
        return further
