"""Names: URIs, paths and pairs to official names, and problems that say what was expected."""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openlineage.client.event_v2 import InputDataset

from openlineage_pod import dataset
from openlineage_pod.datasets.dataset import Dataset, as_sources
from openlineage_pod.events.namespaces import clean_namespace

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
        ("postgres://[::1]/crm.public.a", "postgres://_::1_:5432", "crm.public.a"),
        ("postgres://[::1]:6432/crm.public.a", "postgres://_::1_:6432", "crm.public.a"),
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
        ("kafka://a:1,b:2/orders", "kafka://a:1", "orders"),
        ("kafka://a,b/orders", "kafka://a:9092", "orders"),
        ("kafka://,b:9093/orders", "kafka://b:9093", "orders"),
        ("kafka://SASL_SSL://a:1,SASL_SSL://b:2/orders", "kafka://a:1", "orders"),
        ("SASL_SSL://a:1,SASL_SSL://b:2/orders", "kafka://a:1", "orders"),
        ("cassandra://c1,c2/shop.orders", "cassandra://c1:9042", "shop.orders"),
        ("jdbc:mysql:loadbalance://h1,h2/shop/orders", "mysql://h1:3306", "shop.orders"),
        ("weird://a:1,b:2/x", "weird://a:1", "x"),
        ("postgres://[::1],[::2]:6432/crm.public.a", "postgres://_::1_:5432", "crm.public.a"),
        ("postgres://wärehouse/crm.public.a", "postgres://w_rehouse:5432", "crm.public.a"),
        ("postgres://my host/crm.public.a", "postgres://my_host:5432", "crm.public.a"),
        ("postgres://${PGHOST}:${PGPORT}/crm.public.a", "postgres://__PGHOST_:__PGPORT_", "crm.public.a"),
        (
            "postgres://{{ conn['a/b@c'].host }}/crm.public.a",
            "postgres://___conn__a_b_c__.host___:5432",
            "crm.public.a",
        ),
        ("JDBC:POSTGRESQL://warehouse/CRM.PUBLIC.ACCOUNTS", "postgres://warehouse:5432", "CRM.PUBLIC.ACCOUNTS"),
        ("jdbc:oracle:thin:@//o:1521/XEPDB1/HR.EMPLOYEES", "oracle://o:1521", "XEPDB1.HR.EMPLOYEES"),
        ("jdbc:oracle:thin:@o:1521:XE/HR.EMPLOYEES", "oracle://o:1521", "XE.HR.EMPLOYEES"),
        ("jdbc:unknown://host:1/x", "unknown://host:1", "x"),
        ("postgress://warehouse/crm.public.a", "postgress://warehouse", "crm.public.a"),
        ("hdfs://nn:8020/mail/me@example.com/a", "hdfs://nn:8020", "/mail/me@example.com/a"),
        ("s3://lake/mail/me@example.com/a", "s3://lake", "mail/me@example.com/a"),
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


CREDENTIALS = {
    "postgresql://u:hunter2@warehouse/a.b.c": ("postgres://warehouse:5432", "a.b.c"),
    "postgres://u:hunter2/x@warehouse/a.b.c": ("postgres://warehouse:5432", "a.b.c"),
    "postgres://u:hunter2?x@warehouse/a.b.c": ("postgres://warehouse:5432", "a.b.c"),
    "postgres://u:hunter2#x@warehouse/a.b.c": ("postgres://warehouse:5432", "a.b.c"),
    "postgres://u:hunter2@hunter2@warehouse/a.b.c": ("postgres://warehouse:5432", "a.b.c"),
    "postgres://me@azure:hunter2@warehouse/a.b.c": ("postgres://warehouse:5432", "a.b.c"),
    "postgres://:hunter2@[::1]:6432,h2/a.b.c": ("postgres://_::1_:6432", "a.b.c"),
    "jdbc:postgresql://warehouse/a.b.c?user=me@x&password=hunter2": ("postgres://warehouse:5432", "a.b.c"),
    "jdbc:oracle:thin:scott/hunter2@ora:1521/ORCL.S.T": ("oracle://ora:1521", "ORCL.S.T"),
    "jdbc:oracle:thin:scott/hunter2@hunter2@//ora:1521/ORCL/S.T": ("oracle://ora:1521", "ORCL.S.T"),
    "jdbc:oracle:oci:scott/hunter2@tcps://ora:2484/ORCL/S.T": ("oracle://ora:2484", "ORCL.S.T"),
    "jdbc:sqlserver://h:1433/crm.dbo.t;user=sa;password=hunter2@;x=1": ("mssql://h:1433", "crm.dbo.t"),
    "jdbc:db2://h:50000/BANK.APP.T:user=db2;password=hunter2;": ("db2://h:50000", "BANK.APP.T"),
    "jdbc:databricks://h:443/a.t;UID=token;PWD=hunter2": ("databricks://h:443", "a.t"),
    "s3://AKIA:hunter2/x+y@lake/a": ("s3://lake", "a"),
    "abfss://box:hunter2@account/a": ("abfss://box@account", "a"),
    "weird://u:hunter2@host:1/x": ("weird://host:1", "x"),
    "https://host/x;password=hunter2": ("https://host", "x"),
    "https://host/x?sig=hunter2": ("https://host", "x"),
    "bigquery://project.set.table?key=hunter2": ("bigquery", "project.set.table"),
}


