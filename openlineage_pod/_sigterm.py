"""SIGTERM: report before the process dies of it, and then die exactly as it would have.

A handler of Python's own runs only between two bytecodes of the main thread. While that thread sits in a long call of C
code (a query, a compression), nothing would be reported until Kubernetes kills the pod. So a thread of ours listens to
the wake-up file descriptor, to which the interpreter's C handler writes at once, and steps in if the main thread does
not come.
"""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

from openlineage_pod._fork import out_of_the_way
from openlineage_pod._guard import guarded
from openlineage_pod._threads import Event, allocate_lock, get_ident, is_main_thread, read, sleep, start_thread

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

__all__ = ["deferring_sigterm", "watch_sigterm"]

# How long the main thread has to come to its handler; a bytecode takes microseconds.
_MAIN_THREAD_COMES = 0.3
_LOOPS = frozenset(("asyncio", "eventlet", "gevent", "trio", "twisted"))


class _DeferringSigterm:
    """Blocks of the main thread that SIGTERM does not divide: the handler waits for their end, microseconds later.

    Else a signal between two bytecodes could find a run that has ended but whose end has not been reported.
    """

    def __init__(self) -> None:
        self._depth = 0
        self._postponed: Callable[[], None] | None = None

    def __enter__(self) -> None:
        if is_main_thread():
            self._depth += 1

    def __exit__(self, *_error: object) -> None:
        if self._depth and is_main_thread():
            self._depth -= 1
            if not self._depth and self._postponed is not None:
                self._postponed()

    def reset(self) -> None:
        """Forget the blocks of the parent process, in a forked child."""
        self.__init__()  # type: ignore[misc]

    def postpones(self, handle: Callable[[], None]) -> bool:
        """Say whether such a block is under way, which then calls `handle` at its end."""
        if self._depth:
            self._postponed = handle
        return self._depth > 0


deferring_sigterm = _DeferringSigterm()


class _Watch:
    """The one watch of this process. `on_sigterm` is called once, by one thread, and must not raise.

    Attributes:
        on_sigterm: reports.
        limit: seconds that the report may take.

    """

    def __init__(self) -> None:
        self.on_sigterm: Callable[[], None] = lambda: None
        self.limit = 0.0
        # The two ends of the pipe that the listening thread reads, if there is that thread.
        self._pipe: tuple[int, int] | None = None
        self._cannot_listen = False
        self._handled = allocate_lock()
        self._handler: int | None = None

    def is_armed(self) -> bool:
        """Return whether a SIGTERM comes to this watch."""
        return signal.getsignal(signal.SIGTERM) == self.handle

    def arm(self) -> None:
        """Handle SIGTERM here if it has its default action, and tell the listening thread of it.

        An event loop that handles signals resets both when it ends; it may be armed any number of times.
        """
        was_reset = not self.is_armed()
        if was_reset:
            signal.signal(signal.SIGTERM, self.handle)
        # A loop that runs keeps the wake-up descriptor, which cannot be asked for without losing a signal; and asking
        # makes the job wait for the interpreter, which our threads may have.
        may_be_deaf = (was_reset or _has_loops()) and not _is_loop_running()
        if not self._cannot_listen and (self._pipe is None or may_be_deaf):
            self._cannot_listen = True  # if that fails, it fails once
            with guarded("listen to signals"):
                self._listen()
                self._cannot_listen = False

    def handle(self, signum: int, _frame: FrameType | None) -> None:
        """Report and die; the signal handler, on the main thread."""
        if deferring_sigterm.postpones(lambda: self.handle(signum, None)):
            return
        if self._handled.acquire(blocking=False):
            self._handler = get_ident()
            if not self._is_heard():
                self._start_timer(signum)
            self._report_and_die(signum)
        elif self._handler != get_ident():
            # The listening thread is reporting and will end the process; this one must not go on with the job.
            Event().wait()
        # Else a second SIGTERM has interrupted the report: it goes on, and its time is limited.

    def leave_child(self) -> None:
        """Leave a forked child without this watch: nobody listens there, and its pipe is the parent's."""
        if self.is_armed():
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
        if self._pipe is not None:
            before = signal.set_wakeup_fd(-1)
            if before not in (self._pipe[1], -1):
                signal.set_wakeup_fd(before)
            for end in self._pipe:
                with suppress(OSError):  # the job has closed it
                    os.close(end)

    def _listen(self) -> None:
        """Let the interpreter write the numbers of signals to the pipe of the listening thread, which is started once.

        A wake-up descriptor of somebody else's, such as asyncio's, stays: then the handler has to do.

        Raises:
            OSError, RuntimeError: The process may have no more descriptors or threads.

        """
        writing = -1 if self._pipe is None else self._pipe[1]
        before = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
        if before not in (writing, -1):
            signal.set_wakeup_fd(before)
        elif self._pipe is None:
            self._pipe = self._start_listening()
            signal.set_wakeup_fd(self._pipe[1], warn_on_full_buffer=False)

    def _start_listening(self) -> tuple[int, int]:
        reading, writing = map(out_of_the_way, os.pipe())
        try:
            os.set_blocking(writing, False)
            start_thread(lambda: self._report_when_late(reading), "sigterm")
        except BaseException:
            os.close(reading)
            os.close(writing)
            raise
        return reading, writing

    def _is_heard(self) -> bool:
        """Return whether the listening thread hears of signals: asyncio, for one, takes the wake-up descriptor."""
        current = signal.set_wakeup_fd(-1)  # the only way to ask
        signal.set_wakeup_fd(current, warn_on_full_buffer=False)
        return self._pipe is not None and current == self._pipe[1]

    def _report_when_late(self, pipe: int) -> None:
        """Report and die in the main thread's place, or limit the time that the main thread takes for it."""
        while data := read(pipe, 1):
            if data[0] != signal.SIGTERM or not self.is_armed():
                continue  # another signal, or by now another handler
            sleep(_MAIN_THREAD_COMES)
            if self._handled.acquire(blocking=False):
                self._start_timer(signal.SIGTERM)
                self._report_and_die(signal.SIGTERM)
            sleep(max(0.0, self.limit - _MAIN_THREAD_COMES))
            _die_by(signal.SIGTERM)

    def _start_timer(self, signum: int) -> None:
        """Limit the time of the report, which may wait for a lock that the interrupted job holds, as of a log handler.

        Only where the listening thread cannot do that: Python 3.12 refuses new threads once the exit has begun.
        """

        def kill() -> None:
            sleep(self.limit)
            _die_by(signum)

        with guarded("limit the time of the report"):
            start_thread(kill, "sigterm-timer")

    def _report_and_die(self, signum: int) -> None:
        try:
            self.on_sigterm()
        finally:  # also after a KeyboardInterrupt within the report
            _die_by(signum)


