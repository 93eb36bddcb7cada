"""DAGs as other people write them, who know nothing of this package; a real Airflow of either series reads them.

What an operator would start is written to a file in `$REPORTS` instead: the operator's own request for its pod. Of
`$DAGS`, which names those that the file shall have, each is a function here.
"""

# mypy: disable-error-code="misc, untyped-decorator"

from __future__ import annotations

import json
import os
import sys
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from airflow.providers.cncf.kubernetes.operators.job import KubernetesJobOperator
from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator
from airflow.providers.cncf.kubernetes.operators.spark_kubernetes import SparkKubernetesOperator
from airflow.providers.cncf.kubernetes.secret import Secret
from airflow.providers.docker.operators.docker import DockerOperator
from kubernetes.client import ApiClient, V1Container, V1EnvVar, V1Pod, V1PodSpec
from openlineage.client import event_v2, facet_v2, run

try:
    from airflow.providers.common.compat.lineage.entities import Column, File, Table
    from airflow.sdk import DAG, Asset, TaskGroup, task
except ImportError:  # Airflow 2
    from airflow.datasets import Dataset as Asset
    from airflow.decorators import task
    from airflow.lineage.entities import Column, File, Table
    from airflow.models.dag import DAG
    from airflow.utils.task_group import TaskGroup

START = datetime(2026, 1, 1, tzinfo=timezone.utc)
# Airflow 2's provider knows the older of the two classes of datasets.
OpenLineageDataset = event_v2.Dataset if hasattr(facet_v2, "DatasetFacet") else run.Dataset


def _written(context: Any, what: Any) -> None:
    instance = context["ti"]
    file = Path(os.environ["REPORTS"]) / f"{instance.dag_id}.{instance.task_id}.{instance.map_index}.json"
    file.write_text(json.dumps(what))


def _pod(operator: Any, context: Any) -> None:
    request = operator.build_pod_request_obj(context)
    containers = ApiClient().sanitize_for_serialization(request)["spec"]["containers"]
    _written(context, containers[0].get("env", []))


def _container(operator: Any, context: Any) -> None:
    variables = {**operator.environment, **operator._private_environment}  # noqa: SLF001  Airflow has no public name for it
    _written(context, [{"name": name, "value": str(value)} for name, value in variables.items()])


KubernetesPodOperator.execute = _pod
KubernetesJobOperator.execute = _pod
DockerOperator.execute = _container

IMAGE = {"image": "some/image:1", "in_cluster": False, "config_file": os.environ["KUBECONFIG"]}
SHARED = {"MINE": "shared"}
BY_HAND = "01938a60-0000-7000-8000-000000000000"


class TeamOperator(KubernetesPodOperator):
    """A team's own operator: known by the name of its base."""


class HostileOperator(KubernetesPodOperator):
    """Raises when the policy looks at it, and behaves for Airflow itself."""

    @property
    def env_vars(self) -> Any:
        if sys._getframe(1).f_globals["__name__"].startswith("openlineage_pod.airflow."):  # noqa: SLF001
            raise RuntimeError("look away:\nsecond line")
        return self.__dict__.get("_env_vars")

    @env_vars.setter
    def env_vars(self, value: Any) -> None:
        self.__dict__["_env_vars"] = value


class HostileInlet:
    """Raises when it is looked at."""

    def __repr__(self) -> str:
        return "hostile"

    def __getattr__(self, name: str) -> Any:
        if name in ("uri", "url", "namespace"):
            raise RuntimeError("look away")
        raise AttributeError(name)


