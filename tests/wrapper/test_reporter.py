"""What the reporter makes of a command's end: the outcome, the termination message and the last chance."""

from __future__ import annotations

import os
import signal
import threading
import time
from typing import TYPE_CHECKING, cast

import pytest

from openlineage_pod.wrapper import plan, reporter
from openlineage_pod.wrapper.plan import RunOptions
from openlineage_pod.wrapper.supervisor import Ended, Supervisor
from tests.support.wrapping import message
from tests.wrapper.reported import Reported

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from openlineage_pod.testing import Recorded

TERM, INT, KILL, SEGV = 15, 2, 9, 11

HINT = "; a process of the container was killed by the OOM killer"
OUTCOMES = [
    # exit code (negative: the signal that killed it), stopped by, --abort-on, --complete-on, OOM; state, message
    (0, None, (), (), False, "COMPLETE", ""),
    (0, TERM, (), (), False, "COMPLETE", ""),
    (0, None, (0,), (), False, "ABORT", "the command exited with 0"),
    (7, None, (), (), False, "FAIL", "the command exited with 7"),
    (255, None, (), (), False, "FAIL", "the command exited with 255"),
    (7, TERM, (), (), False, "ABORT", "stopped by SIGTERM; the command exited with 7"),
    (7, INT, (), (), False, "ABORT", "stopped by SIGINT; the command exited with 7"),
    (-TERM, TERM, (), (), False, "ABORT", "stopped by SIGTERM; the command was killed by SIGTERM"),
    (-TERM, None, (), (), False, "FAIL", "the command was killed by SIGTERM"),
    (-SEGV, None, (), (), False, "FAIL", "the command was killed by SIGSEGV"),
    (-SEGV, TERM, (), (), False, "ABORT", "stopped by SIGTERM; the command was killed by SIGSEGV"),
    (-KILL, None, (), (), False, "FAIL", "the command was killed by SIGKILL (not by the OOM killer)"),
    (-KILL, None, (), (), None, "FAIL", "the command was killed by SIGKILL"),
    (-KILL, None, (), (), True, "FAIL", "the command was killed because it ran out of memory (OOM)"),
    (-KILL, TERM, (), (), False, "ABORT", "stopped by SIGTERM; the command was killed by SIGKILL"),
    (-KILL, TERM, (), (), True, "FAIL", "the command was killed because it ran out of memory (OOM)"),
    (-50, None, (), (), False, "FAIL", "the command was killed by signal 50"),
    (99, None, (99,), (), False, "ABORT", "the command exited with 99"),
    (99, None, (), (99,), False, "COMPLETE", ""),
    (99, None, (98, 99), (1, 2), False, "ABORT", "the command exited with 99"),
    (99, TERM, (), (99,), False, "COMPLETE", ""),
    (-KILL, None, (137,), (), False, "ABORT", "the command was killed by SIGKILL"),
    (137, None, (137,), (), False, "ABORT", "the command exited with 137"),
    # Exit codes that only look like signals: a shell whose child died, Airflow, dbt, ssh, or anything else.
    (129, None, (), (), False, "FAIL", "the command exited with 129"),
    (137, None, (), (), False, "FAIL", "the command exited with 137"),
    (138, None, (), (), None, "FAIL", "the command exited with 138"),
    (143, TERM, (), (), False, "ABORT", "stopped by SIGTERM; the command exited with 143"),
    (192, None, (), (), False, "FAIL", "the command exited with 192"),
    # A killed child explains what the command itself may not say.
    (0, None, (), (), True, "COMPLETE", ""),
    (1, None, (), (), True, "FAIL", f"the command exited with 1{HINT}"),
    (137, None, (), (), True, "FAIL", f"the command exited with 137{HINT}"),
    (-TERM, None, (), (), True, "FAIL", f"the command was killed by SIGTERM{HINT}"),
    (7, TERM, (), (), True, "ABORT", f"stopped by SIGTERM; the command exited with 7{HINT}"),
    (99, None, (99,), (), True, "ABORT", f"the command exited with 99{HINT}"),
]


def ended_with(number: int, stopped_by: int | None = None) -> Ended:
    """Return the end of a command: its exit code, or the negative number of the signal that killed it."""
    return Ended(number, stopped_by) if number >= 0 else Ended(128 - number, stopped_by, killed_by=-number)


@pytest.mark.parametrize(("number", "stopped_by", "abort_on", "complete_on", "oom", "state", "text"), OUTCOMES)
def test_outcomes(  # noqa: PLR0917  parameters of one table
    number: int,
    stopped_by: int | None,
    abort_on: Sequence[int],
    complete_on: Sequence[int],
    oom: bool | None,
    state: str,
    text: str,
) -> None:
    """Each way to end has its state and a message with the reason, by the wait status and not by the exit code."""
    options = RunOptions(abort_on=abort_on, complete_on=complete_on)
    outcome = reporter.outcome_of_command(ended_with(number, stopped_by), options, oom=oom)
    assert (outcome.state, outcome.message) == (state, text)


