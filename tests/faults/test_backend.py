"""A backend in trouble: refused, silent, failing, limiting, slow, elsewhere, late."""

from __future__ import annotations

import select
import socket
import socketserver
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.fault_scene import WHOLE
from tests.support.harness import on_a_thread, summary, types
from tests.support.waiting import HANGS, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.fault_scene import Scene
    from tests.support.harness import Receiver

JOB = """
from openlineage_pod import lineage_run
@lineage_run("job", outputs=["s3://lake/accounts"])
def main():
    print("body")
    return 42
print(main())
"""
GATED = """
from openlineage_pod import lineage_run
@lineage_run("job", outputs=["s3://lake/accounts"])
def main():
    print("READY", flush=True)
    return input()
print(main())
"""
BOTH = ["job.START", "job.COMPLETE"]
SILENT: dict[str, Any] = {
    "black-holed": {"action": "hang"},
    "503": {"status": 503},
    "429": {"status": 429, "headers": {"Retry-After": "3600"}},
    "reset": {"action": "reset"},
}


def test_a_refused_connection(scene: Scene, refused: str) -> None:
    """Where nobody listens, the job ends as ever, and both events are kept."""
    finished = scene.run(JOB, scene.environ(refused))
    assert scene.account({"job": WHOLE}, finished).places == {scene.kept: BOTH}


@pytest.mark.parametrize("fault", SILENT)
def test_a_backend_that_takes_nothing(fault: str, scene: Scene, receiver: Receiver) -> None:
    """However a backend fails for the whole run, nothing stretches the exit, and both events are kept."""
    receiver.script(SILENT[fault])
    finished = scene.run(JOB, scene.environ(receiver.url))
    assert scene.account({"job": WHOLE}, finished, backends=[receiver]).places == {scene.kept: BOTH}


def test_a_backend_that_fails_first_and_then_is_well(scene: Scene, receiver: Receiver) -> None:
    """After an outage within the run both events are delivered, each once."""
    receiver.script({"status": 503})
    environ = scene.environ(receiver.url, 10)
    job = scene.jobs.start(GATED, environ)
    receiver.requests(at_least=2)
    receiver.script()
    receiver.wait_for(lambda events: types(events) == ["START"])
    finished = scene.finish(job, GATED, environ, stdin=b"on\n")
    assert scene.account({"job": WHOLE}, finished, backends=[receiver]).places == {"delivered": BOTH}


def test_a_backend_that_limits_and_then_is_well(scene: Scene, receiver: Receiver) -> None:
    """A `Retry-After: 3600` of the START is forgotten at the end, when the backend takes both events."""
    receiver.script({"status": 429, "headers": {"Retry-After": "3600"}, "times": 1})
    environ = scene.environ(receiver.url, 5)
    job = scene.jobs.start(GATED, environ)
    receiver.requests(at_least=1)
    finished = scene.finish(job, GATED, environ, stdin=b"on\n")
    assert scene.account({"job": WHOLE}, finished, backends=[receiver]).places == {"delivered": BOTH}


MANY = """
from openlineage_pod import lineage_run
for name in ("well-0", "poor", "well-1", "well-2"):
    with lineage_run(name):
        pass
print(input())
"""
MANY_RUNS = dict.fromkeys(("well-0", "poor", "well-1", "well-2"), WHOLE)
WELL = ["well-0.START", "well-0.COMPLETE", "well-1.START", "well-1.COMPLETE", "well-2.START", "well-2.COMPLETE"]


def test_a_500_for_one_event_does_not_block_the_others(scene: Scene, receiver: Receiver) -> None:
    """The end of a run whose START the backend cannot take is delivered, and so are the runs behind it."""
    receiver.script({"job": "poor", "event_type": "START", "status": 500})
    job = scene.jobs.start(MANY, scene.environ(receiver.url, 2))
    receiver.wait_for(lambda events: len(events) == len(WELL) + 1)
    finished = job.finish(b"on\n")
    delivered = [f"{event['job']['name']}.{event['eventType']}" for event in receiver.events()]
    assert sorted(delivered) == sorted([*WELL, "poor.COMPLETE"])
    assert finished.printed == []
    assert summary(finished.log) == {"delivered": 7, "superseded": 1}


def test_a_400_for_one_event_costs_only_that_one(scene: Scene, receiver: Receiver) -> None:
    """An event that is refused for good is set aside with the backend's answer, and all others are delivered."""
    receiver.script({"job": "poor", "event_type": "START", "status": 400, "body": "namespace is odd"})
    finished = scene.run(MANY, scene.environ(receiver.url, 10), stdin=b"on\n")
    books = scene.account(MANY_RUNS, finished, backends=[receiver])
    delivered = [*WELL[:2], "poor.COMPLETE", *WELL[2:]]
    assert books.places == {"delivered": delivered, scene.refused_for_good: ["poor.START"]}
    assert any("namespace is odd" in line for line in finished.log)


def test_a_reset_in_the_middle_of_the_answer_is_tried_again(scene: Scene, receiver: Receiver) -> None:
    """Connections that are reset within the first answers lose nothing; each event is accepted once."""
    receiver.script({"action": "reset", "times": 2})
    environ = scene.environ(receiver.url, 10)
    job = scene.jobs.start(GATED, environ)
    receiver.wait_for(lambda events: types(events) == ["START"])
    finished = scene.finish(job, GATED, environ, stdin=b"on\n")
    assert scene.account({"job": WHOLE}, finished, backends=[receiver]).places == {"delivered": BOTH}


