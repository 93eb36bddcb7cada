"""The relay: it delivers what others spool, and ends the runs of those that vanish, each once."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from openlineage_pod.delivery.spool import Spool
from openlineage_pod.events.document import Document, fallback_event
from tests.support.events import event
from tests.support.examples import fast
from tests.support.files import names
from tests.support.harness import by_run, types
from tests.support.processes import child_of, pid_1
from tests.support.spools import another_process, kill
from tests.support.waiting import at_most, wait_until
from tests.support.wrapping import message, run, sh, start, start_relay, stop

if TYPE_CHECKING:
    from tests.support.harness import Jobs, Receiver

MIB = 1024 * 1024
# Longer than any test waits: a relay that uses it up is found.
LONG_GRACE = {"OPENLINEAGE_POD_GRACE_PERIOD": "300"}


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    """Return the path of a spool that nobody has made yet."""
    return tmp_path / "volume" / "spool"


def spooling(spool: Path, **further: str) -> dict[str, str]:
    """Return the environment of a job that has a spool and no transport."""
    return {"OPENLINEAGE_POD_SPOOL_DIR": str(spool), "OPENLINEAGE_POD_FLUSH_TIMEOUT": "2", **further}


def is_empty(spool: Path) -> bool:
    """Say whether nothing is left in the spool: no event, no open run, no process."""
    return not any(names(spool / folder) for folder in ("new", "open", "owners", "tmp", "rejected"))


def leave(directory: Path, *numbers: int) -> None:
    """Leave the whole stories of some runs, of a process that has gone."""
    spool = Spool(str(directory), MIB)
    for number in numbers:
        spool.write(Document(event(number, "START")))
        spool.write(Document(event(number, "COMPLETE")))
    spool.release()


@pytest.mark.parametrize("folder", ["new", "open", "tmp", "owners", "rejected"])
def test_foreign_things(folder: str, spool: Path, receiver: Receiver, jobs: Jobs, tmp_path: Path) -> None:
    """A relay neither follows nor waits for what does not belong into the spool, says so once, and delivers."""
    leave(spool, 1)
    (tmp_path / "secret").write_text(json.dumps(event(66)))
    os.mkfifo(spool / folder / "fifo")
    (spool / folder / "link").symlink_to(tmp_path / "secret")
    (spool / folder / "folder").mkdir()
    relay = start_relay(jobs, spool, receiver.environ)
    receiver.wait_for(lambda events: len(events) == 2)
    os.mkfifo(spool / folder / "00000000000000000001-00000000~r~START~o.json")
    (spool / "owners" / "x").symlink_to("/dev/null")
    leave(spool, 2)
    receiver.wait_for(lambda events: len(events) == 4)
    finished = stop(relay)
    assert (finished.returncode, types(receiver.events())) == (0, ["START", "COMPLETE"] * 2)
    assert finished.stderr.count("folder is not a regular file; it is set aside") == (folder != "rejected")
    assert (tmp_path / "secret").exists()


def test_delivers_for_processes_without_a_transport(spool: Path, receiver: Receiver, jobs: Jobs) -> None:
    """What a running process spools is delivered at once, in order, and nothing is left of it anywhere."""
    relay = start_relay(jobs, spool, receiver.environ)
    job = start(jobs, "cat", environ=spooling(spool))
    assert types(receiver.events(at_least=1)) == ["START"]
    finished = job.finish(b"on")
    assert (finished.returncode, finished.stdout) == (0, "on")
    assert "OPENLINEAGE_URL" not in finished.stderr
    assert run(jobs, *sh("exit 7"), environ=spooling(spool)).returncode == 7
    receiver.events(at_least=4)
    told = stop(relay)
    assert (told.stdout, told.stderr) == ("", "")
    assert sorted(by_run(receiver.events()).values()) == [["START", "COMPLETE"], ["START", "FAIL"]]
    assert is_empty(spool)


def test_nothing_of_what_was_left_before_is_lost(spool: Path, receiver: Receiver, jobs: Jobs) -> None:
    """What lay there before the relay started is delivered once, also where it is stopped at once."""
    leave(spool, *range(20))
    relay = start_relay(jobs, spool, receiver.environ)
    receiver.events(at_least=1)
    stop(relay)
    assert list(by_run(receiver.events()).values()) == [["START", "COMPLETE"]] * 20
    assert is_empty(spool)


def test_vanished_processes(spool: Path, receiver: Receiver, jobs: Jobs) -> None:
    """The runs of killed processes are ended as FAIL, once each, and not again by a later relay."""
    relay = start_relay(jobs, spool, receiver.environ)
    killed = [start(jobs, "cat", environ=spooling(spool)) for _ in range(3)]
    receiver.events(at_least=3)
    for job in killed:
        os.kill(job.pid, signal.SIGKILL)
        job.finish()
    receiver.events(at_least=6)
    stop(relay)
    leave(spool, 1)
    again = start_relay(jobs, spool, receiver.environ)
    receiver.events(at_least=8)
    stop(again)
    events = [event for event in receiver.events() if event["job"]["name"] != "job_1"]
    assert list(by_run(events).values()) == [["START", "FAIL"]] * 3
    assert all("killed or out of memory" in message(end) for end in events if end["eventType"] == "FAIL")
    assert is_empty(spool)


def test_end_of_a_vanished_run_is_after_its_start(spool: Path, receiver: Receiver, jobs: Jobs) -> None:
    """The end that others report has a time after the start, and the start's job and datasets."""
    job = start(jobs, "cat", environ=spooling(spool), options=("--output", "s3://lake/x"))
    wait_until(lambda: (spool / "owners").exists() and names(spool / "new"), "START is in the spool")
    os.kill(job.pid, signal.SIGKILL)
    job.finish()
    relay = start_relay(jobs, spool, receiver.environ)
    begun, ended = receiver.events(at_least=2)
    stop(relay)
    assert (begun["eventType"], ended["eventType"]) == ("START", "FAIL")
    assert begun["eventTime"] < ended["eventTime"]
    assert (begun["job"], begun["outputs"]) == (ended["job"], ended["outputs"])


