"""The DAG side: template expressions for a pod's environment, rendered by Jinja as Airflow renders them."""

from __future__ import annotations

import json
import sys
from datetime import date
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING, Any

import jinja2
import jinja2.nativetypes
import pytest
from openlineage.client import event_v2
from openlineage.client.facet_v2 import schema_dataset

from openlineage_pod import ParentContext, dataset
from openlineage_pod.airflow import lineage_env
from openlineage_pod.airflow.macros import env as macro
from openlineage_pod.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Mapping

RUN_ID = "01938a60-0000-7000-8000-000000000000"
ROOT_RUN_ID = "01938a60-0000-7000-8000-000000000001"
NAMESPACE = 'air/flow "prod"'
TASK = SimpleNamespace(dag_id="etl", task_id="ingest")
OLD = ("disabled_for_operators", "selective_enable")
NEW = ("emission_policy",)
DAG_TYPE = {"processingType": "BATCH", "integration": "AIRFLOW", "jobType": "DAG"}


def instance() -> Any:
    """Return a task instance that nobody has asked about."""
    return SimpleNamespace(dag_id="etl", task_id="ingest", run_id="1", try_number=1, map_index=-1, task=TASK)


def macros(version: str) -> dict[str, Any]:
    """Return the macros of a version of Airflow's OpenLineage provider."""

    def of_task(value: Any) -> Any:
        def macro(task_instance: Any) -> Any:
            assert task_instance.task is TASK
            return value

        return macro

    found = {
        "lineage_run_id": of_task(RUN_ID),
        "lineage_job_name": of_task("etl.ingest"),
        "lineage_job_namespace": lambda: NAMESPACE,
    }
    if version >= "2.04":
        found["lineage_root_run_id"] = of_task(ROOT_RUN_ID)
        found["lineage_root_job_name"] = of_task("etl")
    if version >= "2.08":
        found["lineage_root_job_namespace"] = of_task("elsewhere")
    if version >= "2.21":
        found["lineage_job_type"] = of_task({**DAG_TYPE, "jobType": "TASK"})
        found["lineage_root_job_type"] = of_task(DAG_TYPE)
    return found


class Provider:
    """Airflow's OpenLineage provider of any version, in the place of the modules that we import from it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._monkeypatch = monkeypatch
        self.version = "2.08"
        self.disabled = False
        self.opt_out = ""

    def install(self) -> None:
        """Put the modules in place."""

        def asked_about(option: str) -> Any:
            def answer(*arguments: Any, **named: Any) -> bool:
                assert TASK in (*arguments, *named.values())
                return self.opt_out == option

            return answer

        def resolved(**about: Any) -> Any:
            return SimpleNamespace(emit=not asked_about("emission_policy")(**about))

        modules: dict[str, Any] = {
            "conf": {"is_disabled": lambda: self.disabled},
            "plugins.macros": macros(self.version),
            "utils.utils": {"is_operator_disabled": asked_about("disabled_for_operators")},
        }
        if self.version >= "1.07":
            is_off = asked_about("selective_enable")
            modules["utils.utils"]["is_selective_lineage_enabled"] = lambda task: not is_off(task)
        if self.version >= "2.19":
            modules["utils.emission_policy"] = {"resolve_task_emission_policy": resolved}
        for name in ("", "conf", "plugins.macros", "utils.utils", "utils.emission_policy"):
            full = f"airflow.providers.openlineage.{name}".rstrip(".")
            found = modules.get(name, {} if not name else None)
            self._monkeypatch.setitem(sys.modules, full, found and SimpleNamespace(**found))


@pytest.fixture(autouse=True)
def airflow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the process be one of Airflow's, which knows the plugin; `test_expressions.py` has the other case."""
    monkeypatch.setitem(sys.modules, "airflow", ModuleType("airflow"))


@pytest.fixture
def provider(monkeypatch: pytest.MonkeyPatch) -> Provider:
    """Return a provider, which the test may change before something is rendered."""
    return Provider(monkeypatch)


def rendered(env: Mapping[str, str], provider: Provider | None, *, plugin: bool = True) -> dict[str, str]:
    """Return what the pod gets, with Airflow's own environment for templates: undefined names are errors."""
    # jinja2 escapes nothing by default, and Airflow needs that for texts that are not HTML.
    return rendered_by(jinja2.Environment(undefined=jinja2.StrictUndefined), env, provider, plugin=plugin)  # noqa: S701


def rendered_by(
    environment: jinja2.Environment, env: Mapping[str, str], provider: Provider | None, *, plugin: bool = True
) -> dict[str, str]:
    """Return what the pod gets by a certain environment for templates."""
    if provider is not None:
        provider.install()
    known = {"openlineage_pod": SimpleNamespace(env=macro)} if plugin else {}
    task_instance = instance()
    context = {"macros": SimpleNamespace(**known), "ti": task_instance, "task_instance": task_instance}
    return {name: environment.from_string(value).render(context) for name, value in env.items()}


