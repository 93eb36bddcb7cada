"""Warnings on stderr: shown once, by whoever is responsible, and never at the cost of the job."""

from __future__ import annotations

import io
import logging
import os
import subprocess
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from openlineage_pod._stderr import BoundedHandler, write_stderr
from tests.support.constants import ROOT
from tests.support.waiting import at_most

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PROJECT = str(ROOT)


@contextmanager
def pipe_as_stderr(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """Put a pipe in the place of stderr, and give its reading end."""
    reading, writing = os.pipe()
    try:
        with os.fdopen(writing, "w") as stderr:
            monkeypatch.setattr(sys, "__stderr__", stderr)
            monkeypatch.setattr(sys, "stderr", stderr)
            yield reading
            monkeypatch.undo()
    finally:
        os.close(reading)


def python(source: str, stderr: int = subprocess.PIPE) -> subprocess.CompletedProcess[str]:
    """Run a program that knows this package."""
    environ = {**os.environ, "PYTHONPATH": PROJECT}
    return subprocess.run(
        [sys.executable, "-c", source],
        env=environ,
        stdout=subprocess.PIPE,
        stderr=stderr,
        text=True,
        timeout=60,
        check=False,
    )


def test_all_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """A text is written whole, in ASCII, and that is told."""
    with pipe_as_stderr(monkeypatch) as reading:
        assert write_stderr("naïve ✓\n", time.monotonic() + 10)
        assert os.read(reading, 100) == b"na\\xefve \\u2713\n"


def test_more_than_a_pipe_holds(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A text larger than the pipe arrives whole if somebody reads it."""
    target = tmp_path / "read"
    with target.open("wb") as file, pipe_as_stderr(monkeypatch) as reading:
        reader = subprocess.Popen(["cat"], stdin=reading, stdout=file)
        assert write_stderr("x" * 1_000_000, time.monotonic() + 30)
    assert reader.wait(30) == 0
    assert target.stat().st_size == 1_000_000


@pytest.mark.serial
def test_full_pipe(monkeypatch: pytest.MonkeyPatch) -> None:
    """A full pipe that nobody reads costs the time until the deadline and no more, and is told."""
    with pipe_as_stderr(monkeypatch) as _reading:
        started = time.monotonic()
        assert not write_stderr("x" * 1_000_000, started + 0.2)
        assert 0.2 <= time.monotonic() - started < at_most()
        assert not write_stderr("x", time.monotonic() - 1)


def test_reader_that_has_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    """A broken pipe is told, not raised."""
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as stderr:
        monkeypatch.setattr(sys, "__stderr__", stderr)
        assert not write_stderr("text\n", time.monotonic() + 1)
        monkeypatch.undo()


def test_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A file as stderr takes everything at once, also past the deadline of a poll."""
    with (tmp_path / "stderr").open("w") as stderr:
        monkeypatch.setattr(sys, "__stderr__", stderr)
        assert write_stderr("x" * 1_000_000, time.monotonic() + 10)
        monkeypatch.undo()
    assert (tmp_path / "stderr").stat().st_size == 1_000_000


@pytest.fixture
def log() -> Iterator[logging.Logger]:
    """Return a logger of the test's own, with our handler, below one that stands for the job's root logger."""
    # Not from getLogger(): pytest's own handlers hang above those.
    above = logging.Logger("job")  # noqa: LOG001
    logger = logging.Logger("job.lineage")  # noqa: LOG001
    logger.parent = above
    handler = BoundedHandler(logger)
    logger.addHandler(handler)
    yield logger
    logger.removeHandler(handler)


def test_shown_without_handlers_of_the_job(log: logging.Logger, capfd: pytest.CaptureFixture[str]) -> None:
    """In a job that configured no logging a warning is one line on stderr, and information is none."""
    log.info("information")
    log.warning("a warning of %s", "ours")
    assert capfd.readouterr() == ("", "job.lineage: a warning of ours\n")


@pytest.mark.parametrize("where", ["own", "above"])
def test_silent_beside_a_handler_of_the_job(where: str, log: logging.Logger, capfd: pytest.CaptureFixture[str]) -> None:
    """Where the job has a handler, on this logger or above it, that one shows the warning and ours does not."""
    assert log.parent is not None
    shown = io.StringIO()
    (log if where == "own" else log.parent).addHandler(logging.StreamHandler(shown))
    log.warning("once")
    assert (shown.getvalue(), capfd.readouterr().err) == ("once\n", "")


def test_handler_that_is_not_reached(log: logging.Logger, capfd: pytest.CaptureFixture[str]) -> None:
    """A handler above a logger that does not propagate shows nothing, so ours does."""
    assert log.parent is not None
    log.parent.addHandler(logging.StreamHandler(io.StringIO()))
    log.propagate = False
    log.warning("once")
    assert capfd.readouterr().err == "job.lineage: once\n"


def test_replaced_stderr(log: logging.Logger, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the job has put in the place of `sys.stderr` gets the warning."""
    replacement = io.StringIO()
    monkeypatch.setattr(sys, "stderr", replacement)
    log.warning("text")
    assert replacement.getvalue() == "job.lineage: text\n"


@pytest.mark.serial
def test_warning_into_a_full_pipe(log: logging.Logger, monkeypatch: pytest.MonkeyPatch) -> None:
    """A warning that nobody reads does not hold up the job."""
    with pipe_as_stderr(monkeypatch) as _reading:
        write_stderr("x" * 1_000_000, time.monotonic())
        started = time.monotonic()
        log.warning("x" * 100_000)
        assert time.monotonic() - started < at_most()


WARNS = """
import logging, sys
{before}
from openlineage_pod._guard import logger
from tests.support.constants import ROOT
logger.warning("the %s", "warning")
print("the job goes on")
"""


@pytest.mark.parametrize(
    ("before", "stderr"),
    [
        ("", "openlineage_pod: the warning\n"),
        ("logging.basicConfig()", "WARNING:openlineage_pod:the warning\n"),
        ("logging.getLogger('openlineage_pod').setLevel('ERROR')", ""),
        ("logging.getLogger().addHandler(logging.NullHandler())", ""),
    ],
    ids=["nothing", "basicConfig", "level", "NullHandler"],
)
def test_in_a_job(before: str, stderr: str) -> None:
    """A whole process shows a warning once, in the way that its logging configuration says."""
    finished = python(WARNS.format(before=before))
    assert (finished.returncode, finished.stdout, finished.stderr) == (0, "the job goes on\n", stderr)


@pytest.mark.parametrize(
    "before",
    [
        "sys.stderr.close()",
        "sys.stderr = None",
        "sys.stderr = sys.__stderr__ = None",
        "import os; os.close(2)",
        "import io; sys.stderr = io.StringIO(); sys.stderr.close()",
    ],
)
def test_job_without_stderr(before: str) -> None:
    """A job that has closed or removed its stderr goes on."""
    finished = python(WARNS.format(before=before))
    assert (finished.returncode, finished.stdout) == (0, "the job goes on\n")
