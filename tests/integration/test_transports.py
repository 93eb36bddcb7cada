"""Every kind of transport by its own configuration, which is openlineage-python's."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import pytest
from openlineage.client.transport import get_default_factory

from tests.support.constants import AIRFLOW_ENV, PARENT_RUN_ID, ROOT
from tests.support.events import SEEN_EVENTS
from tests.support.examples import fast
from tests.support.harness import summary, types

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.harness import Event, Jobs, Receiver

JOB = """
from openlineage_pod import lineage_run
with lineage_run("job") as run:
    run.add_output("s3://lake/accounts")
"""
PREFIX = "OPENLINEAGE__TRANSPORT__"
WHOLE = ["START", "COMPLETE"]
PATIENT = {"OPENLINEAGE_POD_FLUSH_TIMEOUT": "60"}


@pytest.fixture
def jobs(jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> Jobs:
    """Run jobs whose ends wait for long: on a busy machine the imports alone take seconds."""
    base = jobs.base_environ
    monkeypatch.setattr(jobs, "base_environ", lambda: {**base(), **PATIENT})
    return jobs


def configured(jobs: Jobs, **config: object) -> dict[str, str]:
    """Return the environment that names a configuration file with this content."""
    # JSON is YAML.
    return {"OPENLINEAGE_CONFIG": str(jobs.file("lineage.yml", json.dumps(config)))}


def read_events(lines: list[str]) -> list[Event]:
    """Return the events of a text with one on each line; also keep them for the check of all events."""
    events = [json.loads(line) for line in lines]
    SEEN_EVENTS.extend(events)
    return events


def test_console_is_visible_where_nobody_configured_logging(jobs: Jobs) -> None:
    """The events of the console transport stand on stderr, one JSON a line, and not on stdout."""
    finished = jobs.run(f"{JOB}\nprint('done')", {f"{PREFIX}TYPE": "console", **AIRFLOW_ENV})
    assert finished.stdout == "done\n"
    events = read_events(finished.stderr.splitlines())
    assert types(events) == WHOLE
    assert events[1]["run"]["facets"]["parent"]["run"]["runId"] == PARENT_RUN_ID


LOGGING = {
    "none": "",
    "INFO": "logging.basicConfig(level=logging.INFO)",
    "DEBUG": "logging.basicConfig(level=logging.DEBUG)",
    "WARNING": "logging.basicConfig(level=logging.WARNING)",
    "handler at WARNING": "logging.basicConfig(level=logging.INFO); logging.root.handlers[0].setLevel(logging.WARNING)",
    "only the client": "logging.getLogger('openlineage').setLevel(logging.INFO)",
    "client's own handler": (
        "logging.getLogger('openlineage').addHandler(logging.StreamHandler()); "
        "logging.getLogger('openlineage').setLevel(logging.INFO)"
    ),
    "disabled": "logging.disable(logging.CRITICAL)",
    "existing disabled": "import logging.config; import openlineage.client.transport.console; "
    "logging.config.dictConfig({'version': 1, 'handlers': {'h': {'class': 'logging.StreamHandler'}}, "
    "'root': {'level': 'INFO', 'handlers': ['h']}})",
    "null handler": "logging.basicConfig(level=logging.INFO, handlers=[logging.NullHandler()])",
}


@pytest.mark.parametrize("setup", fast(LOGGING, "none", "INFO", "client's own handler", "existing disabled"))
def test_console_shows_each_event_once(setup: str, jobs: Jobs) -> None:
    """However the job configured its logging, each event is visible on stderr exactly once."""
    finished = jobs.run(f"import logging\n{LOGGING[setup]}\n{JOB}\nprint('done')", {f"{PREFIX}TYPE": "console"})
    assert finished.stdout == "done\n"
    events = [line for line in finished.stderr.splitlines() if '"eventType"' in line and "try* to emit" not in line]
    shown = read_events([line[line.index("{") :].removesuffix("'") for line in events])
    assert types(shown) == WHOLE


def test_console_reports_no_loss(jobs: Jobs) -> None:
    """Events that went to the console are delivered, and nothing is said at exit."""
    finished = jobs.run(f"{JOB}\nfrom openlineage_pod import flush\nprint(flush(20))", {f"{PREFIX}TYPE": "console"})
    assert finished.stdout.startswith("2 delivered, 0 spooled, 0 rejected, 0 printed, 0 pending")
    assert len(finished.stderr.splitlines()) == 2


def test_file_appends_one_event_a_line(jobs: Jobs) -> None:
    """The file transport with `append` adds to what other runs left there."""
    target = jobs.directory / "events.jsonl"
    environ = {f"{PREFIX}TYPE": "file", f"{PREFIX}LOG_FILE_PATH": str(target), f"{PREFIX}APPEND": "true"}
    for _ in range(2):
        assert jobs.run(JOB, environ).stderr == ""
    assert types(read_events(target.read_text().splitlines())) == WHOLE * 2


def test_file_that_cannot_be_written_is_no_silent_loss(jobs: Jobs) -> None:
    """Where the file's directory is missing, the events are printed."""
    environ = {f"{PREFIX}TYPE": "file", f"{PREFIX}LOG_FILE_PATH": "missing/events", f"{PREFIX}APPEND": "true"}
    finished = jobs.run(JOB, {**environ, "OPENLINEAGE_POD_FLUSH_TIMEOUT": "1"})
    assert types(finished.printed) == WHOLE


