"""A real dbt inside `openlineage-pod run`, below an Airflow task, as every real consumer shows it."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest

from tests.e2e.consumers import Marquez, root_of
from tests.e2e.pods import Names
from tests.support.harness import Jobs, types
from tests.support.wrapping import run

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tests.e2e.consumers import Consumer
    from tests.e2e.scene import Scene
    from tests.support.harness import Event, Finished

pytestmark = pytest.mark.consumers

PROJECT = Path(__file__).parents[2] / "examples" / "dbt"
MODELS = ("paying", "fees_by_country", "best_country")


@pytest.fixture(params=["airflow", "k8s://prod/airflow"])
def namespace(request: pytest.FixtureRequest) -> str:
    """Return a job namespace that no other test uses; one is a path, which not every reader of a parent understands."""
    return f"{request.param}-{Names.new().namespace}"


class Dbt:
    """dbt on a project that has its seed, in the pod of a task."""

    def __init__(self, scene: Scene, programs: Path, seeded: Path, folder: Path) -> None:
        shutil.copytree(seeded, folder, dirs_exist_ok=True)
        self.project = folder / "dbt"
        self._jobs = Jobs(self.project)
        self._environ = {
            "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
            "FEES_DATABASE": str(folder / "fees.duckdb"),
            "OPENLINEAGE_URL": scene.entry.url,
            **scene.task.by_id(),
        }
        self.database = f"duckdb://{folder}/fees.duckdb"

    def run(self, **environ: str) -> Finished:
        """Build all models."""
        return run(self._jobs, "dbt-ol", "run", environ={**self._environ, **environ})

    def stop(self) -> None:
        """End it if it still runs."""
        self._jobs.stop()


@pytest.fixture(scope="module")
def seeded(dbt: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the project and its database, which has the seed."""
    folder = tmp_path_factory.mktemp("seeded")
    shutil.copytree(PROJECT, folder / "dbt")
    environ = {**os.environ, "FEES_DATABASE": str(folder / "fees.duckdb")}
    subprocess.run([dbt / "dbt", "seed", "--quiet"], env=environ, cwd=folder / "dbt", check=True, timeout=360)
    return folder


@pytest.fixture
def project(scene: Scene, dbt: Path, seeded: Path, tmp_path: Path) -> Iterator[Dbt]:
    """Return the project."""
    project = Dbt(scene, dbt, seeded, tmp_path)
    yield project
    project.stop()


def assert_shown(scene: Scene, state: str, models: Mapping[str, str]) -> list[Event]:
    """Check that every consumer shows our run, dbt's below it in the same state, and the models below that in theirs.

    Returns:
        The last event of each model.

    """
    ours = scene.ended(state)["run"]["runId"]
    [of_dbt] = scene.below(ours)
    assert types(of_dbt) == ["START", state]
    run_of_dbt = of_dbt[0]["run"]["runId"]
    # Not its datasets: of it dbt-ol reports none, and Data.Rentgen shows those of the models.
    assert {seen.parent for seen in scene.entry.ended(run_of_dbt, state)} == {ours}

    of_models = scene.below(run_of_dbt)
    ends = [events[-1] for events in of_models]
    assert {end["job"]["name"]: end["eventType"] for end in ends} == {
        f"fees.main.fees.{model}": end for model, end in models.items()
    }
    for end in ends:
        shown = scene.entry.ended(end["run"]["runId"], end["eventType"])
        assert {seen.parent for seen in shown} == {run_of_dbt}
        if end["eventType"] == "COMPLETE":  # dbt-ol's FAIL names no output, and the consumers differ on that
            scene.entry.show(end)
    roots = {root_of(event) for events in (scene.events(), of_dbt, *of_models) for event in events}
    assert roots == {scene.task.dag_run_id}
    return ends


def test_models(project: Dbt, scene: Scene, consumers: list[Consumer]) -> None:
    """The models are below dbt's run, that below ours, and that below the task; the DAG run is the root of all."""
    job = f"{scene.task.job_name}.dbt-ol.fees"
    finished = project.run(OPENLINEAGE_NAMESPACE=scene.task.namespace, OPENLINEAGE_DBT_JOB_NAME=job)
    assert finished.returncode == 0, finished.stderr

    ends = assert_shown(scene, "COMPLETE", dict.fromkeys(MODELS, "COMPLETE"))
    for end in ends:
        table = end["job"]["name"].replace("fees.main.fees", "fees.main")
        assert [(each["namespace"], each["name"]) for each in end["outputs"]] == [(project.database, table)]
    for marquez in (each for each in consumers if isinstance(each, Marquez)):
        path = f"/api/v1/namespaces/{quote(scene.task.namespace, safe='')}/jobs"
        jobs = {each["name"]: each["parentJobName"] for each in marquez.api.get(path)["jobs"]}
        assert jobs == {
            "etl": None,
            "etl.ingest": "etl",
            "etl.ingest.dbt-ol": "etl.ingest",
            job: "etl.ingest.dbt-ol",
            **{f"{job}.fees.main.fees.{model}": job for model in MODELS},
        }


def test_a_model_fails(project: Dbt, scene: Scene) -> None:
    """A model that fails is FAIL, and so are dbt's run and ours, with dbt-ol's exit code; one before it is COMPLETE."""
    (project.project / "models" / "fees_by_country.sql").write_text("select no_such_column from {{ ref('paying') }}")
    assert project.run(OPENLINEAGE_NAMESPACE=scene.task.namespace).returncode == 1

    # What depends on a failed model is not run, and dbt-ol does not report it.
    assert_shown(scene, "FAIL", {"paying": "COMPLETE", "fees_by_country": "FAIL"})
