"""Facets of datasets: what a backend would refuse the whole event for is mended, wherever the facet comes from."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openlineage.client.event_v2 import OutputDataset
from openlineage.client.facet_v2 import schema_dataset

from openlineage_pod import dataset, lineage_run
from openlineage_pod.events.dataset_facets import mend_dataset_facets
from openlineage_pod.testing import record_events
from tests.support import specification

LAKE = "s3://lake/accounts"
ORIGIN = {"namespace": "ns", "name": "t", "field": "id"}


def mended(key: str, facet: Any, namespace: str = "ns") -> tuple[Any, list[str]]:
    """Return the facet of an output after mending (None if it is left out), and the warnings."""
    entry = {"namespace": namespace, "name": "accounts", "facets": {key: facet}}
    before = json.dumps(entry)
    found, warnings = mend_dataset_facets({"inputs": [], "outputs": [entry]})
    assert json.dumps(entry) == before  # what was given is not changed
    return found["outputs"][0].get("facets", {}).get(key), warnings


@pytest.mark.parametrize(
    ("fields", "expected", "says"),
    [
        ([{"name": "a", "type": "int"}], [{"name": "a", "type": "int"}], None),
        ([{"name": "a"}], [{"name": "a", "type": "unknown"}], None),
        ([{"name": "a", "type": ""}], [{"name": "a", "type": "unknown"}], None),
        ([{"name": "a", "type": None}], [{"name": "a", "type": "unknown"}], None),
        ([{"name": "a", "type": {"b": 1}}], [{"name": "a", "type": "unknown"}], None),
        ([{"name": ""}, {"name": " \n"}, {"name": "a"}], [{"name": "a", "type": "unknown"}], "2 of its 3 columns"),
        ([{"name": None}, {}, "text", None], [], "4 of its 4 columns"),
        ([{"name": 7, "type": "x"}], [{"name": "7", "type": "x"}], None),
        ([{"name": "n" * 256, "type": "x"}], [{"name": "n" * 255, "type": "x"}], "cut to 255"),
        ([{"name": "n" * 255, "type": "x"}], [{"name": "n" * 255, "type": "x"}], None),
        (
            [{"name": "a", "type": "struct", "fields": [{"name": ""}, {"name": "b"}]}],
            [{"name": "a", "type": "struct", "fields": [{"name": "b", "type": "unknown"}]}],
            "1 of its 2 columns",
        ),
    ],
)
def test_columns(fields: Any, expected: Any, says: str | None) -> None:
    """A column without a name is left out, a long name cut, an unknown type said; one warning names the dataset."""
    found, warnings = mended("schema", {"fields": fields})
    assert found["fields"] == expected
    assert len(warnings) == (says is not None)
    assert all(says in warning and "'accounts'" in warning for warning in warnings if says)


@pytest.mark.parametrize(
    ("facet", "expected", "warned"),
    [
        ({"fields": {"id": {"inputFields": [ORIGIN]}}}, {"fields": {"id": {"inputFields": [ORIGIN]}}}, False),
        ({"fields": {}}, None, False),
        ({"fields": {"id": {"inputFields": []}}}, None, False),
        ({"fields": {"id": {}}}, None, False),
        ({"fields": {"id": None}}, None, False),
        ({"fields": None}, None, False),
        ({"fields": {"id": {"inputFields": 5}}}, None, True),
        (
            {"fields": {"id": {"inputFields": "id"}, "b": {"inputFields": [ORIGIN]}}},
            {"fields": {"b": {"inputFields": [ORIGIN]}}},
            True,
        ),
        ({"fields": {"": {"inputFields": [ORIGIN]}}}, None, True),
        ({"fields": {"id": {"inputFields": [{**ORIGIN, "field": " "}, None]}}}, None, True),
        (
            {"fields": {"id": {"inputFields": [{**ORIGIN, "name": None}, ORIGIN]}, "b": {"inputFields": []}}},
            {"fields": {"id": {"inputFields": [ORIGIN]}}},
            True,
        ),
        ({"fields": {}, "dataset": [ORIGIN]}, {"fields": {}, "dataset": [ORIGIN]}, False),
        ({"dataset": [{**ORIGIN, "name": ""}, ORIGIN, 7]}, {"fields": {}, "dataset": [ORIGIN]}, True),
        ({"dataset": [{**ORIGIN, "name": ""}]}, None, True),
        (
            {"fields": {"n" * 300: {"inputFields": [{**ORIGIN, "field": "n" * 300}]}}},
            {"fields": {"n" * 255: {"inputFields": [{**ORIGIN, "field": "n" * 255}]}}},
            True,
        ),
    ],
)
def test_column_lineage(facet: Any, expected: Any, warned: bool) -> None:
    """Column lineage keeps what names a column and its origin; an empty one is left out."""
    found, warnings = mended("columnLineage", facet)
    assert found == expected
    assert bool(warnings) == warned


@pytest.mark.parametrize(
    ("identifiers", "expected"),
    [
        ([{"namespace": "a", "name": "b"}], [{"namespace": "a", "name": "b", "type": "TABLE"}]),
        (
            [{"namespace": "a", "name": "b", "type": "VIEW"}, {"namespace": None, "name": "b"}, {"name": ""}, 7],
            [{"namespace": "a", "name": "b", "type": "VIEW"}],
        ),
        ([{"namespace": "a"}], None),
        (7, None),
        (None, None),
    ],
)
def test_symlinks(identifiers: Any, expected: Any) -> None:
    """A symlink that names no dataset is left out with a warning, and the facet if none is left."""
    found, warnings = mended("symlinks", {"identifiers": identifiers})
    assert found == (None if expected is None else {"identifiers": expected})
    assert len(warnings) == (identifiers is not None and (expected is None or len(expected) < len(identifiers)))


@pytest.mark.parametrize("source", [LAKE, ("weird://a b", "t"), "kafka://b1,b2/t", "abfss://box@account/t"])
def test_data_source(source: Any) -> None:
    """A dataset whose namespace is an address gets that address as its data source, as it is sent."""
    with record_events() as recorded:
        with lineage_run("load", inputs=[source], outputs=[source]):
            pass
        events = recorded.events
    for entry in (*events[-1]["inputs"], *events[-1]["outputs"]):
        found = entry["facets"]["dataSource"]
        assert (found["name"], found["uri"]) == (entry["namespace"], entry["namespace"])
        assert found["_schemaURL"].endswith("/1-0-1/DatasourceDatasetFacet.json#/$defs/DatasourceDatasetFacet")


@pytest.mark.parametrize(
    ("namespace", "uri"),
    [
        ("postgres://_::1_:5432", "postgres://___1_:5432"),
        ("postgres://__PGHOST_:__PGPORT_", "postgres://__PGHOST____PGPORT_"),
        ("my_db://a@b@host:1:2/x:y", "my-db://a_b@host_1:2/x:y"),
        ("inmemory://", "inmemory://"),
    ],
)
def test_address_that_is_not_a_uri(namespace: str, uri: str) -> None:
    """The data source of a namespace that is not a valid URI is valid all the same; the name is the namespace."""
    entry = {"namespace": namespace, "name": "t"}
    found, _ = mend_dataset_facets({"inputs": [entry], "outputs": []})
    facet = found["inputs"][0]["facets"]["dataSource"]
    assert (facet["name"], facet["uri"]) == (namespace, uri)


@pytest.mark.parametrize("namespace", ["file", "warehouse", "arn:aws:glue:eu-west-1:1", "://x", "1x://y"])
def test_namespace_without_address(namespace: str) -> None:
    """A namespace that is not an address gets no data source."""
    entry = {"namespace": namespace, "name": "t"}
    assert mend_dataset_facets({"inputs": [entry], "outputs": []})[0]["inputs"] == [entry]


@given(st.text("ab:/@._-;=+1", max_size=30))
def test_every_data_source_is_valid(text: str) -> None:
    """Whatever the address, the facet is valid by the specification."""
    found, _ = mend_dataset_facets({"inputs": [{"namespace": f"a{text}", "name": "t"}], "outputs": []})
    facet = found["inputs"][0].get("facets", {}).get("dataSource")
    if facet is not None and specification.has_schemas():
        assert specification.errors(facet, facet["_schemaURL"]) == []


def test_data_source_of_the_user() -> None:
    """The user's own data source stays; what it lacks is the address, and what cannot be stored is replaced."""
    facet = {"name": "Lake, old", "uri": ""}
    with record_events() as recorded:
        with lineage_run("load", outputs=[dataset(LAKE, facets={"dataSource": facet}), ("warehouse", "t")]):
            pass
        own, other = recorded.events[-1]["outputs"]
    assert (own["facets"]["dataSource"]["name"], own["facets"]["dataSource"]["uri"]) == ("Lake__old", "s3://lake")
    assert "facets" not in other


