"""A real Airflow 2 with nothing but a scheduler: SQLite and the SequentialExecutor, in a folder of their own."""

from __future__ import annotations

import os
import sqlite3
import subprocess
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, NamedTuple

from tests.e2e.airflow_venvs import airflow_python, installed_package
from tests.e2e.servers import LOOPBACK, serving, temporary_folder
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

PATIENCE = 240.0
_LAST_RUN = "SELECT state FROM dag_run WHERE dag_id = ? ORDER BY id DESC LIMIT 1"


class Airflow2(NamedTuple):
    """A running Airflow 2."""

    program: tuple[str, ...]
    environ: Mapping[str, str]
    home: Path

    def run(self, *arguments: str) -> None:
        """Run one of its commands, which must succeed."""
        command = [*self.program, *arguments]
        done = subprocess.run(command, check=False, env=self.environ, capture_output=True, text=True)
        assert done.returncode == 0, f"{arguments}: {done.stdout[-2000:]}{done.stderr[-2000:]}"

    def ended(self, dag: str) -> str:
        """Return the state of the last run of a DAG as soon as it is final."""
        ended = ("success", "failed")
        wait_until(lambda: self._state(dag) in ended, f"the run of {dag} has ended", seconds=PATIENCE, every=0.5)
        return self._state(dag)

    def logs(self) -> str:
        """Return the logs of all tasks."""
        return "\n".join(file.read_text() for file in (self.home / "logs").glob("dag_id=*/**/*.log"))

    def _state(self, dag: str) -> str:
        with closing(sqlite3.connect(f"file:{self.home}/airflow.db?mode=ro", uri=True)) as database:
            return str(database.execute(_LAST_RUN, (dag,)).fetchone()[0])


@contextmanager
def airflow2(dags: Path, environ: Mapping[str, str], *, triggered: str) -> Iterator[Airflow2]:
    """Run an Airflow 2 with this package installed, and one run of a DAG in it.

    Args:
        dags: the folder of its DAG files.
        environ: for all its processes, over its settings.
        triggered: the DAG.

    """
    python = airflow_python("2")
    with temporary_folder() as home:
        own = {
            "CORE__DAGS_FOLDER": str(dags),
            "CORE__LOAD_EXAMPLES": "False",
            "CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
            "CORE__EXECUTOR": "SequentialExecutor",
            "SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.2",
        }
        others = {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "OPENLINEAGE"))}
        env = {
            **others,
            **{f"AIRFLOW__{name}": value for name, value in own.items()},
            "AIRFLOW_HOME": str(home),
            "NO_PROXY": LOOPBACK,
            "no_proxy": LOOPBACK,
            "PYTHONPATH": str(installed_package(python, home)),
            # The scheduler starts `airflow` by this name for each task.
            "PATH": f"{python.parent}:{others['PATH']}",
            **environ,
        }
        running = Airflow2((str(python), "-m", "airflow"), env, home)
        for step in (("db", "migrate"), ("dags", "reserialize"), ("dags", "trigger", triggered)):
            running.run(*step)
        scheduler = [*running.program, "scheduler", "--skip-serve-logs"]
        # SIGTERM: its DAG processor has a process group of its own, and is stopped by nobody else.
        with serving(scheduler, lambda: True, folder=home, log="scheduler.log", env=env):
            yield running
