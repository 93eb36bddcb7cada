"""The rotating API key in openlineage-python's own configuration."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from openlineage.client.transport.http import create_token_provider

from openlineage_pod.auth import ApiKeyFileTokenProvider
from openlineage_pod.delivery.retry import is_transient
from openlineage_pod.delivery.transports.connect import connect
from openlineage_pod.events.document import Document, to_document
from tests.support.events import draft
from tests.support.files import replace

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from openlineage_pod.delivery.transports.base import Transport
    from tests.support.harness import Receiver

    Connected = Callable[[Mapping[str, str]], Transport]

YML = """
transport:
  type: http
  url: {url}
  auth:
    type: openlineage_pod.auth.ApiKeyFileTokenProvider
    path: {path}
"""
EVENT = Document(to_document(draft(1)))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return the path of a key file that is not there yet."""
    return tmp_path / "api-key"


@pytest.fixture
def connected(monkeypatch: pytest.MonkeyPatch) -> Connected:
    """Return a function that makes the backend of an environment; openlineage-python reads that of the process."""

    def make(environ: Mapping[str, str]) -> Transport:
        for name, value in environ.items():
            monkeypatch.setenv(name, value)
        backend = connect(os.environ)
        assert backend is not None
        return backend

    return make


def yml(tmp_path: Path, receiver: Receiver, path: Path) -> dict[str, str]:
    """Return the environment of a job that is configured by an openlineage.yml with a key file."""
    config = tmp_path / "openlineage.yml"
    config.write_text(YML.format(url=receiver.url, path=path))
    return {"OPENLINEAGE_CONFIG": str(config)}


def sent_keys(receiver: Receiver, backend: Transport, path: Path, *keys: str) -> list[str | None]:
    """Return the Authorization headers of events that are sent with these keys in the file, one after the other."""
    seen = len(receiver.requests())
    for key in keys:
        replace(path, key)
        backend.emit(EVENT)
    return [request["headers"].get("authorization") for request in receiver.requests()[seen:]]


def test_provider_follows_the_file(path: Path) -> None:
    """The provider gives the key of the moment as a bearer token, and nothing while there is none."""
    provider = ApiKeyFileTokenProvider({"path": str(path)})
    assert provider.get_bearer() is None
    replace(path, "key-1\n")
    assert provider.get_bearer() == "Bearer key-1"
    replace(path, "key-2\n")
    assert provider.get_bearer() == "Bearer key-2"


@pytest.mark.parametrize("config", [{}, {"path": ""}, {"path": None}])
def test_provider_without_a_path(config: dict[str, str]) -> None:
    """A configuration without the file says that it is missing."""
    with pytest.raises(KeyError, match="path"):
        ApiKeyFileTokenProvider(config)


def test_made_by_openlineage_python(path: Path) -> None:
    """Openlineage-python makes the provider from the name of its class."""
    auth = {"type": "openlineage_pod.auth.ApiKeyFileTokenProvider", "path": str(path)}
    provider = create_token_provider(auth)
    assert isinstance(provider, ApiKeyFileTokenProvider)
    assert provider.file.path == str(path)


def test_from_openlineage_yml(tmp_path: Path, path: Path, receiver: Receiver, connected: Connected) -> None:
    """With the provider in openlineage.yml each request carries the key that is in the file at that moment."""
    path.write_text("key-0")
    sent = sent_keys(receiver, connected(yml(tmp_path, receiver, path)), path, "key-1\n", "key-2\n")
    assert sent == ["Bearer key-1", "Bearer key-2"]


def test_missing_at_start(tmp_path: Path, path: Path, receiver: Receiver, connected: Connected) -> None:
    """A file that is missing when the transport is made is no error; its key is sent once it is there."""
    assert sent_keys(receiver, connected(yml(tmp_path, receiver, path)), path, "", "key-1") == [None, "Bearer key-1"]


@pytest.mark.parametrize("further", [{}, {"OPENLINEAGE__TRANSPORT__COMPRESSION": "gzip"}], ids=["direct", "client"])
def test_from_the_variable(further: dict[str, str], path: Path, receiver: Receiver, connected: Connected) -> None:
    """OPENLINEAGE_API_KEY_FILE goes before OPENLINEAGE_API_KEY, with and without openlineage-python."""
    environ = {**receiver.environ, "OPENLINEAGE_API_KEY": "other", "OPENLINEAGE_API_KEY_FILE": str(path), **further}
    if further:
        environ |= {"OPENLINEAGE__TRANSPORT__TYPE": "http", "OPENLINEAGE__TRANSPORT__URL": receiver.url}
    path.write_text("key-0")
    assert sent_keys(receiver, connected(environ), path, "key-1", "key-2\n") == ["Bearer key-1", "Bearer key-2"]


@pytest.mark.parametrize(("status", "way"), [(401, "direct"), (403, "direct"), (401, "yml"), (403, "yml")])
def test_refused_until_rotated(  # noqa: PLR0917  pytest gives them by name
    status: int, way: str, tmp_path: Path, path: Path, receiver: Receiver, connected: Connected
) -> None:
    """A refused key is a transient error that shows no key; with the next one in the file the event is accepted."""
    path.write_text("old-secret-key")
    environ = yml(tmp_path, receiver, path)
    if way == "direct":
        environ = {**receiver.environ, "OPENLINEAGE_API_KEY_FILE": str(path)}
    receiver.script({"times": 1, "status": status})
    seen = len(receiver.requests())
    backend = connected(environ)
    with pytest.raises(Exception, match=str(path)) as caught:
        backend.emit(EVENT)
    assert is_transient(caught.value)
    assert "old-secret-key" not in str(caught.value)
    replace(path, "new-secret-key")
    backend.emit(EVENT)
    requests = receiver.requests()[seen:]
    assert [request["headers"]["authorization"] for request in requests] == [
        "Bearer old-secret-key",
        "Bearer new-secret-key",
    ]
    assert [request["status"] for request in requests] == [status, 201]
