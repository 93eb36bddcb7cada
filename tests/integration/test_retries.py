"""Promise 3 against a backend in trouble: ordered, complete, once; by one retry layer, and that is ours."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.examples import fast
from tests.support.harness import by_run, types

if TYPE_CHECKING:
    from tests.support.harness import Jobs, Receiver

JOB = """
from openlineage_pod import lineage_run
with lineage_run("job") as run:
    run.add_output("s3://lake/accounts")
"""
PATIENT = {"OPENLINEAGE_POD_FLUSH_TIMEOUT": "20"}
TRANSIENT: dict[str, Any] = {
    "503": {"status": 503},
    "500": {"status": 500},
    "408": {"status": 408},
    "429": {"status": 429, "headers": {"Retry-After": "0"}},
    "429-wait": {"status": 429, "headers": {"Retry-After": "1"}},
    "429-date": {"status": 429, "headers": {"Retry-After": "Fri, 31 Dec 2027 23:59:59 GMT"}},
    "reset": {"action": "reset"},
    "garbage": {"action": "garbage"},
}


@pytest.mark.parametrize("fault", fast(TRANSIENT, "503", "408", "429", "429-date", "reset", "garbage"))
def test_a_transient_fault_is_tried_again(fault: str, receiver: Receiver, jobs: Jobs) -> None:
    """After two failures each event is accepted exactly once, START first, and one warning tells of the outage."""
    rule: Any = {**TRANSIENT[fault], "times": 2}
    receiver.script(rule)
    finished = jobs.run(JOB, {**receiver.environ, **PATIENT})
    assert types(receiver.events()) == ["START", "COMPLETE"]
    assert len(receiver.requests()) == 4
    assert finished.printed == []
    (line,) = finished.log
    assert "cannot be delivered at the moment, trying again" in line
    if fault.isdecimal():
        assert fault in line


def test_a_broken_body_does_not_lose_the_event(receiver: Receiver, jobs: Jobs) -> None:
    """An answer whose body breaks off is tried again: at least once, and in order."""
    receiver.script({"action": "partial", "times": 2})
    finished = jobs.run(JOB, {**receiver.environ, **PATIENT})
    assert types(receiver.events()) == ["START", "COMPLETE"]
    assert finished.printed == []


def test_a_connection_that_the_backend_closed_is_opened_again(receiver: Receiver, jobs: Jobs) -> None:
    """A keep-alive connection that has gone stale between START and the end costs no event."""
    receiver.script({"headers": {"Connection": "close"}})
    finished = jobs.run(JOB, {**receiver.environ, **PATIENT})
    assert (types(receiver.events()), finished.stderr) == (["START", "COMPLETE"], "")


def test_start_goes_before_the_end_also_when_only_start_fails(receiver: Receiver, jobs: Jobs) -> None:
    """The terminal event waits for its START, though the backend would take it at once."""
    receiver.script({"event_type": "START", "status": 503, "times": 3})
    jobs.run(JOB, {**receiver.environ, **PATIENT})
    attempts = [(request["status"], "START" in request["body"]) for request in receiver.requests()]
    assert attempts == [(503, True)] * 3 + [(201, True), (201, False)]


@pytest.mark.parametrize("status", fast([400, 401, 403, 404, 413, 422], 400, 401, 413))
def test_a_refusal_is_final(status: int, receiver: Receiver, jobs: Jobs) -> None:
    """A 4xx is tried once; one warning names the status and the backend's reason, and the event is printed."""
    receiver.script({"event_type": "START", "status": status, "body": "namespace\nis odd"})
    finished = jobs.run(JOB, {**receiver.environ, **PATIENT})
    assert [request["status"] for request in receiver.requests()] == [status, 201]
    assert types(finished.printed) == ["START"]
    refused, last = finished.log
    for line in (refused, last):
        assert str(status) in line
        assert "namespace is odd" in line
    assert last.endswith(
        "; at exit not all lineage events were delivered: 1 delivered, 0 spooled, 1 rejected, 0 pending"
    )


