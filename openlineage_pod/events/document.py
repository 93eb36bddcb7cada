"""Run events: what is known of a run at one moment becomes OpenLineage's JSON.

It needs nothing but the standard library, so an event can be printed as a last resort even if openlineage-python has
not been imported yet or cannot be.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from enum import Enum
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

from openlineage_pod._guard import logger
from openlineage_pod.events.dataset_facets import mend_dataset_facets
from openlineage_pod.events.facets import EVENT_SCHEMA_URL, PRODUCER, complete_facet, facet, is_facet
from openlineage_pod.events.texts import is_lossy, storable_text

if TYPE_CHECKING:
    from typing import Protocol

    class Entry(Protocol):
        """A dataset that can say how it stands in an event."""

        def to_dict(self, side: str, /) -> dict[str, Any]:
            """Return the entry of an event's `inputs` or `outputs` (the value of `side`)."""


__all__ = [
    "TERMINAL_TYPES",
    "Document",
    "Draft",
    "fallback_event",
    "is_event",
    "json_ready",
    "to_document",
    "to_json",
    "warn_once",
]

TERMINAL_TYPES = frozenset({"COMPLETE", "FAIL", "ABORT"})
"""The types of the events that end a run."""
_MAX_DEPTH = 64
_MAX_VALUES = 100_000


class Draft(NamedTuple):
    """What is known of a run at one moment; made on the job's thread in microseconds.

    `parent` is the parent run's facet.
    """

    event_type: str
    event_time: str
    run_id: str
    job_name: str
    job_namespace: str
    parent: Mapping[str, Any] | None
    run_facets: Mapping[str, Any]
    job_facets: Mapping[str, Any]
    inputs: tuple[Entry, ...]
    outputs: tuple[Entry, ...]


class Document:
    """An event as it is kept, spooled, printed and sent: the bytes of its JSON, and what a log line says of it.

    Args:
        fields: the event in OpenLineage's JSON form.
        body: its JSON, if it has been made already.

    Raises:
        KeyError, TypeError: `fields` are not those of a run event.

    """

    __slots__ = ("body", "event_type", "job_name", "run_id")

    def __init__(self, fields: Mapping[str, Any], body: bytes | None = None) -> None:
        self.body = to_json(fields) if body is None else body
        self.run_id: str = fields["run"]["runId"]
        self.event_type: str = fields["eventType"]
        self.job_name: str = fields["job"]["name"]

    @property
    def fields(self) -> dict[str, Any]:
        """The event in OpenLineage's JSON form, parsed anew each time: thousands of them may be kept in memory."""
        fields: dict[str, Any] = json.loads(self.body)
        return fields


def to_json(fields: Mapping[str, Any]) -> bytes:
    """Return the JSON of an event or of a part of it, in ASCII and without spaces."""
    return _encode(fields).encode("ascii")


_encode = json.JSONEncoder(separators=(",", ":")).encode


def to_document(draft: Draft) -> dict[str, Any]:
    """Return the event as JSON-ready data, valid against https://openlineage.io/spec/2-0-2/OpenLineage.json."""
    run_facets = dict(draft.run_facets)
    if draft.parent is not None:
        # On every event: one without it would make a second job in Marquez, beside the child of the Airflow task.
        run_facets["parent"] = draft.parent
    unserialisable: set[str] = set()
    document = {
        "eventType": draft.event_type,
        "eventTime": draft.event_time,
        "producer": PRODUCER,
        "schemaURL": EVENT_SCHEMA_URL,
        "run": {"runId": draft.run_id, "facets": _facets(run_facets, unserialisable)},
        "job": {
            "namespace": draft.job_namespace,
            "name": draft.job_name,
            "facets": _facets(draft.job_facets, unserialisable),
        },
        "inputs": [_Plain(unserialisable).of(dataset.to_dict("inputs")) for dataset in draft.inputs],
        "outputs": [_Plain(unserialisable).of(dataset.to_dict("outputs")) for dataset in draft.outputs],
    }
    if unserialisable:
        what = ", ".join(sorted(unserialisable))
        warn_once(draft.run_id, draft.job_name, f"its events have placeholders for what has no JSON form: {what}")
    document, warnings = mend_dataset_facets(document)
    for warning in warnings:
        warn_once(draft.run_id, draft.job_name, warning)
    return document


@lru_cache(maxsize=1024)
def warn_once(_run_id: str, job_name: str, warning: str) -> None:
    """Log a warning about a dataset of a job, once for all events of a run."""
    logger.warning("job %s: %s", job_name, warning)


