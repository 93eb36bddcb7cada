"""The credentials that this process knows, and their masking in all that leaves it.

`SECRETS` is the one object that knows them. In a text a credential is masked; in what identifies something, such as the
namespace and the name of a dataset, it is removed, for a masked name would be that of another dataset.
"""

from __future__ import annotations

import os
import re
from functools import lru_cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from openlineage_pod._guard import logger, mask_log_lines
from openlineage_pod._redaction.forms import redact, remove_tokens
from openlineage_pod._redaction.names import MASK, is_credential_name, is_credential_value, words
from openlineage_pod.events.addresses import without_credentials
from openlineage_pod.events.credentials import in_environment, in_files, spellings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

__all__ = ["SECRETS", "Secrets"]

_MIN_SECRET = 3
# Shorter ones are masked only where they stand as a whole word: `token` is no part of `max_tokens`.
_MIN_INSIDE = 6
# Shorter ones stay in names: a database called `warehouse` may have the password `warehouse`.
_MIN_IN_NAMES = 12
# A message may be cut within a credential: its beginning is masked with what follows it.
_MIN_CUT, _BEGINNING = 12, 8
_LONG, _LONG_BEGINNING = 32, 24
# The same names, types, URLs and keys come again in every event. Cached: 256 texts of at most so many characters.
_MAX_CACHED = 300
_MAX_WARNINGS = 1000

# Facets of the specification, whose fields below identify something. In other facets only pairs of both fields do.
_SPECIFIED = words(
    "parent schema symlinks columnLineage dataSource jobType jobDependencies lifecycleStateChange catalog "
    "storage hierarchy datasetType datasetVersion version ownership processing_engine errorMessage lineage "
    "sourceCodeLocation kubernetes_pod"
)
_IDENTIFIERS = words(
    "eventType eventTime producer schemaURL runId namespace name field fields type subtype uri processingType "
    "integration jobType programmingLanguage _producer _schemaURL"
)
_OF_ANY_FACET = frozenset(("_producer", "_schemaURL"))
_PAIR = frozenset(("namespace", "name"))
# {"name": "PGPASSWORD", "value": "…"}: an environment, a tag, a property
_NAME_OF_SETTING = ("name", "key")
_ADDRESSES = ("namespace", "uri")
_FACETS = frozenset(("facets", "inputFacets", "outputFacets"))


class Secrets:
    """Masks the credentials that it knows wherever they stand, and what looks like one by its form.

    Args:
        known: credentials such as the configured API keys.
        environ: an environment whose credentials are known at any time.

    """

    def __init__(self, known: Iterable[str] = (), environ: Mapping[str, str] | None = None) -> None:
        # A dictionary, and never emptied: adding to it is one atomic step, also for several threads.
        self._known: dict[str, None] = {}
        self._added: set[str] = set()
        self._environ: Mapping[str, str] = {} if environ is None else environ
        self._environ_size = 0
        self._unread: list[Mapping[str, str]] = []
        self._warned: dict[str, None] = {}
        self._masking = _Masking.of(())
        self.add(known)

    def learn(self, environ: Mapping[str, str]) -> None:
        """Know the credentials in an environment, from the next text on. Cheap: reads nothing yet."""
        self._unread.append(environ)

    def read(self, environ: Mapping[str, str]) -> None:
        """Know the credentials in an environment and in the files that it names. Not on the job's thread."""
        self.add(in_environment(environ))
        self.add(in_files(environ))

    def add(self, credentials: Iterable[str]) -> None:
        """Mask these, too, from now on. Those below 3 characters are left out: too much would be masked."""
        for secret in credentials:
            if secret in self._added:
                continue
            for spelling in spellings(secret):
                if len(spelling) >= _MIN_SECRET:
                    self._known[spelling] = None
            self._added.add(secret)

    def text(self, text: str) -> str:
        """Return `text` with its credentials masked, also what only looks like one."""
        return self._current().text(text)

    def document(self, value: Any, *, by_form: bool = True) -> Any:
        """Return JSON-ready data, such as an event or a dataset, without credentials.

        Texts are masked. From names, namespaces and what else identifies something a credential is removed, with one
        warning: what is one by the grammar of URLs, and known ones of at least 12 characters.

        Args:
            value: the data; it is not changed.
            by_form: whether to mask also what only looks like a credential.

        """
        return _Walk(self._current(), self._warn, by_form=by_form).of(value)

    def _current(self) -> _Masking:
        for environ in list(self._unread):
            self.add(in_environment(environ))
            self._unread.remove(environ)
        if (size := len(self._environ)) != self._environ_size:  # the job may set variables while it runs
            self.add(in_environment(self._environ))
            self._environ_size = size
        if self._masking.size != len(self._known):
            self._masking = _Masking.of(tuple(self._known))
        return self._masking

    def _warn(self, what: str) -> None:
        if what not in self._warned and len(self._warned) < _MAX_WARNINGS:
            self._warned[what] = None
            logger.warning("a credential was removed from the name %r; give names without credentials", what)


