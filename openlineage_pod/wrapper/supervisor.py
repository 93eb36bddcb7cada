"""The supervisor of one command: it spawns, forwards signals, reaps and waits, as PID 1 of a container or anywhere.

One loop on the main thread owns all of this. A second reaper, such as the `subprocess` module, would take exit codes
away from it.
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
"""What asks a command to end."""

# The kernel sends these for what this process itself does wrong; blocked, they would be undefined behaviour.
_OWN_FAULTS = ("SIGSEGV", "SIGBUS", "SIGFPE", "SIGILL", "SIGTRAP", "SIGSYS", "SIGABRT")
_WAITED = signal.valid_signals() - {getattr(signal, name) for name in (*_OWN_FAULTS, "SIGKILL", "SIGSTOP")}
# siginfo's si_code of a signal that the kernel sends, as for Ctrl-C on a terminal.
_SI_KERNEL = 128
_PR_SET_CHILD_SUBREAPER = 36
# A shell's: found but not to be executed, and not found.
_CANNOT_EXECUTE, _NOT_FOUND = 126, 127


class Ended(NamedTuple):
    """How a command ended.

    `code` is its exit code as a shell would give it: 128 + n after a death by signal n, 126 or 127 if it could not be
    started. `stopped_by` is the signal that had asked it to end, if any; `error` says why it could not be started.
    """

    code: int
    stopped_by: int | None = None
    error: str = ""


def block_signals() -> set[int]:
    """Block every signal that the supervisor waits for, before there is any other thread; return the mask before."""
    # Where it is ignored, as some parents leave it, the kernel reaps and no exit code is to be had.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    return {int(number) for number in signal.pthread_sigmask(signal.SIG_BLOCK, _WAITED)}


class Supervisor:
    """Runs one command to its end.

    Args:
        command: the program, looked up in PATH, and its arguments.
        environs: its environment, and others to be tried in turn where the kernel finds it too long.
        mask: its signal mask: the one of this process before `block_signals`.
        to_group: forward signals to the command's whole process group, which then is one of its own.
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
        """Spawn the command; return None if it runs now, else how it ended without having been started."""
        try:
            self._pid = self._spawn(self._command)
        except ValueError:  # an empty name
            return Ended(_NOT_FOUND, error=f"{self._command[0]}: {os.strerror(errno.ENOENT)}")
        except OSError as error:
            code = _NOT_FOUND if error.errno in (errno.ENOENT, errno.ENOTDIR) else _CANNOT_EXECUTE
            return Ended(code, error=f"{self._command[0]}: {os.strerror(error.errno or 0)}")
        if self._hand_over_terminal():  # first: the command may be at the terminal already,
            self._send(signal.SIGCONT)  # and have been stopped for it
        if os.getpid() != 1:
            _become_subreaper()
        return None

    def at(self, deadline: float, act: Callable[[], None]) -> None:
        """Call `act` at the time `deadline` of `time.monotonic()`, on this thread, if the command still runs then."""
        self._timers.append((deadline, act))

    def wait(self, stopping: Callable[[int], None]) -> Ended:
        """Forward signals until the command ends, and return how it did.

        Args:
            stopping: is called on this thread with the first signal that asks the command to end, and with the first
                SIGTERM if that was another one: a command may outlive a SIGHUP or a SIGINT.

        """
        while self._status is None:
            received = self._next_signal()
            if received is None:
                self._act()
            elif received.si_signo == signal.SIGCHLD:
                self._reap()
            else:
                self._received(received, stopping)
        return Ended(_shell_code(self._status), self._stopped_by or self._interrupted_by(self._status))

    def _spawn(self, command: list[str]) -> int:
        group = {"setpgroup": 0} if self._to_group else {}
        try:
            # Python ignores these two, and what is ignored is inherited.
            defaults = (signal.SIGPIPE, signal.SIGXFSZ)
            return os.posix_spawnp(
                command[0],
                command,
                self._environs[0],
                setsigmask=self._mask,
                setsigdef=defaults,
                **group,  # type: ignore[arg-type]
            )
        except OSError as error:
            if error.errno == errno.E2BIG and self._environs[1:]:
                del self._environs[0]
                return self._spawn(command)
            # A script without a #! line: as execvp(3) and every shell do.
            if error.errno != errno.ENOEXEC or command[0] == "/bin/sh":
                raise
            import shutil

            return self._spawn(["/bin/sh", shutil.which(command[0]) or command[0], *command[1:]])

    def _hand_over_terminal(self) -> bool:
        """Make the command's own process group, if it has one, that of the foreground: it shall read the terminal."""
        if self._to_group:
            # SIGTTOU, which this would raise, is blocked. Not on a terminal, or not in the foreground: nothing to do.
            with suppress(OSError), _terminal() as terminal:
                if os.tcgetpgrp(terminal) == os.getpgrp():
                    os.tcsetpgrp(terminal, self._pid)
                    self._has_terminal = True
                    return True
        return False

    def _interrupted_by(self, status: int) -> int | None:
        """Return that of a Ctrl-C or Ctrl-backslash, which goes to the command's group if that has the terminal."""
        if self._has_terminal and os.WIFSIGNALED(status) and os.WTERMSIG(status) in (signal.SIGINT, signal.SIGQUIT):
            return os.WTERMSIG(status)
        return None

    def _next_signal(self) -> signal.struct_siginfo | None:
        """Return the next signal, or None if a timer is due before."""
        with suppress(InterruptedError):
            if not self._timers:
                return signal.sigwaitinfo(_WAITED)
            return signal.sigtimedwait(_WAITED, max(0.0, min(due for due, _ in self._timers) - time.monotonic()))
        return None

    def _act(self) -> None:
        now = time.monotonic()
        acts = [act for due, act in self._timers if due <= now]
        self._timers = [timer for timer in self._timers if timer[0] > now]
        for act in acts:
            act()

    def _reap(self) -> None:
        """Reap all that have ended, orphans too: SIGCHLD comes once for many."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG | os.WUNTRACED)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid == self._pid:
                if os.WIFSTOPPED(status):
                    self._stop_as_well()
                else:
                    self._status = status

    def _stop_as_well(self) -> None:
        """Stop with a command that Ctrl-Z stopped, so that the shell gets its terminal back; SIGCONT goes on with both.

        Only on a terminal: a command that somebody stops in a container must not stop its supervisor.
        """
        with suppress(OSError), _terminal() as terminal:
            if os.getpid() != 1 and os.tcgetpgrp(terminal) in (os.getpgrp(), self._pid):
                os.tcsetpgrp(terminal, os.getpgrp())
                os.kill(os.getpid(), signal.SIGSTOP)
                # The SIGCONT that ended this is taken here: forwarded later, it would undo a Ctrl-Z of meanwhile.
                signal.sigtimedwait({signal.SIGCONT}, 0)
                self._hand_over_terminal()
                # A shell sends it to our whole group. If the command is in it, it goes on, or has stopped once more.
                news = os.WCONTINUED | os.WSTOPPED | os.WNOHANG | os.WNOWAIT
                if os.waitid(os.P_PID, self._pid, news) is None:
                    self._send(signal.SIGCONT)

    def _received(self, received: signal.struct_siginfo, stopping: Callable[[int], None]) -> None:
        number = received.si_signo
        # What the kernel sends for a terminal goes to the whole foreground group: the command has got it already.
        # Only a SIGHUP goes to the first process of the terminal's session alone.
        is_for_us = number == signal.SIGHUP and os.getsid(0) == os.getpid()
        if received.si_code != _SI_KERNEL or self._to_group or is_for_us:
            self._send(number)
        # What was ignored when this process began, as under nohup, the command has inherited so: it asks for nothing.
        # But a SIGTERM is followed by a SIGKILL, whoever ignores it.
        is_ignored = number != signal.SIGTERM and signal.getsignal(number) is signal.SIG_IGN
        if (
            number in STOP_SIGNALS
            and not is_ignored
            and (self._stopped_by is None or number == signal.SIGTERM != self._stopped_by)
        ):
            self._stopped_by = number
            if self._kill_after is not None:
                self.at(time.monotonic() + self._kill_after, self._kill)
            stopping(number)

    def _kill(self) -> None:
        self._send(signal.SIGKILL)

    def _send(self, number: int) -> None:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(-self._pid if self._to_group else self._pid, number)


@contextmanager
def _terminal() -> Iterator[int]:
    """Give the controlling terminal, whatever stdin is."""
    descriptor = os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _shell_code(status: int) -> int:
    return 128 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)


def _become_subreaper() -> None:
    """Have orphans below this process become its children, as they do for PID 1, so that they are reaped."""
    with suppress(Exception):  # without it they go to PID 1
        import ctypes  # deferred: the command runs already; and some Pythons have none

        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
