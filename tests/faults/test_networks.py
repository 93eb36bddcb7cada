"""Networks of companies: in each the events are delivered, or the job's log says rightly what is in the way."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from tests.support.fault_scene import WHOLE, Scene
from tests.support.harness import Receiver, types
from tests.support.networks import CASES, Network
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.slow

JOB = """
from openlineage_pod import lineage_run
with lineage_run("job"):
    input()
"""


@pytest.fixture
def network(tmp_path: Path) -> Iterator[Network]:
    """Return a network that is to be arranged."""
    with ExitStack() as stack:
        yield Network(tmp_path, stack)


@pytest.mark.parametrize("name", CASES)
def test_network(name: str, network: Network, in_memory: Scene) -> None:
    """The events are delivered, without a word, or what is in the way is told and the events are printed."""
    case = CASES[name]
    environ = {"OPENLINEAGE_POD_FLUSH_TIMEOUT": "0.5" if case.told else "60", **case.arrange(network)}
    job = in_memory.jobs.start(f"{case.before}\n{JOB}", environ)
    if case.told:
        wait_until(lambda: case.told[0] in job.stderr.read_text("utf-8"), f"{case.told[0]!r} is told")
    finished = job.finish(b"\n")
    assert finished.returncode == 0
    assert "s3cr3t" not in finished.stderr
    if case.told:
        assert [part for part in case.told if part not in finished.log[0]] == [], finished.log[0]
        assert types(finished.printed) == list(WHOLE)
        assert network.events() == []
    else:
        assert finished.stderr == ""
        assert types(network.events()) == list(WHOLE)
        assert set(network.authorizations()) <= {case.authorization}


def test_network_that_comes_late(in_memory: Scene) -> None:
    """A backend that cannot be reached at first gets both events, in order."""
    backend = Receiver()
    url = backend.url
    backend.stop()
    job = in_memory.jobs.start(JOB, in_memory.environ(url, 60))
    wait_until(lambda: "connecting to" in job.stderr.read_text("utf-8"), "the outage is told")
    late = Receiver(port=backend.port)
    try:
        finished = job.finish(b"\n")
        assert types(late.events()) == list(WHOLE)
    finally:
        late.stop()
    assert finished.printed == []
    (line,) = finished.log
    assert f"connecting to 127.0.0.1:{backend.port} failed" in line


def test_network_that_goes_early(in_memory: Scene) -> None:
    """Where the backend has gone before the end, what was delivered stays delivered, and the rest is printed."""
    backend = Receiver()
    job = in_memory.jobs.start(
        """
        from openlineage_pod import flush, lineage_run
        with lineage_run("job"):
            flush(60)
            print("DELIVERED", flush=True)
            input()
        """,
        in_memory.environ(backend.url, 0.5),
    )
    job.wait_for("DELIVERED")
    assert types(backend.events()) == ["START"]
    backend.stop()
    finished = job.finish(b"\n")
    assert finished.returncode == 0
    assert types(finished.printed) == ["COMPLETE"]
    assert f"127.0.0.1:{backend.port}" in finished.stderr
