"""Threads and what they wait with: what no patch of the job reaches, and no signal handler blocks."""

from __future__ import annotations

import subprocess
import sys
import threading

import pytest

from openlineage_pod import _threads
from openlineage_pod._threads import Event, ReentrantLock, new_thread
from tests.support.constants import ROOT
from tests.support.waiting import HANGS, wait_until

# Puts a function that fails in the place of each one that gevent or eventlet replaces.
PATCH = """
import _thread, contextvars, importlib._bootstrap, importlib.util, os, queue, select, threading, time
spec = importlib.util.find_spec("_thread")
importlib._bootstrap._thread = importlib.util.module_from_spec(spec)  # as eventlet does: imports take locks
spec.loader.exec_module(importlib._bootstrap._thread)
def patched(*_args, **_options):
    raise AssertionError("a patched function was called")
def patch():
    for module, names in {
        _thread: ("start_new_thread", "start_joinable_thread", "allocate_lock", "get_ident"),
        threading: ("_start_new_thread", "_start_joinable_thread", "_allocate_lock", "Lock", "RLock", "Event",
                    "Condition", "get_ident", "_PyRLock", "_CRLock", "current_thread"),
        time: ("sleep",),
        os: ("read", "write"),
        queue: ("SimpleQueue", "Queue", "PriorityQueue"),
    }.items():
        for name in names:
            if hasattr(module, name):
                setattr(module, name, patched)
    del select.poll
"""
USE = """
out = _threads.allocate_lock()
out.acquire()
begun, ended, lock, queue = _threads.Event(), _threads.Event(), _threads.ReentrantLock(), _threads.SimpleQueue()
def run():
    with lock, lock:
        begun.set()
        _threads.sleep(0.01)
        queue.put(_threads.get_ident())
    ended.wait()
thread = _threads.start_thread(run, "test")
assert begun.wait(60) and thread.is_alive()
with lock:
    ident = queue.get(timeout=60)
assert ident == thread.ident != _threads.get_ident()
ended.set()
thread.join(60)
assert not thread.is_alive()
assert _threads.is_main_thread()
ready = _threads.poll()
ready.register(1, select.POLLOUT)
ready.poll(0)
_threads.write(1, thread.name.encode())
os._exit(0)  # the end of the interpreter calls patched functions
"""


@pytest.mark.parametrize("order", ["before", "after"])
def test_patched_functions_are_not_called(order: str) -> None:
    """Threads start, wait, lock and write with the interpreter's own functions, also where the job replaces them."""
    steps = ["patch()", "from openlineage_pod import _threads"]
    source = "\n".join([PATCH, *(steps if order == "before" else reversed(steps)), USE])
    done = subprocess.run(
        [sys.executable, "-c", source], check=False, capture_output=True, text=True, timeout=HANGS, cwd=ROOT
    )
    assert (done.stdout, done.stderr, done.returncode) == ("openlineage-pod-test", "", 0)


def test_unpatched_threads_are_known() -> None:
    """Where nothing is patched, the threads are those of the `threading` module, with their names."""
    ended = Event()
    thread = new_thread(lambda: assert_true(ended.wait(HANGS)), "test")
    thread.start()
    assert thread in threading.enumerate()
    assert (thread.name, thread.is_alive()) == ("openlineage-pod-test", True)
    ended.set()
    thread.join(HANGS)
    assert not thread.is_alive()


def assert_true(value: object) -> None:
    """Fail if the value is not true."""
    assert value


def test_event_wakes_all() -> None:
    """Every thread that waits for an event goes on when it is set, also when two threads set it."""
    event, woken = Event(), []
    threads = [new_thread(lambda: woken.append(event.wait(HANGS)), "test") for _ in range(20)]
    for thread in threads:
        thread.start()
    setters = [new_thread(event.set, "test") for _ in range(5)]
    for thread in setters:
        thread.start()
    for thread in [*threads, *setters]:
        thread.join(HANGS)
    assert woken == [True] * 20
    assert event.wait(0)


@pytest.mark.parametrize("timeout", [0, -1, 0.01])
def test_event_that_is_not_set(timeout: float) -> None:
    """A wait ends with its timeout; a negative one is none."""
    event = Event()
    assert not event.wait(timeout)
    assert not event.is_set()


def test_very_long_timeout() -> None:
    """A timeout beyond what the operating system takes is as good as none."""
    event = Event()
    thread = new_thread(lambda: assert_true(event.wait(1e30)), "test")
    thread.start()
    wait_until(lambda: vars(event)["_waiting"], "it waits")
    event.set()
    thread.join(HANGS)
    assert not thread.is_alive()


def test_reentrant_lock() -> None:
    """The thread that holds the lock may take it again, another one waits until it is released as often."""
    lock = ReentrantLock()
    got: list[bool] = []

    def take(timeout: float) -> None:
        thread = new_thread(lambda: got.append(lock.acquire(timeout)), "test")
        thread.start()
        thread.join(HANGS)

    with lock:
        with lock:
            take(0.01)
        take(0.01)
    take(HANGS)
    assert got == [False, False, True]
    with pytest.raises(RuntimeError):
        lock.release()


def test_lock_is_hidden() -> None:
    """Nothing that looks through the attributes of objects, as eventlet does, finds the lock and replaces it."""
    with pytest.raises(TypeError):
        vars(ReentrantLock())
    assert not any(isinstance(value, type(threading.RLock())) for value in vars(_threads).values())


def test_greenlets_are_no_threads() -> None:
    """Only the main thread of the operating system counts as the main thread."""
    told: list[bool] = []
    thread = new_thread(lambda: told.append(_threads.is_main_thread()), "test")
    thread.start()
    thread.join(HANGS)
    assert (told, _threads.is_main_thread()) == ([False], True)


def test_late_import_in_a_thread_of_ours() -> None:
    """A thread of ours imports `concurrent.futures` also after the interpreter has begun to end; the job cannot."""
    source = """
import atexit, sys, threading
from openlineage_pod._threads import Event, late_imports, start_thread

begun, done = Event(), Event()

def work():
    begun.wait()
    with late_imports():
        import concurrent.futures.thread, concurrent.futures.process
    done.set()

def end():
    begun.set()
    assert done.wait(60)
    del sys.modules["concurrent.futures.thread"]
    try:
        with late_imports():
            import concurrent.futures.thread
    except RuntimeError as error:
        print(error)
    assert threading._register_atexit.__module__ == "threading"

atexit.register(end)
start_thread(work, "test")
"""
    done = subprocess.run(
        [sys.executable, "-c", source], check=False, capture_output=True, text=True, timeout=HANGS, cwd=ROOT
    )
    assert (done.stdout, done.stderr) == ("can't register atexit after shutdown\n", "")


def test_exit_functions_of_the_job_are_kept() -> None:
    """What the job registers while a thread of ours imports is called at the end, also in a forked child."""
    source = """
import os, sys, threading
from openlineage_pod._threads import late_imports

with late_imports():
    threading._register_atexit(print, "called", flush=True)
    child = os.fork()
    if child == 0:
        assert threading._register_atexit.__module__ == "threading"
        sys.exit()
    os.waitpid(child, 0)
"""
    done = subprocess.run(
        [sys.executable, "-c", source], check=False, capture_output=True, text=True, timeout=HANGS, cwd=ROOT
    )
    assert (done.stdout, done.stderr) == ("called\n" * 2, "")


def test_name_of_the_standard_library() -> None:
    """The function that is replaced during late imports exists: without it they need no help, or another one."""
    assert callable(vars(threading)["_register_atexit"])
