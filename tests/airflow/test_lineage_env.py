"""The DAG side: template expressions for a pod's environment, rendered by Jinja as Airflow renders them."""

from __future__ import annotations

import json
from datetime import date
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import jinja2
import jinja2.nativetypes
import pytest
from openlineage.client import event_v2
from openlineage.client.facet_v2 import schema_dataset

from openlineage_pod import ParentContext, dataset
from openlineage_pod.airflow import lineage_env
from openlineage_pod.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Mapping

RUN_ID = "01938a60-0000-7000-8000-000000000000"
ROOT_RUN_ID = "01938a60-0000-7000-8000-000000000001"
NAMESPACE = 'air/flow "prod"'
TASK = object()


def macros(version: str) -> dict[str, Any]:
    """Return the macros of a version of Airflow's OpenLineage provider; none if OpenLineage is disabled."""
    if version == "disabled":
        return {}

    def of_task(value: str) -> Any:
        def macro(task_instance: object) -> str:
            assert task_instance is TASK
            return value

        return macro

    found = {
        "lineage_run_id": of_task(RUN_ID),
        "lineage_parent_id": of_task(f"{NAMESPACE}/etl.ingest/{RUN_ID}"),
        "lineage_job_name": of_task("etl.ingest"),
        "lineage_job_namespace": lambda: NAMESPACE,
    }
    if version in ("2.4.0", "2.8.0"):
        found["lineage_root_run_id"] = of_task(ROOT_RUN_ID)
        found["lineage_root_job_name"] = of_task("etl")
        found["lineage_root_parent_id"] = of_task(f"{NAMESPACE}/etl/{ROOT_RUN_ID}")
    if version == "2.8.0":
        found["lineage_root_job_namespace"] = of_task("elsewhere")
    return {"OpenLineageProviderPlugin": SimpleNamespace(**found)}


def rendered(env: Mapping[str, str], version: str) -> dict[str, str]:
    """Return what the pod gets, with Airflow's own environment for templates: undefined names are errors."""
    # jinja2 escapes nothing by default, and Airflow needs that for texts that are not HTML.
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined)  # noqa: S701
    context = {"macros": SimpleNamespace(**macros(version)), "task_instance": TASK}
    return {name: environment.from_string(value).render(context) for name, value in env.items()}


def without(env: Mapping[str, str], *prefixes: str) -> dict[str, str]:
    """Return an environment without some variables, so that the next form counts."""
    return {name: value for name, value in env.items() if not name.startswith(prefixes)}


@pytest.mark.parametrize("version", ["2.4.0", "2.8.0"])
def test_task_is_parent_and_dag_run_is_root(version: str) -> None:
    """The pod finds the task as its parent and the DAG run as its root, in each of the three forms."""
    env = rendered(lineage_env(), version)
    parent = ParentContext.from_env(env)
    assert parent is not None
    assert (parent.run_id, parent.job_name, parent.job_namespace) == (RUN_ID, "etl.ingest", NAMESPACE)
    assert parent.root is not None
    root_namespace = "elsewhere" if version == "2.8.0" else NAMESPACE
    assert (parent.root.run_id, parent.root.job_name, parent.root.job_namespace) == (ROOT_RUN_ID, "etl", root_namespace)
    assert parent.job_facets["jobType"]["jobType"] == "TASK"
    assert parent.root.job_facets["jobType"]["jobType"] == "DAG"
    for form in (
        ("OPENLINEAGE_CONTEXT",),
        ("OPENLINEAGE_CONTEXT", "OPENLINEAGE_PARENT_ID", "OPENLINEAGE_ROOT_PARENT_ID"),
    ):
        other = ParentContext.from_env(without(env, *form))
        assert other is not None
        assert other.root is not None
        assert (other.run_id, other.root.run_id) == (RUN_ID, ROOT_RUN_ID)


def test_provider_without_root_macros(caplog: pytest.LogCaptureFixture) -> None:
    """With a provider before 2.4.0 the pod finds the parent, finds its own root, and warns of nothing."""
    parent = ParentContext.from_env(rendered(lineage_env(), "1.9.1"))
    assert parent is not None
    assert (parent.run_id, parent.root) == (RUN_ID, None)
    assert caplog.records == []


