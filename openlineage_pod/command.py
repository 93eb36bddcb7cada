"""`openlineage-pod run -- command`: the run of a command in any language, reported from outside.

The command starts first; what reports it is imported while it runs already.
"""

from __future__ import annotations

import json
import math
import os
import signal
import stat
import tempfile
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

from openlineage_pod import settings as names
from openlineage_pod._guard import guarded, logger
from openlineage_pod._stderr import write_stderr
from openlineage_pod.datasets import dataset
from openlineage_pod.outcome import COMPLETE, Outcome
from openlineage_pod.process import Ended, Supervisor, block_signals
from openlineage_pod.run import make_run, start_run
from openlineage_pod.runtime import runtime

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from openlineage_pod.run import LineageRun

__all__ = ["RunOptions", "as_options", "run_command"]

# Of the grace period, what is kept for the delivery of the end before the SIGKILL.
_RESERVE = 3.0
_TERMINATION_LOG = "/dev/termination-log"
_LONGEST_TERMINATION_MESSAGE = 4096
# Of a longer report, or one that takes longer, the rest is ignored: the end of the process must not wait for it.
_LONGEST_REPORT = 16 * 1024 * 1024
_READING_TIME = 5.0
_KILLED = 128 + signal.SIGKILL
_LANGUAGE = "COMMAND"
_JOB_TYPE = {"processingType": "BATCH", "integration": "KUBERNETES_POD", "jobType": "COMMAND"}


class RunOptions(NamedTuple):
    """The options of `openlineage-pod run`; see its `--help`."""

    job_name: str | None = None
    namespace: str | None = None
    inputs: Sequence[str] = ()
    outputs: Sequence[str] = ()
    abort_on: Sequence[int] = ()
    complete_on: Sequence[int] = ()
    signal_group: bool = False
    kill_after: float | None = None


def run_command(command: Sequence[str], options: RunOptions) -> int:
    """Run `command`, report it, and return its exit code, or 128 + n after a death by signal n; 126 or 127: no start.

    Args:
        command: the program and its arguments.
        options: how to report it.

    """
    mask = block_signals()
    reporter = _Reporter(command, options)
    supervisor = Supervisor(
        command,
        reporter.environ,
        mask=mask,
        to_group=options.signal_group,
        kill_after=options.kill_after,
    )
    ended = supervisor.start()
    with guarded("report the start of the command"):
        reporter.start()
    if ended is None:
        ended = supervisor.wait(lambda number: reporter.stopping(number, supervisor))
    else:
        write_stderr(f"openlineage-pod: {ended.error}\n", time.monotonic() + 0.2)
    with guarded("report the end of the command"):
        reporter.end(ended)
    return ended.code


