"""The attack: credentials from everywhere, each a random one; none of them is in anything that leaves a process."""

from __future__ import annotations

import base64
import html
import json
import random
import string
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote, quote_plus

import pytest

from openlineage_pod.events.secrets import Secrets
from tests.support.constants import AIRFLOW_ENV
from tests.support.examples import fast
from tests.support.harness import Receiver, on_a_thread, types
from tests.support.proxy import Proxy
from tests.support.waiting import wait_until
from tests.support.wrapping import wrapped

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from tests.support.harness import Finished, Jobs

WORD = string.ascii_letters + string.digits
# What its surroundings end at does not stand in a credential: an unquoted one has no blank, for example.
ALPHABETS = {
    "word": WORD,
    "url": WORD + "/?#@!$*~^|",
    "config": WORD + "/+=!$*~^|@#:.-_%",
    "quoted": WORD + "/?#@!$&=+:;,(){}[]'\"\\ \u00e4\u20ac",
}


class Source(NamedTuple):
    """Where a credential comes from.

    Attributes:
        alphabet: what it may consist of there.
        statement: what the job does with it, as the variable `s`, within the run `run`.

    """

    alphabet: str
    statement: str


SOURCES = {
    # datasets
    "URI": Source("quoted", "run.add_input(f'postgres://etl:{quote(s, safe=str())}@warehouse:5432/crm.public.a')"),
    "URI, not encoded": Source("url", "run.add_input(f'postgres://etl:{s}@warehouse:5432/crm.public.b')"),
    "URI with an option": Source("word", "run.add_input(f'postgres://warehouse/crm.public.c?password={s}')"),
    "Oracle URI": Source("word", "run.add_output(f'jdbc:oracle:thin:scott/{s}@ora:1521/ORCL.S.T')"),
    "SQL Server URI": Source("word", "run.add_output(f'jdbc:sqlserver://h:1433;databaseName=crm;password={s}')"),
    "URI without a scheme": Source("word", "run.add_output(f'etl:{s}@warehouse:5432/crm.public.d')"),
    "signed URL": Source("word", "run.add_input(f'https://acme.blob.core.windows.net/lake/a.csv?sv=1&sig={s}')"),
    "URL of a storage": Source("word", "run.add_input(f's3://AKIAIOSFODNN7EXAMPLE:{s}@lake/accounts')"),
    "pair": Source("url", "run.add_input((f'postgres://etl:{s}@warehouse:5432', 'crm.public.e'))"),
    "mapping": Source("word", "run.add_input({'namespace': f'mysql://etl:{s}@shop:3306', 'name': 'shop.f'})"),
    "object": Source(
        "word", "run.add_input(types.SimpleNamespace(namespace=f'mysql://etl:{s}@shop:3306', name='shop.g'))"
    ),
    "symlinks facet": Source(
        "url",
        "run.add_input(dataset('s3://lake/h', facets={'symlinks': {'identifiers': [{'namespace': "
        "f'hive://etl:{s}@meta:9083', 'name': 'h', 'type': 'TABLE'}]}}))",
    ),
    "column lineage": Source(
        "word",
        "run.add_output(dataset('s3://lake/i', schema={'id': 'int'}, "
        "column_lineage={'id': [(f'postgres://etl:{s}@warehouse:5432/crm.public.i', 'id')]}))",
    ),
    "dataSource facet": Source(
        "word",
        "run.add_input(dataset('s3://lake/j', facets={'dataSource': {'name': f'postgres://etl:{s}@w:5432', "
        "'uri': f'postgres://etl:{s}@w:5432/crm'}}))",
    ),
    "unreadable dataset": Source("word", "run.add_input(f'warehouse password={s}')"),
    "unreadable URI": Source("url", "run.add_input(f'postgres:/etl:{s}@warehouse:5432/crm.public.k')"),
    # texts
    "message with a URL": Source("url", "raise OSError(f'no route to postgresql://etl:{s}@warehouse:5432/crm')"),
    "message with a setting": Source("config", "raise ValueError(f'cannot log in with password={s}')"),
    "message with a dictionary": Source("quoted", "raise ValueError({'user': 'etl', 'password': s})"),
    "message with JSON": Source("quoted", "raise ValueError(json.dumps({'user': 'etl', 'client_secret': s}))"),
    "message with JSON in JSON": Source("quoted", "raise ValueError(json.dumps(json.dumps({'api_key': s})))"),
    "message with a header": Source("word", "raise ValueError(f'sent Authorization: Bearer {s}')"),
    "message with basic auth": Source(
        "quoted", "raise ValueError('Authorization: Basic ' + base64.b64encode(f'etl:{s}'.encode()).decode())"
    ),
    "message with a connection string": Source("word", "raise ValueError(f'Server=h;Uid=etl;Pwd={s};Database=crm')"),
    "message with an account key": Source("word", "raise ValueError(f'AccountName=a;AccountKey={s}==;Suffix=x')"),
    "message with a command": Source("config", "raise RuntimeError(f'load --password {s} --limit 5 failed')"),
    "message with arguments": Source("quoted", "raise RuntimeError(f\"{['load', '--db-token', s]} failed\")"),
    "message with MySQL's option": Source("word", "raise RuntimeError(f'mysql -u root -p{s} crm: access denied')"),
    "message with a private key": Source(
        "word", "raise ValueError(f'-----BEGIN RSA PRIVATE KEY-----\\n{s}\\n{s}=\\n-----END RSA PRIVATE KEY-----')"
    ),
    "message with a user and host": Source("word", "raise OSError(f'cannot connect to etl:{s}@warehouse:5432/crm')"),
    "notes of an exception": Source("word", "error = ValueError('x'); error.add_note(f'token={s}'); raise error"),
    "chained exception": Source(
        "config",
        "try:\n        raise OSError(f'password={s}')\n    "
        "except OSError as error:\n        raise ValueError('no') from error",
    ),
    "line of the stack trace": Source("word", "connect(password='@LITERAL@')"),
    "declared failure": Source("url", "run.fail(f'no route to mysql://etl:{s}@shop/crm')"),
    "exit with a message": Source("config", "raise SystemExit(f'cannot log in with password={s}')"),
    "SQL facet": Source(
        "word",
        "run.add_job_facet('sql', {'query': f\"CREATE USER etl PASSWORD '{s}'; COPY t FROM 's3://a' "
        "SECRET_ACCESS_KEY '{s}'; ALTER USER x IDENTIFIED BY {s}\"})",
    ),
    "custom facet": Source("quoted", "run.add_run_facet('own', {'connection': {'user': 'etl', 'password': s}})"),
    "list in a custom facet": Source("quoted", "run.add_run_facet('own', {'api_keys': [s, s]})"),
    "setting in a custom facet": Source(
        "quoted", "run.add_run_facet('own', {'e': [{'name': 'PGPASSWORD', 'value': s}]})"
    ),
    "key of a custom facet": Source("word", "run.add_run_facet('own', {f'https://u:{s}@h': 1, f'token={s}': 2})"),
    "tag": Source("quoted", "run.add_run_facet('tags', {'tags': [{'key': 'api_token', 'value': s, 'source': 'x'}]})"),
    "job facet": Source(
        "url", "run.add_job_facet('sourceCodeLocation', {'type': 'git', 'url': f'https://ci:{s}@git.acme.com/etl'})"
    ),
    "unserialisable facet": Source("word", "run.add_run_facet('own', f'password={s}')"),
    # the environment of the job
    "variable of the job": Source("quoted", "os.environ['DB_PASSWORD_' + key] = s; raise ValueError(f'refused: {s}')"),
    "URL in a variable": Source(
        "word", "os.environ['DSN_' + key] = f'postgresql://etl:{s}@h/crm'; raise ValueError(f'refused for {s}')"
    ),
    "known credential in a name": Source(
        "word", "os.environ['TOKEN_' + key] = s; run.add_output(f's3://lake/{s}/part')"
    ),
}

