"""What became of the events of this process."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["DeliveryReport"]


class DeliveryReport(NamedTuple):
    """How many events of this process went where; the sum is the number of events produced.

    Attributes:
        delivered: accepted by the transport.
        spooled: waiting on disk for a later delivery.
        rejected: refused for good by the backend or impossible to serialise; each was also reported.
        printed: not delivered in time, and written to stderr as a recoverable line.
        pending: on the way; after the end of the process: lost, because printing was switched off or impossible.
        superseded: START events that the backend kept refusing until it had accepted the end of their run; they are not
            sent any more, as they would re-open the run.

    """

    delivered: int = 0
    spooled: int = 0
    rejected: int = 0
    printed: int = 0
    pending: int = 0
    superseded: int = 0

    def __str__(self) -> str:
        counts = zip(self._fields, self, strict=True)
        return ", ".join(f"{count} {name}" for name, count in counts if count or name != "superseded")
