"""A session of `requests`, for what it does for us: proxies, netrc, credentials in the URL, IPv6, redirects.

It makes one attempt a call, within one deadline, and raises for every answer that is no delivery.
"""

from __future__ import annotations

import netrc  # noqa: F401  requests imports it for its first request: a fork in the middle of that would hang the child
import re
import ssl
import threading
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter, PoolManager
from requests.utils import get_auth_from_url, select_proxy

from openlineage_pod._guard import logger
from openlineage_pod.delivery.transports.address import without_credentials
from openlineage_pod.delivery.transports.answer import (
    MAX_ANSWER_BYTES,
    Answer,
    AnswerError,
    PageError,
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
from openlineage_pod.delivery.transports.trust import further_authorities

if TYPE_CHECKING:
    import socket
    from collections.abc import Mapping

__all__ = ["BoundedSession", "Session"]

_MAX_REDIRECTS = 5
# What a request carries that is no credential; other headers do not follow a redirect to another port.
_HARMLESS_HEADERS = (
    "accept",
    "accept-encoding",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "user-agent",
)
_REFUSED_BY_PROXY = re.compile(r"Tunnel connection failed: (\d{3}) ?(.*)")


class Session:
    """A session that posts to one URL.

    Attributes:
        timeout: seconds that one request may take.

    """

    def __init__(self, url: str, *, is_keyed: bool = False) -> None:
        self.timeout = REQUEST_TIMEOUT
        self._session = BoundedSession(is_keyed=is_keyed)
        # Proxies, certificates and netrc are looked up once, and the request is prepared once: per event that would
        # take twice the processor time of the rest.
        self._environment: Any = self._session.merge_environment_settings(url, {}, None, None, None)
        request = requests.Request("POST", url, headers={"Content-Type": "application/json"})
        self._request = self._session.prepare_request(request)

    @property
    def phase(self) -> str:
        """What the request under way is waiting for; empty if there is none."""
        return self._session.phase

    def post(self, body: bytes, key: str | None) -> None:
        """Post the JSON of one event with this API key.

        Raises:
            AnswerError, PageError: The backend did not accept it.
            UnreachableError: The backend could not be reached, or its answer broke off.

        """
        request = self._request.copy()
        request.body, request.headers["Content-Length"] = body, str(len(body))
        # Credentials of the URL or of netrc are there already; requests, and so openlineage-python, prefers them.
        if key and "Authorization" not in request.headers:
            request.headers["Authorization"] = f"Bearer {key}"
        self._session.send(request, timeout=self.timeout, **self._environment)

    def limit(self, seconds: float) -> None:
        """Let the request under way wait at most so long from now on."""
        self._session.limit(seconds)

    def close(self) -> None:
        """Close the connection; the next event opens another one."""
        self._session.close()


class BoundedSession(requests.Session):
    """A session with one deadline for a request and its redirects; see the module's documentation.

    Args:
        is_keyed: an API key is configured, which goes before the credentials of a netrc file.

    """

    def __init__(self, *, is_keyed: bool) -> None:
        self._is_keyed = is_keyed
        self._exchange: Exchange | None = None
        self._has_dropped = False
        super().__init__()
        self.max_redirects = _MAX_REDIRECTS
        self.hooks["response"].append(_check_redirect)

    @property
    def phase(self) -> str:
        """What the request under way is waiting for; empty if there is none."""
        exchange = self._exchange
        return exchange.phase if exchange is not None else ""

    def limit(self, seconds: float) -> None:
        """Let the request under way wait at most so long from now on."""
        if (exchange := self._exchange) is not None:
            exchange.limit(seconds)

    def mount(self, prefix: str | bytes, adapter: Any) -> None:
        """Use an adapter with the retries of this one that keeps the deadline."""
        super().mount(prefix, _Adapter(max_retries=adapter.max_retries))

    def prepare_request(self, request: requests.Request) -> requests.PreparedRequest:
        """Return the request to send: the user of the URL goes before a key, and both go before a netrc file."""
        if not request.auth:
            user = get_auth_from_url(str(request.url))
            request.auth = user if any(user) else _unchanged if self._is_keyed else None
        return super().prepare_request(request)

    def rebuild_auth(self, prepared_request: requests.PreparedRequest, response: requests.Response) -> None:
        """Take the credentials out of a request that is redirected to another port or scheme, and say so once."""
        before, after = str(response.request.url), str(prepared_request.url)
        if not self.should_strip_auth(before, after):  # type: ignore[no-untyped-call]
            return
        dropped = [name for name in prepared_request.headers if name.lower() not in _HARMLESS_HEADERS]
        for name in dropped:
            del prepared_request.headers[name]
        if dropped and not self._has_dropped:
            self._has_dropped = True
            logger.warning(
                "%s redirects to another port or scheme, %s; events go there without %s. Set OPENLINEAGE_URL to it",
                without_credentials(before),
                without_credentials(after),
                ", ".join("the API key" if name.lower() == "authorization" else name for name in dropped),
            )

    def send(self, request: requests.PreparedRequest, **options: Any) -> requests.Response:
        """Send one request, and the ones that it is redirected to.

        Raises:
            AnswerError, PageError: The backend did not accept it.
            UnreachableError: The backend could not be reached, or its answer broke off.

        """
        if self._exchange is not None:
            return super().send(request, **options)  # a redirect
        exchange = self._exchange = _under_way.exchange = Exchange(_seconds(options.get("timeout")))
        url, proxies = str(request.url), options.get("proxies") or {}
        try:
            response = super().send(request, **{**options, "stream": True})
            answer = _answer(response)
        except (AnswerError, PageError):
            raise
        except Exception as error:  # also a ValueError, such as that of a proxy's URL, is no fault of the event
            proxy = _proxy(url, proxies)
            if refusal := _REFUSED_BY_PROXY.search(str(error)):
                status = int(refusal[1])
                sent = Sent(url, _authorization(request), proxy, is_tunnel=True)
                check_answer(Answer(status, f"{refusal[2].rstrip(chr(39) + ')')} by the proxy".strip(), {}, ""), sent)
            raise unreachable(error, exchange, host_and_port(*_host(url))) from error
        finally:
            exchange.phase = ""
            self._exchange = None
        check_answer(answer, Sent(str(response.url), _authorization(response.request), _proxy(url, proxies)))
        return response


class _UnderWay(threading.local):
    """The exchange of this thread; urllib3's connections are made far from the session."""

    exchange = Exchange(REQUEST_TIMEOUT)


_under_way = _UnderWay()


# urllib3's classes, as requests uses them: it is a dependency of requests, not of this package.
_UPSTREAM: dict[str, Any] = PoolManager().pool_classes_by_scheme
_HTTP_POOL: Any = _UPSTREAM["http"]
_HTTPS_POOL: Any = _UPSTREAM["https"]
_HTTP_CONNECTION: Any = _HTTP_POOL.ConnectionCls
_HTTPS_CONNECTION: Any = _HTTPS_POOL.ConnectionCls


class _HttpConnection(_HTTP_CONNECTION):  # type: ignore[misc]
    """A connection of urllib3 that an exchange limits and watches."""

    @property
    def is_connected(self) -> bool:
        # Not by urllib3: in a job that is patched later it asks in an event loop of our thread, whose imports and those
        # of the main thread's loop may wait for each other for ever.
        return self.sock is not None and not is_readable(self.sock)

    def _new_conn(self) -> socket.socket:
        exchange = _under_way.exchange
        response_class: Any = partial(bounded_response, exchange)
        self.response_class = response_class  # a proxy answers to CONNECT before anybody asks for an answer
        host = str(getattr(self, "_dns_host", self.host))
        connection = open_socket(host, self.port, exchange, "the proxy " if _is_proxied(self) else "")
        if getattr(self, "_tunnel_host", None):
            proxy = host_and_port(host, self.port)
            exchange.phase = f"waiting for the proxy {proxy} to connect to {_where(self)}"
        else:
            is_tls = isinstance(self, _HTTPS_CONNECTION)
            exchange.phase = f"{'TLS handshake with' if is_tls else 'waiting for the answer of'} {_where(self)}"
        return connection

    def getresponse(self) -> Any:
        exchange = _under_way.exchange
        exchange.phase = f"waiting for the answer of {_where(self)}"
        response_class: Any = partial(bounded_response, exchange)
        self.response_class = response_class
        return super().getresponse()


class _HttpsConnection(_HttpConnection, _HTTPS_CONNECTION):  # type: ignore[misc]
    pass


def _is_proxied(connection: Any) -> bool:
    return bool(getattr(connection, "proxy", None) or getattr(connection, "_tunnel_host", None))


def _where(connection: Any) -> str:
    """Return who answers to a request on a connection, for a message."""
    if tunnel := getattr(connection, "_tunnel_host", None):
        return host_and_port(tunnel, getattr(connection, "_tunnel_port", None))
    return f"{'the proxy ' if _is_proxied(connection) else ''}{host_and_port(connection.host, connection.port)}"


class _HttpPool(_HTTP_POOL):  # type: ignore[misc]
    ConnectionCls = _HttpConnection

    def urlopen(
        self,
        method: str,
        url: str,
        body: Any = None,
        headers: Any = None,
        retries: Any = None,
        *args: Any,
        **kwargs: Any,
    ) -> Any:
        if getattr(retries, "history", None):
            _under_way.exchange.renew()  # a further attempt, which the user asked for
        return super().urlopen(method, url, body, headers, retries, *args, **kwargs)


class _HttpsPool(_HttpPool, _HTTPS_POOL):  # type: ignore[misc]
    ConnectionCls = _HttpsConnection


_POOLS = {"http": _HttpPool, "https": _HttpsPool}


class _Adapter(HTTPAdapter):
    """An adapter whose connections keep the deadline of the exchange."""

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        super().init_poolmanager(*args, **{**options, **_trust()})
        self.poolmanager.pool_classes_by_scheme = _POOLS

    def proxy_manager_for(self, proxy: str, **options: Any) -> Any:
        manager = super().proxy_manager_for(proxy, **{**options, **_trust()})
        if not proxy.lower().startswith("socks"):
            manager.pool_classes_by_scheme = _POOLS
        return manager


def _trust() -> dict[str, ssl.SSLContext]:
    """Return the option of a pool that adds authorities to those of requests."""
    further = further_authorities()
    if not further:
        return {}
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False  # urllib3 does that itself, unless nobody wants the certificate to be verified
    context.load_verify_locations(**further)
    return {"ssl_context": context}


def _unchanged(request: requests.PreparedRequest) -> requests.PreparedRequest:
    return request


def _seconds(timeout: Any) -> float:
    return timeout if isinstance(timeout, (int, float)) else REQUEST_TIMEOUT


def _authorization(request: requests.PreparedRequest) -> str | None:
    value = request.headers.get("Authorization")
    return value.decode("latin-1") if isinstance(value, bytes) else value


def _host(url: str) -> tuple[str, int | None]:
    parts = urlsplit(url)
    return parts.hostname or "", parts.port


def _proxy(url: str, proxies: Mapping[str, str]) -> str:
    """Return host and port of the proxy for a URL, for a message; empty if there is none."""
    proxy = select_proxy(url, proxies)
    # Not by a URL's grammar: its password may hold any character.
    return proxy.rpartition("@")[2].rpartition("://")[2].partition("/")[0] if proxy else ""


def _check_redirect(response: requests.Response, *_args: Any, **_options: Any) -> None:
    """Raise for a redirect that is not followed: to another host, only an `Authorization` would stay behind."""
    if not response.is_redirect:
        return
    answer = Answer(response.status_code, response.reason, response.headers, "")
    sent = Sent(str(response.url), _authorization(response.request))
    try:
        with suppress(RedirectError):  # requests follows it
            check_answer(answer, sent)
    except AnswerError:
        response.close()  # an answer that is not read keeps its connection
        raise


def _answer(response: requests.Response) -> Answer:
    """Read an answer, up to a limit."""
    content = b""
    try:
        for chunk in response.iter_content(MAX_ANSWER_BYTES):
            content += chunk
            if len(content) >= MAX_ANSWER_BYTES:
                break
    finally:
        response.close()
    return Answer(response.status_code, response.reason, response.headers, content.decode("utf-8", "replace"))
