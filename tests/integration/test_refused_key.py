"""A key that the backend refuses (401, 403): with a spool the events wait for one that is right."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from openlineage_pod.delivery.spool import Spool
from openlineage_pod.events.document import Document
from tests.support.events import event
from tests.support.fault_scene import Scene, deliver_what_is_left
from tests.support.files import names, owed
from tests.support.harness import by_run, summary, types
from tests.support.waiting import wait_until
from tests.support.wrapping import start_relay, stop

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.harness import Jobs, Receiver

RUNS = """
from openlineage_pod import lineage_run
for number in range({}):
    with lineage_run(f"run-{{number}}", outputs=["s3://lake/accounts"]):
        pass
"""


@pytest.fixture
def scene(jobs: Jobs, tmp_path: Path) -> Scene:
    """Return jobs with a spool."""
    return Scene(jobs, tmp_path / "spool")


@pytest.mark.parametrize("status", [401, 403])
def test_events_stay_in_the_spool(status: int, scene: Scene, receiver: Receiver) -> None:
    """The events stay in new/, the line at exit names the cause, and the next process delivers them in order."""
    receiver.script({"status": status, "body": "wrong key"})
    environ = scene.environ(receiver.url, 10, OPENLINEAGE_API_KEY="key-1-of-mine")
    finished = scene.run(RUNS.format(2), environ)
    assert finished.printed == []
    assert (len(scene.files("new")), scene.files("rejected"), scene.files("open")) == (4, [], [])
    assert summary(finished.log) == {"spooled": 4}
    assert f"{status} " in finished.log[-1]
    assert sum("access to the lineage backend is refused" in line for line in finished.log) == 1
    assert "key-1-of-mine" not in finished.stderr
    deliver_what_is_left(scene, receiver)
    runs = by_run([one for one in receiver.events() if one["job"]["name"] != "next"])
    assert list(runs.values()) == [["START", "COMPLETE"]] * 2


def test_next_process_with_the_same_key(scene: Scene, receiver: Receiver) -> None:
    """A process whose key is refused, too, leaves the events of others where they are, and asks once for each run."""
    receiver.script({"status": 401})
    environ = scene.environ(receiver.url, 10)
    scene.run(RUNS.format(3), environ)
    before = len(receiver.requests())
    finished = scene.run(RUNS.format(1), environ)
    assert (len(scene.files("new")), scene.files("rejected")) == (8, [])
    assert summary(finished.log) == {"spooled": 2}
    assert len(receiver.requests()) - before <= 5


def test_without_a_spool(jobs: Jobs, receiver: Receiver) -> None:
    """Without a spool the events are printed at once."""
    receiver.script({"status": 401})
    finished = jobs.run(RUNS.format(1), receiver.environ)
    assert types(finished.printed) == ["START", "COMPLETE"]
    assert "401" in finished.log[-1]


def test_start_is_refused_and_the_end_is_not(scene: Scene, receiver: Receiver) -> None:
    """A START that was left in the spool is never sent once the end of its run has been delivered."""
    receiver.script({"event_type": "START", "status": 403})
    finished = scene.run(RUNS.format(1), scene.environ(receiver.url, 10))
    assert (types(receiver.events()), owed(scene.files("new"), receiver.events())) == (["COMPLETE"], [])
    deliver_what_is_left(scene, receiver)
    scene.replay(receiver.url)
    assert types([one for one in receiver.events() if one["job"]["name"] != "next"]) == ["COMPLETE"]
    assert finished.printed == []


def test_many_events_are_asked_for_once(scene: Scene, receiver: Receiver) -> None:
    """A process that has more events than it keeps at hand does not read the refused ones back again and again."""
    receiver.script({"status": 401})
    source = f"""
import openlineage_pod.delivery.prepare as prepare
prepare._MAX_AT_HAND = 10
{RUNS.format(30)}
from openlineage_pod import flush
flush(60)
"""
    finished = scene.jobs.run(source, scene.environ(receiver.url, 10))
    assert len(receiver.requests()) <= 60
    assert (summary(finished.log), len(scene.files("new"))) == ({"spooled": 60}, 60)


def test_relay(jobs: Jobs, receiver: Receiver, tmp_path: Path) -> None:
    """A relay leaves the events in new/, says so once, does not storm the backend, and delivers them at its end."""
    directory = tmp_path / "spool"
    spool = Spool(str(directory), 1 << 20)
    for number in (1, 2):
        for event_type in ("START", "COMPLETE"):
            spool.write(Document(event(number, event_type)))
    spool.release()
    receiver.script({"status": 401})
    relay = start_relay(jobs, directory, receiver.environ)
    wait_until(lambda: "events wait in" in relay.stderr.read_text(), "the first pass is over")
    assert len(receiver.requests()) == 2
    assert (len(names(directory / "new")), names(directory / "rejected")) == (4, [])
    receiver.script()
    assert stop(relay).returncode == 0
    assert types(receiver.events()) == ["START", "COMPLETE"] * 2
