"""The facets of datasets that backends take apart: what one of them would refuse the whole event for is mended.

It works on JSON-ready data, so it holds wherever a facet comes from.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from openlineage_pod._redaction.names import compiled
from openlineage_pod.events.facets import facet
from openlineage_pod.events.namespaces import clean_namespace
from openlineage_pod.events.texts import cut

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["mend_dataset_facets"]

# Marquez answers 500 to an event with a longer name.
_MAX_COLUMN_NAME = 255
_MAX_SHOWN = 100
_ADDRESS = r"(?P<scheme>[a-zA-Z][\w+.\-]*)://(?:(?P<user>[^/]*)@)?(?P<host>[^/@]*?)(?P<rest>(?::[0-9]*)?(?:/.*)?)"
UNKNOWN_TYPE = "unknown"
"""The type of a column whose type is not known: OpenMetadata, and DataHub before 2026, need one."""


def mend_dataset_facets(document: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Return the event with facets of datasets that every backend takes, and a warning for each that was changed.

    - schema: a column without a name is left out, a long name is cut, a type that is not known is `unknown`;
    - columnLineage: what names no column or no origin is left out, and the facet if nothing is left of it;
    - symlinks: what names no dataset is left out, and the facet if nothing is left of it;
    - dataSource: added where the namespace is an address.
    """
    warnings: list[str] = []
    mended = dict(document)
    for side in ("inputs", "outputs"):
        mended[side] = [_entry(entry, side.removesuffix("s"), warnings) for entry in document[side]]
    return mended, warnings


def _entry(entry: dict[str, Any], side: str, warnings: list[str]) -> dict[str, Any]:
    namespace, name, facets = entry["namespace"], entry["name"], dict(entry.get("facets") or {})
    for key, mend in _MENDERS.items():
        if isinstance(given := facets.get(key), dict):
            notes: list[str] = []
            if (own := mend(given, notes)) is None:
                del facets[key]
            else:
                facets[key] = own
            warnings.extend(f"{side} {cut(name, _MAX_SHOWN)!r}, facet {key!r}: {note}" for note in notes)
    if source := _data_source(clean_namespace(namespace)):
        own = facets.get("dataSource")
        # Marquez answers 500 to a source without a name.
        given = {key: value for key, value in own.items() if value} if isinstance(own, dict) else {}
        facets["dataSource"] = {**source, **given}
    mended = {key: value for key, value in entry.items() if key != "facets"}
    return {**mended, "facets": facets} if facets else mended


def _data_source(namespace: str) -> dict[str, Any] | None:
    """Return the facet for a namespace that is an address, else None."""
    found = compiled(_ADDRESS).fullmatch(namespace)
    if found is None:
        return None
    # The specification wants a URI: postgres://_::1_:5432 is none.
    user, host = (compiled("[:@]").sub("_", part) for part in (found["user"] or "", found["host"]))
    scheme = found["scheme"].replace("_", "-")
    return facet("DatasourceDatasetFacet", name=namespace, uri=f"{scheme}://{user and user + '@'}{host}{found['rest']}")


def _schema(given: dict[str, Any], notes: list[str]) -> dict[str, Any] | None:
    fields = given.get("fields", [])
    if not isinstance(fields, list):
        notes.append("left out: its fields are not a list")
        return None
    return {**given, "fields": _columns(fields, notes)}


def _columns(fields: list[Any], notes: list[str]) -> list[dict[str, Any]]:
    columns = []
    nameless = 0
    for field in fields:
        name = _column_name(field.get("name") if isinstance(field, dict) else None, notes)
        if not name:
            nameless += 1
            continue
        kind = field.get("type")
        column = {**field, "name": name, "type": kind if isinstance(kind, str) and kind.strip() else UNKNOWN_TYPE}
        if isinstance(nested := field.get("fields"), list):
            column["fields"] = _columns(nested, notes)
        columns.append(column)
    if nameless:
        notes.append(f"{nameless} of its {len(fields)} columns left out: without a name")
    return columns


def _column_name(given: Any, notes: list[str]) -> str:
    """Return the name of a column, cut to what can be stored; empty if it has none."""
    name = str(given) if isinstance(given, (str, int, float)) else ""
    if len(name) > _MAX_COLUMN_NAME:
        notes.append(f"the name of column {cut(name, _MAX_SHOWN)!r} is cut to {_MAX_COLUMN_NAME} characters")
    return name[:_MAX_COLUMN_NAME] if name.strip() else ""


def _column_lineage(given: dict[str, Any], notes: list[str]) -> dict[str, Any] | None:
    fields = given.get("fields")
    columns = {}
    for given_name, origins in fields.items() if isinstance(fields, dict) else ():
        found = origins.get("inputFields") if isinstance(origins, dict) else None
        name = _column_name(given_name, notes)
        what = f"what names no column or no origin, at column {cut(name, _MAX_SHOWN)!r}"
        kept = _identifiers(found, ("namespace", "name", "field"), what, notes)
        if kept and not name:
            notes.append(f"left out {what}")
        elif kept:
            columns[name] = {
                **origins,
                "inputFields": [{**each, "field": _column_name(each["field"], notes)} for each in kept],
            }
    own = {**given, "fields": columns}
    if "dataset" in given:
        what = "what names no column or no origin, for the whole dataset"
        own["dataset"] = _identifiers(given["dataset"], ("namespace", "name", "field"), what, notes)
    return own if columns or own.get("dataset") else None


def _symlinks(given: dict[str, Any], notes: list[str]) -> dict[str, Any] | None:
    kept = _identifiers(given.get("identifiers"), ("namespace", "name"), "what names no dataset", notes)
    return {**given, "identifiers": [{"type": "TABLE", **each} for each in kept]} if kept else None


def _identifiers(given: Any, keys: tuple[str, ...], what: str, notes: list[str]) -> list[dict[str, Any]]:
    """Return those of a list that have a text that is not blank under each key; `what` says what the others are."""
    found = given if isinstance(given, list) else []
    kept = [each for each in found if isinstance(each, dict) and all(_is_named(each.get(key)) for key in keys)]
    if given and (not found or len(kept) < len(found)):
        notes.append(f"left out {what}")
    return kept


def _is_named(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


_MENDERS: dict[str, Callable[[dict[str, Any], list[str]], dict[str, Any] | None]] = {
    "schema": _schema,
    "columnLineage": _column_lineage,
    "symlinks": _symlinks,
}
