"""The last moment of a process: its main thread and the intake come to the events of one run at the same time."""

from __future__ import annotations

import signal
import time
from typing import TYPE_CHECKING

import pytest

from tests.support.fault_scene import WHOLE, deliver_what_is_left
from tests.support.waiting import at_most

if TYPE_CHECKING:
    from tests.support.fault_scene import Scene
    from tests.support.harness import Receiver

BOTH = ["job.START", "job.COMPLETE"]
# What the intake does with an event takes as long as these jobs say; the main thread is at its own pace.
SLOWED = """
import os, signal, threading, time
from openlineage_pod import lineage_run
from openlineage_pod.delivery import delivery, keeper, prepare, spool
delivery.PRINT_TIMEOUT = keeper.PRINT_TIMEOUT = prepare.PRINT_TIMEOUT = {patience}
busy, overtaken = threading.Event(), threading.Event()
def is_main():
    return threading.current_thread() is threading.main_thread()
{slowed}
with lineage_run("job"):
    pass
{wait}
print("END", flush=True)
"""
START_IS_MADE = """
build = prepare.to_document
def slow(draft):
    if is_main():
        overtaken.set()
    elif draft.event_type == "START":
        busy.set()
        if overtaken.wait(1):
            time.sleep(0.2)
    return build(draft)
prepare.to_document = slow
"""
END_IS_WRITTEN = """
class Slow(spool.Spool):
    def write(self, document):
        if not is_main() and document.event_type == "COMPLETE":
            busy.set()
            time.sleep(1)
        return super().write(document)
spool.Spool = Slow
"""
START_HANGS = """
class Hanging(spool.Spool):
    def write(self, document):
        if not is_main():
            busy.set()
            time.sleep(60)
        return super().write(document)
spool.Spool = Hanging
"""


@pytest.mark.parametrize("slowed", [START_IS_MADE, END_IS_WRITTEN], ids=["start-is-made", "end-is-written"])
def test_what_the_intake_is_at_is_waited_for(slowed: str, spooling: Scene, refused: str, receiver: Receiver) -> None:
    """Where the exit comes while the intake is at an event, both are spooled in order, and no fallback is left."""
    source = SLOWED.format(patience=10, slowed=slowed, wait="busy.wait()")
    finished = spooling.jobs.run(source, spooling.environ(refused, 0))
    assert (finished.returncode, finished.stdout) == (0, "END\n")
    assert spooling.account({"job": WHOLE}, finished).places == {"spooled": BOTH}
    assert spooling.files("open") == []
    deliver_what_is_left(spooling, receiver)
    assert spooling.account({"job": WHOLE, "next": WHOLE}, backends=[receiver]).delivered[:2] == BOTH


@pytest.mark.serial
@pytest.mark.parametrize(("last_resort", "place"), [("stderr", "printed"), ("off", "spooled")])
def test_an_intake_that_hangs_is_not_waited_for(last_resort: str, place: str, spooling: Scene, refused: str) -> None:
    """While a write hangs, the exit is in time, all is kept elsewhere, and nobody else reports an end of the run."""
    source = SLOWED.format(patience=2, slowed=START_HANGS, wait="busy.wait()")
    environ = {**spooling.environ(refused, 0), "OPENLINEAGE_POD_LAST_RESORT": last_resort}
    job = spooling.jobs.start(source, environ)
    job.wait_for("END")
    ended = time.monotonic()
    finished = job.finish()
    assert time.monotonic() - ended < at_most(2)
    assert spooling.account({"job": WHOLE}, finished).places == {place: BOTH}
    assert spooling.files("open") == []


INTERRUPTED = """
class Late(spool.Spool):
    def __init__(self, *args):
        overtaken.wait()
        super().__init__(*args)
spool.Spool = Late
home = keeper if {function!r} == 'print_event' else prepare
doing = home.{function}
once = ["{event_type}"]
def interrupted(event, *args):
    if once == [event.event_type]:
        once.clear()
        os.kill(os.getpid(), signal.{number})
    return doing(event, *args)
home.{function} = interrupted
def handler(*_):
    with lineage_run("late"):
        pass
signal.signal(signal.SIGUSR1, handler)
"""


# Printed ones may change places where the job's own handler interrupts the printing: a replay sorts them.
@pytest.mark.parametrize("event_type", WHOLE)
@pytest.mark.parametrize(
    ("number", "function"),
    [(signal.SIGTERM, "to_document"), (signal.SIGTERM, "print_event"), (signal.SIGUSR1, "to_document")],
)
def test_a_signal_while_the_main_thread_is_at_an_event(
    number: signal.Signals, function: str, event_type: str, spooling: Scene, refused: str
) -> None:
    """A handler that closes in the middle of an event of ours neither hangs, nor loses, doubles or reorders any."""
    slowed = INTERRUPTED.format(number=number.name, function=function, event_type=event_type)
    source = SLOWED.format(patience=4, slowed=slowed, wait="pass")
    job = spooling.jobs.start(source, spooling.environ(refused, 0))
    job.wait_for("END")
    finished = job.finish(timeout=at_most(4))
    dies = number == signal.SIGTERM
    assert finished.returncode == (-number if dies else 0)
    produced = {"job": WHOLE} if dies else {"job": WHOLE, "late": WHOLE}
    # Two closes tell their counts twice.
    assert list(spooling.account(produced, finished, told=dies).places) == ["printed"]


def test_ctrl_c_while_the_main_thread_is_at_an_event(spooling: Scene, refused: str) -> None:
    """A KeyboardInterrupt in the middle of an event of ours neither hangs the process nor loses an event."""
    slowed = INTERRUPTED.format(number="SIGINT", function="to_document", event_type="START")
    source = SLOWED.format(patience=4, slowed=slowed, wait="pass")
    job = spooling.jobs.start(source, spooling.environ(refused, 0))
    job.wait_for("END")
    finished = job.finish(timeout=at_most(4))
    assert "KeyboardInterrupt" in finished.stderr
    # It leaves the close before that has said how many there are.
    assert spooling.account({"job": WHOLE}, finished, told=False).places == {"printed": BOTH}
