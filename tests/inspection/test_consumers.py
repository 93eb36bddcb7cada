"""The rules of consumers: what breaks each one, that our own events break none, and stand-ins that answer by them."""

from __future__ import annotations

import http.client
import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openlineage_pod.inspection.consumers import CONSUMERS, violations
from tests.support.broken_events import BROKEN, RIGHT, changed
from tests.support.examples import repeatable

if TYPE_CHECKING:
    from tests.support.harness import Receiver


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


@repeatable(300)
@given(st.dictionaries(st.sampled_from([*RIGHT, "x"]), JSON, max_size=6))
def test_any_document_is_judged(event: dict[str, Any]) -> None:
    """A document that lacks anything, or holds anything, is judged without an error."""
    for consumer in CONSUMERS:
        assert all(map(str, violations(consumer, event)))


def test_stand_in_answers_by_the_rules(receiver: Receiver) -> None:
    """A stand-in refuses an event as its consumer would, and says why."""
    receiver.script({"consumer": "datahub"})
    connection = http.client.HTTPConnection("127.0.0.1", receiver.port)
    connection.request("POST", "/", json.dumps(changed(RIGHT, "run.facets.processing_engine", None)))
    answer = connection.getresponse()
    assert answer.status == 500
    assert "Unable to determine orchestrator" in answer.read().decode()
    connection.close()
