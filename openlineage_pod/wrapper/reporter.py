"""The reporter of a command: START, the datasets and facets that the command described, and how it ended."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from openlineage_pod import environment
from openlineage_pod._guard import guarded, logger
from openlineage_pod._threads import start_thread
from openlineage_pod.core.outcome import COMPLETE, Outcome
from openlineage_pod.core.run import new_run
from openlineage_pod.core.runtime import Runtime
from openlineage_pod.events.facets import job_type, processing_engine
from openlineage_pod.events.secrets import SECRETS
from openlineage_pod.settings import quoted
from openlineage_pod.wrapper.metadata_file import merge_metadata_file
from openlineage_pod.wrapper.oom import count_oom_kills

if TYPE_CHECKING:
    from collections.abc import Iterator

    from openlineage_pod._threads import Thread
    from openlineage_pod.core.run import RunRecorder
    from openlineage_pod.wrapper.plan import Plan, RunOptions
    from openlineage_pod.wrapper.supervisor import Ended, Supervisor

__all__ = ["TERMINATION_LOG", "Reporter", "outcome_of_command", "write_termination_message"]

TERMINATION_LOG = "/dev/termination-log"
"""The file in which Kubernetes and Airflow look for the reason of a failure."""

# Seconds of the grace period that are kept for the delivery of the terminal event before the SIGKILL.
_DELIVERY_RESERVE = 3.0
# Seconds for reading the metadata file, and for the delivery, even if there is no time left.
_MIN_TIME = 0.2
_MAX_TERMINATION_MESSAGE = 4096
_OOM_HINT = "a process of the container was killed by the OOM killer"


class Reporter:
    """Reports the run of one command, which has started already.

    Args:
        plan: what was decided before the command was spawned.
        options: how to report the command.

    """

    def __init__(self, plan: Plan, options: RunOptions) -> None:
        self._plan = plan
        self._options = options
        self._runtime: Runtime | None = None
        self._run: RunRecorder | None = None
        self._stop_deadline: float | None = None
        self._reserve = 0.0
        self._last_chance: Thread | None = None
        with guarded("report the start of the command"):
            self._start()

    def _start(self) -> None:
        if self._plan.error is not None:
            raise self._plan.error
        # Not the runtime of the process: this process ends by os._exit, and the supervisor handles its signals.
        self._runtime = self._plan.runtime or Runtime(
            self._plan.settings, self._plan.parent, self._plan.parent_problems
        )
        if self._plan.identity is None:
            return
        for problem in (*self._plan.problems, *_commas(self._options)):
            logger.warning("%s", problem)
        self._run = new_run(
            self._runtime,
            self._plan.identity,
            began=self._plan.began,
            inputs=self._options.inputs,
            outputs=self._options.outputs,
            run_facets={"processing_engine": processing_engine(self._plan.program.executable)},
            job_facets={"jobType": job_type("COMMAND")},
        )
        self._run.start()

    def on_stop_signal(self, number: int, supervisor: Supervisor, since: float) -> None:
        """Prepare for a command that is killed before it ends: a fallback event, and after SIGTERM a last chance.

        Args:
            number: the signal that asked the command to stop.
            supervisor: of the command; takes a timer.
            since: when the signal came, in monotonic seconds.

        """
        if self._run is None:
            return
        reason = f"stopped by {_name(number)}, and killed before it ended"
        aborted = Outcome("ABORT", reason, language=self._plan.program.language)
        with guarded("prepare for the end"):
            self._run.write_fallback(aborted)
            if number != signal.SIGTERM:  # a SIGKILL follows only a SIGTERM
                return
            grace = self._plan.settings.grace_period
            self._reserve = min(_DELIVERY_RESERVE, grace / 2)
            self._stop_deadline = since + grace - self._reserve
            supervisor.call_at(self._stop_deadline, lambda: self._take_last_chance(aborted))

    def _take_last_chance(self, aborted: Outcome) -> None:
        """Report the end before the SIGKILL comes, in a thread: this thread goes on forwarding signals."""

        def take() -> None:
            self._merge_and_end(aborted, time.monotonic() + _MIN_TIME)
            self._deliver(time.monotonic() + self._reserve * 2 / 3)

        with guarded("report the end of the command"):
            self._last_chance = start_thread(take, "last-chance")

    def end(self, ended: Ended, deadline: float) -> None:
        """Report how the command ended, write the termination message, and deliver until the deadline."""
        if self._run is None:
            return
        now = time.monotonic()
        if self._stop_deadline is not None:
            deadline = min(deadline, max(now + _MIN_TIME, self._stop_deadline + self._reserve * 2 / 3))
        outcome = outcome_of_command(ended, self._options, oom=self._ran_out_of_memory())
        outcome = outcome._replace(language=self._plan.program.language)
        if self._last_chance is None:
            self._merge_and_end(outcome, now + max(_MIN_TIME, (deadline - now) / 2))
        else:
            self._last_chance.join(max(0.0, deadline - now))
            self._end(outcome)  # without effect if that thread has reported the end
        if outcome.state != "COMPLETE":
            with suppress(OSError):
                write_termination_message(SECRETS.text(outcome.message))
        self._deliver(deadline)

    def _ran_out_of_memory(self) -> bool | None:
        before, after = self._plan.oom_kills, count_oom_kills()
        return None if before is None or after is None else after > before

    def _merge_and_end(self, outcome: Outcome, deadline: float) -> None:
        """Read the metadata file until the deadline, then report the end."""
        if self._run is not None and self._plan.metadata_file:
            with guarded(f"read what the command reported in {environment.REPORT}"):
                merge_metadata_file(self._plan.metadata_file, self._run, deadline)
        self._end(outcome)

    def _end(self, outcome: Outcome) -> None:
        if self._run is not None:
            with guarded("report the end of the command"):
                self._run.end(outcome)

    def _deliver(self, deadline: float) -> None:
        if self._runtime is not None:
            with guarded("deliver the end of the command"):
                self._runtime.delivery.close(max(0.0, deadline - time.monotonic()))


def outcome_of_command(ended: Ended, options: RunOptions, *, oom: bool | None) -> Outcome:
    """Return the outcome of a command; the first case that applies counts.

    | the command | state |
    |---|---|
    | could not be started | FAIL |
    | exited with a code of `complete_on`, of `abort_on`, with 0 | COMPLETE, ABORT, COMPLETE |
    | was killed by SIGKILL, and the kernel's count of OOM kills has risen | FAIL |
    | had been asked to stop | ABORT |
    | exited with another code, or was killed | FAIL |

    Args:
        ended: how it ended.
        options: `complete_on` and `abort_on`.
        oom: whether the kernel's count of OOM kills has risen; None if unknown.

    """
    code, killed_by = ended.code, ended.killed_by
    if ended.error:
        return _failed(f"the command could not be started: {ended.error}")
    if code in options.complete_on or (code == 0 and code not in options.abort_on):
        return COMPLETE
    # A killed child may be why the command ended so, and its own message may say nothing about it.
    hint = f"; {_OOM_HINT}" if oom else ""
    how = f"exited with {code}" if killed_by is None else f"was killed by {_name(killed_by)}"
    if code in options.abort_on:
        return _aborted(f"the command {how}{hint}")
    if killed_by == signal.SIGKILL and oom:
        return _failed("the command was killed because it ran out of memory (OOM)")
    if ended.stopped_by is not None:
        return _aborted(f"stopped by {_name(ended.stopped_by)}; the command {how}{hint}")
    if killed_by == signal.SIGKILL and oom is not None:
        return _failed("the command was killed by SIGKILL (not by the OOM killer)")
    return _failed(f"the command {how}{hint}")


def _commas(options: RunOptions) -> Iterator[str]:
    """Yield a sentence for each `--input` or `--output` whose comma may stand between two datasets.

    It is not split: a name may have a comma in it. Between the hosts of one URI a comma is at its place.
    """
    for option, uris in (("--input", options.inputs), ("--output", options.outputs)):
        for uri in uris:
            _, separator, rest = uri.partition("://")
            name = rest.partition("/")[2] if separator else uri
            if "," in name or "://" in rest:
                yield (
                    f"{option} {quoted(uri)} is reported as one dataset with a comma in its name; "
                    f"for several datasets repeat the option: {option} A {option} B"
                )


def _failed(message: str) -> Outcome:
    return Outcome("FAIL", message)


def _aborted(message: str) -> Outcome:
    return Outcome("ABORT", message)


def _name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def write_termination_message(message: str) -> None:
    """Write the reason of a failure to the termination log, unless the command has written to it.

    Raises:
        OSError: The file cannot be written.

    """
    if os.path.exists(TERMINATION_LOG) and os.path.getsize(TERMINATION_LOG) == 0:
        # Not blocking: a pipe that nobody reads must not hold up the end.
        with open(os.open(TERMINATION_LOG, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC), "w", encoding="utf-8") as file:
            file.write(message.encode("utf-8", "replace")[:_MAX_TERMINATION_MESSAGE].decode("utf-8", "ignore"))
