"""The direct way to a backend: the same requests as openlineage-python's, and no redirect taken for a delivery."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import pytest
import requests
from openlineage.client import OpenLineageClient
from openlineage.client.transport.http import HttpTransport

from openlineage_pod.delivery.http import HttpBackend, check_url
from openlineage_pod.delivery.key_file import KeyFile
from openlineage_pod.delivery.retry import is_transient, status_of
from openlineage_pod.delivery.transport import configured_secrets, connect, describe
from openlineage_pod.events import to_document, to_run_event
from openlineage_pod.limits import limited
from openlineage_pod.redaction import Redactor
from tests.support.constants import AIRFLOW_ENV
from tests.support.events import draft
from tests.support.harness import Receiver

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from openlineage_pod.testing import Recorded
    from tests.support.receiver import Request

EVENT = to_document(draft(1))
# What depends on the connection, or on which of the two has sent it.
OF_THE_CONNECTION = {"content-length"}


@pytest.fixture(scope="module")
def server() -> Iterator[Receiver]:
    """Run a backend."""
    running = Receiver()
    yield running
    running.stop()


@pytest.fixture
def receiver(server: Receiver) -> Receiver:
    """Return the backend, which accepts everything."""
    server.script()
    return server


@pytest.fixture(autouse=True)
def _nothing_configured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no configuration file or proxy of the developer's own be found."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


def sent_by(send: Callable[[], object], receiver: Receiver) -> Request:
    """Return the one request that `send` makes."""
    seen = len(receiver.requests())
    send()
    (request,) = receiver.requests()[seen:]
    return request


def sent_directly(document: dict[str, Any], receiver: Receiver) -> Request:
    """Return the request of the direct backend, configured by the environment of this process."""
    backend = connect(os.environ)
    assert isinstance(backend, HttpBackend)
    return sent_by(lambda: backend.emit(document), receiver)


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
    "base": {"url": "{url}/base"},
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
    case: str, receiver: Receiver, recording: Callable[[dict[str, str]], Recorded], monkeypatch: pytest.MonkeyPatch
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
    headers = [
        {name: value for name, value in request["headers"].items() if name not in OF_THE_CONNECTION}
        for request in (ours, theirs)
    ]
    assert headers[0] == headers[1]
    assert without_own_facets(ours["body"], document) == without_own_facets(theirs["body"], document)
    assert json.loads(ours["body"]) == document


def test_empty_endpoint(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty OPENLINEAGE_ENDPOINT, as an unset value of a chart gives, counts as none."""
    monkeypatch.setenv("OPENLINEAGE_URL", receiver.url)
    monkeypatch.setenv("OPENLINEAGE_ENDPOINT", "")
    assert sent_directly(EVENT, receiver)["path"] == "/api/v1/lineage"


@pytest.mark.parametrize(
    ("url", "endpoint", "path"),
    [
        ("{url}", None, "/api/v1/lineage"),
        ("{url}/", None, "/api/v1/lineage"),
        ("{url}/base/", None, "/base/api/v1/lineage"),
        ("{url}/base/", "lineage", "/base/lineage"),
        ("{url}/base/", "/lineage", "/lineage"),
        ("{url}", "/lineage/", "/lineage/"),
    ],
)
def test_path(url: str, endpoint: str | None, path: str, receiver: Receiver) -> None:
    """The endpoint is a reference relative to the URL, as in a browser."""
    backend = HttpBackend(url.format(url=receiver.url), endpoint)
    assert sent_by(lambda: backend.emit(EVENT), receiver)["path"] == path


def test_size_of_what_is_sent(receiver: Receiver) -> None:
    """The body of an event that was cut to a limit is within that limit."""
    facets = {f"own_{number}": {"_producer": "https://x", "_schemaURL": "https://x", "n": 1} for number in range(2_000)}
    document, left_out = limited({**EVENT, "run": {"runId": EVENT["run"]["runId"], "facets": facets}}, 50_000)
    assert left_out
    request = sent_by(lambda: HttpBackend(receiver.url).emit(document), receiver)
    assert int(request["headers"]["content-length"]) <= 50_000


def test_another(receiver: Receiver) -> None:
    """A further backend sends the same with a connection of its own."""
    first = HttpBackend(receiver.url, "lineage", "key-1")
    second = first.another()
    assert second._session is not first._session
    request = sent_by(lambda: second.emit(EVENT), receiver)
    assert (request["path"], request["headers"]["authorization"]) == ("/lineage", "Bearer key-1")


