"""Promise 1: a job ends, prints and reads exactly as it does without us, whatever the backend does."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from textwrap import dedent, indent
from typing import TYPE_CHECKING, NamedTuple

import pytest

from tests.support.examples import fast
from tests.support.harness import Jobs, by_run, types

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.support.harness import Finished, Receiver

# The same file with and without lineage: so the tracebacks can be compared line by line.
JOB = """\
import asyncio, os, signal, sys, threading
if "PLAIN" in os.environ:
    lineage_run = lambda job_name: lambda function: function
else:
    from openlineage_pod import lineage_run

class Odd(Exception):
    def __str__(self):
        raise RuntimeError("no text")

def helper(number):
    return 1 / number

@lineage_run("body")
def main():
{body}

print("result", repr(main()))
"""


class Body(NamedTuple):
    """A body, and the event that it ends with."""

    source: str
    terminal: str


BODIES = {
    "returns": Body('value = object(); print(value is value); return {"rows": 3}', "COMPLETE"),
    "stdin": Body(
        'for line in sys.stdin: print(line.upper(), end="")\nos.write(1, bytes(range(128, 256)).hex().encode())',
        "COMPLETE",
    ),
    "raises": Body("helper(0)", "FAIL"),
    "chained": Body(
        'try:\n    helper(0)\nexcept ZeroDivisionError as error:\n    raise ValueError("bad\\nrow") from error', "FAIL"
    ),
    "unprintable": Body("raise Odd", "FAIL"),
    "exit-0": Body("sys.exit(0)", "COMPLETE"),
    "exit-3": Body("sys.exit(3)", "FAIL"),
    "exit-text": Body('sys.exit("no rows")', "FAIL"),
    "exit-none": Body("sys.exit(None)", "COMPLETE"),
    "interrupted": Body("raise KeyboardInterrupt", "ABORT"),
    "thread": Body(
        "thread = threading.Thread(target=helper, args=(0,)); thread.start(); thread.join(); return 5", "COMPLETE"
    ),
    "killed": Body("sys.stdout.flush(); os.kill(os.getpid(), signal.SIGKILL)", ""),
}
BACKENDS = ("healthy", "refused", "hung", "unavailable", "garbage", "none", "disabled")
STDIN = "first\nsecond é\nno newline".encode()


def script(body: str) -> str:
    """Return the source of a job with this body."""
    return JOB.format(body=indent(BODIES[body].source, "    "))


@cache
def plainly(body: str) -> Finished:
    """Return how the job ends without lineage."""
    with TemporaryDirectory() as directory:
        jobs = Jobs(Path(directory))
        try:
            return jobs.run(script(body), {"PLAIN": "1"}, stdin=STDIN)
        finally:
            jobs.stop()


@pytest.fixture
def backend(request: pytest.FixtureRequest, receiver: Receiver, refused: str) -> Mapping[str, str]:
    """Return the environment of a job with the backend that the test's parameter names."""
    match request.param:
        case "refused":
            return {"OPENLINEAGE_URL": refused}
        case "hung":
            receiver.script({"action": "hang"})
        case "unavailable":
            receiver.script({"status": 503})
        case "garbage":
            receiver.script({"action": "garbage"})
        case "none":
            return {}
        case "disabled":
            return {**receiver.environ, "OPENLINEAGE_DISABLED": "true"}
    return receiver.environ


def without_our_frames(stderr: str, directory: Path) -> list[str]:
    """Return the lines of a traceback without the frames of our wrapper."""
    lines: list[str] = []
    ours = False
    for line in stderr.replace(f"{directory}/", "").splitlines():
        if line.startswith('  File "'):
            ours = "openlineage_pod" in line
        elif not line.startswith("    "):
            ours = False
        if not ours:
            lines.append(line)
    return lines


def traceback_of(finished: Finished) -> list[str]:
    """Return the stderr of a job without lineage, without the directory that it ran in."""
    lines = finished.stderr.splitlines()
    return [
        f'  File "{line.rpartition("/")[2]}' if line.startswith('  File "') and "job.py" in line else line
        for line in lines
    ]


def contains_in_order(lines: list[str], wanted: list[str]) -> bool:
    """Say whether `wanted` is a subsequence of `lines`: a warning of ours may stand within a traceback."""
    rest = iter(lines)
    return all(line in rest for line in wanted)


