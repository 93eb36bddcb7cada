"""`openlineage-pod run`: its command line, and the thread that makes the reporter."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest

from openlineage_pod.cli import main
from openlineage_pod.wrapper import reporter
from openlineage_pod.wrapper.command import BackgroundReporter
from openlineage_pod.wrapper.plan import RunOptions, make_plan
from openlineage_pod.wrapper.supervisor import Supervisor
from tests.support.wrapping import wrapped
from tests.wrapper.reported import Reported

if TYPE_CHECKING:
    from pathlib import Path

    from openlineage_pod.testing import Recorded

# --- while the reporter is being made


def test_stop_signal_while_the_reporter_is_being_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stop signal reaches a reporter that is finished between two questions."""
    noted: list[int] = []

    class Maker:
        """The thread that makes the reporter; it ends when it is asked whether it runs."""

        ident = None

        def __init__(self, **_: Any) -> None:
            """Take the arguments of a thread."""

        def start(self) -> None:
            """Do nothing."""

        def is_alive(self) -> bool:
            reporting.reporter = reporter.Reporter.__new__(reporter.Reporter)
            return False

    monkeypatch.setattr(threading, "Thread", Maker)
    monkeypatch.setattr(reporter.Reporter, "on_stop_signal", lambda _self, number, *_: noted.append(number))
    reporting = BackgroundReporter(make_plan(["true"], RunOptions()), RunOptions())
    reporting.on_stop_signal(signal.SIGTERM, Supervisor(["true"], [{}], mask=set()))
    assert noted == [signal.SIGTERM]


def test_reporter_that_cannot_be_made(monkeypatch: pytest.MonkeyPatch, swallowed: list[Exception]) -> None:
    """The metadata file is removed at the end even if nobody reads it."""
    monkeypatch.setattr(reporter, "new_run", None)
    reported = Reported()
    assert reported.path.exists()
    reported.end()
    assert not reported.path.exists()
    assert [type(error) for error in swallowed] == [TypeError]
    swallowed.clear()


# --- the command line


USAGE_ERRORS = [
    ["run"],
    ["run", "--"],
    ["run", "true"],
    ["run", "--job-name", "x"],
    ["run", "--job-name", "--", "true"],
    ["run", "--no-such-option", "--", "true"],
    ["run", "--abort-on", "x", "--", "true"],
    ["run", "--abort-on", "1.5", "--", "true"],
    ["run", "--complete-on", "", "--", "true"],
    ["run", "--kill-after", "soon", "--", "true"],
    ["run", "--kill-after", "-1", "--", "true"],
    ["run", "--kill-after", "nan", "--", "true"],
    ["run", "--kill-after", "inf", "--", "true"],
    ["run", "extra", "--", "true"],
    ["run", "--name", "x", "--", "true"],
    ["run", "--input=a", "--outp=b", "--", "true"],
    ["relay", "--he", "a"],
    ["replay", "--dry", "a"],
    ["--vers"],
    ["relay"],
    ["relay", "a", "b"],
    ["relay", "a", "--", "true"],
    ["replay", "a", "--", "true"],
    ["--", "true"],
]


