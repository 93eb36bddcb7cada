"""Schemas: the names and types of columns, read from anything that carries them.

An event must not hold data. So only what is a type by its own kind is read: anything else may be a value.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from enum import Enum
from typing import Any

from openlineage_pod._redaction.names import compiled
from openlineage_pod.datasets.uri import NotUnderstoodError

__all__ = ["schema_fields"]

_GIVE = "give a mapping or pairs of name and type, names alone, or a data frame"
# The kinds that hold data or have to compute their columns: pandas' and polars' GroupBy, Resampler, LazyFrame, …
_WITHOUT_SCHEMA = r"GroupBy|Resampler|Rolling|Expanding|Window|LazyFrame|Series|Index|Categorical$"
# Rows of SQLAlchemy, pyspark, psycopg2, … that are tuples, lists or mappings.
_ROW = r"Row|Record"
# A text that is a value: a number, a date, an address.
_VALUE = r"(?s)\s*[+-]?\d|.*@"
_VALUES = (int, float, complex, bytes, bytearray, list, tuple, set, frozenset, Mapping, Enum)
_TYPE_OF_FIELD = ("type", "dataType", "dtype", "field_type", "annotation")
# polars, DuckDB, MySQL and ClickHouse write the values of an enumeration into the name of its type.
_ENUM_VALUES = r"(?i)\b(enum\d*|set)\s*\((?:'(?:[^'\\]|\\.|'')*'|\"(?:[^\"\\]|\\.)*\"|[^()'\"])*\)"
_LITERAL_VALUES = r"(?s)\b(Literal|Annotated)\[.*"


def schema_fields(schema: Any) -> list[dict[str, str]]:
    """Return the fields of the schema facet, each with its name and, if it is known, its type.

    Args:
        schema: A mapping or pairs of name and type, names alone, or an object that carries its columns: a data frame
            of pandas, polars or pyspark, a table or schema of pyarrow, a dataclass, a model of pydantic or SQLAlchemy.

    Raises:
        NotUnderstoodError: `schema` has no columns, or it may hold data. The message quotes no value.

    """
    return [_field(name, kind) for name, kind in _columns(schema)]


def _columns(schema: Any) -> Iterable[tuple[Any, Any]]:
    """Return the names and types of the columns."""
    owner = schema if isinstance(schema, type) else type(schema)
    if isinstance(schema, (Mapping, list, tuple)):
        if hasattr(owner, "_fields") or compiled(_ROW).search(owner.__name__):  # a named tuple is also a row
            raise _refused(schema)
        if isinstance(schema, Mapping):
            return [(_name(name), _type_or_text(kind)) for name, kind in schema.items()]
        return [_entry(entry) for entry in schema]
    if owner.__name__ == "Series" and hasattr(schema, "items") and all(_is_type(kind) for _, kind in schema.items()):
        return [(_label(name), kind) for name, kind in schema.items()]  # the dtypes of a frame of pandas
    if owner in (str, bytes) or compiled(_WITHOUT_SCHEMA).search(owner.__name__) or issubclass(owner, Enum):
        raise _refused(schema)
    for read in (_of_class, _of_frame, _of_schema):
        found: Iterable[tuple[Any, Any]] | None = _without_warnings(read, schema, owner)
        if found is not None:
            return found
    raise _refused(schema)


def _refused(schema: Any) -> NotUnderstoodError:
    kind = schema.__name__ if isinstance(schema, type) else type(schema).__name__
    give = "give its collect_schema(), which may read files" if kind == "LazyFrame" else _GIVE
    return NotUnderstoodError(f"the names and types of columns cannot be read from a {kind} alone; {give}")


def _without_warnings(read: Any, schema: Any, owner: type) -> Any:
    try:
        return read(schema, owner)
    except Warning:  # the job turns warnings into errors; this one is about our reading
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return read(schema, owner)


def _of_class(_schema: Any, owner: type) -> Iterable[tuple[Any, Any]] | None:
    """Read a dataclass, a model of pydantic or SQLAlchemy, or a TypedDict: the class, or an object of it."""
    for attribute in ("model_fields", "__dataclass_fields__"):
        if isinstance(fields := getattr(owner, attribute, None), Mapping):
            return [(name, _type_of(field)) for name, field in fields.items()]
    if (table := getattr(owner, "__table__", None)) is not None:
        return [_entry(column) for column in table.columns]
    is_record = issubclass(owner, dict) or hasattr(owner, "_fields") or hasattr(owner, "__attrs_attrs__")
    return list(getattr(owner, "__annotations__", {}).items()) or None if is_record else None


def _of_frame(frame: Any, _owner: type) -> Iterable[tuple[Any, Any]] | None:
    """Read the attributes of a frame that have names and types."""
    dtypes: Any = getattr(frame, "dtypes", None)
    if isinstance(dtypes, Mapping) or type(dtypes).__name__ == "Series":
        # pandas; asked before `schema`, which may be one of its columns
        return [(_label(name), _type_object(kind)) for name, kind in dtypes.items()]
    carried = getattr(frame, "schema", None)  # polars, pyarrow and pyspark; polars' dtypes lack the names
    if carried is not None and not callable(carried) and not isinstance(carried, str):
        return _columns(carried)
    columns: Any = getattr(frame, "columns", None)
    if isinstance(dtypes, list):
        # pyspark has pairs, DuckDB its names elsewhere
        has_pairs = any(isinstance(each, tuple) for each in dtypes[:1])
        is_zipped = isinstance(columns, list) and len(columns) == len(dtypes) and not has_pairs
        return list(zip(columns, map(_type_object, dtypes), strict=True)) if is_zipped else _columns(dtypes)
    is_table = type(frame).__name__ == "Table" and isinstance(columns, Iterable)  # SQLAlchemy
    return [_entry(column) for column in columns] if is_table else None


def _of_schema(schema: Any, _owner: type) -> Iterable[tuple[Any, Any]] | None:
    """Read a schema of pyarrow or pyspark, which yields its fields, or the dtypes of a frame of pandas."""
    if not _is_type(schema) and "schema" not in type(schema).__name__.lower():
        return None
    return [_entry(entry) for entry in schema] if isinstance(schema, Iterable) else None


def _entry(entry: Any) -> tuple[str, Any]:
    """Return name and type of one column: a name, a pair, or a field of some library."""
    if isinstance(entry, str):
        return entry, None
    if isinstance(entry, (tuple, list)):
        if len(entry) == 2:  # noqa: PLR2004
            return _name(entry[0]), _type_or_text(entry[1])
    elif isinstance(getattr(entry, "name", None), str) and not isinstance(entry, Enum):
        kind = _type_of(entry)
        if kind is not None and not compiled(_WITHOUT_SCHEMA).search(type(entry).__name__):
            return entry.name, kind
    raise NotUnderstoodError(f"a {type(entry).__name__} is not a column; {_GIVE}")


def _type_of(field: Any) -> Any:
    found = (getattr(field, attribute, None) for attribute in _TYPE_OF_FIELD)
    return next((kind for kind in found if kind is not None and (_is_typing(kind) or not callable(kind))), None)


def _is_typing(kind: Any) -> bool:
    """Return whether an object is a class, or an annotation such as `Optional[str]`."""
    return isinstance(kind, type) or type(kind).__module__ in ("typing", "types")


def _name(name: Any) -> str:
    if name is None or isinstance(name, str):
        return name or ""
    raise NotUnderstoodError(f"the name of a column must be a text, not a {type(name).__name__}; {_GIVE}")


def _label(name: Any) -> str:
    """Return the name of a frame's column, which may be a number or a tuple; pandas calls a nameless one NaN."""
    return "" if name is None or name != name else str(name)  # noqa: PLR0124


