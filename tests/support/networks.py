"""Networks of companies, as a table: what stands between a job and its backend, and what is told if nothing arrives.

`python -m tests.support.networks` prints what becomes of the events of a job in each, beside a job by hand.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import trustme

from tests.support.harness import Jobs, Receiver, on_a_thread
from tests.support.proxy import Proxy
from tests.support.tls import TlsBackend

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tests.support.harness import Event

__all__ = ["CASES", "Case", "Network"]


class Network:
    """One network, which is gone when the stack is closed."""

    def __init__(self, directory: Path, stack: ExitStack) -> None:
        self.directory = directory
        self._stack = stack
        self.events: Callable[[], list[Event]] = list
        self.accepted: Callable[[], int] = lambda: len(self.events())
        self.authorizations: Callable[[], list[str | None]] = list

    def backend(self) -> Receiver:
        """Start the backend."""
        receiver = Receiver()
        self._stack.callback(receiver.stop)
        self.events = receiver.events
        self.accepted = lambda: sum(
            request["method"] == "POST" and 200 <= request["status"] < 300 for request in receiver.requests()
        )
        self.authorizations = lambda: [request["headers"].get("authorization") for request in receiver.requests()]
        return receiver

    def other(self) -> Receiver:
        """Start a backend that is to get nothing."""
        receiver = Receiver()
        self._stack.callback(receiver.stop)
        return receiver

    def tls(self) -> TlsBackend:
        """Start the backend behind TLS, with a certificate of a private authority."""
        authority = trustme.CA()
        authority.cert_pem.write_to_path(str(self.bundle))
        backend = self._stack.enter_context(on_a_thread(TlsBackend(authority)))
        self.events = backend.events
        return backend

    @property
    def bundle(self) -> Path:
        """The certificates of the private authority."""
        return self.directory / "ca.pem"

    def hashed(self) -> str:
        """Return a directory with the certificates, as OpenSSL looks for them."""
        folder = self.directory / "certs"
        folder.mkdir()
        command = ["openssl", "x509", "-hash", "-noout", "-in", str(self.bundle)]
        name = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
        (folder / f"{name}.0").write_bytes(self.bundle.read_bytes())
        return str(folder)

    def proxy(self, *how: Any, **options: Any) -> Proxy:
        """Start a proxy."""
        return self._stack.enter_context(on_a_thread(Proxy(*how, **options)))

    def netrc(self) -> None:
        """Put a netrc file into the home directory of the job."""
        path = self.directory / ".netrc"
        path.write_text("default login git password s3cr3t-of-git")
        path.chmod(0o600)

    def swallows(self) -> str:
        """Return the address of a host that answers to no packet: the queue of a listener is full."""
        listener = self._stack.enter_context(closing(socket.create_server(("127.0.0.1", 0), backlog=0)))
        for _ in range(4):
            one = self._stack.enter_context(closing(socket.socket()))
            one.setblocking(False)
            one.connect_ex(listener.getsockname())
        return f"127.0.0.1:{listener.getsockname()[1]}"

    def ipv6(self) -> int:
        """Return the port of the backend on the IPv6 loopback alone."""
        receiver = self.backend()
        listener = socket.create_server(("::1", 0), family=socket.AF_INET6)
        self._stack.callback(listener.close)
        threading.Thread(target=_forward, args=(listener, receiver.port), daemon=True).start()
        return int(listener.getsockname()[1])


def _forward(listener: socket.socket, port: int) -> None:
    """Forward connections."""
    try:
        while True:
            connection, _ = listener.accept()
            backend = socket.create_connection(("127.0.0.1", port))
            for pair in ((connection, backend), (backend, connection)):
                threading.Thread(target=_pump, args=pair, daemon=True).start()
    except OSError:
        """The listener is closed."""


def _pump(source: socket.socket, goal: socket.socket) -> None:
    try:
        while data := source.recv(65536):
            goal.sendall(data)
        goal.shutdown(socket.SHUT_WR)
    except OSError:
        """One side has gone."""


class Case(NamedTuple):
    """One network.

    Attributes:
        arrange: builds it, and returns the environment of the job.
        told: what stands in the job's log where nothing is delivered; nothing: both events are delivered.
        before: what the job does first.
        authorization: what the backend gets in that header.

    """

    arrange: Callable[[Network], Mapping[str, str]]
    told: tuple[str, ...] = ()
    before: str = ""
    authorization: str | None = None


# What the machine of the tests itself has.
_CLEAN = dict.fromkeys(("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR"), "") | dict.fromkeys(
    ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy", "no_proxy"), ""
)


def _url(url: str, **more: str) -> dict[str, str]:
    return {**_CLEAN, "OPENLINEAGE_URL": url, **more}


def _trusting(variable: str, *, directory: bool = False) -> Callable[[Network], Mapping[str, str]]:
    def arrange(network: Network) -> Mapping[str, str]:
        url = network.tls().url
        return _url(url, **{variable: network.hashed() if directory else str(network.bundle)})

    return arrange


def _by_proxy(
    how: str, *, tls: bool = False, trusting: str = "REQUESTS_CA_BUNDLE", **options: Any
) -> Callable[[Network], Mapping[str, str]]:
    def arrange(network: Network) -> Mapping[str, str]:
        url = network.tls().url if tls else network.backend().url
        trust = {trusting: str(network.bundle)} if tls else {}
        variable = "HTTPS_PROXY" if tls else "HTTP_PROXY"
        proxy = network.proxy(how, **options).url
        # An empty variable in lower case, as `_CLEAN` has it, would take the other one back.
        return _url(url, **{variable: proxy, variable.lower(): proxy}, **trust, NO_PROXY="")

    return arrange


def _redirected(status: int, *, elsewhere: bool = False) -> Callable[[Network], Mapping[str, str]]:
    def arrange(network: Network) -> Mapping[str, str]:
        receiver = network.backend()
        location = f"http://localhost:{network.other().port}/login" if elsewhere else f"{receiver.url}/moved"
        receiver.script({"path": "/api/v1/lineage", "status": status, "headers": {"Location": location}})
        return _url(receiver.url, NO_PROXY="127.0.0.1,localhost")

    return arrange


def _page(network: Network) -> Mapping[str, str]:
    receiver = network.backend()
    page = "<html><head><title>Company login</title></head></html>"
    receiver.script({"status": 200, "body": page, "headers": {"Content-Type": "text/html"}})
    network.events, network.accepted = list, int  # the receiver takes them for accepted
    return _url(receiver.url)


def _netrc(network: Network, **key: str) -> Mapping[str, str]:
    network.netrc()
    return _url(network.backend().url, **key)


def _refused(network: Network) -> Mapping[str, str]:
    receiver = network.backend()
    receiver.script({"status": 401})
    return _url(receiver.url)


_SLOW_NAMES = """
import socket, time
resolve = socket.getaddrinfo
def slow(*args, **options):
    time.sleep({seconds})
    return resolve(*args, **options)
