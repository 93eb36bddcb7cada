"""The templates of `lineage_env()`: one short macro where Airflow has our plugin, else the provider's own macros."""

from __future__ import annotations

import json
import sys
from functools import lru_cache
from typing import TYPE_CHECKING

from openlineage_pod import environment
from openlineage_pod.airflow.templates import PREFIX
from openlineage_pod.core.parent import AIRFLOW_MACROS

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["is_plugin_installed", "parent_expressions"]

# Short, because the scheduler stores it ten times for each pod. A test for what is not defined would fail the task.
_OWN = "{{{{ macros.openlineage_pod.env(ti, '{}') if macros.openlineage_pod is defined else '' }}}}"


def parent_expressions() -> Mapping[str, str]:
    """Return the variables that name the parent and the namespace, each with the template that renders to its value."""
    if "airflow" in sys.modules and is_plugin_installed():
        names = (*environment.NAMES_PARENT, environment.NAMESPACE)
        return {name: _OWN.format(name.removeprefix(PREFIX)) for name in names}
    return {
        environment.CONTEXT: _context(),
        environment.PARENT_ID: _if_defined("lineage_parent_id(task_instance)"),
        environment.PARENT_RUN_ID: _if_defined("lineage_run_id(task_instance)"),
        environment.PARENT_JOB_NAME: _if_defined("lineage_job_name(task_instance)"),
        environment.PARENT_JOB_NAMESPACE: _if_defined("lineage_job_namespace()"),
        environment.ROOT_PARENT_ID: _if_defined("lineage_root_parent_id(task_instance)"),
        environment.ROOT_PARENT_RUN_ID: _if_defined("lineage_root_run_id(task_instance)"),
        environment.ROOT_PARENT_JOB_NAME: _if_defined("lineage_root_job_name(task_instance)"),
        environment.ROOT_PARENT_JOB_NAMESPACE: _if_defined("lineage_root_job_namespace(task_instance)"),
        environment.NAMESPACE: _if_defined("lineage_job_namespace()"),
    }


@lru_cache(maxsize=1)
def is_plugin_installed() -> bool:
    """Return whether Airflow finds our plugin: not where this package is only a folder on the import path.

    Asked once: the metadata of all distributions is read for it, which takes 20 ms beside an Airflow.
    """
    from importlib.metadata import entry_points

    return any(each.value.startswith("openlineage_pod.") for each in entry_points(group="airflow.plugins"))


def _if_defined(call: str) -> str:
    """Return a template that is empty if the provider registers no macros, or not this one."""
    macro = f"{AIRFLOW_MACROS}.{call.partition('(')[0]}"
    # Both tests are needed: Jinja refuses to ask an undefined object for an attribute.
    return f"{{{{ {AIRFLOW_MACROS}.{call} if {AIRFLOW_MACROS} is defined and {macro} is defined else '' }}}}"


def _context() -> str:
    """Return a template for the standard JSON of the parent. Jinja quotes the names.

    The types of parent and root are those that the provider knows. An older one says none: a parent is a task, and the
    root may be anything. `templated_json` explains the space at the start.
    """
    namespace = "lineage_job_namespace()"
    task = {"processingType": "BATCH", "integration": "AIRFLOW", "jobType": "TASK"}
    parent = _node("lineage_run_id", "lineage_job_name", namespace, _job_type("lineage_job_type", task))
    # The root's own namespace differs if another Airflow triggered this DAG. Its macro exists since 2.8.0.
    own = f"{AIRFLOW_MACROS}.lineage_root_job_namespace"
    root_namespace = f"lineage_root_job_namespace(task_instance) if {own} is defined else {AIRFLOW_MACROS}.{namespace}"
    root = _node("lineage_root_run_id", "lineage_root_job_name", root_namespace, _job_type("lineage_root_job_type"))
    has_root = f"{AIRFLOW_MACROS}.lineage_root_run_id is defined"
    return (
        f"{{% if {AIRFLOW_MACROS} is defined %}}"
        f' {{"parent": {{{parent}{{% if {has_root} %}}, "root": {{{root}}}{{% endif %}}}}}}'
        "{% endif %}"
    )


def _node(run_id: str, name: str, namespace: str, job_type: str) -> str:
    def quoted(call: str) -> str:
        return f"{{{{ ({AIRFLOW_MACROS}.{call}) | tojson }}}}"

    return (
        f'"run": {{"runId": {quoted(f"{run_id}(task_instance)")}}}, "job": {{"namespace": {quoted(namespace)}, '
        f'"name": {quoted(f"{name}(task_instance)")}{job_type}}}'
    )


def _job_type(macro: str, otherwise: Mapping[str, str] | None = None) -> str:
    """Return the key `facets` with the type of a job; the provider has macros for it since 2.21.0."""
    own = f"{AIRFLOW_MACROS}.{macro}"
    default = f'{{% else %}}, "facets": {{"jobType": {json.dumps(otherwise)}}}' if otherwise else ""
    facets = f', "facets": {{"jobType": {{{{ {own}(task_instance) | tojson }}}}}}'
    return f"{{% if {own} is defined %}}{facets}{default}{{% endif %}}"