_watch = _Watch()


def watch_sigterm(on_sigterm: Callable[[], None], limit: float) -> None:
    """Have `on_sigterm` called when this process gets a SIGTERM, before it dies of it, `limit` seconds later at most.

    Only on the main thread, where Python allows signal handlers, and only if the application has set none. Called
    again, it renews what an event loop has reset meanwhile.
    """
    if is_main_thread() and (_watch.is_armed() or signal.getsignal(signal.SIGTERM) == signal.SIG_DFL):
        _watch.on_sigterm, _watch.limit = on_sigterm, limit
        _watch.arm()


def _has_loops() -> bool:
    """Return whether the process may have had an event loop, which resets the wake-up descriptor at its end."""
    return not _LOOPS.isdisjoint(sys.modules)


def _is_loop_running() -> bool:
    # None until that module has been imported, perhaps by another thread at the moment.
    running_loop = getattr(sys.modules.get("asyncio.events"), "_get_running_loop", None)
    return running_loop is not None and running_loop() is not None


def _die_by(signum: int) -> None:
    """End this process as the signal would have ended it without us."""
    if os.getpid() != 1:
        _reset(signum)
        os.kill(os.getpid(), signum)
    # The kernel ignores a signal that PID 1 does not handle, also its own. 128 + n is what a shell, a container
    # runtime and Kubernetes make of a death by signal.
    os._exit(128 + signum)


def _reset(signum: int) -> None:
    """Give the signal its default action again."""
    if is_main_thread():
        signal.signal(signum, signal.SIG_DFL)
        return
    # Python allows that on the main thread only, which is busy; the C library does not mind.
    with guarded("reset the signal"):
        import ctypes

        ctypes.CDLL(None).signal(signum, 0)


def _after_fork_in_child() -> None:
    """Leave the child without us: a signal to it must not pass for one to the parent."""
    global _watch  # noqa: PLW0603
    deferring_sigterm.reset()
    _watch.leave_child()
    _watch = _Watch()


os.register_at_fork(after_in_child=_after_fork_in_child)
