"""The names of a spool's files: what an event is, and which format it has, is known without opening it."""

from __future__ import annotations

from os.path import join
from typing import TYPE_CHECKING, NamedTuple

from openlineage_pod._redaction.names import compiled

if TYPE_CHECKING:
    from openlineage_pod.events.document import Document

__all__ = ["FORMAT", "FORMAT_SUFFIX", "Entry", "fallback_name", "fallback_owner", "format_of"]

FORMAT = 1
"""The format of what this release writes. A reader leaves newer ones where they are."""
FORMAT_SUFFIX = f".f{FORMAT}"
"""What the id of an owner ends with; before there were formats (0), it ended with nothing."""
_SUFFIX = ".json"
_FORMAT = r"\.f(\d{1,6})$"
_UNSAFE = r"[^0-9A-Za-z._-]"
_MAX_PART = 100
_PARTS = 4


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
        return parts[index] if len(parts) == _PARTS else ""

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

    @property
    def is_newer(self) -> bool:
        """Whether a later release wrote the event, in a format that this one does not know."""
        return format_of(self.owner) > FORMAT

    @classmethod
    def of(cls, document: Document, folder: str, when: str, owner: str) -> Entry:
        """Return the entry of a new event."""
        parts = (when, _safe(document.run_id), _safe(document.event_type), owner)
        return cls("~".join(parts) + _SUFFIX, folder)


def fallback_name(run_id: str, owner: str) -> str:
    """Return the name of a file of open/."""
    return f"{_safe(run_id)}~{owner}{_SUFFIX}"


def fallback_owner(name: str) -> tuple[str, str]:
    """Return the run id and the owner of a file of open/ or, with other text before the owner, of tmp/."""
    run_id, _, owner = name.removesuffix(_SUFFIX).rpartition("~")
    return run_id, owner


def format_of(owner: str) -> int:
    """Return the format of what an owner writes."""
    found = compiled(_FORMAT).search(owner)
    return int(found[1]) if found else 0


def _safe(text: str) -> str:
    """Return a text that comes from an event as a part of a file name: it may be anybody's event."""
    return compiled(_UNSAFE).sub("_", text)[:_MAX_PART]
