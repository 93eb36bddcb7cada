"""The delivery thread: order, counting, the end, against a backend of the test's own."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections import Counter
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

from openlineage_pod import DeliveryReport
from openlineage_pod.delivery import keeper, prepare, worker
from openlineage_pod.delivery import spool as spool_module
from openlineage_pod.delivery.delivery import Delivery
from openlineage_pod.delivery.ledger import Event
from openlineage_pod.delivery.run_queue import RunQueue
from openlineage_pod.delivery.spool import Spool
from openlineage_pod.events.document import Document, Draft, to_document
from openlineage_pod.settings import ConfigurationError, Settings
from tests.support.events import SEEN_EVENTS, draft
from tests.support.harness import stamped_event
from tests.support.waiting import HANGS, at_most, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path


class Backend:
    """A backend that keeps what it gets, and can be told to fail or to hang."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.documents: list[Mapping[str, Any]] = []
        self.asked = threading.Event()
        self.answer = threading.Event()
        self.answer.set()

    def clone(self) -> None:
        """Allow one worker only."""

    def close(self) -> None:
        """Keep what was delivered."""

    def emit(self, document: Document) -> None:
        self.asked.set()
        self.answer.wait(30)
        if self.errors:
            raise self.errors.pop(0)
        self.documents.append(document.fields)


class ClosedBackend(Backend):
    """A backend that knows whether its connection was closed."""

    is_closed = False

    def close(self) -> None:
        self.is_closed = True


def delivery(backend: Backend | None, **settings: Any) -> Delivery:
    """Return a delivery to `backend` with these settings."""
    return Delivery(Settings(environ={}, **settings), connect=lambda _environ: backend)


def printed(stderr: str) -> list[Any]:
    """Return the events that were printed."""
    prefix = "OPENLINEAGE_POD_EVENT "
    return [stamped_event(line.removeprefix(prefix)) for line in stderr.splitlines() if line.startswith(prefix)]


def test_in_order() -> None:
    """Events reach the backend in the order in which they were submitted, and are counted."""
    backend = Backend()
    subject = delivery(backend)
    for number in range(100):
        subject.submit(draft(number))
    assert subject.flush(10) == DeliveryReport(delivered=100)
    assert [document["job"]["name"] for document in backend.documents] == [f"job_{number}" for number in range(100)]


def test_an_interrupt_of_the_queue() -> None:
    """A signal handler or a finaliser that closes the delivery may interrupt the very thread that queues a run."""
    queue = RunQueue()

    class Interrupted(str):
        __slots__ = ()

        def __hash__(self) -> int:
            queue.wake(1)
            return 0

    thread = threading.Thread(target=lambda: queue.put(Event(1, Interrupted("run"))), daemon=True)
    thread.start()
    wait_until(lambda: not thread.is_alive(), "the run is queued")
    assert (queue.ready, queue.take(0), queue.take(0)) == (1, "run", "")


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


@pytest.mark.serial
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
    assert time.monotonic() - started < at_most()
    assert [event["job"]["name"] for event in printed(capfd.readouterr().err)] == ["job_0", "job_1", "job_2"]
    assert "3 printed" in caplog.text
    backend.answer.set()
    assert subject.flush(10) == DeliveryReport(printed=3)


class HangsAtStart(Backend):
    """A backend that does not answer to a START as long as the request may wait."""

    timeout = 60.0

    def emit(self, document: Document) -> None:
        if document.event_type == "START":
            self.asked.set()
            wait_until(lambda: self.timeout < 60, "less time is left")
            raise OSError("no answer")
        assert self.timeout == 60
        super().emit(document)


@pytest.mark.parametrize("is_under_way", [True, False], ids=["under way", "in the exit"])
def test_a_start_without_an_answer_leaves_time_for_the_end(is_under_way: bool) -> None:
    """In the exit the terminal event is tried, though the backend does not answer to its START."""
    backend = HangsAtStart()
    subject = delivery(backend, flush_timeout=30)
    subject.submit(draft(1))
    if is_under_way:
        assert backend.asked.wait(10)
    subject.submit(draft(1, "COMPLETE"))
    assert subject.close() == DeliveryReport(delivered=1, superseded=1)
    assert [document["eventType"] for document in backend.documents] == ["COMPLETE"]


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


