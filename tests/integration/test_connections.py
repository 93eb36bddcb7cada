"""Connections at the end of a process: they are kept, and closed after the last event."""

from __future__ import annotations

import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.harness import by_run, on_a_thread

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.support.harness import Event, Jobs

# The ways to a backend: by http.client, by requests, and by openlineage-python.
WAYS: dict[str, Callable[[str], dict[str, str]]] = {
    "http.client": lambda url: {"OPENLINEAGE_URL": url},
    "requests": lambda url: {"OPENLINEAGE_URL": url.replace("://", "://user:secret@")},
    "client": lambda url: {"OPENLINEAGE__TRANSPORT__TYPE": "http", "OPENLINEAGE__TRANSPORT__URL": url},
}
PATIENT = {"OPENLINEAGE_POD_FLUSH_TIMEOUT": "60"}


class Backend(ThreadingHTTPServer):
    """A backend that counts its connections, and takes only so many."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.events: list[Event] = []
        self.connections = 0
        self.limit = 1000

    @property
    def url(self) -> str:
        """The value of `OPENLINEAGE_URL` for this backend."""
        return f"http://127.0.0.1:{self.server_port}"

    def get_request(self) -> Any:
        """Accept a connection; the last one that it takes is also the last that anybody can make."""
        accepted = super().get_request()
        self.connections += 1
        if self.connections >= self.limit:
            self.socket.close()
        return accepted


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Backend

    def log_message(self, *_args: Any) -> None:
        pass

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.events.append(json.loads(body))
        self.send_response(201)
        self.send_header("Content-Length", "0")
        self.end_headers()


@pytest.fixture
def backend() -> Iterator[Backend]:
    """Start a backend that counts its connections."""
    with on_a_thread(Backend()) as server:
        yield server


@pytest.mark.parametrize("way", WAYS)
def test_one_connection(way: str, backend: Backend, jobs: Jobs) -> None:
    """Ten runs, one after the other, share one connection to the end of the process."""
    source = """
    from openlineage_pod import flush, lineage_run
    for number in range(10):
        with lineage_run(f"job-{number}"):
            pass
        if number < 9:
            flush(60)
    """
    finished = jobs.run(source, {**WAYS[way](backend.url), **PATIENT})
    assert (finished.returncode, finished.stderr) == (0, "")
    assert list(by_run(backend.events).values()) == [["START", "COMPLETE"]] * 10
    assert backend.connections == 1


@pytest.mark.parametrize("way", WAYS)
def test_network_that_goes_early(way: str, backend: Backend, jobs: Jobs) -> None:
    """The last event goes through the connection that is there, where no new one can be made at the end."""
    source = """
    import socket
    from openlineage_pod import flush, lineage_run
    with lineage_run("job"):
        flush(60)
        print("connected", flush=True)
        input()
    """
    job = jobs.start(source, {**WAYS[way](backend.url), **PATIENT})
    job.wait_for("connected")
    backend.limit = 0  # the sidecar ends with whoever connects next
    finished = job.finish(b"\n")
    assert (finished.returncode, finished.stderr) == (0, "")
    assert list(by_run(backend.events).values()) == [["START", "COMPLETE"]]
    assert backend.connections == 1


TRANSPORT = """
import atexit, json, threading, weakref
from concurrent.futures import ThreadPoolExecutor
from openlineage.client.serde import Serde
from openlineage.client.transport import Config, Transport

class Base(Transport):
    kind = "own"
    config_class = Config

    def __init__(self, config):
        self.is_closed = False
        self.begin()

    def begin(self):
        pass

    def end(self):
        self.is_closed = True

    def write(self, event):
        if self.is_closed:
            raise RuntimeError("it is closed")
        with open("events", "a") as file:
            file.write(Serde.to_json(event) + "\\n")

    def emit(self, event):
        self.write(event)

class WithExitHandler(Base):
    def begin(self):
        atexit.register(self.end)

class WithFinaliser(Base):
    def emit(self, event):
        weakref.finalize(self, self.end_all, vars(self))
        self.write(event)

    @staticmethod
    def end_all(attributes):
        attributes["is_closed"] = True

class WithPool(Base):
    def begin(self):
        self.pool = ThreadPoolExecutor(1)

    def emit(self, event):
        self.pool.submit(self.write, event).result()
"""


@pytest.mark.parametrize("kind", ["WithExitHandler", "WithFinaliser", "WithPool"])
def test_transport_that_ends_before_exit_handlers(kind: str, jobs: Jobs, tmp_path: Path) -> None:
    """The last event is delivered before what ends the transport, be it a handler, a finaliser or the end of a pool."""
    jobs.file("own.py", TRANSPORT)
    source = """
    from openlineage_pod import flush, lineage_run
    with lineage_run("job"):
        flush(60)
    """
    environ = {"OPENLINEAGE__TRANSPORT__TYPE": f"own.{kind}", "PYTHONPATH": str(tmp_path), **PATIENT}
    finished = jobs.run(source, environ)
    assert (finished.returncode, finished.stderr) == (0, "")
    received = [json.loads(line) for line in (tmp_path / "events").read_text().splitlines()]
    assert list(by_run(received).values()) == [["START", "COMPLETE"]]
