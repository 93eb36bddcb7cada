"""The end of a transport that keeps events until it is closed: the exit asks for it, and the first worker does it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from openlineage_pod._threads import Event
from openlineage_pod.delivery.transports.base import drain_transport, has_unconfirmed, take_unconfirmed

if TYPE_CHECKING:
    from collections.abc import Callable

    from openlineage_pod.delivery.transports.base import Transport
    from openlineage_pod.events.document import Document

__all__ = ["Draining"]


class Draining:
    """What the exit and the first worker know of it."""

    def __init__(self) -> None:
        self._deadline: float | None = None
        self._is_done = Event()

    def ask(self, transport: Transport | None, deadline: float, wake: Callable[[], None]) -> list[Document]:
        """Wait until the transport is drained, or the deadline; return the events that it has not delivered.

        Args:
            transport: that of the first worker, if it has one.
            deadline: the time, of `time.monotonic()`.
            wake: has the worker look.

        """
        if transport is None or not has_unconfirmed(transport):
            return []
        is_done = self._is_done = Event()
        self._deadline = deadline
        wake()
        is_done.wait(max(0.0, deadline - time.monotonic()))
        return take_unconfirmed(transport)

    def run_if_asked(self, transport: Transport | None) -> None:
        """Drain the transport if the exit waits for it; runs on the first worker."""
        deadline, self._deadline = self._deadline, None
        if deadline is None or transport is None:
            return
        try:
            drain_transport(transport, max(0.0, deadline - time.monotonic()))
        finally:
            self._is_done.set()
