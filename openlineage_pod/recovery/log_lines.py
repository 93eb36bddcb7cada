"""Finding events in text: files with one event a line, and logs of any kind that hold last-resort lines."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, NamedTuple

from openlineage_pod.delivery.last_resort import PREFIX
from openlineage_pod.events.document import is_event

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["Finding", "events_in"]

_PART = re.compile(rf"{PREFIX} (\d{{1,6}})/(\d{{1,6}}) (\S+) (.*)")
# A line as container runtimes write it: time, stream, whether it is a part (P) of a longer one or its end (F), text.
_CRI = re.compile(r"\d{4}-\d\d-\d\dT\S+ (stdout|stderr) ([PF])(?::\S*)? (.*)", re.DOTALL)
_DECODER = json.JSONDecoder()


class Finding(NamedTuple):
    """An event, or what is wrong with something that looks like one."""

    place: str
    document: dict[str, Any] | None
    problem: str = ""


def events_in(lines: Iterable[str], name: str) -> Iterator[Finding]:
    """Give the events of a file or log called `name`; also those in several parts, as soon as they are complete."""
    parts = _Parts()
    for number, line in _whole_lines(lines):
        place = f"{name}:{number}"
        for text in _texts(line):
            part = _PART.search(text)
            if part is None:
                document = _event(text.partition(PREFIX)[2] if _is_marked(text) else text)
                whole = "an event" if document is None and PREFIX in text else ""
            else:
                joined = parts.join(part)
                if joined is None:
                    continue
                document, whole = _event(joined), "the last part of an event"
            if document is not None:
                yield Finding(place, document)
            elif whole:
                yield Finding(place, None, f"holds {whole} that cannot be read")
    for problem in parts.incomplete():
        yield Finding(name, None, problem)


class _Parts:
    """The parts of events that are not complete yet; several pods may write into one log at the same time."""

    def __init__(self) -> None:
        self._open: dict[tuple[str, int], dict[int, str]] = {}
        self._complete: dict[tuple[str, int], dict[int, str]] = {}

    def join(self, part: re.Match[str]) -> str | None:
        """Add a part; return the whole if it was the last one."""
        index, key, text = int(part[1]), (part[3], int(part[2])), part[4]
        if key not in self._open and self._complete.get(key, {}).get(index) == text:
            return None  # the log holds each line twice, as after a broken connection to the pod
        texts = self._open.setdefault(key, {})
        texts[index] = text
        if len(texts) < key[1]:
            return None
        self._complete[key] = self._open.pop(key)
        return "".join(texts[index] for index in sorted(texts))

    def incomplete(self) -> Iterator[str]:
        """Say what is missing at the end of the log."""
        for (event, total), texts in self._open.items():
            yield f"of event {event} there are {len(texts)} of {total} parts"


def _whole_lines(lines: Iterable[str]) -> Iterator[tuple[int, str]]:
    """Give the lines with their numbers; what a container runtime has split is joined, each stream for itself."""
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
    """Give the texts of a line that may hold an event: itself, or the strings of a line that is JSON (structlog)."""
    if line.lstrip().startswith("{"):
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            pass
        else:
            if _event_of(record) is not None:
                yield line  # also where one of its texts quotes a last-resort line
            else:
                yield from _marked_strings(record)
            return
    if PREFIX in line:
        yield line


def _is_marked(text: str) -> bool:
    return PREFIX in text and not text.lstrip().startswith("{")


def _marked_strings(record: Any) -> Iterator[str]:
    if isinstance(record, str):
        yield from (row for row in record.splitlines() if PREFIX in row)
    elif isinstance(record, (dict, list)):
        for value in record.values() if isinstance(record, dict) else record:
            yield from _marked_strings(value)


def _event(text: str) -> dict[str, Any] | None:
    """Return the event at the beginning of `text`, whatever follows it."""
    try:
        document, _ = _DECODER.raw_decode(text.lstrip())
    except (ValueError, RecursionError):
        return None
    return _event_of(document)


def _event_of(document: Any) -> dict[str, Any] | None:
    if isinstance(document, dict):
        document = document.get("event", document)  # a spool's rejected/ has it beside the reason
    return document if isinstance(document, dict) and is_event(document) else None
