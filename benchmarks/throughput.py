"""What many runs in one process cost: their total, the job's own thread, memory, and the end with a spool."""

from __future__ import annotations

import json
from collections.abc import Callable  # noqa: TC003  NamedTuple evaluates it
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, NamedTuple

from measuring import Bench, compared, row, spread, verdict

if TYPE_CHECKING:
    from collections.abc import Sequence

MANY = 1000
# Plain `http` would take two minutes for them all.
FEW = 20
FOR_CALLER = 300
UNDELIVERED = 5000
# Enough for all of them: the default would have room for 8,600 events.
SPOOL_BYTES = 64 << 20
# How long the body of a run takes, in seconds, where runs do not simply follow each other.
PACE = 0.001
# How long a process gets for what it does only once, before a run's cost for the job's thread is measured.
WARM_UP = 0.5
REPETITIONS = 4

GOAL_ASYNC = 1.0
GOAL_HTTP = 0.2
GOAL_CALLER = 0.3
GOAL_CALLER_SPOOL = 0.5
GOAL_MEMORY = 1.1
GOAL_EXIT = 1.0


class Case(NamedTuple):
    """A job of many runs.

    Attributes:
        kind: `ours`, or the type of openlineage-python's transport.
        runs: how many runs there are.
        backend: a name of one of the backend's ports.
        seconds: how long the body of a run takes.
        warm_up: seconds after a first run that is not timed; 0 for none.
        spool: whether there is a spool directory; a new one each time.

    """

    kind: str
    runs: int
    backend: str
    seconds: float = 0
    warm_up: float = 0
    spool: bool = False


class Looped(NamedTuple):
    """What came out of one; times in seconds, memory in bytes."""

    per_run: float

    total: float
    in_loop: float
    exit: float
    peak: int


def run(bench: Bench, case: Case) -> Looped:
    """Run a job of many runs, and see that none of its events got lost.

    Raises:
        RuntimeError: The job failed, or there are events that neither arrived nor are in the spool or on stderr.

    """
    with TemporaryDirectory(dir=bench.directory) as spool:
        environ = {"OPENLINEAGE__TRANSPORT__TYPE": case.kind, "OPENLINEAGE__TRANSPORT__URL": bench.url(case.backend)}
        if case.kind == "ours":
            environ = {"OPENLINEAGE_URL": bench.url(case.backend)}
            if case.spool:
                environ |= {"OPENLINEAGE_POD_SPOOL_DIR": spool, "OPENLINEAGE_POD_SPOOL_MAX_BYTES": str(SPOOL_BYTES)}
            else:
                # As long as it takes, as close() of openlineage-python.
                environ["OPENLINEAGE_POD_FLUSH_TIMEOUT"] = "60"
        arguments = [case.runs, case.seconds, *([case.warm_up] if case.warm_up else [])]
        measured = bench.run("runs" if case.kind == "ours" else "runs_by_hand", arguments, environ)
        # Named <time>~<run id>~<event type>~<process>.json.
        spooled = {tuple(file.name.split("~")[1:3]) for file in Path(spool).glob("new/*.json")}
    arrived = {(run_id, event_type) for run_id, event_type, _ in bench.delivered()}
    printed = measured.stderr.count("OPENLINEAGE_POD_EVENT ")
    if measured.exit_code or len(arrived | spooled) + printed < 2 * case.runs:
        raise RuntimeError(
            f"{case}: exit code {measured.exit_code}, {len(arrived)} arrived, {len(spooled)} spooled, "
            f"{printed} printed, stderr: …{measured.stderr[-1000:]}"
        )
    said = json.loads(measured.stdout)
    in_loop = (said["ended"] - said["began"]) / 1e9
    return Looped(
        per_run=in_loop / (case.runs - 1 if case.warm_up else case.runs) - case.seconds,
        total=measured.total,
        in_loop=in_loop,
        exit=(measured.ended - said["ended"]) / 1e9,
        peak=said["peak"],
    )


def interleaved(bench: Bench, *cases: Case) -> list[list[Looped]]:
    """Run all cases in turn, several times."""
    repetitions = [[run(bench, case) for case in cases] for _ in range(REPETITIONS)]
    return [list(looped) for looped in zip(*repetitions, strict=True)]


