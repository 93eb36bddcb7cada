"""An event that keeps every rule of every consumer, and what breaks each rule."""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING, Any

from openlineage_pod.events.facets import complete_facet, facet, job_type, processing_engine

if TYPE_CHECKING:
    from tests.support.harness import Event

__all__ = ["BROKEN", "RIGHT", "changed"]

RUN_ID = "01938a60-0000-7000-8000-000000000000"
TABLE = {
    "namespace": "postgres://warehouse:5432",
    "name": "crm.public.accounts",
    "facets": {
        "schema": facet("SchemaDatasetFacet", fields=[{"name": "id", "type": "bigint"}]),
        "dataSource": complete_facet("dataSource", {"name": "postgres://warehouse", "uri": "postgres://warehouse"}),
    },
}
SYMLINKS: dict[str, object] = {"identifiers": [{"namespace": "a b", "name": "c"}]}
PARENT = facet(
    "ParentRunFacet",
    run={"runId": RUN_ID},
    job={"namespace": "airflow", "name": "crm", "facets": {"jobType": job_type("DAG")}},
)
RIGHT: Event = {
    "eventType": "COMPLETE",
    "eventTime": "2026-01-01T00:00:00+00:00",
    "producer": "https://example.com/producer",
    "run": {"runId": RUN_ID, "facets": {"parent": PARENT, "processing_engine": processing_engine("python")}},
    "job": {"namespace": "airflow", "name": "crm.load", "facets": {"jobType": job_type("JOB")}},
    "inputs": [TABLE],
    "outputs": [TABLE],
}

# Consumer, path of what is changed, its new value (None: it is taken out), what the consumer has against it.
BROKEN: list[tuple[str, str, Any, str]] = [
    ("marquez", "run.runId", None, "run.runId is missing"),
    ("marquez", "job.namespace", None, "job.namespace is missing"),
    ("marquez", "job.name", None, "job.name is missing"),
    ("marquez", "inputs.0.facets.schema._producer", None, "the facet schema of postgres://warehouse:5432/crm"),
    ("marquez", "eventTime", "yesterday", "it is yesterday"),
    ("marquez", "run.facets.parent.run", {}, "the facet parent lacks run.runId"),
    ("marquez", "run.facets.parent.job.name", None, "the facet parent lacks job.name"),
    ("marquez", "job.facets.jobType.integration", None, "the facet jobType lacks integration"),
    (
        "marquez",
        "inputs.0.namespace",
        "kafka://b1:9092,b2:9092",
        "that of crm.public.accounts is 'kafka://b1:9092,b2:9092'",
    ),
    ("marquez", "inputs.0.facets.symlinks", complete_facet("symlinks", SYMLINKS), "that of c is 'a b'"),
    ("marquez", "outputs.0.name", " ", "one of namespace postgres://warehouse:5432 has none"),
    ("marquez", "outputs.0.facets.schema.fields.0.name", " ", "column 1 of postgres://warehouse:5432/crm.public"),
    ("marquez", "outputs.0.facets.schema.fields.0.name", "x" * 256, "has 256"),
    ("marquez", "outputs.0.facets.dataSource", None, "crm.public.accounts has none"),
    ("marquez", "job.name", "crm", "both are crm"),
    ("datahub", "run.facets.processing_engine", None, "its producer is https://example.com/producer"),
    ("datahub", "producer", "https://github.com/a/b/tree/v0.1.0", "it is https://github.com/a/b/tree/v0.1.0"),
    ("datahub", "run.facets.parent._producer", "https://github.com/a/b/1.2.3/", "it is https://github.com/a/b/1.2.3/"),
    ("datahub", "outputs.0.facets.schema.fields.0.type", None, "column 1 of"),
    ("rentgen", "run.facets.processing_engine.name", None, "lacks name"),
    ("rentgen", "run.facets.processing_engine.version", "unknown", "version is unknown"),
    ("openmetadata", "inputs", None, "inputs is missing"),
    ("openmetadata", "eventType", "FAIL", "it is FAIL"),
    ("openmetadata", "inputs.0.facets.schema.fields.0.type", None, "column 1 of"),
    ("openmetadata", "inputs.0.namespace", "kafka://b1:9092,b2:9092", "has several"),
    ("openmetadata", "run.facets.parent.job.name", 'a "job"', 'it is airflow-a "job"'),
    ("openmetadata", "run.facets.parent.job.name", "x" * 256, "it has 264"),
    ("atlan", "inputs", [], "it has no inputs"),
    ("atlan-generic", "outputs", [], "it has no outputs"),
    ("atlan-generic", "run.facets.parent.job.facets", None, "it is not told"),
    ("atlan-generic", "job.name", "load", "load is not below crm"),
    ("datadog", "job.facets.jobType", None, "job.facets.jobType.jobType is missing"),
    ("google", "run", None, "it has no run"),
    ("google", "run.facets.own", complete_facet("own", {"text": "x" * 5_000_000}), "the event has 500"),
    ("google", "inputs", [TABLE] * 101, "it has 101"),
    ("datazone", "run", None, "it has no run"),
    ("datazone", "run.facets.own", complete_facet("own", {"text": "x" * 300_000}), "the event has 30"),
]


def changed(event: Event, path: str, value: Any) -> Event:
    """Return a copy of an event with one part of it replaced, or taken out."""
    event = deepcopy(event)
    place: Any = event
    *way, last = path.split(".")
    for key in way:
        place = place[int(key)] if isinstance(place, list) else place[key]
    if value is None:
        del place[last]
    else:
        place[last] = value
    return event
