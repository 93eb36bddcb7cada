"""Who we are and which version of the OpenLineage specification we write: every URL is formed here.

It imports nothing that Python has not loaded already: every job pays for it at `import openlineage_pod`.
"""

from __future__ import annotations

from collections.abc import Mapping

__all__ = [
    "EVENT_SCHEMA_URL",
    "FACET_VERSIONS",
    "PRODUCER",
    "__version__",
    "complete_facet",
    "facet",
    "is_facet",
    "job_type",
    "processing_engine",
]

__version__ = "0.1.0"

_PROJECT = "https://github.com/openlineage-pod/openlineage-pod"
_SPEC = "https://openlineage.io/spec"

PRODUCER = _PROJECT
"""The producer URI of every event and facet.

Without a version: DataHub takes the last segment of its path as the platform of a run's parent, so with a version in it
each release would move all jobs. The version stands in the facet `processing_engine`.
"""

EVENT_SCHEMA_URL = f"{_SPEC}/2-0-2/OpenLineage.json#/$defs/RunEvent"

FACET_VERSIONS = {
    "ColumnLineageDatasetFacet": "1-2-0",
    "DatasourceDatasetFacet": "1-0-1",
    "DocumentationJobFacet": "1-1-0",
    "ErrorMessageRunFacet": "1-0-1",
    "InputStatisticsInputDatasetFacet": "1-0-0",
    "JobTypeJobFacet": "2-0-4",
    "OutputStatisticsOutputDatasetFacet": "1-0-2",
    "ParentRunFacet": "1-2-0",
    "ProcessingEngineRunFacet": "1-1-1",
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


def job_type(kind: str) -> dict[str, object]:
    """Return the facet of a job of this kind; all three fields, as Marquez and Datadog read them all."""
    return facet("JobTypeJobFacet", processingType="BATCH", integration="KUBERNETES_POD", jobType=kind)


def processing_engine(name: str, version: str = "0+unknown") -> dict[str, object]:
    """Return the run facet that says what runs the job: the name of a program, and its version.

    Without this facet, DataHub answers 500 to the event ("Unable to determine orchestrator"). The version must be one
    of PEP 440, also where it is not known: Data.Rentgen answers 422 to any other text.
    """
    return facet("ProcessingEngineRunFacet", version=version, name=name, openlineageAdapterVersion=__version__)


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
