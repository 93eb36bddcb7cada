"""The macro behind `lineage_env()`: what a pod is told of its Airflow task, computed where the task is rendered.

It asks Airflow's OpenLineage provider, of any version since 1.9. One macro keeps the expressions in a DAG short: the
scheduler stores them with each version of the DAG, and parses them again and again.
"""

from __future__ import annotations

import json
import warnings
from importlib import import_module
from typing import TYPE_CHECKING, Any

from openlineage_pod import environment
from openlineage_pod._guard import logger
from openlineage_pod.airflow.task import warn_about
from openlineage_pod.airflow.templates import PREFIX
from openlineage_pod.core.parent import ParentContext

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["env", "is_reported"]

_PROVIDER = "airflow.providers.openlineage"
_TASK_TYPE = {"processingType": "BATCH", "integration": "AIRFLOW", "jobType": "TASK"}
# The task instance that was asked about last, and its variables: a pod asks for all of them, one after the other.
_last: tuple[object, list[object], Mapping[str, str]] = (None, [], {})


def env(task_instance: Any, name: str) -> str:
    """Return the variable `OPENLINEAGE_<name>` for the pod of a task. Never raises.

    It is empty where Airflow reports no run of the task, because OpenLineage is disabled or the task opted out, and
    where the provider does not know the value.
    """
    global _last  # noqa: PLW0603
    identity = [getattr(task_instance, part, None) for part in ("run_id", "map_index", "try_number")]
    if _last[0] is not task_instance or _last[1] != identity:
        _last = task_instance, identity, _variables(task_instance)
    return _last[2].get(PREFIX + name, "")


def _variables(task_instance: Any) -> Mapping[str, str]:
    try:
        if import_module(f"{_PROVIDER}.conf").is_disabled():
            return {}
        if not is_reported(getattr(task_instance, "task", None)):
            return {}
        return _parent_variables(task_instance, import_module(f"{_PROVIDER}.plugins.macros"))
    except ImportError as error:
        logger.debug("Airflow has no usable OpenLineage provider (%s)", error)
    except Exception as error:
        warn_about(task_instance, "could not tell its pod who its parent is", error)
    return {}


def _parent_variables(task_instance: Any, macros: Any) -> Mapping[str, str]:
    namespace = macros.lineage_job_namespace()
    root = None
    if hasattr(macros, "lineage_root_run_id"):  # since 2.4.0
        # Another Airflow, or something else, may have triggered the DAG. Since 2.8.0 the root's own namespace is known.
        has_namespace = hasattr(macros, "lineage_root_job_namespace")
        root = ParentContext(
            macros.lineage_root_run_id(task_instance),
            macros.lineage_root_job_name(task_instance),
            macros.lineage_root_job_namespace(task_instance) if has_namespace else namespace,
            _job_facets(macros, "lineage_root_job_type", task_instance, None),
        )
    parent = ParentContext(
        macros.lineage_run_id(task_instance),
        macros.lineage_job_name(task_instance),
        namespace,
        _job_facets(macros, "lineage_job_type", task_instance, _TASK_TYPE),
        root,
    )
    variables = {**parent.to_env(), environment.NAMESPACE: namespace}
    if root is None:  # unknown, not the parent itself
        context = json.loads(variables[environment.CONTEXT])
        context["parent"].pop("root", None)
        variables = {name: value for name, value in variables.items() if not name.startswith(f"{PREFIX}ROOT_")}
        variables[environment.CONTEXT] = json.dumps(context)
    # Native rendering turns what reads as a Python literal into a value; the space keeps the JSON a text.
    variables[environment.CONTEXT] = f" {variables[environment.CONTEXT]}"
    return variables


def _job_facets(
    macros: Any, macro: str, task_instance: Any, default: Mapping[str, str] | None
) -> dict[str, Mapping[str, object]]:
    """Return the type of a job as its facet. The provider has macros for it since 2.21.0."""
    found = getattr(macros, macro)(task_instance) if hasattr(macros, macro) else default
    return {"jobType": found} if isinstance(found, dict) and _TASK_TYPE.keys() <= found.keys() else {}


def is_reported(task: Any) -> bool:
    """Return whether Airflow reports the runs of a task where OpenLineage is enabled; the task may have opted out.

    Asks the provider as its own listener does: since 2.19 about one policy for everything, before about
    `disabled_for_operators` and, since 1.7, `selective_enable`.

    Raises:
        ImportError: There is no provider.

    """
    if task is None:
        return True
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the provider warns of its own old options
        try:
            policy = import_module(f"{_PROVIDER}.utils.emission_policy")
        except ImportError:
            utilities = import_module(f"{_PROVIDER}.utils.utils")
            is_enabled = getattr(utilities, "is_selective_lineage_enabled", lambda _: True)
            return not utilities.is_operator_disabled(task) and bool(is_enabled(task))
        found = policy.resolve_task_emission_policy(operator=task, dag_id=task.dag_id, task_id=task.task_id)
        return bool(found.emit)
