"""A real Airflow whose tasks start real pods: the example DAGs, and pods that end in every way."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, NamedTuple
from uuid import UUID

import pytest

from tests.e2e.airflow import airflow
from tests.e2e.airflow2 import airflow2
from tests.e2e.conftest import skipping
from tests.e2e.consumers import Entry, parent_of, root_of
from tests.e2e.consumers import entry as open_entry
from tests.e2e.kubernetes_api import Cluster, kubernetes
from tests.e2e.podman import BASE
from tests.support.constants import ROOT
from tests.support.waiting import wait_until
from tests.support.wrapping import message

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from tests.e2e.airflow import Airflow, DagRun
    from tests.e2e.consumers import Consumer, Event, Seen
    from tests.e2e.podman import Podman

pytestmark = [pytest.mark.airflow, pytest.mark.podman, pytest.mark.consumers]

API_KEY = "from-the-secret"
ENVIRONMENT = "openlineage-test"
NAMESPACE = "data-jobs"
EXAMPLES = ("kpo_openlineage_demo", "two_images", "any_container", "mapped", "task_kubernetes", "deferrable")
DAGS = (
    *(name for name in EXAMPLES if name != "deferrable"),
    *("killed", "cleared", "timed_out", "retried", "skipped", "xcom", "bad_parent", "cut_off", "unchanged"),
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

    def assert_linked(self, links: Links, pod: str, task: str | None, dag: str) -> list[Seen]:
        """Check the states of all three runs and how they hang together; return what consumers say of the pod's."""
        about_dag = self.entry.ended(links.dag, dag)
        about_pod = self.entry.ended(links.pod, pod)
        for seen_dag, seen_pod in zip(about_dag, about_pod, strict=True):
            assert (seen_pod.parent, seen_dag.parent) == (links.task, None)
        if task is not None:
            assert {seen.parent for seen in self.entry.ended(links.task, task)} == {links.dag}
        for events in self.entry.children(links.task).values():
            assert {(parent_of(event), root_of(event)) for event in events} == {(links.task, links.dag)}
            assert [event["eventType"] for event in events] == ["START", pod]
        return about_pod

    def assert_each_linked(self, links: Sequence[Links], states: Sequence[str], dag: str) -> None:
        """Check the pods of several instances of one task, each in the state of its instance."""
        assert len({each.task for each in links}) == len(links)
        for each, state in zip(links, states, strict=True):
            self.assert_linked(each, state, state, dag)

    def assert_marked_as_failed(self, links: Links) -> None:
        """Check what is known of a pod whose task a user has marked as failed.

        Airflow reports that at once, and then that the process of the task has ended, as COMPLETE; so only the run of
        the pod tells consumers in the end what became of it.
        """
        self.assert_linked(links, "ABORT", None, "FAIL")
        assert "FAIL" in [event["eventType"] for event in self.entry.runs()[links.task]]

    def assert_complete(self, run: DagRun, task: str, job: str) -> None:
        """Check a pod that passed, in a DAG run that did."""
        links = self.links(run, task)
        self.assert_linked(links, "COMPLETE", "COMPLETE", "COMPLETE")
        ended = self.ended(links)
        assert ended["job"]["name"] == job
        assert ended["job"]["namespace"] == ENVIRONMENT
        facet = ended["run"]["facets"]["kubernetes_pod"]
        assert facet["k8s.namespace.name"] == NAMESPACE
        assert facet["k8s.pod.name"] in {pod["metadata"]["name"] for pod in self.cluster.created}

    def ended(self, links: Links) -> Event:
        """Return the last event of the pod's run."""
        return self.entry.runs()[links.pod][-1]


def connections(folder: Path, cluster: Cluster, entry: Entry) -> dict[str, str]:
    """Return what an Airflow is told of the cluster and of the backend."""
    kubeconfig = folder / "kubeconfig"
    kubeconfig.write_text(json.dumps(cluster.kubeconfig()))
    extra = {
        "kube_config_path": str(kubeconfig),
        "namespace": NAMESPACE,
        "xcom_sidecar_container_image": BASE,
    }
    return {
        "AIRFLOW_CONN_KUBERNETES_DEFAULT": json.dumps({"conn_type": "kubernetes", "extra": extra}),
        "AIRFLOW_VAR_OPENLINEAGE_URL": entry.url,
        "AIRFLOW__OPENLINEAGE__NAMESPACE": ENVIRONMENT,
        "AIRFLOW__OPENLINEAGE__TRANSPORT": json.dumps({"type": "http", "url": entry.url}),
    }


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
        environ = {
            **connections(folder, cluster, entry),
            "AIRFLOW__OPENLINEAGE_POD__INJECT": "true",
            "AIRFLOW__OPENLINEAGE_POD__URL": entry.url,
        }
        with skipping(), airflow(dags, environ) as started:
            wait_until(lambda: started.knows((*DAGS, *EXAMPLES)), "Airflow has read all DAGs", every=0.5)
            yield Scene(started, entry, cluster)
        assert cluster.unknown == []


