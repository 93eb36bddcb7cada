"""The logger, whatever class of loggers, handlers and records the job has set."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from openlineage_pod._guard import guarded

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

# Each is set before the package is imported.
SETUPS = {
    "slots": """
class Logger(logging.Logger):
    __slots__ = ("extra",)
logging.setLoggerClass(Logger)""",
    "layout of its own": """
class Logger(logging.Logger, dict):
    def __init__(self, name):
        logging.Logger.__init__(self, name)
logging.setLoggerClass(Logger)""",
    "frozen": """
class Logger(logging.Logger):
    def addFilter(self, filter): raise RuntimeError("the logger is frozen")
    def addHandler(self, handler): raise RuntimeError("the logger is frozen")
logging.setLoggerClass(Logger)
logging.basicConfig()""",
    "raises": """
class Logger(logging.Logger):
    def handle(self, record): raise RuntimeError("no logging today")
logging.setLoggerClass(Logger)""",
    "made before": """
class Logger(logging.Logger):
    __slots__ = ("extra",)
logging.setLoggerClass(Logger)
logging.getLogger("openlineage_pod").info("early")
logging.setLoggerClass(logging.Logger)""",
    "handler that raises": """
class Handler(logging.Handler):
    def emit(self, record): raise RuntimeError("no logging today")
logging.root.addHandler(Handler())""",
    "record factory that raises": """
def make(*args, **options): raise RuntimeError("no records today")
logging.setLogRecordFactory(make)""",
    "filter that raises": """
def refuse(record): raise RuntimeError("no logging today")
logging.getLogger("openlineage_pod").addFilter(refuse)""",
}
JOB = """
import logging
{setup}
from openlineage_pod.testing import record_events
from openlineage_pod import lineage_run
with record_events({{}}) as recorded, lineage_run("ingest") as run:
    run.add_input("s3cret-accounts postgres://etl:s3cret@wh/db")
    run.add_run_facet("odd", 7)
    run.add_output("s3://lake/accounts")
print([event["eventType"] for event in recorded.events], [len(event["outputs"]) for event in recorded.events])
"""


@pytest.mark.parametrize("setup", SETUPS.values(), ids=SETUPS)
def test_any_logger_class(setup: str) -> None:
    """Whatever the job has put into `logging`, the package is imported, reports, and lets no password into a line."""
    job = JOB.format(setup=setup)
    done = subprocess.run([sys.executable, "-c", job], capture_output=True, text=True, check=False)
    assert done.stdout == "['START', 'COMPLETE'] [0, 1]\n", done.stderr
    assert "etl:s3cret" not in done.stderr
    if "no " not in setup:
        assert "'odd'" in done.stderr


class LateError(Exception):
    """The time of the job is over."""


def stop(_number: int, _frame: FrameType | None) -> None:
    """Raise, as the handler of a time limit does."""
    raise LateError


class Stopper:
    """A handler that is an object."""

    def __call__(self, *_args: Any) -> None:
        """Raise by another function."""
        stop(0, None)


HANDLERS: dict[str, Callable[..., None]] = {
    "function": stop,
    "any arguments": lambda *args: stop(args[0], None),
    "partial": partial(lambda _text, number, _frame: stop(number, None), "text"),
    "object": Stopper(),
}


@pytest.fixture
def handle() -> Iterator[Callable[[Callable[..., None]], object]]:
    """Return a function that sets the handler of SIGUSR1."""
    before = signal.getsignal(signal.SIGUSR1)
    yield partial(signal.signal, signal.SIGUSR1)
    signal.signal(signal.SIGUSR1, before)


@pytest.mark.parametrize("handler", HANDLERS)
def test_error_of_a_signal_handler(handler: str, handle: Callable[..., object]) -> None:
    """What the job's signal handler raises in the middle of our code is raised in the job."""
    handle(HANDLERS[handler])

    def work() -> None:
        os.kill(os.getpid(), signal.SIGUSR1)

    with pytest.raises(LateError), guarded("work"):
        work()
