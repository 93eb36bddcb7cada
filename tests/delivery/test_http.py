"""The direct way to a backend: the same requests as openlineage-python's, and no redirect taken for a delivery."""

from __future__ import annotations

import json
import os
import select
import socket
import threading
import time
from contextlib import closing, suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin

import pytest
from openlineage.client import OpenLineageClient
from openlineage.client.transport.http import HttpTransport

from openlineage_pod.delivery.retry import is_transient
from openlineage_pod.delivery.transports.address import check_url
from openlineage_pod.delivery.transports.answer import AnswerError, PageError
from openlineage_pod.delivery.transports.base import describe, status_of
from openlineage_pod.delivery.transports.connect import connect
from openlineage_pod.delivery.transports.exchange import UnreachableError
from openlineage_pod.delivery.transports.http import DirectHttpTransport, is_plain
from openlineage_pod.delivery.transports.key_file import KeyFile
from openlineage_pod.delivery.transports.typed_event import to_run_event
from openlineage_pod.events.document import Document, to_document
from openlineage_pod.events.secrets import Secrets
from openlineage_pod.events.truncate import truncate_event
from tests.support.constants import AIRFLOW_ENV
from tests.support.events import draft
from tests.support.harness import Receiver

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from openlineage_pod.testing import Recorded
    from tests.support.receiver import Request

EVENT = to_document(draft(1))
# A body that shows where it ends.
MARKED = Document(EVENT, b"{{}}")
# What depends on how the JSON is written, and what says which library sends it and which compressions it understands.
OF_THE_BODY = {"content-length"}
OF_THE_SENDER = {"user-agent", "accept-encoding"}


