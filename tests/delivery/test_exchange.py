"""One request: its deadline, and what is said of what goes wrong on the way to a backend."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from contextlib import closing, suppress
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
import trustme

from openlineage_pod.delivery.retry import is_transient
from openlineage_pod.delivery.transports import exchange as exchange_module
from openlineage_pod.delivery.transports.answer import AnswerError
from openlineage_pod.delivery.transports.exchange import Exchange, UnreachableError, bounded_response, open_socket
from openlineage_pod.delivery.transports.http import DirectHttpTransport
from openlineage_pod.delivery.transports.key_file import KeyFile
from openlineage_pod.events.document import Document, to_document
from tests.support.events import draft
from tests.support.harness import on_a_thread
from tests.support.proxy import Proxy
from tests.support.waiting import HANGS, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

EVENT = Document(to_document(draft(1)))


@pytest.fixture(autouse=True)
def _without_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost,nowhere.invalid")


@pytest.fixture(params=["http.client", "requests"])
def library(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Have every request leave through one of the two libraries, and return its name."""
    if request.param == "requests":
        monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")  # for no host of these tests
    return str(request.param)


class Server:
    """A server that does one thing with each connection, and keeps those that are not closed."""

    def __init__(self, serve: Callable[[socket.socket], object]) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self.listener.getsockname()[1]}"
        self._serve = serve
        self._open: list[socket.socket] = []
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self.listener.accept()
                self._open.append(connection)
                with suppress(OSError):
                    self._serve(connection)

    def close(self) -> None:
        """Close everything."""
        self.listener.shutdown(socket.SHUT_RDWR)  # ends the wait for a connection
        self._thread.join()
        for each in (self.listener, *self._open):
            each.close()


def hang(_connection: socket.socket) -> None:
    """Answer nothing."""


def hang_up(connection: socket.socket) -> None:
    """Read the request and close the connection."""
    connection.recv(65536)
    connection.close()


def alert(connection: socket.socket) -> None:
    """Answer as servers that speak TLS do."""
    connection.recv(65536)
    connection.sendall(b"\x15\x03\x01\x00\x02\x02\x46")
    connection.shutdown(socket.SHUT_WR)
    while connection.recv(65536):
        """Read the rest: the kernel resets a connection that is closed with unread data."""


def speak_http(connection: socket.socket) -> None:
    """Answer in plain text."""
    connection.recv(65536)
    connection.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")


