"""The size limit of an event: what is left out of one that exceeds it, and in which order."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from openlineage_pod.spec import facet

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["limited"]

_STACK_TRACE_KEPT = 4000
_KEPT_RUN_FACETS = ("parent", "errorMessage", "tags", "kubernetes_pod")
_KEPT_JOB_FACETS = ("jobType", "tags")
# What describes a dataset goes last, and the schema after the column lineage that needs it.
_DESCRIPTIONS = ("columnLineage", "schema")
_LAST = ("kubernetes_pod", "errorMessage")
# What the tag that tells of it takes.
_TAG_ROOM = 800


def limited(document: dict[str, Any], max_bytes: int) -> tuple[dict[str, Any], list[str]]:
    """Return the event, cut down to `max_bytes` of JSON if it is larger, and the names of what was left out.

    Left out, one by one in this order, until it fits:

    1. the users' own run facets and job facets, the largest first;
    2. of the datasets, their statistics and other facets but schema and column lineage, the largest first;
    3. column lineage, then schemas, the largest first;
    4. all but the last 4,000 characters of the stack trace, and of the error message;
    5. the pod and the error.

    Never the parent, the run, the job, or the namespaces and names of the datasets. A cut event says so in the run
    facet `tags`, key `openlineage_pod_left_out`.
    """
    size = _size(document)
    if size <= max_bytes:
        return document, []
    document = json.loads(json.dumps(document))
    left_out: list[str] = []
    for holder, key, name in _in_order(document):
        size -= _size(holder.pop(key)) + len(key) + 4
        left_out.append(name)
        if size + _TAG_ROOM <= max_bytes:
            break
    else:
        _shorten_error(document, left_out)
        if _size(document) + _TAG_ROOM > max_bytes:
            left_out.extend(key for key in _LAST if document["run"]["facets"].pop(key, None) is not None)
    _tag(document, left_out)
    return document, left_out


def _in_order(document: dict[str, Any]) -> Iterator[tuple[dict[str, Any], str, str]]:
    """Give what may be left out, as holder, key and name, in the order of `limited`."""
    run, job = document["run"]["facets"], document["job"]["facets"]
    own = [(run, key, key) for key in run if key not in _KEPT_RUN_FACETS]
    own.extend((job, key, key) for key in job if key not in _KEPT_JOB_FACETS)
    of_datasets = [
        (facets, key, f"{entry['name'][:80]}:{key}")
        for entry in document["inputs"] + document["outputs"]
        for facets in (entry.get("facets", {}), entry.get("inputFacets", {}), entry.get("outputFacets", {}))
        for key in facets
    ]
    yield from _largest_first(own)
    yield from _largest_first([item for item in of_datasets if item[1] not in _DESCRIPTIONS])
    for description in _DESCRIPTIONS:
        yield from _largest_first([item for item in of_datasets if item[1] == description])


def _largest_first(found: list[tuple[dict[str, Any], str, str]]) -> list[tuple[dict[str, Any], str, str]]:
    return sorted(found, key=lambda item: _size(item[0][item[1]]), reverse=True)


def _shorten_error(document: dict[str, Any], left_out: list[str]) -> None:
    error = document["run"]["facets"].get("errorMessage", {})
    for key in ("stackTrace", "message"):
        if len(error.get(key, "")) > _STACK_TRACE_KEPT:
            error[key] = f"…{error[key][-_STACK_TRACE_KEPT:]}"
            left_out.append(f"errorMessage.{key}")


def _tag(document: dict[str, Any], left_out: list[str]) -> None:
    names = ", ".join(left_out)
    value = names if len(names) <= 500 else f"{names[:480]}… ({len(left_out)} in all)"  # noqa: PLR2004
    tags: dict[str, Any] = document["run"]["facets"].get("tags") or facet("TagsRunFacet", tags=[])
    tag = {"key": "openlineage_pod_left_out", "value": value, "source": "OPENLINEAGE_POD"}
    document["run"]["facets"]["tags"] = {**tags, "tags": [*tags["tags"], tag]}


def _size(value: Any) -> int:
    return len(json.dumps(value, separators=(",", ":")))
