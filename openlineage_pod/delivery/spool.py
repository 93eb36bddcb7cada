"""The spool: a directory in which events wait for their delivery, also after their process has gone.

    new/        one file per undelivered event, its JSON; the name sorts by time and names run, type and owner
    tmp/        files that are being written
    open/       of each open run its fallback: the terminal event to report if its process dies without one
    rejected/   events refused for good, beside the reason, and files that were no event
    owners/     one locked file per process that writes here (`owners`)
    drain.lock  held by the one process that delivers what others left

An event is in the spool once it has been renamed into new/, and is delivered once it has been unlinked from there.
Nothing is synchronised to the disk: a killed process loses nothing that was renamed, a crashed node may.
"""

from __future__ import annotations

import itertools
import json
import os
import time
from contextlib import contextmanager, suppress
from datetime import datetime, timezone
from os.path import join
from typing import TYPE_CHECKING, NamedTuple

from openlineage_pod._guard import logger
from openlineage_pod.delivery.owners import HANDED_OVER, RELAYS, Owners
from openlineage_pod.events.document import Document, is_event

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Entry", "Spool"]

_SUFFIX = ".json"
# Seconds from which on it matters how often the size is looked up.
_SLOW_LOOK = 0.005
# What rejected/ keeps of a backend's answer.
_MAX_REASON = 1000
_MAX_ENTRY_BYTES = 64 * 1024 * 1024


