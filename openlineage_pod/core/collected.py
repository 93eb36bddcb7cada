"""The datasets of one side of a run: what several threads, and signal handlers that interrupt them, add to it."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from openlineage_pod.datasets.dataset import Dataset

    Key = tuple[str, str]

__all__ = ["CollectedDatasets"]


class CollectedDatasets:
    """Datasets by namespace and name; those that are added again are laid over the earlier ones.

    Nobody waits for a lock: a signal handler that adds a dataset while the code that it interrupted does so would wait
    for ever. Whoever holds the lock merges what others have added in the meantime. A dataset leaves `_added` only once
    it is merged, and merging it twice changes nothing, so a reader that looks at both misses none.
    """

    def __init__(self) -> None:
        self._merged: dict[Key, Dataset] = {}
        self._added: list[Dataset] = []
        self._merging = threading.Lock()

    def add(self, found: Dataset) -> None:
        """Add a dataset."""
        self._added.append(found)
        # Once more after the release: somebody may have added one just before it and found the lock taken.
        while self._added and self._merging.acquire(blocking=False):
            try:
                while self._added:
                    try:
                        _merge(self._merged, self._added[0])
                    finally:
                        self._added.pop(0)
            finally:
                self._merging.release()

    def all(self) -> tuple[Dataset, ...]:
        """Return all datasets, in the order in which they were first added."""
        added = self._added.copy()  # first: what leaves it now is in the other one
        merged = self._merged.copy()
        for found in added:
            _merge(merged, found)
        return tuple(merged.values())


def _merge(into: dict[Key, Dataset], found: Dataset) -> None:
    key = (found.namespace, found.name)
    before = into.get(key)
    into[key] = before.merged(found) if before is not None else found
