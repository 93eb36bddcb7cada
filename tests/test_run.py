"""Runs: identity, nesting, datasets and facets, declared outcomes, the environment of children."""

from __future__ import annotations

import asyncio
import itertools
import platform
import signal
import threading
import time
from collections.abc import Generator
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from openlineage.client.facet_v2 import job_type_job, nominal_time_run

from openlineage_pod import ConfigurationError, Dataset, LineageRun, ParentContext, current_run, dataset, lineage_run
from openlineage_pod.events.facets import __version__
from openlineage_pod.events.uuid7 import new_uuid7
from openlineage_pod.settings import canonical_uuid
from openlineage_pod.testing import record_events
from tests.support.constants import AIRFLOW_ENV, PARENT_RUN_ID, ROOT_RUN_ID

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from openlineage_pod.testing import Recorded

    Recording = Callable[[Mapping[str, str]], Recorded]

RUN_ID = "01938a60-0000-7000-8000-000000000000"


def parent_of(event: dict[str, Any]) -> dict[str, Any]:
    """Return the parent facet without its two formal keys."""
    return {key: value for key, value in event["run"]["facets"]["parent"].items() if not key.startswith("_")}


def test_start_and_one_terminal_event(recorded: Recorded) -> None:
    """A run is reported by START and then COMPLETE, with the same ids, in this order and at these times."""
    with lineage_run("ingest") as run:
        pass
    start, end = recorded.events
    assert (start["eventType"], end["eventType"]) == ("START", "COMPLETE")
    for event in (start, end):
        assert event["run"]["runId"] == run.run_id
        assert event["job"] | {"facets": {}} == {"namespace": "default", "name": "ingest", "facets": {}}
    assert start["eventTime"] <= end["eventTime"]
    assert canonical_uuid(run.run_id) == run.run_id


def test_every_event_carries_parent_and_root(recording: Recording) -> None:
    """Both events name the Airflow task as parent and the DAG run as root."""
    recorded = recording(AIRFLOW_ENV)
    with lineage_run("load"):
        pass
    for event in recorded.events:
        assert parent_of(event) == {
            "run": {"runId": PARENT_RUN_ID},
            "job": {"namespace": "airflow", "name": "etl.ingest"},
            "root": {"run": {"runId": ROOT_RUN_ID}, "job": {"namespace": "airflow", "name": "etl"}},
        }


def test_every_event_says_what_runs_the_job(recorded: Recorded) -> None:
    """Both events have the complete jobType, and the processing engine: Python, and the version of this package."""
    with lineage_run("load"):
        pass
    for event in recorded.events:
        job_type = event["job"]["facets"]["jobType"]
        kinds = [job_type[key] for key in ("processingType", "integration", "jobType")]
        assert kinds == ["BATCH", "KUBERNETES_POD", "JOB"]
        engine = event["run"]["facets"]["processing_engine"]
        said = {key: value for key, value in engine.items() if not key.startswith("_")}
        version = platform.python_version()
        assert said == {"name": "python", "version": version, "openlineageAdapterVersion": __version__}


def test_own_processing_engine_counts(recorded: Recorded) -> None:
    """A job that says what runs it, such as Spark, keeps that."""
    with lineage_run("load") as run:
        run.add_run_facet("processing_engine", {"name": "spark", "version": "4.0"})
    assert recorded.events[1]["run"]["facets"]["processing_engine"]["name"] == "spark"


def test_producer_is_the_same_in_every_release(recorded: Recorded) -> None:
    """The last segment of the producer, of events and facets, has no version: DataHub names a platform after it."""
    with lineage_run("load", outputs=[dataset("s3://lake/a", schema={"id": "int"}, rows=1)]):
        pass

    def producers(value: Any) -> Iterator[str]:
        if isinstance(value, dict):
            yield from (item for key, item in value.items() if key in ("producer", "_producer"))
            for item in value.values():
                yield from producers(item)
        elif isinstance(value, list):
            for item in value:
                yield from producers(item)

    assert set(producers(recorded.events)) == {"https://github.com/openlineage-pod/openlineage-pod"}


