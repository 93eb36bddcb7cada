"""What the slow tests download and install: made once, and kept in a folder outside the checkout."""

from __future__ import annotations

import fcntl
import shutil
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tests.support import options

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["UnavailableError", "cache_folder", "cached"]


class UnavailableError(Exception):
    """A server cannot be had on this machine; the message says in one line how to get it."""


def cache_folder() -> Path:
    """Return the folder for what is made once and kept."""
    options.CACHE.mkdir(parents=True, exist_ok=True)
    return options.CACHE


@contextmanager
def cached(name: str) -> Iterator[tuple[Path, bool]]:
    """Give a folder of the cache and whether it is complete; what the block puts into it counts if it succeeds.

    One process at a time: two test runs may want to fill it together.
    """
    cache = cache_folder()
    folder, done = cache / name, cache / f"{name}.complete"
    with (cache / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        complete = done.exists() and folder.is_dir()
        if not complete:
            done.unlink(missing_ok=True)  # the block may fail
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
        yield folder, complete
        done.touch()
