"""What a spool keeps in rejected/: events that were refused for good, and files that did not belong into it."""

from __future__ import annotations

import json
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from openlineage_pod._guard import logger
from openlineage_pod.delivery.entry import FORMAT
from openlineage_pod.delivery.spool_files import MAX_FILE_BYTES, Folder, shown
from openlineage_pod.events.document import Document, is_event
from openlineage_pod.events.namespaces import clean_namespaces
from openlineage_pod.events.uuid7 import new_uuid7

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["SUPERSEDED", "Rejected", "Room"]

SUPERSEDED = "superseded"
"""What the reason begins with if an event must never be sent: the end of its run was delivered before it."""

# Seconds from which on it matters how often the size is looked up.
_SLOW_LOOK = 0.005
# What is kept of a backend's answer.
_MAX_REASON = 1000
# How many files of which one line has been written are remembered.
_MAX_TOLD = 10_000


class Room:
    """The limit of a folder. Other processes write and deliver, too: near the limit its size is looked up again.

    Args:
        folder: whose bytes are limited.
        max_bytes: what its files may hold together.

    """

    def __init__(self, folder: Folder, max_bytes: int) -> None:
        self._folder = folder
        self._max_bytes = max_bytes
        self._used: int | None = None
        self._next_look = 0.0

    def check(self, size: int) -> None:
        """Check that there is room for so many bytes.

        Raises:
            OSError: There is none.

        """
        if self._used is None or self._used + size > self._max_bytes:
            if (began := time.monotonic()) >= self._next_look:
                self._used = self._folder.size()
                # A system call for each file: not more than a tenth of the time.
                took = time.monotonic() - began
                self._next_look = time.monotonic() + (10 * took if took > _SLOW_LOOK else 0)
            if (self._used or 0) + size > self._max_bytes:
                raise OSError(f"its limit of {self._max_bytes} bytes is reached")

    def add(self, size: int) -> None:
        """Count a file that was written, or with a negative size one that was deleted."""
        if self._used is not None:
            self._used += size


class Rejected:
    """The folder rejected/ of a spool. It has a limit of its own, as large as that of new/.

    Args:
        folder: rejected/.
        temporary: tmp/.
        max_bytes: what its files may hold together.

    """

    def __init__(self, folder: Folder, temporary: Folder, max_bytes: int) -> None:
        self.folder = folder
        self._temporary = temporary
        self._room = Room(folder, max_bytes)
        self._told: set[str] = set()

    def put(self, name: str, document: Document, reason: str) -> None:
        """Write an event beside the reason of its refusal.

        Raises:
            OSError: It cannot be written, or the limit is reached.

        """
        record = {"format": FORMAT, "reason": reason[:_MAX_REASON], "event": document.fields}
        data = json.dumps(record, separators=(",", ":")).encode()
        self._room.check(len(data))
        self.folder.put(name, data, self._temporary)
        self._room.add(len(data))

    def events(self) -> Iterator[tuple[str, Document]]:
        """Yield the refused events with the names of their files; what was set aside is passed over."""
        names: list[str] = []
        with suppress(OSError):
            names = self.folder.names()
        for name, record in self._records(names):
            yield name, Document(clean_namespaces(record["event"])[0])

    def _records(self, names: Iterable[str]) -> Iterator[tuple[str, dict[str, Any]]]:
        for name in names:
            with suppress(OSError, ValueError, RecursionError, KeyError, TypeError, AttributeError):
                record = json.loads(self.folder.read(name))
                if record.get("format", 0) > FORMAT:
                    self.tell(f"{self.folder.path}/{name}", "was written by a later release, and stays there")
                elif is_event(record["event"]) and not record["reason"].startswith(SUPERSEDED):
                    yield name, record

    def remove(self, name: str) -> None:
        """Delete a file whose event has been delivered after all."""
        with suppress(OSError):
            size = self.folder.size_of(name)
            self.folder.remove(name)
            self._room.add(-size)

    def supersede(self, name: str, document: Document, reason: str = "its run ended without it") -> None:
        """Keep a START that nobody is to send any more: the run has ended for the backend, and START would re-open it.

        Raises:
            OSError: It cannot be written, or the limit is reached.

        """
        self.put(name, document, f"{SUPERSEDED}: {reason}")

    def supersede_start(self, run_id: str) -> None:
        """Mark the refused START of this run as superseded, so that no process sends it."""
        with suppress(OSError):
            mark = f"~{run_id}~START~"
            for name, record in self._records(name for name in self.folder.names() if mark in name):
                self.remove(name)
                self.supersede(name, Document(record["event"]), record["reason"])

    def set_aside(self, folder: Folder, name: str, what: str) -> None:
        """Move what does not belong into a folder of the spool here, with one line; if that fails it stays there."""
        path = f"{folder.path}/{name}"
        try:
            size = folder.size_of(name)
            size = size if size <= MAX_FILE_BYTES else 0
            self._room.check(size)
            new_name = f"{name[:100]}.{new_uuid7()}" if self.folder.has(name) else name
            folder.move(name, self.folder, new_name)
            self._room.add(size)
        except FileNotFoundError:
            return
        except OSError as error:
            self.tell(path, f"{what}; it cannot be set aside in rejected/ ({error.strerror or error}) and stays there")
        else:
            self.tell(path, f"{what}; it is set aside in rejected/")

    def tell(self, path: str, what: str) -> None:
        """Log one line of a file, once."""
        if path not in self._told and len(self._told) < _MAX_TOLD:
            self._told.add(path)
            logger.warning("%s %s", shown(path), what)

    def sweep(self, folder: Folder) -> None:
        """Set aside what is not a regular file."""
        with suppress(OSError):
            for name in folder.foreign_names():
                self.set_aside(folder, name, "is not a regular file")
