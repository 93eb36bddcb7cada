"""The cluster policy: it tells every pod which task started it, without a change to any DAG.

Airflow finds it by its entry point in the group `airflow.policy`, and calls it for each task of a DAG that it has
parsed: in the DAG processor, and again in the process of each task. It does nothing unless Airflow's configuration has
`[openlineage_pod] inject = true`. An error is one warning, and the task stays as the DAG made it.

The policy never replaces what the DAG sets. Variables that belong together count as one: a DAG that names a parent in
any form gets no other form, which the pod might prefer; a DAG that names a transport gets neither our URL nor our key.
"""

from __future__ import annotations

import copy
import functools
import re
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

from openlineage_pod import environment
from openlineage_pod._guard import logger
from openlineage_pod.airflow import lineage_env
from openlineage_pod.airflow.macros import is_reported
from openlineage_pod.airflow.summary import note, summarise
from openlineage_pod.airflow.task import LeftAloneError, TaskReader, pod_field, variable_names, warn_about
from openlineage_pod.airflow.templates import literal_json, templated_json
from openlineage_pod.settings import read_boolean

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["task_policy"]

_SECTION = "openlineage_pod"
# The options of Airflow's provider, and the parameter by which its functions mark a task.
_OPT_OUTS = ("disabled_for_operators", "emission_policy", "selective_enable")
_OPT_OUT_PARAM = "_openlineage_emission_policy"
_DEFAULT_KEY = "api-key"
# Linux starts no command with a variable of more than 128 KiB.
_MAX_VARIABLE = 100_000
# Kubernetes' own rules for the names of a secret and of its keys.
_SECRET = re.compile(r"([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?)(?::([-._a-zA-Z0-9]{1,253}))?")


def task_policy(task: Any) -> None:
    """Give the pod of `task` its parent, its declared datasets and the backend. Never raises."""
    try:
        if (field := pod_field(task)) and (options := _options()) is not None:
            _Injection(TaskReader(task, field), options).inject()
    except Exception as error:
        warn_about(task, "could not link it to its pod", error)
    with suppress(Exception):
        summarise(task)


# Airflow brings pluggy; without it nobody calls the policy.
with suppress(ImportError):
    from pluggy import HookimplMarker

    # The last one: another package's policy sees each task as its DAG made it, and we see what that policy added.
    task_policy = HookimplMarker("airflow.policy")(task_policy, trylast=True)


class _Options(NamedTuple):
    url: str | None
    endpoint: str
    secret: tuple[str, str] | None


@functools.cache
def _options() -> _Options | None:
    """Return the configuration of this process; None if the policy is off."""
    from airflow.configuration import conf  # Airflow's own process has imported it

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
        # Everybody who can see the task's rendered fields can read the URL: a password must not be in it.
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


@functools.cache
def _has_opt_outs() -> bool:
    """Return whether Airflow's configuration has an option by which tasks opt out of OpenLineage."""
    from airflow.configuration import conf

    values = (str(conf.get("openlineage", option, fallback="") or "").strip().lower() for option in _OPT_OUTS)
    return any(value not in ("", "false", "f", "0", "[]") for value in values)


def _opted_out(task: Any) -> bool:
    """Return whether Airflow reports no run of this task, because of its configuration or the DAG's author."""
    if not _has_opt_outs() and _OPT_OUT_PARAM not in (getattr(task, "params", None) or ()):
        return False  # as for most: without the provider, whose import takes a second
    with suppress(ImportError):
        return not is_reported(task)
    return False