class _Reporter:
    """The run of one command. Its methods run on the supervisor's thread, and only `end` may take time."""

    def __init__(self, command: Sequence[str], options: RunOptions) -> None:
        self._options = options
        self._run: LineageRun | None = None
        self._report = ""
        self._oom_kills = 0
        self._stop_deadline: float | None = None
        self._reserve = 0.0
        self.environ = dict(os.environ)
        _restore("LC_CTYPE", self.environ)  # Python itself sets it where the locale is that of C (PEP 538)
        with guarded("prepare the report of the command"):
            self._prepare(os.path.basename(command[0].rstrip("/")) or "command")

    def _prepare(self, name: str) -> None:
        if runtime().settings.disabled:
            return
        options = self._options
        self._run = make_run(
            runtime(),
            job_name=options.job_name,
            job_namespace=options.namespace,
            default_name=name,
            inputs=tuple(options.inputs),
            outputs=tuple(options.outputs),
            job_facets={"jobType": _JOB_TYPE},
        )
        self.environ = self._run.child_env(self.environ)
        self._oom_kills = _oom_kills()
        self.environ.pop(names.REPORT, None)  # that of a wrapper around this one
        with suppress(OSError):  # without a writable temporary directory the command cannot tell us more
            descriptor, self._report = tempfile.mkstemp(prefix="openlineage-pod-", suffix=".jsonl")
            os.close(descriptor)
            self.environ[names.REPORT] = self._report

    def start(self) -> None:
        """Report the START, with the time before the command was spawned."""
        if self._run is not None:
            start_run(self._run)

    def stopping(self, number: int, supervisor: Supervisor) -> None:
        """Note that the command was asked to end: there may be no time to report what becomes of it."""
        if self._run is None:
            return
        aborted = Outcome("ABORT", f"stopped by {_name(number)}, and killed before it ended", language=_LANGUAGE)
        with guarded("prepare for the end"):
            self._run._bequeath(aborted)
            grace = runtime().settings.grace_period
            self._reserve = min(_RESERVE, grace / 2)
            self._stop_deadline = time.monotonic() + grace - self._reserve
            supervisor.at(self._stop_deadline, lambda: self._end(aborted))

    def end(self, ended: Ended) -> None:
        """Report how the command ended, deliver, and leave a last word where Kubernetes looks for it."""
        if self._run is None:
            return
        with guarded(f"read what the command reported in {names.REPORT}"):
            self._read_report()
        outcome = _outcome_of(ended, self._options, oom=_oom_kills() > self._oom_kills)
        self._end(outcome)
        if outcome.state != "COMPLETE":
            with suppress(OSError):
                _leave_last_word(outcome.message)
        budget = runtime().settings.flush_timeout
        if self._stop_deadline is not None:
            budget = min(budget, max(0.2, self._stop_deadline + self._reserve * 2 / 3 - time.monotonic()))
        runtime().delivery.close(budget)

    def _end(self, outcome: Outcome) -> None:
        if self._run is not None:
            self._run._end(outcome)

    def _read_report(self) -> None:
        if not self._report or self._run is None:
            return
        try:
            # Not blocking: the command may have put a pipe in its place.
            descriptor = os.open(self._report, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            with open(descriptor, "rb") as file:
                if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                    raise OSError("it is no file any more")
                lines = file.read(_LONGEST_REPORT + 1).split(b"\n")
                is_cut = file.tell() > _LONGEST_REPORT
        finally:
            with suppress(OSError):
                os.unlink(self._report)
        if is_cut:
            del lines[-1]
        deadline = min(time.monotonic() + _READING_TIME, self._stop_deadline or math.inf)
        for number, line in enumerate(lines, 1):
            if time.monotonic() > deadline:
                is_cut, lines = True, lines[: number - 1]
                break
            if line.strip():
                self._merge(self._run, line.decode("utf-8", "replace"), f"line {number} of {names.REPORT}")
        if is_cut:
            logger.warning("%s is too long; what follows line %d is ignored", names.REPORT, len(lines))

    def _merge(self, run: LineageRun, line: str, where: str) -> None:
        """Add one line of the command's report to the run."""
        try:
            told = json.loads(line)
        except (ValueError, RecursionError) as error:
            logger.warning("%s is no JSON (%s) and ignored. Example: %s", where, error, _REPORT_EXAMPLE)
            return
        kinds = [kind for kind in _REPORT_KINDS if isinstance(told, dict) and kind in told]
        if len(kinds) != 1:
            logger.warning(
                "%s has none or several of input, output, runFacet and jobFacet, and is ignored. Example: %s",
                where,
                _REPORT_EXAMPLE,
            )
            return
        (kind,) = kinds
        value = told.pop(kind)
        if kind in ("input", "output"):
            unknown = told.keys() - {"schema", "rows", "size", "files", "facets"}
            if unknown:
                logger.warning("%s: unknown keys are ignored: %s", where, ", ".join(sorted(unknown)))
            described = dataset(value, **{key: item for key, item in told.items() if key not in unknown})
            run._add(run._inputs if kind == "input" else run._outputs, described, f"{kind} ({where})")
            return
        if not isinstance(value, dict) or not all(key and isinstance(facet, dict) for key, facet in value.items()):
            logger.warning('%s: %s is no object of facets, such as {"nominalTime": {…}}', where, kind)
            return
        for key, facet in value.items():
            (run.add_run_facet if kind == "runFacet" else run.add_job_facet)(key, facet)


_REPORT_KINDS = ("input", "output", "runFacet", "jobFacet")
_REPORT_EXAMPLE = '{"output": "s3://lake/accounts", "rows": 10}'


def _outcome_of(ended: Ended, options: RunOptions, *, oom: bool) -> Outcome:
    code = ended.code
    if ended.error:
        return _failed(f"the command could not be started: {ended.error}")
    if code in options.complete_on:
        return COMPLETE
    if code in options.abort_on:
        return Outcome("ABORT", f"the command exited with {code}", language=_LANGUAGE)
    if code == 0:
        return COMPLETE
    how = f"was killed by {_name(code - 128)}" if 128 < code <= 128 + signal.SIGRTMAX else f"exited with {code}"  # noqa: PLR2004
    if code == _KILLED and oom:
        return _failed("the command was killed because it ran out of memory (OOM)")
    if ended.stopped_by is not None:
        return Outcome("ABORT", f"stopped by {_name(ended.stopped_by)}; the command {how}", language=_LANGUAGE)
    if code == _KILLED:
        return _failed("the command was killed from outside (SIGKILL, and not for want of memory)")
    return _failed(f"the command {how}")


def _failed(message: str) -> Outcome:
    return Outcome("FAIL", message, language=_LANGUAGE)


def _name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _restore(variable: str, environ: dict[str, str]) -> None:
    """Give a variable the value that this process was started with, or none."""
    with suppress(OSError), open("/proc/self/environ", "rb") as file:
        entries = file.read().split(b"\0")
        environ.pop(variable, None)
        for entry in entries:
            name, _, value = entry.partition(b"=")
            if name == variable.encode():
                environ[variable] = os.fsdecode(value)
                break


def _oom_kills() -> int:
    """Return how often the kernel has killed in this container's control group for want of memory."""
    for path in _memory_files():
        with suppress(OSError, ValueError), open(path) as file:
            counts = dict(line.split() for line in file)
            return int(counts["oom_kill"]) if "oom_kill" in counts else 0
    return 0


def _memory_files() -> Iterable[str]:
    # In a container the group is the root of what is mounted; else /proc says where it is.
    with suppress(OSError), open("/proc/self/cgroup") as file:
        for line in file:
            _, controllers, group = line.strip().split(":", 2)
            if not controllers:
                yield f"/sys/fs/cgroup{group.rstrip('/')}/memory.events"
            elif "memory" in controllers.split(","):
                yield f"/sys/fs/cgroup/memory{group.rstrip('/')}/memory.oom_control"
    yield "/sys/fs/cgroup/memory.events"
    yield "/sys/fs/cgroup/memory/memory.oom_control"


def _leave_last_word(message: str) -> None:
    """Write to where Kubernetes and Airflow look for the reason of a failure, unless the command did."""
    if os.path.exists(_TERMINATION_LOG) and os.path.getsize(_TERMINATION_LOG) == 0:
        # Not blocking: a pipe that nobody reads must not hold up the end.
        with open(os.open(_TERMINATION_LOG, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC), "w", encoding="utf-8") as file:
            file.write(message.encode()[:_LONGEST_TERMINATION_MESSAGE].decode("utf-8", "ignore"))


def as_options(parsed: Any) -> RunOptions:
    """Return the options from what argparse parsed."""
    return RunOptions(**{field: getattr(parsed, field) for field in RunOptions._fields})
