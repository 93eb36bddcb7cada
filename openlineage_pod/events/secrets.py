"""The credentials that this process knows, and their masking in all that leaves it.

`SECRETS` is the one object that knows them. In a text a credential is masked; in what identifies something, such as the
namespace and the name of a dataset, it is removed, for a masked name would be that of another dataset.
"""

from __future__ import annotations

import os
import re
from contextlib import suppress
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

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
# Characters of a credential that are known: what follows the beginning of a longer one is masked with it.
_MAX_SECRET = 8192
# Characters of a text that is cached, and how many are.
_MAX_CACHED = 300
_MAX_ENTRIES = 1000
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
        self._maskings = {True: _Masking(), False: _Masking(by_form=False)}
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
            for spelling in spellings(secret[:_MAX_SECRET]):
                if len(spelling) >= _MIN_SECRET:
                    self._known[spelling] = None
            self._added.add(secret)

    def text(self, text: str) -> str:
        """Return `text` with its credentials masked, also what only looks like one."""
        masked: str = self._current().texts[text]
        return masked

    def document(self, value: Any, *, by_form: bool = True) -> Any:
        """Return JSON-ready data, such as an event or a dataset, without credentials.

        Texts are masked. From names, namespaces and what else identifies something a credential is removed, with one
        warning: what is one by the grammar of URLs, and known ones of at least 12 characters.

        Args:
            value: the data; it is not changed.
            by_form: whether to mask also what only looks like a credential.

        """
        return _Walk(self._current(by_form=by_form), self._warn).of(value)

    def _current(self, *, by_form: bool = True) -> _Masking:
        for environ in list(self._unread):
            self.add(in_environment(environ))
            with suppress(ValueError):  # another thread was here, too
                self._unread.remove(environ)
        if (size := len(self._environ)) != self._environ_size:  # the job may set variables while it runs
            self.add(in_environment(self._environ))
            self._environ_size = size
        masking = self._maskings[by_form]
        if masking.size != len(self._known):
            masking = self._maskings[by_form] = _Masking(self._known, by_form=by_form)
        return masking

    def _warn(self, what: str) -> None:
        if what not in self._warned and len(self._warned) < _MAX_WARNINGS:
            self._warned[what] = None
            logger.warning("a credential was removed from the name %r; give names without credentials", what)


class _Cache(dict[str, Any]):
    """What a function makes of texts that come again in every event: names, types, URLs, keys."""

    def __init__(self, make: Callable[[str], Any]) -> None:
        super().__init__()
        self._make = make

    def __missing__(self, text: str) -> Any:
        made = self._make(text)
        if len(text) <= _MAX_CACHED:
            if len(self) >= _MAX_ENTRIES:
                self.clear()
            self[text] = made
        return made


class _Masking:
    """What is made of the credentials known at one moment.

    Attributes:
        texts: a text, masked.
        names: the name of something, without credentials.
        addresses: the same for a namespace or URI.
        keys: a key, masked, and whether it names a credential.

    """

    def __init__(self, known: Iterable[str] = (), *, by_form: bool = True) -> None:
        known = tuple(known)
        self.size = len(known)
        in_text = _expression(known)
        # A word is no credential in a key: the facet `airflow`, the column `password`.
        in_keys = _expression(each for each in known if len(each) >= _MIN_IN_NAMES or not each.isalpha())
        in_names = _expression(each for each in known if len(each) >= _MIN_IN_NAMES)

        def text(text: str) -> str:
            shown = in_text.sub(MASK, text) if in_text else text
            return redact(shown) if by_form else shown

        def key(key: str) -> tuple[str, bool]:
            shown = in_keys.sub(MASK, key) if in_keys else key
            return (redact(shown), is_credential_name(key)) if by_form else (shown, False)

        def name(name: str, *, is_name: bool = True) -> str:
            clean = in_names.sub("", name) if in_names and len(name) >= _MIN_IN_NAMES else name
            if by_form:
                clean = remove_tokens(without_credentials(clean, is_name=is_name))
            return clean if clean.strip() or not name else "_"

        self.texts, self.keys, self.names = _Cache(text), _Cache(key), _Cache(name)
        self.addresses = _Cache(lambda address: name(address, is_name=False))