@pytest.mark.parametrize(
    ("body", "backend"),
    fast(
        [(body, backend) for body in BODIES for backend in BACKENDS],
        *((body, "refused") for body in BODIES),
        *(("returns", backend) for backend in BACKENDS),
    ),
    indirect=["backend"],
)
def test_a_job_ends_as_it_does_without_us(body: str, backend: Mapping[str, str], jobs: Jobs) -> None:
    """Exit status, stdout and the job's own stderr are those of the same job without lineage, with any backend."""
    environ = {**backend, "OPENLINEAGE_POD_FLUSH_TIMEOUT": "0.2"}
    finished = jobs.run(script(body), environ, stdin=STDIN)
    plain = plainly(body)
    assert (finished.returncode, finished.stdout) == (plain.returncode, plain.stdout)
    assert contains_in_order(without_our_frames(finished.stderr, jobs.directory), traceback_of(plain)), finished.stderr
    assert "openlineage_pod" not in finished.stdout


@pytest.mark.parametrize("body", [body for body in BODIES if BODIES[body].terminal])
def test_with_a_healthy_backend_nothing_is_said(body: str, receiver: Receiver, jobs: Jobs) -> None:
    """A delivered run adds nothing to stderr, and its end is reported as the kind of end that it was."""
    finished = jobs.run(script(body), receiver.environ, stdin=STDIN)
    assert without_our_frames(finished.stderr, jobs.directory) == traceback_of(plainly(body))
    assert types(receiver.events()) == ["START", BODIES[body].terminal]


@pytest.mark.parametrize(
    ("source", "returncode"),
    [
        ("class E(Exception): pass\nerror = E('x', 1)\n", 0),
        ("class E(BaseException): pass\nerror = E('x', 1)\n", 0),
        ("error = SystemExit({'code': 5})\n", 0),
    ],
)
def test_the_very_same_exception_leaves_the_body(source: str, returncode: int, receiver: Receiver, jobs: Jobs) -> None:
    """The caller catches the object that the body raised, with its own context, cause and arguments."""
    finished = jobs.run(
        f"{source}"
        + dedent("""
        from openlineage_pod import lineage_run
        @lineage_run
        def decorated():
            raise error
        def block():
            with lineage_run("block"):
                raise error
        for function in (decorated, block):
            error.__traceback__ = None
            try:
                function()
            except BaseException as caught:
                last = caught.__traceback__
                while last.tb_next:
                    last = last.tb_next
                print(caught is error, caught.__cause__, caught.__context__, last.tb_frame.f_code.co_name)
        """),
        receiver.environ,
    )
    assert finished.stdout == "True None None decorated\nTrue None None block\n"
    assert finished.returncode == returncode
    assert all(run == ["START", "FAIL"] for run in by_run(receiver.events()).values())


def test_what_a_job_returns_is_not_touched(receiver: Receiver, jobs: Jobs) -> None:
    """A function, coroutine, generator and asynchronous generator give what they give without the decorator."""
    finished = jobs.run(
        """
        import asyncio, inspect
        from openlineage_pod import lineage_run
        thing = object()
        @lineage_run
        def function(*args, **kwargs):
            return thing, args, kwargs
        @lineage_run
        async def coroutine():
            await asyncio.sleep(0)
            return thing
        @lineage_run
        def generator():
            sent = yield 1
            yield sent
            return thing
        @lineage_run
        async def agenerator():
            yield thing
        async def main():
            assert await coroutine() is thing
            assert [item async for item in agenerator()] == [thing]
        assert function(1, a=2) == (thing, (1,), {"a": 2})
        asyncio.run(main())
        running = generator()
        assert (next(running), running.send("sent")) == (1, "sent")
        try:
            next(running)
        except StopIteration as stop:
            assert stop.value is thing
        assert inspect.iscoroutinefunction(coroutine) and inspect.isasyncgenfunction(agenerator)
        print("same")
        """,
        receiver.environ,
    )
    assert (finished.stdout, finished.stderr) == ("same\n", "")
    assert set(map(tuple, by_run(receiver.events()).values())) == {("START", "COMPLETE")}
