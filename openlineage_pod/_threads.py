"""Threads of ours, and what they wait with: the interpreter's own, whatever the job has put in its place.

gevent and eventlet replace functions of `_thread`, `threading`, `time`, `select` and `os`, before or after us. What is
left there starts greenlets and switches between those of the job. A thread of ours is one of the operating system, so
it needs the functions of the C modules. A module that is already patched is loaded once more: that copy is untouched.
Classes of the standard library, such as `threading.Event`, look their locks up when they are used, and are no help.
"""

from __future__ import annotations

import _thread
import os
import posix
import sys
import threading
import time
from _queue import Empty, SimpleQueue
from contextlib import contextmanager, suppress
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import select
    from collections.abc import Callable, Iterator
    from types import ModuleType

__all__ = [
    "Empty",
    "Event",
    "ReentrantLock",
    "SimpleQueue",
    "Thread",
    "allocate_lock",
    "are_threads_patched",
    "get_ident",
    "is_main_thread",
    "late_imports",
    "new_thread",
    "poll",
    "read",
    "sleep",
    "start_thread",
    "write",
]


def _is_patched(module: ModuleType, name: str) -> bool:
    # A function of a C module knows its module; what has been put in its place does not.
    return getattr(getattr(module, name, None), "__self__", None) is not module


def _genuine(module: ModuleType, name: str) -> Any:
    """Return a C module, or a copy of it if somebody has replaced this function in it."""
    if not _is_patched(module, name):
        return module
    import importlib.util  # deferred: most processes are not patched

    spec = importlib.util.find_spec(module.__name__)
    if spec is None or spec.loader is None:
        return module
    copy = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(copy)
    return copy


# Functions, and not modules: those may be patched later.
_genuine_thread = _genuine(_thread, "start_new_thread")
_start_new_thread: Callable[[Callable[[], None], tuple[()]], int] = _genuine_thread.start_new_thread
_rlock: Callable[[], Any] = _genuine_thread.RLock
allocate_lock: Callable[[], _thread.LockType] = _genuine_thread.allocate_lock
get_ident: Callable[[], int] = _genuine_thread.get_ident
sleep: Callable[[float], None] = _genuine(time, "sleep").sleep
read: Callable[[int, int], bytes] = _genuine(posix, "read").read
write: Callable[[int, bytes | memoryview], int] = _genuine(posix, "write").write


def poll() -> select.poll:
    """Return a new object that waits for files."""
    return _poll()()


@lru_cache(maxsize=1)
def _poll() -> Callable[[], select.poll]:
    import select  # deferred: a command is started also where this module is missing

    found: Callable[[], select.poll] = _genuine(select, "poll").poll
    return found


class ReentrantLock:
    """A lock that the thread which holds it may take again: a signal handler may interrupt its holder.

    It has slots because eventlet replaces each RLock that it finds in an attribute by a lock for greenlets.
    """

    __slots__ = ("_acquire", "_release")

    def __init__(self) -> None:
        lock = _rlock()
        self._acquire: Callable[..., bool] = lock.acquire
        self._release: Callable[[], None] = lock.release

    def acquire(self, timeout: float = -1) -> bool:
        """Wait up to `timeout` seconds (-1: for ever) for the lock; return whether it is held now."""
        return self._acquire(timeout=timeout)

    def release(self) -> None:
        """Let go of the lock.

        Raises:
            RuntimeError: This thread does not hold it.

        """
        self._release()

    def __enter__(self) -> None:
        self._acquire()

    def __exit__(self, *_error: object) -> None:
        self._release()


