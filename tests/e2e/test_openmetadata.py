"""What OpenMetadata's own OpenLineage connector makes of our events: pipelines, and edges between its entities."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from tests.e2e import programs
from tests.e2e.conftest import skipping
from tests.e2e.consumers import entry as open_entry
from tests.e2e.odd_names import report_odd_names
from tests.e2e.pods import Pod
from tests.support.constants import ROOT
from tests.support.harness import types
from tests.support.wrapping import run

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from tests.e2e.consumers import Entry
    from tests.e2e.scene import Scene
    from tests.support.harness import Event, Jobs

pytestmark = pytest.mark.openmetadata

# Each service has the table `crm.public.accounts`, so that only the right one gives the right edge.
SERVICES = {
    "athena": "Athena",
    "bigquery": "BigQuery",
    "mssql": "Mssql",
    "oracle": "Oracle",
    "pg": "Postgres",
    "redshift": "Redshift",
    "snowflake": "Snowflake",
    "trino": "Trino",
    "hive": "Hive",
    "mysql": "Mysql",
}
CATALOG = {
    "services": SERVICES,
    "tables": [
        *(f"{service}.crm.public.accounts" for service in SERVICES),
        "pg.crm.public.fees",
        "pg.crm.public.debts",
    ],
    "brokers": {"bus": "broker:9092"},
    "topics": ["bus.accounts"],
}
ACCOUNTS, FEES, DEBTS = (f"pg.crm.public.{table}" for table in ("accounts", "fees", "debts"))
WAREHOUSE = "postgres://warehouse:5432"

LOAD = f"""
import os
from openlineage_pod import dataset, lineage_run

accounts = dataset("{WAREHOUSE}/crm.public.accounts", schema={{"id": "bigint", "Name": "text"}})
with lineage_run("load_fees") as run:
    run.add_input(accounts)
    columns = {{"key": [(accounts, "id")], "label": [(accounts, "id"), (accounts, "Name")]}}
    run.add_output(dataset("{WAREHOUSE}/crm.public.fees", schema={{"key": "bigint", "label": "text"}},
                           column_lineage=columns))
"""


# What ends a run in these states.
ERRORS = {"FAIL": "LookupError", "ABORT": "KeyboardInterrupt"}


class Lineage(NamedTuple):
    """What the connector made of some events."""

    pipelines: list[str]
    """What it asked the server to create, each once."""
    edges: set[tuple[str, str, str | None]]
    """From where to where, and the pipeline."""
    columns: dict[str, list[str]]
    """The origins of each column."""


class OpenMetadata:
    """A version of the connector, in a process of its own.

    Args:
        version: of OpenMetadata.
        log: takes its stderr.

    """

    def __init__(self, version: str, log: Path) -> None:
        self.version = version
        self._log = log
        # Isolated: the driver's own folder has modules with the names of others, and nothing here is for it.
        driver = Path(__file__).with_name("openmetadata.py")
        with log.open("wb") as stderr:
            self._process = subprocess.Popen(
                [programs.openmetadata(version), "-I", "-W", "ignore", driver],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
            )

    def ask(self, events: Sequence[Event], mapping: Mapping[str, str]) -> list[dict[str, Any]]:
        """Return what a new connector makes of each of the events; it must understand them all."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"catalog": CATALOG, "mapping": mapping, "events": events}) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, self._log.read_text()[-2000:]
        answers: list[dict[str, Any]] = json.loads(line)
        assert len(answers) == len(events)
        for answer in answers:
            failed = [text for text in answer["warnings"] if text.startswith(("Error", "Failed"))]
            assert [*answer["failures"], *failed] == [], f"{self.version}: {answer}"
        return answers

    def read(self, events: Sequence[Event], mapping: Mapping[str, str] | None = None) -> Lineage:
        """Return what a new connector makes of the events in the end."""
        answers = self.ask(events, mapping or {})
        edges = [edge for answer in answers for edge in answer["edges"]]
        return Lineage(
            list(dict.fromkeys(pipeline for answer in answers for pipeline in answer["pipelines"])),
            {(edge["from"], edge["to"], edge["pipeline"]) for edge in edges},
            {column: origins for edge in edges for column, origins in edge["columns"].items()},
        )

    def stop(self) -> None:
        """End it."""
        self._process.kill()
        self._process.communicate()


