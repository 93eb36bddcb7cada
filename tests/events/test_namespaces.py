"""Namespaces: whatever a dataset comes from, no backend gets one that it cannot store."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openlineage.client.event_v2 import OutputDataset
from openlineage.client.facet_v2 import column_lineage_dataset, symlinks_dataset

from openlineage_pod import dataset, lineage_run
from openlineage_pod.events.namespaces import clean_namespace, clean_namespaces
from openlineage_pod.testing import record_events

if TYPE_CHECKING:
    from collections.abc import Iterator

STORABLE = re.compile(r"[a-zA-Z:;=/0-9_\-.@+]{1,1024}")  # Marquez: NamespaceName

CLEAN = {
    "kafka://b1:9092,b2:9092": "kafka://b1:9092",
    "kafka://b1:9092,b2:9092/x": "kafka://b1:9092/x",
    "postgres://[::1]:5432": "postgres://_::1_:5432",
    "postgres://${PGHOST}:5432": "postgres://__PGHOST_:5432",
    "postgres://{{ host }}:5432": "postgres://___host___:5432",
    "postgres://wärehouse:5432": "postgres://w_rehouse:5432",
    "postgres://etl:***@warehouse:5432": "postgres://warehouse:5432",
    "postgres://etl:hunter2/x@warehouse:5432": "postgres://warehouse:5432",
    "jdbc:sqlserver://h;user=sa;password=hunter2": "jdbc:sqlserver://h",
    "kafka://SASL_SSL://b1:9092,SASL_SSL://b2:9092/x": "kafka://b1:9092/x",
    "our warehouse, new": "our_warehouse__new",
    "x" * 1025: "x" * 1024,
    "": "_",
}


@pytest.mark.parametrize("namespace", CLEAN)
def test_clean_namespace(namespace: str) -> None:
    """Of several hosts the first one stays; each other character that cannot be stored becomes `_`."""
    assert clean_namespace(namespace) == CLEAN[namespace]


@pytest.mark.parametrize("namespace", ["default", "s3://lake", "abfss://box@account.dfs.core.windows.net", "a" * 1024])
def test_what_can_be_stored_stays(namespace: str) -> None:
    """A namespace that every backend can store is not touched, and nobody is warned."""
    event = {"inputs": [{"namespace": namespace, "name": "t"}], "outputs": []}
    assert clean_namespaces(event) == (event, [])


@given(st.text())
def test_any_text(namespace: str) -> None:
    """Whatever a namespace holds, what is sent can be stored, and is not changed a second time."""
    clean = clean_namespace(namespace)
    assert STORABLE.fullmatch(clean)
    assert clean_namespace(clean) == clean


SYMLINK = {"identifiers": [{"namespace": "a,b", "name": "t", "type": "TABLE"}]}
ORIGIN = {"fields": {"id": {"inputFields": [{"namespace": "c d", "name": "t", "field": "id"}]}}}
FACETS: dict[str, Any] = {
    "symlinks": SYMLINK,
    "columnLineage": ORIGIN,
    "lineage": {"inputs": [{"namespace": "e{f}", "name": "t", "type": "DATASET"}]},
    "lifecycleStateChange": {"previousIdentifier": {"namespace": "g*", "name": "t"}},
    "own": {"deep": [[{"tables": {"namespace": "häuser", "name": "t"}}]]},
    "partial": {"namespace": "x y", "field": "id"},
}


@pytest.mark.parametrize("key", FACETS)
@pytest.mark.parametrize("kind", ["facets", "inputFacets", "outputFacets"])
def test_facets(key: str, kind: str) -> None:
    """A namespace inside a facet is made storable too; the one warning names the dataset and the facet."""
    event = {"inputs": [{"namespace": "ns", "name": "accounts", kind: {key: FACETS[key]}}]}
    before = json.dumps(event)
    clean, (warning,) = clean_namespaces(event)
    assert all(STORABLE.fullmatch(namespace) for namespace in _namespaces(clean))
    assert len(_namespaces(clean)) == 2
    assert "'accounts'" in warning
    assert repr(key) in warning
    assert json.dumps(event) == before  # the event that was given is not changed


def test_lineage_of_job_and_run() -> None:
    """The facet `lineage` of a job or run names datasets; the jobs that it names stay as they are."""
    entries = [{"namespace": "a,b", "name": "t", "type": "DATASET"}, {"namespace": "a,b", "name": "j", "type": "JOB"}]
    event = {"run": {"facets": {"lineage": {"entries": entries}}}, "job": {"facets": {"lineage": {"entries": entries}}}}
    clean, warnings = clean_namespaces(event)
    for owner in ("run", "job"):
        found = [entry["namespace"] for entry in clean[owner]["facets"]["lineage"]["entries"]]
        assert found == ["a_b", "a,b"]
    assert len(warnings) == 2


def test_job_namespaces_stay() -> None:
    """The namespaces of jobs are left to the backend: a changed one would be another job."""
    job = {"namespace": "equipe données", "name": "j"}
    parent = {"run": {"runId": "1"}, "job": job, "root": {"job": job}}
    event = {"run": {"facets": {"parent": parent}}, "job": {**job, "facets": {}}}
    assert clean_namespaces(event) == (event, [])


@pytest.mark.parametrize("name", ["", " ", "\n", None, 7])
def test_a_dataset_without_a_name(name: Any) -> None:
    """A dataset with a blank name is left out with a warning: it takes Marquez's list of jobs down."""
    good = {"namespace": "ns", "name": "t"}
    clean, warnings = clean_namespaces({"outputs": [good, {"namespace": "lake", "name": name}]})
    assert clean == {"outputs": [good]}
    assert len(warnings) == 1
    assert "'lake'" in warnings[0]


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"inputs": None},
        {"inputs": [7, None, []]},
        {"run": 1, "job": None},
        {"job": {"facets": []}},
        {"outputs": {}},
    ],
)
def test_what_is_not_an_event(document: dict[str, Any]) -> None:
    """What a log line holds in place of an event passes through."""
    assert clean_namespaces(document) == (document, [])