@pytest.mark.serial
def test_exit_budget_is_spent_once(capfd: pytest.CaptureFixture[str]) -> None:
    """However often the end is reached, all waiting together stays within the flush timeout."""
    backend = Backend()
    backend.answer.clear()
    subject = delivery(backend, flush_timeout=0.5)
    started = time.monotonic()
    for number in range(60):
        subject.submit(draft(number))
        subject.close()
    assert time.monotonic() - started < at_most()
    assert len(printed(capfd.readouterr().err)) == 60
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


def test_time_of_the_end_without_a_thread(monkeypatch: pytest.MonkeyPatch, swallowed: list[Exception]) -> None:
    """Where the thread that ends the process delivers, the end of a run gets the time that its START leaves."""

    class Timed(Backend):
        timeout = 50.0

        def emit(self, document: Document) -> None:
            given.append(self.timeout)
            super().emit(document)

    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    given: list[float] = []
    monkeypatch.setattr(threading.Thread, "start", refuse)
    subject = delivery(Timed(), flush_timeout=60)
    for step in ("START", "COMPLETE"):
        subject.submit(draft(1, step))
    assert subject.close() == DeliveryReport(delivered=2)
    assert given[0] < 30
    assert given[1:] == [50]
    swallowed.clear()


def test_spool_that_hangs_without_a_worker(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str], swallowed: list[Exception]
) -> None:
    """Where no worker can be had and the spool's file system hangs, the end of the process does not wait for it."""
    start, goes_on = threading.Thread.start, threading.Event()

    def refuse(thread: threading.Thread) -> None:
        if thread.name.endswith("worker"):
            raise RuntimeError("can't start new thread")
        start(thread)

    def hang(*_arguments: object) -> None:
        goes_on.wait(HANGS)

    class Limited(Backend):
        timeout = 5.0

    monkeypatch.setattr(threading.Thread, "start", refuse)
    monkeypatch.setattr(keeper.Keeper, "open_spool", hang)
    subject = delivery(Limited(), flush_timeout=0.5, spool_dir=str(tmp_path))
    subject.submit(draft(1))
    closing = threading.Thread(target=subject.close, daemon=True)
    start(closing)
    wait_until(lambda: not closing.is_alive(), "the process ends")
    goes_on.set()
    assert len(printed(capfd.readouterr().err)) == 1
    swallowed.clear()


def test_report_reads_well() -> None:
    """The report prints as the line that a person reads at the end of a log."""
    assert str(DeliveryReport(delivered=2, printed=1)) == "2 delivered, 0 spooled, 0 rejected, 1 printed, 0 pending"


class Lanes:
    """A backend that takes its time and any number of connections; `decide` may refuse an event by raising."""

    def __init__(self, decide: Callable[[str, str], None] = lambda _run, _type: None, latency: float = 0.0) -> None:
        self.decide = decide
        self.latency = latency
        self.connections = 1
        self.closed = 0
        self.accepted: list[tuple[str, str]] = []
        self.answer = threading.Event()
        self.answer.set()
        self._changed = threading.Condition()

    def clone(self) -> Lanes:
        self.connections += 1
        return self

    def close(self) -> None:
        self.closed += 1

    def emit(self, document: Document) -> None:
        self.answer.wait(30)
        threading.Event().wait(self.latency)
        job, event_type = document.job_name, document.event_type
        self.decide(job, event_type)
        with self._changed:
            self.accepted.append((job, event_type))
            self._changed.notify_all()

    def wait_for(self, *events: tuple[str, str]) -> None:
        """Return as soon as these events have been accepted."""
        with self._changed:
            assert self._changed.wait_for(lambda: set(events) <= set(self.accepted), 20), self.accepted


class SingleLane(Lanes):
    """A backend of one connection."""

    def clone(self) -> None:  # type: ignore[override]
        """Allow no further one."""


