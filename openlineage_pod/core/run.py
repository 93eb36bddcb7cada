"""One run: what a job reports about itself between START and its one terminal event.

`LineageRun` is what the job sees of it; `RunRecorder` records it, and is what the rest of this package works with.
"""

from __future__ import annotations

import os
import sys
import time
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, Literal
from weakref import ref

from openlineage_pod import environment
from openlineage_pod._guard import guarded, logger
from openlineage_pod._once import Once
from openlineage_pod._sigterm import deferring_sigterm
from openlineage_pod.core.collected import CollectedDatasets
from openlineage_pod.core.outcome import COMPLETE, Outcome, outcome_of
from openlineage_pod.core.runtime import configuration_error
from openlineage_pod.core.unhandled import UnhandledErrors, is_interactive
from openlineage_pod.datasets.dataset import Dataset, dataset
from openlineage_pod.events.document import Draft, json_ready
from openlineage_pod.events.facets import facet, is_facet, job_type, processing_engine
from openlineage_pod.settings import quoted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import Protocol

    from openlineage_pod.core.identity import Identity
    from openlineage_pod.core.parent import ParentContext
    from openlineage_pod.core.runtime import Runtime
    from openlineage_pod.datasets.dataset import DatasetSource

    Side = Literal["input", "output"]

    class Recorder(Protocol):
        """What a run tells of itself goes to one; see `RunRecorder`."""

        identity: Identity

        def add(self, side: Side, source: DatasetSource, /) -> None: ...
        def add_facet(self, owner: Literal["run", "job"], key: str, facet: Any, /) -> None: ...
        def declare(self, state: Literal["FAIL", "ABORT"], reason: str | BaseException, /) -> None: ...
        def child_env(self, base: Mapping[str, str], /) -> dict[str, str]: ...


__all__ = ["LineageRun", "RunRecorder", "new_run"]

# Two microseconds, so that an order by the times in the events is the right one.
_MIN_DURATION = 2e-6

_PYTHON = ".".join(map(str, sys.version_info[:3]))


class LineageRun:
    """A run that is being reported; made by `lineage_run`, found with `current_run()`.

    Its methods never raise: what they cannot use is one warning on the logger `openlineage_pod`; only with
    `OPENLINEAGE_POD_STRICT=true` it is a `ConfigurationError`. They may be called from any thread of the process that
    opened the run, until it has ended.

    Attributes:
        run_id: The run's UUID.
        job_name: The job's name, as it stands in the events.
        job_namespace: The job's namespace.
        parent: The run above this one, or None if nobody named one.

    """

    def __init__(self, recorder: Recorder) -> None:
        self.run_id, self.job_name, self.job_namespace, self.parent = recorder.identity
        self._recorder = recorder

    def __repr__(self) -> str:
        return f"<LineageRun {self.job_namespace}/{self.job_name}/{self.run_id}>"

    def add_input(self, source: DatasetSource) -> None:
        """Add a dataset that the run reads.

        Args:
            source: A URI (`"postgres://warehouse:5432/crm.public.accounts"`), the path of a local file, a
                `(namespace, name)` pair, the result of `dataset()`, or one of openlineage-python's dataset objects.
                Adding the same dataset again lays its new facets over the earlier ones.

        """
        self._recorder.add("input", source)

    def add_output(self, source: DatasetSource) -> None:
        """Add a dataset that the run writes; see `add_input`."""
        self._recorder.add("output", source)

    def add_run_facet(self, key: str, facet: Any) -> None:
        """Add a run facet: one of openlineage-python's facet objects, or a dictionary with JSON values.

        In a dictionary, `_producer` and `_schemaURL` are added where missing.
        """
        self._recorder.add_facet("run", key, facet)

    def add_job_facet(self, key: str, facet: Any) -> None:
        """Add a job facet; see `add_run_facet`."""
        self._recorder.add_facet("job", key, facet)

    def fail(self, reason: str | BaseException) -> None:
        """Have the run end as FAIL with this reason; the body goes on, and its own result is untouched."""
        self._recorder.declare("FAIL", reason)

    def abort(self, reason: str | BaseException) -> None:
        """Have the run end as ABORT with this reason; the body goes on, and its own result is untouched."""
        self._recorder.declare("ABORT", reason)

    def child_env(self, base: Mapping[str, str] | None = None) -> dict[str, str]:
        """Return an environment for a child process, which then sees this run as its parent.

        Args:
            base: The variables to start from; default: those of this process. It is copied, never changed.

        Left out are the variables that name this run itself: the child's own run needs other ones.

        """
        return self._recorder.child_env(os.environ if base is None else base)