def test_end_of_a_vanished_run_whose_clock_was_ahead(spool: Path, receiver: Receiver, jobs: Jobs) -> None:
    """Where the clock was set back since the start, the end that others report is not before the start."""
    source = """
    import sys, time
    real = time.time
    time.time = lambda: real() + 86400
    from openlineage_pod import lineage_run
    with lineage_run("ingest"):
        sys.stdin.read()
    """
    job = jobs.start(source, spooling(spool))
    wait_until(lambda: (spool / "owners").exists() and names(spool / "new"), "START is in the spool")
    os.kill(job.pid, signal.SIGKILL)
    job.finish()
    relay = start_relay(jobs, spool, receiver.environ)
    begun, ended = receiver.events(at_least=2)
    stop(relay)
    assert (begun["eventType"], ended["eventType"]) == ("START", "FAIL")
    assert begun["eventTime"] <= ended["eventTime"]


@pytest.mark.serial
def test_two_relays(spool: Path, receiver: Receiver, jobs: Jobs) -> None:
    """Two relays at one spool deliver everything once, and when both are stopped neither waits for the other."""
    relays = [start_relay(jobs, spool, {**receiver.environ, **LONG_GRACE}) for _ in range(2)]
    for batch in range(4):
        leave(spool, *range(batch * 10, batch * 10 + 10))
    killed = start(jobs, "cat", environ=spooling(spool))
    receiver.events(at_least=81)
    os.kill(killed.pid, signal.SIGKILL)
    killed.finish()
    receiver.events(at_least=82)
    asked = time.monotonic()
    for relay in relays:
        relay.signal(signal.SIGTERM)
    assert [relay.finish(timeout=20).returncode for relay in relays] == [0, 0]
    assert time.monotonic() - asked < at_most()
    runs = by_run(receiver.events())
    assert sorted(runs.values()) == [["START", "COMPLETE"]] * 40 + [["START", "FAIL"]]
    assert is_empty(spool)


