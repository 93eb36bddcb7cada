"""The size limit: what an event loses, in which order, and what it never loses."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from openlineage_pod import dataset, lineage_run
from openlineage_pod.events.facets import facet
from openlineage_pod.events.truncate import truncate_event
from openlineage_pod.testing import record_events
from tests.support.constants import PARENT_RUN_ID

RUN_ID = "01938a60-0000-7000-8000-000000000000"
STATISTICS = "inputStatistics"
LEAST = 5_000
"""Below this the parent, the error and the tag alone may not fit."""


def event(**sizes: int) -> dict[str, Any]:
    """Return an event with everything in it that may be left out, each so large as `sizes` says (default: small)."""

    def text(name: str) -> str:
        return "x" * sizes.get(name, 10)

    job = {"namespace": "airflow", "name": "etl.ingest"}
    return {
        "eventType": "FAIL",
        "eventTime": "2026-01-01T00:00:00+00:00",
        "producer": "https://example.com/producer",
        "schemaURL": "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent",
        "run": {
            "runId": RUN_ID,
            "facets": {
                "own_large": facet("TagsRunFacet", text=text("own_large")),
                "own_small": facet("TagsRunFacet", text=text("own_small")),
                "parent": facet("ParentRunFacet", run={"runId": PARENT_RUN_ID}, job=job),
                "kubernetes_pod": facet("TagsRunFacet", name=text("kubernetes_pod")),
                "errorMessage": facet(
                    "ErrorMessageRunFacet", message=text("message"), stackTrace=text("stackTrace") + "the end"
                ),
            },
        },
        "job": {
            "namespace": "airflow",
            "name": "etl.ingest.load",
            "facets": {
                "jobType": facet("JobTypeJobFacet", jobType="JOB"),
                "sql": facet("TagsRunFacet", query=text("sql")),
            },
        },
        "inputs": [
            {
                "namespace": "s3://lake",
                "name": "accounts",
                "facets": {
                    "schema": facet("SchemaDatasetFacet", fields=[{"name": text("input_schema")}]),
                    "quality": facet("TagsRunFacet", text=text("quality")),
                },
                "inputFacets": {STATISTICS: facet("InputStatisticsInputDatasetFacet", note=text(STATISTICS))},
            }
        ],
        "outputs": [
            {
                "namespace": "postgres://warehouse:5432",
                "name": "crm.public.accounts",
                "facets": {
                    "schema": facet("SchemaDatasetFacet", fields=[{"name": text("schema")}]),
                    "columnLineage": facet("ColumnLineageDatasetFacet", fields={text("columnLineage"): {}}),
                },
                "outputFacets": {"outputStatistics": facet("OutputStatisticsOutputDatasetFacet", rowCount=1)},
            }
        ],
    }


def size(document: Any) -> int:
    """Return the bytes of a document's JSON."""
    return len(json.dumps(document, separators=(",", ":")))


def identity(document: dict[str, Any]) -> Any:
    """Return what an event may never lose."""
    entries = [(entry["namespace"], entry["name"]) for entry in document["inputs"] + document["outputs"]]
    fixed = {key: document[key] for key in ("eventType", "eventTime", "producer", "schemaURL")}
    job = (document["job"]["namespace"], document["job"]["name"])
    return fixed, document["run"]["runId"], document["run"]["facets"].get("parent"), job, entries


def tag_of(document: dict[str, Any]) -> str:
    """Return the value of the tag that tells what was left out."""
    (tag,) = [tag for tag in document["run"]["facets"]["tags"]["tags"] if tag["key"] == "openlineage_pod_left_out"]
    assert tag["source"] == "OPENLINEAGE_POD"
    return str(tag["value"])


def test_below_the_limit() -> None:
    """An event within the limit, to the byte, stays as it is and gets no tag."""
    document = event()
    before = copy.deepcopy(document)
    assert truncate_event(document, size(document)) == (before, [])
    assert truncate_event(document, size(document) - 1)[1] != []


@pytest.mark.parametrize("spare", [0, -1])
def test_json_that_has_been_made(spare: int) -> None:
    """An event that comes with its JSON is cut as any other."""
    document = event(own_large=20_000)
    limit = size(document) + spare
    cut, left_out = truncate_event(document, limit, json.dumps(document, separators=(",", ":")).encode())
    assert (cut, left_out) == truncate_event(document, limit)
    assert (cut == document) == (spare == 0)