def without(env: Mapping[str, str], *prefixes: str) -> dict[str, str]:
    """Return an environment without some variables, so that the next form counts."""
    return {name: value for name, value in env.items() if not name.startswith(prefixes)}


@pytest.mark.parametrize("version", ["2.04", "2.08", "2.19", "2.21"])
def test_task_is_parent_and_dag_run_is_root(version: str, provider: Provider) -> None:
    """The pod finds the task as its parent and the DAG run as its root, in each of the three forms."""
    provider.version = version
    env = rendered(lineage_env(), provider)
    parent = ParentContext.from_env(env)
    assert parent is not None
    assert (parent.run_id, parent.job_name, parent.job_namespace) == (RUN_ID, "etl.ingest", NAMESPACE)
    assert parent.root is not None
    root_namespace = NAMESPACE if version == "2.04" else "elsewhere"
    assert (parent.root.run_id, parent.root.job_name, parent.root.job_namespace) == (ROOT_RUN_ID, "etl", root_namespace)
    assert parent.job_facets["jobType"]["jobType"] == "TASK"
    for form in (
        ("OPENLINEAGE_CONTEXT",),
        ("OPENLINEAGE_CONTEXT", "OPENLINEAGE_PARENT_ID", "OPENLINEAGE_ROOT_PARENT_ID"),
    ):
        other = ParentContext.from_env(without(env, *form))
        assert other is not None
        assert other.root is not None
        assert (other.run_id, other.root.run_id) == (RUN_ID, ROOT_RUN_ID)


@pytest.mark.parametrize(("version", "expected"), [("2.20", None), ("2.21", DAG_TYPE)])
def test_type_of_the_root(version: str, expected: Any, provider: Provider) -> None:
    """The root has a job type only where the provider says which: another system may have started the DAG."""
    provider.version = version
    parent = ParentContext.from_env(rendered(lineage_env(), provider))
    assert parent is not None
    assert parent.root is not None
    found = parent.root.job_facets.get("jobType")
    assert (found and {key: found[key] for key in DAG_TYPE}) == expected


def test_root_of_another_system(provider: Provider, monkeypatch: pytest.MonkeyPatch) -> None:
    """A root whose type the provider does not know has none, whatever the provider's version."""
    provider.version = "2.21"
    provider.install()
    monkeypatch.setattr(
        sys.modules["airflow.providers.openlineage.plugins.macros"], "lineage_root_job_type", lambda _: None
    )
    parent = ParentContext.from_env(rendered(lineage_env(), None))
    assert parent is not None
    assert parent.root is not None
    assert parent.root.job_facets == {}


def test_provider_without_root_macros(provider: Provider, caplog: pytest.LogCaptureFixture) -> None:
    """With a provider before 2.4.0 the pod finds the parent, finds its own root, and warns of nothing."""
    provider.version = "1.09"
    parent = ParentContext.from_env(rendered(lineage_env(), provider))
    assert parent is not None
    assert (parent.run_id, parent.root) == (RUN_ID, None)
    assert caplog.records == []


@pytest.mark.parametrize(
    "reason",
    [
        "disabled",
        "no provider",
        "no plugin",
        *[f"{option} 1.09" for option in OLD],
        *[f"{option} 2.19" for option in NEW],
    ],
)
def test_task_that_airflow_does_not_report(reason: str, provider: Provider, caplog: pytest.LogCaptureFixture) -> None:
    """Where Airflow reports no run of the task, every value is empty, and the pod has no parent and no warning."""
    provider.disabled = reason == "disabled"
    if reason.startswith((*OLD, *NEW)):
        provider.opt_out, provider.version = reason.split()
    has_provider = reason != "no provider"
    env = rendered(lineage_env(), provider if has_provider else None, plugin=reason != "no plugin")
    assert set(env.values()) == {""}
    assert ParentContext.from_env(env) is None
    assert Settings.from_env(env).problems == ()
    assert caplog.records == []


