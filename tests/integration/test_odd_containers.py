"""Containers that lack what most have: the job runs as without us, and its run is delivered, or a line says why not."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from functools import cache
from typing import TYPE_CHECKING

import pytest

from openlineage_pod.wrapper.process_limit import has_few_processes
from tests.support.examples import fast
from tests.support.harness import types
from tests.support.wrapping import wrapped

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.harness import Finished, Jobs, Receiver

# Another user who may read the interpreter nevertheless, as in an image that was made for any user. Nobody else has
# processes of this one: the limit counts all.
USER = (
    *("setpriv", f"--reuid={50_000 + os.getpid() % 10_000}", "--regid=54321", "--clear-groups"),
    *("--inh-caps=-all,+dac_read_search", "--ambient-caps=+dac_read_search"),
)
HERE = 'exec "$@"'


def sh(script: str) -> tuple[str, ...]:
    """Return the command that runs a script, and then another command in its place."""
    return ("sh", "-c", f"{script} && {HERE}", "sh")


MOUNTS = ("unshare", "-m")
READ_ONLY = "mount -t tmpfs -o ro none /dev/shm && mount -o remount,bind,ro /"
CONTAINERS: dict[str, tuple[str, ...]] = {
    "as usual": (),
    "read-only root": (*MOUNTS, *sh(READ_ONLY)),
    "no home": ("env", "-u", "HOME"),
    "a home that is missing": ("env", "HOME=/no/such/home"),
    "an empty environment": ("env", "-u", "PATH", "-u", "LANG", "-u", "LOGNAME", "-u", "USER"),
    "unknown user": USER,
    "unknown user, read-only root, no home": (*MOUNTS, *sh(READ_ONLY), "env", "-u", "HOME", *USER),
    "umask": sh("umask 777"),
    "few processes": ("prlimit", "--nproc=3", *USER),
    "few descriptors": ("prlimit", "--nofile=16"),
    "small stack": ("prlimit", "--stack=262144"),
    "no core, no files": ("prlimit", "--core=0", "--fsize=0"),
    "locale C": ("env", "LC_ALL=C", "PYTHONUTF8=0", "PYTHONCOERCECLOCALE=0"),
    "locale that is missing": ("env", "LC_ALL=xx_YY.latin-9", "LANG=tr_TR"),
    "time zone that is missing": ("env", "TZ=No/Such_Zone"),
    "odd clock": ("unshare", "--time", "--fork", "--monotonic", "100000000"),
    "folder that is gone": sh('mkdir gone && cd gone && rmdir "$OLDPWD/gone"'),
    "no standard input": sh("exec <&-"),
    "no standard error": sh("exec 2>&-"),
}
SCRIPT = "echo one; sleep 0.01; echo two; exit 3"
JOB = """
import sys
from openlineage_pod import lineage_run
with lineage_run("job"):
    print("one")
    print("two")
    sys.exit(3)
