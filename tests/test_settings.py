"""Settings: every variable, its default, and what a malformed value leads to."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from openlineage_pod import environment, settings
from openlineage_pod.settings import Settings, canonical_uuid, name_fault

RUN_ID = "01938a60-0000-7000-8000-000000000000"


def test_defaults() -> None:
    """Without any variable the run is on, waits 5 seconds at exit, and prints what it cannot deliver."""
    found = Settings.from_env({})
    assert (found.namespace, found.job_name, found.run_id) == (None, None, None)
    assert (found.disabled, found.flush_timeout, found.last_resort, found.strict) == (False, 5.0, True, False)
    assert found.summary is False
    assert (found.inputs, found.outputs, found.problems) == ((), (), ())


def test_every_variable_is_read() -> None:
    """Each variable sets its field."""
    found = Settings.from_env(
        {
            "OPENLINEAGE_NAMESPACE": "crm",
            "OPENLINEAGE_JOB_NAME": "ingest",
            "OPENLINEAGE_RUN_ID": RUN_ID.upper(),
            "OPENLINEAGE_DISABLED": "True",
            "OPENLINEAGE_POD_INPUTS": '["s3://lake/a"]',
            "OPENLINEAGE_POD_OUTPUTS": '[{"namespace": "n", "name": "b"}]',
            "OPENLINEAGE_POD_FLUSH_TIMEOUT": " 2.5 ",
            "OPENLINEAGE_POD_LAST_RESORT": "OFF",
            "OPENLINEAGE_POD_STRICT": "1",
            "OPENLINEAGE_POD_SUMMARY": "true",
        }
    )
    assert (found.namespace, found.job_name, found.run_id) == ("crm", "ingest", RUN_ID)
    assert (found.disabled, found.flush_timeout, found.last_resort, found.strict) == (True, 2.5, False, True)
    assert found.summary is True
    assert found.inputs == ("s3://lake/a",)
    assert found.outputs == ({"namespace": "n", "name": "b"},)
    assert found.problems == ()


@pytest.mark.parametrize(
    ("variable", "value", "says"),
    [
        ("OPENLINEAGE_NAMESPACE", "a\nb", "control characters"),
        ("OPENLINEAGE_NAMESPACE", "\udcff", "undecodable"),
        ("OPENLINEAGE_JOB_NAME", "x" * 1025, "1025 characters"),
        ("OPENLINEAGE_JOB_NAME", "{{ task.task_id }}", "template"),
        ("OPENLINEAGE_RUN_ID", "manual__2026-01-01", "no UUID"),
        ("OPENLINEAGE_RUN_ID", "01938a6000007000-8000000000000000", "no UUID"),
        ("OPENLINEAGE_DISABLED", "maybe", "neither true nor false"),
        ("OPENLINEAGE_POD_STRICT", "2", "neither true nor false"),
        ("OPENLINEAGE_POD_SUMMARY", "stderr", "neither true nor false"),
        ("OPENLINEAGE_POD_INPUTS", "[", "no JSON"),
        ("OPENLINEAGE_POD_INPUTS", "[" * 100_000, "no JSON"),
        ("OPENLINEAGE_POD_OUTPUTS", '{"a": 1}', "no JSON array"),
        ("OPENLINEAGE_POD_FLUSH_TIMEOUT", "5s", "no number of seconds"),
        ("OPENLINEAGE_POD_FLUSH_TIMEOUT", "nan", "no number of seconds"),
        ("OPENLINEAGE_POD_FLUSH_TIMEOUT", "-1", "no number of seconds"),
        ("OPENLINEAGE_POD_FLUSH_TIMEOUT", "inf", "no number of seconds"),
        ("OPENLINEAGE_POD_FLUSH_TIMEOUT", "1e9", "no number of seconds"),
        ("OPENLINEAGE_POD_LAST_RESORT", "stdout", "neither stderr nor off"),
    ],
)
def test_malformed_value(variable: str, value: str, says: str) -> None:
    """A malformed value is one problem that names the variable, the fault and an example, and the default is used."""
    found = Settings.from_env({variable: value})
    (problem,) = found.problems
    assert problem.startswith(f"{variable}=")
    assert says in problem
    assert f"Example: {variable}=" in problem
    assert problem.isprintable()
    assert len(problem) < 400
    assert found._replace(environ={}, problems=()) == Settings(environ={})


@pytest.mark.parametrize("variable", [name for name in vars(settings) if name.isupper()])
def test_empty_is_absent(variable: str) -> None:
    """An empty or blank variable counts as absent, as a template that rendered to nothing leaves it."""
    name = getattr(settings, variable)
    if isinstance(name, str):
        assert Settings.from_env({name: "  "}).problems == ()


def test_environment_is_a_snapshot(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a mapping the process environment is read, once, and later changes of it are not seen."""
    monkeypatch.setenv("OPENLINEAGE_NAMESPACE", "before")
    found = Settings.from_env()
    monkeypatch.setenv("OPENLINEAGE_NAMESPACE", "after")
    assert found.namespace == found.environ["OPENLINEAGE_NAMESPACE"] == "before"


