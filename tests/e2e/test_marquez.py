"""What Marquez makes of our events: runs of real processes, read back through its interface."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from urllib.parse import quote
from uuid import uuid4

import pytest

from openlineage_pod.inspection.consumers import violations
from tests.e2e.airflow_task import AirflowTask
from tests.e2e.pods import ENDS, Names, Pod
from tests.support import options
from tests.support.broken_events import BROKEN, RIGHT, changed

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from tests.e2e.servers import Api

pytestmark = pytest.mark.marquez

JOB = "etl.ingest.load_accounts"
STATES = {"COMPLETE": "COMPLETED", "FAIL": "FAILED", "ABORT": "ABORTED"}

each_end = pytest.mark.parametrize("end", ENDS)
# Marquez files a job `load_accounts` of the task `etl.ingest` as `etl.ingest.load_accounts`. The parent facet of a
# child has the name of the parent's own events, `load_accounts`, as it should. `OpenLineageDao.findParentJobRow`
# compares the two. As they differ, it supposes that two jobs have one run id, and makes up a run of another job,
# `load_accounts`, without a parent. If the child's START comes first, the real run is filed there too.
_MARQUEZ_FAULT = pytest.mark.xfail(
    strict=True,
    reason="fault of Marquez 0.51.1, OpenLineageDao.findParentJobRow: it compares the parent facet's job name with its "
    "own name of that job, which has a prefix, and files the child below a made-up job that has no parent",
)
each_naming = pytest.mark.parametrize(
    ("name", "job"),
    [
        ("", "etl.ingest.load"),
        (JOB, JOB),
        pytest.param("load_accounts", JOB, marks=_MARQUEZ_FAULT),
    ],
    ids=["named after the function", "named in full", "named"],
)
known_or_not = pytest.mark.parametrize("known", [True, False], ids=["known task", "unknown task"])


class Scene:
    """An Airflow, its pod, and what Marquez says of both."""

    def __init__(self, api: Api, names: Names, folder: Path) -> None:
        self.api = api
        self.names = names
        self._folder = folder
        self.task = self.new_task(names.namespace)

    def new_task(self, namespace: str, dag: str = "etl") -> AirflowTask:
        """Return a task whose events go to this Marquez."""
        return AirflowTask(lambda event: self.api.post("/api/v1/lineage", event), namespace, dag)

    def pod(self, environment: Mapping[str, str], **more: str) -> Pod:
        """Return a pod that reports to this Marquez."""
        return Pod(self._folder, {"OPENLINEAGE_URL": self.api.url, **self.names.to_env(), **environment, **more})

    def jobs(self, namespace: str | None = None) -> dict[str, Any]:
        """Return all jobs of the namespace by name."""
        path = f"/api/v1/namespaces/{quote(namespace or self.names.namespace, safe='')}/jobs"
        return {job["name"]: job for job in self.api.get(path, limit=1000)["jobs"]}

    def run(self, run_id: str) -> Any:
        """Return what is known of a run."""
        return self.api.get(f"/api/v1/jobs/runs/{run_id}")

    def is_running(self) -> bool:
        """Say whether Marquez knows of a running job `load_accounts`."""
        # Between two moments of its transaction Marquez shows a job without a run.
        run = self.jobs().get(JOB, {}).get("latestRun")
        return bool(run and run["state"] == "RUNNING")

    def load(self, end: str, **more: str) -> Any:
        """Run `load_accounts` as a pod of the task, to the given end; returns its run."""
        self.pod(self.task.by_id(), **more).load(end, self.is_running)
        return self.jobs()[JOB]["latestRun"]

    def events(self, run_id: str) -> list[Any]:
        """Return the run's events, in the order of their times."""
        events = self.api.get("/api/v1/events/lineage", limit=1000, sortDirection="asc")["events"]
        return [event for event in events if event["run"]["runId"] == run_id]

    def graph(self, job: str, namespace: str | None = None) -> tuple[set[tuple[str, str]], dict[str, Any]]:
        """Return the edges around a job, and its datasets with their columns."""
        node = f"job:{namespace or self.names.namespace}:{job}"
        nodes = self.api.get("/api/v1/lineage", nodeId=node)["graph"]
        edges = {(edge["origin"], edge["destination"]) for node in nodes for edge in node["outEdges"]}
        columns = {
            node["id"]: {field["name"]: field["type"] for field in node["data"]["fields"]}
            for node in nodes
            if node["type"] == "DATASET"
        }
        return edges, columns


