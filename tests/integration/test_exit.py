"""Promises 2 and 4: at the end of a process all is delivered or printed, within the flush timeout."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.examples import fast
from tests.support.harness import by_run, pipe, summary, types
from tests.support.waiting import at_most

if TYPE_CHECKING:
    from tests.support.harness import Job, Jobs, Receiver

SHORT = """
from openlineage_pod import lineage_run
with lineage_run("short") as run:
    run.add_output("s3://lake/accounts")
print("done")
"""


def test_a_short_script_delivers_everything(receiver: Receiver, jobs: Jobs) -> None:
    """A job that ends before the delivery thread has imported anything still delivers all events, in order."""
    finished = jobs.run(SHORT, receiver.environ)
    assert (finished.returncode, finished.stdout, finished.stderr) == (0, "done\n", "")
    start, complete = receiver.events()
    assert (start["eventType"], complete["eventType"]) == ("START", "COMPLETE")
    assert [(output["namespace"], output["name"]) for output in complete["outputs"]] == [("s3://lake", "accounts")]


def test_a_slow_backend_gets_everything(receiver: Receiver, jobs: Jobs) -> None:
    """With 50 ms for each request, the events of a burst of runs are all delivered at exit."""
    receiver.script({"delay": 0.05})
    finished = jobs.run(
        """
        from openlineage_pod import lineage_run
        for number in range(15):
            with lineage_run(f"run-{number}"):
                pass
        """,
        receiver.environ,
    )
    assert finished.stderr == ""
    runs = by_run(receiver.events())
    assert len(runs) == 15
    assert all(run == ["START", "COMPLETE"] for run in runs.values())


@pytest.mark.parametrize("is_terminated", [False, True], ids=["last line", "SIGTERM"])
def test_threads_that_begin_runs_to_the_end(is_terminated: bool, receiver: Receiver, jobs: Jobs) -> None:
    """A run that the end of the process would stop is not begun, also while the end waits for a slow backend."""
    receiver.script({"delay": 0.02})
    job = jobs.start(
        f"""
        import os, signal, threading, time
        from openlineage_pod import lineage_run
        def work():
            while True:
                with lineage_run("work"):
                    time.sleep(0.001)
        with lineage_run("first"):
            pass
        for _ in range(4):
            threading.Thread(target=work, daemon={not is_terminated}).start()
        time.sleep(0.1)
        if {is_terminated}:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(60)
        """,
        {**receiver.environ, "OPENLINEAGE_POD_FLUSH_TIMEOUT": "60"},
    )
    finished = job.finish()
    assert (finished.returncode, finished.stderr) == (-15 if is_terminated else 0, "")
    runs = by_run(receiver.events())
    assert [run for run in runs.values() if len(run) != 2] == []
    assert len(runs) > 5


@pytest.mark.serial
@pytest.mark.parametrize(
    "rule", [{"action": "hang"}, {"delay": 60.0}, {"status": 503, "headers": {"Retry-After": "3600"}}]
)
def test_the_flush_timeout_bounds_the_exit(rule: Any, receiver: Receiver, jobs: Jobs) -> None:
    """Neither a hung socket nor `Retry-After: 3600` stretches the exit, and each undelivered event is printed."""
    receiver.script(rule)
    finished = jobs.run(SHORT, {**receiver.environ, "OPENLINEAGE_POD_FLUSH_TIMEOUT": "1"})
    assert finished.duration < at_most(1)
    assert (finished.returncode, finished.stdout) == (0, "done\n")
    assert types(finished.printed) == ["START", "COMPLETE"]
    assert summary(finished.log) == {"printed": 2}
    (output,) = finished.printed[1]["outputs"]
    assert (output["namespace"], output["name"]) == ("s3://lake", "accounts")


@pytest.mark.serial
def test_retry_after_does_not_stretch_a_running_job_either(receiver: Receiver, jobs: Jobs) -> None:
    """A job that was told `Retry-After: 3600` early on still delivers at its end, when the backend is well again."""
    receiver.script({"status": 503, "headers": {"Retry-After": "3600"}, "times": 1})
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
    receiver.requests(at_least=1)
    finished = job.finish(b"\n")
    assert types(receiver.events()) == ["START", "COMPLETE"]
    assert finished.duration < at_most(5)


def test_what_was_delivered_is_not_printed(receiver: Receiver, jobs: Jobs) -> None:
    """When the backend hangs after the START, only the terminal event is printed."""
    receiver.script({"event_type": "COMPLETE", "action": "hang"})
    source = """
    from openlineage_pod import lineage_run
    with lineage_run("job"):
        input()
    """
    job = jobs.start(source, {**receiver.environ, "OPENLINEAGE_POD_FLUSH_TIMEOUT": "1"})
    receiver.requests(at_least=1)
    finished = job.finish(b"\n")
    assert types(receiver.events()) == ["START"]
    assert types(finished.printed) == ["COMPLETE"]
    assert summary(finished.log) == {"delivered": 1, "printed": 1}


def test_a_long_event_is_printed_in_parts(jobs: Jobs, refused: str) -> None:
    """A long event is printed in numbered lines, and the parts joined are its JSON."""
    finished = jobs.run(
        """
        from openlineage_pod import lineage_run
        text = "line é\\n" * 12_000
        with lineage_run("long", run_facets={"sql": {"query": text}}):
            pass
        with lineage_run("short"):
            pass
        """,
        {"OPENLINEAGE_URL": refused, "OPENLINEAGE_POD_FLUSH_TIMEOUT": "1"},
    )
    long = finished.printed[0]
    assert types(finished.printed) == ["START", "COMPLETE"] * 2
    assert long["run"]["facets"]["sql"]["query"] == "line é\n" * 12_000
    parts = [line.split()[1] for line in finished.stderr.splitlines() if re.match(r"OPENLINEAGE_POD_EVENT \d+/", line)]
    assert parts[0] == f"1/{len(parts) // 2}"


def test_last_resort_off_prints_no_event(jobs: Jobs, refused: str) -> None:
    """With the last resort off, the line at exit alone says that events are lost."""
    finished = jobs.run(
        SHORT,
        {"OPENLINEAGE_URL": refused, "OPENLINEAGE_POD_FLUSH_TIMEOUT": "1", "OPENLINEAGE_POD_LAST_RESORT": "off"},
    )
    assert "OPENLINEAGE_POD_EVENT" not in finished.stderr
    assert summary(finished.log) == {"pending": 2}


@pytest.mark.serial
@pytest.mark.parametrize("hung", [True, False])
def test_a_flush_timeout_of_zero_does_not_wait(hung: bool, receiver: Receiver, jobs: Jobs) -> None:
    """With 0 the exit waits for nobody, and each event is either delivered or printed."""
    if hung:
        receiver.script({"action": "hang"})
    finished = jobs.run(SHORT, {**receiver.environ, "OPENLINEAGE_POD_FLUSH_TIMEOUT": "0"})
    assert (finished.returncode, finished.stdout) == (0, "done\n")
    assert finished.duration < at_most()
    if hung:
        assert types(finished.printed) == ["START", "COMPLETE"]
    assert {"START", "COMPLETE"} <= set(types(receiver.events()) + types(finished.printed))


@pytest.mark.serial
def test_many_events_are_printed_completely(receiver: Receiver, jobs: Jobs) -> None:
    """500 undelivered events are 500 whole lines, also through a pipe that is read late, within the bound."""
    receiver.script({"action": "hang"})
    finished = jobs.run(
        """
        from openlineage_pod import lineage_run
        for number in range(250):
            with lineage_run(f"run-{number}"):
                pass
        """,
        {**receiver.environ, "OPENLINEAGE_POD_FLUSH_TIMEOUT": "1"},
    )
    runs = by_run(finished.printed)
    assert len(runs) == 250
    assert all(run == ["START", "COMPLETE"] for run in runs.values())
    assert summary(finished.log) == {"printed": 500}
    assert finished.duration < at_most(1)


@pytest.mark.parametrize("closing", ["import sys; sys.stderr.close()", "import os; os.close(2)"])
def test_a_closed_stderr_harms_nobody(closing: str, jobs: Jobs, refused: str) -> None:
    """A job that closed its stderr ends as without us, though nothing can be printed."""
    finished = jobs.run(f"{closing}\n{SHORT}", {"OPENLINEAGE_URL": refused, "OPENLINEAGE_POD_FLUSH_TIMEOUT": "0.5"})
    assert (finished.returncode, finished.stdout) == (0, "done\n")


def test_no_stderr_at_all_harms_nobody(jobs: Jobs, refused: str) -> None:
    """A process that was started without a file descriptor 2 ends as without us."""
    finished = jobs.run(
        SHORT,
        {"OPENLINEAGE_URL": refused, "OPENLINEAGE_POD_FLUSH_TIMEOUT": "0.5"},
        prefix=("sh", "-c", 'exec "$0" "$@" 2>&-'),
    )
    assert (finished.returncode, finished.stdout) == (0, "done\n")


def test_a_file_that_took_the_place_of_stderr_stays_clean(jobs: Jobs, refused: str) -> None:
    """Where the job closed its `sys.stderr`, and a file of its own got descriptor 2, nothing is written into it."""
    source = f"""
