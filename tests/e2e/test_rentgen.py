"""What Data.Rentgen makes of our events, which it reads from Kafka: sent there by its HTTP entry, or by us directly.

It knows only runs whose ids are UUIDs of version 7, as ours and Airflow's are.
"""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import pytest
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from tests.e2e.airflow_task import AirflowTask
from tests.e2e.pods import ENDS, Names, Pod
from tests.e2e.servers import RENTGEN_TOPIC, Api
from tests.support.broken_events import BROKEN, RIGHT, changed
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.e2e.servers import DataRentgen

pytestmark = pytest.mark.rentgen

STATUSES = {"COMPLETE": "SUCCEEDED", "FAIL": "FAILED", "ABORT": "KILLED"}
# It reads from Kafka in its own time.
READ_TIMEOUT = 120.0

each_end = pytest.mark.parametrize("end", ENDS)
each_transport = pytest.mark.parametrize("transport", ["http", "kafka"])


class Scene:
    """An Airflow, its pod, and what Data.Rentgen says of both."""

    def __init__(self, rentgen: DataRentgen, names: Names, folder: Path) -> None:
        self._rentgen = rentgen
        self._folder = folder
        self._since = (datetime.now(timezone.utc) - timedelta(hours=1)).isoformat()
        self.names = names
        self.broker = rentgen.broker
        entry = Api(rentgen.ingest_url, rentgen.token)
        self.task = AirflowTask(lambda event: entry.post("/v1/openlineage", event), names.namespace)

    def pod(self, transport: str, topic: str = RENTGEN_TOPIC, **more: str) -> Pod:
        """Return a pod of the task that reports over the transport."""
        if transport == "http":
            backend = {
                "OPENLINEAGE_URL": self._rentgen.ingest_url,
                "OPENLINEAGE_ENDPOINT": "v1/openlineage",
                "OPENLINEAGE_API_KEY": self._rentgen.token,
            }
        else:
            backend = {
                "OPENLINEAGE__TRANSPORT__TYPE": "kafka",
                "OPENLINEAGE__TRANSPORT__TOPIC": topic,
                "OPENLINEAGE__TRANSPORT__CONFIG": json.dumps({"bootstrap.servers": self.broker}),
            }
        return Pod(self._folder, {**backend, **self.names.to_env(), **self.task.by_id(), **more})

    def run(self, run_id: str) -> Any:
        """Return a run, or None."""
        return next(iter(self._rentgen.api.get("/v1/runs", run_id=run_id)["items"]), None)

    def wait_for_status(self, run_id: str, status: str) -> None:
        """Wait until a run has the status."""

        def has_status() -> bool:
            run = self.run(run_id)
            return bool(run and run["data"]["status"] == status)

        wait_until(has_status, f"run {run_id} has the status {status}", seconds=READ_TIMEOUT)

    def children(self, run_id: str) -> list[Any]:
        """Return the runs whose parent this run is."""
        items: list[Any] = self._rentgen.api.get("/v1/runs", since=self._since, parent_run_id=run_id)["items"]
        return items

    def is_running(self) -> bool:
        """Say whether Data.Rentgen knows of a running run of the task's pod."""
        return [run["data"]["status"] for run in self.children(self.task.run_id)] == ["STARTED"]

    def load(self, transport: str, end: str) -> Any:
        """Run `load_accounts` as a pod of the task, to the given end; returns its run once that is known."""
        self.pod(transport).load(end, self.is_running)

        def has_ended() -> bool:
            return [run["data"]["status"] for run in self.children(self.task.run_id)] == [STATUSES[end]]

        wait_until(has_ended, f"the task has one run below it, which is {STATUSES[end]}", seconds=READ_TIMEOUT)
        return self.children(self.task.run_id)[0]

    def lineage(self, run_id: str) -> Any:
        """Return what is around a run, once that has an input and an output: they are stored after the run."""

        def read() -> Any:
            return self._rentgen.api.get("/v1/runs/lineage", since=self._since, start_node_id=run_id)

        def is_complete() -> bool:
            relations = read()["relations"]
            return bool(relations["inputs"] and relations["outputs"])

        wait_until(is_complete, f"run {run_id} has an input and an output", seconds=READ_TIMEOUT)
        return read()


@pytest.fixture
def scene(data_rentgen: DataRentgen, tmp_path: Path) -> Scene:
    """Return an Airflow whose task Data.Rentgen does not know yet, and which shares no name with another test."""
    return Scene(data_rentgen, Names.new(), tmp_path)


@each_transport
@each_end
def test_a_run_is_linked_to_a_task_that_is_known(scene: Scene, transport: str, end: str) -> None:
    """The run has the state in which the process ended, below the task, which goes on until Airflow ends it."""
    scene.task.start()
    scene.wait_for_status(scene.task.run_id, "STARTED")
    run = scene.load(transport, end)

    task = scene.run(scene.task.run_id)
    assert (run["job"]["name"], run["job"]["type"]) == ("load_accounts", "KUBERNETES_POD_JOB")
    assert run["job"]["parent_job_id"] == task["job"]["id"]
    assert run["data"]["ended_at"] is not None
    assert (task["job"]["name"], task["job"]["type"]) == ("etl.ingest", "AIRFLOW_TASK")
    assert (task["data"]["status"], task["data"]["parent_run_id"]) == ("STARTED", scene.task.dag_run_id)
    scene.task.end()
    scene.wait_for_status(scene.task.run_id, "SUCCEEDED")
    assert [child["id"] for child in scene.children(scene.task.run_id)] == [run["id"]]