@pytest.mark.parametrize(
    ("dag", "task", "job"),
    [
        ("kpo_openlineage_demo", "ingest_accounts", "ingest_accounts"),
        ("task_kubernetes", "count_accounts", "count_accounts"),
        ("any_container", "run", "any_container.run.bash"),
        ("unchanged", "ingest_accounts", "ingest_accounts"),
    ],
)
def test_a_pod_is_linked(scene: Scene, dag: str, task: str, job: str) -> None:
    """The run of a pod has the task as its parent and the DAG run as its root, all in the state that Airflow shows."""
    run = scene.runs[dag]
    assert run.ended() == "success", run.log(task)
    scene.assert_complete(run, task, job)


def test_two_images(scene: Scene) -> None:
    """A pod that passes and one that fails are in their own states, as their tasks are, and the DAG run has failed."""
    run = scene.runs["two_images"]
    assert run.ended() == "failed"
    assert {each.task_id: each.state for each in run.tasks()} == {"ingest_accounts": "success", "load_fees": "failed"}
    for task, state in (("ingest_accounts", "COMPLETE"), ("load_fees", "FAIL")):
        scene.assert_linked(scene.links(run, task), state, state, "FAIL")


def test_declared_datasets(scene: Scene) -> None:
    """What a task declares and what its pod reports are the same datasets, so both are on one graph."""
    run = scene.runs["two_images"]
    links = scene.links(run, "ingest_accounts")
    read = [seen.inputs for seen in scene.entry.ended(links.pod, "COMPLETE")]
    declared = [seen.inputs for seen in scene.entry.ended(links.task, "COMPLETE")]
    assert [len(each) for each in declared] == [1] * len(declared)
    assert declared == read


def test_the_key_of_a_secret(scene: Scene) -> None:
    """A pod that gets its key from a secret of Kubernetes reports with it, and the key is nowhere in an event."""
    scene.links(scene.runs["two_images"], "ingest_accounts")
    assert f"Bearer {API_KEY}" in scene.entry.authorizations
    assert API_KEY not in json.dumps(scene.entry.events)


def test_a_mapped_task(scene: Scene) -> None:
    """Each mapped task instance is the parent of its own pod's run, in its own state."""
    run = scene.runs["mapped"]
    assert run.ended() == "failed"
    assert {each.map_index: each.state for each in run.tasks()} == {0: "success", 1: "failed"}
    links = [scene.links(run, "ingest_accounts", map_index=index) for index in (0, 1)]
    scene.assert_each_linked(links, ["COMPLETE", "FAIL"], "FAIL")


def test_a_retried_task(scene: Scene) -> None:
    """Two tries are two runs of the task, each with its own pod's run, and the DAG run is as the last try."""
    run = scene.runs["retried"]
    assert run.ended() == "success"
    assert [each.state for each in run.tries("load")] == ["failed", "success"]
    links = [scene.links(run, "load", try_number=number) for number in (1, 2)]
    scene.assert_each_linked(links, ["FAIL", "COMPLETE"], "COMPLETE")


def test_a_task_that_is_marked_as_failed(scene: Scene) -> None:
    """A user marks a running task as failed: Airflow deletes its pod, whose run is ABORT."""
    run = scene.runs["killed"]
    links = scene.links(run, "load")
    run.mark("load", "failed")
    scene.assert_marked_as_failed(links)
    assert run.ended() == "failed"
    assert message(scene.ended(links)).startswith("stopped by SIGTERM")


def test_a_task_that_is_cleared(scene: Scene) -> None:
    """A user clears a running task: the run of its pod is ABORT, and that of the next try's pod COMPLETE."""
    run = scene.runs["cleared"]
    first = scene.links(run, "load")
    run.clear("load")
    scene.entry.ended(first.pod, "ABORT")
    assert run.ended() == "success"
    second = scene.links(run, "load", try_number=2)
    scene.assert_linked(second, "COMPLETE", "COMPLETE", "COMPLETE")


