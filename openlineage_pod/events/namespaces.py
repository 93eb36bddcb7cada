"""Dataset namespaces: what a backend can store, and what to send in place of anything else.

Marquez stores a namespace unchecked and validates it on each read. A single wrong one makes it answer 500 to
`/namespaces` and `/jobs` for everybody and for good. A dataset with a blank name costs all datasets of the event: it
answers 400. Job namespaces are not checked here: Marquez cleans them itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from openlineage_pod._redaction.names import compiled
from openlineage_pod.events.addresses import is_template, without_credentials
from openlineage_pod.events.texts import cut

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["clean_namespace", "clean_namespaces", "is_storable", "why_unclean"]

# https://github.com/MarquezProject/marquez: marquez.common.models.NamespaceName
_FORBIDDEN = r"[^a-zA-Z:;=/0-9_\-.@+]"
_MAX_LENGTH = 1024
# Levels of a facet: identifiers stand in the first few, and a log line may hold thousands.
_MAX_DEPTH = 64
# kafka://b1:9092,b2:9092 is the cluster that its first host leads to.
_FURTHER_HOSTS = r"^([a-zA-Z][\w+.\-]*://)(?:[A-Z][A-Z_]*://)?([^,/]*)(?:,[^,/]*(?://[^,/]*)?)*"
# No namespace is longer than this with the credentials in it; the rest is cut in any case.
_MAX_READ = 4 * _MAX_LENGTH
_MAX_SHOWN = 100
_SIDES = ("inputs", "outputs")
_KINDS = ("facets", "inputFacets", "outputFacets")


def is_storable(namespace: str) -> bool:
    """Return whether every backend can store a namespace as it is."""
    return 0 < len(namespace) <= _MAX_LENGTH and not compiled(_FORBIDDEN).search(namespace)


def clean_namespace(namespace: str) -> str:
    """Return a dataset namespace that every backend can store.

    Credentials are removed, and of several hosts the first one stays. Each other character that cannot be stored
    becomes `_`.
    """
    return compiled(_FORBIDDEN).sub("_", _readable(namespace))[:_MAX_LENGTH] or "_"


def _readable(namespace: str) -> str:
    """Return a namespace without credentials, with one host."""
    own = without_credentials(namespace[:_MAX_READ])
    return compiled(_FURTHER_HOSTS).sub(r"\1\2", own) if "," in own or own.count("://") > 1 else own


def why_unclean(namespace: str) -> str:
    """Return why a namespace cannot be sent as it is; empty if a known rule says what to send."""
    given = namespace[:_MAX_READ]
    if without_credentials(given) != given:
        return "had credentials in it, which were removed"
    if clean_namespace(namespace) == _readable(namespace):
        return ""
    if is_template(namespace):
        return "is a template that was not rendered"
    return f"has characters that a backend cannot store, or not 1 to {_MAX_LENGTH} of them"


def clean_namespaces(document: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Return the event with namespaces that every backend can store, and a warning for each one that was changed.

    It looks at the inputs, the outputs, and every facet that names datasets (symlinks, columnLineage, lineage, …).
    A dataset without a name or namespace is left out. `document` stays as it is; what is not the JSON of an event is
    passed on.
    """
    warnings: list[str] = []
    clean = dict(document)
    for side in _SIDES:
        if isinstance(entries := document.get(side), list):
            clean[side] = [kept for entry in entries for kept in _entry(entry, side.removesuffix("s"), warnings)]
    for owner in ("run", "job"):
        holder = document.get(owner)
        facets = holder.get("facets") if isinstance(holder, dict) else None
        if isinstance(facets, dict) and "lineage" in facets:
            lineage = _identifiers(facets["lineage"], f"{owner} facet 'lineage'", warnings)
            clean[owner] = {**document[owner], "facets": {**facets, "lineage": lineage}}
    return clean, list(dict.fromkeys(warnings))


def _entry(entry: Any, side: str, warnings: list[str]) -> list[Any]:
    """Return an input or output with clean namespaces, as a list that is empty if it does not name a dataset."""
    if not isinstance(entry, dict):
        return [entry]
    namespace, name = (given if isinstance(given, str) else "" for given in map(entry.get, ("namespace", "name")))
    own_name = without_credentials(name, is_name=True)
    where = f"{side} {cut(own_name, _MAX_SHOWN)!r}"
    if not namespace.strip() or not own_name.strip():
        shown = cut(clean_namespace(namespace), _MAX_SHOWN)
        warnings.append(f"{where} of namespace {shown!r} is left out: it lacks a name or a namespace")
        return []
    clean = {
        **entry,
        "namespace": _cleaned(namespace, where, warnings),
        "name": _cleaned_name(name, where, warnings),
    }
    for kind in _KINDS:
        if isinstance(facets := entry.get(kind), dict):
            clean[kind] = {
                key: _source(facet)
                if key == "dataSource"
                else _identifiers(facet, f"{where}, facet {cut(key, _MAX_SHOWN)!r}", warnings)
                for key, facet in facets.items()
            }
    return [clean]


def _source(facet: Any) -> Any:
    """Return the facet `dataSource` with an address that can be stored."""
    if not isinstance(facet, dict):
        return facet
    addresses = {key: facet[key] for key in ("name", "uri") if isinstance(facet.get(key), str)}
    return {**facet, **{key: clean_namespace(address) for key, address in addresses.items()}}


def _identifiers(value: Any, where: str, warnings: list[str], depth: int = 0) -> Any:
    """Return a part of a facet with clean namespaces wherever it names a dataset."""
    if depth > _MAX_DEPTH or not isinstance(value, (dict, list)):
        return value
    if isinstance(value, list):
        return [_identifiers(item, where, warnings, depth + 1) for item in value]
    namespace = value.get("namespace")
    names_dataset = ("name" in value or "field" in value) and value.get("type") != "JOB"
    found = {
        # Most items are texts, and a call for each would double the time.
        key: _identifiers(item, where, warnings, depth + 1) if isinstance(item, (dict, list)) and key != "job" else item
        for key, item in value.items()
    }
    if isinstance(namespace, str) and names_dataset:
        found["namespace"] = _cleaned(namespace, where, warnings)
        if isinstance(name := value.get("name"), str):
            found["name"] = _cleaned_name(name, where, warnings)
    return found


def _cleaned(namespace: str, where: str, warnings: list[str]) -> str:
    clean = clean_namespace(namespace)
    if clean != namespace and (reason := why_unclean(namespace)):
        # Not at the end: there ://_::1_:5432 is taken for a password that was cut.
        warnings.append(f"{where}: its namespace is sent as {cut(clean, _MAX_SHOWN)!r}: it {reason}")
    return clean


def _cleaned_name(name: str, where: str, warnings: list[str]) -> str:
    clean = without_credentials(name, is_name=True)
    if clean != name:
        warnings.append(f"{where}: credentials were removed from a name")
    return clean
