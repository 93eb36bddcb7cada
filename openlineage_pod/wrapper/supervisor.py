"""The supervisor of one command: it spawns the command, forwards signals, reaps zombies and waits for the end.

It works as PID 1 of a container and as any other process. One loop on the main thread does all of this: a second
reaper, such as the `subprocess` module, would take exit codes away from it.
"""

from __future__ import annotations

import errno
import os
import signal
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

__all__ = ["STOP_SIGNALS", "Ended", "Supervisor", "block_signals"]

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP)
"""The signals that ask a command to stop."""

# The kernel sends these for faults of this process itself; to block them is undefined behaviour.
_OWN_FAULTS = ("SIGSEGV", "SIGBUS", "SIGFPE", "SIGILL", "SIGTRAP", "SIGSYS", "SIGABRT")
_WAITED = signal.valid_signals() - {getattr(signal, name) for name in (*_OWN_FAULTS, "SIGKILL", "SIGSTOP")}
# si_code in the siginfo of a signal that the kernel sends, for example for Ctrl-C on a terminal.
_SI_KERNEL = 128
# The command would inherit that.
_IGNORED_BY_PYTHON = (signal.SIGPIPE, signal.SIGXFSZ)
_PR_SET_CHILD_SUBREAPER = 36
# The exit codes of a shell for a command that it cannot execute, and for one that it cannot find.
_CANNOT_EXECUTE, _NOT_FOUND = 126, 127


class Ended(NamedTuple):
    """How a command ended.

    Attributes:
        code: The exit code as a shell would give it: 128 + n after a death by signal n, 126 or 127 if not started.
        stopped_by: The signal that had asked the command to stop, if any.
        error: Why the command could not be started.
        killed_by: The signal that the command died of, by its wait status. None if it exited, even with a code above
            128: a shell exits so after a child of its own died of a signal, and others for reasons of their own.

    """

    code: int
    stopped_by: int | None = None
    error: str = ""
    killed_by: int | None = None


def block_signals() -> set[int]:
    """Block every signal that the supervisor waits for, and return the mask before; no thread may run yet."""
    # Some parents leave SIGCHLD ignored. Then the kernel reaps the command, and its exit code is lost.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    return {int(number) for number in signal.pthread_sigmask(signal.SIG_BLOCK, _WAITED)}


