"""Datasets: from what a user has at hand (a URI, a frame) to OpenLineage's namespace, name and facets.

Names follow https://openlineage.io/docs/spec/naming: two jobs meet on the lineage graph only if both spell a dataset
the same way, so aliases (`postgresql`, `s3a`), default ports and user names are normalised away.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from os import PathLike, fspath
from os.path import abspath
from typing import TYPE_CHECKING, Any, NamedTuple

from openlineage_pod.events.facets import complete_facet, facet

if TYPE_CHECKING:
    from typing import Protocol, TypeAlias

    class HasNamespaceAndName(Protocol):
        """The shape of openlineage-python's Dataset, InputDataset and OutputDataset."""

        namespace: str
        name: str

    DatasetSource: TypeAlias = (
        str | PathLike[str] | tuple[str, str] | Mapping[str, Any] | "Dataset" | HasNamespaceAndName
    )
    """A URI or local path, a `(namespace, name)` pair, OpenLineage's JSON form, a `Dataset`, or one of
    openlineage-python's dataset objects."""

__all__ = ["Dataset", "as_sources", "dataset"]

_ALIASES = {
    "s3a": "s3",
    "s3n": "s3",
    "gcs": "gs",
    "postgresql": "postgres",
    "mariadb": "mysql",
    "sqlserver": "mssql",
    "abfs": "abfss",
    "wasb": "wasbs",
}
_DEFAULT_PORTS = {
    "postgres": "5432",
    "mysql": "3306",
    "mssql": "1433",
    "oracle": "1521",
    "redshift": "5439",
    "trino": "8080",
    "clickhouse": "8123",
    "cassandra": "9042",
    "kafka": "9092",
}
# Databases, whose tables are named with dots: `postgres://host/db/schema/table` is a common slip.
_DOTTED = {*_DEFAULT_PORTS, "snowflake", "db2", "teradata", "hive", "crate", "awsathena"} - {"kafka"}
# Here what stands before the @ is a container, not a user.
_CONTAINER_AT_HOST = ("abfss", "wasbs")
# File systems keep the leading slash of a path, object stores have none.
_ROOTED = ("hdfs", "dbfs")
# Here the namespace is a constant and everything else is the name.
_BARE = ("bigquery", "pubsub")
_EXAMPLES = '"postgres://warehouse:5432/crm.public.accounts", "s3://lake/accounts" or ("namespace", "name")'


class Dataset(NamedTuple):
    """One dataset with its facets; made by `dataset()`.

    `facets` describe it as such (schema, columnLineage, …), `statistics` what this run read from it or wrote to it.
    """

    namespace: str
    name: str
    facets: Mapping[str, Any] = {}
    input_facets: Mapping[str, Any] = {}
    output_facets: Mapping[str, Any] = {}
    statistics: Mapping[str, int] = {}
    problems: tuple[str, ...] = ()

    def merged(self, later: Dataset) -> Dataset:
        """Return this dataset with what `later` says of the same one laid over it."""
        return self._replace(
            facets={**self.facets, **later.facets},
            input_facets={**self.input_facets, **later.input_facets},
            output_facets={**self.output_facets, **later.output_facets},
            statistics={**self.statistics, **later.statistics},
        )

    def to_dict(self, side: str) -> dict[str, Any]:
        """Return an entry of an event's `inputs` or `outputs` (the value of `side`)."""
        entry: dict[str, Any] = {"namespace": self.namespace, "name": self.name}
        if self.facets:
            entry["facets"] = dict(self.facets)
        if side == "inputs":
            own, key, statistics = self.input_facets, "inputFacets", "InputStatisticsInputDatasetFacet"
        else:
            own, key, statistics = self.output_facets, "outputFacets", "OutputStatisticsOutputDatasetFacet"
        measured = (
            {side.removesuffix("s") + "Statistics": facet(statistics, **self.statistics)} if self.statistics else {}
        )
        if own or measured:
            entry[key] = {**measured, **own}
        return entry