def lanes_to(backend: Lanes, **settings: Any) -> Delivery:
    """Return a delivery to `backend` with these settings."""
    return Delivery(Settings(environ={}, **settings), connect=lambda _environ: backend)


def connected(backend: Lanes) -> Delivery:
    """Return a delivery that has delivered one event: before that there is one lane only."""
    subject = lanes_to(backend)
    subject.submit(draft(999))
    assert subject.flush(10) == DeliveryReport(delivered=1)
    return subject


STEPS = ["START", "RUNNING", "OTHER", "COMPLETE"]


def test_order_of_each_run_across_lanes() -> None:
    """Under load, with many lanes to a slow backend, each run's events arrive in their order, and each once."""
    backend = Lanes(latency=0.002)
    subject = connected(backend)
    for step in STEPS:
        for number in range(60):
            subject.submit(draft(number, step))
    assert subject.flush(30) == DeliveryReport(delivered=241)
    assert backend.connections > 1
    for number in range(60):
        assert [step for job, step in backend.accepted if job == f"job_{number}"] == STEPS


def test_order_of_each_run_with_failures() -> None:
    """Failures in between, on any lane, do not change the order of a run's events."""
    failures = Counter({(f"job_{number}", STEPS[number % 4]): 1 for number in range(20)})

    def decide(job: str, step: str) -> None:
        if failures[job, step] > 0:
            failures[job, step] -= 1
            raise OSError("once")

    backend = Lanes(decide)
    subject = connected(backend)
    for step in STEPS:
        for number in range(20):
            subject.submit(draft(number, step))
    assert subject.flush(30) == DeliveryReport(delivered=81)
    for number in range(20):
        assert [step for job, step in backend.accepted if job == f"job_{number}"] == STEPS


def test_one_lane_without_a_backlog() -> None:
    """As long as the backend keeps up, however many runs there are, there is one connection."""
    backend = Lanes()
    subject = lanes_to(backend)
    for number in range(50):
        subject.submit(draft(number))
        assert subject.flush(10).delivered == number + 1
    assert backend.connections == 1


def test_more_lanes_with_a_backlog() -> None:
    """While the backend hangs, the runs that come get lanes of their own, but not one for each."""
    backend = Lanes()
    subject = connected(backend)
    backend.answer.clear()
    for number in range(40):
        subject.submit(draft(number))
    wait_until(lambda: backend.connections >= 8, "eight connections")
    assert backend.connections <= 40 // 4 + 1  # each further worker needs four waiting runs
    backend.answer.set()
    assert subject.flush(20) == DeliveryReport(delivered=41)


def test_further_workers_for_runs_that_are_prepared_late(monkeypatch: pytest.MonkeyPatch) -> None:
    """Further workers start for runs that a busy machine prepares after the job has submitted its last event."""
    go_on = threading.Event()

    def late(event: Draft) -> dict[str, Any]:
        go_on.wait(30)
        return to_document(event)

    backend = Lanes()
    subject = connected(backend)
    backend.answer.clear()
    monkeypatch.setattr("openlineage_pod.delivery.prepare.to_document", late)
    monkeypatch.setattr(worker, "_MAX_IDLE", 0.05)
    for number in range(40):
        subject.submit(draft(number))
    wait_until(lambda: backend.closed == backend.connections - 1 > 0, "the early workers found nothing to do")
    early = backend.connections
    go_on.set()
    wait_until(lambda: backend.connections - early >= 7, "there are eight workers again")
    backend.answer.set()
    assert subject.flush(20) == DeliveryReport(delivered=41)


