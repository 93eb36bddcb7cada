"""`openlineage-pod run -- command`: spawn the command first, and report its run from a background thread.

The command waits for what this module imports. A thread imports everything else while the command runs.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from openlineage_pod._threads import start_thread
from openlineage_pod.wrapper.plan import inherited_environment, make_plan
from openlineage_pod.wrapper.supervisor import Supervisor, block_signals

if TYPE_CHECKING:
    from collections.abc import Sequence

    from openlineage_pod._threads import Thread
    from openlineage_pod.wrapper.plan import Plan, RunOptions
    from openlineage_pod.wrapper.reporter import Reporter
    from openlineage_pod.wrapper.supervisor import Ended

__all__ = ["BackgroundReporter", "run_command"]

# Seconds for which another thread may keep the interpreter from the main thread, which forwards the signals. Python's
# default is 5 ms.
_SWITCH_INTERVAL = 0.0005
# Seconds until the main thread checks again whether the reporter is ready.
_CHECK_AGAIN = 0.05
# Seconds that the reporter's imports get even without time for delivery: without them no event could be printed.
_MIN_IMPORT_TIME = 1.0


def run_command(command: Sequence[str], options: RunOptions) -> int:
    """Run `command`, report it, and return its exit code: 128 + n after a death by signal n, 126 or 127 if not started.

    Args:
        command: the program and its arguments.
        options: how to report it.

    Raises:
        ConfigurationError: In strict mode, for the first problem of the configuration; the command is not started.

    """
    mask = block_signals()
    plan = make_plan(command, options)
    supervisor = Supervisor(
        command,
        plan.environs,
        mask=mask,
        to_group=options.signal_group,
        kill_after=options.kill_after,
    )
    try:
        ended = supervisor.start()
    except BlockingIOError:
        ended = _run_in_place(supervisor, plan)
    sys.setswitchinterval(_SWITCH_INTERVAL)
    reporter = BackgroundReporter(plan, options)
    if ended is None:
        ended = supervisor.wait(lambda number: reporter.on_stop_signal(number, supervisor))
    else:
        from openlineage_pod._redaction.forms import redact  # deferred: only a mistake pays for it

        _print_error(redact(ended.error))
    reporter.end(ended)
    return ended.code


def _run_in_place(supervisor: Supervisor, plan: Plan) -> Ended:
    """Leave this process to the command, because there may be no other; return only if it cannot be started."""
    _print_error(
        "the kernel allows no further process (ulimit -u, or the pids limit of the container); "
        "the command runs in the place of openlineage-pod, and its run is not reported"
    )
    _remove(plan.metadata_file)
    return supervisor.replace_process(inherited_environment())


class BackgroundReporter:
    """Makes the reporter of a command in a thread, and passes on to it what happens to the command.

    Where the container may have only a few processes, the reporter is made when the command has ended, or half the
    grace period after SIGTERM: its threads could take the processes that the command needs.

    Args:
        plan: what was decided before the command was spawned.
        options: how to report the command.

    Attributes:
        reporter: None until it is made.

    """

    def __init__(self, plan: Plan, options: RunOptions) -> None:
        self.reporter: Reporter | None = None
        self._plan = plan
        self._options = options
        self._thread: Thread | None = None
        self._is_started = False
        if not plan.has_few_processes:
            self._start()

    def _start(self) -> None:
        if not self._is_started:
            self._is_started = True
            try:
                self._thread = start_thread(self._make, "reporter")
            except RuntimeError:  # the container may have no more threads
                self._make()

    def wait_until_made(self, timeout: float | None = None) -> None:
        """Wait until the reporter is made, or cannot be made."""
        if self._thread is not None:
            self._thread.join(timeout)

    @property
    def _is_making(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def on_stop_signal(self, number: int, supervisor: Supervisor, since: float | None = None) -> None:
        """Tell the reporter that the command was asked to stop. Never waits: the next signal may come at once."""
        since = since or time.monotonic()
        if not self._is_started:
            if number == signal.SIGTERM:  # a SIGKILL follows only a SIGTERM

                def start() -> None:
                    self._start()
                    self.on_stop_signal(number, supervisor, since)

                supervisor.call_at(since + self._plan.settings.grace_period / 2, start)
            return
        is_making = self._is_making  # asked first: the thread may finish between the two questions
        if self.reporter is not None:
            self.reporter.on_stop_signal(number, supervisor, since)
        elif is_making:
            supervisor.call_at(time.monotonic() + _CHECK_AGAIN, lambda: self.on_stop_signal(number, supervisor, since))

    def end(self, ended: Ended) -> None:
        """Report how the command ended, within the flush timeout, and remove the metadata file."""
        flush_timeout = self._plan.settings.flush_timeout
        deadline = time.monotonic() + flush_timeout
        if not self._is_started:
            self._is_started = True
            self._make()  # here: delivery needs the few threads that there may be
        self.wait_until_made(max(_MIN_IMPORT_TIME, flush_timeout))
        if self.reporter is not None:
            self.reporter.end(ended, deadline)
        elif self._is_making:
            _print_error("the run of the command is not reported: the imports for it take too long")
        _remove(self._plan.metadata_file)

    def _make(self) -> None:
        try:
            from openlineage_pod.wrapper.reporter import Reporter  # deferred: the command does not wait for it

            self.reporter = Reporter(self._plan, self._options)
        except Exception as error:
            from openlineage_pod._redaction.forms import redact  # deferred: the command does not wait for it

            _print_error(redact(f"the run of the command is not reported ({type(error).__name__}: {error})"))


def _remove(path: str) -> None:
    with suppress(OSError):
        if path:
            os.unlink(path)


def _print_error(message: str) -> None:
    """Write a line to stderr from a thread, because the pipe may be full. Imports nothing: an import may be stuck."""

    def write() -> None:
        with suppress(OSError):
            os.write(2, f"openlineage-pod: {message}\n".encode("utf-8", "backslashreplace"))

    try:
        start_thread(write, "error").join(0.2)
    except RuntimeError:  # there may be no more threads
        import select

        waiting = select.poll()
        waiting.register(2, select.POLLOUT)
        if waiting.poll(0):
            write()