def test_given_event_is_not_changed() -> None:
    """Cutting makes a copy: the job's own objects are not touched."""
    document = event(own_large=20_000)
    before = copy.deepcopy(document)
    truncate_event(document, 10_000)
    assert document == before


ORDER = [
    "own_large",
    "sql",
    "own_small",
    f"accounts:{STATISTICS}",
    "accounts:quality",
    "crm.public.accounts:outputStatistics",
    "crm.public.accounts:columnLineage",
    "crm.public.accounts:schema",
    "accounts:schema",
    "errorMessage.stackTrace",
    "errorMessage.message",
    "kubernetes_pod",
    "errorMessage",
]
SIZES = {
    "own_large": 9_000,
    "sql": 8_000,
    "own_small": 7_000,
    STATISTICS: 9_500,
    "quality": 8_500,
    "columnLineage": 6_000,
    "schema": 9_800,
    "input_schema": 9_700,
    "stackTrace": 20_000,
    "message": 12_000,
    "kubernetes_pod": 4_000,
}


def test_order() -> None:
    """Facets go group by group as documented, within a group the largest first, whatever the sizes of the groups."""
    _, left_out = truncate_event(event(**SIZES), 1)
    assert left_out[: len(ORDER)] == ORDER


def test_no_more_than_needed() -> None:
    """For every limit what is left out is a beginning of the order, and never more than for a smaller limit."""
    document = event(**SIZES)
    before = len(ORDER)
    for limit in range(LEAST, size(document), 1_000):
        cut, left_out = truncate_event(document, limit)
        assert left_out == ORDER[: len(left_out)]
        assert size(cut) <= limit
        assert len(left_out) <= before
        before = len(left_out)
    assert before == 1


def test_end_of_the_stack_trace_stays() -> None:
    """Of a long stack trace and a long message the last 4,000 characters stay: they say what happened."""
    cut, left_out = truncate_event(event(stackTrace=100_000, message=100_000), 20_000)
    error = cut["run"]["facets"]["errorMessage"]
    assert left_out[-2:] == ["errorMessage.stackTrace", "errorMessage.message"]
    assert (len(error["stackTrace"]), error["stackTrace"][-8:]) == (4_001, "xthe end")
    assert (error["stackTrace"][0], error["message"]) == ("…", "…" + "x" * 4_000)


def test_identity_stays_at_any_limit() -> None:
    """Even where nothing fits, the run, the job, the parent and the names of all datasets stay."""
    document = event(**SIZES)
    for limit in (1, 100, 1_000, 3_000):
        cut, _ = truncate_event(document, limit)
        assert identity(cut) == identity(document)
        assert cut["job"]["facets"] == {"jobType": document["job"]["facets"]["jobType"]}


def test_tag() -> None:
    """A cut event names in a tag what is missing, beside the tags that it had."""
    document = event(own_large=21_000, sql=20_000)
    theirs = {"key": "team", "value": "crm", "source": "USER"}
    document["run"]["facets"]["tags"] = facet("TagsRunFacet", tags=[theirs])
    cut, left_out = truncate_event(document, 10_000)
    assert cut["run"]["facets"]["tags"]["tags"][0] == theirs
    assert tag_of(cut) == ", ".join(left_out) == "own_large, sql"


def test_many_left_out() -> None:
    """A tag that would become long itself is shortened, and says how many there are."""
    document = event()
    document["run"]["facets"].update({f"own_{number}": facet("TagsRunFacet", n=number) for number in range(500)})
    cut, left_out = truncate_event(document, LEAST)
    assert tag_of(cut).endswith(f"… ({len(left_out)} in all)")
    assert len(tag_of(cut)) < 520
    assert size(cut) <= LEAST


def with_datasets(count: int, name: str, *, facets: int) -> dict[str, Any]:
    """Return an event with many datasets that have so many facets each."""
    document = event()
    document["outputs"] = [
        {
            "namespace": "s3://lake",
            "name": f"{name}_{number}",
            "facets": {f"facet_{index}": {"text": "x" * 100} for index in range(facets)},
        }
        for number in range(count)
    ]
    return document


def without_facets(document: dict[str, Any]) -> dict[str, Any]:
    """Return what is left if all is left out."""
    return truncate_event(document, 1)[0]


@pytest.mark.parametrize("facets", [1, 2])
def test_many_datasets(facets: int) -> None:
    """However many facets it takes, the result is within the limit."""
    document = with_datasets(4_000, "accounts", facets=facets)
    limit = size(without_facets(document)) + 2_000
    cut, left_out = truncate_event(document, limit)
    assert len(left_out) > 3_900
    assert size(cut) <= limit


