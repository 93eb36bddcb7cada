"""OpenLineage backends for tests, in a process of their own on the loopback, whose answers a test scripts.

The process reads commands from its standard input, one a line, and answers each with a line. `start` starts a backend
on a free port, which is the answer, and `start 12345` on that port; `stop 12345` stops the one on that port. It ends,
with all backends, when its standard input is closed, so it cannot outlive the test process.

A backend talks to its test below `/control/`:

- `GET /control/ready` answers as soon as it serves;
- `PUT /control/rules` takes a JSON list of rules (see `Rule`);
- `GET /control/requests?at_least=3&timeout=10` returns the requests so far, and waits for that many.

All other requests are those of jobs. One without a matching rule is answered with 201, as Marquez does.
"""

from __future__ import annotations

import gzip
import json
import socket
import struct
import sys
import threading
import time
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Literal, TypedDict
from urllib.parse import parse_qs, urlsplit

__all__ = ["Request", "Rule"]


class Rule(TypedDict, total=False):
    """What to do with the requests that match; of several matching rules the first one counts."""

    event_type: str
    """Match only events of this type."""
    job: str
    """Match only events of this job."""
    path: str
    """Match only requests to this path."""
    times: int
    """Match so many requests and no more."""
    action: Literal["answer", "hang", "reset", "partial", "garbage"]
    """Answer; accept and never answer; reset the connection in mid-answer; break the body off; answer no HTTP."""
    status: int
    headers: dict[str, str]
    body: str
    consumer: str
    """Answer in the place of this consumer: by the first of its rules that the event breaks, else with 201."""
    delay: float
    """Seconds before the answer."""


class Request(TypedDict):
    """One request as it was received, and the status it was answered with (0: none)."""

    time: float
    method: str
    path: str
    headers: dict[str, str]
    body: str
    status: int


class _Receiver(ThreadingHTTPServer):
    # The threads of hung connections do not hold up the end of the process.
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.changed = threading.Condition()
        self.rules: list[Rule] = []
        self.requests: list[Request] = []
        self.stopped = threading.Event()
        self._connections: list[socket.socket] = []
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._accepting.start()

    def _accept(self) -> None:
        # `shutdown()` of the base class would end with the next poll: for a thousand tests that adds up.
        while not self.stopped.is_set():
            self.handle_request()

    def get_request(self) -> tuple[socket.socket, Any]:
        """Accept a connection, and remember it."""
        connection, address = super().get_request()
        self._connections.append(connection)
        return connection, address

    def stop(self) -> None:
        """Stop listening, and close all connections, as the end of a process would."""
        self.stopped.set()
        self.socket.shutdown(socket.SHUT_RDWR)  # ends the wait for the next connection
        self._accepting.join()
        self.server_close()
        for connection in self._connections:
            with suppress(OSError):  # it is closed
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, _request: Any, _client_address: Any) -> None:
        """Be silent about clients that went away."""

    def record(self, request: Request) -> Rule:
        """Remember the request and return what to do with it."""
        with self.changed:
            rule = next((rule for rule in self.rules if rule.get("times") != 0 and _matches(rule, request)), Rule())
            if "times" in rule:
                rule["times"] -= 1
            if "consumer" in rule:
                rule = Rule(**rule, **_judge(rule["consumer"], request["body"]))
            answered = rule.get("action", "answer") == "answer"
            request["status"] = rule.get("status", 201) if answered else 0
            self.requests.append(request)
            self.changed.notify_all()
        return rule

    def wait(self, at_least: int, timeout: float) -> list[Request]:
        """Return the requests, as soon as there are so many or the time is over."""
        with self.changed:
            self.changed.wait_for(lambda: len(self.requests) >= at_least, timeout)
            return list(self.requests)


def _matches(rule: Rule, request: Request) -> bool:
    try:
        event = json.loads(request["body"])
        found = {"event_type": event["eventType"], "job": event["job"]["name"], "path": request["path"]}
    except (ValueError, KeyError, TypeError):
        found = {"path": request["path"]}
    wanted = {key: value for key, value in rule.items() if key in ("event_type", "job", "path")}
    return all(found.get(key) == value for key, value in wanted.items())


def _judge(consumer: str, body: str) -> Rule:
    """Return the answer of a consumer to an event."""
    sys.path.insert(0, str(Path(__file__).parents[2]))
    from openlineage_pod.inspection.consumers import violations

    refusals = [broken for broken in violations(consumer, json.loads(body)) if broken.rule.status]
    return Rule(status=refusals[0].rule.status or 0, body=str(refusals[0])) if refusals else Rule(status=201)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Receiver
    # Head and body of an answer leave as one packet: two would wait for each other (Nagle, delayed ACK).
    wbufsize = -1
    disable_nagle_algorithm = True

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  the name is the base class's
        """Be silent: the test reads the requests."""

    def do_GET(self) -> None:
        """Serve the control interface, and record what else asks."""
        url = urlsplit(self.path)
        if url.path == "/control/ready":
            self._answer(200, b"ready")
        elif url.path == "/control/requests":
            query = parse_qs(url.query)
            requests = self.server.wait(int(query["at_least"][0]), float(query["timeout"][0]))
            self._answer(200, json.dumps(requests).encode())
        else:
            self._receive()

    def do_POST(self) -> None:
        """Receive an event."""
        self._receive()

    def do_PUT(self) -> None:
        """Take new rules."""
        self.server.rules = json.loads(self._body() or "[]")
        self._answer(200, b"")

    def _body(self) -> bytes | None:
        """Return the body of the request, or None if the client went away within it."""
        length = int(self.headers.get("Content-Length", 0))
        body = self.rfile.read(length)
        if len(body) < length:
            return None
        return gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body

    def _receive(self) -> None:
        body = self._body()
        if body is None:
            self.close_connection = True
            return
        request = Request(
            time=time.monotonic(),
            method=self.command,
            path=self.path,
            headers={name.lower(): value for name, value in self.headers.items()},
            body=body.decode("utf-8", "replace"),
            status=0,
        )
        rule = self.server.record(request)
        if delay := rule.get("delay"):
            self.server.stopped.wait(delay)
        action = rule.get("action", "answer")
        if action == "answer":
            self._answer(rule.get("status", 201), rule.get("body", "").encode(), rule.get("headers", {}))
            return
        self.close_connection = True
        if action == "hang":
            self.server.stopped.wait()
        elif action == "garbage":
            self.wfile.write(b"\x00\xff\x1b this is no HTTP\r\n\r\n\x00")
        else:
            self.wfile.write(b"HTTP/1.1 201 Created\r\nContent-Length: 100\r\n\r\nhalf a bo")
            self.wfile.flush()
            if action == "reset":
                # With a linger time of 0 the kernel sends RST instead of FIN.
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.connection.close()

    def _answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)


def main() -> None:
    """Serve until the standard input is closed."""
    receivers: dict[str, _Receiver] = {}
    while words := sys.stdin.readline().split():
        if words[0] == "start":
            receiver = _Receiver(*map(int, words[1:]))
            port = str(receiver.server_port)
            receivers[port] = receiver
        else:
            port = words[1]
            receivers.pop(port).stop()
        sys.stdout.write(f"{port}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
