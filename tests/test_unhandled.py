"""Blocks that are entered and left by hand: an error that nobody handled in between is the end of the run."""

from __future__ import annotations

import sys
import threading
from typing import TYPE_CHECKING

import pytest

from openlineage_pod import lineage_run
from tests.support.harness import types

if TYPE_CHECKING:
    from openlineage_pod.testing import Recorded
    from tests.support.harness import Jobs, Receiver


@pytest.fixture
def fail(monkeypatch: pytest.MonkeyPatch) -> object:
    """Return a function that does what a shell does after a statement or cell that fails."""
    monkeypatch.setattr(sys, "ps1", ">>> ", raising=False)
    monkeypatch.setattr(sys, "last_value", ValueError("of an earlier cell"), raising=False)

    def fail(error: BaseException) -> None:
        try:
            raise error
        except BaseException as raised:
            monkeypatch.setattr(sys, "last_value", raised)

    return fail


@pytest.mark.parametrize(
    ("error", "state"),
    [
        (KeyError("x"), "FAIL"),
        (SystemExit(3), "FAIL"),
        (SystemExit(0), "COMPLETE"),
        (KeyboardInterrupt(), "ABORT"),
        (None, "COMPLETE"),
    ],
    ids=repr,
)
def test_cell_that_fails_in_between(error: BaseException | None, state: str, fail: object, recorded: Recorded) -> None:
    """A run that one cell enters and another one leaves ends as a cell in between did."""
    assert callable(fail)
    scope = lineage_run("ingest")
    scope.__enter__()
    if error is not None:
        fail(error)
    scope.__exit__(None, None, None)
    end = recorded.events[-1]
    assert end["eventType"] == state
    if state == "FAIL":
        assert "test_unhandled.py" in end["run"]["facets"]["errorMessage"]["stackTrace"]


def test_own_error_says_more(fail: object, recorded: Recorded) -> None:
    """A block that is left by an error ends with that one."""
    assert callable(fail)
    with pytest.raises(KeyError), lineage_run("ingest"):
        fail(ValueError("of a cell"))
        raise KeyError("own")
    assert recorded.events[-1]["run"]["facets"]["errorMessage"]["message"] == "KeyError: 'own'"


def test_other_threads_do_not_fail_with_a_cell(fail: object, recorded: Recorded) -> None:
    """A run of another thread has nothing to do with the cells."""
    assert callable(fail)
    entered, failed = threading.Event(), threading.Event()

    def work() -> None:
        with lineage_run("ingest"):
            entered.set()
            failed.wait()

    thread = threading.Thread(target=work)
    thread.start()
    entered.wait()
    fail(KeyError())
    failed.set()
    thread.join()
    assert types(recorded.events) == ["START", "COMPLETE"]


def test_a_program_that_is_not_interactive(monkeypatch: pytest.MonkeyPatch, recorded: Recorded) -> None:
    """Outside a shell a block ends as its body does, whatever a test runner has noted of another error."""
    monkeypatch.delattr(sys, "ps1", raising=False)
    with lineage_run("ingest"):
        monkeypatch.setattr(sys, "last_value", KeyError(), raising=False)
    assert types(recorded.events) == ["START", "COMPLETE"]


ENTERED = """
from openlineage_pod import lineage_run
scope = lineage_run("ingest")
scope.__enter__()
"""


@pytest.mark.parametrize(
    ("rest", "state", "message"),
    [
        ("raise KeyError('x')", "FAIL", "KeyError: 'x'"),
        ("raise KeyboardInterrupt", "ABORT", "KeyboardInterrupt"),
        ("", "ABORT", "the process ended before the run did"),
        ("raise SystemExit(3)", "ABORT", "the process ended before the run did"),
    ],
)
def test_script_that_ends_in_between(rest: str, state: str, message: str, receiver: Receiver, jobs: Jobs) -> None:
    """A run that a script does not leave ends with the error that ended the script, if there was one."""
    jobs.run(f"{ENTERED}{rest}\n", receiver.environ)
    (_, end) = receiver.events()
    assert (end["eventType"], end["run"]["facets"]["errorMessage"]["message"]) == (state, message)


def test_shell(receiver: Receiver, jobs: Jobs) -> None:
    """In Python's own shell a statement that fails between entering and leaving makes the run a FAIL."""
    lines = f"{ENTERED}1 / 0\nscope.__exit__(None, None, None)\n"
    job = jobs.launch([sys.executable, "-i", "-c", ""], receiver.environ)
    job.finish(lines.encode())
    (_, end) = receiver.events()
    assert end["eventType"] == "FAIL"
    assert end["run"]["facets"]["errorMessage"]["message"] == "ZeroDivisionError: division by zero"
