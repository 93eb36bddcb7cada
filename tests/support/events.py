"""The events that tests saw, and events of the tests' own."""

from __future__ import annotations

from typing import Any

from openlineage_pod.events.document import Draft, to_document

__all__ = ["SEEN_EVENTS", "draft", "event"]

# Every event that the running test saw leave. tests/conftest.py validates them at the end of the test.
SEEN_EVENTS: list[dict[str, Any]] = []


def draft(number: int, event_type: str = "START") -> Draft:
    """Return the draft of a run of its own."""
    return Draft(
        event_type=event_type,
        event_time="2026-01-01T00:00:00+00:00",
        run_id=f"01938a60-0000-7000-8000-{number:012d}",
        job_name=f"job_{number}",
        job_namespace="default",
        parent=None,
        run_facets={},
        job_facets={},
        inputs=(),
        outputs=(),
    )


def event(number: int, event_type: str = "START") -> dict[str, Any]:
    """Return the event of a run of its own."""
    return to_document(draft(number, event_type))