def test_a_task_that_takes_too_long(scene: Scene) -> None:
    """The task's own time limit ends its pod, whose run is ABORT."""
    run = scene.runs["timed_out"]
    assert run.ended() == "failed"
    links = scene.links(run, "load")
    scene.assert_linked(links, "ABORT", "FAIL", "FAIL")
    assert message(scene.ended(links)).startswith("stopped by SIGTERM")


def test_a_skipped_task(scene: Scene) -> None:
    """An exit code by which Airflow skips the task, declared with --abort-on, is ABORT."""
    run = scene.runs["skipped"]
    assert run.ended() == "success"
    assert [each.state for each in run.tasks()] == ["skipped"]
    scene.assert_linked(scene.links(run, "load"), "ABORT", "COMPLETE", "COMPLETE")


def test_xcom(scene: Scene) -> None:
    """What a pod returns to Airflow arrives there, untouched."""
    run = scene.runs["xcom"]
    assert run.ended() == "success"
    assert run.xcom("load") == ["totals.csv", 2]
    scene.assert_linked(scene.links(run, "load"), "COMPLETE", "COMPLETE", "COMPLETE")


def test_the_run_id_of_airflow_is_no_parent(scene: Scene) -> None:
    """A pod that is given Airflow's own run id warns in the task's log, and names the macro for the right one."""
    run = scene.runs["bad_parent"]
    assert run.ended() == "success"
    log = run.log("load")
    assert "{{ macros.OpenLineageProviderPlugin.lineage_run_id(task_instance) }}" in log
    [events] = scene.entry.runs(lambda event: event["job"]["name"] == "true").values()
    assert parent_of(events[0]) is None


def test_a_decorated_function_is_stopped(scene: Scene) -> None:
    """SIGTERM reaches a function of `@task.kubernetes` though a shell starts it: its run is ABORT."""
    run = scene.runs["cut_off"]
    links = scene.links(run, "wait")
    run.mark("wait", "failed")
    scene.assert_marked_as_failed(links)
    assert run.ended() == "failed"


def test_a_deferrable_task(scene: Scene) -> None:
    """A pod that the triggerer watches is linked like any other.

    It runs after the others: under their load Airflow has marked it as failed while it was deferred.
    """
    run = scene.airflow.trigger("deferrable")
    assert run.ended() == "success", run.log("ingest_accounts") + scene.airflow.scheduler_log("deferrable")
    scene.assert_complete(run, "ingest_accounts", "ingest_accounts")


def test_every_event_was_taken(scene: Scene) -> None:
    """No consumer refused an event, be it Airflow's or a pod's."""
    for run in scene.runs.values():
        run.ended()
    assert scene.entry.refused == []


@pytest.mark.usefixtures("ingest_accounts")
def test_airflow_2(podman: Podman, consumers: list[Consumer], tmp_path: Path) -> None:
    """The smallest example is linked in Airflow 2.9 with provider 1.9, whose macros know no root."""
    dags = tmp_path / "dags"
    dags.mkdir()
    (dags / "demo.py").symlink_to(ROOT / "examples" / "airflow" / "kpo_openlineage_demo.py")
    with open_entry(consumers) as entry, kubernetes(podman, {}) as cluster:
        known = connections(tmp_path, cluster, entry)
        with skipping(), airflow2(dags, known, triggered="kpo_openlineage_demo") as running:
            assert running.ended("kpo_openlineage_demo") == "success", running.logs()
        assert cluster.unknown == []
        tasks = entry.runs(lambda event: event["job"]["name"] == "kpo_openlineage_demo.ingest_accounts")
        pods = entry.runs(lambda event: event["job"]["name"] == "ingest_accounts")
        [(task, task_events)], [(pod, pod_events)] = tasks.items(), pods.items()
        assert [event["eventType"] for event in task_events] == ["START", "COMPLETE"]
        assert [event["eventType"] for event in pod_events] == ["START", "COMPLETE"]
        assert {(parent_of(event), root_of(event)) for event in pod_events} == {(task, task)}
        assert {UUID(run_id).version for run_id in (task, pod)} == {7}  # Data.Rentgen knows no other
        assert {seen.parent for seen in entry.ended(pod, "COMPLETE")} == {task}
        entry.ended(task, "COMPLETE")