SCHEMA = {"fields": [{"name": ""}, {"name": "id"}]}
SOURCES: dict[str, Any] = {
    "names": dataset(LAKE, schema=["", "id"]),
    "facet": dataset(LAKE, facets={"schema": SCHEMA}),
    "mapping": {"namespace": "s3://lake", "name": "accounts", "facets": {"schema": SCHEMA}},
    "typed": OutputDataset(
        "s3://lake",
        "accounts",
        facets={
            "schema": schema_dataset.SchemaDatasetFacet(
                [schema_dataset.SchemaDatasetFacetFields(""), schema_dataset.SchemaDatasetFacetFields("id")]
            )
        },
    ),
}


@pytest.mark.parametrize("source", SOURCES)
def test_every_source(source: str, caplog: pytest.LogCaptureFixture) -> None:
    """The rules hold wherever the schema comes from, with one warning for all events."""
    with record_events() as recorded:
        with lineage_run("load", outputs=[SOURCES[source]]):
            pass
        events = recorded.events
    for event in events:
        (field,) = event["outputs"][0]["facets"]["schema"]["fields"]
        assert (field["name"], field["type"]) == ("id", "unknown")
    (record,) = caplog.records
    assert "output 'accounts', facet 'schema': 1 of its 2 columns left out" in record.getMessage()


def test_environment() -> None:
    """The rules hold for what the DAG declares in the environment."""
    declared = json.dumps([SOURCES["mapping"]])
    with record_events({"OPENLINEAGE_POD_OUTPUTS": declared}) as recorded, lineage_run("load"):
        pass
    assert recorded.events[-1]["outputs"][0]["facets"]["schema"]["fields"] == [{"name": "id", "type": "unknown"}]
