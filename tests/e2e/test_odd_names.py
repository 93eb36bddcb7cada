"""Odd names of datasets at the real consumers: they take every event, and answer as before afterwards."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.e2e.consumers import Marquez
from tests.e2e.odd_names import report_odd_names

if TYPE_CHECKING:
    from pathlib import Path

    from tests.e2e.consumers import Entry
    from tests.e2e.scene import Scene


@pytest.mark.consumers
def test_consumers_answer_as_before(scene: Scene, entry: Entry, tmp_path: Path) -> None:
    """Every consumer takes the events, shows both runs as complete, and still lists all that it holds."""
    events = report_odd_names(scene, tmp_path)

    for run_id in {event["run"]["runId"] for event in events}:
        entry.ended(run_id, "COMPLETE")
    for consumer in entry.consumers:
        if isinstance(consumer, Marquez):
            for path in ("namespaces", "jobs"):
                consumer.api.get(f"/api/v1/{path}", limit=1000)
