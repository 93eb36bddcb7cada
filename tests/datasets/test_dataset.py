"""Datasets: their facets and statistics, and nothing that raises."""

from __future__ import annotations

from typing import Any

import attr
import pytest
from openlineage.client.event_v2 import InputDataset, OutputDataset
from openlineage.client.facet_v2 import documentation_dataset

from openlineage_pod import dataset


def test_pair_and_mapping() -> None:
    """A pair, and OpenLineage's own JSON form, are taken as they are."""
    assert dataset(("ns", "a b"))[:2] == ("ns", "a b")
    found = dataset({"namespace": "ns", "name": "t", "facets": {"schema": {"fields": []}}})
    assert found.facets["schema"]["fields"] == []
    assert "_producer" in found.facets["schema"]


@pytest.mark.parametrize("kind", [InputDataset, OutputDataset])
def test_openlineage_class(kind: Any) -> None:
    """openlineage-python's own datasets pass through with their typed facets."""
    facet = documentation_dataset.DocumentationDatasetFacet(description="all accounts")
    found = dataset(kind(namespace="ns", name="t", facets={"documentation": facet}))
    assert (found.namespace, found.name) == ("ns", "t")
    assert found.facets == {"documentation": facet}


@pytest.mark.parametrize("facets", [7, {"schema": 7}, {"schema": []}])
@pytest.mark.parametrize("kind", ["facets", "inputFacets", "outputFacets"])
def test_facets_that_are_none(kind: str, facets: Any) -> None:
    """A facet in OpenLineage's JSON form that is not an object is a problem and left out; the dataset stays."""
    found = dataset({"namespace": "a", "name": "b", kind: facets}, rows=1)
    (problem,) = found.problems
    assert "no object" in problem
    assert (found.name, found.facets, found.input_facets, found.output_facets) == ("b", {}, {}, {})


def test_statistics_by_side() -> None:
    """Rows, size and files go into the statistics of the side on which the dataset is used."""
    found = dataset("s3://lake/a", rows=3, size=40, files=1)
    (_, written), (_, read) = (
        (side, found.to_dict(side)[key]) for side, key in (("outputs", "outputFacets"), ("inputs", "inputFacets"))
    )
    expected = {"rowCount": 3, "size": 40, "fileCount": 1}
    assert expected.items() <= written["outputStatistics"].items()
    assert "/OutputStatisticsOutputDatasetFacet.json" in written["outputStatistics"]["_schemaURL"]
    assert expected.items() <= read["inputStatistics"].items()
    assert "/InputStatisticsInputDatasetFacet.json" in read["inputStatistics"]["_schemaURL"]


def test_rows_that_are_no_number() -> None:
    """A wrong count is a problem; the dataset and the other counts stay."""
    found = dataset("s3://lake/a", rows="many", size=4)  # type: ignore[arg-type]
    assert len(found.problems) == 1
    assert found.statistics == {"size": 4}


def test_further_facets() -> None:
    """Facets of the user pass through; a plain dictionary gets the two required keys."""
    facet = documentation_dataset.DocumentationDatasetFacet(description="x")
    found = dataset("s3://lake/a", facets={"documentation": facet, "own": {"a": 1}})
    assert found.facets["documentation"] is facet
    assert found.facets["own"]["a"] == 1
    assert attr.asdict(facet)["_producer"]
    assert {"_producer", "_schemaURL"} <= found.facets["own"].keys()


def test_a_dataset_of_a_dataset() -> None:
    """A dataset can be described further."""
    found = dataset(dataset("s3://lake/a", rows=1), schema=["id"])
    assert (found.statistics, list(found.facets)) == ({"rowCount": 1}, ["schema"])
