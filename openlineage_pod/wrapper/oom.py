"""How often the kernel has killed a process of this container because it ran out of memory."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["count_oom_kills"]


def count_oom_kills() -> int | None:
    """Return how often the kernel has killed in this container's control group for want of memory; None: unknown."""
    for path in _memory_files():
        with suppress(OSError, ValueError), open(path) as file:
            counts = dict(line.split() for line in file)
            return int(counts["oom_kill"]) if "oom_kill" in counts else None
    return None


def _memory_files() -> Iterable[str]:
    # In a container the group is the root of what is mounted; else /proc says where it is.
    with suppress(OSError, ValueError), open("/proc/self/cgroup") as file:
        for line in file:
            _, controllers, group = line.strip().split(":", 2)
            if not controllers:
                yield f"/sys/fs/cgroup{group.rstrip('/')}/memory.events"
            elif "memory" in controllers.split(","):
                yield f"/sys/fs/cgroup/memory{group.rstrip('/')}/memory.oom_control"
    yield "/sys/fs/cgroup/memory.events"
    yield "/sys/fs/cgroup/memory/memory.oom_control"