socket.getaddrinfo = slow
"""
_IPV6_NAME = """
import socket
resolve = socket.getaddrinfo
socket.getaddrinfo = lambda host, *args, **options: resolve("::1" if host == "marquez" else host, *args, **options)
"""
_KEY = "Bearer s3cr3t-key"

CASES: dict[str, Case] = {
    "private CA: REQUESTS_CA_BUNDLE": Case(_trusting("REQUESTS_CA_BUNDLE")),
    "private CA: REQUESTS_CA_BUNDLE, a directory": Case(_trusting("REQUESTS_CA_BUNDLE", directory=True)),
    "private CA: CURL_CA_BUNDLE": Case(_trusting("CURL_CA_BUNDLE")),
    "private CA: SSL_CERT_FILE": Case(_trusting("SSL_CERT_FILE")),
    "private CA: SSL_CERT_DIR": Case(_trusting("SSL_CERT_DIR", directory=True)),
    "private CA: SSL_CERT_FILE, through a proxy": Case(_by_proxy("forward", tls=True, trusting="SSL_CERT_FILE")),
    "private CA: none": Case(lambda network: _url(network.tls().url), ("CERTIFICATE_VERIFY_FAILED", "SSL_CERT_FILE")),
    "private CA: a file that is missing": Case(
        lambda network: _url(network.tls().url, REQUESTS_CA_BUNDLE="/nowhere/ca.pem"), ("/nowhere/ca.pem",)
    ),
    "https for http": Case(
        lambda network: _url(network.backend().url.replace("http:", "https:")), ("TLS handshake", "is it http://")
    ),
    "proxy, http": Case(_by_proxy("forward")),
    "proxy, https": Case(_by_proxy("forward", tls=True)),
    "proxy with a user, http": Case(_by_proxy("forward", user="etl:s3cr3t")),
    "proxy with a user, https": Case(_by_proxy("forward", tls=True, user="etl:s3cr3t")),
    "proxy 407, http": Case(_by_proxy("status", status=407), ("407", "the proxy 127.0.0.1:", "not the backend")),
    "proxy 407, https": Case(
        _by_proxy("status", status=407, tls=True), ("407", "the proxy 127.0.0.1:", "not the backend")
    ),
    "proxy 502, http": Case(_by_proxy("status", status=502), ("502", "through the proxy 127.0.0.1:")),
    "proxy 502, https": Case(_by_proxy("status", status=502, tls=True), ("502", "through the proxy 127.0.0.1:")),
    "proxy with a page, http": Case(_by_proxy("page"), ("answered 200", "'Company login'")),
    "proxy with a page and 403, https": Case(_by_proxy("page", status=403, tls=True), ("403", "the proxy 127.0.0.1:")),
    "proxy that closes, http": Case(_by_proxy("close"), ("the proxy 127.0.0.1:", "closed without an answer")),
    "proxy that closes, https": Case(_by_proxy("close", tls=True), ("waiting for the proxy 127.0.0.1:", "closed")),
    "a login page, 200": Case(_page, ("answered 200", "'Company login'")),
    "401": Case(_refused, ("401", "no API key was sent")),
    ".netrc with OPENLINEAGE_API_KEY": Case(
        lambda network: _netrc(network, OPENLINEAGE_API_KEY="s3cr3t-key"), authorization=_KEY
    ),
    ".netrc alone": Case(_netrc, authorization="Basic Z2l0OnMzY3IzdC1vZi1naXQ="),
    **{f"{status} on the host": Case(_redirected(status)) for status in (307, 308)},
    **{
        f"{status} on the host": Case(_redirected(status), (str(status), "/moved", "set OPENLINEAGE_URL"))
        for status in (301, 302, 303)
    },
    **{
        f"{status} to another host": Case(
            _redirected(status, elsewhere=True), (str(status), "127.0.0.1:", "the other host localhost")
        )
        for status in (301, 302, 303, 307, 308)
    },
    "IPv6 address": Case(lambda network: _url(f"http://[::1]:{network.ipv6()}", NO_PROXY="::1,[::1]")),
    "IPv6 only": Case(lambda network: _url(f"http://marquez:{network.ipv6()}", NO_PROXY="marquez"), before=_IPV6_NAME),
    "black-holed address": Case(
        lambda network: _url(f"http://{network.swallows()}"), ("connecting to 127.0.0.1:", "timed out")
    ),
    "slow DNS": Case(lambda network: _url(network.backend().url), before=_SLOW_NAMES.format(seconds=6)),
    "unknown host": Case(lambda _network: _url("http://nowhere.invalid:5000"), ("resolving nowhere.invalid failed",)),
}


_BY_HAND = """
import uuid
from datetime import datetime, timezone
from openlineage.client import OpenLineageClient
from openlineage.client.event_v2 import Job, Run, RunEvent, RunState
client = OpenLineageClient()
run = str(uuid.uuid4())
for state in (RunState.START, RunState.COMPLETE):
    client.emit(RunEvent(eventType=state, eventTime=datetime.now(timezone.utc).isoformat(),
                         run=Run(runId=run), job=Job(namespace="default", name="job"), producer="https://x"))