@pytest.fixture
def scene(marquez: Api, tmp_path: Path) -> Scene:
    """Return an Airflow whose task Marquez does not know yet, and which shares no name with another test."""
    return Scene(marquez, Names.new(), tmp_path)


def assert_linked(run: Any, parent_run_id: str, root_run_id: str) -> None:
    """Assert that the run says of what it is a part."""
    assert run["facets"]["parent"]["run"]["runId"] == parent_run_id
    assert run["facets"]["parent"]["root"]["run"]["runId"] == root_run_id


@each_end
@known_or_not
def test_a_run_is_filed_under_its_task(scene: Scene, end: str, known: bool) -> None:
    """The job is a part of the task's job, its run has the state in which the process ended, and knows the task's."""
    if known:
        scene.task.start()
    run = scene.load(end)

    jobs = scene.jobs()
    assert set(jobs) == ({"etl"} if known else set()) | {"etl.ingest", JOB}
    assert (jobs[JOB]["simpleName"], jobs[JOB]["parentJobName"]) == ("load_accounts", "etl.ingest")
    assert run["state"] == STATES[end]
    assert run["args"]["run_id"] == scene.task.run_id
    assert_linked(run, scene.task.run_id, scene.task.dag_run_id)


@each_end
def test_each_run_has_a_start_and_one_end(scene: Scene, end: str) -> None:
    """Marquez has stored START and exactly one terminal event, both with the parent and with the same job."""
    run = scene.load(end)

    events = scene.events(run["id"])
    assert [event["eventType"] for event in events] == ["START", end]
    assert [event["run"]["facets"]["parent"]["run"]["runId"] for event in events] == [scene.task.run_id] * 2
    assert [event["job"]["name"] for event in events] == ["load_accounts"] * 2
    assert run["startedAt"] <= run["endedAt"]


@each_end
def test_the_datasets_are_on_the_graph(scene: Scene, end: str) -> None:
    """Input and output are connected through the job and have their columns, however the run ended.

    All but the columns of an output that was not completed: Marquez makes a new version of it only then.
    """
    run = scene.load(end)

    job = f"job:{scene.names.namespace}:{JOB}"
    source, target = f"dataset:{scene.names.warehouse}:crm.public.accounts", f"dataset:{scene.names.lake}:accounts"
    edges, columns = scene.graph(JOB)
    assert edges == {(source, job), (job, target)}
    written = {"id": "bigint"} if end == "COMPLETE" else {}
    assert columns == {source: {"id": "bigint", "name": "text"}, target: written}
    [output] = run["outputDatasetVersions"]
    assert output["facets"]["outputStatistics"]["rowCount"] == 3


@pytest.mark.parametrize(
    ("end", "message", "in_stack_trace"),
    [
        ("FAIL", "LookupError: no such table: accounts", "raise LookupError('no such table: accounts')"),
        ("ABORT", "the process was terminated by SIGTERM", None),
    ],
)
def test_the_reason_is_visible(scene: Scene, end: str, message: str, in_stack_trace: str | None) -> None:
    """A failed run shows its exception and where it was raised, an aborted one the signal."""
    error = scene.load(end)["facets"]["errorMessage"]

    assert error["message"] == message
    assert in_stack_trace is None or in_stack_trace in error["stackTrace"]


@each_end
def test_the_task_is_left_alone(scene: Scene, end: str) -> None:
    """The task's own run and job are untouched by its pod's, and end as Airflow says."""
    scene.task.start()
    before = scene.run(scene.task.run_id), scene.jobs()["etl.ingest"]
    scene.load(end)

    assert (scene.run(scene.task.run_id), scene.jobs()["etl.ingest"]) == before
    assert before[0]["state"] == "RUNNING"
    scene.task.end()
    assert scene.run(scene.task.run_id)["state"] == "COMPLETED"
    assert set(scene.jobs()) == {"etl", "etl.ingest", JOB}


