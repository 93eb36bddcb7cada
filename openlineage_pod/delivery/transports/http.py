"""The direct way to a backend that is configured by `OPENLINEAGE_URL` alone.

It sends what openlineage-python's HTTP transport would send, with `requests` as that does, but without importing
openlineage-python: that saves 28 MiB of memory, 150 ms of processor time beside the job and 25 ms at its end.
Every other configuration goes through openlineage-python (`client`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin, urlsplit

import requests

from openlineage_pod._guard import logger
from openlineage_pod.delivery.transports.key_file import KeyFile, KeyRefusedError

if TYPE_CHECKING:
    from openlineage_pod.events.document import Document

__all__ = ["DirectHttpTransport", "check_url", "new_session"]

# openlineage-python's defaults.
_ENDPOINT = "api/v1/lineage"
_TIMEOUT = 5.0


class DirectHttpTransport:
    """Posts events to one URL.

    Args:
        url: base URL of the backend.
        endpoint: path, relative to the URL; default `api/v1/lineage`.
        key: API key, or the file that holds it; sent as a bearer token.

    Raises:
        ValueError: `url` is no URL of a web server.

    """

    def __init__(self, url: str, endpoint: str | None = None, key: str | KeyFile | None = None) -> None:
        check_url(url)
        self._arguments = (url, endpoint, key)
        self._url = urljoin(url.strip(), endpoint or _ENDPOINT)
        self._key = key
        self._session = new_session()
        # Proxies, certificates and netrc are looked up once, and the request is prepared once: per event that would
        # take twice the processor time of the rest.
        self._environment: Any = self._session.merge_environment_settings(self._url, {}, None, None, None)
        request = requests.Request("POST", self._url, headers={"Content-Type": "application/json"})
        self._request = self._session.prepare_request(request)

    def emit(self, document: Document) -> None:
        """Post one event.

        Raises:
            requests.RequestException: it was not delivered.
            KeyRefusedError: the backend refused the key of a file.

        """
        request = self._request.copy()
        body = document.body
        request.body, request.headers["Content-Length"] = body, str(len(body))
        key = self._key.key if isinstance(self._key, KeyFile) else self._key
        # Credentials of the URL or of netrc are there already; requests, and so openlineage-python, prefers them.
        if key and "Authorization" not in request.headers:
            request.headers["Authorization"] = f"Bearer {key}"
        try:
            response = self._session.send(request, timeout=_TIMEOUT, **self._environment)
            response.raise_for_status()
        except requests.HTTPError as error:
            KeyRefusedError.raise_for(error, [self._key] if isinstance(self._key, KeyFile) else [])
            raise

    def clone(self) -> DirectHttpTransport:
        """Return a transport with a connection of its own."""
        return DirectHttpTransport(*self._arguments)


def check_url(url: str) -> None:
    """Raise ValueError if `url` is none of a web server, without showing it: a password in it may be what is wrong."""
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
    session = requests.Session()
    session.hooks["response"].append(_refuse_redirect)
    return session


def _refuse_redirect(response: requests.Response, *_args: Any, **_kwargs: Any) -> None:
    """Raise for an answer that delivers nothing though it is no error.

    After 301, 302 and 303 requests repeats a POST as a GET, whose success would pass for a delivery; 307 and 308 keep
    the POST, and requests drops the credentials where they lead to another host.
    """
    status = response.status_code
    if 300 <= status < 400 and not (status in (307, 308) and "Location" in response.headers):  # noqa: PLR2004
        response.close()  # an answer that is not read keeps its connection
        where = response.headers.get("Location", "nowhere")
        raise requests.HTTPError(f"{status} redirects to {where}; set OPENLINEAGE_URL to it", response=response)
