"""Checks of an event: each yields what is wrong with it in one respect.

An event may lack anything, and may hold anything that JSON can hold.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import TYPE_CHECKING, Any

from openlineage_pod.events.document import to_json
from openlineage_pod.events.namespaces import is_storable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    Event = Mapping[str, Any]

__all__ = [
    "MAX_COLUMN",
    "MAX_PIPELINE",
    "VERSION",
    "blank_columns",
    "incomplete_facets",
    "larger_than",
    "long_columns",
    "missing",
    "missing_in_facet",
    "more_links_than",
    "named_like_its_parent",
    "nameless_datasets",
    "no_list",
    "no_orchestrator",
    "no_run_event",
    "not_below_its_parent",
    "odd_namespaces",
    "odd_pipeline",
    "odd_version",
    "one_sided",
    "parent_of_another_type",
    "several_brokers",
    "unread_type",
    "unreadable_time",
    "untyped_columns",
    "versioned_producers",
    "without_data_source",
]

MAX_COLUMN = 255
"""Characters of the name of a column in the database of Marquez."""
MAX_PIPELINE = 256
"""Characters of the name of a pipeline in OpenMetadata."""
VERSION = r"v?\d+(\.\d+)*([-_.]?(a|b|c|rc|alpha|beta|pre|preview|post|rev|r|dev|SNAPSHOT)[-_.]?\d*)*(\+[a-zA-Z0-9.]+)?"
"""The versions of PEP 440 that programs have; Data.Rentgen leaves out `-SNAPSHOT`."""


def _at(value: Any, *path: str) -> Any:
    """Return what stands at a path of keys, None if there is nothing."""
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _list(value: Any, *path: str) -> list[Any]:
    """Return the list that stands at a path of keys, an empty one if there is none."""
    found = _at(value, *path)
    return found if isinstance(found, list) else []


def _datasets(event: Event) -> Iterator[tuple[str, dict[str, Any]]]:
    for side in ("inputs", "outputs"):
        for entry in _list(event, side):
            if isinstance(entry, dict):
                yield f"{entry.get('namespace')}/{entry.get('name')}", entry


def _dictionaries(value: Any) -> Iterator[dict[str, Any]]:
    """Yield every dictionary within a value."""
    if isinstance(value, dict):
        yield value
    for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _dictionaries(item)


def _facets(event: Event) -> Iterator[tuple[str, dict[str, Any]]]:
    holders = [("run", _at(event, "run", "facets")), ("job", _at(event, "job", "facets"))]
    for dataset, entry in _datasets(event):
        holders += [(dataset, entry.get(kind)) for kind in ("facets", "inputFacets", "outputFacets")]
    for owner, facets in holders:
        for key, facet in facets.items() if isinstance(facets, dict) else ():
            if isinstance(facet, dict):
                yield f"the facet {key} of {owner}", facet


def _columns(event: Event) -> Iterator[tuple[str, dict[str, Any]]]:
    for dataset, entry in _datasets(event):
        for number, field in enumerate(_list(entry, "facets", "schema", "fields"), 1):
            if isinstance(field, dict):
                yield f"column {number} of {dataset}", field


def missing(*path: str) -> Callable[[Event], Iterator[str]]:
    """Return a check that a text stands at a path."""

    def culprits(event: Event) -> Iterator[str]:
        if not isinstance(_at(event, *path), str) or not _at(event, *path):
            yield f"{'.'.join(path)} is missing"

    return culprits


def missing_in_facet(owner: str, key: str, *paths: str) -> Callable[[Event], Iterator[str]]:
    """Return a check that a facet, if the event has it, has texts at these dotted paths."""

    def culprits(event: Event) -> Iterator[str]:
        facet = _at(event, owner, "facets", key)
        if facet is not None:
            for path in paths:
                if not _at(facet, *path.split(".")):
                    yield f"the facet {key} lacks {path}"

    return culprits


def incomplete_facets(event: Event) -> Iterator[str]:
    """Yield each facet without `_producer` or `_schemaURL`."""
    for where, facet in _facets(event):
        yield from (f"{where} lacks {key}" for key in ("_producer", "_schemaURL") if not facet.get(key))


def unreadable_time(event: Event) -> Iterator[str]:
    """Yield the eventTime if it is not a time of ISO 8601."""
    try:
        datetime.fromisoformat(str(event.get("eventTime")).replace("Z", "+00:00"))
    except ValueError:
        yield f"it is {event.get('eventTime')}"


def larger_than(limit: int) -> Callable[[Event], Iterator[str]]:
    """Return a check that the JSON of an event has at most `limit` bytes."""

    def culprits(event: Event) -> Iterator[str]:
        size = len(to_json(event))
        if size > limit:
            yield f"the event has {size}"

    return culprits


def odd_namespaces(event: Event) -> Iterator[str]:
    """Yield each namespace of a dataset, also in facets, that Marquez cannot store."""
    for value in _dictionaries([_list(event, side) for side in ("inputs", "outputs")]):
        namespace = value.get("namespace")
        if isinstance(namespace, str) and ("name" in value or "field" in value) and not is_storable(namespace):
            yield f"that of {value.get('name') or value.get('field')} is {namespace[:100]!r}"


def nameless_datasets(event: Event) -> Iterator[str]:
    """Yield each input and output without a name."""
    for _, entry in _datasets(event):
        if not str(entry.get("name") or "").strip():
            yield f"one of namespace {entry.get('namespace')} has none"


def blank_columns(event: Event) -> Iterator[str]:
    """Yield each column of a schema without a name."""
    yield from (f"{where} has no name" for where, field in _columns(event) if not str(field.get("name") or "").strip())


def long_columns(event: Event) -> Iterator[str]:
    """Yield each column of a schema whose name Marquez cannot store."""
    for where, field in _columns(event):
        if len(str(field.get("name"))) > MAX_COLUMN:
            yield f"the name of {where} has {len(str(field['name']))}"


def untyped_columns(event: Event) -> Iterator[str]:
    """Yield each column of a schema without a type."""
    yield from (f"{where} has none" for where, field in _columns(event) if not field.get("type"))


def without_data_source(event: Event) -> Iterator[str]:
    """Yield each dataset whose namespace is an address, but which has no dataSource facet."""
    for dataset, entry in _datasets(event):
        if "://" in str(entry.get("namespace")) and not _at(entry, "facets", "dataSource", "uri"):
            yield f"{dataset} has none"


def named_like_its_parent(event: Event) -> Iterator[str]:
    """Yield the job's name if its parent has the same."""
    parent = _at(event, "run", "facets", "parent", "job")
    if parent and all(_at(parent, key) == _at(event, "job", key) for key in ("namespace", "name")):
        yield f"both are {_at(event, 'job', 'name')}"


