"""The URL and the API key as somebody configured them."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import pytest

from openlineage_pod.delivery.transports.address import check_url, clean_key, request_url, without_credentials
from openlineage_pod.delivery.transports.connect import connect
from openlineage_pod.events.document import Document, to_document
from openlineage_pod.events.secrets import Secrets
from openlineage_pod.settings import ConfigurationError
from tests.support.events import draft

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.harness import Receiver

EVENT = Document(to_document(draft(1)))


@pytest.mark.parametrize("url", ["http://h/base/api/v1/lineage", "http://h/api/v1/lineage/", "http://h/api/v1/lineage"])
def test_url_with_the_endpoint(url: str, caplog: pytest.LogCaptureFixture) -> None:
    """A URL that ends with the default endpoint is taken as it is, with a warning."""
    assert request_url(url, None) == url
    assert "ends with api/v1/lineage already" in caplog.text
    caplog.clear()
    assert request_url(url, "") == url
    assert not caplog.records


KEYS = {
    "key-1": ("key-1", ""),
    "key-1\n": ("key-1", "white space around it"),
    "Bearer key-1": ("key-1", "the word Bearer"),
    "bearer  key-1 \r\n": ("key-1", "white space around it and the word Bearer"),
    "'key-1'": ("key-1", "quotes around it"),
    '"Bearer key-1"\n': ("key-1", "white space around it and quotes around it and the word Bearer"),
    "Bearer 'Bearer key-1'": ("key-1", "the word Bearer and quotes around it"),
    "Authorization: Bearer key-1": ("key-1", "the word Bearer"),
    "'key-1": ("'key-1", ""),
    "Bearer": ("Bearer", ""),
    "bearer-key": ("bearer-key", ""),
    "": ("", ""),
}


@pytest.mark.parametrize(("value", "key"), KEYS.items())
def test_clean_key(value: str, key: tuple[str, str]) -> None:
    """What does not belong to a key is taken off it, in whatever order it stands there."""
    assert clean_key(value) == (*key, "")


@pytest.mark.parametrize("way", ["url", "file", "composite", "yml"])
@pytest.mark.parametrize("value", ["Bearer s3cr3t-key", "'s3cr3t-key'\n"])
def test_key_is_cleaned_on_every_way(  # noqa: PLR0917  pytest gives them by name
    value: str,
    way: str,
    tmp_path: Path,
    receiver: Receiver,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A key with the word Bearer or with quotes is sent without them, whichever way it was configured and is sent."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OPENLINEAGE_URL", receiver.url)
    match way:
        case "file":
            (tmp_path / "key").write_text(value)
            monkeypatch.setenv("OPENLINEAGE_API_KEY_FILE", str(tmp_path / "key"))
        case "yml":
            monkeypatch.setenv("OPENLINEAGE__TRANSPORT__TYPE", "http")
            monkeypatch.setenv("OPENLINEAGE__TRANSPORT__URL", receiver.url)
            monkeypatch.setenv("OPENLINEAGE__TRANSPORT__AUTH", json.dumps({"type": "api_key", "apiKey": value}))
        case _:
            monkeypatch.setenv("OPENLINEAGE_API_KEY", value)
    if way == "composite":
        monkeypatch.setenv("OPENLINEAGE__TRANSPORT__TYPE", "composite")
    backend: Any = connect(os.environ)
    backend.emit(EVENT)
    (request,) = receiver.requests()
    assert request["headers"]["authorization"] == "Bearer s3cr3t-key"
    assert ("the API key" in caplog.text) == (way != "file")
    assert "s3cr3t-key" not in caplog.text


@pytest.mark.parametrize("value", ["Bearer s3cr3t-key", "'s3cr3t-key'\n", '"Bearer s3cr3t-key"'])
@pytest.mark.parametrize("variable", ["OPENLINEAGE_API_KEY", "OPENLINEAGE__TRANSPORT__AUTH__APIKEY"])
def test_cleaned_key_is_masked(variable: str, value: str) -> None:
    """The key that is sent is known as a secret, also where the variable holds more than the key."""
    assert "s3cr3t-key" not in Secrets(environ={variable: value}).text("refused: s3cr3t-key")


@pytest.mark.parametrize("value", ["s3cr3t\nof-two-lines", "s3cr3t-\u2713", "s3cr3t-\x00"])
def test_key_that_cannot_be_sent(value: str) -> None:
    """A key that no header can have is a configuration error, which does not show it."""
    with pytest.raises(ConfigurationError, match="OPENLINEAGE_API_KEY") as caught:
        connect({"OPENLINEAGE_URL": "http://marquez:5000", "OPENLINEAGE_API_KEY": value})
    assert "s3cr3t" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("http://marquez:50000000", "out of range"),
        ("http://marquez:0", "names no host"),
        ("http://user:secret/tail@marquez:5000", "percent-encoded"),
        ("http://user:99999/tail@marquez:5000", "out of range"),  # the port is what stands before the slash
        ("marquez:5000", "does not begin with http://"),
    ],
)
def test_what_is_wrong_with_a_url(url: str, told: str) -> None:
    """The message about a wrong URL names what is wrong, and quotes nothing: it may be a password."""
    with pytest.raises(ValueError, match=told) as caught:
        check_url(url)
    assert not any(part in str(caught.value) for part in ("secret", "tail", "99999"))


def test_url_without_credentials() -> None:
    """Of a URL the user information and the query are left out."""
    url = "https://etl:pa@ss@lineage.example:8443/api/v1/lineage?token=abc"
    assert without_credentials(url) == "https://lineage.example:8443/api/v1/lineage"