JOB = """
import base64, json, os, sys, types
from pathlib import Path
from urllib.parse import quote
from openlineage_pod import dataset, flush, lineage_run
SECRETS = json.loads(Path("secrets.json").read_text("utf-8"))

def connect(password):
    raise ValueError("no connection")
"""
BLOCK = """
def job_{number}():
    key, s = "{number}", SECRETS[{number}]
    with lineage_run("job_{number}") as run:
        {statement}

try:
    job_{number}()
except (Exception, SystemExit):
    pass
"""


def drawn(alphabet: str) -> str:
    """Return a random credential that fits no place by chance."""
    characters = ALPHABETS[alphabet]
    body = "".join(random.SystemRandom().choices(characters, k=18))
    # Begins and ends as a word: nobody can tell whether a quote or a full stop at its end belongs to it.
    return f"{random.SystemRandom().choice(string.ascii_letters)}7{body}{random.SystemRandom().choice(WORD)}"


def spellings(secret: str) -> set[str]:
    """Return what a credential may look like in an output, and pieces of it that say most of it."""
    plain = {
        secret,
        quote(secret, safe=""),
        quote(secret),
        quote_plus(secret),
        json.dumps(secret)[1:-1],
        json.dumps(json.dumps(secret))[3:-3],
        json.dumps(secret, ensure_ascii=False)[1:-1],
        repr(secret)[1:-1],
        ascii(secret)[1:-1],
        html.escape(secret),
        base64.b64encode(f"etl:{secret}".encode()).decode().rstrip("="),
        base64.b64encode(secret.encode()).decode().rstrip("="),
    }
    runs = {run for run in "".join(c if c in WORD else " " for c in secret).split() if len(run) >= 7}
    return plain | runs


