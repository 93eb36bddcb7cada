"""Datasets: from what a user has at hand (a URI, a frame) to OpenLineage's namespace, name and facets."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from os import PathLike
from typing import TYPE_CHECKING, Any, NamedTuple

from openlineage_pod.datasets.column_lineage import column_lineage_fields
from openlineage_pod.datasets.naming import name_of
from openlineage_pod.datasets.schema import schema_fields
from openlineage_pod.datasets.uri import NotUnderstoodError
from openlineage_pod.events.facets import complete_facet, facet, is_facet
from openlineage_pod.events.texts import cut

if TYPE_CHECKING:
    from typing import Protocol, TypeAlias

    class HasNamespaceAndName(Protocol):
        """The shape of openlineage-python's Dataset, InputDataset and OutputDataset."""

        namespace: str
        name: str

    DatasetSource: TypeAlias = (
        str | PathLike[str] | tuple[str, str] | Mapping[str, Any] | "Dataset" | HasNamespaceAndName
    )
    """A URI or local path, a `(namespace, name)` pair, OpenLineage's JSON form, a `Dataset`, or one of
    openlineage-python's dataset objects."""

__all__ = ["Dataset", "as_sources", "dataset"]

_MAX_SHOWN = 200


class Dataset(NamedTuple):
    """One dataset with its facets; made by `dataset()`.

    `facets` describe the dataset (schema, columnLineage, …), `statistics` what this run read from it or wrote to it.
    `problems` tell what was left out, `warnings` what was changed.
    """

    namespace: str
    name: str
    facets: Mapping[str, Any] = {}
    input_facets: Mapping[str, Any] = {}
    output_facets: Mapping[str, Any] = {}
    statistics: Mapping[str, int] = {}
    problems: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def shown(self) -> str:
        """Its namespace and name for a message, cut to a length that fits into a log line."""
        return f"{cut(self.namespace, _MAX_SHOWN)}/{cut(self.name, _MAX_SHOWN)}" if self.name else "a dataset"

    def merged(self, later: Dataset) -> Dataset:
        """Return this dataset with the facets and statistics of `later`, which replace those of the same key."""
        return self._replace(
            facets={**self.facets, **later.facets},
            input_facets={**self.input_facets, **later.input_facets},
            output_facets={**self.output_facets, **later.output_facets},
            statistics={**self.statistics, **later.statistics},
        )

    def to_dict(self, side: str) -> dict[str, Any]:
        """Return an entry of an event's `inputs` or `outputs` (the value of `side`)."""
        entry: dict[str, Any] = {"namespace": self.namespace, "name": self.name}
        if self.facets:
            entry["facets"] = dict(self.facets)
        if side == "inputs":
            own, key, statistics = self.input_facets, "inputFacets", "InputStatisticsInputDatasetFacet"
        else:
            own, key, statistics = self.output_facets, "outputFacets", "OutputStatisticsOutputDatasetFacet"
        measured = (
            {side.removesuffix("s") + "Statistics": facet(statistics, **self.statistics)} if self.statistics else {}
        )
        if own or measured:
            entry[key] = {**measured, **own}
        return entry


def dataset(
    source: DatasetSource,
    *,
    schema: Any = None,
    rows: int | None = None,
    size: int | None = None,
    files: int | None = None,
    column_lineage: Mapping[str, Iterable[tuple[DatasetSource, str]]] | None = None,
    facets: Mapping[str, Any] | None = None,
) -> Dataset:
    """Describe a dataset that a run reads or writes: `run.add_output(dataset("s3://lake/accounts", rows=10))`.

    Never raises. An argument that cannot be understood is left out, and is a warning when a run gets the dataset.

    Args:
        source: A URI (`"postgres://warehouse:5432/crm.public.accounts"`, `"s3://lake/accounts"`), the path of a
            local file, a `(namespace, name)` pair, or one of openlineage-python's dataset objects.
        schema: The columns: a mapping or pairs of name and type, or an object that carries them: a pandas, polars or
            pyspark data frame, a pyarrow table or schema. Only names and types are read.
        rows: Number of rows read or written by this run.
        size: Number of bytes read or written by this run.
        files: Number of files read or written by this run.
        column_lineage: For each output column the input columns it comes from, as pairs of dataset and column:
            `{"id": [("postgres://warehouse:5432/crm.public.accounts", "account_id")]}`. Consumers show it only
            together with a `schema`.
        facets: Further dataset facets by key: openlineage-python's facet objects, or dictionaries (`_producer` and
            `_schemaURL` are added where missing).

    """
    problems: list[str] = []
    found = _attempt(problems, "", lambda: _resolve(source)) or Dataset("", "")
    described = _attempt(problems, "facets: ", lambda: _completed(facets)) or {}
    if schema is not None and (fields := _attempt(problems, "schema: ", lambda: schema_fields(schema))):
        described["schema"] = facet("SchemaDatasetFacet", fields=fields)
    warnings = list(found.warnings)

    def origin(given: Any) -> tuple[str, str]:
        own = _resolve(given)
        warnings.extend(f"column_lineage, {own.shown}: {warning}" for warning in own.warnings)
        return own[:2]

    if column_lineage and (
        columns := _attempt(
            problems, "column_lineage: ", lambda: column_lineage_fields(column_lineage, origin, problems)
        )
    ):
        described["columnLineage"] = facet("ColumnLineageDatasetFacet", fields=columns)
    statistics: dict[str, int] = {}
    for argument, key, value in (("rows", "rowCount", rows), ("size", "size", size), ("files", "fileCount", files)):
        number = _attempt(problems, f"{argument}: ", lambda value=value: _count(value))
        if number is not None:
            statistics[key] = number
    later = Dataset(found.namespace, found.name, facets=described, statistics=statistics)
    return found.merged(later)._replace(
        problems=(*found.problems, *dict.fromkeys(problems)), warnings=tuple(dict.fromkeys(warnings))
    )


