"""Jobs whose runtime is not plain Python: gevent, eventlet, uvloop, and programs of click and typer.

These libraries are in an environment of their own, which is made once.
"""

from __future__ import annotations

import signal
from textwrap import dedent
from typing import TYPE_CHECKING, Any

import pytest

from tests.e2e import venvs
from tests.support.cache import UnavailableError
from tests.support.constants import ROOT
from tests.support.harness import by_run

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.harness import Finished, Job, Jobs, Receiver

    Start = Callable[..., Job]

pytestmark = pytest.mark.slow

_LIBRARIES = ("click", "eventlet", "gevent", "trio", "typer", "uvloop")
_PACKAGE = ("attrs", "certifi", "openlineage-python", "requests", "tenacity")
# The exit does not wait for it where all can be delivered.
_PATIENT = {"OPENLINEAGE_POD_FLUSH_TIMEOUT": "60"}
PATCHES = {
    "gevent": "import gevent.monkey; gevent.monkey.patch_all()",
    "gevent without threads": "import gevent.monkey; gevent.monkey.patch_all(thread=False)",
    "gevent without queues": "import gevent.monkey; gevent.monkey.patch_all(queue=False, Event=False)",
    "gevent's sockets": "import gevent.monkey; gevent.monkey.patch_socket()",
    "gevent's TLS": "import gevent.monkey; gevent.monkey.patch_ssl()",
    "gevent's threads": "import gevent.monkey; gevent.monkey.patch_thread()",
    "eventlet": "import eventlet; eventlet.monkey_patch()",
    "eventlet without threads": "import eventlet; eventlet.monkey_patch(thread=False)",
    "eventlet's sockets": "import eventlet; eventlet.monkey_patch(socket=True)",
    "eventlet's threads": "import eventlet; eventlet.monkey_patch(thread=True)",
}
# What eventlet itself says of a late patch, and what it does to an open connection of urllib3: another one is made.
_OF_EVENTLET = ("RLock(s) were not greened", "module 'select' has no attribute 'poll'")
IMPORT = "from openlineage_pod import lineage_run\n"
ORDERS = {
    "patched before the import": "{patch}\n" + IMPORT,
    "patched after the import": IMPORT + "{patch}\n",
    # Once delivery has imported what it needs: a patch in the middle of imports stops those, in any program.
    "patched after a run": IMPORT
    + "with lineage_run('early'):\n    pass\nfrom openlineage_pod import flush\nflush()\n{patch}\n",
}
QUIET = "import warnings; warnings.simplefilter('ignore')\n"
# The ways to a backend: by http.client, by requests, and by openlineage-python.
WAYS: dict[str, Callable[[str], dict[str, str]]] = {
    "plain": lambda url: {"OPENLINEAGE_URL": url},
    "session": lambda url: {"OPENLINEAGE_URL": url.replace("://", "://user:secret@")},
    "client": lambda url: {"OPENLINEAGE__TRANSPORT__TYPE": "http", "OPENLINEAGE__TRANSPORT__URL": url},
}


@pytest.fixture(scope="module")
def python() -> str:
    """Return a Python that has the libraries."""
    try:
        return str(venvs.environment("runtimes", [*_LIBRARIES, *_PACKAGE]))
    except UnavailableError as error:
        pytest.skip(str(error))


@pytest.fixture
def start(python: str, jobs: Jobs) -> Start:
    """Return a function that starts a job by that Python."""

    def start(source: str, environ: dict[str, str]) -> Job:
        script = jobs.script(QUIET + dedent(source))
        return jobs.launch([python, str(script)], {"PYTHONPATH": str(ROOT), **_PATIENT, **environ})

    return start


def check_ends(finished: Finished, received: list[Any], ends: list[str], returncode: int = 0) -> None:
    """Fail unless each run is received with its START and the expected end, and nothing is said on stderr."""
    said = [line for line in finished.log if not any(text in line for text in _OF_EVENTLET)]
    assert (finished.returncode, [line for line in said if line], finished.printed) == (returncode, [], [])
    assert list(by_run(received).values()) == [["START", end] for end in ends]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("patch", PATCHES)
def test_patched_job(patch: str, order: str, way: str, start: Start, receiver: Receiver) -> None:
    """A job in a patched runtime neither hangs nor crashes, and its runs are reported, however short it is."""
    source = ORDERS[order].format(patch=PATCHES[patch])
    source += "with lineage_run('job'):\n    print('body', flush=True)\nprint('end', flush=True)\n"
    finished = start(source, WAYS[way](receiver.url)).finish()
    assert finished.stdout == "body\nend\n"
    check_ends(finished, receiver.events(), ["COMPLETE"] * (2 if "a run" in order else 1))


@pytest.mark.parametrize("waits", ["time.sleep(60)", "threading.Event().wait(60)", "while True: pass"])
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("patch", ["gevent", "gevent without threads", "eventlet", "eventlet without threads"])
def test_sigterm_in_a_patched_job(patch: str, order: str, waits: str, start: Start, receiver: Receiver) -> None:
    """SIGTERM is ABORT in a patched runtime, also while the job waits in an event loop."""
    source = ORDERS[order].format(patch=PATCHES[patch])
    # The first sleep makes the event loop. A signal in the middle of its imports finds the lock of all imports taken:
    # then the events are printed at the flush timeout.
    source += "import threading, time\nwith lineage_run('job'):\n    time.sleep(0.01)\n    print('ready', flush=True)\n"
    source += f"    {waits}\n"
    job = start(source, receiver.environ)
    job.wait_for("ready")
    job.signal(signal.SIGTERM)
    check_ends(
        job.finish(),
        receiver.events(),
        [*(["COMPLETE"] if "a run" in order else []), "ABORT"],
        -signal.SIGTERM,
    )


