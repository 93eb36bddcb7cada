"""The rules of consumers: what breaks each one, that our own events break none, and stand-ins that answer by them."""

from __future__ import annotations

import http.client
import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openlineage_pod import dataset, lineage_run
from openlineage_pod.inspection.consumers import CONSUMERS, violations
from tests.support.broken_events import BROKEN, RIGHT, changed
from tests.support.constants import AIRFLOW_ENV
from tests.support.examples import repeatable
from tests.support.harness import types

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from openlineage_pod.testing import Recorded
    from tests.support.harness import Jobs, Receiver


@pytest.mark.parametrize("consumer", CONSUMERS)
def test_right_event_breaks_no_rule(consumer: str) -> None:
    """A complete event breaks no rule of any consumer."""
    assert not list(violations(consumer, RIGHT))


@pytest.mark.parametrize(("consumer", "path", "value", "culprit"), BROKEN)
def test_broken_rule_is_found(consumer: str, path: str, value: Any, culprit: str) -> None:
    """One thing that is wrong breaks one rule, and the text names what is wrong, and what the consumer does."""
    found = list(violations(consumer, changed(RIGHT, path, value)))
    assert {violation.rule.requirement for violation in found} == {found[0].rule.requirement}
    assert culprit in str(found[0])
    assert str(found[0]).startswith(f"{CONSUMERS[consumer].name} requires that ")
    assert str(found[0]).endswith(found[0].rule.otherwise)


def test_every_rule_is_broken() -> None:
    """Each rule of the table has an event in these tests that breaks it."""
    broken = {
        (consumer, violation.rule.requirement)
        for consumer, path, value, _ in BROKEN
        for violation in violations(consumer, changed(RIGHT, path, value))
    }
    assert broken == {(key, rule.requirement) for key, consumer in CONSUMERS.items() for rule in consumer.rules}


@pytest.mark.parametrize("producer", ["https://github.com/OpenLineage/x/client", "https://github.com/apache/airflow/a"])
def test_datahub_knows_some_producers(producer: str) -> None:
    """An event of OpenLineage's or Airflow's own needs no processing engine."""
    event = changed(changed(RIGHT, "run.facets.processing_engine", None), "producer", producer)
    assert not list(violations("datahub", event))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["run", "job", "facets", "parent", "inputs", "outputs", "schema", "fields", "name", "x"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=20,
)


@repeatable(100)
@given(st.dictionaries(st.sampled_from([*RIGHT, "x"]), JSON, max_size=6))
def test_any_document_is_judged(event: dict[str, Any]) -> None:
    """A document that lacks anything, or holds anything, is judged without an error."""
    for consumer in CONSUMERS:
        assert all(map(str, violations(consumer, event)))


@pytest.mark.parametrize("consumer", sorted(CONSUMERS.keys() - {"atlan-generic"}))
def test_own_events_break_no_rule(consumer: str, recording: Callable[[Mapping[str, str]], Recorded]) -> None:
    """The COMPLETE of a job in an Airflow pod breaks no rule, nor does that of a run inside it."""
    recorded = recording(AIRFLOW_ENV)
    source = dataset("kafka://b1:9092,b2:9092/t", schema=["id", ""])
    target = dataset(
        "s3://lake/accounts", schema={"id": int, "x" * 300: "text"}, column_lineage={"id": [(source, "id")]}
    )
    with lineage_run("outer", inputs=[source], outputs=[target]), lineage_run(inputs=[source], outputs=[target]):
        pass
    ends = [event for event in recorded.events if event["eventType"] == "COMPLETE"]
    assert len(ends) == 2
    assert not [str(violation) for event in ends for violation in violations(consumer, event)]


def test_job_reports_to_stand_ins(receiver: Receiver, jobs: Jobs) -> None:
    """A stand-in that answers by a consumer's rules takes every event of a job."""
    job = """
        from openlineage_pod import dataset, lineage_run

        with lineage_run("load", inputs=["s3://lake/raw"]) as run:
            run.add_output(dataset("s3://lake/accounts", schema=["id"]))
    """
    finished = jobs.run(job, {**receiver.environ, **AIRFLOW_ENV})
    assert (finished.returncode, finished.stderr) == (0, "")
    events = receiver.events()
    assert types(events) == ["START", "COMPLETE"]
    for consumer in CONSUMERS:
        receiver.script({"consumer": consumer})
        assert [answer(receiver, event) for event in events] == [(201, "")] * 2


def answer(receiver: Receiver, event: Mapping[str, Any]) -> tuple[int, str]:
    """Post an event to a stand-in and return status and body of the answer."""
    connection = http.client.HTTPConnection("127.0.0.1", receiver.port)
    try:
        connection.request("POST", "/", json.dumps(event))
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


def test_stand_in_answers_by_the_rules(receiver: Receiver) -> None:
    """A stand-in refuses an event as its consumer would, and says why."""
    receiver.script({"consumer": "datahub"})
    status, body = answer(receiver, changed(RIGHT, "run.facets.processing_engine", None))
    assert status == 500
    assert "Unable to determine orchestrator" in body
