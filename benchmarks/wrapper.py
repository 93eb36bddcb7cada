"""What `openlineage-pod run` costs a command: its first byte, its signals, its total, and memory beside it."""

from __future__ import annotations

import shutil
import signal
import sys
import time
from functools import partial
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from measuring import HERE, Bench, Started, added, compared, in_turn, peak_memory, row, spread, verdict

if TYPE_CHECKING:
    from collections.abc import Sequence

PYTHON = (sys.executable, "-I", "-S")
WRAPPERS = {
    "directly": (),
    "tini": ("tini", "-s", "--"),
    "ours": (str(Path(sys.executable).with_name("openlineage-pod")), "run", "--"),
    "by hand": (sys.executable, str(HERE / "jobs" / "wrapper_by_hand.py")),
}
REPORTING = ("ours", "by hand")
FIRST_BYTES, LATENCIES, TOTALS, MEMORIES = 60, 60, 13, 5
# Waits for a SIGTERM and prints when it came: the clock is the same for all processes.
WAITING = """
import signal, time
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
print("ready", flush=True)
signal.sigwait([signal.SIGTERM])
print(time.monotonic_ns())
"""

GOAL_FIRST_BYTE = 0.12
GOAL_OVER_TINI = 0.030
GOAL_LATENCY = 3
GOAL_TOTAL = 0.3
GOAL_MEMORY = 1.1


def wrapped(bench: Bench, wrapper: str, *command: str) -> Started:
    """Start a command under a wrapper that reports to the living backend."""
    return bench.start([*WRAPPERS[wrapper], *command], {"OPENLINEAGE_URL": bench.url("living")})


def early_latency(bench: Bench, wrapper: str) -> float:
    """Return the same for a SIGTERM that comes while the wrapper imports what reports the command."""
    return latency(bench, wrapper, after=0)


def check(bench: Bench, wrapper: str, ended: Started, before: Sequence[tuple[str, str, bool]] = ()) -> None:
    """See that the command ended well and that its run was reported, where it is to be.

    Args:
        bench: the backend has the events.
        wrapper: of the command.
        ended: the wrapper's process.
        before: events that were asked for already.

    Raises:
        RuntimeError: It did not, or it was not.

    """
    seen = [(event_type, has_parent) for _, event_type, has_parent in (*before, *bench.delivered())]
    expected = [("START", True), ("COMPLETE", True)] if wrapper in REPORTING else []
    if ended.returncode or seen != expected:
        raise RuntimeError(f"{wrapper}: exit code {ended.returncode}, events {seen}")


def first_byte(bench: Bench, wrapper: str) -> float:
    """Return the seconds from the start of the wrapper to the first byte that the command writes."""
    started = time.monotonic_ns()
    with wrapped(bench, wrapper, "echo", "x") as process:
        process.output.read(1)
        came = time.monotonic_ns()
    check(bench, wrapper, process)
    return (came - started) / 1e9


def latency(bench: Bench, wrapper: str, after: float = 0.3) -> float:
    """Return the seconds from a SIGTERM for the wrapper to its arrival at the command.

    It is sent `after` so many seconds: by then all is imported, and the START is reported.
    """
    with wrapped(bench, wrapper, *PYTHON, "-c", WAITING) as process:
        process.output.readline()
        time.sleep(after)
        sent = time.monotonic_ns()
        process.send_signal(signal.SIGTERM)
        came = int(process.output.readline())
    check(bench, wrapper, process)
    return (came - sent) / 1e9


def total(bench: Bench, wrapper: str) -> float:
    """Return the seconds from start to end of a command that sleeps 2 s."""
    started = time.monotonic_ns()
    with wrapped(bench, wrapper, "sleep", "2") as process:
        process.wait()
        ended = time.monotonic_ns()
    check(bench, wrapper, process)
    return (ended - started) / 1e9


def memory(bench: Bench, wrapper: str) -> float:
    """Return the peak memory of the wrapper, once it has reported the START of a command that still runs."""
    with wrapped(bench, wrapper, "cat") as process:
        while not (seen := bench.delivered()):
            time.sleep(0.02)
        peak = peak_memory(process.pid)
        process.input.close()
    check(bench, wrapper, process, seen)
    return peak


def memory_of_an_import(bench: Bench, _: str) -> float:
    """Return the peak memory of a process that has imported openlineage.client and does nothing else."""
    script = "import openlineage.client; print(flush=True); input()"
    with bench.start([sys.executable, "-c", script], {}) as process:
        process.output.readline()
        peak = peak_memory(process.pid)
        process.input.write(b"\n")
        process.input.close()
    return peak


def table(bench: Bench) -> list[str]:
    """Measure and return the lines of a table."""
    inits = ["tini"] if shutil.which("tini") else []
    simple = ["directly", *inits, "ours"]
    bytes_ = in_turn(partial(first_byte, bench), [*simple, "by hand"], FIRST_BYTES)
    signals = in_turn(partial(latency, bench), simple, LATENCIES)
    early = in_turn(partial(early_latency, bench), simple, LATENCIES)
    totals = in_turn(partial(total, bench), ["directly", "ours", "by hand"], TOTALS)
    ours = in_turn(partial(memory, bench), ["ours"], MEMORIES)["ours"]
    imported = in_turn(partial(memory_of_an_import, bench), ["import"], MEMORIES)["import"]

    first = "start to its first byte, ms"
    by_hand = "a wrapper that imports openlineage.client first"
    lines = [
        "| a command | `openlineage-pod run` | compared with | | ratio | goal |",
        "|---|---|---|---|---|---|",
        compared(first, bytes_["ours"], by_hand, bytes_["by hand"], unit=1e-3, digits=1, goal=GOAL_FIRST_BYTE),
    ]
    if inits:
        over = median(bytes_["ours"]) - median(bytes_["tini"])
        reached = f"≤ {GOAL_OVER_TINI * 1e3:.0f} ms over it: {verdict(reached=over <= GOAL_OVER_TINI)}"
        spreads = [spread(bytes_[wrapper], 1e-3, 1) for wrapper in ("ours", "tini")]
        again = "the same as soon as the command can take it, ms"
        term = "SIGTERM to its arrival, ms"
        lines += [
            row(first, spreads[0], "`tini`", spreads[1], f"+{over * 1e3:.0f} ms", reached),
            compared(term, signals["ours"], "`tini`", signals["tini"], unit=1e-3, digits=2, goal=GOAL_LATENCY),
            compared(again, early["ours"], "`tini`", early["tini"], unit=1e-3, digits=2),
        ]
    else:
        lines.append("| compared with `tini` | | not on PATH: install it | | | |")
    slept = "added to the total of a command that sleeps 2 s, ms"
    took = [added(totals, wrapper, "directly") for wrapper in ("ours", "by hand")]
    beside = "a process that imported openlineage.client"
    return [
        *lines,
        compared(slept, took[0], "the same wrapper", took[1], unit=1e-3, digits=0, goal=GOAL_TOTAL),
        compared("peak memory beside it, MiB", ours, beside, imported, unit=2**20, digits=1, goal=GOAL_MEMORY),
    ]