def test_names_that_json_escapes() -> None:
    """The tag takes no more room than was left for it, also where the names are in another script."""
    document = with_datasets(20, "取引先" * 20, facets=1)
    limit = size(document) - 1_500
    cut, left_out = truncate_event(document, limit)
    assert left_out
    assert size(cut) <= limit


def test_own_tags() -> None:
    """The users' own tags are no exception: where they alone exceed the limit, they go, too."""
    document = event()
    tags = [{"key": f"key_{number}", "value": "x" * 100, "source": "USER"} for number in range(1_000)]
    document["run"]["facets"]["tags"] = facet("TagsRunFacet", tags=tags)
    cut, _ = truncate_event(document, 20_000)
    assert size(cut) <= 20_000


@pytest.mark.parametrize(
    "odd",
    [
        {"run": {"errorMessage": {"message": None, "stackTrace": None}}},
        {"run": {"errorMessage": ["no", "mapping"]}},
        {"run": {"tags": "no mapping"}},
        {"run": {"tags": {"tags": None}}},
        {"run": {"tags": {}}},
        {"job": {"jobType": None}},
    ],
    ids=json.dumps,
)
def test_odd_facets(odd: dict[str, Any]) -> None:
    """A facet that is not shaped as its schema says costs at most itself, never the event."""
    document = event(own_large=20_000, kubernetes_pod=20_000)
    for holder, facets in odd.items():
        document[holder]["facets"].update(facets)
    cut, _ = truncate_event(document, LEAST)
    assert identity(cut) == identity(document)
    assert size(cut) <= LEAST


FACETS = st.dictionaries(
    st.text(max_size=20).filter(lambda key: key not in ("parent", "tags", "jobType", "errorMessage", "kubernetes_pod")),
    st.text(max_size=3_000) | st.dictionaries(st.text(max_size=5), st.integers(), max_size=3),
    max_size=6,
)
DATASETS = st.lists(
    st.fixed_dictionaries(
        {"namespace": st.text(max_size=20), "name": st.text(max_size=100)},
        optional={"facets": FACETS, "inputFacets": FACETS, "outputFacets": FACETS},
    ),
    max_size=5,
)


PARTS = st.fixed_dictionaries({"run": FACETS, "job": FACETS, "inputs": DATASETS, "outputs": DATASETS})


@pytest.mark.parametrize("examples", [15, pytest.param(150, marks=pytest.mark.slow)])
def test_any_event(examples: int) -> None:
    """Any event keeps its identity, is within the limit wherever that is possible, and tells exactly what it lost."""
    check = given(PARTS, st.integers(0, 20_000), st.integers(1, 40_000))(check_event)
    settings(max_examples=examples, deadline=None, suppress_health_check=[HealthCheck.too_slow])(check)()


def check_event(parts: dict[str, Any], trace: int, limit: int) -> None:
    """Check what is left of one event."""
    document = event(stackTrace=trace)
    document["run"]["facets"].update(parts["run"])
    document["job"]["facets"].update(parts["job"])
    document |= {"inputs": parts["inputs"], "outputs": parts["outputs"]}
    cut, left_out = truncate_event(document, limit)
    assert identity(cut) == identity(document)
    if not left_out:
        assert cut == document
        assert size(cut) <= limit
        return
    assert tag_of(cut)
    least, everything = truncate_event(document, 1)
    assert left_out == everything[: len(left_out)]
    assert size(cut) <= max(limit, size(least))


def test_cut_name_shows_no_credential(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """A known credential within which a dataset's name is cut is masked in warnings, and in the tag of a cut event."""
    key = "Kq7-x2Rt-m9Wv-p4Zs"
    monkeypatch.setenv("OPENLINEAGE_API_KEY", key)
    monkeypatch.setenv("OPENLINEAGE_POD_MAX_EVENT_BYTES", "10000")
    with record_events() as recorded, lineage_run("ingest") as run:
        for length in (66, 86):
            run.add_output(dataset(("s3://lake", "n" * length + key), schema=[("", "int"), ("x" * 300, "int")]))
            run.add_input(dataset(("s3://la ke", "n" * length + key), facets={"own": {"text": "x" * 20_000}}))
    assert "columns left out" in caplog.text
    assert "openlineage_pod_left_out" in str(recorded.events)
    assert key[:8] not in caplog.text + str(recorded.events)
