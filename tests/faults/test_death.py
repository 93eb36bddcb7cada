"""Deaths of a process: SIGTERM at four moments, SIGKILL, and `os._exit`."""

from __future__ import annotations

import signal
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.fault_scene import WHOLE, deliver_what_is_left
from tests.support.waiting import at_most, wait_until

if TYPE_CHECKING:
    from tests.support.fault_scene import Scene
    from tests.support.harness import Receiver

ABORTED, FAILED = ("START", "ABORT"), ("START", "FAIL")
WAITS = """
from openlineage_pod import lineage_run
with lineage_run("job", outputs=["s3://lake/accounts"]):
    print("READY", flush=True)
    input()
"""
BACKENDS: dict[str, list[Any]] = {"well": [], "hangs": [{"action": "hang"}], "fails": [{"status": 503}]}


@pytest.mark.parametrize("backend", BACKENDS)
def test_sigterm_during_the_body(backend: str, scene: Scene, receiver: Receiver) -> None:
    """The job dies of SIGTERM in time, and START and ABORT are delivered or kept."""
    receiver.script(*BACKENDS[backend])
    job = scene.jobs.start(WAITS, scene.environ(receiver.url))
    job.wait_for("READY")
    receiver.requests(at_least=1)
    job.signal(signal.SIGTERM)
    finished = job.finish(timeout=at_most(1))
    assert (finished.returncode, finished.stdout) == (-signal.SIGTERM, "READY\n")
    books = scene.account({"job": ABORTED}, finished, backends=[receiver])
    assert books.places == {"delivered" if backend == "well" else scene.kept: ["job.START", "job.ABORT"]}


@pytest.mark.parametrize("delay", [0.5, 30.0], ids=["in time", "too late"])
def test_sigterm_while_the_start_is_being_delivered(delay: float, scene: Scene, receiver: Receiver) -> None:
    """A START whose answer is on its way stays the first event, and leaves time for the end of its run."""
    receiver.script({"event_type": "START", "delay": delay})
    # Without a spool, which makes the exit hurry, the answer may take its half second.
    environ = scene.environ(receiver.url, 5 if scene.spool is None else 1)
    job = scene.jobs.start(WAITS, environ)
    receiver.requests(at_least=1)
    job.signal(signal.SIGTERM)
    finished = job.finish(timeout=at_most(5))
    assert finished.returncode == -signal.SIGTERM
    books = scene.account({"job": ABORTED}, finished, backends=[receiver], repeated=True)
    if scene.spool is None:
        assert books.places == {"delivered": ["job.START", "job.ABORT"]}


FLUSHES = """
from openlineage_pod import lineage_run
with lineage_run("job"):
    pass
print("END", flush=True)
"""


@pytest.mark.serial
@pytest.mark.parametrize("backend", ["hangs", "fails"])
def test_sigterm_during_the_flush(backend: str, scene: Scene, receiver: Receiver) -> None:
    """At the end of a run that is over, SIGTERM adds no event and no time, and loses none."""
    receiver.script(*BACKENDS[backend])
    job = scene.jobs.start(FLUSHES, scene.environ(receiver.url, 1))
    job.wait_for("END")
    receiver.requests(at_least=1)
    job.signal(signal.SIGTERM)
    asked = time.monotonic()
    finished = job.finish()
    assert time.monotonic() - asked < at_most(1)
    assert (finished.returncode, finished.stdout) == (-signal.SIGTERM, "END\n")
    books = scene.account({"job": WHOLE}, finished, backends=[receiver])
    assert books.places == {scene.kept: ["job.START", "job.COMPLETE"]}


