"""The spool: a directory in which events wait for their delivery, also after their process has gone.

    new/        one file per undelivered event, its JSON; the name sorts by time and names run, type and owner
    tmp/        files that are being written
    rejected/   events refused for good, beside the reason, and files that were no event
    owners/     one locked file per process that writes here; a lock that can be taken had an owner that is gone
    drain.lock  held by the one process that delivers what others left

An event is in the spool once it has been renamed into new/, and is delivered once it has been unlinked from there.
Nothing is synchronised to the disk: a killed process loses nothing that was renamed, a crashed node may.
"""

from __future__ import annotations

import fcntl
import itertools
import json
import os
import time
from contextlib import contextmanager, suppress
from os.path import join
from typing import TYPE_CHECKING, Any, NamedTuple

from openlineage_pod._guard import logger
from openlineage_pod.uuid7 import new_uuid7

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["Entry", "Spool"]

_SUFFIX = ".json"
# What rejected/ keeps of a backend's answer.
_LONGEST_REASON = 1000
_LARGEST_EVENT = 64 * 1024 * 1024


class Entry(NamedTuple):
    """A file of new/: `<time>-<number>~<run id>~<event type>~<owner>.json`. Entries sort by time."""

    name: str
    path: str

    def part(self, index: int) -> str:
        """Return one of the parts of the name, or an empty text where a foreign file has none."""
        parts = self.name.removesuffix(_SUFFIX).split("~")
        return parts[index] if len(parts) == 4 else ""  # noqa: PLR2004

    @property
    def run_id(self) -> str:
        """The id of the event's run."""
        return self.part(1)

    @property
    def owner(self) -> str:
        """The id of the process that wrote the event."""
        return self.part(3)


class Spool:
    """A spool directory as one process uses it.

    Args:
        path: the directory; made where it is missing, and readable for nobody else.
        max_bytes: what the files of new/ may hold together.

    Raises:
        OSError: the directory cannot be made or written to.

    """

    def __init__(self, path: str, max_bytes: int) -> None:
        self.path = path
        self._max_bytes = max_bytes
        self._numbers = itertools.count()
        self.owner = new_uuid7()
        self.failing = False
        for folder in ("tmp", "new", "rejected", "owners"):
            os.makedirs(join(path, folder), mode=0o700, exist_ok=True)
        # Held, not to be closed, for the life of this process: nobody else shall take its events for left behind.
        unlocked = join(path, "tmp", self.owner)
        self._lock = os.open(unlocked, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.rename(unlocked, join(path, "owners", self.owner))
        self._used = self._size()

    def abandon(self) -> None:
        """Let go of the lock in a forked child: it is the parent's, and must end with the parent."""
        os.close(self._lock)

    def release(self) -> None:
        """Say that this process has ended: what it leaves is for others."""
        with suppress(OSError):
            os.unlink(join(self.path, "owners", self.owner))

    def write(self, document: Mapping[str, Any]) -> Entry:
        """Put an event into the spool.

        Raises:
            OSError: it cannot be written, or the limit is reached.

        """
        data = json.dumps(document, separators=(",", ":")).encode()
        if self._used + len(data) > self._max_bytes:
            self._used = self._size()  # others deliver, too
            if self._used + len(data) > self._max_bytes:
                raise OSError(f"its limit of {self._max_bytes} bytes is reached")
        run_id, event_type = document["run"]["runId"], document["eventType"]
        name = f"{time.time_ns():020d}-{next(self._numbers):08d}~{run_id}~{event_type}~{self.owner}{_SUFFIX}"
        entry = Entry(name, join(self.path, "new", name))
        temporary = join(self.path, "tmp", name)
        try:
            with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(data)
            os.rename(temporary, entry.path)
        except OSError:
            with suppress(OSError):
                os.unlink(temporary)
            raise
        self._used += len(data)
        return entry

    def read(self, entry: Entry) -> dict[str, Any] | None:
        """Return an event, or None: it has gone, or was none and has been set aside in rejected/."""
        try:
            with open(entry.path, "rb") as file:
                data = file.read(_LARGEST_EVENT)
        except OSError:
            return None
        try:
            document = json.loads(data)
            if isinstance(document["run"]["runId"], str) and isinstance(document["eventType"], str):
                return dict(document)
        except (ValueError, TypeError, KeyError, RecursionError):
            pass
        logger.warning("%s is no lineage event; it is set aside in rejected/", entry.path)
        with suppress(OSError):
            os.rename(entry.path, join(self.path, "rejected", entry.name))
        return None

    def has(self, entry: Entry) -> bool:
        """Say whether the event is still there."""
        return os.path.exists(entry.path)

    def remove(self, entry: Entry) -> None:
        """Take a delivered event out. If that fails it is delivered again some day, which backends bear."""
        with suppress(OSError):
            size = os.stat(entry.path).st_size
            os.unlink(entry.path)
            self._used -= size

    def reject(self, entry: Entry, document: Mapping[str, Any], reason: str) -> bool:
        """Move an event that was refused for good into rejected/, beside the reason; say whether that succeeded."""
        record = {"reason": reason[:_LONGEST_REASON], "event": document}
        try:
            with open(os.open(join(self.path, "rejected", entry.name), os.O_WRONLY | os.O_CREAT, 0o600), "w") as file:
                json.dump(record, file)
        except OSError:
            return False
        self.remove(entry)
        return True

    def entries(self) -> list[Entry]:
        """Return all entries of all processes, oldest first."""
        try:
            names = sorted(os.listdir(join(self.path, "new")))
        except OSError:
            return []
        return [Entry(name, join(self.path, "new", name)) for name in names]

    @contextmanager
    def left_behind(self) -> Iterator[list[Entry]]:
        """Give the entries whose owners are gone, oldest first, and keep others from delivering them meanwhile.

        None while another process is draining: one at a time.
        """
        with self._taken("drain.lock") as mine:
            if not mine:
                yield []
                return
            gone: dict[str, bool] = {self.owner: False}
            entries = []
            for entry in self.entries():
                if entry.owner not in gone:
                    gone[entry.owner] = self._is_gone(entry.owner)
                if gone[entry.owner]:
                    entries.append(entry)
            yield entries
            with suppress(OSError):
                for owner in os.listdir(join(self.path, "owners")):
                    if owner != self.owner and gone.get(owner, self._is_gone(owner)):
                        os.unlink(join(self.path, "owners", owner))

    def _is_gone(self, owner: str) -> bool:
        """Say whether the process that wrote under this name has ended; a foreign file has no living owner."""
        if not owner or not os.path.exists(join(self.path, "owners", owner)):
            return True
        with self._taken(join("owners", owner)) as mine:
            return mine

    @contextmanager
    def _taken(self, name: str) -> Iterator[bool]:
        """Hold the lock of a file, and give whether it could be had at once."""
        try:
            descriptor = os.open(join(self.path, name), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
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

    def _size(self) -> int:
        total = 0
        with suppress(OSError), os.scandir(join(self.path, "new")) as files:
            for file in files:
                with suppress(OSError):
                    total += file.stat().st_size
        return total
