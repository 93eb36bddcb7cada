"""Find events in text: in files with one event a line, and in logs of any kind that hold last-resort lines."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, NamedTuple

from openlineage_pod.delivery.entry import FORMAT
from openlineage_pod.delivery.last_resort import ended_run, find_part, find_stamp, is_marked, text_behind_prefix
from openlineage_pod.delivery.rejected import SUPERSEDED
from openlineage_pod.events.document import is_event

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from openlineage_pod.delivery.last_resort import PartJoiner

__all__ = ["Finding", "events_in"]

# A line of a container runtime: time, stream, P for a part of a longer line or F for its last part, text.
_CRI = re.compile(r"\d{4}-\d\d-\d\dT\S+ (stdout|stderr) ([PF])(?::\S*)? (.*)", re.DOTALL)
_DECODER = json.JSONDecoder()
# What Airflow's masker of secrets writes, and many others.
_MASK = "***"
_NAMES = re.compile(r"(?i)^(namespace|name|field|.*id)$")
_MAX_SHOWN = 3


class Finding(NamedTuple):
    """An event with its place, the problem of one that is not to be sent, or that of something that looks like one.

    `ended` is the id of a run whose terminal event was delivered, though its START was printed.
    """

    place: str
    document: dict[str, Any] | None
    problem: str = ""
    ended: str = ""


def events_in(lines: Iterable[str], name: str, parts: PartJoiner) -> Iterator[Finding]:
    """Yield the events of a file or log called `name`; an event in several parts as soon as it is complete."""
    for number, line in _whole_lines(lines):
        place = f"{name}:{number}"
        for text in _texts(line):
            if ended := ended_run(text):
                yield Finding(place, None, ended=ended)
                continue
            part = find_part(text)
            if part is None:
                is_behind_prefix = is_marked(text) and not text.lstrip().startswith("{")
                found = _event_at_start(place, text_behind_prefix(text) if is_behind_prefix else text)
                whole = "an event" if is_marked(text) else ""
            else:
                joined = parts.join(part, name)
                if joined is None:
                    continue
                found, whole = _event_at_start(place, joined), "the last part of an event"
            if found is not None:
                yield found
            elif whole:
                yield Finding(place, None, f"holds {whole} that cannot be read")


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
    for text in begun.values():  # the other half is in another file, or nowhere
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
    for _, _, value in _walk(record):
        if isinstance(value, str):
            yield from filter(is_marked, value.splitlines())


def _walk(value: Any) -> Iterator[tuple[str, str, Any]]:
    """Yield everything in JSON data, in order: where it stands, its key and its value. Depth costs no recursion."""
    pending = [("", "", value)]
    while pending:
        path, key, value = pending.pop()
        yield path, key, value
        if isinstance(value, dict):
            pending.extend([(f"{path}.{name}".lstrip("."), name, item) for name, item in value.items()][::-1])
        elif isinstance(value, list):
            pending.extend([(f"{path}[{index}]", "", item) for index, item in enumerate(value)][::-1])


def _event_at_start(place: str, text: str) -> Finding | None:
    """Return what the event at the start of `text` is; anything may follow it. None if there is no event."""
    text = text.lstrip()
    try:
        record, end = _DECODER.raw_decode(text)
    except (ValueError, RecursionError):
        return None
    document = _as_event(record)
    if document is None:
        return None
    stamp = find_stamp(text, end)
    is_newer = stamp.is_newer if stamp else record is not document and _is_newer(record)
    if is_newer:
        problem = "was written by a later release, which has to send it"
    elif stamp and not stamp.is_true:
        problem = "was altered after it was printed (its digest is wrong), probably by what masks secrets in this log"
    elif stamp is None and record is document and any(_masked_names(document)):
        problem = "has names that were probably masked in this log"
    else:
        return Finding(place, document)
    job = f"{document['job']['namespace']}/{document['job']['name']}"
    what = ", ".join(list(dict.fromkeys(_masked_names(document)))[:_MAX_SHOWN])
    what = f": {what}" if what and not is_newer else ""
    return Finding(place, document, f"{document['eventType']} of job {job} is not sent: it {problem}{what}")


def _is_newer(record: dict[str, Any]) -> bool:
    """Return whether a later release wrote a file of a spool's rejected/."""
    written = record.get("format", 0)
    return isinstance(written, int) and written > FORMAT


def _masked_names(document: Any) -> Iterator[str]:
    """Yield where a mask stands in a name, a namespace or an id, and in what."""
    for path, key, value in _walk(document):
        if isinstance(value, str) and _MASK in value and _NAMES.match(key):
            yield f"{path} {value!r}"
        elif _MASK in key:
            yield path


def _as_event(document: Any) -> dict[str, Any] | None:
    if isinstance(document, dict):
        if str(document.get("reason", "")).startswith(SUPERSEDED):
            return None
        document = document.get("event", document)  # files in a spool's rejected/ hold the event and the reason
    return document if isinstance(document, dict) and is_event(document) else None
