"""The processes that use a spool: one locked file each. A lock that can be taken had an owner that is gone."""

from __future__ import annotations

import fcntl
import os
from contextlib import contextmanager, suppress
from os.path import join
from typing import TYPE_CHECKING

from openlineage_pod.events.uuid7 import new_uuid7

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["HANDED_OVER", "RELAYS", "Owners"]

HANDED_OVER = b"handed over"
"""What an owner says that delivers nothing itself: its events are for others while it still runs."""
RELAYS = b"relays"
"""What an owner says that has no events of its own, so that nobody waits for its end."""


class Owners:
    """The owners of a spool's entries, and this process as one of them.

    Args:
        path: the spool directory, which has the folders `tmp` and `owners`.

    Attributes:
        own: the id of this process.

    Raises:
        OSError: The directory cannot be written to.

    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._folder = join(path, "owners")
        self.own = new_uuid7()
        # Held, not to be closed, for the life of this process: nobody else may take its events for left behind.
        unlocked = join(path, "tmp", self.own)
        self._lock = os.open(unlocked, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.rename(unlocked, join(self._folder, self.own))

    def abandon(self) -> None:
        """Let go of the lock in a forked child: it is the parent's, and must end with the parent."""
        os.close(self._lock)

    def release(self) -> None:
        """Say that this process has ended: what it leaves is for others."""
        with suppress(OSError):
            os.unlink(join(self._folder, self.own))

    def say(self, what: bytes) -> None:
        """Tell the other owners `HANDED_OVER` or `RELAYS`."""
        with suppress(OSError):
            os.pwrite(self._lock, what, 0)

    def said(self, owner: str) -> bytes:
        """Return what an owner has told the others, empty if nothing."""
        with suppress(OSError), open(join(self._folder, owner), "rb") as file:
            return file.read()
        return b""

    def others(self) -> list[str]:
        """Return the ids of all other owners, those that are gone included.

        Raises:
            OSError: The directory cannot be read.

        """
        return [owner for owner in os.listdir(self._folder) if owner != self.own]

    def is_gone(self, owner: str) -> bool:
        """Say whether the process that wrote under this name has ended; a foreign file has no living owner."""
        if not owner or not os.path.exists(join(self._folder, owner)):
            return True
        with self.locking(join("owners", owner)) as is_mine:
            return is_mine

    def forget(self, owner: str) -> None:
        """Delete the file of an owner that is gone.

        Raises:
            OSError: It cannot be deleted.

        """
        os.unlink(join(self._folder, owner))

    @contextmanager
    def locking(self, name: str) -> Iterator[bool]:
        """Hold the lock of a file of the spool; yield whether it could be had at once."""
        try:
            descriptor = os.open(join(self._path, name), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError:
            yield False
            return
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            yield False
        else:
            yield True
        finally:
            os.close(descriptor)
