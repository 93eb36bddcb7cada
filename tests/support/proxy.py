"""A forward proxy for tests, as companies have them: it forwards, refuses, answers with a page, or hangs up."""

from __future__ import annotations

import http.client
import select
import socket
from base64 import b64encode
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal, cast
from urllib.parse import urlsplit

__all__ = ["LOGIN_PAGE", "Proxy"]

LOGIN_PAGE = "<!doctype html>\n<html><head>\n<title>Company login</title></head><body>Sign in</body></html>"


class Proxy(ThreadingHTTPServer):
    """A proxy on the loopback.

    Args:
        how: `forward` requests; answer each with a `status`, or with a login `page`; `close` the connection; `hang`.
        status: of the answer.
        user: `name:password` that a request must bring, or else is refused with 407.

    """

    daemon_threads = True

    def __init__(
        self, how: Literal["forward", "status", "page", "close", "hang"] = "forward", status: int = 200, user: str = ""
    ) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.how, self.status, self.user = how, status, user
        self.seen: list[str] = []

    @property
    def address(self) -> str:
        """Host and port."""
        return f"127.0.0.1:{self.server_port}"

    @property
    def url(self) -> str:
        """The value of `HTTP_PROXY`, with the user."""
        return f"http://{f'{self.user}@' if self.user else ''}{self.address}"

    def handle_error(self, _request: Any, _client_address: Any) -> None:
        """Be silent about clients that went away."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  the name is the base class's
        """Be silent."""

    def do_POST(self) -> None:
        """Forward a request, which names the whole URL."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if not self._is_taken():
            return
        url = urlsplit(self.path)
        backend = http.client.HTTPConnection(url.hostname or "", url.port, timeout=30)
        headers = {name: value for name, value in self.headers.items() if not name.lower().startswith("proxy-")}
        backend.request("POST", url.path, body, headers)
        answer = backend.getresponse()
        self._answer(answer.status, answer.read().decode(), dict(answer.headers))
        backend.close()

    def do_CONNECT(self) -> None:
        """Open a tunnel."""
        if not self._is_taken():
            return
        host, _, port = self.path.rpartition(":")
        with socket.create_connection((host.strip("[]"), int(port)), 30) as backend:
            self.send_response(200)
            self.end_headers()
            pair = {self.connection: backend, backend: self.connection}
            while True:
                readable, _, _ = select.select(list(pair), [], [], 30)
                for sock in readable:
                    data = sock.recv(65536)
                    if not data:
                        self.close_connection = True
                        return
                    pair[sock].sendall(data)
                if not readable:
                    return

    def _is_taken(self) -> bool:
        proxy = cast("Proxy", self.server)
        proxy.seen.append(f"{self.command} {self.path}")
        wanted = f"Basic {b64encode(proxy.user.encode()).decode()}" if proxy.user else None
        if wanted and self.headers.get("Proxy-Authorization") != wanted:
            self._answer(407, "", {"Proxy-Authenticate": 'Basic realm="proxy"'})
        elif proxy.how == "status":
            self._answer(proxy.status, "")
        elif proxy.how == "page":
            self._answer(proxy.status, LOGIN_PAGE, {"Content-Type": "text/html"})
        elif proxy.how == "close":
            self.close_connection = True
        elif proxy.how == "hang":
            self.connection.recv(1)  # until the client goes
            self.close_connection = True
        else:
            return True
        return False

    def _answer(self, status: int, body: str, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {**(headers or {}), "Content-Length": str(len(body.encode()))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body.encode())
