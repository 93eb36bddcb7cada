"""Names: from a URI, a path, a pair or a mapping to OpenLineage's namespace and name.

Names follow https://openlineage.io/docs/spec/naming. Two jobs meet on the lineage graph only if both spell a dataset
the same way, so aliases (`postgresql`, `s3a`), default ports and user names are normalised away.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from os.path import abspath
from typing import Any, NamedTuple

from openlineage_pod._redaction.names import compiled
from openlineage_pod.datasets.paths import is_path, path_text
from openlineage_pod.datasets.stores import (
    COLLECTION,
    CONSTANT,
    CONTAINER,
    FILE,
    ROOTED_PATH,
    STORES,
    TABLE,
    Store,
    similar,
)
from openlineage_pod.datasets.uri import (
    EXAMPLES,
    NotUnderstoodError,
    Parts,
    Templates,
    is_connection_string,
    read_oracle,
    read_url,
    scheme_of,
    shown,
)
from openlineage_pod.events.addresses import is_host_list, is_template, without_credentials
from openlineage_pod.events.namespaces import clean_namespace, why_unclean
from openlineage_pod.events.texts import cut, storable_text

__all__ = ["Named", "name_of"]

_REMOVED = "credentials were removed from its {}; leave them out of the names of datasets"
_NOT_RENDERED = "is a template that was not rendered"
_LOCAL = ("/", "./", "../")
_PREFIX = r"[A-Za-z][\w+.\-]+(?=:)"


class Named(NamedTuple):
    """The names of a dataset, and what its user should know of how they were read."""

    namespace: str
    name: str
    warnings: tuple[str, ...] = ()


def name_of(source: Any) -> Named:
    """Return the namespace and the name of a dataset.

    Args:
        source: A URI or local path, a path object, a `(namespace, name)` pair, OpenLineage's JSON form, or an object
            with both attributes, such as openlineage-python's datasets.

    Raises:
        NotUnderstoodError: `source` does not name a dataset.

    """
    if isinstance(source, str):
        is_uri = type(source) is str and source[:1].isalpha() and "://" in source
        return _of_uri(source) if is_uri else _from_text(source)
    if is_path(source):
        text = path_text(source)
        return Named("file", storable_text(text)) if text.startswith("/") else _from_text(text)
    namespace: Any
    name: Any
    if isinstance(source, Mapping):
        namespace, name = source.get("namespace"), source.get("name")
        if not _are_texts(namespace, name):
            raise NotUnderstoodError('the object lacks "namespace" or "name"; both must be texts')
    elif isinstance(source, (tuple, list)):
        if len(source) != 2 or not _are_texts(*source):  # noqa: PLR2004
            raise NotUnderstoodError(
                f"a {type(source).__name__} must be a (namespace, name) pair of texts, as {EXAMPLES}"
            )
        namespace, name = source
    else:
        namespace, name = getattr(source, "namespace", None), getattr(source, "name", None)
        if not _are_texts(namespace, name):
            raise NotUnderstoodError(f"{type(source).__name__} is not a type of dataset; give {EXAMPLES}")
    return _as_given(namespace, name)


def _are_texts(*values: Any) -> bool:
    return all(isinstance(value, str) and value.strip() for value in values)


def _as_given(namespace: str, name: str) -> Named:
    """Return a namespace and a name as they are, but without credentials, and of several hosts the first one."""
    own_namespace, own_name = without_credentials(namespace), without_credentials(name, is_name=True)
    warnings = []
    if own_namespace != namespace:
        warnings.append(_REMOVED.format("namespace"))
    if own_name != name:
        warnings.append(_REMOVED.format("name"))
    if not own_namespace.strip() or not own_name.strip():
        raise NotUnderstoodError("its namespace or name is a credential")
    return Named(_one_host(own_namespace), own_name, tuple(warnings))


def _one_host(namespace: str) -> str:
    """Return a namespace of several hosts with the first one, and its default port."""
    scheme = scheme_of(namespace)
    if not scheme or "," not in namespace:
        return namespace
    try:
        parts = read_url(namespace, is_database=False)
    except NotUnderstoodError:
        return namespace
    path = f"/{parts.path}" if parts.path else ""
    return f"{scheme}://{parts.first_host(STORES.get(scheme, Store(scheme)).default_port)}{path}"


def _from_text(text: str) -> Named:
    """Read a URI or the path of a local file, which may have templates in it."""
    text = storable_text(text.strip())
    templates = Templates(text)
    try:
        hidden, hidden_name, warnings = _read(templates.text)
    except NotUnderstoodError:
        if templates.text == text:
            raise
        raise NotUnderstoodError(f"{shown(text)} {_NOT_RENDERED}; give {EXAMPLES}") from None
    namespace, name = templates.flattened(hidden), templates.restored(hidden_name)
    clean = clean_namespace(namespace)
    if namespace != hidden:
        warnings = (*warnings, f"its namespace is sent as {cut(clean, 100)!r}: it {_NOT_RENDERED}")
    elif clean != namespace:
        warnings = (*warnings, f"its namespace is sent as {cut(clean, 100)!r}: it {why_unclean(namespace)}")
    elif is_template(name, is_name=True):
        warnings = (*warnings, f"its name {_NOT_RENDERED}")
    return Named(clean, name, warnings)


# What a job of many runs names again and again. Local paths are left out: they depend on the current folder.
_of_uri = lru_cache(maxsize=1024)(_from_text)


def _read(uri: str) -> Named:
    if uri.startswith("arn:"):  # arn:aws:glue:region:account/table/db/name
        namespace, _, name = uri.partition("/")
        return Named(namespace, _checked(name, uri))
    parts = read_oracle(uri)
    if parts is None and ("://" not in uri or uri.startswith(_LOCAL)):
        return _without_authority(uri)
    scheme = scheme_of(uri) if parts is None else parts.scheme
    store = STORES.get(scheme) or Store(scheme)
    is_database = store.shape in (TABLE, CONSTANT) or (scheme not in STORES and uri[:5].lower() == "jdbc:")
    if parts is None:
        parts = read_url(uri, is_database=is_database, has_users=store.shape != ROOTED_PATH)
    if store.shape == TABLE and not is_host_list(parts.authority):
        raise NotUnderstoodError(f"the host and port of {shown(uri)} cannot be read; give {EXAMPLES}")
    warnings = (_REMOVED.format("URI"),) if parts.has_credentials else ()
    if scheme not in STORES and (meant := similar(scheme)):
        warnings = (*warnings, f"unknown scheme {scheme!r}, sent as written; did you mean {meant!r}?")
    return Named(*_in_store(store, parts, uri), warnings)


def _in_store(store: Store, parts: Parts, uri: str) -> tuple[str, str]:
    path = parts.path
    if store.shape == CONSTANT:
        name = f"{parts.authority}/{path}".strip("/")
        return store.scheme, _checked("" if "://" in name else name, uri)
    if store.shape == FILE:
        is_local = parts.authority in ("", "localhost")
        return "file" if is_local else f"file://{parts.authority}", _checked(path and f"/{path}", uri)
    if not parts.authority:
        # A file that needs no server, such as sqlite:///var/db/crm.db.
        return store.scheme, _checked(path and f"/{path}", uri)
    authority = parts.first_host(store.default_port)
    if store.shape == CONTAINER and parts.user:
        authority = f"{parts.user.partition(':')[0]}@{authority}"
    namespace = f"{store.scheme}://{authority}"
    if store.shape == COLLECTION:
        database, _, collection = path.partition("/colls/")
        return f"{namespace}/{database}", _checked(collection and f"colls/{collection}", uri)
    if store.shape == ROOTED_PATH:
        path = path and f"/{path}"
    elif store.shape == TABLE:
        path = path.strip("/").replace("/", ".")
    return namespace, _checked(path, uri)


def _without_authority(uri: str) -> Named:
    """Read `bigquery:project.dataset.table`, `pubsub:topic:project:name` or the path of a local file."""
    prefix = compiled(_PREFIX).match(uri)
    store = STORES.get(prefix[0].lower()) if prefix else None
    if is_connection_string(uri):
        raise NotUnderstoodError(
            f"{shown(uri)} is a connection string or has credentials in it, and names no dataset; give {EXAMPLES}"
        )
    if prefix and store is not None and store.shape == CONSTANT:
        return Named(store.scheme, _checked(uri[prefix.end() + 1 :], uri))
    if prefix and "/" in uri:
        raise NotUnderstoodError(
            f"{shown(uri)} has a scheme but no host; give {EXAMPLES}, for a local file {shown('./' + uri)}"
        )
    if "/" in uri:
        return Named("file", abspath(uri))
    raise NotUnderstoodError(
        f"{shown(uri)} does not say where the dataset is; give {EXAMPLES}, "
        f"for a local file {shown('./' + (uri or 'name'))}"
    )


def _checked(name: str, uri: str) -> str:
    name = name.rstrip("/")
    if not name.strip():
        raise NotUnderstoodError(f"{shown(uri.partition('?')[0])} names no dataset; give {EXAMPLES}")
    return name