def fallback_event(start: Mapping[str, Any]) -> dict[str, Any]:
    """Return the event that ends the run of this START should its process die without ending it."""
    error = facet(
        "ErrorMessageRunFacet",
        message="the process ended without reporting (killed or out of memory)",
        programmingLanguage="UNKNOWN",
    )
    run = {**start["run"], "facets": {**start["run"].get("facets", {}), "errorMessage": error}}
    return {**start, "eventType": "FAIL", "run": run}


def _facets(facets: Mapping[str, Any], unserialisable: set[str]) -> dict[str, Any]:
    """Return what of `facets` are some, JSON-ready, with the two fields that every facet needs."""
    return {
        storable_text(str(key)): _Plain(unserialisable).of(
            complete_facet(key, dict(value)) if isinstance(value, Mapping) else value
        )
        for key, value in facets.items()
        if is_facet(value)
    }


def is_event(document: Any) -> bool:
    """Return whether a document has what every run event has."""
    try:
        texts = (
            document["eventType"],
            document["eventTime"],
            document["producer"],
            document["run"]["runId"],
            document["job"]["namespace"],
            document["job"]["name"],
        )
    except (KeyError, TypeError, IndexError):
        return False
    return all(isinstance(text, str) for text in texts)


def json_ready(value: Any) -> Any:
    """Return `value`, such as an entry with openlineage-python's facets, as data that has a JSON form."""
    return _Plain(set()).of(value)


class _Plain:
    """Makes JSON-ready data of one facet; `unserialisable` collects the types that have no JSON form.

    openlineage-python's facet objects become dictionaries without their nulls; dates and UUIDs their usual text. A
    value without a JSON form becomes a placeholder: one such value in a facet must not cost the event. The number of
    values has a limit, which also ends what contains itself.
    """

    def __init__(self, unserialisable: set[str]) -> None:
        self._unserialisable = unserialisable
        self._left = _MAX_VALUES

    def of(self, value: Any, depth: int = 0) -> Any:
        """Return `value` as JSON-ready data."""
        self._left -= 1
        if depth > _MAX_DEPTH or self._left < 0:
            return self._placeholder(f"more than {_MAX_DEPTH} levels or {_MAX_VALUES} values")
        try:
            return self._of(value, depth)
        except Exception as error:  # a property, an isoformat() or the like of the user's that raises
            return self._placeholder(f"{type(value).__qualname__} ({type(error).__name__})")

    def _of(self, value: Any, depth: int) -> Any:
        if type(value) is str:  # most values; a text that is also an Enum comes below
            return self._text(value)
        if isinstance(value, Enum):
            value = value.value
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, int):
            # Longer ones are refused by backends, and by Python itself from 4,300 digits on.
            return value if value.bit_length() < 64 else self._placeholder("int of more than 64 bits")  # noqa: PLR2004
        if isinstance(value, float):
            return value if math.isfinite(value) else str(value)  # NaN and Infinity are no JSON
        if isinstance(value, str):
            return self._text(value)
        if isinstance(value, Mapping):
            return {self._text(str(key)): self.of(item, depth + 1) for key, item in self._affordable(value.items())}
        if isinstance(value, (list, tuple, set, frozenset)):
            return [self.of(item, depth + 1) for item in self._affordable(value)]
        return self._of_object(value, depth)

    def _affordable(self, values: Iterable[Any]) -> Iterator[Any]:
        for value in values:
            yield value
            if self._left < 0:
                return

    def _of_object(self, value: Any, depth: int) -> Any:
        if fields := getattr(type(value), "__attrs_attrs__", None):
            pairs = ((field.name, getattr(value, field.name, None)) for field in fields)
            return {name: self.of(item, depth + 1) for name, item in pairs if item is not None}
        if hasattr(value, "isoformat"):
            return storable_text(value.isoformat())
        if type(value).__name__ in ("UUID", "Decimal") or hasattr(value, "__fspath__"):
            return storable_text(str(value))
        if hasattr(value, "item") and getattr(value, "shape", None) == ():
            return self.of(value.item(), depth + 1)  # a numpy scalar
        return self._placeholder(type(value).__qualname__)

    def _text(self, text: str) -> str:
        stored = storable_text(text)
        if is_lossy(text, stored):
            self._unserialisable.add("text that is not valid UTF-8")
        return stored

    def _placeholder(self, what: str) -> str:
        self._unserialisable.add(what)
        return f"<<not serialisable: {what}>>"
