"""Column lineage: for each column the columns of other datasets that it comes from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from openlineage_pod.datasets.uri import NotUnderstoodError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["column_lineage_fields"]


def column_lineage_fields(
    lineage: Mapping[str, Iterable[tuple[Any, str]]],
    name_of: Callable[[Any], tuple[str, str]],
    problems: list[str],
) -> dict[str, Any]:
    """Return the fields of the columnLineage facet. An origin that cannot be read is a problem, and the others stay.

    Args:
        lineage: For each column the pairs of dataset and column that it comes from.
        name_of: Returns the namespace and the name of such a dataset.
        problems: Gets a text for each origin that is left out.

    Raises:
        NotUnderstoodError: `lineage` is not a mapping.

    """
    if not isinstance(lineage, Mapping):
        raise NotUnderstoodError(f"must be a mapping of columns to pairs, not a {type(lineage).__name__}")
    columns = {}
    for column, origins in lineage.items():
        fields = []
        for pair in [origins] if isinstance(origins, str) or not isinstance(origins, Iterable) else origins:
            try:
                fields.append(_input_field(column, pair, name_of))
            except NotUnderstoodError as error:  # noqa: PERF203  one origin does not stop the others
                problems.append(f"column_lineage: {error}")
        columns[str(column)] = {"inputFields": fields}
    return columns


def _input_field(column: Any, pair: Any, name_of: Callable[[Any], tuple[str, str]]) -> dict[str, str]:
    if not isinstance(pair, (tuple, list)) or len(pair) != 2 or pair[1] is None:  # noqa: PLR2004
        kind = type(pair).__name__
        raise NotUnderstoodError(f"column {column!r} must come from pairs of dataset and column, not from a {kind}")
    namespace, name = name_of(pair[0])
    return {"namespace": namespace, "name": name, "field": str(pair[1])}