class _Loader:
    """Call me to load."""

    def __call__(self) -> None:
        pass


def _plain() -> None:
    """Load the accounts
    of today.

    Not this.
    """  # noqa: D205  two lines are one paragraph


def _undocumented() -> None:
    pass


async def _coroutine() -> None:
    """Load the accounts of today."""


def _generator() -> Iterator[None]:
    """Load the accounts of today."""
    yield


@pytest.mark.parametrize(
    ("function", "description"),
    [
        (_plain, "Load the accounts of today."),
        (_coroutine, "Load the accounts of today."),
        (_generator, "Load the accounts of today."),
        (partial(_plain), "Load the accounts of today."),
        (_undocumented, None),
        (partial(_undocumented), None),
        (_Loader(), None),
        (len, None),
    ],
)
def test_docstring_is_the_documentation(
    recorded: Recorded, function: Callable[..., Any], description: str | None
) -> None:
    """The first paragraph of the function's own docstring describes the job; that of a class does not."""
    result = lineage_run("load")(function)(*[""] if function is len else [])
    if asyncio.iscoroutine(result):
        asyncio.run(result)
    elif isinstance(result, Generator):
        list(result)
    for event in recorded.events:
        assert event["job"]["facets"].get("documentation", {}).get("description") == description


def test_own_documentation_counts(recorded: Recorded) -> None:
    """A documentation facet that the job gives replaces the docstring."""
    lineage_run("load", job_facets={"documentation": {"description": "mine"}})(_plain)()
    assert recorded.events[0]["job"]["facets"]["documentation"]["description"] == "mine"


def test_without_a_parent_there_is_no_parent_facet(recorded: Recorded) -> None:
    """A job that nobody started claims no parent."""
    with lineage_run("alone") as run:
        assert run.parent is None
    assert all("parent" not in event["run"]["facets"] for event in recorded.events)


def test_default_names(recording: Recording) -> None:
    """Without a name of its own the job is called after its parent and the function; its namespace is the parent's."""
    recorded = recording(AIRFLOW_ENV)

    @lineage_run
    def load() -> None: ...

    load()
    assert (recorded.events[0]["job"]["name"], recorded.events[0]["job"]["namespace"]) == ("etl.ingest.load", "airflow")


def test_names_from_the_environment(recording: Recording) -> None:
    """OPENLINEAGE_JOB_NAME names the outermost run only, OPENLINEAGE_NAMESPACE the namespace of all."""
    recording({**AIRFLOW_ENV, "OPENLINEAGE_JOB_NAME": "nightly", "OPENLINEAGE_NAMESPACE": "crm"})

    @lineage_run
    def step() -> tuple[str, str]:
        return current_run().job_name, current_run().job_namespace

    with lineage_run() as outer:
        assert (outer.job_name, outer.job_namespace) == ("nightly", "crm")
        assert step() == ("nightly.step", "crm")


def test_explicit_names_go_first(recording: Recording) -> None:
    """Names given in the code go before those of the environment."""
    recording({**AIRFLOW_ENV, "OPENLINEAGE_JOB_NAME": "nightly", "OPENLINEAGE_NAMESPACE": "crm"})
    with lineage_run("mine", namespace="own") as run:
        assert (run.job_name, run.job_namespace) == ("mine", "own")


def test_child_never_bears_the_name_of_its_parent(recording: Recording) -> None:
    """A run named like its parent would be taken for it by Marquez, so it is called after its function as well."""
    recording({**AIRFLOW_ENV, "OPENLINEAGE_JOB_NAME": "etl.ingest"})

    @lineage_run
    def load() -> str:
        return current_run().job_name

    assert load() == "etl.ingest.load"


