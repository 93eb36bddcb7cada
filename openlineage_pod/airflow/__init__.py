"""The DAG side: the environment variables that tell a pod which Airflow task started it.

    from openlineage_pod.airflow import lineage_env

    KubernetesPodOperator(..., env_vars={**lineage_env(), "MY": "x"})

The values are templates with macros that Airflow's OpenLineage provider registers since its version 1.9. This module
imports nothing of Airflow.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from openlineage_pod import environment
from openlineage_pod.airflow.templates import templated_json
from openlineage_pod.core.parent import AIRFLOW_MACROS
from openlineage_pod.datasets.dataset import as_sources, dataset
from openlineage_pod.events.document import json_ready

if TYPE_CHECKING:
    from collections.abc import Iterable

    from openlineage_pod.datasets.dataset import DatasetSource

__all__ = ["lineage_env"]


def lineage_env(
    *,
    job_name: str | None = None,
    inputs: Iterable[DatasetSource] | DatasetSource = (),
    outputs: Iterable[DatasetSource] | DatasetSource = (),
    flush_timeout: float | None = None,
) -> dict[str, str]:
    """Return the environment variables that link a pod's run to its Airflow task, for a templated `env_vars`.

    The parent and the root come in every form in use: `OPENLINEAGE_CONTEXT`, `OPENLINEAGE_PARENT_ID` and the variables
    for each part. The namespace comes as `OPENLINEAGE_NAMESPACE`.

    The values render to empty texts, which count as not set, if OpenLineage is disabled in Airflow or has no transport.
    The values of the root also do with a provider before 2.4.0, which has no macros for the root.

    Give a dictionary to the operator. Airflow renders `V1EnvVar` objects in place, so that retries and mapped tasks of
    one process would see each other's values.

    Args:
        job_name: The job's name; may be a template. Default: the pod's job names itself.
        inputs: Datasets that the pod reads, as for `lineage_run`; their names may be templates.
        outputs: Datasets that the pod writes.
        flush_timeout: Seconds that the end of the pod may wait for delivery; default: the pod's own, 5.

    Raises:
        ValueError: An input or output is not a dataset.

    """
    env = {
        environment.CONTEXT: _context(),
        environment.PARENT_ID: _if_defined("lineage_parent_id(task_instance)"),
        environment.ROOT_PARENT_ID: _if_defined("lineage_root_parent_id(task_instance)"),
        environment.NAMESPACE: _if_defined("lineage_job_namespace()"),
        environment.PARENT_RUN_ID: _if_defined("lineage_run_id(task_instance)"),
        environment.PARENT_JOB_NAME: _if_defined("lineage_job_name(task_instance)"),
        environment.PARENT_JOB_NAMESPACE: _if_defined("lineage_job_namespace()"),
        environment.ROOT_PARENT_RUN_ID: _if_defined("lineage_root_run_id(task_instance)"),
        environment.ROOT_PARENT_JOB_NAME: _if_defined("lineage_root_job_name(task_instance)"),
        environment.ROOT_PARENT_JOB_NAMESPACE: _if_defined("lineage_root_job_namespace(task_instance)"),
    }
    if job_name is not None:
        env[environment.JOB_NAME] = job_name
    for variable, given, side in ((environment.INPUTS, inputs, "inputs"), (environment.OUTPUTS, outputs, "outputs")):
        if declared := [_declared(source, side) for source in as_sources(given)]:
            env[variable] = templated_json(declared)
    if flush_timeout is not None:
        env[environment.FLUSH_TIMEOUT] = f"{flush_timeout:g}"
    return env


def _if_defined(call: str) -> str:
    """Return a template that is empty if the provider registers no macros, or not this one."""
    macro = f"{AIRFLOW_MACROS}.{call.partition('(')[0]}"
    # Both tests are needed: Jinja refuses to ask an undefined object for an attribute.
    return f"{{{{ {AIRFLOW_MACROS}.{call} if {AIRFLOW_MACROS} is defined and {macro} is defined else '' }}}}"


def _context() -> str:
    """Return a template for the standard JSON of the parent. Jinja quotes the names.

    `templated_json` explains the space at the start.
    """
    namespace = "lineage_job_namespace()"
    parent = _node("lineage_run_id(task_instance)", "lineage_job_name(task_instance)", namespace, "TASK")
    # The root's own namespace differs if another Airflow triggered this DAG. Its macro exists since 2.8.0.
    own = f"{AIRFLOW_MACROS}.lineage_root_job_namespace"
    root_namespace = f"lineage_root_job_namespace(task_instance) if {own} is defined else {AIRFLOW_MACROS}.{namespace}"
    root = _node("lineage_root_run_id(task_instance)", "lineage_root_job_name(task_instance)", root_namespace, "DAG")
    has_root = f"{AIRFLOW_MACROS}.lineage_root_run_id is defined"
    return (
        f"{{% if {AIRFLOW_MACROS} is defined %}}"
        f' {{"parent": {{{parent}{{% if {has_root} %}}, "root": {{{root}}}{{% endif %}}}}}}'
        "{% endif %}"
    )


def _node(run_id: str, name: str, namespace: str, job_type: str) -> str:
    facets = {"jobType": {"processingType": "BATCH", "integration": "AIRFLOW", "jobType": job_type}}

    def quoted(call: str) -> str:
        return f"{{{{ ({AIRFLOW_MACROS}.{call}) | tojson }}}}"

    return (
        f'"run": {{"runId": {quoted(run_id)}}}, '
        f'"job": {{"namespace": {quoted(namespace)}, "name": {quoted(name)}, "facets": {json.dumps(facets)}}}'
    )


def _declared(source: Any, side: str) -> Any:
    """Return a dataset in the form that the pod reads. A URI stays, so that templates in it are rendered first."""
    found = dataset(source)
    if found.problems:
        raise ValueError("; ".join(f"{found.shown}: {problem}" for problem in found.problems))
    return source if isinstance(source, str) and "://" in source else json_ready(found.to_dict(side))
