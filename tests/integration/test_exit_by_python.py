"""Promise 2 on every Python: what a process reports near its end is delivered, or counted.

Python 3.12 refuses new threads as soon as the exit has begun, before the handlers of `atexit` run. Other versions do
not, so these tests run each job with each Python of the machine.
"""

from __future__ import annotations

import json
import re
import signal
import sys
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.cache import UnavailableError
from tests.support.examples import fast
from tests.support.harness import by_run, summary, types
from tests.support.interpreters import Interpreter, interpreter_with_package, interpreters
from tests.support.wrapping import started

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from tests.support.harness import Event, Finished, Job, Jobs, Receiver

    Start = Callable[..., Job]

# Long enough for a busy machine. Where all can be delivered, the exit does not wait for it.
PATIENT = {"OPENLINEAGE_POD_FLUSH_TIMEOUT": "10"}
# What no job may say: a thread was to be started, or a process to be forked, too late.
LATE = re.compile(r"can't (create new thread|fork|register atexit)|cannot schedule new futures")
BURST = """
from openlineage_pod import lineage_run
for number in range({runs}):
    with lineage_run(f"run-{{number}}"):
        pass
"""


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(python, id=python.version, marks=() if python.is_own else pytest.mark.slow)
        for python in interpreters()
    ],
)
def python(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return the path of a Python with this package, for each Python of this machine."""
    interpreter: Interpreter = request.param
    if interpreter.is_own:
        return sys.executable
    try:
        return interpreter_with_package(interpreter, tmp_path_factory.mktemp(f"python{interpreter.version}-"))
    except UnavailableError as error:
        pytest.skip(str(error))


@pytest.fixture
def start(python: str, jobs: Jobs) -> Start:
    """Return a function that starts a script by that Python."""

    def start(source: str, environ: Mapping[str, str]) -> Job:
        script = jobs.script(source)
        return started(jobs, [python, str(script)], {**PATIENT, **environ})

    return start


def key(event: Event) -> tuple[str, str]:
    """Return what tells an event from all others."""
    return event["run"]["runId"], event["eventType"]


def said(finished: Finished) -> str:
    """Return what a job says on stderr, each line once and without its events."""
    printed = len(finished.printed)
    return "\n".join([*dict.fromkeys(finished.log), *([f"{printed} events are printed"] if printed else [])])


def check_counted(finished: Finished, received: list[Event], expected: int) -> None:
    """Fail unless each of the expected events is received, printed, or counted in the one line at exit."""
    assert finished.returncode == 0, said(finished)
    assert not LATE.search(finished.stderr), said(finished)
    seen = {key(event) for event in received}
    printed = {key(event) for event in finished.printed}
    if len(seen) == expected:
        return  # the last answer may have come too late, so that an event is printed as well
    counts = summary(finished.log)
    assert sum(counts.values()) == expected, counts
    assert counts.get("printed", 0) == len(printed), counts
    assert counts.get("delivered", 0) <= len(seen), counts
    elsewhere = counts.get("pending", 0) + counts.get("spooled", 0)
    assert len(seen | printed) + elsewhere >= expected, f"{len(seen)} received, {len(printed)} printed, {counts}"


def check_delivered(finished: Finished, received: list[Event], expected: int) -> None:
    """Fail unless each of the expected events is received, the START of each run first, and nothing is said."""
    assert (finished.returncode, said(finished)) == (0, "")
    assert len({key(event) for event in received}) == expected
    for run in by_run(received).values():
        assert run[0] == "START"
        assert len(run) == 2


def test_the_job_runs_by_the_python_of_the_test(
    start: Start, receiver: Receiver, request: pytest.FixtureRequest
) -> None:
    """The environment of each Python belongs to that Python, and finds this checkout."""
    source = "import sys, openlineage_pod; print(*sys.version_info[:3], sep='.'); print(openlineage_pod.__file__)"
    version, path = start(source, receiver.environ).finish().stdout.splitlines()
    assert version == request.node.callspec.params["python"].version
    assert path.startswith(str(request.config.rootpath)) or sys.version.startswith(version)


@pytest.mark.parametrize(
    "delay", [0.0, 0.05, pytest.param(0.5, marks=pytest.mark.slow)], ids=["at-once", "50-ms", "500-ms"]
)
@pytest.mark.parametrize("runs", [5, 100, pytest.param(1000, marks=pytest.mark.slow)])
def test_quick_runs(runs: int, delay: float, start: Start, receiver: Receiver) -> None:
    """A burst of runs just before the end is delivered, or counted where the flush timeout is too short for it."""
    receiver.script({"delay": delay})
    # 2,000 requests of half a second take longer than a test should.
    environ = {"OPENLINEAGE_POD_FLUSH_TIMEOUT": "3"} if delay == 0.5 and runs > 5 else {}
    finished = start(BURST.format(runs=runs), {**receiver.environ, **environ}).finish()
    received = receiver.events()
    check_counted(finished, received, 2 * runs)
    if delay < 0.5 and runs <= 100:
        check_delivered(finished, received, 2 * runs)


@pytest.mark.parametrize("runs", [5, 100])
def test_quick_runs_with_a_spool(runs: int, start: Start, receiver: Receiver, tmp_path: Path) -> None:
    """With a spool, a burst is delivered, and nothing stays behind."""
    receiver.script({"delay": 0.05})
    spool = tmp_path / "spool"
    finished = start(BURST.format(runs=runs), {**receiver.environ, "OPENLINEAGE_POD_SPOOL_DIR": str(spool)}).finish()
    check_delivered(finished, receiver.events(), 2 * runs)
    assert spooled(spool) == []


def spooled(spool: Path) -> list[str]:
    """Return the names of the events in a spool."""
    return sorted(path.name for path in spool.rglob("*.json"))


def test_a_backend_that_is_slow_only_at_first(start: Start, receiver: Receiver) -> None:
    """A burst that waits for the first answer until the exit has begun is delivered after it."""
    receiver.script({"delay": 1.0, "times": 1}, {"delay": 0.02})
    finished = start(BURST.format(runs=100), receiver.environ).finish()
    check_delivered(finished, receiver.events(), 200)


@pytest.mark.parametrize(
    ("when", "runs"),
    fast(
        [(when, runs) for when in ("before-the-import", "after-the-import", "after-the-first-run") for runs in (1, 20)],
        ("before-the-import", 20),
        ("after-the-import", 1),
        ("after-the-first-run", 20),
    ),
)
def test_runs_of_an_exit_handler(when: str, runs: int, start: Start, receiver: Receiver) -> None:
    """A job's own exit handler may report runs, whether it comes before our exit handler or after it."""
    receiver.script({"delay": 0.02})
    register = {when: "atexit.register(report)"}
    finished = start(
        f"""
        import atexit

        def report():
            for number in range({runs}):
                with lineage_run(f"late-{{number}}"):
                    pass

        {register.get("before-the-import", "")}
        from openlineage_pod import lineage_run
        {register.get("after-the-import", "")}
        with lineage_run("early"):
            pass
        {register.get("after-the-first-run", "")}
        """,
        receiver.environ,
    ).finish()
    check_delivered(finished, receiver.events(), 2 + 2 * runs)


@pytest.mark.parametrize("runs", [1, 20])
def test_the_first_run_is_in_an_exit_handler(runs: int, start: Start, receiver: Receiver) -> None:
    """Where the first run of all begins in an exit handler, its events are delivered or at least counted.

    No delivery thread runs when the exit begins, and Python 3.12 lets none start, which is told.
    """
    finished = start(
        f"""
        import atexit
        from openlineage_pod import lineage_run

        def report():
            for number in range({runs}):
                with lineage_run(f"late-{{number}}"):
                    pass

        atexit.register(report)
        """,
        receiver.environ,
    ).finish()
    received = receiver.events()
    seen = {key(event) for event in received} | {key(event) for event in finished.printed}
    assert (finished.returncode, len(seen)) == (0, 2 * runs), said(finished)
    # Each run here is closed for itself, so that the line may come more than once.
    if len(received) < 2 * runs:
        assert re.search(r"\d+ printed", finished.stderr), said(finished)


def test_a_run_of_a_daemon_thread_ends_late(start: Start, receiver: Receiver) -> None:
    """Runs that a daemon thread is at when the process ends have exactly one end each, which is delivered."""
    receiver.script({"delay": 0.05})
    finished = start(
        """
        import threading, time
        from openlineage_pod import lineage_run

        begun = threading.Barrier(11)

        def work():
            with lineage_run("late"):
                begun.wait()
                time.sleep(0.05)

        for _ in range(10):
            threading.Thread(target=work, daemon=True).start()
        begun.wait()
        """,
        receiver.environ,
    ).finish()
    check_delivered(finished, receiver.events(), 20)


def test_runs_begin_in_a_daemon_thread_while_the_process_ends(start: Start, receiver: Receiver) -> None:
    """A daemon thread that goes on with quick runs during the exit loses none that it has finished."""
    receiver.script({"delay": 0.02})
    finished = start(
        """
        import atexit, threading, time
        from openlineage_pod import lineage_run

        finished = 0

        def work():
            global finished
            for _ in range(30):
                with lineage_run("early"):
                    pass
                finished += 1
                time.sleep(0.005)

        thread = threading.Thread(target=work, daemon=True)
        with lineage_run("first"):
            pass
        # Runs before our handler, when the exit has begun already.
        atexit.register(thread.join)
        thread.start()
        """,
        receiver.environ,
    ).finish()
    check_delivered(finished, receiver.events(), 62)


def test_nested_generators_are_open_at_exit(start: Start, receiver: Receiver) -> None:
    """Runs of generators that nobody exhausts are aborted, and their ends are delivered."""
    receiver.script({"delay": 0.05})
    finished = start(
        """
        from openlineage_pod import lineage_run

        @lineage_run("inner")
        def inner():
            yield 1
            yield 2

        def outer():
            with lineage_run("outer"):
                yield from inner()

        kept = [outer() for _ in range(5)]
        for generator in kept:
            next(generator)
        """,
        receiver.environ,
    ).finish()
    received = receiver.events()
    check_delivered(finished, received, 20)
    assert sorted(types(received)) == ["ABORT"] * 10 + ["START"] * 10


def test_a_backlog_in_the_spool(start: Start, receiver: Receiver, refused: str, tmp_path: Path) -> None:
    """What an earlier process left in the spool is delivered, or stays there, when a quick job finds it."""
    spool = tmp_path / "spool"
    environ = {"OPENLINEAGE_POD_SPOOL_DIR": str(spool)}
    left = start(BURST.format(runs=30), {**environ, "OPENLINEAGE_URL": refused}).finish()
    assert summary(left.log) == {"spooled": 60}
    receiver.script({"delay": 0.05})
    finished = start(BURST.format(runs=1), {**environ, **receiver.environ}).finish()
    assert (finished.returncode, said(finished)) == (0, "")
    received = {key(event) for event in receiver.events()}
    assert len(received) + len(spooled(spool)) >= 62
    assert len(received) >= 2


@pytest.mark.slow
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_children_of_multiprocessing(method: str, start: Start, receiver: Receiver) -> None:
    """A child delivers its own burst of runs, and its parent those of the parent."""
    receiver.script({"delay": 0.05})
    finished = start(
        f"""
        import multiprocessing
        from openlineage_pod import lineage_run

        def work(name):
            for number in range(20):
                with lineage_run(f"{{name}}-{{number}}"):
                    pass

        if __name__ == "__main__":
            context = multiprocessing.get_context({method!r})
            work("before")
            children = [context.Process(target=work, args=("child",)) for _ in range(2)]
            for child in children:
                child.start()
            for child in children:
                child.join()
            work("after")
        """,
        receiver.environ,
    ).finish()
    check_delivered(finished, receiver.events(), 2 * 20 * 4)


@pytest.mark.parametrize("when", ["before-the-import", "after-the-first-run"])
def test_an_exit_handler_forks(when: str, start: Start, receiver: Receiver) -> None:
    """A fork within an exit handler costs the parent no event; nor the child, where Python allows the fork."""
    receiver.script({"delay": 0.02})
    register = {when: "atexit.register(fork)"}
    finished = start(
        f"""
        import atexit, os

        def fork():
            try:
                pid = os.fork()
            except RuntimeError as error:
                print("refused", flush=True)
            else:
                if pid:
                    print("parent", os.waitpid(pid, 0)[1], flush=True)
            for number in range(5):
                with lineage_run("late"):
                    pass

        {register.get("before-the-import", "")}
        from openlineage_pod import lineage_run
        with lineage_run("early"):
            pass
        {register.get("after-the-first-run", "")}
        """,
        receiver.environ,
    ).finish()
    assert finished.stdout in ("refused\n", "parent 0\n")
    check_delivered(finished, receiver.events(), 12 if finished.stdout == "refused\n" else 22)


def test_the_wrapper(python: str, jobs: Jobs, receiver: Receiver) -> None:
    """Ten commands under the wrapper, which end at once, report their starts and ends."""
    receiver.script({"delay": 0.05})
    command = [python, "-m", "openlineage_pod", "run", "--", "true"]
    for _ in range(2):
        for job in [started(jobs, command, {**PATIENT, **receiver.environ}) for _ in range(5)]:
            finished = job.finish()
            assert (finished.returncode, said(finished)) == (0, "")
    check_delivered(finished, receiver.events(), 20)


@pytest.mark.slow
@pytest.mark.parametrize("where", ["before-our-handler", "in-our-handler", "after-our-handler"])
def test_sigterm_during_the_exit(where: str, start: Start, receiver: Receiver) -> None:
    """A process that is terminated while it ends delivers its events before it dies of SIGTERM."""
    receiver.script({"delay": 1.0 if where == "in-our-handler" else 0.05})
    register = {where: "atexit.register(linger)"}
    job = start(
        f"""
        import atexit, time

        def linger():
            print("exiting", flush=True)
            time.sleep({0 if where == "in-our-handler" else 60})

        {register.get("after-our-handler", "")}
        from openlineage_pod import lineage_run
        for number in range(2 if {where == "in-our-handler"} else 20):
            with lineage_run("quick"):
                pass
        left_open = lineage_run("open").__enter__()
        atexit.register(lambda: print("begun", flush=True))
        {register.get("before-our-handler", "")}
        """,
        receiver.environ,
    )
    job.wait_for("begun" if where == "in-our-handler" else "exiting")
    job.signal(signal.SIGTERM)
    finished = job.finish()
    assert (finished.returncode, said(finished)) == (-signal.SIGTERM, "")
    received = receiver.events()
    check_ends(received, 3 if where == "in-our-handler" else 21)


def check_ends(received: list[Event], expected: int) -> None:
    """Fail unless so many runs are received, each with its START and one end."""
    runs = by_run(received)
    assert len(runs) == expected
    assert all(run[0] == "START" and len(run) == 2 for run in runs.values()), runs


def test_sigterm_during_the_exit_is_not_held_up(start: Start, refused: str) -> None:
    """A process that is terminated while it ends dies in time, though the job holds the lock of its log handler."""
    job = start(
        """
        import atexit, logging, threading, time
        from openlineage_pod import lineage_run

        handler = logging.StreamHandler()
        logging.getLogger("openlineage_pod").addHandler(handler)

        def linger():
            handler.lock = threading.Lock()  # not reentrant: the signal handler runs on this thread
            handler.lock.acquire()
            print("exiting", flush=True)
            time.sleep(60)

        with lineage_run("quick"):
            pass
        atexit.register(linger)
        """,
        {"OPENLINEAGE_URL": refused, "OPENLINEAGE_POD_FLUSH_TIMEOUT": "1"},
    )
    job.wait_for("exiting")
    job.signal(signal.SIGTERM)
    finished = job.finish(timeout=20)
    assert finished.returncode == -signal.SIGTERM, said(finished)
    assert finished.duration < 15


def test_sigterm_where_somebody_has_taken_the_descriptor(start: Start, refused: str) -> None:
    """Its time is limited also after asyncio has taken the wake-up descriptor and given back none."""
    job = start(
        """
        import asyncio, logging, signal, threading, time
        from openlineage_pod import lineage_run

        lock = threading.Lock()

        class Handler(logging.Handler):
            def emit(self, record):
                with lock:  # which the interrupted job holds
                    pass

        async def main():
            loop = asyncio.get_running_loop()
            loop.add_signal_handler(signal.SIGHUP, print)
            loop.remove_signal_handler(signal.SIGHUP)

        logging.getLogger().addHandler(Handler())
        with lineage_run("quick"):
            asyncio.run(main())
            lock.acquire()
            print("ready", flush=True)
            while True:
                time.sleep(0.01)
        """,
        {"OPENLINEAGE_URL": refused, "OPENLINEAGE_POD_FLUSH_TIMEOUT": "1"},
    )
    job.wait_for("ready")
    job.signal(signal.SIGTERM)
    assert job.finish(timeout=30).returncode == -signal.SIGTERM


def test_a_transport_of_openlineage_python(start: Start, receiver: Receiver) -> None:
    """A transport that openlineage-python makes, and so imports during the exit, delivers a burst as well."""
    receiver.script({"delay": 0.02})
    environ: dict[str, Any] = {
        "OPENLINEAGE__TRANSPORT__TYPE": "http",
        "OPENLINEAGE__TRANSPORT__URL": receiver.url,
        "OPENLINEAGE__TRANSPORT__COMPRESSION": "gzip",
    }
    finished = start(BURST.format(runs=20), environ).finish()
    check_delivered(finished, receiver.events(), 40)


LIFETIMES = (0, 0.001, 0.005, 0.05)


def _transports(receiver: Receiver, folder: Path) -> dict[str, dict[str, Any]]:
    http = {"type": "http", "url": receiver.url}
    file = {"type": "file", "log_file_path": str(folder / "events"), "append": True}
    return {
        "http": http,
        "async_http": {**http, "type": "async_http"},
        "file": file,
        "console": {"type": "console"},
        "composite": {"type": "composite", "transports": {"http": http, "file": file}},
    }


@pytest.mark.parametrize(
    "kind", fast(["http", "async_http", "file", "console", "composite"], "async_http", "composite")
)
def test_late_imports(kind: str, start: Start, receiver: Receiver, tmp_path: Path) -> None:
    """A short job delivers although something that its transport imports wants to be called before threads are joined.

    An installed simplejson stands for many libraries: requests imports it, and it imports `concurrent.futures`.
    """
    modules = tmp_path / "modules"
    modules.mkdir()
    imports = ("import concurrent.futures.thread", "from json import *", "from json import JSONDecodeError")
    (modules / "simplejson.py").write_text("\n".join(imports))
    config = {"transport": _transports(receiver, tmp_path)[kind]}
    environ = {
        "OPENLINEAGE_CONFIG": str(tmp_path / "openlineage.yml"),
        "PYTHONPATH": str(modules),
        "OPENLINEAGE_POD_FLUSH_TIMEOUT": "60",  # four imports of openlineage-python at the same time
    }
    (tmp_path / "openlineage.yml").write_text(json.dumps(config))  # which is YAML as well
    source = "import time\nfrom openlineage_pod import lineage_run\nwith lineage_run('job'):\n    time.sleep({})\n"
    finished = [job.finish() for job in [start(source.format(seconds), environ) for seconds in LIFETIMES]]
    assert [each.returncode for each in finished] == [0] * len(LIFETIMES)
    if kind == "console":
        received = [json.loads(line) for each in finished for line in each.stderr.splitlines()]
    else:
        assert [said(each) for each in finished] == [""] * len(LIFETIMES)
        received = receiver.events()
    if kind in ("file", "composite"):
        received = [json.loads(line) for line in (tmp_path / "events").read_text().splitlines()]
    check_ends(received, len(LIFETIMES))
