"""Garbage in the environment: the job does not notice, and a malformed value is a warning that names its variable."""

from __future__ import annotations

import json
import logging
import math
import re
import string
import uuid
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from openlineage_pod import current_run, lineage_run
from openlineage_pod.testing import record_events
from tests.support import options
from tests.support.constants import AIRFLOW_ENV, PARENT_RUN_ID
from tests.support.events import SEEN_EVENTS
from tests.support.examples import fast, repeatable
from tests.support.harness import by_run

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tests.support.harness import Jobs, Receiver

MEGABYTE = 1_000_000


def no_uuid(value: str) -> bool:
    """Say whether a run id is malformed, by another implementation: the standard library's."""
    text = value.strip()
    try:
        return text.lower() not in (str(uuid.UUID(text)), uuid.UUID(text).hex)
    except ValueError:
        return True


def no_name(value: str) -> bool:
    """Say whether a name is clearly malformed; what is merely odd is left to the code."""
    return bool(re.search(r"[\x00-\x1f\x7f\ud800-\udfff]|\{\{|\{%", value.strip(" "))) or len(value.strip(" ")) > 1024


def no_boolean(value: str) -> bool:
    """Say whether a value is neither true nor false."""
    return value.strip().lower() not in ("true", "false", "1", "0", "yes", "no", "on", "off")


def no_datasets(value: str) -> bool:
    """Say whether a value is no JSON array, or has an entry that is neither text, pair nor object."""
    try:
        entries = json.loads(value)
        return not isinstance(entries, list) or any(not isinstance(entry, (str, list, dict)) for entry in entries)
    except (ValueError, RecursionError):
        return True


def no_seconds(value: str) -> bool:
    """Say whether a value is no number from 0 to 3600."""
    try:
        number = float(value)
    except ValueError:
        return True
    return not (math.isfinite(number) and 0 <= number <= 3600)


def no_destination(value: str) -> bool:
    """Say whether a value names no destination of last-resort lines."""
    return value.strip().lower() not in ("stderr", "off")


def no_context(value: str) -> bool:
    """Say whether a value lacks what a parent needs."""
    try:
        document = json.loads(value)
        parent = document.get("parent", document.get("parentRun"))
        return no_uuid(parent["run"]["runId"]) or no_name(parent["job"]["name"]) or not parent["job"]["name"].strip()
    except (ValueError, RecursionError, AttributeError, KeyError, TypeError):
        return True


def no_triple(value: str) -> bool:
    """Say whether a value does not end in a job name and a UUID."""
    parts = value.strip().rsplit("/", 2)
    return len(parts) != 3 or no_uuid(parts[2]) or not all(part.strip() for part in parts) or no_name(value)


# How each variable is set, and when its value is malformed.
ORACLES: dict[str, Callable[[str], bool]] = {
    "OPENLINEAGE_CONTEXT": no_context,
    "OPENLINEAGE_PARENT_ID": no_triple,
    "OPENLINEAGE_ROOT_PARENT_ID": no_triple,
    "OPENLINEAGE_PARENT_RUN_ID": no_uuid,
    "OPENLINEAGE_PARENT_JOB_NAME": no_name,
    "OPENLINEAGE_PARENT_JOB_NAMESPACE": no_name,
    "OPENLINEAGE_ROOT_PARENT_RUN_ID": no_uuid,
    "OPENLINEAGE_ROOT_PARENT_JOB_NAME": no_name,
    "OPENLINEAGE_ROOT_PARENT_JOB_NAMESPACE": no_name,
    "OPENLINEAGE_NAMESPACE": no_name,
    "OPENLINEAGE_JOB_NAME": no_name,
    "OPENLINEAGE_RUN_ID": no_uuid,
    "OPENLINEAGE_DISABLED": no_boolean,
    "OPENLINEAGE_POD_INPUTS": no_datasets,
    "OPENLINEAGE_POD_OUTPUTS": no_datasets,
    "OPENLINEAGE_POD_FLUSH_TIMEOUT": no_seconds,
    "OPENLINEAGE_POD_LAST_RESORT": no_destination,
    "OPENLINEAGE_POD_STRICT": no_boolean,
}
# The root is read only where there is a parent, and the parts only where there is no other form.
COMPANIONS: dict[str, dict[str, str]] = {
    "OPENLINEAGE_ROOT_PARENT_ID": {"OPENLINEAGE_PARENT_ID": AIRFLOW_ENV["OPENLINEAGE_PARENT_ID"]},
    "OPENLINEAGE_PARENT_RUN_ID": {"OPENLINEAGE_PARENT_JOB_NAME": "etl.ingest"},
    "OPENLINEAGE_PARENT_JOB_NAME": {"OPENLINEAGE_PARENT_RUN_ID": PARENT_RUN_ID},
    "OPENLINEAGE_PARENT_JOB_NAMESPACE": {
        "OPENLINEAGE_PARENT_RUN_ID": PARENT_RUN_ID,
        "OPENLINEAGE_PARENT_JOB_NAME": "etl.ingest",
    },
    **{
        f"OPENLINEAGE_ROOT_PARENT_{part}": {
            "OPENLINEAGE_PARENT_ID": AIRFLOW_ENV["OPENLINEAGE_PARENT_ID"],
            "OPENLINEAGE_ROOT_PARENT_RUN_ID": PARENT_RUN_ID,
            "OPENLINEAGE_ROOT_PARENT_JOB_NAME": "etl",
        }
        for part in ("RUN_ID", "JOB_NAME", "JOB_NAMESPACE")
    },
}