@pytest.fixture(scope="module")
def connectors() -> Iterator[list[OpenMetadata]]:
    """Start every version of the connector."""
    started = []
    with tempfile.TemporaryDirectory() as folder:
        try:
            with skipping():
                for version in programs.OPENMETADATA:
                    started.append(OpenMetadata(version, Path(folder) / f"{version}.log"))  # noqa: PERF401  ended below
            yield started
        finally:
            for connector in started:
                connector.stop()


@pytest.fixture
def entry() -> Iterator[Entry]:
    """Return an entry that only keeps the events."""
    with open_entry([]) as running:
        yield running


@pytest.fixture
def pod(scene: Scene, tmp_path: Path) -> Pod:
    """Return the pod of a task."""
    return Pod(tmp_path, {"OPENLINEAGE_URL": scene.entry.url, **scene.task.by_id()})


@pytest.fixture
def pipeline(scene: Scene) -> str:
    """Return the pipeline of all pods of the task."""
    return pipeline_of(scene.task.namespace, scene.task.job_name)


def pipeline_of(namespace: str, job: str) -> str:
    """Return the full name of the pipeline of all runs whose parent is a run of this job."""
    name = f"{namespace}-{job}"
    return f'openlineage."{name}"' if "." in name else f"openlineage.{name}"


def of_pods(scene: Scene) -> list[Event]:
    """Return the events of all runs but Airflow's."""
    return [event for event in scene.entry.events if "AIRFLOW" not in json.dumps(event["job"]["facets"])]


def test_tables_are_connected_by_the_pipeline_of_the_task(
    connectors: list[OpenMetadata], scene: Scene, pod: Pod, pipeline: str
) -> None:
    """The task's pod is one pipeline, which connects the tables and their columns."""
    pod.run_well(LOAD)

    assert types(of_pods(scene)) == ["START", "COMPLETE"]
    for connector in connectors:
        pipelines, edges, columns = connector.read(of_pods(scene))
        assert (pipelines, edges) == ([pipeline], {(ACCOUNTS, FEES, pipeline)})
        assert columns == {  # it writes all columns in lower case
            f"{FEES}.key": [f"{ACCOUNTS}.id"],
            f"{FEES}.label": [f"{ACCOUNTS}.id", f"{ACCOUNTS}.name"],
        }


@pytest.mark.parametrize("state", ERRORS)
def test_a_run_that_did_not_complete_has_no_edges(
    connectors: list[OpenMetadata], scene: Scene, pod: Pod, pipeline: str, state: str
) -> None:
    """The connector drops FAIL and ABORT with their datasets; the pipeline is there from START on."""
    pod.run(f"{LOAD}    raise {ERRORS[state]}\n")

    events = of_pods(scene)
    assert types(events) == ["START", state]
    assert [len(events[-1][side]) for side in ("inputs", "outputs")] == [1, 1]
    for connector in connectors:
        assert connector.read(events) == ([pipeline], set(), {})
        # That is because of its state alone.
        completed = {**events[-1], "eventType": "COMPLETE"}
        assert connector.read([completed]).edges == {(ACCOUNTS, FEES, pipeline)}


@pytest.mark.parametrize("code", [0, 1])
def test_a_wrapped_command(connectors: list[OpenMetadata], scene: Scene, jobs: Jobs, pipeline: str, code: int) -> None:
    """Datasets on the wrapper's command line are connected, also by a command that fails: START names them."""
    named = ("--input", f"{WAREHOUSE}/crm.public.accounts", "--output", f"{WAREHOUSE}/crm.public.fees")
    environ = {"OPENLINEAGE_URL": scene.entry.url, **scene.task.by_context()}
    finished = run(jobs, "sh", "-c", f"exit {code}", options=named, environ=environ)

    assert finished.returncode == code
    for connector in connectors:
        assert connector.read(of_pods(scene)) == ([pipeline], {(ACCOUNTS, FEES, pipeline)}, {})


def test_a_run_without_datasets(connectors: list[OpenMetadata], scene: Scene, pod: Pod, pipeline: str) -> None:
    """It is a pipeline without edges, and not an event that the connector cannot read."""
    pod.run_well("from openlineage_pod import lineage_run\nwith lineage_run('check'): pass")

    for connector in connectors:
        assert connector.read(of_pods(scene)) == ([pipeline], set(), {})


