"""A job that turns warnings into errors, or asks for more of them, means its own code and not ours."""

from __future__ import annotations

import ast
import json
import signal
import sys
from typing import TYPE_CHECKING

import pytest

from tests.support.constants import ROOT
from tests.support.examples import fast
from tests.support.harness import types
from tests.support.wrapping import wrapped

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.harness import Jobs, Receiver

STRICT = {"PYTHONWARNINGS": "error", "PYTHONWARNDEFAULTENCODING": "1", "PYTHONDEVMODE": "1"}
# On a busy machine, with Python's own checks, the imports take longer than the default.
PATIENT = {"OPENLINEAGE_POD_FLUSH_TIMEOUT": "60"}
JOB = """
import sys, warnings
from openlineage_pod import lineage_run
with lineage_run("job", inputs=["s3://lake/a"], outputs=["./out.csv"]):
    try:
        warnings.warn("the job's own")
    except UserWarning:
        print("raised")
"""
TRANSPORTS = ("url", "http", "async_http", "file", "composite", "yaml", "spool", "key file")


def environ_of(transport: str, receiver: Receiver, folder: Path) -> dict[str, str]:
    """Return the environment of a job that delivers in a certain way to the receiver, or to events.jsonl."""
    http = {"type": transport if transport == "async_http" else "http", "url": receiver.url}
    to_file = {"type": "file", "log_file_path": str(folder / "events.jsonl"), "append": True}
    composite = {"type": "composite", "transports": [http, to_file]}
    (folder / "config.yml").write_text(json.dumps({"transport": http}), encoding="utf-8")
    (folder / "key").write_text("a-key-from-a-file", encoding="utf-8")
    configured = {
        "url": receiver.environ,
        "yaml": {"OPENLINEAGE_CONFIG": str(folder / "config.yml")},
        "spool": {**receiver.environ, "OPENLINEAGE_POD_SPOOL_DIR": str(folder / "spool")},
        "key file": {**receiver.environ, "OPENLINEAGE_API_KEY_FILE": str(folder / "key")},
        "file": {"OPENLINEAGE__TRANSPORT": json.dumps(to_file)},
        "composite": {"OPENLINEAGE__TRANSPORT": json.dumps(composite)},
    }
    return {**STRICT, **PATIENT, **configured.get(transport, {"OPENLINEAGE__TRANSPORT": json.dumps(http)})}


@pytest.mark.parametrize(
    ("who", "transport"),
    fast(
        [(who, transport) for who in ("sdk", "wrapper") for transport in TRANSPORTS],
        *(("sdk", transport) for transport in ("url", "async_http", "composite", "yaml", "spool")),
        ("wrapper", "url"),
        ("wrapper", "http"),
    ),
)
def test_warnings_as_errors(who: str, transport: str, receiver: Receiver, jobs: Jobs) -> None:
    """Everything is delivered, nothing is printed, and the job's own warnings are raised as it asked for."""
    environ = environ_of(transport, receiver, jobs.directory)
    script = jobs.file(
        "job.py",
        JOB if who == "sdk" else "import warnings\ntry: warnings.warn('x')\nexcept UserWarning: print('raised')",
    )
    command = [sys.executable, str(script)]
    finished = jobs.launch(command if who == "sdk" else wrapped(*command), environ).finish(timeout=120)
    assert (finished.returncode, finished.stdout, finished.stderr) == (0, "raised\n", "")
    if transport == "file":
        files = sorted(jobs.directory.glob("events.jsonl*"))
        lines = [line for file in files for line in file.read_text(encoding="utf-8").splitlines()]
        assert types([json.loads(line) for line in lines]) == ["START", "COMPLETE"]
    else:
        assert types(receiver.events()) == ["START", "COMPLETE"]


def test_environment_of_the_command(receiver: Receiver, jobs: Jobs) -> None:
    """The command under the wrapper has the same variables for warnings as without it."""
    environ = {**receiver.environ, **PATIENT, **STRICT}
    finished = jobs.launch(wrapped("env"), environ).finish(timeout=120)
    assert {f"{name}={value}" for name, value in STRICT.items()} <= set(finished.stdout.splitlines())


FILTERS = """
import warnings
before = list(warnings.filters)
from openlineage_pod import flush, lineage_run
with lineage_run("job"):
    pass
flush(60)
print(before == warnings.filters)
"""


def test_filters_of_the_job(receiver: Receiver, jobs: Jobs) -> None:
    """The filters of a job that asks for nothing special stay as they are."""
    finished = jobs.run(FILTERS, {**receiver.environ, "PYTHONWARNINGS": ""})
    assert (finished.stdout, finished.stderr) == ("True\n", "")


FILTERS_SENT = """
import copy, pickle, threading, warnings
from openlineage_pod import flush, lineage_run
with lineage_run("job"):
    pass
flush(60)
assert copy.deepcopy(warnings.filters) == pickle.loads(pickle.dumps(warnings.filters)) == warnings.filters
raised = []
def work():
    try:
        warnings.warn("the job's own")
    except UserWarning:
        raised.append(threading.current_thread().name)
for _ in range(20):  # some of them have the identity of a thread of ours that has ended
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
print(len(raised))
"""


def test_filters_that_the_job_sends_to_its_workers(receiver: Receiver, jobs: Jobs) -> None:
    """Our filter can be copied and pickled, as some libraries do, and no thread of the job is taken for ours."""
    finished = jobs.run(FILTERS_SENT, {**receiver.environ, "PYTHONWARNINGS": "error"})
    assert (finished.stdout, finished.stderr) == ("20\n", "")


def opened_as_text(tree: ast.AST) -> Iterator[ast.Call]:
    """Yield the calls that open a file as text."""
    for call in ast.walk(tree):
        if isinstance(call, ast.Call) and getattr(call.func, "id", getattr(call.func, "attr", "")) in (
            "open",
            "fdopen",
        ):
            is_descriptor = isinstance(call.func, ast.Attribute) and call.func.attr == "open"  # os.open
            modes = [argument.value for argument in call.args[1:2] if isinstance(argument, ast.Constant)]
            if not is_descriptor and not any("b" in str(mode) for mode in modes):
                yield call


def test_every_file_is_opened_with_an_encoding() -> None:
    """No file of ours depends on the locale, and none makes an EncodingWarning."""
    files = sorted((ROOT / "openlineage_pod").rglob("*.py"))
    offenders = [
        f"{file.relative_to(ROOT)}:{call.lineno}"
        for file in files
        for call in opened_as_text(ast.parse(file.read_text(encoding="utf-8")))
        if "encoding" not in [keyword.arg for keyword in call.keywords]
    ]
    assert offenders == []


@pytest.mark.parametrize("command", ["relay", "replay"])
def test_other_commands(command: str, receiver: Receiver, jobs: Jobs) -> None:
    """The commands of this package ignore warnings, too."""
    (jobs.directory / "empty").write_text("")
    environ = {**receiver.environ, **STRICT}
    if command == "replay":
        finished = jobs.launch([sys.executable, "-m", "openlineage_pod", "replay", "empty"], environ).finish(
            timeout=120
        )
        assert finished.returncode == 0
    else:
        relay = jobs.launch([sys.executable, "-m", "openlineage_pod", "relay", "spool"], environ)
        relay.signal(signal.SIGTERM)
        finished = relay.finish(timeout=120)
    assert "Warning" not in finished.stderr