def test_representation_holds_no_environment() -> None:
    """What a log or a debugger shows of the settings has no API key in it."""
    assert "s3cret" not in repr(Settings.from_env({"OPENLINEAGE_API_KEY": "s3cret"}))


@pytest.mark.parametrize("value", [RUN_ID, RUN_ID.upper(), RUN_ID.replace("-", ""), f" {RUN_ID} "])
def test_uuid_is_normalised(value: str) -> None:
    """A UUID comes out in lower case with hyphens, however it was written."""
    assert canonical_uuid(value) == RUN_ID


@pytest.mark.parametrize("value", ["", RUN_ID[:-1], f"{RUN_ID}0", RUN_ID.replace("0", "g"), "²" * 32, None, 7, []])
def test_no_uuid(value: object) -> None:
    """What is no UUID is not made into one."""
    assert canonical_uuid(value) is None


@pytest.mark.parametrize("value", ["etl.ingest", "Größe", "a b", "s3://x/y"])
def test_names_that_are_fine(value: str) -> None:
    """Letters of all scripts, spaces and slashes may stand in a name."""
    assert name_fault(value) is None


@pytest.mark.parametrize(
    ("name", "similar"),
    [
        ("OPENLINEAGE_PARENTID", "OPENLINEAGE_PARENT_ID"),
        ("OPENLINEAGE_PARENT_JOBNAME", "OPENLINEAGE_PARENT_JOB_NAME"),
        ("OPENLINEAGE_ROOT_PARENTID", "OPENLINEAGE_ROOT_PARENT_ID"),
        ("OPENLINEAGE_APIKEY", "OPENLINEAGE_API_KEY"),
        ("OPENLINEAGE_NAME_SPACE", "OPENLINEAGE_NAMESPACE"),
        ("OPENLINEAGE_DISABLE", "OPENLINEAGE_DISABLED"),
        ("OPENLINEAGE_TRANSPORT_TYPE", "OPENLINEAGE__TRANSPORT__TYPE"),
        ("OPENLINEAGE__TRANSPORT_TYPE", "OPENLINEAGE__TRANSPORT__TYPE"),
        ("OPENLINEAGE__TRANSPORT_URL", "OPENLINEAGE__TRANSPORT__URL"),
        ("OPENLINEAGE_TRANSPORT__URL", "OPENLINEAGE__TRANSPORT__URL"),
        ("OPENLINEAGE_SPOOL_DIR", "OPENLINEAGE_POD_SPOOL_DIR"),
        ("OPENLINEAGE_POD_API_KEY", "OPENLINEAGE_API_KEY"),
        ("OPENLINEAGE_POD_FLUSH_TIMOUT", "OPENLINEAGE_POD_FLUSH_TIMEOUT"),
        ("OPENLINAGE_URL", "OPENLINEAGE_URL"),
        ("OPEN_LINEAGE_URL", "OPENLINEAGE_URL"),
        ("openlineage_url", "OPENLINEAGE_URL"),
        ("OPENLINEAGE-URL", "OPENLINEAGE_URL"),
    ],
)
def test_misspelled_variable(name: str, similar: str) -> None:
    """A name that resembles that of a variable about OpenLineage is one problem that says which."""
    assert Settings.from_env({name: "x"}).problems == (f"unknown variable {name}; did you mean {similar}?",)