def assert_discreet(secrets: Iterable[tuple[str, str]], outputs: dict[str, str]) -> None:
    """Fail if any of the credentials, each with the name of its source, is in one of the outputs."""
    for source, secret in secrets:
        for where, text in outputs.items():
            for spelled in spellings(secret):
                place = text.find(spelled)
                around = text[max(0, place - 150) : place + 100]
                assert place < 0, f"{source}: {secret!r} is in {where} as {spelled!r}: …{around}…"


def outputs(finished: Finished, receiver: Receiver | None = None, spool: Path | None = None) -> dict[str, str]:
    """Return all that has left a job: what it printed, what was received, and what lies in the spool."""
    found = {"stdout": finished.stdout, "stderr": finished.stderr}
    if receiver is not None:
        for number, request in enumerate(receiver.requests()):
            found[f"body {number}"] = request["body"]
            found[f"path {number}"] = request["path"]
    if spool is not None:
        found |= {f"{path}": path.read_text("utf-8", "replace") for path in spool.rglob("*") if path.is_file()}
    return found


def attack(jobs: Jobs) -> list[tuple[str, str]]:
    """Write the job with all sources, and return the credentials that it has."""
    drawn_secrets = [(name, drawn(source.alphabet)) for name, source in SOURCES.items()]
    jobs.file("secrets.json", json.dumps([secret for _, secret in drawn_secrets]))
    blocks = [
        BLOCK.format(
            number=number,
            statement=source.statement.replace("@LITERAL@", drawn_secrets[number][1]).replace("\n", "\n    "),
        )
        for number, source in enumerate(SOURCES.values())
    ]
    (jobs.directory / "attack.py").write_text(JOB + "".join(blocks) + "flush(60)\n", "utf-8")
    return drawn_secrets


def run_attack(jobs: Jobs, environ: dict[str, str]) -> Finished:
    """Run the job with all sources."""
    return jobs.run((jobs.directory / "attack.py").read_text("utf-8"), {**environ, **AIRFLOW_ENV}, name="attack.py")


def test_enough_sources() -> None:
    """The table has at least 31 sources."""
    assert len(SOURCES) >= 31


def test_delivered(receiver: Receiver, jobs: Jobs) -> None:
    """No credential of any source is in an event, in a log line, or in a message of a library at DEBUG."""
    secrets = attack(jobs)
    script = jobs.directory / "attack.py"
    script.write_text("import logging\nlogging.basicConfig(level=logging.DEBUG)\n" + script.read_text("utf-8"), "utf-8")
    finished = run_attack(jobs, {**receiver.environ, "OPENLINEAGE_POD_FLUSH_TIMEOUT": "60"})
    assert finished.returncode == 0, finished.stderr
    assert len(receiver.events()) == 2 * len(SOURCES)
    assert not any(
        "*" in entry["namespace"] + entry["name"] for event in receiver.events() for entry in event["inputs"]
    )
    assert_discreet(secrets, outputs(finished, receiver))


