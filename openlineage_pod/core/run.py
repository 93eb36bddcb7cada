"""One run: what a job reports about itself between START and its one terminal event."""

from __future__ import annotations

import os
import time
from contextvars import ContextVar
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, Literal

from openlineage_pod import environment
from openlineage_pod._guard import guarded, logger
from openlineage_pod._sigterm import deferring_sigterm
from openlineage_pod.core.identity import Identity, identify
from openlineage_pod.core.outcome import COMPLETE, Outcome, outcome_of
from openlineage_pod.core.runtime import existing_runtime
from openlineage_pod.datasets.dataset import Dataset, dataset
from openlineage_pod.events.document import Draft

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from openlineage_pod.core.runtime import Runtime
    from openlineage_pod.datasets.dataset import DatasetSource

__all__ = [
    "NULL_RUN",
    "LineageRun",
    "activate",
    "close_run",
    "current_run",
    "deactivate",
    "make_run",
    "new_run",
    "start_run",
]

_current_run: ContextVar[LineageRun | None] = ContextVar("openlineage_pod_run", default=None)


class LineageRun:
    """A run that is being reported; made by `lineage_run`, found with `current_run()`.

    Its methods never raise: what they cannot use is one warning on the logger `openlineage_pod`. They may be called
    from any thread of the process that opened the run, until it has ended.

    Attributes:
        run_id: The run's UUID.
        job_name: The job's name, as it stands in the events.
        job_namespace: The job's namespace.
        parent: The run above this one, or None if nobody named one.

    """

    def __init__(self, identity: Identity, runtime: Runtime | None, began: tuple[float, float] | None = None) -> None:
        self.run_id, self.job_name, self.job_namespace, self.parent = identity
        self._identity = identity
        self._runtime = runtime
        self._process = os.getpid()
        self._enclosing: LineageRun | None = None
        self._inputs: dict[tuple[str, str], Dataset] = {}
        self._outputs: dict[tuple[str, str], Dataset] = {}
        self._run_facets: dict[str, Any] = {}
        self._job_facets: dict[str, Any] = {}
        self._declared: Outcome | None = None
        self._started_at, self._started_clock = began or (time.time(), time.monotonic())
        # Whoever takes the token ends the run. A pop is atomic, so also when a signal handler ends the run while the
        # body is leaving it, there is one terminal event.
        self._open_token = [True]

    def __repr__(self) -> str:
        return f"<LineageRun {self.job_namespace}/{self.job_name}/{self.run_id}>"

    def add_input(self, source: DatasetSource) -> None:
        """Add a dataset that the run reads.

        Args:
            source: A URI (`"postgres://warehouse:5432/crm.public.accounts"`), the path of a local file, a
                `(namespace, name)` pair, the result of `dataset()`, or one of openlineage-python's dataset objects.
                Adding the same dataset again lays its new facets over the earlier ones.

        """
        self._add(self._inputs, source, "input")

    def add_output(self, source: DatasetSource) -> None:
        """Add a dataset that the run writes; see `add_input`."""
        self._add(self._outputs, source, "output")

    def add_run_facet(self, key: str, facet: Any) -> None:
        """Add a run facet: one of openlineage-python's facet objects, or a dictionary with JSON values.

        In a dictionary, `_producer` and `_schemaURL` are added where missing.
        """
        self._add_facet(self._run_facets, key, facet)

    def add_job_facet(self, key: str, facet: Any) -> None:
        """Add a job facet; see `add_run_facet`."""
        self._add_facet(self._job_facets, key, facet)

    def fail(self, reason: str | BaseException) -> None:
        """Have the run end as FAIL with this reason; the body goes on, and its own result is untouched."""
        self._declare("FAIL", reason)

    def abort(self, reason: str | BaseException) -> None:
        """Have the run end as ABORT with this reason; the body goes on, and its own result is untouched."""
        self._declare("ABORT", reason)

    def child_env(self, base: Mapping[str, str] | None = None) -> dict[str, str]:
        """Return an environment for a child process, which then sees this run as its parent.

        Args:
            base: The variables to start from; default: those of this process. It is copied, never changed.

        Left out are the variables that name this run itself: the child's own run needs other ones.

        """
        return self._identity.as_parent().child_env(os.environ if base is None else base)

    def _add(self, datasets: dict[tuple[str, str], Dataset], source: DatasetSource, kind: str) -> None:
        with guarded(f"add an {kind} to run {self.run_id}"):
            found = source if isinstance(source, Dataset) else dataset(source)
            for problem in found.problems:
                logger.warning("%s of job %s: %s", kind, self.job_name, problem)
            if found.name and self._is_open(f"the {kind} {found.namespace}/{found.name}"):
                key = (found.namespace, found.name)
                before = datasets.get(key)
                datasets[key] = before.merged(found) if before else found

    def _add_facet(self, facets: dict[str, Any], key: str, facet: Any) -> None:
        with guarded(f"add a facet to run {self.run_id}"):
            if not isinstance(key, str) or not key:
                raise TypeError(f"a facet's key is a string such as 'processing_engine', not {key!r}")
            if not hasattr(facet, "items") and not hasattr(type(facet), "__attrs_attrs__"):
                raise TypeError(f"a facet is an object of openlineage-python or a dictionary, not {facet!r}")
            if self._is_open(f"the facet {key}"):
                facets[key] = dict(facet) if hasattr(facet, "items") else facet  # the job may go on with its own

    def _declare(self, state: Literal["FAIL", "ABORT"], reason: str | BaseException) -> None:
        with guarded(f"mark run {self.run_id} as {state}"):
            error = outcome_of(reason) if isinstance(reason, BaseException) else Outcome(state, str(reason))
            if self._is_open(state):
                self._declared = error._replace(state=state)

    def _is_open(self, what: str) -> bool:
        if self._process != os.getpid():
            logger.warning(
                "%s is not reported: run %s belongs to process %d; open a run in the child process",
                what,
                self.run_id,
                self._process,
            )
            return False
        if not self._open_token:
            logger.warning("%s is not reported: run %s has ended", what, self.run_id)
            return False
        return True

    def _start(self) -> None:
        if self._runtime is not None:
            with deferring_sigterm:
                self._submit(self._draft("START", self._started_at, {}))
                self._runtime.open_runs[self.run_id] = self

    def _bequeath(self, outcome: Outcome) -> None:
        """Have this outcome reported should the process end without reporting one; it takes a spool."""
        if self._runtime is not None and self._open_token:
            self._runtime.delivery.bequeath(self._ending(outcome))

    def _end(self, outcome: Outcome) -> None:
        """Report the terminal event, once; a no-op in a forked child, where the parent process reports it."""
        if self._runtime is None or self._process != os.getpid():
            return
        ending = self._ending(outcome)
        with deferring_sigterm:
            try:
                self._open_token.pop()
            except IndexError:
                return
            try:
                self._submit(ending)
            except BaseException:
                self._open_token.append(True)  # a KeyboardInterrupt: the end of the process reports it
                raise
            self._runtime.open_runs.pop(self.run_id, None)

    def _ending(self, outcome: Outcome) -> Draft:
        """Return the terminal event."""
        # A body that raised says more than what it declared before; a declared failure says more than a return.
        if self._declared is not None and outcome.state == "COMPLETE":
            outcome = self._declared
        error = outcome.to_facet()
        # By the monotonic clock: the end never lies before the start, also when somebody sets the clock.
        ended_at = self._started_at + (time.monotonic() - self._started_clock)
        return self._draft(outcome.state, ended_at, {"errorMessage": error} if error else {})

    def _submit(self, draft: Draft) -> None:
        if self._runtime is not None:
            self._runtime.delivery.submit(draft)

    def _draft(self, event_type: str, at: float, facets: dict[str, Any]) -> Draft:
        if self._runtime is not None and self._runtime.pod:
            facets["kubernetes_pod"] = self._runtime.pod
        return Draft(
            event_type=event_type,
            event_time=datetime.fromtimestamp(at, timezone.utc).isoformat(timespec="microseconds"),
            run_id=self.run_id,
            job_name=self.job_name,
            job_namespace=self.job_namespace,
            parent=self.parent,
            run_facets={**self._run_facets, **facets},
            job_facets=dict(self._job_facets),
            inputs=tuple(self._inputs.values()),
            outputs=tuple(self._outputs.values()),
        )


