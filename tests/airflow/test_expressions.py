"""The expressions where Airflow does not know our plugin: the provider's own macros, as Airflow renders them."""

from __future__ import annotations

import sys
from importlib import metadata
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING, Any

import jinja2
import jinja2.nativetypes
import pytest

from openlineage_pod import ParentContext
from openlineage_pod.airflow import lineage_env
from openlineage_pod.airflow.expressions import is_plugin_installed
from openlineage_pod.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

RUN_ID = "01938a60-0000-7000-8000-000000000000"
ROOT_RUN_ID = "01938a60-0000-7000-8000-000000000001"
NAMESPACE = 'air/flow "prod"'
TASK = object()
KINDS = {"processingType": "BATCH", "integration": "AIRFLOW"}


def macros(version: str) -> dict[str, Any]:
    """Return the macros of a version of Airflow's OpenLineage provider; none if OpenLineage is disabled."""
    if version == "disabled":
        return {}

    def of_task(value: Any) -> Any:
        def macro(task_instance: object) -> Any:
            assert task_instance is TASK
            return value

        return macro

    found = {
        "lineage_run_id": of_task(RUN_ID),
        "lineage_parent_id": of_task(f"{NAMESPACE}/etl.ingest/{RUN_ID}"),
        "lineage_job_name": of_task("etl.ingest"),
        "lineage_job_namespace": lambda: NAMESPACE,
    }
    if version >= "2.04":
        found["lineage_root_run_id"] = of_task(ROOT_RUN_ID)
        found["lineage_root_job_name"] = of_task("etl")
        found["lineage_root_parent_id"] = of_task(f"{NAMESPACE}/etl/{ROOT_RUN_ID}")
    if version >= "2.08":
        found["lineage_root_job_namespace"] = of_task("elsewhere")
    if version >= "2.21":
        found["lineage_job_type"] = of_task({**KINDS, "jobType": "TASK"})
        found["lineage_root_job_type"] = of_task({**KINDS, "jobType": "DAG"})
    return {"OpenLineageProviderPlugin": SimpleNamespace(**found)}


def rendered(version: str, *, is_native: bool = False) -> dict[str, str]:
    """Return what the pod gets, with Airflow's own environment for templates: undefined names are errors."""
    kind = jinja2.nativetypes.NativeEnvironment if is_native else jinja2.Environment
    # jinja2 escapes nothing by default, and Airflow needs that for texts that are not HTML.
    environment = kind(undefined=jinja2.StrictUndefined)
    context = {"macros": SimpleNamespace(**macros(version)), "task_instance": TASK}
    return {name: environment.from_string(value).render(context) for name, value in lineage_env().items()}


@pytest.mark.parametrize("is_native", [False, True])
@pytest.mark.parametrize("version", ["2.04", "2.08", "2.21"])
def test_task_is_parent_and_dag_run_is_root(version: str, is_native: bool) -> None:
    """The pod finds the task as its parent and the DAG run as its root, in each of the three forms."""
    env = rendered(version, is_native=is_native)
    root_namespace = NAMESPACE if version == "2.04" else "elsewhere"
    for hidden in ((), ("OPENLINEAGE_CONTEXT",), ("OPENLINEAGE_CONTEXT", "OPENLINEAGE_PARENT_ID")):
        parent = ParentContext.from_env({name: value for name, value in env.items() if name not in hidden})
        assert parent is not None
        assert parent.root is not None
        assert (parent.run_id, parent.job_name, parent.job_namespace) == (RUN_ID, "etl.ingest", NAMESPACE)
        assert (parent.root.run_id, parent.root.job_name) == (ROOT_RUN_ID, "etl")
        assert parent.root.job_namespace in (root_namespace, NAMESPACE)
        if not hidden:
            assert parent.root.job_namespace == root_namespace
            assert parent.job_facets["jobType"]["jobType"] == "TASK"
            kind = parent.root.job_facets.get("jobType", {}).get("jobType")
            assert kind == ("DAG" if version == "2.21" else None)


@pytest.mark.parametrize("version", ["1.09", "disabled"])
def test_what_the_provider_does_not_know(version: str, caplog: pytest.LogCaptureFixture) -> None:
    """A value that the provider does not know is empty, which the pod takes for not set, without a warning."""
    env = rendered(version)
    parent = ParentContext.from_env(env)
    if version == "disabled":
        assert set(env.values()) == {""}
        assert parent is None
    else:
        assert parent is not None
        assert (parent.run_id, parent.root) == (RUN_ID, None)
    assert Settings.from_env(env).problems == ()
    assert caplog.records == []


@pytest.fixture
def asked_anew() -> Iterator[None]:
    """Let the test ask for installed plugins anew, and the next one as well."""
    is_plugin_installed.cache_clear()
    yield
    is_plugin_installed.cache_clear()


@pytest.mark.usefixtures("asked_anew")
@pytest.mark.parametrize("place", ["Airflow", "Airflow without the plugin", "elsewhere"])
def test_which_expressions(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The short macro is used in a process of Airflow that finds the plugin, and nowhere else."""
    if place != "elsewhere":
        monkeypatch.setitem(sys.modules, "airflow", ModuleType("airflow"))
    if place == "Airflow without the plugin":
        monkeypatch.setattr(metadata, "entry_points", lambda **_: ())
    env: Mapping[str, str] = lineage_env()
    assert all(("macros.openlineage_pod.env" in value) == (place == "Airflow") for value in env.values())
    assert all(("OpenLineageProviderPlugin" in value) == (place != "Airflow") for value in env.values())
