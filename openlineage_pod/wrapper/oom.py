"""The count of processes that the kernel's OOM killer has killed in this container."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from openlineage_pod.wrapper.control_group import control_files

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["count_oom_kills"]


def count_oom_kills(files: Iterable[str] | None = None) -> int | None:
    """Return how many processes of this container's control group the OOM killer has killed; None if unknown.

    Args:
        files: that may hold the count, in the order of preference; default: the kernel's.

    """
    for path in control_files("memory", "memory.events", "memory.oom_control") if files is None else files:
        with suppress(OSError, ValueError), open(path, encoding="utf-8") as file:
            counts = dict(line.split() for line in file)
            return int(counts["oom_kill"]) if "oom_kill" in counts else None
    return None
