"""The delivery thread: order, counting, the end, against a backend of the test's own."""

from __future__ import annotations

import json
import logging
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from openlineage_pod import DeliveryReport
from openlineage_pod._guard import ConfigurationError
from openlineage_pod.delivery.worker import Delivery
from openlineage_pod.events import Draft
from openlineage_pod.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Mapping


def draft(number: int, event_type: str = "START") -> Draft:
    """Return the draft of a run of its own."""
    return Draft(
        event_type=event_type,
        event_time="2026-01-01T00:00:00+00:00",
        run_id=f"01938a60-0000-7000-8000-{number:012d}",
        job_name=f"job_{number}",
        job_namespace="default",
        parent=None,
        run_facets={},
        job_facets={},
        inputs=(),
        outputs=(),
    )


class Backend:
    """A backend that keeps what it gets, and can be told to fail or to hang."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.documents: list[Mapping[str, Any]] = []
        self.asked = threading.Event()
        self.answer = threading.Event()
        self.answer.set()

    def another(self) -> None:
        """Allow one lane only."""

    def emit(self, document: Mapping[str, Any]) -> None:
        self.asked.set()
        self.answer.wait(30)
        if self.errors:
            raise self.errors.pop(0)
        self.documents.append(document)


def delivery(backend: Backend | None, **settings: Any) -> Delivery:
    """Return a delivery to `backend` with these settings."""
    return Delivery(Settings(environ={}, **settings), connect=lambda _environ: backend)


def printed(stderr: str) -> list[Any]:
    """Return the events that were printed."""
    prefix = "OPENLINEAGE_POD_EVENT "
    return [json.loads(line.removeprefix(prefix)) for line in stderr.splitlines() if line.startswith(prefix)]


def test_in_order() -> None:
    """Events reach the backend in the order in which they were submitted, and are counted."""
    backend = Backend()
    subject = delivery(backend)
    for number in range(100):
        subject.submit(draft(number))
    assert subject.flush(10) == DeliveryReport(delivered=100)
    assert [document["job"]["name"] for document in backend.documents] == [f"job_{number}" for number in range(100)]


def test_submit_does_not_wait() -> None:
    """Submitting returns while the backend hangs; what is on the way counts as pending."""
    backend = Backend()
    backend.answer.clear()
    subject = delivery(backend)
    subject.submit(draft(1))
    assert backend.asked.wait(10)
    assert subject.flush(0.01) == DeliveryReport(pending=1)
    backend.answer.set()
    assert subject.flush(10) == DeliveryReport(delivered=1)


def test_deadline(capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> None:
    """At the deadline what is undelivered, also what is under way, is printed, counted once, and summed up."""
    backend = Backend()
    backend.answer.clear()
    subject = delivery(backend, flush_timeout=0.3)
    for number in range(3):
        subject.submit(draft(number))
    assert backend.asked.wait(10)
    started = time.monotonic()
    assert subject.close() == DeliveryReport(printed=3)
    assert time.monotonic() - started < 5
    assert [event["job"]["name"] for event in printed(capfd.readouterr().err)] == ["job_0", "job_1", "job_2"]
    assert "3 printed" in caplog.text
    backend.answer.set()
    assert subject.flush(10) == DeliveryReport(printed=3)


def test_all_delivered_says_nothing(caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]) -> None:
    """When all was delivered the end is silent."""
    subject = delivery(Backend())
    subject.submit(draft(1))
    assert subject.close() == DeliveryReport(delivered=1)
    assert (caplog.text, capfd.readouterr().err) == ("", "")


def test_printing_switched_off(capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> None:
    """Without a last resort the events are lost, and the line at the end says so."""
    subject = delivery(None, last_resort=False, flush_timeout=1)
    subject.submit(draft(1))
    assert subject.close() == DeliveryReport(pending=1)
    assert printed(capfd.readouterr().err) == []
    assert "1 pending" in caplog.text


def test_refused_for_good(capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> None:
    """A permanent refusal is one warning, the event is printed and counted as rejected, and the next one goes on."""
    backend = Backend(ValueError("no such field"))
    subject = delivery(backend)
    subject.submit(draft(1))
    subject.submit(draft(2))
    assert subject.flush(10) == DeliveryReport(delivered=1, rejected=1)
    assert [event["job"]["name"] for event in printed(capfd.readouterr().err)] == ["job_1"]
    assert "no such field" in caplog.text


def test_outage_is_one_line(caplog: pytest.LogCaptureFixture) -> None:
    """However often an event is tried again, an outage is one line, and a later one another."""
    backend = Backend(*[OSError("down")] * 3)
    subject = delivery(backend)
    subject.submit(draft(1))
    subject.flush(10)
    backend.errors = [OSError("down again")]
    subject.submit(draft(2))
    assert subject.flush(10).delivered == 2
    assert len(caplog.records) == 2


def test_nothing_configured(caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]) -> None:
    """Without a transport there is one warning that names OPENLINEAGE_URL, and the events are printed."""
    subject = delivery(None)
    for number in range(3):
        subject.submit(draft(number))
    assert subject.flush(10) == DeliveryReport(printed=3)
    (record,) = caplog.records
    assert (record.levelno, "OPENLINEAGE_URL" in record.getMessage()) == (logging.WARNING, True)
    assert len(printed(capfd.readouterr().err)) == 3


@pytest.mark.parametrize("error", [ConfigurationError("bad"), RuntimeError("worse"), ImportError("worst")])
def test_backend_that_cannot_be_made(
    error: Exception, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """If no backend can be built there is one warning with the reason, and the events are printed."""

    def connect(_environ: Mapping[str, str]) -> None:
        raise error

    subject = Delivery(Settings(environ={}), connect)
    subject.submit(draft(1))
    assert subject.flush(10) == DeliveryReport(printed=1)
    assert len(caplog.records) == 1
    assert str(error) in caplog.text
    assert len(printed(capfd.readouterr().err)) == 1


def test_events_after_the_end() -> None:
    """What an exit handler of the job reports after our own end is still delivered, within what is left of the time."""
    backend = Backend()
    subject = delivery(backend)
    subject.close()
    subject.submit(draft(1))
    assert subject.report() == DeliveryReport(delivered=1)


def test_exit_budget_is_spent_once(capfd: pytest.CaptureFixture[str]) -> None:
    """However often the end is reached, all waiting together stays within the flush timeout."""
    backend = Backend()
    backend.answer.clear()
    subject = delivery(backend, flush_timeout=0.5)
    started = time.monotonic()
    for number in range(20):
        subject.submit(draft(number))
        subject.close()
    assert time.monotonic() - started < 5
    assert len(printed(capfd.readouterr().err)) == 20
    backend.answer.set()


def test_no_thread_to_be_had(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], swallowed: list[Exception]
) -> None:
    """Where no thread can be started (at interpreter shutdown, or at a limit) the events are printed at the end."""

    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    subject = delivery(Backend())
    subject.submit(draft(1))
    assert subject.close() == DeliveryReport(printed=1)
    assert len(printed(capfd.readouterr().err)) == 1
    assert swallowed
    swallowed.clear()


def test_report_reads_well() -> None:
    """The report prints as the line that a person reads at the end of a log."""
    assert str(DeliveryReport(delivered=2, printed=1)) == "2 delivered, 0 spooled, 0 rejected, 1 printed, 0 pending"
