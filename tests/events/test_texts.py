"""Texts: what the C locale makes of non-ASCII bytes, and what no database stores."""

from __future__ import annotations

from typing import Any

import pytest

from openlineage_pod import dataset, lineage_run
from openlineage_pod.events.texts import storable_text
from openlineage_pod.testing import record_events

NAME = "kónten_日本"
BYTES_AS_TEXT = NAME.encode().decode("ascii", "surrogateescape")


@pytest.mark.parametrize(
    ("text", "stored"),
    [
        ("plain", "plain"),
        (NAME, NAME),
        (BYTES_AS_TEXT, NAME),
        (f"{NAME}/{BYTES_AS_TEXT}", f"{NAME}/{NAME}"),
        (f"{BYTES_AS_TEXT}\udcff", f"{NAME}?"),
        ("\udcff", "?"),  # a byte that is not UTF-8
        ("\ud800 ", "? "),  # not a byte at all
        ("a\x00b", "a\ufffdb"),
    ],
)
def test_storable_text(text: str, stored: str) -> None:
    """Bytes that Python could not decode become the characters that they are in UTF-8."""
    assert storable_text(text) == stored


def test_names_and_facets(caplog: pytest.LogCaptureFixture) -> None:
    """A dataset, its columns and facets have their characters back, however they were given, without a warning."""
    sources: list[Any] = [f"s3://lake/{BYTES_AS_TEXT}", ("ns", BYTES_AS_TEXT), f"/data/{BYTES_AS_TEXT}"]
    with record_events() as recorded, lineage_run("load", inputs=sources) as run:
        run.add_output(dataset("s3://lake/a", schema={BYTES_AS_TEXT: "text"}, facets={"own": {BYTES_AS_TEXT: 1}}))
    event = recorded.events[-1]
    assert [entry["name"] for entry in event["inputs"]] == [NAME, NAME, f"/data/{NAME}"]
    facets = event["outputs"][0]["facets"]
    assert facets["schema"]["fields"][0]["name"] == NAME
    assert facets["own"][NAME] == 1
    assert caplog.records == []


@pytest.mark.parametrize("text", ["\udcff", "\ud800"], ids=["byte", "surrogate"])  # noqa: PT014
def test_what_cannot_be_decoded(text: str, caplog: pytest.LogCaptureFixture) -> None:
    """Text that is not valid UTF-8 is replaced with a warning, which names the job."""
    with record_events() as recorded, lineage_run("load") as run:
        run.add_output(("ns", f"a{text}"))
    assert recorded.events[-1]["outputs"][0]["name"] == "a?"
    (record,) = caplog.records
    assert "job load" in record.getMessage()
    assert "UTF-8" in record.getMessage()
