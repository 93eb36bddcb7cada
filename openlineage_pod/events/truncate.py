"""The size limit of an event: what is left out of one that exceeds it, and in which order."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from openlineage_pod._guard import logger
from openlineage_pod._redaction.names import compiled
from openlineage_pod.events.document import to_json
from openlineage_pod.events.facets import facet
from openlineage_pod.events.texts import cut

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["truncate_event"]

_STACK_TRACE_KEPT = 4000
_FIRST_WORD = r"\A\S{1,1000}(?=\s)"
_KEPT_RUN_FACETS = ("parent", "errorMessage", "tags", "kubernetes_pod", "processing_engine")
_KEPT_JOB_FACETS = ("jobType",)
# What describes a dataset goes last, and the schema after the column lineage that needs it.
_DESCRIPTIONS = ("columnLineage", "schema")
_LAST = ("kubernetes_pod", "errorMessage", "tags", "processing_engine")
# What the tag that tells of it takes: its value, and the facet around it.
_MAX_TAG = 500
_TAG_ROOM = 850


def truncate_event(
    document: dict[str, Any], max_bytes: int, body: bytes | None = None
) -> tuple[dict[str, Any], list[str]]:
    """Return the event, cut down to `max_bytes` of JSON if it is larger, and the names of what was left out.

    Left out, one by one in this order, until it fits:

    1. the users' own run facets and job facets, the largest first;
    2. of the datasets, their statistics and other facets but schema and column lineage, the largest first;
    3. column lineage, then schemas, the largest first;
    4. all but the last 4,000 characters of the stack trace, and of the error message;
    5. the pod, the error, the users' tags, and the processing engine.

    Never the parent, the run, the job, or the namespaces and names of the datasets: with very many of those it stays
    larger. A cut event says so in a warning and in the run facet `tags`, key `openlineage_pod_left_out`.

    Args:
        document: the event.
        max_bytes: the limit.
        body: its JSON, if it has been made already.

    """
    body = to_json(document) if body is None else body
    if len(body) <= max_bytes:
        return document, []
    document, size = json.loads(body), len(body)
    left_out: list[str] = []
    steps = _steps(document)
    while size + _TAG_ROOM > max_bytes and (step := next(steps, None)) is not None:
        name, saved = step
        left_out.append(name)
        size -= saved
    if left_out:
        _tag(document, left_out)
    logger.warning(
        "the %s event of job %s exceeds OPENLINEAGE_POD_MAX_EVENT_BYTES=%d; left out: %s",
        document["eventType"],
        document["job"]["name"],
        max_bytes,
        ", ".join(left_out)[:_MAX_TAG] or "nothing, because the names of its datasets alone exceed it",
    )
    return document, left_out


def _steps(document: dict[str, Any]) -> Iterator[tuple[str, int]]:
    """Leave out one thing after the other; give the name of each, and how many bytes that saves at least."""
    run, job = document["run"]["facets"], document["job"]["facets"]
    own = [(run, key, key) for key in run if key not in _KEPT_RUN_FACETS]
    own.extend((job, key, key) for key in job if key not in _KEPT_JOB_FACETS)
    of_datasets = [
        (facets, key, f"{cut(entry['name'], 80)}:{key}")
        for entry in document["inputs"] + document["outputs"]
        for facets in (entry.get("facets", {}), entry.get("inputFacets", {}), entry.get("outputFacets", {}))
        for key in facets
    ]
    yield from _without(own)
    yield from _without([item for item in of_datasets if item[1] not in _DESCRIPTIONS])
    for description in _DESCRIPTIONS:
        yield from _without([item for item in of_datasets if item[1] == description])
    error = run.get("errorMessage")
    for key in ("stackTrace", "message"):
        text = error.get(key) if isinstance(error, dict) else None
        if isinstance(text, str) and len(text) > _STACK_TRACE_KEPT:
            # From a blank on: half of a credential is not recognised.
            error[key] = f"…{compiled(_FIRST_WORD).sub('', text[-_STACK_TRACE_KEPT:], count=1)}"
            yield f"errorMessage.{key}", _size(text) - _size(error[key])
    for key in _LAST:
        if key in run:
            yield key, _size(run.pop(key))


def _without(found: list[tuple[dict[str, Any], str, str]]) -> Iterator[tuple[str, int]]:
    sized = [(_size(holder[key]) + _size(key) + 1, holder, key, name) for holder, key, name in found]
    for size, holder, key, name in sorted(sized, key=lambda item: item[0], reverse=True):
        del holder[key]
        yield name, size


def _tag(document: dict[str, Any], left_out: list[str]) -> None:
    value = ", ".join(left_out)
    if _size(value) > _MAX_TAG:
        count = f"… ({len(left_out)} in all)"
        while _size(value) + _size(count) > _MAX_TAG:
            value = value[: len(value) * 4 // 5]  # JSON escapes some characters as six
        value += count
    facets = document["run"]["facets"]
    own = facets.get("tags")
    tags = own["tags"] if isinstance(own, dict) and isinstance(own.get("tags"), list) else []
    tag = {"key": "openlineage_pod_left_out", "value": value, "source": "OPENLINEAGE_POD"}
    facets["tags"] = {**(own if tags else facet("TagsRunFacet")), "tags": [*tags, tag]}


def _size(value: Any) -> int:
    return len(to_json(value))