def forms() -> None:
    """Every form of an environment that a pod or a container can be given."""
    pod = KubernetesPodOperator
    pod(task_id="plain", **IMAGE)
    pod(task_id="own_dict", env_vars={"MINE": "{{ ds }}", "OPENLINEAGE_NAMESPACE": "theirs"}, **IMAGE)
    pod(task_id="own_list", env_vars=[V1EnvVar(name="MINE", value="{{ ds }}")], **IMAGE)
    parent = {"OPENLINEAGE_PARENT_RUN_ID": BY_HAND, "OPENLINEAGE_PARENT_JOB_NAME": "by.hand"}
    pod(task_id="own_parent", env_vars=parent, **IMAGE)
    root = [V1EnvVar(name="OPENLINEAGE_ROOT_PARENT_ID", value=f"ns/root/{BY_HAND}")]
    pod(task_id="own_root", env_vars=root, **IMAGE)
    pod(task_id="own_backend", env_vars={"OPENLINEAGE_URL": "http://theirs"}, **IMAGE)
    pod(task_id="own_key", secrets=[Secret("env", "OPENLINEAGE_API_KEY", "theirs", "key")], **IMAGE)
    spec = V1Pod(spec=V1PodSpec(containers=[V1Container(name="base", env=[V1EnvVar("OPENLINEAGE_CONTEXT", "{}")])]))
    pod(task_id="own_spec", full_pod_spec=spec, **IMAGE)
    pod(task_id="shared_a", env_vars=SHARED, inlets=[File(url="s3://lake/a")], **IMAGE)
    pod(task_id="shared_b", env_vars=SHARED, **IMAGE)
    TeamOperator(task_id="team", **IMAGE)
    KubernetesJobOperator(task_id="job", **IMAGE)
    DockerOperator(
        task_id="docker",
        image="some/image:1",
        environment={"MINE": "{{ ds }}"},
        private_environment={"OPENLINEAGE_NAMESPACE": "theirs"},
    )
    by_hand = {"OPENLINEAGE_PARENT_ID": f"ns/by.hand/{BY_HAND}"}
    DockerOperator(task_id="own_private", image="some/image:1", private_environment=by_hand)
    DockerOperator(task_id="own_file", image="some/image:1", env_file="A=b\nOPENLINEAGE_URL=http://theirs\n")

    pod.partial(task_id="mapped", **IMAGE).expand(arguments=[["a"], ["b"]])
    pod.partial(task_id="mapped_own", env_vars={"MINE": "x"}, **IMAGE).expand(arguments=[["a"]])
    pod.partial(task_id="mapped_own_list", env_vars=[V1EnvVar("MINE", "x")], **IMAGE).expand(arguments=[["a"]])
    environments = [{"MINE": "1"}, {"MINE": "2", "OPENLINEAGE_PARENT_ID": f"ns/by.hand/{BY_HAND}"}]
    pod.partial(task_id="mapped_env", **IMAGE).expand(env_vars=environments)
    arguments = [{"arguments": ["a"], "env_vars": {"MINE": "1"}}, {"arguments": ["b"]}]
    pod.partial(task_id="mapped_kwargs", **IMAGE).expand_kwargs(arguments)
    pod.partial(task_id="mapped_kwargs_plain", **IMAGE).expand_kwargs([{"arguments": ["a"]}])

    @task
    def upstream() -> list[dict[str, Any]]:
        return [{"arguments": ["a"], "env_vars": {"MINE": "1"}}, {"arguments": ["b"]}]

    pod.partial(task_id="mapped_unknown", **IMAGE).expand_kwargs(upstream())

    @task.kubernetes(**IMAGE)
    def decorated() -> None:
        """Run in a pod."""

    @task.kubernetes(**IMAGE)
    def decorated_mapped(number: int) -> None:
        """Run in a pod for each number."""

    @task.docker(image="some/image:1")
    def decorated_docker() -> None:
        """Run in a container."""

    decorated()
    decorated_mapped.expand(number=[1, 2])
    decorated_docker()
    if hasattr(task, "kubernetes_cmd"):

        @task.kubernetes_cmd(**IMAGE)
        def decorated_command() -> list[str]:
            return ["true"]

        decorated_command()


def defaults() -> None:
    """Environments that come from the defaults of a DAG and of a task group."""
    pod = KubernetesPodOperator
    pod(task_id="plain", **IMAGE)
    pod.partial(task_id="mapped", **IMAGE).expand(arguments=[["a"]])
    pod.partial(task_id="mapped_kwargs", **IMAGE).expand_kwargs([{"env_vars": {"MINE": "1"}}, {"arguments": ["b"]}])
    with TaskGroup("group", default_args={"env_vars": {"DEFAULT": "group"}}):
        pod.partial(task_id="mapped", **IMAGE).expand(arguments=[["a"]])