@pytest.mark.parametrize("how", fast(["url", "variables", "file", "working-directory", "home"], "url", "file", "home"))
def test_http_by_each_of_its_ways(how: str, receiver: Receiver, jobs: Jobs) -> None:
    """HTTP is configured by the URL, by dynamic variables, or by a file that is named, beside the job or at home."""
    http = {"type": "http", "url": receiver.url, "endpoint": "api/v1/own", "custom_headers": {"X-Team": "data"}}
    environ = {}
    match how:
        case "url":
            environ = {"OPENLINEAGE_URL": receiver.url, "OPENLINEAGE_ENDPOINT": "api/v1/own"}
        case "variables":
            environ = {f"{PREFIX}{name}".upper(): str(value) for name, value in http.items() if isinstance(value, str)}
        case "file":
            environ = configured(jobs, transport=http)
        case "working-directory":
            jobs.file("openlineage.yml", json.dumps({"transport": http}))
        case "home":
            (jobs.directory / ".openlineage").mkdir()
            jobs.file(".openlineage/openlineage.yml", json.dumps({"transport": http}))
    assert jobs.run(JOB, environ).stderr == ""
    requests = receiver.requests()
    assert {request["path"] for request in requests} == {"/api/v1/own"}
    assert types(receiver.events()) == WHOLE
    team = None if how in ("url", "variables") else "data"
    assert {request["headers"].get("x-team") for request in requests} == {team}


def test_http_compression_is_kept(receiver: Receiver, jobs: Jobs) -> None:
    """Options of the transport such as compression apply."""
    environ = configured(jobs, transport={"type": "http", "url": receiver.url, "compression": "gzip"})
    assert jobs.run(JOB, environ).stderr == ""
    assert {request["headers"]["content-encoding"] for request in receiver.requests()} == {"gzip"}
    assert types(receiver.events()) == WHOLE


@pytest.mark.parametrize("how", fast(["variables", "url", "file"], "url"))
def test_async_http_delivers_at_exit(how: str, receiver: Receiver, jobs: Jobs) -> None:
    """A job that configured async_http and ends at once delivers all its events, with the key, in order."""
    environ = {
        "variables": {f"{PREFIX}TYPE": "async_http", f"{PREFIX}URL": receiver.url},
        "url": {f"{PREFIX}TYPE": "async_http", "OPENLINEAGE_URL": receiver.url, "OPENLINEAGE_API_KEY": "key"},
        "file": configured(jobs, transport={"type": "async_http", "url": receiver.url}),
    }[how]
    assert jobs.run(JOB, environ).stderr == ""
    assert types(receiver.events()) == WHOLE
    key = "Bearer key" if how == "url" else None
    assert {request["headers"].get("authorization") for request in receiver.requests()} == {key}


def test_async_http_failures_are_not_silent(receiver: Receiver, jobs: Jobs) -> None:
    """With async_http, too, a refused event is a warning with its status, and printed."""
    receiver.script({"event_type": "START", "status": 422})
    finished = jobs.run(JOB, {f"{PREFIX}TYPE": "async_http", f"{PREFIX}URL": receiver.url})
    assert types(finished.printed) == ["START"]
    assert "422" in finished.log[0]
    assert types(receiver.events()) == ["COMPLETE"]


