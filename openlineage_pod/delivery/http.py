"""HTTP transport for a plain `OPENLINEAGE_URL`, without openlineage-python.

That saves 28 MiB of memory and 150 ms of processor time in the background. The same request leaves in one of two ways:

- `_Connection` uses the standard library's `http.client`. It serves a URL that needs nothing more, which is the usual
  case. Compared with `requests`, the import takes a quarter of the time, and an exchange a third.
- `_Session` uses `requests` where that does something for us: proxies, netrc, credentials in the URL, IPv6 and
  international host names, redirects.
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
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urljoin, urlsplit

from openlineage_pod._guard import logger
from openlineage_pod.delivery.importing import importing
from openlineage_pod.delivery.key_file import KeyFile, KeyRefusedError
from openlineage_pod.events import to_json
from openlineage_pod.spec import __version__

if TYPE_CHECKING:
    import socket
    from collections.abc import Mapping

    import requests

__all__ = ["AnswerError", "HttpBackend", "check_url", "new_session"]

# openlineage-python's defaults.
_ENDPOINT = "api/v1/lineage"
_TIMEOUT = 5.0
_MAX_ANSWER = 64 * 1024
_MIN_WAIT = 0.001
_HEADERS = {
    "User-Agent": f"openlineage-pod/{__version__}",
    "Accept": "*/*",
    "Connection": "keep-alive",
    "Content-Type": "application/json",
}
# A URL that is sent as it stands. `requests` knows how to encode others, and what to do with credentials.
_PLAIN_URL = re.compile(r"(?i:https?)://[\w.-]+(:\d+)?/(?!/)[\w./~+=&?,:;-]*", re.ASCII)


class HttpBackend:
    """Posts events to one URL.

    Args:
        url: base URL of the backend.
        endpoint: path, relative to the URL; default `api/v1/lineage`.
        key: API key, or the file that holds it; sent as a bearer token.

    Raises:
        ValueError: `url` is not the URL of a web server.

    """

    def __init__(self, url: str, endpoint: str | None = None, key: str | KeyFile | None = None) -> None:
        check_url(url)
        self._arguments = (url, endpoint, key)
        self._url = urljoin(url.strip(), endpoint or _ENDPOINT)
        self._key = key
        self._way: _Connection | _Session = _Connection(self._url) if _is_plain(self._url) else _Session(self._url)

    def emit(self, document: Mapping[str, Any]) -> None:
        """Post one event; see `post`."""
        self.post(to_json(document))

    def post(self, body: bytes) -> None:
        """Post the JSON of one event.

        Raises:
            AnswerError, requests.HTTPError: the backend did not accept it; `response` is the answer.
            OSError: the backend could not be reached, or its answer broke off.
            KeyRefusedError: the backend refused the key of a file.

        """
        key = self._key.key if isinstance(self._key, KeyFile) else self._key
        try:
            try:
                self._way.post(body, key)
            except _RedirectError:
                self._way = _Session(self._url)
                self._way.post(body, key)
        except Exception as error:
            KeyRefusedError.raise_for(error, [self._key] if isinstance(self._key, KeyFile) else [])
            raise

    def another(self) -> HttpBackend:
        """Return a backend with a connection of its own."""
        return HttpBackend(*self._arguments)

    def close(self) -> None:
        """Close the connection; the next event opens another one."""
        self._way.close()


class Answer(NamedTuple):
    """What a backend answered; the fields have the names that `requests` gives them."""

    status_code: int
    headers: http.client.HTTPMessage
    text: str


class AnswerError(Exception):
    """The status of the answer is not 2xx."""

    def __init__(self, message: str, response: Answer) -> None:
        super().__init__(message)
        self.response = response


class _RedirectError(Exception):
    """The backend redirects to another URL and keeps the method: `requests` follows it."""


class _Connection:
    """A persistent connection of the standard library."""

    def __init__(self, url: str) -> None:
        self._url = url
        parts = urlsplit(url)
        self._target = f"{parts.path}?{parts.query}" if parts.query else parts.path
        host = parts.hostname or ""
        if parts.scheme == "https":
            context = _tls_context(_ca_bundle())
            self._connection: http.client.HTTPConnection = http.client.HTTPSConnection(
                host, parts.port, timeout=_TIMEOUT, context=context
            )
        else:
            self._connection = http.client.HTTPConnection(host, parts.port, timeout=_TIMEOUT)

    def __del__(self) -> None:
        with suppress(AttributeError):  # the constructor raised
            self.close()

    def close(self) -> None:
        self._connection.close()

    def post(self, body: bytes, key: str | None) -> None:
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
            raise _RedirectError
        if 300 <= status < 400:  # noqa: PLR2004
            raise AnswerError(_redirect(status, location), response)
        if not 200 <= status < 300:  # noqa: PLR2004
            raise AnswerError(f"{status} {reason} for url: {self._url}", response)

    def _exchange(self, body: bytes, headers: Mapping[str, str]) -> tuple[int, str, Answer]:
        connection = self._connection
        if connection.sock is not None:
            if _is_readable(connection.sock):
                connection.close()  # the backend has closed it since; the request opens another one
            else:
                connection.sock.settimeout(_TIMEOUT)
        response_class: Any = partial(_response, time.monotonic() + _TIMEOUT)
        connection.response_class = response_class
        connection.request("POST", self._target, body, headers)
        with connection.getresponse() as answer:
            content = answer.read(_MAX_ANSWER)
            if answer.length and len(content) < _MAX_ANSWER:
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


class _Session:
    """A session of `requests`."""

    def __init__(self, url: str) -> None:
        with importing():
            # requests imports netrc for its first request: a fork in the middle of that would leave the child with a
            # module that never becomes ready.
            import netrc  # noqa: F401

            import requests

        self._session = new_session()
        # Proxies, certificates and netrc are looked up once, and the request is prepared once: per event that would
        # take twice the processor time of the rest.
        self._environment: Any = self._session.merge_environment_settings(url, {}, None, None, None)
        request = requests.Request("POST", url, headers={"Content-Type": "application/json"})
        self._request = self._session.prepare_request(request)

    def post(self, body: bytes, key: str | None) -> None:
        request = self._request.copy()
        request.body, request.headers["Content-Length"] = body, str(len(body))
        # Credentials of the URL or of netrc are there already; requests, and so openlineage-python, prefers them.
        if key and "Authorization" not in request.headers:
            request.headers["Authorization"] = f"Bearer {key}"
        self._session.send(request, timeout=_TIMEOUT, **self._environment).raise_for_status()

    def close(self) -> None:
        self._session.close()


def _is_plain(url: str) -> bool:
    """Return whether the standard library alone sends what `requests` would send to this URL in this environment."""
    proxies = any(
        value and name.lower().endswith("_proxy") and name.lower() != "no_proxy" for name, value in os.environ.items()
    )
    netrc = [os.environ["NETRC"]] if "NETRC" in os.environ else ["~/.netrc", "~/_netrc"]
    return (
        _PLAIN_URL.fullmatch(url) is not None
        and not proxies
        and sys.platform != "darwin"  # there, the system has proxies as well
        and not any(os.path.exists(os.path.expanduser(path)) for path in netrc)
        and os.path.exists(_ca_bundle() or "/")
    )


def _ca_bundle() -> str | None:
    """Return the trusted certificates that the environment names, by the variables that `requests` reads."""
    return os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE") or None


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


def new_session() -> requests.Session:
    """Return a session that makes one attempt a call and takes no redirect for a delivery."""
    import requests

    session = requests.Session()
    session.hooks["response"].append(_refuse_redirect)
    return session


def _refuse_redirect(response: requests.Response, *_args: Any, **_kwargs: Any) -> None:
    """Raise for an answer that delivers nothing though it is no error.

    After 301, 302 and 303 requests repeats a POST as a GET, whose success would pass for a delivery; 307 and 308 keep
    the POST, and requests drops the credentials where they lead to another host.
    """
    import requests

    status = response.status_code
    if 300 <= status < 400 and not (status in (307, 308) and "Location" in response.headers):  # noqa: PLR2004
        response.close()  # an answer that is not read keeps its connection
        raise requests.HTTPError(_redirect(status, response.headers.get("Location")), response=response)


def _redirect(status: int, location: str | None) -> str:
    return f"{status} redirects to {location or 'nowhere'}; set OPENLINEAGE_URL to it"
