"""The current run of each thread and asyncio task, and the run that stands in where there is none."""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Literal

from openlineage_pod import environment
from openlineage_pod._guard import logger
from openlineage_pod.core.handover import hand_over
from openlineage_pod.core.identity import Identity, identify
from openlineage_pod.core.run import LineageRun, RunRecorder, new_run
from openlineage_pod.core.runtime import configuration_error, existing_runtime

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from openlineage_pod.core.program import Program
    from openlineage_pod.core.runtime import Runtime
    from openlineage_pod.datasets.dataset import DatasetSource

__all__ = ["NULL_RUN", "activate", "active_recorders", "current_recorder", "current_run", "deactivate", "make_run"]

_current: ContextVar[RunRecorder | None] = ContextVar("openlineage_pod_run", default=None)


class _NullRecorder:
    """Records nothing, but warns once if another thread has a run: a thread does not inherit the current run."""

    identity = Identity("", "", "", None)

    def add(self, side: Literal["input", "output"], source: DatasetSource) -> None:
        self._ignore(f"the {side} {source}" if isinstance(source, str) else f"an {side}")

    def add_facet(self, _owner: Literal["run", "job"], key: str, _facet: Any) -> None:
        self._ignore(f"the facet {key}")

    def declare(self, state: Literal["FAIL", "ABORT"], _reason: str | BaseException) -> None:
        self._ignore(f"the state {state}")

    def child_env(self, base: Mapping[str, str]) -> dict[str, str]:
        return dict(base)

    def _ignore(self, what: str) -> None:
        current = existing_runtime()
        if current is not None and current.open_runs and not current.told_of_other_threads:
            current.told_of_other_threads = True
            logger.warning(
                "%s is not reported: there is a run, but not in this thread; hand its object to the thread, "
                "or start the thread with contextvars.copy_context().run",
                what,
            )


class _NullRun(LineageRun):
    """The run where none is reported: has the methods of a run, does nothing, and is false."""

    def __bool__(self) -> bool:
        return False

    def __repr__(self) -> str:
        return "<no LineageRun>"


NULL_RUN = _NullRun(_NullRecorder())


def current_run() -> LineageRun:
    """Return the innermost run that is active in this thread or asyncio task.

    Where there is none (outside any run, with `OPENLINEAGE_DISABLED=true`, in a thread that the run did not start
    with its context), it is a run object that does nothing and is false: `current_run().add_input(…)` is always safe.
    """
    recorder = _current.get()
    return recorder.run if recorder is not None else NULL_RUN


def current_recorder() -> RunRecorder | None:
    """Return the recorder of the current run, if there is one."""
    return _current.get()


def active_recorders() -> Iterator[RunRecorder]:
    """Yield the recorders of the current run and of the runs around it, the innermost first."""
    recorder = _current.get()
    while recorder is not None:
        yield recorder
        recorder = recorder.enclosing


def make_run(
    runtime: Runtime,
    *,
    job_name: str | None,
    job_namespace: str | None,
    program: Program,
    **described: Any,
) -> RunRecorder:
    """Make a run, nested in the active one if there is any; `RunRecorder.start` reports its START.

    Args:
        runtime: of this process.
        job_name: the explicit name, if any.
        job_namespace: the explicit namespace, if any.
        program: the function or script.
        described: as for `new_run`.

    Raises:
        ConfigurationError: In strict mode, for a name, dataset or facet that cannot be used.

    """
    enclosing = _current.get()
    identity, problems = identify(
        runtime.settings,
        enclosing.as_parent() if enclosing else runtime.parent,
        job_name=job_name,
        job_namespace=job_namespace,
        default_name=program.name,
        run_id=None if enclosing else runtime.take_run_id(),
        nested=enclosing is not None,
    )
    if problems and runtime.settings.strict:
        raise configuration_error(runtime.settings, problems)
    for problem in problems:
        logger.warning("%s", problem)
    if program.fault and identity.job_name.endswith(program.name) and identity.job_name != job_name:
        logger.warning(
            "the job is called %s because %s; name it: lineage_run('name')%s",
            identity.job_name,
            program.fault,
            f" or {environment.JOB_NAME}" if enclosing is None else "",
        )
    return new_run(runtime, identity, enclosing, strict=runtime.settings.strict, **described)


def activate(recorder: RunRecorder | None) -> None:
    """Make a run the current one of this context, and the parent of processes that multiprocessing starts in it."""
    if recorder is not None:
        _current.set(recorder)
        hand_over(_variables_of_current_run)


def _variables_of_current_run() -> dict[str, str]:
    """Return the variables that name the current run to a child process.

    In a thread without one, such as that of a pool, it is the outermost run of this process if there is only one.
    """
    recorder = _current.get()
    runtime = existing_runtime()
    if recorder is None and runtime is not None:
        runs = [run for run in list(runtime.open_runs.values()) if isinstance(run, RunRecorder)]
        outermost = [run for run in runs if run.enclosing is None]
        recorder = outermost[0] if len(outermost) == 1 else None
    return recorder.as_parent().to_env() if recorder is not None else {}


def deactivate(recorder: RunRecorder | None, before: RunRecorder | None) -> None:
    """Make the run `before` the current one of this context again, if that is `recorder`.

    If `before` has ended in the meantime, as in generators whose steps alternate, the next one around it that has not.

    By value and not by a context variable's token: a generator or a fixture may be left in another context than it
    was entered in, where a token is refused.
    """
    if recorder is not None and _current.get() is recorder:
        while before is not None and before.has_ended:
            before = before.enclosing
        _current.set(before)
