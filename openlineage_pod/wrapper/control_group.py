"""The files in which the kernel shows the limits and counts of this container's control group."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["control_files"]


def control_files(controller: str, name: str, name_v1: str | None = None) -> Iterator[str]:
    """Yield the paths that a file of this process's control group may have, in the order of preference.

    Args:
        controller: such as `memory`.
        name: of the file in a hierarchy of version 2.
        name_v1: of the file in a hierarchy of version 1, if it is another name.

    """
    # /proc names the group. In a container it may be the root of what is mounted: the last two paths.
    with suppress(OSError, ValueError), open("/proc/self/cgroup", encoding="utf-8") as file:
        for line in file:
            _, controllers, group = line.strip().split(":", 2)
            if not controllers:
                yield f"/sys/fs/cgroup{group.rstrip('/')}/{name}"
            elif controller in controllers.split(","):
                yield f"/sys/fs/cgroup/{controller}{group.rstrip('/')}/{name_v1 or name}"
    yield f"/sys/fs/cgroup/{name}"
    yield f"/sys/fs/cgroup/{controller}/{name_v1 or name}"
