"""A START that the backend keeps refusing: the end of its run arrives all the same, and START never comes after it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from openlineage_pod.delivery.spool import Spool
from openlineage_pod.events.document import Document
from tests.support.files import names, owed
from tests.support.harness import by_run, summary, types
from tests.support.replaying import event
from tests.support.waiting import wait_until
from tests.support.wrapping import start_relay, stop

if TYPE_CHECKING:
    from tests.support.harness import Jobs, Receiver
    from tests.support.replaying import Setting

pytestmark = pytest.mark.slow

JOB = """
from openlineage_pod import lineage_run
with lineage_run("job") as run:
    run.add_output("s3://lake/accounts")
"""
REFUSALS: dict[str, Any] = {
    "503": {"status": 503},
    "500": {"status": 500},
    "429": {"status": 429, "headers": {"Retry-After": "60"}},
    "reset": {"action": "reset"},
    "garbage": {"action": "garbage"},
}
REFUSED: Any = {"event_type": "START", "status": 503}


def state(receiver: Receiver) -> dict[str, str]:
    """Return the state of each job in a backend such as Marquez: what its last accepted event says."""
    return {found["job"]["name"]: found["eventType"] for found in receiver.events()}


@pytest.mark.parametrize("refusal", REFUSALS)
def test_a_short_job(refusal: str, receiver: Receiver, jobs: Jobs) -> None:
    """The end of a short job arrives within the flush timeout; START is counted, and neither printed nor sent again."""
    rule: Any = {"event_type": "START", **REFUSALS[refusal]}
    receiver.script(rule)
    finished = jobs.run(JOB, {**receiver.environ, "OPENLINEAGE_POD_FLUSH_TIMEOUT": "10"})
    (arrived,) = receiver.events()
    assert (arrived["eventType"], arrived["outputs"][0]["name"]) == ("COMPLETE", "accounts")
    assert finished.printed == []
    assert summary(finished.log) == {"delivered": 1, "superseded": 1}
    last = receiver.requests()[-1]
    assert '"COMPLETE"' in last["body"]


def test_before_the_exit(receiver: Receiver, jobs: Jobs) -> None:
    """In a job that goes on, the end of a run arrives after a bounded number of attempts for its START."""
    receiver.script(REFUSED)
    job = jobs.start(f"{JOB}\nprint('READY', flush=True)\ninput()", receiver.environ)
    job.wait_for("READY")
    assert types(receiver.wait_for(bool)) == ["COMPLETE"]
    attempts = len(receiver.requests())
    assert 4 <= attempts <= 20
    receiver.script()
    finished = job.finish(b"\n")
    assert len(receiver.requests()) == attempts
    assert summary(finished.log) == {"delivered": 1, "superseded": 1}


def test_a_run_that_outlives_the_attempts(receiver: Receiver, jobs: Jobs) -> None:
    """The end of a run whose START has been refused for long arrives."""
    receiver.script(REFUSED)
    job = jobs.start(
        """
        from openlineage_pod import lineage_run
        with lineage_run("job"):
            print("READY", flush=True)
            input()
        """,
        receiver.environ,
    )
    job.wait_for("READY")
    receiver.requests(at_least=7)
    finished = job.finish(b"\n")
    assert types(receiver.events()) == ["COMPLETE"]
    assert summary(finished.log) == {"delivered": 1, "superseded": 1}


def test_nested_runs_and_several_workers(receiver: Receiver, jobs: Jobs) -> None:
    """Every run of many, nested and one after the other, ends in the backend; none is re-opened."""
    receiver.script(REFUSED)
    finished = jobs.run(
        """
        from openlineage_pod import lineage_run
        with lineage_run("outer"):
            with lineage_run("inner"):
                pass
        for number in range(20):
            with lineage_run(f"run-{number}"):
                pass
        """,
        {**receiver.environ, "OPENLINEAGE_POD_FLUSH_TIMEOUT": "30"},
    )
    assert list(by_run(receiver.events()).values()) == [["COMPLETE"]] * 22
    assert finished.printed == []
    assert summary(finished.log) == {"delivered": 22, "superseded": 22}


def test_an_outage_overtakes_nothing(receiver: Receiver, jobs: Jobs) -> None:
    """While the backend refuses everything, both events are tried, and both are printed, in their order."""
    receiver.script({"status": 503})
    finished = jobs.run(JOB, {**receiver.environ, "OPENLINEAGE_POD_FLUSH_TIMEOUT": "2"})
    assert types(finished.printed) == ["START", "COMPLETE"]
    assert summary(finished.log) == {"printed": 2}


def test_an_end_that_is_refused_for_good(receiver: Receiver, jobs: Jobs) -> None:
    """An end that is refused for good supersedes nothing: START is printed."""
    receiver.script(REFUSED, {"event_type": "COMPLETE", "status": 422})
    finished = jobs.run(JOB, {**receiver.environ, "OPENLINEAGE_POD_FLUSH_TIMEOUT": "3"})
    assert sorted(types(finished.printed)) == ["COMPLETE", "START"]
    assert summary(finished.log) == {"rejected": 1, "printed": 1}


@pytest.mark.parametrize("afterwards", ["relay", "replay", "next job"])
def test_with_a_spool(afterwards: str, receiver: Receiver, jobs: Jobs, setting: Setting) -> None:
    """A START that was overtaken is not in new/ any more, and nobody sends it, though the backend is well again."""
    receiver.script(REFUSED)
    environ = {**receiver.environ, "OPENLINEAGE_POD_SPOOL_DIR": str(setting.spool)}
    job = jobs.start("from openlineage_pod import lineage_run\nwith lineage_run('job'): input()", environ)
    receiver.requests(at_least=7)  # with a spool the exit takes less than a second, however slow the machine is
    finished = job.finish(b"\n")
    assert summary(finished.log) == {"delivered": 1, "superseded": 1}
    assert names(setting.spool / "new") == []
    receiver.script()
    if afterwards == "relay":
        relay = start_relay(jobs, setting.spool, receiver.environ)
        wait_until(lambda: names(setting.spool / "owners"), "the relay runs")
        stop(relay)
    elif afterwards == "replay":
        assert setting.replay(str(setting.spool)).status == 0
    else:
        jobs.run("from openlineage_pod import lineage_run\nwith lineage_run('other'): pass", environ)
    assert state(receiver)["job"] == "COMPLETE"
    assert types([found for found in receiver.events() if found["job"]["name"] == "job"]) == ["COMPLETE"]


def test_a_relay(receiver: Receiver, jobs: Jobs, setting: Setting) -> None:
    """A relay delivers the end of a run whose START is refused, and does not send START later."""
    receiver.script(REFUSED)
    setting.left_behind(event(1), event(1, "COMPLETE"), event(2))
    relay = start_relay(jobs, setting.spool, receiver.environ)
    receiver.wait_for(bool)
    receiver.script()
    receiver.wait_for(lambda events: len(events) == 2)
    stop(relay)
    assert sorted(setting.sent()) == ["job_1 COMPLETE", "job_2 START"]
    assert names(setting.spool / "new") == []


def test_a_relay_that_is_stopped(receiver: Receiver, jobs: Jobs, setting: Setting) -> None:
    """A relay that is asked to stop delivers the end of a run without its START in its last passes."""
    receiver.script(REFUSED)
    setting.left_behind(event(1), event(1, "COMPLETE"))
    relay = start_relay(jobs, setting.spool, receiver.environ)
    receiver.requests(at_least=1)
    stop(relay)
    assert setting.sent() == ["job_1 COMPLETE"]
    assert names(setting.spool / "new") == []


def test_the_next_process_after_a_while(receiver: Receiver, jobs: Jobs, tmp_path: Path) -> None:
    """What processes before have left waits for its START for a minute, by the time in its name."""
    receiver.script({"event_type": "START", "job": "job_1", "status": 503})
    spool = Spool(str(tmp_path / "spool"), 1 << 20)
    for one in (event(1), event(1, "COMPLETE")):
        path = Path(spool.write(Document(one)).path)
        written, _, rest = path.name.partition("-")
        path.rename(path.with_name(f"{int(written) - 61 * 10**9:020d}-{rest}"))
    spool.release()
    spool.abandon()
    job = jobs.start(
        "from openlineage_pod import lineage_run\nwith lineage_run('other'): input()",
        {**receiver.environ, "OPENLINEAGE_POD_SPOOL_DIR": str(tmp_path / "spool")},
    )
    receiver.wait_for(lambda events: "job_1" in {found["job"]["name"] for found in events})
    job.finish(b"\n")
    assert state(receiver) == {"job_1": "COMPLETE", "other": "COMPLETE"}
    assert owed((tmp_path / "spool" / "new").iterdir(), receiver.events()) == []


def test_a_replay(setting: Setting) -> None:
    """A replay gives START its attempts, delivers the ends of the runs without them, and says so."""
    setting.receiver.script(REFUSED)
    spool = setting.left_behind(*(event(number, step) for number in (1, 2) for step in ("START", "COMPLETE")))
    result = setting.replay(spool)
    assert result.err.endswith("2 sent, 0 rejected, 0 left, 2 superseded, 0 problems\n")
    assert "503" in result.err
    assert (result.status, setting.sent()) == (0, ["job_1 COMPLETE", "job_2 COMPLETE"])
    setting.receiver.script()
    assert setting.replay(spool).err == "0 sent, 0 rejected, 0 left, 0 problems\n"
    assert setting.sent() == ["job_1 COMPLETE", "job_2 COMPLETE"]


def test_a_printed_start_whose_run_ended(receiver: Receiver, jobs: Jobs, setting: Setting) -> None:
    """A START that was refused for good and printed is not sent by a replay of the log once its run has ended."""
    receiver.script({"event_type": "START", "status": 400})
    finished = jobs.run(JOB, receiver.environ)
    assert types(finished.printed) == ["START"]
    receiver.script()
    log = setting.file(*finished.stderr.splitlines())
    result = setting.replay(log)
    assert (result.status, result.err) == (0, "0 sent, 0 rejected, 0 left, 1 superseded, 0 problems\n")
    assert setting.replay(log, dry_run=True).out == ""
    assert types(receiver.events()) == ["COMPLETE"]


@pytest.mark.parametrize("deliverer", ["job", "relay", "replay"])
def test_a_rejected_start_whose_run_ended(deliverer: str, receiver: Receiver, jobs: Jobs, setting: Setting) -> None:
    """A START in rejected/ is marked as superseded as soon as the end of its run is delivered."""
    receiver.script({"event_type": "START", "status": 400})
    if deliverer == "job":
        jobs.run(JOB, {**receiver.environ, "OPENLINEAGE_POD_SPOOL_DIR": str(setting.spool)})
    else:
        setting.left_behind(event(1), event(1, "COMPLETE"))
    if deliverer == "relay":
        relay = start_relay(jobs, setting.spool, receiver.environ)
        receiver.wait_for(bool)
        stop(relay)
    elif deliverer == "replay":
        setting.replay(str(setting.spool))
    assert types(receiver.events()) == ["COMPLETE"]
    (path,) = (setting.spool / "rejected").iterdir()
    assert json.loads(path.read_text())["reason"].startswith("superseded")
    receiver.script()
    for where in (setting.spool, path):
        assert setting.replay(str(where)) == (0, "", "0 sent, 0 rejected, 0 left, 0 problems\n")
