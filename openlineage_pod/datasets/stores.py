"""The table of stores: for each scheme of a URI how the URI becomes namespace and name."""

from __future__ import annotations

from typing import NamedTuple

from openlineage_pod._redaction.names import words

__all__ = ["COLLECTION", "CONSTANT", "CONTAINER", "FILE", "PATH", "ROOTED_PATH", "STORES", "TABLE", "Store", "similar"]

# The shapes of a URI: how it becomes namespace and name. Constants, because an Enum would cost every job 0.2 ms.
PATH = "path"
"""The namespace is scheme and authority; the name is the path without a leading slash."""
ROOTED_PATH = "rooted path"
"""A file system: like PATH, but the name keeps the leading slash."""
CONTAINER = "container"
"""Like PATH, but a container, not a user, stands before the @."""
TABLE = "table"
"""A database: like PATH, but with dots, because postgres://host/db/schema/table is common."""
COLLECTION = "collection"
"""azurecosmos://host/dbs/database/colls/collection: the namespace has the database."""
CONSTANT = "constant"
"""The namespace is the scheme, and everything else is the name."""
FILE = "file"
"""A local file, or a file on the named host."""


class Store(NamedTuple):
    """What is known of the URIs of one kind of store."""

    scheme: str
    shape: str = PATH
    aliases: tuple[str, ...] = ()
    default_port: str = ""


STORES = {
    scheme: store
    for store in (
        # scheme, shape, aliases, default port
        Store("abfss", CONTAINER, ("abfs",)),
        Store("awsathena", TABLE),
        Store("azurecosmos", COLLECTION),
        Store("bigquery", CONSTANT),
        Store("cassandra", TABLE, (), "9042"),
        Store("clickhouse", TABLE, (), "8123"),
        Store("crate", TABLE),
        Store("db2", TABLE),
        Store("dbfs", ROOTED_PATH),
        Store("file", FILE),
        Store("gs", PATH, ("gcs",)),
        Store("hdfs", ROOTED_PATH),
        Store("hive", TABLE),
        Store("kafka", PATH, ("sasl_ssl", "sasl_plaintext", "plaintext"), "9092"),
        Store("mssql", TABLE, ("sqlserver",), "1433"),
        Store("mysql", TABLE, ("mariadb",), "3306"),
        Store("oracle", TABLE, (), "1521"),
        Store("postgres", TABLE, ("postgresql",), "5432"),
        Store("pubsub", CONSTANT),
        Store("redshift", TABLE, (), "5439"),
        Store("s3", PATH, ("s3a", "s3n")),
        Store("snowflake", TABLE),
        Store("teradata", TABLE),
        Store("trino", TABLE, (), "8080"),
        Store("wasbs", CONTAINER, ("wasb",)),
    )
    for scheme in (store.scheme, *store.aliases)
}
"""What is known of each scheme and alias."""

# Schemes without a rule of their own, which are nobody's misspelling. What is written is sent.
_OTHERS = words(
    "adl adls alluxio az azure azurekusto box ch cosn cosmos couchbase databricks delta dremio druid duckdb "
    "dynamodb elasticsearch exasol fabric-warehouse filenet firebird ftp ftps gdrive glue gsheets hana hbase hive2 "
    "http https hudi iceberg impala inmemory jdbc kudu ldap memory milvus mongo mongodb mssharepoint mqtt neo4j "
    "netezza nfs nats oceanbase oci odbc ofs o3fs opensearch oss presto pulsar rabbitmq redis rediss salesforce sap "
    "sftp smb spanner spark sqlite ssh sybase teradatasql tidb unitycatalog vertica viewfs webdav webhdfs"
)


def similar(scheme: str) -> str | None:
    """Return the known scheme that was probably meant by an unknown one."""
    if scheme in _OTHERS:
        return None
    # Deferred: it costs 3 ms, and most schemes are known.
    from difflib import get_close_matches

    found = next(iter(get_close_matches(scheme, [*STORES, *_OTHERS], 1, 0.75)), None)
    return STORES[found].scheme if found in STORES else found
