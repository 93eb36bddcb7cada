"""The folder open/ of a spool: for each open run the terminal event to report if its process dies without one."""

from __future__ import annotations

import os
from contextlib import suppress
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from openlineage_pod.delivery.entry import fallback_name, fallback_owner
from openlineage_pod.delivery.spooled import read_event
from openlineage_pod.events.document import Document

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from openlineage_pod.delivery.owners import Owners
    from openlineage_pod.delivery.rejected import Rejected
    from openlineage_pod.delivery.spool_files import Folder

__all__ = ["Fallbacks"]


class Fallbacks:
    """The fallbacks in a spool.

    Args:
        folder: open/.
        temporary: tmp/.
        owners: the processes that wrote them.
        rejected: where a file that is not an event goes.

    """

    def __init__(self, folder: Folder, temporary: Folder, owners: Owners, rejected: Rejected) -> None:
        self._folder = folder
        self._temporary = temporary
        self._owners = owners
        self._rejected = rejected

    def write(self, document: Document) -> None:
        """Write the fallback of a run of this process.

        Raises:
            OSError: It cannot be written.

        """
        self._folder.put(fallback_name(document.run_id, self._owners.own), document.body, self._temporary)

    def remove(self, run_id: str, owner: str = "") -> None:
        """Remove the fallback of a run, of this process if no other is given."""
        with suppress(OSError):
            self._folder.remove(fallback_name(run_id, owner or self._owners.own))

    def remove_file(self, path: str) -> None:
        """Remove what `left` has yielded."""
        with suppress(OSError):
            self._folder.remove(os.path.basename(path))

    def are_open(self) -> bool:
        """Return whether there is a fallback that this release can read.

        Raises:
            OSError: The folder cannot be read.

        """
        return any(not self._owners.is_newer(fallback_owner(name)[1]) for name in self._folder.names())

    def left(
        self, ended: Callable[[], set[str]], *, all_of_them: bool, set_aside: bool
    ) -> Iterator[tuple[str, str, Document | None]]:
        """Yield the runs whose processes have gone, the innermost of a process first: id, file, and the fallback.

        The fallback is None where the run has its own terminal event: its process was killed before it could remove it.

        Args:
            ended: returns the runs that have a terminal event in the spool.
            all_of_them: also the fallbacks of living processes that were asked to stop.
            set_aside: move what is not an event to rejected/.

        """
        try:
            names = self._folder.names()[::-1]  # UUIDv7: the last one started first
        except OSError:
            return
        with_end = ended() if names else set()
        for name in names:
            run_id, owner = fallback_owner(name)
            is_gone = owner != self._owners.own and self._owners.is_gone(owner)
            if owner == self._owners.own or self._owners.is_newer(owner) or not (all_of_them or is_gone):
                continue
            path = f"{self._folder.path}/{name}"
            if run_id in with_end:
                yield run_id, path, None
                continue
            document = read_event(self._folder, name, self._rejected, set_aside=set_aside)
            if document is None:
                continue
            if document.event_type == "FAIL":
                if not is_gone:
                    continue  # it lives, and nobody has asked it to stop
                now = datetime.now(timezone.utc).isoformat(timespec="microseconds")
                # Not before the START, if the clock was set back; both are of the same form, in UTC.
                latest = max(now, document.fields["eventTime"])
                document = Document({**document.fields, "eventTime": latest})
            yield run_id, path, document