@pytest.mark.slow
@pytest.mark.serial
def test_sigterm_late_in_the_flush(in_memory: Scene, receiver: Receiver) -> None:
    """SIGTERM during the flush does not begin the flush timeout anew."""
    receiver.script({"action": "hang"})
    job = in_memory.jobs.start(FLUSHES, in_memory.environ(receiver.url, 10))
    job.wait_for("END")
    ended = time.monotonic()
    # The moment of the signal: most of the flush timeout is spent.
    with pytest.raises(subprocess.TimeoutExpired):
        job.finish(timeout=9)
    job.signal(signal.SIGTERM)
    finished = job.finish()
    assert time.monotonic() - ended < 18  # a new flush timeout would end at 19
    assert finished.returncode == -signal.SIGTERM
    books = in_memory.account({"job": WHOLE}, finished, backends=[receiver])
    assert books.places == {"printed": ["job.START", "job.COMPLETE"]}


def processor_time(pid: int) -> int:
    """Return the clock ticks that the main thread of a process has run."""
    fields = Path(f"/proc/{pid}/task/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


@pytest.mark.parametrize("backend", ["well", "hangs"])
def test_sigterm_during_a_long_call_of_c_code(backend: str, scene: Scene, receiver: Receiver) -> None:
    """While the main thread runs no bytecode, the ABORT comes and the job dies of SIGTERM all the same, within 10 s."""
    receiver.script(*BACKENDS[backend])
    job = scene.jobs.start(
        """
        import hashlib
        from openlineage_pod import lineage_run
        with lineage_run("job"):
            print("READY", flush=True)
            hashlib.pbkdf2_hmac("sha512", b"password", b"salt", 2**31 - 1)
        """,
        scene.environ(receiver.url, 1),
    )
    job.wait_for("READY")
    before = processor_time(job.pid)
    wait_until(lambda: processor_time(job.pid) > before + 30, "the main thread is in its long call")
    job.signal(signal.SIGTERM)
    finished = job.finish(timeout=at_most(10))
    assert finished.returncode == -signal.SIGTERM
    books = scene.account({"job": ABORTED}, finished, backends=[receiver])
    assert books.places == {"delivered" if backend == "well" else scene.kept: ["job.START", "job.ABORT"]}


@pytest.mark.parametrize("backend", ["hangs", "fails"])
def test_sigkill_during_the_body(backend: str, spooling: Scene, receiver: Receiver) -> None:
    """What a killed process had reported is in the spool; the next process delivers it, and the end of the run."""
    receiver.script(*BACKENDS[backend])
    job = spooling.jobs.start(WAITS, spooling.environ(receiver.url))
    receiver.requests(at_least=1)
    job.signal(signal.SIGKILL)
    finished = job.finish()
    assert finished.returncode == -signal.SIGKILL
    books = spooling.account({"job": ["START"]}, finished, backends=[receiver], told=False)
    assert books.places == {"spooled": ["job.START"]}
    deliver_what_is_left(spooling, receiver)
    books = spooling.account({"job": FAILED, "next": WHOLE}, backends=[receiver])
    assert books.places == {"delivered": ["job.START", "job.FAIL", "next.START", "next.COMPLETE"]}
    assert len(spooling.files("owners")) == 0


def test_a_replay_ends_the_run_of_a_killed_process(spooling: Scene, receiver: Receiver, refused: str) -> None:
    """A replay sends the START that a killed process left, and the end of its run, which its dry run only lists."""
    job = spooling.jobs.start(WAITS, spooling.environ(refused))
    wait_until(lambda: spooling.files("new"), "START is in the spool")
    job.signal(signal.SIGKILL)
    job.finish()
    before = spooling.files("new"), spooling.files("open")
    listed = spooling.replay(receiver.url, "--dry-run")
    assert [line.split()[1] for line in listed.stdout.splitlines()] == ["START", "FAIL"]
    assert (listed.stderr, before) == (
        "2 events would be sent, 0 problems\n",
        (spooling.files("new"), spooling.files("open")),
    )
    replay = spooling.replay(receiver.url)
    assert (replay.returncode, replay.stderr) == (0, "2 sent, 0 rejected, 0 left, 0 problems\n")
    books = spooling.account({"job": FAILED}, backends=[receiver])
    assert books.places == {"delivered": ["job.START", "job.FAIL"]}
    assert spooling.files("open") == []


def test_sigkill_of_a_process_with_many_runs(spooling: Scene, receiver: Receiver) -> None:
    """All of 30 whole runs survive the process, and the next one delivers each once and in order."""
    receiver.script({"status": 503})
    job = spooling.jobs.start(
        """
        import os, signal, time
        from openlineage_pod import lineage_run
        for number in range(30):
            with lineage_run(f"run-{number}"):
                pass
        print("READY", flush=True)
        input()
        """,
        spooling.environ(receiver.url),
    )
    wait_until(lambda: len(spooling.files("new")) == 60, "all is in the spool")
    job.signal(signal.SIGKILL)
    finished = job.finish()
    produced = {f"run-{number}": WHOLE for number in range(30)}
    assert list(spooling.account(produced, finished, backends=[receiver], told=False).places) == ["spooled"]
    deliver_what_is_left(spooling, receiver)
    books = spooling.account({**produced, "next": WHOLE}, backends=[receiver])
    assert list(books.places) == ["delivered"]


def test_sigkill_in_the_middle_of_a_write(spooling: Scene, receiver: Receiver) -> None:
    """Whenever the kill strikes a process that writes, no torn event is ever delivered or in the way."""
    receiver.script({"status": 503})
    for _ in range(3):
        job = spooling.jobs.start(
            """
            from openlineage_pod import lineage_run
            while True:
                with lineage_run("endless", run_facets={"sql": {"query": "x" * 50_000}}):
                    pass
            """,
            spooling.environ(receiver.url),
        )
        seen = len(spooling.files("new"))
        wait_until(lambda seen=seen: len(spooling.files("new")) > seen + 3, "it writes")  # type: ignore[misc]
        job.signal(signal.SIGKILL)
        assert job.finish().returncode == -signal.SIGKILL
    left = len(spooling.files("new"))
    receiver.script({"job": "endless", "delay": 0.001})
    before = len(receiver.events())
    deliver_what_is_left(spooling, receiver)
    events = receiver.events()[before:]
    # Not counted: the ends of the runs that nobody reported.
    own = [event for event in events if event["job"]["name"] == "endless" and event["eventType"] != "FAIL"]
    assert len(own) == left
    assert spooling.files("rejected") == []


LEAVES = """
import os
from openlineage_pod import lineage_run
with lineage_run("job"):
    print("READY", flush=True)
    input()
    os._exit(3)
"""


@pytest.mark.parametrize("backend", ["well", "fails"])
def test_os_exit_in_the_body(backend: str, scene: Scene, receiver: Receiver) -> None:
    """A process that leaves without a goodbye has its exit status; its START is delivered or in the spool."""
    if scene.spool is None and backend == "fails":
        backend = "well"  # without a spool there is nothing that could outlive such an end
    receiver.script(*BACKENDS[backend])
    environ = scene.environ(receiver.url)
    job = scene.jobs.start(LEAVES, environ)
    job.wait_for("READY")
    receiver.requests(at_least=1)
    if backend == "well":
        wait_until(lambda: not scene.files("new"), "the answer is there")
    finished = scene.finish(job, LEAVES, environ, stdin=b"on\n")
    assert finished.returncode == 3
    books = scene.account({"job": ["START"]}, finished, backends=[receiver], told=False)
    assert books.places == {"delivered" if backend == "well" else "spooled": ["job.START"]}
    if scene.spool is not None:
        deliver_what_is_left(scene, receiver)
        books = scene.account({"job": FAILED, "next": WHOLE}, backends=[receiver])
        assert books.places == {"delivered": ["job.START", "job.FAIL", "next.START", "next.COMPLETE"]}


def test_a_forked_child_that_leaves_with_os_exit(scene: Scene, receiver: Receiver) -> None:
    """A child that leaves without a goodbye ends nothing of its parent's, which reports its own run whole."""
    source = """
import os
from openlineage_pod import lineage_run
with lineage_run("job"):
    pid = os.fork()
    if pid == 0:
        os._exit(4)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""
    finished = scene.run(source, scene.environ(receiver.url, 10))
    books = scene.account({"job": WHOLE}, finished, backends=[receiver])
    assert books.places == {"delivered": ["job.START", "job.COMPLETE"]}