def test_nested_runs(connectors: list[OpenMetadata], scene: Scene, pod: Pod, pipeline: str) -> None:
    """Runs within a run are the pipeline of that run's job, and have their own edges."""
    pod.run_well(f"""
        from openlineage_pod import lineage_run

        with lineage_run("load") as load:
            load.add_input("{WAREHOUSE}/crm.public.accounts")
            load.add_output("{WAREHOUSE}/crm.public.fees")
            with lineage_run("remind") as remind:
                remind.add_input("{WAREHOUSE}/crm.public.fees")
                remind.add_output("{WAREHOUSE}/crm.public.debts")
    """)

    inner = pipeline_of(scene.task.namespace, "load")
    for connector in connectors:
        pipelines, edges, _ = connector.read(of_pods(scene))
        assert set(pipelines) == {pipeline, inner}
        assert edges == {(ACCOUNTS, FEES, pipeline), (FEES, DEBTS, inner)}


def test_a_job_without_a_parent(connectors: list[OpenMetadata], entry: Entry, namespace: str, tmp_path: Path) -> None:
    """It is a pipeline of its own name."""
    pod = Pod(tmp_path, {"OPENLINEAGE_URL": entry.url, "OPENLINEAGE_NAMESPACE": namespace})
    pod.run_well(LOAD)

    own = pipeline_of(namespace, "load_fees")
    for connector in connectors:
        pipelines, edges, _ = connector.read(entry.events)
        assert (pipelines, edges) == ([own], {(ACCOUNTS, FEES, own)})


STORES = {
    "postgres": ("postgresql://etl@warehouse/crm.public.accounts", "pg.crm.public.accounts"),
    "snowflake": ("snowflake://acme-eu/crm.public.accounts", "snowflake.crm.public.accounts"),
    "mssql": ("mssql://erp:1433/crm.public.accounts", "mssql.crm.public.accounts"),
    "redshift": ("redshift://cluster:5439/crm.public.accounts", "redshift.crm.public.accounts"),
    "trino": ("trino://trino:8080/crm.public.accounts", "trino.crm.public.accounts"),
    "oracle": ("oracle://ora:1521/crm.public.accounts", "oracle.crm.public.accounts"),
    "athena": ("awsathena://athena.eu-west-1.amazonaws.com/crm.public.accounts", "athena.crm.public.accounts"),
    "mysql": ("mysql://shop:3306/public.accounts", "mysql.crm.public.accounts"),
    "hive": ("hive://metastore:10000/public.accounts", "hive.crm.public.accounts"),
    "kafka": ("kafka://broker/accounts", "bus.accounts"),
}


def test_the_store_goes_by_the_scheme(connectors: list[OpenMetadata], scene: Scene, pod: Pod, pipeline: str) -> None:
    """Every service has a table of this name. The edge begins at the right one, or at the topic of the broker."""
    uris = {store: uri for store, (uri, _) in STORES.items()}
    pod.run_well(f"""
        from openlineage_pod import lineage_run

        for store, uri in {uris!r}.items():
            with lineage_run(f"from_{{store}}") as run:
                run.add_input(uri)
                run.add_output("{WAREHOUSE}/crm.public.fees")
    """)

    events = [event for event in of_pods(scene) if event["eventType"] == "COMPLETE"]
    for connector in connectors:
        answers = connector.ask(events, {})
        found = {event["job"]["name"]: answer["edges"] for event, answer in zip(events, answers, strict=True)}
        assert {
            job: [(edge["from"], edge["to"], edge["pipeline"]) for edge in edges] for job, edges in found.items()
        } == {f"from_{store}": [(entity, FEES, pipeline)] for store, (_, entity) in STORES.items()}


def test_a_namespace_without_a_scheme(connectors: list[OpenMetadata], scene: Scene, pod: Pod, pipeline: str) -> None:
    """BigQuery's namespace is the word alone, which the connector finds by the mapping of its configuration."""
    pod.run_well(f"""
        from openlineage_pod import lineage_run

        with lineage_run("load") as run:
            run.add_input(("bigquery", "crm.public.accounts"))
            run.add_output("{WAREHOUSE}/crm.public.fees")
    """)

    for connector in connectors:
        edges = connector.read(of_pods(scene), {"bigquery": "bigquery"}).edges
        assert edges == {("bigquery.crm.public.accounts", FEES, pipeline)}


