"""The credentials that a process knows: where they come from, how they are spelled, and what is made of them."""

from __future__ import annotations

import base64
import json
import os
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest

from openlineage_pod.events import secrets
from openlineage_pod.events.credentials import in_environment
from openlineage_pod.events.secrets import SECRETS, Secrets
from openlineage_pod.testing import record_events

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

KEY = "k3y-of-the-tenant"


def test_short_key_as_a_word() -> None:
    """A key below 6 characters is masked only as a whole word, a longer one everywhere."""
    subject = Secrets(["token"])
    assert subject.text("max_tokens=512 and tokenize") == "max_tokens=512 and tokenize"
    assert subject.text("with the token, (token)") == "with the ***, (***)"
    assert Secrets(["hunter"]).text("xhunterx") == "x***x"


@pytest.mark.parametrize("key", ["none", "true", "airflow", "password", "schema", "name", "github", "spec", "text"])
def test_key_that_is_a_word(key: str) -> None:
    """A key that is a common word changes no name, no key and no identifier of an event."""
    event = {
        "eventType": "START",
        "producer": "https://github.com/x/spec",
        "run": {
            "runId": "01938a60-0000-7000-8000-000000000000",
            "facets": {"airflow": {"_producer": "https://github.com/spec"}},
        },
        "job": {"namespace": "airflow", "name": "airflow.password", "facets": {}},
        "inputs": [
            {
                "namespace": "postgres://airflow:5432",
                "name": "airflow.password.text",
                "facets": {
                    "schema": {"fields": [{"name": "password", "type": "text"}, {"name": "name", "type": "text"}]},
                    "columnLineage": {
                        "fields": {
                            "password": {"inputFields": [{"namespace": "github", "name": "spec", "field": "name"}]}
                        }
                    },
                },
            }
        ],
    }
    assert Secrets([key]).document(event) == event


SPELLINGS: dict[str, Callable[[str], str]] = {
    "plain": lambda secret: secret,
    "percent-encoded": lambda secret: quote(secret, safe=""),
    "percent-encoded in lower case": lambda secret: quote(secret, safe="").replace("%2F", "%2f").replace("%3D", "%3d"),
    "as JSON": lambda secret: json.dumps({"x": secret}),
    "as JSON within JSON": lambda secret: json.dumps(json.dumps({"x": secret})),
    "as a repr": lambda secret: repr([secret]),
    "as HTML": lambda secret: secret.replace("&", "&amp;").replace("<", "&lt;").replace('"', "&quot;"),
    "in base64": lambda secret: base64.b64encode(secret.encode()).decode(),
}


@pytest.mark.parametrize("secret", ["hunter2/x=", 'hun"ter2&<x', "hun'ter2\\", "hünter2\u20ac", "two\nlines-of-it"])
@pytest.mark.parametrize("spelling", SPELLINGS)
def test_spellings(spelling: str, secret: str) -> None:
    """A known credential is masked in every usual spelling."""
    spelled = SPELLINGS[spelling](secret)
    shown = Secrets([secret]).text(f"x {spelled} y")
    assert secret not in shown
    assert SPELLINGS[spelling](secret).strip('"[]{} :x') not in shown


def test_long_key_that_was_cut() -> None:
    """The beginning of a long key, at the end of a message that was cut, is masked as well."""
    key = "abcdefghijklmnopqrstuvwxyz0123456789ABCDEF"
    assert Secrets([key]).text(f"OPENLINEAGE_NAMESPACE='{key[:30]}...'") == "OPENLINEAGE_NAMESPACE='***'"
    assert Secrets([key[:20]]).text(f"OPENLINEAGE_NAMESPACE='{key[:12]}...'") == "OPENLINEAGE_NAMESPACE='***...'"