def test_a_task_that_is_heard_of_later_is_the_same(scene: Scene) -> None:
    """What Marquez put in the place of an unknown task becomes the task when Airflow's own events come."""
    scene.load("COMPLETE")
    assert set(scene.jobs()) == {"etl.ingest", JOB}
    scene.task.start()
    scene.task.end()

    jobs = scene.jobs()
    assert set(jobs) == {"etl", "etl.ingest", JOB}
    assert jobs["etl.ingest"]["parentJobName"] == "etl"
    assert jobs["etl.ingest"]["latestRun"]["id"] == scene.task.run_id
    assert scene.run(scene.task.run_id)["state"] == "COMPLETED"
    assert jobs[JOB]["parentJobName"] == "etl.ingest"


@known_or_not
@pytest.mark.parametrize("naming", [AirflowTask.by_id, AirflowTask.by_context], ids=["by id", "by context"])
@pytest.mark.parametrize("path", ["", "/eu/prod"], ids=["plain namespace", "namespace with slashes"])
def test_every_way_of_naming_the_parent(
    scene: Scene, naming: Callable[[AirflowTask], dict[str, str]], path: str, known: bool
) -> None:
    """The run is linked to the task and to the DAG run, however the environment names them."""
    task = scene.new_task(scene.names.namespace + path)
    if known:
        task.start()
    scene.pod(naming(task)).load("COMPLETE", scene.is_running)

    jobs = scene.jobs(task.namespace)
    assert set(jobs) == ({"etl"} if known else set()) | {"etl.ingest", JOB}
    assert (jobs[JOB]["simpleName"], jobs[JOB]["parentJobName"]) == ("load_accounts", "etl.ingest")
    assert_linked(jobs[JOB]["latestRun"], task.run_id, task.dag_run_id)
    edges, _ = scene.graph(JOB, task.namespace)
    assert len(edges) == 2


@known_or_not
@pytest.mark.parametrize("configured", [True, False], ids=["OPENLINEAGE_NAMESPACE", "no namespace at all"])
def test_a_parent_without_a_namespace(scene: Scene, configured: bool, known: bool) -> None:
    """A parent of run id and job name alone is sought in the pod's own namespace, else in Airflow's default one."""
    namespace = scene.names.namespace if configured else "default"
    # The namespace `default` is shared with other tests, so the DAG has a name of its own.
    dag = f"etl-{scene.names.namespace}"
    task = scene.new_task(namespace, dag)
    if known:
        task.start()
    own = {"OPENLINEAGE_NAMESPACE": namespace} if configured else {}
    scene.pod(task.by_parts(), **own).load("COMPLETE", scene.is_running)

    jobs = {name: job for name, job in scene.jobs(namespace).items() if name.startswith(dag)}
    assert set(jobs) == ({dag} if known else set()) | {f"{dag}.ingest", f"{dag}.ingest.load_accounts"}
    job = jobs[f"{dag}.ingest.load_accounts"]
    assert (job["simpleName"], job["parentJobName"]) == ("load_accounts", f"{dag}.ingest")
    # Nobody named the DAG run: then the task's run counts as the root.
    assert_linked(job["latestRun"], task.run_id, task.run_id)


def test_a_job_without_a_parent(scene: Scene) -> None:
    """A job that nobody names a parent for is filed under its own name in its own namespace."""
    own = {"OPENLINEAGE_NAMESPACE": scene.names.namespace}
    scene.pod(own).load("COMPLETE", scene.is_running)

    [job] = scene.jobs().values()
    assert (job["name"], job["parentJobName"]) == ("load_accounts", None)
    assert job["latestRun"]["state"] == "COMPLETED"


@pytest.mark.parametrize(
    ("source", "variables", "name"),
    [
        ("with lineage_run(): pass", {}, "job"),
        ("with lineage_run(): pass", {"OPENLINEAGE_JOB_NAME": "load_orders"}, "load_orders"),
        ("lineage_run(main)()", {}, "main"),
        ("lineage_run('etl.ingest.explicit')(main)()", {}, "explicit"),
        ("lineage_run('etl.ingest')(main)()", {}, "main"),
    ],
    ids=["script", "variable", "function", "with the parent's name before it", "with the parent's own name"],
)
def test_every_way_of_naming_the_job(scene: Scene, source: str, variables: dict[str, str], name: str) -> None:
    """Wherever the name comes from, Marquez files the job once, under the task."""
    scene.task.start()
    source = f"from openlineage_pod import lineage_run\ndef main(): pass\n{source}"
    scene.pod(scene.task.by_id(), **variables).run_well(source)

    jobs = scene.jobs()
    assert set(jobs) == {"etl", "etl.ingest", f"etl.ingest.{name}"}
    assert jobs[f"etl.ingest.{name}"]["simpleName"] == name
    assert jobs[f"etl.ingest.{name}"]["parentJobName"] == "etl.ingest"


