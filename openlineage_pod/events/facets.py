"""Who we are and which version of the OpenLineage specification we write: every URL is formed here.

It imports nothing that Python has not loaded already: every job pays for it at `import openlineage_pod`.
"""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["EVENT_SCHEMA_URL", "FACET_VERSIONS", "PRODUCER", "__version__", "complete_facet", "facet", "is_facet"]

__version__ = "0.1.0"

_PROJECT = "https://github.com/openlineage-pod/openlineage-pod"
_SPEC = "https://openlineage.io/spec"

PRODUCER = f"{_PROJECT}/tree/v{__version__}"
"""The producer URI of every event and facet: this project at this version."""

EVENT_SCHEMA_URL = f"{_SPEC}/2-0-2/OpenLineage.json#/$defs/RunEvent"

FACET_VERSIONS = {
    "ColumnLineageDatasetFacet": "1-2-0",
    "ErrorMessageRunFacet": "1-0-1",
    "InputStatisticsInputDatasetFacet": "1-0-0",
    "JobTypeJobFacet": "2-0-4",
    "OutputStatisticsOutputDatasetFacet": "1-0-2",
    "ParentRunFacet": "1-2-0",
    "SchemaDatasetFacet": "1-2-0",
    "TagsRunFacet": "1-0-0",
}
"""The versions of the facet schemas that we write (https://openlineage.io/spec/facets/)."""

# Facets that others may send us without saying where their schema is.
_BY_KEY = {"jobType": "JobTypeJobFacet", "parent": "ParentRunFacet", "errorMessage": "ErrorMessageRunFacet"}


def _schema_url(definition: str) -> str:
    if definition == "KubernetesPodRunFacet":
        file = f"{_PROJECT}/blob/v{__version__}/openlineage_pod/schemas/KubernetesPodRunFacet.json"
    else:
        file = f"{_SPEC}/facets/{FACET_VERSIONS[definition]}/{definition}.json"
    return f"{file}#/$defs/{definition}"


def facet(definition: str, **fields: object) -> dict[str, object]:
    """Return a facet of the named schema definition as JSON-ready data, with `_producer` and `_schemaURL`."""
    return {"_producer": PRODUCER, "_schemaURL": _schema_url(definition), **fields}


def is_facet(value: object) -> bool:
    """Return whether `value` can be a facet: a mapping, or an object of one of openlineage-python's attrs classes."""
    return isinstance(value, Mapping) or hasattr(type(value), "__attrs_attrs__")


def complete_facet(key: str, fields: dict[str, object]) -> dict[str, object]:
    """Return `fields` with `_producer` and `_schemaURL` added where they are missing.

    Both are required of every facet (BaseFacet). Airflow's databricks provider forwards a jobType facet without
    them in `OPENLINEAGE_CONTEXT`, and users write custom facets as plain dictionaries.
    """
    known = _BY_KEY.get(key)
    schema = _schema_url(known) if known else f"{_SPEC}/2-0-2/OpenLineage.json#/$defs/BaseFacet"
    return {"_producer": PRODUCER, "_schemaURL": schema, **fields}