@pytest.mark.parametrize("status", [200, 201, 202, 204])
def test_accepted(status: int, receiver: Receiver) -> None:
    """Every 2xx is a delivery."""
    receiver.script({"status": status})
    HttpBackend(receiver.url).emit(EVENT)


@pytest.mark.parametrize("status", [300, 301, 302, 303, 304, 305, 400, 401, 404, 409, 413, 422])
def test_refused_for_good(status: int, receiver: Receiver) -> None:
    """A redirect that would lose the event and a client error are permanent errors with their status."""
    receiver.script({"times": 1, "status": status, "headers": {"Location": f"{receiver.url}/elsewhere"}})
    seen = len(receiver.requests())
    with pytest.raises(requests.HTTPError) as caught:
        HttpBackend(receiver.url).emit(EVENT)
    assert (status_of(caught.value), is_transient(caught.value)) == (status, False)
    assert caught.value.response is not None
    caught.value.response.close()
    assert [(request["method"], request["path"]) for request in receiver.requests()[seen:]] == [
        ("POST", "/api/v1/lineage")
    ]


@pytest.mark.parametrize("status", [408, 429, 500, 503])
def test_refused_for_now(status: int, receiver: Receiver) -> None:
    """A transient status is raised after one attempt: there is one layer of retries, and it is not here."""
    receiver.script({"status": status, "headers": {"Retry-After": "30"}})
    seen = len(receiver.requests())
    with pytest.raises(requests.HTTPError) as caught:
        HttpBackend(receiver.url).emit(EVENT)
    assert is_transient(caught.value)
    assert len(receiver.requests()) == seen + 1


@pytest.mark.parametrize("status", [307, 308])
def test_redirect_that_keeps_the_post(status: int, receiver: Receiver) -> None:
    """A redirect that keeps the method and the body is followed, with the key where it stays on the host."""
    receiver.script(
        {"path": "/api/v1/lineage", "status": status, "headers": {"Location": f"{receiver.url}/elsewhere"}},
    )
    seen = len(receiver.requests())
    HttpBackend(receiver.url, key="key-1").emit(EVENT)
    _, request = receiver.requests()[seen:]
    assert (request["method"], request["path"], json.loads(request["body"])) == ("POST", "/elsewhere", EVENT)
    assert request["headers"]["authorization"] == "Bearer key-1"


def test_redirect_to_another_host(receiver: Receiver) -> None:
    """A redirect to another host does not take the key there."""
    elsewhere = Receiver()
    try:
        receiver.script({"status": 307, "headers": {"Location": f"http://localhost:{elsewhere.port}/elsewhere"}})
        HttpBackend(receiver.url, key="key-1").emit(EVENT)
        (request,) = elsewhere.requests()
        assert "authorization" not in request["headers"]
    finally:
        elsewhere.stop()


@pytest.mark.parametrize("action", ["reset", "partial", "garbage"])
def test_broken_answer(action: Any, receiver: Receiver) -> None:
    """An answer that breaks off is a transient error."""
    receiver.script({"action": action})
    with pytest.raises(requests.RequestException) as caught:
        HttpBackend(receiver.url).emit(EVENT)
    assert is_transient(caught.value)


def test_key_file(receiver: Receiver, tmp_path: Path) -> None:
    """The key of a file is read for each request, and its white space is not sent."""
    path = tmp_path / "key"
    backend = HttpBackend(receiver.url, key=KeyFile(str(path)))
    assert "authorization" not in sent_by(lambda: backend.emit(EVENT), receiver)["headers"]
    path.write_text("key-1\n")
    assert sent_by(lambda: backend.emit(EVENT), receiver)["headers"]["authorization"] == "Bearer key-1"


@pytest.mark.parametrize("key", ["s3cr3t-key\n", "s3cr3t-key\r\n", "s3cr3t\nkey-of-two-lines"])
def test_key_with_a_line_break(key: str, receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    """A key with a line break, as a secret made by `echo` has, is used without it or refused without being shown."""
    monkeypatch.setenv("OPENLINEAGE_URL", receiver.url)
    monkeypatch.setenv("OPENLINEAGE_API_KEY", key)
    try:
        sent_directly(EVENT, receiver)
    except Exception as error:
        shown = describe(error, Redactor(configured_secrets(os.environ), patterns=False))
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
    for make in (check_url, HttpBackend):
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
    HttpBackend(url)