@pytest.mark.serial
def test_a_second_relay_does_not_hold_up_the_end_of_the_first(spool: Path, receiver: Receiver, jobs: Jobs) -> None:
    """A relay beside which another goes on, as an agent of the node, ends at once when nothing is left to do."""
    leave(spool, 1)
    first = start_relay(jobs, spool, {**receiver.environ, **LONG_GRACE})
    receiver.events(at_least=2)
    second = start_relay(jobs, spool, receiver.environ)
    wait_until(lambda: len(names(spool / "owners")) == 2, "the second has started")
    asked = time.monotonic()
    stop(first)
    assert time.monotonic() - asked < at_most()
    leave(spool, 2)
    receiver.events(at_least=4)
    stop(second)


def test_killed_relay(spool: Path, receiver: Receiver, jobs: Jobs) -> None:
    """A relay that is killed in the middle loses nothing: the next one goes on, and repeats one event at most."""
    leave(spool, *range(10))
    receiver.script({"job": "job_5", "event_type": "COMPLETE", "action": "hang", "times": 1})
    relay = start_relay(jobs, spool, receiver.environ)
    receiver.requests(at_least=12)
    os.kill(relay.pid, signal.SIGKILL)
    relay.finish()
    following = start_relay(jobs, spool, receiver.environ)
    wait_until(lambda: not names(spool / "new"), "all is delivered")
    stop(following)
    assert list(by_run(receiver.events()).values()) == [["START", "COMPLETE"]] * 10
    assert len(receiver.requests()) <= 21


# --- the end


@pytest.mark.serial
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_stopped_as_pid_1(number: signal.Signals, spool: Path, receiver: Receiver, jobs: Jobs) -> None:
    """As PID 1 of its container it ends at once with 0 when there is nothing to do."""
    relay = start_relay(jobs, spool, {**receiver.environ, **LONG_GRACE}, prefix=pid_1())
    leave(spool, 1)
    receiver.events(at_least=2)
    asked = time.monotonic()
    os.kill(child_of(relay.pid), number)
    assert relay.finish(timeout=20).returncode == 0
    assert time.monotonic() - asked < at_most()


@pytest.mark.slow
@pytest.mark.serial
def test_living_processes_have_their_grace(spool: Path, receiver: Receiver, jobs: Jobs) -> None:
    """After the signal the relay waits for processes that still run, delivers their own ends, and exits then."""
    relay = start_relay(jobs, spool, {**receiver.environ, **LONG_GRACE})
    job = start(jobs, *sh("trap '' TERM; read line; exit 3"), environ=spooling(spool))
    receiver.events(at_least=1)
    asked = time.monotonic()
    relay.signal(signal.SIGTERM)
    with pytest.raises(subprocess.TimeoutExpired):
        relay.finish(timeout=1)  # it waits: nothing else is to be seen of that
    assert types(receiver.events()) == ["START"]
    assert job.finish(b"\n").returncode == 3
    assert relay.finish(timeout=20).returncode == 0
    assert time.monotonic() - asked < at_most()
    begun, ended = receiver.events()
    assert (begun["eventType"], ended["eventType"]) == ("START", "FAIL")
    assert message(ended) == "the command exited with 3"
    assert is_empty(spool)