class Supervisor:
    """Runs one command to its end.

    Args:
        command: the program, looked up in PATH, and its arguments.
        environs: its environment, then others to try in turn if the kernel finds the first one too long.
        mask: its signal mask: the mask of this process before `block_signals`.
        to_group: give the command its own process group, and forward signals to the whole group.
        kill_after: seconds after a stop signal until the command gets SIGKILL; None: never.

    """

    def __init__(
        self,
        command: Sequence[str],
        environs: Sequence[Mapping[str, str]],
        *,
        mask: set[int],
        to_group: bool = False,
        kill_after: float | None = None,
    ) -> None:
        self._command = list(command)
        self._environs = list(environs)
        self._mask = mask
        self._to_group = to_group
        self._kill_after = kill_after
        self._pid = 0
        self._status: int | None = None
        self._stopped_by: int | None = None
        self._has_terminal = False
        self._timers: list[tuple[float, Callable[[], None]]] = []

    def start(self) -> Ended | None:
        """Spawn the command; return None if it runs now, else an end that says why it could not be started.

        Raises:
            BlockingIOError: There may be no further process, now.

        """
        ended = self._launch(self._spawn)
        if ended is not None:
            return ended
        if self._hand_over_terminal():
            # The command may have read the terminal before it was in the foreground: then the kernel stopped it.
            self.forward_signal(signal.SIGCONT)
        if os.getpid() != 1:
            _become_subreaper()
        return None

    def replace_process(self, environ: Mapping[str, str]) -> Ended:
        """Run the command in the place of this process; return only if it cannot be started."""
        self._environs = [environ]
        for number in _IGNORED_BY_PYTHON:
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, self._mask)
        return self._launch(self._replace) or Ended(_CANNOT_EXECUTE)

    def _launch(self, launch: Callable[[list[str], Mapping[str, str]], int]) -> Ended | None:
        try:
            self._pid = self._started(self._command, launch)
        except BlockingIOError:
            raise
        except ValueError:  # an empty name
            return Ended(_NOT_FOUND, error=f"{self._command[0]}: {os.strerror(errno.ENOENT)}")
        except OSError as error:
            code = _NOT_FOUND if error.errno in (errno.ENOENT, errno.ENOTDIR) else _CANNOT_EXECUTE
            return Ended(code, error=f"{self._command[0]}: {os.strerror(error.errno or 0)}")
        return None

    def call_at(self, deadline: float, callback: Callable[[], None]) -> None:
        """Call `callback` on this thread at a time of `time.monotonic()`, if the command still runs then."""
        self._timers.append((deadline, callback))

    def wait(self, on_stop_signal: Callable[[int], None]) -> Ended:
        """Forward signals until the command ends, and return how it ended.

        Args:
            on_stop_signal: called on this thread with the first signal that asks the command to stop. It is called
                again with the first SIGTERM after another stop signal: a command may outlive a SIGHUP or a SIGINT.

        """
        while self._status is None:
            received = self.next_signal()
            if received is None:
                self.run_due_timers()
            elif received.si_signo == signal.SIGCHLD:
                self.reap_zombies()
            else:
                self.on_signal(received, on_stop_signal)
        killed_by = os.WTERMSIG(self._status) if os.WIFSIGNALED(self._status) else None
        code = os.WEXITSTATUS(self._status) if killed_by is None else 128 + killed_by
        return Ended(code, self._stopped_by or self._interrupted_by(killed_by), killed_by=killed_by)

    def _spawn(self, command: list[str], environ: Mapping[str, str]) -> int:
        group = {"setpgroup": 0} if self._to_group else {}
        return os.posix_spawnp(
            command[0],
            command,
            environ,
            setsigmask=self._mask,
            setsigdef=_IGNORED_BY_PYTHON,
            **group,  # type: ignore[arg-type]
        )

    @staticmethod
    def _replace(command: list[str], environ: Mapping[str, str]) -> int:
        os.execvpe(command[0], command, environ)  # noqa: S606  no shell, as the command was given

    def _started(self, command: list[str], launch: Callable[[list[str], Mapping[str, str]], int]) -> int:
        try:
            return launch(command, self._environs[0])
        except OSError as error:
            if error.errno == errno.E2BIG and self._environs[1:]:
                del self._environs[0]
                return self._started(command, launch)
            # A script without a #! line; execvp(3) and every shell do the same.
            if error.errno != errno.ENOEXEC or command[0] == "/bin/sh":
                raise
            import shutil

            return self._started(["/bin/sh", shutil.which(command[0]) or command[0], *command[1:]], launch)

    def _hand_over_terminal(self) -> bool:
        """Put the command's own process group, if it has one, into the foreground, so that it can read the terminal.

        Return whether that was done. Without a terminal, or in the background, there is nothing to do.
        """
        if self._to_group:
            # tcsetpgrp raises SIGTTOU, which is blocked.
            with suppress(OSError), _terminal() as terminal:
                if os.tcgetpgrp(terminal) == os.getpgrp():
                    os.tcsetpgrp(terminal, self._pid)
                    self._has_terminal = True
                    return True
        return False

    def _interrupted_by(self, killed_by: int | None) -> int | None:
        """Return the signal of a Ctrl-C or Ctrl-backslash that killed a command in the foreground.

        The kernel sends it only to the command's group, never to this process.
        """
        return killed_by if self._has_terminal and killed_by in (signal.SIGINT, signal.SIGQUIT) else None

    def next_signal(self) -> signal.struct_siginfo | None:
        """Wait for the next signal and return it; return None if a timer is due first."""
        with suppress(InterruptedError):
            timeout = self.seconds_to_next_timer()
            if timeout is None:
                return signal.sigwaitinfo(_WAITED)
            return signal.sigtimedwait(_WAITED, timeout)
        return None

    def seconds_to_next_timer(self) -> float | None:
        """Return the seconds until the next timer is due, 0 if it is overdue; None without a timer."""
        return max(0.0, min(due for due, _ in self._timers) - time.monotonic()) if self._timers else None

    def run_due_timers(self) -> None:
        """Call the callbacks whose time has come, each once."""
        now = time.monotonic()
        callbacks = [callback for due, callback in self._timers if due <= now]
        self._timers = [timer for timer in self._timers if timer[0] > now]
        for callback in callbacks:
            callback()

    def reap_zombies(self) -> None:
        """Reap every child that has ended, orphans too: one SIGCHLD may stand for many children."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG | os.WUNTRACED)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid == self._pid:
                if os.WIFSTOPPED(status):
                    self._stop_with_command()
                else:
                    self._status = status

    def _stop_with_command(self) -> None:
        """Stop this process with a command that Ctrl-Z stopped, so that the shell gets its terminal back.

        A SIGCONT continues both. Only on a terminal: a stopped command in a container must not stop its supervisor.
        """
        with suppress(OSError), _terminal() as terminal:
            if os.getpid() != 1 and os.tcgetpgrp(terminal) in (os.getpgrp(), self._pid):
                os.tcsetpgrp(terminal, os.getpgrp())
                os.kill(os.getpid(), signal.SIGSTOP)
                # Take the SIGCONT that continued this process: forwarded later, it would undo a Ctrl-Z that came since.
                signal.sigtimedwait({signal.SIGCONT}, 0)
                self._hand_over_terminal()
                # A shell sends SIGCONT to our whole group. A command in that group has continued, or stopped again.
                news = os.WCONTINUED | os.WSTOPPED | os.WNOHANG | os.WNOWAIT
                if os.waitid(os.P_PID, self._pid, news) is None:
                    self.forward_signal(signal.SIGCONT)

    def on_signal(self, received: signal.struct_siginfo, on_stop_signal: Callable[[int], None]) -> None:
        """Forward a signal; note the first stop signal, and the first SIGTERM after another stop signal."""
        number = received.si_signo
        # The kernel sends a terminal's signals to the whole foreground group: the command has got them already. Only
        # a SIGHUP goes to the first process of the terminal's session alone.
        is_for_us = number == signal.SIGHUP and os.getsid(0) == os.getpid()
        if received.si_code != _SI_KERNEL or self._to_group or is_for_us:
            self.forward_signal(number)
        # A signal that was ignored when this process began, as under nohup, is ignored by the command, too: it does
        # not ask the command to stop. But a SIGKILL follows a SIGTERM even if it is ignored.
        is_ignored = number != signal.SIGTERM and signal.getsignal(number) is signal.SIG_IGN
        if (
            number in STOP_SIGNALS
            and not is_ignored
            and (self._stopped_by is None or number == signal.SIGTERM != self._stopped_by)
        ):
            self._stopped_by = number
            if self._kill_after is not None:
                self.call_at(time.monotonic() + self._kill_after, lambda: self.forward_signal(signal.SIGKILL))
            on_stop_signal(number)

    def forward_signal(self, number: int) -> None:
        """Send a signal to the command, or to its process group; a command that has ended is no error."""
        with suppress(ProcessLookupError, PermissionError):
            os.kill(-self._pid if self._to_group else self._pid, number)


@contextmanager
def _terminal() -> Iterator[int]:
    """Yield a descriptor of the controlling terminal, whatever stdin is."""
    descriptor = os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _become_subreaper() -> None:
    """Make orphans below this process its children, as PID 1 gets them, so that it reaps them."""
    with suppress(Exception):  # without it, PID 1 reaps them
        import ctypes  # deferred: the command runs already; and some Pythons have no ctypes

        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