@pytest.mark.slow
@pytest.mark.parametrize("status", [0, 422, 503])
def test_spooled(status: int, receiver: Receiver, jobs: Jobs, tmp_path: Path) -> None:
    """No credential is in the spool, nor in rejected/, nor in the quoted answer of a backend that echoes the event."""
    secrets = attack(jobs)
    echo = "; ".join(f"bad password={secret}" for _, secret in secrets[:3] if secret.isalnum())
    receiver.script({"status": status, "body": echo} if status else {"action": "reset"})
    spool = tmp_path / "spool"
    environ = {**receiver.environ, "OPENLINEAGE_POD_SPOOL_DIR": str(spool), "OPENLINEAGE_POD_FLUSH_TIMEOUT": "5"}
    finished = run_attack(jobs, environ)
    assert finished.returncode == 0, finished.stderr
    files = [path for path in spool.rglob("*") if path.is_file()]
    assert len(files) >= len(SOURCES)
    assert_discreet(secrets, outputs(finished, receiver, spool))


@pytest.mark.slow
def test_printed(jobs: Jobs) -> None:
    """No credential is in the last-resort lines of a job without a backend."""
    secrets = attack(jobs)
    finished = run_attack(jobs, {"OPENLINEAGE_URL": "http://127.0.0.1:1", "OPENLINEAGE_POD_FLUSH_TIMEOUT": "5"})
    assert finished.returncode == 0, finished.stderr
    assert len(finished.printed) == 2 * len(SOURCES)
    assert_discreet(secrets, outputs(finished))


QUOTING = """
import sys
from openlineage_pod import lineage_run
with lineage_run("job") as run:
    run.add_run_facet("own", {"text": sys.stdin.readline()})
"""


def _config(jobs: Jobs, receiver: Receiver, secret: str) -> dict[str, str]:
    children = [{"type": "http", "url": receiver.url, "custom_headers": {"X-Api-Key": secret}}]
    config = {"transport": {"type": "composite", "transports": children}}
    return {"OPENLINEAGE_CONFIG": str(jobs.file("lineage.yml", json.dumps(config)))}


def _key_file(jobs: Jobs, receiver: Receiver, secret: str) -> dict[str, str]:
    return {**receiver.environ, "OPENLINEAGE_API_KEY_FILE": str(jobs.file("key", secret))}


CONFIGURED: dict[str, Callable[[Jobs, Receiver, str], dict[str, str]]] = {
    "API key": lambda _jobs, receiver, secret: {**receiver.environ, "OPENLINEAGE_API_KEY": secret},
    "URL": lambda _jobs, receiver, secret: {
        "OPENLINEAGE_URL": receiver.url.replace("://", f"://etl:{quote(secret, safe='')}@")
    },
    "proxy": lambda _jobs, receiver, secret: {**receiver.environ, "https_proxy": f"http://etl:{secret}@proxy:3128"},
    "openlineage.yml": _config,
    "key file": _key_file,
    "Datadog": lambda _jobs, receiver, secret: {**receiver.environ, "DD_API_KEY": secret},
    "AWS": lambda _jobs, receiver, secret: {**receiver.environ, "AWS_SECRET_ACCESS_KEY": secret},
    "declared inputs": lambda _jobs, receiver, secret: {
        **receiver.environ,
        "OPENLINEAGE_POD_INPUTS": json.dumps([f"postgres://etl:{quote(secret, safe='')}@w:5432/crm.public.a"]),
    },
    "declared inputs, malformed": lambda _jobs, receiver, secret: {
        **receiver.environ,
        "OPENLINEAGE_POD_INPUTS": f'["postgres://etl:{quote(secret, safe="")}@w:5432/crm.public.a"',
    },
    "namespace": lambda _jobs, receiver, secret: {
        **receiver.environ,
        "OPENLINEAGE_API_KEY": secret,
        "OPENLINEAGE_NAMESPACE": secret,
        "OPENLINEAGE_POD_FLUSH_TIMEOUT": secret,
    },
}


