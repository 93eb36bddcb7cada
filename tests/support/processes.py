"""Processes as the kernel shows them."""

from __future__ import annotations

import shutil
import subprocess
from functools import cache
from pathlib import Path

import pytest

__all__ = ["child_of", "pid_1"]


@cache
def pid_1() -> tuple[str, ...]:
    """Return the command that runs a command as PID 1 of its own PID namespace, or skip the test."""
    # Killing `unshare` ends all processes in the namespace.
    prefix = ("unshare", "-pf", "--kill-child", "--mount-proc")
    if (
        shutil.which("unshare") is None
        or subprocess.run([*prefix, "true"], capture_output=True, check=False).returncode
    ):
        pytest.skip("a PID namespace needs `unshare` and the right to make one")
    return prefix


def child_of(pid: int) -> int:
    """Return the process id, as it is seen here, of the only child of a process."""
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = status.read_text().rpartition(")")[2].split()
        except OSError:  # it has ended meanwhile
            continue
        if int(fields[1]) == pid:
            return int(status.parent.name)
    raise AssertionError(f"process {pid} has no child")