CONFIGURED: dict[str, dict[str, str]] = {
    "API key": {"OPENLINEAGE_API_KEY": KEY},
    "API key with its scheme": {"OPENLINEAGE_API_KEY": f"Bearer {KEY}"},
    "URL": {"OPENLINEAGE_URL": f"http://user:{KEY}@host"},
    "endpoint": {"OPENLINEAGE_ENDPOINT": f"api/v1/lineage?api_key={KEY}"},
    "proxy": {"https_proxy": f"http://user:{KEY}@proxy:3128"},
    "proxy in capitals": {"ALL_PROXY": f"socks5://user:{KEY}@proxy:3128"},
    "transport in parts": {"OPENLINEAGE__TRANSPORT__AUTH": json.dumps({"type": "api_key", "apiKey": KEY})},
    "transport in a nested list": {
        "OPENLINEAGE__TRANSPORT": json.dumps({"transports": [{"headers": [{"name": "X-Key", "value": KEY}]}]})
    },
    "transport, malformed": {"OPENLINEAGE__TRANSPORT__AUTH": '{"apiKey": "' + KEY},
    "Kafka": {"OPENLINEAGE__TRANSPORT__CONFIG": json.dumps({"sasl.jaas.config": f'x password="{KEY}";'})},
    "Datadog": {"DD_API_KEY": KEY},
    "AWS": {"AWS_SECRET_ACCESS_KEY": KEY},
    "database of the job": {"PGPASSWORD": KEY},
    "database URL of the job": {"DATABASE_URL": f"postgresql://user:{KEY}@h/db"},
    "JSON of the job": {"DB_CREDENTIALS": json.dumps({"username": "u", "password": KEY})},
}


@pytest.mark.parametrize("where", CONFIGURED)
def test_configured_in_the_environment(where: str) -> None:
    """A credential of the environment is known, whatever variable holds it."""
    assert Secrets(environ=CONFIGURED[where]).text(f"refused: {KEY}") == "refused: ***"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DB_PASSWORD", "warehouse"),
        ("TOKEN_PATH", "/vault/secrets/token"),
        ("SECRET_NAME", "warehouse-key-1"),
        ("API_TOKEN", "none"),
        ("OPENLINEAGE__TRANSPORT__AUTH__TYPE", "api_key"),
        ("OPENLINEAGE__TRANSPORT__AUTH", '{"verify": "true"}'),
    ],
)
def test_no_credential_in_the_environment(name: str, value: str) -> None:
    """A word, a path, or a switch under a name like that of a credential is not masked everywhere."""
    assert Secrets(environ={name: value}).text(f"of {value}") == f"of {value}"


@pytest.mark.parametrize(
    "value",
    [
        '["postgres://a:{key}@crm.example.com/crm","postgres://b:{key}2@dwh.example.com/dwh"]',
        '{{"a": {{"url": "postgres://a:{key}@crm.example.com:5432/crm"}}, "b": "mysql://b:{key}@dwh.example.com/dwh"}}',
        "amqp://a:{key}@crm.example.com:5672,amqp://b:{key}@dwh.example.com:5672",
        "crm=postgres://crm.example.com:5432/crm;dwh=mysql://b:{key}@dwh.example.com/dwh",
        "postgresql://a:{key}@crm.example.com/crm?application_name=etl@dwh.example.com",
        "https://crm.example.com:8443/ of etl@dwh.example.com, postgres://a:{key}@h/crm",
    ],
    ids=["list", "JSON", "brokers", "pairs", "option", "prose"],
)
def test_hosts_between_credentials(value: str) -> None:
    """What stands between two credentials of one variable, such as a host, is none: datasets there keep their names."""
    subject = Secrets(environ={"SOURCES": value.format(key=KEY), "OPENLINEAGE_POD_INPUTS": value.format(key=KEY)})
    stays = {"namespace": "postgres://crm.example.com:5432", "name": "crm.public.accounts of mysql, dwh.example.com"}
    assert subject.document(stays) == stays
    assert subject.text(f"{stays} refused {KEY}") == f"{stays} refused ***"


@pytest.mark.parametrize(
    ("value", "passwords"),
    [
        ("postgres://u:s3cret@warehouse.internal/crm?user=me@acme.com", ["s3cret"]),
        ("postgres://u:s3cret@warehouse.internal/crm,postgres://u:hidden@other.internal/x", ["s3cret", "hidden"]),
        ('[{"namespace": "postgres://u:s3/cret@warehouse.internal", "name": "crm@x"}]', ["s3/cret"]),
        ("oci://warehouse.internal:5000/crm@sha256", []),
        ("http://u:12/34@warehouse.internal:3128", ["12/34"]),
        ("http://u:p@ss w#rd@warehouse.internal", ["p@ss w#rd"]),
    ],
)
def test_url_around_a_password(value: str, passwords: list[str]) -> None:
    """Of a variable with URLs the passwords are credentials, not what stands around them."""
    subject = Secrets(environ={"SOURCES": value})
    text = "postgres and warehouse.internal, crm, acme.com, namespace, name, other.internal"
    assert subject.text(text) == text
    dataset = {"namespace": "postgres://warehouse.internal:5432", "name": "crm"}
    assert subject.document({"inputs": [dataset]}) == {"inputs": [dataset]}
    for password in passwords:
        assert password not in subject.text(f"quoted ({password})")


