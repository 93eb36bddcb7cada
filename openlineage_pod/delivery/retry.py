"""Which failures are worth another attempt, and when: the only retry layer there is."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

from openlineage_pod._fork import importing
from openlineage_pod._threads import Event, sleep
from openlineage_pod.delivery.transports.base import status_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from tenacity import RetryCallState

__all__ = ["RetryPolicy", "is_key_refused", "is_transient"]

_FIRST_PAUSE = 0.1
_MAX_PAUSE = 10.0
# At the end of the process pauses are short: the budget is a few seconds in all.
_MAX_PAUSE_AT_EXIT = 0.5
_MAX_RETRY_AFTER = 60.0
_RETRYABLE_STATUS = (408, 429)
_KEY_REFUSED = (401, 403)


def is_transient(error: BaseException) -> bool:
    """Say whether another attempt may succeed: connection errors, timeouts, 408, 429, 5xx and unknown errors.

    Permanent are the other 4xx and what cannot be serialised (TypeError, ValueError). Marquez answers 500 to some
    malformed events too, which therefore count as transient.
    """
    status = status_of(error)
    if status is not None:
        return status in _RETRYABLE_STATUS or status >= 500  # noqa: PLR2004
    return isinstance(error, Exception) and not isinstance(error, (TypeError, ValueError))


def is_key_refused(error: BaseException | None) -> bool:
    """Return whether the backend refused the API key (401, 403): the event is right, and a key may be mended."""
    return status_of(error) in _KEY_REFUSED


def _retry_after(error: BaseException | None) -> float:
    """Return the seconds of a `Retry-After` header, or 0. The HTTP-date form counts as absent: clocks differ."""
    headers = getattr(getattr(error, "response", None), "headers", None) or {}
    try:
        return max(0.0, float(headers.get("Retry-After", 0)))
    except (TypeError, ValueError):
        return 0.0


class RetryPolicy:
    """Attempts with exponential pauses and jitter, until success, a permanent error, or the deadline of the exit.

    Before `close()` there is no deadline: the job is still running, and time costs it nothing.
    """

    def __init__(self) -> None:
        self._deadline: float | None = None
        self._closing = Event()

    def close(self, deadline: float) -> None:
        """Set the time, of `time.monotonic()`, at which attempts end, and wake up a pausing one for another try."""
        self._deadline = deadline
        self._closing.set()

    def wait_for_close(self, seconds: float) -> None:
        """Pause for some seconds, or until `close()`."""
        self._closing.wait(seconds)

    def call(
        self,
        attempt: Callable[[], None],
        on_failure: Callable[[BaseException], None],
        budget: float = math.inf,
        gives_up: Callable[[], bool] = lambda: False,
    ) -> None:
        """Call `attempt` until it succeeds; `on_failure` hears of every failure that is followed by a pause.

        Args:
            attempt: makes one attempt, or raises.
            on_failure: is told of a failure.
            budget: seconds after which there is no further attempt; at the end of the process a quarter of the
                remaining time at most, so that one event does not take it all.
            gives_up: is asked after each failure; true: there is no further attempt.

        Raises:
            Exception: the last failure, if it is permanent, the budget is spent, the deadline has passed or the caller
                gives up.

        """
        started = time.monotonic()
        try:
            attempt()
        except Exception as error:
            if not is_transient(error):
                raise
            first_failure = [error]
        else:
            return
        with importing():
            # Deferred to the first failure: it imports asyncio, 25 ms that a healthy backend saves.
            import tenacity

        def next_attempt() -> None:
            if first_failure:
                raise first_failure.pop()
            attempt()

        def before_sleep(state: RetryCallState) -> None:
            if error := _failure(state):
                on_failure(error)

        backoff = tenacity.wait_exponential_jitter(initial=_FIRST_PAUSE, max=_MAX_PAUSE, jitter=_FIRST_PAUSE)
        tenacity.Retrying(
            retry=tenacity.retry_if_exception(is_transient),
            wait=lambda state: self._pause(backoff(state), _retry_after(_failure(state))),
            stop=lambda state: (
                gives_up() or self._is_over(time.monotonic() - started, budget, _retry_after(_failure(state)))
            ),
            sleep=self._sleep,
            before_sleep=before_sleep,
            reraise=True,
        )(next_attempt)

    def _remaining(self) -> float | None:
        return None if self._deadline is None else self._deadline - time.monotonic()

    def _pause(self, backoff: float, retry_after: float) -> float:
        remaining = self._remaining()
        if remaining is None:
            return max(backoff, min(retry_after, _MAX_RETRY_AFTER))
        # _is_over has already ruled out a Retry-After beyond the deadline.
        return max(0.0, min(max(min(backoff, _MAX_PAUSE_AT_EXIT), retry_after), remaining))

    def _is_over(self, spent: float, budget: float, retry_after: float) -> bool:
        remaining = self._remaining()
        if remaining is None:
            return spent >= budget
        return remaining <= 0 or retry_after > remaining or spent >= min(budget, remaining / 4)

    def _sleep(self, seconds: float) -> None:
        if self._closing.is_set():
            sleep(seconds)
        else:
            self._closing.wait(seconds)


def _failure(state: RetryCallState) -> BaseException | None:
    return state.outcome.exception() if state.outcome is not None else None