def dataset(
    source: DatasetSource,
    *,
    schema: Any = None,
    rows: int | None = None,
    size: int | None = None,
    files: int | None = None,
    column_lineage: Mapping[str, Iterable[tuple[DatasetSource, str]]] | None = None,
    facets: Mapping[str, Any] | None = None,
) -> Dataset:
    """Describe a dataset that a run reads or writes: `run.add_output(dataset("s3://lake/accounts", rows=10))`.

    Never raises: what cannot be understood is left out and reported as a warning when the dataset is added to a run.

    Args:
        source: A URI (`"postgres://warehouse:5432/crm.public.accounts"`, `"s3://lake/accounts"`), the path of a
            local file, a `(namespace, name)` pair, or one of openlineage-python's dataset objects.
        schema: The columns: a mapping or pairs of name and type, or whatever carries them: a pandas, polars or
            pyspark data frame, a pyarrow table or schema. Only names and types are read.
        rows: Number of rows read or written by this run.
        size: Number of bytes read or written by this run.
        files: Number of files read or written by this run.
        column_lineage: For each output column the input columns it comes from, as pairs of dataset and column:
            `{"id": [("postgres://warehouse:5432/crm.public.accounts", "account_id")]}`. Consumers show it only
            together with a `schema`.
        facets: Further dataset facets by key: openlineage-python's facet objects, or dictionaries (`_producer` and
            `_schemaURL` are added where missing).

    """
    problems: list[str] = []
    found = _attempt(problems, "", lambda: _resolve(source)) or Dataset("", "")
    described = _attempt(problems, "facets: ", lambda: {key: _facet(key, value) for key, value in _items(facets)}) or {}
    if schema is not None and (fields := _attempt(problems, "schema: ", lambda: _schema_fields(schema))):
        described["schema"] = facet("SchemaDatasetFacet", fields=fields)
    if column_lineage and (columns := _attempt(problems, "column_lineage: ", lambda: _columns(column_lineage))):
        described["columnLineage"] = facet("ColumnLineageDatasetFacet", fields=columns)
    statistics: dict[str, int] = {}
    for argument, key, value in (("rows", "rowCount", rows), ("size", "size", size), ("files", "fileCount", files)):
        number = _attempt(problems, f"{argument}: ", lambda value=value: _count(value))
        if number is not None:
            statistics[key] = number
    laid_over = Dataset(found.namespace, found.name, facets=described, statistics=statistics)
    return found.merged(laid_over)._replace(problems=(*found.problems, *problems))


def as_sources(given: Any) -> tuple[Any, ...]:
    """Return what was given as `inputs` or `outputs` as a tuple of datasets: it may be one alone, or None."""
    if given is None:
        return ()
    is_one = isinstance(given, (str, PathLike, Dataset, Mapping)) or not isinstance(given, Iterable)
    return (given,) if is_one else tuple(given)


def _attempt(problems: list[str], argument: str, read: Any) -> Any:
    """Return `read()`; what it raises becomes a problem and None: this runs in the job's own thread."""
    try:
        return read()
    except Exception as error:
        fault = str(error) if isinstance(error, _NotUnderstoodError) else f"{type(error).__name__}: {error}"
        problems.append(f"{argument}{fault}")
        return None


def _items(facets: Any) -> Any:
    if facets is not None and not isinstance(facets, Mapping):
        raise _NotUnderstoodError(f"{facets!r} is no mapping of facets by their keys")
    for key, value in (facets or {}).items():
        if not _is_facet(value):
            raise _NotUnderstoodError(f"{key!r} is no facet but {value!r}")
    return (facets or {}).items()


def _count(value: Any) -> int | None:
    if value is None:
        return None
    number = int(value)
    if number < 0:
        raise _NotUnderstoodError(f"{value!r} is negative")
    return number


class _NotUnderstoodError(ValueError):
    """What the user gave cannot be read; the message says what was expected."""


