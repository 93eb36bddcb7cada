"""A relay in trouble: at a spool that is full, or from which somebody else is delivering."""

from __future__ import annotations

import signal
import subprocess
import time
from typing import TYPE_CHECKING

import pytest

from openlineage_pod.delivery.spool import Spool
from tests.support.spools import another_process
from tests.support.waiting import HANGS, wait_until
from tests.support.wrapping import start_relay

if TYPE_CHECKING:
    from tests.support.fault_scene import Scene
    from tests.support.harness import Receiver

KILLED = """
from openlineage_pod import lineage_run
with lineage_run("job", run_facets={"sql": {"query": "x" * 20_000}}):
    input()
"""


def test_a_relay_at_a_full_spool(spooling: Scene, receiver: Receiver, refused: str) -> None:
    """The end of a vanished run is reported also where the spool is over its limit, and no line is logged for it."""
    assert spooling.spool is not None
    job = spooling.jobs.start(KILLED, spooling.environ(refused))
    wait_until(lambda: spooling.files("new"), "START is in the spool")
    job.signal(signal.SIGKILL)
    job.finish()
    environ = {**receiver.environ, "OPENLINEAGE_POD_SPOOL_MAX_BYTES": "10000"}
    receiver.script({"status": 503, "times": 3})
    relay = start_relay(spooling.jobs, spooling.spool, environ)
    receiver.wait_for(lambda events: len(events) == 2)
    relay.signal(signal.SIGTERM)
    finished = relay.finish(timeout=20)
    assert (finished.returncode, "limit" in finished.stderr) == (0, False)
    books = spooling.account({"job": ("START", "FAIL")}, backends=[receiver])
    assert books.places == {"delivered": ["job.START", "job.FAIL"]}


MANY = """
from openlineage_pod import lineage_run
for number in range(400):
    with lineage_run(f"run-{number}"):
        pass
"""


def test_a_relay_that_is_quick(spooling: Scene) -> None:
    """What others take from the spool as soon as it was handed over does not come there once more."""
    assert spooling.spool is not None
    drainer = Spool(str(spooling.spool), 1 << 30)
    taken: dict[str, list[str]] = {}
    # Enough time for a slow disk: what is not spooled by then is printed.
    environ = {"OPENLINEAGE_POD_SPOOL_DIR": str(spooling.spool), "OPENLINEAGE_POD_FLUSH_TIMEOUT": "120"}
    job = spooling.jobs.start(MANY, environ)
    deadline = time.monotonic() + HANGS
    is_over = False
    while not is_over and time.monotonic() < deadline:  # without a pause: quicker than any relay
        is_over = bool(taken) and len(spooling.files("owners")) == 1
        with drainer.left_behind() as entries:
            for entry in entries or []:
                taken.setdefault(entry.run_id, []).append(entry.part(2))
                drainer.resolve(entry)
    drainer.release()
    assert job.finish().returncode == 0
    assert list(taken.values()) == [["START", "COMPLETE"]] * 400


@pytest.mark.slow
@pytest.mark.serial
def test_a_relay_that_has_to_wait_for_its_last_pass(spooling: Scene, receiver: Receiver) -> None:
    """At its end a relay waits until another process lets it, and delivers what is left in the time that it has."""
    assert spooling.spool is not None
    # It delivers for three seconds, and once more at the fifth at the latest.
    environ = {**receiver.environ, "OPENLINEAGE_POD_GRACE_PERIOD": "6"}
    drains = "draining = spool.left_behind(); assert draining.__enter__() is not None"
    with another_process(spooling.spool, 1, then=drains):
        relay = start_relay(spooling.jobs, spooling.spool, environ)
        wait_until(lambda: len(spooling.files("owners")) == 2, "the relay has started")
        relay.signal(signal.SIGTERM)
        with pytest.raises(subprocess.TimeoutExpired):
            relay.finish(timeout=3.2)
    assert relay.finish(timeout=20).returncode == 0
    assert [event["eventType"] for event in receiver.events()] == ["START"]