class Event:
    """A state that is set once, and for which threads wait."""

    def __init__(self) -> None:
        self._is_set = False
        # Each has a lock of its own: a signal handler may interrupt `wait` or `set` at any place.
        self._waiting: list[_thread.LockType] = []

    def is_set(self) -> bool:
        """Return whether it is set."""
        return self._is_set

    def set(self) -> None:
        """Set it, and wake all who wait for it."""
        self._is_set = True
        for lock in list(self._waiting):
            with suppress(RuntimeError):  # another thread has set it, too
                lock.release()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it is set, for up to `timeout` seconds; return whether it is."""
        if self._is_set:
            return True
        lock = allocate_lock()
        lock.acquire()
        self._waiting.append(lock)
        try:
            if not self._is_set:
                lock.acquire(timeout=-1 if timeout is None else max(0.0, min(timeout, threading.TIMEOUT_MAX)))
        finally:
            self._waiting.remove(lock)
        return self._is_set


class Thread(Protocol):
    """What is needed of a thread; `ident` is None until it runs."""

    @property
    def name(self) -> str:
        """Begins with `openlineage-pod-`."""

    @property
    def ident(self) -> int | None:
        """Its number, as `get_ident` returns it on the thread."""

    def start(self) -> None:
        """Start it, once."""

    def is_alive(self) -> bool:
        """Return whether it runs."""

    def join(self, timeout: float | None = None) -> None:
        """Wait up to `timeout` seconds for its end."""


class _GenuineThread:
    """A thread that the `threading` module does not know: where that is patched, it starts greenlets."""

    def __init__(self, target: Callable[[], None], name: str) -> None:
        self.name = name
        self.ident: int | None = None
        self._target = target
        self._is_started = False
        self._ended = Event()

    def start(self) -> None:
        """Start it, once."""
        _start_new_thread(self._run, ())
        self._is_started = True

    def is_alive(self) -> bool:
        """Return whether it runs."""
        return (self._is_started or self.ident is not None) and not self._ended.is_set()

    def join(self, timeout: float | None = None) -> None:
        """Wait up to `timeout` seconds for its end."""
        self._ended.wait(timeout)

    def _run(self) -> None:
        self.ident = get_ident()
        try:
            self._target()
        finally:
            self._ended.set()


def are_threads_patched() -> bool:
    """Return whether a new thread would be a greenlet."""
    return _is_patched(_thread, "start_new_thread")


def new_thread(target: Callable[[], None], name: str) -> Thread:
    """Return a daemon thread called `openlineage-pod-<name>`, which is not started yet.

    A daemon, because a request that hangs must not keep the process from ending.
    """
    target, name = _without_warnings(target), f"openlineage-pod-{name}"
    if are_threads_patched():
        return _GenuineThread(target, name)
    return threading.Thread(target=target, name=name, daemon=True)


# The private name is the C module's own, which `threading.local` has from there.
_here: Any = _genuine_thread._local()  # noqa: SLF001


class _OurThreads:
    """The message of a warnings filter: it matches every text, but only in a thread of ours."""

    def match(self, _text: str) -> bool:
        """Return whether this thread is ours."""
        return getattr(_here, "is_ours", False)

    def __reduce__(self) -> str:
        """Be the same object in another process: some libraries send their filters to their workers."""
        return "_ours"


_ours = _OurThreads()
_FILTER = ("ignore", _ours, Warning, None, 0)


def _without_warnings(target: Callable[[], None]) -> Callable[[], None]:
    """Return `target` for a thread in which no warning is printed or raised.

    A job that turns warnings into errors, or asks for more of them, means its own code. The filter is added only then:
    the filters are the job's, and every thread has the same.
    """

    def run() -> None:
        import warnings  # deferred: the job's first line does not wait for it

        filters: list[Any] = warnings.filters  # type: ignore[assignment]
        is_strict = any(action == "error" for action, *_ in filters)
        if (is_strict or sys.warnoptions or sys.flags.warn_default_encoding) and _FILTER not in filters:
            filters.insert(0, _FILTER)
        _here.is_ours = True
        target()

    return run


def start_thread(target: Callable[[], None], name: str) -> Thread:
    """Start such a thread, and return it.

    Raises:
        RuntimeError: The process may have no more threads, or its interpreter is finalizing (Python 3.12 refuses new
            threads from the end of the main thread's last line on, before the first exit handler runs).

    """
    thread = new_thread(target, name)
    thread.start()
    return thread


def is_main_thread() -> bool:
    """Return whether this is the main thread, whose greenlets gevent and eventlet take for threads."""
    if sys.platform == "linux":
        return threading.get_native_id() == os.getpid()
    return threading.current_thread() is threading.main_thread()


class _LateImports:
    """Blocks of our threads that import, also while the interpreter ends.

    `concurrent.futures`, which other libraries import, has its exit function called before threads are joined. That is
    refused with a RuntimeError, which breaks the import, from the end of the main thread's last line on. A thread of
    ours does without: what it imports that late is not used after it.
    """

    def __init__(self) -> None:
        self._changing = allocate_lock()
        self._blocks = 0
        self._register: Callable[..., None] = lambda *_arguments: None

    def begin(self) -> None:
        """Begin a block."""
        with self._changing:
            self._blocks += 1
            if self._blocks == 1 and hasattr(threading, "_register_atexit"):
                self._register = threading._register_atexit  # noqa: SLF001  what `concurrent.futures` calls
                vars(threading)["_register_atexit"] = self._register_if_possible

    def end(self) -> None:
        """End a block."""
        with self._changing:
            self._blocks -= 1
            if not self._blocks:
                self._restore()

    def leave_child(self) -> None:
        """End all blocks in a forked child: their threads are not there, and one of them may hold the lock."""
        self._changing, self._blocks = allocate_lock(), 0
        self._restore()

    def _restore(self) -> None:
        if vars(threading).get("_register_atexit") == self._register_if_possible:
            vars(threading)["_register_atexit"] = self._register

    def _register_if_possible(self, function: Callable[..., object], *args: Any, **kwargs: Any) -> None:
        try:
            self._register(function, *args, **kwargs)
        except RuntimeError:
            if not _ours.match(""):
                raise


_late_imports = _LateImports()
os.register_at_fork(after_in_child=_late_imports.leave_child)


@contextmanager
def late_imports() -> Iterator[None]:
    """Let a thread of ours import in the block what cannot be imported any more while the interpreter ends."""
    _late_imports.begin()
    try:
        yield
    finally:
        _late_imports.end()
