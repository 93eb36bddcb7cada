"""The spool: a directory in which events wait for their delivery, also after their process has gone.

    new/        one file per undelivered event, its JSON; the name sorts by time and names run, type and owner
    tmp/        files that are being written
    open/       of each open run its fallback: the terminal event to report if its process dies without one
    rejected/   events refused for good, beside the reason, files that were no event, and with the reason `superseded`
                START events whose runs ended without them, which are never sent
    owners/     one locked file per process that writes here (`owners`)
    drain.lock  held by the one process that delivers what others left

An event is in the spool once it has been renamed into new/, and is delivered once it has been unlinked from there.
Nothing is synchronised to the disk: a killed process loses nothing that was renamed, a crashed node may.
"""

from __future__ import annotations

import itertools
import os
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from openlineage_pod._guard import logger
from openlineage_pod.delivery.entry import FORMAT_SUFFIX, Entry, fallback_owner
from openlineage_pod.delivery.fallbacks import Fallbacks
from openlineage_pod.delivery.owners import HANDED_OVER, RELAYS, Owners
from openlineage_pod.delivery.rejected import Rejected, Room
from openlineage_pod.delivery.spool_files import Access, Folder, make_directory, shown
from openlineage_pod.delivery.spooled import read_event

if TYPE_CHECKING:
    from collections.abc import Iterator

    from openlineage_pod.events.document import Document

__all__ = ["Entry", "Spool"]