def test_endless_depth() -> None:
    """A facet of thousands of levels, as a log line may hold, is passed on."""
    facet: Any = {}
    for _ in range(5000):
        facet = {"a": [facet]}
    clean, _ = clean_namespaces({"inputs": [{"namespace": "ns", "name": "t", "facets": {"deep": facet}}]})
    assert len(clean["inputs"]) == 1


def test_template_is_named() -> None:
    """The warning about a template that was not rendered says so."""
    for namespace in ("postgres://${PGHOST}:5432", "postgres://{{ conn.host }}:5432", "postgres://$PGHOST:5432"):
        _, (warning,) = clean_namespaces({"inputs": [{"namespace": namespace, "name": "t"}]})
        assert "not rendered" in warning


TYPED = OutputDataset(
    namespace="a,b",
    name="typed",
    facets={
        "symlinks": symlinks_dataset.SymlinksDatasetFacet([symlinks_dataset.Identifier("a b", "t", "TABLE")]),
        "columnLineage": column_lineage_dataset.ColumnLineageDatasetFacet(
            {"id": column_lineage_dataset.Fields([column_lineage_dataset.InputField("a*b", "t", "id")])}
        ),
    },
)
SOURCES: dict[str, Any] = {
    "URI": "weird://{{ host }}/t",
    "several hosts": "kafka://b1:9092,b2:9092/t",
    "IPv6": "postgres://[::1]/crm.public.t",
    "pair": ("our warehouse", "t"),
    "mapping": {"namespace": "a,b", "name": "t", "facets": {"symlinks": SYMLINK}},
    "typed object": TYPED,
    "facet": dataset("s3://lake/t", facets={"columnLineage": ORIGIN}),
    "column lineage": dataset("s3://lake/t", column_lineage={"id": [(("a,b", "t"), "id")]}),
}


@pytest.mark.parametrize("source", SOURCES)
def test_every_source(source: str, caplog: pytest.LogCaptureFixture) -> None:
    """Wherever a dataset comes from, its namespaces leave in a form that can be stored, with a warning per place."""
    with record_events() as recorded:
        with lineage_run("load") as run:
            run.add_output(SOURCES[source])
        start, end = recorded.events
    assert start["outputs"] == []
    namespaces = _namespaces(end["outputs"])
    assert all(STORABLE.fullmatch(namespace) for namespace in namespaces)
    assert len(caplog.records) == (0 if source == "several hosts" else len(namespaces) - ("s3://lake" in namespaces))


def test_one_warning_for_all_events(caplog: pytest.LogCaptureFixture) -> None:
    """A namespace that is changed in START and at the end is one warning for each run."""
    with record_events() as recorded:
        for _ in range(2):
            with lineage_run("load", inputs=[("a,b", "t")]):
                pass
        assert len(recorded.events) == 4
    assert len(caplog.records) == 2


def test_placeholders_are_one_warning(caplog: pytest.LogCaptureFixture) -> None:
    """What has no JSON form is one warning for each run, though it is in each of its events."""
    with record_events() as recorded:
        with lineage_run("load", inputs=[dataset("s3://lake/t", facets={"own": {"x": object()}})]):
            pass
        assert len(recorded.events) == 2
    assert ["placeholders" in message for message in caplog.messages] == [True]


@pytest.mark.parametrize("variable", ["OPENLINEAGE_POD_INPUTS", "OPENLINEAGE_POD_OUTPUTS"])
def test_environment(variable: str) -> None:
    """What the DAG declares in the environment is made storable too."""
    declared = json.dumps([{"namespace": "a,b", "name": "t", "facets": {"symlinks": SYMLINK}}, "kafka://b1,b2/t"])
    with record_events({variable: declared}) as recorded, lineage_run("load"):
        pass
    namespaces = _namespaces([recorded.events[-1]["inputs"], recorded.events[-1]["outputs"]])
    assert len(namespaces) == 3
    assert all(STORABLE.fullmatch(namespace) for namespace in namespaces)


def _namespaces(value: Any) -> list[str]:
    return list(_every_namespace(value))


def _every_namespace(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("namespace"), str):
            yield value["namespace"]
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from _every_namespace(item)