@pytest.mark.parametrize(
    ("status", "source"),
    fast(
        [(status, source) for status in (201, 401) for source in CONFIGURED],
        *((401, source) for source in CONFIGURED),
        (201, "API key"),
        (201, "openlineage.yml"),
    ),
)
def test_configured(source: str, status: int, receiver: Receiver, jobs: Jobs, tmp_path: Path) -> None:
    """A configured credential that the job or the backend quotes is in no event, file or line."""
    secret = drawn("word" if source == "namespace" else "config")
    if not source.startswith("declared"):
        receiver.script({"status": status, "body": f"no such key: {secret}, {html.escape(secret)}"})
    environ = {
        "OPENLINEAGE_POD_FLUSH_TIMEOUT": "20" if status == 201 else "2",
        "OPENLINEAGE_POD_SPOOL_DIR": str(tmp_path / "spool"),
        **CONFIGURED[source](jobs, receiver, secret),
        **AIRFLOW_ENV,
    }
    job = jobs.start(QUOTING, environ)
    receiver.requests(at_least=1)
    finished = job.finish(b"of a job\n" if source.startswith("declared") else f"quoted: {secret}\n".encode())
    assert finished.returncode == 0, finished.stderr
    assert_discreet([(source, secret)], outputs(finished, receiver, tmp_path / "spool"))


def test_rotated_key_file(receiver: Receiver, jobs: Jobs, tmp_path: Path) -> None:
    """The key before and the key after a rotation are masked in events and in quoted answers."""
    before, after = drawn("word"), drawn("word")
    key = jobs.file("key", before)
    receiver.script({"status": 401, "body": f"no such key: {before}, {after}"})
    environ = {
        **receiver.environ,
        "OPENLINEAGE_API_KEY_FILE": str(key),
        "OPENLINEAGE_POD_FLUSH_TIMEOUT": "20",
        "OPENLINEAGE_POD_SPOOL_DIR": str(tmp_path / "spool"),
    }
    job = jobs.start(QUOTING, environ)
    receiver.requests(at_least=1)
    replacement = jobs.file("key.tmp", after)
    replacement.rename(key)
    wait_until(
        lambda: receiver.requests()[-1]["headers"].get("authorization") == f"Bearer {after}", "the new key is used"
    )
    receiver.script({"status": 201, "body": ""})
    finished = job.finish(f"{before} and {after}\n".encode())
    assert finished.returncode == 0
    assert types(receiver.events()) == ["START", "COMPLETE"]
    assert_discreet([("before", before), ("after", after)], outputs(finished, receiver, tmp_path / "spool"))


UNESCAPED = ("", "/", "?x", "#", "@", "/x@", ":")
PROXIES = ("http_proxy", "HTTP_PROXY", "ALL_PROXY", "all_proxy")


@pytest.mark.parametrize(
    ("variable", "characters"),
    fast(
        [(variable, characters) for variable in PROXIES for characters in UNESCAPED],
        ("http_proxy", "/x@"),
        ("ALL_PROXY", "/x@"),
    ),
)
def test_proxy(variable: str, characters: str, jobs: Jobs) -> None:
    """The password of a proxy is in no line, whatever character of it is not encoded and whatever the proxy says."""
    secret = f"{drawn('word')}{characters}{drawn('word')}"
    with on_a_thread(Proxy("status", status=407)) as proxy:
        environ = {
            "OPENLINEAGE_URL": "http://marquez.invalid:5000",
            variable: f"http://etl:{secret}@{proxy.address}",
            "NO_PROXY": "",
            "OPENLINEAGE_POD_FLUSH_TIMEOUT": "1",
        }
        finished = jobs.run(QUOTING, environ, stdin=f"of {secret}\n".encode())
    assert finished.returncode == 0
    assert len(finished.log) >= 1
    assert_discreet([("proxy", secret)], outputs(finished))


@pytest.mark.parametrize("status", [301, 303, 307, 308])
def test_redirect(status: int, receiver: Receiver, jobs: Jobs) -> None:
    """A credential in the location of a redirect is in no line."""
    secret, key = drawn("word"), drawn("word")
    location = f"http://etl:{secret}@other.invalid/login?token={secret}&key={key}"
    receiver.script({"status": status, "headers": {"Location": location}})
    environ = {**receiver.environ, "OPENLINEAGE_API_KEY": key, "OPENLINEAGE_POD_FLUSH_TIMEOUT": "2"}
    finished = jobs.run(QUOTING, environ, stdin=b"x\n")
    assert finished.returncode == 0
    assert_discreet([("location", secret), ("key", key)], outputs(finished, receiver))


