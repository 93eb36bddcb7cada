"""The last resort: an event as a line on stderr, from which it can be delivered later.

Airflow carries a pod's log into its task log, so the line survives the pod.
"""

from __future__ import annotations

import json
import os
import select
import sys
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["print_event"]

_PREFIX = "OPENLINEAGE_POD_EVENT"
# Container runtimes split log lines at 16 KiB; room for the prefix is left.
_LONGEST = 16 * 1024 - 256


def print_event(document: Mapping[str, Any], deadline: float) -> bool:
    """Write `document` to stderr as `OPENLINEAGE_POD_EVENT <json>`, and say whether that succeeded. Never raises.

    A longer event than a log line can hold is written in numbered parts,
    `OPENLINEAGE_POD_EVENT <part>/<parts> <run id>.<event type> <text>`; the texts joined are the JSON.

    `deadline` is a time of `time.monotonic()`: nobody may be reading the pipe behind stderr.
    """
    lines = "".join(f"{line}\n" for line in _lines(document))
    return write_stderr(lines, deadline)


def _lines(document: Mapping[str, Any]) -> Iterator[str]:
    text = json.dumps(document, separators=(",", ":"))
    if len(text) <= _LONGEST:
        yield f"{_PREFIX} {text}"
        return
    parts = [text[start : start + _LONGEST] for start in range(0, len(text), _LONGEST)]
    event = f"{document['run']['runId']}.{document['eventType']}"
    for number, part in enumerate(parts, 1):
        yield f"{_PREFIX} {number}/{len(parts)} {event} {part}"


def write_stderr(text: str, deadline: float) -> bool:
    """Write `text` to the file descriptor of stderr until `deadline`; say whether all of it was written.

    Not through `sys.stderr`: at the end of a process that was interrupted by a signal, the job's own thread may hold
    the lock of that object.
    """
    if sys.__stderr__ is None:
        return False
    try:
        descriptor = sys.__stderr__.fileno()
        poll = select.poll()
        poll.register(descriptor, select.POLLOUT)
        left = memoryview(text.encode("ascii", "backslashreplace"))
        while left:
            ready = poll.poll(max(0, deadline - time.monotonic()) * 1000)
            if not ready or not ready[0][1] & select.POLLOUT:
                return False
            # What poll() promises for a pipe is room for PIPE_BUF bytes; more could block.
            written = os.write(descriptor, left[: select.PIPE_BUF])
            left = left[written:]
    except (OSError, ValueError):
        return False  # stderr is closed: there is nobody left to tell
    return True
