"""Names: from a URI, a path, a pair or a mapping to OpenLineage's namespace and name.

Names follow https://openlineage.io/docs/spec/naming. Two jobs meet on the lineage graph only if both spell a dataset
the same way, so aliases (`postgresql`, `s3a`), default ports and user names are normalised away.
"""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike, fspath
from os.path import abspath
from typing import Any, NamedTuple

__all__ = ["NotUnderstoodError", "name_of"]

_EXAMPLES = '"postgres://warehouse:5432/crm.public.accounts", "s3://lake/accounts" or ("namespace", "name")'


class NotUnderstoodError(ValueError):
    """What the user gave cannot be read; the message says what was expected."""


# The shapes of a URI: how it becomes namespace and name. Constants, because an Enum would cost every job 0.2 ms.
_PATH = "path"  # the namespace is scheme and authority; the name is the path without a leading slash
_ROOTED_PATH = "rooted path"  # a file system: like _PATH, but the name keeps the leading slash
_CONTAINER = "container"  # like _PATH, but a container, not a user, stands before the @
_TABLE = "table"  # a database: like _PATH, but with dots, because postgres://host/db/schema/table is common
_COLLECTION = "collection"  # azurecosmos://host/dbs/database/colls/collection: the namespace has the database
_CONSTANT = "constant"  # the namespace is the scheme, and everything else is the name
_FILE = "file"  # a local file, or a file on the named host


class _Store(NamedTuple):
    scheme: str
    shape: str = _PATH
    aliases: tuple[str, ...] = ()
    default_port: str = ""


_STORES = {
    scheme: store
    for store in (
        # scheme, shape, aliases, default port
        _Store("abfss", _CONTAINER, ("abfs",)),
        _Store("awsathena", _TABLE),
        _Store("azurecosmos", _COLLECTION),
        _Store("bigquery", _CONSTANT),
        _Store("cassandra", _TABLE, (), "9042"),
        _Store("clickhouse", _TABLE, (), "8123"),
        _Store("crate", _TABLE),
        _Store("db2", _TABLE),
        _Store("dbfs", _ROOTED_PATH),
        _Store("file", _FILE),
        _Store("gs", _PATH, ("gcs",)),
        _Store("hdfs", _ROOTED_PATH),
        _Store("hive", _TABLE),
        _Store("kafka", _PATH, (), "9092"),
        _Store("mssql", _TABLE, ("sqlserver",), "1433"),
        _Store("mysql", _TABLE, ("mariadb",), "3306"),
        _Store("oracle", _TABLE, (), "1521"),
        _Store("postgres", _TABLE, ("postgresql",), "5432"),
        _Store("pubsub", _CONSTANT),
        _Store("redshift", _TABLE, (), "5439"),
        _Store("s3", _PATH, ("s3a", "s3n")),
        _Store("snowflake", _TABLE),
        _Store("teradata", _TABLE),
        _Store("trino", _TABLE, (), "8080"),
        _Store("wasbs", _CONTAINER, ("wasb",)),
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
    if store.shape == _CONSTANT:
        return store.scheme, _checked(rest.strip("/"), uri)
    authority, _, path = rest.partition("/")
    if store.shape == _FILE:
        namespace = f"file://{authority}" if authority not in ("", "localhost") else "file"
        return namespace, _checked(path and f"/{path}", uri)
    if store.shape != _CONTAINER:
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
    if store.shape == _COLLECTION:
        database, _, collection = path.partition("/colls/")
        return f"{namespace}/{database}", _checked(collection and f"colls/{collection}", uri)
    if store.shape == _ROOTED_PATH:
        path = path and f"/{path}"
    elif store.shape == _TABLE:
        path = path.strip("/").replace("/", ".")
    return namespace, _checked(path, uri)


def _without_authority(uri: str) -> tuple[str, str]:
    """Read `bigquery:project.dataset.table`, `pubsub:topic:project:name` or the path of a local file."""
    scheme, separator, rest = uri.partition(":")
    store = _STORES.get(scheme.lower())
    if separator and store is not None and store.shape == _CONSTANT:
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