def test_the_exit_starts_no_further_worker() -> None:
    """At the exit one worker delivers the ends of three nested runs, the innermost first."""
    connecting, go_on = threading.Event(), threading.Event()
    backend = Lanes()

    def connect(_environ: Mapping[str, str]) -> Lanes:
        connecting.set()
        go_on.wait(30)
        return backend

    subject = Delivery(Settings(environ={}, flush_timeout=30), connect=connect)
    for number, step in [(1, "START"), (2, "START"), (3, "START"), (3, "ABORT"), (2, "ABORT"), (1, "ABORT")]:
        subject.submit(draft(number, step))
    assert connecting.wait(30)
    threading.Timer(0.2, go_on.set).start()
    assert subject.close() == DeliveryReport(delivered=6)
    assert backend.connections == 1
    assert [job for job, step in backend.accepted if step == "ABORT"] == ["job_3", "job_2", "job_1"]


def test_an_interrupt_while_a_thread_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    """A KeyboardInterrupt within `submit` leaves nothing taken over, so that whoever tries again doubles nothing."""
    backend = Lanes()
    subject = connected(backend)

    def interrupted(_workers: worker.Workers, **_how: bool) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(worker.Workers, "grow", interrupted)
        with pytest.raises(KeyboardInterrupt):
            subject.submit(draft(1))
    subject.submit(draft(1))
    assert subject.flush(20) == DeliveryReport(delivered=2)


def test_a_thread_waits_while_another_one_starts_the_delivery(monkeypatch: pytest.MonkeyPatch) -> None:
    """`flush` waits for threads that another thread of the job is about to start."""
    starting, go_on = threading.Event(), threading.Event()
    start = prepare.Preparer.start

    def slow(preparer: prepare.Preparer) -> None:
        starting.set()
        go_on.wait(30)
        start(preparer)

    monkeypatch.setattr(prepare.Preparer, "start", slow)
    subject = lanes_to(Lanes())
    first = threading.Thread(target=subject.submit, args=(draft(1),))
    first.start()
    assert starting.wait(30)
    subject.submit(draft(2))
    threading.Timer(0.2, go_on.set).start()
    report = subject.flush(30)
    first.join()
    assert report.delivered >= 1
    assert subject.flush(30) == DeliveryReport(delivered=2)


def test_further_workers_wait_for_the_backend_while_runs_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """A backend that accepts its first event late finds all workers that were started before."""
    monkeypatch.setattr(worker, "_MAX_IDLE", 0.05)
    backend = Lanes(latency=0.02)
    backend.answer.clear()
    subject = lanes_to(backend)
    for number in range(60):
        subject.submit(draft(number))
    threading.Event().wait(0.5)  # ten times as long as an idle worker stays
    backend.answer.set()
    assert subject.flush(20) == DeliveryReport(delivered=60)
    assert backend.connections > 1


def test_further_workers_end_with_the_backlog(monkeypatch: pytest.MonkeyPatch) -> None:
    """A further worker that finds nothing to do closes its connection and ends; the first one stays."""
    monkeypatch.setattr(worker, "_MAX_IDLE", 0.1)
    backend = Lanes()
    subject = connected(backend)
    backend.answer.clear()
    for number in range(40):
        subject.submit(draft(number))
    wait_until(lambda: backend.connections >= 8, "there are further workers")
    backend.answer.set()
    wait_until(lambda: backend.closed == backend.connections - 1, "all further workers have ended")
    subject.submit(draft(41))
    assert subject.flush(20) == DeliveryReport(delivered=42)


def test_one_run_has_one_lane() -> None:
    """A backlog of a single run starts no further lane: it could not keep the order."""
    backend = Lanes()
    subject = connected(backend)
    backend.answer.clear()
    before = len(SEEN_EVENTS)
    for _ in range(100):
        subject.submit(draft(1))
    wait_until(lambda: len(SEEN_EVENTS) == before + 100, "all events are prepared")
    backend.answer.set()
    assert subject.flush(20) == DeliveryReport(delivered=101)
    assert backend.connections == 1