"""


@cache
def unavailable(prefix: tuple[str, ...]) -> str:
    """Return why a container cannot be had here; empty if it can."""
    if prefix and shutil.which(prefix[0]) is None:
        return f"there is no {prefix[0]}"
    done = subprocess.run([*prefix, "true"], capture_output=True, text=True, check=False, cwd="/tmp")  # noqa: S108
    return done.stderr.strip() if done.returncode else ""


def finished_in(name: str, command: list[str], jobs: Jobs, environ: dict[str, str]) -> Finished:
    """Return the end of a command in such a container."""
    prefix = CONTAINERS[name]
    if why := unavailable(prefix):
        pytest.skip(f"needs root and the right to do this: {why}")
    return jobs.launch([*prefix, *command], environ).finish(timeout=120)


@pytest.mark.parametrize(
    ("who", "name"),
    fast(
        [(who, name) for who in ("sdk", "wrapper") for name in CONTAINERS],
        *(("sdk", name) for name in CONTAINERS if "missing" not in name and name != "as usual"),
        *(("wrapper", name) for name in ("unknown user, read-only root, no home", "umask", "few processes")),
        *(("wrapper", name) for name in ("few descriptors", "locale C", "folder that is gone", "no standard error")),
    ),
)
def test_delivered(who: str, name: str, receiver: Receiver, jobs: Jobs) -> None:
    """The job ends and prints as without us. Both events arrive without a line, or lines say why and hold them."""
    environ = {**receiver.environ, "OPENLINEAGE_POD_FLUSH_TIMEOUT": "60"}
    command = [sys.executable, str(jobs.script(JOB))] if who == "sdk" else wrapped("/bin/sh", "-c", SCRIPT)
    finished = finished_in(name, command, jobs, environ)
    assert (finished.returncode, finished.stdout) == (3, "one\ntwo\n")
    assert types([*receiver.events(), *finished.printed]) == ["START", "FAIL"]
    told = [line for line in finished.stderr.splitlines() if not line.startswith("sh: ")]
    # Where a job has taken the last thread, a line says so, and the events may have to be printed.
    assert (who, name) == ("sdk", "few processes") or told == []


def test_last_process_is_the_command_s(receiver: Receiver, jobs: Jobs) -> None:
    """Where no second process may be, the command runs in our place, unreported, and a line says so."""
    command = wrapped("sh", "-c", 'echo "$0 $OPENLINEAGE_PARENT_ID$OPENLINEAGE_POD_REPORT"; exit 3')
    prefix = ("prlimit", "--nproc=1", *USER)
    if why := unavailable(prefix):
        pytest.skip(f"needs root and the right to do this: {why}")
    finished = jobs.launch([*prefix, *command], receiver.environ).finish()
    assert (finished.returncode, finished.stdout) == (3, "sh \n")
    [line] = finished.stderr.splitlines()
    assert "its run is not reported" in line
    assert receiver.requests() == []


def test_missing_command_in_place_of_us(receiver: Receiver, jobs: Jobs) -> None:
    """A command that is missing has the usual exit code there, too."""
    prefix = ("prlimit", "--nproc=1", *USER)
    if why := unavailable(prefix):
        pytest.skip(f"needs root and the right to do this: {why}")
    finished = jobs.launch([*prefix, *wrapped("no-such-command")], receiver.environ).finish()
    assert finished.returncode == 127
    assert "no-such-command: No such file or directory" in finished.stderr


def test_stopped_where_processes_are_few(receiver: Receiver, jobs: Jobs) -> None:
    """A command that goes on after SIGTERM is reported before the SIGKILL, though nothing was reported before."""
    prefix = ("prlimit", "--nproc=40", *USER)
    if why := unavailable(prefix):
        pytest.skip(f"needs root and the right to do this: {why}")
    command = wrapped("sh", "-c", "trap '' TERM; echo READY; read line; exit 4")
    job = jobs.launch([*prefix, *command], {**receiver.environ, "OPENLINEAGE_POD_GRACE_PERIOD": "4"})
    job.wait_for("READY")
    assert receiver.requests() == []
    job.signal(signal.SIGTERM)
    assert types(receiver.events(at_least=2)) == ["START", "ABORT"]
    assert job.finish(b"\n").returncode == 4


@pytest.mark.parametrize(
    ("most", "now", "expected"),
    [("max\n", "5\n", False), ("20\n", "18\n", True), ("2000\n", "5\n", False), ("x", "5", False), ("20", None, False)],
)
def test_limit_of_the_control_group(most: str, now: str | None, expected: bool, tmp_path: Path) -> None:
    """A control group with few processes left counts, whatever the files hold."""
    (tmp_path / "pids.max").write_text(most)
    if now is not None:
        (tmp_path / "pids.current").write_text(now)
    assert has_few_processes([str(tmp_path / "missing.max"), str(tmp_path / "pids.max")]) is expected
