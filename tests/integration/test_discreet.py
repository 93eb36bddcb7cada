"""Promise 6: no credential appears anywhere, and the environment stays as the user made it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.support.constants import AIRFLOW_ENV
from tests.support.examples import fast
from tests.support.harness import types

if TYPE_CHECKING:
    from tests.support.harness import Jobs, Receiver

KEY = "k3y-of-the-tenant"
JOB = """
from openlineage_pod import lineage_run
with lineage_run("job"):
    pass
"""


@pytest.mark.parametrize("kind", ["", "async_http", "composite"])
def test_the_environment_of_the_process_is_unchanged(kind: str, receiver: Receiver, jobs: Jobs) -> None:
    """After events were sent, `os.environ` and a child's environment are what they were before."""
    environ = {**receiver.environ, "OPENLINEAGE_API_KEY": KEY, "OPENLINEAGE_ENDPOINT": "api/v1/lineage"}
    if kind:
        environ["OPENLINEAGE__TRANSPORT__TYPE"] = kind
    finished = jobs.run(
        """
        import json, os, subprocess, sys
        dump = [sys.executable, "-c", "import json, os; print(json.dumps(dict(os.environ)))"]
        before, child_before = dict(os.environ), json.loads(subprocess.check_output(dump))
        from openlineage_pod import flush, lineage_run
        with lineage_run("job") as run:
            report = flush(20)
            given = run.child_env()
        assert flush(20).delivered == 2, flush()
        assert dict(os.environ) == before
        assert json.loads(subprocess.check_output(dump)) == child_before
        print(sorted(name for name in given if name not in before))
        """,
        {**environ, **AIRFLOW_ENV},
    )
    assert finished.returncode == 0, finished.stderr
    assert "TRANSPORT" not in finished.stdout
    assert types(receiver.events()) == ["START", "COMPLETE"]


def key_as(how: str, receiver: Receiver, jobs: Jobs) -> dict[str, str]:
    """Return an environment that gives the key in one of the ways that openlineage-python knows."""
    if how == "variable":
        return {"OPENLINEAGE_URL": receiver.url, "OPENLINEAGE_API_KEY": KEY}
    auth = {"type": "api_key", "apiKey": KEY}
    if how == "dynamic":
        prefix = "OPENLINEAGE__TRANSPORT__"
        return {f"{prefix}TYPE": "http", f"{prefix}URL": receiver.url, f"{prefix}AUTH": json.dumps(auth)}
    config = {"transport": {"type": "http", "url": receiver.url, "auth": auth}}
    # JSON is YAML.
    return {"OPENLINEAGE_CONFIG": str(jobs.file("lineage.yml", json.dumps(config)))}


@pytest.mark.parametrize(
    ("status", "how"),
    fast(
        [(status, how) for status in (201, 401, 503) for how in ("variable", "dynamic", "file")],
        (201, "variable"),
        (401, "dynamic"),
    ),
)
def test_the_key_goes_to_the_backend_and_nowhere_else(status: int, how: str, receiver: Receiver, jobs: Jobs) -> None:
    """The key is sent as Bearer; a backend that echoes it in its refusal does not get it into the log either."""
    receiver.script({"status": status, "body": f"bad token: Bearer {KEY}"})
    environ = {**key_as(how, receiver, jobs), "OPENLINEAGE_POD_FLUSH_TIMEOUT": "2", **AIRFLOW_ENV}
    job = jobs.start(JOB.replace("pass", "input()"), environ)
    receiver.requests(at_least=1)
    finished = job.finish(b"\n")
    requests = receiver.requests()
    assert {request["headers"]["authorization"] for request in requests} == {f"Bearer {KEY}"}
    assert KEY not in "".join(request["body"] for request in requests)
    assert KEY not in finished.stdout + finished.stderr
    if status != 201:
        assert str(status) in finished.stderr