@pytest.mark.parametrize("arguments", USAGE_ERRORS, ids=" ".join)
def test_usage_errors(arguments: list[str], tmp_path: Path) -> None:
    """Wrong arguments give exit status 2 and the usage, and start nothing."""
    finished = subprocess.run(
        [sys.executable, "-m", "openlineage_pod", *arguments],
        env={**os.environ, "OPENLINEAGE_POD_FLUSH_TIMEOUT": "0", "OPENLINEAGE_URL": "http://127.0.0.1:9"},
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=20,
        check=False,
    )
    assert (finished.returncode, finished.stdout) == (2, "")
    command = [each for each in arguments[:1] if not each.startswith("-")]
    assert finished.stderr.startswith(" ".join(["usage: openlineage-pod", *command]))
    assert "Traceback" not in finished.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "meant"),
    [
        (["run", "--inputs", "s3://a/b", "--", "true"], "--input?"),
        (["run", "--outputs=s3://a/b", "--", "true"], "--output?"),
        (["run", "--signal-groups", "--", "true"], "--signal-group?"),
        (["replay", "--dryrun", "x"], "--dry-run?"),
    ],
    ids=str,
)
def test_misspelled_option(arguments: list[str], meant: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A misspelled option is refused with the usage of its command, and the option that it may mean."""
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    usage, *_, error = capsys.readouterr().err.splitlines()
    assert usage.startswith(f"usage: openlineage-pod {arguments[0]}")
    assert error.endswith(f"did you mean {meant}")


def test_option_before_its_command(capsys: pytest.CaptureFixture[str]) -> None:
    """An option in front of its command is refused with the place where it belongs."""
    with pytest.raises(SystemExit):
        main(["--summary", "run", "--", "true"])
    assert capsys.readouterr().err.endswith("unrecognized arguments: --summary; write --summary behind run\n")


@pytest.mark.parametrize(
    ("uri", "is_told"),
    [
        ("s3://lake/a,s3://lake/b", True),
        ("postgres://warehouse/crm.public.a,crm.public.b", True),
        ("./a.csv,b.csv", True),
        ("/srv/a,/srv/b", True),
        ("mssql://h:1433/db.s.a,", True),
        ("kafka://b1:9092,b2:9092/orders", False),
        ("s3://lake/a", False),
    ],
)
def test_comma_in_a_dataset(uri: str, is_told: bool, recorded: Recorded, caplog: pytest.LogCaptureFixture) -> None:
    """A comma in --input or --output is a warning that shows how to name several datasets; nothing is split."""
    reported = Reported(RunOptions(inputs=[uri], outputs=[uri]))
    reported.end()
    told = [line for line in caplog.messages if "repeat the option" in line]
    expected = ["--input A --input B", "--output A --output B"] if is_told else []
    assert [line.partition("repeat the option: ")[2] for line in told] == expected
    assert max(len(event[side]) for event in recorded.events for side in ("inputs", "outputs")) == 1


def test_help_of_run(tmp_path: Path) -> None:
    """`run --help` lists every option."""
    command = [sys.executable, "-m", "openlineage_pod", "run", "--help"]
    finished = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=20, check=False)
    assert (finished.returncode, finished.stderr) == (0, "")
    for option in (
        "--job-name",
        "--input",
        "--output",
        "--abort-on",
        "--complete-on",
        "--signal-group",
        "--kill-after",
        "--summary",
    ):
        assert option in finished.stdout


@pytest.mark.parametrize(
    ("option", "variable", "expected"),
    [(True, None, True), (False, None, False), (False, "true", True), (True, "false", True)],
)
def test_summary(option: bool, variable: str | None, expected: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """`--summary` sets what OPENLINEAGE_POD_SUMMARY sets, for this process and not for the command."""
    monkeypatch.delenv("OPENLINEAGE_POD_SUMMARY", raising=False)
    if variable is not None:
        monkeypatch.setenv("OPENLINEAGE_POD_SUMMARY", variable)
    plan = make_plan(["true"], RunOptions(summary=option))
    os.unlink(plan.metadata_file)  # noqa: PTH108  as its maker does
    assert plan.settings.summary is expected
    assert plan.environs[0].get("OPENLINEAGE_POD_SUMMARY") == variable


def test_the_command_keeps_its_arguments(tmp_path: Path) -> None:
    """The command gets everything after the first --, even our own options, another -- and undecodable bytes."""
    arguments = [b"--", b"--help", b"--job-name", b"", b"two words", b"caf\xe9", b"-x", "ü".encode()]
    show = [sys.executable, "-I", "-S", "-c", "import os, sys; print([os.fsencode(a) for a in sys.argv[1:]])"]
    finished = subprocess.run(
        [*wrapped(*show), *arguments],
        env={**os.environ, "OPENLINEAGE_DISABLED": "true"},
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=20,
        check=False,
    )
    assert (finished.returncode, finished.stderr) == (0, "")
    assert finished.stdout == f"{arguments}\n"


def test_strict(tmp_path: Path) -> None:
    """In strict mode a wrong setting is one clear line, and the command does not start."""
    environ = {**os.environ, "OPENLINEAGE_POD_STRICT": "true", "OPENLINEAGE_POD_FLUSH_TIMEOUT": "soon"}
    finished = subprocess.run(
        wrapped("touch", "started"), env=environ, capture_output=True, text=True, cwd=tmp_path, timeout=20, check=False
    )
    assert (finished.returncode, finished.stdout) == (2, "")
    assert "OPENLINEAGE_POD_FLUSH_TIMEOUT" in finished.stderr
    assert "Traceback" not in finished.stderr
    assert list(tmp_path.iterdir()) == []
