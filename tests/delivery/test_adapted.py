"""Every transport of openlineage-python and some of a job's own: what is delivered, told, and not given twice."""

from __future__ import annotations

import json
import os
import sys
import time
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from openlineage.client.transport import get_default_factory

from openlineage_pod.delivery.retry import is_transient
from openlineage_pod.delivery.transports.answer import AnswerError
from openlineage_pod.delivery.transports.base import emit_for_sure, take_unconfirmed
from openlineage_pod.delivery.transports.composite import LegError
from openlineage_pod.delivery.transports.connect import connect
from openlineage_pod.delivery.transports.exchange import UnreachableError
from openlineage_pod.delivery.transports.leg import QueueError
from openlineage_pod.events.document import Document, to_document
from tests.support.events import draft
from tests.support.harness import types

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.support.harness import Receiver

    Connected = Callable[..., Any]

EVENT = Document(to_document(draft(1)))
OWN = "tests.support.own_transports"


@pytest.fixture
def connected(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Connected:
    """Return a function that makes the transport of a configuration."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))

    def make(**transport: Any) -> Any:
        monkeypatch.setenv("OPENLINEAGE__TRANSPORT", json.dumps(transport))
        return connect(os.environ)

    return make


def needs(kind: str) -> None:
    """Skip the test where openlineage-python has no such transport yet."""
    if kind not in get_default_factory().transports:
        pytest.skip(f"this openlineage-python has no transport {kind}")


def http(receiver: Receiver, **options: Any) -> dict[str, Any]:
    """Return the configuration of an HTTP transport."""
    return {"type": "http", "url": receiver.url, **options}


def test_every_transport_is_known() -> None:
    """A transport that openlineage-python adds fails this test, so that somebody looks for its queue and retries."""
    assert set(get_default_factory().transports) <= {
        "amazon_datazone_api",
        "async_http",
        "composite",
        "console",
        "datadog",
        "file",
        "gcplineage",
        "http",
        "kafka",
        "msk-iam",
        "noop",
        "transform",
    }


# --- composite

INSIDE: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "composite": lambda legs: {"type": "composite", "transports": legs},
    "by its class": lambda legs: {
        "type": "openlineage.client.transport.composite.CompositeTransport",
        "transports": list(legs.values()),
    },
    "composite in composite": lambda legs: {
        "type": "composite",
        "transports": {name: {"type": "composite", "transports": [leg]} for name, leg in legs.items()},
    },
    "transform in composite": lambda legs: {
        "type": "composite",
        "transports": {name: transform(leg) for name, leg in legs.items()},
    },
    "composite in transform": lambda legs: transform({"type": "composite", "transports": legs}),
}


def transform(transport: dict[str, Any]) -> dict[str, Any]:
    """Return the configuration of a transport with a transformer before it."""
    return {
        "type": "transform",
        "transformer_class": "openlineage.client.transport.transform.JobNamespaceReplaceTransformer",
        "transformer_properties": {"new_job_namespace": "production"},
        "transport": transport,
    }


@pytest.mark.parametrize("inside", INSIDE)
@pytest.mark.parametrize("failing", ["a", "b"])
def test_each_leg_is_retried_on_its_own(
    inside: str, failing: str, new_receiver: Callable[[], Receiver], connected: Connected
) -> None:
    """A leg that fails twice gets the event at the third attempt; the other one has it once."""
    backends = {"a": new_receiver(), "b": new_receiver()}
    backends[failing].script({"status": 503, "times": 2})
    transport = connected(**INSIDE[inside]({name: http(each) for name, each in backends.items()}))
    for _ in range(2):
        with pytest.raises(LegError, match="503") as caught:
            transport.emit(EVENT)
        assert is_transient(caught.value)
    transport.emit(EVENT)
    for name, backend in backends.items():
        statuses = [request["status"] for request in backend.requests()]
        assert statuses == ([503, 503, 201] if name == failing else [201])


def test_leg_that_refuses_for_good(new_receiver: Callable[[], Receiver], connected: Connected) -> None:
    """A leg that refuses an event for good gets it once; the event is refused when all others are done with it."""
    first, second = new_receiver(), new_receiver()
    first.script({"status": 422})
    second.script({"status": 503, "times": 1})
    transport = connected(type="composite", transports={"a": http(first), "b": http(second)})
    with pytest.raises(LegError, match=r"transport b: .*503") as caught:
        transport.emit(EVENT)
    assert is_transient(caught.value)
    with pytest.raises(LegError, match=r"transport a: .*422") as caught:
        transport.emit(EVENT)
    assert not is_transient(caught.value)
    assert [request["status"] for request in first.requests()] == [422]
    assert [request["status"] for request in second.requests()] == [503, 201]


FLAGS = {
    # continue_on_failure, continue_on_success, status of a -> requests of a and b, delivered
    (True, True, 201): (1, 1, True),
    (True, True, 503): (1, 1, False),
    (True, False, 201): (1, 0, True),
    (True, False, 503): (1, 1, True),
    (True, False, 422): (1, 1, True),
    (False, True, 201): (1, 1, True),
    (False, True, 503): (1, 0, False),
    (False, True, 422): (1, 0, False),
    (False, False, 201): (1, 0, True),
    (False, False, 503): (1, 0, False),
}


@pytest.mark.parametrize(("flags", "expected"), FLAGS.items())
def test_flags_of_a_composite(
    flags: tuple[bool, bool, int],
    expected: tuple[int, int, bool],
    new_receiver: Callable[[], Receiver],
    connected: Connected,
) -> None:
    """`continue_on_failure` and `continue_on_success` mean what they mean in openlineage-python."""
    first, second = new_receiver(), new_receiver()
    first.script({"status": flags[2]})
    transport = connected(
        type="composite",
        continue_on_failure=flags[0],
        continue_on_success=flags[1],
        transports=[http(first), http(second)],
    )
    try:
        transport.emit(EVENT)
        delivered = True
    except LegError:
        delivered = False
    assert (len(first.requests()), len(second.requests()), delivered) == expected


def test_legs_are_sorted(new_receiver: Callable[[], Receiver], connected: Connected) -> None:
    """`sort_transports` puts the leg of the highest priority first."""
    first, second = new_receiver(), new_receiver()
    legs = {"a": http(first, priority=1), "b": http(second, priority=2)}
    connected(type="composite", sort_transports=True, continue_on_success=False, transports=legs).emit(EVENT)
    assert (len(first.requests()), len(second.requests())) == (0, 1)


def test_clone_of_a_composite(new_receiver: Callable[[], Receiver], connected: Connected) -> None:
    """A further transport knows which legs have an event: a run may go from one worker to another."""
    first, second = new_receiver(), new_receiver()
    second.script({"status": 503, "times": 1})
    transport = connected(type="composite", transports=[http(first), http(second)])
    with pytest.raises(LegError):
        transport.emit(EVENT)
    transport.clone().emit(EVENT)
    assert len(first.requests()) == 1
    assert connected(type="composite", transports=[http(first), {"type": "console"}]).clone() is None


def test_key_file_of_another_leg_is_not_blamed(
    new_receiver: Callable[[], Receiver], connected: Connected, tmp_path: Path
) -> None:
    """A leg without a key that is refused does not name the key file of another leg, and stays refused."""
    first, second = new_receiver(), new_receiver()
    second.script({"status": 401})
    (tmp_path / "key").write_text("key-1")
    auth = {"type": "openlineage_pod.auth.ApiKeyFileTokenProvider", "path": str(tmp_path / "key")}
    transport = connected(type="composite", transports={"a": http(first, auth=auth), "b": http(second)})
    with pytest.raises(LegError, match=r"transport b: .*no API key was sent") as caught:
        transport.emit(EVENT)
    assert (is_transient(caught.value), str(tmp_path / "key") in str(caught.value)) == (False, False)


# --- asynchronous ones

RULES = {"*": {"*": True}}


@pytest.mark.parametrize("rules", [RULES, {"python": {"*": True}}, None])
@pytest.mark.parametrize("inside", [None, *INSIDE])
def test_datadog(rules: Any, inside: str | None, receiver: Receiver, connected: Connected) -> None:
    """With asynchronous rules, too, a delivery is one that Datadog has accepted, and a failure is told."""
    needs("datadog")
    datadog: dict[str, Any] = {"type": "datadog", "site": receiver.url, "apiKey": "key-1"}
    if rules:
        datadog["async_transport_rules"] = rules
    transport = connected(**(INSIDE[inside]({"only": datadog}) if inside else datadog))
    receiver.script({"status": 503, "times": 1})
    with pytest.raises(Exception, match="503") as caught:
        transport.emit(EVENT)
    assert is_transient(caught.value)
    transport.emit(EVENT)
    assert len(receiver.requests()) == 2
    assert {request["headers"]["authorization"] for request in receiver.requests()} == {"Bearer key-1"}


@pytest.mark.parametrize(
    "kind",
    [
        "async_http",
        "openlineage.client.transport.AsyncHttpTransport",
        "openlineage.client.transport.async_http.AsyncHttpTransport",
    ],
)
def test_async_http(kind: str, receiver: Receiver, connected: Connected) -> None:
    """Whichever way it is named, it reports a refusal with its status."""
    receiver.script({"status": 422})
    with pytest.raises(AnswerError, match="422"):
        connected(type=kind, url=receiver.url).emit(EVENT)


@pytest.mark.parametrize("inside", [None, *INSIDE])
def test_own_transport_with_a_queue(inside: str | None, tmp_path: Path, connected: Connected) -> None:
    """A transport that can be waited for has delivered an event when it says so, and its failures are failures."""
    path = tmp_path / "events"
    own = {"type": f"{OWN}.Queued", "path": str(path), "failures": 1}
    transport = connected(**(INSIDE[inside]({"only": own}) if inside else own))
    with pytest.raises(Exception, match="could not deliver") as caught:
        transport.emit(EVENT)
    assert is_transient(caught.value)
    transport.emit(EVENT)
    assert types([json.loads(line) for line in path.read_text().splitlines()]) == [EVENT.fields["eventType"]]
    assert not transport.unconfirmed


def test_own_transport_with_a_slow_queue(tmp_path: Path, connected: Connected) -> None:
    """An event that is not done in time is waited for once more, and is not queued a second time."""
    transport = connected(type=f"{OWN}.Queued", path=str(tmp_path / "events"), delay=1)
    transport.timeout = 0.1
    with pytest.raises(QueueError, match=r"within 0.1 seconds"):
        transport.emit(EVENT)
    transport.timeout = 60
    transport.emit(EVENT)
    assert len((tmp_path / "events").read_text().splitlines()) == 1


@pytest.mark.parametrize("inside", [None, *INSIDE])
@pytest.mark.parametrize("kind", ["Threaded", "Batch"])
def test_own_transport_that_is_closed(kind: str, inside: str | None, tmp_path: Path, connected: Connected) -> None:
    """What a transport keeps until it is closed is unconfirmed until then; afterwards it can be used again."""
    path = tmp_path / "events"
    own = {"type": f"{OWN}.{kind}", "path": str(path)}
    transport = connected(**(INSIDE[inside]({"only": own}) if inside else own))
    transport.emit(EVENT)
    assert list(transport.unconfirmed) == [EVENT]
    transport.drain(60)
    assert not transport.unconfirmed
    assert len(path.read_text().splitlines()) == 1
    transport.emit(EVENT)
    transport.drain(60)
    assert len(path.read_text().splitlines()) == 2


@pytest.mark.parametrize("kind", ["Threaded", "Batch"])
def test_own_transport_that_fails_when_it_is_closed(kind: str, tmp_path: Path, connected: Connected) -> None:
    """Events stay unconfirmed where a transport cannot deliver them at its end."""
    transport = connected(type=f"{OWN}.{kind}", path=str(tmp_path / "events"), failures=1)
    transport.emit(EVENT)
    transport.drain(60)
    assert list(transport.unconfirmed) == [EVENT]


def test_emit_for_sure(tmp_path: Path, connected: Connected) -> None:
    """Where nothing may be lost between two events, each is delivered before the next, or is a failure."""
    path = tmp_path / "events"
    transport = connected(type=f"{OWN}.Batch", path=str(path))
    for number in (1, 2):
        emit_for_sure(transport, EVENT)
        assert len(path.read_text().splitlines()) == number
    failing = connected(type=f"{OWN}.Batch", path=str(path), failures=1)
    with pytest.raises(ConnectionError, match="has not delivered"):
        emit_for_sure(failing, EVENT)
    assert take_unconfirmed(failing) == []


# --- libraries of others, which are not installed here


class Producer:
    """A Kafka producer: `answers` says what becomes of each message."""

    def __init__(self, *answers: str | None) -> None:
        self.answers = list(answers)
        self.queue: list[Any] = []
        self.purged = 0

    def produce(self, **message: Any) -> None:
        self.queue.append(message)

    def flush(self, timeout: float) -> int:
        assert timeout >= 0
        while self.queue and self.answers and self.answers[0] != "hang":
            answer = self.answers.pop(0)
            self.queue.pop(0)["on_delivery"](answer, None)
        return len(self.queue)

    def purge(self) -> None:
        self.purged += len(self.queue)
        self.queue.clear()


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Return a function that installs a module with these names for the test."""

    def install(module: str, **names: Any) -> None:
        for number in range(1, len(module.split(".")) + 1):
            name = ".".join(module.split(".")[:number])
            if name not in sys.modules:
                monkeypatch.setitem(sys.modules, name, ModuleType(name))
        for name, value in names.items():
            monkeypatch.setattr(sys.modules[module], name, value, raising=False)

    return install


@pytest.mark.parametrize("kind", ["kafka", "msk-iam"])
def test_kafka(kind: str, library: Callable[..., None], connected: Connected) -> None:
    """A broker that refuses, or that does not answer, is a failure that may pass; an event is in the queue once."""
    producer = Producer("refused", None)
    library("confluent_kafka", Producer=lambda _config: producer)
    transport = connected(type=kind, topic="lineage", config={}, **({"region": "x"} if kind == "msk-iam" else {}))
    assert transport.target == "Kafka topic lineage"
    with pytest.raises(OSError, match="refused"):
        transport.emit(EVENT)
    transport.emit(EVENT)
    producer.answers = ["hang"]
    transport.timeout = 0.1
    with pytest.raises(OSError, match=r"within 0.1 seconds"):
        transport.emit(EVENT)
    assert (producer.purged, producer.queue) == (1, [])


class CloudError(Exception):
    """An error as botocore's and google-api-core's: both say an HTTP status."""

    def __init__(self, status: int | None) -> None:
        super().__init__("not now")
        self.response = {"ResponseMetadata": {"HTTPStatusCode": status}} if status else {}
        self.code = status


@pytest.mark.parametrize(
    ("status", "error"), [(400, AnswerError), (429, AnswerError), (500, AnswerError), (None, UnreachableError)]
)
@pytest.mark.parametrize("kind", ["amazon_datazone_api", "gcplineage"])
def test_cloud(
    kind: str, status: int | None, error: type[Exception], library: Callable[..., None], connected: Connected
) -> None:
    """The errors of a cloud's library tell whether another attempt may succeed, and do not quote the event."""
    needs(kind)
    answers = [CloudError(status), None]
    sent = []

    def take(**request: Any) -> Any:
        sent.append(request)
        if (answer := answers.pop(0)) is not None:
            raise answer
        return {"id": "1", "domainId": "d"}

    closed: list[str] = []
    client = SimpleNamespace(
        post_lineage_event=take,
        process_open_lineage_run_event=take,
        close=lambda: closed.append("client"),
        transport=SimpleNamespace(close=lambda: closed.append("client")),
    )
    library("boto3", client=lambda *_args, **_options: client)
    library("google.cloud.datacatalog_lineage_v1", LineageClient=lambda **_options: client, LineageAsyncClient=None)
    library("google.oauth2", service_account=None)
    transport = connected(type=kind, domainId="d", project_id="p", async_transport_rules=RULES)
    with pytest.raises(error) as caught:
        transport.emit(EVENT)
    assert is_transient(caught.value) == (status != 400)
    assert EVENT.fields["run"]["runId"] not in str(caught.value)
    transport.emit(EVENT)
    assert len(sent) == 2
    transport.close()
    assert closed == ["client"]


def test_targets(receiver: Receiver, connected: Connected) -> None:
    """Each transport tells where its events go, without credentials."""
    url = receiver.url.replace("//", "//etl:s3cr3t@")
    legs = [{"type": "http", "url": f"{url}/base"}, {"type": "file", "log_file_path": "/tmp/x"}, {"type": "console"}]  # noqa: S108
    composite = {"type": "composite", "transports": legs}
    assert connected(**composite).target == f"{receiver.url}/base/api/v1/lineage, file /tmp/x, console"
    assert connected(**transform(composite)).target == connected(**composite).target
    assert connected(type=f"{OWN}.Batch").target == "batch"


def test_deadline_of_each_leg(receiver: Receiver, connected: Connected) -> None:
    """A limit for requests reaches the legs inside a composite."""
    receiver.script({"action": "hang"})
    transport = connected(**transform({"type": "composite", "transports": [http(receiver)]}))
    assert transport.timeout == 5
    transport.timeout = 0.2
    started = time.monotonic()
    with pytest.raises(LegError, match=f"the answer of 127.0.0.1:{receiver.port} failed: timed out"):
        transport.emit(EVENT)
    assert time.monotonic() - started < 4
