"""SIGTERM: report before the process dies of it, and then die exactly as it would have.

A handler of Python's own runs only between two bytecodes of the main thread. While that thread sits in a long call of C
code (a query, a compression), nothing would be reported until Kubernetes kills the pod. So a thread of ours listens to
the wake-up file descriptor, to which the interpreter's C handler writes at once, and steps in if the main thread does
not come.
"""

from __future__ import annotations

import os
import signal
import threading
from typing import TYPE_CHECKING

from openlineage_pod._guard import guarded
from openlineage_pod._threads import start_thread

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

__all__ = ["deferring_sigterm", "watch_sigterm"]

# How long the main thread has to come to its handler; a bytecode takes microseconds.
_MAIN_THREAD_COMES = 0.3


class _DeferringSigterm:
    """Blocks of the main thread that SIGTERM does not divide: the handler waits for their end, microseconds later.

    Else a signal between two bytecodes could find a run that has ended but whose end has not been reported.
    """

    def __init__(self) -> None:
        self._depth = 0
        self._postponed: Callable[[], None] | None = None

    def __enter__(self) -> None:
        if threading.current_thread() is threading.main_thread():
            self._depth += 1

    def __exit__(self, *_error: object) -> None:
        if self._depth and threading.current_thread() is threading.main_thread():
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
    """The one watch of this process. `on_sigterm` is called once, by one thread, and must not raise."""

    def __init__(self, on_sigterm: Callable[[], None], limit: float) -> None:
        self._on_sigterm = on_sigterm
        self._limit = limit
        # The end of the pipe to the listening thread to which the interpreter writes, if there is that thread.
        self._writing: int | None = None
        self._handled = threading.Lock()
        self._handler: int | None = None

    def handle(self, signum: int, _frame: FrameType | None) -> None:
        """Report and die; the signal handler, on the main thread."""
        if deferring_sigterm.postpones(lambda: self.handle(signum, None)):
            return
        if self._handled.acquire(blocking=False):
            self._handler = threading.get_ident()
            if not self._is_heard():
                self._start_timer(signum)
            self._report_and_die(signum)
        elif self._handler != threading.get_ident():
            # The listening thread is reporting and will end the process; this one must not go on with the job.
            threading.Event().wait()
        # Else a second SIGTERM has interrupted the report: it goes on, and its time is limited.

    def start_listening(self, reading: int, writing: int) -> None:
        """Start the thread that reads the numbers of signals from a pipe.

        Raises:
            RuntimeError: The process may have no more threads.

        """
        start_thread(lambda: self._listen(reading), "sigterm")
        self._writing = writing

    def _is_heard(self) -> bool:
        """Return whether the listening thread hears of signals: asyncio, for one, takes the wake-up descriptor."""
        current = signal.set_wakeup_fd(-1)  # the only way to ask
        signal.set_wakeup_fd(current, warn_on_full_buffer=False)
        return current == self._writing

    def _listen(self, pipe: int) -> None:
        """Report and die in the main thread's place, or limit the time that the main thread takes for it."""
        while data := os.read(pipe, 1):
            if data[0] != signal.SIGTERM or signal.getsignal(signal.SIGTERM) != self.handle:
                continue  # another signal, or by now another handler
            threading.Event().wait(_MAIN_THREAD_COMES)
            if self._handled.acquire(blocking=False):
                self._start_timer(signal.SIGTERM)
                self._report_and_die(signal.SIGTERM)
            threading.Event().wait(max(0.0, self._limit - _MAIN_THREAD_COMES))
            _die_by(signal.SIGTERM)

    def _start_timer(self, signum: int) -> None:
        """Limit the time of the report, which may wait for a lock that the interrupted job holds, as of a log handler.

        Only where the listening thread cannot do that: Python 3.12 refuses new threads once the exit has begun.
        """

        def kill() -> None:
            threading.Event().wait(self._limit)
            _die_by(signum)

        with guarded("limit the time of the report"):
            start_thread(kill, "sigterm-timer")

    def _report_and_die(self, signum: int) -> None:
        try:
            self._on_sigterm()
        finally:  # also after a KeyboardInterrupt within the report
            _die_by(signum)


# The two ends of the pipe that the listening thread reads.
_pipe: tuple[int, int] | None = None


def watch_sigterm(on_sigterm: Callable[[], None], limit: float) -> None:
    """Have `on_sigterm` called when this process gets a SIGTERM, before it dies of it, `limit` seconds later at most.

    Only on the main thread, where Python allows signal handlers, and only if the application has set none.
    """
    global _pipe  # noqa: PLW0603
    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
        return
    watch = _Watch(on_sigterm, limit)
    signal.signal(signal.SIGTERM, watch.handle)
    with guarded("listen to signals"):
        reading, writing = os.pipe()
        os.set_blocking(writing, False)
        before = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
        if before != -1 and (_pipe is None or before != _pipe[1]):
            # Somebody else's, such as asyncio's: theirs it stays, and the handler has to do.
            signal.set_wakeup_fd(before)
            os.close(reading)
            os.close(writing)
            return
        try:
            watch.start_listening(reading, writing)
        except RuntimeError:  # no more threads: nobody would read
            signal.set_wakeup_fd(before)
            os.close(reading)
            os.close(writing)
            raise
        _pipe = reading, writing


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
    if threading.current_thread() is threading.main_thread():
        signal.signal(signum, signal.SIG_DFL)
        return
    # Python allows that on the main thread only, which is busy; the C library does not mind.
    with guarded("reset the signal"):
        import ctypes

        ctypes.CDLL(None).signal(signum, 0)


def _after_fork_in_child() -> None:
    """Leave the child without us: nobody listens there, and a signal to it must not pass for one to the parent."""
    global _pipe  # noqa: PLW0603
    deferring_sigterm.reset()
    if isinstance(getattr(signal.getsignal(signal.SIGTERM), "__self__", None), _Watch):
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if _pipe is not None:
        before = signal.set_wakeup_fd(-1)
        if before not in (_pipe[1], -1):
            signal.set_wakeup_fd(before)
        for end in _pipe:
            os.close(end)
        _pipe = None


os.register_at_fork(after_in_child=_after_fork_in_child)
