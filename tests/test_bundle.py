"""The bundle for images without Python: it runs in an empty root, as PID 1, and leaves no trace in the job."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tarfile
from typing import TYPE_CHECKING

import pytest

from openlineage_pod.events.facets import __version__
from tests.support.harness import types
from tests.support.processes import child_of
from tests.support.wrapping import ADDED, PRINT_SIGNALS, QUICK, message, started

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.harness import Finished, Jobs, Receiver

# The bundle is built once, by one process; that takes a C compiler and half a minute.
pytestmark = [pytest.mark.slow, pytest.mark.serial]

BUNDLE = "/openlineage-pod/openlineage-pod"
# What a container without anything may run: with "wait" it exits with 3 after SIGTERM, else it shows what it was given.
PROGRAM = r"""
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
extern char **environ;
static void stop(int number) { _exit(number == SIGTERM ? 3 : 4); }
int main(int count, char **arguments) {
    if (count > 1 && strcmp(arguments[1], "wait") == 0) {
        signal(SIGTERM, stop);
        puts("READY");
        fflush(stdout);
        for (;;) pause();
    }
    for (int i = 1; i < count; i++) printf("argument %s\n", arguments[i]);
    for (char **entry = environ; *entry; entry++) puts(*entry);
    return 7;
}
"""


@pytest.fixture(scope="session")
def root(dist: Path, compiler: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make the root of a container in which there is nothing but the bundle and a program, or skip the test."""
    enter = ["unshare", "-pf", "--kill-child", "--mount-proc", "chroot", "/", "true"]
    if shutil.which("unshare") is None or subprocess.run(enter, capture_output=True, check=False).returncode:
        pytest.skip("another root needs `unshare` and the rights of root")
    path = tmp_path_factory.mktemp("root")
    for folder in ("proc", "dev", "dev/shm"):  # as every container has
        (path / folder).mkdir()
    (tarball,) = dist.glob("*.tar.gz")
    with tarfile.open(tarball) as archive:
        archive.extractall(path, filter="fully_trusted") if sys.version_info >= (3, 12) else archive.extractall(path)  # noqa: S202
    subprocess.run([*compiler, "-o", str(path / "program")], input=PROGRAM.encode(), check=True)
    return path


def inside(root: Path, *command: str) -> list[str]:
    """Return the command that runs a command as PID 1 of the container."""
    # Whoever kills `unshare` ends all that is in the namespace.
    return ["unshare", "-pf", "--kill-child", f"--mount-proc={root / 'proc'}", "chroot", str(root), *command]


