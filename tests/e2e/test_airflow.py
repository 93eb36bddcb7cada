"""A real Airflow whose tasks start real pods: the example DAGs, and pods that end in every way."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from tests.e2e.airflow import airflow
from tests.e2e.conftest import ROOT
from tests.e2e.consumers import Entry, parent_of, root_of
from tests.e2e.consumers import entry as open_entry
from tests.e2e.kubernetes_api import Cluster, kubernetes
from tests.e2e.podman import BASE
from tests.e2e.servers import UnavailableError, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.e2e.airflow import Airflow, DagRun
    from tests.e2e.consumers import Consumer, Event, Seen
    from tests.e2e.podman import Podman

pytestmark = [pytest.mark.airflow, pytest.mark.podman, pytest.mark.consumers]

API_KEY = "from-the-secret"
STATES = {"success": "COMPLETE", "failed": "FAIL"}
ENVIRONMENT = "openlineage-test"
DAGS = (
    *("kpo_openlineage_demo", "two_images", "any_container", "mapped", "task_kubernetes", "deferrable"),
    *("killed", "cleared", "timed_out", "retried", "skipped", "xcom", "bad_parent", "cut_off"),
)
FEES = "printf 'DE;10\\nES;5\\nDE;3\\n' >$FEES && exec bash /app/load.sh"
CONF = {"any_container": {"image": "load-fees", "arguments": ["bash", "-c", FEES], "fees": "/tmp/fees.csv"}}  # noqa: S108


class Links(NamedTuple):
    """The runs of a pod, of the task that started it, and of its DAG, by their ids."""

    pod: str
    task: str
    dag: str


class Scene:
    """An Airflow with the consumers and the cluster that it knows, and one run of each DAG."""

    def __init__(self, airflow: Airflow, entry: Entry, cluster: Cluster) -> None:
        self.airflow = airflow
        self.entry = entry
        self.cluster = cluster
        self.runs: dict[str, DagRun] = {dag: airflow.trigger(dag, CONF.get(dag)) for dag in DAGS}

    def task(self, run: DagRun, task: str, *, try_number: int = 1, map_index: int = -1) -> str | None:
        """Return the id of the run by which Airflow reports a try of a task."""

        def is_it(event: Event) -> bool:
            facet = event["run"]["facets"].get("airflow", {})
            its = facet.get("taskInstance", {})
            return bool(
                event["job"]["name"] == f"{run.dag}.{task}"
                and facet["dagRun"]["run_id"] == run.run_id
                and its["try_number"] == try_number
                and its.get("map_index", -1) == map_index
            )

        return next(iter(self.entry.runs(is_it)), None)

    def links(self, run: DagRun, task: str, *, try_number: int = 1, map_index: int = -1) -> Links:
        """Return the ids of all three runs, as soon as the pod has reported one."""
        found: list[Links] = []

        def reported() -> bool:
            parent = self.task(run, task, try_number=try_number, map_index=map_index)
            children = self.entry.children(parent) if parent else {}
            found[:] = [Links(pod, str(parent), str(root_of(events[0]))) for pod, events in children.items()]
            return bool(found)

        wait_until(reported, f"the pod of {run.dag}.{task} reports a run", seconds=240)
        [links] = found
        return links

    def assert_linked(self, links: Links, pod: str, task: str, dag: str) -> list[Seen]:
        """Check the states of all three runs and how they hang together; return what consumers say of the pod's."""
        about_dag = self.entry.ended(links.dag, dag)
        about_task = self.entry.ended(links.task, task)
        about_pod = self.entry.ended(links.pod, pod)
        for seen_dag, seen_task, seen_pod in zip(about_dag, about_task, about_pod, strict=True):
            assert (seen_pod.parent, seen_task.parent, seen_dag.parent) == (links.task, links.dag, None)
        for events in self.entry.children(links.task).values():
            assert {(parent_of(event), root_of(event)) for event in events} == {(links.task, links.dag)}
            assert [event["eventType"] for event in events] == ["START", pod]
        return about_pod

    def ended(self, links: Links) -> Event:
        """Return the last event of the pod's run."""
        return self.entry.runs()[links.pod][-1]


@pytest.fixture(scope="module")
def scene(
    podman: Podman,
    consumers: list[Consumer],
    ingest_accounts: str,
    load_fees: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Scene]:
    """Start Airflow with all DAGs, and trigger each once: they run side by side."""
    assert (ingest_accounts, load_fees) == ("ingest-accounts", "load-fees")
    folder = tmp_path_factory.mktemp("airflow")
    dags = folder / "dags"
    dags.mkdir()
    (dags / "examples").symlink_to(ROOT / "examples" / "airflow")
    (dags / "tests").symlink_to(ROOT / "tests" / "e2e" / "dags")
    secrets = {"openlineage": {"api-key": API_KEY}}
    with open_entry(consumers) as entry, kubernetes(podman, secrets) as cluster:
        kubeconfig = folder / "kubeconfig"
        kubeconfig.write_text(json.dumps(cluster.kubeconfig()))
        extra = {
            "kube_config_path": str(kubeconfig),
            "namespace": "data-jobs",
            "xcom_sidecar_container_image": BASE,
        }
        environ = {
            "AIRFLOW_CONN_KUBERNETES_DEFAULT": json.dumps({"conn_type": "kubernetes", "extra": extra}),
            "AIRFLOW_VAR_OPENLINEAGE_URL": entry.url,
            "AIRFLOW__OPENLINEAGE__NAMESPACE": ENVIRONMENT,
            "AIRFLOW__OPENLINEAGE__TRANSPORT": json.dumps({"type": "http", "url": entry.url}),
        }
        try:
            running = airflow(dags, environ)
            with running as started:
                wait_until(lambda: started.knows(DAGS), "Airflow has read all DAGs")
                yield Scene(started, entry, cluster)
        except UnavailableError as error:
            pytest.skip(str(error))
        assert cluster.unknown == []


def named(datasets: Any) -> set[tuple[str, str]]:
    """Return the identity of datasets of an event."""
    return {(each["namespace"], each["name"]) for each in datasets}


@pytest.mark.parametrize(
    ("dag", "task", "job"),
    [
        ("kpo_openlineage_demo", "ingest_accounts", "ingest_accounts"),
        ("deferrable", "ingest_accounts", "ingest_accounts"),
        ("task_kubernetes", "count_accounts", "count_accounts"),
        ("any_container", "run", "any_container.run.bash"),
    ],
)
def test_a_pod_is_linked(scene: Scene, dag: str, task: str, job: str) -> None:
    """The run of a pod has the task as its parent and the DAG run as its root, all in the state that Airflow shows."""
    run = scene.runs[dag]
    assert run.ended() == "success", run.log(task)
    links = scene.links(run, task)
    scene.assert_linked(links, "COMPLETE", "COMPLETE", "COMPLETE")
    ended = scene.ended(links)
    assert ended["job"]["name"] == job
    assert ended["job"]["namespace"] == ENVIRONMENT
    assert ended["run"]["facets"]["kubernetes_pod"]["k8s.pod.name"].startswith(("ingest-accounts-", "run-", "k8s-"))


def test_two_images(scene: Scene) -> None:
    """A pod that passes and one that fails are in their own states, as their tasks are, and the DAG run has failed."""
    run = scene.runs["two_images"]
    assert run.ended() == "failed"
    assert {each.task_id: each.state for each in run.tasks()} == {"ingest_accounts": "success", "load_fees": "failed"}
    for task, state in (("ingest_accounts", "COMPLETE"), ("load_fees", "FAIL")):
        scene.assert_linked(scene.links(run, task), state, state, "FAIL")
