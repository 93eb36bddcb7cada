"""A session of `requests`, for what it does for us: proxies, netrc, credentials in the URL, IPv6, redirects."""

from __future__ import annotations

import netrc  # noqa: F401  requests imports it for its first request: a fork in the middle of that would hang the child
from typing import Any

import requests

from openlineage_pod.delivery.transports.answer import describe_redirect
from openlineage_pod.delivery.transports.base import REQUEST_TIMEOUT

__all__ = ["Session", "new_session"]


class Session:
    """A session that posts to one URL.

    Attributes:
        timeout: seconds that the backend may be silent during one request.

    """

    def __init__(self, url: str) -> None:
        self.timeout = REQUEST_TIMEOUT
        self._session = new_session()
        # Proxies, certificates and netrc are looked up once, and the request is prepared once: per event that would
        # take twice the processor time of the rest.
        self._environment: Any = self._session.merge_environment_settings(url, {}, None, None, None)
        request = requests.Request("POST", url, headers={"Content-Type": "application/json"})
        self._request = self._session.prepare_request(request)

    def post(self, body: bytes, key: str | None) -> None:
        """Post the JSON of one event with this API key.

        Raises:
            requests.RequestException: It was not delivered.

        """
        request = self._request.copy()
        request.body, request.headers["Content-Length"] = body, str(len(body))
        # Credentials of the URL or of netrc are there already; requests, and so openlineage-python, prefers them.
        if key and "Authorization" not in request.headers:
            request.headers["Authorization"] = f"Bearer {key}"
        self._session.send(request, timeout=self.timeout, **self._environment).raise_for_status()

    def close(self) -> None:
        """Close the connection; the next event opens another one."""
        self._session.close()


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
        raise requests.HTTPError(describe_redirect(status, response.headers.get("Location")), response=response)
