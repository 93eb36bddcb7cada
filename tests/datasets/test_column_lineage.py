"""Column lineage between datasets."""

from __future__ import annotations

from typing import Any

import pytest

from openlineage_pod import dataset

GOOD = ("s3://lake/raw", "id")
FIELD = {"namespace": "s3://lake", "name": "raw", "field": "id"}


@pytest.mark.parametrize(
    "bad", [("accounts", "id"), ("s3://lake/raw", None), ("s3://lake/raw", "id", "x"), "s3://lake/raw", None, 7]
)
def test_origin_that_cannot_be_read(bad: Any) -> None:
    """An origin that cannot be read is one problem, and the others stay."""
    found = dataset("s3://lake/a", column_lineage={"id": [bad, GOOD, bad], "x": bad, "y": [GOOD]})
    fields = found.facets["columnLineage"]["fields"]
    assert fields["id"]["inputFields"] == fields["y"]["inputFields"] == [FIELD]
    assert len(found.problems) == len(set(found.problems)) <= 3
    assert all(problem.startswith("column_lineage: ") for problem in found.problems)


def test_no_mapping() -> None:
    """What is not a mapping of columns is a problem that says so."""
    given: Any = [("id", [GOOD])]
    (problem,) = dataset("s3://lake/a", column_lineage=given).problems
    assert problem == "column_lineage: must be a mapping of columns to pairs, not a list"


def test_warning_about_an_origin() -> None:
    """What was changed in the name of an origin is one warning that names it, however many columns come from it."""
    origin = "postgres://u:hunter2@[::1]/crm.public.a"
    removed, replaced = dataset("s3://lake/a", column_lineage={"id": [(origin, "id"), (origin, "x")]}).warnings
    assert removed.startswith("column_lineage, postgres://_::1_:5432/crm.public.a: credentials were removed")
    assert replaced.startswith("column_lineage, postgres://_::1_:5432/crm.public.a: its namespace is sent as")


def test_column_lineage() -> None:
    """Each column has the datasets, with their official names, and the columns that it comes from."""
    found = dataset(
        "s3://lake/a", column_lineage={"id": [("postgresql://warehouse/crm.public.accounts", "account_id")]}
    )
    assert found.facets["columnLineage"]["fields"] == {
        "id": {
            "inputFields": [
                {"namespace": "postgres://warehouse:5432", "name": "crm.public.accounts", "field": "account_id"}
            ]
        }
    }
