"""A relay in trouble: at a spool that is full."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

from tests.faults.scene import until
from tests.integration.wrapping import start_relay

if TYPE_CHECKING:
    from tests.faults.scene import Scene
    from tests.integration.harness import Receiver

KILLED = """
from openlineage_pod import lineage_run
with lineage_run("job", run_facets={"sql": {"query": "x" * 20_000}}):
    input()
"""


def test_a_relay_at_a_full_spool(spooling: Scene, receiver: Receiver, refused: str) -> None:
    """The end of a vanished run is reported also where the spool is over its limit, and no line is logged for it."""
    assert spooling.spool is not None
    job = spooling.jobs.start(KILLED, spooling.environ(refused))
    until(lambda: spooling.files("new"), "START is in the spool")
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
