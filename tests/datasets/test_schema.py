"""Schemas from anything that carries names and types of columns."""

from __future__ import annotations

import dataclasses
import datetime
import enum
import io
import warnings
from typing import Any, Literal, NamedTuple, Optional

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


class Series(dict[Any, Any]):
    """A stand-in for a column of pandas: has items, but they are data."""


class DataFrameGroupBy(Frame):
    """A stand-in for a grouping of pandas, whose dtypes hold the groups."""


class LazyFrame:
    """A stand-in for a query of polars, which reads files to find out its columns."""

    @property
    def schema(self) -> Any:
        """Fail the test."""
        pytest.fail("the schema of a query was computed")

    dtypes = columns = schema


class Colour(enum.Enum):
    """An enumeration, whose members are data."""

    RED = "hunter2"


class ColourType(enum.Enum):
    """An enumeration that is called a type, whose members are data all the same."""

    RED = "hunter2"


def test_annotations() -> None:
    """The type of a field may be an annotation instead of a class."""
    columns = [("id", int | None), ("tags", list[str]), ("name", Optional[str])]  # noqa: UP045
    record = dataclasses.make_dataclass("Tagged", columns)
    fields = dataset(ACCOUNTS, schema=record).facets["schema"]["fields"]
    assert [field["type"] for field in fields] == ["int | None", "list[str]", "typing.Optional[str]"]


@dataclasses.dataclass
class Account:
    """A record with a value."""

    id: int
    name: str = "hunter2"


class Row(NamedTuple):
    """A row of data."""

    id: int
    name: str


class Entry(NamedTuple):
    """A row of one value."""

    name: str


class Texts(NamedTuple):
    """A row of texts, as of a data frame's itertuples()."""

    name: str
    company: str


class RowMapping(dict[str, str]):
    """A stand-in for a row of SQLAlchemy or psycopg2 that is a mapping."""


class DictRow(list[str]):
    """A stand-in for a row of psycopg2 or pyspark that is a list or tuple."""


class RowOfFields:
    """A stand-in for a row of SQLAlchemy: it has fields, and no types of them."""

    _fields = ("name",)


DATA: dict[str, Any] = {
    "row of texts": Texts("hunter2", "Nordwind"),
    "row of one text": Entry("hunter2"),
    "row that is a mapping": RowMapping(name="hunter2"),
    "row that is a list": DictRow(["hunter2"]),
    "row with fields": RowOfFields(),
    "row of a CSV file": {"name": "hunter2", "id": "1001"},
    "row with a date": {"name": "hunter2", "since": "2026-11-21"},
    "row with an address": [("name", "hunter2"), ("mail", "sales@nordwind.example")],
    "series": Frame(items=lambda: [("alice", "hunter2")]),
    "series of texts": Series({"alice": "hunter2"}).items(),
    "dict of lists": {"id": [1], "name": ["hunter2"]},
    "dict of records": {"alice": {"name": "hunter2"}},
    "record": {"id": 1, "name": "hunter2"},
    "rows": [(1, "hunter2")],
    "longer rows": [("a", "hunter2", "b")],
    "row": Row(1, "hunter2"),
    "records": [{"name": "hunter2"}],
    "objects": [Account(1)],
    "grouping": DataFrameGroupBy(dtypes={"id": Frame(dtype="int64", name="hunter2")}, columns=["id"]),
    "dtypes that are a frame": Frame(dtypes={"id": Frame(columns=["hunter2"])}),
    "dtypes that are texts": Frame(dtypes={"id": "hunter2"}),
    "query": LazyFrame(),
    "enumeration": Colour,
    "members": list(Colour),
    "member as type": {"colour": Colour.RED},
    "member of a type as type": {"colour": ColourType.RED},
    "generator": (name for name in ["hunter2"]),
    "iterator": iter(["hunter2"]),
    "set": {"hunter2"},
    "text": "hunter2",
    "bytes": b"hunter2",
    "number": {"id": 7.5},
    "date": {"id": datetime.date(2026, 1, 1)},
    "object as type": {"account": Account(1)},
    "file": io.StringIO("hunter2"),
}


