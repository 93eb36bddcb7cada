"""Whether the kernel lets this user or container have only a few processes. Threads count as processes."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING

from openlineage_pod.wrapper.control_group import control_files

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["has_few_processes"]

# Below these a command may need every process that is left; a few threads of ours are nothing above them.
_FEW_OF_USER, _FEW_LEFT = 64, 16


def has_few_processes(limits: Iterable[str] | None = None) -> bool:
    """Return whether threads of this process may take the last processes that its command can have.

    Args:
        limits: the files that may hold the limit of the control group; default: the kernel's.

    """
    soft = os.sysconf("SC_CHILD_MAX")  # -1: no limit. The module `resource` takes longer
    # How many of them the user has already cannot be seen from inside a container.
    return 0 <= soft < _FEW_OF_USER or _is_group_nearly_full(
        control_files("pids", "pids.max") if limits is None else limits
    )


def _is_group_nearly_full(limits: Iterable[str]) -> bool:
    for path in limits:
        with suppress(OSError, ValueError):
            with open(path, encoding="utf-8") as limit:
                most = limit.read().strip()
            if most == "max":
                return False
            with open(f"{path.removesuffix('max')}current", encoding="utf-8") as count:
                return int(most) - int(count.read()) < _FEW_LEFT
    return False
