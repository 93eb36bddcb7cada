"""The line at exit: what was sent where, or why it was not; also where the job has silenced every logger."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.constants import AIRFLOW_ENV
from tests.support.examples import fast
from tests.support.harness import summary, types

if TYPE_CHECKING:
    from tests.support.harness import Jobs, Receiver

JOB = """
import logging, logging.config, logging.handlers, sys
from openlineage_pod import lineage_run
{before}
with lineage_run("load") as run:
    {within}
"""
SILENCING = {
    "dictConfig": "logging.config.dictConfig({'version': 1})",
    "fileConfig": "open('c.ini', 'w').write('[loggers]\\nkeys=root\\n[handlers]\\nkeys=\\n[formatters]\\nkeys=\\n"
    "[logger_root]\\nlevel=INFO\\nhandlers=\\n'); logging.config.fileConfig('c.ini')",
    "level of the root": "logging.getLogger().setLevel(logging.ERROR)",
    "level of a handler": "logging.basicConfig(); logging.getLogger().handlers[0].setLevel(logging.CRITICAL)",
    "disabled": "logging.disable(logging.CRITICAL)",
    "file": "logging.basicConfig(filename='job.log')",
    "null handler": "logging.getLogger().addHandler(logging.NullHandler())",
    "null handler of the library": "logging.getLogger('openlineage_pod').addHandler(logging.NullHandler())",
    "memory": "logging.getLogger().addHandler(logging.handlers.MemoryHandler(100))",
}
VISIBLE = {
    "no configuration": "",
    "basicConfig": "logging.basicConfig()",
    "stdout": "logging.basicConfig(stream=sys.stdout)",
    "dictConfig": "logging.config.dictConfig({'version': 1, 'disable_existing_loggers': False, 'handlers': "
    "{'c': {'class': 'logging.StreamHandler'}}, 'root': {'handlers': ['c']}})",
    "not propagated": "own = logging.getLogger('openlineage_pod'); own.handlers.clear(); own.propagate = False",
    "file of stderr": "logging.basicConfig(filename='/dev/stderr')",
}


def job(before: str = "", within: str = "pass") -> str:
    """Return a job with these lines."""
    return JOB.format(before=before, within=within)


@pytest.mark.parametrize("how", fast(SILENCING, "dictConfig", "level of the root", "disabled", "file", "memory"))
def test_a_silenced_logger(how: str, receiver: Receiver, jobs: Jobs) -> None:
    """Whatever silences our warnings, one line on stderr counts the undelivered events, and says why."""
    receiver.script({"status": 422, "body": "namespace is odd"})
    finished = jobs.run(job(SILENCING[how]), receiver.environ)
    assert types(finished.printed) == ["START", "COMPLETE"]
    assert summary(finished.log) == {"rejected": 2}
    (line,) = finished.log
    assert "422" in line
    assert "namespace is odd" in line


@pytest.mark.parametrize("how", fast(VISIBLE, "no configuration", "stdout", "not propagated"))
def test_a_visible_logger(how: str, receiver: Receiver, jobs: Jobs) -> None:
    """Where the job's logging shows our warnings, the line is there once."""
    receiver.script({"status": 422})
    finished = jobs.run(job(VISIBLE[how]), receiver.environ)
    shown = f"{finished.stdout}{finished.stderr}"
    assert shown.count("at exit not all lineage events were delivered") == 1


CAUSES = {
    "refused": ({}, "Connection refused"),
    "no transport": ({"OPENLINEAGE_URL": ""}, "no OpenLineage transport is configured"),
    "wrong transport": ({"OPENLINEAGE_URL": "htp://x"}, "no OpenLineage transport can be built from OPENLINEAGE_URL"),
}


@pytest.mark.parametrize("case", fast(CAUSES, "no transport", "wrong transport"))
def test_the_last_cause(case: str, refused: str, jobs: Jobs) -> None:
    """The line names the cause also where no backend has answered."""
    environ, cause = CAUSES[case]
    finished = jobs.run(
        job(SILENCING["dictConfig"]), {"OPENLINEAGE_URL": refused, "OPENLINEAGE_POD_FLUSH_TIMEOUT": "10", **environ}
    )
    assert summary(finished.log) == {"printed": 2}
    assert cause in finished.log[0]