def as_sources(given: Any) -> tuple[Any, ...]:
    """Return what was given as `inputs` or `outputs` (one dataset, several, or None) as a tuple of datasets."""
    if given is None:
        return ()
    is_one = isinstance(given, (str, PathLike, Dataset, Mapping)) or not isinstance(given, Iterable)
    return (given,) if is_one else tuple(given)


def _attempt(problems: list[str], argument: str, read: Any) -> Any:
    """Return `read()`. An exception becomes a problem and None: this runs in the job's own thread."""
    try:
        return read()
    except NotUnderstoodError as error:
        problems.append(f"{argument}{error}")
    except Exception as error:  # its text may hold data
        problems.append(f"{argument}cannot be read ({type(error).__name__})")
    return None


def _completed(facets: Any) -> dict[str, Any]:
    if facets is not None and not isinstance(facets, Mapping):
        raise NotUnderstoodError(f"must be a mapping of facets by their keys, not a {type(facets).__name__}")
    for key, value in (facets or {}).items():
        if not is_facet(value):
            raise NotUnderstoodError(f"{key!r} must be a facet, not a {type(value).__name__}")
    return {key: _complete(key, value) for key, value in (facets or {}).items()}


def _complete(key: str, value: Any) -> Any:
    return complete_facet(key, dict(value)) if isinstance(value, Mapping) else value


def _count(value: Any) -> int | None:
    if value is None:
        return None
    number = int(value) if not isinstance(value, str) else -1
    if number < 0:
        raise NotUnderstoodError(f"must be a number >= 0, not {value!r:.50}")
    return number


def _resolve(source: Any) -> Dataset:
    if isinstance(source, Dataset):
        return source
    namespace, name, warnings = name_of(source)
    found = Dataset(namespace, name, warnings=warnings)
    if isinstance(source, Mapping):
        return _from_mapping(found, source)
    if isinstance(source, (str, PathLike, tuple, list)):
        return found
    # openlineage-python's Dataset, InputDataset and OutputDataset, known by their shape: importing them here would
    # cost the job 200 ms.
    return found._replace(
        facets=dict(getattr(source, "facets", None) or {}),
        input_facets=dict(getattr(source, "inputFacets", None) or {}),
        output_facets=dict(getattr(source, "outputFacets", None) or {}),
    )


def _from_mapping(found: Dataset, source: Mapping[str, Any]) -> Dataset:
    """Read OpenLineage's own JSON form of a dataset, which comes in `OPENLINEAGE_POD_INPUTS` and `_OUTPUTS`."""
    problems: list[str] = []

    def read(kind: str) -> dict[str, Any]:
        given = source.get(kind) or {}
        if not isinstance(given, Mapping):
            problems.append(f"its {kind} are left out: no object of facets by their keys")
            return {}
        problems.extend(
            f"its facet {cut(str(key), _MAX_SHOWN)!r} is left out: no object"
            for key in given
            if not is_facet(given[key])
        )
        return {key: _complete(key, value) for key, value in given.items() if is_facet(value)}

    found = found._replace(facets=read("facets"), input_facets=read("inputFacets"), output_facets=read("outputFacets"))
    return found._replace(problems=tuple(problems))
