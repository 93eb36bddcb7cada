"""The plan of a command: its options, its environment and its run's identity, made before the command is spawned.

The command waits for what this module imports and does.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from openlineage_pod import environment
from openlineage_pod.core.identity import Identity, identify
from openlineage_pod.core.parent import read_parent, without_own
from openlineage_pod.events.facets import job_type
from openlineage_pod.settings import ConfigurationError, Settings
from openlineage_pod.wrapper.metadata_file import make_metadata_file
from openlineage_pod.wrapper.oom import count_oom_kills
from openlineage_pod.wrapper.process_limit import has_few_processes
from openlineage_pod.wrapper.program import Program, program_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from openlineage_pod.core.parent import ParentContext
    from openlineage_pod.core.runtime import Runtime

__all__ = ["Plan", "RunOptions", "inherited_environment", "make_plan"]


class RunOptions(NamedTuple):
    """The options of `openlineage-pod run`.

    Attributes:
        job_name: The explicit job name; None: as for any run.
        namespace: The explicit job namespace; None: as for any run.
        inputs: URIs of datasets that the command reads.
        outputs: URIs of datasets that it writes.
        abort_on: Exit codes that are reported as ABORT.
        complete_on: Exit codes that are reported as COMPLETE.
        signal_group: Whether signals are forwarded to the whole process group of the command.
        kill_after: Seconds between a stop signal and SIGKILL; None: the wrapper never sends SIGKILL.
        summary: Whether the line of success is written to stderr, as with `OPENLINEAGE_POD_SUMMARY`.

    """

    job_name: str | None = None
    namespace: str | None = None
    inputs: Sequence[str] = ()
    outputs: Sequence[str] = ()
    abort_on: Sequence[int] = ()
    complete_on: Sequence[int] = ()
    signal_group: bool = False
    kill_after: float | None = None
    summary: bool = False


class Plan(NamedTuple):
    """What is decided before the command is spawned.

    Attributes:
        environs: The environment of the command, then the plain one, for a kernel that finds the first one too long.
        began: The time of the start, in Unix seconds and in monotonic ones.
        program: What the command runs.
        settings: Of this process.
        parent: The run that started this process, if anybody named it.
        parent_problems: What was wrong with the variables that name the parent.
        runtime: Of this process; made this early only in strict mode.
        identity: Of the command's run; None if the run is not reported.
        problems: One sentence for each name that cannot be used.
        metadata_file: The path of the metadata file; empty if there is none.
        oom_kills: The kernel's count before the command; None if unknown.
        has_few_processes: Whether the command may need every process that the kernel allows.
        error: What went wrong in the making of the plan.

    """

    environs: Sequence[dict[str, str]]
    began: tuple[float, float]
    program: Program = Program("command", "command", "UNKNOWN")
    settings: Settings = Settings({})
    parent: ParentContext | None = None
    parent_problems: Sequence[str] = ()
    runtime: Runtime | None = None
    identity: Identity | None = None
    problems: Sequence[str] = ()
    metadata_file: str = ""
    oom_kills: int | None = None
    has_few_processes: bool = False
    error: Exception | None = None


def make_plan(command: Sequence[str], options: RunOptions) -> Plan:
    """Return the plan for a command. An error of ours is kept in the plan, so that the command runs all the same.

    Raises:
        ConfigurationError: In strict mode, for the first problem of the configuration.

    """
    plan = Plan([inherited_environment()], (time.time(), time.monotonic()))
    try:
        return _complete(plan._replace(program=program_of(command)), options)
    except ConfigurationError:
        raise
    except Exception as error:
        return plan._replace(error=error)


def _complete(plan: Plan, options: RunOptions) -> Plan:
    settings = Settings.from_env()
    settings = settings._replace(summary=settings.summary or options.summary)
    parent, parent_problems = read_parent(settings.environ)
    plan = plan._replace(settings=settings, parent=parent, parent_problems=parent_problems)
    if settings.strict:
        from openlineage_pod.core.runtime import Runtime  # deferred: only strict mode makes the command wait for it

        # It checks everything, the transport too.
        plan = plan._replace(runtime=Runtime(settings, parent, parent_problems))
    if settings.disabled:
        return plan
    identity, problems = identify(
        settings,
        parent,
        job_name=options.job_name,
        job_namespace=options.namespace,
        default_name=plan.program.name,
        run_id=settings.run_id,
    )
    if settings.strict and problems:
        from openlineage_pod.core.runtime import configuration_error

        raise configuration_error(settings, problems)
    (inherited,) = plan.environs
    inherited.pop(environment.REPORT, None)  # the file of a wrapper around this one
    environ = identity.as_parent(job_type("COMMAND")).child_env(inherited)
    plan = plan._replace(
        environs=[environ, without_own(inherited)],
        identity=identity,
        problems=problems,
        oom_kills=count_oom_kills(),
        has_few_processes=has_few_processes(),
    )
    metadata_file = make_metadata_file()
    if metadata_file:
        environ[environment.REPORT] = metadata_file
    return plan._replace(metadata_file=metadata_file)


def inherited_environment() -> dict[str, str]:
    """Return the environment that this process was started with."""
    environ = dict(os.environ)
    environ.pop("", None)  # posix_spawn refuses it
    with suppress(OSError), open("/proc/self/environ", "rb") as file:
        entries = file.read().split(b"\0")
        environ.pop(environment.LC_CTYPE, None)  # Python itself sets it in a C locale (PEP 538)
        for entry in entries:
            name, _, value = entry.partition(b"=")
            if name == environment.LC_CTYPE.encode():
                environ[environment.LC_CTYPE] = os.fsdecode(value)
                break
    return environ
