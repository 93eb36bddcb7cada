"""The last resort: an event as one or more lines on stderr, from which it can be delivered later.

This module is the one home of the format: it writes the lines and reads them. Airflow carries a pod's log into its task
log, so the lines survive the pod.

| event | line |
|---|---|
| fits into one line | `OPENLINEAGE_POD_EVENT <json> #<format>:<digest>` |
| is longer | `OPENLINEAGE_POD_EVENT <part>/<parts> <run id>.<event type> <text>`; the texts joined are `<json> #…` |
| is a START that must not be sent any more | `OPENLINEAGE_POD_EVENT_SUPERSEDED <run id>`: the run has ended meanwhile |

The digest is the CRC-32 of the JSON: a log may alter it, as Airflow's masker of secrets does. The first release printed
the JSON alone, and a reader of that release passes over what follows the JSON.
"""

from __future__ import annotations

import binascii
import re
import select
from typing import TYPE_CHECKING, NamedTuple

from openlineage_pod._stderr import write_stderr
from openlineage_pod.events.document import to_json

if TYPE_CHECKING:
    from collections.abc import Iterator

    from openlineage_pod.events.document import Document

__all__ = [
    "PREFIX",
    "PRINT_TIMEOUT",
    "PartJoiner",
    "Stamp",
    "ended_run",
    "event_lines",
    "find_part",
    "find_stamp",
    "is_marked",
    "print_event",
    "print_superseded",
    "text_behind_prefix",
]

PREFIX = "OPENLINEAGE_POD_EVENT"
"""The mark of a last-resort line."""
PRINT_TIMEOUT = 0.2
"""Seconds for writing a line to stderr: a pipe that is read at all takes it at once."""

_SUPERSEDED = f"{PREFIX}_SUPERSEDED"

# The kernel writes at most PIPE_BUF bytes to a pipe in one piece (pipe(7)): into a longer line the job could write.
# 256 bytes are left for the prefix.
_MAX_TEXT = select.PIPE_BUF - 256
_FORMAT = 1
# Not compiled here: jobs import this module to write lines, and only replay reads them.
_STAMP = r"\s*#(?P<format>\d{1,6}):(?P<digest>[0-9a-f]{8})(?![0-9a-f])"
_PART = rf"{PREFIX} (?P<number>\d{{1,6}})/(?P<total>\d{{1,6}}) (?P<event>\S+) (?P<text>.*)"


class PartJoiner:
    """Joins the parts of long events, in any order. Several pods may write into one log, and one pod into several."""

    def __init__(self) -> None:
        self._open: dict[tuple[str, int], dict[int, str]] = {}
        self._complete: dict[tuple[str, int], dict[int, str]] = {}
        self._logs: dict[tuple[str, int], dict[str, None]] = {}

    def join(self, part: re.Match[str], log: str) -> str | None:
        """Add what `find_part` has found in a log; return the text of its event if this was the last missing part."""
        number, text, key = int(part["number"]), part["text"], (part["event"], int(part["total"]))
        if key not in self._open and self._complete.get(key, {}).get(number) == text:
            return None  # the log holds each line twice, which happens after a broken connection to the pod
        texts = self._open.setdefault(key, {})
        texts[number] = text
        self._logs.setdefault(key, {})[log] = None
        if len(texts) < key[1]:
            return None
        self._complete[key] = self._open.pop(key)
        return "".join(texts[number] for number in sorted(texts))

    def incomplete(self) -> Iterator[tuple[str, str]]:
        """Yield for each event of which parts are missing the logs that hold the others, and a sentence about it."""
        for key, texts in self._open.items():
            event, total = key
            yield ", ".join(self._logs[key]), f"of event {event} there are {len(texts)} of {total} parts"


def print_event(document: Document, deadline: float) -> bool:
    """Write `document` to stderr, and return whether all of it was written. Never raises.

    `deadline` is a time of `time.monotonic()`: it may be that nobody reads the pipe behind stderr.
    """
    lines = "".join(f"{line}\n" for line in event_lines(document))
    return write_stderr(lines, deadline)


def print_superseded(run_id: str, deadline: float) -> bool:
    """Write that a printed START must not be sent any more, as the end of its run was delivered. Never raises."""
    return write_stderr(f"{_SUPERSEDED} {run_id}\n", deadline)


def event_lines(document: Document) -> Iterator[str]:
    """Yield the lines of an event, without their ends."""
    text = document.body.decode("utf-8", "replace")
    if not (text.isascii() and text.isprintable()):  # from the file of another program
        text = to_json(document.fields).decode()
    if len(line := _stamped(text)) <= _MAX_TEXT:
        yield f"{PREFIX} {line}"
        return
    text = _stamped(text.replace(" ", "\\u0020"))  # all spaces are within strings; some logs strip the ends of lines
    parts = [text[start : start + _MAX_TEXT] for start in range(0, len(text), _MAX_TEXT)]
    event = f"{document.run_id}.{document.event_type}"
    for number, part in enumerate(parts, 1):
        yield f"{PREFIX} {number}/{len(parts)} {event} {part}"


def _stamped(text: str) -> str:
    """Return the JSON of an event with its format and digest."""
    return f"{text} #{_FORMAT}:{_digest(text)}"


def _digest(text: str) -> str:
    # Not hashlib: that loads OpenSSL, for which the end of a process has no time, and perhaps no memory.
    return f"{binascii.crc32(text.encode()):08x}"


class Stamp(NamedTuple):
    """What follows the JSON of a printed event.

    Attributes:
        is_newer: a later release printed the event.
        is_true: the digest is that of the JSON.

    """

    is_newer: bool
    is_true: bool


def find_stamp(text: str, end: int) -> Stamp | None:
    """Return what stands behind the JSON at the start of a text; None if a release without digests printed it."""
    found = re.compile(_STAMP).match(text, end)
    return found and Stamp(int(found["format"]) > _FORMAT, found["digest"] == _digest(text[:end]))


def is_marked(text: str) -> bool:
    """Return whether `text` has the prefix of a last-resort line anywhere."""
    return PREFIX in text


def ended_run(text: str) -> str:
    """Return the id of the run whose printed START must not be sent any more, if `text` says so; else an empty text."""
    return text.partition(f"{_SUPERSEDED} ")[2].partition(" ")[0]


def find_part(text: str) -> re.Match[str] | None:
    """Return a match for `PartJoiner.join` if `text` holds a part of a long event."""
    return re.search(_PART, text)


def text_behind_prefix(text: str) -> str:
    """Return what follows the prefix in a marked text: for an event in one line its JSON, and perhaps more."""
    return text.partition(PREFIX)[2]
