"""What `openlineage-pod run` reports of its command: START, what the command tells us, and how it ended."""

from __future__ import annotations

import json
import os
import signal
import stat
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from openlineage_pod import environment
from openlineage_pod._guard import guarded, logger
from openlineage_pod.core.outcome import COMPLETE, Outcome
from openlineage_pod.core.run import new_run
from openlineage_pod.core.runtime import Runtime
from openlineage_pod.datasets.dataset import dataset
from openlineage_pod.events.document import job_type
from openlineage_pod.wrapper.oom import count_oom_kills

if TYPE_CHECKING:
    from openlineage_pod.core.run import RunRecorder
    from openlineage_pod.wrapper.command import Plan, RunOptions
    from openlineage_pod.wrapper.supervisor import Ended, Supervisor

__all__ = ["Reporter"]

# Of the grace period, what is kept for the delivery of the end before the SIGKILL.
_RESERVE = 3.0
# What there is time for also where there is none left.
_LEAST = 0.2
_TERMINATION_LOG = "/dev/termination-log"
_MAX_TERMINATION_MESSAGE = 4096
# Of a longer report, or one that takes longer, the rest is ignored: the end of the process must not wait for it.
_MAX_REPORT = 16 * 1024 * 1024
_KILLED = 128 + signal.SIGKILL
_LANGUAGE = "COMMAND"