"""
_OURS = """
from openlineage_pod import lineage_run
with lineage_run("job"):
    pass
"""


def _outcome(case: Case, source: str, **more: str) -> str:
    """Run a job in a network; return what was delivered, how long it took, and the end of its log."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        network = Network(Path(folder), stack)
        jobs = Jobs(Path(folder))
        stack.callback(jobs.stop)
        environ = {**case.arrange(network), **more}
        started = time.monotonic()
        try:
            finished = jobs.start(f"{case.before}\n{source}", environ).finish(timeout=100)
            status = f"exit {finished.returncode}"
            log = finished.log[:1] if finished.returncode == 0 else finished.stderr.splitlines()[-1:]
        except subprocess.TimeoutExpired:
            status, log = "hangs", []
        took = time.monotonic() - started
        delivered = network.accepted()
        authorization = sorted({str(value) for value in network.authorizations()} - {"None"})
        return f"{delivered} of 2, {status}, {took:.0f} s; {' '.join(log)[:160]} {' '.join(authorization)}".replace(
            "|", "/"
        )


def main() -> None:
    """Print the table."""
    os.environ.pop("PYTHONWARNINGS", None)
    sys.stdout.write("| network | openlineage-pod | openlineage-python by hand |\n|---|---|---|\n")
    for name, case in CASES.items():
        sys.stdout.write(f"| {name} | {_outcome(case, _OURS)} | {_outcome(case, _BY_HAND)} |\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