def test_composite_reaches_both_backends(new_receiver: Callable[[], Receiver], jobs: Jobs) -> None:
    """Each backend of a composite gets every event, HTTP and async_http alike."""
    first, second = new_receiver(), new_receiver()
    transports = {"a": {"type": "http", "url": first.url}, "b": {"type": "async_http", "url": second.url}}
    environ = configured(jobs, transport={"type": "composite", "transports": transports})
    assert jobs.run(JOB, environ).stderr == ""
    assert types(first.events()) == types(second.events()) == WHOLE


def test_composite_that_fails_everywhere_is_tried_again(new_receiver: Callable[[], Receiver], jobs: Jobs) -> None:
    """When both backends are down for a while, the events are delivered later, in order."""
    first, second = new_receiver(), new_receiver()
    for each in (first, second):
        each.script({"status": 503, "times": 2})
    transports = [{"type": "http", "url": each.url} for each in (first, second)]
    environ = configured(jobs, transport={"type": "composite", "transports": transports})
    finished = jobs.run(JOB, {**environ, **PATIENT})
    assert types(first.events()) == types(second.events()) == WHOLE
    assert finished.printed == []


def test_composite_that_insists_on_all_is_tried_again(new_receiver: Callable[[], Receiver], jobs: Jobs) -> None:
    """With `continue_on_failure: false`, one backend that is down for a while still gets every event, START first."""
    first, second = new_receiver(), new_receiver()
    second.script({"status": 503, "times": 2})
    transports = [{"type": "http", "url": each.url} for each in (first, second)]
    environ = configured(jobs, transport={"type": "composite", "continue_on_failure": False, "transports": transports})
    finished = jobs.run(JOB, {**environ, **PATIENT})
    assert types(second.events()) == WHOLE
    assert list(dict.fromkeys(types(first.events()))) == WHOLE
    assert finished.printed == []


@pytest.mark.parametrize("how", fast(["variables", "file"], "variables"))
def test_composite_takes_the_url_as_its_default(how: str, new_receiver: Callable[[], Receiver], jobs: Jobs) -> None:
    """`OPENLINEAGE_URL` becomes one more transport of a composite, with the key, as openlineage-python makes it."""
    first, second = new_receiver(), new_receiver()
    other = {"type": "http", "url": second.url}
    environ = {"OPENLINEAGE_URL": first.url, "OPENLINEAGE_API_KEY": "key"}
    if how == "file":
        environ |= configured(jobs, transport={"type": "composite", "transports": {"other": other}})
    else:
        environ |= {f"{PREFIX}TYPE": "composite", f"{PREFIX}TRANSPORTS__OTHER": json.dumps(other)}
    assert jobs.run(JOB, environ).stderr == ""
    assert types(second.events()) == WHOLE
    assert types(first.events()) == WHOLE
    assert {request["headers"]["authorization"] for request in first.requests()} == {"Bearer key"}
    assert not any("authorization" in request["headers"] for request in second.requests())


def test_transform_applies_to_the_job_and_its_parent(receiver: Receiver, jobs: Jobs) -> None:
    """The namespace transformer replaces the job's namespace, and those in the parent facet."""
    transport = {
        "type": "transform",
        "transformer_class": "openlineage.client.transport.transform.JobNamespaceReplaceTransformer",
        "transformer_properties": {"new_job_namespace": "production", "include_parent_facet": True},
        "transport": {"type": "http", "url": receiver.url},
    }
    environ = configured(jobs, transport=transport)
    assert jobs.run(JOB, {**environ, **AIRFLOW_ENV}).stderr == ""
    events = receiver.events()
    assert types(events) == WHOLE
    for event in events:
        parent = event["run"]["facets"]["parent"]
        assert event["job"]["namespace"] == "production"
        assert (parent["job"]["namespace"], parent["root"]["job"]["namespace"]) == ("production", "production")
        assert parent["job"]["name"] == "etl.ingest"