@pytest.mark.parametrize("status", fast([301, 302, 303, 307, 308], 302, 308))
def test_a_redirect_does_not_lose_the_event_in_silence(status: int, receiver: Receiver, jobs: Jobs) -> None:
    """A redirect to a page that says 200 is no delivery: the event gets there as a POST, or it is printed."""
    receiver.script(
        {"path": "/api/v1/lineage", "status": status, "headers": {"Location": "/login"}},
        {"path": "/login", "status": 200, "body": "<h1>Sign in</h1>"},
    )
    finished = jobs.run(JOB, {**receiver.environ, "OPENLINEAGE_POD_FLUSH_TIMEOUT": "2"})
    arrived = [request for request in receiver.requests() if request["status"] == 200 and request["body"]]
    assert len(arrived) == 2 or types(finished.printed) == ["START", "COMPLETE"]


def test_an_event_that_is_refused_does_not_hold_up_the_others(receiver: Receiver, jobs: Jobs) -> None:
    """The runs behind a refused one are delivered."""
    receiver.script({"job": "run-0", "status": 422})
    finished = jobs.run(
        """
        from openlineage_pod import lineage_run
        for number in range(10):
            with lineage_run(f"run-{number}"):
                pass
        """,
        {**receiver.environ, **PATIENT},
    )
    assert len(by_run(receiver.events())) == 9
    assert types(finished.printed) == ["START", "COMPLETE"]


@pytest.mark.parametrize(
    "rule",
    [
        {"status": 503},
        pytest.param({"status": 429}, marks=pytest.mark.slow),
        pytest.param({"action": "reset"}, marks=pytest.mark.slow),
    ],
    ids=["503", "429", "reset"],
)
def test_there_is_one_retry_layer(rule: Any, receiver: Receiver, jobs: Jobs) -> None:
    """Between two attempts there is always our own pause: the transport does not retry by itself."""
    receiver.script(rule)
    job = jobs.start(
        """
        from openlineage_pod import lineage_run
        with lineage_run("job"):
            print("READY", flush=True)
            input()
        """,
        {**receiver.environ, "OPENLINEAGE_POD_FLUSH_TIMEOUT": "0.5"},
    )
    job.wait_for("READY")
    attempts = receiver.requests(at_least=4)[:4]
    finished = job.finish(b"\n")
    # urllib3's first retry comes at once, ours never before a tenth of a second.
    assert all(later["time"] - earlier["time"] > 0.09 for earlier, later in pairwise(attempts))
    assert len(receiver.requests()) < 12
    assert types(finished.printed) == ["START", "COMPLETE"]


def test_retries_that_the_user_configured_are_kept(receiver: Receiver, jobs: Jobs) -> None:
    """With `retry` in the transport's configuration, it makes those attempts itself within one of ours."""
    receiver.script({"status": 503, "times": 3})
    config = jobs.file(
        "lineage.yml",
        f"""
        transport:
          type: http
          url: {receiver.url}
          retry: {{total: 3, backoff_factor: 0, status_forcelist: [503], allowed_methods: [POST]}}
        """,
    )
    finished = jobs.run(JOB, {"OPENLINEAGE_CONFIG": str(config), **PATIENT})
    times = [request["time"] for request in receiver.requests()]
    assert times[3] - times[0] < 0.09
    assert types(receiver.events()) == ["START", "COMPLETE"]
    assert finished.stderr == ""


def test_a_backend_that_comes_up_late_gets_everything(receiver: Receiver, jobs: Jobs) -> None:
    """Events of a backend's outage are delivered when it is back, each run's in their order, with one warning."""
    receiver.script({"status": 503})
    job = jobs.start(
        """
        from openlineage_pod import lineage_run
        for number in range(20):
            with lineage_run(f"run-{number}"):
                pass
        print("READY", flush=True)
        input()
        """,
        {**receiver.environ, **PATIENT},
    )
    job.wait_for("READY")
    receiver.requests(at_least=3)
    receiver.script()
    finished = job.finish(b"\n")
    events = receiver.events()
    assert {event["job"]["name"] for event in events} == {f"run-{number}" for number in range(20)}
    assert len(events) == 40
    assert all(run == ["START", "COMPLETE"] for run in by_run(events).values())
    assert len(finished.log) == 1
