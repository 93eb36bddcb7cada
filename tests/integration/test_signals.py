"""Real signals: a job dies of them as it would without us, and its run ends as ABORT before."""

from __future__ import annotations

import os
import random
import signal
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.support.harness import by_run, types
from tests.support.processes import child_of, pid_1
from tests.support.waiting import at_most

if TYPE_CHECKING:
    from tests.support.harness import Jobs, Receiver

WAITING = {
    "sleep": "time.sleep(60)",
    "lock": "lock = threading.Lock(); lock.acquire(); lock.acquire()",
    "stdin": "sys.stdin.read()",
    "child": "subprocess.run([sys.executable, '-c', 'input()'], stderr=subprocess.DEVNULL)",
    "busy": "while True: pass",
    "asyncio": "asyncio.run(asyncio.sleep(60))",
    "thread": "t = threading.Thread(target=threading.Event().wait, daemon=True); t.start(); t.join()",
}
# The imports come first: while the main thread is in one, the delivery may have to wait for it.
WAITS = """
import asyncio, subprocess, sys, threading, time
from openlineage_pod import lineage_run
with lineage_run("job") as run:
    run.add_output("s3://lake/accounts")
    print("READY", flush=True)
    {waiting}
"""


@pytest.mark.parametrize("waiting", WAITING)
def test_sigterm_aborts_the_run_and_kills_the_job(waiting: str, receiver: Receiver, jobs: Jobs) -> None:
    """However the body waits, SIGTERM gives an ABORT with the run's datasets, and the job dies of SIGTERM."""
    job = jobs.start(WAITS.format(waiting=WAITING[waiting]), receiver.environ)
    job.wait_for("READY")
    job.signal(signal.SIGTERM)
    finished = job.finish()
    assert finished.returncode == -signal.SIGTERM
    start, abort = receiver.events()
    assert (start["eventType"], abort["eventType"]) == ("START", "ABORT")
    assert "SIGTERM" in abort["run"]["facets"]["errorMessage"]["message"]
    assert abort["outputs"][0]["name"] == "accounts"
    assert finished.stderr == ""


def test_sigterm_aborts_nested_runs_the_innermost_first(receiver: Receiver, jobs: Jobs) -> None:
    """Every open run of the process, also one of another thread, gets its own ABORT, a child before its parent."""
    job = jobs.start(
        """
        import threading
        from openlineage_pod import lineage_run
        ready, never = threading.Event(), threading.Event()
        def work():
            with lineage_run("in-thread"):
                ready.set()
                never.wait()
        with lineage_run("outer"), lineage_run("inner"):
            threading.Thread(target=work, daemon=True).start()
            ready.wait()
            print("READY", flush=True)
            never.wait()
        """,
        receiver.environ,
    )
    job.wait_for("READY")
    job.signal(signal.SIGTERM)
    assert job.finish().returncode == -signal.SIGTERM
    events = receiver.events()
    assert all(run == ["START", "ABORT"] for run in by_run(events).values())
    ended = [event["job"]["name"].rpartition(".")[2] for event in events if event["eventType"] == "ABORT"]
    assert sorted(ended) == ["in-thread", "inner", "outer"]
    assert ended.index("inner") < ended.index("outer")


@pytest.mark.parametrize("instants", [3, pytest.param(12, marks=pytest.mark.slow)])
def test_sigterm_at_any_instant_leaves_a_complete_story(instants: int, receiver: Receiver, jobs: Jobs) -> None:
    """At whatever moment it strikes, the job dies of SIGTERM, and each run has at most one START and one end."""
    source = """
    import sys, time
    from openlineage_pod import lineage_run
    print("READY", flush=True)
    while True:
        with lineage_run("short"):
            time.sleep(0.001)
    """
    chosen = random.Random(20261121)  # noqa: S311  no secret
    for _ in range(instants):
        job = jobs.start(source, receiver.environ)
        job.wait_for("READY")
        # Not a wait for a state: any moment will do, above all those in which the delivery thread imports.
        with pytest.raises(subprocess.TimeoutExpired):
            job.finish(timeout=chosen.uniform(0, 0.3))
        job.signal(signal.SIGTERM)
        finished = job.finish()
        assert finished.returncode == -signal.SIGTERM
        assert finished.stderr == ""
    runs = by_run(receiver.events())
    assert runs
    assert all(run in (["START", "COMPLETE"], ["START", "ABORT"]) for run in runs.values())


def test_a_hung_backend_does_not_keep_a_terminated_job(receiver: Receiver, jobs: Jobs) -> None:
    """After SIGTERM the job is gone within the flush timeout, far below a pod's grace, and its events are printed."""
    receiver.script({"action": "hang"})
    environ = {**receiver.environ, "OPENLINEAGE_POD_FLUSH_TIMEOUT": "1"}
    job = jobs.start(WAITS.format(waiting=WAITING["sleep"]), environ)
    job.wait_for("READY")
    job.signal(signal.SIGTERM)
    finished = job.finish(timeout=at_most(1))
    assert finished.returncode == -signal.SIGTERM
    assert types(finished.printed) == ["START", "ABORT"]