@each_transport
@each_end
def test_a_run_is_linked_to_a_task_that_is_heard_of_later(scene: Scene, transport: str, end: str) -> None:
    """The run stands below a task of which only its own events speak, and stays there when Airflow's come."""
    run = scene.load(transport, end)
    task = scene.run(scene.task.run_id)
    assert (task["job"]["name"], task["data"]["status"]) == ("etl.ingest", "UNKNOWN")
    scene.task.start()
    scene.task.end()
    scene.wait_for_status(scene.task.run_id, "SUCCEEDED")

    task = scene.run(scene.task.run_id)
    assert (task["job"]["type"], task["data"]["parent_run_id"]) == ("AIRFLOW_TASK", scene.task.dag_run_id)
    [child] = scene.children(scene.task.run_id)
    assert (child["id"], child["data"]["status"]) == (run["id"], STATUSES[end])


@each_transport
@each_end
def test_the_datasets_are_connected_through_the_run(scene: Scene, transport: str, end: str) -> None:
    """Input and output are on the run's lineage with their columns and row count, however it ended."""
    run = scene.load(transport, end)

    lineage = scene.lineage(run["id"])
    datasets = {
        (dataset["location"]["addresses"][0]["url"], dataset["name"]): {
            field["name"]: field["type"] for field in dataset["schema"]["fields"]
        }
        for dataset in lineage["nodes"]["datasets"].values()
    }
    assert datasets == {
        (scene.names.warehouse, "crm.public.accounts"): {"id": "bigint", "name": "text"},
        (scene.names.lake, "accounts"): {"id": "bigint"},
    }
    [read] = [relation for relation in lineage["relations"]["inputs"] if relation["to"]["id"] == run["id"]]
    [written] = [relation for relation in lineage["relations"]["outputs"] if relation["from"]["id"] == run["id"]]
    names = {key: dataset["name"] for key, dataset in lineage["nodes"]["datasets"].items()}
    assert names[read["from"]["id"]] == "crm.public.accounts"
    assert (names[written["to"]["id"]], written["num_rows"]) == ("accounts", 3)


@each_transport
def test_nested_runs_stand_below_the_enclosing_run(scene: Scene, transport: str) -> None:
    """A run within a run is a child of that run, not of the task."""
    scene.pod(transport).run_well("""
        from openlineage_pod import lineage_run

        with lineage_run("load_accounts"), lineage_run("check"):
            pass
    """)

    def ended() -> bool:
        above = scene.children(scene.task.run_id)
        return [run["data"]["status"] for run in above] == ["SUCCEEDED"]

    wait_until(ended, "the task has one run below it, which has ended", seconds=READ_TIMEOUT)
    [outer] = scene.children(scene.task.run_id)
    [inner] = scene.children(outer["id"])
    assert (outer["job"]["name"], inner["job"]["name"]) == ("load_accounts", "check")
    assert inner["job"]["parent_job_id"] == outer["job"]["id"]
    assert inner["data"]["status"] == "SUCCEEDED"


def test_an_event_that_kafka_refuses_is_not_lost(scene: Scene) -> None:
    """An event that the broker does not take is printed, and the exit says that it was not delivered."""
    topic = NewTopic(
        f"narrow-{scene.names.namespace}",
        num_partitions=1,
        replication_factor=1,
        config={"max.message.bytes": "200"},  # of an event that has more than a thousand
    )
    admin = AdminClient({"bootstrap.servers": scene.broker})
    admin.create_topics([topic])[topic.topic].result(READ_TIMEOUT)
    # It is tried again until the exit must not wait any longer.
    done = scene.pod("kafka", topic.topic, OPENLINEAGE_POD_FLUSH_TIMEOUT="3").run("""
        from openlineage_pod import lineage_run

        with lineage_run("load_accounts"):
            pass
    """)

    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr.count("OPENLINEAGE_POD_EVENT") == 2
    assert "0 delivered" in done.stderr


@pytest.mark.parametrize(("path", "value"), [(path, value) for name, path, value, _ in BROKEN if name == "rentgen"])
def test_rules_are_those_of_data_rentgen(path: str, value: Any, data_rentgen: DataRentgen) -> None:
    """An event that breaks a rule of our table gets the status that stands there, and one that keeps all is taken."""
    entry = Api(data_rentgen.ingest_url, data_rentgen.token)
    assert entry.request("POST", "/v1/openlineage", json=RIGHT).ok
    assert entry.request("POST", "/v1/openlineage", json=changed(RIGHT, path, value)).status_code == 422
