"""The transport of a plain `OPENLINEAGE_URL`, without openlineage-python.

That saves 28 MiB of memory and 150 ms of processor time in the background. The same request leaves in one of two ways:
by the standard library's `http.client`, which is the usual case, or by `requests` (`session`) where that does something
for us. Compared with `requests`, the import of `http.client` takes a quarter of the time, and an exchange a third.
"""

from __future__ import annotations

import copy
import http.client
import os
import re
import ssl
import sys
from contextlib import suppress
from functools import cache, partial
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from openlineage_pod import environment
from openlineage_pod._fork import importing
from openlineage_pod.delivery.transports.address import check_url, request_url, without_credentials
from openlineage_pod.delivery.transports.answer import (
    MAX_ANSWER_BYTES,
    Answer,
    RedirectError,
    Sent,
    check_answer,
)
from openlineage_pod.delivery.transports.base import REQUEST_TIMEOUT
from openlineage_pod.delivery.transports.exchange import (
    Exchange,
    bounded_response,
    host_and_port,
    is_readable,
    open_socket,
    unreachable,
)
from openlineage_pod.delivery.transports.key_file import KeyFile, KeyRefusedError
from openlineage_pod.delivery.transports.trust import ca_bundle, further_authorities
from openlineage_pod.delivery.transports.unpatched import are_sockets_patched, unpatched
from openlineage_pod.events.facets import __version__

if TYPE_CHECKING:
    from collections.abc import Mapping

    from openlineage_pod.delivery.transports.session import Session
    from openlineage_pod.events.document import Document

__all__ = ["DirectHttpTransport", "is_plain", "way_to"]

# A URL that is sent as it stands. `requests` knows how to encode others, and what to do with credentials.
_PLAIN_URL = re.compile(r"(?i:https?)://[\w.-]+(:\d+)?/(?!/)[\w./~+=&?,:;-]*", re.ASCII)

_HEADERS = {
    "User-Agent": f"openlineage-pod/{__version__}",
    "Accept": "*/*",
    "Connection": "keep-alive",
    "Content-Type": "application/json",
}


class DirectHttpTransport:
    """Posts events to one URL.

    Args:
        url: base URL of the backend; its path stays.
        endpoint: path, relative to the URL; default `api/v1/lineage`; empty: events are posted to the URL itself.
        key: API key, or the file that holds it; sent as a bearer token.

    Raises:
        ValueError: `url` is not the URL of a web server.
        OSError: The certificates that the environment names cannot be read.

    """

    def __init__(self, url: str, endpoint: str | None = None, key: str | KeyFile | None = None) -> None:
        check_url(url)
        self._url = request_url(url, endpoint)
        self._key = key
        self._is_patched = False
        self._way: _Connection | Session = self._connected()

    @property
    def target(self) -> str:
        """The URL that events are posted to, without credentials."""
        return without_credentials(self._url)

    @property
    def phase(self) -> str:
        """What the request under way is waiting for; empty if there is none."""
        return self._way.phase

    @property
    def timeout(self) -> float:
        """Seconds that one request may take."""
        return self._way.timeout

    @timeout.setter
    def timeout(self, seconds: float) -> None:
        self._way.timeout = seconds
        self._way.limit(seconds)

    def emit(self, document: Document) -> None:
        """Post one event.

        Raises:
            AnswerError, PageError: The backend did not accept it; the `response` of the first is the answer.
            UnreachableError: The backend could not be reached, or its answer broke off.
            KeyRefusedError: The backend refused the key of a file.

        """
        key = self._key.key if isinstance(self._key, KeyFile) else self._key
        if self._is_patched != are_sockets_patched():
            self._replace(self._connected())
        try:
            try:
                self._way.post(document.body, key)
            except RedirectError:
                self._replace(self._connected(may_be_plain=False))
                self._way.post(document.body, key)
        except Exception as error:
            KeyRefusedError.raise_for(error, self._key)
            raise

    def clone(self) -> DirectHttpTransport:
        """Return a transport with a connection of its own."""
        further = copy.copy(self)
        further._way = further._connected()  # noqa: SLF001  it is one of this class
        return further

    def close(self) -> None:
        """Close the connection; the next event opens another one."""
        self._way.close()

    def _connected(self, *, may_be_plain: bool = True) -> _Connection | Session:
        """Return a way to the URL, of modules that are not patched; not `may_be_plain`: in any case by a session."""
        self._is_patched = are_sockets_patched()
        module: Any = unpatched(__name__) if self._is_patched else sys.modules[__name__]
        way: _Connection | Session = module.way_to(self._url, is_keyed=bool(self._key), may_be_plain=may_be_plain)
        return way

    def _replace(self, way: _Connection | Session) -> None:
        way.timeout = self._way.timeout
        self._way.close()
        self._way = way


def way_to(url: str, *, is_keyed: bool, may_be_plain: bool = True) -> _Connection | Session:
    """Return the cheapest way to a URL that sends what `requests` would send."""
    if may_be_plain and is_plain(url, is_keyed=is_keyed):
        return _Connection(url)
    return _session(url, is_keyed=is_keyed)


class _HttpConnection(http.client.HTTPConnection):
    """A connection that an exchange limits and watches."""

    exchange: Exchange

    def connect(self) -> None:
        """Connect within the time of the exchange."""
        self.sock = open_socket(self.host, self.port, self.exchange)


