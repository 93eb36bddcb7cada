"""SIGTERM: the report comes first, once, and then the process dies as it would have; shown on real processes."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from pathlib import Path
from textwrap import dedent
from typing import TYPE_CHECKING

import pytest

from tests.support.constants import ROOT
from tests.support.waiting import HANGS, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PROJECT = str(ROOT)
BEGINNING = """
import os, signal, sys, threading, time
sys.path.insert(0, {project!r})
from openlineage_pod._sigterm import watch_sigterm
from tests.support.constants import ROOT
from tests.support.waiting import HANGS

def say(text):
    os.write(1, (text + chr(10)).encode())

def report():
    say("reported")

import ctypes
libc = ctypes.CDLL(None)
mutex = ctypes.create_string_buffer(64)
libc.pthread_mutex_lock(mutex)

def long_call_of_c_code():
    # No signal interrupts this one, unlike most calls that wait.
    say(hex(ctypes.addressof(mutex)))
    libc.pthread_mutex_lock(mutex)
"""


class Program:
    """A program whose standard output is read line by line."""

    def __init__(self, source: str) -> None:
        text = BEGINNING.format(project=PROJECT) + dedent(source)
        self.process = subprocess.Popen(
            # From Python 3.12 on a process with threads warns when it forks, and ours has some.
            [sys.executable, "-W", "ignore:This process:DeprecationWarning", "-c", text],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self._left = b""

    def line(self) -> str:
        """Return the next line."""
        assert self.process.stdout is not None
        while b"\n" not in self._left:
            readable, _, _ = select.select([self.process.stdout], [], [], HANGS)
            text = os.read(self.process.stdout.fileno(), 4096) if readable else b""
            assert text, f"no further line after {self._left!r}"
            self._left += text
        line, _, self._left = self._left.partition(b"\n")
        return line.decode()

    def terminate(self) -> None:
        """Send SIGTERM."""
        self.process.send_signal(signal.SIGTERM)

    def wait_for_c_code(self) -> None:
        """Wait until the main thread is in its long call of C code, and so comes to no handler."""
        address, path = self.line(), Path(f"/proc/{self.process.pid}/syscall")
        wait_until(lambda: address in path.read_text().split(), "the main thread waits for the mutex")

    def end(self) -> tuple[int, str, str]:
        """Wait for the end, and return the exit status, what it has printed since the last line, and its stderr."""
        stdout, stderr = self.process.communicate(timeout=HANGS)
        return self.process.returncode, (self._left + stdout).decode(), stderr.decode()


@pytest.fixture
def program() -> Iterator[Callable[[str], Program]]:
    """Return a function that starts a program."""
    started: list[Program] = []

    def start(source: str) -> Program:
        started.append(Program(source))
        return started[-1]

    yield start
    for one in started:
        one.process.kill()
        one.process.communicate(timeout=HANGS)


LONG_CALL = "long_call_of_c_code()"
DIES = (-signal.SIGTERM, "reported\n", "")


@pytest.mark.parametrize(
    "waits",
    [
        "time.sleep(60)",
        "threading.Event().wait()",
        "sys.stdin.read()",
        "while True: pass",
        LONG_CALL,
        "lock = threading.Lock(); lock.acquire(); lock.acquire()",
    ],
    ids=["sleep", "event", "stdin", "busy", "long-call-of-C-code", "lock"],
)
def test_reports_and_dies(waits: str, program: Callable[[str], Program]) -> None:
    """Whatever the main thread does, also where it never comes to a handler, the report is made and SIGTERM kills."""
    job = program(f"watch_sigterm(report, 20)\nsay('ready')\n{waits}\n")
    assert job.line() == "ready"
    if waits == LONG_CALL:
        job.wait_for_c_code()
    job.terminate()
    assert job.end() == DIES


def test_no_clean_up_after_the_report(program: Callable[[str], Program]) -> None:
    """As without us, SIGTERM runs neither `finally` nor exit handlers."""
    job = program(
        """
        import atexit
        atexit.register(say, "exit handler")
        watch_sigterm(report, 20)
        say("ready")
        try:
            time.sleep(60)
        finally:
            say("finally")
        """
    )
    assert job.line() == "ready"
    job.terminate()
    assert job.end() == DIES


def test_signal_during_the_report(program: Callable[[str], Program]) -> None:
    """Further signals while the report is being made neither repeat it nor cut it short."""
    job = program(
        """
        def report():
            say("begun")
            sys.stdin.readline()
            say("reported")
        watch_sigterm(report, 20)
        say("ready")
        time.sleep(60)
        """
    )
    assert job.line() == "ready"
    job.terminate()
    assert job.line() == "begun"
    for _ in range(5):
        job.terminate()
    assert job.process.stdin is not None
    job.process.stdin.write(b"\n")
    assert job.end() == DIES


def test_main_thread_that_comes_late(program: Callable[[str], Program]) -> None:
    """A main thread whose call ends while the other thread is reporting does not go on with the job."""
    job = program(
        """
        def report():
            say("begun")
            libc.pthread_mutex_unlock(mutex)
            threading.Event().wait(0.3)
            say("reported")
        watch_sigterm(report, 20)
        say("ready")
        long_call_of_c_code()
        say("the job goes on")
        """
    )
    assert job.line() == "ready"
    job.wait_for_c_code()
    job.terminate()
    assert job.end() == (-signal.SIGTERM, "begun\nreported\n", "")


@pytest.mark.parametrize("handler", ["signal.SIG_IGN", "lambda *_: say('the job decides')"], ids=["ignored", "handled"])
def test_handler_of_the_job_before(handler: str, program: Callable[[str], Program]) -> None:
    """Where the job handles or ignores SIGTERM, it alone decides."""
    job = program(
        f"""
        handler = {handler}
        signal.signal(signal.SIGTERM, handler)
        watch_sigterm(report, 20)
        assert signal.getsignal(signal.SIGTERM) is handler
        say("ready")
        sys.stdin.readline()
        say("end")
        """
    )
    assert job.line() == "ready"
    job.terminate()
    if "lambda" in handler:
        assert job.line() == "the job decides"
    assert job.process.stdin is not None
    job.process.stdin.write(b"\n")
    assert job.end() == (0, "end\n", "")


def test_handler_of_the_job_after(program: Callable[[str], Program]) -> None:
    """A handler that the job sets later takes the place of ours altogether, also for the listening thread."""
    job = program(
        """
        watch_sigterm(report, 20)
        signal.signal(signal.SIGTERM, lambda *_: say("the job decides"))
        say("ready")
        sys.stdin.readline()
        # Longer than the listening thread waits for the main thread.
        threading.Event().wait(0.6)
        say("end")
        """
    )
    assert job.line() == "ready"
    job.terminate()
    assert job.line() == "the job decides"
    assert job.process.stdin is not None
    job.process.stdin.write(b"\n")
    assert job.end() == (0, "end\n", "")


def test_other_signals(program: Callable[[str], Program]) -> None:
    """Another signal that the job handles is no reason for a report."""
    job = program(
        """
        watch_sigterm(report, 20)
        signal.signal(signal.SIGUSR1, lambda *_: say("usr1"))
        say("ready")
        sys.stdin.readline()
        threading.Event().wait(0.6)
        """
    )
    assert job.line() == "ready"
    job.process.send_signal(signal.SIGUSR1)
    assert job.line() == "usr1"
    assert job.process.stdin is not None
    job.process.stdin.write(b"\n")
    assert job.end() == (0, "", "")


def test_asked_twice(program: Callable[[str], Program]) -> None:
    """Watching a second time changes nothing: one handler, one thread, one report."""
    job = program(
        """
        for _ in range(3):
            watch_sigterm(report, 20)
        say(str(threading.active_count()))
        time.sleep(60)
        """
    )
    assert job.line() == "2"
    job.terminate()
    assert job.end() == DIES


def test_asked_again_after_a_reset(program: Callable[[str], Program]) -> None:
    """A thousand resets to the default action cost neither a thread nor a descriptor, and the last watch reports."""
    job = program(
        """
        def used():
            return threading.active_count(), len(os.listdir("/proc/self/fd"))
        watch_sigterm(report, 20)
        before = used()
        for _ in range(1000):
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            signal.set_wakeup_fd(-1)
            watch_sigterm(report, 20)
        assert used() == before, (used(), before)
        say("ready")
        long_call_of_c_code()
        """
    )
    assert job.line() == "ready"
    job.wait_for_c_code()
    job.terminate()
    assert job.end() == DIES


@pytest.mark.parametrize("handled", ["SIGTERM", "SIGHUP", "SIGINT"])
@pytest.mark.parametrize("first", ["before the loop", "in the loop", "after the loop"])
def test_after_a_loop_with_signal_handlers(first: str, handled: str, program: Callable[[str], Program]) -> None:
    """The next watch after an event loop that has handled signals works, also while the main thread is in C code."""
    job = program(
        f"""
        import asyncio
        def watch_if(when):
            if when == {first!r}:
                watch_sigterm(report, 20)
        async def main():
            asyncio.get_running_loop().add_signal_handler(signal.{handled}, print)
            watch_if("in the loop")
        watch_if("before the loop")
        asyncio.run(main())
        watch_sigterm(report, 20)
        say("ready")
        long_call_of_c_code()
        """
    )
    assert job.line() == "ready"
    job.wait_for_c_code()
    job.terminate()
    assert job.end() == DIES


def test_no_wakeup_is_lost_in_a_loop(program: Callable[[str], Program]) -> None:
    """Watching again within a loop leaves the loop every signal that it handles."""
    job = program(
        """
        import asyncio
        async def main():
            loop, seen = asyncio.get_running_loop(), []
            loop.add_signal_handler(signal.SIGUSR1, seen.append, 1)
            for number in range(1, 301):
                threading.Thread(target=os.kill, args=(os.getpid(), signal.SIGUSR1)).start()
                while len(seen) < number:
                    watch_sigterm(report, 20)
                    await asyncio.sleep(0)
        watch_sigterm(report, 20)
        asyncio.run(main())
        say("end")
        """
    )
    assert job.end() == (0, "end\n", "")


def test_not_on_the_main_thread(program: Callable[[str], Program]) -> None:
    """On another thread, where Python allows no handlers, nothing is watched and nothing is raised."""
    job = program(
        """
        thread = threading.Thread(target=watch_sigterm, args=(report, 20))
        thread.start()
        thread.join()
        assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
        say("ready")
        time.sleep(60)
        """
    )
    assert job.line() == "ready"
    job.terminate()
    assert job.end() == (-signal.SIGTERM, "", "")


def test_wakeup_descriptor_of_the_job(program: Callable[[str], Program]) -> None:
    """A wake-up file descriptor of somebody else, such as asyncio's, stays in place, and the handler still reports."""
    job = program(
        """
        reading, writing = os.pipe()
        os.set_blocking(writing, False)
        signal.set_wakeup_fd(writing)
        open_before = len(os.listdir("/proc/self/fd"))
        watch_sigterm(report, 20)
        assert signal.set_wakeup_fd(writing) == writing
        assert len(os.listdir("/proc/self/fd")) == open_before
        say("ready")
        time.sleep(60)
        """
    )
    assert job.line() == "ready"
    job.terminate()
    assert job.end() == DIES


