"""The cluster policy without Airflow; tests/e2e has the tests with a real Airflow."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import date
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from openlineage.client.event_v2 import Dataset
from openlineage.client.facet_v2 import dataset_version_dataset

from openlineage_pod.airflow import summary
from openlineage_pod.airflow.task import declared_dataset

if TYPE_CHECKING:
    import pytest

_LOOK = """
import sys
from openlineage_pod.airflow import policy as airflow_policy

class KubernetesPodOperator:
    dag_id, task_id, template_fields, env_vars = "etl", "ingest", ("env_vars",), None

task = KubernetesPodOperator()
airflow_policy.task_policy(object())
airflow_policy.task_policy(task)
print(vars(task), sorted(sys.modules.keys() & {"airflow", "jinja2", "kubernetes", "openlineage", "requests"}))
"""


def test_nothing_is_needed_and_nothing_raised() -> None:
    """The module can be imported anywhere, imports nothing heavy, and logs one line about a missing Airflow."""
    done = subprocess.run([sys.executable, "-c", _LOOK], check=True, capture_output=True, text=True)
    assert done.stdout == "{} []\n"
    [line] = done.stderr.splitlines()
    assert line.startswith("openlineage_pod: task etl.ingest: could not link it to its pod (ModuleNotFoundError: ")


def test_facets_of_a_declared_dataset() -> None:
    """A facet of an inlet with objects and dates becomes plain JSON, without a warning."""
    facets: dict[str, Any] = {
        "checked": {"times": [date(2026, 1, 2)]},
        "version": dataset_version_dataset.DatasetVersionDatasetFacet("7"),
    }
    entry = declared_dataset(Dataset("s3://lake", "in", facets=facets), "inputs")
    assert json.loads(json.dumps(entry))["facets"]["checked"] == {"times": ["2026-01-02"]}
    assert entry["facets"]["version"]["datasetVersion"] == "7"


def test_tasks_of_a_dag_that_was_not_read_to_its_end(caplog: pytest.LogCaptureFixture) -> None:
    """The tasks of a DAG that another policy refuses in the middle are not told as those of the next DAG."""
    caplog.set_level("INFO", "openlineage_pod")
    for dag_id, last in (("broken", "never"), ("whole", "load")):
        dag = SimpleNamespace(task_dict={"load": None, last: None})
        task = SimpleNamespace(dag=dag, dag_id=dag_id, task_id="load")
        summary.note(task, "the pod is not linked", "opted out of OpenLineage")
        summary.summarise(task)
    assert caplog.messages == ["DAG whole: task load opted out of OpenLineage, so the pod is not linked"]
