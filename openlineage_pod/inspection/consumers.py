"""What each consumer of OpenLineage insists on, as data: one row a rule, which an event keeps or breaks.

The rules were read in the consumers' sources and seen with their own code. A rule looks at one event alone. What takes
more than that (that a job's namespace is the name of a connection in Atlan, that an earlier event had the datasets) is
not in the table.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from openlineage_pod.inspection import checks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    Event = Mapping[str, Any]

__all__ = ["CONSUMERS", "Consumer", "Rule", "Violation", "violations"]


class Rule(NamedTuple):
    """One thing that a consumer insists on.

    Attributes:
        requirement: What an event has that keeps the rule.
        otherwise: What the consumer does with an event that breaks it.
        status: The HTTP status of its answer to such an event; None if it accepts the event all the same.
        culprits: Yields what in an event breaks the rule.

    """

    requirement: str
    otherwise: str
    status: int | None
    culprits: Callable[[Event], Iterator[str]]


class Consumer(NamedTuple):
    """A product that takes OpenLineage events, and its rules."""

    name: str
    rules: tuple[Rule, ...]


class Violation(NamedTuple):
    """What breaks a rule in an event."""

    consumer: Consumer
    rule: Rule
    culprit: str

    def __str__(self) -> str:
        return f"{self.consumer.name} requires that {self.rule.requirement}, but {self.culprit}; {self.rule.otherwise}"


def violations(consumer: str, event: Event) -> Iterator[Violation]:
    """Yield what a consumer has against an event.

    Args:
        consumer: A key of `CONSUMERS`.
        event: The JSON of an event; it may lack anything.

    Raises:
        KeyError: `consumer` is not in the table.

    """
    found = CONSUMERS[consumer]
    for rule in found.rules:
        for culprit in rule.culprits(event):
            yield Violation(found, rule, culprit)


_RUN_EVENTS = Rule("an event is a run event", "it answers 400", 400, checks.no_run_event)
_TYPED = "each column has a type"

CONSUMERS: Mapping[str, Consumer] = {
    "marquez": Consumer(
        "Marquez",
        (
            Rule("the event has a run id", "it answers 422", 422, checks.missing("run", "runId")),
            Rule("the job has a namespace", "it answers 422", 422, checks.missing("job", "namespace")),
            Rule("the job has a name", "it answers 422", 422, checks.missing("job", "name")),
            Rule(
                "the eventTime is a time of ISO 8601",
                "it answers 500, as to any JSON it cannot read",
                500,
                checks.unreadable_time,
            ),
            Rule("a facet has a _producer and a _schemaURL", "it answers 422", 422, checks.incomplete_facets),
            Rule(
                "a parent has a run id, a namespace and a name",
                "it answers 422",
                422,
                checks.missing_in_facet("run", "parent", "run.runId", "job.namespace", "job.name"),
            ),
            Rule(
                "a jobType facet is complete",
                "it answers 422",
                422,
                checks.missing_in_facet("job", "jobType", "processingType", "integration", "jobType"),
            ),
            Rule(
                "the namespace of a dataset has letters, digits and :;=/_-.@+ alone",
                "it answers 400 to COMPLETE, and from then on 500 to every list of namespaces and jobs, for everybody",
                400,
                checks.odd_namespaces,
            ),
            Rule(
                "a dataset has a name",
                "it answers 400, and the run has no datasets",
                400,
                checks.nameless_datasets,
            ),
            Rule(
                "a column has a name",
                "it answers 400 to COMPLETE, and the run has no datasets",
                400,
                checks.blank_columns,
            ),
            Rule(
                f"the name of a column has at most {checks.MAX_COLUMN} characters",
                "it answers 500",
                500,
                checks.long_columns,
            ),
            Rule(
                "a dataset with an address has a dataSource facet",
                "its source is `default`, and the list of sources answers 500",
                None,
                checks.without_data_source,
            ),
            Rule(
                "a job has another name than its parent",
                "the run is taken for one of its parent's job",
                None,
                checks.named_like_its_parent,
            ),
        ),
    ),
    "datahub": Consumer(
        "DataHub",
        (
            Rule(
                "the run facet processing_engine has a name, or the producer is that of OpenLineage, Airflow or Trino",
                'it answers 500, "Unable to determine orchestrator"',
                500,
                checks.no_orchestrator,
            ),
            Rule(
                "the last part of a producer's path is not a version",
                "each release of the producer moves all jobs to another platform",
                None,
                checks.versioned_producers,
            ),
            Rule(_TYPED, "releases before 2026 answer 500", 500, checks.untyped_columns),
        ),
    ),
    "rentgen": Consumer(
        "Data.Rentgen",
        (
            Rule(
                "the processing engine has a name and a version",
                "it answers 422",
                422,
                checks.missing_in_facet("run", "processing_engine", "name", "version"),
            ),
            Rule(
                "the versions of the processing engine are those of PEP 440", "it answers 422", 422, checks.odd_version
            ),
        ),
    ),
    "openmetadata": Consumer(
        "OpenMetadata",
        (
            Rule(
                "an event has inputs and outputs, also empty",
                "it ignores the event",
                None,
                checks.no_list("inputs", "outputs"),
            ),
            Rule("an event is START, RUNNING or COMPLETE", "it ignores the event", None, checks.unread_type),
            Rule(_TYPED, "its endpoint answers 400", 400, checks.untyped_columns),
            Rule("a namespace names one broker", "the whole event has no lineage", None, checks.several_brokers),
            Rule(
                f"<namespace>-<job> of the parent has no quote, and at most {checks.MAX_PIPELINE} characters",
                "there is no pipeline of this name, and the edge goes to that of the event before",
                None,
                checks.odd_pipeline,
            ),
        ),
    ),
    "atlan": Consumer(
        "Atlan",
        (Rule("COMPLETE has inputs and outputs", "the run draws no lineage", None, checks.one_sided),),
    ),
    "atlan-generic": Consumer(
        "Atlan's generic connector",
        (
            Rule("COMPLETE has inputs and outputs", "the run draws no lineage", None, checks.one_sided),
            Rule(
                "the job type of a parent is DAG, APPLICATION or WORKFLOW",
                "the run is not linked to its parent",
                None,
                checks.parent_of_another_type,
            ),
            Rule(
                "a job is named <parent>.<task>",
                "the run is not linked to its parent",
                None,
                checks.not_below_its_parent,
            ),
        ),
    ),
    "datadog": Consumer(
        "Datadog",
        (
            Rule(
                "the job has a jobType facet",
                "it ignores the event",
                None,
                checks.missing("job", "facets", "jobType", "jobType"),
            ),
        ),
    ),
    "google": Consumer(
        "Google Data Lineage",
        (
            _RUN_EVENTS,
            Rule("an event has at most 5,000,000 bytes", "it answers 400", 400, checks.larger_than(5_000_000)),
            Rule("an event has at most 100 links", "it answers 400", 400, checks.more_links_than(100)),
        ),
    ),
    "datazone": Consumer(
        "AWS DataZone",
        (
            _RUN_EVENTS,
            Rule("an event has at most 300,000 bytes", "it answers 400", 400, checks.larger_than(300_000)),
        ),
    ),
}
"""The consumers whose rules are known."""
