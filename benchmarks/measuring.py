"""What all measurements share: the backend and the environment of the jobs, running one, and saying what came out."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from statistics import median, quantiles
from typing import IO, TYPE_CHECKING, NamedTuple, TypeVar, cast

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

T = TypeVar("T")

HERE = Path(__file__).parent
LATENCY = 0.05
FLUSH_TIMEOUT = 5.0


class Measured(NamedTuple):
    """One process that ran a job; the times in nanoseconds of the clock that all processes share."""

    started: int
    ended: int
    exit_code: int
    stdout: str
    stderr: str

    @property
    def total(self) -> float:
        """Seconds from the start of the process to its end."""
        return (self.ended - self.started) / 1e9


class Started(subprocess.Popen[bytes]):
    """A process with pipes for its input and output."""

    def __init__(self, command: Sequence[str], environ: Mapping[str, str], directory: str) -> None:
        super().__init__(command, env=environ, cwd=directory, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.input = cast("IO[bytes]", self.stdin)
        self.output = cast("IO[bytes]", self.stdout)


class Bench:
    """The backend and the environment that all jobs of one run of the benchmark share."""

    def __init__(self, ports: Mapping[str, int], directory: str) -> None:
        self._ports = ports
        self.directory = directory
        inherited = {name: value for name, value in os.environ.items() if name in ("PATH", "LD_LIBRARY_PATH", "TZ")}
        # An empty home and working directory: no configuration file of this machine takes part. Bytecode is written to
        # and read from a place of the benchmark's own, alike for the job, this project, openlineage-python and the
        # standard library; a PYTHONDONTWRITEBYTECODE of the caller is not inherited.
        self._environ = {
            **inherited,
            "HOME": directory,
            "PYTHONPYCACHEPREFIX": f"{directory}/bytecode",
            "OPENLINEAGE_PARENT_ID": "airflow/reports.nightly/01938a60-0000-7000-8000-000000000000",
        }

    def url(self, backend: str) -> str:
        """Return where a backend listens."""
        return f"http://127.0.0.1:{self._ports[backend]}"

    def run(self, script: str, arguments: Iterable[object], environ: Mapping[str, str]) -> Measured:
        """Run a script of jobs/ to its end."""
        command = [sys.executable, str(HERE / "jobs" / f"{script}.py"), *map(str, arguments)]
        started = time.monotonic_ns()
        # Without a timeout, because a wait with one polls at intervals.
        done = subprocess.run(
            command,
            env={**self._environ, **environ},
            cwd=self.directory,
            capture_output=True,
            stdin=subprocess.DEVNULL,
            check=False,
        )
        ended = time.monotonic_ns()
        return Measured(started, ended, done.returncode, done.stdout.decode(), done.stderr.decode())

    def start(self, command: Sequence[str], environ: Mapping[str, str]) -> Started:
        """Start any command."""
        return Started(command, {**self._environ, **environ}, self.directory)

    def delivered(self) -> list[tuple[str, str, bool]]:
        """Return run id, type and whether there is a parent of each event that has arrived since the last call."""
        connection = HTTPConnection("127.0.0.1", self._ports["living"])
        connection.request("GET", "/")
        events = [tuple(event) for event in json.loads(connection.getresponse().read())]
        connection.close()
        return events


@contextmanager
def prepared() -> Iterator[Bench]:
    """Start the backend."""
    with tempfile.TemporaryDirectory() as directory:
        command = [sys.executable, str(HERE / "backend.py"), str(LATENCY)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as backend:
            # Leaving this block closes the backend's stdin, which ends it.
            yield Bench(json.loads(backend.stdout.readline()) if backend.stdout else {}, directory)


def in_turn(measure: Callable[[str], T], variants: Sequence[str], repetitions: int) -> dict[str, list[T]]:
    """Measure all variants in turn, each repetition beginning with another one; the first one does not count."""
    measured: dict[str, list[T]] = {variant: [] for variant in variants}
    for repetition in range(-1, repetitions):
        first = repetition % len(variants)
        for variant in (*variants[first:], *variants[:first]):
            value = measure(variant)
            if repetition >= 0:
                measured[variant].append(value)
    return measured


def added(measured: Mapping[str, Sequence[float]], variant: str, base: str) -> list[float]:
    """Return what a variant adds to another one within the same repetition."""
    return [value - without for value, without in zip(measured[variant], measured[base], strict=True)]


def peak_memory(pid: int) -> int:
    """Return the most memory that a process has had so far, in bytes."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:")) * 1024


def spread(values: Sequence[float], unit: float, digits: int) -> str:
    """Return the median, with the middle half of the values, in multiples of `unit`."""
    low, _, high = quantiles(values, n=4, method="inclusive")
    return f"{median(values) / unit:.{digits}f} ({low / unit:.{digits}f} to {high / unit:.{digits}f})"


def verdict(*, reached: bool) -> str:
    """Say how it stands with a goal."""
    return "reached" if reached else "**missed**"


def row(*cells: str) -> str:
    """Return a row of a table."""
    return f"| {' | '.join(cells)} |"


def compared(
    what: str,
    ours: Sequence[float],
    with_what: str,
    others: Sequence[float],
    *,
    unit: float,
    digits: int,
    goal: float | None = None,
) -> str:
    """Return a row that sets our values beside those of something else; `goal` is what the ratio may be at the most."""
    ratio = median(ours) / median(others)
    reached = "" if goal is None else f"≤ {goal:g}: {verdict(reached=ratio <= goal)}"
    return row(what, spread(ours, unit, digits), with_what, spread(others, unit, digits), f"{ratio:.2f}", reached)