class RunRecorder:
    """Records one run, and reports its START and its one terminal event.

    Args:
        identity: of the run.
        runtime: of this process.
        enclosing: the run that was current when this one was made, if any.
        began: its time, in Unix seconds and in monotonic ones; default: now.
        strict: whether a dataset or facet that cannot be used raises ConfigurationError.

    """

    def __init__(
        self,
        identity: Identity,
        runtime: Runtime,
        enclosing: RunRecorder | None = None,
        began: tuple[float, float] | None = None,
        *,
        strict: bool = False,
    ) -> None:
        self.identity = identity
        self._strict = strict
        self.enclosing = enclosing
        self._runtime = runtime
        self._process = os.getpid()
        self._datasets = {"input": CollectedDatasets(), "output": CollectedDatasets()}
        self._facets: dict[str, dict[str, Any]] = {
            "run": {"processing_engine": processing_engine("python", _PYTHON)},
            "job": {"jobType": job_type("JOB")},
        }
        self._parent_facet = identity.parent.to_facet() if identity.parent is not None else None
        self._declared: Outcome | None = None
        self._unhandled: UnhandledErrors | None = None
        self._started_at, self._started_clock = began or (time.time(), time.monotonic())
        # Whoever takes it ends the run: also when a signal handler ends the run while the body is leaving it, there is
        # one terminal event.
        self._end = Once()
        # Weak, as the run refers to this: without a circle, memory is freed at once.
        self._run: Callable[[], LineageRun | None] = lambda: None

    @property
    def run(self) -> LineageRun:
        """What the job sees of it: one object as long as the job holds it."""
        run = self._run()
        if run is None:
            run = LineageRun(self)
            self._run = ref(run)
        return run

    @property
    def has_ended(self) -> bool:
        """Whether its terminal event was reported."""
        return self._end.is_taken

    def add(self, side: Side, source: DatasetSource, said_by: str = "") -> None:
        """Add a dataset; `said_by` names in warnings where it comes from, if not from the job's code."""
        job = self.identity.job_name
        with guarded(f"add an {side} to job {job}"):
            found = source if isinstance(source, Dataset) else dataset(source)
            # A problem of a dataset without a name quotes what was given.
            name = f" {found.shown}" if found.name else ""
            where = f" ({said_by})" if said_by else ""
            for problem in found.problems:
                text = f"{side}{name}{where} of job {job}: {problem}"
                if self._strict:
                    raise configuration_error(self._runtime.settings, [text])
                logger.warning("%s", text)
            for warning in found.warnings:
                logger.warning("%s%s%s of job %s: %s", side, name, where, job, warning)
            if found.name and self._is_open(f"the {side} {found.namespace}/{found.name}"):
                self._datasets[side].add(found)

    def add_facet(self, owner: Literal["run", "job"], key: str, facet: Any) -> None:
        """Add a facet of the run or of its job."""
        with guarded(f"add the {owner} facet {quoted(key)} to job {self.identity.job_name}"):
            if not isinstance(key, str) or not key:
                raise self._fault(f"the key of a facet must be a string such as 'processing_engine', not {quoted(key)}")
            own = dict(facet) if hasattr(facet, "items") else facet  # a copy: the job may go on with its own
            if not is_facet(own):
                raise self._fault(
                    f"the {owner} facet {quoted(key)} must be an object of openlineage-python or a dictionary, "
                    f"not {type(facet).__name__}"
                )
            if self._is_open(f"the {owner} facet {key}"):
                self._facets[owner][key] = own

    def declare(self, state: Literal["FAIL", "ABORT"], reason: str | BaseException) -> None:
        """Have the run end in this state unless its body raises."""
        with guarded(f"mark run {self.identity.run_id} as {state}"):
            error = outcome_of(reason) if isinstance(reason, BaseException) else Outcome(state, str(reason))
            if self._is_open(state):
                self._declared = error._replace(state=state)

    def as_parent(self) -> ParentContext:
        """Return what the children of this run need to know of it."""
        return self.identity.as_parent(json_ready(self._facets["job"]["jobType"]))

    def child_env(self, base: Mapping[str, str]) -> dict[str, str]:
        """Return `base` for a child process of this run."""
        return self.as_parent().child_env(base)

    def start(self) -> bool:
        """Report the START; return False if the process ends. The run is not made current yet."""
        with self._runtime.reporting(), deferring_sigterm:
            if not self._runtime.takes_runs:
                return False
            self._runtime.delivery.submit(self._draft("START", self._started_at, {}))
            self._runtime.open_runs[self.identity.run_id] = self
        return True

    def write_fallback(self, outcome: Outcome) -> None:
        """Leave this end for the case that the process dies without one; it takes a spool."""
        if not self._end.is_taken:
            self._runtime.delivery.write_fallback(self._ending(outcome))

    def watch_unhandled_errors(self) -> None:
        """End the run with an error that nobody handles, where its body may not be left by it.

        That is a cell of a notebook between `__enter__` and `__exit__`, or the end of the process in between.
        """
        self._unhandled = UnhandledErrors()

    def abort(self, reason: str) -> None:
        """Report the end of a run that did not end by itself, as the process does."""
        error = self._unhandled.latest() if self._unhandled is not None else None
        self.end(outcome_of(error) if error is not None else Outcome("ABORT", reason))

    def close(self, error: BaseException | None) -> None:
        """Report the end of a run whose body was left by `error` (None: it returned)."""
        with guarded(f"report the end of run {self.identity.run_id}"):
            if error is None and self._unhandled is not None and is_interactive():
                error = self._unhandled.latest()
            self.end(outcome_of(error) if error is not None else COMPLETE)

    def end(self, outcome: Outcome) -> None:
        """Report the terminal event, once; a no-op in a forked child, where the parent process reports it."""
        if self._process != os.getpid():
            return
        ending = self._ending(outcome)
        with self._runtime.reporting(), deferring_sigterm:
            if not self._end.take():
                return
            try:
                self._runtime.delivery.submit(ending)
            except BaseException:
                self._end.put_back()  # a KeyboardInterrupt: the end of the process reports it
                raise
            self._runtime.open_runs.pop(self.identity.run_id, None)

    def _fault(self, message: str) -> Exception:
        """Return what is raised for a wrong argument; the boundary makes a warning of it, unless in strict mode."""
        return configuration_error(self._runtime.settings, [message]) if self._strict else TypeError(message)

    def _is_open(self, what: str) -> bool:
        run_id = self.identity.run_id
        if self._process != os.getpid():
            logger.warning(
                "%s is not reported: run %s belongs to process %d; open a run in the child process",
                what,
                run_id,
                self._process,
            )
            return False
        if self._end.is_taken:
            logger.warning("%s is not reported: run %s has ended", what, run_id)
            return False
        return True

    def _ending(self, outcome: Outcome) -> Draft:
        """Return the terminal event."""
        # A body that raised says more than what it declared before; a declared failure says more than a return.
        if self._declared is not None and outcome.state == "COMPLETE":
            outcome = self._declared
        error = outcome.to_facet()
        # By the monotonic clock: the end never lies before the start, also when somebody sets the clock. (freezegun
        # and checkpoints of a process set the monotonic one, too.)
        ended_at = self._started_at + max(_MIN_DURATION, time.monotonic() - self._started_clock)
        return self._draft(outcome.state, ended_at, {"errorMessage": error} if error else {})

    def _draft(self, event_type: str, at: float, facets: dict[str, Any]) -> Draft:
        if self._runtime.pod:
            facets["kubernetes_pod"] = self._runtime.pod
        return Draft(
            event_type=event_type,
            event_time=datetime.fromtimestamp(at, timezone.utc).isoformat(timespec="microseconds"),
            run_id=self.identity.run_id,
            job_name=self.identity.job_name,
            job_namespace=self.identity.job_namespace,
            parent=self._parent_facet,
            run_facets={**self._facets["run"].copy(), **facets},
            job_facets=self._facets["job"].copy(),
            inputs=self._datasets["input"].all(),
            outputs=self._datasets["output"].all(),
        )


