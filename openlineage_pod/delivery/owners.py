"""The processes that use a spool: one locked file each. A lock that can be taken had an owner that is gone."""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress
from typing import TYPE_CHECKING

from openlineage_pod._fork import out_of_the_way
from openlineage_pod._guard import logger
from openlineage_pod.delivery.entry import FORMAT, FORMAT_SUFFIX, format_of
from openlineage_pod.delivery.spool_files import shown
from openlineage_pod.events.regular_file import ForeignFileError
from openlineage_pod.events.uuid7 import new_uuid7

if TYPE_CHECKING:
    from openlineage_pod.delivery.rejected import Rejected
    from openlineage_pod.delivery.spool_files import Folder

__all__ = ["HANDED_OVER", "RELAYS", "Owners"]

HANDED_OVER = b"handed over"
"""What an owner says that delivers nothing itself: its events are for others while it still runs."""
RELAYS = b"relays"
"""What an owner says that has no events of its own, so that nobody waits for its end."""
_MAX_SAID = 64
_DRAIN_LOCK = "drain.lock"


class Owners:
    """The owners of a spool's entries, and this process as one of them.

    Args:
        folder: holds their files.
        temporary: where the file of this process is made.

    Attributes:
        own: the id of this process.

    Raises:
        OSError: The folders cannot be written to.

    """

    def __init__(self, folder: Folder, temporary: Folder) -> None:
        self._folder = folder
        self._has_told = False
        self.own = f"{new_uuid7()}{FORMAT_SUFFIX}"
        # Held, not to be closed, for the life of this process: nobody else may take its events for left behind.
        self._lock = out_of_the_way(temporary.create(self.own))
        fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        temporary.move(self.own, folder)

    def abandon(self) -> None:
        """Let go of the lock in a forked child: it is the parent's, and must end with the parent."""
        with suppress(OSError):  # a job that becomes a daemon has closed it
            os.close(self._lock)

    def release(self) -> None:
        """Say that this process has ended: what it leaves is for others."""
        with suppress(OSError):
            self._folder.remove(self.own)

    def say(self, what: bytes) -> None:
        """Tell the other owners `HANDED_OVER` or `RELAYS`."""
        with suppress(OSError):
            os.pwrite(self._lock, what, 0)

    def said(self, owner: str) -> bytes:
        """Return what an owner has told the others, empty if nothing."""
        with suppress(OSError):
            return self._folder.read(owner, _MAX_SAID)
        return b""

    def others(self) -> list[str]:
        """Return the ids of all other owners, those that are gone included.

        Raises:
            OSError: The folder cannot be read.

        """
        return [owner for owner in self._folder.names() if owner != self.own]

    def is_gone(self, owner: str) -> bool:
        """Return whether the process that wrote under this name has ended; a foreign file has no living owner."""
        if not owner:
            return True
        try:
            lock = self._folder.lock(owner)
        except (FileNotFoundError, ForeignFileError):
            return True
        except OSError:
            return False  # nobody can tell
        if lock is not None:
            os.close(lock)
        return lock is not None

    def forget(self, owner: str) -> None:
        """Delete the file of an owner that is gone."""
        with suppress(OSError):
            self._folder.remove(owner)

    def is_newer(self, owner: str) -> bool:
        """Return whether an owner writes in a format of a later release; the first one found gets a line."""
        if (found := format_of(owner)) <= FORMAT:
            return False
        if not self._has_told:
            self._has_told = True
            logger.warning(
                "the spool of %s holds files of format %d; this release reads formats up to %d and leaves them there",
                shown(self._folder.path),
                found,
                FORMAT,
            )
        return True

    def lock_for_draining(self, root: Folder, rejected: Rejected) -> int | None:
        """Return a descriptor that holds the spool's drain lock; None if another process holds it."""
        with suppress(OSError):
            for _ in range(3):
                try:
                    return root.lock(_DRAIN_LOCK)
                except FileNotFoundError:  # noqa: PERF203  each attempt mends what kept the last one
                    with suppress(FileExistsError):  # another process was quicker
                        os.close(root.create(_DRAIN_LOCK, replace=False))
                except ForeignFileError:
                    rejected.set_aside(root, _DRAIN_LOCK, "is not a regular file")
        return None