def _facet(key: str, value: Any) -> Any:
    return complete_facet(key, dict(value)) if isinstance(value, Mapping) else value


def _resolve(source: Any) -> Dataset:
    if isinstance(source, Dataset):
        return source
    if isinstance(source, str):
        return Dataset(*_from_uri(source.strip()))
    if isinstance(source, PathLike):
        return Dataset("file", abspath(fspath(source)))
    if isinstance(source, Mapping):
        return _from_mapping(source)
    if isinstance(source, (tuple, list)):
        if len(source) != 2 or not all(isinstance(part, str) and part for part in source):  # noqa: PLR2004
            raise _NotUnderstoodError(f"{source!r} is no (namespace, name) pair of two strings, such as {_EXAMPLES}")
        return Dataset(source[0], source[1])
    namespace, name = getattr(source, "namespace", None), getattr(source, "name", None)
    if not (isinstance(namespace, str) and isinstance(name, str) and namespace and name):
        raise _NotUnderstoodError(f"{type(source).__name__} is no type of dataset; give {_EXAMPLES}")
    # openlineage-python's Dataset, InputDataset and OutputDataset, known by their shape: importing them here would
    # cost the job 200 ms.
    return Dataset(
        namespace,
        name,
        dict(getattr(source, "facets", None) or {}),
        dict(getattr(source, "inputFacets", None) or {}),
        dict(getattr(source, "outputFacets", None) or {}),
    )


def _from_mapping(source: Mapping[str, Any]) -> Dataset:
    """Read OpenLineage's own JSON form of a dataset, as it comes in `OPENLINEAGE_POD_INPUTS`."""
    namespace, name = source.get("namespace"), source.get("name")
    if not (isinstance(namespace, str) and isinstance(name, str) and namespace and name):
        raise _NotUnderstoodError(f'{source!r} lacks "namespace" or "name"')
    problems: list[str] = []

    def read(kind: str) -> dict[str, Any]:
        given = source.get(kind) or {}
        if not isinstance(given, Mapping):
            problems.append(f"its {kind} are no object, and left out")
            return {}
        problems.extend(f"its facet {key!r} is no object, and left out" for key in given if not _is_facet(given[key]))
        return {key: _facet(key, value) for key, value in given.items() if _is_facet(value)}

    return Dataset(namespace, name, read("facets"), read("inputFacets"), read("outputFacets"), {}, tuple(problems))


def _is_facet(value: Any) -> bool:
    return isinstance(value, Mapping) or hasattr(type(value), "__attrs_attrs__")


def _from_uri(uri: str) -> tuple[str, str]:  # noqa: C901  a list of cases, best read in one piece
    """Return namespace and name of a dataset URI after https://openlineage.io/docs/spec/naming."""
    if uri.startswith("arn:"):  # arn:aws:glue:region:account/table/db/name
        namespace, _, name = uri.partition("/")
        return namespace, _named(name, uri)
    scheme, separator, rest = uri.removeprefix("jdbc:").partition("://")
    if not separator:
        return _without_authority(uri)
    scheme = scheme.lower().partition("+")[0]  # postgresql+psycopg2, as SQLAlchemy writes it
    scheme = _ALIASES.get(scheme, scheme)
    rest = rest.partition("?")[0]  # connection options and signatures are no part of a name
    if scheme in _BARE:
        return scheme, _named(rest.strip("/"), uri)
    authority, _, path = rest.partition("/")
    if scheme == "file":
        namespace = f"file://{authority}" if authority not in ("", "localhost") else "file"
        return namespace, _named(path and f"/{path}", uri)
    if scheme not in _CONTAINER_AT_HOST:
        authority = authority.rpartition("@")[2]  # user:password@
    if not authority:
        # sqlite:///var/db/crm.db and the like: a file that needs no server.
        return scheme, _named(path and f"/{path}", uri)
    if scheme in _DEFAULT_PORTS and ":" not in authority.rpartition("]")[2] and "," not in authority:
        authority = f"{authority}:{_DEFAULT_PORTS[scheme]}"
    if scheme == "azurecosmos":  # azurecosmos://host/dbs/database/colls/table
        database, _, table = path.partition("/colls/")
        return f"azurecosmos://{authority}/{database}", _named(table and f"colls/{table}", uri)
    if scheme in _ROOTED:
        path = path and f"/{path}"
    elif scheme in _DOTTED:
        path = path.strip("/").replace("/", ".")
    return f"{scheme}://{authority}", _named(path, uri)