def new_run(
    runtime: Runtime,
    identity: Identity,
    enclosing: RunRecorder | None = None,
    *,
    began: tuple[float, float] | None = None,
    strict: bool = False,
    inputs: Iterable[DatasetSource] = (),
    outputs: Iterable[DatasetSource] = (),
    run_facets: Mapping[str, Any] | None = None,
    job_facets: Mapping[str, Any] | None = None,
    description: str = "",
) -> RunRecorder:
    """Make the run of an identity, with the datasets that the DAG declared if no run encloses it.

    `began` is its time, in Unix seconds and in monotonic ones (default: now); `description` is what the job does.

    Raises:
        ConfigurationError: If `strict`, for a dataset or facet that cannot be used.

    """
    recorder = RunRecorder(identity, runtime, enclosing, began, strict=strict)
    if description:
        recorder.add_facet("job", "documentation", facet("DocumentationJobFacet", description=description))
    if enclosing is None:
        for source in runtime.settings.inputs:
            recorder.add("input", source, environment.INPUTS)
        for source in runtime.settings.outputs:
            recorder.add("output", source, environment.OUTPUTS)
    for source in inputs:
        recorder.add("input", source)
    for source in outputs:
        recorder.add("output", source)
    with guarded("add the run facets"):
        for key, value in (run_facets or {}).items():
            recorder.add_facet("run", key, value)
    with guarded("add the job facets"):
        for key, value in (job_facets or {}).items():
            recorder.add_facet("job", key, value)
    return recorder