class Entry(NamedTuple):
    """A file of new/: `<time>-<number>~<run id>~<event type>~<owner>.json`. Entries sort by time."""

    name: str
    folder: str

    @property
    def path(self) -> str:
        """Where the file is."""
        return join(self.folder, self.name)  # not kept: there may be many entries

    def part(self, index: int) -> str:
        """Return one of the parts of the name, or an empty text where a foreign file has none."""
        parts = self.name.removesuffix(_SUFFIX).split("~")
        return parts[index] if len(parts) == 4 else ""  # noqa: PLR2004

    @property
    def run_id(self) -> str:
        """The id of the event's run."""
        return self.part(1)

    @property
    def is_end(self) -> bool:
        """Whether the event is a terminal one."""
        return self.part(2) != "START"

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
        self._new = join(path, "new")
        self._numbers = itertools.count()
        self._next_look = 0.0
        self._last_time = 0
        self.failing = False
        self._has_handed_over = False
        # The runs of processes that have gone whose ends could not be written yet.
        self.unreported: set[str] = set()
        os.makedirs(path, mode=0o700, exist_ok=True)  # below, the mode is not that of the parents
        for folder in ("tmp", "new", "open", "rejected", "owners"):
            os.makedirs(join(path, folder), mode=0o700, exist_ok=True)
        self._owners = Owners(path)
        self._used = _size_of(self._new)

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
        if ours and self._used + len(data) > self._max_bytes:
            if (began := time.monotonic()) >= self._next_look:
                self._used = _size_of(self._new)  # others deliver, too
                # A system call for each file: not more than a tenth of the time.
                took = time.monotonic() - began
                self._next_look = time.monotonic() + (10 * took if took > _SLOW_LOOK else 0)
            if self._used + len(data) > self._max_bytes:
                raise OSError(f"its limit of {self._max_bytes} bytes is reached")
        self._last_time = max(self._last_time, time.time_ns())  # in order also where the clock is set back
        parts = (
            f"{self._last_time:020d}-{next(self._numbers):08d}",
            document.run_id,
            document.event_type,
            self.owner if ours else "",
        )
        name = "~".join(parts) + _SUFFIX
        entry = Entry(name, self._new)
        _put(self.path, entry.path, data)
        self._used += len(data)
        return entry

    # --- runs whose process dies

    def write_fallback(self, document: Document) -> None:
        """Leave the terminal event to report of a run should this process die without one.

        Raises:
            OSError: it cannot be written.

        """
        _put(self.path, self._fallback(document.run_id, self.owner), document.body)

    def remove_fallback(self, run_id: str) -> None:
        """Remove the fallback of a run that has a terminal event of its own in the spool."""
        _unlink(self._fallback(run_id, self.owner))

    def resolve(self, entry: Entry) -> None:
        """Remove an event that was delivered for its owner; with a terminal one goes the fallback of its run."""
        if entry.is_end and entry.owner:
            _unlink(self._fallback(entry.run_id, entry.owner))
        self.remove(entry)

    def _fallback(self, run_id: str, owner: str) -> str:
        return join(self.path, "open", f"{run_id}~{owner}{_SUFFIX}")

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
                            "the end of run %s cannot be reported yet, and is tried again: %s", run_id, error
                        )
                    continue
            _unlink(path)

    def fallbacks(
        self, *, all_of_them: bool = False, set_aside: bool = True
    ) -> Iterator[tuple[str, str, Document | None]]:
        """Yield the runs whose processes have gone, the innermost of a process first: id, file, and the fallback.

        The fallback is None where the run has its own terminal event: its process was killed before it could remove it.
        """
        try:
            names = sorted(os.listdir(join(self.path, "open")), reverse=True)  # UUIDv7: the last one started first
        except OSError:
            return
        ended = {entry.run_id for entry in self.entries() if entry.is_end} if names else set()
        for name in names:
            run_id, _, owner = name.removesuffix(_SUFFIX).partition("~")
            path = join(self.path, "open", name)
            is_gone = owner != self.owner and self._owners.is_gone(owner)
            if owner == self.owner or not (all_of_them or is_gone):
                continue
            document = None
            if run_id not in ended:
                document = self.read(Entry(name, join(self.path, "open")), set_aside=set_aside)
            if document is not None and document.event_type == "FAIL":
                if not is_gone:
                    continue  # it lives, and nobody has asked it to stop
                now = datetime.now(timezone.utc).isoformat(timespec="microseconds")
                document = Document({**document.fields, "eventTime": now})
            yield run_id, path, document

    def read(self, entry: Entry, *, set_aside: bool = True) -> Document | None:
        """Return an event, or None: it has gone, or was none and has been set aside in rejected/."""
        try:
            with open(entry.path, "rb") as file:
                data = file.read(_MAX_ENTRY_BYTES)
        except OSError:
            return None
        with suppress(ValueError, RecursionError):
            fields = json.loads(data)
            if is_event(fields):
                return Document(fields, data)
        if not set_aside:
            return None
        logger.warning("%s is no lineage event; it is set aside in rejected/", entry.path)
        with suppress(OSError):
            os.rename(entry.path, join(self.path, "rejected", entry.name))
        return None

    def has(self, entry: Entry) -> bool:
        """Say whether the event is still there, or has been taken by those to whom this process handed it over."""
        return os.path.exists(entry.path) or (self._has_handed_over and os.path.isdir(self._new))

    def remove(self, entry: Entry) -> None:
        """Take a delivered event out. If that fails it is delivered again some day, which backends bear."""
        with suppress(OSError):
            size = os.stat(entry.path).st_size
            os.unlink(entry.path)
            self._used -= size

    def reject(self, entry: Entry, document: Document, reason: str) -> bool:
        """Move an event that was refused for good into rejected/, beside the reason; say whether that succeeded."""
        record = {"reason": reason[:_MAX_REASON], "event": document.fields}
        try:
            _put(self.path, join(self.path, "rejected", entry.name), json.dumps(record, separators=(",", ":")).encode())
        except OSError:
            return False
        self.resolve(entry)
        return True

    def entries(self) -> list[Entry]:
        """Return all entries of all processes, oldest first."""
        try:
            seen, again = ([Entry(name, self._new) for name in os.listdir(self._new)] for _ in range(2))
        except OSError:
            return []
        # A directory that is written to may show the end of a run and not its START, which was there before. Whatever
        # came before an entry of the first look is there in the second one.
        latest: dict[str, str] = {}
        for entry in seen:
            latest[entry.run_id] = max(entry.name, latest.get(entry.run_id, ""))
        return sorted(entry for entry in again if entry.name <= latest.get(entry.run_id, ""))

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
        with self._owners.locking("drain.lock") as is_mine:
            if not is_mine:
                yield None
                return
            if not look:
                self._report_fallbacks(all_of_them=all_of_them)
            theirs: dict[str, bool] = {}
            entries = []
            for entry in self.entries():
                owner = entry.owner
                if owner not in theirs:
                    theirs[owner] = self._owners.is_gone(owner) or self._owners.said(owner) == HANDED_OVER
                if theirs[owner] or all_of_them:
                    entries.append(entry)
            yield entries
            with suppress(OSError):
                if not look:
                    self._tidy_up()

    def _tidy_up(self) -> None:
        """Delete what dead owners left half-written, and their owner files."""
        for name in os.listdir(join(self.path, "tmp")):
            owner = name.removesuffix(_SUFFIX).rpartition("~")[2]
            if "~" in name and owner != self.owner and self._owners.is_gone(owner):
                os.unlink(join(self.path, "tmp", name))
        for owner in self._owners.others():
            if self._owners.is_gone(owner):
                self._owners.forget(owner)

    def is_in_use(self) -> bool:
        """Say whether there is an event, a run without its end, or another living process that may write one."""
        with suppress(OSError):
            writers = [owner for owner in self._owners.others() if self._owners.said(owner) != RELAYS]
            is_open = bool(os.listdir(join(self.path, "open")))
            return is_open or bool(self.entries()) or not all(map(self._owners.is_gone, writers))
        return False


def _unlink(path: str) -> None:
    """Delete a file unless it has gone or may not be deleted."""
    with suppress(OSError):
        os.unlink(path)


def _put(folder: str, path: str, data: bytes) -> None:
    """Have a file appear with all its data at once, by way of the `tmp` of the spool's folder."""
    temporary = join(folder, "tmp", os.path.basename(path))
    try:
        with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(data)
        os.rename(temporary, path)
    except OSError:
        with suppress(OSError):
            os.unlink(temporary)
        raise


def _size_of(folder: str) -> int:
    total = 0
    with suppress(OSError), os.scandir(folder) as files:
        for file in files:
            with suppress(OSError):
                total += file.stat().st_size
    return total