def _without_authority(uri: str) -> tuple[str, str]:
    """Read `bigquery:project.dataset.table`, `pubsub:topic:project:name` or the path of a local file."""
    scheme, separator, rest = uri.partition(":")
    if separator and scheme.lower() in _BARE:
        return scheme.lower(), _named(rest, uri)
    if separator and rest.startswith("/") and scheme.isalnum() and len(scheme) > 1:
        raise _NotUnderstoodError(f"{uri!r} lacks a slash: {scheme}://…; a local path of that name is {'./' + uri!r}")
    if "/" in uri:
        return "file", abspath(uri)
    raise _NotUnderstoodError(
        f"{uri!r} does not say where the dataset is; give {_EXAMPLES}, for a local file {'./' + (uri or 'name')!r}"
    )


def _named(name: str, uri: str) -> str:
    name = name.rstrip("/")
    if not name:
        raise _NotUnderstoodError(f"{uri.partition('?')[0].rpartition('@')[2]!r} names no dataset; give {_EXAMPLES}")
    return name


def _schema_fields(schema: Any) -> list[dict[str, str]]:
    """Return the fields of anything that knows its columns; each only by its name and type."""
    if isinstance(schema, (str, bytes)):
        raise _NotUnderstoodError(f"{schema!r} is one text; give names, pairs of name and type, or a frame")
    if not isinstance(schema, (Mapping, list, tuple)):
        schema = _carried(schema)
    if hasattr(schema, "items"):
        return [_field(name, kind) for name, kind in schema.items()]
    fields = []
    for entry in schema:
        if isinstance(entry, str):
            fields.append(_field(entry))
        elif isinstance(entry, (tuple, list)):
            fields.append(_field(*entry[:2]))
        elif not hasattr(entry, "name"):
            raise _NotUnderstoodError(f"{entry!r} is no column; give a name or a pair of name and type")
        else:  # a field of a pyarrow or pyspark schema
            fields.append(_field(entry.name, getattr(entry, "type", None) or getattr(entry, "dataType", None)))
    return fields


def _carried(frame: Any) -> Any:
    """Return what of a frame has names and types, or the object itself (a schema)."""
    if hasattr(frame, "items") and not hasattr(frame, "columns"):
        return frame  # the dtypes of a pandas frame
    dtypes = getattr(frame, "dtypes", None)
    if hasattr(dtypes, "items"):
        return dtypes  # pandas; before `schema`, which may be one of its columns
    carried = getattr(frame, "schema", dtypes)  # polars, pyarrow and pyspark; polars' dtypes lack the names
    return frame if carried is None or callable(carried) else carried


def _field(name: Any, kind: Any = None) -> dict[str, str]:
    if kind is None:
        return {"name": str(name)}
    return {"name": str(name), "type": kind.__name__ if isinstance(kind, type) else str(kind)}


def _columns(lineage: Mapping[str, Iterable[tuple[Any, str]]]) -> dict[str, Any]:
    columns = {}
    for column, origins in lineage.items():
        fields = []
        for pair in origins:
            if not isinstance(pair, (tuple, list)) or len(pair) != 2:  # noqa: PLR2004
                raise _NotUnderstoodError(f"{column!r} must come from pairs of dataset and column, not from {pair!r}")
            origin, field = pair
            found = _resolve(origin)
            fields.append({"namespace": found.namespace, "name": found.name, "field": str(field)})
        columns[str(column)] = {"inputFields": fields}
    return columns
