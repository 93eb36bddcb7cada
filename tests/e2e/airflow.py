"""A real Airflow 3: its API server, DAG processor, scheduler and triggerer, on SQLite in a folder of their own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from contextlib import ExitStack, contextmanager
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, NamedTuple

from tests.e2e.airflow_venvs import airflow_python, installed_package
from tests.e2e.servers import LOOPBACK, Api, free_ports, serving, temporary_folder
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

# A DAG run of one task takes some seconds; all of a session may be under way together.
PATIENCE = 240.0
SERVICES = (
    ("dag-processor",),
    ("scheduler", "--skip-serve-logs"),
    ("triggerer", "--skip-serve-logs"),
)
_HEALTHY = ("metadatabase", "scheduler", "triggerer", "dag_processor")
ENDED = ("success", "failed")


class TaskInstance(NamedTuple):
    """What Airflow shows of one try, or of the last one, of a task."""

    task_id: str
    map_index: int
    try_number: int
    state: str | None


class DagRun:
    """A run of a DAG."""

    def __init__(self, api: Api, logs: Path, dag: str, run_id: str) -> None:
        self._api = api
        self._logs = logs
        self.dag = dag
        self.run_id = run_id
        self._path = f"/api/v2/dags/{dag}/dagRuns/{run_id}"

    @property
    def state(self) -> str:
        """What Airflow shows of it now."""
        return str(self._api.get(self._path)["state"])

    def ended(self) -> str:
        """Return its state as soon as it is final."""
        wait_until(lambda: self.state in ENDED, f"the run of {self.dag} has ended", seconds=PATIENCE, every=0.5)
        return self.state

    def tasks(self) -> list[TaskInstance]:
        """Return its task instances, each as its last try."""
        return self._instances(f"{self._path}/taskInstances")

    def tries(self, task: str) -> list[TaskInstance]:
        """Return all tries of a task."""
        found = self._instances(f"{self._path}/taskInstances/{task}/tries")
        return sorted(found, key=lambda each: each.try_number)

    def mark(self, task: str, state: str) -> None:
        """Set the state of a task, as a user does in the interface."""
        answer = self._api.request("PATCH", f"{self._path}/taskInstances/{task}", json={"new_state": state})
        assert answer.ok, answer.text

    def clear(self, task: str) -> None:
        """Let a task run again, as a user does in the interface."""
        what = {"dag_run_id": self.run_id, "task_ids": [task], "dry_run": False, "only_failed": False}
        self._api.post(f"/api/v2/dags/{self.dag}/clearTaskInstances", what)

    def xcom(self, task: str) -> Any:
        """Return what a task has returned."""
        return self._api.get(f"{self._path}/taskInstances/{task}/xcomEntries/return_value")["value"]

    def log(self, task: str) -> str:
        """Return the log of the first try of a task and of its trigger, if there was one; the messages only."""
        folder = self._logs / f"dag_id={self.dag}/run_id={self.run_id}/task_id={task}"
        lines = [line for file in sorted(folder.glob("attempt=1.log*")) for line in file.read_text().splitlines()]
        return "\n".join(str(json.loads(line)["event"]) for line in lines)

    def _instances(self, path: str) -> list[TaskInstance]:
        found = self._api.get(path)["task_instances"]
        return [TaskInstance(*(each[name] for name in TaskInstance._fields)) for each in found]


class Airflow:
    """A running Airflow."""

    def __init__(self, api: Api, home: Path) -> None:
        self.api = api
        self._home = home

    def trigger(self, dag: str, conf: Mapping[str, Any] | None = None) -> DagRun:
        """Start a run of a DAG."""
        # Without a date there is no data interval, and without that Data.Rentgen takes none of the run's events.
        date = datetime.now(timezone.utc).isoformat()
        run = self.api.post(f"/api/v2/dags/{dag}/dagRuns", {"logical_date": date, "conf": conf or {}})
        return DagRun(self.api, self._home / "logs", dag, run["dag_run_id"])

    def scheduler_log(self, dag: str) -> str:
        """Return what the scheduler says of a DAG."""
        lines = (self._home / "scheduler.log").read_text().splitlines()
        return "\n".join(line for line in lines if dag in line)

    def broken_files(self) -> list[str]:
        """Return what is wrong with DAG files that cannot be imported."""
        return [error["stack_trace"] for error in self.api.get("/api/v2/importErrors")["import_errors"]]

    def knows(self, dags: Sequence[str]) -> bool:
        """Say whether it has read the files of these DAGs."""
        broken = self.broken_files()
        assert not broken, "\n".join(broken)
        return set(dags) <= {dag["dag_id"] for dag in self.api.get("/api/v2/dags", limit=100)["dags"]}


def settings(home: Path, dags: Path, port: int) -> dict[str, str]:
    """Return an environment in which all processes of an Airflow in the folder `home` agree."""
    url = f"http://{LOOPBACK}:{port}"
    own = {
        "CORE__DAGS_FOLDER": str(dags),
        "CORE__LOAD_EXAMPLES": "False",
        "CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
        "CORE__EXECUTOR": "LocalExecutor",
        "CORE__PARALLELISM": "6",
        "CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
        "CORE__EXECUTION_API_SERVER_URL": f"{url}/execution/",
        "API__BASE_URL": url,
        "API__HOST": LOOPBACK,
        "API__PORT": str(port),
        "API__WORKERS": "1",
        # One for all processes, else each makes its own.
        "API__SECRET_KEY": "of no use outside this test",
        "API_AUTH__JWT_SECRET": "of no use outside this test, and long enough for SHA-512 to be content with it",
        "SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.2",
        "USAGE_DATA_COLLECTION__ENABLED": "False",
    }
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "OPENLINEAGE"))}
    return {
        **environ,
        **{f"AIRFLOW__{name}": value for name, value in own.items()},
        "AIRFLOW_HOME": str(home),
        "NO_PROXY": LOOPBACK,
        "no_proxy": LOOPBACK,
    }


@contextmanager
def airflow(dags: Path, environ: Mapping[str, str]) -> Iterator[Airflow]:
    """Run an Airflow with this package installed.

    Args:
        dags: the folder of its DAG files.
        environ: for all its processes, over its settings.

    """
    python = airflow_python("3")
    [port] = free_ports(1)
    api = Api(f"http://{LOOPBACK}:{port}")
    with ExitStack() as stack:
        home = stack.enter_context(temporary_folder())
        env = {**settings(home, dags, port), "PYTHONPATH": str(installed_package(python, home)), **environ}
        program = [str(python), "-m", "airflow"]
        done = subprocess.run([*program, "db", "migrate"], check=False, env=env, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-3000:]

        def run(*arguments: str) -> None:
            command = [*program, *arguments]
            ready = (lambda: api.answers("/api/v2/version")) if arguments == ("api-server",) else (lambda: True)
            # The scheduler would wait for ever for the workers of its executor, and nothing of it is of use any more.
            log = f"{arguments[0]}.log"
            stack.enter_context(serving(command, ready, folder=home, log=log, env=env, stop_signal=signal.SIGKILL))

        for service in SERVICES:
            run(*service)
        run("api-server")
        wait_until(lambda: api.answers("/auth/token"), "Airflow gives tokens", every=0.5)
        running = Airflow(Api(api.url, api.get("/auth/token")["access_token"]), home)

        def healthy() -> bool:
            health = running.api.get("/api/v2/monitor/health")
            return all(health[part]["status"] == "healthy" for part in _HEALTHY)

        wait_until(healthy, "all of Airflow is healthy", every=0.5)
        yield running