def test_the_key_is_not_in_the_messages_of_debug_logging(receiver: Receiver, jobs: Jobs) -> None:
    """Also with all loggers at DEBUG, and with everything that has a repr shown, the key stays out."""
    finished = jobs.run(
        """
        import logging
        logging.basicConfig(level=logging.DEBUG)
        from openlineage_pod import current_run, flush, lineage_run
        from openlineage_pod.core.runtime import runtime
        with lineage_run("job") as run:
            print(run, current_run(), runtime().settings, runtime().delivery, flush(20))
        """,
        key_as("variable", receiver, jobs),
    )
    assert KEY not in finished.stdout + finished.stderr
    assert types(receiver.events()) == ["START", "COMPLETE"]


PASSWORDS = ("hunter2", "hun/ter2", "hun@ter2", "hun ter2", "hun?ter2#x")
MALFORMED = (
    "http://user:{}@127.0.0.1:port",
    "http://user:{}@127.0.0.1:1",
    "http://user:{}@[",
    "user:{}@127.0.0.1",
    "ftp://user:{}@127.0.0.1",
    "http://:{}@",
)


@pytest.mark.parametrize(
    ("url", "password"),
    fast(
        [(url, password) for url in MALFORMED for password in PASSWORDS],
        *((MALFORMED[0], password) for password in PASSWORDS),
        *((url, "hun?ter2#x") for url in MALFORMED),
    ),
)
def test_a_malformed_url_does_not_show_its_password(url: str, password: str, jobs: Jobs) -> None:
    """Whatever is wrong with a URL that has a password, the warning shows no part of the password."""
    finished = jobs.run(JOB, {"OPENLINEAGE_URL": url.format(password), "OPENLINEAGE_POD_FLUSH_TIMEOUT": "1"})
    assert finished.returncode == 0
    assert finished.log
    assert "hun" not in finished.stderr
    assert "ter2" not in finished.stderr


@pytest.mark.slow
@pytest.mark.parametrize("value", [f'{{"type": "api_key", "apiKey": "{KEY}"', f'"{KEY}"', f'["{KEY}"]', KEY])
def test_a_malformed_auth_does_not_show_the_key(value: str, receiver: Receiver, jobs: Jobs) -> None:
    """A slip in the configuration of the key does not put the key into the warning about it."""
    prefix = "OPENLINEAGE__TRANSPORT__"
    environ = {f"{prefix}TYPE": "http", f"{prefix}URL": receiver.url, f"{prefix}AUTH": value}
    finished = jobs.run(JOB, {**environ, "OPENLINEAGE_POD_FLUSH_TIMEOUT": "1"})
    assert finished.returncode == 0
    assert KEY not in finished.stdout + finished.stderr


@pytest.mark.parametrize("key", [f"{KEY}\n", f" {KEY}", f"{KEY}\r\nX-Other: 1", f"{KEY}é", f"{KEY}\udcff"])
def test_a_key_that_is_no_header_does_not_show(key: str, receiver: Receiver, jobs: Jobs) -> None:
    """A key that cannot be sent, as one with the line break of its file, is a warning without the key."""
    finished = jobs.run(JOB, {**receiver.environ, "OPENLINEAGE_API_KEY": key, "OPENLINEAGE_POD_FLUSH_TIMEOUT": "1"})
    assert finished.returncode == 0
    assert KEY not in finished.stdout + finished.stderr
    assert types(receiver.events()) in (["START", "COMPLETE"], [])


def test_a_malformed_configuration_file_does_not_show_the_key(jobs: Jobs) -> None:
    """The complaint about a file that is no YAML shows nothing of its content."""
    config = jobs.file("lineage.yml", f"transport:\n  type: http\n  auth: {{type: api_key, apiKey: '{KEY}\n")
    finished = jobs.run(JOB, {"OPENLINEAGE_CONFIG": str(config), "OPENLINEAGE_POD_FLUSH_TIMEOUT": "30"})
    assert finished.returncode == 0
    assert KEY not in finished.stdout + finished.stderr
    assert types(finished.printed) == ["START", "COMPLETE"]
    assert "OPENLINEAGE_CONFIG" in finished.stderr