def test_password_like_a_scheme() -> None:
    """A password that is the scheme of a URL does not hide the URL: its password is masked as well."""
    subject = Secrets(environ={"DATABASE_URL": "postgres://postgres:postgres@h/crm"})
    assert subject.text("no postgres://etl:hun/ter2@h") == "no postgres://etl:***@h"
    assert subject.text("no postgres+psycopg://etl:hun/ter2@h, (postgres)").endswith("//etl:***@h, (***)")


def test_variable_that_the_job_sets() -> None:
    """A credential that the job puts into its environment while it runs (dotenv) is known from then on."""
    environ: dict[str, str] = {}
    subject = Secrets(environ=environ)
    assert subject.text(KEY) == KEY
    environ["PGPASSWORD"] = KEY
    assert subject.text(KEY) == "***"


@pytest.mark.parametrize(
    "text", ["transport: {type: http, auth: {apiKey: KEY}}", "x: [{headers: [{name: a, value: KEY}]}]"]
)
def test_configuration_file(text: str, tmp_path: Path) -> None:
    """The credentials in openlineage.yml are known, at any depth and in lists."""
    (tmp_path / "lineage.yml").write_text(text.replace("KEY", KEY))
    subject = Secrets()
    subject.read({"OPENLINEAGE_CONFIG": str(tmp_path / "lineage.yml")})
    assert subject.text(f"refused: {KEY}") == "refused: ***"


def test_after_record_events() -> None:
    """What `record_events` has learnt is still masked after it ended."""
    with record_events({"OPENLINEAGE_API_KEY": KEY}) as recorded:
        assert recorded.events == []
    assert SECRETS.text(KEY) == "***"


NAMES: dict[str, tuple[str, str]] = {
    "known": (f"s3://{KEY}-lake", "s3://-lake"),
    "known in text": (f"crm.{KEY}", "crm."),
    "by the grammar": ("postgres://etl:hunter2@h:5432", "postgres://h:5432"),
    "unescaped": ("postgres://etl:hun/ter2@h:5432", "postgres://h:5432"),
    "option": ("jdbc:sqlserver://h:1433;password=hunter2;x=1", "jdbc:sqlserver://h:1433"),
    "query": ("https://lake/a?sig=hunter2&x=1", "https://lake/a"),
    "without a scheme": ("etl:hunter2@h:5432/crm", "h:5432/crm"),
    "Oracle's short form": ("scott/hunter2@//ora:1521/ORCL", "ora:1521/ORCL"),
    "Oracle's short form in a URL": ("oracle://scott/hunter2@ora:1521", "oracle://ora:1521"),
    "connection string": ("host=h password=hunter2 dbname=crm", "_"),
    "connection string of a vendor": ("AccountKey=hunter2;AccountName=x", "_"),
    "behind slashes": ("//etl:hunter2@h/crm", "h/crm"),
    "session": ("https://h/a;jsessionid=hunter2", "https://h/a"),
    "nothing left": (KEY, "_"),
}


@pytest.mark.parametrize("kind", NAMES)
@pytest.mark.parametrize("place", ["namespace", "name", "symlinks", "columnLineage", "dataSource", "job", "parent"])
def test_names(place: str, kind: str, caplog: pytest.LogCaptureFixture) -> None:
    """From a name a credential is removed, not masked, wherever the name stands, with one warning without it."""
    name, clean = NAMES[kind]

    def event(name: str) -> Any:
        pair = {"namespace": "ns", "name": "n"}
        identifier = {"namespace": name, "name": "t"}
        facets = {
            "symlinks": {"symlinks": {"identifiers": [{**identifier, "type": "TABLE"}]}},
            "columnLineage": {"columnLineage": {"fields": {"id": {"inputFields": [{**identifier, "field": "id"}]}}}},
            "dataSource": {"dataSource": {"name": name, "uri": name}},
        }
        dataset = {**pair, **({place: name} if place in pair else {}), "facets": facets.get(place, {})}
        job = {"namespace": name, "name": name} if place == "job" else pair
        parent = {"parent": {"job": identifier}} if place == "parent" else {}
        return {"run": {"runId": "1", "facets": parent}, "job": job, "inputs": [dataset], "outputs": [dataset]}

    subject = Secrets([KEY])
    assert subject.document(event(name)) == event(clean)
    subject.document(event(name))
    assert len(caplog.messages) == 1, caplog.messages
    assert KEY not in caplog.text
    assert "ter2" not in caplog.text


