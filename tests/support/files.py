"""Files and folders as the tests look at them and change them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["names", "replace"]


def names(folder: Path) -> list[str]:
    """Return the names of the files of a folder."""
    return sorted(path.name for path in folder.iterdir())


def replace(path: Path, text: str) -> None:
    """Replace the file as Kubernetes and Vault do: write another one, rename it."""
    other = path.with_name("..data_tmp")
    other.write_text(text)
    other.replace(path)