@pytest.mark.parametrize("patch", ["gevent", "eventlet"])
def test_backend_that_does_not_answer(patch: str, start: Start, receiver: Receiver) -> None:
    """A request that hangs neither delays a patched job nor crashes it at its end; the events are printed."""
    receiver.script({"action": "hang"})
    source = ORDERS["patched before the import"].format(patch=PATCHES[patch])
    source += "with lineage_run('job'):\n    print('body', flush=True)\n"
    finished = start(source, {**receiver.environ, "OPENLINEAGE_POD_FLUSH_TIMEOUT": "1"}).finish()
    assert (finished.returncode, finished.stdout) == (0, "body\n")
    assert [event["eventType"] for event in finished.printed] == ["START", "COMPLETE"]


GREENLETS = {
    "gevent": """
        import gevent.monkey; gevent.monkey.patch_all()
        import gevent
        spawn, join, kill = gevent.spawn, gevent.joinall, lambda greenlet: greenlet.kill()
    """,
    "eventlet": """
        import eventlet; eventlet.monkey_patch()
        spawn, kill = eventlet.spawn, lambda greenlet: greenlet.kill()
        join = lambda greenlets: [greenlet.wait() for greenlet in greenlets]
    """,
}


@pytest.mark.parametrize("library", GREENLETS)
def test_runs_in_greenlets(library: str, start: Start, receiver: Receiver) -> None:
    """Many greenlets have runs of their own at the same time, and all are reported."""
    source = dedent(GREENLETS[library]) + dedent("""
        import time
        from openlineage_pod import lineage_run

        def work(number):
            with lineage_run(f"job-{number}"):
                time.sleep(0.01)

        join([spawn(work, number) for number in range(50)])
    """)
    finished = start(source, receiver.environ).finish()
    check_ends(finished, receiver.events(), ["COMPLETE"] * 50)


@pytest.mark.parametrize("library", GREENLETS)
def test_greenlet_that_is_killed(library: str, start: Start, receiver: Receiver) -> None:
    """A run in a greenlet that somebody kills is ABORT."""
    source = dedent(GREENLETS[library]) + dedent("""
        import time
        from openlineage_pod import lineage_run

        def work():
            with lineage_run("job"):
                time.sleep(60)

        greenlet = spawn(work)
        time.sleep(0.01)
        kill(greenlet)
    """)
    finished = start(source, receiver.environ).finish()
    check_ends(finished, receiver.events(), ["ABORT"])


def test_trio_task_that_is_cancelled(start: Start, receiver: Receiver) -> None:
    """A run that trio cancels is ABORT."""
    finished = start(
        """
        import trio
        from openlineage_pod import lineage_run

        @lineage_run("job")
        async def work():
            await trio.sleep(60)

        async def main():
            with trio.move_on_after(0.01):
                await work()

        trio.run(main)
        """,
        receiver.environ,
    ).finish()
    check_ends(finished, receiver.events(), ["ABORT"])


@pytest.mark.parametrize("handles", ["", "SIGHUP", "SIGTERM"])
@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_sigterm_in_a_loop(loop: str, handles: str, start: Start, receiver: Receiver) -> None:
    """SIGTERM within a running event loop is ABORT; where the job handles SIGTERM itself, its way of ending counts."""
    job = start(
        f"""
        import asyncio, signal, {loop}
        from openlineage_pod import lineage_run

        @lineage_run("job")
        async def main():
            loop, task = asyncio.get_running_loop(), asyncio.current_task()
            for name in {handles.split()!r}:
                loop.add_signal_handler(getattr(signal, name), task.cancel)
            print("ready", flush=True)
            await asyncio.sleep(60)

        try:
            {loop}.run(main())
        except asyncio.CancelledError:
            pass
        """,
        receiver.environ,
    )
    job.wait_for("ready")
    job.signal(signal.SIGTERM)
    check_ends(job.finish(), receiver.events(), ["ABORT"], 0 if handles == "SIGTERM" else -signal.SIGTERM)


CLI = {
    "typer.Exit()": ("raise typer.Exit()", 0, "COMPLETE"),
    "typer.Exit(3)": ("raise typer.Exit(3)", 3, "FAIL"),
    "click's ctx.exit(0)": ("click.get_current_context().exit(0)", 0, "COMPLETE"),
    "click's ctx.exit(3)": ("click.get_current_context().exit(3)", 3, "FAIL"),
    "click's ctx.abort()": ("click.get_current_context().abort()", 1, "FAIL"),
    "click's UsageError": ("raise click.UsageError('no')", 2, "FAIL"),
    "return": ("return", 0, "COMPLETE"),
}


@pytest.mark.parametrize(("statement", "returncode", "end"), CLI.values(), ids=CLI)
def test_command_line_program(statement: str, returncode: int, end: str, start: Start, receiver: Receiver) -> None:
    """A command of click or typer is COMPLETE if it exits with 0, in whatever way it does so."""
    library = "typer" if "typer" in statement else "click"
    run = {"typer": "app = typer.Typer(); app.command()(main); app()", "click": "click.command()(main)()"}[library]
    finished = start(
        f"""
        import {library}
        from openlineage_pod import lineage_run

        @lineage_run("job")
        def main():
            {statement}

        {run}
        """,
        receiver.environ,
    ).finish()
    assert (finished.returncode, finished.printed) == (returncode, [])
    assert list(by_run(receiver.events()).values()) == [["START", end]]
