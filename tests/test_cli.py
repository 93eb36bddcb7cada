"""The command `openlineage-pod`, as a process of its own: arguments, streams, exit status."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from openlineage_pod.cli import main
from openlineage_pod.events.facets import __version__
from tests.support.constants import ROOT
from tests.support.files import names
from tests.support.replaying import Setting, event, lines

if TYPE_CHECKING:
    from collections.abc import Mapping

PROJECT = str(ROOT)
COMMAND = [sys.executable, "-m", "openlineage_pod"]


def environ_of(setting: Setting, further: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment of a command that reports to the backend, if it is not told otherwise."""
    own = {"PYTHONPATH": PROJECT, "HOME": str(setting.folder), "NO_PROXY": "127.0.0.1", **setting.receiver.environ}
    return {**os.environ, **own, **(further or {})}


def command(
    setting: Setting, *arguments: str, stdin: bytes = b"", environ: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[bytes]:
    """Run the command to its end."""
    return subprocess.run(
        [*COMMAND, *arguments],
        input=stdin,
        capture_output=True,
        env=environ_of(setting, environ),
        cwd=setting.folder,
        timeout=60,
        check=False,
    )


def test_replay(setting: Setting) -> None:
    """All that was found is sent: exit status 0, nothing on stdout, a summary without a progress bar on stderr."""
    spool = setting.left_behind(event(1))
    finished = command(setting, "replay", spool, setting.file(*lines(event(2))))
    assert (finished.returncode, finished.stdout) == (0, b"")
    assert finished.stderr == b"2 sent, 0 rejected, 0 left, 0 problems\n"
    assert setting.sent() == ["job_1 START", "job_2 START"]
    assert names(setting.spool / "new") == []


def test_installed_command(setting: Setting) -> None:
    """The installed script and `python -m openlineage_pod` are the same command."""
    script = Path(sys.executable).with_name("openlineage-pod")
    finished = subprocess.run([script, "--version"], capture_output=True, text=True, timeout=60, check=False)
    assert (finished.returncode, finished.stdout) == (0, f"{__version__}\n")
    assert command(setting, "--version").stdout.decode() == finished.stdout


@pytest.mark.parametrize("arguments", [["--help"], ["replay", "--help"]])
def test_help(arguments: list[str], setting: Setting) -> None:
    """The help says what the command does, and is no failure."""
    finished = command(setting, *arguments)
    assert (finished.returncode, finished.stderr) == (0, b"")
    assert b"replay" in finished.stdout


@pytest.mark.parametrize("arguments", [[], ["replay"], ["deliver"], ["replay", "--wet-run", "x"]])
def test_wrong_arguments(arguments: list[str], setting: Setting) -> None:
    """Arguments that make no command are exit status 2 and a usage line on stderr."""
    finished = command(setting, *arguments)
    assert (finished.returncode, finished.stdout) == (2, b"")
    assert finished.stderr.startswith(b"usage: openlineage-pod")


@pytest.mark.parametrize("arguments", [["run"], ["run", "python", "job.py"], ["run", "sh", "-c", "true"]])
def test_run_without_a_separator(arguments: list[str], setting: Setting) -> None:
    """A command that does not stand after -- is not run, and the message shows where it has to stand."""
    finished = command(setting, *arguments)
    assert finished.returncode == 2
    assert b"openlineage-pod run -- python job.py" in finished.stderr


def test_wrong_configuration(setting: Setting) -> None:
    """A configuration of which no transport can be built is exit status 2 and one line, without the password in it."""
    path = setting.file(*lines(event(1)))
    finished = command(setting, "replay", path, environ={"OPENLINEAGE_URL": "http://etl:s3cr3t#1@marquez"})
    assert (finished.returncode, finished.stdout) == (2, b"")
    assert finished.stderr.startswith(b"openlineage-pod: no OpenLineage transport can be built from OPENLINEAGE_URL")
    assert (finished.stderr.count(b"\n"), b"s3cr3t" in finished.stderr) == (1, False)


@pytest.mark.parametrize("case", ["refused", "missing", "torn", "unconfigured"])
def test_something_is_left(case: str, setting: Setting) -> None:
    """Whatever is refused, unreadable or not to be sent anywhere makes the exit status 1, without a stack trace."""
    path = setting.file(*lines(event(1)))
    environ = {}
    if case == "refused":
        setting.receiver.script({"status": 400})
    elif case == "missing":
        Path(path).unlink()
    elif case == "torn":
        Path(path).write_text("OPENLINEAGE_POD_EVENT {")
    else:
        environ = {"OPENLINEAGE_URL": ""}
    finished = command(setting, "replay", path, environ=environ)
    assert (finished.returncode, finished.stdout) == (1, b"")
    assert b"Traceback" not in finished.stderr


def test_standard_input(setting: Setting) -> None:
    """`-` reads a log from the standard input, as of `kubectl logs`, beside other paths."""
    log = "".join(f"{line}\n" for line in ["text", *lines(event(1), event(2, size=40_000))])
    finished = command(setting, "replay", "-", setting.file(*lines(event(3))), stdin=log.encode())
    assert finished.returncode == 0
    assert setting.receiver.events() == [event(1), event(2, size=40_000), event(3)]


def test_empty_standard_input(setting: Setting) -> None:
    """An empty log is no failure."""
    finished = command(setting, "replay", "-")
    assert (finished.returncode, finished.stderr) == (0, b"0 sent, 0 rejected, 0 left, 0 problems\n")


@pytest.mark.parametrize("variable", ["LC_ALL=C", "PYTHONUTF8=1", "PYTHONIOENCODING=utf-8"])
def test_standard_input_that_is_no_text(variable: str, setting: Setting) -> None:
    """A log with bytes of another encoding is read from the standard input as it is from a file."""
    log = b"caf\xe9 \xff\x00\n" + lines(event(1))[0].encode() + b"\n\x80\n"
    finished = command(setting, "replay", "-", stdin=log, environ=dict([variable.split("=")]))
    assert (finished.returncode, finished.stderr) == (0, b"1 sent, 0 rejected, 0 left, 0 problems\n")


def test_dry_run(setting: Setting) -> None:
    """A dry run lists the events on stdout and the number on stderr, sends nothing and needs no transport."""
    path = setting.file(*lines(event(2), event(1)))
    finished = command(setting, "replay", "--dry-run", path, environ={"OPENLINEAGE_URL": ""})
    assert (finished.returncode, finished.stderr) == (0, b"2 events would be sent, 0 problems\n")
    assert [line.split()[2] for line in finished.stdout.decode().splitlines()] == ["default/job_1", "default/job_2"]
    assert setting.receiver.requests() == []


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("arguments", [["replay", "--dry-run"], ["replay", "--help"], ["--version"]])
def test_into_a_closed_pipe(arguments: list[str], unbuffered: str, setting: Setting) -> None:
    """A reader that has seen enough, such as `head`, makes no stack trace, whether the output is buffered or not."""
    path = setting.file(*lines(*(event(number % 60, second=number % 60) for number in range(3))))
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as stdout:
        finished = subprocess.run(
            [*COMMAND, *arguments, path],
            stdout=stdout,
            stderr=subprocess.PIPE,
            env={**environ_of(setting), "PYTHONUNBUFFERED": unbuffered},
            timeout=60,
            check=False,
        )
    assert b"Traceback" not in finished.stderr
    assert b"Exception ignored" not in finished.stderr


def test_without_stdout(setting: Setting) -> None:
    """The command bears a standard output that is closed."""
    finished = subprocess.run(
        ["sh", "-c", 'exec "$@" >&-', "sh", *COMMAND, "--version"],
        stderr=subprocess.PIPE,
        env=environ_of(setting),
        timeout=60,
        check=False,
    )
    assert (finished.returncode, finished.stderr.decode()) == (0, f"{__version__}\n")


def on_a_terminal(setting: Setting, *arguments: str) -> tuple[int, str]:
    """Run the command with a terminal as its stderr, and return its exit status and what it showed there."""
    master, slave = pty.openpty()
    process = subprocess.Popen(
        [*COMMAND, *arguments], stdout=subprocess.PIPE, stderr=slave, env=environ_of(setting), cwd=setting.folder
    )
    os.close(slave)
    shown = b""
    try:
        while text := os.read(master, 4096):
            shown += text
    except OSError:
        pass  # Linux: the other side has been closed
    finally:
        os.close(master)
        process.communicate(timeout=60)
    return process.returncode, shown.decode()


def test_progress(setting: Setting) -> None:
    """On a terminal a bar shows the progress up to the last event; the summary comes on a line of its own."""
    status, shown = on_a_terminal(setting, "replay", setting.file(*lines(event(1), event(2), event(3))))
    assert status == 0
    *bars, summary, _ = shown.replace("\r\n", "\n").replace("\n", "\r").split("\r")
    assert [bar for bar in bars if bar] == [
        f"[{'#' * 10:30}] 1/3",
        f"[{'#' * 20:30}] 2/3",
        f"[{'#' * 30:30}] 3/3",
    ]
    assert summary == "3 sent, 0 rejected, 0 left, 0 problems"


def test_message_beside_the_progress(setting: Setting) -> None:
    """A message about an event begins on a line of its own, and does not hang on the bar."""
    setting.receiver.script({"job": "job_1", "status": 400})
    status, shown = on_a_terminal(setting, "replay", setting.file(*lines(event(1), event(2))))
    assert status == 1
    rows = shown.replace("\r\n", "\n").replace("\r", "\n").splitlines()
    assert [row for row in rows if "rejected: 2026" in row and not row.startswith("rejected: ")] == []


def test_killed_in_the_middle(setting: Setting) -> None:
    """An event is deleted from the spool after it was accepted, so a killed replay loses none."""
    spool = setting.left_behind(event(1), event(2))
    setting.receiver.script({"job": "job_2", "action": "hang"})
    process = subprocess.Popen([*COMMAND, "replay", spool], env=environ_of(setting), stderr=subprocess.DEVNULL)
    try:
        setting.receiver.requests(2)
        (left,) = (setting.spool / "new").iterdir()
        assert json.loads(left.read_text()) == event(2)
    finally:
        process.kill()
        process.wait(60)
    setting.receiver.script()
    assert command(setting, "replay", spool).returncode == 0
    assert setting.sent() == ["job_1 START", "job_2 START"]


def test_main_returns_the_status(setting: Setting, capsys: pytest.CaptureFixture[str]) -> None:
    """Called as a function the command returns its exit status, and reads the environment of the process."""
    assert main(["replay", setting.file("text")]) == 0
    assert main(["replay", setting.file(*lines(event(1)))]) == 1
    assert "OPENLINEAGE_URL" in capsys.readouterr().err


def test_importing_the_package_does_not_import_the_command() -> None:
    """A job does not pay for argparse and the replay."""
    heavy = {"argparse", "openlineage_pod.recovery.replay"}
    source = f"import sys; from openlineage_pod import *; print({heavy} & set(sys.modules))"
    finished = subprocess.run(
        [sys.executable, "-c", source], capture_output=True, text=True, cwd=PROJECT, timeout=60, check=False
    )
    assert finished.stdout == "set()\n"
