"""The DAG side: the environment variables that tell a pod which Airflow task started it.

    from openlineage_pod.airflow import lineage_env

    KubernetesPodOperator(..., env_vars={**lineage_env(), "MY": "x"})

The values are templates. They use a macro that this package registers as a plugin of Airflow; where Airflow does not
know the plugin, the macros of Airflow's OpenLineage provider, of any version since 1.9. This module imports nothing of
Airflow.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from openlineage_pod import environment
from openlineage_pod.airflow.expressions import parent_expressions
from openlineage_pod.airflow.templates import templated_json
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

    The values render to empty texts, which count as not set, where Airflow reports no run of the task: OpenLineage is
    disabled or has no transport, or the task opted out by `selective_enable`, `disabled_for_operators` or an
    `emission_policy`. So do the values of the root with a provider before 2.4.0, which does not know the root.

    Where Airflow does not find this package as a plugin, because it is a folder on the import path and not installed,
    the expressions are longer, and a task that opted out is named all the same.

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
    env = {**parent_expressions()}
    if job_name is not None:
        env[environment.JOB_NAME] = job_name
    for variable, given, side in ((environment.INPUTS, inputs, "inputs"), (environment.OUTPUTS, outputs, "outputs")):
        if declared := [_declared(source, side) for source in as_sources(given)]:
            env[variable] = templated_json(declared)
    if flush_timeout is not None:
        env[environment.FLUSH_TIMEOUT] = f"{flush_timeout:g}"
    return env


def _declared(source: Any, side: str) -> Any:
    """Return a dataset in the form that the pod reads. A URI stays, so that templates in it are rendered first."""
    found = dataset(source)
    if found.problems:
        raise ValueError("; ".join(f"{found.shown}: {problem}" for problem in found.problems))
    return source if isinstance(source, str) and "://" in source else json_ready(found.to_dict(side))