def test_the_tries_of_a_task_are_runs_of_one_job(scene: Scene) -> None:
    """A retried task has another run id, and so has its pod; both pairs are kept apart, under the same jobs."""
    first, second = scene.task, scene.new_task(scene.names.namespace)
    for task, end in ((first, "FAIL"), (second, "COMPLETE")):
        task.start()
        scene.pod(task.by_id()).load(end, scene.is_running)
        task.end(end)

    assert set(scene.jobs()) == {"etl", "etl.ingest", JOB}
    runs = scene.api.get(f"/api/v1/namespaces/{scene.names.namespace}/jobs/{JOB}/runs")["runs"]
    assert {(run["args"]["run_id"], run["state"]) for run in runs} == {
        (first.run_id, "FAILED"),
        (second.run_id, "COMPLETED"),
    }
    assert len(runs) == 2


@each_naming
def test_nested_runs_are_filed_under_the_enclosing_run(scene: Scene, name: str, job: str) -> None:
    """A run within a run is a part of the enclosing job, and all know the same DAG run."""
    scene.task.start()
    scene.pod(scene.task.by_id(), NAME=name).run_well("""
        import os

        from openlineage_pod import lineage_run

        @lineage_run
        def check():
            pass

        @lineage_run
        def step():
            check()

        @lineage_run(os.environ["NAME"] or None)
        def load():
            step()

        load()
    """)

    jobs = scene.jobs()
    assert set(jobs) == {"etl", "etl.ingest", job, f"{job}.step", f"{job}.step.check"}
    above = scene.task.run_id
    for nested, parent in ((job, "etl.ingest"), (f"{job}.step", job), (f"{job}.step.check", f"{job}.step")):
        assert jobs[nested]["parentJobName"] == parent
        assert jobs[nested]["latestRun"]["state"] == "COMPLETED"
        assert_linked(jobs[nested]["latestRun"], above, scene.task.dag_run_id)
        above = jobs[nested]["latestRun"]["id"]


@each_naming
def test_a_child_process_is_filed_under_the_run_that_started_it(scene: Scene, name: str, job: str) -> None:
    """A process started with `child_env()` is a part of the run, and its failure is its own.

    Whose START comes first is open: both processes deliver theirs beside the job.
    """
    scene.task.start()
    scene.pod(scene.task.by_id(), NAME=name).run_well("""
        import os
        import subprocess
        import sys

        from openlineage_pod import current_run, lineage_run

        CHILD = "from openlineage_pod import lineage_run; lineage_run('export')(sys.exit)(3)"

        @lineage_run(os.environ["NAME"] or None)
        def load():
            command = [sys.executable, "-c", f"import sys; {CHILD}"]
            assert subprocess.run(command, env=current_run().child_env()).returncode == 3

        load()
    """)

    jobs = scene.jobs()
    assert set(jobs) == {"etl", "etl.ingest", job, f"{job}.export"}
    run, child = jobs[job]["latestRun"], jobs[f"{job}.export"]["latestRun"]
    assert (jobs[job]["parentJobName"], jobs[f"{job}.export"]["parentJobName"]) == ("etl.ingest", job)
    assert (run["state"], child["state"]) == ("COMPLETED", "FAILED")
    assert_linked(run, scene.task.run_id, scene.task.dag_run_id)
    assert_linked(child, run["id"], scene.task.dag_run_id)