# Variables whose values the transport and the pod's facet read; what is malformed there is theirs to say.
OTHERS = (
    "OPENLINEAGE_URL",
    "OPENLINEAGE_ENDPOINT",
    "OPENLINEAGE_API_KEY",
    "OPENLINEAGE_CONFIG",
    "OPENLINEAGE__TRANSPORT__TYPE",
    "OPENLINEAGE__TRANSPORT__URL",
    "OPENLINEAGE__TRANSPORT__AUTH",
    "OPENLINEAGE__FILTERS",
    "OPENLINEAGE__TAGS__JOB",
    "OTEL_RESOURCE_ATTRIBUTES",
    "POD_NAME",
    "POD_UID",
    "HOSTNAME",
)

SPECIAL = [
    "",
    " ",
    "None",
    "null",
    "nan",
    "-1",
    "1e999",
    "0x10",
    "1_000",
    "{{ ti.run_id }}",
    "{% raw %}",
    "manual__2026-11-20T00:00:00+00:00",
    "a" * MEGABYTE,
    "\U0001f40d" * 1025,
    "[" * MEGABYTE,
    '{"parent":' * 50_000,
    f'["s3://lake/{"a" * MEGABYTE}"]',
    f'{{"parent": {{"run": {{"runId": "{PARENT_RUN_ID}"}}, "job": {{"name": "{"n" * MEGABYTE}"}}}}}}',
    "9" * 5000,
    "[" + "9" * 5000 + "]",
    '["\\ud800"]',
    '["NaN", NaN, Infinity]',
    "\ud800/\udfff/" + PARENT_RUN_ID,
    f"a/{'b' * 2000}/{PARENT_RUN_ID}",
    "\uff11\uff12\uff13",
    "٣",
    "\U0001d7cf",
    "01a1d7b0-8a10-7a1c-9b1e-2f6f5e0d7c0\uff11",
    "urn:uuid:" + PARENT_RUN_ID,
    "{" + PARENT_RUN_ID + "}",
    "[" * 200_000,
    "\ud800\x01\n{{ x }}",
    "[1, null]",
]

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["parent", "parentRun", "run", "runId", "job", "name", "namespace", "root", "facets", "x"]),
            inner,
            max_size=5,
        )
    ),
    max_leaves=12,
)
uuids = st.uuids().map(str)
any_text = st.text(st.characters(exclude_characters="\x00", exclude_categories=()), max_size=60)
nodes = st.fixed_dictionaries(
    {},
    optional={
        "run": st.fixed_dictionaries({}, optional={"runId": uuids | json_values}) | json_values,
        "job": st.fixed_dictionaries({}, optional={"name": any_text | json_values, "namespace": json_values})
        | json_values,
        "facets": json_values,
    },
)
datasets = st.fixed_dictionaries(
    {"namespace": any_text | json_values, "name": any_text | json_values},
    optional={
        "facets": json_values,
        "inputFacets": st.dictionaries(st.text(max_size=5), json_values, max_size=2),
        "outputFacets": json_values,
    },
)
garbage = st.one_of(
    any_text,
    st.text(string.printable, max_size=60),
    st.text("/:{}%[]\",'\\ ", max_size=30),
    json_values.map(json.dumps),
    st.fixed_dictionaries({"parent": nodes | json_values}, optional={"root": nodes, "parentRun": nodes}).map(
        json.dumps
    ),
    st.fixed_dictionaries(
        {"parent": st.builds(lambda node, root: {**node, "root": root}, nodes, nodes | json_values)}
    ).map(json.dumps),
    st.lists(datasets | any_text | json_values, max_size=4).map(json.dumps),
    st.builds("{}/{}/{}".format, any_text, any_text, uuids | any_text),
    uuids,
    uuids.map(lambda value: value.replace("-", "").upper()),
    st.floats().map(str),
    st.integers().map(str),
    st.sampled_from(SPECIAL),
)


