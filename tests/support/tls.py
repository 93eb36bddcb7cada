"""A backend behind TLS, with a certificate of an authority of the test's own."""

from __future__ import annotations

import json
import ssl
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    import trustme

    from tests.support.harness import Event

__all__ = ["TlsBackend"]


class TlsBackend(ThreadingHTTPServer):
    """A backend with a certificate of `authority`, which lets in only clients with one of `clients`."""

    def __init__(self, authority: trustme.CA, clients: trustme.CA | None = None) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("127.0.0.1").configure_cert(self.context)
        if clients is not None:
            clients.configure_trust(self.context)
            self.context.verify_mode = ssl.CERT_REQUIRED
        self.accepted: list[Event] = []
        self.connections = 0

    @property
    def url(self) -> str:
        """The value of `OPENLINEAGE_URL` for this backend."""
        return f"https://127.0.0.1:{self.server_port}"

    def events(self) -> list[Event]:
        """Return the accepted events in the order of their arrival."""
        return list(self.accepted)

    def finish_request(self, request: Any, client_address: Any) -> None:
        """Shake hands on the thread of the connection: one that fails stops no other."""
        self.connections += 1
        with suppress(OSError), self.context.wrap_socket(request, server_side=True) as connection:
            super().finish_request(connection, client_address)

    def handle_error(self, _request: Any, _client_address: Any) -> None:
        """Be silent about clients that went away."""


class _Handler(BaseHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  the name is the base class's
        """Be silent: the test reads the events."""

    def do_POST(self) -> None:
        """Accept an event."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        cast("TlsBackend", self.server).accepted.append(json.loads(body))
        self.send_response(201)
        self.send_header("Content-Length", "0")
        self.end_headers()
