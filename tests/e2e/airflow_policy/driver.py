"""Run by the Python of a real Airflow: reads the DAGs as its DAG processor does, and says what it found as JSON.

With `run` it also runs each DAG once, with its templates rendered and OpenLineage's events sent, as `dags test` does.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import airflow.settings

try:
    from airflow.dag_processing.dagbag import DagBag
    from airflow.serialization.serialized_objects import DagSerialization
except ImportError:  # Airflow 2
    from airflow.models.dagbag import DagBag
    from airflow.serialization.serialized_objects import SerializedDAG as DagSerialization


def _shown(task: Any) -> dict[str, Any]:
    """Return what counts of a task: its environment and secrets, as they lie in it."""
    arguments = task.partial_kwargs if hasattr(task, "partial_kwargs") else task.__dict__
    given = arguments.get("env_vars", arguments.get("environment"))
    entries = given if isinstance(given, list) else [given]
    return {
        "type": type(given).__name__,
        "of": type(entries[0]).__name__ if entries else None,
        "text": repr(given),
        "secrets": [repr(secret) for secret in arguments.get("secrets") or []],
    }


def _described(dags: dict[str, Any]) -> Any:
    return {
        dag_id: {
            "tasks": {task.task_id: _shown(task) for task in dag.tasks},
            "serialised": DagSerialization.to_dict(dag),
        }
        for dag_id, dag in dags.items()
    }


def main(result: str, *what: str) -> None:
    """Write the result to a file, as Airflow itself writes to the standard output."""
    bag = DagBag(airflow.settings.DAGS_FOLDER)
    first = _described(bag.dags)
    for dag in bag.dags.values():
        for task in dag.tasks:
            airflow.settings.task_policy(task)
    again = _described(bag.dags)
    modules = [name for name in sys.modules if name.startswith("airflow.providers.openlineage.extractors")]
    states = {}
    if "run" in what:
        for dag_id, dag in bag.dags.items():
            ended = dag.test()
            states[dag_id] = str(getattr(ended, "state", ended))
    found = {
        "errors": {str(file): text for file, text in bag.import_errors.items()},
        "first": first,
        "again": again,
        "extractors": modules,
        "states": states,
    }
    Path(result).write_text(json.dumps(found, default=repr))


if __name__ == "__main__":
    main(*sys.argv[1:])
