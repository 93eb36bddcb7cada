"""Read a task of a DAG: its arguments, environments, expanded values, secrets, inlets and outlets. Changes nothing."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from openlineage_pod._guard import logger
from openlineage_pod.datasets.dataset import dataset
from openlineage_pod.events.document import json_ready
from openlineage_pod.events.secrets import SECRETS

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["LeftAloneError", "TaskReader", "declared_dataset", "pod_field", "variable_names", "warn_about"]

# By name: to import a provider and ask isinstance() would cost every DAG file a second.
_FIELDS = {"KubernetesPodOperator": "env_vars", "DockerOperator": "environment"}


class LeftAloneError(Exception):
    """The task has a form that cannot be added to; the message continues a sentence about the task."""


def pod_field(task: Any) -> str | None:
    """Return the argument that takes the environment of the task's pod or container; None if it starts none."""
    names = _class_names(task.operator_class if _is_mapped(task) else type(task))
    return next((field for name, field in _FIELDS.items() if name in names), None)


def _class_names(operator: type) -> set[str]:
    return {each.__name__ for each in operator.__mro__}


def _is_mapped(task: Any) -> bool:
    return hasattr(type(task), "unmap") and hasattr(task, "partial_kwargs")


class TaskReader:
    """Reads one task, mapped or not.

    Args:
        task: of any version of Airflow.
        field: the result of `pod_field`.

    Attributes:
        task: As given.
        field: As given.
        name: The task's name in messages.
        is_mapped: Whether the task is mapped.
        is_native: Whether its templates render to values instead of texts.

    """

    def __init__(self, task: Any, field: str) -> None:
        self.task = task
        self.field = field
        self.name = _described(task)
        self.is_mapped = _is_mapped(task)
        self.is_native = any(
            getattr(each, "render_template_as_native_obj", None) for each in (task, getattr(task, "dag", None))
        )

    def argument(self, name: str) -> Any:
        """Return an argument of the operator with the value that it has when the task runs; None if it has none."""
        if not self.is_mapped:
            return getattr(self.task, name, None)
        partial = self.task.partial_kwargs
        if name in partial:
            return partial[name]
        # Airflow looks up the defaults when it expands the task, and only for arguments that are not in the partial.
        for owner in (self.task.task_group, self.task.dag):
            defaults = getattr(owner, "default_args", None) or {}
            if name in defaults:
                return defaults[name]
        return None

    def expanded_values(self) -> Any:
        """Return the values over which a mapped task expands its environment; None if it does not.

        Returns:
            A dictionary with a list of environments, or a list of dictionaries of arguments.

        Raises:
            LeftAloneError: The values come from another task, so that only the running task knows them.

        """
        if not self.is_mapped or self.task._expand_input_attr != "expand_input":  # noqa: SLF001  it has no public name
            return None
        values = self.task.expand_input.value
        if isinstance(values, dict):
            if self.field not in values:
                return None
            if not isinstance(values[self.field], (list, tuple)):
                raise LeftAloneError(f"expands over {self.field} from another task")
            return values
        if not isinstance(values, (list, tuple)) or not all(isinstance(each, Mapping) for each in values):
            # An argument that is given twice fails the task.
            raise LeftAloneError(f"expands over arguments from another task, which may name {self.field}")
        return values if any(self.field in each for each in values) else None

    def secrets(self) -> list[Any]:
        """Return the secrets of the pod.

        Raises:
            LeftAloneError: Nothing can be added to them.

        """
        expanded = self.task.expand_input.value if self.is_mapped else None
        entries = expanded if isinstance(expanded, (list, tuple)) else [expanded]
        if any(isinstance(each, Mapping) and "secrets" in each for each in entries):
            raise LeftAloneError("expands over secrets")
        given = self.argument("secrets")
        if given is not None and not isinstance(given, list):
            raise LeftAloneError(f"has {type(given).__name__} as its secrets")
        return given or []

    def names_elsewhere(self) -> Iterator[str]:
        """Yield the variables that other arguments than the field set, if that is known before the task runs."""
        if self.field == "environment":
            private = self.argument("private_environment" if self.is_mapped else "_private_environment")
            yield from private if isinstance(private, dict) else ()
            env_file = self.argument("env_file")
            yield from re.findall(r"(?m)^\s*(\w+)=", env_file) if isinstance(env_file, str) else ()
            return
        secrets = self.argument("secrets")
        yield from (str(_part(each, "deploy_target")) for each in (secrets if isinstance(secrets, list) else ()))
        for template in ("full_pod_spec", "pod_template_dict"):
            for container in _part(_part(self.argument(template), "spec"), "containers") or ():
                yield from variable_names(_part(container, "env"))

    def declared_datasets(self, side: str) -> list[Any]:
        """Return the datasets among the task's `inlets` or `outlets`, as JSON-ready data, each once."""
        given = self.argument(side)
        datasets: list[Any] = []
        for each in given if isinstance(given, (list, tuple)) else [given] if given else []:
            try:
                found = declared_dataset(each, side.replace("let", "put"))
            except Exception as error:
                warn_about(self.task, f"left out one of its {side}", error)
                continue
            if found is None:
                logger.debug("%s: %s in its %s is no dataset, or a template", self.name, type(each).__name__, side)
            elif found not in datasets:
                datasets.append(found)
        return datasets