@pytest.mark.parametrize("uri", CREDENTIALS)
def test_credentials_are_removed(uri: str) -> None:
    """A user and password are removed by the grammar of their URI, with one warning that does not repeat them."""
    found = dataset(uri)
    assert (found.namespace, found.name, found.problems) == (*CREDENTIALS[uri], ())
    about = [warning for warning in found.warnings if "credentials were removed" in warning]
    assert len(about) == 1
    assert "hunter2" not in repr(found)


@pytest.mark.parametrize(
    "option",
    [
        "user=etl",
        "keyspace=shop",
        "authSource=admin",
        "authenticator=x",
        "author=me",
        "passive=1",
        "tokenizer=x",
        "a=b",
    ],
)
def test_options_that_are_no_credentials(option: str) -> None:
    """An option that is not a credential is dropped from a URI without a warning, and stays in a name that is given."""
    assert dataset(f"cassandra://c1/shop.orders?{option}") == Dataset("cassandra://c1:9042", "shop.orders")
    assert dataset(("ns", f"t?{option}")) == Dataset("ns", f"t?{option}")


@pytest.mark.parametrize(
    "option",
    [
        "password=x",
        "PWD=x",
        "pass=x",
        "AccountKey=x",
        "SharedAccessKey=x",
        "aws_secret_access_key=x",
        "sig=x",
        "key=x",
        "access_token=x",
        "api-key=x",
        "X-Amz-Signature=x",
        "OAuthPvtKey=x",
        "client_secret=x",
        "SharedAccessSignature=x",
    ],
)
def test_options_that_are_credentials(option: str) -> None:
    """An option that is a credential is removed wherever it stands, with one warning."""
    for source in (
        f"cassandra://c1/t?{option}",
        f"https://c1/t;{option}",
        ("ns", f"t?{option}"),
        (f"ns;{option}", "t"),
    ):
        found = dataset(source)
        assert found.name == "t"
        assert ["credentials were removed" in warning for warning in found.warnings] == [True]


@pytest.mark.parametrize(
    "uri",
    [
        "jdbc:mysql://u:1/0;A=hunter2@warehouse:5432/a.b.c",
        "postgres://u:12/hunter2@warehouse/a.b.c",  # a port and a path, or a password?
        "postgres://u:hunter2@hunter2/hunter2@warehouse/a.b.c",
        "oracle://scott/hunter2@ora:1521/ORCL.S.T",
        "s3://AKIA:hunter2@lake/mail/me@example.com",
        "jdbc:oracle:thin:scott/hunter2",
        "jdbc:oracle:thin:scott/hunter2@(DESCRIPTION=(ADDRESS=(HOST=ora)(PORT=1521)))/S.T",
        "jdbc:sqlserver://h;user=sa;password=hunter2",
        "jdbc:teradata://h/DATABASE=sales,USER=u,PASSWORD=hunter2",
        "jdbc:mysql://address=(host=h)(user=u)(password=hunter2)/shop.orders",
        "jdbc:mysql://(host=h,user=u,password=hunter2)/shop.orders",
        "jdbc:h2:mem:x;USER=sa;PASSWORD=hunter2/x",
        "jdbc:sqlite:/var/db/hunter2.db",
        "jdbc:awsathena://AwsRegion=eu-west-1;User=AKIA;Password=hunter2/x",
        "u:hunter2@warehouse/crm/public/a",
        "u:hunter2@warehouse",
        "scott/hunter2@//ora:1521/ORCL",
        "DefaultEndpointsProtocol=https;AccountName=a;AccountKey=hunter2/x==;EndpointSuffix=y",
        "host=h user=u password=hunter2/x dbname=y",
        "Server=h;Database=d;User Id=u;Password=hunter2/",
        "oracle:thin:scott/hunter2@ora",
        "sqlite:hunter2/x.db",
        "//u:hunter2@warehouse/crm",
        "//u:hun/hunter2@warehouse/crm",
        "postgres//u:hunter2@warehouse/crm",
        PurePosixPath("postgres://u:hunter2@warehouse/crm"),
        PurePosixPath("s3://lake/accounts"),
        ("postgres://u:hunter2@", " "),
        ("a", "b", "hunter2"),
        ["hunter2"],
        {"namespace": "hunter2"},
    ],
)
def test_what_cannot_be_read_is_left_out(uri: Any) -> None:
    """What may hold a credential and cannot be read is one problem that quotes nothing of it, and no local file."""
    found = dataset(uri)
    assert (found.namespace, found.name) == ("", "")
    assert len(found.problems) == 1
    assert "hunter2" not in found.problems[0].replace("jdbc:sqlite:/var/db/hunter2.db", "").replace(
        "sqlite:hunter2/x.db", ""
    )


