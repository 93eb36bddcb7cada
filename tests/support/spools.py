"""Another process that uses a spool."""

from __future__ import annotations

import signal
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tests.support.constants import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["another_process", "kill"]

_WRITER = """
import sys, time
sys.path.insert(0, {root!r})
from openlineage_pod.delivery.spool import Spool
from openlineage_pod.events.document import Document, to_document
from tests.support.events import draft, event
spool = Spool({directory!r}, 1 << 20)
for number in {numbers!r}:
    spool.write(Document(event(number)))
{then}
print("READY", flush=True)
sys.stdin.read()
"""


@contextmanager
def another_process(directory: Path, *numbers: int, then: str = "") -> Iterator[subprocess.Popen[str]]:
    """Yield a process that has written these events into the spool and still runs."""
    source = _WRITER.format(root=str(ROOT), directory=str(directory), numbers=numbers, then=then)
    process = subprocess.Popen(
        [sys.executable, "-c", source], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == "READY\n"
        yield process
    finally:
        process.kill()
        process.communicate(timeout=30)


def kill(process: subprocess.Popen[str]) -> None:
    """End a process without a chance to clean up."""
    process.send_signal(signal.SIGKILL)
    process.wait(30)