def run_inside(root: Path, *command: str, **environ: str) -> Finished:
    """Run a command as PID 1 of the container, in an environment of nothing else."""
    from tests.support.harness import Finished

    finished = subprocess.run(
        inside(root, *command),
        env={"PATH": os.environ["PATH"], **environ},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return Finished(finished.returncode, finished.stdout, finished.stderr, 0)


def test_version(dist: Path, tmp_path: Path) -> None:
    """It runs from any place, by a link too, and says its version."""
    moved = tmp_path / "with a space" / "moved"
    moved.parent.mkdir()
    shutil.copytree(dist / "openlineage-pod", moved)
    link = tmp_path / "link"
    link.symlink_to(moved / "openlineage-pod")
    for path in (dist / "openlineage-pod" / "openlineage-pod", moved / "openlineage-pod", link):
        finished = subprocess.run([path, "--version"], env={}, capture_output=True, text=True, timeout=60, check=False)
        assert (finished.returncode, finished.stdout, finished.stderr) == (0, f"{__version__}\n", "")


def test_tarball(dist: Path) -> None:
    """The tarball has one folder with the command and the certificates, and is of a size that an image can bear."""
    (tarball,) = dist.glob("*.tar.gz")
    with tarfile.open(tarball) as archive:
        names = archive.getnames()
    assert {name.partition("/")[0] for name in names} == {"openlineage-pod"}
    assert "openlineage-pod/openlineage-pod" in names
    assert [name for name in names if name.endswith("certifi/cacert.pem")]
    assert tarball.stat().st_size < 40 * 2**20


def test_in_an_empty_root(root: Path, receiver: Receiver) -> None:
    """As PID 1 of a container without anything it runs the command, and its run is delivered over HTTP."""
    finished = run_inside(
        root, BUNDLE, "run", "--output", "s3://lake/x", "--", "/program", "one", "", **receiver.environ
    )
    assert (finished.returncode, finished.stderr) == (7, "")
    assert finished.stdout.startswith("argument one\nargument \n")
    start, fail = receiver.events()
    assert (start["eventType"], fail["eventType"]) == ("START", "FAIL")
    assert message(fail) == "the command exited with 7"
    assert (fail["job"]["name"], fail["outputs"][0]["name"]) == ("program", "x")


def test_openlineage_python_inside(root: Path) -> None:
    """Transports of openlineage-python are in the bundle, too."""
    environ = {"OPENLINEAGE__TRANSPORT__TYPE": "file", "OPENLINEAGE__TRANSPORT__LOG_FILE_PATH": "/events"}
    finished = run_inside(root, BUNDLE, "run", "--", "/program", OPENLINEAGE__TRANSPORT__APPEND="true", **environ)
    assert (finished.returncode, finished.stderr) == (7, "")
    assert (root / "events").read_text().count('"eventType"') == 2


def test_sigterm_as_pid_1(root: Path, receiver: Receiver, jobs: Jobs) -> None:
    """SIGTERM to PID 1 reaches the command, and the run is aborted."""
    job = started(jobs, inside(root, BUNDLE, "run", "--", "/program", "wait"), receiver.environ)
    job.wait_for("READY")
    os.kill(child_of(job.pid), signal.SIGTERM)
    assert job.finish(timeout=20).returncode == 3
    assert types(receiver.events()) == ["START", "ABORT"]


def test_codes_in_an_empty_root(root: Path) -> None:
    """Commands that are not there or no commands make the usual exit codes."""
    for command, code in (("/no-such-program", 127), ("/proc", 126)):
        finished = run_inside(root, BUNDLE, "run", "--", command, OPENLINEAGE_DISABLED="true")
        assert (finished.returncode, finished.stdout) == (code, "")
        assert finished.stderr.startswith(f"openlineage-pod: {command}: ")


def test_the_environment_is_not_polluted(root: Path) -> None:
    """The job sees its own environment, but for its parent: nothing of the bundle's Python or loader."""
    own = {
        "PYTHONPATH": "/mine",
        "PYTHONHOME": "/mine",
        "LD_LIBRARY_PATH": "/mine",
        "LC_ALL": "C",
        "PYTHONHASHSEED": "x",
    }
    for environ in (own, {}):
        finished = run_inside(root, BUNDLE, "run", "--", "/program", **environ, **QUICK)
        assert finished.returncode == 7
        shown = dict(line.split("=", 1) for line in finished.stdout.splitlines())
        given = {"PATH": os.environ["PATH"], **environ, **QUICK}
        assert {name: value for name, value in shown.items() if name not in ADDED} == given
        assert shown.keys() >= ADDED


def test_foreign_modules_are_not_imported(dist: Path, tmp_path: Path) -> None:
    """Modules of the job, in its working directory and on its PYTHONPATH, do not take part."""
    for name in ("openlineage_pod", "json", "sitecustomize", "requests", "signal"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('foreign')")
    environ = {"PYTHONPATH": str(tmp_path), "OPENLINEAGE_POD_FLUSH_TIMEOUT": "0", "PATH": os.environ["PATH"]}
    command = [str(dist / "openlineage-pod" / "openlineage-pod"), "run", "--", "sh", "-c", "exit 7"]
    finished = subprocess.run(command, env=environ, cwd=tmp_path, capture_output=True, timeout=60, check=False)
    assert finished.returncode == 7
    assert b"foreign" not in finished.stderr


def test_relay_and_replay(root: Path, receiver: Receiver, jobs: Jobs) -> None:
    """The relay and the replay are in the bundle, too."""
    spool = {"OPENLINEAGE_POD_SPOOL_DIR": "/spool"}
    assert run_inside(root, BUNDLE, "run", "--", "/program", **spool).returncode == 7
    relay = started(jobs, inside(root, BUNDLE, "relay", "/spool"), receiver.environ)
    receiver.events(at_least=2)
    os.kill(child_of(relay.pid), signal.SIGTERM)
    assert relay.finish(timeout=20).returncode == 0
    assert run_inside(root, BUNDLE, "run", "--", "/program", **spool).returncode == 7
    replayed = run_inside(root, BUNDLE, "replay", "/spool", **receiver.environ)
    assert (replayed.returncode, replayed.stderr) == (0, "2 sent, 0 rejected, 0 left, 0 problems\n")
    assert types(receiver.events()) == ["START", "FAIL"] * 2


def test_nothing_is_written_into_the_bundle(dist: Path, tmp_path: Path) -> None:
    """Running it changes no file of it, so that it may be read-only."""
    folder = dist / "openlineage-pod"
    before = sorted((str(path), path.stat().st_mtime_ns) for path in folder.rglob("*"))
    environ = {"OPENLINEAGE_POD_FLUSH_TIMEOUT": "0", "PATH": os.environ["PATH"], "TMPDIR": str(tmp_path)}
    subprocess.run([folder / "openlineage-pod", "run", "--", "true"], env=environ, capture_output=True, check=True)
    assert sorted((str(path), path.stat().st_mtime_ns) for path in folder.rglob("*")) == before


def test_without_proc(root: Path) -> None:
    """Without /proc it cannot find itself, and says so."""
    assert list((root / "proc").iterdir()) == []
    finished = subprocess.run(
        ["chroot", str(root), BUNDLE, "--version"], env={"PATH": os.environ["PATH"]}, capture_output=True, check=False
    )
    assert (finished.returncode, finished.stdout) == (126, b"")
    assert b"/proc/self/exe" in finished.stderr


def test_signals_through_the_launcher(dist: Path, receiver: Receiver, jobs: Jobs) -> None:
    """The launcher is replaced by the wrapper: a signal to its process id arrives at the command."""
    launcher = str(dist / "openlineage-pod" / "openlineage-pod")
    job = started(jobs, [launcher, "run", "--", *PRINT_SIGNALS], receiver.environ)
    job.wait_for("READY")
    job.signal(signal.SIGUSR1)
    job.wait_for(f"got {int(signal.SIGUSR1)}")
    job.signal(signal.SIGTERM)
    assert job.finish().returncode == 0
    assert types(receiver.events()) == ["START", "COMPLETE"]