def test_an_answer_slower_than_the_exit_budget(scene: Scene, receiver: Receiver) -> None:
    """An event whose answer does not come in time counts as undelivered, and is kept though the backend took it."""
    receiver.script({"delay": 30.0})
    environ = scene.environ(receiver.url)
    job = scene.jobs.start(GATED, environ)
    receiver.requests(at_least=1)
    finished = scene.finish(job, GATED, environ, stdin=b"on\n")
    books = scene.account({"job": WHOLE}, finished, backends=[receiver], repeated=True)
    assert books.places[scene.kept] == BOTH
    assert books.places["delivered"] in (BOTH, BOTH[:1])  # with a spool the exit may be over before the second one


def test_a_host_name_that_does_not_exist(scene: Scene) -> None:
    """Where the name of the backend cannot be resolved, the job ends as ever, and both events are kept."""
    environ = scene.environ("http://marquez.invalid:5000", NO_PROXY="*", no_proxy="*")
    finished = scene.run(JOB, environ)
    assert scene.account({"job": WHOLE}, finished).places == {scene.kept: BOTH}


KEY = "sk-1e9f4c7b2a"


@pytest.mark.parametrize(("status", "host"), [(302, "127.0.0.1"), (307, "127.0.0.1"), (307, "localhost")])
def test_a_redirect(host: str, status: int, scene: Scene, new_receiver: Callable[[], Receiver]) -> None:
    """A redirect to another port is followed if it keeps the method, one to another host is not; no key goes along."""
    first, other = new_receiver(), new_receiver()
    first.script({"status": status, "headers": {"Location": f"http://{host}:{other.port}/api/v1/lineage"}})
    finished = scene.run(JOB, scene.environ(first.url, 3, OPENLINEAGE_API_KEY=KEY, no_proxy="127.0.0.1,localhost"))
    books = scene.account({"job": WHOLE}, finished, backends=[first, other])
    is_followed = status == 307 and host == "127.0.0.1"
    assert books.places == {"delivered" if is_followed else scene.refused_for_good: BOTH}
    assert bool(other.requests()) == is_followed
    assert all(request["headers"]["authorization"] == f"Bearer {KEY}" for request in first.requests())
    assert KEY not in str(other.requests())
    assert KEY not in finished.stderr


def test_a_redirect_to_a_host_that_wants_credentials(scene: Scene, new_receiver: Callable[[], Receiver]) -> None:
    """Where the other host refuses events without the credentials that do not follow, the events are kept."""
    first, other = new_receiver(), new_receiver()
    first.script({"status": 307, "headers": {"Location": f"{other.url}/api/v1/lineage"}})
    other.script({"status": 401})
    finished = scene.run(JOB, scene.environ(first.url, 3, OPENLINEAGE_API_KEY=KEY))
    books = scene.account({"job": WHOLE}, finished, backends=[first, other])
    assert books.places == {scene.kept: BOTH}
    assert KEY not in str(other.requests())


class _Forwarder(socketserver.ThreadingTCPServer):
    """Passes each connection to a port, which was closed so far, on to the port of a backend."""

    daemon_threads = True

    def __init__(self, port: int, to: int) -> None:
        super().__init__(("127.0.0.1", port), _Forwarded)
        self.to = to


class _Forwarded(socketserver.BaseRequestHandler):
    server: _Forwarder

    def handle(self) -> None:
        with socket.create_connection(("127.0.0.1", self.server.to)) as backend, suppress(OSError):
            other = {self.request: backend, backend: self.request}
            while True:
                for source in select.select(list(other), [], [], HANGS)[0]:
                    if not (data := source.recv(65536)):
                        return
                    other[source].sendall(data)


def test_a_backend_that_comes_up_with_the_last_line(scene: Scene, refused: str, receiver: Receiver) -> None:
    """A backend that is there only when the body ends gets both events."""
    environ = scene.environ(refused, 10)
    job = scene.jobs.start(GATED, environ)
    job.wait_for("READY")
    with on_a_thread(_Forwarder(int(refused.rpartition(":")[2]), receiver.port)):
        finished = scene.finish(job, GATED, environ, stdin=b"on\n")
    assert scene.account({"job": WHOLE}, finished, backends=[receiver]).places == {"delivered": BOTH}


def test_a_backend_that_comes_up_during_the_exit(in_memory: Scene, refused: str, receiver: Receiver) -> None:
    """A job whose events are nowhere but in memory waits at its end, and a backend that comes up then gets them."""
    environ = in_memory.environ(refused, 20)
    job = in_memory.jobs.start(f"{JOB}\nprint('END', flush=True)", environ)
    job.wait_for("END")
    with on_a_thread(_Forwarder(int(refused.rpartition(":")[2]), receiver.port)):
        finished = job.finish()
    assert (finished.returncode, finished.stdout) == (0, "body\n42\nEND\n")
    assert in_memory.account({"job": WHOLE}, finished, backends=[receiver]).places == {"delivered": BOTH}


def test_a_backend_that_comes_up_after_the_exit(spooling: Scene, refused: str, receiver: Receiver) -> None:
    """What the spool holds from a job without a backend is delivered by the next job, START first."""
    first = spooling.run(JOB, spooling.environ(refused))
    assert spooling.account({"job": WHOLE}, first).places == {"spooled": BOTH}
    source = GATED.replace('"job"', '"next"')
    environ = spooling.environ(receiver.url, 10)
    job = spooling.jobs.start(source, environ)
    wait_until(lambda: not spooling.files("new"), "the spool is drained")
    finished = spooling.finish(job, source, environ, stdin=b"on\n")
    books = spooling.account({"job": WHOLE, "next": WHOLE}, finished, backends=[receiver])
    assert books.places == {"delivered": [*BOTH, "next.START", "next.COMPLETE"]}
