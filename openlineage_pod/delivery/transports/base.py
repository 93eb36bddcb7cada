"""What a transport is, and what is said of its failures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from openlineage_pod.events.document import Document
    from openlineage_pod.events.secrets import Secrets

__all__ = [
    "NOT_CONFIGURED",
    "REQUEST_TIMEOUT",
    "Transport",
    "describe",
    "drain_transport",
    "emit_for_sure",
    "has_unconfirmed",
    "limit_request",
    "one_line",
    "phase_of",
    "status_of",
    "take_unconfirmed",
    "target_of",
]

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
    """A way to a backend.

    More attributes are optional; the functions below read and set them:

    - `target`: where the events go, for a message.
    - `phase`: what the request under way is waiting for, such as `connecting to marquez:5000`; else an empty text.
    - `timeout`: seconds that one request may take; may be set at any time, also from another thread, and counts from
      then on for the request under way.
    - `unconfirmed`: events that `emit` has taken and that are delivered only once `drain` has returned and has left
      none; the next event opens the transport again.
    """

    def emit(self, document: Document) -> None:
        """Deliver one event or raise."""

    def clone(self) -> Transport | None:
        """Return a further transport to use at the same time from another thread, or None if that is not possible."""

    def close(self) -> None:
        """Close the connection; it may be opened again by the next event."""


def target_of(transport: Transport) -> str:
    """Return where a transport sends events, for a message: its URL without credentials, or its kind."""
    return str(getattr(transport, "target", "") or type(transport).__name__)


def phase_of(transport: Transport) -> str:
    """Return what the request under way of a transport is waiting for; empty if there is none, or it cannot tell."""
    return str(getattr(transport, "phase", ""))


def limit_request(transport: Transport, seconds: float) -> bool:
    """Let no request of a transport take longer than this from now on; return False if its requests have no limit."""
    timeout = getattr(transport, "timeout", None)
    if timeout is None:
        return False
    transport.timeout = min(timeout, seconds)  # type: ignore[attr-defined]
    return True


def drain_transport(transport: Transport, seconds: float) -> None:
    """Wait so long for what a transport has queued, and close it; no-op for one that delivers at once."""
    if has_unconfirmed(transport):
        transport.drain(seconds)  # type: ignore[attr-defined]


def has_unconfirmed(transport: Transport) -> bool:
    """Return whether a transport has taken events that it may not have delivered: only its end tells."""
    return bool(getattr(transport, "unconfirmed", False))


def take_unconfirmed(transport: Transport) -> list[Document]:
    """Return, once, the events that a transport has taken but has not delivered as far as anybody knows."""
    unconfirmed = getattr(transport, "unconfirmed", None)
    if not unconfirmed:
        return []
    taken = list(unconfirmed)
    unconfirmed.clear()
    return taken


def emit_for_sure(transport: Transport, document: Document) -> None:
    """Deliver one event or raise, also by a transport that tells only at its end whether it was delivered."""
    transport.emit(document)
    drain_transport(transport, REQUEST_TIMEOUT)
    if take_unconfirmed(transport):
        raise ConnectionError(f"the transport {target_of(transport)} has taken the event but has not delivered it")


def status_of(error: BaseException | None) -> int | None:
    """Return the HTTP status of the answer that an error carries, or None."""
    # `is not None`: a requests.Response with an error status is falsy.
    response = getattr(error, "response", None)
    status = getattr(response, "status_code", None)
    return status if isinstance(status, int) else None


def describe(error: BaseException, secrets: Secrets) -> str:
    """Return in one line what failed, with the backend's answer where there is one, and without any credential."""
    text = f"{type(error).__name__}: {error}"
    if answer := getattr(getattr(error, "response", None), "text", ""):
        # Masked before it is cut: half of a credential is not recognised.
        text = f"{text}: {secrets.text(answer[:_MAX_MESSAGE])[:_MAX_QUOTED_ANSWER]}"
    return one_line(secrets.text(text[:_MAX_MESSAGE]))[:_MAX_DESCRIPTION]


def one_line(text: str) -> str:
    """Return `text` without control characters, and with each run of white space as one space."""
    return " ".join("".join(character if character.isprintable() else " " for character in text).split())
