"""The check of every event that any test sees against the official JSON schemas; tests/conftest.py runs it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from openlineage_pod import lineage_run
from tests.support import options, specification
from tests.support.constants import AIRFLOW_ENV
from tests.support.events import SEEN_EVENTS
from tests.support.specification import errors, problems

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from openlineage_pod.testing import Recorded


@pytest.fixture(autouse=True)
def _schemas() -> None:
    """Skip the test where the official schemas are not at hand; no event is checked there."""
    if not specification.has_schemas():
        pytest.skip(f"set OPENLINEAGE_POD_TEST_SPEC to OpenLineage's spec folder, which is not at {options.SPEC}")


def test_every_event_is_seen(recording: Callable[[Mapping[str, str]], Recorded]) -> None:
    """The check at the end of a test has the events of the test's runs, and these are valid."""
    recorded = recording(AIRFLOW_ENV)
    with lineage_run("job", outputs=["s3://lake/accounts"]):
        pass
    assert [event["eventType"] for event in recorded.events] == ["START", "COMPLETE"]
    assert recorded.events == SEEN_EVENTS
    assert [problems(event) for event in SEEN_EVENTS] == [[], []]


def test_our_facets_name_schemas_that_exist() -> None:
    """Every schema URL that we form names a definition in the official folder or in our own file."""
    from openlineage_pod.events import facets as spec

    resolver = specification.registry().resolver()
    for definition in [*spec.FACET_VERSIONS, "KubernetesPodRunFacet"]:
        url = str(spec.facet(definition)["_schemaURL"])
        assert resolver.lookup(url).contents
    assert resolver.lookup(spec.EVENT_SCHEMA_URL).contents


def test_the_check_itself_can_fail(recording: Callable[[Mapping[str, str]], Recorded]) -> None:
    """An event without its producer, a parent that lacks its run, and an event with such a parent are found."""
    assert errors({"eventTime": "2026-01-01T00:00:00Z", "run": {"runId": "x"}, "job": {}}, specification.RUN_EVENT)
    parent = {"_producer": "https://x", "_schemaURL": "https://x", "job": {"namespace": "a", "name": "b"}}
    assert errors(parent, "https://openlineage.io/spec/facets/1-2-0/ParentRunFacet.json#/$defs/ParentRunFacet")
    recorded = recording(AIRFLOW_ENV)
    with lineage_run("job"):
        pass
    broken = recorded.events[0]
    del broken["run"]["facets"]["parent"]["run"]
    SEEN_EVENTS.clear()
    assert "'run' is a required property" in " ".join(problems(broken))