def test_column_lineage(scene: Scene) -> None:
    """A column of the output is connected to the columns that it was made of."""
    scene.pod(scene.task.by_id()).run_well("""
        import os

        from openlineage_pod import dataset, lineage_run

        accounts = dataset(f"{os.environ['WAREHOUSE']}/crm.public.accounts", schema={"id": "bigint", "name": "text"})
        with lineage_run("load_accounts") as run:
            run.add_input(accounts)
            columns = {"key": [(accounts, "id")], "label": [(accounts, "id"), (accounts, "name")]}
            types = {"key": "bigint", "label": "text"}
            run.add_output(dataset(f"{os.environ['LAKE']}/accounts", schema=types, column_lineage=columns))
    """)

    nodes = scene.api.get("/api/v1/column-lineage", nodeId=f"dataset:{scene.names.lake}:accounts")["graph"]
    source = f"datasetField:{scene.names.warehouse}:crm.public.accounts"
    target = f"datasetField:{scene.names.lake}:accounts"
    assert {(edge["origin"], edge["destination"]) for node in nodes for edge in node["outEdges"]} == {
        (f"{source}:id", f"{target}:key"),
        (f"{source}:id", f"{target}:label"),
        (f"{source}:name", f"{target}:label"),
    }


def test_datasets_that_the_dag_declares_are_on_the_graph(scene: Scene) -> None:
    """Datasets of the pod's environment are connected through its outermost run, though the job names none."""
    scene.pod(
        scene.task.by_id(),
        OPENLINEAGE_POD_INPUTS=f'["{scene.names.warehouse}/crm.public.accounts"]',
        OPENLINEAGE_POD_OUTPUTS=f'[{{"namespace": "{scene.names.lake}", "name": "accounts"}}]',
    ).run_well("""
        from openlineage_pod import lineage_run

        with lineage_run("load_accounts"), lineage_run("check"):
            pass
    """)

    job = f"job:{scene.names.namespace}:{JOB}"
    edges, _ = scene.graph(JOB)
    assert edges == {
        (f"dataset:{scene.names.warehouse}:crm.public.accounts", job),
        (job, f"dataset:{scene.names.lake}:accounts"),
    }


def test_the_facets_about_job_and_pod_are_shown(scene: Scene) -> None:
    """Marquez takes our job type, in which it requires every field, and shows it and the pod's name."""
    run = scene.load("COMPLETE", POD_NAME="etl-ingest-x7k2p")

    job_type = scene.jobs()[JOB]["facets"]["jobType"]
    assert (job_type["processingType"], job_type["integration"], job_type["jobType"]) == (
        "BATCH",
        "KUBERNETES_POD",
        "JOB",
    )
    assert run["facets"]["kubernetes_pod"]["k8s.pod.name"] == "etl-ingest-x7k2p"


def test_text_that_postgresql_cannot_hold(scene: Scene) -> None:
    """NUL and undecodable bytes in a message cost these characters, not the event."""
    own = {"OPENLINEAGE_NAMESPACE": scene.names.namespace}
    done = scene.pod(own).run(r"""
        from openlineage_pod import lineage_run

        with lineage_run("läuft 100%/ok"):
            raise ValueError("a\x00b\udcff")
    """)

    assert done.returncode == 1
    [job] = scene.jobs().values()
    assert (job["name"], job["latestRun"]["state"]) == ("läuft 100%/ok", "FAILED")
    assert job["latestRun"]["facets"]["errorMessage"]["message"].startswith("ValueError: a")


@pytest.mark.parametrize(
    ("path", "value"),
    # Not the namespaces of datasets: one that is wrong would break this Marquez for all other tests.
    [(path, value) for consumer, path, value, _ in BROKEN if consumer == "marquez" and "inputs" not in path],
)
def test_rules_are_those_of_marquez(path: str, value: Any, scene: Scene) -> None:
    """An event that breaks a rule of our table gets the status that stands there, and one that keeps all gets 201."""
    own = {"job.namespace": scene.names.namespace, "run.facets.parent.job.namespace": scene.names.namespace}
    right = changed(RIGHT, "run.runId", str(uuid4()))
    for where, namespace in own.items():
        right = changed(right, where, namespace)
    broken = changed(right, path, value)
    (rule,) = {violation.rule for violation in violations("marquez", broken)}
    for event, status in ((right, 201), (broken, rule.status or 201)):
        answer = scene.api.request("POST", "/api/v1/lineage", json=event)
        assert answer.status_code == status, f"{answer.status_code}: {answer.text[:500]}"