class _HttpsConnection(_HttpConnection):
    default_port = http.client.HTTPS_PORT

    def __init__(self, host: str, port: int | None, context: ssl.SSLContext) -> None:
        super().__init__(host, port)
        self._tls = context

    def connect(self) -> None:
        """Connect, and shake hands."""
        super().connect()
        self.exchange.phase = f"TLS handshake with {host_and_port(self.host, self.port)}"
        self.sock = self._tls.wrap_socket(self.sock, server_hostname=self.host)


class _Connection:
    """A persistent connection to one URL.

    Attributes:
        timeout: seconds that one request may take.

    Raises:
        OSError: The certificates that the environment names cannot be read.

    """

    def __init__(self, url: str) -> None:
        self.timeout = REQUEST_TIMEOUT
        self._url = url
        parts = urlsplit(url)
        self._target = f"{parts.path}?{parts.query}" if parts.query else parts.path
        host = parts.hostname or ""
        self._connection = (
            _HttpsConnection(host, parts.port, _tls_context(ca_bundle()))
            if parts.scheme == "https"
            else _HttpConnection(host, parts.port)
        )
        self._where = host_and_port(host, self._connection.port)
        self._exchange: Exchange | None = None

    def __del__(self) -> None:
        with suppress(AttributeError):  # the constructor raised
            self.close()

    @property
    def phase(self) -> str:
        """What the request under way is waiting for; empty if there is none."""
        return self._exchange.phase if self._exchange is not None else ""

    def limit(self, seconds: float) -> None:
        """Let the request under way wait at most so long from now on."""
        if self._exchange is not None:
            self._exchange.limit(seconds)

    def close(self) -> None:
        """Close the connection; the next event opens another one."""
        self._connection.close()

    def post(self, body: bytes, key: str | None) -> None:
        """Post the JSON of one event with this API key.

        Raises:
            AnswerError, PageError: The backend did not accept it.
            RedirectError: The backend redirects to another URL of the same host, and keeps the method.
            UnreachableError: The backend could not be reached, or its answer broke off.

        """
        authorization = f"Bearer {key}" if key else None
        headers = {**_HEADERS, "Authorization": authorization} if authorization else _HEADERS
        exchange = self._exchange = Exchange(self.timeout)
        try:
            answer = self._answer(exchange, body, headers)
        except (OSError, http.client.HTTPException) as error:
            self.close()
            # Not the error itself: that of a certificate is a ValueError, too, which would count as permanent.
            raise unreachable(error, exchange, self._where) from error
        except BaseException:
            self.close()  # the request was sent in part
            raise
        finally:
            exchange.phase = ""
        check_answer(answer, Sent(self._url, authorization))

    def _answer(self, exchange: Exchange, body: bytes, headers: Mapping[str, str]) -> Answer:
        connection = self._connection
        connection.exchange = exchange
        if connection.sock is not None and is_readable(connection.sock):
            connection.close()  # the backend has closed it since
        if connection.sock is None:
            connection.connect()
        exchange.phase = f"waiting for the answer of {self._where}"
        connection.sock.settimeout(exchange.remaining)
        response_class: Any = partial(bounded_response, exchange)
        connection.response_class = response_class
        connection.request("POST", self._target, body, headers)
        with connection.getresponse() as answer:
            content = answer.read(MAX_ANSWER_BYTES)
            if answer.length and len(content) < MAX_ANSWER_BYTES:
                raise http.client.IncompleteRead(content, answer.length)
            if not answer.isclosed():
                connection.close()  # there is more than anybody reads
        return Answer(answer.status, answer.reason, answer.headers, content.decode("utf-8", "replace"))


@cache  # it takes 20 ms, and several connections may share it
def _tls_context(bundle: str | None) -> ssl.SSLContext:
    if bundle is None:
        import certifi  # deferred: plain HTTP needs none

        bundle = certifi.where()
    is_directory = os.path.isdir(bundle)
    context = ssl.create_default_context(
        cafile=None if is_directory else bundle, capath=bundle if is_directory else None
    )
    if further := further_authorities():
        context.load_verify_locations(**further)
    context.set_alpn_protocols(["http/1.1"])
    return context


def _session(url: str, *, is_keyed: bool) -> Session:
    with importing():
        from openlineage_pod.delivery.transports.session import Session  # deferred: requests takes 80 ms

    return Session(url, is_keyed=is_keyed)


def is_plain(url: str, *, is_keyed: bool = False) -> bool:
    """Return whether the standard library alone sends what `requests` would send to this URL in this environment.

    `is_keyed`: an API key is configured, which goes before the credentials of a netrc file.
    """
    names = [name.lower() for name, value in os.environ.items() if value]
    has_proxy = any(name.endswith(environment.PROXY_SUFFIX) and name != environment.NO_PROXY for name in names)
    netrc = [os.environ[environment.NETRC]] if environment.NETRC in os.environ else ["~/.netrc", "~/_netrc"]
    return (
        _PLAIN_URL.fullmatch(url) is not None
        and not has_proxy
        and sys.platform != "darwin"  # there, the system has proxies as well
        and (is_keyed or not any(os.path.exists(os.path.expanduser(path)) for path in netrc))
        and os.path.exists(ca_bundle() or "/")
    )