class Spool:
    """A spool directory as one process uses it.

    Args:
        path: the directory; made where it is missing, and readable for nobody else.
        max_bytes: what the files of new/ may hold together, and those of rejected/.

    Raises:
        OSError: the directory cannot be made or written to.

    """

    def __init__(self, path: str, max_bytes: int) -> None:
        self.path = path
        self._numbers = itertools.count()
        self._last_time = 0
        self.failing = False
        self._has_handed_over = False
        # The runs of processes that have gone whose ends could not be written yet.
        self.unreported: set[str] = set()
        make_directory(path)
        access = Access.of(path)
        self._root = Folder(path, "", access)
        names = ("tmp", "new", "open", "rejected", "owners")
        self._folders = [Folder(path, name, access) for name in names]
        for folder in self._folders:
            folder.make()
        self._tmp, self._new, opened, rejected, owners = self._folders
        self.rejected = Rejected(rejected, self._tmp, max_bytes)
        self._owners = Owners(owners, self._tmp)
        self._fallbacks = Fallbacks(opened, self._tmp, self._owners, self.rejected)
        self._room = Room(self._new, max_bytes)

    @property
    def owner(self) -> str:
        """The id of this process as the owner of its entries."""
        return self._owners.own

    def abandon(self) -> None:
        """Let go of the lock in a forked child: it is the parent's, and must end with the parent."""
        self._owners.abandon()

    def release(self) -> None:
        """Say that this process has ended: what it leaves is for others."""
        self._owners.release()

    def write(self, document: Document, *, ours: bool = True) -> Entry:
        """Put an event into the spool; one that is not `ours` is anybody's to deliver, and was in the spool before.

        Raises:
            OSError: it cannot be written, or, for one of ours, the limit is reached.

        """
        data = document.body
        if ours:
            self._room.check(len(data))
        self._last_time = max(self._last_time, time.time_ns())  # in order also where the clock is set back
        when = f"{self._last_time:020d}-{next(self._numbers):08d}"
        entry = Entry.of(document, self._new.path, when, self.owner if ours else FORMAT_SUFFIX)
        self._new.put(entry.name, data, self._tmp)
        self._room.add(len(data))
        return entry

    # --- runs whose process dies

    def write_fallback(self, document: Document) -> None:
        """Leave the terminal event to report of a run should this process die without one.

        Raises:
            OSError: it cannot be written.

        """
        self._fallbacks.write(document)

    def remove_fallback(self, run_id: str) -> None:
        """Remove the fallback of a run that has a terminal event of its own in the spool."""
        self._fallbacks.remove(run_id)

    def resolve(self, entry: Entry) -> None:
        """Remove an event that was delivered for its owner; with a terminal one goes the fallback of its run."""
        if entry.is_end and entry.owner:
            self._fallbacks.remove(entry.run_id, entry.owner)
        self.remove(entry)

    def _report_fallbacks(self, *, all_of_them: bool) -> None:
        """Put the fallbacks of the runs whose processes have gone among the events. The caller holds the drain lock."""
        told, self.unreported = self.unreported, set()
        for run_id, path, document in self.fallbacks(all_of_them=all_of_them):
            if document is not None:
                try:
                    self.write(document, ours=False)
                except OSError as error:
                    self.unreported.add(run_id)
                    if run_id not in told:  # a relay comes again and again
                        logger.warning(
                            "the end of run %s cannot be reported yet, and is tried again: %s", shown(run_id), error
                        )
                    continue
            self._fallbacks.remove_file(path)

    def fallbacks(
        self, *, all_of_them: bool = False, set_aside: bool = True
    ) -> Iterator[tuple[str, str, Document | None]]:
        """Yield the runs whose processes have gone, the innermost of a process first: id, file, and the fallback.

        The fallback is None where the run has its own terminal event.
        """

        def ended() -> set[str]:
            return {entry.run_id for entry in self.entries() if entry.is_end}

        return self._fallbacks.left(ended, all_of_them=all_of_them, set_aside=set_aside)

    # --- its events

    def read(self, entry: Entry, *, set_aside: bool = True) -> Document | None:
        """Return an event, or None: it has gone, cannot be read, or was none and has been set aside in rejected/."""
        return read_event(self._new, entry.name, self.rejected, set_aside=set_aside)

    def has(self, entry: Entry) -> bool:
        """Return whether the event is still there, or was taken by those to whom this process handed it over."""
        return self._new.has(entry.name) or (self._has_handed_over and os.path.isdir(self._new.path))

    def remove(self, entry: Entry) -> None:
        """Take a delivered event out. If that fails it is delivered again some day, which backends bear."""
        with suppress(OSError):
            size = self._new.size_of(entry.name)
            self._new.remove(entry.name)
            self._room.add(-size)

    def reject(self, entry: Entry, document: Document, reason: str) -> bool:
        """Move an event that was refused for good into rejected/, beside the reason; return whether that succeeded."""
        try:
            self.rejected.put(entry.name, document, reason)
        except OSError as error:
            self.rejected.tell(self.rejected.folder.path, f"takes no more refused events: {error}")
            return False
        self.resolve(entry)
        return True

    def supersede(self, entry: Entry) -> None:
        """Set a START aside for good: its run has ended for the backend, and START would re-open it."""
        document = self.read(entry)
        if document is not None:
            with suppress(OSError):  # where there is no room, nobody misses it
                self.rejected.supersede(entry.name, document)
        self.remove(entry)

    def entries(self) -> list[Entry]:
        """Return all entries of all processes, oldest first."""
        folder = self._new.path
        try:
            seen, again = ([Entry(name, folder) for name in self._new.names()] for _ in range(2))
        except OSError:
            return []
        # A directory that is written to may show the end of a run and not its START, which was there before. Whatever
        # came before an entry of the first look is there in the second one.
        latest: dict[str, str] = {}
        for entry in seen:
            latest[entry.run_id] = max(entry.name, latest.get(entry.run_id, ""))
        return sorted(entry for entry in again if entry.name <= latest.get(entry.run_id, ""))

    # --- others

    def hand_over(self) -> None:
        """Say that this process delivers nothing itself: its events are for others while it still runs."""
        self._has_handed_over = True  # first: they may be quick
        self._owners.say(HANDED_OVER)

    def relay_only(self) -> None:
        """Say that this process has no events of its own, so that nobody waits for its end."""
        self._owners.say(RELAYS)

    @contextmanager
    def left_behind(self, *, all_of_them: bool = False, look: bool = False) -> Iterator[list[Entry] | None]:
        """Yield the entries of dead owners, oldest first, while holding the drain lock.

        Entries that a living owner has handed over count as well. First, the fallbacks of dead runs become entries.

        Args:
            all_of_them: also the entries of living owners, and the ABORT of those that were asked to stop.
            look: leave the spool as it is.

        Yields:
            None, and not a list, if another process holds the lock.

        """
        lock = self._owners.lock_for_draining(self._root, self.rejected)
        if lock is None:
            yield None
            return
        try:
            if not look:
                for folder in self._folders[:3]:
                    self.rejected.sweep(folder)
                self._report_fallbacks(all_of_them=all_of_them)
            theirs: dict[str, bool] = {}
            entries = []
            for entry in self.entries():
                owner = entry.owner
                if owner not in theirs:
                    theirs[owner] = self._is_left(owner, all_of_them=all_of_them)
                if theirs[owner]:
                    entries.append(entry)
            yield entries
            if not look:
                self._tidy_up()
        finally:
            os.close(lock)

    def _is_left(self, owner: str, *, all_of_them: bool) -> bool:
        if self._owners.is_newer(owner):
            return False
        return all_of_them or self._owners.is_gone(owner) or self._owners.said(owner) == HANDED_OVER

    def _tidy_up(self) -> None:
        """Delete what dead owners left half-written, and their owner files."""
        with suppress(OSError):
            for name in self._tmp.names():
                owner = fallback_owner(name)[1]
                if "~" in name and owner != self.owner and self._owners.is_gone(owner):
                    self._tmp.remove(name)
        with suppress(OSError):
            self.rejected.sweep(self._folders[4])
            for owner in self._owners.others():
                if self._owners.is_gone(owner):
                    self._owners.forget(owner)

    def is_in_use(self) -> bool:
        """Return whether there is an event, a run without its end, or another living process that may write one."""
        with suppress(OSError):
            writers = [owner for owner in self._owners.others() if self._owners.said(owner) != RELAYS]
            has_entries = any(not self._owners.is_newer(entry.owner) for entry in self.entries())
            return self._fallbacks.are_open() or has_entries or not all(map(self._owners.is_gone, writers))
        return False