def test_transform_does_not_transform_twice(receiver: Receiver, jobs: Jobs) -> None:
    """An attempt that is repeated starts from the event as it was, not as the first attempt left it."""
    receiver.script({"status": 503, "times": 2})
    jobs.file(
        "job_transformer.py",
        """
        import attr
        from openlineage.client.transport.transform import EventTransformer
        class Suffix(EventTransformer):
            def transform(self, event):
                event.job.name += "-x"
                return event
        """,
    )
    transport = {
        "type": "transform",
        "transformer_class": "job_transformer.Suffix",
        "transport": {"type": "http", "url": receiver.url},
    }
    jobs.run(JOB, {**configured(jobs, transport=transport), **PATIENT})
    assert {event["job"]["name"] for event in receiver.events()} == {"job-x"}
    assert types(receiver.events()) == WHOLE


def test_kafka_without_its_library_is_one_warning(jobs: Jobs) -> None:
    """With kafka configured and confluent-kafka absent, one warning tells it, and the events are printed."""
    jobs.file("confluent_kafka.py", "raise ImportError('No module named confluent_kafka')")
    transport = {"type": "kafka", "topic": "lineage", "config": {"bootstrap.servers": "127.0.0.1:1"}}
    finished = jobs.run(JOB, {**configured(jobs, transport=transport), "OPENLINEAGE_POD_FLUSH_TIMEOUT": "30"})
    assert finished.returncode == 0
    assert types(finished.printed) == WHOLE
    warning, at_exit = finished.log
    assert "confluent" in warning
    assert "; at exit not all lineage events were delivered" in at_exit


def test_a_transport_class_of_the_job(jobs: Jobs) -> None:
    """A transport named by its class path gets openlineage-python's own event objects."""
    jobs.file(
        "job_transport.py",
        """
        import attr
        from openlineage.client.event_v2 import RunEvent
        from openlineage.client.serde import Serde
        from openlineage.client.transport import Config, Transport
        @attr.define
        class OwnConfig(Config):
            path: str
            @classmethod
            def from_dict(cls, params):
                return cls(params["path"])
        class OwnTransport(Transport):
            kind = "own"
            config_class = OwnConfig
            def __init__(self, config):
                self.path, self.failures = config.path, 2
            def emit(self, event):
                assert isinstance(event, RunEvent)
                if self.failures:
                    self.failures -= 1
                    raise RuntimeError("not yet")
                with open(self.path, "a") as file:
                    file.write(Serde.to_json(event) + "\\n")
        """,
    )
    environ = {f"{PREFIX}TYPE": "job_transport.OwnTransport", f"{PREFIX}PATH": "own.jsonl", **AIRFLOW_ENV}
    finished = jobs.run(JOB, {**environ, **PATIENT})
    assert finished.returncode == 0
    assert finished.printed == []
    assert types(read_events((jobs.directory / "own.jsonl").read_text().splitlines())) == WHOLE


def test_a_transport_class_that_misbehaves_harms_nobody(jobs: Jobs) -> None:
    """A transport that prints, exits and raises what is no Exception does not end the job, and loses no event."""
    jobs.file(
        "job_transport.py",
        """
        import sys
        from openlineage.client.transport import Config, Transport
        class OwnTransport(Transport):
            kind = "own"
            config_class = Config
            def __init__(self, config):
                pass
            def emit(self, event):
                sys.exit("the transport leaves")
        """,
    )
    environ = {f"{PREFIX}TYPE": "job_transport.OwnTransport", "OPENLINEAGE_POD_FLUSH_TIMEOUT": "1"}
    finished = jobs.run(f"{JOB}\nprint('done')", environ)
    assert (finished.returncode, finished.stdout) == (0, "done\n")
    assert types(finished.printed) == WHOLE


