"""Schemas from anything that carries names and types of columns."""

from __future__ import annotations

from typing import Any

import pytest

from openlineage_pod import dataset

ACCOUNTS = "postgres://warehouse:5432/crm.public.accounts"


class Typed:
    """A column's type that prints its name, like the types of numpy and pyarrow."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __str__(self) -> str:
        return self.name


class Frame:
    """A stand-in with the attributes of a frame of some library."""

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
    """A schema comes from anything that carries names and types."""
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
