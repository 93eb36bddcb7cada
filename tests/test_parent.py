"""The parent: three ways of naming it, their precedence, and what is said about malformed ones."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest

from openlineage_pod import ParentContext
from openlineage_pod.core.parent import read_parent
from openlineage_pod.events.facets import PRODUCER

TASK = "01a1d7b0-8a10-7a1c-9b1e-2f6f5e0d7c01"
DAG_RUN = "01a1d7b0-8a00-7b2d-8c3f-0123456789ab"
OTHER = "01a1d7b0-8a20-7b2d-8c3f-0123456789ab"


def context(**changes: Any) -> str:
    """Return the standard JSON of an Airflow task, with changed keys of its parent."""
    parent = {
        "run": {"runId": TASK},
        "job": {"namespace": "airflow", "name": "etl.ingest"},
        "root": {"run": {"runId": DAG_RUN}, "job": {"namespace": "airflow", "name": "etl"}},
    }
    return json.dumps({"parent": {**parent, **changes}})


def parts(prefix: str, run_id: str, name: str, namespace: str | None) -> dict[str, str]:
    """Return the variables of the split form."""
    found = {f"{prefix}RUN_ID": run_id, f"{prefix}JOB_NAME": name}
    return found if namespace is None else {**found, f"{prefix}JOB_NAMESPACE": namespace}


IDS = {
    "OPENLINEAGE_PARENT_ID": f"airflow/etl.ingest/{TASK}",
    "OPENLINEAGE_ROOT_PARENT_ID": f"airflow/etl/{DAG_RUN}",
}
PARTS = {
    **parts("OPENLINEAGE_PARENT_", TASK, "etl.ingest", "airflow"),
    **parts("OPENLINEAGE_ROOT_PARENT_", DAG_RUN, "etl", "airflow"),
}
EXPECTED = ParentContext(TASK, "etl.ingest", "airflow", {}, ParentContext(DAG_RUN, "etl", "airflow"))


@pytest.mark.parametrize(
    "environ",
    [
        {"OPENLINEAGE_CONTEXT": context()},
        {"OPENLINEAGE_CONTEXT": context().replace('"parent"', '"parentRun"')},
        IDS,
        PARTS,
    ],
    ids=["context", "context of the first draft", "ids", "parts"],
)
def test_each_form_names_the_same_parent(environ: dict[str, str]) -> None:
    """Each of the three forms gives parent and root."""
    assert read_parent(environ) == (EXPECTED, [])


def test_nobody_started_us() -> None:
    """Without any variable, or with empty ones (a template that rendered to nothing), there is no parent."""
    assert read_parent({}) == (None, [])
    assert read_parent(dict.fromkeys([*IDS, *PARTS, "OPENLINEAGE_CONTEXT"], "")) == (None, [])


def test_precedence() -> None:
    """OPENLINEAGE_CONTEXT goes before PARENT_ID, and that before the variables in parts."""
    in_parts = {**PARTS, "OPENLINEAGE_PARENT_RUN_ID": OTHER, "OPENLINEAGE_PARENT_JOB_NAME": "third"}
    ids = {"OPENLINEAGE_PARENT_ID": f"airflow/second/{OTHER}"}
    everything = {**in_parts, **ids, "OPENLINEAGE_CONTEXT": context()}
    assert read_parent(everything)[0] == EXPECTED
    second, _ = read_parent({**in_parts, **ids})
    assert second is not None
    assert second.job_name == "second"


def test_malformed_source_gives_way_to_the_next() -> None:
    """A malformed OPENLINEAGE_CONTEXT is a problem that names it, and PARENT_ID is used."""
    parent, (problem,) = read_parent({"OPENLINEAGE_CONTEXT": "{", **IDS})
    assert parent == EXPECTED
    assert problem.startswith("OPENLINEAGE_CONTEXT=")


def test_root_from_the_next_source() -> None:
    """A parent whose source names no root takes the root from the next source that does."""
    no_root = json.loads(context())
    del no_root["parent"]["root"]
    environ = {"OPENLINEAGE_CONTEXT": json.dumps(no_root), "OPENLINEAGE_ROOT_PARENT_ID": f"airflow/etl/{DAG_RUN}"}
    assert read_parent(environ) == (EXPECTED, [])


def test_missing_namespace() -> None:
    """Without a namespace of its own (a well-known blog post) the parent has OPENLINEAGE_NAMESPACE, else default."""
    alone = parts("OPENLINEAGE_PARENT_", TASK, "etl.ingest", None)
    assert read_parent(alone) == (ParentContext(TASK, "etl.ingest", "default"), [])
    assert read_parent({**alone, "OPENLINEAGE_NAMESPACE": "crm"}) == (ParentContext(TASK, "etl.ingest", "crm"), [])
    in_context = {"OPENLINEAGE_CONTEXT": context(job={"name": "etl.ingest"}, root=None), "OPENLINEAGE_NAMESPACE": "crm"}
    assert read_parent(in_context) == (ParentContext(TASK, "etl.ingest", "crm"), [])


def test_namespace_with_slashes() -> None:
    """A namespace may hold slashes: PARENT_ID is split from the right."""
    parent, problems = read_parent({"OPENLINEAGE_PARENT_ID": f"airflow://prod/eu/etl.ingest/{TASK}"})
    assert (parent, problems) == (ParentContext(TASK, "etl.ingest", "airflow://prod/eu"), [])


@pytest.mark.parametrize(
    ("environ", "says"),
    [
        ({"OPENLINEAGE_CONTEXT": "[]"}, "no JSON object"),
        ({"OPENLINEAGE_CONTEXT": "[" * 100_000}, "no JSON"),
        ({"OPENLINEAGE_CONTEXT": "{}"}, 'no key "parent"'),
        ({"OPENLINEAGE_CONTEXT": '{"parent": 1}'}, "no object"),
        ({"OPENLINEAGE_CONTEXT": context(run={})}, "lineage_run_id"),
        ({"OPENLINEAGE_CONTEXT": context(run=7)}, "parent.run"),
        ({"OPENLINEAGE_CONTEXT": context(job={"name": 7})}, "parent.job.name"),
        ({"OPENLINEAGE_CONTEXT": context(job={"name": "a", "namespace": []})}, "parent.job.namespace"),
        ({"OPENLINEAGE_CONTEXT": context(root={"run": {}})}, "parent.root"),
        ({"OPENLINEAGE_PARENT_ID": TASK}, "namespace/job/run-id"),
        ({"OPENLINEAGE_PARENT_ID": "airflow/etl.ingest/manual__2026-01-01"}, "lineage_parent_id"),
        ({"OPENLINEAGE_PARENT_ID": f"airflow//{TASK}"}, "job name"),
        ({"OPENLINEAGE_PARENT_ID": f"/etl/{TASK}"}, "namespace that is empty"),
        ({**IDS, "OPENLINEAGE_ROOT_PARENT_ID": "etl"}, "lineage_root_parent_id"),
        (parts("OPENLINEAGE_PARENT_", "scheduled__2026-01-01T00:00:00+00:00", "etl", None), "lineage_run_id"),
        ({"OPENLINEAGE_PARENT_RUN_ID": TASK}, "OPENLINEAGE_PARENT_JOB_NAME"),
        ({"OPENLINEAGE_PARENT_JOB_NAME": "etl"}, "OPENLINEAGE_PARENT_RUN_ID is missing"),
        (parts("OPENLINEAGE_PARENT_", TASK, "{{ ti.task_id }}", None), "template"),
        ({**IDS, "OPENLINEAGE_ROOT_PARENT_ID": "", "OPENLINEAGE_ROOT_PARENT_RUN_ID": DAG_RUN}, "lineage_root_job_name"),
    ],
)
def test_malformed(environ: dict[str, str], says: str) -> None:
    """Each fault is one sentence that names the variable, what is wrong, and what gives the right value."""
    _, (problem,) = read_parent(environ)
    assert problem.startswith("OPENLINEAGE_")
    assert says in problem
    assert problem.isprintable()
    assert len(problem) < 800


def test_airflow_run_id_names_the_macro() -> None:
    """Whoever passes Airflow's own run_id reads which macro gives the right one."""
    _, (problem,) = read_parent(parts("OPENLINEAGE_PARENT_", "manual__2026-01-01", "etl.ingest", None))
    assert "{{ macros.OpenLineageProviderPlugin.lineage_run_id(task_instance) }}" in problem


