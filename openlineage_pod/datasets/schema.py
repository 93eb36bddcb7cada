"""Schemas: the names and types of columns, read from anything that carries them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from openlineage_pod.datasets.uri import NotUnderstoodError

__all__ = ["schema_fields"]


def schema_fields(schema: Any) -> list[dict[str, str]]:
    """Return the fields of the schema facet, each with its name and, if it is known, its type.

    Args:
        schema: A mapping or pairs of name and type, names alone, or an object that carries its columns: a data frame
            of pandas, polars or pyspark, a table or schema of pyarrow.

    Raises:
        NotUnderstoodError: `schema` has no columns.

    """
    if isinstance(schema, (str, bytes)):
        raise NotUnderstoodError(f"{schema!r} is one text; give names, pairs of name and type, or a frame")
    if not isinstance(schema, (Mapping, list, tuple)):
        schema = _columns_of(schema)
    if hasattr(schema, "items"):
        return [_field(name, kind) for name, kind in schema.items()]
    fields = []
    for entry in schema:
        if isinstance(entry, str):
            fields.append(_field(entry))
        elif isinstance(entry, (tuple, list)):
            fields.append(_field(*entry[:2]))
        elif not hasattr(entry, "name"):
            raise NotUnderstoodError(f"{entry!r} is no column; give a name or a pair of name and type")
        else:  # a field of a pyarrow or pyspark schema
            fields.append(_field(entry.name, getattr(entry, "type", None) or getattr(entry, "dataType", None)))
    return fields


def _columns_of(frame: Any) -> Any:
    """Return the attribute of a frame that has names and types, or the object itself if it is a schema."""
    if hasattr(frame, "items") and not hasattr(frame, "columns"):
        return frame  # the dtypes of a pandas frame
    dtypes = getattr(frame, "dtypes", None)
    if hasattr(dtypes, "items"):
        return dtypes  # pandas; asked before `schema`, which may be one of its columns
    carried = getattr(frame, "schema", dtypes)  # polars, pyarrow and pyspark; polars' dtypes lack the names
    return frame if carried is None or callable(carried) else carried


def _field(name: Any, kind: Any = None) -> dict[str, str]:
    if kind is None:
        return {"name": str(name)}
    return {"name": str(name), "type": kind.__name__ if isinstance(kind, type) else str(kind)}
