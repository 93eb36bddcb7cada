"""Code that runs as another user, in a process of its own."""

from __future__ import annotations

import os
import sys
import traceback
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["needs_root", "run_as", "with_processes"]

needs_root = pytest.mark.skipif(os.getuid() != 0, reason="only root may become another user")


def run_as(
    user: int, what: Callable[[], object], *, group: int | None = None, groups: Sequence[int] = (), umask: int = 0o077
) -> None:
    """Run a function in a forked process as this user, and check that it raises nothing."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.umask(umask)
            os.setgroups(list(groups))
            os.setgid(user if group is None else group)
            os.setuid(user)
            what()
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def with_processes(count: int) -> tuple[str, ...]:
    """Return the command that runs a command as a user of its own who may have so many processes and threads.

    The user may read everything, as in an image that was made for any user.
    """
    user = 20_000 + os.getpid() % 10_000
    return (
        *("prlimit", f"--nproc={count}"),
        *("setpriv", f"--reuid={user}", "--regid=54321", "--clear-groups"),
        *("--inh-caps=-all,+dac_read_search", "--ambient-caps=+dac_read_search"),
    )