def test_run_is_bound_while_it_has_events() -> None:
    """A run whose first event hangs gets no second lane for its next one."""
    hanging = threading.Event()

    def decide(job: str, step: str) -> None:
        if (job, step) == ("job_0", "START"):
            hanging.wait(30)

    backend = Lanes(decide)
    subject = connected(backend)
    subject.submit(draft(0))
    for number in range(1, 30):
        subject.submit(draft(number))
    subject.submit(draft(0, "COMPLETE"))
    subject.submit(draft(30))
    wait_until(lambda: len(backend.accepted) > 20, "20 events are accepted")
    assert ("job_0", "COMPLETE") not in backend.accepted
    hanging.set()
    assert subject.flush(20) == DeliveryReport(delivered=33)
    assert [step for job, step in backend.accepted if job == "job_0"] == ["START", "COMPLETE"]


def test_failing_event_steps_aside(monkeypatch: pytest.MonkeyPatch) -> None:
    """An event that keeps failing lets other runs pass, holds back its own run, and is tried again in its order."""
    monkeypatch.setattr(worker, "_ATTEMPT_BUDGET", 0.2)
    monkeypatch.setattr(worker, "_PARKED_PAUSE", 0.1)
    failing = threading.Event()
    failing.set()

    def decide(job: str, _step: str) -> None:
        if job == "job_1" and failing.is_set():
            raise OSError("down for this one")

    backend = SingleLane(decide)
    subject = lanes_to(backend)
    subject.submit(draft(1))
    subject.submit(draft(1, "COMPLETE"))
    subject.submit(draft(2))
    subject.submit(draft(2, "COMPLETE"))
    backend.wait_for(("job_2", "START"), ("job_2", "COMPLETE"))
    subject.submit(draft(3))
    backend.wait_for(("job_3", "START"))
    assert subject.report() == DeliveryReport(delivered=3, pending=2)
    failing.clear()
    assert subject.flush(20) == DeliveryReport(delivered=5)
    assert backend.accepted[3:] == [("job_1", "START"), ("job_1", "COMPLETE")]


