"""The cluster policy: every pod that an Airflow starts learns which task started it, without a change to any DAG.

Airflow finds it by its entry point in the group `airflow.policy`, and calls it for each task of a DAG that it has
parsed: in the DAG processor, and again in the process of each task. It does nothing unless its configuration says
`[openlineage_pod] inject = true`. Whatever goes wrong here is one warning, and the task stays as the DAG made it.

What the DAG sets itself stands, and what belongs together is left alone as a whole: a DAG that names a parent in any
form gets no other form, as the pod might prefer it; one that names a transport gets neither our URL nor our key.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

from openlineage_pod import environment
from openlineage_pod._guard import logger
from openlineage_pod.airflow import lineage_env, literal_json, templated_json
from openlineage_pod.datasets.dataset import dataset
from openlineage_pod.events.document import json_ready
from openlineage_pod.events.secrets import Secrets
from openlineage_pod.settings import read_boolean

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["task_policy"]

_SECTION = "openlineage_pod"
# Operators by their names, as importing a provider to ask isinstance() would cost every DAG file a second.
_FIELDS = {"KubernetesPodOperator": "env_vars", "DockerOperator": "environment"}
_DEFAULT_KEY = "api-key"
# Linux takes no variable above 128 KiB, and its command would not start.
_MAX_VARIABLE = 100_000
# Kubernetes' own rules for the names of a secret and of its keys.
_SECRET = re.compile(r"([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?)(?::([-._a-zA-Z0-9]{1,253}))?")


def task_policy(task: Any) -> None:
    """Give the pod of `task` its parent, its declared datasets and the backend. Never raises."""
    try:
        if (field := _field(task)) and (options := _options()) is not None:
            _Task(task, field, options).inject()
    except Exception as error:
        _warn(task, "could not link it to its pod", error)


# Without pluggy there is no Airflow, and nobody to call it.
with suppress(ImportError):
    from pluggy import HookimplMarker

    task_policy = HookimplMarker("airflow.policy")(task_policy)


class _Options(NamedTuple):
    url: str | None
    endpoint: str
    secret: tuple[str, str] | None


@functools.cache
def _options() -> _Options | None:
    """Return the configuration of this process, or None where the policy is off."""
    from airflow.configuration import conf  # Airflow's own process has it at hand

    def read(option: str) -> str:
        return str(conf.get(_SECTION, option, fallback="") or "").strip()

    problems: list[str] = []
    variable = f"[{_SECTION}] inject"
    inject = read_boolean({variable: read("inject")}, variable, problems)
    options = None
    if inject:
        secret = _secret(read("api_key_secret"), problems)
        options = _Options(_url(read("url"), problems), read("endpoint"), secret)
    for problem in problems:
        logger.warning("%s", problem)
    return options


def _url(value: str, problems: list[str]) -> str | None:
    with suppress(ValueError):
        parts = urlsplit(value)
        # Whoever reads the DAG's rendered fields reads the URL: no place for a password.
        if parts.scheme in ("http", "https") and parts.hostname and "@" not in parts.netloc and value.isprintable():
            return value
    if value:
        # The value is not shown: it may hold a password.
        problems.append(f"[{_SECTION}] url is no URL; it is ignored. Example: url = http://marquez:5000")
    return None


def _secret(value: str, problems: list[str]) -> tuple[str, str] | None:
    if found := _SECRET.fullmatch(value):
        return found[1], found[3] or _DEFAULT_KEY
    if value:
        # The value is not shown: it may be the key itself.
        problems.append(
            f"[{_SECTION}] api_key_secret is no name of a Kubernetes secret, with or without a key in it; "
            f"it is ignored. Example: openlineage:{_DEFAULT_KEY}"
        )
    return None


def _field(task: Any) -> str | None:
    """Return the argument that takes the environment, or None where the task starts no container."""
    names = _class_names(task.operator_class if _is_mapped(task) else type(task))
    return next((field for name, field in _FIELDS.items() if name in names), None)


def _class_names(operator: type) -> set[str]:
    return {each.__name__ for each in operator.__mro__}


def _is_mapped(task: Any) -> bool:
    return hasattr(type(task), "unmap") and hasattr(task, "partial_kwargs")


class _LeftAloneError(Exception):
    """The task has a form that cannot be added to; the message says which."""


class _Task:
    """A task whose pod is to be told about it, mapped or not."""

    def __init__(self, task: Any, field: str, options: _Options) -> None:
        self._task = task
        self._name = _described(task)
        self._field = field
        self._options = options
        self._mapped = _is_mapped(task)
        # Asked for once for each environment that the task is expanded over.
        self._declared = functools.cache(self._read_declared)
        self._native = any(
            getattr(each, "render_template_as_native_obj", None) for each in (task, getattr(task, "dag", None))
        )

    def inject(self) -> None:
        try:
            if self._field not in self._task.template_fields:
                raise _LeftAloneError(f"renders no templates in its {self._field}")
            named = self._inject_variables()
        except _LeftAloneError as reason:
            logger.info("%s %s; its pod is not linked to it", self._name, reason)
            return
        try:
            if self._options.secret and self._field == "env_vars":
                self._inject_secret(*self._options.secret, named)
        except _LeftAloneError as reason:
            logger.info("%s %s; its pod gets no API key", self._name, reason)

    def _inject_variables(self) -> set[str]:
        """Add the variables wherever the task takes its environment from; returns all names that the DAG gave."""
        named: set[str] = set()

        def completed(given: Any) -> Any:
            if given is not None and not isinstance(given, (dict, list)):
                raise _LeftAloneError(f"has as its {self._field} a {type(given).__name__}, known only when it runs")
            own = {*_names(given), *elsewhere}
            named.update(own)
            return self._added(given, {name: value for name, value in self._variables(own) if name not in own})

        elsewhere = set(self._names_elsewhere())
        if not self._complete_expanded(completed):
            before = self._argument(self._field)
            after = completed(before)
            if after is not before:
                self._set(self._field, after)
        return named

    def _variables(self, named: set[str]) -> Iterator[tuple[str, str]]:
        if named.isdisjoint(environment.NAMES_PARENT):
            # With native rendering a name that reads as a number would become one, which is no environment. What is
            # left says the same, and never reads as a literal.
            of_texts = (environment.CONTEXT, environment.PARENT_ID, environment.ROOT_PARENT_ID)
            yield from ((name, value) for name, value in lineage_env().items() if not self._native or name in of_texts)
        for variable, side in ((environment.INPUTS, "inlets"), (environment.OUTPUTS, "outlets")):
            if variable not in named and (declared := self._declared(side)):
                yield variable, declared
        if self._options.url and not _names_transport(named):
            # As expressions, because Airflow opens what ends like the name of a script as a file.
            yield environment.URL, f"{{{{ {literal_json(self._options.url)} }}}}"
            if self._options.endpoint:
                yield environment.ENDPOINT, f"{{{{ {literal_json(self._options.endpoint)} }}}}"

    def _added(self, given: Any, variables: dict[str, str]) -> Any:
        """Return a new environment of the DAG's own type: what is given may be shared with other tasks."""
        if not variables:
            return given
        if isinstance(given, dict):
            return {**given, **variables}
        if given is None or (not given and self._takes_dictionaries()):
            return variables
        from kubernetes.client import V1EnvVar  # the operator has imported it

        return [*(given or ()), *(V1EnvVar(name=name, value=value) for name, value in variables.items())]

    def _takes_dictionaries(self) -> bool:
        """Say whether the operator makes a list of a dictionary when it renders; older ones did when they were made."""
        operators = [each for each in type(self._task).__mro__ if each.__name__ == "KubernetesPodOperator"]
        return any("_do_render_template_fields" in vars(each) for each in operators)

    def _argument(self, name: str) -> Any:
        """Return an argument of the operator as it will come to count."""
        if not self._mapped:
            return getattr(self._task, name, None)
        partial = self._task.partial_kwargs
        if name in partial:
            return partial[name]
        # Defaults are looked up when the task is expanded, and only for what is absent from the partial arguments.
        for owner in (self._task.task_group, self._task.dag):
            defaults = getattr(owner, "default_args", None) or {}
            if name in defaults:
                return defaults[name]
        return None

    def _set(self, name: str, value: Any) -> None:
        if self._mapped:
            self._task.partial_kwargs[name] = value
        else:
            setattr(self._task, name, value)

    def _complete_expanded(self, completed: Callable[[Any], Any]) -> bool:
        """Complete the environments in what a mapped task expands over, or return False where there are none.

        What the DAG gives as a literal is replaced, one environment by one, so that the tasks stay as many. What comes
        from another task is out of reach.
        """
        if not self._mapped or self._task._expand_input_attr != "expand_input":
            return False
        expanded = self._task.expand_input
        values = expanded.value
        if isinstance(values, dict):
            if self._field not in values:
                return False
            if not isinstance(values[self._field], (list, tuple)):
                raise _LeftAloneError(f"expands over {self._field} from another task")
            replaced: Any = {**values, self._field: [completed(each) for each in values[self._field]]}
        else:
            if not isinstance(values, (list, tuple)) or not all(isinstance(each, Mapping) for each in values):
                # What names it would fail the task if we had named it, too.
                raise _LeftAloneError(f"expands over arguments from another task, which may name {self._field}")
            if not any(self._field in each for each in values):
                return False
            other = self._argument(self._field)
            replaced = [{**each, self._field: completed(each.get(self._field, other))} for each in values]
        if replaced != values:
            self._task.expand_input = type(expanded)(replaced)
        return True

    def _names_elsewhere(self) -> Iterator[str]:
        """Give the variables that the DAG sets by other arguments, as far as they can be read before it runs."""
        if self._field == "environment":
            private = self._argument("private_environment" if self._mapped else "_private_environment")
            yield from private if isinstance(private, dict) else ()
            env_file = self._argument("env_file")
            yield from re.findall(r"(?m)^\s*(\w+)=", env_file) if isinstance(env_file, str) else ()
            return
        secrets = self._argument("secrets")
        yield from (str(_part(each, "deploy_target")) for each in (secrets if isinstance(secrets, list) else ()))
        for template in ("full_pod_spec", "pod_template_dict"):
            for container in _part(_part(self._argument(template), "spec"), "containers") or ():
                yield from _names(_part(container, "env"))

    def _inject_secret(self, secret: str, key: str, named: set[str]) -> None:
        if _names_transport(named) or not named.isdisjoint((environment.API_KEY, environment.API_KEY_FILE)):
            return
        expanded = self._task.expand_input.value if self._mapped else None
        entries = expanded if isinstance(expanded, (list, tuple)) else [expanded]
        if any(isinstance(each, Mapping) and "secrets" in each for each in entries):
            raise _LeftAloneError("expands over secrets")
        given = self._argument("secrets")
        if given is not None and not isinstance(given, list):
            raise _LeftAloneError(f"has {type(given).__name__} as its secrets")
        # Not among the variables, as a dictionary of them cannot refer to a secret.
        self._set("secrets", [*(given or ()), _optional_secret()("env", environment.API_KEY, secret, key)])

    def _read_declared(self, side: str) -> str | None:
        """Return the task's inlets or outlets as the pod reads datasets, None where there are none."""
        given = self._argument(side)
        datasets: list[Any] = []
        for each in given if isinstance(given, (list, tuple)) else [given] if given else []:
            try:
                found = _dataset(each, side.replace("let", "put"))
            except Exception as error:
                _warn(self._task, f"left out one of its {side}", error)
                continue
            if found is None:
                logger.debug("%s: %s in its %s is no dataset, or a template", self._name, type(each).__name__, side)
            elif found not in datasets:
                datasets.append(found)
        if not datasets:
            return None
        text = templated_json(datasets, rendered=False)
        if len(text) > _MAX_VARIABLE:
            logger.warning("%s: its %s are too many for an environment variable, and left out", self._name, side)
            return None
        return text


