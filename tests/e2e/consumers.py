"""The real consumers of lineage under one interface, and an entry in front of them that keeps what goes through it."""

from __future__ import annotations

import json
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Protocol
from urllib.parse import quote

from openlineage_pod.events.facets import PRODUCER
from tests.e2e.servers import LOOPBACK, Api
from tests.support.events import SEEN_EVENTS
from tests.support.harness import on_a_thread
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from tests.e2e.servers import DataRentgen

    Event = dict[str, Any]

# Data.Rentgen reads from Kafka in its own time.
PATIENCE = 180.0


class Seen(NamedTuple):
    """What a consumer says of a run."""

    state: str | None
    """By the type of the event: START, COMPLETE, FAIL or ABORT; None of a run that is known by name only."""
    parent: str | None
    """The run id of its parent."""
    inputs: frozenset[tuple[str, str]]
    """Datasets as (namespace, name)."""
    outputs: frozenset[tuple[str, str]]
    message: str | None = None
    """Why it failed or was aborted, where the consumer keeps that."""


class Consumer(Protocol):
    """A real backend."""

    keeps_messages: ClassVar[bool]
    """Whether it says why a run failed."""

    def send(self, event: Mapping[str, Any]) -> None:
        """Hand it an event, which it must accept."""

    def run(self, run_id: str) -> Seen | None:
        """Return what it knows of a run, if anything."""


class Marquez:
    """A running Marquez."""

    keeps_messages: ClassVar[bool] = True
    _STATES: Mapping[str, str] = {
        "NEW": "START",
        "RUNNING": "START",
        "COMPLETED": "COMPLETE",
        "FAILED": "FAIL",
        "ABORTED": "ABORT",
    }

    def __init__(self, api: Api) -> None:
        self.api = api
        self._namespaces: dict[str, str] = {}

    def send(self, event: Mapping[str, Any]) -> None:
        self._namespaces[event["run"]["runId"]] = event["job"]["namespace"]
        self.api.post("/api/v1/lineage", event)

    def run(self, run_id: str) -> Seen | None:
        answer = self.api.request("GET", f"/api/v1/jobs/runs/{run_id}")
        if not answer.ok or run_id not in self._namespaces:
            return None
        run = answer.json()
        job = self._job(run_id)
        if job is None:  # between two moments of its transaction
            return None
        return Seen(
            self._STATES[run["state"]],
            run["facets"].get("parent", {}).get("run", {}).get("runId"),
            # Not those of the run: of one that failed it keeps the inputs alone.
            _identities(job["inputs"]),
            _identities(job["outputs"]),
            run["facets"].get("errorMessage", {}).get("message"),
        )

    def _job(self, run_id: str) -> Any:
        # Those of the namespace alone: to list all jobs takes the longer the more tests have run.
        path = f"/api/v1/namespaces/{quote(self._namespaces[run_id], safe='')}/jobs"
        jobs = self.api.get(path, limit=1000)["jobs"]
        return next((job for job in jobs if run_id in [run["id"] for run in job["latestRuns"] or ()]), None)


class Rentgen:
    """A running Data.Rentgen."""

    keeps_messages: ClassVar[bool] = False
    _STATES: Mapping[str, str | None] = {
        "UNKNOWN": None,
        "STARTED": "START",
        "SUCCEEDED": "COMPLETE",
        "FAILED": "FAIL",
        "KILLED": "ABORT",
    }
    # It makes URLs of namespaces that are none.
    _NAMESPACES: Mapping[str, str] = {"file://unknown": "file", "unknown://sqlite": "sqlite"}

    def __init__(self, rentgen: DataRentgen) -> None:
        self.api = rentgen.api
        self._entry = Api(rentgen.ingest_url, rentgen.token)
        self._since = (datetime.now(timezone.utc) - timedelta(hours=1)).isoformat()

    def send(self, event: Mapping[str, Any]) -> None:
        self._entry.post("/v1/openlineage", event)

    def run(self, run_id: str) -> Seen | None:
        for kind in ("run", "operation"):  # it files the models of dbt as operations of dbt's run
            found = self.api.get(f"/v1/{kind}s", **{f"{kind}_id": run_id})["items"]
            if found:
                data = found[0]["data"]
                return Seen(
                    self._STATES[data["status"]],
                    data["run_id"] if kind == "operation" else data["parent_run_id"],
                    *self._datasets(kind, run_id),
                )
        return None

    def _datasets(self, kind: str, run_id: str) -> tuple[frozenset[tuple[str, str]], frozenset[tuple[str, str]]]:
        """Return what a run or an operation has read and written."""
        lineage = self.api.get(f"/v1/{kind}s/lineage", since=self._since, start_node_id=run_id)
        datasets = {key: self._dataset(each) for key, each in lineage["nodes"]["datasets"].items()}
        relations = lineage["relations"]
        read = [relation for relation in relations["inputs"] if relation["to"]["id"] == run_id]
        written = [relation for relation in relations["outputs"] if relation["from"]["id"] == run_id]
        return (
            frozenset(datasets[relation["from"]["id"]] for relation in read),
            frozenset(datasets[relation["to"]["id"]] for relation in written),
        )

    def _dataset(self, node: Any) -> tuple[str, str]:
        url: str = node["location"]["addresses"][0]["url"]
        return self._NAMESPACES.get(url, url), node["name"]