def test_from_env_warns(caplog: pytest.LogCaptureFixture) -> None:
    """The public reader warns on the logger openlineage_pod and does not raise."""
    assert ParentContext.from_env({"OPENLINEAGE_PARENT_ID": "x"}) is None
    assert [(record.name, record.levelno) for record in caplog.records] == [("openlineage_pod", logging.WARNING)]


@pytest.mark.parametrize("only", ["OPENLINEAGE_CONTEXT", "OPENLINEAGE_PARENT_ID", "OPENLINEAGE_PARENT_RUN_ID"])
def test_environment_of_a_child_in_every_form(only: str) -> None:
    """A child that knows only one of the three forms finds the same parent and root in what to_env() wrote."""
    kind = {"OPENLINEAGE_CONTEXT": "CONTEXT", "OPENLINEAGE_PARENT_ID": "PARENT_ID"}.get(only, "_")
    written = EXPECTED.to_env()
    kept = {
        key: value
        for key, value in written.items()
        if (key.endswith(kind) if kind != "_" else key.endswith(("RUN_ID", "JOB_NAME", "JOB_NAMESPACE")))
    }
    assert only in kept
    assert len(kept) < len(written)
    assert read_parent(kept) == (EXPECTED, [])


SLASHED = ParentContext(TASK, "spark/load", "spark://prod", {}, ParentContext(DAG_RUN, "spark", "spark://prod"))


