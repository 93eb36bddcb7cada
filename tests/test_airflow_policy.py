"""The cluster policy where there is no Airflow; what it does in a real one is tested end to end."""

from __future__ import annotations

import subprocess
import sys

_LOOK = """
import sys
from openlineage_pod import airflow_policy

class KubernetesPodOperator:
    dag_id, task_id, template_fields, env_vars = "etl", "ingest", ("env_vars",), None

task = KubernetesPodOperator()
airflow_policy.task_policy(object())
airflow_policy.task_policy(task)
print(vars(task), sorted(sys.modules.keys() & {"airflow", "jinja2", "kubernetes", "openlineage", "requests"}))
"""


def test_nothing_is_needed_and_nothing_raised() -> None:
    """The module can be imported anywhere, imports nothing heavy, and what is missing is one line of the log."""
    done = subprocess.run([sys.executable, "-c", _LOOK], check=True, capture_output=True, text=True)
    assert done.stdout == "{} []\n"
    [line] = done.stderr.splitlines()
    assert line.startswith("openlineage_pod: task etl.ingest: could not link it to its pod (ModuleNotFoundError: ")
