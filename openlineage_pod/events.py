"""Run events: a draft becomes OpenLineage's JSON, and that becomes openlineage-python's typed event.

Two steps on purpose. The JSON form needs nothing but the standard library, so an event can be printed as a last
resort even if openlineage-python has not been imported yet or cannot be; the typed form is made only for the transport.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from enum import Enum
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

from openlineage_pod._guard import logger
from openlineage_pod.spec import EVENT_SCHEMA_URL, PRODUCER, complete_facet, facet

if TYPE_CHECKING:
    from collections.abc import Callable

    from openlineage.client.event_v2 import RunEvent

    from openlineage_pod.datasets import Dataset
    from openlineage_pod.parent import ParentContext

__all__ = [
    "Draft",
    "Event",
    "is_event",
    "job_type",
    "json_ready",
    "last_will",
    "to_document",
    "to_json",
    "to_run_event",
]


_DEEPEST = 64
_MOST_VALUES = 100_000


class Draft(NamedTuple):
    """What is known of a run at one moment; made on the job's thread in microseconds."""

    event_type: str
    event_time: str
    run_id: str
    job_name: str
    job_namespace: str
    parent: ParentContext | None
    run_facets: Mapping[str, Any]
    job_facets: Mapping[str, Any]
    inputs: tuple[Dataset, ...]
    outputs: tuple[Dataset, ...]


class Event(NamedTuple):
    """A run event as it is kept, spooled, printed and sent: the bytes of its JSON, and what a log line says of it."""

    body: bytes
    run_id: str
    event_type: str
    job_name: str

    @classmethod
    def of(cls, document: Mapping[str, Any], body: bytes | None = None) -> Event:
        """Return the event of a document; `body` is its JSON, if it has been made already.

        Raises:
            KeyError, TypeError: `document` is not a run event.

        """
        body = to_json(document) if body is None else body
        return cls(body, document["run"]["runId"], document["eventType"], document["job"]["name"])

    @property
    def document(self) -> dict[str, Any]:
        """The event as JSON-ready data, parsed anew each time."""
        document: dict[str, Any] = json.loads(self.body)
        return document


def to_json(document: Mapping[str, Any]) -> bytes:
    """Return the JSON of a document, in ASCII and without spaces."""
    return _encode(document).encode("ascii")


_encode = json.JSONEncoder(separators=(",", ":")).encode


def to_document(draft: Draft) -> dict[str, Any]:
    """Return the event as JSON-ready data, valid against https://openlineage.io/spec/2-0-2/OpenLineage.json."""
    run_facets = dict(draft.run_facets)
    if draft.parent is not None:
        # On every event: one without it would make a second job in Marquez, beside the child of the Airflow task.
        run_facets["parent"] = draft.parent.to_facet()
    odd: set[str] = set()
    document = {
        "eventType": draft.event_type,
        "eventTime": draft.event_time,
        "producer": PRODUCER,
        "schemaURL": EVENT_SCHEMA_URL,
        "run": {"runId": draft.run_id, "facets": _facets(run_facets, odd)},
        "job": {
            "namespace": draft.job_namespace,
            "name": draft.job_name,
            "facets": _facets({"jobType": job_type("JOB"), **draft.job_facets}, odd),
        },
        "inputs": [_Plain(odd).of(dataset.to_dict("inputs")) for dataset in draft.inputs],
        "outputs": [_Plain(odd).of(dataset.to_dict("outputs")) for dataset in draft.outputs],
    }
    if odd:
        logger.warning(
            "the %s event of job %s has placeholders for what has no JSON form: %s",
            draft.event_type,
            draft.job_name,
            ", ".join(sorted(odd)),
        )
    return document


def job_type(kind: str) -> dict[str, Any]:
    """Return the facet of a job of this kind; all three fields, as Marquez and Datadog read them all."""
    return facet("JobTypeJobFacet", processingType="BATCH", integration="KUBERNETES_POD", jobType=kind)


