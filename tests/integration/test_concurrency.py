"""Threads, forks, multiprocessing, asyncio and child commands: every process delivers its own runs, once."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from tests.support.constants import AIRFLOW_ENV, PARENT_RUN_ID, ROOT_RUN_ID
from tests.support.examples import fast
from tests.support.harness import by_run

if TYPE_CHECKING:
    from tests.support.harness import Event, Jobs, Receiver

WHOLE = ["START", "COMPLETE"]


def named(events: list[Event]) -> dict[str, list[str]]:
    """Return the event types of each job by the last part of its name."""
    jobs: dict[str, list[str]] = {}
    for event in events:
        jobs.setdefault(event["job"]["name"].rpartition(".")[2], []).append(event["eventType"])
    return jobs


POOLS = {
    "Process": """
        children = [context.Process(target=work, args=(number,)) for number in range(4)]
        for child in children:
            child.start()
        for child in children:
            child.join()
        print([child.exitcode for child in children])
    """,
    "Pool": """
        with context.Pool(2) as pool:
            print(pool.map(work, range(4), chunksize=1))
    """,
    "closed-Pool": """
        pool = context.Pool(2)
        print(pool.map(work, range(4), chunksize=1))
        pool.close()
        pool.join()
    """,
    "executor": """
        with concurrent.futures.ProcessPoolExecutor(2, context) as pool:
            print(list(pool.map(work, range(4))))
    """,
}


@pytest.mark.parametrize(
    ("method", "pool"),
    fast(
        [(method, pool) for method in ("fork", "spawn", "forkserver") for pool in POOLS],
        *(("fork", pool) for pool in POOLS),
        ("spawn", "Process"),
        ("forkserver", "Pool"),
    ),
)
def test_multiprocessing_children_deliver_their_runs(pool: str, method: str, receiver: Receiver, jobs: Jobs) -> None:
    """A run in a child process is delivered at the child's end, also when a pool terminates its workers."""
    finished = jobs.run(
        f"""
import concurrent.futures, multiprocessing
from openlineage_pod import lineage_run
def work(number):
    with lineage_run(f"work-{{number}}"):
        return number and 0
if __name__ == "__main__":
    context = multiprocessing.get_context("{method}")
    with lineage_run("job"):
{POOLS[pool]}
""",
        {**receiver.environ, "OPENLINEAGE_RUN_ID": ROOT_RUN_ID},
    )
    assert (finished.returncode, finished.stdout, finished.stderr) == (0, "[0, 0, 0, 0]\n", "")
    events = receiver.events()
    assert named(events) == dict.fromkeys(("job", "work-0", "work-1", "work-2", "work-3"), WHOLE)
    assert len(by_run(events)) == 5
    assert [event["job"]["name"] for event in events if event["run"]["runId"] == ROOT_RUN_ID] == ["job", "job"]


FORKS = """
import os, sys
from openlineage_pod import flush, lineage_run
with lineage_run("job") as run:
    {flush}
    pid = os.fork()
    if pid == 0:
        with lineage_run("child") as own:
            own.add_output("s3://lake/accounts")
        {leave}
    _, status = os.waitpid(pid, 0)
print(os.getpid() != pid and os.waitstatus_to_exitcode(status))
"""


@pytest.mark.parametrize(
    ("leave", "status", "flush"),
    [
        ("sys.exit(0)", 0, ""),
        ("sys.exit(3)", 3, "flush(20)"),
        ("flush(20); os._exit(0)", 0, ""),
        ("1 / 0", 1, ""),
        ("1 / 0", 1, "flush(20)"),
    ],
)
def test_a_fork_inside_a_run_ends_it_once(leave: str, status: int, flush: str, receiver: Receiver, jobs: Jobs) -> None:
    """However the child leaves the body, the run ends once, in the parent, and the child delivers its own run."""
    finished = jobs.run(FORKS.format(leave=leave, flush=flush), receiver.environ)
    assert (finished.returncode, finished.stdout) == (0, f"{status}\n")
    events = receiver.events()
    assert named(events) == {"job": WHOLE, "child": WHOLE}
    (child,) = (event for event in events if event["job"]["name"] == "child" and event["eventType"] == "COMPLETE")
    (job,) = {event["run"]["runId"] for event in events if event["job"]["name"] == "job"}
    assert child["run"]["facets"]["parent"]["run"]["runId"] == job