@pytest.mark.parametrize("name", ["", " ", "a\nb", "x" * 2000, "{{ x }}"])
def test_unusable_explicit_name(name: str, recorded: Recorded, caplog: pytest.LogCaptureFixture) -> None:
    """A name that no backend could store is a warning, and the default name is used."""

    @lineage_run(name)
    def load() -> None: ...

    load()
    assert recorded.events[0]["job"]["name"] == "load"
    assert "job name" in caplog.text


def test_run_id_from_the_environment_once(recording: Recording) -> None:
    """OPENLINEAGE_RUN_ID is the id of the first outermost run only."""
    recording({"OPENLINEAGE_RUN_ID": RUN_ID})
    ids = []
    for _ in range(2):
        with lineage_run("outer") as outer, lineage_run("inner") as inner:
            ids += [outer.run_id, inner.run_id]
    assert ids[0] == RUN_ID
    assert len(set(ids)) == 4


def test_nested_run_has_the_enclosing_run_as_parent_and_the_same_root(recording: Recording) -> None:
    """The parent of a nested run is the run around it, and its root is that of the whole chain."""
    recorded = recording(AIRFLOW_ENV)
    with lineage_run("outer") as outer, lineage_run("inner") as inner:
        assert current_run() is inner
    (inner_start,) = (
        event for event in recorded.events if event["job"]["name"] == "inner" and event["eventType"] == "START"
    )
    assert parent_of(inner_start)["run"] == {"runId": outer.run_id}
    job = parent_of(inner_start)["job"]
    assert (job["namespace"], job["name"], job["facets"]["jobType"]["jobType"]) == ("airflow", "outer", "JOB")
    assert parent_of(inner_start)["root"]["run"] == {"runId": ROOT_RUN_ID}


def test_root_without_airflow(recorded: Recorded) -> None:
    """Where nothing started the outermost run, it is the root of the runs within it."""
    with lineage_run("outer") as outer, lineage_run("middle"), lineage_run("inner"):
        pass
    roots = {
        parent_of(event)["root"]["run"]["runId"] for event in recorded.events if "parent" in event["run"]["facets"]
    }
    assert roots == {outer.run_id}


def test_current_run_is_restored(recorded: Recorded) -> None:
    """Leaving a run makes the one around it current again; outside any it is a false object that does nothing."""
    assert not current_run()
    with lineage_run("outer") as outer:
        with lineage_run("inner"):
            pass
        assert current_run() is outer
    assert not current_run()
    assert len(recorded.events) == 4


def test_null_run_does_nothing() -> None:
    """Outside any run every method of the run object may be called and does nothing."""
    run = current_run()
    run.add_input("s3://lake/a")
    run.add_output("nonsense")
    run.add_run_facet("a", {})
    run.add_job_facet("a", {})
    run.fail("x")
    run.abort("x")
    assert run.child_env({"A": "1"}) == {"A": "1"}
    assert (run.run_id, run.job_name, run.parent) == ("", "", None)


def test_terminal_event_carries_all_datasets(recorded: Recorded) -> None:
    """Datasets given up front are on START; the terminal event has these and all that were added later."""
    with lineage_run("ingest", inputs=["s3://lake/a"], outputs=["s3://lake/b"]) as run:
        run.add_input("s3://lake/c")
        run.add_output(dataset("s3://lake/b", rows=3))
    start, end = recorded.events
    assert [entry["name"] for entry in start["inputs"]] == ["a"]
    assert [entry["name"] for entry in end["inputs"]] == ["a", "c"]
    (output,) = end["outputs"]
    assert output["outputFacets"]["outputStatistics"]["rowCount"] == 3


def test_one_dataset_is_enough_without_a_list(recorded: Recorded) -> None:
    """A single URI where a list is expected is one dataset, not its letters."""
    with lineage_run("ingest", inputs="s3://lake/a", outputs="s3://lake/b"):
        pass
    assert [entry["name"] for entry in recorded.events[0]["inputs"]] == ["a"]


