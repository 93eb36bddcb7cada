"""Find events in text: in files with one event a line, and in logs of any kind that hold last-resort lines."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, NamedTuple

from openlineage_pod.delivery.last_resort import PartJoiner, find_part, is_marked, text_behind_prefix
from openlineage_pod.events.document import is_event

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["Finding", "events_in"]

# A line of a container runtime: time, stream, P for a part of a longer line or F for its last part, text.
_CRI = re.compile(r"\d{4}-\d\d-\d\dT\S+ (stdout|stderr) ([PF])(?::\S*)? (.*)", re.DOTALL)
_DECODER = json.JSONDecoder()


class Finding(NamedTuple):
    """An event with its place, or the problem of something that looks like an event."""

    place: str
    document: dict[str, Any] | None
    problem: str = ""


def events_in(lines: Iterable[str], name: str) -> Iterator[Finding]:
    """Yield the events of a file or log called `name`; an event in several parts as soon as it is complete."""
    parts = PartJoiner()
    for number, line in _whole_lines(lines):
        place = f"{name}:{number}"
        for text in _texts(line):
            part = find_part(text)
            if part is None:
                is_behind_prefix = is_marked(text) and not text.lstrip().startswith("{")
                document = _event_at_start(text_behind_prefix(text) if is_behind_prefix else text)
                whole = "an event" if document is None and is_marked(text) else ""
            else:
                joined = parts.join(part)
                if joined is None:
                    continue
                document, whole = _event_at_start(joined), "the last part of an event"
            if document is not None:
                yield Finding(place, document)
            elif whole:
                yield Finding(place, None, f"holds {whole} that cannot be read")
    for problem in parts.incomplete():
        yield Finding(name, None, problem)


def _whole_lines(lines: Iterable[str]) -> Iterator[tuple[int, str]]:
    """Yield the lines with their numbers; join what a container runtime has split, separately for each stream."""
    begun: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        text = line.rstrip("\r\n")
        if found := _CRI.match(text):
            stream, kind, text = found.groups()
            text = begun.pop(stream, "") + text
            if kind == "P":
                begun[stream] = text
                continue
        yield number, text


def _texts(line: str) -> Iterator[str]:
    """Yield the texts of a line that may hold an event: the line, or the strings in a line of JSON (structlog)."""
    if line.lstrip().startswith("{"):
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            pass
        else:
            if _as_event(record) is not None:
                yield line  # even if one of its texts quotes a last-resort line
            else:
                yield from _marked_strings(record)
            return
    if is_marked(line):
        yield line


def _marked_strings(record: Any) -> Iterator[str]:
    if isinstance(record, str):
        yield from filter(is_marked, record.splitlines())
    elif isinstance(record, (dict, list)):
        for value in record.values() if isinstance(record, dict) else record:
            yield from _marked_strings(value)


def _event_at_start(text: str) -> dict[str, Any] | None:
    """Return the event at the start of `text`; anything may follow it."""
    try:
        document, _ = _DECODER.raw_decode(text.lstrip())
    except (ValueError, RecursionError):
        return None
    return _as_event(document)


def _as_event(document: Any) -> dict[str, Any] | None:
    if isinstance(document, dict):
        document = document.get("event", document)  # files in a spool's rejected/ hold the event and the reason
    return document if isinstance(document, dict) and is_event(document) else None