def test_a_child_that_falls_out_of_the_block_ends_nothing(receiver: Receiver, jobs: Jobs) -> None:
    """A forked child that simply goes on through the end of the parent's run reports nothing of it."""
    finished = jobs.run(
        """
        import os
        from openlineage_pod import lineage_run
        with lineage_run("job"):
            pid = os.fork()
        if pid:
            os.waitpid(pid, 0)
        """,
        receiver.environ,
    )
    assert (finished.returncode, finished.stderr) == (0, "")
    assert named(receiver.events()) == {"job": WHOLE}


def test_forks_while_the_delivery_thread_imports_do_not_hang(receiver: Receiver, jobs: Jobs) -> None:
    """30 children forked one after the other from the first moment on all run, deliver and end."""
    finished = jobs.run(
        """
        import os, sys, threading
        from openlineage_pod import lineage_run
        pids = []
        with lineage_run("job"):
            for number in range(30):
                pid = os.fork()
                if pid == 0:
                    with lineage_run(f"child-{number}"):
                        pass
                    sys.exit(0)
                pids.append(pid)
                threading.Event().wait(0.01)
            print({os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids})
        """,
        {**receiver.environ, "OPENLINEAGE_POD_FLUSH_TIMEOUT": "30"},
    )
    assert (finished.returncode, finished.stdout, finished.stderr) == (0, "{0}\n", "")
    assert named(receiver.events()) == {"job": WHOLE, **{f"child-{number}": WHOLE for number in range(30)}}


@pytest.mark.slow
def test_a_fork_at_any_moment_of_the_start_does_not_hang(receiver: Receiver, jobs: Jobs) -> None:
    """A child forked so many milliseconds after the start of the delivery thread runs, delivers and ends."""
    source = """
    import os, sys, time
    from openlineage_pod import lineage_run
    with lineage_run("job"):
        # No wait for a state: the moment is what is tried.
        time.sleep({delay})
        pid = os.fork()
        if pid == 0:
            with lineage_run("child"):
                pass
            sys.exit(0)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    """
    delays = [0.0, 0.005, 0.011, 0.02, 0.05, 0.1, 0.15, 0.2, 0.22, 0.24, 0.26, 0.28]
    for first, second in zip(delays[::2], delays[1::2], strict=True):
        # Two at a time, so that the moments also fall differently.
        running = [
            jobs.start(
                source.format(delay=delay),
                {**receiver.environ, "OPENLINEAGE_POD_FLUSH_TIMEOUT": "30"},
                name=f"job-{delay}.py",
            )
            for delay in (first, second)
        ]
        for job in running:
            finished = job.finish()
            assert (finished.returncode, finished.stdout, finished.stderr) == (0, "0\n", "")
    runs = by_run(receiver.events())
    assert len(runs) == 2 * len(delays)
    assert all(run == WHOLE for run in runs.values())


def test_the_first_event_imports_nothing_after_the_lock(receiver: Receiver, jobs: Jobs) -> None:
    """What the delivery thread needs is imported while it holds off forks: a later import could hang a child."""
    finished = jobs.run(
        """
        import sys, threading
        from openlineage_pod.delivery.transports.connect import connect
        before = set()
        def connecting(environ):
            transport = connect(environ)
            before.update(sys.modules)
            return transport
        from openlineage_pod import flush, lineage_run
        from openlineage_pod.core import runtime
        from openlineage_pod.settings import Settings
        runtime.replace_runtime(runtime.Runtime.from_settings(Settings.from_env(), connect=connecting))
        for _ in range(2):
            with lineage_run("job") as run:
                run.add_run_facet("sql", {"query": "SELECT 1"})
                flush(20)
        assert before
        print(sorted(set(sys.modules) - before))
        """,
        {**receiver.environ, **AIRFLOW_ENV, "OPENLINEAGE_API_KEY": "key"},
    )
    assert (finished.stdout, finished.stderr) == ("[]\n", "")


@pytest.mark.slow
def test_threads_have_runs_of_their_own(receiver: Receiver, jobs: Jobs) -> None:
    """32 threads report 10 runs each at once: each run is whole, with its START before its end."""
    finished = jobs.run(
        """
        import threading
        from openlineage_pod import current_run, lineage_run
        barrier = threading.Barrier(32)
        scope = lineage_run("shared")
        @lineage_run("decorated")
        def work(number, depth=0):
            run = current_run()
            run.add_output(f"s3://lake/{number}")
            if depth < 2:
                work(number, depth + 1)
            assert current_run() is run
        def thread(number):
            barrier.wait()
            for _ in range(2):
                work(number)
                with scope as outer, scope as inner:
                    assert inner.parent.run_id == outer.run_id
                    inner.add_output(f"s3://lake/{number}")
        threads = [threading.Thread(target=thread, args=(number,)) for number in range(32)]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
        """,
        {**receiver.environ, "OPENLINEAGE_POD_FLUSH_TIMEOUT": "30"},
    )
    assert (finished.returncode, finished.stderr) == (0, "")
    events = receiver.events()
    runs = by_run(events)
    assert len(runs) == 32 * 10
    assert all(run == WHOLE for run in runs.values())
    assert all(len(event["outputs"]) <= 1 for event in events)


