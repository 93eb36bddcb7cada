"""What the jobs of many runs share: the loop, and what they say of themselves on stdout at their end."""

import atexit
import json
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path

said: dict[str, int] = {}


@atexit.register
def say() -> None:
    """Print it. Registered before all other exit handlers, so called after them, when nothing happens any more."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    peak = re.search(r"VmHWM:\s+(\d+) kB", status)
    print(json.dumps({**said, "peak": int(peak[1]) * 1024 if peak else 0}), flush=True)


def loop(one_run: Callable[[], None]) -> None:
    """Go through as many runs as the first argument says; first one that is not timed, if there is a third argument.

    That one leaves as many seconds as it says for what is done once in a process.
    """
    runs = int(sys.argv[1])
    if len(sys.argv) > 3:  # noqa: PLR2004
        one_run()
        time.sleep(float(sys.argv[3]))
        runs -= 1
    said["began"] = time.monotonic_ns()
    for _ in range(runs):
        one_run()
    said["ended"] = time.monotonic_ns()


def body() -> None:
    """Take as many seconds as the second argument says."""
    seconds = float(sys.argv[2])
    if seconds:
        time.sleep(seconds)
