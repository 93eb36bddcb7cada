"""What the releases before left behind: `data/<release>` was written by their own code, and is never changed."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from openlineage_pod.delivery.spool import Spool
from tests.support.fault_scene import Scene, deliver_what_is_left
from tests.support.files import names

if TYPE_CHECKING:
    from tests.support.harness import Jobs, Receiver
    from tests.support.replaying import Setting

DATA = Path(__file__).parent / "data"
RELEASES = sorted(path.name for path in DATA.iterdir())
# A process that had delivered nothing at its end, and one that was killed within its run.
SPOOLED = ["whole START", "whole COMPLETE", "killed START", "killed FAIL"]
REJECTED = ["refused START", "refused COMPLETE"]
PRINTED = ["short START", "short COMPLETE", "long START", "long COMPLETE"]


def spool_of(release: str, target: Path) -> Path:
    """Copy the spool of a release."""
    for folder in ("new", "open", "rejected", "owners", "tmp"):
        (target / folder).mkdir(parents=True)
    return shutil.copytree(DATA / release / "spool", target, dirs_exist_ok=True)


def check_namespaces(receiver: Receiver) -> None:
    """Check that what Marquez cannot store was made right: no release before did that."""
    found = {entry["namespace"] for event in receiver.events() for entry in event["inputs"]}
    assert found == {"postgres://warehouse:5432", "kafka://b1:9092"}


@pytest.mark.parametrize("release", RELEASES)
def test_replay_of_a_spool(release: str, setting: Setting) -> None:
    """Replay delivers all that a release left in a spool, with the rejected events."""
    spool = spool_of(release, setting.spool)
    result = setting.replay(str(spool))
    assert result.err.endswith("6 sent, 0 rejected, 0 left, 0 problems\n")
    assert setting.sent() == [*REJECTED, *SPOOLED]
    assert [names(spool / folder) for folder in ("new", "open", "rejected", "owners")] == [[], [], [], []]
    check_namespaces(setting.receiver)


@pytest.mark.parametrize("release", RELEASES)
def test_replay_of_a_log(release: str, setting: Setting) -> None:
    """Replay delivers the events that a release printed."""
    result = setting.replay(str(DATA / release / "printed.txt"))
    assert (result.status, setting.sent()) == (0, PRINTED)
    check_namespaces(setting.receiver)


@pytest.mark.parametrize("release", RELEASES)
def test_next_process(release: str, jobs: Jobs, receiver: Receiver, tmp_path: Path) -> None:
    """The next process that uses the spool delivers what a release left in new/ and open/."""
    scene = Scene(jobs, spool_of(release, tmp_path / "spool"))
    deliver_what_is_left(scene, receiver)
    sent = [event for event in receiver.events() if event["job"]["name"] != "next"]
    assert [f"{event['job']['name']} {event['eventType']}" for event in sent] == SPOOLED


@pytest.mark.parametrize("release", RELEASES)
def test_release_before_finds_ours(release: str, tmp_path: Path) -> None:
    """A release before reads the names of our files, which have its parts: time, run, type and owner."""
    spool = Spool(str(spool_of(release, tmp_path / "spool")), 1 << 20)
    theirs = spool.entries()
    document = spool.read(theirs[0])
    assert document is not None
    spool.write(document)
    spool.write_fallback(document)
    (ours,) = set(names(tmp_path / "spool" / "new")) - {entry.name for entry in theirs}
    _, run_id, event_type, owner = ours.removesuffix(".json").split("~")
    assert (run_id, event_type) == (document.run_id, document.event_type)
    assert owner in names(tmp_path / "spool" / "owners")
    assert f"{run_id}~{owner}.json" in names(tmp_path / "spool" / "open")
    assert ours > max(entry.name for entry in theirs)