class _NullRun(LineageRun):
    """The run where none is reported: has the methods of a run, does nothing, and is false.

    It warns once where there is a run in another thread: a thread does not inherit the current run.
    """

    def __init__(self) -> None:
        super().__init__(Identity("", "", "", None), None)

    def __bool__(self) -> bool:
        return False

    def __repr__(self) -> str:
        return "<no LineageRun>"

    def child_env(self, base: Mapping[str, str] | None = None) -> dict[str, str]:
        """Return a copy of `base` (default: the environment of this process) as it is."""
        return dict(os.environ if base is None else base)

    def _add(self, _datasets: dict[tuple[str, str], Dataset], _source: DatasetSource, kind: str) -> None:
        self._unheard(f"an {kind}")

    def _add_facet(self, _facets: dict[str, Any], key: str, _facet: Any) -> None:
        self._unheard(f"the facet {key}")

    def _declare(self, state: Literal["FAIL", "ABORT"], _reason: str | BaseException) -> None:
        self._unheard(f"the state {state}")

    def _unheard(self, what: str) -> None:
        current = existing_runtime()
        if current is not None and current.open_runs and not current.told_of_other_threads:
            current.told_of_other_threads = True
            logger.warning(
                "%s is not reported: there is a run, but not in this thread; hand its object to the thread, "
                "or start the thread with contextvars.copy_context().run",
                what,
            )