@pytest.mark.parametrize(("in_the_child", "says"), [("", []), ("watch_sigterm(report, 20)", ["child"])])
def test_forked_child(in_the_child: str, says: list[str], program: Callable[[str], Program]) -> None:
    """A forked child dies of SIGTERM, with a report if it watches itself; the parent reports nothing of it."""
    job = program(
        f"""
        parent = os.getpid()
        def report():
            say("parent" if os.getpid() == parent else "child")
        watch_sigterm(report, 20)
        child = os.fork()
        if child == 0:
            {in_the_child}
            say(str(os.getpid()))
            time.sleep(60)
            os._exit(1)
        _, status = os.waitpid(child, 0)
        # Longer than the listening thread waits for the main thread.
        threading.Event().wait(0.6)
        say(str(os.waitstatus_to_exitcode(status)))
        sys.stdin.readline()
        """
    )
    os.kill(int(job.line()), signal.SIGTERM)
    assert [job.line() for _ in [*says, "status"]] == [*says, str(-signal.SIGTERM)]
    job.terminate()
    assert job.end() == (-signal.SIGTERM, "parent\n", "")


@pytest.mark.parametrize("calls", ["time.sleep(60)", LONG_CALL])
def test_report_that_hangs(calls: str, program: Callable[[str], Program]) -> None:
    """A report that waits for what the interrupted job holds does not keep the process longer than the limit."""
    job = program(
        f"""
        def report():
            say("begun")
            libc.pthread_mutex_lock(mutex)
        watch_sigterm(report, 0.2)
        say("ready")
        {calls}
        """
    )
    assert job.line() == "ready"
    if calls == LONG_CALL:
        job.wait_for_c_code()
    job.terminate()
    assert job.end() == (-signal.SIGTERM, "begun\n", "")


