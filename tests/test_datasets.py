"""Datasets: URIs to official names, schemas from what carries them, and nothing that raises."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attr
import pytest
from openlineage.client.event_v2 import InputDataset, OutputDataset
from openlineage.client.facet_v2 import documentation_dataset

from openlineage_pod import dataset

ACCOUNTS = "postgres://warehouse:5432/crm.public.accounts"


@pytest.mark.parametrize(
    ("uri", "namespace", "name"),
    [
        (ACCOUNTS, "postgres://warehouse:5432", "crm.public.accounts"),
        ("postgresql://warehouse/crm.public.accounts", "postgres://warehouse:5432", "crm.public.accounts"),
        (
            "postgresql+psycopg2://u:p@warehouse:6432/crm/public/accounts",
            "postgres://warehouse:6432",
            "crm.public.accounts",
        ),
        ("postgres://[::1]/crm.public.a", "postgres://[::1]:5432", "crm.public.a"),
        ("postgres://[::1]:6432/crm.public.a", "postgres://[::1]:6432", "crm.public.a"),
        ("mysql://db/shop.orders?ssl=true", "mysql://db:3306", "shop.orders"),
        ("sqlserver://db/crm.dbo.accounts", "mssql://db:1433", "crm.dbo.accounts"),
        ("s3://lake/raw/accounts/", "s3://lake", "raw/accounts"),
        ("s3a://lake/raw/a.parquet", "s3://lake", "raw/a.parquet"),
        ("S3://lake/a", "s3://lake", "a"),
        ("s3://lake/a?X-Amz-Signature=s3cret", "s3://lake", "a"),
        ("gcs://lake/a", "gs://lake", "a"),
        ("abfss://box@account.dfs.core.windows.net/a/b", "abfss://box@account.dfs.core.windows.net", "a/b"),
        ("hdfs://nn:8020/data/a", "hdfs://nn:8020", "/data/a"),
        ("bigquery:project.set.table", "bigquery", "project.set.table"),
        ("bigquery://project.set.table", "bigquery", "project.set.table"),
        ("pubsub:topic:project:orders", "pubsub", "topic:project:orders"),
        ("snowflake://org-account/db.schema.t", "snowflake://org-account", "db.schema.t"),
        ("kafka://broker/orders", "kafka://broker:9092", "orders"),
        ("kafka://a:1,b:2/orders", "kafka://a:1,b:2", "orders"),
        ("azurecosmos://host/dbs/db/colls/c", "azurecosmos://host/dbs/db", "colls/c"),
        ("arn:aws:glue:eu-west-1:1234/table/db/t", "arn:aws:glue:eu-west-1:1234", "table/db/t"),
        ("file:///data/a.csv", "file", "/data/a.csv"),
        ("file://localhost/data/a.csv", "file", "/data/a.csv"),
        ("file://nas/data/a.csv", "file://nas", "/data/a.csv"),
        ("/data/a.csv", "file", "/data/a.csv"),
        ("sqlite:///var/crm.db", "sqlite", "/var/crm.db"),
        ("weird://host:1/x/y", "weird://host:1", "x/y"),
    ],
)
def test_uri(uri: str, namespace: str, name: str) -> None:
    """A URI becomes namespace and name after OpenLineage's naming specification, without user, password or query."""
    found = dataset(uri)
    assert (found.namespace, found.name, found.problems) == (namespace, name, ())


def test_relative_path_and_path_object() -> None:
    """A path names a local file, made absolute so that two jobs mean the same file."""
    assert dataset("data/a.csv")[:2] == ("file", str(Path.cwd() / "data/a.csv"))
    assert dataset(Path("data/a.csv"))[:2] == ("file", str(Path.cwd() / "data/a.csv"))


def test_pair_and_mapping() -> None:
    """A pair, and OpenLineage's own JSON form, are taken as they are."""
    assert dataset(("ns", "a b"))[:2] == ("ns", "a b")
    found = dataset({"namespace": "ns", "name": "t", "facets": {"schema": {"fields": []}}})
    assert found.facets["schema"]["fields"] == []
    assert "_producer" in found.facets["schema"]


@pytest.mark.parametrize("kind", [InputDataset, OutputDataset])
def test_openlineage_class(kind: Any) -> None:
    """openlineage-python's own datasets pass through with their typed facets."""
    facet = documentation_dataset.DocumentationDatasetFacet(description="all accounts")
    found = dataset(kind(namespace="ns", name="t", facets={"documentation": facet}))
    assert (found.namespace, found.name) == ("ns", "t")
    assert found.facets == {"documentation": facet}


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("accounts", "does not say where"),
        ("", "does not say where"),
        ("s3://lake", "names no dataset"),
        ("s3://lake/", "names no dataset"),
        ("postgres://u:s3cret@warehouse", "names no dataset"),
        ("://", "names no dataset"),
        (("a",), "pair"),
        (("a", ""), "pair"),
        (("a", 1), "pair"),
        (None, "NoneType"),
        (7, "int"),
        ({"namespace": "a"}, '"name"'),
    ],
)
def test_not_understood(source: Any, says: str) -> None:
    """What names no dataset is a problem that says why and shows a right one; it never raises and leaks no password."""
    found = dataset(source, rows=1)
    (problem,) = found.problems
    assert says in problem
    assert "s3cret" not in problem
    assert found.name == ""


@pytest.mark.parametrize("facets", [7, {"schema": 7}, {"schema": []}])
@pytest.mark.parametrize("kind", ["facets", "inputFacets", "outputFacets"])
def test_facets_that_are_none(kind: str, facets: Any) -> None:
    """A facet of OpenLineage's JSON form that is no object is a problem, and left out; the dataset stays."""
    found = dataset({"namespace": "a", "name": "b", kind: facets}, rows=1)
    (problem,) = found.problems
    assert "no object" in problem
    assert (found.name, found.facets, found.input_facets, found.output_facets) == ("b", {}, {}, {})


