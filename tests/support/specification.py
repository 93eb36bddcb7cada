"""OpenLineage's JSON schemas, and the check of events against them."""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files
from typing import Any

from jsonschema import Draft202012Validator, FormatChecker
from referencing import Registry, Resource

import openlineage_pod
from tests.support import options

__all__ = ["RUN_EVENT", "errors", "has_schemas", "problems", "registry"]

RUN_EVENT = "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent"


def has_schemas() -> bool:
    """Return whether the folder with the official schemas is there."""
    return (options.SPEC / "OpenLineage.json").exists()


@cache
def registry() -> Registry[Any]:
    """Return the official schemas and our own by their ids."""
    own = files(openlineage_pod) / "schemas" / "KubernetesPodRunFacet.json"
    paths = [options.SPEC / "OpenLineage.json", *sorted((options.SPEC / "facets").glob("*.json"))]
    documents = [json.loads(path.read_text()) for path in paths] + [json.loads(own.read_text())]
    return Registry().with_resources([(document["$id"], Resource.from_contents(document)) for document in documents])


@cache
def _validator(url: str) -> Draft202012Validator:
    return Draft202012Validator({"$ref": url}, registry=registry(), format_checker=FormatChecker())


def errors(document: Any, url: str) -> list[str]:
    """Return what is wrong with a document according to the schema at `url`."""
    return [f"{error.json_path}: {error.message}" for error in _validator(url).iter_errors(document)]


def problems(event: dict[str, Any]) -> list[str]:
    """Return what is wrong with an event, and with each of its facets according to the facet's own schema."""
    found = errors(event, RUN_EVENT)
    for facet in _facets(event):
        url = facet["_schemaURL"]
        # openlineage-python's own facets may be of another version than the folder has.
        if url.partition("#")[0] in registry():
            found += [f"{url}: {error}" for error in errors(facet, url)]
    return found


def _facets(event: dict[str, Any]) -> list[dict[str, Any]]:
    """Return every facet of an event, wherever it hangs."""
    holders = [event["run"], event["job"], *event.get("inputs", []), *event.get("outputs", [])]
    parent = event["run"].get("facets", {}).get("parent", {})
    holders += [parent.get("job", {}), parent.get("root", {}).get("job", {})]
    return [
        facet
        for holder in holders
        for key in ("facets", "inputFacets", "outputFacets")
        for facet in (holder.get(key) or {}).values()
    ]