def _dataset(declared: Any, side: str) -> Any:
    """Return an inlet or outlet as JSON, named as the task's own events name it, or None if it is no dataset.

    Nor is one a dataset whose name is a template: a template that fails would take the task with it.
    """
    uri = _part(declared, "uri") or _part(declared, "url")
    entry = dataset(_source(declared, uri if isinstance(uri, str) and "://" in uri else None)).to_dict(side)
    if not entry["namespace"] or any(mark in entry["namespace"] + entry["name"] for mark in ("{{", "{%")):
        return None
    # Whoever reads the task's rendered fields, or the pod's specification, reads it.
    return Secrets().document(json_ready(entry))


def _source(declared: Any, uri: str | None) -> Any:
    # Airflow's provider names these as we do, but for local files, which it calls "file://" instead of "file", and for
    # those whose scheme no installed provider knows, which it drops. Without it the DAG is parsed a second sooner.
    if uri and uri.startswith(("s3://", "gs://", "file://")):
        return uri
    if uri and "@" in uri:
        return uri  # the provider would keep a user's name and password in the name of the dataset
    if isinstance(_part(declared, "namespace"), str) and hasattr(declared, "facets"):
        return declared  # openlineage-python's own
    converted = None
    with suppress(ImportError):
        from airflow.providers.openlineage.extractors.manager import ExtractorManager

        converted = ExtractorManager.convert_to_ol_dataset(declared)
    return converted or uri or ""


