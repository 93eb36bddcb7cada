"""What the tests of the wrapper share: commands under `openlineage-pod run`, and terminals."""

from __future__ import annotations

import os
import pty
import select
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.support.processes import child_of
from tests.support.waiting import HANGS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tests.support.harness import Event, Finished, Job, Jobs

__all__ = [
    "ADDED",
    "PRINT_SIGNALS",
    "QUICK",
    "Terminal",
    "message",
    "run",
    "sh",
    "start",
    "start_relay",
    "started",
    "stop",
    "supervisor_of",
    "wrapped",
]

PRINT_SIGNALS = (sys.executable, "-I", "-S", str(Path(__file__).with_name("print_signals.py")))
# Reports, with all its threads, but waits for nothing and prints nothing.
QUICK = {"OPENLINEAGE_POD_FLUSH_TIMEOUT": "0", "OPENLINEAGE_POD_LAST_RESORT": "off"}
# The variables that a command has from the wrapper.
ADDED = {
    "OPENLINEAGE_CONTEXT",
    "OPENLINEAGE_PARENT_ID",
    "OPENLINEAGE_ROOT_PARENT_ID",
    *(f"OPENLINEAGE_{of}PARENT_{part}" for of in ("", "ROOT_") for part in ("RUN_ID", "JOB_NAME", "JOB_NAMESPACE")),
    "OPENLINEAGE_POD_REPORT",
}


def wrapped(*command: str, options: Sequence[str] = ()) -> list[str]:
    """Return the command line that reports a command."""
    return [sys.executable, "-m", "openlineage_pod", "run", *options, "--", *command]


def sh(script: str) -> tuple[str, str, str]:
    """Return the command that runs a shell script."""
    return ("sh", "-c", script)


def start(
    jobs: Jobs,
    *command: str,
    options: Sequence[str] = (),
    prefix: Sequence[str] = (),
    environ: Mapping[str, str] | None = None,
    stderr: Any = None,
) -> Job:
    """Start a command under the wrapper; `prefix` is a command that starts a command."""
    return started(jobs, [*prefix, *wrapped(*command, options=options)], environ, stderr)


def start_relay(
    jobs: Jobs, spool: Path, environ: Mapping[str, str] | None = None, *, prefix: Sequence[str] = ()
) -> Job:
    """Start a relay."""
    return started(jobs, [*prefix, sys.executable, "-m", "openlineage_pod", "relay", str(spool)], environ)


def stop(relay: Job) -> Finished:
    """Stop a relay, which must end well."""
    relay.signal(signal.SIGTERM)
    finished = relay.finish(timeout=20)
    assert finished.returncode == 0
    return finished


def started(jobs: Jobs, command: Sequence[str], environ: Mapping[str, str] | None = None, stderr: Any = None) -> Job:
    """Start any command, which ends with the test."""
    return jobs.launch(command, environ, stderr)


def run(jobs: Jobs, *command: str, stdin: bytes = b"", **how: Any) -> Finished:
    """Run a command under the wrapper to its end."""
    return start(jobs, *command, **how).finish(stdin)


def supervisor_of(job: Job, prefix: Sequence[str]) -> int:
    """Return the wrapper's process id: that of the job, or below the one that made a PID namespace for it."""
    return child_of(job.pid) if prefix else job.pid


def message(event: Event) -> str:
    """Return why a run failed or was aborted."""
    return str(event["run"]["facets"]["errorMessage"]["message"])


class Terminal:
    """A command as the first process of a terminal."""

    def __init__(
        self, command: Sequence[str], directory: Path, environ: Mapping[str, str], *, stdout: int | None = None
    ) -> None:
        self.descriptor, slave = pty.openpty()
        self.process = subprocess.Popen(
            ["setsid", "--ctty", *command],
            cwd=directory,
            env=environ,
            stdin=slave,
            stdout=slave if stdout is None else stdout,
            stderr=slave,
        )
        os.close(slave)
        self.shown = b""
        self.transcript = b""

    def type(self, keys: bytes) -> None:
        """Press keys."""
        os.write(self.descriptor, keys)

    def wait_for(self, *texts: bytes, seconds: float = HANGS) -> None:
        """Return as soon as the terminal has shown `texts`, in any order, after what was waited for before."""
        deadline = time.monotonic() + seconds
        unseen = self.shown
        while missing := [text for text in texts if text not in unseen]:
            readable, _, _ = select.select([self.descriptor], [], [], max(0.0, deadline - time.monotonic()))
            read = b""
            with suppress(OSError):  # EIO: nobody has the terminal any more
                read = os.read(self.descriptor, 65536) if readable else b""
            assert read, f"{missing} was never shown after {unseen!r}"
            self.transcript += read
            unseen += read
        self.shown = unseen[max(unseen.index(text) + len(text) for text in texts) :]

    def hang_up(self) -> None:
        """Close the terminal."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1

    def end(self) -> None:
        """End all processes of the terminal."""
        for status in Path("/proc").glob("[0-9]*/stat"):
            with suppress(OSError, ProcessLookupError):
                if int(status.read_text().rpartition(")")[2].split()[3]) == self.process.pid:
                    os.kill(int(status.parent.name), signal.SIGKILL)
        self.process.communicate(timeout=HANGS)
        self.hang_up()
