"""The count of the kernel's OOM kills."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from openlineage_pod.wrapper.oom import count_oom_kills

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("texts", "count"),
    [
        (["low 0\nhigh 0\nmax 3\noom 2\noom_kill 1\noom_group_kill 0\n"], 1),
        (["oom_kill_disable 0\nunder_oom 0\noom_kill 4\n"], 4),
        (["oom_kill_disable 0\nunder_oom 0\n"], None),
        ([None, "oom_kill 2\n"], 2),
        (["garbage\n", "oom_kill 3\n"], 3),
        (["oom_kill many\n"], None),
        (["", "oom_kill 3\n"], None),
        ([None, None], None),
    ],
)
def test_counter_of_oom_kills(texts: list[str | None], count: int | None, tmp_path: Path) -> None:
    """The count comes from the first file that has one, in the form of cgroup v1 or v2."""
    paths = [tmp_path / str(number) for number in range(len(texts))]
    for path, text in zip(paths, texts, strict=True):
        if text is not None:
            path.write_text(text)
    assert count_oom_kills(map(str, paths)) == count
