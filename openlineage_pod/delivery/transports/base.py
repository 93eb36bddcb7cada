"""What a transport is, and what is said of its failures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from openlineage_pod.events.document import Document
    from openlineage_pod.events.secrets import Secrets

__all__ = ["NOT_CONFIGURED", "REQUEST_TIMEOUT", "Transport", "describe", "one_line"]

NOT_CONFIGURED = (
    "no OpenLineage transport is configured; set OPENLINEAGE_URL "
    "(for example OPENLINEAGE_URL=http://marquez:5000), OPENLINEAGE_CONFIG or OPENLINEAGE__TRANSPORT__TYPE, "
    "or OPENLINEAGE_DISABLED=true to report nothing"
)
REQUEST_TIMEOUT = 5.0
"""Seconds that one request may take; openlineage-python's default."""
_MAX_QUOTED_ANSWER = 200
_MAX_MESSAGE = 4000
_MAX_DESCRIPTION = 600


class Transport(Protocol):
    """A way to a backend."""

    def emit(self, document: Document) -> None:
        """Deliver one event or raise."""

    def clone(self) -> Transport | None:
        """Return a further transport to use at the same time from another thread, or None if that is not possible."""

    def close(self) -> None:
        """Close the connection; it may be opened again by the next event."""


def describe(error: BaseException, secrets: Secrets) -> str:
    """Return in one line what failed, with the backend's answer where there is one, and without any credential."""
    text = f"{type(error).__name__}: {error}"
    if answer := getattr(getattr(error, "response", None), "text", ""):
        text = f"{text}: {answer[:_MAX_QUOTED_ANSWER]}"
    return one_line(secrets.text(text[:_MAX_MESSAGE]))[:_MAX_DESCRIPTION]


def one_line(text: str) -> str:
    """Return `text` without control characters, and with each run of white space as one space."""
    return " ".join("".join(character if character.isprintable() else " " for character in text).split())