def last_will(start: Mapping[str, Any]) -> dict[str, Any]:
    """Return what others report of a run whose START this was, if its process ends without a word."""
    error = facet(
        "ErrorMessageRunFacet",
        message="the process ended without reporting (killed or out of memory)",
        programmingLanguage="UNKNOWN",
    )
    run = {**start["run"], "facets": {**start["run"].get("facets", {}), "errorMessage": error}}
    return {**start, "eventType": "FAIL", "run": run}


def _facets(facets: Mapping[str, Any], odd: set[str]) -> dict[str, Any]:
    """Return what of `facets` are some, JSON-ready, with the two fields that every facet needs."""
    return {
        _text(str(key)): _Plain(odd).of(complete_facet(key, dict(value)) if isinstance(value, Mapping) else value)
        for key, value in facets.items()
        if isinstance(value, Mapping) or hasattr(type(value), "__attrs_attrs__")
    }


def is_event(document: Any) -> bool:
    """Say whether a document has what every run event has."""
    try:
        texts = (
            document["eventType"],
            document["eventTime"],
            document["producer"],
            document["run"]["runId"],
            document["job"]["namespace"],
            document["job"]["name"],
        )
    except (KeyError, TypeError, IndexError):
        return False
    return all(isinstance(text, str) for text in texts)


def json_ready(value: Any) -> Any:
    """Return `value`, such as an entry with openlineage-python's facets, as data that has a JSON form."""
    return _Plain(set()).of(value)


class _Plain:
    """Makes JSON-ready data that any backend can store of one facet; `odd` names the types that have no JSON form.

    openlineage-python's facet objects become dictionaries without their nulls; dates and UUIDs their usual text. A
    value without a JSON form becomes a placeholder: one odd value in a facet must not cost the event. The number of
    values has a limit, which also ends what contains itself.
    """

    def __init__(self, odd: set[str]) -> None:
        self._odd = odd
        self._left = _MOST_VALUES

    def of(self, value: Any, depth: int = 0) -> Any:
        """Return `value` as JSON-ready data."""
        self._left -= 1
        if depth > _DEEPEST or self._left < 0:
            return self._placeholder(f"more than {_DEEPEST} levels or {_MOST_VALUES} values")
        try:
            return self._of(value, depth)
        except Exception as error:  # a property, an isoformat() or the like of the user's that raises
            return self._placeholder(f"{type(value).__qualname__} ({type(error).__name__})")

    def _of(self, value: Any, depth: int) -> Any:
        if type(value) is str:  # most values; a text that is also an Enum comes below
            return _text(value)
        if isinstance(value, Enum):
            value = value.value
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, int):
            # Longer ones are refused by backends, and by Python itself from 4,300 digits on.
            return value if value.bit_length() < 64 else self._placeholder("int of more than 64 bits")  # noqa: PLR2004
        if isinstance(value, float):
            return value if math.isfinite(value) else str(value)  # NaN and Infinity are no JSON
        if isinstance(value, str):
            return _text(value)
        if isinstance(value, Mapping):
            return {_text(str(key)): self.of(item, depth + 1) for key, item in self._affordable(value.items())}
        if isinstance(value, (list, tuple, set, frozenset)):
            return [self.of(item, depth + 1) for item in self._affordable(value)]
        return self._of_object(value, depth)

    def _affordable(self, values: Iterable[Any]) -> Iterator[Any]:
        for value in values:
            yield value
            if self._left < 0:
                return

    def _of_object(self, value: Any, depth: int) -> Any:
        if fields := getattr(type(value), "__attrs_attrs__", None):
            pairs = ((field.name, getattr(value, field.name, None)) for field in fields)
            return {name: self.of(item, depth + 1) for name, item in pairs if item is not None}
        if hasattr(value, "isoformat"):
            return _text(value.isoformat())
        if type(value).__name__ in ("UUID", "Decimal") or hasattr(value, "__fspath__"):
            return _text(str(value))
        if hasattr(value, "item") and getattr(value, "shape", None) == ():
            return self.of(value.item(), depth + 1)  # a numpy scalar
        return self._placeholder(type(value).__qualname__)

    def _placeholder(self, what: str) -> str:
        self._odd.add(what)
        return f"<<not serialisable: {what}>>"


