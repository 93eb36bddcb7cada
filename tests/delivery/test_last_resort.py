"""Last-resort lines: recoverable, below the size at which container runtimes split, and never in the way."""

from __future__ import annotations

import json
import os
import select
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest

from openlineage_pod.delivery.last_resort import print_event
from openlineage_pod.events.document import Document
from tests.support.harness import stamped_event
from tests.support.waiting import at_most

if TYPE_CHECKING:
    from pathlib import Path


def event(size: int) -> dict[str, Any]:
    """Return an event with a facet of that many characters."""
    return {"eventType": "START", "run": {"runId": "r"}, "job": {"name": "j"}, "own": "ü" + "x" * size}


def test_one_event_one_line(capfd: pytest.CaptureFixture[str]) -> None:
    """An event is one line: the prefix, its JSON in ASCII, its format and its digest."""
    assert print_event(Document(event(10)), time.monotonic() + 1)
    line = capfd.readouterr().err
    assert line.isascii()
    prefix, _, text = line.removesuffix("\n").partition(" ")
    assert prefix == "OPENLINEAGE_POD_EVENT"
    assert stamped_event(text) == event(10)


def test_long_event_in_numbered_parts(capfd: pytest.CaptureFixture[str]) -> None:
    """A long event comes in numbered lines, each one write to a pipe, whose texts joined are its JSON."""
    assert print_event(Document(event(50_000)), time.monotonic() + 1)
    lines = capfd.readouterr().err.splitlines()
    assert len(lines) == 14
    assert max(len(line) for line in lines) < select.PIPE_BUF
    texts = []
    for number, line in enumerate(lines, 1):
        prefix, part, name, text = line.split(" ", 3)
        assert (prefix, part, name) == ("OPENLINEAGE_POD_EVENT", f"{number}/14", "r.START")
        texts.append(text)
    assert stamped_event("".join(texts)) == event(50_000)


@pytest.mark.parametrize("size", [10, 50_000])
def test_body_of_another_program(size: int, capfd: pytest.CaptureFixture[str]) -> None:
    """An event that another program wrote, in several lines and not in ASCII, is printed like our own."""
    one = event(size)
    assert print_event(Document(one, json.dumps(one, indent=2, ensure_ascii=False).encode()), time.monotonic() + 1)
    texts = [
        line.split(" ", 3)[-1] if size > 10 else line.partition(" ")[2] for line in capfd.readouterr().err.splitlines()
    ]
    assert stamped_event("".join(texts)) == one


@pytest.mark.serial
def test_pipe_that_nobody_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    """A full pipe behind stderr holds nobody up past the deadline, and the event does not count as printed."""
    reading, writing = os.pipe()
    try:
        with os.fdopen(writing, "w") as stderr:
            monkeypatch.setattr(sys, "__stderr__", stderr)
            started = time.monotonic()
            assert not print_event(Document(event(1_000_000)), started + 0.2)
            assert time.monotonic() - started < at_most()
            monkeypatch.undo()
    finally:
        os.close(reading)


def test_no_stderr(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without stderr, or with a closed one, the event does not count as printed, and nothing is raised."""
    monkeypatch.setattr(sys, "__stderr__", None)
    assert not print_event(Document(event(1)), time.monotonic() + 1)
    closed = (tmp_path / "closed").open("w")
    closed.close()
    monkeypatch.setattr(sys, "__stderr__", closed)
    assert not print_event(Document(event(1)), time.monotonic() + 1)