PAIRS = {
    ("postgres://u:hunter2@warehouse:5432", "a.b.c"): ("postgres://warehouse:5432", "a.b.c"),
    ("postgres://u:12/hunter2@warehouse:5432", "a.b.c"): ("postgres://warehouse:5432", "a.b.c"),
    ("jdbc:oracle:thin:scott/hunter2@ora:1521", "S.T"): ("jdbc:oracle:thin:ora:1521", "S.T"),
    ("jdbc:sqlserver://h:1433;user=sa;password=hunter2", "a.b"): ("jdbc:sqlserver://h:1433", "a.b"),
    ("u:hunter2@warehouse", "t"): ("warehouse", "t"),
    ("oracle://scott/hunter2@ora:1521", "S.T"): ("oracle://ora:1521", "S.T"),
    ("scott/hunter2@ora:1521", "S.T"): ("ora:1521", "S.T"),
    ("oracle://scott/hun/ hunter2@ora:1521", "S.T"): ("oracle://ora:1521", "S.T"),
    ("ns", "u:hunter2@warehouse/crm"): ("ns", "warehouse/crm"),
    ("ns", "postgres://u:hunter2@warehouse/a.b.c"): ("ns", "postgres://warehouse/a.b.c"),
    ("ns", "report?token=hunter2"): ("ns", "report"),
}


@pytest.mark.parametrize("pair", PAIRS)
def test_credentials_of_a_pair(pair: tuple[str, str]) -> None:
    """Credentials are removed from a namespace and a name that are given as such, with one warning."""
    for source in (pair, {"namespace": pair[0], "name": pair[1]}, InputDataset(*pair)):
        found = dataset(source)
        assert found[:2] == PAIRS[pair]
        assert ["credentials were removed" in warning for warning in found.warnings] == [True]


@pytest.mark.parametrize("pair", [("kafka://b1,b2", "t"), ("kafka://b1:9092,b2:9092", "t")])
def test_hosts_of_a_pair(pair: tuple[str, str]) -> None:
    """Of several hosts in a namespace the first one stays, with its default port, so that the pair meets the URI."""
    assert dataset(pair)[:2] == dataset(f"{pair[0]}/{pair[1]}")[:2] == ("kafka://b1:9092", "t")


@given(
    st.sampled_from(["postgres", "postgresql+psycopg2", "mysql", "weird", "s3", "kafka", "https", "jdbc:mysql"]),
    st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=12),
)
def test_no_password_leaves(scheme: str, noise: str) -> None:
    """Whatever characters a password has, no part of it is in the names, the warnings or the problems."""
    for password in (f"{noise}hunter2", f"hunter2{noise}", f"hunter2{noise}hunter2", f"1/{noise}hunter2"):
        found = dataset(f"{scheme}://etl:{password}@warehouse:5432/crm.public.a")
        assert "hunter2" not in repr(found)
        assert found[:2] == ("", "") or "warehouse" in found.namespace
        pair = dataset((f"{scheme}://etl:{password}@warehouse:5432", "crm.public.a"))
        assert "hunter2" not in repr(pair)


@given(st.text(), st.text())
def test_any_text(before: str, after: str) -> None:
    """Whatever text is given as a URI, it is left out or its namespace can be stored; nothing raises."""
    for uri in (
        before,
        f"{before}://{after}",
        f"postgres://{before}@{after}/a",
        f"jdbc:{before}:{after}",
        "{{" + before,
    ):
        found = dataset(uri)
        assert clean_namespace(found.namespace) == found.namespace or not found.name
        assert bool(found.name) != bool(found.problems)
        assert all(len(text) < 2000 and text.isprintable() for text in (*found.problems, *found.warnings))