def test_openlineage_disabled(caplog: pytest.LogCaptureFixture) -> None:
    """If the provider registers no macros, every value is empty, and the pod has no parent and no warning."""
    env = rendered(lineage_env(), "disabled")
    assert set(env.values()) == {""}
    assert ParentContext.from_env(env) is None
    assert Settings.from_env(env).problems == ()
    assert caplog.records == []


def test_options() -> None:
    """Job name, datasets and flush timeout reach the pod, and templates in them are rendered."""
    env = lineage_env(
        job_name="load_{{ task_instance and 'eu' }}",
        inputs=["s3://lake/{{ 1 + 1 }}", ("postgres://warehouse:5432", "crm.public.accounts")],
        outputs="s3://lake/out",
        flush_timeout=2.5,
    )
    found = Settings.from_env(rendered(env, "2.8.0"))
    assert found.problems == ()
    assert (found.job_name, found.flush_timeout, found.namespace) == ("load_eu", 2.5, NAMESPACE)
    assert found.inputs[0] == "s3://lake/2"
    assert found.inputs[1] == {"namespace": "postgres://warehouse:5432", "name": "crm.public.accounts"}
    assert found.outputs == ("s3://lake/out",)


def test_described_datasets() -> None:
    """The facets and statistics of a declared dataset reach the pod, also those of openlineage-python."""
    columns = schema_dataset.SchemaDatasetFacet(fields=[schema_dataset.SchemaDatasetFacetFields("id", "bigint")])
    quality: Any = {"quality": {"passed": 7}}
    ours = dataset("s3://lake/out", rows=10, facets={"schema": columns, "checked": {"at": date(2026, 1, 2)}})
    theirs: Any = event_v2.OutputDataset("s3://lake", "theirs", outputFacets=quality)
    found = Settings.from_env(rendered(lineage_env(outputs=[ours, theirs]), "2.8.0"))
    assert found.problems == ()
    first, second = (dataset(each).to_dict("outputs") for each in found.outputs)
    assert first["outputFacets"]["outputStatistics"]["rowCount"] == 10
    assert first["facets"]["schema"]["fields"] == [{"name": "id", "type": "bigint", "fields": []}]
    assert first["facets"]["checked"]["at"] == "2026-01-02"
    assert second["outputFacets"]["quality"]["passed"] == 7


def test_rendered_names_are_quoted() -> None:
    """Quotes in a template and in its result do not break the JSON, and a single brace is not a template."""
    name = """crm.public.{{ '"' ~ "t" ~ '"' }}"""
    env = lineage_env(outputs=[("postgres://warehouse:5432", name), "s3://lake/{#1"])
    assert Settings.from_env(rendered(env, "2.8.0")).outputs == (
        {"namespace": "postgres://warehouse:5432", "name": 'crm.public."t"'},
        "s3://lake/{#1",
    )


def test_native_rendering() -> None:
    """In a DAG with native rendering, JSON is still a text."""
    environment = jinja2.nativetypes.NativeEnvironment(undefined=jinja2.StrictUndefined)
    context = {"macros": SimpleNamespace(**macros("2.8.0")), "task_instance": TASK}
    env = {
        name: environment.from_string(value).render(context)
        for name, value in lineage_env(inputs="s3://lake/a").items()
    }
    assert {type(value) for value in env.values()} == {str}
    assert ParentContext.from_env(env) == ParentContext.from_env(rendered(lineage_env(), "2.8.0"))
    assert Settings.from_env(env).inputs == ("s3://lake/a",)


def test_wrong_dataset_is_told_while_the_dag_is_parsed() -> None:
    """A wrong dataset raises while the DAG is parsed, where its author sees it."""
    with pytest.raises(ValueError, match="does not say where"):
        lineage_env(inputs=["accounts"])


def test_context_is_json() -> None:
    """The context is JSON with the types of both jobs, whatever is in the names."""
    context = json.loads(rendered(lineage_env(), "2.8.0")["OPENLINEAGE_CONTEXT"])
    assert context["parent"]["job"]["namespace"] == NAMESPACE
    assert context["parent"]["root"]["job"]["facets"]["jobType"] == {
        "processingType": "BATCH",
        "integration": "AIRFLOW",
        "jobType": "DAG",
    }
