"""`openlineage-pod run -- command`: spawns the command first, and reports its run beside it.

What is imported here, the command waits for. All else is imported by a thread, while the command runs already.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from openlineage_pod import environment
from openlineage_pod.core.identity import Identity, identify
from openlineage_pod.core.parent import read_parent, without_own
from openlineage_pod.events.uuid7 import new_uuid7
from openlineage_pod.settings import ConfigurationError, Settings
from openlineage_pod.wrapper.oom import count_oom_kills
from openlineage_pod.wrapper.supervisor import Supervisor, block_signals

if TYPE_CHECKING:
    from collections.abc import Sequence

    from openlineage_pod.core.runtime import Runtime
    from openlineage_pod.wrapper.reporter import Reporter
    from openlineage_pod.wrapper.supervisor import Ended

__all__ = ["Plan", "RunOptions", "run_command"]

# Seconds that another thread may keep the interpreter from this one, which forwards the signals (Python's own: 5 ms).
_SWITCH_INTERVAL = 0.0005
# How soon to look again whether what reports the command is there.
_AGAIN = 0.05
# Seconds that its imports get also where there is no time for delivery: without it no event could be printed.
_LEAST = 1.0
# The last one is there also where the root file system is read-only.
_TEMPORARY = ("/tmp", "/var/tmp", "/dev/shm")  # noqa: S108


class RunOptions(NamedTuple):
    """The options of `openlineage-pod run`.

    `job_name` and `namespace` of the run (None: as for any run); `inputs` and `outputs` are URIs of datasets that it
    declares; exit codes in `abort_on` and `complete_on` are reported as ABORT and COMPLETE; `signal_group` forwards
    signals to the command's whole process group; `kill_after` are the seconds between a stop signal and SIGKILL (None:
    it is never sent).
    """

    job_name: str | None = None
    namespace: str | None = None
    inputs: Sequence[str] = ()
    outputs: Sequence[str] = ()
    abort_on: Sequence[int] = ()
    complete_on: Sequence[int] = ()
    signal_group: bool = False
    kill_after: float | None = None


class Plan(NamedTuple):
    """What is settled before the command is spawned.

    `environs` are its environment, and the plain one should the kernel find that too long. `began` is the time, in Unix
    seconds and in monotonic ones; `runtime` is there already in strict mode. `identity` is that of its run, None if it
    is not reported; `problems` are about its names. `report` is the path of the file in which the command may tell
    more, empty if there is none; `oom_kills` is the kernel's count before, None if unknown. `error` is what went wrong.
    """

    environs: Sequence[dict[str, str]]
    began: tuple[float, float]
    settings: Settings = Settings({})
    runtime: Runtime | None = None
    identity: Identity | None = None
    problems: Sequence[str] = ()
    report: str = ""
    oom_kills: int | None = None
    error: Exception | None = None


def run_command(command: Sequence[str], options: RunOptions) -> int:
    """Run `command`, report it, and return its exit code, or 128 + n after a death by signal n; 126 or 127: no start.

    Args:
        command: the program and its arguments.
        options: how to report it.

    Raises:
        ConfigurationError: In strict mode, for the first problem of the configuration; the command is not started.

    """
    mask = block_signals()
    plan = _plan(command, options)
    supervisor = Supervisor(
        command,
        plan.environs,
        mask=mask,
        to_group=options.signal_group,
        kill_after=options.kill_after,
    )
    ended = supervisor.start()
    sys.setswitchinterval(_SWITCH_INTERVAL)
    reporting = _Reporting(plan, options)
    if ended is None:
        ended = supervisor.wait(lambda number: reporting.stopping(number, supervisor))
    else:
        _say(ended.error)
    reporting.end(ended)
    return ended.code


class _Reporting:
    """The reporter, which a thread imports and sets to work."""

    def __init__(self, plan: Plan, options: RunOptions) -> None:
        self._work = plan, options
        self._reporter: Reporter | None = None
        self._thread = threading.Thread(target=self._make, name="openlineage-pod-reporter", daemon=True)
        try:
            self._thread.start()
        except RuntimeError:  # the container may have no more threads
            self._make()

    def stopping(self, number: int, supervisor: Supervisor, since: float | None = None) -> None:
        """Note that the command was asked to end; never waits, for the next signal is to be forwarded at once."""
        since = since or time.monotonic()
        is_making = self._thread.is_alive()  # asked first: it may come to its end meanwhile
        if self._reporter is not None:
            self._reporter.stopping(number, supervisor, since)
        elif is_making:
            supervisor.at(time.monotonic() + _AGAIN, lambda: self.stopping(number, supervisor, since))

    def end(self, ended: Ended) -> None:
        """Report how the command ended, within the flush timeout."""
        plan, _ = self._work
        flush_timeout = plan.settings.flush_timeout
        deadline = time.monotonic() + flush_timeout
        if self._thread.ident is not None:
            self._thread.join(max(_LEAST, flush_timeout))
        if self._reporter is not None:
            self._reporter.end(ended, deadline)
        elif self._thread.is_alive():
            _say("the run of the command is not reported: the imports for it take too long")
        if plan.report:
            with suppress(OSError):
                os.unlink(plan.report)

    def _make(self) -> None:
        try:
            from openlineage_pod.wrapper.reporter import Reporter

            self._reporter = Reporter(*self._work)
        except Exception as error:  # ours, and not the command's
            _say(f"the run of the command is not reported ({type(error).__name__}: {error})")


def _say(what: str) -> None:
    """Write a line to stderr, by a thread: it may be full. Nothing is imported for it: that may be what hangs."""

    def write() -> None:
        with suppress(OSError):
            os.write(2, f"openlineage-pod: {what}\n".encode("utf-8", "backslashreplace"))

    thread = threading.Thread(target=write, daemon=True)
    with suppress(RuntimeError):
        thread.start()
        thread.join(0.2)


def _plan(command: Sequence[str], options: RunOptions) -> Plan:
    plan = Plan([_inherited()], (time.time(), time.monotonic()))
    try:
        return _planned(plan, os.path.basename(command[0].rstrip("/")) or "command", options)
    except ConfigurationError:
        raise
    except Exception as error:  # ours, and not the command's
        return plan._replace(error=error)


def _planned(plan: Plan, name: str, options: RunOptions) -> Plan:
    settings = Settings.from_env()
    plan = plan._replace(settings=settings)
    if settings.strict:
        from openlineage_pod.core.runtime import Runtime

        plan = plan._replace(runtime=Runtime.from_settings(settings))  # checks all of it, also the transport
    if settings.disabled:
        return plan
    parent, _ = read_parent(settings.environ)  # its problems are reported with those of the settings
    identity, problems = identify(
        settings,
        parent,
        job_name=options.job_name,
        job_namespace=options.namespace,
        default_name=name,
        run_id=settings.run_id,
    )
    if settings.strict and problems:
        from openlineage_pod.core.runtime import configuration_error

        raise configuration_error(settings, problems)
    (inherited,) = plan.environs
    inherited.pop(environment.REPORT, None)  # that of a wrapper around this one
    environ = identity.as_parent().child_env(inherited)
    plan = plan._replace(
        environs=[environ, without_own(inherited)], identity=identity, problems=problems, oom_kills=count_oom_kills()
    )
    report = _new_report()
    if report:
        environ[environment.REPORT] = report
    return plan._replace(report=report)


def _new_report() -> str:
    """Make the file for what the command reports; empty if there is no place for it.

    By hand, because the import of tempfile costs the command 6 ms. Nobody can know its name before.
    """
    for directory in filter(None, (os.environ.get(environment.TMPDIR), *_TEMPORARY)):
        with suppress(OSError, ValueError):
            path = os.path.join(os.path.abspath(directory), f"openlineage-pod-{new_uuid7()}.jsonl")
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))
            return path
    return ""


def _inherited() -> dict[str, str]:
    """Return the environment that this process was started with."""
    environ = dict(os.environ)
    environ.pop("", None)  # posix_spawn refuses it
    with suppress(OSError), open("/proc/self/environ", "rb") as file:
        entries = file.read().split(b"\0")
        environ.pop(environment.LC_CTYPE, None)  # Python itself sets it where the locale is that of C (PEP 538)
        for entry in entries:
            name, _, value = entry.partition(b"=")
            if name == environment.LC_CTYPE.encode():
                environ[environment.LC_CTYPE] = os.fsdecode(value)
                break
    return environ