@pytest.mark.serial
@pytest.mark.parametrize("stopped", [False, True], ids=["running", "stopped"])
def test_process_that_outlives_the_grace(stopped: bool, spool: Path, receiver: Receiver, jobs: Jobs) -> None:
    """When the grace is over the relay aborts the run of a process that was asked to stop; any other one goes on."""
    relay = start_relay(jobs, spool, {**receiver.environ, "OPENLINEAGE_POD_GRACE_PERIOD": "2"})
    job = start(jobs, *sh("trap '' TERM; echo READY; read line"), environ=spooling(spool))
    job.wait_for("READY")
    receiver.events(at_least=1)
    if stopped:
        job.signal(signal.SIGTERM)
        (will,) = (spool / "open").iterdir()
        wait_until(
            lambda: json.loads(will.read_bytes())["eventType"] == "ABORT", "the provisional ABORT is in the spool"
        )
    asked = time.monotonic()
    stop(relay)
    assert time.monotonic() - asked < at_most(2)
    assert types(receiver.events()) == (["START", "ABORT"] if stopped else ["START"])
    os.kill(job.pid, signal.SIGKILL)


@pytest.mark.serial
@pytest.mark.parametrize("backend", fast(["refuses", "fails", "hangs"], "fails"))
def test_backend_that_is_not_well_at_the_end(
    backend: str, spool: Path, receiver: Receiver, refused: str, jobs: Jobs
) -> None:
    """With events left the exit status is 1, within the grace period, they stay, and one line says so."""
    runs = 1 if backend == "refuses" else 3
    leave(spool, *range(runs))
    receiver.script({"action": "hang"} if backend == "hangs" else {"status": 503, "headers": {"Retry-After": "60"}})
    url = refused if backend == "refuses" else receiver.url
    relay = start_relay(jobs, spool, {"OPENLINEAGE_URL": url, "OPENLINEAGE_POD_GRACE_PERIOD": "2"})
    if backend == "refuses":
        wait_until(lambda: "events wait in" in relay.stderr.read_text(), "the relay has tried")
    else:
        receiver.requests(at_least=1)
    asked = time.monotonic()
    relay.signal(signal.SIGTERM)
    finished = relay.finish(timeout=at_most(2))
    assert time.monotonic() - asked < at_most(2)
    assert (finished.returncode, finished.stdout) == (1, "")
    assert f"{2 * runs} events are left in" in finished.log[-1]
    assert len(finished.log) <= 2
    assert "Traceback" not in finished.stderr
    assert len(names(spool / "new")) == 2 * runs


@pytest.mark.slow
def test_outage(spool: Path, receiver: Receiver, jobs: Jobs) -> None:
    """An outage is one line, however long, and everything is delivered in order afterwards."""
    receiver.script({"status": 503})
    relay = start_relay(jobs, spool, receiver.environ)
    leave(spool, 1, 2)
    wait_until(lambda: "events wait in" in relay.stderr.read_text(), "the relay has told of it")
    # It asks six times at the most before it gives up for a moment: by then it has done so once more.
    receiver.requests(at_least=len(receiver.requests()) + 7)
    receiver.script()
    receiver.wait_for(lambda events: len(events) == 4)
    finished = stop(relay)
    assert len(finished.log) == 1
    assert by_run(receiver.events()) == {event(n)["run"]["runId"]: ["START", "COMPLETE"] for n in (1, 2)}


def test_refused_events(spool: Path, receiver: Receiver, jobs: Jobs) -> None:
    """An event that the backend refuses for good is set aside, a line names its job, and it holds up no other."""
    receiver.script({"job": "job_1", "status": 400})
    relay = start_relay(jobs, spool, receiver.environ)
    leave(spool, 1, 2)
    receiver.requests(at_least=4)
    log = stop(relay).stderr
    assert "refused the START event of job job_1, " in log
    assert "refused the COMPLETE event of job job_1, " in log
    assert list(by_run(receiver.events()).values()) == [["START", "COMPLETE"]]
    assert len(names(spool / "rejected")) == 2


# --- a run that has ended is not ended again

WRITES_BOTH = """
document = to_document(draft(1))
from openlineage_pod.events.document import fallback_event
spool.hand_over()
spool.write_fallback(Document(fallback_event(document)))
spool.write(Document(to_document(draft(1, "COMPLETE"))))
"""