def declared_dataset(declared: Any, side: str) -> Any:
    """Return an inlet or outlet as JSON-ready data, named as in the task's own events; None if it is not a dataset.

    A dataset whose name is a template does not count: a template that fails would fail the task.
    """
    uri = _part(declared, "uri") or _part(declared, "url")
    source = _source(declared, uri if isinstance(uri, str) and "://" in uri else None)
    texts = (source,) if isinstance(source, str) else (_part(source, "namespace"), _part(source, "name"))
    if any(mark in str(text) for text in texts for mark in ("{{", "{%")):
        return None
    entry = dataset(source).to_dict(side)
    if not entry["namespace"]:
        return None
    # Everybody who can see the task's rendered fields or the pod's specification can read it.
    return SECRETS.document(json_ready(entry))


def _source(declared: Any, uri: str | None) -> Any:
    # Airflow's provider gives these the same names. Exceptions: it calls local files "file://" instead of "file", and
    # it drops what has a scheme that no installed provider knows. Without the provider a DAG is parsed a second sooner.
    if uri and uri.startswith(("s3://", "gs://", "file://")):
        return uri
    if uri and "@" in uri:
        return uri  # the provider would keep a user's name and password in the name of the dataset
    if isinstance(_part(declared, "namespace"), str) and hasattr(declared, "facets"):
        return declared  # an object of openlineage-python
    converted = None
    with suppress(ImportError):
        from airflow.providers.openlineage.extractors.manager import ExtractorManager

        converted = ExtractorManager.convert_to_ol_dataset(declared)
    return converted or uri or ""


def variable_names(environment: Any) -> Iterator[str]:
    """Yield the names of the variables of an environment, which is a dictionary or a list of Kubernetes objects."""
    names = (_part(each, "name") for each in environment) if isinstance(environment, list) else environment
    yield from (name for name in names or () if isinstance(name, str))


def _part(whole: Any, name: str) -> Any:
    """Return a field of a Kubernetes object or of the same object as a dictionary."""
    return whole.get(name) if isinstance(whole, Mapping) else getattr(whole, name, None)


def warn_about(task: Any, what: str, error: Exception) -> None:
    """Log a warning about a task. Never raises: an error's own text may fail, too."""
    with suppress(Exception):
        logger.warning("%s: %s (%s: %s)", _described(task), what, type(error).__name__, " ".join(str(error).split()))


def _described(task: Any) -> str:
    return f"task {getattr(task, 'dag_id', None)}.{getattr(task, 'task_id', None)}"