class _Injection:
    """Adds to one task what its pod needs to know."""

    def __init__(self, reader: TaskReader, options: _Options) -> None:
        self._reader = reader
        self._task = reader.task
        self._field = reader.field
        self._options = options
        # Asked for once for each environment that the task is expanded over.
        self._declared = functools.cache(self._declared_as_json)

    def inject(self) -> None:
        """Add the variables and the secret; note why if the task must stay as it is."""
        try:
            if self._field not in self._task.template_fields:
                raise LeftAloneError(f"renders no templates in its {self._field}")
            if _opted_out(self._task):
                raise LeftAloneError("opted out of OpenLineage")
            named = self._inject_variables()
        except LeftAloneError as reason:
            note(self._task, "the pod is not linked", str(reason))
            return
        try:
            if self._options.secret and self._field == "env_vars":
                self._inject_secret(*self._options.secret, named)
        except LeftAloneError as reason:
            note(self._task, "the pod gets no API key", str(reason))

    def _inject_variables(self) -> set[str]:
        """Add the variables to every environment of the task; return all names that the DAG itself sets."""
        elsewhere = set(self._reader.names_elsewhere())
        named: set[str] = set()

        def completed(given: Any) -> Any:
            if given is not None and not isinstance(given, (dict, list)):
                raise LeftAloneError(f"has as its {self._field} a {type(given).__name__}, known only when it runs")
            own = {*variable_names(given), *elsewhere}
            named.update(own)
            return self._added(given, {name: value for name, value in self._variables(own) if name not in own})

        expanded = self._reader.expanded_values()
        if expanded is None:
            before = self._reader.argument(self._field)
            after = completed(before)
            if after is not before:
                self._set(self._field, after)
            return named
        # Each environment is replaced by one environment, so that the number of tasks stays.
        if isinstance(expanded, dict):
            environments = expanded[self._field]
            replaced: Any = {**expanded, self._field: type(environments)(map(completed, environments))}
        else:
            other = self._reader.argument(self._field)
            replaced = type(expanded)(
                {**each, self._field: completed(each.get(self._field, other))} for each in expanded
            )
        if replaced != expanded:
            self._task.expand_input = type(self._task.expand_input)(replaced)
        return named

    def _variables(self, named: set[str]) -> Iterator[tuple[str, str]]:
        """Yield the variables for an environment; `named` are those that the DAG itself sets."""
        if named.isdisjoint(environment.NAMES_PARENT):
            # Native rendering would turn a name that reads as a number into one, which an environment cannot hold.
            # These three say the same and never read as a literal.
            of_texts = (environment.CONTEXT, environment.PARENT_ID, environment.ROOT_PARENT_ID)
            is_native = self._reader.is_native
            yield from ((name, value) for name, value in lineage_env().items() if not is_native or name in of_texts)
        for variable, side in ((environment.INPUTS, "inlets"), (environment.OUTPUTS, "outlets")):
            if variable not in named and (declared := self._declared(side)):
                yield variable, declared
        if self._options.url and not _names_transport(named):
            # As templates: Airflow opens a text that ends like the name of a script as a file.
            yield environment.URL, f"{{{{ {literal_json(self._options.url)} }}}}"
            if self._options.endpoint:
                yield environment.ENDPOINT, f"{{{{ {literal_json(self._options.endpoint)} }}}}"

    def _added(self, given: Any, variables: dict[str, str]) -> Any:
        """Return a new environment of the DAG's own type: other tasks may share the one that is given."""
        if not variables or given is None:
            return variables or given
        completed = copy.copy(given)
        if isinstance(given, dict):
            completed.update(variables)
        else:
            from kubernetes.client import V1EnvVar  # the operator has imported it

            completed.extend(V1EnvVar(name=name, value=value) for name, value in variables.items())
        return completed

    def _set(self, name: str, value: Any) -> None:
        if self._reader.is_mapped:
            self._task.partial_kwargs[name] = value
        else:
            setattr(self._task, name, value)

    def _inject_secret(self, secret: str, key: str, named: set[str]) -> None:
        if _names_transport(named) or not named.isdisjoint((environment.API_KEY, environment.API_KEY_FILE)):
            return
        # Not among the variables: a dictionary of variables cannot refer to a secret.
        secrets = copy.copy(self._reader.secrets())
        secrets.append(_optional_secret()("env", environment.API_KEY, secret, key))
        self._set("secrets", secrets)

    def _declared_as_json(self, side: str) -> str | None:
        """Return the task's inlets or outlets as the value of a variable; None if it has none."""
        datasets = self._reader.declared_datasets(side)
        if not datasets:
            return None
        text = templated_json(datasets, rendered=False)
        if len(text) > _MAX_VARIABLE:
            name = self._reader.name
            logger.warning("%s: its %s are too many for an environment variable, and left out", name, side)
            return None
        return text


@functools.cache
def _optional_secret() -> Any:
    """Return a class of Airflow's secrets that lets a pod start even if its namespace does not have the secret."""
    from airflow.providers.cncf.kubernetes.secret import Secret

    class OptionalSecret(Secret):  # type: ignore[misc]
        def to_env_secret(self) -> Any:
            variable = super().to_env_secret()
            variable.value_from.secret_key_ref.optional = True
            return variable

    return OptionalSecret


def _names_transport(named: set[str]) -> bool:
    return (
        environment.URL in named
        or environment.CONFIG in named
        or any(name.startswith(environment.CLIENT_PREFIX) for name in named)
    )
