"""What the tests of replay share: events in files, spools and logs, and a backend to send them to."""

from __future__ import annotations

import io
import itertools
from typing import TYPE_CHECKING, Any, NamedTuple

from openlineage_pod.delivery.last_resort import event_lines
from openlineage_pod.delivery.spool import Spool
from openlineage_pod.events.document import Document, to_document
from openlineage_pod.recovery.replay import replay
from tests.support.events import draft

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.harness import Event, Receiver

__all__ = ["Replayed", "Setting", "event", "lines"]


def event(number: int, event_type: str = "START", *, size: int = 0, second: int | None = None) -> Event:
    """Return an event of the run of that number, at that second (default: as the number), with a facet of that size."""
    facets = {"own": {"text": " ".join(str(index) for index in range(size // 5))}} if size else {}
    time = f"2026-01-01T00:00:{number if second is None else second:02d}.000000+00:00"
    return to_document(draft(number, event_type)._replace(event_time=time, run_facets=facets))


def lines(*events: Event) -> list[str]:
    """Return the last-resort lines of events."""
    return [line for one in events for line in event_lines(Document(one))]


class Replayed(NamedTuple):
    """What a replay did."""

    status: int
    out: str
    err: str


class Setting:
    """A backend, and a folder for what is to be replayed."""

    def __init__(self, receiver: Receiver, folder: Path) -> None:
        self.receiver = receiver
        self.folder = folder
        self.spool = folder / "spool"
        self._numbers = itertools.count()

    def file(self, *texts: str, end: str = "\n") -> str:
        """Write a file of these lines."""
        path = self.folder / f"task-{next(self._numbers)}.log"
        path.write_bytes("".join(f"{text}{end}" for text in texts).encode())
        return str(path)

    def left_behind(self, *events: Event) -> str:
        """Put events into the spool as a process that has ended."""
        spool = Spool(str(self.spool), 1 << 20)
        for one in events:
            spool.write(Document(one))
        spool.release()
        spool.abandon()
        return str(self.spool)

    def replay(self, *paths: str, **how: Any) -> Replayed:
        """Replay these paths to the backend."""
        out, err = io.StringIO(), io.StringIO()
        status = replay(paths, self.receiver.environ, out=out, err=err, **how)
        return Replayed(status, out.getvalue(), err.getvalue())

    def sent(self) -> list[str]:
        """Return what the backend has accepted, as `<job> <event type>`."""
        return [f"{one['job']['name']} {one['eventType']}" for one in self.receiver.events()]
