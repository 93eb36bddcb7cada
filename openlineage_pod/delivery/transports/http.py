"""The transport of a plain `OPENLINEAGE_URL`, without openlineage-python.

That saves 28 MiB of memory and 150 ms of processor time in the background. The same request leaves in one of two ways:
by the standard library (`connection`), which is the usual case, or by `requests` (`session`) where that does something
for us.
"""

from __future__ import annotations

import os
import re
import sys
from typing import TYPE_CHECKING
from urllib.parse import urljoin, urlsplit

from openlineage_pod import environment
from openlineage_pod._fork import importing
from openlineage_pod._guard import logger
from openlineage_pod.delivery.transports.answer import RedirectError
from openlineage_pod.delivery.transports.connection import Connection, ca_bundle
from openlineage_pod.delivery.transports.key_file import KeyFile, KeyRefusedError

if TYPE_CHECKING:
    from openlineage_pod.delivery.transports.session import Session
    from openlineage_pod.events.document import Document

__all__ = ["DirectHttpTransport", "check_url", "is_plain"]

# openlineage-python's default.
_ENDPOINT = "api/v1/lineage"
# A URL that is sent as it stands. `requests` knows how to encode others, and what to do with credentials.
_PLAIN_URL = re.compile(r"(?i:https?)://[\w.-]+(:\d+)?/(?!/)[\w./~+=&?,:;-]*", re.ASCII)


class DirectHttpTransport:
    """Posts events to one URL.

    Args:
        url: base URL of the backend.
        endpoint: path, relative to the URL; default `api/v1/lineage`.
        key: API key, or the file that holds it; sent as a bearer token.

    Raises:
        ValueError: `url` is not the URL of a web server.
        OSError: The certificates that the environment names cannot be read.

    """

    def __init__(self, url: str, endpoint: str | None = None, key: str | KeyFile | None = None) -> None:
        check_url(url)
        self._arguments = (url, endpoint, key)
        self._url = urljoin(url.strip(), endpoint or _ENDPOINT)
        self._key = key
        self._way: Connection | Session = Connection(self._url) if is_plain(self._url) else _session(self._url)

    def emit(self, document: Document) -> None:
        """Post one event.

        Raises:
            AnswerError, requests.HTTPError: The backend did not accept it; `response` is the answer.
            OSError: The backend could not be reached, or its answer broke off.
            KeyRefusedError: The backend refused the key of a file.

        """
        key = self._key.key if isinstance(self._key, KeyFile) else self._key
        try:
            try:
                self._way.post(document.body, key)
            except RedirectError:
                self._way = _session(self._url)
                self._way.post(document.body, key)
        except Exception as error:
            KeyRefusedError.raise_for(error, [self._key] if isinstance(self._key, KeyFile) else [])
            raise

    def clone(self) -> DirectHttpTransport:
        """Return a transport with a connection of its own."""
        return DirectHttpTransport(*self._arguments)

    def close(self) -> None:
        """Close the connection; the next event opens another one."""
        self._way.close()


def _session(url: str) -> Session:
    with importing():
        from openlineage_pod.delivery.transports.session import Session  # deferred: requests takes 80 ms

    return Session(url)


def is_plain(url: str) -> bool:
    """Say whether the standard library alone sends what `requests` would send to this URL in this environment."""
    names = [name.lower() for name, value in os.environ.items() if value]
    has_proxy = any(name.endswith(environment.PROXY_SUFFIX) and name != environment.NO_PROXY for name in names)
    netrc = [os.environ[environment.NETRC]] if environment.NETRC in os.environ else ["~/.netrc", "~/_netrc"]
    return (
        _PLAIN_URL.fullmatch(url) is not None
        and not has_proxy
        and sys.platform != "darwin"  # there, the system has proxies as well
        and not any(os.path.exists(os.path.expanduser(path)) for path in netrc)
        and os.path.exists(ca_bundle() or "/")
    )


def check_url(url: str) -> None:
    """Raise ValueError if `url` is not that of a web server. The message does not show it: it may hold a password."""
    try:
        parts = urlsplit(url.strip())
        fault = "" if parts.scheme in ("http", "https") else "the URL does not begin with http:// or https://"
        if not fault and (not parts.hostname or parts.port == 0):
            fault = "the URL names no host"
    except ValueError:
        fault = "the URL cannot be understood; a password in it must be percent-encoded"
    if fault:
        raise ValueError(fault)
    if parts.path.rstrip("/").endswith(_ENDPOINT):
        logger.warning("the lineage URL ends with %s already, and that is added to it: give the base alone", _ENDPOINT)