class Entry:
    """Takes events at any path, keeps them, and hands each to all consumers before it answers."""

    def __init__(self, consumers: Sequence[Consumer], url: str) -> None:
        self.consumers = consumers
        self.url = url
        self.events: list[Event] = []
        self.authorizations: list[str | None] = []
        self.refused: list[str] = []
        """What a consumer said of an event that it did not take."""

    def runs(self, condition: Callable[[Event], bool] = lambda _: True) -> dict[str, list[Event]]:
        """Return the events of each run, in the order of their arrival, of which one fulfils the condition."""
        runs: dict[str, list[Event]] = {}
        for event in list(self.events):
            runs.setdefault(event["run"]["runId"], []).append(event)
        return {run_id: events for run_id, events in runs.items() if any(map(condition, events))}

    def children(self, run_id: str) -> dict[str, list[Event]]:
        """Return the events of each run whose parent this run is."""
        return self.runs(lambda event: parent_of(event) == run_id)

    def ended(self, run_id: str, state: str) -> list[Seen]:
        """Return what every consumer says of a run, as soon as each says that it is in the state."""

        def all_say_so() -> bool:
            seen = [consumer.run(run_id) for consumer in self.consumers]
            return all(each is not None and each.state == state for each in seen)

        wait_until(all_say_so, f"every consumer knows run {run_id} as {state}", seconds=PATIENCE, every=0.2)
        return [seen for consumer in self.consumers if (seen := consumer.run(run_id))]

    def show(self, event: Event) -> None:
        """Wait until every consumer says of a run what this event, its last one, says."""
        expected = Seen(
            event["eventType"],
            parent_of(event),
            _identities(event["inputs"]),
            _identities(event["outputs"]),
            event["run"]["facets"].get("errorMessage", {}).get("message"),
        )

        def wrong() -> list[Seen | None]:
            """Return what the consumers say that is something else."""
            said = [(consumer, consumer.run(event["run"]["runId"])) for consumer in self.consumers]
            return [seen for consumer, seen in said if seen != right(consumer)]

        def right(consumer: Consumer) -> Seen:
            return expected if consumer.keeps_messages else expected._replace(message=None)

        with suppress(AssertionError):  # the one below says what differs
            wait_until(lambda: not wrong(), "", seconds=PATIENCE, every=0.2)
        differing = wrong()
        assert not differing, f"{differing} is not {expected}"

    def receive(self, event: Event, authorization: str | None = None) -> None:
        """Take one event."""
        for consumer in self.consumers:
            consumer.send(event)
        self.authorizations.append(authorization)
        self.events.append(event)


def _identities(datasets: Sequence[Mapping[str, Any]]) -> frozenset[tuple[str, str]]:
    return frozenset((each["namespace"], each["name"]) for each in datasets)


def parent_of(event: Mapping[str, Any]) -> str | None:
    """Return the run id of an event's parent."""
    parent: Event = event["run"].get("facets", {}).get("parent", {})
    run_id: str | None = parent.get("run", {}).get("runId")
    return run_id


def root_of(event: Mapping[str, Any]) -> str | None:
    """Return the run id of an event's root."""
    parent: Event = event["run"].get("facets", {}).get("parent", {})
    run_id: str | None = parent.get("root", {}).get("run", {}).get("runId")
    return run_id


@contextmanager
def entry(consumers: Sequence[Consumer]) -> Iterator[Entry]:
    """Run an entry in front of the consumers."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            event = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            try:
                taken.receive(event, self.headers["Authorization"])
            except AssertionError as error:  # a consumer refused it: so do we, for good
                taken.refused.append(str(error))
                status, answer = 422, str(error).encode()
            else:
                status, answer = 201, b""
            self.send_response(status)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer((LOOPBACK, 0), Handler)
    taken = Entry(consumers, f"http://{LOOPBACK}:{server.server_port}")
    try:
        with on_a_thread(server):
            yield taken
    finally:
        # Those of others, such as Airflow's, are not ours to check.
        SEEN_EVENTS.extend(event for event in taken.events if event["producer"] == PRODUCER)