class _Listener(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


@pytest.fixture(scope="module")
def listener() -> Any:
    """Collect the warnings of the library."""
    listening = _Listener()
    logger = logging.getLogger("openlineage_pod")
    logger.addHandler(listening)
    propagate, logger.propagate = logger.propagate, False
    yield listening
    logger.propagate = propagate
    logger.removeHandler(listening)


def keep_what_is_new(before: int, known: set[str]) -> None:
    """Leave to the check of all events only those that differ in more than ids and times."""
    for event in SEEN_EVENTS[before:]:
        shape = json.dumps({**event, "eventTime": "", "run": {**event["run"], "runId": ""}}, sort_keys=True)
        if shape in known or len(shape) > 100_000:
            SEEN_EVENTS.remove(event)
        known.add(shape)


def with_special_values(check: Callable[[], None], values: Sequence[str]) -> Callable[[], None]:
    """Run a check with each of these values as well."""
    for value in values:
        check = example(value)(check)
    return check


def job() -> tuple[str, str]:
    """Do what a job does."""

    @lineage_run("job", inputs=["s3://lake/raw"])
    def main(number: int) -> str:
        current_run().add_output("s3://lake/accounts")
        current_run().child_env({})
        return "x" * number

    try:
        with lineage_run():
            raise ZeroDivisionError("own")
    except ZeroDivisionError as error:
        return main(3), str(error)


KNOWN_SHAPES: set[str] = set()


# The slow tests try them all: `EXAMPLES` values in single variables, and a tenth of that in several.
FEW = 2
IN_ONE = [FEW, pytest.param(options.EXAMPLES // (len(ORACLES) + len(OTHERS)) + 1, marks=pytest.mark.slow, id="all")]
IN_MANY = [20, pytest.param(max(1, options.EXAMPLES // 10), marks=pytest.mark.slow, id="all")]


@pytest.mark.parametrize("examples", IN_ONE)
@pytest.mark.parametrize("variable", [*ORACLES, *OTHERS])
def test_garbage_in_a_variable_does_not_reach_the_job(variable: str, examples: int, listener: _Listener) -> None:
    """Whatever a variable holds, the job's result is the same, and a malformed value is one warning that names it."""

    @repeatable(examples)
    @given(garbage)
    def check(value: str) -> None:
        listener.lines.clear()
        before = len(SEEN_EVENTS)
        environ = {**COMPANIONS.get(variable, {}), variable: value}
        if variable == "OPENLINEAGE_POD_STRICT" and value.strip().lower() in ("true", "1", "yes", "on"):
            return
        with record_events(environ) as recorded:
            assert job() == ("xxx", "own")
            runs = by_run(recorded.events)
        keep_what_is_new(before, KNOWN_SHAPES)
        disabled = variable == "OPENLINEAGE_DISABLED" and value.strip().lower() in ("true", "1", "yes", "on")
        assert list(runs.values()) == ([] if disabled else [["START", "FAIL"], ["START", "COMPLETE"]])
        named = [line for line in listener.lines if re.search(rf"\b{variable}\b", line)]
        if variable in ORACLES and value.strip():
            malformed = ORACLES[variable](value)
            assert not malformed or named, f"no warning for {value[:200]!r}: {listener.lines}"
        # A megabyte is not repeated in the log, and a line break does not forge a line.
        assert all(len(line) < 2000 and line.isprintable() for line in listener.lines), listener.lines

    if examples == FEW:  # each value in a third of the variables
        offset = [*ORACLES, *OTHERS].index(variable) % 3
        with_special_values(check, [value for value in SPECIAL[offset::3] if len(value) <= 10_000])()
    else:
        with_special_values(check, SPECIAL)()


@pytest.mark.parametrize("examples", IN_MANY)
def test_garbage_in_many_variables_does_not_reach_the_job(examples: int) -> None:
    """Any combination of garbage leaves the job's result as it is."""

    @repeatable(examples)
    @given(
        st.dictionaries(
            st.sampled_from([name for name in ORACLES if name != "OPENLINEAGE_POD_STRICT"]), garbage, max_size=8
        )
    )
    def check(environ: dict[str, str]) -> None:
        before = len(SEEN_EVENTS)
        with record_events(environ) as recorded:
            assert job() == ("xxx", "own")
            runs = by_run(recorded.events)
        keep_what_is_new(before, KNOWN_SHAPES)
        assert list(runs.values()) in ([], [["START", "FAIL"], ["START", "COMPLETE"]])

    check()


NASTY = {
    "control": "\x01\x02\x1b[31m\r\n",
    "surrogate": "\udcff\udc80",
    "long": "a" * 100_000,
    "json": '{"parent": [1, 2, {"run": null}]}',
    "template": "{{ macros.OpenLineageProviderPlugin.lineage_parent_id(ti) }}",
    "number": "-1e999",
}
NASTY_VARIABLES = (
    "OPENLINEAGE_CONTEXT",
    "OPENLINEAGE_PARENT_ID",
    "OPENLINEAGE_JOB_NAME",
    "OPENLINEAGE_RUN_ID",
    "OPENLINEAGE_POD_OUTPUTS",
    "OPENLINEAGE_POD_FLUSH_TIMEOUT",
    "OPENLINEAGE_API_KEY",
    "OPENLINEAGE__TRANSPORT__TYPE",
    "OPENLINEAGE__FILTERS",
)


@pytest.mark.parametrize("kind", fast(NASTY, "control"))
@pytest.mark.parametrize("variable", NASTY_VARIABLES)
def test_a_real_job_survives_nasty_values(variable: str, kind: str, receiver: Receiver, jobs: Jobs) -> None:
    """A real process with a nasty value ends with its own exit status and stdout, and its events are not lost."""
    finished = jobs.run(
        """
        import sys
        from openlineage_pod import lineage_run
        @lineage_run("job")
        def main():
            print("done")
            sys.exit(4)
        main()
        """,
        {**receiver.environ, variable: NASTY[kind]},
    )
    assert (finished.returncode, finished.stdout) == (4, "done\n")
    events = [*receiver.events(), *finished.printed]
    assert list(by_run(events).values()) == [["START", "FAIL"]]
    assert "\x1b" not in finished.stderr


@pytest.mark.parametrize(
    "variable", ["OPENLINEAGE_URL", "OPENLINEAGE_ENDPOINT", "OPENLINEAGE_CONFIG", "OPENLINEAGE__TRANSPORT"]
)
@pytest.mark.parametrize("kind", fast(NASTY, "long"))
def test_a_real_job_survives_a_nasty_transport(variable: str, kind: str, receiver: Receiver, jobs: Jobs) -> None:
    """With a nasty value where the transport is configured, the events are printed or delivered, the job is as ever."""
    finished = jobs.run(
        """
        from openlineage_pod import lineage_run
        with lineage_run("job"):
            print("done")
        """,
        {**receiver.environ, variable: NASTY[kind], "OPENLINEAGE_POD_FLUSH_TIMEOUT": "2"},
    )
    assert (finished.returncode, finished.stdout) == (0, "done\n")
    events = [*receiver.events(), *finished.printed]
    assert list(by_run(events).values()) == [["START", "COMPLETE"]]
    assert "\x1b" not in finished.stderr