@pytest.mark.parametrize("kind", DATA)
def test_data_is_refused(kind: str) -> None:
    """What may hold data is refused with a problem that quotes none of it; the dataset itself stays."""
    found = dataset(ACCOUNTS, schema=DATA[kind])
    assert found.name == "crm.public.accounts"
    assert "schema" not in found.facets
    (problem,) = found.problems
    assert problem.startswith("schema: ")
    assert "hunter2" not in problem
    assert "7.5" not in problem


class Failing:
    """A frame whose attributes fail with a message that holds data."""

    @property
    def dtypes(self) -> Any:
        """Raise."""
        raise RuntimeError("row 7: hunter2")


def test_error_of_a_frame() -> None:
    """The text of an exception may hold data, so the problem has its class alone."""
    (problem,) = dataset(ACCOUNTS, schema=Failing()).problems
    assert problem == "schema: cannot be read (RuntimeError)"


class Warning_(Frame):  # noqa: N801
    """A frame that warns when its schema is read."""

    @property
    def dtypes(self) -> Any:
        """Return the columns, with a warning."""
        warnings.warn("this may be slow", UserWarning, stacklevel=2)
        return [("id", "int64")]


def test_warnings_as_errors() -> None:
    """A job that turns warnings into errors has its schemas read all the same."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = dataset(ACCOUNTS, schema=Warning_())
        with pytest.raises(UserWarning):
            warnings.warn("the job's own", UserWarning, stacklevel=1)
    assert found.problems == ()
    assert found.facets["schema"]["fields"] == [{"name": "id", "type": "int64"}]


@pytest.mark.parametrize("schema", [Account, Account(1), Row])
def test_classes(schema: Any) -> None:
    """A class of records gives the names and types of its fields, and so does an object of a dataclass."""
    fields = dataset(ACCOUNTS, schema=schema).facets["schema"]["fields"]
    assert fields == [{"name": "id", "type": "int"}, {"name": "name", "type": "str"}]


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("ENUM('hunter2', 'it''s )')", "ENUM"),
        ("Enum8('hunter2' = 1, 'b' = 2)", "Enum8"),
        ("List(Enum(categories=['hunter2', \"o'b)\"]))", "List(Enum)"),
        ("set('hunter2')", "set"),
        ("STRUCT(a ENUM('hunter2'), b INTEGER)", "STRUCT(a ENUM, b INTEGER)"),
        (Literal["hunter2"], "typing.Literal"),
        (int | None, "int | None"),
        (list[int], "list[int]"),
        ("decimal(10, 2)", "decimal(10, 2)"),
        (Colour, "Colour"),
    ],
)
def test_types_without_values(kind: Any, expected: str) -> None:
    """The values of an enumeration are data, also where they stand in the name of its type."""
    assert dataset(ACCOUNTS, schema={"c": kind}).facets["schema"]["fields"] == [{"name": "c", "type": expected}]


@pytest.mark.slow
def test_data_of_real_frames() -> None:
    """What pandas and polars make of data gives its types or is refused; no value is sent, and nothing is computed."""
    import pandas
    import polars

    frame = pandas.DataFrame({"id": [1], "name": ["hunter2"]})
    kinds = pandas.Categorical(["hunter2"])
    column = polars.Series("c", ["hunter2"], dtype=polars.Enum(["hunter2"]))
    refused = [
        frame["name"],
        frame.groupby("name"),
        frame.groupby("name")["id"],
        frame.set_index("name").index,
        kinds,
        kinds.categories,
        pandas.Series({"hunter2": "hunter2"}),
        frame[["id"]].rolling(1),
        column,
        polars.Enum(["hunter2"]),
        polars.DataFrame({"id": [1]}).lazy(),
        polars.DataFrame({"id": [1]}).group_by("id"),
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for schema in refused:
            found = dataset(ACCOUNTS, schema=schema)
            assert "schema" not in found.facets
            assert "hunter2" not in found.problems[0]
        for schema in (pandas.DataFrame({"c": kinds}), polars.DataFrame([column]), frame.dtypes):
            found = dataset(ACCOUNTS, schema=schema)
            assert found.problems == ()
            assert "hunter2" not in repr(found)