def _expression(known: Iterable[str]) -> re.Pattern[str] | None:
    # The longest first: one credential may contain another.
    patterns = [pattern for each in sorted(known, key=len, reverse=True) for pattern in _patterns(each)]
    return re.compile("|".join(patterns)) if patterns else None


def _patterns(secret: str) -> Iterable[str]:
    if len(secret) < _MIN_INSIDE:
        yield rf"(?<!\w){re.escape(secret)}(?!\w)"
        return
    # The password `postgres` is not masked in postgres://, which tells where further passwords stand.
    yield re.escape(secret) if not secret.isalpha() else rf"{re.escape(secret)}(?!\w{{0,32}}://)"
    if len(secret) >= _LONG:
        yield rf"{re.escape(secret[:_LONG_BEGINNING])}[^\s'\"]*"
    if len(secret) >= _MIN_CUT:
        yield rf"{re.escape(secret[:_BEGINNING])}[^\s'\"…]{{0,200}}?(?=\.\.\.|…)"


class _Walk:
    """Masks one document: each text by its place."""

    def __init__(self, masking: _Masking, warn: Callable[[str], None]) -> None:
        self._masking = masking
        self._warn = warn

    def of(self, value: Any, identifiers: frozenset[str] = _IDENTIFIERS, key: str = "") -> Any:
        """Return a value without credentials.

        Args:
            value: JSON-ready data.
            identifiers: the keys whose texts identify something, at this place of the document.
            key: the key of the value.

        """
        if isinstance(value, str):
            return self._masking.texts[value]
        if isinstance(value, list):
            return [
                self._name(item, key)
                if key in identifiers and isinstance(item, str)
                else MASK
                if self._is_argument(item, before)
                else self.of(item, identifiers, key)
                for before, item in zip([None, *value], value, strict=False)
            ]
        return self._mapping(value, identifiers, key) if isinstance(value, dict) else value

    def _mapping(self, mapping: dict[str, Any], identifiers: frozenset[str], key: str) -> dict[str, Any]:
        is_pair = mapping.keys() >= _PAIR
        own = identifiers | _PAIR if is_pair else identifiers
        is_columns = key == "fields" and key in identifiers
        is_setting = "value" in mapping and self._is_setting(mapping)
        masked: dict[str, Any] = {}
        for name, item in mapping.items():
            shown, names_credential = self._masking.keys[name]
            if is_columns:
                shown = self._name(name, key)
            below = identifiers
            if key in _FACETS:
                below = _IDENTIFIERS if name in _SPECIFIED else _OF_ANY_FACET
            if name in own and isinstance(item, str):
                masked[shown] = self._name(item, name, mapping if is_pair else {})
            elif (names_credential or (is_setting and name == "value")) and is_credential_value(name, item):
                masked[shown] = [MASK] * len(item) if isinstance(item, list) else MASK
            else:
                masked[shown] = self.of(item, below, name)
        return masked

    def _name(self, name: str, key: str, pair: Mapping[str, Any] = MappingProxyType({})) -> str:
        """Return the name under a key without credentials; `pair` has the namespace and name that it is part of."""
        clean: str = self._of(key)[name]
        if clean != name:
            parts = [part for part in ("namespace", "name") if isinstance(pair.get(part), str)]
            self._warn("/".join(self._of(part)[pair[part]] for part in parts) or clean)
        return clean

    def _of(self, key: str) -> _Cache:
        return self._masking.addresses if key in _ADDRESSES else self._masking.names

    def _is_argument(self, item: Any, before: Any) -> bool:
        """Return whether an item of a list is the credential behind an option: --password, secret."""
        is_behind_option = isinstance(before, str) and before.startswith("--") and self._masking.keys[before][1]
        return is_behind_option and isinstance(item, str) and not item.startswith("--")

    def _is_setting(self, mapping: dict[str, Any]) -> bool:
        names = (mapping.get(key) for key in _NAME_OF_SETTING)
        return any(isinstance(name, str) and self._masking.keys[name][1] for name in names)


SECRETS = Secrets(environ=os.environ)
"""The credentials of this process."""
mask_log_lines(SECRETS.text)