import os, sys
sys.stderr.close()
os.close(2)
data = open("data.csv", "w")
assert data.fileno() == 2
data.write("id\\n")
data.flush()
{SHORT}
"""
    jobs.run(source, {"OPENLINEAGE_URL": refused, "OPENLINEAGE_POD_FLUSH_TIMEOUT": "0.5"})
    assert (jobs.directory / "data.csv").read_text() == "id\n"


STUCK = {
    "undelivered": {"OPENLINEAGE_POD_FLUSH_TIMEOUT": "1"},
    "sigterm": {"OPENLINEAGE_POD_FLUSH_TIMEOUT": "1"},
    "unconfigured": {"OPENLINEAGE_URL": "", "OPENLINEAGE_POD_FLUSH_TIMEOUT": "1"},
    "warned-at-start": {"OPENLINEAGE_RUN_ID": "none", "OPENLINEAGE_POD_FLUSH_TIMEOUT": "1"},
    "warned-inside": {"OPENLINEAGE_POD_FLUSH_TIMEOUT": "1"},
}


@pytest.mark.parametrize("full", [True, False], ids=["full", "broken"])
@pytest.mark.parametrize("case", fast(STUCK, *list(STUCK)[:2]))
def test_a_stderr_that_takes_nothing_does_not_stop_the_job(case: str, full: bool, jobs: Jobs, refused: str) -> None:
    """Whether the pipe behind stderr is full and unread or broken, the job runs and ends, and in time."""
    wait = "input()" if case == "sigterm" else ""
    slip = "run.add_input('no dataset')" if case == "warned-inside" else ""
    source = f"""
