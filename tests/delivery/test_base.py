"""What every transport tells about itself, and the limit of its requests."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

from openlineage_pod.delivery.transports.base import limit_request, phase_of, target_of
from openlineage_pod.delivery.transports.connect import connect
from openlineage_pod.events.document import Document
from tests.support.events import event
from tests.support.harness import Receiver
from tests.support.waiting import at_most

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """Run a backend."""
    running = Receiver()
    yield running
    running.stop()


WAYS: dict[str, dict[str, str]] = {
    "direct": {},
    "requests": {"https_proxy": "http://127.0.0.1:9"},
    "client": {"OPENLINEAGE__TRANSPORT__TYPE": "http", "OPENLINEAGE__TRANSPORT__URL": "{url}"},
}


@pytest.mark.parametrize("way", WAYS)
def test_limited_request(way: str, receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    """A request to a backend that hangs ends at the limit that was set after the transport was made."""
    environ = {name: value.format(url=receiver.url) for name, value in WAYS[way].items()}
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    transport: Any = connect({**receiver.environ, **environ})
    receiver.script({"action": "hang"})
    transport.timeout = 600
    assert limit_request(transport, 0.2)
    assert limit_request(transport, 500)  # never raised again
    started = time.monotonic()
    with pytest.raises(Exception, match=r"(?i)timed? ?out"):
        transport.emit(Document(event(1)))
    assert time.monotonic() - started < at_most(0.2)
    assert target_of(transport) == f"{receiver.url}/api/v1/lineage"


def test_transport_that_tells_nothing() -> None:
    """A transport without the optional attributes is named by its class, and its requests have no limit."""

    class Pigeon:
        def emit(self, document: Document) -> None: ...

        def clone(self) -> None: ...

        def close(self) -> None: ...

    assert (target_of(Pigeon()), phase_of(Pigeon()), limit_request(Pigeon(), 1)) == ("Pigeon", "", False)


def test_kind_of_a_client_transport(monkeypatch: pytest.MonkeyPatch) -> None:
    """A transport without a URL is named by its kind."""
    monkeypatch.setenv("OPENLINEAGE__TRANSPORT__TYPE", "console")
    transport = connect({"OPENLINEAGE__TRANSPORT__TYPE": "console"})
    assert transport is not None
    assert (target_of(transport), limit_request(transport, 1)) == ("console", False)
