"""Column lineage between datasets."""

from __future__ import annotations

from openlineage_pod import dataset


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