def test_an_object_store(connectors: list[OpenMetadata], scene: Scene, pod: Pod, pipeline: str) -> None:
    """Datasets of object stores have no edges, but the others do. 2.0 connects a lone table to the pipeline."""
    pod.run_well(f"""
        from openlineage_pod import lineage_run

        with lineage_run("load") as run:
            run.add_input("{WAREHOUSE}/crm.public.accounts")
            run.add_output("{WAREHOUSE}/crm.public.fees")
            run.add_output("s3://lake/accounts")
        with lineage_run("export") as run:
            run.add_input("{WAREHOUSE}/crm.public.debts")
            run.add_output("s3://lake/debts")
    """)

    for connector in connectors:
        pipelines, edges, _ = connector.read(of_pods(scene))
        one_sided = set() if connector.version.startswith("1.") else {(DEBTS, pipeline, None)}
        assert (pipelines, edges) == ([pipeline], {(ACCOUNTS, FEES, pipeline), *one_sided})


def run_example(scene: Scene, folder: Path, *command: str | Path, environ: Mapping[str, str] | None = None) -> None:
    """Run an example as the pod of the task."""
    image = {name: value for name, value in os.environ.items() if not name.startswith("OPENLINEAGE")}
    lineage = {"OPENLINEAGE_URL": scene.entry.url, **scene.task.by_context(), "OPENLINEAGE_POD_FLUSH_TIMEOUT": "30"}
    environ = {**image, **lineage, **(environ or {})}
    subprocess.run(command, env=environ, cwd=folder, check=True, capture_output=True, timeout=300)


def test_the_example_of_the_readme(connectors: list[OpenMetadata], scene: Scene, pipeline: str, tmp_path: Path) -> None:
    """ingest_accounts.py is a pipeline. Its file and its SQLite table are in no catalog, and so on no edge."""
    run_example(scene, tmp_path, sys.executable, ROOT / "examples" / "ingest_accounts.py")

    assert types(of_pods(scene)) == ["START", "COMPLETE"]
    for connector in connectors:
        assert connector.read(of_pods(scene)) == ([pipeline], set(), {})


def test_the_example_with_steps(connectors: list[OpenMetadata], scene: Scene, pipeline: str, tmp_path: Path) -> None:
    """Of nightly_script.py each run with runs below it is a pipeline, and the task is one."""
    run_example(scene, tmp_path, sys.executable, ROOT / "examples" / "nightly_script.py")

    script, load = (f"{scene.task.job_name}.nightly_script{step}" for step in ("", ".load"))
    for connector in connectors:
        pipelines, edges, _ = connector.read(of_pods(scene))
        assert set(pipelines) == {pipeline, *(pipeline_of(scene.task.namespace, job) for job in (script, load))}
        assert edges == set()


def test_the_example_in_bash(connectors: list[OpenMetadata], scene: Scene, pipeline: str, tmp_path: Path) -> None:
    """load.sh under the wrapper is a pipeline. Its files are in no catalog, and so on no edge."""
    fees, totals = tmp_path / "fees.csv", tmp_path / "totals.csv"
    fees.write_text("DE;10\nES;5\nDE;3\n")
    wrapper = (sys.executable, "-m", "openlineage_pod", "run", "--")
    files = {"FEES": str(fees), "TOTALS": str(totals)}
    run_example(scene, tmp_path, *wrapper, "bash", ROOT / "examples" / "docker" / "load.sh", environ=files)

    end = of_pods(scene)[-1]
    assert [[each["name"] for each in end[side]] for side in ("inputs", "outputs")] == [[str(fees)], [str(totals)]]
    for connector in connectors:
        assert connector.read(of_pods(scene)) == ([pipeline], set(), {})


def test_odd_names_leave_what_follows_as_it_is(
    connectors: list[OpenMetadata], scene: Scene, pod: Pod, pipeline: str, tmp_path: Path
) -> None:
    """The connector takes the events without a failure, and draws what comes after them."""
    odd = report_odd_names(scene, tmp_path)
    pod.run_well(LOAD)
    assert len(of_pods(scene)) == len(odd) + 2

    for connector in connectors:
        edges = {
            (edge["from"], edge["to"], edge["pipeline"]) for edge in connector.ask(of_pods(scene), {})[-1]["edges"]
        }
        assert edges == {(ACCOUNTS, FEES, pipeline)}