def test_tags_and_filters_of_the_file_apply(receiver: Receiver, jobs: Jobs) -> None:
    """Tags are added to job and run, the environment variables that were asked for too, and filtered jobs stay out."""
    environ = configured(
        jobs,
        transport={"type": "http", "url": receiver.url},
        tags={"job": {"team": "data"}, "run": {"tier": "gold"}},
        filters=[{"type": "exact", "match": "secret"}],
        facets={"environment_variables": ["STAGE"]},
    )
    finished = jobs.run(
        f"""
{JOB}
with lineage_run("secret"):
    pass
with lineage_run("tagged", job_facets={{"tags": {{"tags": [{{"key": "own", "value": "1", "source": "USER"}}]}}}}):
    pass
""",
        {**environ, "STAGE": "test"},
    )
    assert finished.stderr == ""
    events = receiver.events()
    assert types(events) == WHOLE * 2
    for event in events:
        tags = {tag["key"]: tag["value"] for tag in event["job"]["facets"]["tags"]["tags"]}
        assert tags == {"team": "data", **({"own": "1"} if event["job"]["name"] == "tagged" else {})}
        assert ("tier", "gold") in [(tag["key"], tag["value"]) for tag in event["run"]["facets"]["tags"]["tags"]]
        variables = event["run"]["facets"]["environmentVariables"]["environmentVariables"]
        assert variables == [{"name": "STAGE", "value": "test"}]


def own(kind: str, **options: str) -> dict[str, str]:
    """Return the environment of a job with one of the tests' own transports, which writes to `own.jsonl`."""
    variables = {"TYPE": f"tests.support.own_transports.{kind}", "PATH": "own.jsonl", **options}
    return {f"{PREFIX}{name}": value for name, value in variables.items()} | {"PYTHONPATH": str(ROOT)}


def read_own(jobs: Jobs) -> list[str]:
    """Return the types of the events that one of the tests' own transports has written."""
    path = jobs.directory / "own.jsonl"
    return types(read_events(path.read_text().splitlines())) if path.exists() else []


@pytest.mark.parametrize("kind", ["Queued", "Threaded", "Batch"])
def test_own_transport_is_drained_at_exit(kind: str, jobs: Jobs) -> None:
    """A job's own transport with a thread or a buffer has delivered everything when the process ends."""
    # From Python 3.12 on, the transport of a shorter job could not start its thread: the process ends already.
    longer = "    import openlineage_pod\n    openlineage_pod.flush(60)\n" if sys.version_info >= (3, 12) else ""
    finished = jobs.run(JOB + longer, own(kind))
    assert (finished.returncode, finished.stderr) == (0, "")
    assert read_own(jobs) == WHOLE


@pytest.mark.parametrize(
    ("kind", "spooled"),
    fast(
        [(kind, spooled) for kind in ("Threaded", "Batch", "Stuck") for spooled in (False, True)],
        ("Threaded", False),
        ("Batch", True),
    ),
)
def test_own_transport_that_fails_at_exit_is_counted(kind: str, spooled: bool, jobs: Jobs) -> None:
    """What such a transport does not deliver at the end does not count as delivered, and can be replayed."""
    spool = jobs.directory / "spool"
    environ = own(kind, FAILURES="1") | ({"OPENLINEAGE_POD_SPOOL_DIR": str(spool)} if spooled else {})
    finished = jobs.run(JOB, {**environ, "OPENLINEAGE_POD_FLUSH_TIMEOUT": "6"})
    assert finished.returncode == 0
    assert summary(finished.log) == {"spooled" if spooled else "printed": 2}
    kept = (
        [json.loads(file.read_bytes()) for file in sorted((spool / "new").iterdir())] if spooled else finished.printed
    )
    assert types(kept) == WHOLE


def test_composite_with_a_transport_that_is_drained(receiver: Receiver, jobs: Jobs) -> None:
    """Inside a composite such a transport is drained as well, beside one that delivers at once."""
    batch = {"type": "tests.support.own_transports.Batch", "path": "own.jsonl"}
    transport = {"type": "composite", "transports": [{"type": "http", "url": receiver.url}, batch]}
    finished = jobs.run(JOB, {**configured(jobs, transport=transport), "PYTHONPATH": str(ROOT)})
    assert finished.stderr == ""
    assert types(receiver.events()) == read_own(jobs) == WHOLE


def test_datadog_with_asynchronous_rules(receiver: Receiver, jobs: Jobs) -> None:
    """Both events of a quick job arrive, though every event is to be sent asynchronously."""
    if "datadog" not in get_default_factory().transports:
        pytest.skip("this openlineage-python has no transport datadog")
    rules = {"*": {"*": True}}
    datadog = {"type": "datadog", "site": receiver.url, "apiKey": "key-1", "async_transport_rules": rules}
    assert jobs.run(JOB, configured(jobs, transport=datadog)).stderr == ""
    assert types(receiver.events()) == WHOLE