def untrusted(connection: socket.socket) -> None:
    """Shake hands with a certificate that nobody vouches for."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    with context.wrap_socket(connection, server_side=True):
        """The client has left."""


FAILURES: dict[str, tuple[str, Any, tuple[str, ...]]] = {
    "unknown host": ("http://nowhere.invalid:5000", None, ("resolving nowhere.invalid",)),
    "refused": ("http://127.0.0.1:1", None, ("connecting to 127.0.0.1:1 failed", "refused")),
    "no answer": ("http://{}", hang, ("waiting for the answer of {} failed", "timed out")),
    "no handshake": ("https://{}", hang, ("TLS handshake with {} failed", "timed out")),
    "closed": ("http://{}", hang_up, ("the answer of {} failed", "closed")),
    "closed in the handshake": ("https://{}", hang_up, ("TLS handshake with {} failed", "EOF")),
    "http in place of https": ("http://{}", alert, ("the answer of {} failed", "is it https://")),
    "https in place of http": ("https://{}", speak_http, ("TLS handshake with {} failed", "is it http://")),
    "untrusted": (
        "https://{}",
        untrusted,
        ("TLS handshake with {}", "CERTIFICATE_VERIFY_FAILED", "REQUESTS_CA_BUNDLE"),
    ),
}


@pytest.mark.parametrize(("url", "serve", "told"), FAILURES.values(), ids=FAILURES)
def test_failure(url: str, serve: Any, told: tuple[str, ...], library: str) -> None:
    """A failure names the phase, the host and the reason, in plain words, and may pass."""
    assert library
    with closing(Server(serve or hang)) as server:
        transport = DirectHttpTransport(url.format(server.address))
        transport.timeout = 1 if serve is hang else 60
        with pytest.raises(UnreachableError) as caught:
            transport.emit(EVENT)
    message = str(caught.value)
    assert [part for part in told if part.format(server.address) not in message] == [], message
    assert not any(raw in message for raw in ("object at", "HTTPConnectionPool", "Max retries", "urllib3")), message
    assert is_transient(caught.value)
    assert transport.phase == ""


@pytest.mark.parametrize(("scheme", "phase"), [("http", "waiting for the answer of"), ("https", "TLS handshake with")])
def test_phase(scheme: str, phase: str, library: str) -> None:
    """While a request is under way its transport tells what it is waiting for."""
    assert library
    asked = threading.Event()

    def listen(connection: socket.socket) -> None:
        connection.recv(65536)
        asked.set()

    with closing(Server(listen)) as server:
        transport = DirectHttpTransport(f"{scheme}://{server.address}")

        def emit() -> None:
            with suppress(UnreachableError):
                transport.emit(EVENT)

        thread = threading.Thread(target=emit)
        assert transport.phase == ""
        thread.start()
        wait_until(lambda: transport.phase == f"{phase} {server.address}", "the phase is told")
        # Python leaves a socket to the garbage collector whose peer has gone before the TLS handshake began.
        assert asked.wait(HANGS)
    thread.join()
    assert transport.phase == ""


def drip(connection: socket.socket) -> None:
    """Answer with one byte after the other."""
    connection.recv(65536)
    connection.sendall(b"HTTP/1.1 200 OK\r\nX-Slow: ")
    with suppress(OSError):
        while True:
            connection.sendall(b"-")
            time.sleep(0.01)


@pytest.mark.parametrize("serve", [hang, drip])
def test_time_that_becomes_shorter(serve: Any, library: str) -> None:
    """A request under way ends early if another thread leaves it less time."""
    assert library
    with closing(Server(serve)) as server:
        transport = DirectHttpTransport(f"http://{server.address}")
        transport.timeout = 60
        failures: list[str] = []

        def emit() -> None:
            with pytest.raises(UnreachableError) as caught:
                transport.emit(EVENT)
            failures.append(str(caught.value))

        thread = threading.Thread(target=emit)
        thread.start()
        wait_until(lambda: transport.phase == f"waiting for the answer of {server.address}", "the request is sent")
        transport.timeout = 0.05
        thread.join(30)
    assert "timed out after" in failures[0]


@pytest.fixture
def addresses(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Return a function that has a host name stand for these addresses."""

    def resolve(*found: tuple[str, int]) -> None:
        answer = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", address) for address in found]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_args, **_options: answer)

    return resolve  # type: ignore[return-value]