@pytest.mark.parametrize("code", [126, 127])
def test_outcome_of_a_command_that_could_not_be_started(code: int) -> None:
    """A command that could not be started is FAIL with the reason, whatever the options are."""
    ended = Ended(code, error="job.sh: Permission denied")
    outcome = reporter.outcome_of_command(ended, RunOptions(complete_on=(code,)), oom=False)
    assert (outcome.state, "job.sh: Permission denied" in outcome.message) == ("FAIL", True)


def test_counter_that_rises(monkeypatch: pytest.MonkeyPatch, recorded: Recorded) -> None:
    """A SIGKILL is an OOM only if the count has risen; without a count the message says nothing about memory."""
    cases = (3, 3, "(not by the OOM killer)"), (3, 4, "(OOM)"), (None, None, "by SIGKILL"), (None, 4, "by SIGKILL")
    for before, after, part in cases:
        counts = iter([before, after])
        for module in (plan, reporter):
            monkeypatch.setattr(module, "count_oom_kills", lambda counts=counts: next(counts))
        Reported().end(ended_with(-KILL))
        assert part in message(recorded.events[-1])
    assert [event["eventType"] for event in recorded.events] == ["START", "FAIL"] * len(cases)


# --- the termination message


@pytest.mark.parametrize(
    ("content", "expected"), [("", "the command exited with 7"), ("the job's own", "the job's own"), (None, None)]
)
def test_termination_log(
    content: str | None,
    expected: str | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    recorded: Recorded,
) -> None:
    """The reason of a failure is written to the termination log if that exists and is empty."""
    path = tmp_path / "termination-log"
    if content is not None:
        path.write_text(content)
    monkeypatch.setattr(reporter, "TERMINATION_LOG", str(path))
    Reported().end(Ended(7))
    assert (path.read_text() if path.exists() else None) == expected
    assert len(recorded.events) == 2


def test_termination_log_of_a_success(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recorded: Recorded) -> None:
    """A command that succeeded writes no termination message."""
    path = tmp_path / "termination-log"
    path.touch()
    monkeypatch.setattr(reporter, "TERMINATION_LOG", str(path))
    Reported().end(Ended(0))
    assert path.read_text() == ""
    assert len(recorded.events) == 2


@pytest.mark.usefixtures("recorded")
@pytest.mark.parametrize("kind", ["directory", "full", "pipe"])
def test_termination_log_that_cannot_be_written(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A termination log that cannot be written causes neither an error nor a wait."""
    path = tmp_path / "termination-log"
    if kind == "directory":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    monkeypatch.setattr(reporter, "TERMINATION_LOG", "/dev/full" if kind == "full" else str(path))
    Reported().end(Ended(7))


@pytest.mark.parametrize("letter", ["x", "ü", "🚢"])
def test_long_termination_message(letter: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At most 4096 bytes are written, and no character is cut in two."""
    path = tmp_path / "termination-log"
    path.touch()
    monkeypatch.setattr(reporter, "TERMINATION_LOG", str(path))
    reporter.write_termination_message("." + letter * 5000)
    assert 4090 < path.stat().st_size <= 4096
    assert path.read_text(encoding="utf-8").strip(".") == letter * ((path.stat().st_size - 1) // len(letter.encode()))


def test_termination_message_with_any_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recorded: Recorded
) -> None:
    """An undecodable file name prevents neither the termination message nor an event."""
    path = tmp_path / "termination-log"
    path.touch()
    monkeypatch.setattr(reporter, "TERMINATION_LOG", str(path))
    Reported().end(Ended(127, error="no-such-caf\udce9: No such file or directory"))
    assert path.read_text() == "the command could not be started: no-such-caf?: No such file or directory"
    assert [event["eventType"] for event in recorded.events] == ["START", "FAIL"]


# --- the last chance


def test_last_chance_that_is_not_taken(
    monkeypatch: pytest.MonkeyPatch, recorded: Recorded, swallowed: list[Exception]
) -> None:
    """A run whose last chance cannot start, or hangs, is reported when its command ends."""

    def no_thread(thread: threading.Thread) -> None:
        raise RuntimeError(f"can't start new thread: {thread.name}")

    class Now:
        """A supervisor whose timers are due at once."""

        def call_at(self, _deadline: float, callback: Callable[[], None]) -> None:
            """Call it."""
            with monkeypatch.context() as patched:
                if never_starts:
                    patched.setattr(threading.Thread, "start", no_thread)
                callback()

    hangs = threading.Event()
    for never_starts in (True, False):
        command = Reported()
        made = command.reporting.reporter
        assert made is not None
        if not never_starts:
            monkeypatch.setattr(reporter, "merge_metadata_file", lambda *_: hangs.wait(60))
        made.on_stop_signal(signal.SIGTERM, cast("Supervisor", Now()), 0.0)
        made.end(Ended(3, signal.SIGTERM), time.monotonic() + 0.5)
        assert recorded.events[-1]["eventType"] == "ABORT"
        command.clean_up()
    hangs.set()
    assert [type(error) for error in swallowed] == [RuntimeError]
    swallowed.clear()
    assert [event["eventType"] for event in recorded.events] == ["START", "ABORT"] * 2
