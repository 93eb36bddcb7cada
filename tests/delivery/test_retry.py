"""Retries: what is worth another attempt, and how long it may take."""

from __future__ import annotations

import threading
import time

import pytest
import requests

from openlineage_pod.delivery.retry import RetryPolicy, is_transient
from tests.support.waiting import at_most


def http_error(status: int, **headers: str) -> requests.HTTPError:
    """Return the error that requests raises for an answer with this status."""
    response = requests.Response()
    response.status_code = status
    response.headers.update(headers)
    return requests.HTTPError(response=response)


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_transient_status(status: int) -> None:
    """Time-outs, too many requests and server errors may pass."""
    assert is_transient(http_error(status))


@pytest.mark.parametrize("status", [400, 401, 403, 404, 413, 422])
def test_permanent_status(status: int) -> None:
    """Other client errors will not go away by themselves."""
    assert not is_transient(http_error(status))


@pytest.mark.parametrize("error", [requests.ConnectionError(), requests.Timeout(), RuntimeError("kafka"), OSError()])
def test_transient_error(error: Exception) -> None:
    """Connection errors and errors that we do not know are tried again."""
    assert is_transient(error)


@pytest.mark.parametrize("error", [TypeError(), ValueError(), requests.exceptions.InvalidURL(), KeyboardInterrupt()])
def test_permanent_error(error: BaseException) -> None:
    """What cannot be serialised or addressed fails the same way every time."""
    assert not is_transient(error)


class Attempt:
    """An attempt that fails with the given errors before it succeeds."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.calls = 0

    def __call__(self) -> None:
        self.calls += 1
        if self.errors:
            raise self.errors.pop(0)


def test_until_success() -> None:
    """Transient failures are repeated until the attempt succeeds, and each is told."""
    attempt, heard = Attempt(http_error(503), requests.ConnectionError()), list[BaseException]()
    RetryPolicy().call(attempt, heard.append)
    assert attempt.calls == 3
    assert len(heard) == 2


def test_permanent_error_ends_it() -> None:
    """A permanent failure leaves at once, as it is."""
    error = http_error(400)
    attempt = Attempt(error)
    with pytest.raises(requests.HTTPError) as caught:
        RetryPolicy().call(attempt, lambda _error: None)
    assert caught.value is error
    assert attempt.calls == 1


@pytest.mark.serial
def test_deadline_ends_it() -> None:
    """After the deadline of the exit there is no further attempt; the last failure leaves."""
    policy = RetryPolicy()
    policy.close(time.monotonic() + 0.3)
    attempt = Attempt(*[requests.ConnectionError()] * 1000)
    started = time.monotonic()
    with pytest.raises(requests.ConnectionError):
        policy.call(attempt, lambda _error: None)
    assert time.monotonic() - started < at_most()
    assert 1 < attempt.calls < 1000


def test_retry_after_beyond_the_deadline_ends_it() -> None:
    """A backend that asks to come back after the deadline is not asked again."""
    policy = RetryPolicy()
    policy.close(time.monotonic() + 30)
    attempt = Attempt(*[http_error(429, **{"Retry-After": "3600"})] * 3)
    with pytest.raises(requests.HTTPError):
        policy.call(attempt, lambda _error: None)
    assert attempt.calls == 1


@pytest.mark.serial
def test_retry_after_within_the_deadline_is_honoured() -> None:
    """A backend that asks for a pause which fits gets it."""
    policy = RetryPolicy()
    policy.close(time.monotonic() + 30)
    attempt = Attempt(http_error(429, **{"Retry-After": "1"}))
    started = time.monotonic()
    policy.call(attempt, lambda _error: None)
    assert time.monotonic() - started >= 1


@pytest.mark.parametrize("value", ["Wed, 21 Oct 2026 07:28:00 GMT", "soon", "-5", "nan", ""])
def test_retry_after_that_is_no_number(value: str) -> None:
    """Any other form of Retry-After counts as absent."""
    attempt = Attempt(http_error(503, **{"Retry-After": value}))
    RetryPolicy().call(attempt, lambda _error: None)
    assert attempt.calls == 2


def test_the_end_of_the_process_wakes_a_pause() -> None:
    """A pause while the job was running ends when the process does, for one more attempt."""
    policy = RetryPolicy()
    failed = threading.Event()
    attempt = Attempt(http_error(503, **{"Retry-After": "60"}))
    thread = threading.Thread(target=policy.call, args=(attempt, lambda _error: failed.set()), daemon=True)
    thread.start()
    assert failed.wait(10)
    policy.close(time.monotonic() + 30)
    thread.join(10)
    assert not thread.is_alive()
    assert attempt.calls == 2
