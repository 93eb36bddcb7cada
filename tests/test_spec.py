"""Last of all: every event that any test saw is valid against the official JSON schemas."""

from __future__ import annotations

import json
import os
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator, FormatChecker
from referencing import Registry, Resource

import openlineage_pod
from tests.conftest import SEEN_EVENTS

SPEC = Path(os.environ.get("OPENLINEAGE_POD_TEST_SPEC", Path(__file__).parents[2] / "shared" / "spec"))
OWN = files(openlineage_pod) / "schemas" / "KubernetesPodRunFacet.json"


@pytest.fixture(scope="module")
def registry() -> Registry[Any]:
    """Return the official schemas and our own by their ids."""
    if not (SPEC / "OpenLineage.json").exists():
        pytest.skip("set OPENLINEAGE_POD_TEST_SPEC to OpenLineage's spec folder (OpenLineage.json and facets/)")
    paths = [SPEC / "OpenLineage.json", *sorted((SPEC / "facets").glob("*.json"))]
    documents = [json.loads(path.read_text()) for path in paths] + [json.loads(OWN.read_text())]
    return Registry().with_resources([(document["$id"], Resource.from_contents(document)) for document in documents])


def errors(document: Any, url: str, registry: Registry[Any]) -> list[str]:
    """Return what is wrong with a document after the schema at `url`."""
    validator = Draft202012Validator({"$ref": url}, registry=registry, format_checker=FormatChecker())
    return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(document)]


def facets_of(event: dict[str, Any]) -> list[dict[str, Any]]:
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


def test_every_event_is_valid(registry: Registry[Any]) -> None:
    """Each event that any test saw, and each of its facets by its own schema, is valid OpenLineage."""
    if not SEEN_EVENTS:
        pytest.fail("no test before this one saw an event: run the whole suite")
    unique = {json.dumps(event, sort_keys=True): event for event in SEEN_EVENTS}
    known = set(registry)
    for event in unique.values():
        found = errors(event, "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent", registry)
        assert not found, (found, event)
        for facet in facets_of(event):
            url = facet["_schemaURL"]
            # openlineage-python's own facets may be of another version than the folder has.
            if url.partition("#")[0] in known:
                found = errors(facet, url, registry)
                assert not found, (found, facet)


def test_our_facets_name_schemas_that_exist(registry: Registry[Any]) -> None:
    """Every schema URL that we form names a definition in the official folder or in our own file."""
    from openlineage_pod.events import facets as spec

    for definition in [*spec._FACET_VERSIONS, "KubernetesPodRunFacet"]:
        url = str(spec.facet(definition)["_schemaURL"])
        assert registry.resolver().lookup(url).contents
    assert registry.resolver().lookup(spec.EVENT_SCHEMA_URL).contents


def test_the_check_itself_can_fail(registry: Registry[Any]) -> None:
    """An event without its producer, or with a parent that lacks its run, is found."""
    url = "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent"
    assert errors({"eventTime": "2026-01-01T00:00:00Z", "run": {"runId": "x"}, "job": {}}, url, registry)
    parent = {"_producer": "https://x", "_schemaURL": "https://x", "job": {"namespace": "a", "name": "b"}}
    assert errors(
        parent, "https://openlineage.io/spec/facets/1-2-0/ParentRunFacet.json#/$defs/ParentRunFacet", registry
    )
