"""The run that started us: read from the environment, written into events and into a child's environment.

Three ways of naming it are in use, and all are read, in this order:

1. `OPENLINEAGE_CONTEXT`, the standard since OpenLineage 1.52, a JSON document with the root nested in the parent;
2. `OPENLINEAGE_PARENT_ID` and `OPENLINEAGE_ROOT_PARENT_ID`, `namespace/job/run-id`, as dbt-ol reads them;
3. `OPENLINEAGE_PARENT_RUN_ID`, `_JOB_NAME`, `_JOB_NAMESPACE` (and `OPENLINEAGE_ROOT_PARENT_…`), as in many blog posts.

A malformed source is a warning, and the next one is tried.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, NamedTuple

from openlineage_pod import environment
from openlineage_pod.events.facets import complete_facet, facet
from openlineage_pod.settings import (
    NOT_RENDERED,
    canonical_uuid,
    is_template,
    name_fault,
    quoted,
    read_name,
    unrendered,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["AIRFLOW_MACROS", "ParentContext", "child_environ", "read_parent", "without_own"]

AIRFLOW_MACROS = "macros.OpenLineageProviderPlugin"
_EXAMPLE_CONTEXT = (
    '{"parent": {"run": {"runId": "01938a60-0000-7000-8000-000000000000"}, '
    '"job": {"namespace": "default", "name": "my_dag.my_task"}}}'
)


class ParentContext(NamedTuple):
    """A run as its children see it: their parent, with the root above it.

    `run_id` is a UUID, `job_facets` are selected facets of the job, forwarded for the convenience of consumers
    (https://openlineage.io/spec/facets/1-2-0/ParentRunFacet.json), `root` is the run at the top of the chain, or None
    where nobody said: then this run counts as its own root, as in OpenLineage's dbt integration.
    """

    run_id: str
    job_name: str
    job_namespace: str
    job_facets: Mapping[str, Mapping[str, object]] = {}
    root: ParentContext | None = None

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> ParentContext | None:
        """Return the parent that `environ` names, or None if it names none.

        Never raises: each malformed variable is one warning on the logger `openlineage_pod`.
        """
        from openlineage_pod._guard import logger  # deferred: logging costs a command under the wrapper 7 ms

        parent, problems = read_parent(environ)
        for problem in problems:
            logger.warning("%s", problem)
        return parent

    def to_facet(self) -> dict[str, object]:
        """Return the `parent` run facet, JSON-ready, for the events of a child of this run."""
        return facet("ParentRunFacet", **_node(self), root=_node(self.root or self))

    def to_env(self) -> dict[str, str]:
        """Return the variables that tell a child process that this run is its parent, in every form in use."""
        root = self.root or self
        context = {"parent": {**_node(self), "root": _node(root)}}
        return {environment.CONTEXT: json.dumps(context, separators=(",", ":")), **_PARENT.of(self), **_ROOT.of(root)}

    def child_env(self, base: Mapping[str, str]) -> dict[str, str]:
        """Return `base` for a child process of this run: with this run as its parent, in every form.

        Without what belongs to a run itself: OPENLINEAGE_RUN_ID, OPENLINEAGE_JOB_NAME, and the declared datasets.
        """
        return child_environ(base, self.to_env())


def _node(run: ParentContext) -> dict[str, object]:
    job: dict[str, object] = {"namespace": run.job_namespace, "name": run.job_name}
    if run.job_facets:
        job["facets"] = {key: complete_facet(key, dict(fields)) for key, fields in run.job_facets.items()}
    return {"run": {"runId": run.run_id}, "job": job}


class _Forms(NamedTuple):
    """The names of the four variables of a run, joined and in parts, and the macros of Airflow that fill them."""

    joined: str
    run_id: str
    job_name: str
    job_namespace: str
    macro: str

    def of(self, run: ParentContext) -> dict[str, str]:
        """Return the variables of `run`; without the joined one if readers cannot tell where its job name begins."""
        parts = {self.run_id: run.run_id, self.job_name: run.job_name, self.job_namespace: run.job_namespace}
        if "/" in run.job_name:
            return parts
        return {self.joined: f"{run.job_namespace}/{run.job_name}/{run.run_id}", **parts}

    def split(self, value: str, environ: Mapping[str, str]) -> list[str]:
        """Return namespace, job name and run id of the joined variable; fewer if it does not have three parts.

        A namespace may have slashes, and Spark's and dbt's job names too. The variables in parts, where they are set,
        tell where the job name begins; else it is the last part, because Airflow's job names have no slash.
        """
        parts = value.rsplit("/", 2)
        if value.count("/") <= 2:  # noqa: PLR2004
            return parts
        before, run_id = value.rsplit("/", 1)
        name = environ.get(self.job_name, "").strip()
        namespace = environ.get(self.job_namespace, "").strip()
        if name and before.endswith(f"/{name}"):
            return [before.removesuffix(f"/{name}"), name, run_id]
        if namespace and before.startswith(f"{namespace}/"):
            return [namespace, before.removeprefix(f"{namespace}/"), run_id]
        return parts


_PARENT = _Forms(
    environment.PARENT_ID,
    environment.PARENT_RUN_ID,
    environment.PARENT_JOB_NAME,
    environment.PARENT_JOB_NAMESPACE,
    macro="lineage",
)
_ROOT = _Forms(
    environment.ROOT_PARENT_ID,
    environment.ROOT_PARENT_RUN_ID,
    environment.ROOT_PARENT_JOB_NAME,
    environment.ROOT_PARENT_JOB_NAMESPACE,
    macro="lineage_root",
)


def without_own(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the environment without what belongs to this process's own run, and to no child's."""
    own = (environment.RUN_ID, environment.JOB_NAME, environment.INPUTS, environment.OUTPUTS)
    return {name: value for name, value in environ.items() if name not in own}


def child_environ(base: Mapping[str, str], parent: Mapping[str, str]) -> dict[str, str]:
    """Return `base` for a child process whose parent run these variables name."""
    kept = {name: value for name, value in without_own(base).items() if name not in environment.NAMES_PARENT}
    return {**kept, **parent}


def read_parent(environ: Mapping[str, str]) -> tuple[ParentContext | None, list[str]]:
    """Return the parent that `environ` names, if any, and one sentence for each malformed variable."""
    templates = unrendered(environ, (environment.CONTEXT, environment.PARENT_ID, environment.ROOT_PARENT_ID))
    problems = [f"{problem}; it is ignored" for problem in templates.values()]
    environ = {name: value for name, value in environ.items() if name not in templates}
    # The example of the split form; its own problem is reported by Settings, which owns the variable.
    namespace = read_name(environ, environment.NAMESPACE, "", [])
    parent = (
        _from_context(environ, namespace, problems)
        or _from_id(environ, _PARENT, problems)
        or _from_parts(environ, _PARENT, namespace, problems)
    )
    if parent is None:
        roots = (environment.ROOT_PARENT_ID, environment.ROOT_PARENT_RUN_ID)
        lonely = [variable for variable in roots if environ.get(variable)]
        if lonely and not problems:
            problems.append(f"{lonely[0]} is set, but no parent, so it is ignored; set {environment.PARENT_ID}, too")
        return None, problems
    root = (
        parent.root
        or _from_id(environ, _ROOT, problems)
        or _from_parts(environ, _ROOT, namespace or parent.job_namespace, problems)
    )
    return parent._replace(root=root), problems


def _from_context(environ: Mapping[str, str], namespace: str | None, problems: list[str]) -> ParentContext | None:
    variable = environment.CONTEXT
    value = environ.get(variable, "").strip()
    if not value:
        return None

    def refuse(fault: str) -> None:
        problems.append(f"{variable}={quoted(value)} {fault}. Example: {variable}='{_EXAMPLE_CONTEXT}'")

    try:
        document = json.loads(value)
    # RecursionError: "[[[[…" nested some thousand levels deep.
    except (ValueError, RecursionError) as error:
        refuse(f"is no JSON ({type(error).__name__})")
        return None
    if not isinstance(document, dict):
        refuse("is no JSON object")
        return None
    # The first draft of the standard called the key parentRun.
    key = "parent" if "parent" in document else "parentRun"
    if key not in document:
        refuse('has no key "parent"')
        return None
    node = document[key]
    parent, fault = _from_node(node, key, namespace)
    if parent is None:
        refuse(fault)
        return None
    if isinstance(node, dict) and node.get("root") is not None:
        root, fault = _from_node(node["root"], f"{key}.root", parent.job_namespace)
        if root is None:
            refuse(fault)
        parent = parent._replace(root=root)
    return parent


def _from_node(node: object, path: str, namespace: str | None) -> tuple[ParentContext | None, str]:
    """Read `{"run": {"runId"}, "job": {"namespace", "name", "facets"}}`; the second value says what is wrong."""
    if not isinstance(node, dict):
        return None, f'has a "{path}" that is no object'
    run, job = node.get("run"), node.get("job")
    if not isinstance(run, dict) or not isinstance(job, dict):
        return None, f'lacks the object "{path}.run" or "{path}.job"'
    run_id = canonical_uuid(run.get("runId"))
    if run_id is None:
        return None, f'has a "{path}.run.runId" that {_no_uuid(run.get("runId"), "lineage_run_id")}'
    if fault := name_fault(job.get("name")):
        return None, f'has a "{path}.job.name" that {fault}'
    if job.get("namespace") in (None, ""):
        job = {**job, "namespace": namespace or "default"}
    elif fault := name_fault(job["namespace"]):
        return None, f'has a "{path}.job.namespace" that {fault}'
    facets = job.get("facets")
    facets = facets if isinstance(facets, dict) else {}
    kept = {key: fields for key, fields in facets.items() if isinstance(fields, dict)}
    return ParentContext(run_id, job["name"], job["namespace"], kept), ""


def _from_id(environ: Mapping[str, str], forms: _Forms, problems: list[str]) -> ParentContext | None:
    variable, macro = forms.joined, f"{forms.macro}_parent_id"
    value = environ.get(variable, "").strip()
    if not value:
        return None
    parts = forms.split(value, environ)
    fault = "is not namespace/job/run-id"
    if len(parts) == 3:  # noqa: PLR2004
        namespace, name, run_id = parts
        canonical = canonical_uuid(run_id)
        if canonical is None:
            fault = f"ends in a run id that {_no_uuid(run_id, macro)}"
        elif job_name_fault := name_fault(name):
            fault = f"has a job name that {job_name_fault}"
        elif namespace_fault := name_fault(namespace):
            fault = f"has a namespace that {namespace_fault}"
        else:
            return ParentContext(canonical, name, namespace)
    problems.append(
        f"{variable}={quoted(value)} {fault}. "
        f"Example: {variable}=default/my_dag.my_task/01938a60-0000-7000-8000-000000000000, "
        f"in Airflow {variable}='{{{{ {AIRFLOW_MACROS}.{macro}(task_instance) }}}}'"
    )
    return None


def _from_parts(
    environ: Mapping[str, str], parts: _Forms, namespace: str | None, problems: list[str]
) -> ParentContext | None:
    run_value = environ.get(parts.run_id, "").strip()
    if not run_value and not environ.get(parts.job_name, "").strip():
        return None
    run_id = canonical_uuid(run_value)
    if run_value and run_id is None:
        problems.append(f"{parts.run_id}={quoted(run_value)} {_no_uuid(run_value, f'{parts.macro}_run_id')}")
    name = read_name(environ, parts.job_name, "my_dag.my_task", problems)
    own_namespace = read_name(environ, parts.job_namespace, "default", problems)
    missing = [variable for variable in (parts.run_id, parts.job_name) if not environ.get(variable, "").strip()]
    if missing:
        problems.append(
            f"{missing[0]} is missing, though its counterpart is set; the link needs both. "
            f"In Airflow: {parts.job_name}='{{{{ {AIRFLOW_MACROS}.{parts.macro}_job_name(task_instance) }}}}', "
            f"{parts.run_id}='{{{{ {AIRFLOW_MACROS}.{parts.macro}_run_id(task_instance) }}}}'"
        )
    if run_id is None or name is None:
        return None
    # The best-known blog post sets no namespace at all.
    return ParentContext(run_id, name, own_namespace or namespace or "default")


def _no_uuid(value: object, macro: str) -> str:
    right = f"the macro {{{{ {AIRFLOW_MACROS}.{macro}(task_instance) }}}} gives the right one"
    if isinstance(value, str) and is_template(value):
        return f"{NOT_RENDERED}; {right}"
    return f"is no UUID ({quoted(value)}); Airflow's own run_id is none, {right}"