NULL_RUN = _NullRun()


def current_run() -> LineageRun:
    """Return the innermost run that is active in this thread or asyncio task.

    Where there is none (outside any run, with `OPENLINEAGE_DISABLED=true`, in a thread that the run did not start
    with its context), it is a run object that does nothing and is false: `current_run().add_input(…)` is always safe.
    """
    return _current_run.get() or NULL_RUN


def make_run(
    runtime: Runtime,
    *,
    job_name: str | None,
    job_namespace: str | None,
    default_name: str,
    **described: Any,
) -> LineageRun:
    """Make a run, nested in the active one if there is any; `start_run` reports its START.

    Args:
        runtime: of this process.
        job_name: the explicit name, if any.
        job_namespace: the explicit namespace, if any.
        default_name: of the function or script.
        described: as for `new_run`.

    """
    enclosing = _current_run.get()
    identity, problems = identify(
        runtime.settings,
        enclosing._identity.as_parent() if enclosing else runtime.parent,
        job_name=job_name,
        job_namespace=job_namespace,
        default_name=default_name,
        run_id=None if enclosing else runtime.take_run_id(),
        nested=enclosing is not None,
    )
    for problem in problems:
        logger.warning("%s", problem)
    return new_run(runtime, identity, enclosing, **described)


def new_run(
    runtime: Runtime,
    identity: Identity,
    enclosing: LineageRun | None = None,
    *,
    began: tuple[float, float] | None = None,
    inputs: Iterable[DatasetSource] = (),
    outputs: Iterable[DatasetSource] = (),
    run_facets: Mapping[str, Any] | None = None,
    job_facets: Mapping[str, Any] | None = None,
) -> LineageRun:
    """Make the run of an identity, with the datasets that the DAG declared if no run encloses it.

    `began` is its time, in Unix seconds and in monotonic ones (default: now).
    """
    run = LineageRun(identity, runtime, began)
    run._enclosing = enclosing
    if enclosing is None:
        for source in runtime.settings.inputs:
            run._add(run._inputs, source, f"input ({environment.INPUTS})")
        for source in runtime.settings.outputs:
            run._add(run._outputs, source, f"output ({environment.OUTPUTS})")
    for source in inputs:
        run.add_input(source)
    for source in outputs:
        run.add_output(source)
    with guarded("add the run facets"):
        for key, facet in (run_facets or {}).items():
            run.add_run_facet(key, facet)
    with guarded("add the job facets"):
        for key, facet in (job_facets or {}).items():
            run.add_job_facet(key, facet)
    return run


def start_run(run: LineageRun) -> None:
    """Report the START of a run. It is not made current yet."""
    run._start()


def activate(run: LineageRun) -> None:
    """Make `run` the current one of this context."""
    if run:
        _current_run.set(run)


def deactivate(run: LineageRun, before: LineageRun | None = None) -> None:
    """Make the run that was current before `run` (default: the one that encloses it) the current one of this context.

    By value and not by a context variable's token: a generator or a fixture may be left in another context than it
    was entered in, where a token is refused.
    """
    if run and _current_run.get() is run:
        _current_run.set((before or None) if before is not None else run._enclosing)


def close_run(run: LineageRun, error: BaseException | None) -> None:
    """Report the end of a run whose body was left by `error` (None: it returned)."""
    with guarded(f"report the end of run {run.run_id}"):
        run._end(outcome_of(error) if error is not None else COMPLETE)
