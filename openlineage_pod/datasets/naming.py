"""Names: from a URI, a path, a pair or a mapping to OpenLineage's namespace and name.

Names follow https://openlineage.io/docs/spec/naming. Two jobs meet on the lineage graph only if both spell a dataset
the same way, so aliases (`postgresql`, `s3a`), default ports and user names are normalised away.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum, auto
from os import PathLike, fspath
from os.path import abspath
from typing import Any, NamedTuple

__all__ = ["NotUnderstoodError", "name_of"]

_EXAMPLES = '"postgres://warehouse:5432/crm.public.accounts", "s3://lake/accounts" or ("namespace", "name")'


class NotUnderstoodError(ValueError):
    """What the user gave cannot be read; the message says what was expected."""


class _Shape(Enum):
    """How the URI of a store becomes namespace and name."""

    PATH = auto()
    """The namespace is scheme and authority. The name is the path without a leading slash."""
    ROOTED_PATH = auto()
    """Like PATH, but the name keeps the leading slash: a file system."""
    CONTAINER = auto()
    """Like PATH, but a container, not a user, stands before the @."""
    TABLE = auto()
    """Like PATH, but the name has dots instead of slashes: a database. `postgres://host/db/schema/table` is common."""
    COLLECTION = auto()
    """The database belongs to the namespace: `azurecosmos://host/dbs/database/colls/collection`."""
    CONSTANT = auto()
    """The namespace is the scheme. Everything else is the name."""
    FILE = auto()
    """A local file, or a file on the named host."""


class _Store(NamedTuple):
    scheme: str
    shape: _Shape = _Shape.PATH
    aliases: tuple[str, ...] = ()
    default_port: str = ""


_STORES = {
    scheme: store
    for store in (
        # scheme, shape, aliases, default port
        _Store("abfss", _Shape.CONTAINER, ("abfs",)),
        _Store("awsathena", _Shape.TABLE),
        _Store("azurecosmos", _Shape.COLLECTION),
        _Store("bigquery", _Shape.CONSTANT),
        _Store("cassandra", _Shape.TABLE, (), "9042"),
        _Store("clickhouse", _Shape.TABLE, (), "8123"),
        _Store("crate", _Shape.TABLE),
        _Store("db2", _Shape.TABLE),
        _Store("dbfs", _Shape.ROOTED_PATH),
        _Store("file", _Shape.FILE),
        _Store("gs", _Shape.PATH, ("gcs",)),
        _Store("hdfs", _Shape.ROOTED_PATH),
        _Store("hive", _Shape.TABLE),
        _Store("kafka", _Shape.PATH, (), "9092"),
        _Store("mssql", _Shape.TABLE, ("sqlserver",), "1433"),
        _Store("mysql", _Shape.TABLE, ("mariadb",), "3306"),
        _Store("oracle", _Shape.TABLE, (), "1521"),
        _Store("postgres", _Shape.TABLE, ("postgresql",), "5432"),
        _Store("pubsub", _Shape.CONSTANT),
        _Store("redshift", _Shape.TABLE, (), "5439"),
        _Store("s3", _Shape.PATH, ("s3a", "s3n")),
        _Store("snowflake", _Shape.TABLE),
        _Store("teradata", _Shape.TABLE),
        _Store("trino", _Shape.TABLE, (), "8080"),
        _Store("wasbs", _Shape.CONTAINER, ("wasb",)),
    )
    for scheme in (store.scheme, *store.aliases)
}


def name_of(source: Any) -> tuple[str, str]:
    """Return the namespace and the name of a dataset.

    Args:
        source: A URI or local path, a `(namespace, name)` pair, OpenLineage's JSON form, or an object with both
            attributes, such as openlineage-python's datasets.

    Raises:
        NotUnderstoodError: `source` does not name a dataset.

    """
    if isinstance(source, str):
        return _from_uri(source.strip())
    if isinstance(source, PathLike):
        return "file", abspath(fspath(source))
    namespace: Any
    name: Any
    if isinstance(source, Mapping):
        namespace, name = source.get("namespace"), source.get("name")
        if not _are_texts(namespace, name):
            raise NotUnderstoodError(f'{source!r} lacks "namespace" or "name"')
    elif isinstance(source, (tuple, list)):
        if len(source) != 2 or not _are_texts(*source):  # noqa: PLR2004
            raise NotUnderstoodError(f"{source!r} is no (namespace, name) pair of two strings, such as {_EXAMPLES}")
        namespace, name = source
    else:
        namespace, name = getattr(source, "namespace", None), getattr(source, "name", None)
        if not _are_texts(namespace, name):
            raise NotUnderstoodError(f"{type(source).__name__} is no type of dataset; give {_EXAMPLES}")
    return namespace, name


def _are_texts(*values: Any) -> bool:
    return all(isinstance(value, str) and value for value in values)


def _from_uri(uri: str) -> tuple[str, str]:
    if uri.startswith("arn:"):  # arn:aws:glue:region:account/table/db/name
        namespace, _, name = uri.partition("/")
        return namespace, _checked(name, uri)
    scheme, separator, rest = uri.removeprefix("jdbc:").partition("://")
    if not separator:
        return _without_authority(uri)
    scheme = scheme.lower().partition("+")[0]  # SQLAlchemy writes postgresql+psycopg2
    store = _STORES.get(scheme) or _Store(scheme)
    rest = rest.partition("?")[0]  # connection options and signatures do not belong to the name
    if store.shape is _Shape.CONSTANT:
        return store.scheme, _checked(rest.strip("/"), uri)
    authority, _, path = rest.partition("/")
    if store.shape is _Shape.FILE:
        namespace = f"file://{authority}" if authority not in ("", "localhost") else "file"
        return namespace, _checked(path and f"/{path}", uri)
    if store.shape is not _Shape.CONTAINER:
        authority = authority.rpartition("@")[2]  # user:password@
    if not authority:
        # A file that needs no server, such as sqlite:///var/db/crm.db.
        return store.scheme, _checked(path and f"/{path}", uri)
    return _in_store(store, authority, path, uri)


def _in_store(store: _Store, authority: str, path: str, uri: str) -> tuple[str, str]:
    # A port stands behind the brackets of an IPv6 address; a list of hosts has its own ports.
    if store.default_port and ":" not in authority.rpartition("]")[2] and "," not in authority:
        authority = f"{authority}:{store.default_port}"
    namespace = f"{store.scheme}://{authority}"
    if store.shape is _Shape.COLLECTION:
        database, _, collection = path.partition("/colls/")
        return f"{namespace}/{database}", _checked(collection and f"colls/{collection}", uri)
    if store.shape is _Shape.ROOTED_PATH:
        path = path and f"/{path}"
    elif store.shape is _Shape.TABLE:
        path = path.strip("/").replace("/", ".")
    return namespace, _checked(path, uri)


def _without_authority(uri: str) -> tuple[str, str]:
    """Read `bigquery:project.dataset.table`, `pubsub:topic:project:name` or the path of a local file."""
    scheme, separator, rest = uri.partition(":")
    store = _STORES.get(scheme.lower())
    if separator and store is not None and store.shape is _Shape.CONSTANT:
        return store.scheme, _checked(rest, uri)
    if separator and rest.startswith("/") and scheme.isalnum() and len(scheme) > 1:
        raise NotUnderstoodError(f"{uri!r} lacks a slash: {scheme}://…; a local path of that name is {'./' + uri!r}")
    if "/" in uri:
        return "file", abspath(uri)
    raise NotUnderstoodError(
        f"{uri!r} does not say where the dataset is; give {_EXAMPLES}, for a local file {'./' + (uri or 'name')!r}"
    )


def _checked(name: str, uri: str) -> str:
    name = name.rstrip("/")
    if not name:
        raise NotUnderstoodError(f"{uri.partition('?')[0].rpartition('@')[2]!r} names no dataset; give {_EXAMPLES}")
    return name
