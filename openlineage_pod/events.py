"""Run events: a draft becomes OpenLineage's JSON, and that becomes openlineage-python's typed event.

Two steps on purpose. The JSON form needs nothing but the standard library, so an event can be printed as a last
resort even if openlineage-python has not been imported yet or cannot be; the typed form is made only for the transport.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from enum import Enum
from typing import TYPE_CHECKING, Any, NamedTuple

from openlineage_pod._guard import logger
from openlineage_pod.spec import EVENT_SCHEMA_URL, PRODUCER, complete_facet, facet

if TYPE_CHECKING:
    from openlineage.client.event_v2 import RunEvent

    from openlineage_pod.datasets import Dataset
    from openlineage_pod.parent import ParentContext

__all__ = ["Draft", "to_document", "to_run_event"]


class Draft(NamedTuple):
    """What is known of a run at one moment; immutable, made on the job's thread in microseconds."""

    event_type: str
    event_time: str
    run_id: str
    job_name: str
    job_namespace: str
    parent: ParentContext | None
    run_facets: Mapping[str, Any]
    job_facets: Mapping[str, Any]
    inputs: tuple[Dataset, ...]
    outputs: tuple[Dataset, ...]


def to_document(draft: Draft) -> dict[str, Any]:
    """Return the event as JSON-ready data, valid against https://openlineage.io/spec/2-0-2/OpenLineage.json."""
    run_facets = dict(draft.run_facets)
    if draft.parent is not None:
        # On every event: one without it would make a second job in Marquez, beside the child of the Airflow task.
        run_facets["parent"] = draft.parent.to_facet()
    # All three fields: Marquez and Datadog read them all.
    job_type = facet("JobTypeJobFacet", processingType="BATCH", integration="KUBERNETES_POD", jobType="JOB")
    document = {
        "eventType": draft.event_type,
        "eventTime": draft.event_time,
        "producer": PRODUCER,
        "schemaURL": EVENT_SCHEMA_URL,
        "run": {"runId": draft.run_id, "facets": _facets(run_facets)},
        "job": {
            "namespace": draft.job_namespace,
            "name": draft.job_name,
            "facets": _facets({"jobType": job_type, **draft.job_facets}),
        },
        "inputs": [dataset.to_dict("inputs") for dataset in draft.inputs],
        "outputs": [dataset.to_dict("outputs") for dataset in draft.outputs],
    }
    odd: set[str] = set()
    plain = _plain(document, odd)
    if odd:
        logger.warning(
            "the %s event of job %s has placeholders for what has no JSON form: %s",
            draft.event_type,
            draft.job_name,
            ", ".join(sorted(odd)),
        )
    if not isinstance(plain, dict):  # pragma: no cover - a mapping stays a mapping
        raise TypeError("an event is a mapping")
    return plain


def _facets(facets: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: complete_facet(key, dict(value)) if isinstance(value, Mapping) else value for key, value in facets.items()
    }


def _plain(value: Any, odd: set[str], depth: int = 0) -> Any:
    """Return `value` as JSON-ready data that any backend can store.

    openlineage-python's facet objects become dictionaries without their nulls; dates and UUIDs their usual text. A
    value that has no JSON form becomes a placeholder, and its type is added to `odd`: one odd value in a facet must not
    cost the event.
    """
    if depth > 64:  # noqa: PLR2004
        odd.add("what is nested deeper than 64 levels")
        return "<<nested too deep>>"
    if isinstance(value, Enum):
        value = value.value
    if value is None or isinstance(value, (bool, int)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)  # NaN and Infinity are no JSON
    if isinstance(value, str):
        # Lone surrogates (undecodable bytes of the environment) and NUL are refused by PostgreSQL, so by Marquez.
        return value.encode("utf-8", "replace").decode("utf-8").replace("\x00", "�")
    if isinstance(value, Mapping):
        return {_plain(str(key), odd): _plain(item, odd, depth + 1) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_plain(item, odd, depth + 1) for item in value]
    return _plain_object(value, odd, depth)