def test_sigterm_ends_pid_1_with_143(receiver: Receiver, jobs: Jobs) -> None:
    """As PID 1, for which the kernel ignores SIGTERM by default, the job reports ABORT and exits with 143."""
    job = jobs.start(WAITS.format(waiting=WAITING["sleep"]), receiver.environ, prefix=pid_1())
    job.wait_for("READY")
    os.kill(child_of(job.pid), signal.SIGTERM)
    finished = job.finish(timeout=20)
    assert finished.returncode == 128 + signal.SIGTERM
    assert types(receiver.events()) == ["START", "ABORT"]


@pytest.mark.parametrize("environ", [{"PLAIN": "1"}, {}])
def test_sigint_ends_pid_1_as_plain_python(environ: dict[str, str], receiver: Receiver, jobs: Jobs) -> None:
    """As PID 1, Ctrl-C ends the job with 130, with and without us."""
    source = f"""
import contextlib, os, time
if "PLAIN" in os.environ:
    lineage_run = contextlib.nullcontext
else:
    from openlineage_pod import lineage_run
with lineage_run("job"):
    print("READY", flush=True)
    {WAITING["sleep"]}
"""
    job = jobs.start(source, {**receiver.environ, **environ}, prefix=pid_1())
    job.wait_for("READY")
    os.kill(child_of(job.pid), signal.SIGINT)
    finished = job.finish(timeout=20)
    assert finished.returncode == 128 + signal.SIGINT
    assert types(receiver.events()) == ([] if environ else ["START", "ABORT"])


def test_sigint_aborts_the_run_and_ends_the_job_as_plain_python(receiver: Receiver, jobs: Jobs) -> None:
    """Ctrl-C gives an ABORT, the traceback of KeyboardInterrupt, and a death by SIGINT."""
    job = jobs.start(WAITS.format(waiting=WAITING["sleep"]), receiver.environ)
    job.wait_for("READY")
    job.signal(signal.SIGINT)
    finished = job.finish()
    assert finished.returncode == -signal.SIGINT
    assert finished.stderr.endswith("KeyboardInterrupt\n")
    start, abort = receiver.events()
    assert (start["eventType"], abort["eventType"]) == ("START", "ABORT")
    assert abort["run"]["facets"]["errorMessage"]["message"] == "KeyboardInterrupt"


OWN_HANDLER = """
import os, signal, sys, time
from openlineage_pod import lineage_run
def own(number, frame):
    os.write(1, b"own handler\\n")  # not print(): the signal may interrupt one
    {action}
{before}
with lineage_run("job"):
    {inside}
    assert signal.getsignal(signal.SIGTERM) is own
    print("READY", flush=True)
    while not stop:
        time.sleep(0.01)
print("after", flush=True)
"""
SET = "signal.signal(signal.SIGTERM, own)"


@pytest.mark.parametrize("when", ["before", "inside"])
@pytest.mark.parametrize(
    ("action", "returncode", "stdout", "end"),
    [
        ("sys.exit(7)", 7, "own handler\n", "FAIL"),
        ("stop.append(1)", 0, "own handler\nafter\n", "COMPLETE"),
        ("raise KeyboardInterrupt", -signal.SIGINT, "own handler\n", "ABORT"),
    ],
)
def test_a_handler_of_the_job_stays(  # noqa: PLR0917  parameters of one table
    when: str, action: str, returncode: int, stdout: str, end: str, receiver: Receiver, jobs: Jobs
) -> None:
    """Where the job handles SIGTERM itself, before or after the run started, ours is not in the way."""
    lines = {"before": "", "inside": "", when: SET}
    lines["before"] += "\nstop = []"
    job = jobs.start(OWN_HANDLER.format(action=action, **lines), receiver.environ)
    job.wait_for("READY")
    job.signal(signal.SIGTERM)
    finished = job.finish()
    assert (finished.returncode, finished.stdout) == (returncode, f"READY\n{stdout}")
    assert types(receiver.events()) == ["START", end]


def test_a_handler_that_calls_the_one_before_reaches_ours(receiver: Receiver, jobs: Jobs) -> None:
    """A handler set during the run that passes the signal on to the previous one still gets the ABORT out."""
    job = jobs.start(
        """
        import os, signal, time
        from openlineage_pod import lineage_run
        with lineage_run("job"):
            before = signal.getsignal(signal.SIGTERM)
            def own(number, frame):
                os.write(1, b"own\\n")
                before(number, frame)
            signal.signal(signal.SIGTERM, own)
            print("READY", flush=True)
            time.sleep(60)
        """,
        receiver.environ,
    )
    job.wait_for("READY")
    job.signal(signal.SIGTERM)
    finished = job.finish()
    assert (finished.returncode, finished.stdout) == (-signal.SIGTERM, "READY\nown\n")
    assert types(receiver.events()) == ["START", "ABORT"]