from openlineage_pod import lineage_run
with lineage_run("job") as run:
    {slip}
    print("READY", flush=True)
    {wait}
print("done")
"""
    with pipe(full=full) as stderr:
        job: Job = jobs.start(source, {"OPENLINEAGE_URL": refused, **STUCK[case]}, stderr=stderr)
        job.wait_for("READY", seconds=at_most())
        if case == "sigterm":
            os.kill(job.pid, 15)
        finished = job.finish(timeout=at_most(1))
    expected = (-15, "READY\n") if case == "sigterm" else (0, "READY\ndone\n")
    assert (finished.returncode, finished.stdout) == expected


def test_a_full_disk_behind_stderr_does_not_change_the_exit_status(jobs: Jobs, refused: str) -> None:
    """Where stderr cannot be written for want of space, the exit status is the job's own."""
    with Path("/dev/full").open("wb") as full:
        finished = jobs.run(SHORT, {"OPENLINEAGE_URL": refused, "OPENLINEAGE_POD_FLUSH_TIMEOUT": "0.5"}, stderr=full)
    assert (finished.returncode, finished.stdout) == (0, "done\n")


REPORTS_AT_EXIT = """
import atexit
from openlineage_pod import lineage_run
{before}
def last():
    with lineage_run("late"):
        print("late")
atexit.register(last)
{after}
"""
EARLY = 'with lineage_run("early"): print("early")'