@pytest.mark.parametrize(
    ("uri", "says"),
    [
        ("postgres://${PGHOST}/a.b.c", "not rendered"),
        ("postgres://$(PGHOST)/a.b.c", "not rendered"),
        ("postgres://$PGHOST/a.b.c", "not rendered"),
        ("s3://lake/{{ ds }}/a", "not rendered"),
        ("postgress://warehouse/a.b.c", "did you mean 'postgres'"),
        ("sqlsrver://warehouse/a.b.c", "did you mean 'mssql'"),
        ("kafak://b1/a", "did you mean 'kafka'"),
        ("postgres://[::1]/a.b.c", "sent as 'postgres://_::1_:5432'"),
        ("postgres://[::1]/a.b.c", "characters that a backend cannot store"),
    ],
)
def test_warnings(uri: str, says: str) -> None:
    """What was changed, or is probably a mistake, is one warning; the dataset stays."""
    found = dataset(uri)
    (warning,) = found.warnings
    assert says in warning
    assert found.problems == ()


@pytest.mark.parametrize("uri", ["{{ uri }}", "${URI}", "{{ scheme }}://host/a"])
def test_template_alone(uri: str) -> None:
    """A template in the place of the whole URI is left out, and the problem says that it was not rendered."""
    (problem,) = dataset(uri).problems
    assert "not rendered" in problem
    assert repr(uri) in problem


def test_relative_path_and_path_object() -> None:
    """A path names a local file, made absolute so that two jobs mean the same file."""
    assert dataset("data/a.csv")[:2] == ("file", str(Path.cwd() / "data/a.csv"))
    assert dataset(Path("data/a.csv"))[:2] == ("file", str(Path.cwd() / "data/a.csv"))


def test_relative_path_in_another_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was read before does not count for a path that depends on the current folder, whatever it looks like."""
    for folder in (tmp_path, tmp_path / "below"):
        folder.mkdir(exist_ok=True)
        monkeypatch.chdir(folder)
        for text in ("data/a.csv", " ./s3://lake/a", "./s3://lake/a"):
            assert dataset(text)[:2] == ("file", str(folder / text.strip().replace("//", "/")))


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("accounts", "does not say where"),
        ("", "does not say where"),
        ("s3://lake", "names no dataset"),
        ("s3://lake/", "names no dataset"),
        ("postgres://u:s3cret@warehouse", "names no dataset"),
        ("://", "names no dataset"),
        ("Server=h,1433;User Id=sa;Password=s3cret", "'Server=...' is a connection string"),
        ("u:s3cret@warehouse/crm", "'...' is a connection string"),
        ("jdbc:sqlserver://h;password=s3cret", "'jdbc:sqlserver://...' names no dataset"),
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


class CloudPath:
    """A stand-in for cloudpathlib's and fsspec's objects, which download a file when they are asked for its path."""

    def __init__(self, text: str, uri: str = "") -> None:
        self._text = text
        self._uri = uri

    def __str__(self) -> str:
        return self._text

    def __fspath__(self) -> str:
        pytest.fail("the object was downloaded")

    def as_uri(self) -> str:
        """Return the URI, if it has one."""
        if not self._uri:
            raise ValueError("a relative path has no URI")
        return self._uri


class OpenFile:
    """A stand-in for fsspec's file that is not open yet."""

    full_name = "s3://lake/a b"

    def __fspath__(self) -> str:
        pytest.fail("the object was downloaded")


class S3Path(PurePosixPath):
    """A stand-in for s3path's objects: its text is a path, and its URI is quoted as pathlib does."""

    def as_uri(self) -> str:
        """Return the URI."""
        return f"s3:/{self.as_posix().replace(' ', '%20')}"


class LocalUPath(PurePosixPath):
    """A stand-in for the local paths of universal_pathlib."""

    def as_uri(self) -> str:
        """Return the URI."""
        return f"file://{self.as_posix().replace(' ', '%20')}"


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (CloudPath("s3://lake/a b"), ("s3://lake", "a b")),
        (CloudPath("CloudPath('a')", "gs://lake/a"), ("gs://lake", "a")),
        (CloudPath("/data/a?b"), ("file", "/data/a?b")),
        (OpenFile(), ("s3://lake", "a b")),
        (S3Path("/lake/a b"), ("s3://lake", "a b")),
        (LocalUPath("/data/a b#c"), ("file", "/data/a b#c")),
        (PurePosixPath("/data/a b?c"), ("file", "/data/a b?c")),
    ],
)
def test_path_objects(path: Any, expected: tuple[str, str]) -> None:
    """A path object is named by its URI, else by its text; it is never asked for a local path."""
    assert dataset(path)[:2] == expected
    assert as_sources(path) == (path,)


def test_path_object_without_a_uri() -> None:
    """A path object that does not tell where it is, is left out with a problem."""
    (problem,) = dataset(CloudPath("<object>")).problems
    assert "CloudPath" in problem


def test_directory_entry(tmp_path: Path) -> None:
    """An entry of a directory is a local file."""
    (tmp_path / "a.csv").touch()
    with os.scandir(tmp_path) as entries:
        assert dataset(next(entries))[:2] == ("file", str(tmp_path / "a.csv"))
