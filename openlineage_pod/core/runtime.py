"""What there is once per process: the settings, the parent, the delivery, and how the process ends.

A process ends at its last line, by SIGTERM, or as a child of `multiprocessing`; and it may fork. Each is handled here,
so that a run itself need not know how its process lives.
"""

from __future__ import annotations

import atexit
import copy
import os
import sys
import threading
import time
import weakref
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from openlineage_pod._fork import RemadeLock
from openlineage_pod._guard import guarded, logger
from openlineage_pod._once import Once
from openlineage_pod._sigterm import watch_sigterm
from openlineage_pod._threads import is_main_thread, sleep
from openlineage_pod.core.handover import handed_over
from openlineage_pod.core.parent import child_environ, read_parent
from openlineage_pod.core.pod import pod_facet
from openlineage_pod.datasets.dataset import dataset
from openlineage_pod.delivery.delivery import Delivery
from openlineage_pod.delivery.transports.base import NOT_CONFIGURED
from openlineage_pod.delivery.transports.connect import connect
from openlineage_pod.events.secrets import SECRETS
from openlineage_pod.settings import ConfigurationError, Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from typing import Protocol

    from openlineage_pod.core.parent import ParentContext
    from openlineage_pod.delivery.transports.base import Transport

    Connect = Callable[[Mapping[str, str]], Transport | None]

    class OpenRun(Protocol):
        """A run that has not ended yet."""

        def abort(self, reason: str) -> None:
            """Report that it did not end by itself."""


__all__ = ["Runtime", "configuration_error", "existing_runtime", "replace_runtime", "runtime"]


# After the flush timeout a report of SIGTERM that still runs waits for something that will not come.
_LATE = 1.0
# Seconds for which the end of the process waits for other threads that are reporting, and between two looks at them.
_MAX_REPORTING = 0.1
_CHECK_AGAIN = 0.001


class Runtime:
    """The lineage of one process.

    Args:
        settings: of this process.
        parent: the run that started this process, if anybody named it.
        problems: what was wrong with the parent's variables; they are reported with those of the settings.
        connect: makes the transport.

    Attributes:
        open_runs: by their run ids.
        has_run_id: whether `OPENLINEAGE_RUN_ID` is for a run of this process.

    Raises:
        ConfigurationError: In strict mode, for the first problem of the configuration.

    """

    def __init__(
        self,
        settings: Settings,
        parent: ParentContext | None,
        problems: Iterable[str] = (),
        connect: Connect = connect,
    ) -> None:
        SECRETS.learn(settings.environ)
        self.settings = settings
        self.parent = parent
        self._connect = connect
        all_problems = [*settings.problems, *problems]
        if settings.strict:
            _check(settings, all_problems, connect)
        for problem in all_problems:
            logger.warning("%s", problem)
        if settings.disabled:
            logger.info("no lineage is reported: OPENLINEAGE_DISABLED is set")
        self.pod = pod_facet(settings.environ)
        self.delivery = Delivery(settings, self._connected)
        self.open_runs: dict[str, OpenRun] = {}
        self.told_of_other_threads = False
        # Whether this thread goes on no further, because the process is ending.
        self._is_stopping: Callable[[], bool] = _never
        # One item for each thread that is reporting at the moment.
        self._reporting: list[None] = []
        # OPENLINEAGE_RUN_ID names one run; a multiprocessing child has inherited it from the process it belongs to.
        self.has_run_id = bool(settings.run_id) and not _is_multiprocessing_child()
        self._run_id = Once()

    @classmethod
    def from_settings(cls, settings: Settings, connect: Connect = connect) -> Runtime:
        """Return the runtime of a process whose parent its environment names.

        Raises:
            ConfigurationError: In strict mode, for the first problem of the configuration.

        """
        return cls(settings, *read_parent(settings.environ), connect=connect)

    def for_forked_child(self) -> Runtime:
        """Return this runtime without its queue, its open runs and its run id: they are the parent process's."""
        self.delivery.abandon()
        child = copy.copy(self)
        child.delivery = Delivery(self.settings, self._connected)
        child.open_runs, child.has_run_id = {}, False
        child._reporting, child._is_stopping = [], _never  # noqa: SLF001  it is one of this class
        return child

    def take_run_id(self) -> str | None:
        """Return `OPENLINEAGE_RUN_ID` to the first outermost run, and None to every later one."""
        return self.settings.run_id if self.has_run_id and self._run_id.take() else None

    @property
    def takes_runs(self) -> bool:
        """Whether a run that begins on this thread can end: the end of the process may stop it."""
        return not self._is_stopping()

    @contextmanager
    def reporting(self) -> Iterator[None]:
        """Delay the end of the process until the block has reported a start or an end of a run."""
        self._reporting.append(None)  # atomic, as `pop` is
        try:
            yield
        finally:
            self._reporting.pop()

    def end(self, reason: str, is_stopping: Callable[[], bool]) -> None:
        """Abort every open run, begin no other one on a thread that `is_stopping()`, and deliver."""
        self._is_stopping = is_stopping
        deadline = time.monotonic() + _MAX_REPORTING
        while self._reporting and time.monotonic() < deadline:
            sleep(_CHECK_AGAIN)
        for run in reversed(list(self.open_runs.values())):  # the innermost first
            run.abort(reason)
        self.delivery.close()

    def _connected(self, environ: Mapping[str, str]) -> Transport | None:
        transport = self._connect(environ)
        _deliver_before_libraries_end()
        return transport