def _plain_object(value: Any, odd: set[str], depth: int) -> Any:
    if fields := getattr(type(value), "__attrs_attrs__", None):
        pairs = ((field.name, getattr(value, field.name, None)) for field in fields)
        return {name: _plain(item, odd, depth + 1) for name, item in pairs if item is not None}
    if hasattr(value, "isoformat"):
        return value.isoformat()
    if type(value).__name__ in ("UUID", "Decimal") or hasattr(value, "__fspath__"):
        return str(value)
    if hasattr(value, "item") and getattr(value, "shape", None) == ():
        return _plain(value.item(), odd, depth + 1)  # a numpy scalar
    odd.add(type(value).__qualname__)
    return f"<<not serialisable: {type(value).__qualname__}>>"


def to_run_event(document: Mapping[str, Any]) -> RunEvent:
    """Return the event as openlineage-python's own object, which is what its transports take.

    The facets that openlineage-python itself looks into (the parent in transformers and as Kafka's message key, the
    tags and environment variables which its client adds to) become its classes, the others stay dictionaries.

    Raises:
        ValueError, TypeError, KeyError: `document` is no run event.

    """
    # Deferred: 200 ms that only the delivery thread pays.
    from openlineage.client.event_v2 import InputDataset, Job, OutputDataset, Run, RunEvent, RunState

    run, job = document["run"], document["job"]
    return RunEvent(
        eventType=RunState(document["eventType"]),
        eventTime=document["eventTime"],
        producer=document["producer"],
        run=Run(runId=run["runId"], facets=_typed(run.get("facets", {}), _run_facet_classes())),
        job=Job(
            namespace=job["namespace"], name=job["name"], facets=_typed(job.get("facets", {}), _job_facet_classes())
        ),
        inputs=[InputDataset(**entry) for entry in document.get("inputs", [])],
        outputs=[OutputDataset(**entry) for entry in document.get("outputs", [])],
    )


def _typed(facets: Mapping[str, Any], classes: Mapping[str, Any]) -> dict[str, Any]:
    return {key: classes[key](value) if key in classes else value for key, value in facets.items()}


def _run_facet_classes() -> dict[str, Any]:
    from openlineage.client.facet_v2 import environment_variables_run, tags_run

    def environment_variables(fields: Mapping[str, Any]) -> Any:
        return environment_variables_run.EnvironmentVariablesRunFacet(
            producer=fields["_producer"],
            environmentVariables=[
                environment_variables_run.EnvironmentVariable(**entry) for entry in fields["environmentVariables"]
            ],
        )

    def tags(fields: Mapping[str, Any]) -> Any:
        entries = [tags_run.TagsRunFacetFields(**tag) for tag in fields["tags"]]
        return tags_run.TagsRunFacet(producer=fields["_producer"], tags=entries)

    return {"parent": _parent_facet, "environmentVariables": environment_variables, "tags": tags}


def _job_facet_classes() -> dict[str, Any]:
    from openlineage.client.facet_v2 import tags_job

    def tags(fields: Mapping[str, Any]) -> Any:
        entries = [tags_job.TagsJobFacetFields(**tag) for tag in fields["tags"]]
        return tags_job.TagsJobFacet(producer=fields["_producer"], tags=entries)

    return {"tags": tags}


def _parent_facet(fields: Mapping[str, Any]) -> Any:
    import attr
    from openlineage.client.facet_v2 import parent_run

    # openlineage-python has the jobs' `facets` only since 1.52; these two carry them in the versions before, too.
    @attr.define
    class ParentJob(parent_run.Job):
        facets: dict[str, Any] = attr.field(factory=dict)

    @attr.define
    class RootJob(parent_run.RootJob):
        facets: dict[str, Any] = attr.field(factory=dict)

    root = fields.get("root")
    return parent_run.ParentRunFacet(
        producer=fields["_producer"],
        run=parent_run.Run(runId=fields["run"]["runId"]),
        job=ParentJob(**fields["job"]),
        root=parent_run.Root(
            run=parent_run.RootRun(runId=root["run"]["runId"]),
            job=RootJob(**root["job"]),
        )
        if root
        else None,
    )
