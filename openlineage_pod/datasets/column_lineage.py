"""Column lineage: for each column the columns of other datasets that it comes from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from openlineage_pod.datasets.uri import NotUnderstoodError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

__all__ = ["column_lineage_fields"]


def column_lineage_fields(
    lineage: Mapping[str, Iterable[tuple[Any, str]]], name_of: Callable[[Any], tuple[str, str]]
) -> dict[str, Any]:
    """Return the fields of the columnLineage facet.

    Args:
        lineage: For each column the pairs of dataset and column that it comes from.
        name_of: Returns the namespace and the name of such a dataset.

    Raises:
        NotUnderstoodError: An origin is not a pair, or its dataset cannot be named.

    """
    columns = {}
    for column, origins in lineage.items():
        fields = []
        for pair in origins:
            if not isinstance(pair, (tuple, list)) or len(pair) != 2:  # noqa: PLR2004
                kind = type(pair).__name__
                raise NotUnderstoodError(
                    f"column {column!r} must come from pairs of dataset and column, not from a {kind}"
                )
            origin, field = pair
            namespace, name = name_of(origin)
            fields.append({"namespace": namespace, "name": name, "field": str(field)})
        columns[str(column)] = {"inputFields": fields}
    return columns