def test_unknown_variable_of_ours() -> None:
    """A variable with our own prefix that nobody reads is named also if it resembles none."""
    assert Settings.from_env({"OPENLINEAGE_POD_COLOUR": "x"}).problems == ("unknown variable OPENLINEAGE_POD_COLOUR",)


@pytest.mark.parametrize(
    "name",
    [
        *sorted(environment.KNOWN - {environment.RUN_ID, *environment.OWN, environment.DISABLED}),
        "OPENLINEAGE__TRANSPORT__TYP",
        "OPENLINEAGE__TRANSPORT",
        "OPENLINEAGE__TRANSPORT__MAX_RETRIES",
        "OPENLINEAGE_SERVICE_HOST",
        "OPENLINEAGE_URL_SERVICE_PORT_HTTP",
        "OPENLINEAGE_PORT",
        "OPENLINEAGE_POD_PORT_5000_TCP_ADDR",
        "OPENLINEAGE_VERSION",
        "OPENLINEAGE_PRODUCER",
        "OPENLINEAGE",
        "ONLINE_URL",
        "BASELINE_NAMESPACE",
        "AIRFLOW__OPENLINEAGE__NAMESPACE",
        "spark.openlineage.url",
    ],
)
def test_variables_of_others(name: str) -> None:
    """What other programs read, Kubernetes sets for a service, or resembles nothing, is not named."""
    assert Settings.from_env({name: "x"}).problems == ()


def test_variables_of_the_client_are_known() -> None:
    """Every variable that the installed openlineage-python reads is known."""
    import openlineage.client

    (folder,) = openlineage.client.__path__
    read = {
        name
        for file in Path(folder).rglob("*.py")
        for name in re.findall(
            r"""environ(?:\.get\(|\[)\s*"(OPENLINEAGE_\w+)"|getenv\(\s*"(OPENLINEAGE_\w+)\"""", file.read_text("utf-8")
        )
        for name in name
        if name
    }
    assert read
    assert {name for name in read if not name.startswith(environment.CLIENT_PREFIX)} <= environment.KNOWN


@pytest.mark.parametrize("value", ["{{ var.value.x }}", "{% if a %}1{% endif %}", "${TIMEOUT}", "$(TIMEOUT)"])
@pytest.mark.parametrize(
    "variable", ["OPENLINEAGE_DISABLED", "OPENLINEAGE_RUN_ID", "OPENLINEAGE_NAMESPACE", *sorted(environment.OWN)]
)
def test_template_that_was_not_rendered(variable: str, value: str) -> None:
    """A template in any variable is a first problem that says so, and the variable has its default."""
    found = Settings.from_env({variable: value})
    assert found.problems[0].startswith(f"{variable}=")
    assert "is a template that was not rendered" in found.problems[0]
    assert found._replace(environ={}, problems=()) == Settings(environ={})


@pytest.mark.parametrize("quote", ["'", '"'])
@pytest.mark.parametrize("variable", sorted(environment.KNOWN - {environment.API_KEY}))
def test_quotes_around_a_value(variable: str, quote: str) -> None:
    """Quotes that `docker run --env-file` leaves around a value are taken off it, with a problem that says so."""
    found = Settings.from_env({variable: f" {quote}s3://u:hunter22@h/a{quote}"})
    assert found.problems[0].startswith(f"{variable}=")
    assert "is read without the quotes around it" in found.problems[0]
    assert "hunter22" not in "".join(found.problems)
    plain = Settings.from_env({variable: "s3://u:hunter22@h/a"})
    assert found._replace(problems=found.problems[1:]) == plain


@pytest.mark.parametrize("value", ["'", "'a", "a'b", "'a\"", '["a"]'])
def test_quotes_that_are_part_of_a_value(value: str) -> None:
    """A quote that does not stand at both ends belongs to the value."""
    assert Settings.from_env({"OPENLINEAGE_NAMESPACE": value}).namespace == value


def test_template_in_declared_datasets() -> None:
    """A template beside what is right in the declared datasets is told, and the others are read."""
    found = Settings.from_env({"OPENLINEAGE_POD_INPUTS": '["s3://lake/{{ ds }}", "s3://lake/a"]'})
    assert found.inputs == ("s3://lake/{{ ds }}", "s3://lake/a")
    (problem,) = found.problems
    assert "is a template that was not rendered" in problem
