"""The last resort: an event as a line on stderr, from which it can be delivered later.

Airflow carries a pod's log into its task log, so the line survives the pod.
"""

from __future__ import annotations

import select
from typing import TYPE_CHECKING

from openlineage_pod._stderr import write_stderr

if TYPE_CHECKING:
    from collections.abc import Iterator

    from openlineage_pod.events.document import Document

__all__ = ["PREFIX", "print_event"]

PREFIX = "OPENLINEAGE_POD_EVENT"
# A longer line is more than one write to a pipe, and what the job writes at the same time could get into it (pipe(7)).
# Room for the prefix is left.
_MAX_TEXT = select.PIPE_BUF - 256


def print_event(document: Document, deadline: float) -> bool:
    """Write `document` to stderr as `OPENLINEAGE_POD_EVENT <json>`, and say whether that succeeded. Never raises.

    A longer event than a log line can hold is written in numbered parts,
    `OPENLINEAGE_POD_EVENT <part>/<parts> <run id>.<event type> <text>`; the texts joined are the JSON.

    `deadline` is a time of `time.monotonic()`: nobody may be reading the pipe behind stderr.
    """
    lines = "".join(f"{line}\n" for line in _lines(document))
    return write_stderr(lines, deadline)


def _lines(document: Document) -> Iterator[str]:
    text = document.body.decode()
    if len(text) <= _MAX_TEXT:
        yield f"{PREFIX} {text}"
        return
    text = text.replace(" ", "\\u0020")  # within strings; some logs lose spaces at the ends of lines
    parts = [text[start : start + _MAX_TEXT] for start in range(0, len(text), _MAX_TEXT)]
    event = f"{document.run_id}.{document.event_type}"
    for number, part in enumerate(parts, 1):
        yield f"{PREFIX} {number}/{len(parts)} {event} {part}"
