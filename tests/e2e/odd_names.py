"""A job that reads and writes datasets with odd names."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.e2e.pods import Pod
from tests.support import options
from tests.support.harness import types

if TYPE_CHECKING:
    from pathlib import Path

    from tests.e2e.scene import Scene
    from tests.support.harness import Event

__all__ = ["report_odd_names"]

# URIs, then pairs of namespace and name.
_ODD: list[Any] = [
    "kafka://b1:9092,b2:9092/t",
    "postgres://[::1]:5432/crm.public.accounts",
    "postgres://h1,h2:5433/crm.public.accounts",
    "postgres://${PGHOST}:5432/crm.public.accounts",
    "postgres://{{ host }}/crm.public.accounts",
    "postgres://my host/crm.public.accounts",
    "postgres://dätenbank/crm.public.accounts",
    "postgres://etl:***@warehouse/crm.public.accounts",
    "postgres://etl:p/w?x#y@warehouse/crm.public.accounts",
    "jdbc:oracle:thin:scott/tiger@ora:1521/ORCL.CRM.ACCOUNTS",
    "s3://läke/a b/c?d",
    "/data/öffentlich/a b.csv",
    "nosuchstore://some host/a,b",
    ["kafka://b1:9092,b2:9092", "t"],
    ["${PGHOST}", "t"],
    ["{{ host }}", "t"],
    ["postgres://etl:***@h", "a.b"],
    ["datenbank für alle", "a b"],
    ["a\x00b", "a\x00b"],
    ["\ud83d\ude00", "\ud83d\ude00"],
    ["\udcff", "a\udcff"],
    ["x" * 2000, "t"],
]
_FACETS = {
    "symlinks": {"identifiers": [{"namespace": "a b,c", "name": "d", "type": "TABLE"}]},
    "columnLineage": {
        "fields": {"id": {"inputFields": [{"namespace": "kafka://b1:9092,b2:9092", "name": "t", "field": "id"}]}}
    },
}
_JOB = """
import json

from openlineage_pod import dataset, lineage_run

sources = [tuple(source) if isinstance(source, list) else source for source in json.loads({sources!r})]
with lineage_run("read_odd_names") as run:
    for source in sources:
        run.add_input(source)
with lineage_run("write_odd_names") as run:
    for source in sources:
        run.add_output(dataset(source, schema=["", "id", "x" * 300], facets=json.loads({facets!r})))
"""


def _odd_names() -> list[Any]:
    """Return the odd names, and every name whose right answer is known."""
    table = options.CASES / "names.tsv"
    if not table.exists():
        pytest.skip(f"{table} is not there")
    lines = table.read_text("utf-8").splitlines()[1:]
    return [*_ODD, *(line.split("\t")[0] for line in lines)]


def report_odd_names(scene: Scene, folder: Path) -> list[Event]:
    """Run a job that reads and writes all of them; return its events."""
    pod = Pod(folder, {"OPENLINEAGE_URL": scene.entry.url, **scene.task.by_id()})
    done = pod.run(_JOB.format(sources=json.dumps(_odd_names()), facets=json.dumps(_FACETS)))
    assert (done.returncode, done.stdout) == (0, "")
    assert scene.entry.refused == []
    runs = scene.below(scene.task.run_id)
    assert [types(events) for events in runs] == [["START", "COMPLETE"]] * 2
    read, written = (events[1] for events in runs)
    assert len(read["inputs"]) > len(_ODD)
    assert len(written["outputs"]) == len(read["inputs"])
    return [event for events in runs for event in events]
