"""Redaction: credentials are masked wherever they stand, ordinary text stays, and the time is linear."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from openlineage_pod.events.secrets import Secrets

SECRET = "hunter2"  # noqa: S105

MASKED = {
    "postgresql://etl:hunter2@warehouse:5432/crm": "postgresql://etl:***@warehouse:5432/crm",
    "redis://:hunter2@cache:6379/0": "redis://:***@cache:6379/0",
    "could not connect to 'mysql://etl:hunter2@db/shop', nor to postgres://etl:hunter2@db": (
        "could not connect to 'mysql://etl:***@db/shop', nor to postgres://etl:***@db"
    ),
    "jdbc:postgresql://db/crm?user=etl&password=hunter2&ssl=true": (
        "jdbc:postgresql://db/crm?user=etl&password=***&ssl=true"
    ),
    "https://lake/accounts?sig=hunter2%3D&se=2026": "https://lake/accounts?sig=***&se=2026",
    "https://s3/a?X-Amz-Signature=hunter2&X-Amz-Date=1": "https://s3/a?X-Amz-Signature=***&X-Amz-Date=1",
    "https://api/v1?access_token=hunter2": "https://api/v1?access_token=***",
    "https://api/v1?api-key=hunter2#top": "https://api/v1?api-key=***",
    "Server=db;Uid=etl;Pwd=hunter2;Database=crm": "Server=db;Uid=etl;Pwd=***;Database=crm",
    "AWS_SECRET_ACCESS_KEY=hunter2/hunter2+hunter2==": "AWS_SECRET_ACCESS_KEY=***",
    "PGPASSWORD: hunter2": "PGPASSWORD: ***",
    "{'user': 'etl', 'password': 'hunter2'}": "{'user': 'etl', 'password': '***'}",
    '{"client_secret": "hunter2", "scope": "all"}': '{"client_secret": "***", "scope": "all"}',
    "connect(token='hunter2', retries=3)": "connect(token='***', retries=3)",
    "Authorization: Bearer hunter2.hunter2-hunter2_hunter2": "Authorization: ***",
    "sent 'bearer hunter2hunter2'": "sent 'bearer ***'",
    "Authorization: Basic aHVudGVyMg==": "Authorization: ***",
    "postgresql://etl:hun/ter2?x#y@warehouse/crm": "postgresql://etl:***@warehouse/crm",
    "postgresql://etl:12/hunter2@warehouse/crm": "postgresql://etl:***@warehouse/crm",
    "http://etl:hunter 2@proxy:3128/": "http://etl:***@proxy:3128/",
    "'postgresql://etl:hunter'2@warehouse/crm' failed": "'postgresql://etl:***@warehouse/crm' failed",
    "mongodb://etl:hunter2@h1:27017,h2:27017/crm": "mongodb://etl:***@h1:27017,h2:27017/crm",
    "OPENLINEAGE_POD_INPUTS='[\"postgres://warehouse_user:hunter2...'": (
        "OPENLINEAGE_POD_INPUTS='[\"postgres://warehouse_user:***...'"
    ),
    "jdbc:oracle:thin:scott/hun/ter2@//ora:1521/ORCL": "jdbc:oracle:thin:scott/***@//ora:1521/ORCL",
    "no oracle+oracledb://scott/hunter2@ora:1521/ORCL": "no oracle+oracledb://scott/***@ora:1521/ORCL",
    "no //etl:hunter2@warehouse/crm": "no //etl:***@warehouse/crm",
    "sqlplus scott/hunter2@ora:1521/ORCL": "sqlplus scott/***@ora:1521/ORCL",
    "jdbc:sqlserver://h:1433;password=hunter2;encrypt=true": "jdbc:sqlserver://h:1433;password=***;encrypt=true",
    "jdbc:sqlserver://h:1433;password={hun;ter2};x=1": "jdbc:sqlserver://h:1433;password={***};x=1",
    "no login etl:hunter2@warehouse:5432/crm": "no login etl:***@warehouse:5432/crm",
    "AccountName=acme;AccountKey=hunter2/x+y==;Suffix=a": "AccountName=acme;AccountKey=***;Suffix=a",
    "SharedAccessSignature=sv=2020&sig=hunter2": "SharedAccessSignature=***&sig=***",
    "fs.azure.account.key.acme.dfs.core.windows.net=hunter2": "fs.azure.account.key.acme.dfs.core.windows.net=***",
    "spark.hadoop.fs.s3a.secret.key=hunter2": "spark.hadoop.fs.s3a.secret.key=***",
    "aws_access_key_id=AKIA123 aws_secret_access_key=hunter2": "aws_access_key_id=AKIA123 aws_secret_access_key=***",
    "load --password hunter2 --limit 5": "load --password *** --limit 5",
    "['load', '--db-token', 'hunter2']": "['load', '--db-token', '***']",
    "load --api-key=hunter2": "load --api-key=***",
    "mysql -u root -phunter2 crm": "mysql -u root -p*** crm",
    "curl -u etl:hunter2 https://api": "curl -u etl:*** https://api",
    "['mysql', '-u', 'root', '-phunter2', 'crm']": "['mysql', '-u', 'root', '-p***', 'crm']",
    "['curl', '-u', 'etl:hunter2', 'https://api']": "['curl', '-u', 'etl:***', 'https://api']",
    "['curl', '--user', 'etl:hunter2', 'https://api']": "['curl', '--user', 'etl:***', 'https://api']",
    "['sshpass', '-p', 'hunter2', 'sftp', 'h']": "['sshpass', '-p', '***', 'sftp', 'h']",
    "['redis-cli', '-h', 'h', '-a', 'hunter2', 'GET']": "['redis-cli', '-h', 'h', '-a', '***', 'GET']",
    "['docker', 'login', '-u', 'etl', '-p', 'hunter2']": "['docker', 'login', '-u', 'etl', '-p', '***']",
    "['openssl', 'enc', '-pass', 'pass:hunter2', '-in']": "['openssl', 'enc', '-pass', 'pass:***', '-in']",
    'run(["mysql","-u","root","-phunter2","crm"])': 'run(["mysql","-u","root","-p***","crm"])',
    'run(["curl","-s","-u","etl:hunter2","https://api"])': 'run(["curl","-s","-u","etl:***","https://api"])',
    'run(["load","--db-token","hunter2"])': 'run(["load","--db-token","***"])',
    "mongosh -u etl -p hunter2 crm": "mongosh -u etl -p *** crm",
    "['mongodump', '-u', 'etl', '-p', 'hunter2']": "['mongodump', '-u', 'etl', '-p', '***']",
    "sqlcmd -S h -U sa -P hunter2 -Q x": "sqlcmd -S h -U sa -P *** -Q x",
    "['bcp', 't', 'out', 'f', '-Phunter2']": "['bcp', 't', 'out', 'f', '-P***']",
    "CREATE USER etl PASSWORD 'hunter2'": "CREATE USER etl PASSWORD '***'",
    "ALTER USER etl IDENTIFIED BY hunter2": "ALTER USER etl IDENTIFIED BY ***",
    "ALTER USER etl IDENTIFIED BY 'hun''ter2'": "ALTER USER etl IDENTIFIED BY '***'",
    "COPY t FROM 's3://a' SECRET_ACCESS_KEY 'hunter2'": "COPY t FROM 's3://a' SECRET_ACCESS_KEY '***'",
    "CREATE SECRET (TYPE S3, KEY_ID 'a', SECRET 'hunter2')": "CREATE SECRET (TYPE S3, KEY_ID 'a', SECRET '***')",
    "host=db password=hunter2 dbname=crm": "host=db password=*** dbname=crm",
    "self.password = 'hunter2'": "self.password = '***'",
    "os.environ['PGPASSWORD'] = 'hunter2'": "os.environ['PGPASSWORD'] = '***'",
    '{"password": "hun\\"ter2", "a": 1}': '{"password": "***", "a": 1}',
    '{"password": "hunter2 and the text is cut': '{"password": "***',
    "<password>hunter2</password>": "<password>***</password>",
    "Set-Cookie: session=hunter2; Path=/": "Set-Cookie: ***; Path=/",
    "-----BEGIN RSA PRIVATE KEY-----\nhunter2\nhunter2==\n-----END RSA PRIVATE KEY-----\nnext": (
        "-----BEGIN RSA PRIVATE KEY-----***-----END RSA PRIVATE KEY-----\nnext"
    ),
    "-----BEGIN PRIVATE KEY-----\nhunter2hunter2\nhunter2=": "-----BEGIN PRIVATE KEY-----***",
    "got eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJodW50ZXIyIn0.hunter2-x of it": "got *** of it",
    "https://hooks.slack.com/services/T000/B000/hunter2hunter2": "https://hooks.slack.com/services/***",
    "V1EnvVar(name='DB_PASSWORD', value='hunter2', value_from=None)": (
        "V1EnvVar(name='DB_PASSWORD', value='***', value_from=None)"
    ),
    "{'name': 'DB_PASSWORD',\n 'value': 'hunter2'}": "{'name': 'DB_PASSWORD',\n 'value': '***'}",
    "- name: DB_PASSWORD\n  value: hunter2\n- name: A": "- name: DB_PASSWORD\n  value: ***\n- name: A",
    '<property name="db.password" value="hunter2"/>': '<property name="db.password" value="***"/>',
    "[('user', 'etl'), ('password', 'hunter2')]": "[('user', 'etl'), ('password', '***')]",
    "spark.hadoop.fs.s3a.secret.key  hunter2": "spark.hadoop.fs.s3a.secret.key  ***",
    "machine h login etl password hunter2": "machine h login etl password ***",
    "docker login -u etl -p hunter2 acme.io": "docker login -u etl -p *** acme.io",
    "odbc_connect=UID%3Detl%3BPWD%3Dhunter2": "odbc_connect=UID%3Detl%3BPWD%3D***",
    "ghp_hunter2hunter2hunter2hunter2hunter2 is revoked": "*** is revoked",
}


@pytest.mark.parametrize("text", MASKED)
def test_what_looks_like_a_credential(text: str) -> None:
    """A password of a URI, a named secret and a bearer token are masked, and what is around them stays."""
    assert Secrets().text(text) == MASKED[text]


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("postgresql://etl:hunter2@hunter2@warehouse/crm", id="at-sign-in-password"),
        pytest.param("connect(password='my hunter2, really')", id="quoted-with-spaces"),
        pytest.param("connect(password='a;hunter2&b')", id="quoted-with-separators"),
        pytest.param(json.dumps(json.dumps({"password": SECRET})), id="json-in-json"),
        pytest.param("Authorization: Token hunter2", id="other-scheme"),
    ],
)
def test_the_whole_credential(text: str) -> None:
    """No part of a credential is left over: a password may hold an `@`, a quoted value blanks and separators."""
    assert SECRET not in Secrets().text(text)


@pytest.mark.parametrize(
    "text",
    [
        "abfss://lake@acme.dfs.core.windows.net/accounts",
        "ssh://git@github.com/acme/etl.git",
        "https://lake:8443/@scope/package",
        "postgres://warehouse:5432/crm.public.accounts",
        "kafka://broker-1:9092,broker-2:9092",
        "s3://lake/tokens/secrets/passwords.csv",
        "tokenize the secretary's passwords",
        "SELECT token, password, secret FROM crm.sessions WHERE signature IS NOT NULL",
        "the bearer of bad news",
        "2026-11-21T08:02:34.560942+00:00",
        "a = 1; key: value; author=Ada",
        "ratio 3:4 at 10:30, user@example.com",
        "mailto:ada@example.com, contact:ada@example.com",
        "https://api:8443/users?email=ada@example.com",
        "s3://bucket/key=value/part",
        "s3://lake/token=1/part",
        "at 12:30@noon, 12:30@host",
        "registry:5000/acme/etl:1.2@sha256:0123456789abcdef",
        "bigquery:acme.crm.accounts@1699999999",
        "max_tokens=512, token_count: 5, tokens: 12",
        "postgres://[::1]:5432/crm, http://${HOST}:${PORT}/x, http://host:port",
        "SELECT a.token FROM a JOIN b ON a.token = b.token AND a.password=b.password",
        'INSERT INTO crm.sessions ("token", "name") VALUES (1, 2)',
        "def connect(password: str, token: str = None): connect(password=password, token=self.token)",
        "unexpected token 'x', no function of signature 'f(int)', secret 'db-creds' not found, KeyError: 'password'",
        "the option --password is required; usage: load [--password PASSWORD] [--token TOKEN]",
        "/etc/passwd: Permission denied, /run/secrets/db.password: No such file",
        "docker run -p 8080:80 mongo -p 27017:27017, login --profile x, mysql --port 3306",
        "curl --user-agent=etl:1.0 -u x",
        "PWD=/app, password=None, token: null",
        "AKIAIOSFODNN7EXAMPLE, aws_access_key_id=AKIAIOSFODNN7EXAMPLE",
        'File "/app/job.py", line 3, in <module>',
        "password: must not be empty, secret: not found, refresh token: expired",
        "Access denied for user 'etl'@'10.0.0.1' (using password: YES)",
        "password=${DB_PASSWORD} token={{ var.value.token }}",
        "V1EnvVar(name='LEVEL', value='debug'), {'name': 'token_count', 'value': '5'}, name: password, type: text",
        "columns ['token', 'email'] not found in ('password', 'email', 'id')",
        "spark.ssl.keyPassword is not set, please login with user and password to continue",
        "",
    ],
)
def test_ordinary_text(text: str) -> None:
    """Names, dates, addresses, prose and SQL that hold no credential stay as they are."""
    assert Secrets().text(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "Basic statistics of accounts",
        "basic authentication failed",
        "signal: 15",
        "sigma=0.5",
        "tokenizer=wordpiece",
        "secretary: Ada",
    ],
)
def test_words_that_begin_like_one(text: str) -> None:
    """A word that only begins like the name of a credential names none."""
    assert Secrets().text(text) == text


def test_line_after_a_colon() -> None:
    """A source line of a stack trace that ends with a colon does not take the next line for its credential."""
    trace = '  File "job.py", line 3, in main\n    with secret:\n  File "vault.py", line 9, in __enter__\n'
    assert Secrets().text(trace) == trace


def test_configured_secrets_everywhere() -> None:
    """The configured keys are masked wherever they stand, whatever is in them, and also without the forms."""
    subject = Secrets(["k3y+(with)[signs].*", "longer-k3y+(with)[signs].*"])
    assert subject.text("path/k3y+(with)[signs].*/x") == "path/***/x"
    assert subject.text("xlonger-k3y+(with)[signs].*x") == "x***x"
    assert Secrets(["key-1", "key-1-of-mine"]).text("key-1-of-mine") == "***"
    texts = {"a": "password=other", "b": "with k3y+(with)[signs].*"}
    assert subject.document(texts, by_form=False) == {"a": "password=other", "b": "with ***"}


def test_secrets_too_short_to_be_some() -> None:
    """An empty or very short key masks nothing: it would make every text unreadable."""
    assert Secrets(["", "a", "abc"]).text("abcabc a") == "abcabc a"


def test_document() -> None:
    """In a document every text is masked at any depth; numbers, keys and what is no text stay."""
    document = {
        "cache": "redis://:hunter2@cache",
        "lists": [["token=hunter2", 1, None, True, 1.5], {"deep": {"deeper": "pwd=hunter2"}}],
        "password": None,
        "fields": [{"name": "password", "type": "text"}, {"name": "token", "type": "text"}],
    }
    assert Secrets().document(document) == {
        "cache": "redis://:***@cache",
        "lists": [["token=***", 1, None, True, 1.5], {"deep": {"deeper": "pwd=***"}}],
        "password": None,
        "fields": [{"name": "password", "type": "text"}, {"name": "token", "type": "text"}],
    }


def test_document_is_not_changed() -> None:
    """The document that was given stays as it was."""
    document = {"run": {"facets": {"own": ["token=hunter2"]}}}
    before = json.dumps(document)
    Secrets().document(document)
    assert json.dumps(document) == before


def test_text_under_the_name_of_a_credential() -> None:
    """A setting dumped as a mapping is masked like the same setting dumped as a text."""
    masked = Secrets().document({"connection": {"user": "etl", "password": SECRET, "api_key": SECRET}})
    assert masked == {"connection": {"user": "etl", "password": "***", "api_key": "***"}}


def test_configured_secret_as_a_key() -> None:
    """A configured key is masked also where a mapping has it as its key."""
    assert SECRET not in json.dumps(Secrets([SECRET]).document({"tags": {f"x-{SECRET}": "1"}}))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(JSON)
def test_any_document(document: Any) -> None:
    """Any JSON comes back as JSON of the same shape, and masking it again changes nothing."""
    subject = Secrets([SECRET])
    once = subject.document(document)
    assert type(once) is type(document)
    assert subject.document(once) == once


@given(st.text(), st.text())
@example("", "://")
def test_configured_secret_in_any_text(before: str, after: str) -> None:
    """No text around a configured key keeps it from being masked."""
    assert SECRET not in Secrets([SECRET]).text(f"{before}{SECRET}{after}").replace("***", "\0")


REPEATED = [
    *("password='", 'password="\\', "password=''", "password={},", "token=,", "password --", "--password ", "<token>"),
    *(
        "mysql -p",
        "curl -u ",
        "sshpass -p ",
        "redis-cli -a ",
        "-pass pass:",
        "mongo -p ",
        "bcp -P",
        "identified by ",
        "password ('",
        "a '",
    ),
    *("mongo -p ", "bcp -P", "mysql ", "curl '"),
    *("-----BEGIN PRIVATE KEY-----", "-----BEGIN PRIVATE KEY-----A\n", "eyJaaaaaaaa.", "eyJ", "ghp_", "xoxb-", "sk-"),
    *("a:b@", "a:aaa", "a/b@", "jdbc:oracle:thin:a/", "postgres://a:1/", "://a:b'", "https://aaaaaaaaaaaaaaaaaaaa1"),
    *("x=y;", "key.", "@", 'password=\\\\"'),
    *("key='a' value=", "name: password value: x ", "a.b.password x ", "[('password', 'x", "login a password "),
    "a",
    "x-",
    " ",
    "password ",
    "token=",
    "token \t",
    "://",
    "://a:",
    "://a:b@",
    "bearer ",
    "basic a",
    "'\"",
]
GLUED = ["token", "secret-", "api_key", "signature"]


def seconds(unit: str, length: int) -> float:
    """Return the processor time that masking a text of so many characters takes."""
    text, subject = unit * (length // len(unit)), Secrets([SECRET])
    started = time.process_time()
    subject.text(text)
    return time.process_time() - started


@pytest.mark.serial
@pytest.mark.parametrize("unit", [*REPEATED, *GLUED])
def test_time_grows_with_the_length(unit: str) -> None:
    """The time grows with the length of a text and not with its square, whatever it consists of."""
    short = min(seconds(unit, 10_000) for _ in range(3))
    # By the square, eight times the length takes 64 times as long.
    assert seconds(unit, 80_000) < 24 * short + 0.02
