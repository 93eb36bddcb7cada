"""The DAG side: what tells a pod which Airflow task started it.

    from openlineage_pod.airflow import lineage_env

    KubernetesPodOperator(..., env_vars={**lineage_env(), "MY": "x"})

The values are template expressions of macros that Airflow's OpenLineage provider registers, from its version 1.9 on.
Nothing of Airflow is imported here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from openlineage_pod import environment
from openlineage_pod.core.parent import AIRFLOW_MACROS as _MACROS
from openlineage_pod.datasets.dataset import as_sources, dataset
from openlineage_pod.events.document import json_ready

if TYPE_CHECKING:
    from collections.abc import Iterable

    from openlineage_pod.datasets.dataset import DatasetSource

__all__ = ["lineage_env", "literal_json", "templated_json"]


def lineage_env(
    *,
    job_name: str | None = None,
    inputs: Iterable[DatasetSource] | DatasetSource = (),
    outputs: Iterable[DatasetSource] | DatasetSource = (),
    flush_timeout: float | None = None,
) -> dict[str, str]:
    """Return the environment variables that link a pod's run to its Airflow task, for a templated `env_vars`.

    The parent and the root come in every form in use: `OPENLINEAGE_CONTEXT`, `OPENLINEAGE_PARENT_ID` and the parts; and
    the namespace as `OPENLINEAGE_NAMESPACE`. Where OpenLineage is disabled in Airflow or has no transport, they render
    to empty values, which count as none; so do the root's with a provider before 2.4.0, which has no macros for it.

    Give a dictionary to the operator: `V1EnvVar` objects are rendered in place, so that retries and mapped tasks of one
    process would see each other's values.

    Args:
        job_name: The job's name, else the pod's job names itself; may be a template.
        inputs: Datasets that the pod reads, as for `lineage_run`; their names may be templates.
        outputs: Datasets that the pod writes.
        flush_timeout: Seconds that the end of the pod may wait for delivery; default: the pod's own, 5.

    Raises:
        ValueError: What is given as a dataset is none.

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


def templated_json(value: Any, *, rendered: bool = True) -> str:
    """Return a template that renders to `value` as JSON, with the templates in its texts rendered or as they are.

    Jinja quotes a rendered text itself, as its values may hold whatever JSON escapes. Of another text it never sees a
    brace: what only looks like a template stays as it is. The space in front keeps the JSON a text in DAGs with
    `render_template_as_native_obj`, which take whatever reads as a Python literal for one.
    """
    return f" {_templated(value, rendered)}"


def _templated(value: Any, rendered: bool) -> str:
    if isinstance(value, Mapping):
        items = (f"{literal_json(str(key))}: {_templated(each, rendered)}" for key, each in value.items())
        return f"{{{', '.join(items)}}}"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(_templated(each, rendered) for each in value)}]"
    if rendered and isinstance(value, str) and ("{{" in value or "{%" in value):
        return f"{{% filter tojson %}}{value}{{% endfilter %}}"
    return literal_json(value)


def literal_json(value: Any) -> str:
    """Return the JSON of a scalar without a brace, so that Jinja takes nothing in it for a template."""
    return json.dumps(value).replace("{", "\\u007b")


def _if_defined(call: str) -> str:
    """Return an expression that is empty where the provider registers no macros, or not this one."""
    macro = f"{_MACROS}.{call.partition('(')[0]}"
    # Both tests are needed: of an undefined object, Jinja refuses to ask for an attribute.
    return f"{{{{ {_MACROS}.{call} if {_MACROS} is defined and {macro} is defined else '' }}}}"


def _context() -> str:
    """Return an expression for the standard JSON; its text is made of JSON, so that any name is quoted rightly.

    The space in front of it is as in `templated_json`.
    """
    namespace = "lineage_job_namespace()"
    parent = _node("lineage_run_id(task_instance)", "lineage_job_name(task_instance)", namespace, "TASK")
    # The root's own namespace has a macro only from 2.8.0 on; it differs where another Airflow triggered this DAG.
    own = f"{_MACROS}.lineage_root_job_namespace"
    root_namespace = f"lineage_root_job_namespace(task_instance) if {own} is defined else {_MACROS}.{namespace}"
    root = _node("lineage_root_run_id(task_instance)", "lineage_root_job_name(task_instance)", root_namespace, "DAG")
    has_root = f"{_MACROS}.lineage_root_run_id is defined"
    return (
        f"{{% if {_MACROS} is defined %}}"
        f' {{"parent": {{{parent}{{% if {has_root} %}}, "root": {{{root}}}{{% endif %}}}}}}'
        "{% endif %}"
    )


def _node(run_id: str, name: str, namespace: str, job_type: str) -> str:
    facets = {"jobType": {"processingType": "BATCH", "integration": "AIRFLOW", "jobType": job_type}}

    def quoted(call: str) -> str:
        return f"{{{{ ({_MACROS}.{call}) | tojson }}}}"

    return (
        f'"run": {{"runId": {quoted(run_id)}}}, '
        f'"job": {{"namespace": {quoted(namespace)}, "name": {quoted(name)}, "facets": {json.dumps(facets)}}}'
    )


def _declared(source: Any, side: str) -> Any:
    """Return a dataset as the pod reads it: a URI as it is, so that templates in it are rendered first."""
    found = dataset(source)
    if found.problems:
        raise ValueError("; ".join(found.problems))
    return source if isinstance(source, str) and "://" in source else json_ready(found.to_dict(side))