def test_job_name_with_a_slash() -> None:
    """A run whose job name has a slash is not written as `namespace/job/run-id`, which readers would cut elsewhere."""
    inherited = {"OPENLINEAGE_PARENT_ID": f"airflow/etl/{OTHER}", "OPENLINEAGE_ROOT_PARENT_ID": f"airflow/x/{OTHER}"}
    written = SLASHED.child_env(inherited)
    assert "OPENLINEAGE_PARENT_ID" not in written
    assert written["OPENLINEAGE_ROOT_PARENT_ID"] == f"spark://prod/spark/{DAG_RUN}"
    assert read_parent(written) == (SLASHED, [])
    del written["OPENLINEAGE_CONTEXT"]
    assert read_parent(written) == (SLASHED, [])
    root = SLASHED._replace(root=None)
    assert not {"OPENLINEAGE_PARENT_ID", "OPENLINEAGE_ROOT_PARENT_ID"} & root.child_env(inherited).keys()


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({}, ("spark://prod/spark", "load")),
        ({"OPENLINEAGE_PARENT_JOB_NAME": "spark/load"}, ("spark://prod", "spark/load")),
        ({"OPENLINEAGE_PARENT_JOB_NAMESPACE": "spark://prod"}, ("spark://prod", "spark/load")),
        ({"OPENLINEAGE_PARENT_JOB_NAME": "other"}, ("spark://prod/spark", "load")),
    ],
)
def test_joined_form_with_several_slashes(more: dict[str, str], expected: tuple[str, str]) -> None:
    """The variables in parts tell where the job name of `namespace/job/run-id` begins; else it is the last part."""
    parent, problems = read_parent({"OPENLINEAGE_PARENT_ID": f"spark://prod/spark/load/{TASK}", **more})
    assert parent is not None
    assert (parent.job_namespace, parent.job_name, problems) == (*expected, [])


@pytest.mark.parametrize("variable", [*IDS, *PARTS, "OPENLINEAGE_CONTEXT"])
@pytest.mark.parametrize("value", ["{{ macros.parent(ti) }}", "a{% if x %}/b/c", "$(PARENT)", "x/y/${RUN_ID}"])
def test_template_that_was_not_rendered(variable: str, value: str) -> None:
    """A template in a variable of the parent is one problem that says so."""
    _, (problem,) = read_parent({**(PARTS if variable in PARTS else IDS), variable: value})
    assert problem.startswith(f"{variable}=")
    assert "is a template that was not rendered" in problem


def test_forwarded_job_facets_survive() -> None:
    """Job facets in OPENLINEAGE_CONTEXT reach the parent facet and the children, with the required keys completed."""
    job = {"namespace": "airflow", "name": "etl.ingest", "facets": {"jobType": {"jobType": "TASK"}, "odd": 7}}
    parent = ParentContext.from_env({"OPENLINEAGE_CONTEXT": context(job=job)})
    assert parent is not None
    facet: dict[str, Any] = parent.to_facet()
    for node in (facet, json.loads(parent.to_env()["OPENLINEAGE_CONTEXT"])["parent"]):
        assert node["job"]["facets"] == {
            "jobType": {
                "_producer": PRODUCER,
                "_schemaURL": "https://openlineage.io/spec/facets/2-0-4/JobTypeJobFacet.json#/$defs/JobTypeJobFacet",
                "jobType": "TASK",
            }
        }


def test_unknown_root_is_the_parent_itself() -> None:
    """Where nobody named a root, the parent is the topmost run known, and stands as the root."""
    facet: dict[str, Any] = ParentContext(TASK, "etl.ingest", "airflow").to_facet()
    assert facet["root"] == {"run": facet["run"], "job": facet["job"]}