def declared() -> None:
    """Datasets that are declared in each way that Airflow knows."""
    column = Column(name="id", data_type="bigint")
    inlets = [
        Asset("file:///data/in.csv"),
        Asset("s3://lake/in"),
        Asset("s3://lake/{{ macros.ds_add(ds, -1) }}/day"),
        Asset("s3://lake/{{ params.missing.day }}"),
        Asset("s3://lake/{{ never closed"),
        OpenLineageDataset("postgres://warehouse:5432", 'crm.public."accounts"'),
        File(url="s3://lake/file"),
        File(url="file:///data/file"),
        Asset("only_a_name"),
    ]
    outlets = [Table(cluster="postgres://warehouse:5432", database="crm", name="public.t", columns=[column])]
    KubernetesPodOperator(task_id="ingest", inlets=inlets, outlets=outlets, **IMAGE)
    address = "postgres://etl:hunter2@warehouse:5432"
    secretive: list[Any] = [
        File(url=f"{address}/crm.public.a"),
        Table(cluster=address, database="crm", name="public.b"),
    ]
    KubernetesPodOperator(task_id="secretive", inlets=secretive, **IMAGE)
    many = [Asset(f"s3://lake/warehouse/domain/sub_domain/table_{number:05}/partition") for number in range(2000)]
    KubernetesPodOperator(task_id="many", inlets=many, **IMAGE)
    KubernetesPodOperator.partial(task_id="mapped", outlets=[Asset("s3://lake/out")], **IMAGE).expand(arguments=[["a"]])


def odd() -> None:
    """Tasks that cannot be added to, which are parsed and never run; and one that can, behind them."""
    pod = KubernetesPodOperator
    HostileOperator(task_id="hostile", **IMAGE)
    pod(task_id="text", env_vars="{{ var.json.environment }}", **IMAGE)
    SparkKubernetesOperator(task_id="spark", application_file="{}", **IMAGE)
    pod.partial(task_id="mapped_secrets", **IMAGE).expand(secrets=[[], []])
    pod.partial(task_id="mapped_inlets", inlets=[HostileInlet()], **IMAGE).expand(env_vars=[{}, {"MINE": "1"}])

    @task
    def upstream() -> list[dict[str, str]]:
        return [{}]

    pod.partial(task_id="mapped_env", **IMAGE).expand(env_vars=upstream())
    pod(task_id="text_of_task", env_vars=upstream(), **IMAGE)
    pod(task_id="hostile_inlet", inlets=[HostileInlet(), Asset("s3://lake/in")], **IMAGE)
    pod(task_id="fine", **IMAGE)


def opted() -> None:
    """Tasks that Airflow reports, or not, by its configuration or by what their author said of them."""
    # Here, because the other DAGs are read without the provider.
    from airflow.providers.openlineage.utils.selective_enable import enable_lineage

    from openlineage_pod.airflow import lineage_env

    pod = KubernetesPodOperator
    by_name = {"env_vars": lineage_env(), **IMAGE}
    pod(task_id="plain", inlets=[Asset("s3://lake/in")], **IMAGE)
    pod(task_id="by_hand", **by_name)
    enable_lineage(TeamOperator(task_id="enabled", **IMAGE))
    enable_lineage(TeamOperator(task_id="enabled_by_hand", **by_name))
    try:
        from airflow.providers.openlineage.api import emission_policy
    except ImportError:  # Airflow 2
        return
    for task_id, arguments in (("silent", IMAGE), ("silent_by_hand", by_name)):
        silent = TeamOperator(task_id=task_id, **arguments)
        emission_policy.extend_global_openlineage_emission_policy(silent, emit=False)


def native() -> None:
    """Render what reads as a literal as its value."""
    KubernetesPodOperator(task_id="plain", inlets=[Asset("s3://lake/in")], **IMAGE)


ARGUMENTS: dict[str, dict[str, Any]] = {
    "defaults": {"default_args": {"env_vars": {"DEFAULT": "dag"}}},
    "native": {"render_template_as_native_obj": True},
}

for name in os.environ["DAGS"].split(","):
    # A number as its name, which native rendering takes for one.
    dag_id = "7" if name == "native" else name
    with DAG(dag_id, schedule=None, start_date=START, catchup=False, **ARGUMENTS.get(name, {})) as dag:
        globals()[name]()
    globals()[f"dag_{name}"] = dag