def test_same_dataset_again_is_merged(recorded: Recorded) -> None:
    """What is said later of a dataset is laid over what was said before, however its URI is spelled."""
    with lineage_run("ingest") as run:
        run.add_output(dataset("postgres://wh:5432/crm.public.a", schema=["id"], rows=1))
        run.add_output(dataset("postgresql://u:p@wh/crm/public/a", rows=2))
    (output,) = recorded.events[-1]["outputs"]
    assert output["facets"]["schema"]["fields"] == [{"name": "id", "type": "unknown"}]
    assert output["outputFacets"]["outputStatistics"]["rowCount"] == 2


def test_facets_of_many_threads(recorded: Recorded, monkeypatch: pytest.MonkeyPatch) -> None:
    """Threads that describe one dataset at once lose no facet of each other."""
    merged = Dataset.merged

    def slow(before: Dataset, later: Dataset) -> Dataset:
        time.sleep(0.001)  # the other threads run
        return merged(before, later)

    monkeypatch.setattr(Dataset, "merged", slow)

    def work(thread: int) -> None:
        for each in range(10):
            run.add_output(dataset("s3://lake/a", facets={f"own_{thread}_{each}": {"a": 1}}))

    with lineage_run("ingest") as run:
        threads = [threading.Thread(target=work, args=(thread,)) for thread in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    (output,) = recorded.events[-1]["outputs"]
    assert len(output["facets"].keys() - {"dataSource"}) == 80


def test_dataset_of_a_signal_handler(recorded: Recorded) -> None:
    """A signal handler that describes a dataset while the code it interrupts does so neither waits nor loses it."""
    seen = itertools.count()
    previous = signal.signal(
        signal.SIGALRM, lambda *_: run.add_output(dataset("s3://lake/a", facets={f"handler_{next(seen)}": {"a": 1}}))
    )
    try:
        with lineage_run("ingest") as run:
            signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
            for each in range(300):
                run.add_output(dataset("s3://lake/a", facets={f"own_{each}": {"a": 1}}))
            signal.setitimer(signal.ITIMER_REAL, 0)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
    (output,) = recorded.events[-1]["outputs"]
    assert len(output["facets"].keys() - {"dataSource"}) == 300 + next(seen)


def test_order_of_datasets(recorded: Recorded) -> None:
    """Datasets stand in the order in which they were first added, also those that are described again."""
    with lineage_run("ingest") as run:
        for name in ("b", "a", "c", "b"):
            run.add_input(f"s3://lake/{name}")
    assert [entry["name"] for entry in recorded.events[-1]["inputs"]] == ["b", "a", "c"]


STRICT = {"OPENLINEAGE_POD_STRICT": "true"}


def test_strict_mode_refuses_what_the_code_names(recording: Recording) -> None:
    """In strict mode a name, dataset or facet in the job's code that cannot be used raises and is named."""
    recorded = recording(STRICT)
    wrongs: list[dict[str, Any]] = [
        {"inputs": ["accounts"]},
        {"outputs": [dataset("s3://lake/accounts", rows=-1)]},
        {"run_facets": {"odd": 7}},
        {"job_facets": {"": {}}},
    ]
    for wrong in wrongs:
        with pytest.raises(ConfigurationError, match=r"accounts|odd|must be a string"), lineage_run("ingest", **wrong):
            pytest.fail("the body must not run")
    with pytest.raises(ConfigurationError, match="job name"), lineage_run("a\nb"):
        pytest.fail("the body must not run")
    assert recorded.events == []


@pytest.mark.parametrize(
    "wrong",
    [
        lambda run: run.add_input("accounts"),
        lambda run: run.add_output(None),
        lambda run: run.add_output(dataset("s3://lake/accounts", schema=7)),
        lambda run: run.add_run_facet("odd", "text"),
        lambda run: run.add_job_facet(7, {}),
    ],
    ids=["input", "output", "schema", "run facet", "key of a facet"],
)
def test_strict_mode_raises_in_the_body(wrong: Callable[[LineageRun], None], recording: Recording) -> None:
    """In strict mode what a body adds and cannot be used raises there, and the run is a FAIL."""
    recorded = recording(STRICT)
    with pytest.raises(ConfigurationError), lineage_run("ingest") as run:
        wrong(run)
    assert recorded.events[-1]["eventType"] == "FAIL"


def test_warnings_name_the_culprit(
    recorded: Recorded, caplog: pytest.LogCaptureFixture, swallowed: list[Exception]
) -> None:
    """A warning about a dataset or facet names it and the job."""
    with lineage_run("ingest") as run:
        run.add_output(dataset("s3://lake/accounts", rows=-1))
        run.add_run_facet("odd", "text")
    swallowed.clear()
    assert len(recorded.events) == 2
    first, second = (record.getMessage() for record in caplog.records)
    assert first.startswith("output s3://lake/accounts of job ingest: rows: ")
    assert second.startswith("could not add the run facet 'odd' to job ingest (")


def test_declared_datasets_are_added_to_the_outermost_run(recording: Recording) -> None:
    """What the DAG declared is on the outermost run, merged with what the job adds, and not on nested ones."""
    recorded = recording(
        {
            "OPENLINEAGE_POD_INPUTS": '["s3://lake/a"]',
            "OPENLINEAGE_POD_OUTPUTS": '[{"namespace":"s3://lake","name":"b"}]',
        }
    )
    with lineage_run("outer") as run, lineage_run("inner"):
        run.add_output(dataset("s3://lake/b", rows=1))
    ends = {event["job"]["name"]: event for event in recorded.events if event["eventType"] == "COMPLETE"}
    assert [entry["name"] for entry in ends["outer"]["inputs"]] == ["a"]
    assert len(ends["outer"]["outputs"]) == 1
    assert ends["inner"]["inputs"] == ends["inner"]["outputs"] == []


def test_bad_dataset_is_one_warning(recorded: Recorded, caplog: pytest.LogCaptureFixture) -> None:
    """A dataset that cannot be understood is one warning that shows a right one; the others are reported."""
    with lineage_run("ingest", inputs=["accounts", "s3://lake/a"]) as run:
        run.add_output(None)  # type: ignore[arg-type]
    assert [entry["name"] for entry in recorded.events[-1]["inputs"]] == ["a"]
    assert len(caplog.records) == 2
    assert "s3://lake/accounts" in caplog.text


def test_facets(recorded: Recorded) -> None:
    """Facet objects of openlineage-python and plain dictionaries go into the events."""
    facet = nominal_time_run.NominalTimeRunFacet(nominalStartTime="2026-01-01T00:00:00Z")
    with lineage_run("ingest", run_facets={"nominalTime": facet}, job_facets={"own": {"a": 1}}) as run:
        run.add_run_facet("later", {"b": 2})
        run.add_job_facet("alsoLater", {"c": 3})
    start, end = recorded.events
    assert start["run"]["facets"]["nominalTime"]["nominalStartTime"] == "2026-01-01T00:00:00Z"
    assert start["job"]["facets"]["own"]["a"] == 1
    assert "later" not in start["run"]["facets"]
    assert end["run"]["facets"]["later"]["b"] == 2
    assert end["job"]["facets"]["alsoLater"]["_producer"]


def test_unusable_facets(recorded: Recorded, caplog: pytest.LogCaptureFixture, swallowed: list[Exception]) -> None:
    """A facet that is none is one warning and does not reach the job."""
    with lineage_run("ingest") as run:
        run.add_run_facet("a", "text")
        run.add_job_facet(7, {})  # type: ignore[arg-type]
    assert [type(error) for error in swallowed] == [TypeError, TypeError]
    swallowed.clear()
    assert len(caplog.records) == 2
    assert len(recorded.events) == 2


@pytest.mark.parametrize(("method", "state"), [("fail", "FAIL"), ("abort", "ABORT")])
def test_declared_outcome(method: str, state: str, recorded: Recorded) -> None:
    """run.fail() and run.abort() decide the state and its reason, and the body goes on undisturbed."""

    @lineage_run
    def body() -> int:
        getattr(current_run(), method)("too few rows")
        return 7

    assert body() == 7
    end = recorded.events[-1]
    assert end["eventType"] == state
    assert end["run"]["facets"]["errorMessage"]["message"] == "too few rows"


def test_declared_outcome_with_an_exception(recorded: Recorded) -> None:
    """run.fail() takes an exception that the body has handled, with its trace."""
    with lineage_run("ingest") as run:
        try:
            int("x")
        except ValueError as error:
            run.fail(error)
    facet = recorded.events[-1]["run"]["facets"]["errorMessage"]
    assert facet["message"].startswith("ValueError")
    assert 'int("x")' in facet["stackTrace"]


def test_a_raised_error_says_more_than_a_declared_one(recorded: Recorded) -> None:
    """A body that raises after run.abort() is reported with what it raised."""
    with pytest.raises(KeyError), lineage_run("ingest") as run:
        run.abort("not today")
        raise KeyError("x")
    assert recorded.events[-1]["eventType"] == "FAIL"


def test_after_the_end_nothing_is_added(recorded: Recorded, caplog: pytest.LogCaptureFixture) -> None:
    """Whoever adds to a run that has ended is told that it is not reported."""
    with lineage_run("ingest") as run:
        pass
    run.add_input("s3://lake/a")
    run.fail("late")
    assert len(recorded.events) == 2
    assert [record.getMessage().split(":")[1].strip() for record in caplog.records] == [
        "//lake/a is not reported",
        f"run {run.run_id} has ended",
    ]


def test_child_environment(recording: Recording, monkeypatch: pytest.MonkeyPatch) -> None:
    """A child process sees this run as its parent and the same root, and not what names this run itself."""
    recording(AIRFLOW_ENV)
    for variable in ("OPENLINEAGE_RUN_ID", "OPENLINEAGE_JOB_NAME", "OPENLINEAGE_POD_INPUTS", "OPENLINEAGE_POD_OUTPUTS"):
        monkeypatch.setenv(variable, "x")
    monkeypatch.setenv("HOME_OF_MINE", "1")
    with lineage_run("outer") as run:
        env = run.child_env()
        only = run.child_env({"A": "1"})
    parent = ParentContext.from_env(env)
    assert parent is not None
    assert (parent.run_id, parent.job_name, parent.job_namespace) == (run.run_id, "outer", "airflow")
    assert parent.job_facets["jobType"]["jobType"] == "JOB"
    assert parent.root is not None
    assert parent.root.run_id == ROOT_RUN_ID
    assert not parent.root.job_facets  # Airflow did not say of which type it is
    assert env["HOME_OF_MINE"] == "1"
    assert not {"OPENLINEAGE_RUN_ID", "OPENLINEAGE_JOB_NAME", "OPENLINEAGE_POD_INPUTS"} & env.keys()
    assert "HOME_OF_MINE" not in only
    assert only["A"] == "1"


def test_child_environment_has_the_own_job_type(recorded: Recorded) -> None:
    """A job type that the job gives itself, as a dictionary or a typed facet, is the one that its children hear of."""
    typed = job_type_job.JobTypeJobFacet(processingType="STREAMING", integration="SPARK", jobType="APPLICATION")
    with lineage_run("outer") as run:
        run.add_job_facet("jobType", typed)
        parent = ParentContext.from_env(run.child_env({}))
    assert parent is not None
    assert parent.job_facets == {"jobType": recorded.events[1]["job"]["facets"]["jobType"]}
    assert parent.job_facets["jobType"]["jobType"] == "APPLICATION"


def test_pod_facet_on_every_event(recording: Recording) -> None:
    """Where the pod's identity is known it is on START and on the terminal event."""
    recorded = recording({"POD_NAME": "ingest-x7k2p"})
    with lineage_run("ingest"):
        pass
    assert [event["run"]["facets"]["kubernetes_pod"]["k8s.pod.name"] for event in recorded.events] == [
        "ingest-x7k2p"
    ] * 2


def test_disabled(recording: Recording) -> None:
    """With OPENLINEAGE_DISABLED the body gets the run that does nothing, and nothing is reported."""
    recorded = recording({"OPENLINEAGE_DISABLED": "true"})
    with lineage_run("ingest") as run:
        assert not run
        assert not current_run()
    assert recorded.events == []


def test_recording_where_lineage_is_disabled(monkeypatch: pytest.MonkeyPatch) -> None:
    """record_events() records also where OPENLINEAGE_DISABLED keeps all other tests from reporting."""
    monkeypatch.setenv("OPENLINEAGE_DISABLED", "true")
    monkeypatch.setenv("OPENLINEAGE_NAMESPACE", "crm")
    with record_events() as recorded, lineage_run("ingest"):
        pass
    assert [event["job"]["namespace"] for event in recorded.events] == ["crm", "crm"]


@pytest.mark.parametrize("clock", ["time", "monotonic"])
def test_clock_set_back(clock: str, recorded: Recorded, monkeypatch: pytest.MonkeyPatch) -> None:
    """The end of a run never lies before its start, also when a clock was set back (freezegun: both) in between."""
    with lineage_run("ingest"):
        now = getattr(time, clock)()
        monkeypatch.setattr(time, clock, lambda: now - 3600)
    monkeypatch.undo()
    start, end = recorded.events
    assert start["eventTime"] < end["eventTime"]


def test_many_threads_with_runs_of_their_own(recorded: Recorded) -> None:
    """Runs of 64 threads do not share anything: each has its own datasets, START and end, in order."""

    def work(number: int) -> None:
        with lineage_run(f"job_{number}") as run:
            assert current_run() is run
            run.add_output(f"s3://lake/{number}")

    threads = [threading.Thread(target=work, args=(number,)) for number in range(64)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    events = recorded.events
    for number in range(64):
        own = [event for event in events if event["job"]["name"] == f"job_{number}"]
        assert [event["eventType"] for event in own] == ["START", "COMPLETE"]
        assert [entry["name"] for entry in own[1]["outputs"]] == [str(number)]


def test_one_terminal_event_of_many_attempts(recorded: Recorded) -> None:
    """However many threads end a run at once, it has one terminal event."""
    from openlineage_pod.core.current import current_recorder
    from openlineage_pod.core.outcome import COMPLETE

    with lineage_run("ingest"):
        recorder = current_recorder()
        assert recorder is not None
        barrier = threading.Barrier(16)

        def end() -> None:
            barrier.wait()
            recorder.end(COMPLETE)

        threads = [threading.Thread(target=end) for _ in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert [event["eventType"] for event in recorded.events] == ["START", "COMPLETE"]


def test_run_ids_are_version_7_and_sort_by_time() -> None:
    """Run ids are UUIDs of version 7 and the RFC's variant, unique, and ordered by their millisecond."""
    import uuid

    ids = [new_uuid7() for _ in range(1000)]
    parsed = [uuid.UUID(text) for text in ids]
    assert {value.version for value in parsed} == {7}
    assert {value.variant for value in parsed} == {uuid.RFC_4122}
    assert len(set(ids)) == 1000
    milliseconds = [value.int >> 80 for value in parsed]
    assert milliseconds == sorted(milliseconds)
    assert abs(milliseconds[-1] - time.time() * 1000) < 60_000
