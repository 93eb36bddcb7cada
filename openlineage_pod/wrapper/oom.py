"""The count of processes that the kernel's OOM killer has killed in this container."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["count_oom_kills"]


def count_oom_kills(files: Iterable[str] | None = None) -> int | None:
    """Return how many processes of this container's control group the OOM killer has killed; None if unknown.

    Args:
        files: that may hold the count, in the order of preference; default: the kernel's.

    """
    for path in _memory_files() if files is None else files:
        with suppress(OSError, ValueError), open(path, encoding="utf-8") as file:
            counts = dict(line.split() for line in file)
            return int(counts["oom_kill"]) if "oom_kill" in counts else None
    return None


def _memory_files() -> Iterable[str]:
    # /proc names the group. In a container it may be the root of what is mounted: the last two paths.
    with suppress(OSError, ValueError), open("/proc/self/cgroup", encoding="utf-8") as file:
        for line in file:
            _, controllers, group = line.strip().split(":", 2)
            if not controllers:
                yield f"/sys/fs/cgroup{group.rstrip('/')}/memory.events"
            elif "memory" in controllers.split(","):
                yield f"/sys/fs/cgroup/memory{group.rstrip('/')}/memory.oom_control"
    yield "/sys/fs/cgroup/memory.events"
    yield "/sys/fs/cgroup/memory/memory.oom_control"