def test_asyncio_tasks_have_runs_of_their_own(receiver: Receiver, jobs: Jobs) -> None:
    """50 gathered tasks with nested runs: each child names the run of its own task as its parent."""
    finished = jobs.run(
        """
        import asyncio
        from openlineage_pod import current_run, lineage_run
        @lineage_run("inner")
        async def inner():
            await asyncio.sleep(0.001)
            return current_run().parent.run_id
        @lineage_run("outer")
        async def outer(number):
            await asyncio.sleep(0.001 * (number % 7))
            assert await inner() == current_run().run_id
            async with lineage_run("block") as run:
                await asyncio.sleep(0)
                assert current_run() is run
            return number
        async def main():
            assert await asyncio.gather(*map(outer, range(50))) == list(range(50))
        asyncio.run(main())
        """,
        {**receiver.environ, "OPENLINEAGE_POD_FLUSH_TIMEOUT": "30"},
    )
    assert (finished.returncode, finished.stderr) == (0, "")
    runs = by_run(receiver.events())
    assert len(runs) == 150
    assert all(run == WHOLE for run in runs.values())


def test_a_cancelled_task_aborts_its_run(receiver: Receiver, jobs: Jobs) -> None:
    """Cancellation reaches the body and the caller as without us, and the run ends as ABORT."""
    finished = jobs.run(
        """
        import asyncio
        from openlineage_pod import lineage_run
        @lineage_run("cancelled")
        async def forever():
            try:
                await asyncio.sleep(60)
            finally:
                print("cleaned up")
        async def main():
            task = asyncio.create_task(forever())
            await asyncio.sleep(0.01)
            task.cancel()
            print(type((await asyncio.gather(task, return_exceptions=True))[0]).__name__, task.cancelled())
            try:
                await asyncio.wait_for(forever(), 0.01)
            except asyncio.TimeoutError:
                print("timeout")
        asyncio.run(main())
        """,
        receiver.environ,
    )
    assert finished.stdout == "cleaned up\nCancelledError True\ncleaned up\ntimeout\n"
    assert finished.stderr == ""
    runs = by_run(receiver.events())
    assert list(runs.values()) == [["START", "ABORT"]] * 2


def test_a_child_command_sees_this_run_as_its_parent(receiver: Receiver, jobs: Jobs) -> None:
    """`run.child_env()` links the run of a child process to this one, and both to the same root."""
    child = jobs.file(
        "child.py",
        """
        from openlineage_pod import lineage_run
        with lineage_run("child"):
            print("child")
        """,
    )
    finished = jobs.run(
        f"""
        import os, subprocess, sys
        from openlineage_pod import lineage_run
        with lineage_run("job") as run:
            before = dict(os.environ)
            subprocess.run([sys.executable, {str(child)!r}], env=run.child_env(), check=True)
            assert dict(os.environ) == before
        """,
        {
            **receiver.environ,
            **AIRFLOW_ENV,
            "OPENLINEAGE_RUN_ID": "01a1d7b0-8a20-7a1c-9b1e-2f6f5e0d7c99",
            "OPENLINEAGE_POD_OUTPUTS": '["s3://lake/accounts"]',
        },
    )
    assert (finished.returncode, finished.stdout, finished.stderr) == (0, "child\n", "")
    events = receiver.events()
    assert named(events) == {"job": WHOLE, "child": WHOLE}
    outer, inner = sorted(
        (event for event in events if event["eventType"] == "START"), key=lambda event: event["eventTime"]
    )
    parents = [event["run"]["facets"]["parent"] for event in (outer, inner)]
    assert [parent["run"]["runId"] for parent in parents] == [PARENT_RUN_ID, outer["run"]["runId"]]
    assert [parent["root"]["run"]["runId"] for parent in parents] == [ROOT_RUN_ID, ROOT_RUN_ID]
    assert parents[1]["job"] == {**parents[1]["job"], "name": "job", "namespace": "airflow"}
    assert outer["run"]["runId"] == "01a1d7b0-8a20-7a1c-9b1e-2f6f5e0d7c99"
    assert [len(event["outputs"]) for event in (outer, inner)] == [1, 0]


