"""The credentials that this process knows, and their masking in all that leaves it."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from contextlib import suppress
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from openlineage_pod import environment
from openlineage_pod._redaction import MASK, is_credential_name, redact

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Secrets"]

_MIN_SECRET = 4
# The same names, types, URLs and keys come again in every event. Cached: 256 texts of at most so many characters.
_MAX_CACHED = 300
_MAX_KEY_FILE = 64 * 1024
# What holds a credential by its name, in openlineage-python's configuration and in that of Kafka and the like.
_SECRET_NAME = re.compile(r"(?i)key|token|secret|passw|credential|auth|header")
_NO_SECRET_NAME = re.compile(r"(?i)(type|path|url|endpoint|location|message_?key|user(name)?|key_?id)$")
_AROUND_KEY = re.compile(r"(?i)^(?:[\s'\"]|authorization\s*:|bearer\s)+|[\s'\"]+$")
_PASSWORD_IN_URL = re.compile(r"://[^/:@\s]*:([^@]+)@")


class Secrets:
    """Masks the credentials that it knows wherever they stand, and what looks like one by its form.

    Args:
        known: credentials such as the configured API keys.
        patterns: whether to mask also what only looks like a credential.

    """

    def __init__(self, known: Iterable[str] = (), *, patterns: bool = True) -> None:
        self._known: frozenset[str] = frozenset()
        self._patterns = patterns
        self._expression: re.Pattern[str] | None = None
        self.add(known)

    @classmethod
    def from_env(cls, environ: Mapping[str, str], *, patterns: bool = True) -> Secrets:
        """Return the credentials that the environment configures, those of the API key file included."""
        secrets = cls(patterns=patterns)
        secrets.read(environ)
        return secrets

    def read(self, environ: Mapping[str, str]) -> None:
        """Add the credentials that the environment configures. Reads the API key file, so not on the job's thread."""
        found: set[str] = set()
        for name, value in environ.items():
            if name in (environment.URL, environment.API_KEY):
                found |= _credentials(value, name)
            elif name.startswith(environment.CLIENT_PREFIX):
                try:
                    found |= _credentials(json.loads(value), name)
                except (ValueError, RecursionError):
                    found |= _credentials(value, name)
        path = environ.get(environment.API_KEY_FILE)
        with suppress(OSError, ValueError):
            if path and os.path.isfile(path):  # no pipe, which might block
                with open(path, encoding="utf-8") as file:
                    found.add(file.read(_MAX_KEY_FILE).strip())
        # An error message may quote one line of a credential, and the key is sent without quotes and the word Bearer.
        lines = {line.strip() for secret in found for line in secret.splitlines()}
        self.add(found | lines | {_AROUND_KEY.sub("", line) for line in lines})

    def add(self, credentials: Iterable[str]) -> None:
        """Mask these, too, from now on. Those below 4 characters are left out: too many words would be masked."""
        self._known = self._known.union(secret for secret in credentials if len(secret) >= _MIN_SECRET)
        # The longest first: one credential may contain another.
        longest_first = sorted(self._known, key=len, reverse=True)
        self._expression = re.compile("|".join(map(re.escape, longest_first))) if longest_first else None
        self._cached_text = lru_cache(maxsize=256)(self._masked)
        self._cached_key = lru_cache(maxsize=256)(self._masked_key)

    def text(self, text: str) -> str:
        """Return `text` with its credentials masked."""
        return self._cached_text(text) if len(text) <= _MAX_CACHED else self._masked(text)

    def log_line(self, text: str) -> str:
        """Return a log line with its credentials masked, also what only looks like one."""
        return redact(self._without_known(text))

    def document(self, value: Any) -> Any:
        """Return JSON-ready data of an event with every text in it masked."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, dict):
            masked = {}
            for key, item in value.items():
                shown, names_credential = self._cached_key(key) if len(key) <= _MAX_CACHED else self._masked_key(key)
                masked[shown] = MASK if names_credential and isinstance(item, str) else self.document(item)
            return masked
        if isinstance(value, list):
            return [self.document(item) for item in value]
        return value

    def _masked_key(self, key: str) -> tuple[str, bool]:
        """Return `key` without known credentials, and whether a text under this key is a credential."""
        return self._without_known(key), self._patterns and is_credential_name(key)

    def _masked(self, text: str) -> str:
        text = self._without_known(text)
        return redact(text) if self._patterns else text

    def _without_known(self, text: str) -> str:
        return self._expression.sub(MASK, text) if self._expression is not None else text


def _credentials(value: Any, name: str) -> set[str]:
    """Return what of a piece of configuration under this name is a credential."""
    if isinstance(value, Mapping):
        own = {key: f"{name}.{key}" if "header" in name.lower() else str(key) for key in value}
        return {secret for key, item in value.items() for secret in _credentials(item, own[key])}
    if isinstance(value, list):
        return {secret for item in value for secret in _credentials(item, name)}
    if not isinstance(value, str):
        return set()
    password = _PASSWORD_IN_URL.search(value)
    is_secret = _SECRET_NAME.search(name) and not _NO_SECRET_NAME.search(name)
    return {secret for secret in (password and password[1], is_secret and value.strip()) if secret}
