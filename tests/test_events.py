"""Events: the JSON form of a draft, and the typed event made from it."""

from __future__ import annotations

import datetime
import decimal
import enum
import json
import pathlib
import uuid
from typing import Any

import pytest
from openlineage.client.facet_v2 import environment_variables_run, nominal_time_run, parent_run, tags_run
from openlineage.client.serde import Serde

from openlineage_pod import ParentContext, dataset
from openlineage_pod.delivery.transports.typed_event import to_run_event
from openlineage_pod.events.document import Document, Draft, to_document, to_json
from openlineage_pod.events.facets import PRODUCER

RUN_ID = "01938a60-0000-7000-8000-000000000000"
TASK = "01a1d7b0-8a10-7a1c-9b1e-2f6f5e0d7c01"


def draft(**changes: Any) -> Draft:
    """Return a draft with everything in it, with changed fields."""
    fields: dict[str, Any] = {
        "event_type": "START",
        "event_time": "2026-01-01T00:00:00.000000+00:00",
        "run_id": RUN_ID,
        "job_name": "etl.ingest.load",
        "job_namespace": "airflow",
        "parent": ParentContext(TASK, "etl.ingest", "airflow", {"jobType": {"jobType": "TASK"}}).to_facet(),
        "run_facets": {},
        "job_facets": {},
        "inputs": (dataset("s3://lake/a", rows=1),),
        "outputs": (dataset("s3://lake/b", schema=["id"]),),
    }
    return Draft(**{**fields, **changes})


def test_document() -> None:
    """The document has the identity, the parent and both sides' datasets."""
    document = to_document(draft())
    assert (document["eventType"], document["producer"]) == ("START", PRODUCER)
    assert document["run"]["runId"] == RUN_ID
    assert document["run"]["facets"]["parent"]["run"] == {"runId": TASK}
    assert document["inputs"][0]["inputFacets"]["inputStatistics"]["rowCount"] == 1
    assert document["outputs"][0]["facets"]["schema"]["fields"] == [{"name": "id", "type": "unknown"}]


def test_typed_event_says_the_same() -> None:
    """What openlineage-python serialises of the typed event is the document, but for empty facet lists."""
    document = to_document(draft(job_facets={"own": {"a": [1, {"b": 2}]}}))

    def without_empty(value: Any) -> Any:
        if isinstance(value, dict):
            pruned = {key: without_empty(item) for key, item in value.items() if item is not None}
            return {key: item for key, item in pruned.items() if item not in ({}, [])}
        return [without_empty(item) for item in value] if isinstance(value, list) else value

    serialised = json.loads(Serde.to_json(to_run_event(document)))
    # The versions of these two schemas are those of the installed openlineage-python.
    for event in (serialised, document):
        event.pop("schemaURL")
        event["run"]["facets"]["parent"].pop("_schemaURL")
    assert without_empty(serialised) == without_empty(document)


def test_facets_that_openlineage_python_looks_into_are_typed() -> None:
    """Parent, tags and environment variables come as openlineage-python's classes, which its client relies on."""
    facets = {
        "tags": tags_run.TagsRunFacet(tags=[tags_run.TagsRunFacetFields("a", "b", "USER")]),
        "environmentVariables": environment_variables_run.EnvironmentVariablesRunFacet(
            environmentVariables=[environment_variables_run.EnvironmentVariable("A", "1")]
        ),
    }
    event = to_run_event(to_document(draft(run_facets=facets)))
    assert event.run.facets is not None
    parent = event.run.facets["parent"]
    assert isinstance(parent, parent_run.ParentRunFacet)
    assert parent.root is not None
    assert parent.root.job.name == "etl.ingest"
    assert event.run.facets["tags"] == facets["tags"]
    assert event.run.facets["environmentVariables"] == facets["environmentVariables"]


def test_facet_objects_and_values() -> None:
    """Facet objects of openlineage-python and the usual non-JSON values get their JSON form."""
    facets = {
        "nominalTime": nominal_time_run.NominalTimeRunFacet(nominalStartTime="2026-01-01T00:00:00Z"),
        "own": {
            "date": datetime.date(2026, 1, 1),
            "uuid": uuid.UUID(RUN_ID),
            "decimal": decimal.Decimal("1.50"),
            "path": pathlib.PurePosixPath("/a"),
            "set": {1},
            "nan": float("nan"),
            "surrogate": "a\udcff",
            "nul": "a\x00b",
            3: "three",
        },
    }
    found = to_document(draft(run_facets=facets))["run"]["facets"]
    assert found["nominalTime"]["nominalStartTime"] == "2026-01-01T00:00:00Z"
    assert "nominalEndTime" not in found["nominalTime"]
    own = {key: value for key, value in found["own"].items() if not key.startswith("_")}
    assert own == {
        "date": "2026-01-01",
        "uuid": RUN_ID,
        "decimal": "1.50",
        "path": "/a",
        "set": [1],
        "nan": "nan",
        "surrogate": "a?",
        "nul": "a�b",
        "3": "three",
    }


class Level(str, enum.Enum):
    """A text that is also a member of an enumeration."""

    HIGH = "high"


def test_text_of_a_class_of_its_own() -> None:
    """A text of the user's own class becomes a plain text: methods of that class must not run later."""
    own = to_document(draft(run_facets={"own": {"level": Level.HIGH}}))["run"]["facets"]["own"]
    assert (own["level"], type(own["level"])) == ("high", str)


def test_json_is_made_once() -> None:
    """A document carries its JSON, and gives the same fields back."""
    fields = to_document(draft())
    document = Document(fields)
    assert (document.run_id, document.event_type, document.job_name) == (RUN_ID, "START", "etl.ingest.load")
    assert document.fields == fields == json.loads(document.body)
    assert Document(fields, to_json(fields)).body == document.body
    with pytest.raises(KeyError):
        Document({})


def test_unserialisable_value_is_a_placeholder() -> None:
    """A value without a JSON form, or one that holds itself, costs its place in the facet and not the event."""
    loop: list[Any] = []
    loop.append(loop)
    own = to_document(draft(run_facets={"own": {"object": object(), "loop": loop}}))["run"]["facets"]["own"]
    assert own["object"] == "<<not serialisable: object>>"
    assert "more than 64 levels" in json.dumps(own["loop"])


def test_document_that_is_no_event() -> None:
    """A document that is no run event is refused with an error that counts as permanent."""
    document = to_document(draft())
    with pytest.raises(ValueError, match="BEGIN"):
        to_run_event({**document, "eventType": "BEGIN"})