@pytest.fixture(params=["http.client", "requests"])
def library(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Have every request leave through one of the two libraries, and return its name."""
    if request.param == "requests":
        monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")  # not for the receiver, which is in NO_PROXY
    return str(request.param)


@pytest.fixture(autouse=True)
def _nothing_configured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no configuration file of the developer's own be found."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")


def sent_by(send: Callable[[], object], receiver: Receiver) -> Request:
    """Return the one request that `send` makes."""
    (request,) = all_sent_by(send, receiver)
    return request


def all_sent_by(send: Callable[[], object], receiver: Receiver) -> list[Request]:
    """Return the requests that `send` makes."""
    seen = len(receiver.requests())
    send()
    return receiver.requests()[seen:]


def sent_directly(document: dict[str, Any], receiver: Receiver) -> Request:
    """Return the request of the direct backend, configured by the environment of this process."""
    backend = connect(os.environ)
    assert isinstance(backend, DirectHttpTransport)
    return sent_by(lambda: backend.emit(Document(document)), receiver)


def sent_by_openlineage_python(document: dict[str, Any], receiver: Receiver) -> Request:
    """Return the request of openlineage-python's own client, configured by the environment of this process."""
    before = dict(os.environ)
    try:
        client = OpenLineageClient()
        assert type(client.transport) is HttpTransport
        return sent_by(lambda: client.emit(to_run_event(document)), receiver)
    finally:
        # It writes variables of its own into the environment.
        os.environ.clear()
        os.environ.update(before)


def plain(value: Any) -> Any:
    """Return JSON without nulls, and without what an empty list or mapping says no more than its absence."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items() if item not in (None, [], {})}
    return [plain(item) for item in value] if isinstance(value, list) else value


def without_own_facets(body: str, document: dict[str, Any]) -> Any:
    """Return the event in a body without the facets that openlineage-python adds to every event."""
    event = json.loads(body)
    for holder in ("run", "job"):
        facets = event[holder]["facets"]
        event[holder]["facets"] = {key: facets[key] for key in facets if key in document[holder]["facets"]}
    return plain(event)


def rich_event(recording: Callable[[dict[str, str]], Recorded]) -> dict[str, Any]:
    """Return an event with a parent, datasets with all facets, an error and own facets."""
    from openlineage_pod import dataset, lineage_run

    recorded = recording({**AIRFLOW_ENV, "POD_NAME": "ingest-x2k", "POD_NAMESPACE": "data"})
    source = dataset("postgres://warehouse:5432/crm.public.accounts", schema={"id": "bigint", "name": "text"}, rows=2)
    lineage = {"id": [("postgres://warehouse:5432/crm.public.accounts", "id")]}
    target = dataset("s3://lake/accounts", schema={"id": "int64"}, rows=2, size=100, files=1, column_lineage=lineage)
    with pytest.raises(ValueError, match="naïve"), lineage_run("load", inputs=[source], outputs=[target]) as run:
        run.add_run_facet("own", {"text": "naïve ✓ 🌎", "numbers": [1, 2.5, True], "deep": {"er": {"est": "x"}}})
        run.add_job_facet("ownJob", {"text": "x"})
        raise ValueError("naïve")
    return recorded.events[-1]


VARIABLES = {
    "url": {},
    "key": {"OPENLINEAGE_API_KEY": "key-1"},
    "empty-key": {"OPENLINEAGE_API_KEY": ""},
    "endpoint": {"OPENLINEAGE_ENDPOINT": "events/openlineage/crm/api/v1/lineage"},
    "endpoint-slash": {"OPENLINEAGE_ENDPOINT": "/events/lineage"},
    "endpoint-query": {"OPENLINEAGE_ENDPOINT": "lineage?timeout=5"},
    "slash": {"url": "{url}/"},
    "blanks": {"url": "  {url} "},
    "base-slash": {"url": "{url}/base/"},
    "base-slash-endpoint": {"url": "{url}/base/", "OPENLINEAGE_ENDPOINT": "lineage"},
    "base-slash-endpoint-slash": {"url": "{url}/base/", "OPENLINEAGE_ENDPOINT": "/lineage"},
    "base-endpoint-dots": {"url": "{url}/a/b/", "OPENLINEAGE_ENDPOINT": "../lineage"},
    "query": {"url": "{url}/base/?tenant=crm"},
    "user": {"url": "http://etl:pw@127.0.0.1:{port}"},
    "user-and-key": {"url": "http://etl:pw@127.0.0.1:{port}", "OPENLINEAGE_API_KEY": "key-1"},
}


@pytest.mark.parametrize("case", VARIABLES)
def test_same_request(
    case: str,
    library: str,
    receiver: Receiver,
    recording: Callable[[dict[str, str]], Recorded],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With the same environment the direct way sends what openlineage-python sends: method, path, headers, event."""
    document = rich_event(recording)
    variables = dict(VARIABLES[case])
    url = variables.pop("url", "{url}").format(url=receiver.url, port=receiver.port)
    for name, value in {**variables, "OPENLINEAGE_URL": url}.items():
        monkeypatch.setenv(name, value)
    ours = sent_directly(document, receiver)
    theirs = sent_by_openlineage_python(document, receiver)
    assert (ours["method"], ours["path"]) == (theirs["method"], theirs["path"])
    own = OF_THE_BODY if library == "requests" or "user" in case else OF_THE_BODY | OF_THE_SENDER
    headers = [
        {name: value for name, value in request["headers"].items() if name not in own} for request in (ours, theirs)
    ]
    assert headers[0] == headers[1]
    assert without_own_facets(ours["body"], document) == without_own_facets(theirs["body"], document)
    assert json.loads(ours["body"]) == document


def test_empty_endpoint(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    """With an empty OPENLINEAGE_ENDPOINT events are posted to the URL itself, as openlineage-python does."""
    monkeypatch.setenv("OPENLINEAGE_URL", f"{receiver.url}/collect")
    monkeypatch.setenv("OPENLINEAGE_ENDPOINT", "")
    assert sent_directly(EVENT, receiver)["path"] == "/collect"
    assert sent_by_openlineage_python(EVENT, receiver)["path"] == "/collect"


@pytest.mark.parametrize(
    ("url", "endpoint", "path"),
    [
        ("{url}", None, "/api/v1/lineage"),
        ("{url}/", None, "/api/v1/lineage"),
        ("{url}/base/", None, "/base/api/v1/lineage"),
        ("{url}/base/", "lineage", "/base/lineage"),
        ("{url}/base/", "/lineage", "/lineage"),
        ("{url}", "/lineage/", "/lineage/"),
        ("{url}/base", None, "/base/api/v1/lineage"),
        ("{url}/a/b", "lineage", "/a/b/lineage"),
        ("{url}/base", "/lineage", "/lineage"),
        ("{url}/base", "", "/base"),
        ("{url}", "", "/"),
        ("{url}", " ", "/"),
    ],
)
def test_path(url: str, endpoint: str | None, path: str, library: str, receiver: Receiver) -> None:
    """The endpoint is relative to the URL, whose path stays."""
    assert library
    backend = DirectHttpTransport(url.format(url=receiver.url), endpoint)
    assert sent_by(lambda: backend.emit(Document(EVENT)), receiver)["path"] == path


def test_path_of_the_client(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    """The path stays also where openlineage-python's client delivers."""
    monkeypatch.setenv("OPENLINEAGE__TRANSPORT__TYPE", "http")
    monkeypatch.setenv("OPENLINEAGE__TRANSPORT__URL", f"{receiver.url}/base")
    backend: Any = connect(os.environ)
    assert sent_by(lambda: backend.emit(Document(EVENT)), receiver)["path"] == "/base/api/v1/lineage"
    assert backend.target == f"{receiver.url}/base/api/v1/lineage"


def test_size_of_what_is_sent(receiver: Receiver) -> None:
    """The body of an event that was cut to a limit is within that limit."""
    facets = {f"own_{number}": {"_producer": "https://x", "_schemaURL": "https://x", "n": 1} for number in range(2_000)}
    document, left_out = truncate_event({**EVENT, "run": {"runId": EVENT["run"]["runId"], "facets": facets}}, 50_000)
    assert left_out
    request = sent_by(lambda: DirectHttpTransport(receiver.url).emit(Document(document)), receiver)
    assert int(request["headers"]["content-length"]) <= 50_000


def test_clone(receiver: Receiver) -> None:
    """A further backend sends the same with a connection of its own."""
    first = DirectHttpTransport(receiver.url, "lineage", "key-1")
    second = first.clone()
    request = sent_by(lambda: second.emit(Document(EVENT)), receiver)
    assert (request["path"], request["headers"]["authorization"]) == ("/lineage", "Bearer key-1")
    with closing(Scripted(EMPTY_ANSWER, answers=2)) as server:
        first = DirectHttpTransport(server.url)
        for transport in (first, first.clone(), first):
            transport.emit(MARKED)
        assert server.connections == 2


@pytest.mark.usefixtures("library")
@pytest.mark.parametrize("status", [200, 201, 202, 204])
def test_accepted(status: int, receiver: Receiver) -> None:
    """Every 2xx is a delivery."""
    receiver.script({"status": status})
    DirectHttpTransport(receiver.url).emit(Document(EVENT))


@pytest.mark.usefixtures("library")
@pytest.mark.parametrize("status", [300, 301, 302, 303, 304, 305, 400, 401, 404, 409, 413, 422])
def test_refused_for_good(status: int, receiver: Receiver) -> None:
    """A redirect that would lose the event and a client error are permanent errors with their status."""
    receiver.script({"times": 1, "status": status, "headers": {"Location": f"{receiver.url}/elsewhere"}})
    seen = len(receiver.requests())
    with pytest.raises(AnswerError) as caught:
        DirectHttpTransport(receiver.url).emit(Document(EVENT))
    assert (status_of(caught.value), is_transient(caught.value)) == (status, False)
    assert [(request["method"], request["path"]) for request in receiver.requests()[seen:]] == [
        ("POST", "/api/v1/lineage")
    ]


@pytest.mark.usefixtures("library")
@pytest.mark.parametrize("status", [408, 429, 500, 503])
def test_refused_for_now(status: int, receiver: Receiver) -> None:
    """A transient status is raised after one attempt: there is one layer of retries, and it is not here."""
    receiver.script({"status": status, "headers": {"Retry-After": "30"}, "body": "come back\nlater"})
    seen = len(receiver.requests())
    with pytest.raises(AnswerError) as caught:
        DirectHttpTransport(receiver.url).emit(Document(EVENT))
    error: Any = caught.value
    assert is_transient(error)
    assert error.response.headers.get("Retry-After") == "30"
    assert describe(caught.value, Secrets()).endswith("/api/v1/lineage: come back later")
    assert len(receiver.requests()) == seen + 1


@pytest.mark.usefixtures("library")
@pytest.mark.parametrize("status", [307, 308])
def test_redirect_that_keeps_the_post(status: int, receiver: Receiver) -> None:
    """A redirect that keeps the method and the body is followed, with the key where it stays on the host."""
    receiver.script(
        {"path": "/api/v1/lineage", "status": status, "headers": {"Location": f"{receiver.url}/elsewhere"}},
    )
    backend = DirectHttpTransport(receiver.url, key="key-1")
    *_, request = all_sent_by(lambda: backend.emit(Document(EVENT)), receiver)
    assert (request["method"], request["path"], json.loads(request["body"])) == ("POST", "/elsewhere", EVENT)
    assert request["headers"]["authorization"] == "Bearer key-1"


@pytest.mark.usefixtures("library")
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirect_to_another_host(status: int, receiver: Receiver) -> None:
    """A redirect to another host is refused for good with a message that names both, and nothing is sent there."""
    elsewhere = Receiver()
    try:
        location = f"http://localhost:{elsewhere.port}/elsewhere?token=s3cr3t"
        receiver.script({"status": status, "headers": {"Location": location}})
        with pytest.raises(AnswerError, match=rf"{receiver.port}/.* redirects to the other host localhost") as caught:
            DirectHttpTransport(receiver.url, key="key-1").emit(Document(EVENT))
        assert (is_transient(caught.value), "s3cr3t" in str(caught.value)) == (False, False)
        assert elsewhere.requests() == []
    finally:
        elsewhere.stop()


@pytest.mark.parametrize("status", [307, 308])
@pytest.mark.parametrize("way", ["url", "client"])
def test_redirect_to_another_port(
    way: str, status: int, receiver: Receiver, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """On another port of the host no header with a credential follows, which is told once."""
    elsewhere = Receiver()
    key, http = "key-1", {"type": "http", "url": receiver.url, "custom_headers": {"X-Api-Key": "key-2"}}
    if way == "client":
        config = {**http, "auth": {"type": "api_key", "apiKey": key}}
        monkeypatch.setenv("OPENLINEAGE__TRANSPORT", json.dumps(config))
    else:
        monkeypatch.setenv("OPENLINEAGE_URL", receiver.url)
        monkeypatch.setenv("OPENLINEAGE_API_KEY", key)
    try:
        receiver.script({"status": status, "headers": {"Location": f"{elsewhere.url}/elsewhere"}})
        backend: Any = connect(os.environ)
        for _ in range(2):
            backend.emit(Document(EVENT))
        for request in elsewhere.requests():
            assert not {"authorization", "x-api-key"} & set(request["headers"])
            assert json.loads(request["body"])["run"]["runId"] == EVENT["run"]["runId"]
        assert len(elsewhere.requests()) == 2
    finally:
        elsewhere.stop()
    (line,) = [record.getMessage() for record in caplog.records if record.name == "openlineage_pod"]
    assert "without the API key" in line
    assert ("X-Api-Key" in line) == (way == "client")


@pytest.mark.parametrize("netrc", ["default login git password s3cr3t", "machine 127.0.0.1 login git password s3cr3t"])
@pytest.mark.parametrize("way", ["key", "key file", "empty key file", "client", "header", "user"])
def test_key_goes_before_netrc(
    way: str, netrc: str, tmp_path: Path, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beside an explicit credential those of a netrc file are not sent, whichever way the event takes."""
    (tmp_path / ".netrc").write_text(netrc)
    (tmp_path / ".netrc").chmod(0o600)
    (tmp_path / "key").write_text("" if way == "empty key file" else "key-1")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")  # not for the receiver: with it requests sends
    config: dict[str, Any] = {"type": "http", "url": receiver.url}
    match way:
        case "key":
            monkeypatch.setenv("OPENLINEAGE_API_KEY", "key-1")
        case "key file" | "empty key file":
            monkeypatch.setenv("OPENLINEAGE_API_KEY_FILE", str(tmp_path / "key"))
        case "client":
            config["auth"] = {"type": "api_key", "apiKey": "key-1"}
        case "header":
            config["custom_headers"] = {"X-Api-Key": "key-1"}
    if way in ("client", "header"):
        monkeypatch.setenv("OPENLINEAGE__TRANSPORT", json.dumps(config))
    else:
        user = "etl:pw@" if way == "user" else ""
        monkeypatch.setenv("OPENLINEAGE_URL", f"http://{user}127.0.0.1:{receiver.port}")
    backend: Any = connect(os.environ)
    sent = sent_by(lambda: backend.emit(Document(EVENT)), receiver)["headers"]
    wanted = {"header": None, "empty key file": None, "user": "Basic ZXRsOnB3"}.get(way, "Bearer key-1")
    assert sent.get("authorization") == wanted
    assert sent.get("x-api-key") == ("key-1" if way == "header" else None)


PAGES = {
    "page": ("text/html", "<html><head><title>Company login</title></head></html>", "Company login"),
    "title of several lines": ("text/html", "<!doctype html><TITLE lang=en>\n  Sign in\n please</TITLE>", "'Sign in'"),
    "without a type": ("", "\n<!DOCTYPE html><html>", "web page"),
    "of another type": ("application/json", "\ufeff <html>", "web page"),
    "text with an element": ("text/html; charset=utf-8", "Please <a href='/login'>log in</a>", "web page"),
}
NO_PAGES = {
    "json": ("application/json", '{"title": "<title>x</title>"}'),
    "empty": ("text/html", ""),
    "text": ("text/html; charset=utf-8", "OK"),
    "plain text": ("text/plain", "accepted <1>"),
}


@pytest.mark.usefixtures("library")
@pytest.mark.parametrize(("kind", "body", "told"), PAGES.values(), ids=PAGES)
@pytest.mark.parametrize("status", [200, 201])
def test_page(status: int, kind: str, body: str, told: str, receiver: Receiver) -> None:
    """A web page is no delivery, whatever its status; the message has the first line of its title, and it may pass."""
    receiver.script({"status": status, "body": body, "headers": {"Content-Type": kind} if kind else {}})
    with pytest.raises(PageError, match=told) as caught:
        DirectHttpTransport(receiver.url).emit(Document(EVENT))
    assert is_transient(caught.value)
    assert f"{receiver.url}/api/v1/lineage answered {status}" in str(caught.value)


@pytest.mark.usefixtures("library")
@pytest.mark.parametrize(("kind", "body"), NO_PAGES.values(), ids=NO_PAGES)
def test_no_page(kind: str, body: str, receiver: Receiver) -> None:
    """JSON, an empty answer and plain text are what backends answer, also with a type that the framework chose."""
    receiver.script({"status": 200, "body": body, "headers": {"Content-Type": kind}})
    DirectHttpTransport(receiver.url).emit(Document(EVENT))


@pytest.mark.usefixtures("library")
@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize(
    ("user", "key", "told"),
    [("", None, "no API key was sent"), ("", "k", "an API key was sent"), ("u:p@", "k", "user")],
)
def test_refused_credentials(status: int, user: str, key: str | None, told: str, receiver: Receiver) -> None:
    """What is said of a 401 or 403 tells whether a key was sent."""
    receiver.script({"status": status})
    with pytest.raises(AnswerError, match=told):
        DirectHttpTransport(f"http://{user}127.0.0.1:{receiver.port}", key=key).emit(Document(EVENT))


def test_key_file_is_not_blamed_for_a_user(receiver: Receiver, tmp_path: Path) -> None:
    """Where the URL's user was sent and refused, the key file, which was not, is not named."""
    (tmp_path / "key").write_text("key-1")
    receiver.script({"status": 401})
    with pytest.raises(AnswerError, match="a user and a password were sent"):
        DirectHttpTransport(f"http://u:p@127.0.0.1:{receiver.port}", key=KeyFile(str(tmp_path / "key"))).emit(
            Document(EVENT)
        )


@pytest.mark.usefixtures("library")
@pytest.mark.parametrize("action", ["reset", "partial", "garbage"])
def test_broken_answer(action: Any, receiver: Receiver) -> None:
    """An answer that breaks off is a transient error."""
    receiver.script({"action": action})
    backend = DirectHttpTransport(receiver.url)
    with pytest.raises(OSError) as caught:  # noqa: PT011  requests' own errors are OSErrors, too
        backend.emit(Document(EVENT))
    assert is_transient(caught.value)
    receiver.script()
    backend.emit(Document(EVENT))


ENVIRONMENTS: dict[str, dict[str, str]] = {
    "nothing": {},
    "no-proxy": {"NO_PROXY": "127.0.0.1"},
    "empty-proxy": {"HTTP_PROXY": "", "https_proxy": ""},
}
PROXIED = {
    "proxy": {"HTTP_PROXY": "http://127.0.0.1:1"},
    "proxy-for-all": {"all_proxy": "http://127.0.0.1:1"},
    "netrc": {"NETRC": "/dev/null"},
    "no-such-bundle": {"REQUESTS_CA_BUNDLE": "/nowhere/ca.pem"},
}


@pytest.mark.parametrize("case", [*ENVIRONMENTS, *PROXIED])
def test_library_by_environment(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy, a netrc file, and a wrong path of certificates are left to requests."""
    for name, value in {**ENVIRONMENTS, **PROXIED}[case].items():
        monkeypatch.setenv(name, value)
    assert is_plain("https://127.0.0.1:1/api/v1/lineage") == (case in ENVIRONMENTS)


@pytest.mark.parametrize("name", [".netrc", "_netrc"])
def test_library_with_a_netrc_file(name: str, tmp_path: Path, receiver: Receiver) -> None:
    """Credentials in a netrc file of the home directory are found and sent."""
    (tmp_path / name).write_text("machine 127.0.0.1 login etl password pw")
    (tmp_path / name).chmod(0o600)
    request = sent_by(lambda: DirectHttpTransport(receiver.url).emit(Document(EVENT)), receiver)
    assert request["headers"]["authorization"] == "Basic ZXRsOnB3"


@pytest.mark.parametrize(
    ("url", "library"),
    [
        ("HTTP://MARQUEZ_api-1.crm.svc:5000", "http.client"),
        ("https://marquez/base/?tenant=crm&x=1,2", "http.client"),
        ("http://etl:pw@marquez", "requests"),
        ("http://[::1]:5000", "requests"),
        ("http://märquez", "requests"),
        ("http://marquez/ä/", "requests"),
        ("http://marquez/%7Euser/", "requests"),
        ("http://marquez/a b/", "requests"),
    ],
)
def test_library_by_url(url: str, library: str) -> None:
    """A URL with credentials, or one that has to be encoded, is left to requests."""
    assert is_plain(urljoin(url, "api/v1/lineage")) == (library == "http.client")


class Scripted:
    """A server that writes these pieces of an answer to each request, with a pause before each, and then hangs up."""

    def __init__(self, *pieces: bytes, pause: float = 0, answers: int = 1) -> None:
        self.pieces, self.pause, self.answers = pieces, pause, answers
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        self.connections = 0
        self.hung_up = threading.Event()
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        """Take no further connection."""
        self.listener.close()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self.listener.accept()
                self.connections += 1
                threading.Thread(target=self._answer_all, args=(connection,), daemon=True).start()

    def _answer_all(self, connection: socket.socket) -> None:
        with connection, suppress(OSError):
            for _ in range(self.answers):
                self._answer(connection)
        self.hung_up.set()

    def _answer(self, connection: socket.socket) -> None:
        received = b""
        while not received.endswith(b"}}"):
            data = connection.recv(65536)
            if not data:
                raise ConnectionError("the client hung up")
            received += data
        for piece in self.pieces:
            time.sleep(self.pause)
            connection.sendall(piece)


EMPTY_ANSWER = b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n"


def test_persistent_connection() -> None:
    """Several events go through one connection."""
    with closing(Scripted(EMPTY_ANSWER, answers=3)) as server:
        backend = DirectHttpTransport(server.url)
        for _ in range(3):
            backend.emit(MARKED)
        assert server.connections == 1


@pytest.mark.usefixtures("library")
def test_close() -> None:
    """Closing ends the connection, and the next event opens another one."""
    with closing(Scripted(EMPTY_ANSWER, answers=3)) as server:
        backend = DirectHttpTransport(server.url)
        for _ in range(2):
            server.hung_up.clear()
            backend.emit(MARKED)
            backend.close()
            assert server.hung_up.wait(10)
        assert server.connections == 2


def test_connection_that_was_closed_while_idle() -> None:
    """A connection that the backend has closed in the meantime is replaced, and costs no attempt."""
    with closing(Scripted(EMPTY_ANSWER)) as server:
        backend = DirectHttpTransport(server.url)
        for _ in range(3):
            server.hung_up.clear()
            backend.emit(MARKED)
            assert server.hung_up.wait(10)
        assert server.connections == 3


def test_idle_connection_in_a_job_that_is_patched_later(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether a connection still stands is asked with the interpreter's own functions, whichever library sends."""
    by_client = {"OPENLINEAGE__TRANSPORT__TYPE": "http", "OPENLINEAGE__TRANSPORT__URL": receiver.url}
    for name, value in by_client.items():
        monkeypatch.setenv(name, value)
    transports: list[Any] = [connect(by_client), connect(receiver.environ)]

    def patched() -> None:
        raise AssertionError("this would make an event loop")

    document = Document(to_document(draft(1)))
    for transport in transports:
        transport.emit(document)
    monkeypatch.setattr(select, "poll", patched)
    for transport in transports:
        transport.emit(document)
    assert len(receiver.events()) == 4


HEADERS = [b"HTTP/1.1 201 Created\r\n", *(b"X-%d: 1\r\n" % number for number in range(60))]
BODY = [b"HTTP/1.1 201 Created\r\nContent-Length: 60\r\n\r\n", *[b"x"] * 60]
CHUNKS = [b"HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\n", *[b"1\r\nx\r\n"] * 60]


@pytest.mark.usefixtures("library")
@pytest.mark.parametrize("pieces", [HEADERS, BODY, CHUNKS], ids=["headers", "body", "chunks"])
def test_dribbling_answer(pieces: list[bytes]) -> None:
    """The deadline is for the whole answer: one that comes byte by byte is given up."""
    with closing(Scripted(*pieces, pause=0.1)) as server:
        transport = DirectHttpTransport(server.url)
        transport.timeout = 0.3
        started = time.monotonic()
        with pytest.raises(
            UnreachableError, match=rf"the answer of {server.url[7:]} failed: timed out after 0.3 s"
        ) as caught:
            transport.emit(MARKED)
        assert is_transient(caught.value)
        assert time.monotonic() - started < 5


@pytest.mark.parametrize(
    ("head", "pieces"),
    [
        (b"Content-Length: 3000000", [b"x" * 3_000_000]),
        (b"Transfer-Encoding: chunked", [b"20000\r\n" + b"x" * 0x20000 + b"\r\n"] * 3 + [b"0\r\n\r\n"]),
        (b"Connection: close", [b"x" * 3_000_000]),
    ],
)
def test_long_answer(head: bytes, pieces: list[bytes]) -> None:
    """A long answer is a delivery by its status, is not read to its end, and the next event has its own answer."""
    with closing(Scripted(b"HTTP/1.1 201 Created\r\n" + head + b"\r\n\r\n", *pieces)) as server:
        backend = DirectHttpTransport(server.url)
        for _ in range(2):
            backend.emit(MARKED)
        assert server.connections == 2


def test_key_file(receiver: Receiver, tmp_path: Path) -> None:
    """The key of a file is read for each request, and its white space is not sent."""
    path = tmp_path / "key"
    backend = DirectHttpTransport(receiver.url, key=KeyFile(str(path)))
    assert "authorization" not in sent_by(lambda: backend.emit(Document(EVENT)), receiver)["headers"]
    path.write_text("key-1\n")
    assert sent_by(lambda: backend.emit(Document(EVENT)), receiver)["headers"]["authorization"] == "Bearer key-1"


@pytest.mark.parametrize("key", ["s3cr3t-key\n", "s3cr3t-key\r\n", "s3cr3t\nkey-of-two-lines"])
def test_key_with_a_line_break(key: str, receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    """A key with a line break, as a secret made by `echo` has, is used without it or refused without being shown."""
    monkeypatch.setenv("OPENLINEAGE_URL", receiver.url)
    monkeypatch.setenv("OPENLINEAGE_API_KEY", key)
    try:
        sent_directly(EVENT, receiver)
    except Exception as error:
        shown = describe(error, Secrets(environ=os.environ))
    else:
        shown = ""
    assert [part for part in key.split() if part in shown] == []


MALFORMED = [
    "",
    "marquez:5000",
    "//marquez:5000",
    "ftp://etl:s3cr3t@marquez",
    "http://",
    "http:///s3cr3t",
    "http://:5000",
    "http://etl:s3cr3t@",
    "http://etl:s3cr3t#1@marquez:5000",
    "http://etl:s3cr3t/1@marquez:5000",
    "http://marquez:s3cr3t",
    "http://marquez:99999",
    "http://marquez:0",
    "http://[s3cr3t",
    "{{ s3cr3t }}",
]


@pytest.mark.parametrize("url", MALFORMED)
def test_malformed_url(url: str) -> None:
    """What is no URL of a web server is refused without being shown: a password in it may be what is wrong."""
    for make in (check_url, DirectHttpTransport):
        with pytest.raises(ValueError, match="the URL") as caught:
            make(url)
        assert "s3cr3t" not in f"{caught.value!r} {caught.value.__context__!r} {caught.value.__cause__!r}"


@pytest.mark.parametrize(
    "url",
    [
        "http://marquez",
        "https://marquez:5000/",
        "HTTP://MARQUEZ:5000",
        "http://[::1]:5000",
        "http://etl:p%40ss@marquez/base?x=1",
        " http://marquez ",
    ],
)
def test_url(url: str) -> None:
    """Every URL of a web server is taken, with surrounding blanks, too."""
    check_url(url)
    DirectHttpTransport(url)