def test_a_backend_without_an_answer(receiver: Receiver, jobs: Jobs) -> None:
    """The line names the backend that has given no answer, so that nobody looks for the fault in the events."""
    receiver.script({"action": "hang"})
    finished = jobs.run(job(), {**receiver.environ, "OPENLINEAGE_POD_FLUSH_TIMEOUT": "1"})
    line = finished.log[-1]
    assert f"waiting for the answer of 127.0.0.1:{receiver.port} failed: timed out" in line
    assert "at exit not all lineage events were delivered" in line


def test_no_credential_in_the_line(receiver: Receiver, jobs: Jobs) -> None:
    """A cause that quotes the key is masked, also where the line does not go through the log."""
    receiver.script({"status": 422, "body": "bad key: key-1-of-mine, password=hunter2"})
    finished = jobs.run(job(SILENCING["dictConfig"]), {**receiver.environ, "OPENLINEAGE_API_KEY": "key-1-of-mine"})
    assert "bad key: ***, password=***" in finished.stderr
    assert "key-1-of-mine" not in finished.stderr
    assert "hunter2" not in finished.stderr


def test_rejected_events_that_were_printed(receiver: Receiver, jobs: Jobs) -> None:
    """Below printed events no line says that none was printed."""
    receiver.script({"status": 400})
    finished = jobs.run(job(), receiver.environ)
    assert len(finished.printed) == 2
    assert "0 printed" not in finished.stderr
    assert "2 rejected" in finished.stderr


def test_success_is_a_line_of_the_log(receiver: Receiver, jobs: Jobs) -> None:
    """With logging at INFO one line says how many events of which job went where, and below which parent."""
    before = "logging.basicConfig(level=logging.INFO, format='%(levelname)s %(message)s', stream=sys.stdout)"
    finished = jobs.run(job(before), {**receiver.environ, **AIRFLOW_ENV})
    target = f"{receiver.url}/api/v1/lineage"
    expected = f"INFO 2 events of airflow/load → {target}, parent airflow/etl.ingest\n"
    assert (finished.stdout, finished.stderr) == (expected, "")


def test_success_is_silent(receiver: Receiver, jobs: Jobs) -> None:
    """Without logging at INFO nothing is said of success."""
    finished = jobs.run(job(), receiver.environ)
    assert (finished.stdout, finished.stderr) == ("", "")


INFORMED = {**SILENCING, "no configuration": "", "INFO": "logging.basicConfig(level=logging.INFO)"}


@pytest.mark.parametrize("how", fast(INFORMED, "dictConfig", "disabled", "no configuration", "INFO"))
def test_success_on_stderr(how: str, receiver: Receiver, jobs: Jobs) -> None:
    """With OPENLINEAGE_POD_SUMMARY=true the line is on stderr, once, whatever the logging configuration."""
    within = "\n    ".join(f"with lineage_run('step-{number}'): pass" for number in range(3))
    finished = jobs.run(job(INFORMED[how], within), {**receiver.environ, "OPENLINEAGE_POD_SUMMARY": "true"})
    assert finished.stdout == ""
    assert finished.log == [f"8 events of default/load and 3 other jobs → {receiver.url}/api/v1/lineage, no parent"]


def test_success_in_ascii(receiver: Receiver, jobs: Jobs) -> None:
    """Where stderr takes ASCII only, the line is escaped."""
    finished = jobs.run(job(), {**receiver.environ, "OPENLINEAGE_POD_SUMMARY": "true", "PYTHONIOENCODING": "ascii"})
    assert finished.log == [f"2 events of default/load \\u2192 {receiver.url}/api/v1/lineage, no parent"]


def test_no_credential_in_the_target(receiver: Receiver, jobs: Jobs) -> None:
    """Of the URL no user information is shown."""
    url = receiver.url.replace("//", "//etl:hunter2@")
    finished = jobs.run(job(), {"OPENLINEAGE_URL": url, "OPENLINEAGE_POD_SUMMARY": "true"})
    assert finished.log == [f"2 events of default/load → {receiver.url}/api/v1/lineage, no parent"]


def test_nothing_is_said_without_events(receiver: Receiver, jobs: Jobs) -> None:
    """A process without a run says nothing."""
    finished = jobs.run(
        "import openlineage_pod; openlineage_pod.flush()", {**receiver.environ, "OPENLINEAGE_POD_SUMMARY": "true"}
    )
    assert finished.stderr == ""