def scaled(looped: Looped) -> Looped:
    """Return what would come out with many runs instead of few: only the loop becomes longer."""
    longer = looped.in_loop * (MANY / FEW - 1)
    return looped._replace(total=looped.total + longer, in_loop=looped.in_loop + longer)


class Figure(NamedTuple):
    """A figure of the table: how it is read from a result, its unit, and how many digits it is given."""

    of: Callable[[Looped], float]
    unit: float
    digits: int

    def compared(self, what: str, ours: Sequence[Looped], with_what: str, others: Sequence[Looped], goal: float) -> str:
        """Return a row that sets the figure of ours beside that of something else."""
        values, other_values = list(map(self.of, ours)), list(map(self.of, others))
        return compared(what, values, with_what, other_values, unit=self.unit, digits=self.digits, goal=goal)

    def alone(self, what: str, ours: Sequence[Looped], goal: float) -> str:
        """Return a row about the figure of ours, all of which has to be within the goal."""
        values = list(map(self.of, ours))
        reached = f"≤ {goal:g} s: {verdict(reached=max(values) <= goal)}"
        return row(what, spread(values, self.unit, self.digits), "", "", "", reached)


TOTAL = Figure(lambda looped: looped.total, 1, 2)
CALLER = Figure(lambda looped: looped.per_run, 1e-3, 2)
PEAK = Figure(lambda looped: looped.peak, 1024 * 1024, 1)
EXIT = Figure(lambda looped: looped.exit, 1, 2)


def table(bench: Bench) -> list[str]:
    """Measure and return the lines of a table."""
    ours, by_async, by_http = interleaved(
        bench, Case("ours", MANY, "living"), Case("async_http", MANY, "living"), Case("http", FEW, "living")
    )
    in_a_row, paced = (
        interleaved(
            bench,
            Case("ours", FOR_CALLER, "instant", seconds, WARM_UP),
            Case("ours", FOR_CALLER, "instant", seconds, WARM_UP, spool=True),
            Case("http", FOR_CALLER, "instant", seconds, WARM_UP),
        )
        for seconds in (0, PACE)
    )
    one, one_http = interleaved(bench, Case("ours", 1, "living"), Case("http", 1, "living"))
    refusing, hung, some, most = interleaved(
        bench,
        *(Case("ours", 1, backend, seconds=0.5, spool=True) for backend in ("refusing", "hung")),
        *(Case("ours", runs, "refusing", seconds=PACE, spool=True) for runs in (UNDELIVERED // 10, UNDELIVERED)),
    )
    total, caller, peak = f"total of {MANY:,} runs, s", "entering and leaving a run, ms", "peak memory, MiB"
    lines = [
        "| many runs | `lineage_run` | by hand | | ratio | goal |",
        "|---|---|---|---|---|---|",
        TOTAL.compared(total, ours, "`async_http`", by_async, GOAL_ASYNC),
        TOTAL.compared(total, ours, f"`http`, scaled from {FEW} runs", list(map(scaled, by_http)), GOAL_HTTP),
    ]
    for how, (plain, spool, http) in (("one after the other", in_a_row), (f"bodies of {PACE * 1000:g} ms", paced)):
        lines.append(CALLER.compared(f"{caller}: {how}", plain, "`http`", http, GOAL_CALLER))
        lines.append(CALLER.compared(f"{caller}: {how}, with a spool", spool, "`http`", http, GOAL_CALLER_SPOOL))
    end = "end of the body to end of the process, s"
    return [
        *lines,
        PEAK.compared(f"{peak}: one run", one, "`http`", one_http, GOAL_MEMORY),
        PEAK.compared(f"{peak}: {MANY:,} runs", ours, "`async_http`", by_async, GOAL_MEMORY),
        "",
        "| with a spool, dead backend | `lineage_run` | compared with | | ratio | goal |",
        "|---|---|---|---|---|---|",
        EXIT.alone(f"{end}: refuses connections", refusing, GOAL_EXIT),
        EXIT.alone(f"{end}: accepts and never answers", hung, GOAL_EXIT),
        EXIT.alone(f"{end}: {2 * UNDELIVERED:,} undelivered events", most, GOAL_EXIT),
        PEAK.compared(
            f"{peak}: {2 * UNDELIVERED:,} undelivered events", most, f"{UNDELIVERED // 5:,}", some, GOAL_MEMORY
        ),
    ]