@functools.cache
def _optional_secret() -> Any:
    """Return a class of Airflow's secrets that lets a pod start also where its namespace has no such secret."""
    from airflow.providers.cncf.kubernetes.secret import Secret

    class OptionalSecret(Secret):  # type: ignore[misc]
        def to_env_secret(self) -> Any:
            variable = super().to_env_secret()
            variable.value_from.secret_key_ref.optional = True
            return variable

    return OptionalSecret


def _names(environment: Any) -> Iterator[str]:
    names = (_part(each, "name") for each in environment) if isinstance(environment, list) else environment
    yield from (name for name in names or () if isinstance(name, str))


def _names_transport(named: set[str]) -> bool:
    return (
        environment.URL in named
        or environment.CONFIG in named
        or any(name.startswith(environment.CLIENT_PREFIX) for name in named)
    )


def _part(whole: Any, name: str) -> Any:
    """Return a field of a Kubernetes object, which may be given as a dictionary."""
    return whole.get(name) if isinstance(whole, Mapping) else getattr(whole, name, None)


def _described(task: Any) -> str:
    return f"task {getattr(task, 'dag_id', None)}.{getattr(task, 'task_id', None)}"


def _warn(task: Any, what: str, error: Exception) -> None:
    # A message may fail to be made, too.
    with suppress(Exception):
        logger.warning("%s: %s (%s: %s)", _described(task), what, type(error).__name__, " ".join(str(error).split()))
