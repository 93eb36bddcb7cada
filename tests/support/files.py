"""Files and folders as the tests look at them and change them."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

__all__ = ["names", "owed", "replace"]


def names(folder: Path) -> list[str]:
    """Return the names of the files of a folder."""
    return sorted(path.name for path in folder.iterdir())


def owed(files: Iterable[Path], events: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return those files of a spool's new/ whose events a backend has not got; a slow exit leaves some that it has.

    The exit with a spool waits less than a second for each answer, and a machine may stand still for longer.
    """

    def has_arrived(file: Path) -> bool:
        with suppress(ValueError):
            return json.loads(file.read_bytes()) in events
        return False

    return sorted(file.name for file in files if not has_arrived(file))


def replace(path: Path, text: str) -> None:
    """Replace the file as Kubernetes and Vault do: write another one, rename it."""
    other = path.with_name("..data_tmp")
    other.write_text(text)
    other.replace(path)