def test_an_ignored_sigterm_stays_ignored(receiver: Receiver, jobs: Jobs) -> None:
    """A job that ignores SIGTERM goes on after one, and its run completes."""
    job = jobs.start(
        """
        import signal, sys
        from openlineage_pod import lineage_run
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        with lineage_run("job"):
            print("READY", flush=True)
            print(sys.stdin.read())
        """,
        receiver.environ,
    )
    job.wait_for("READY")
    job.signal(signal.SIGTERM)
    finished = job.finish(b"went on")
    assert (finished.returncode, finished.stdout) == (0, "READY\nwent on\n")
    assert types(receiver.events()) == ["START", "COMPLETE"]


def test_a_run_in_another_thread_alone_leaves_the_signals_alone(receiver: Receiver, jobs: Jobs) -> None:
    """Entered off the main thread only, a run installs no handler, and the job dies of SIGTERM by default."""
    job = jobs.start(
        """
        import signal, threading
        from openlineage_pod import lineage_run
        def work():
            with lineage_run("in-thread"):
                print(signal.getsignal(signal.SIGTERM) is signal.SIG_DFL)
                print("READY", flush=True)
                threading.Event().wait()
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()  # Python 3.12 refuses further threads once the main thread has ended
        """,
        receiver.environ,
    )
    job.wait_for("READY")
    receiver.events(at_least=1)
    job.signal(signal.SIGTERM)
    finished = job.finish()
    assert (finished.returncode, finished.stdout) == (-signal.SIGTERM, "True\nREADY\n")
    assert types(receiver.events()) == ["START"]


SIGNALS_OF_CHILD = """
import contextlib, multiprocessing, os, subprocess, sys
if "PLAIN" in os.environ:
    lineage_run = contextlib.nullcontext
else:
    from openlineage_pod import lineage_run, flush
with lineage_run("job"):
    if "PLAIN" not in os.environ:
        flush()
    sys.stdout.flush()
    subprocess.run(["grep", "^Sig", "/proc/self/status"])
    child = subprocess.Popen(["sleep", "60"])
    child.terminate()
    print(child.wait())
"""


def test_children_inherit_the_signals_that_they_do_without_us(receiver: Receiver, jobs: Jobs) -> None:
    """A command that the job starts has the same signal mask and dispositions, and dies of SIGTERM."""
    queue = "SigQ"
    with_us = jobs.run(SIGNALS_OF_CHILD, receiver.environ).stdout.splitlines()
    plain = jobs.run(SIGNALS_OF_CHILD, {"PLAIN": "1"}).stdout.splitlines()
    assert [line for line in with_us if queue not in line] == [line for line in plain if queue not in line]
    assert with_us[-1] == str(-signal.SIGTERM)


def test_a_terminated_multiprocessing_child_dies_of_sigterm(receiver: Receiver, jobs: Jobs) -> None:
    """`Process.terminate()` gives the exit code that it gives without us, and aborts the child's own run only."""
    job = jobs.run(
        """
        import multiprocessing
        from openlineage_pod import lineage_run
        def idle(ready):
            ready.set()
            multiprocessing.Event().wait()
        def work(ready):
            with lineage_run("child"):
                idle(ready)
        context = multiprocessing.get_context("fork")
        with lineage_run("job"):
            for target in (idle, work):
                ready = context.Event()
                child = context.Process(target=target, args=(ready,))
                child.start()
                ready.wait()
                child.terminate()
                child.join()
                print(child.exitcode)
        """,
        receiver.environ,
    )
    assert job.stdout == f"{-signal.SIGTERM}\n" * 2
    assert sorted(by_run(receiver.events()).values()) == [["START", "ABORT"], ["START", "COMPLETE"]]


def test_the_import_leaves_signals_and_threads_alone(jobs: Jobs) -> None:
    """Importing the package installs no signal handler and starts no thread."""
    finished = jobs.run(
        """
        import signal, threading
        before = [signal.getsignal(number) for number in signal.valid_signals()]
        import openlineage_pod
        assert [signal.getsignal(number) for number in signal.valid_signals()] == before
        print(threading.active_count())
        """
    )
    assert (finished.stdout, finished.stderr) == ("1\n", "")


def test_event_loop_that_is_being_imported(receiver: Receiver, jobs: Jobs) -> None:
    """Runs that begin while another thread, such as one of ours, imports asyncio are reported."""
    finished = jobs.run(
        """
        import sys, types
        from openlineage_pod import lineage_run
        for name in ("asyncio", "asyncio.events"):
            sys.modules[name] = types.ModuleType(name)  # there is nothing in it yet
        for name in ("first", "second"):
            with lineage_run(name):
                pass
        """,
        receiver.environ,
    )
    assert (finished.returncode, finished.stderr) == (0, "")
    assert list(by_run(receiver.events()).values()) == [["START", "COMPLETE"]] * 2