class _Masking(NamedTuple):
    """What is made of the credentials known at one moment."""

    size: int
    known: Callable[[str], str]
    text: Callable[[str], str]
    name: Callable[[str, str, bool], str]
    key: Callable[[str, bool], tuple[str, bool]]

    @classmethod
    def of(cls, known: tuple[str, ...]) -> _Masking:
        in_text = _expression(known)
        # A word is no credential in a key: the facet `airflow`, the column `password`.
        in_keys = _expression(each for each in known if len(each) >= _MIN_IN_NAMES or not each.isalpha())
        in_names = _expression(each for each in known if len(each) >= _MIN_IN_NAMES)

        def without_known(text: str) -> str:
            return in_text.sub(MASK, text) if in_text else text

        def text(text: str) -> str:
            return redact(without_known(text))

        def name(name: str, key: str, by_form: bool) -> str:
            changed = in_names.sub("", name) if in_names else name
            if by_form:
                changed = remove_tokens(without_credentials(changed, is_name=key not in _ADDRESSES))
            return changed if changed.strip() or not name else "_"

        def key(key: str, by_form: bool) -> tuple[str, bool]:
            shown = in_keys.sub(MASK, key) if in_keys else key
            return (redact(shown), is_credential_name(key)) if by_form else (shown, False)

        return cls(len(known), _cached(without_known), _cached(text), _cached(name), _cached(key))


def _cached(function: Callable[..., Any]) -> Callable[..., Any]:
    cached = lru_cache(maxsize=256)(function)

    def call(text: str, *arguments: Any) -> Any:
        return (cached if len(text) <= _MAX_CACHED else function)(text, *arguments)

    return call


def _expression(known: Iterable[str]) -> re.Pattern[str] | None:
    # The longest first: one credential may contain another.
    patterns = [pattern for each in sorted(known, key=len, reverse=True) for pattern in _patterns(each)]
    return re.compile("|".join(patterns)) if patterns else None


def _patterns(secret: str) -> Iterable[str]:
    if len(secret) < _MIN_INSIDE:
        yield rf"(?<!\w){re.escape(secret)}(?!\w)"
        return
    yield re.escape(secret)
    if len(secret) >= _LONG:
        yield rf"{re.escape(secret[:_LONG_BEGINNING])}[^\s'\"]*"
    if len(secret) >= _MIN_CUT:
        yield rf"{re.escape(secret[:_BEGINNING])}[^\s'\"…]{{0,200}}?(?=\.\.\.|…)"


class _Walk:
    """Masks one document: each text by its place."""

    def __init__(self, masking: _Masking, warn: Callable[[str], None], *, by_form: bool) -> None:
        self._masking = masking
        self._warn = warn
        self._by_form = by_form

    def of(self, value: Any, identifiers: frozenset[str] = _IDENTIFIERS, key: str = "") -> Any:
        """Return a value without credentials.

        Args:
            value: JSON-ready data.
            identifiers: the keys whose texts identify something, at this place of the document.
            key: the key of the value.

        """
        if isinstance(value, str):
            return self._masking.text(value) if self._by_form else self._masking.known(value)
        if isinstance(value, list):
            return [
                self._name(item, key) if self._is_name(key, item, identifiers) else self.of(item, identifiers, key)
                for item in value
            ]
        return self._mapping(value, identifiers, key) if isinstance(value, dict) else value

    def _mapping(self, mapping: dict[str, Any], identifiers: frozenset[str], key: str) -> dict[str, Any]:
        is_pair = mapping.keys() >= _PAIR
        own = identifiers | _PAIR if is_pair else identifiers
        is_columns = key == "fields" and key in identifiers
        is_setting = self._by_form and any(
            isinstance(name := mapping.get(each), str) and is_credential_name(name) for each in _NAME_OF_SETTING
        )
        masked: dict[str, Any] = {}
        for name, item in mapping.items():
            shown, names_credential = self._masking.key(name, self._by_form)
            if is_columns:
                shown = self._name(name, key)
            below = identifiers
            if key in _FACETS:
                below = _IDENTIFIERS if name in _SPECIFIED else _OF_ANY_FACET
            if self._is_name(name, item, own):
                masked[shown] = self._name(item, name, mapping if is_pair else {})
            elif (names_credential or (is_setting and name == "value")) and is_credential_value(name, item):
                masked[shown] = [MASK] * len(item) if isinstance(item, list) else MASK
            else:
                masked[shown] = self.of(item, below, name)
        return masked

    @staticmethod
    def _is_name(key: str, item: Any, identifiers: frozenset[str]) -> bool:
        return isinstance(item, str) and key in identifiers

    def _name(self, name: str, key: str, pair: Mapping[str, Any] = MappingProxyType({})) -> str:
        """Return the name under a key without credentials; `pair` has the namespace and name that it is part of."""
        clean: str = self._masking.name(name, key, self._by_form)
        if clean != name:
            parts = [(part, pair[part]) for part in ("namespace", "name") if isinstance(pair.get(part), str)]
            whole = "/".join(self._masking.name(text, part, self._by_form) for part, text in parts)
            self._warn(whole or clean)
        return clean


SECRETS = Secrets(environ=os.environ)
"""The credentials of this process."""
mask_log_lines(SECRETS.text)