COMMAND = """
import json, os, sys
s = sys.stdin.readline().strip()
with open(os.environ["OPENLINEAGE_POD_REPORT"], "a") as file:
    print(json.dumps({"input": f"postgres://etl:{s}@warehouse:5432/crm.public.a"}), file=file)
    print(json.dumps({"output": "s3://lake/a", "facets": {"own": {"password": s}}}), file=file)
    print(json.dumps({"runFacet": {"own": {"text": f"password={s}"}}}), file=file)
    print(f'{{"output": "postgres://etl:{s}@warehouse', file=file)
    print(json.dumps({"output": f"warehouse password={s}"}), file=file)
sys.exit(3)
"""


def test_command(receiver: Receiver, jobs: Jobs, tmp_path: Path) -> None:
    """No credential in the metadata file of a command, nor among its arguments, leaves the wrapper."""
    secret, argument = drawn("word"), drawn("word")
    script = jobs.file("command.py", COMMAND)
    environ = {**receiver.environ, "OPENLINEAGE_POD_FLUSH_TIMEOUT": "20", "TMPDIR": str(tmp_path)}
    job = jobs.launch(wrapped("python", str(script), f"--password={argument}"), environ)
    finished = job.finish(f"{secret}\n".encode())
    assert finished.returncode == 3
    assert types(receiver.events()) == ["START", "FAIL"]
    assert_discreet([("file", secret), ("argument", argument)], outputs(finished, receiver))


def test_command_that_cannot_be_started(receiver: Receiver, jobs: Jobs) -> None:
    """A credential in the name of a command that does not exist is in no line of ours and in no event."""
    secret = drawn("word")
    environ = {**receiver.environ, "OPENLINEAGE_POD_FLUSH_TIMEOUT": "20"}
    finished = jobs.launch(wrapped(f"postgres://etl:{secret}@h/load"), environ).finish(b"")
    assert finished.returncode == 127
    assert_discreet([("command", secret)], outputs(finished, receiver))


# --- the forms alone, with many more credentials

FORMS: dict[str, tuple[str, str]] = {
    "URL": ("url", "no route to postgresql://etl:{}@warehouse:5432/crm?x=1"),
    "quoted URL": ("url", "no route to 'postgresql://etl:{}@warehouse:5432/crm'"),
    "Oracle": ("url", "jdbc:oracle:thin:scott/{}@ora:1521/ORCL"),
    "setting": ("config", "password={} host=x"),
    "setting at the end": ("config", "api_key: {}"),
    "option": ("config", "load --client-secret {} --x"),
    "option with =": ("config", "load --db-token={} --x"),
    "user and host": ("word", "etl:{}@warehouse"),
    "cut URL": ("word", "bad value 'postgresql://etl:{}...'"),
    "header": ("word", "Authorization: Bearer {}"),
    "SQL": ("word", "create role x login password '{}'"),
}


@pytest.mark.parametrize("form", FORMS)
def test_forms(form: str) -> None:
    """Of 300 random credentials none is left over in a text of this form."""
    alphabet, text = FORMS[form]
    subject = Secrets()
    for _ in range(300):
        secret = drawn(alphabet)
        assert_discreet([(form, secret)], {"text": subject.text(text.format(secret))})


@pytest.mark.parametrize("dump", [repr, json.dumps, lambda value: json.dumps(json.dumps(value)), str])
def test_dumped_settings(dump: object) -> None:
    """Of 300 random credentials none is left over in a dictionary that was dumped into a message."""
    subject = Secrets()
    for _ in range(300):
        secret = drawn("quoted")
        text = dump({"user": "etl", "password": secret, "port": 1})  # type: ignore[operator]
        shown = subject.text(f"refused: {text} at once")
        assert_discreet([("dump", secret)], {"text": shown})
        assert shown.endswith("at once"), shown
