"""The URL and the API key as somebody configured them, and what is sent."""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import urljoin, urlsplit

from openlineage_pod._guard import logger
from openlineage_pod._redaction.names import compiled

__all__ = [
    "DEFAULT_ENDPOINT",
    "Key",
    "base_url",
    "check_url",
    "clean_key",
    "key_of",
    "request_url",
    "without_credentials",
]

DEFAULT_ENDPOINT = "api/v1/lineage"
"""openlineage-python's default."""
_BEARER = r"(?i)(authorization\s*:\s*)?bearer\s+"
_QUOTES = "\"'"


def check_url(url: str) -> None:
    """Raise ValueError if `url` is not that of a web server. The message does not show it: it may hold a password."""
    try:
        parts = urlsplit(url.strip())
        fault = "" if parts.scheme in ("http", "https") else "the URL does not begin with http:// or https://"
        if not fault and (not parts.hostname or parts.port == 0):
            fault = "the URL names no host"
    except ValueError as error:
        fault = "the URL cannot be understood; a password in it must be percent-encoded"
        if "out of range" in str(error):
            fault = "the port of the URL is out of range: 1 to 65535"
    if fault:
        raise ValueError(fault)


def base_url(url: str) -> str:
    """Return a URL whose path stays when a relative endpoint is joined to it: the path ends with a slash."""
    parts = urlsplit(url.strip())
    return parts._replace(path=f"{parts.path.rstrip('/')}/").geturl()


def request_url(url: str, endpoint: str | None) -> str:
    """Return the URL that events are posted to.

    | endpoint | `http://h/base` becomes |
    |---|---|
    | None | `http://h/base/api/v1/lineage`; a URL that ends so already is taken as it is |
    | empty | `http://h/base` |
    | `lineage` | `http://h/base/lineage` |
    | `/lineage` | `http://h/lineage`, as in a browser |

    openlineage-python loses a path without a slash at its end; otherwise the results are the same.
    """
    url = url.strip()
    if endpoint is not None and not endpoint.strip():
        return url if urlsplit(url).path else base_url(url)
    if endpoint is None and urlsplit(url).path.rstrip("/").endswith(f"/{DEFAULT_ENDPOINT}"):
        logger.warning("OPENLINEAGE_URL ends with %s already; it is used as it is", DEFAULT_ENDPOINT)
        return url
    return urljoin(base_url(url), DEFAULT_ENDPOINT if endpoint is None else endpoint.strip())


def without_credentials(url: str) -> str:
    """Return scheme, host and path of a URL: the user information and the query may hold credentials."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


class Key(NamedTuple):
    """An API key, what was taken off it, and why it cannot be sent."""

    value: str
    removed: str = ""
    fault: str = ""


def clean_key(value: str) -> Key:
    """Return a key without what does not belong to it: white space and quotes around it, and the word `Bearer`."""
    key = value.strip()
    removed = ["white space around it"] if key != value else []
    while True:
        if len(key) > 1 and key[0] == key[-1] and key[0] in _QUOTES:
            key, part = key[1:-1].strip(), "quotes around it"
        elif bearer := compiled(_BEARER).match(key):
            key, part = key[bearer.end() :].strip(), "the word Bearer"
        else:
            break
        removed.append(part)
    is_sendable = key.isprintable() and all(ord(character) < 256 for character in key)  # noqa: PLR2004  Latin-1
    fault = "" if is_sendable else "has a line break or another character that no HTTP header may have"
    return Key(key, " and ".join(dict.fromkeys(removed)), fault)


def key_of(variable: str, value: str) -> str:
    """Return the API key that a variable holds, with a warning where something had to be taken off it.

    Raises:
        ValueError: The key cannot be sent.

    """
    key = clean_key(value)
    if key.fault:
        raise ValueError(f"the API key in {variable} {key.fault}")
    if key.removed and key.value:
        logger.warning("the API key in %s is sent without %s; write the key alone", variable, key.removed)
    return key.value