@pytest.mark.parametrize("order", ["before", "after", "alone"])
def test_a_run_in_an_exit_handler_is_delivered(order: str, receiver: Receiver, jobs: Jobs) -> None:
    """A run that the job reports in an exit handler is delivered, before or after our own flush or as its only one."""
    lines = {"before": "", "after": "", order: EARLY}
    finished = jobs.run(REPORTS_AT_EXIT.format(**lines), receiver.environ)
    expected = ["late"] if order == "alone" else ["early", "late"]
    said = finished.log
    if order == "alone" and sys.version_info[:2] == (3, 12):  # which refuses threads in an exit handler
        said = [line for line in said if "can't create new thread at interpreter shutdown" not in line]
    assert (finished.stdout.split(), said) == (expected, [])
    assert list(by_run(receiver.events()).values()) == [["START", "COMPLETE"]] * len(expected)


@pytest.mark.serial
@pytest.mark.parametrize("order", ["before", "after"])
def test_an_exit_handler_with_a_hung_backend_is_bounded(order: str, receiver: Receiver, jobs: Jobs) -> None:
    """Runs of exit handlers share the one flush timeout, and their events are printed, too."""
    receiver.script({"action": "hang"})
    lines = {"before": "", "after": "", order: EARLY}
    source = REPORTS_AT_EXIT.format(**lines) + "\n" + "atexit.register(last)\n" * 4
    finished = jobs.run(source, {**receiver.environ, "OPENLINEAGE_POD_FLUSH_TIMEOUT": "1"})
    assert finished.duration < at_most(1)
    assert [run for run in by_run(finished.printed).values() if run != ["START", "COMPLETE"]] == []
    assert len(finished.printed) == 12


@pytest.mark.parametrize(
    "leaving",
    [
        pytest.param("threading.Thread(target=work, daemon=True).start(); ready.wait()", id="daemon-thread"),
        pytest.param("lineage_run('open').__enter__()", id="never-left"),
        pytest.param("running = generator(); next(running)", id="suspended-generator"),
    ],
)
def test_a_run_that_is_open_at_exit_ends(leaving: str, receiver: Receiver, jobs: Jobs) -> None:
    """A run that nobody left when the process ends gets its one terminal event all the same."""
    finished = jobs.run(
        f"""
        import threading
        from openlineage_pod import lineage_run
        ready, never = threading.Event(), threading.Event()
        def work():
            with lineage_run("open"):
                ready.set()
                never.wait()
        @lineage_run
        def generator():
            yield 1
        {leaving}
        """,
        receiver.environ,
    )
    assert (finished.returncode, finished.stderr) == (0, "")
    (run,) = by_run(receiver.events()).values()
    assert run[0] == "START"
    assert len(run) == 2


def test_flush_says_what_became_of_the_events(receiver: Receiver, jobs: Jobs) -> None:
    """`flush()` waits for the events so far and counts them."""
    receiver.script({"job": "refused", "status": 400})
    finished = jobs.run(
        """
        from openlineage_pod import flush, lineage_run
        print(*flush())
        for name in ("well", "refused"):
            with lineage_run(name):
                pass
        print(flush(timeout=20))
        """,
        receiver.environ,
    )
    assert finished.stdout == "0 0 0 0 0 0\n2 delivered, 0 spooled, 2 rejected, 0 printed, 0 pending\n"
    assert types(finished.printed) == ["START", "COMPLETE"]


@pytest.mark.serial
def test_the_first_line_of_the_job_does_not_wait_for_a_hung_backend(receiver: Receiver, jobs: Jobs) -> None:
    """The body runs to its end while the backend hangs: only the end of the process waits."""
    receiver.script({"action": "hang"})
    finished = jobs.run(
        """
        import time
        before = time.monotonic()
        from openlineage_pod import lineage_run
        for number in range(100):
            with lineage_run(f"run-{number}"):
                pass
        print(time.monotonic() - before)
        """,
        {**receiver.environ, "OPENLINEAGE_POD_FLUSH_TIMEOUT": "0.5"},
    )
    assert float(finished.stdout) < at_most()
    assert len(finished.printed) == 200
