"""Real processes: jobs, and the client of the backend in `receiver.py`."""

from __future__ import annotations

import atexit
import http.client
import itertools
import json
import os
import re
import select
import subprocess
import sys
import threading
import time
import zlib
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from textwrap import dedent
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, cast

from tests.support.events import SEEN_EVENTS
from tests.support.waiting import HANGS

if TYPE_CHECKING:
    import signal
    import socketserver
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from tests.support.receiver import Request, Rule

__all__ = [
    "Finished",
    "Job",
    "Jobs",
    "Receiver",
    "by_run",
    "on_a_thread",
    "pipe",
    "printed_events",
    "stamped_event",
    "summary",
    "types",
]

Event = dict[str, Any]
Server = TypeVar("Server", bound="socketserver.BaseServer")


@cache
def _receivers() -> subprocess.Popen[str]:
    """Start the process that runs all backends of this test process: one for each test would take much longer."""
    script = Path(__file__).with_name("receiver.py")
    process = subprocess.Popen(
        [sys.executable, "-I", "-S", str(script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    atexit.register(process.communicate)
    return process


class Receiver:
    """A backend of `receiver.py`, running."""

    def __init__(self, port: int | None = None) -> None:
        self.port = int(self._command(f"start {port}" if port else "start"))
        self._seen = 0
        self._control("GET", "/control/ready")

    @property
    def url(self) -> str:
        """The value of `OPENLINEAGE_URL` for this backend."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def environ(self) -> dict[str, str]:
        """The environment of a job that reports to this backend."""
        return {"OPENLINEAGE_URL": self.url}

    def script(self, *rules: Rule) -> None:
        """Answer as `rules` say, from now on."""
        self._control("PUT", "/control/rules", json.dumps(rules))

    def requests(self, at_least: int = 0) -> list[Request]:
        """Return every request so far; wait until there are so many.

        Whatever is read here is also kept for the check of all events against the specification.
        """
        path = f"/control/requests?at_least={at_least}&timeout={HANGS}"
        requests = cast("list[Request]", json.loads(self._control("GET", path)))
        assert len(requests) >= at_least, f"{at_least} requests expected, received: {requests}"
        SEEN_EVENTS.extend(_event(request) for request in requests[self._seen :] if request["method"] == "POST")
        self._seen = len(requests)
        return requests

    def events(self, at_least: int = 0) -> list[Event]:
        """Return the accepted events in the order of their arrival; wait until there are so many requests."""
        return [_event(request) for request in self.requests(at_least) if 200 <= request["status"] < 300]

    def wait_for(self, condition: Callable[[list[Event]], bool]) -> list[Event]:
        """Return the accepted events as soon as they fulfil `condition`."""
        deadline = time.monotonic() + HANGS
        requests = 0
        while time.monotonic() < deadline:
            requests = len(self.requests(requests))
            events = self.events()
            if condition(events):
                return events
            requests += 1
        raise AssertionError(f"the condition was never fulfilled, received: {events}")

    def stop(self) -> None:
        """Stop the backend, with all its connections."""
        self._command(f"stop {self.port}")

    @staticmethod
    def _command(line: str) -> str:
        process = cast("Any", _receivers())
        process.stdin.write(f"{line}\n")
        process.stdin.flush()
        return str(process.stdout.readline())

    def _control(self, method: str, path: str, body: str | None = None) -> str:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=HANGS + 5)
        try:
            connection.request(method, path, body)
            return connection.getresponse().read().decode()
        finally:
            connection.close()


def _event(request: Request) -> Event:
    return cast("Event", json.loads(request["body"]))


class Finished(NamedTuple):
    """What a job left behind."""

    returncode: int
    stdout: str
    stderr: str
    duration: float

    @property
    def printed(self) -> list[Event]:
        """The events on stderr, from which a replay could deliver them."""
        return printed_events(self.stderr)

    @property
    def log(self) -> list[str]:
        """The lines on stderr that are no events, without the logger's name in front of ours."""
        lines = [line for line in self.stderr.splitlines() if not line.startswith("OPENLINEAGE_POD_EVENT")]
        return [line.removeprefix("openlineage_pod: ") for line in lines]


@contextmanager
def on_a_thread(server: Server) -> Iterator[Server]:
    """Have a server answer, on threads of this process; it is closed after the block."""
    with server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


class Job:
    """A job's process. Its stderr goes to the file `stderr`, so that no test stops a job by not reading."""

    def __init__(self, command: Sequence[str], directory: Path, environ: Mapping[str, str], stderr: Any = None) -> None:
        self.stderr = directory / f"stderr-{time.monotonic_ns()}"
        self._started = time.monotonic()
        with self.stderr.open("wb") as file:
            self._process = subprocess.Popen(
                command,
                cwd=directory,
                env=environ,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=file if stderr is None else stderr,
            )
        self.pid = self._process.pid
        self._read = b""

    def wait_for(self, marker: str, seconds: float = HANGS) -> None:
        """Return as soon as the job has printed the line `marker`."""
        stdout = cast("Any", self._process.stdout)
        deadline = time.monotonic() + seconds
        while f"{marker}\n".encode() not in self._read:
            readable, _, _ = select.select([stdout], [], [], max(0.0, deadline - time.monotonic()))
            text = os.read(stdout.fileno(), 65536) if readable else b""
            assert text, f"{marker!r} was never printed; stdout: {self._read!r}, stderr: {self.stderr.read_text()}"
            self._read += text

    def forget(self) -> None:
        """Have `wait_for` wait for lines that the job prints from now on."""
        self._read = b""

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the process."""
        self._process.send_signal(number)

    def finish(self, stdin: bytes | None = None, timeout: float = HANGS) -> Finished:
        """Wait for the end of the process."""
        stdout, _ = self._process.communicate(stdin, timeout=timeout)
        return Finished(
            self._process.returncode,
            (self._read + stdout).decode(),
            self.stderr.read_bytes().decode("utf-8", "backslashreplace"),
            time.monotonic() - self._started,
        )

    def kill(self) -> None:
        """End the process if it is still there."""
        if self._process.poll() is None:
            self._process.kill()
        # The end of its stdout is not waited for: what the process has left behind may hold that as long as it likes.
        for pipe in (self._process.stdin, self._process.stdout):
            with suppress(BrokenPipeError):
                cast("Any", pipe).close()
        self._process.wait()


class Jobs:
    """Runs job scripts as processes of their own, in an environment without any lineage but what a test gives."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._started: list[Job] = []
        self._scripts: dict[str, str] = {}

    def start(
        self,
        source: str,
        environ: Mapping[str, str] | None = None,
        *,
        name: str = "job.py",
        prefix: Sequence[str] = (),
        options: Sequence[str] = (),
        stderr: Any = None,
    ) -> Job:
        """Start the script; `prefix` is a command that starts a command, `options` are the interpreter's own."""
        script = self.script(source, name)
        return self.launch([*prefix, sys.executable, *options, str(script)], environ, stderr)

    def launch(self, command: Sequence[str], environ: Mapping[str, str] | None = None, stderr: Any = None) -> Job:
        """Start any command, which ends with the test."""
        job = Job(command, self.directory, {**self.base_environ(), **(environ or {})}, stderr)
        self._started.append(job)
        return job

    def run(self, source: str, environ: Mapping[str, str] | None = None, *, stdin: bytes = b"", **how: Any) -> Finished:
        """Run the script to its end."""
        return self.start(source, environ, **how).finish(stdin)

    def script(self, source: str, name: str = "job.py") -> Path:
        """Write a script once, each under a name of its own: a process may not have read the one before yet."""
        path = Path(name)
        names = itertools.chain([name], (f"{path.stem}{number}{path.suffix}" for number in itertools.count(2)))
        name = next(each for each in names if self._scripts.get(each, source) == source)
        if name not in self._scripts:
            self.file(name, source)
            self._scripts[name] = source
        return self.directory / name

    def file(self, name: str, text: str) -> Path:
        """Write a file into the working directory of the jobs."""
        path = self.directory / name
        path.write_text(dedent(text), encoding="utf-8")
        return path

    def base_environ(self) -> dict[str, str]:
        """Return the environment of a job that knows of no lineage, and that finds no configuration file."""
        environ = {name: value for name, value in os.environ.items() if not name.startswith("OPENLINEAGE")}
        # From Python 3.12 on a process with threads warns when it forks, and delivery has threads.
        quiet = {"PYTHONWARNINGS": "ignore:This process:DeprecationWarning"}
        return {**environ, **quiet, "HOME": str(self.directory), "NO_PROXY": "127.0.0.1"}

    def stop(self) -> None:
        """End every job that is still there."""
        for job in self._started:
            job.kill()


_STAMPED = re.compile(r"(.*) #1:([0-9a-f]{8})")
_PART = re.compile(r"OPENLINEAGE_POD_EVENT (\d+)/(\d+) (\S+) (.*)")


def printed_events(stderr: str) -> list[Event]:
    """Return the events of the last-resort lines, each complete; also keep them for the check of all events."""
    events: list[Event] = []
    parts: list[str] = []
    for line in stderr.splitlines():
        if not line.startswith("OPENLINEAGE_POD_EVENT "):
            continue
        assert len(line.encode()) < 16 * 1024, "container runtimes split longer lines"
        if part := _PART.fullmatch(line):
            number, count, which, text = int(part[1]), int(part[2]), part[3], part[4]
            assert number == len(parts) + 1, f"part {number} follows part {len(parts)}"
            parts.append(text)
            if number < count:
                continue
            event = stamped_event("".join(parts))
            assert which == f"{event['run']['runId']}.{event['eventType']}"
            parts = []
        else:
            event = stamped_event(line.removeprefix("OPENLINEAGE_POD_EVENT "))
        events.append(event)
    assert not parts, "the last event is incomplete"
    SEEN_EVENTS.extend(events)
    return events


def stamped_event(text: str) -> Event:
    """Return the event of a text, of which the digest is right."""
    found = _STAMPED.fullmatch(text)
    assert found is not None, text[-50:]
    assert int(found[2], 16) == zlib.crc32(found[1].encode())
    return cast("Event", json.loads(found[1]))


_SUMMARY = re.compile(r"at exit not all lineage events were delivered: (.*)")


def summary(log: list[str]) -> dict[str, int]:
    """Return the numbers of the one line at exit, without the zeros."""
    (line,) = [match for match in map(_SUMMARY.search, log) if match]
    counts = {name: int(count) for count, name in (part.split() for part in line[1].split(", "))}
    return {name: count for name, count in counts.items() if count}


def types(events: Sequence[Event]) -> list[str]:
    """Return the event types in order."""
    return [event["eventType"] for event in events]


def by_run(events: Sequence[Event]) -> dict[str, list[str]]:
    """Return the event types of each run, in order."""
    runs: dict[str, list[str]] = {}
    for event in events:
        runs.setdefault(event["run"]["runId"], []).append(event["eventType"])
    return runs


@contextmanager
def pipe(*, full: bool) -> Iterator[int]:
    """Make a pipe that nobody reads, full to the brim, or one whose reader is gone."""
    reader, writer = os.pipe()
    if full:
        os.set_blocking(writer, False)
        for chunk in (b"\n" * 4096, b"\n"):
            with suppress(BlockingIOError):
                while True:
                    os.write(writer, chunk)
        os.set_blocking(writer, True)
    else:
        os.close(reader)
    try:
        yield writer
    finally:
        os.close(writer)
        if full:
            os.close(reader)