def test_provider_that_fails(
    provider: Provider, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A provider that raises makes one warning with the task's name, empty values and no failed task."""
    provider.install()
    monkeypatch.setattr(sys.modules["airflow.providers.openlineage.conf"], "is_disabled", lambda: 1 / 0)
    assert set(rendered(lineage_env(), None).values()) == {""}
    [line] = caplog.messages
    assert line.startswith("task etl.ingest: could not tell its pod who its parent is (ZeroDivisionError")


def test_each_task_instance_has_its_own_values(provider: Provider, monkeypatch: pytest.MonkeyPatch) -> None:
    """Retries and mapped tasks that one process renders do not see each other's values; each is computed once."""
    provider.install()
    module = sys.modules["airflow.providers.openlineage.plugins.macros"]
    asked: list[Any] = []

    def run_id(task_instance: Any) -> str:
        asked.append(task_instance)
        return f"{RUN_ID[:-2]}{task_instance.map_index}{task_instance.try_number}"

    monkeypatch.setattr(module, "lineage_run_id", run_id)
    task_instance = instance()
    for task_instance.map_index, task_instance.try_number in ((1, 1), (2, 1), (2, 2)):
        found = {macro(task_instance, "PARENT_RUN_ID") for _ in range(3)}
        assert found == {f"{RUN_ID[:-2]}{task_instance.map_index}{task_instance.try_number}"}
    assert len(asked) == 3


def test_size() -> None:
    """The expressions are short: the scheduler stores and parses them with each version of each DAG."""
    assert sum(len(name) + len(value) for name, value in lineage_env().items()) < 1300


def test_options(provider: Provider) -> None:
    """Job name, datasets and flush timeout reach the pod, and templates in them are rendered."""
    env = lineage_env(
        job_name="load_{{ task_instance and 'eu' }}",
        inputs=["s3://lake/{{ 1 + 1 }}", ("postgres://warehouse:5432", "crm.public.accounts")],
        outputs="s3://lake/out",
        flush_timeout=2.5,
    )
    found = Settings.from_env(rendered(env, provider))
    assert found.problems == ()
    assert (found.job_name, found.flush_timeout, found.namespace) == ("load_eu", 2.5, NAMESPACE)
    assert found.inputs[0] == "s3://lake/2"
    assert found.inputs[1] == {"namespace": "postgres://warehouse:5432", "name": "crm.public.accounts"}
    assert found.outputs == ("s3://lake/out",)


def test_described_datasets(provider: Provider) -> None:
    """The facets and statistics of a declared dataset reach the pod, also those of openlineage-python."""
    columns = schema_dataset.SchemaDatasetFacet(fields=[schema_dataset.SchemaDatasetFacetFields("id", "bigint")])
    quality: Any = {"quality": {"passed": 7}}
    ours = dataset("s3://lake/out", rows=10, facets={"schema": columns, "checked": {"at": date(2026, 1, 2)}})
    theirs: Any = event_v2.OutputDataset("s3://lake", "theirs", outputFacets=quality)
    found = Settings.from_env(rendered(lineage_env(outputs=[ours, theirs]), provider))
    assert found.problems == ()
    first, second = (dataset(each).to_dict("outputs") for each in found.outputs)
    assert first["outputFacets"]["outputStatistics"]["rowCount"] == 10
    assert first["facets"]["schema"]["fields"] == [{"name": "id", "type": "bigint", "fields": []}]
    assert first["facets"]["checked"]["at"] == "2026-01-02"
    assert second["outputFacets"]["quality"]["passed"] == 7


def test_rendered_names_are_quoted(provider: Provider) -> None:
    """Quotes in a template and in its result do not break the JSON, and a single brace is not a template."""
    name = """crm.public.{{ '"' ~ "t" ~ '"' }}"""
    env = lineage_env(outputs=[("postgres://warehouse:5432", name), "s3://lake/{#1"])
    assert Settings.from_env(rendered(env, provider)).outputs == (
        {"namespace": "postgres://warehouse:5432", "name": 'crm.public."t"'},
        "s3://lake/{#1",
    )


def test_native_rendering(provider: Provider) -> None:
    """In a DAG with native rendering, JSON is still a text."""
    environment = jinja2.nativetypes.NativeEnvironment(undefined=jinja2.StrictUndefined)
    env = rendered_by(environment, lineage_env(inputs="s3://lake/a"), provider)
    assert {type(value) for value in env.values()} == {str}
    assert ParentContext.from_env(env) == ParentContext.from_env(rendered(lineage_env(), provider))
    assert Settings.from_env(env).inputs == ("s3://lake/a",)


def test_wrong_dataset_is_told_while_the_dag_is_parsed() -> None:
    """A wrong dataset raises while the DAG is parsed, where its author sees it."""
    with pytest.raises(ValueError, match="does not say where"):
        lineage_env(inputs=["accounts"])


def test_context_is_json(provider: Provider) -> None:
    """The context is JSON with the type of the task, whatever is in the names."""
    context = json.loads(rendered(lineage_env(), provider)["OPENLINEAGE_CONTEXT"])
    assert context["parent"]["job"]["namespace"] == NAMESPACE
    assert context["parent"]["job"]["facets"]["jobType"].items() >= {**DAG_TYPE, "jobType": "TASK"}.items()
