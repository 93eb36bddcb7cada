"""Names: URIs, paths and pairs to official names, and problems that say what was expected."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

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
    """A URI becomes namespace and name by OpenLineage's naming specification, without user, password or query."""
    found = dataset(uri)
    assert (found.namespace, found.name, found.problems) == (namespace, name, ())


def test_relative_path_and_path_object() -> None:
    """A path names a local file, made absolute so that two jobs mean the same file."""
    assert dataset("data/a.csv")[:2] == ("file", str(Path.cwd() / "data/a.csv"))
    assert dataset(Path("data/a.csv"))[:2] == ("file", str(Path.cwd() / "data/a.csv"))


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
    """A source that names no dataset is a problem with the reason; it never raises and shows no password."""
    found = dataset(source, rows=1)
    (problem,) = found.problems
    assert says in problem
    assert "s3cret" not in problem
    assert found.name == ""