def no_orchestrator(event: Event) -> Iterator[str]:
    """Yield the producer if DataHub does not know it, and the event does not name its processing engine."""
    known = (
        "https://github.com/OpenLineage/",
        "https://github.com/apache/airflow/",
        "https://github.com/trinodb/trino/",
    )
    if not _at(event, "run", "facets", "processing_engine", "name") and not str(event.get("producer")).startswith(
        known
    ):
        yield f"it lacks the facet, and its producer is {event.get('producer')}"


def versioned_producers(event: Event) -> Iterator[str]:
    """Yield the producer of the event, or of its parent facet, if its path ends with a version."""
    for producer in (event.get("producer"), _at(event, "run", "facets", "parent", "_producer")):
        if re.fullmatch(VERSION, str(producer).rstrip("/").rpartition("/")[2]):
            yield f"it is {producer}"


def odd_version(event: Event) -> Iterator[str]:
    """Yield the version of the processing engine if Data.Rentgen cannot read it."""
    facet = _at(event, "run", "facets", "processing_engine")
    for key in ("version", "openlineageAdapterVersion"):
        version = _at(facet, key)
        if version is not None and not re.fullmatch(VERSION, str(version)):
            yield f"{key} is {version}"


def no_list(*sides: str) -> Callable[[Event], Iterator[str]]:
    """Return a check that an event has the lists of these sides, which may be empty."""

    def culprits(event: Event) -> Iterator[str]:
        yield from (f"{side} is missing" for side in sides if not isinstance(event.get(side), list))

    return culprits


def unread_type(event: Event) -> Iterator[str]:
    """Yield the type of an event that OpenMetadata does not read."""
    if event.get("eventType") not in ("START", "RUNNING", "COMPLETE"):
        yield f"it is {event.get('eventType')}"


def several_brokers(event: Event) -> Iterator[str]:
    """Yield each dataset whose namespace lists several hosts."""
    yield from (f"{dataset} has several" for dataset, entry in _datasets(event) if "," in str(entry.get("namespace")))


def odd_pipeline(event: Event) -> Iterator[str]:
    """Yield what OpenMetadata cannot use in the name that it would give to the pipeline."""
    job = _at(event, "run", "facets", "parent", "job") or event.get("job")
    name = f"{_at(job, 'namespace')}-{_at(job, 'name')}"
    if len(name) > MAX_PIPELINE:
        yield f"it has {len(name)}"
    if '"' in name:
        yield f"it is {name}"


def one_sided(event: Event) -> Iterator[str]:
    """Yield each side of a COMPLETE event that has no dataset."""
    if event.get("eventType") == "COMPLETE":
        yield from (f"it has no {side}" for side in ("inputs", "outputs") if not _list(event, side))


def parent_of_another_type(event: Event) -> Iterator[str]:
    """Yield the parent's job type if Atlan does not take it for a workflow."""
    job = _at(event, "run", "facets", "parent", "job")
    kind = _at(job, "facets", "jobType", "jobType")
    if job and kind not in ("DAG", "APPLICATION", "WORKFLOW"):
        yield f"it is {kind or 'not told'}"


def not_below_its_parent(event: Event) -> Iterator[str]:
    """Yield the job's name if it does not begin with that of the parent."""
    parent, name = _at(event, "run", "facets", "parent", "job", "name"), _at(event, "job", "name")
    if parent and not str(name).startswith(f"{parent}."):
        yield f"{name} is not below {parent}"


def no_run_event(event: Event) -> Iterator[str]:
    """Yield that an event has no run."""
    if not isinstance(event.get("run"), dict):
        yield "it has no run"


def more_links_than(limit: int) -> Callable[[Event], Iterator[str]]:
    """Return a check that an event has at most `limit` pairs of an input and an output."""

    def culprits(event: Event) -> Iterator[str]:
        links = len(_list(event, "inputs")) * len(_list(event, "outputs"))
        if links > limit:
            yield f"it has {links}"

    return culprits