class Typed:
    """A column's type that prints itself, as numpy's and pyarrow's do."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __str__(self) -> str:
        return self.name


class Frame:
    """A stand-in with the attributes that a frame of some library has."""

    def __init__(self, **attributes: Any) -> None:
        vars(self).update(attributes)


@pytest.mark.parametrize(
    "schema",
    [
        {"id": "int64", "name": "string"},
        {"id": Typed("int64"), "name": Typed("string")},
        [("id", "int64"), ["name", "string"]],
        # pandas, with a column of the name "schema"
        Frame(columns=["id", "name"], items=dict, dtypes={"id": Typed("int64"), "name": Typed("string")}, schema=[1]),
        # polars
        Frame(
            columns=["id", "name"], dtypes=[Typed("int64"), Typed("string")], schema={"id": "int64", "name": "string"}
        ),
        # pyarrow: a table, and its schema
        Frame(schema=[Frame(name="id", type=Typed("int64")), Frame(name="name", type=Typed("string"))]),
        [Frame(name="id", type=Typed("int64")), Frame(name="name", type=Typed("string"))],
        Frame(dtypes=[("id", "int64"), ("name", "string")]),  # pyspark
        [Frame(name="id", dataType="int64"), Frame(name="name", dataType="string")],  # pyspark schema
    ],
)
def test_schema(schema: Any) -> None:
    """The schema comes from whatever carries names and types."""
    found = dataset(ACCOUNTS, schema=schema)
    assert found.problems == ()
    assert found.facets["schema"]["fields"] == [{"name": "id", "type": "int64"}, {"name": "name", "type": "string"}]


@pytest.mark.slow
def test_schema_of_real_frames() -> None:
    """A pandas, polars or pyarrow frame gives its own columns with its own names of their types."""
    import pandas
    import polars
    import pyarrow

    rows = {"id": [1], "name": ["a"]}
    table = pyarrow.table(rows)
    expected = {
        "int64, str": pandas.DataFrame(rows).astype({"name": "str"}),
        "Int64, String": polars.DataFrame(rows),
        "int64, string": table,
    }
    for types, frame in expected.items():
        fields = dataset(ACCOUNTS, schema=frame).facets["schema"]["fields"]
        assert [field["name"] for field in fields] == ["id", "name"]
        assert ", ".join(field["type"] for field in fields).replace("object", "str") == types
    assert dataset(ACCOUNTS, schema=pandas.DataFrame({"schema": [1]})).facets["schema"]["fields"][0]["name"] == "schema"
    assert dataset(ACCOUNTS, schema=table.schema).facets == dataset(ACCOUNTS, schema=table).facets


def test_schema_without_types() -> None:
    """Names alone are a schema too, and a Python class is shown by its name."""
    assert dataset(ACCOUNTS, schema=["id"]).facets["schema"]["fields"] == [{"name": "id"}]
    assert dataset(ACCOUNTS, schema={"id": int}).facets["schema"]["fields"] == [{"name": "id", "type": "int"}]


def test_schema_that_is_none() -> None:
    """A schema that cannot be read is a problem; the dataset itself stays."""
    found = dataset(ACCOUNTS, schema=7)
    assert found.name == "crm.public.accounts"
    assert len(found.problems) == 1
    assert "schema" not in found.facets


def test_statistics_by_side() -> None:
    """Rows, size and files go into the statistics of the side on which the dataset is used."""
    found = dataset("s3://lake/a", rows=3, size=40, files=1)
    (_, written), (_, read) = (
        (side, found.to_dict(side)[key]) for side, key in (("outputs", "outputFacets"), ("inputs", "inputFacets"))
    )
    expected = {"rowCount": 3, "size": 40, "fileCount": 1}
    assert expected.items() <= written["outputStatistics"].items()
    assert "/OutputStatisticsOutputDatasetFacet.json" in written["outputStatistics"]["_schemaURL"]
    assert expected.items() <= read["inputStatistics"].items()
    assert "/InputStatisticsInputDatasetFacet.json" in read["inputStatistics"]["_schemaURL"]


def test_rows_that_are_no_number() -> None:
    """A wrong count is a problem and costs neither the dataset nor the other counts."""
    found = dataset("s3://lake/a", rows="many", size=4)  # type: ignore[arg-type]
    assert len(found.problems) == 1
    assert found.statistics == {"size": 4}


def test_column_lineage() -> None:
    """Column lineage names for each column the datasets and columns it comes from, by their official names."""
    found = dataset(
        "s3://lake/a", column_lineage={"id": [("postgresql://warehouse/crm.public.accounts", "account_id")]}
    )
    assert found.facets["columnLineage"]["fields"] == {
        "id": {
            "inputFields": [
                {"namespace": "postgres://warehouse:5432", "name": "crm.public.accounts", "field": "account_id"}
            ]
        }
    }


def test_further_facets() -> None:
    """Facets of the user pass through; a plain dictionary gets the two required keys."""
    facet = documentation_dataset.DocumentationDatasetFacet(description="x")
    found = dataset("s3://lake/a", facets={"documentation": facet, "own": {"a": 1}})
    assert found.facets["documentation"] is facet
    assert found.facets["own"]["a"] == 1
    assert attr.asdict(facet)["_producer"]
    assert {"_producer", "_schemaURL"} <= found.facets["own"].keys()


def test_a_dataset_of_a_dataset() -> None:
    """A dataset can be described further."""
    found = dataset(dataset("s3://lake/a", rows=1), schema=["id"])
    assert (found.statistics, list(found.facets)) == ({"rowCount": 1}, ["schema"])