def test_killed_before_the_will_was_withdrawn(spool: Path, receiver: Receiver, jobs: Jobs) -> None:
    """A process that was killed between its terminal event and the withdrawal of its will has ended its run."""
    left = Spool(str(spool), MIB)
    left.write(Document(event(1)))
    left.write_fallback(Document(fallback_event(event(1))))
    left.write(Document(event(1, "COMPLETE")))
    left.release()
    relay = start_relay(jobs, spool, receiver.environ)
    receiver.events(at_least=2)
    stop(relay)
    assert types(receiver.events()) == ["START", "COMPLETE"]
    assert is_empty(spool)


def test_killed_before_the_will_was_withdrawn_but_after_the_delivery(
    spool: Path, receiver: Receiver, jobs: Jobs
) -> None:
    """It has so also where the relay delivered that terminal event before the process was killed."""
    relay = start_relay(jobs, spool, receiver.environ)
    wait_until((spool / "owners").exists, "the relay has started")
    with another_process(spool, 1, then=WRITES_BOTH) as process:
        receiver.events(at_least=2)
        wait_until(lambda: not names(spool / "new"), "both events are taken out")
        kill(process)
    stop(relay)
    assert types(receiver.events()) == ["START", "COMPLETE"]
    assert is_empty(spool)


def test_will_that_is_no_event(spool: Path, receiver: Receiver, jobs: Jobs) -> None:
    """What is no event in open/ is set aside and hurts nobody."""
    leave(spool, 1)
    for name, data in (("a~b.json", b"{"), ("c.json", b"[]"), ("~.json", b"")):
        (spool / "open" / name).write_bytes(data)
    relay = start_relay(jobs, spool, receiver.environ)
    receiver.events(at_least=2)
    stop(relay)
    assert names(spool / "open") == []


# --- what it cannot do


@pytest.mark.parametrize(
    ("environ", "directory"),
    [
        ({}, "spool"),
        ({"OPENLINEAGE_URL": "gopher://x"}, "spool"),
        ({"OPENLINEAGE_URL": "http://127.0.0.1:9"}, "a-file"),
        ({"OPENLINEAGE_URL": "http://127.0.0.1:9"}, "a-file/spool"),
    ],
)
def test_wrong_configuration(environ: dict[str, str], directory: str, jobs: Jobs, tmp_path: Path) -> None:
    """Without a usable transport or directory it says so in one line and ends with 2."""
    (tmp_path / "a-file").touch()
    finished = start_relay(jobs, tmp_path / directory, environ).finish()
    assert (finished.returncode, finished.stdout) == (2, "")
    assert len(finished.log) == 1
    assert finished.stderr.startswith("openlineage-pod: ")


def test_malformed_values(spool: Path, receiver: Receiver, jobs: Jobs) -> None:
    """A malformed value is one warning that names the variable; in strict mode it is an error."""
    wrong = {**receiver.environ, "OPENLINEAGE_POD_GRACE_PERIOD": "soon"}
    leave(spool, 1)
    job = start_relay(jobs, spool, wrong)
    receiver.events(at_least=2)
    [warning] = stop(job).log
    assert warning.startswith("OPENLINEAGE_POD_GRACE_PERIOD='soon'")
    strict = start_relay(jobs, spool, {**wrong, "OPENLINEAGE_POD_STRICT": "true"}).finish()
    assert strict.returncode == 2
    assert strict.stderr.startswith("openlineage-pod: OPENLINEAGE_POD_GRACE_PERIOD='soon'")


def test_relative_directory(receiver: Receiver, jobs: Jobs) -> None:
    """A relative path is one below the working directory."""
    leave(jobs.directory / "spool", 1)
    relay = start_relay(jobs, Path("spool"), receiver.environ)
    receiver.events(at_least=2)
    stop(relay)