def _text(value: str) -> str:
    if value.isascii() and "\x00" not in value and type(value) is str:
        return value
    # Lone surrogates (undecodable bytes of the environment) and NUL are refused by PostgreSQL, so by Marquez.
    return value.encode("utf-8", "replace").decode("utf-8").replace("\x00", "\ufffd")


def to_run_event(document: Mapping[str, Any]) -> RunEvent:
    """Return the event as openlineage-python's own object, which is what its transports take.

    The facets that openlineage-python itself looks into (the parent in transformers and as Kafka's message key, the
    tags and environment variables which its client adds to) become its classes, the others stay dictionaries.

    Raises:
        ValueError, TypeError, KeyError: `document` is no run event.

    """
    # Deferred: 200 ms that only the delivery thread pays.
    from openlineage.client.event_v2 import InputDataset, Job, OutputDataset, Run, RunEvent, RunState

    run, job = document["run"], document["job"]
    return RunEvent(
        eventType=RunState(document["eventType"]),
        eventTime=document["eventTime"],
        producer=document["producer"],
        run=Run(runId=run["runId"], facets=_typed(run.get("facets", {}), _run_facet_classes())),
        job=Job(
            namespace=job["namespace"], name=job["name"], facets=_typed(job.get("facets", {}), _job_facet_classes())
        ),
        inputs=[InputDataset(**entry) for entry in document.get("inputs", [])],
        outputs=[OutputDataset(**entry) for entry in document.get("outputs", [])],
    )


def _typed(facets: Mapping[str, Any], classes: Mapping[str, Any]) -> dict[str, Any]:
    return {key: _as_class(classes[key], value) if key in classes else value for key, value in facets.items()}


def _as_class(make: Callable[[Any], Any], value: Any) -> Any:
    try:
        return make(value)
    except (KeyError, TypeError, ValueError):
        return value  # a facet of the user's own under that name


def _run_facet_classes() -> dict[str, Any]:
    from openlineage.client.facet_v2 import environment_variables_run, tags_run

    def environment_variables(fields: Mapping[str, Any]) -> Any:
        return environment_variables_run.EnvironmentVariablesRunFacet(
            producer=fields["_producer"],
            environmentVariables=[
                environment_variables_run.EnvironmentVariable(**entry) for entry in fields["environmentVariables"]
            ],
        )

    def tags(fields: Mapping[str, Any]) -> Any:
        entries = [tags_run.TagsRunFacetFields(**tag) for tag in fields["tags"]]
        return tags_run.TagsRunFacet(producer=fields["_producer"], tags=entries)

    return {"parent": _parent_facet, "environmentVariables": environment_variables, "tags": tags}


def _job_facet_classes() -> dict[str, Any]:
    from openlineage.client.facet_v2 import tags_job

    def tags(fields: Mapping[str, Any]) -> Any:
        entries = [tags_job.TagsJobFacetFields(**tag) for tag in fields["tags"]]
        return tags_job.TagsJobFacet(producer=fields["_producer"], tags=entries)

    return {"tags": tags}


@cache
def _job_classes() -> tuple[Any, Any]:
    import attr
    from openlineage.client.facet_v2 import parent_run

    # openlineage-python has the jobs' `facets` only since 1.52; these two carry them in the versions before, too.
    @attr.define
    class ParentJob(parent_run.Job):
        facets: dict[str, Any] = attr.field(factory=dict)

    @attr.define
    class RootJob(parent_run.RootJob):
        facets: dict[str, Any] = attr.field(factory=dict)

    return ParentJob, RootJob


def _parent_facet(fields: Mapping[str, Any]) -> Any:
    from openlineage.client.facet_v2 import parent_run

    parent_job, root_job = _job_classes()
    root = fields.get("root")
    return parent_run.ParentRunFacet(
        producer=fields["_producer"],
        run=parent_run.Run(runId=fields["run"]["runId"]),
        job=parent_job(**fields["job"]),
        root=parent_run.Root(
            run=parent_run.RootRun(runId=root["run"]["runId"]),
            job=root_job(**root["job"]),
        )
        if root
        else None,
    )