class Reporter:
    """The run of one command, which has started already.

    Args:
        plan: what was settled before.
        options: how to report it.

    """

    def __init__(self, plan: Plan, options: RunOptions) -> None:
        self._plan = plan
        self._options = options
        self._runtime: Runtime | None = None
        self._run: RunRecorder | None = None
        self._stop_deadline: float | None = None
        self._reserve = 0.0
        self._last_chance: threading.Thread | None = None
        with guarded("report the start of the command"):
            self._start()

    def _start(self) -> None:
        if self._plan.error is not None:
            raise self._plan.error
        # Not that of the process: this one ends by os._exit, and its signals are the supervisor's.
        self._runtime = self._plan.runtime or Runtime.from_settings(self._plan.settings)
        if self._plan.identity is None:
            return
        for problem in self._plan.problems:
            logger.warning("%s", problem)
        self._run = new_run(
            self._runtime,
            self._plan.identity,
            began=self._plan.began,
            inputs=self._options.inputs,
            outputs=self._options.outputs,
            job_facets={"jobType": job_type("COMMAND")},
        )
        self._run.start()

    def stopping(self, number: int, supervisor: Supervisor, since: float) -> None:
        """Note that the command was asked to end: there may be no time to report what becomes of it.

        Args:
            number: the signal.
            supervisor: takes a timer, if the command will be killed.
            since: when the signal came, in monotonic seconds.

        """
        if self._run is None:
            return
        aborted = Outcome("ABORT", f"stopped by {_name(number)}, and killed before it ended", language=_LANGUAGE)
        with guarded("prepare for the end"):
            self._run.write_fallback(aborted)
            if number != signal.SIGTERM:  # only that one is followed by a SIGKILL
                return
            grace = self._plan.settings.grace_period
            self._reserve = min(_RESERVE, grace / 2)
            self._stop_deadline = since + grace - self._reserve
            supervisor.at(self._stop_deadline, lambda: self._take_last_chance(aborted))

    def _take_last_chance(self, aborted: Outcome) -> None:
        """Report the end before the SIGKILL, on a thread: this one goes on with the signals."""

        def take() -> None:
            self._end(aborted, time.monotonic() + _LEAST)
            self._deliver(time.monotonic() + self._reserve * 2 / 3)

        with guarded("report the end of the command"):
            thread = threading.Thread(target=take, name="openlineage-pod-last-chance", daemon=True)
            thread.start()
            self._last_chance = thread  # only one that runs: the container may have no more threads

    def end(self, ended: Ended, deadline: float) -> None:
        """Report how the command ended, deliver until the deadline, and leave a termination message."""
        if self._run is None:
            return
        now = time.monotonic()
        if self._stop_deadline is not None:
            deadline = min(deadline, max(now + _LEAST, self._stop_deadline + self._reserve * 2 / 3))
        outcome = _outcome_of(ended, self._options, oom=self._ran_out_of_memory())
        if self._last_chance is None:
            self._end(outcome, now + max(_LEAST, (deadline - now) / 2))
        else:
            self._last_chance.join(max(0.0, deadline - now))
            with guarded("report the end of the command"):
                self._run.end(outcome)  # has no effect, unless that thread has not come to it yet
        if outcome.state != "COMPLETE":
            with suppress(OSError):
                _leave_termination_message(outcome.message)
        self._deliver(deadline)

    def _ran_out_of_memory(self) -> bool | None:
        before, after = self._plan.oom_kills, count_oom_kills()
        return None if before is None or after is None else after > before

    def _end(self, outcome: Outcome, deadline: float) -> None:
        """Report the end; `deadline` is for reading what the command has told."""
        if self._run is None:
            return
        with guarded(f"read what the command reported in {environment.REPORT}"):
            self._read_report(self._run, deadline)
        with guarded("report the end of the command"):
            self._run.end(outcome)

    def _deliver(self, deadline: float) -> None:
        if self._runtime is not None:
            with guarded("deliver the end of the command"):
                self._runtime.delivery.close(max(0.0, deadline - time.monotonic()))

    def _read_report(self, run: RunRecorder, deadline: float) -> None:
        if not self._plan.report:
            return
        # Not blocking: the command may have put a pipe in its place.
        descriptor = os.open(self._plan.report, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise OSError("it is no file any more")
            size = os.fstat(descriptor).st_size
            lines = file.read(min(size, _MAX_REPORT)).split(b"\n")
            is_cut = size > _MAX_REPORT
        if is_cut:
            del lines[-1]
        for number, line in enumerate(lines, 1):
            if time.monotonic() > deadline:
                is_cut, lines = True, lines[: number - 1]
                break
            if line.strip():
                self._merge(run, line.decode("utf-8", "replace"), f"line {number} of {environment.REPORT}")
        if is_cut:
            logger.warning("%s is too long; what follows line %d is ignored", environment.REPORT, len(lines))

    def _merge(self, run: RunRecorder, line: str, where: str) -> None:
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
            run.add("input" if kind == "input" else "output", described, where)
            return
        if not isinstance(value, dict) or not all(key and isinstance(facet, dict) for key, facet in value.items()):
            logger.warning('%s: %s is no object of facets, such as {"nominalTime": {…}}', where, kind)
            return
        for key, facet in value.items():
            run.add_facet("run" if kind == "runFacet" else "job", key, facet)


_REPORT_KINDS = ("input", "output", "runFacet", "jobFacet")
_REPORT_EXAMPLE = '{"output": "s3://lake/accounts", "rows": 10}'


def _outcome_of(ended: Ended, options: RunOptions, *, oom: bool | None) -> Outcome:
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
        known = "" if oom is None else ", and not for want of memory"
        return _failed(f"the command was killed from outside (SIGKILL{known})")
    return _failed(f"the command {how}")


def _failed(message: str) -> Outcome:
    return Outcome("FAIL", message, language=_LANGUAGE)


def _name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _leave_termination_message(message: str) -> None:
    """Write to where Kubernetes and Airflow look for the reason of a failure, unless the command did."""
    if os.path.exists(_TERMINATION_LOG) and os.path.getsize(_TERMINATION_LOG) == 0:
        # Not blocking: a pipe that nobody reads must not hold up the end.
        with open(os.open(_TERMINATION_LOG, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC), "w", encoding="utf-8") as file:
            file.write(message.encode("utf-8", "replace")[:_MAX_TERMINATION_MESSAGE].decode("utf-8", "ignore"))
