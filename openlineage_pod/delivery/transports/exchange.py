"""One request under way: its deadline, what it is waiting for, and the socket that it goes through.

A timeout of a socket starts again with each byte that arrives, and with each address of a host. The deadline here is
for the whole request.
"""

from __future__ import annotations

import http.client
import io
import select
import socket
import time
from contextlib import suppress
from typing import Any

from openlineage_pod._fork import out_of_the_way
from openlineage_pod._threads import poll

__all__ = [
    "Exchange",
    "UnreachableError",
    "bounded_response",
    "host_and_port",
    "is_readable",
    "open_socket",
    "unreachable",
]

# Seconds after which a wait for an answer looks again whether its time has become shorter.
_LOOK_AGAIN = 0.1
# The first bytes of a TLS alert: what a server that speaks TLS answers to plain HTTP.
_TLS_ALERT = r"\x15\x03"
_HINTS = {
    "CERTIFICATE_VERIFY_FAILED": "; REQUESTS_CA_BUNDLE or SSL_CERT_FILE names the certificates of a private authority",
    "WRONG_VERSION_NUMBER": "; the server does not speak TLS: is it http:// instead of https://?",
    "TLS CA certificate bundle": "; see REQUESTS_CA_BUNDLE and CURL_CA_BUNDLE",
    "RECORD_LAYER_FAILURE": "; the server does not speak TLS: is it http:// instead of https://?",
}


class UnreachableError(ConnectionError):
    """The backend could not be reached, or its answer broke off."""


class Exchange:
    """A request under way.

    Attributes:
        phase: what it is waiting for; empty before the request and after it.

    """

    def __init__(self, timeout: float) -> None:
        self.phase = ""
        self._timeout = timeout
        self._began = time.monotonic()

    def renew(self) -> None:
        """Let the time begin again."""
        self._began = time.monotonic()

    def limit(self, seconds: float) -> None:
        """Let it wait at most so long from now on; another thread may call this."""
        self._timeout = min(self._timeout, time.monotonic() - self._began + seconds)

    def extend(self, seconds: float) -> None:
        """Let the time end later."""
        self._began += seconds

    @property
    def remaining(self) -> float:
        """Seconds until the deadline, more than 0.

        Raises:
            TimeoutError: It has passed.

        """
        if (seconds := self._began + self._timeout - time.monotonic()) <= 0:
            raise TimeoutError("timed out")
        return seconds

    @property
    def reason_of_timeout(self) -> str:
        """What a message says when the time is over."""
        return f"timed out after {self._timeout:.3g} seconds"


def is_readable(sock: socket.socket) -> bool:
    """Return whether a connection without a request has something to read: its end, as the server has closed it."""
    ready_to_read = poll()
    ready_to_read.register(sock, select.POLLIN)
    return bool(ready_to_read.poll(0))


def host_and_port(host: str, port: int | None) -> str:
    """Return `host:port` for a message."""
    shown = f"[{host}]" if ":" in host else host
    return f"{shown}:{port}" if port else shown


def open_socket(host: str, port: int, exchange: Exchange, what: str = "") -> socket.socket:
    """Return a connected socket, within the time of the exchange.

    The time for resolving the name does not count, because nothing can interrupt that. Several addresses share the rest
    equally, so that one that swallows packets leaves time for the next. `what`: stands before the host in messages.

    Raises:
        OSError: The name is not known, or no address can be connected to.

    """
    exchange.phase = f"resolving {what}{host}"
    began = time.monotonic()
    try:
        addresses = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM)
    except UnicodeError as error:  # a label is empty or too long
        raise OSError("it is not a valid host name") from error
    exchange.extend(time.monotonic() - began)
    exchange.phase = f"connecting to {what}{host_and_port(host.strip('[]'), port)}"
    failure = OSError("it has no address")
    for number, (family, kind, protocol, _, address) in enumerate(addresses):
        made = socket.socket(family, kind, protocol)  # kept: a socket of eventlet that is not closes what it detaches
        connection = socket.socket(family, kind, protocol, out_of_the_way(made.detach()))
        try:
            connection.settimeout(exchange.remaining / (len(addresses) - number))
            connection.connect(address)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.settimeout(exchange.remaining)
        except OSError as error:
            connection.close()
            failure = error
        except BaseException:
            connection.close()
            raise
        else:
            return connection
    raise failure


def bounded_response(exchange: Exchange, sock: socket.socket, *args: Any, **options: Any) -> http.client.HTTPResponse:
    """Return the answer of a connection, which is read within the time of the exchange."""
    reader: Any = _SocketReader(sock, exchange)
    return http.client.HTTPResponse(reader, *args, **options)


class _SocketReader(io.RawIOBase):
    """Reads an answer from a socket, with one deadline for the whole answer."""

    def __init__(self, sock: socket.socket, exchange: Exchange) -> None:
        self._socket = sock
        self._hold = sock.makefile("rb", buffering=0)  # keeps the socket open until the answer is read
        self._exchange = exchange

    def makefile(self, _mode: str) -> io.BufferedReader:
        """Return the file that `HTTPResponse` reads."""
        return io.BufferedReader(self)

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: Any) -> int | None:
        """Read what is there, or wait for it until the deadline."""
        while True:
            self._socket.settimeout(min(self._exchange.remaining, _LOOK_AGAIN))
            with suppress(TimeoutError):
                return self._socket.recv_into(buffer)

    def close(self) -> None:
        """Let go of the socket, which the connection keeps open."""
        self._hold.close()
        super().close()


def unreachable(error: BaseException, exchange: Exchange, where: str) -> UnreachableError:
    """Return the error to raise for one of the network: it names the phase, the host and the reason."""
    cause = _innermost(error)
    phase = exchange.phase or f"sending to {where}"
    if type(cause).__name__ == "SSLError" or "SSL:" in str(cause):
        phase = phase if phase.startswith("TLS") else f"TLS handshake with {where}"
    if isinstance(cause, TimeoutError):
        reason = exchange.reason_of_timeout if cause.errno is None else str(cause.strerror)
    elif isinstance(cause, (ConnectionResetError, BrokenPipeError)):
        reason = "the connection was closed without an answer"
    elif isinstance(cause, http.client.BadStatusLine) and ascii(str(cause)).strip("\"'").startswith(_TLS_ALERT):
        reason = "the answer is TLS: is it https:// instead of http://?"
    else:
        reason = f"{type(cause).__name__}: {cause}"
    hint = next((hint for sign, hint in _HINTS.items() if sign in reason), "")
    return UnreachableError(f"{phase} failed: {reason}{hint}")


def _innermost(error: BaseException) -> BaseException:
    """Return what the errors of requests and urllib3 wrap; their own texts name objects in memory."""
    seen: list[BaseException] = []
    while error not in seen:
        seen.append(error)
        if not {"requests", "urllib3"} & set(type(error).__module__.split(".")):
            break
        inner = [getattr(error, "reason", None), getattr(error, "original_error", None), *error.args]
        inner += [error.__cause__, error.__context__]
        error = next((each for each in inner if isinstance(each, BaseException) and each not in seen), error)
    return error