def _type_object(kind: Any) -> Any:
    """Return the type of a frame's column; a text in this place is a value."""
    if isinstance(kind, str):
        raise NotUnderstoodError(f"a text is not the type of a column here; {_GIVE}")
    return kind


def _type_or_text(kind: Any) -> Any:
    """Return the type of a column in a mapping or pair; what a text says there may be a value of a row."""
    if isinstance(kind, str) and compiled(_VALUE).match(kind):
        raise NotUnderstoodError(f"a text that begins with a digit or has an @ is not the type of a column; {_GIVE}")
    return kind


def _is_type(kind: Any) -> bool:
    """Return whether an object is the type of a column in some library, by what its class is called."""
    if isinstance(kind, _VALUES) or hasattr(kind, "__array__"):
        return False
    return any("type" in f"{base.__module__}.{base.__qualname__}".lower() for base in type(kind).__mro__[:-1])


def _field(name: str, kind: Any) -> dict[str, str]:
    kind = getattr(kind, "__forward_arg__", kind)  # a NamedTuple's annotation in a module with postponed ones
    if kind is None:
        return {"name": name}
    if isinstance(kind, type) and not hasattr(kind, "__origin__"):
        return {"name": name, "type": kind.__name__}
    if not isinstance(kind, str) and not _is_type(kind) and not _is_typing(kind):
        raise NotUnderstoodError(f"a {type(kind).__name__} is not the type of a column; {_GIVE}")
    text = compiled(_ENUM_VALUES).sub(r"\1", compiled(_LITERAL_VALUES).sub(r"\1", str(kind)))
    return {"name": name, "type": text}