def _check(settings: Settings, problems: list[str], connect: Connect) -> None:
    for source in (*settings.inputs, *settings.outputs):
        found = dataset(source)
        problems.extend(f"OPENLINEAGE_POD_INPUTS or _OUTPUTS: {found.shown}: {problem}" for problem in found.problems)
    if problems:
        raise configuration_error(settings, problems)
    if not settings.disabled and connect(settings.environ) is None:
        raise ConfigurationError(NOT_CONFIGURED)


def configuration_error(settings: Settings, problems: Iterable[str]) -> ConfigurationError:
    """Return what strict mode raises for these problems, without credentials."""
    SECRETS.read(settings.environ)
    return ConfigurationError(SECRETS.text("\n".join(problems)))


def _is_multiprocessing_child() -> bool:
    # It has no such function while it is being imported.
    parent_process = getattr(sys.modules.get("multiprocessing.process"), "parent_process", None)
    return parent_process is not None and parent_process() is not None


_current: Runtime | None = None
_creating = RemadeLock()
# The process whose end is being watched; another one after a fork.
_watched_process: int | None = None


def runtime() -> Runtime:
    """Return the runtime of this process, made from the process environment at the first call.

    Raises:
        ConfigurationError: In strict mode, for the first problem of the configuration.

    """
    global _current  # noqa: PLW0603
    current = _current
    if current is None:
        with _creating:
            current = _current = _current or Runtime.from_settings(Settings.from_env(_environ()))
    if not current.settings.disabled:
        _watch_end_of_process()
    return current


def _environ() -> Mapping[str, str]:
    """Return the environment of this process, as one that a run of another process started if it was handed over."""
    parent = handed_over()
    return child_environ(os.environ, parent) if parent else os.environ


def existing_runtime() -> Runtime | None:
    """Return the runtime of this process if there has been any run."""
    return _current


def replace_runtime(replacement: Runtime | None) -> Runtime | None:
    """Put another runtime in place, for tests, and return the one before; None: the next run makes a new one."""
    global _current
    before, _current = _current, replacement
    return before


def _close() -> None:
    if _current is not None and not _current.settings.disabled:
        with guarded("deliver the last events"):
            # In a daemon thread, or of a generator that nobody exhausted; it must not stay RUNNING for ever.
            _current.end("the process ended before the run did", _is_daemon)
            if getattr(sys, "last_type", None) is KeyboardInterrupt:
                _mark_interrupted()


def _never() -> bool:
    return False


def _always() -> bool:
    return True


def _is_daemon() -> bool:
    """Return whether the end of the process stops this thread wherever it is."""
    return not is_main_thread() and threading.current_thread().daemon


def _mark_interrupted() -> None:
    """Have the interpreter die of SIGINT after an unhandled KeyboardInterrupt, as it would have without us.

    It remembers the interrupt in a flag that every piece of evaluated source clears, and our imports at the end of the
    process evaluate some (named tuples, attrs). A KeyboardInterrupt that leaves such a piece sets it again.
    """
    with suppress(KeyboardInterrupt):
        exec("raise KeyboardInterrupt")  # noqa: S102


def _deliver_before_libraries_end() -> None:
    """Deliver what is queued before the exit handlers that a transport of openlineage-python has registered.

    The last handler that was registered is the first to be called. Those of `concurrent.futures`, which end its pools
    of threads, are called before all others. The handler that ends runs stays where it is, behind those of the job.
    """
    if _watched_process == os.getpid() and "openlineage.client" in sys.modules:
        atexit.register(_begin_exit)
        if "concurrent.futures.thread" in sys.modules and hasattr(threading, "_register_atexit"):
            with suppress(RuntimeError):  # the process ends already
                threading._register_atexit(_begin_exit)  # noqa: SLF001  there is no public way


def _begin_exit() -> None:
    if _current is not None:
        with guarded("deliver before the exit handlers of libraries"):
            _current.delivery.begin_exit()


def _watch_end_of_process() -> None:
    global _watched_process  # noqa: PLW0603
    if _watched_process != os.getpid():
        _watched_process = os.getpid()
        # The one handler of all finalisers, such as those of urllib3's connections, is registered with the first one:
        # now, so that it is called after ours.
        weakref.finalize(_close, _close).detach()
        for handler in (_begin_exit, _close):
            atexit.unregister(handler)  # a forked child has inherited the registration
        atexit.register(_close)
        if is_main_thread() and not threading.main_thread().is_alive() and _current is not None:
            # The exit handlers run already, and will not come to ours: each event of this run is resolved at once.
            _current.delivery.close()
        if _is_multiprocessing_child():
            # It ends with os._exit and runs no atexit handlers, only multiprocessing's own finalisers; the lowest
            # priority runs last, after those of the job.
            from multiprocessing.util import Finalize

            Finalize(None, _close, exitpriority=-1000)
    if _current is not None:
        watch_sigterm(_report_termination, _current.settings.flush_timeout + _LATE)


def _report_termination() -> None:
    if _current is not None:
        with guarded("report the end by SIGTERM"):
            _current.end("the process was terminated by SIGTERM", _always)


def _after_fork_in_child() -> None:
    global _current  # noqa: PLW0603
    if _current is not None:
        _current = _current.for_forked_child()


os.register_at_fork(after_in_child=_after_fork_in_child)
