"""A transport whose requests end before a deadline, for a thread that must not wait longer."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from openlineage_pod.delivery.transports.base import limit_request

if TYPE_CHECKING:
    from openlineage_pod.delivery.transports.base import Transport
    from openlineage_pod.events.document import Document

__all__ = ["BoundedTransport"]


class BoundedTransport:
    """Delivers by another transport until a deadline, a time of `time.monotonic()`.

    Looking up a host name has no limit: the C library waits as long as its own configuration says.
    """

    def __init__(self, transport: Transport, deadline: float) -> None:
        self._transport = transport
        self._deadline = deadline
        self._failure: Exception = TimeoutError("there was no time for a request")

    @property
    def timeout(self) -> float | None:
        """Seconds that one request may take."""
        return getattr(self._transport, "timeout", None)

    @timeout.setter
    def timeout(self, seconds: float) -> None:
        self._transport.timeout = seconds  # type: ignore[attr-defined]

    def emit(self, document: Document) -> None:
        """Deliver one event or raise.

        Raises:
            Exception: The last failure, if the deadline has passed; TimeoutError if there was none.

        """
        remaining = self._deadline - time.monotonic()
        if remaining <= 0 or not limit_request(self._transport, remaining):
            raise self._failure
        try:
            self._transport.emit(document)
        except Exception as error:
            self._failure = error
            raise

    def clone(self) -> None:
        """Return None: there is one thread only."""

    def close(self) -> None:
        """Close the connection."""
        self._transport.close()
