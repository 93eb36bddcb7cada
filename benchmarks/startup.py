"""What lineage adds to one run: to the start of the job, to its total, and where the backend is dead."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from statistics import median
from typing import TYPE_CHECKING, NamedTuple

from measuring import FLUSH_TIMEOUT, Bench, Measured, added, in_turn, row, spread, verdict

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

VARIANTS = ("bare", "decorated", "by_hand")


class Job(NamedTuple):
    """What the body does: it sleeps, then it goes through a loop."""

    seconds: float
    rounds: int = 0


EMPTY, SLEEPING, BUSY, BEFORE_DEAD = Job(0), Job(2), Job(0, 40_000_000), Job(0.5)
REPETITIONS = {EMPTY: 40, SLEEPING: 13, BUSY: 9}
DEAD_REPETITIONS = 3
# Between the starts of the jobs with a dead backend, which run side by side: they spend their time waiting.
STAGGER = 1.2

GOAL_FIRST_LINE = 0.15
GOAL_TOTAL = 0.3
GOAL_DEAD = FLUSH_TIMEOUT + 0.2


def first_line(measured: Measured) -> float:
    """Return the seconds from the start of the process to the first line of the body."""
    # A job that was ended before its first line has printed none.
    return (int(measured.stdout or measured.ended) - measured.started) / 1e9


def run(bench: Bench, variant: str, job: Job, backend: str = "living") -> Measured:
    """Run one job to its end."""
    return bench.run(variant, job, {"OPENLINEAGE_URL": bench.url(backend)})


def run_checked(bench: Bench, variant: str, job: Job) -> Measured:
    """Run one job against the living backend, and see that it did what is being compared.

    Raises:
        RuntimeError: The job failed, or its two events did not arrive.

    """
    measured = run(bench, variant, job)
    seen = [(event_type, has_parent) for _, event_type, has_parent in bench.delivered()]
    expected = [] if variant == "bare" else [("START", True), ("COMPLETE", True)]
    if measured.exit_code or measured.stderr or seen != expected:
        raise RuntimeError(f"{variant}: exit code {measured.exit_code}, events {seen}, stderr: {measured.stderr}")
    return measured


def dead(bench: Bench) -> dict[tuple[str, str], list[Measured]]:
    """Run all variants against both dead backends, and the bare job, which knows of none."""
    cases = [("by_hand", "hung"), ("by_hand", "refusing"), ("decorated", "hung"), ("decorated", "refusing")]
    cases.append(("bare", "living"))
    with ThreadPoolExecutor(max_workers=len(cases) * DEAD_REPETITIONS) as pool:
        started = []
        for _ in range(DEAD_REPETITIONS):
            for variant, backend in cases:
                started.append((variant, backend, pool.submit(run, bench, variant, BEFORE_DEAD, backend)))
                time.sleep(STAGGER)
        measured: dict[tuple[str, str], list[Measured]] = {case: [] for case in cases}
        for variant, backend, future in started:
            measured[variant, backend].append(future.result())
    return measured


def against_living(what: str, measured: Mapping[str, Sequence[float]], goal: float | None) -> str:
    """Return a row of the first table: milliseconds, and what lineage adds within the same repetition."""
    adds = {name: added(measured, name, "bare") for name in VARIANTS[1:]}
    ratio = median(adds["decorated"]) / median(adds["by_hand"])
    cells = [
        what,
        spread(measured["bare"], 1e-3, 0),
        *(spread(values, 1e-3, 0) for values in adds.values()),
        f"{ratio:.2f}",
        "" if goal is None else f"≤ {goal:g}: {verdict(reached=ratio <= goal)}",
    ]
    return row(*cells)


def against_dead(what: str, measured: Sequence[Measured], bare: float, goal: float | None) -> str:
    """Return a row of the second table: seconds that lineage adds, and how the job ended."""
    adds = [run.total - bare for run in measured]
    exit_codes = sorted({run.exit_code for run in measured})
    printed = sorted({run.stderr.count("OPENLINEAGE_POD_EVENT ") for run in measured})
    reached = ""
    if goal is not None:
        reached = f"≤ {goal:g} s, exit code 0: {verdict(reached=max(adds) <= goal and exit_codes == [0])}"
    body = "ran" if all(first_line(run) < run.total for run in measured) else "**never began**"
    cells = [
        what,
        f"{median(adds):.2f} ({min(adds):.2f} to {max(adds):.2f})",
        ", ".join(map(str, exit_codes)),
        body,
        ", ".join(map(str, printed)),
        reached,
    ]
    return row(*cells)


def tables(bench: Bench) -> list[str]:
    """Measure and return the lines of two tables."""
    living = {job: in_turn(partial(run_checked, bench, job=job), VARIANTS, count) for job, count in REPETITIONS.items()}
    on_dead = dead(bench)

    first_lines = {name: [first_line(run) for job in living for run in living[job][name]] for name in VARIANTS}
    total = {job: {name: [run.total for run in runs[name]] for name in VARIANTS} for job, runs in living.items()}
    bare = median(run.total for run in on_dead["bare", "living"])
    backends = {"refusing": "refuses connections", "hung": "accepts and never answers"}
    names = {"decorated": "`@lineage_run`", "by_hand": "by hand"}
    lines = [
        "| living backend, ms | bare job | `@lineage_run` adds | by hand adds | ratio | goal |",
        "|---|---|---|---|---|---|",
        against_living("process start to the first line of the body", first_lines, GOAL_FIRST_LINE),
        against_living("total of a job that sleeps 2 s", total[SLEEPING], GOAL_TOTAL),
        against_living("total of a job that computes all the time", total[BUSY], None),
        against_living("total of a job that ends at once", total[EMPTY], None),
        "",
        "| dead backend | lineage | adds, s | exit code | body | events kept on stderr | goal |",
        "|---|---|---|---|---|---|---|",
    ]
    for backend, says in backends.items():
        for variant, name in names.items():
            goal = GOAL_DEAD if variant == "decorated" else None
            lines.append(against_dead(f"{says} | {name}", on_dead[variant, backend], bare, goal))
    return lines