@pytest.mark.skipif(sys.platform != "linux", reason="multiprocessing's default differs elsewhere")
def test_a_nested_pool_of_a_child_delivers(receiver: Receiver, jobs: Jobs) -> None:
    """A grandchild process delivers its run, too."""
    finished = jobs.run(
        """
        import multiprocessing
        from openlineage_pod import lineage_run
        context = multiprocessing.get_context("fork")
        def leaf():
            with lineage_run("leaf"):
                pass
        def middle():
            with lineage_run("middle"):
                child = context.Process(target=leaf)
                child.start()
                child.join()
        with lineage_run("job"):
            child = context.Process(target=middle)
            child.start()
            child.join()
        """,
        receiver.environ,
    )
    assert (finished.returncode, finished.stderr) == (0, "")
    assert named(receiver.events()) == {"job": WHOLE, "middle": WHOLE, "leaf": WHOLE}


HANDED_OVER = """
import concurrent.futures, sys, threading
{imports}
from openlineage_pod import current_run, lineage_run

@lineage_run
def work(_=None):
    return current_run().parent.run_id

def work_of_a_child(queue):
    queue.put(work())

def in_process(context):
    queue = context.SimpleQueue()
    process = context.Process(target=work_of_a_child, args=(queue,))
    process.start()
    parent = queue.get()
    process.join()
    return parent

def in_pool(context):
    with context.Pool(1) as pool:
        return pool.apply(work)

def in_executor(context):
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(work).result()

def in_thread(context):
    found = []
    thread = threading.Thread(target=lambda: found.append(in_process(context)))
    thread.start()
    thread.join()
    return found[0]

def in_grandchild(context):
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(in_pool, context).result()

if __name__ == "__main__":
    with lineage_run("outer") as outer, lineage_run("inner") as inner:
        import multiprocessing
        context = multiprocessing.get_context({method!r})
        assert {start}(context) == ({run}).run_id
    print("done")
"""


STARTS = [
    ("in_process", "inner", "import multiprocessing"),
    ("in_process", "inner", ""),  # multiprocessing is imported within the run
    ("in_pool", "inner", ""),
    ("in_executor", "inner", ""),
    ("in_thread", "outer", ""),  # a thread does not inherit the current run
    ("in_grandchild", "inner", "import multiprocessing"),
]


@pytest.mark.parametrize(
    ("method", "start", "run", "imports"),
    fast(
        [(method, *how) for method in ("spawn", "forkserver") for how in STARTS],
        *(("spawn", *how) for how in (STARTS[0], STARTS[2], STARTS[4])),
        *(("forkserver", *how) for how in (STARTS[1], STARTS[3], STARTS[5])),
    ),
)
def test_run_of_a_new_interpreter_finds_its_parent(
    start: str, run: str, imports: str, method: str, request: pytest.FixtureRequest
) -> None:
    """The run of a process that multiprocessing starts by spawn or forkserver has the run that started it as parent."""
    receiver, jobs = request.getfixturevalue("receiver"), request.getfixturevalue("jobs")
    environ = {
        **receiver.environ,
        "OPENLINEAGE_PARENT_ID": "airflow/etl.ingest/01a1d7b0-8a10-7a1c-9b1e-2f6f5e0d7c01",
        "OPENLINEAGE_JOB_NAME": "nightly",
        "OPENLINEAGE_RUN_ID": "01938a60-0000-7000-8000-000000000000",
        "OPENLINEAGE_POD_INPUTS": '["s3://lake/a"]',
    }
    finished = jobs.run(HANDED_OVER.format(imports=imports, start=start, run=run, method=method), environ)
    assert (finished.returncode, finished.stdout) == (0, "done\n"), finished.stderr
    events = receiver.events()
    assert list(by_run(events).values()) == [["START", "COMPLETE"]] * 3
    (child,) = {event["job"]["name"] for event in events} - {"outer", "inner"}
    assert child == f"{run}.work"
    for event in events:
        assert event["run"]["facets"]["parent"]["root"]["job"]["name"] == "etl.ingest"
        assert [entry["name"] for entry in event["inputs"]] == (["a"] if event["job"]["name"] == "outer" else [])