@pytest.mark.parametrize(
    "name",
    [
        "token=1/part-0.parquet",
        "s3://lake/secret=x",
        "project:dataset.t@1699999999",
        "topic:secret:latest",
        "etl:x@host",
        "nessie:crm.accounts@main",
        "secret=x/day=2026-11-21 08/part",
        "part/a@2024",
    ],
)
def test_names_that_stay(name: str) -> None:
    """What only resembles a credential stays in a name: it would be that of another dataset."""
    dataset = {"namespace": "s3://lake", "name": name}
    assert Secrets().document({"inputs": [dataset]}) == {"inputs": [dataset]}


def test_short_key_in_a_name() -> None:
    """A known credential below 12 characters stays in a name: a database may be called as its password is."""
    dataset = {"namespace": "postgres://warehouse:5432", "name": "warehouse.t"}
    assert Secrets(["warehouse"]).document({"inputs": [dataset]}) == {"inputs": [dataset]}


def test_columns() -> None:
    """A column has the same name in the schema and in column lineage, also where a credential was removed from it."""
    facets = {
        "schema": {"fields": [{"name": f"a{KEY}", "type": "text"}]},
        "columnLineage": {"fields": {f"a{KEY}": {"inputFields": []}}},
    }
    clean = Secrets([KEY]).document({"inputs": [{"namespace": "n", "name": "n", "facets": facets}]})["inputs"][0][
        "facets"
    ]
    assert clean["schema"]["fields"][0]["name"] == "a"
    assert list(clean["columnLineage"]["fields"]) == ["a"]


SETTINGS: list[tuple[Any, Any]] = [
    ({"password": "x"}, {"password": "***"}),
    ({"password": 12345}, {"password": "***"}),
    ({"passwords": ["x", "y"]}, {"passwords": ["***", "***"]}),
    ({"deep": [{"clientSecret": "x"}]}, {"deep": [{"clientSecret": "***"}]}),
    ({"env": [{"name": "PGPASSWORD", "value": "x"}]}, {"env": [{"name": "PGPASSWORD", "value": "***"}]}),
    ({"tags": [{"key": "api_token", "value": "x"}]}, {"tags": [{"key": "api_token", "value": "***"}]}),
    ({"argv": ["load", "--password", "x", "--limit", "5"]}, {"argv": ["load", "--password", "***", "--limit", "5"]}),
    ({"argv": ["--token", "--token-count", "5"]}, {"argv": ["--token", "--token-count", "5"]}),
    ({"max_tokens": 512, "token_count": "5"}, {"max_tokens": 512, "token_count": "5"}),
    ({"password": None, "has_token": True}, {"password": None, "has_token": True}),
]


@pytest.mark.parametrize(("given", "masked"), SETTINGS)
def test_settings_in_a_facet(given: Any, masked: Any) -> None:
    """A value under the name of a credential is masked, whatever its type; a count of tokens is not."""
    event = {"run": {"facets": {"own": given}}}
    assert Secrets().document(event) == {"run": {"facets": {"own": masked}}}


def test_process_environment_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """The one object of the process knows the credentials of `os.environ` from the first text on."""
    monkeypatch.setitem(os.environ, "OPENLINEAGE_API_KEY", KEY)
    assert SECRETS.text(KEY) == "***"


def test_two_threads_read_one_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread that finds an environment which another one has read meanwhile raises nothing."""
    subject = Secrets()
    subject.learn({"OPENLINEAGE_API_KEY": "key-1-of-mine"})
    within: list[str] = []

    def slowly(environ: Mapping[str, str]) -> Iterable[str]:
        if not within:
            within.append("the other thread")
            within.append(subject.text("key-1-of-mine"))
        return in_environment(environ)

    monkeypatch.setattr(secrets, "in_environment", slowly)
    assert subject.text("key-1-of-mine") == within[1] == "***"


@pytest.mark.serial
@pytest.mark.parametrize("unit", ["x", "k1\n", "a:", "{", "\x00\n", "%41", "é"])
def test_very_long_key(unit: str) -> None:
    """The time for a key grows with its length and not with its square, and its beginning is masked."""

    def seconds(length: int) -> float:
        key = unit * (length // len(unit))
        started = time.process_time()
        subject = Secrets()
        subject.read({"OPENLINEAGE_API_KEY": key})
        masked = subject.text(f"refused: {key}")
        assert key[:300] not in masked
        return time.process_time() - started

    # The first text has the expression for the key compiled, which costs more than its search.
    short = sorted(seconds(50_000) for _ in range(3))[1]
    # By the square, eight times the length takes 64 times as long.
    assert seconds(400_000) < 24 * short + 0.02