def test_each_event_is_counted_once(capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> None:
    """Delivered, refused, failing and hanging events on many lanes: at the end each is in exactly one count."""

    def decide(job: str, _step: str) -> None:
        number = int(job.removeprefix("job_"))
        if number % 4 == 1:
            raise ValueError("never")
        if number % 4 == 2:
            raise OSError("down")
        if number % 4 == 3:
            hanging.wait(30)

    hanging = threading.Event()
    backend = Lanes(decide)
    subject = lanes_to(backend, flush_timeout=1)
    for number in range(40):
        subject.submit(draft(number))
    report = subject.close()
    shown = Counter(event["job"]["name"] for event in printed(capfd.readouterr().err))
    shown.update(job for job, _ in backend.accepted)
    assert shown == Counter(f"job_{number}" for number in range(40))
    accepted = len(backend.accepted)
    assert (sum(report), report.pending, report.delivered) == (40, 0, accepted)
    assert str(report) in caplog.text
    # What the deadline overtook is accepted after all, and is not counted again.
    hanging.set()
    wait_until(lambda: len(backend.accepted) > accepted, "one more event is accepted")
    threading.Event().wait(0.1)
    assert subject.report() == report


def spooled(directory: Path, folder: str = "new") -> list[str]:
    """Return the jobs of the events in a folder of the spool, in order."""
    documents = []
    for path in sorted((directory / folder).iterdir()):
        with suppress(FileNotFoundError):  # delivered meanwhile
            documents.append(json.loads(path.read_text()))
    return [document.get("event", document)["job"]["name"] for document in documents]


def leave_behind(directory: Path, *events: Draft) -> None:
    """Put events into a spool as a process that has ended."""
    spool = Spool(str(directory), 1 << 20)
    for one in events:
        spool.write(Document(to_document(one)))
    spool.release()
    spool.abandon()


def test_spooled_before_the_first_attempt(tmp_path: Path) -> None:
    """An event is in the spool when it is sent, and is gone from there when it has been accepted."""
    seen: list[list[str]] = []
    backend = Lanes(lambda _job, _step: seen.append(spooled(tmp_path)))
    subject = lanes_to(backend, spool_dir=str(tmp_path))
    subject.submit(draft(1))
    assert subject.flush(10) == DeliveryReport(delivered=1)
    assert (seen, spooled(tmp_path)) == ([["job_1"]], [])
    assert subject.close() == DeliveryReport(delivered=1)


@pytest.mark.serial
@pytest.mark.parametrize("how", ["hangs", "hangs-at-once", "fails", "fails-at-once"])
def test_left_in_the_spool(
    how: str, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a spool the end waits less than a second for a backend that accepts nothing; nothing is printed."""

    def slow_volume(path: str, max_bytes: int) -> Spool:
        threading.Event().wait(0.2)
        return Spool(path, max_bytes)

    def decide(_job: str, _step: str) -> None:
        if how.startswith("fails"):
            raise OSError("down")
        threading.Event().wait(30)

    if how.endswith("at-once"):
        monkeypatch.setattr(spool_module, "Spool", slow_volume)
    subject = lanes_to(Lanes(decide), spool_dir=str(tmp_path), flush_timeout=60)
    for number in range(3):
        subject.submit(draft(number))
    if not how.endswith("at-once"):
        wait_until(lambda: (tmp_path / "new").exists() and len(spooled(tmp_path)) == 3, "three events are in the spool")
    started = time.monotonic()
    assert subject.close() == DeliveryReport(spooled=3)
    assert time.monotonic() - started < at_most()
    assert spooled(tmp_path) == ["job_0", "job_1", "job_2"]
    assert printed(capfd.readouterr().err) == []
    assert list((tmp_path / "owners").iterdir()) == []


def test_a_spool_that_opens_late_is_handed_over(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a transport, what is in the spool is for others, and nothing is said of printing, however slow it is."""

    def slow_volume(path: str, max_bytes: int) -> Spool:
        threading.Event().wait(0.3)
        return Spool(path, max_bytes)

    monkeypatch.setattr(spool_module, "Spool", slow_volume)
    subject = delivery(None, spool_dir=str(tmp_path))
    subject.submit(draft(1))
    assert subject.flush(20) == DeliveryReport(spooled=1)
    other = Spool(str(tmp_path), 1 << 20)
    with other.left_behind() as entries:
        assert [entry.part(2) for entry in entries or []] == ["START"]
    assert caplog.text == ""


def test_refused_with_a_spool(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A refused event is kept in rejected/ and not printed."""
    subject = Delivery(
        Settings(environ={}, spool_dir=str(tmp_path)), connect=lambda _environ: Backend(ValueError("no such field"))
    )
    subject.submit(draft(1))
    assert subject.flush(10) == DeliveryReport(rejected=1)
    assert (spooled(tmp_path), spooled(tmp_path, "rejected")) == ([], ["job_1"])
    assert printed(capfd.readouterr().err) == []


def test_drains_what_was_left_behind(tmp_path: Path) -> None:
    """What an ended process has left in the spool is delivered, in its order, and not counted as this process's."""
    leave_behind(tmp_path, *(draft(number, step) for step in STEPS for number in (1, 2)))
    backend = Lanes()
    subject = lanes_to(backend, spool_dir=str(tmp_path))
    subject.submit(draft(3))
    backend.wait_for(("job_3", "START"), *((f"job_{number}", step) for step in STEPS for number in (1, 2)))
    wait_until(lambda: spooled(tmp_path) == [], "the spool is empty")
    assert subject.close() == DeliveryReport(delivered=1)
    for number in (1, 2):
        assert [step for job, step in backend.accepted if job == f"job_{number}"] == STEPS


@pytest.mark.parametrize("left", [0, 1])
def test_connection_for_what_was_left_behind(left: int, tmp_path: Path) -> None:
    """A further connection is made only where something was left in the spool, and is closed afterwards."""
    leave_behind(tmp_path, *(draft(1) for _ in range(left)))
    backends: list[ClosedBackend] = []

    def connect(_environ: Mapping[str, str]) -> Backend:
        backends.append(ClosedBackend())
        return backends[-1]

    subject = Delivery(Settings(environ={}, spool_dir=str(tmp_path)), connect)
    subject.submit(draft(2))
    for thread in threading.enumerate():
        if thread.name == "openlineage-pod-drain":
            thread.join(HANGS)
    assert subject.close() == DeliveryReport(delivered=1)
    assert [backend.is_closed for backend in backends] == [False] + [True] * left


def test_draining_leaves_what_fails(tmp_path: Path) -> None:
    """Of what was left behind, a failing run stays for the next process, a refused event goes to rejected/."""
    leave_behind(tmp_path, draft(1), draft(2), draft(1, "COMPLETE"), draft(4))

    def decide(job: str, step: str) -> None:
        if (job, step) == ("job_1", "START"):
            raise OSError("down")
        if job == "job_2":
            raise ValueError("no such field")

    backend = Lanes(decide)
    subject = lanes_to(backend, spool_dir=str(tmp_path))
    subject.submit(draft(3))
    backend.wait_for(("job_3", "START"), ("job_4", "START"))
    wait_until(lambda: len(spooled(tmp_path)) == 2, "two events are in the spool")
    assert subject.close() == DeliveryReport(delivered=1)
    assert (spooled(tmp_path), spooled(tmp_path, "rejected")) == (["job_1", "job_1"], ["job_2"])


def test_living_process_keeps_its_events(tmp_path: Path) -> None:
    """The events of a spool whose owner lives are not delivered by another one."""
    owner = Spool(str(tmp_path), 1 << 20)
    owner.write(Document(to_document(draft(1))))
    leave_behind(tmp_path, draft(2))
    backend = Lanes()
    subject = lanes_to(backend, spool_dir=str(tmp_path))
    subject.submit(draft(3))
    backend.wait_for(("job_3", "START"), ("job_2", "START"))
    assert subject.close() == DeliveryReport(delivered=1)
    assert spooled(tmp_path) == ["job_1"]
    owner.release()


@pytest.mark.parametrize(("answers", "left"), [(True, 0), (False, 1)], ids=["delivered", "lost"])
def test_will_of_an_end_that_is_not_in_the_spool(
    answers: bool, left: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What others report of a run stays with them while the run's own end is neither in the spool nor elsewhere."""
    write = Spool.write

    def without_ends(self: Spool, document: Document) -> Any:
        if document.event_type == "COMPLETE":
            raise OSError("no space left")
        return write(self, document)

    monkeypatch.setattr(Spool, "write", without_ends)
    backend = Backend()
    subject = delivery(backend, spool_dir=str(tmp_path), flush_timeout=1, last_resort=False)
    subject.submit(draft(1))
    assert subject.flush(10) == DeliveryReport(delivered=1)
    backend.asked.clear()
    backend.answer.clear()
    subject.submit(draft(1, "COMPLETE"))
    assert backend.asked.wait(10)
    assert len(list((tmp_path / "open").iterdir())) == 1
    if answers:
        backend.answer.set()
    assert subject.close() == DeliveryReport(delivered=2 - left, pending=left)
    assert len(list((tmp_path / "open").iterdir())) == left


def test_spool_that_cannot_be_used(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A spool that cannot be used is one warning, and the events are delivered all the same."""
    (tmp_path / "file").touch()
    subject = lanes_to(Lanes(), spool_dir=str(tmp_path / "file"))
    for number in range(3):
        subject.submit(draft(number))
    assert subject.close() == DeliveryReport(delivered=3)
    assert len(caplog.records) == 1


def test_full_spool(tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]) -> None:
    """What a full spool does not take stays in memory, with one warning, and is delivered or printed."""
    backend = Lanes()
    backend.answer.clear()
    subject = lanes_to(backend, spool_dir=str(tmp_path), spool_max_bytes=1_500, flush_timeout=0.5)
    for number in range(5):
        subject.submit(draft(number))
    report = subject.close()
    assert (sum(report), report.spooled, report.printed) == (5, len(spooled(tmp_path)), 5 - len(spooled(tmp_path)))
    assert 0 < report.spooled < 5
    shown = [event["job"]["name"] for event in printed(capfd.readouterr().err)]
    assert sorted(shown + spooled(tmp_path)) == [f"job_{number}" for number in range(5)]
    assert caplog.text.count("limit of 1500 bytes") == 1
    backend.answer.set()


def with_facet(key: str, facet: Any, number: int = 1) -> Draft:
    """Return a draft with an own run facet."""
    return draft(number)._replace(run_facets={key: facet})


def own(text: str) -> dict[str, str]:
    """Return a facet with this text."""
    return {"_producer": "https://x", "_schemaURL": "https://x", "text": text}


def test_credentials_do_not_leave(tmp_path: Path) -> None:
    """An event is masked before it is spooled, sent or printed."""
    seen: list[str] = []
    backend = Backend()
    subject = Delivery(
        Settings(environ={"OPENLINEAGE_API_KEY": "key-1-of-mine"}, spool_dir=str(tmp_path)),
        connect=lambda _environ: backend,
    )
    backend.answer.clear()
    subject.submit(with_facet("own", own("postgres://etl:hunter2@db, key-1-of-mine")))
    assert backend.asked.wait(10)
    seen.append("".join(path.read_text() for path in (tmp_path / "new").iterdir()))
    backend.answer.set()
    assert subject.flush(10).delivered == 1
    seen.append(json.dumps(backend.documents))
    for text in seen:
        assert "postgres://etl:***@db, ***" in text


@pytest.mark.parametrize(
    "text", ["x" * 30_000, "pwd=7 " * 1_600, "\x00\u2028é" * 2_000], ids=["plain", "masked", "odd"]
)
def test_size_limit(text: str, caplog: pytest.LogCaptureFixture) -> None:
    """What leaves is within the size limit, also after it was masked, and what is missing is one warning."""
    backend = Backend()
    subject = delivery(backend, max_event_bytes=10_400)
    subject.submit(with_facet("own", own(text)))
    assert subject.flush(10).delivered == 1
    (document,) = backend.documents
    assert len(json.dumps(document, separators=(",", ":"))) <= 10_400
    assert "left out: own" in caplog.text
    assert len(caplog.records) == 1


@pytest.mark.parametrize("odd", ["no mapping", {"tags": None}, ["list"]], ids=repr)
def test_odd_facet_of_a_large_event(odd: Any, capfd: pytest.CaptureFixture[str]) -> None:
    """An event that is too large and has a facet of no known shape is delivered or printed, not lost."""
    backend = Backend()
    subject = delivery(backend, max_event_bytes=10_000)
    subject.submit(draft(1)._replace(run_facets={"own": own("x" * 20_000), "tags": odd}))
    report = subject.close()
    assert len(backend.documents) + len(printed(capfd.readouterr().err)) == 1
    assert report.pending == 0


class Broken(logging.Handler):
    """A log handler of the job that raises."""

    def emit(self, record: logging.LogRecord) -> None:
        raise RuntimeError(record.getMessage())


@pytest.mark.parametrize("case", ["spool", "limit", "refused", "outage"])
def test_log_handler_that_raises(
    case: str, tmp_path: Path, swallowed: list[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A log handler of the job that raises costs a warning, never an event."""
    monkeypatch.setattr(worker, "_PARKED_PAUSE", 0.1)
    (tmp_path / "file").touch()
    settings: dict[str, Any] = {"spool": {"spool_dir": str(tmp_path / "file")}, "limit": {"max_event_bytes": 10_000}}
    errors: dict[str, list[Exception]] = {"refused": [ValueError("no")], "outage": [OSError("down")]}
    backend = Backend(*errors.get(case, []))
    subject = delivery(backend, flush_timeout=2, **settings.get(case, {}))
    handler = Broken()
    logging.getLogger("openlineage_pod").addHandler(handler)
    try:
        subject.submit(with_facet("own", own("x" * 12_000)))
        subject.submit(draft(2))
        subject.flush(3)
    finally:
        logging.getLogger("openlineage_pod").removeHandler(handler)
    swallowed.clear()
    refused = case == "refused"
    assert subject.report() == DeliveryReport(delivered=2 - refused, rejected=refused)