def test_address_that_swallows_packets(addresses: Callable[..., None]) -> None:
    """An address that never answers leaves time for the next one of the host."""
    with closing(socket.create_server(("127.0.0.1", 0), backlog=0)) as full, closing(Server(hang)) as server:
        waiting = []
        for _ in range(4):  # nobody accepts: the kernel drops what comes when the queue is full
            one = socket.socket()
            one.setblocking(False)
            one.connect_ex(full.getsockname())
            waiting.append(one)
        addresses(full.getsockname(), server.listener.getsockname())
        started = time.monotonic()
        exchange = Exchange(2)
        with closing(open_socket("marquez", 5000, exchange)) as connection:
            assert connection.getpeername() == server.listener.getsockname()
        assert time.monotonic() - started < 10
        assert exchange.phase == "connecting to marquez:5000"
        for one in waiting:
            one.close()


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Return the time that an exchange sees, in a list."""
    seen = [0.0]
    monkeypatch.setattr(exchange_module, "time", SimpleNamespace(monotonic=lambda: seen[0]))
    return seen


def test_answer_after_the_deadline(now: list[float]) -> None:
    """A request whose time is over ends, even if each byte of the answer comes at once."""
    exchange = Exchange(10)
    ours, theirs = socket.socketpair()
    with ours, theirs, bounded_response(exchange, ours) as answer:
        theirs.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        now[0] += 11
        with pytest.raises(TimeoutError):
            answer.begin()


def test_time_before_the_connection_counts(now: list[float]) -> None:
    """A request that is redirected to another port has no more time there than what is left of its own."""
    exchange = Exchange(10)
    now[0] += 4
    with closing(Server(hang)) as server:
        host, _, port = server.address.partition(":")
        open_socket(host, int(port), exchange).close()
    assert exchange.remaining == pytest.approx(6)


def test_descriptor_of_a_connection() -> None:
    """A job that closes all descriptors, and opens others, does not get the number of a connection."""
    with closing(Server(hang)) as server:
        host, _, port = server.address.partition(":")
        with closing(open_socket(host, int(port), Exchange(2))) as connection:
            assert connection.fileno() > 256
            assert not connection.get_inheritable()


def test_time_of_the_resolver_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that takes longer to resolve than a request may take is still connected to."""
    resolve, clock, passed = socket.getaddrinfo, time.monotonic, [0.0]

    def slow(*args: Any, **options: Any) -> Any:
        passed.append(3600.0)
        return resolve(*args, **options)

    monkeypatch.setattr(time, "monotonic", lambda: clock() + passed[-1])
    monkeypatch.setattr(socket, "getaddrinfo", slow)
    with closing(Server(hang)) as server:
        host, _, port = server.address.partition(":")
        exchange = Exchange(60)
        open_socket(host, int(port), exchange).close()
        assert exchange.remaining > 1


@pytest.mark.parametrize(
    ("status", "transient", "told"),
    [
        (407, False, "the proxy {} refuses, not the backend"),
        (403, False, "through the proxy {}"),
        (502, True, "through the proxy {}"),
    ],
)
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_answer_of_a_proxy(
    scheme: str, status: int, transient: bool, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a proxy answers is said of the proxy, whether it forwards requests or opens tunnels; 407 is permanent."""
    with on_a_thread(Proxy("status", status)) as proxy:
        monkeypatch.setenv(f"{scheme.upper()}_PROXY", proxy.url.replace("//", "//etl:s3cr3t@"))
        with pytest.raises(AnswerError) as caught:
            DirectHttpTransport(f"{scheme}://marquez.invalid:5000").emit(EVENT)
        assert len(proxy.seen) == 1
    assert told.format(proxy.address) in str(caught.value)
    assert (is_transient(caught.value), caught.value.response.status_code) == (transient, status)
    assert "s3cr3t" not in str(caught.value)


@pytest.mark.parametrize("status", [401, 403])
def test_proxy_that_opens_no_tunnel(status: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Where a proxy refuses the tunnel, no key of a file is blamed, which nobody has seen."""
    (tmp_path / "key").write_text("key-of-a-file")
    with on_a_thread(Proxy("status", status)) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        with pytest.raises(AnswerError, match="nothing has reached the backend") as caught:
            DirectHttpTransport("https://marquez.invalid:5000", None, KeyFile(str(tmp_path / "key"))).emit(EVENT)
    assert "API key was sent" not in str(caught.value)


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_proxy_that_hangs_up(scheme: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy that closes the connection is named."""
    with on_a_thread(Proxy("close")) as proxy:
        monkeypatch.setenv(f"{scheme.upper()}_PROXY", proxy.url)
        with pytest.raises(UnreachableError, match=rf"the proxy {proxy.address}.* failed") as caught:
            DirectHttpTransport(f"{scheme}://marquez.invalid:5000").emit(EVENT)
    assert is_transient(caught.value)


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("host", ["127.0.0.1:1", "nowhere.invalid:3128"])
def test_proxy_that_is_not_there(host: str, scheme: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy that cannot be reached is called a proxy, and its password is not shown."""
    monkeypatch.setenv(f"{scheme.upper()}_PROXY", f"http://etl:s3cr3t@{host}")
    with pytest.raises(UnreachableError, match=rf"the proxy {host.partition(':')[0]}.* failed") as caught:
        DirectHttpTransport(f"{scheme}://marquez.invalid:5000").emit(EVENT)
    assert "s3cr3t" not in str(caught.value)