def test_report_that_raises(program: Callable[[str], Program]) -> None:
    """A report that is interrupted by Ctrl-C does not keep the process from dying of SIGTERM."""
    job = program(
        """
        def report():
            raise KeyboardInterrupt
        watch_sigterm(report, 20)
        say("ready")
        time.sleep(60)
        """
    )
    assert job.line() == "ready"
    job.terminate()
    assert job.end() == (-signal.SIGTERM, "", "")


def test_subprocess_of_the_job(program: Callable[[str], Program]) -> None:
    """A command that the job starts inherits neither the handler nor the descriptors: SIGTERM kills it as ever."""
    job = program(
        """
        import subprocess
        watch_sigterm(report, 20)
        command = [sys.executable, "-c", "import signal, time; print(signal.getsignal(15), flush=True); time.sleep(60)"]
        child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        say(child.stdout.readline().strip())
        child.terminate()
        say(str(child.wait()))
        """
    )
    assert job.line() in ("0", "Handlers.SIG_DFL")
    assert job.line() == str(-signal.SIGTERM)
    assert job.end() == (0, "", "")


def test_thread_does_not_keep_the_process(program: Callable[[str], Program]) -> None:
    """Watching does not hold up the end of a process that nobody terminates."""
    assert program("watch_sigterm(report, 20)\nsay('end')\n").end() == (0, "end\n", "")


def test_descriptors_that_the_job_closed(program: Callable[[str], Program]) -> None:
    """A job that closes all descriptors keeps the files that it opens then: no signal writes, and no fork closes."""
    job = program(
        """
        signal.signal(signal.SIGUSR1, lambda *_: None)
        watch_sigterm(report, 20)
        os.closerange(3, 256)
        own = [os.memfd_create("own") for _ in range(9)]
        os.kill(os.getpid(), signal.SIGUSR1)
        if (pid := os.fork()) == 0:
            say(f"child: {[os.fstat(each).st_size for each in own]}")
            os._exit(0)
        os.waitpid(pid, 0)
        """
    )
    assert job.end() == (0, f"child: {[0] * 9}\n", "")