ODD = """
    import json
    import os

    from openlineage.client.event_v2 import OutputDataset
    from openlineage.client.facet_v2 import column_lineage_dataset as lineage, symlinks_dataset as symlinks

    from openlineage_pod import dataset, lineage_run

    odd = ["a,b", "a b", "{{ host }}", "${HOST}", "h\u00f6st", "[::1]", "***", "x" * 2000, "a\\\\b", "a\\tb"]
    uris = [f"postgres://{host}:5432/crm.public.t" for host in odd] + [
        "kafka://b1:9092,b2:9092/t",
        "kafka://SASL_SSL://b1:9092,SASL_SSL://b2:9092/t",
        "cassandra://c1,c2/shop.orders",
        "postgres://u:p/w@h/crm.public.t",
        "jdbc:oracle:thin:scott/tiger@ora:1521/ORCL.S.T",
        "postgress://h/t",
    ] + json.loads(os.environ["CASES"])
    namespaces = [*odd, "kafka://b1,b2", "kafka://[::1]", "postgres://u:p@h:5432", " "]

    def describe(namespace):
        # A dataset of each kind with this namespace, or with it in its facets.
        yield namespace, "pair"
        yield {"namespace": namespace, "name": "mapping"}
        other = [symlinks.Identifier(namespace, "other", "TABLE"), symlinks.Identifier(namespace, " ", "TABLE")]
        origin = lineage.InputField(namespace, "origin", "id")
        facets = {
            "symlinks": symlinks.SymlinksDatasetFacet(other),
            "columnLineage": lineage.ColumnLineageDatasetFacet({"id": lineage.Fields([origin])}),
        }
        yield OutputDataset(namespace, "typed", facets=facets)
        own = {"dataSource": {"name": namespace, "uri": namespace}, "schema": {"fields": [{"name": " "}, {}]}}
        yield dataset((f"s3://{namespace}", "facets"), facets=own)

    edges = {"id": [(("a b", "t"), "id")]}
    datasets = [dataset(uri, schema={"id": int}, column_lineage=edges) for uri in uris]
    datasets += [each for namespace in namespaces for each in describe(namespace)]
    datasets += [("nameless", name) for name in ("", " ", "\\n", "\\x00")]
    datasets += [OutputDataset("nameless", name) for name in ("", " ", "\\n", "\\x00")]
    # Marquez takes seconds for an event with a hundred datasets.
    for start in range(0, len(datasets), 5):
        with lineage_run("load_accounts", outputs=["s3://lake/t"]) as run:
            for each in datasets[start : start + 5]:
                run.add_input(each)
                run.add_output(each)
"""


def test_no_name_harms_marquez(scene: Scene) -> None:
    """Whatever datasets are called, in code, facets and the environment, the run is stored and all lists answer."""
    declared = [["a,b", "pair"], {"namespace": "c d", "name": "mapping"}, "kafka://b1,b2/t", "postgres://${H}/a.b.c"]
    own = {"OPENLINEAGE_NAMESPACE": scene.names.namespace, "OPENLINEAGE_POD_INPUTS": json.dumps(declared)}
    cases = options.SPEC.parent / "cases" / "names.tsv"
    rows = cases.read_text("utf-8").splitlines()[1:] if cases.exists() else []
    given = json.dumps([row.partition("\t")[0] for row in rows])
    done = scene.pod(own, CASES=given, OPENLINEAGE_POD_FLUSH_TIMEOUT="120").run(ODD)

    assert done.returncode == 0, done.stderr
    runs = scene.api.get(f"/api/v1/namespaces/{scene.names.namespace}/jobs/load_accounts/runs", limit=1000)["runs"]
    assert len(runs) > 15
    # Marquez stores an output's version with COMPLETE alone.
    stored = {each["datasetVersionId"]["namespace"] for run in runs for each in run["outputDatasetVersions"]}
    assert {"s3://lake", "kafka://b1:9092", "postgres://_::1_:5432", "oracle://ora:1521", "a_b"} <= stored
    for path in ("/api/v1/namespaces", "/api/v1/jobs"):
        scene.api.get(path, limit=1000)
    for each in scene.api.get("/api/v1/namespaces", limit=1000)["namespaces"]:
        scene.api.get(f"/api/v1/namespaces/{quote(each['name'], safe='')}/datasets", limit=1000)
