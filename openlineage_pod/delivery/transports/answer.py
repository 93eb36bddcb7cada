"""What a backend answered that did not accept an event."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import http.client

__all__ = ["Answer", "AnswerError", "RedirectError", "describe_redirect", "status_of"]


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


class RedirectError(Exception):
    """The backend redirects to another URL and keeps the method: `requests` follows it."""


def describe_redirect(status: int, location: str | None) -> str:
    """Return what is said of a redirect that delivers nothing."""
    return f"{status} redirects to {location or 'nowhere'}; set OPENLINEAGE_URL to it"


def status_of(error: BaseException | None) -> int | None:
    """Return the HTTP status of the answer that an error carries, or None."""
    # `is not None`: a requests.Response with an error status is falsy.
    response = getattr(error, "response", None)
    status = getattr(response, "status_code", None)
    return status if isinstance(status, int) else None
