"""At a limit of processes no thread can be had: the main thread delivers at the exit, within the flush timeout."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.support.files import owed
from tests.support.harness import summary, types
from tests.support.users import needs_root, with_processes
from tests.support.waiting import at_most

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.harness import Finished, Jobs, Receiver

pytestmark = [needs_root, pytest.mark.slow]

JOB = """
from openlineage_pod import lineage_run
with lineage_run("job") as run:
    run.add_output("s3://lake/accounts")
print("body")
raise SystemExit(3)
"""
TOLD = "could not start the delivery threads"


def run(jobs: Jobs, environ: dict[str, str], count: int = 1, source: str = JOB) -> Finished:
    """Run a job that may have so many processes and threads; it must end as without us."""
    jobs.directory.chmod(0o777)
    finished = jobs.run(source, environ, prefix=with_processes(count))
    assert (finished.returncode, finished.stdout) == (3, "body\n")
    return finished


@pytest.mark.parametrize("count", [1, 2, 3])
def test_delivered(count: int, receiver: Receiver, jobs: Jobs) -> None:
    """Whichever of our threads can be had, both events arrive, and one line says what could not be started."""
    finished = run(jobs, receiver.environ, count)
    assert types(receiver.events()) == ["START", "COMPLETE"]
    assert finished.printed == []
    assert sum(TOLD in line for line in finished.log) == 1


def test_a_transport_of_openlineage_python(receiver: Receiver, jobs: Jobs) -> None:
    """An HTTP transport that openlineage-python makes delivers as well."""
    environ = {"OPENLINEAGE__TRANSPORT__TYPE": "http", "OPENLINEAGE__TRANSPORT__URL": receiver.url}
    run(jobs, {**environ, "OPENLINEAGE_POD_FLUSH_TIMEOUT": "30"})
    assert types(receiver.events()) == ["START", "COMPLETE"]


@pytest.mark.serial
def test_a_backend_that_hangs(receiver: Receiver, jobs: Jobs) -> None:
    """A backend that does not answer costs the flush timeout, and both events are printed."""
    receiver.script({"action": "hang"})
    finished = run(jobs, {**receiver.environ, "OPENLINEAGE_POD_FLUSH_TIMEOUT": "1"})
    assert finished.duration < at_most(1)
    assert types(finished.printed) == ["START", "COMPLETE"]
    assert summary(finished.log) == {"printed": 2}


@pytest.mark.parametrize("rule", [{"status": 503}, {"action": "hang"}], ids=["503", "hang"])
def test_a_start_that_is_refused(rule: Any, receiver: Receiver, jobs: Jobs) -> None:
    """The terminal event has its share of the time, whatever the backend does with START."""
    refusal: Any = {"event_type": "START", **rule}
    receiver.script(refusal)
    finished = run(jobs, {**receiver.environ, "OPENLINEAGE_POD_FLUSH_TIMEOUT": "6"})
    assert types(receiver.events()) == ["COMPLETE"]
    assert summary(finished.log) == {"delivered": 1, "superseded": 1}


def test_the_last_cause(refused: str, jobs: Jobs) -> None:
    """What the backend did is told, and not that the time was over."""
    finished = run(jobs, {"OPENLINEAGE_URL": refused, "OPENLINEAGE_POD_FLUSH_TIMEOUT": "1"})
    assert types(finished.printed) == ["START", "COMPLETE"]
    assert "Connection refused" in finished.log[-1]


def test_many_runs(receiver: Receiver, jobs: Jobs) -> None:
    """All runs of the process are delivered, each in its order, and a run of an exit handler, too."""
    source = """
    import atexit
    from openlineage_pod import lineage_run
    def late():
        with lineage_run("late"):
            pass
    atexit.register(late)
    for number in range(20):
        with lineage_run(f"run-{number}"):
            pass
    print("body")
    raise SystemExit(3)
    """
    finished = run(jobs, {**receiver.environ, "OPENLINEAGE_POD_FLUSH_TIMEOUT": "30"}, source=source)
    assert types(receiver.events()) == ["START", "COMPLETE"] * 21
    assert finished.printed == []


@pytest.mark.parametrize("works", [True, False], ids=["delivered", "kept"])
def test_with_a_spool(works: bool, receiver: Receiver, refused: str, jobs: Jobs, tmp_path: Path) -> None:
    """With a spool, events that cannot be delivered are in it, and nothing is printed."""
    environ = {"OPENLINEAGE_URL": receiver.url if works else refused, "OPENLINEAGE_POD_FLUSH_TIMEOUT": "10"}
    spool = tmp_path / "spool"
    finished = run(jobs, {**environ, "OPENLINEAGE_POD_SPOOL_DIR": str(spool)})
    assert types(receiver.events()) == ["START", "COMPLETE"] * works
    assert len(owed((spool / "new").iterdir(), receiver.events())) == (0 if works else 2)
    assert finished.printed == []
