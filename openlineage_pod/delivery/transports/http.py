"""The transport of a plain `OPENLINEAGE_URL`, without openlineage-python.

That saves 28 MiB of memory and 150 ms of processor time in the background. The same request leaves in one of two ways:
by the standard library's `http.client`, which is the usual case, or by `requests` (`session`) where that does something
for us. Compared with `requests`, the import of `http.client` takes a quarter of the time, and an exchange a third.
"""

from __future__ import annotations

import http.client
import io
import os
import re
import select
import ssl
import sys
import time
from contextlib import suppress
from functools import cache, partial
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin, urlsplit

from openlineage_pod import environment
from openlineage_pod._fork import importing
from openlineage_pod._guard import logger
from openlineage_pod.delivery.transports.answer import Answer, AnswerError, RedirectError, describe_redirect
from openlineage_pod.delivery.transports.base import REQUEST_TIMEOUT, without_credentials
from openlineage_pod.delivery.transports.key_file import KeyFile, KeyRefusedError
from openlineage_pod.events.facets import __version__

if TYPE_CHECKING:
    import socket
    from collections.abc import Mapping

    from openlineage_pod.delivery.transports.session import Session
    from openlineage_pod.events.document import Document

__all__ = ["DirectHttpTransport", "check_url", "is_plain"]

# openlineage-python's default.
_ENDPOINT = "api/v1/lineage"
# A URL that is sent as it stands. `requests` knows how to encode others, and what to do with credentials.
_PLAIN_URL = re.compile(r"(?i:https?)://[\w.-]+(:\d+)?/(?!/)[\w./~+=&?,:;-]*", re.ASCII)

_MAX_ANSWER_BYTES = 64 * 1024
_MIN_WAIT = 0.001
_HEADERS = {
    "User-Agent": f"openlineage-pod/{__version__}",
    "Accept": "*/*",
    "Connection": "keep-alive",
    "Content-Type": "application/json",
}


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
        self._way: _Connection | Session = _Connection(self._url) if is_plain(self._url) else _session(self._url)

    @property
    def target(self) -> str:
        """The URL that events are posted to, without credentials."""
        return without_credentials(self._url)

    @property
    def timeout(self) -> float:
        """Seconds that one request may take."""
        return self._way.timeout

    @timeout.setter
    def timeout(self, seconds: float) -> None:
        self._way.timeout = seconds

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
                session = _session(self._url)
                session.timeout = self._way.timeout
                self._way = session
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


class _Connection:
    """A persistent connection to one URL.

    Raises:
        OSError: The certificates that the environment names cannot be read.

    """

    def __init__(self, url: str) -> None:
        self.timeout = REQUEST_TIMEOUT
        self._url = url
        parts = urlsplit(url)
        self._target = f"{parts.path}?{parts.query}" if parts.query else parts.path
        host = parts.hostname or ""
        if parts.scheme == "https":
            context = _tls_context(_ca_bundle())
            self._connection: http.client.HTTPConnection = http.client.HTTPSConnection(
                host, parts.port, timeout=REQUEST_TIMEOUT, context=context
            )
        else:
            self._connection = http.client.HTTPConnection(host, parts.port, timeout=REQUEST_TIMEOUT)

    def __del__(self) -> None:
        with suppress(AttributeError):  # the constructor raised
            self.close()

    def close(self) -> None:
        """Close the connection; the next event opens another one."""
        self._connection.close()

    def post(self, body: bytes, key: str | None) -> None:
        """Post the JSON of one event with this API key.

        Raises:
            AnswerError: The backend did not accept it.
            RedirectError: The backend redirects to another URL and keeps the method.
            ConnectionError: The backend could not be reached, or its answer broke off.

        """
        headers = {**_HEADERS, "Authorization": f"Bearer {key}"} if key else _HEADERS
        try:
            status, reason, response = self._exchange(body, headers)
        except (OSError, http.client.HTTPException) as error:
            self.close()
            # Not the error itself: that of a certificate is a ValueError, too, which would count as permanent.
            raise ConnectionError(f"{self._url}: {type(error).__name__}: {error}") from error
        except BaseException:
            self.close()  # the request was sent in part
            raise
        location = response.headers.get("Location")
        if status in (307, 308) and location:
            raise RedirectError
        if 300 <= status < 400:  # noqa: PLR2004
            raise AnswerError(describe_redirect(status, location), response)
        if not 200 <= status < 300:  # noqa: PLR2004
            raise AnswerError(f"{status} {reason} for url: {self._url}", response)

    def _exchange(self, body: bytes, headers: Mapping[str, str]) -> tuple[int, str, Answer]:
        connection = self._connection
        if connection.sock is not None:
            if _is_readable(connection.sock):
                connection.close()  # the backend has closed it since; the request opens another one
            else:
                connection.sock.settimeout(self.timeout)
        connection.timeout = self.timeout
        response_class: Any = partial(_response, time.monotonic() + self.timeout)
        connection.response_class = response_class
        connection.request("POST", self._target, body, headers)
        with connection.getresponse() as answer:
            content = answer.read(_MAX_ANSWER_BYTES)
            if answer.length and len(content) < _MAX_ANSWER_BYTES:
                raise http.client.IncompleteRead(content, answer.length)
            if not answer.isclosed():
                connection.close()  # there is more than anybody reads
        return answer.status, answer.reason, Answer(answer.status, answer.headers, content.decode("utf-8", "replace"))


def _response(deadline: float, sock: socket.socket, **options: Any) -> http.client.HTTPResponse:
    reader: Any = _SocketReader(sock, deadline)
    return http.client.HTTPResponse(reader, **options)


class _SocketReader(io.RawIOBase):
    """Reads an answer from a socket, with one deadline for the whole answer.

    A timeout of the socket starts again with each byte that arrives.
    """

    def __init__(self, sock: socket.socket, deadline: float) -> None:
        self._socket = sock
        self._raw = sock.makefile("rb", buffering=0)
        self._deadline = deadline

    def makefile(self, _mode: str) -> io.BufferedReader:
        """Return the file that `HTTPResponse` reads."""
        return io.BufferedReader(self)

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: Any) -> int | None:
        """Read what is there, or wait for it until the deadline."""
        self._socket.settimeout(max(_MIN_WAIT, self._deadline - time.monotonic()))
        return self._raw.readinto(buffer)

    def close(self) -> None:
        """Let go of the socket, which the connection keeps open."""
        self._raw.close()
        super().close()


def _ca_bundle() -> str | None:
    """Return the trusted certificates that the environment names, by the variables that `requests` reads."""
    return os.environ.get(environment.REQUESTS_CA_BUNDLE) or os.environ.get(environment.CURL_CA_BUNDLE) or None


@cache  # it takes 20 ms, and several connections may share it
def _tls_context(bundle: str | None) -> ssl.SSLContext:
    if bundle is None:
        import certifi  # deferred: plain HTTP needs none

        bundle = certifi.where()
    is_directory = os.path.isdir(bundle)
    context = ssl.create_default_context(
        cafile=None if is_directory else bundle, capath=bundle if is_directory else None
    )
    context.set_alpn_protocols(["http/1.1"])
    return context


def _is_readable(sock: socket.socket) -> bool:
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    return bool(poll.poll(0))


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
        and os.path.exists(_ca_bundle() or "/")
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
