"""What a backend answered, and whether that is a delivery."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, NoReturn, Protocol
from urllib.parse import urljoin, urlsplit

from openlineage_pod._redaction.names import compiled
from openlineage_pod.delivery.transports.address import without_credentials

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "MAX_ANSWER_BYTES",
    "Answer",
    "AnswerError",
    "PageError",
    "RedirectError",
    "Sent",
    "check_answer",
]

MAX_ANSWER_BYTES = 64 * 1024
"""What is read of an answer."""
_PROXY_REFUSES = 407
# After 301, 302 and 303 a POST is repeated as a GET, whose success would pass for a delivery.
_KEEP_METHOD = (307, 308)
_TITLE = r"(?is)<title[^>]*>\s*([^<\r\n]{1,120})"


class Headers(Protocol):
    """The headers of an answer; their names have no case."""

    def get(self, name: str, /) -> str | None:
        """Return the value of a header."""


class Answer(NamedTuple):
    """What a backend answered; the fields have the names that `requests` gives them."""

    status_code: int
    reason: str
    headers: Headers
    text: str


class Sent(NamedTuple):
    """What is said of a request when its answer is no delivery."""

    url: str
    """With credentials, which are not shown."""
    authorization: str | None = None
    """The value of that header."""
    proxy: str = ""
    """Host and port of the proxy that it went through."""
    is_tunnel: bool = False
    """The proxy answers itself, to the wish for a tunnel: nothing has reached the backend."""

    @property
    def has_user(self) -> bool:
        """Whether a user and a password were sent instead of an API key."""
        return (self.authorization or "").lower().startswith("basic ")

    @property
    def shown(self) -> str:
        """The URL without credentials, and the proxy."""
        return f"{without_credentials(self.url)}{f' (through the proxy {self.proxy})' if self.proxy else ''}"


class AnswerError(Exception):
    """The answer is no delivery; its status says whether another attempt may be one.

    Attributes:
        response: the answer.
        blames_key: whether the server that refused the request had received the API key, if one is configured.

    """

    def __init__(self, message: str, response: Answer, *, blames_key: bool = True) -> None:
        super().__init__(message)
        self.response = response
        self.blames_key = blames_key


class PageError(Exception):
    """The status says success, but the answer is a web page. No `response`: another attempt may reach the backend."""


class RedirectError(Exception):
    """The backend redirects to another URL of the same host and keeps the method: `requests` follows it."""


def check_answer(answer: Answer, sent: Sent) -> None:
    """Return if the answer is a delivery: its status is 2xx, and its body is not a web page.

    A body decides, not its type: frameworks give an empty answer, or the text OK, the type `text/html` by default.

    Raises:
        RedirectError: The answer leads to another URL of the same host, with the same method.
        AnswerError: The status is another one.
        PageError: The body is a web page, as of a proxy that wants a login.

    """
    status = answer.status_code
    if 300 <= status < 400:  # noqa: PLR2004
        _raise_redirect(answer, sent)
    if not 200 <= status < 300:  # noqa: PLR2004
        message = f"{status} {answer.reason} for url: {sent.shown}"
        blames_key = not sent.has_user and not sent.is_tunnel
        raise AnswerError(f"{message}{_HINTS.get(status, _no_hint)(sent)}", answer, blames_key=blames_key)
    if _is_page(answer):
        found = compiled(_TITLE).search(answer.text)
        title = f" with the title {found[1].strip()!r}" if found else ""
        raise PageError(
            f"{sent.shown} answered {status} with a web page{title}, not as an OpenLineage backend does; "
            "is it the page of a proxy or a login, or is OPENLINEAGE_URL that of the web interface?"
        )


def _raise_redirect(answer: Answer, sent: Sent) -> NoReturn:
    """Raise for a redirect. Another host may not be the backend at all: nothing is sent there."""
    message = f"{answer.status_code} for url: {sent.shown}"
    location = answer.headers.get("Location")
    if not location:
        raise AnswerError(f"{message}, a redirect to nowhere", answer)
    target = urljoin(sent.url, location)
    before, after = (urlsplit(url).hostname for url in (sent.url, target))
    if before == after and answer.status_code in _KEEP_METHOD:
        raise RedirectError
    where = f"{f'the other host {after}: ' if before != after else ''}{without_credentials(target)}"
    raise AnswerError(f"{message}, which redirects to {where}; set OPENLINEAGE_URL to it", answer)


def _is_page(answer: Answer) -> bool:
    text = answer.text.lstrip("\ufeff \t\r\n")
    is_html = "html" in (answer.headers.get("Content-Type") or "").lower()
    is_compressed = (answer.headers.get("Content-Encoding") or "identity") != "identity" and not text.isprintable()
    return text.startswith("<") or (is_html and ("<" in text or (bool(text) and is_compressed)))


def _no_hint(_sent: Sent) -> str:
    return ""


def _credentials(sent: Sent) -> str:
    if sent.is_tunnel:
        return "; nothing has reached the backend: does the proxy allow its host and port?"
    if not sent.authorization:
        return "; no API key was sent (OPENLINEAGE_API_KEY and OPENLINEAGE_API_KEY_FILE are for one)"
    return "; a user and a password were sent, of the URL or of .netrc" if sent.has_user else "; an API key was sent"


def _proxy(sent: Sent) -> str:
    return (
        f"; the proxy {sent.proxy or 'on the way'} refuses, not the backend: it wants a user and a password in the URL "
        "of HTTP_PROXY or HTTPS_PROXY"
    )


_HINTS: dict[int, Callable[[Sent], str]] = {401: _credentials, 403: _credentials, _PROXY_REFUSES: _proxy}
