"""Run ids: version 7 of RFC 9562, sorted by time, never twice the same."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
import uuid
from typing import TYPE_CHECKING

from openlineage_pod.events.uuid7 import new_uuid7
from openlineage_pod.settings import canonical_uuid

if TYPE_CHECKING:
    import pytest


def test_version_and_variant() -> None:
    """Every id is a canonical UUID of version 7 and of the RFC's variant."""
    for _ in range(1_000):
        value = new_uuid7()
        parsed = uuid.UUID(value)
        assert (parsed.version, parsed.variant) == (7, uuid.RFC_4122)
        assert canonical_uuid(value) == value == str(parsed)


def test_holds_the_time() -> None:
    """The first 48 bits are the time in milliseconds."""
    before = time.time_ns() // 1_000_000
    milliseconds = uuid.UUID(new_uuid7()).int >> 80
    assert before <= milliseconds <= time.time_ns() // 1_000_000


def test_sorts_by_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two ids the one of the later millisecond is the larger, as text and as number, to the limit of the field."""
    times = [0, 1, 255, 256, 1_600_000_000_000, 1_600_000_000_001, (1 << 48) - 1]
    ids = []
    for milliseconds in times:
        monkeypatch.setattr(time, "time_ns", lambda now=milliseconds: now * 1_000_000 + 999_999)
        ids.append(new_uuid7())
    assert ids == sorted(ids)
    assert [uuid.UUID(value).int >> 80 for value in ids] == times


def test_random_bits() -> None:
    """All bits but those of time, version and variant are random."""
    values = [uuid.UUID(new_uuid7()).int for _ in range(200)]
    random = [bit for bit in range(80) if bit not in (*range(76, 80), 62, 63)]
    for bit in random:
        assert {value >> bit & 1 for value in values} == {0, 1}, f"bit {bit}"


def test_unique_across_threads() -> None:
    """Threads that make ids at the same time never get the same one."""
    made: list[list[str]] = [[] for _ in range(8)]
    start = threading.Barrier(8)

    def make(ids: list[str]) -> None:
        start.wait(10)
        ids.extend(new_uuid7() for _ in range(2_000))

    threads = [threading.Thread(target=make, args=(ids,)) for ids in made]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len({value for ids in made for value in ids}) == 16_000


FORKS = """
import os
from openlineage_pod.events.uuid7 import new_uuid7
new_uuid7()
child = os.fork()
if child:
    os.waitpid(child, 0)
print(*(new_uuid7()[14:] for _ in range(40)), flush=True)
"""


def test_unique_across_forks() -> None:
    """A forked child and its parent never make the same id, though random bytes are read for several at once."""
    done = subprocess.run([sys.executable, "-c", FORKS], capture_output=True, text=True, check=True)
    assert len(set(done.stdout.split())) == 80
