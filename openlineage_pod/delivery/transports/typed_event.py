"""openlineage-python's typed form of an event, which its transports take."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attr
from openlineage.client.event_v2 import InputDataset, Job, OutputDataset, Run, RunEvent, RunState
from openlineage.client.facet_v2 import environment_variables_run, parent_run, tags_job, tags_run

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["to_run_event"]


# openlineage-python has the jobs' `facets` only since 1.52; these two carry them in the versions before, too.
@attr.define
class _ParentJob(parent_run.Job):
    facets: dict[str, Any] = attr.field(factory=dict)


@attr.define
class _RootJob(parent_run.RootJob):
    facets: dict[str, Any] = attr.field(factory=dict)


def to_run_event(fields: Mapping[str, Any]) -> RunEvent:
    """Return an event as openlineage-python's own object.

    The facets that openlineage-python itself looks into (the parent in transformers and as Kafka's message key, the
    tags and environment variables which its client adds to) become its classes, the others stay dictionaries.

    Raises:
        ValueError, TypeError, KeyError: `fields` are not those of a run event.

    """
    run, job = fields["run"], fields["job"]
    return RunEvent(
        eventType=RunState(fields["eventType"]),
        eventTime=fields["eventTime"],
        producer=fields["producer"],
        run=Run(runId=run["runId"], facets=_typed(run.get("facets", {}), _RUN_FACETS)),
        job=Job(namespace=job["namespace"], name=job["name"], facets=_typed(job.get("facets", {}), _JOB_FACETS)),
        inputs=[InputDataset(**entry) for entry in fields.get("inputs", [])],
        outputs=[OutputDataset(**entry) for entry in fields.get("outputs", [])],
    )


def _typed(facets: Mapping[str, Any], classes: Mapping[str, Callable[[Any], Any]]) -> dict[str, Any]:
    return {key: _as_class(classes[key], value) if key in classes else value for key, value in facets.items()}


def _as_class(make: Callable[[Any], Any], value: Any) -> Any:
    try:
        return make(value)
    except (KeyError, TypeError, ValueError):
        return value  # a facet of the user's own under that name


def _parent(facet: Mapping[str, Any]) -> Any:
    root = facet.get("root")
    return parent_run.ParentRunFacet(
        producer=facet["_producer"],
        run=parent_run.Run(runId=facet["run"]["runId"]),
        job=_ParentJob(**facet["job"]),
        root=parent_run.Root(run=parent_run.RootRun(runId=root["run"]["runId"]), job=_RootJob(**root["job"]))
        if root
        else None,
    )


def _environment_variables(facet: Mapping[str, Any]) -> Any:
    variables = [environment_variables_run.EnvironmentVariable(**entry) for entry in facet["environmentVariables"]]
    return environment_variables_run.EnvironmentVariablesRunFacet(
        producer=facet["_producer"], environmentVariables=variables
    )


def _run_tags(facet: Mapping[str, Any]) -> Any:
    tags = [tags_run.TagsRunFacetFields(**tag) for tag in facet["tags"]]
    return tags_run.TagsRunFacet(producer=facet["_producer"], tags=tags)


def _job_tags(facet: Mapping[str, Any]) -> Any:
    tags = [tags_job.TagsJobFacetFields(**tag) for tag in facet["tags"]]
    return tags_job.TagsJobFacet(producer=facet["_producer"], tags=tags)


_RUN_FACETS = {"parent": _parent, "environmentVariables": _environment_variables, "tags": _run_tags}
_JOB_FACETS = {"tags": _job_tags}
