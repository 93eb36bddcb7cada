"""Redaction: what looks like a credential does not leave the pod."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Redactor"]

_MASK = "***"
_SHORTEST_SECRET = 4
_SHORT = 300

# user:password@ of a URI. Without a password it stays: in abfss://container@account it is a name.
_PASSWORD = re.compile(r"(?<=://)([^\s/:@'\"]*):[^\s/'\"]+@")
# A word that names a credential, with what may follow it: api_key, client_secret_2, credentials; but no tokenizer.
_NAME = (
    r"(?:password|passwd|passphrase|pwd|secret|token|api[_-]?key|access[_-]?key|private[_-]?key|credential|signature|"
    r"authorization|\bsig)(?:s|[_-][\w-]{0,40})?(?![\w-])"
)
# name=value, name: "value", also escaped as in JSON within JSON. Not behind a slash: "/etc/passwd: Permission denied".
_NAMED = re.compile(
    rf"(?i)((?<![/.]){_NAME}\\*['\"]?[ \t]{{0,8}}[=:][ \t]{{0,8}})"
    r"(\\+\"[^\"\\\n]*\\+\"|\"[^\"\n]*\"|'[^'\n]*'|(?:(?:bearer|basic|token|digest)[ \t]+)?[^\s'\"&;,)}\]\\]+)"
)
_QUOTE = re.compile(r"\\*['\"]")
_IS_NAME = re.compile(rf"(?i)[\w.-]{{0,40}}?{_NAME}")
# With a digit: "basic authentication failed" is none.
_BEARER = re.compile(r"(?i)\b(bearer|basic)[ \t]+(?=[\w.~+/=-]*\d)[\w.~+/=-]{8,}")


class Redactor:
    """Masks credentials in texts: what looks like one, and the given secrets wherever they stand.

    Args:
        secrets: values to mask, such as the configured API keys.
        patterns: whether to mask also what only looks like a credential.

    """

    def __init__(self, secrets: Iterable[str] = (), *, patterns: bool = True) -> None:
        # The longest first: one secret may contain another.
        known = sorted({secret for secret in secrets if len(secret) >= _SHORTEST_SECRET}, key=len, reverse=True)
        self._secrets = re.compile("|".join(map(re.escape, known))) if known else None
        self._patterns = patterns
        # The same names, types, URLs and keys come again in every event. Bounded: 256 texts of at most 300 characters.
        self._cached_text = lru_cache(maxsize=256)(self._masked)
        self._cached_key = lru_cache(maxsize=256)(self._masked_key)

    def text(self, text: str) -> str:
        """Return `text` with its credentials masked."""
        return self._cached_text(text) if len(text) <= _SHORT else self._masked(text)

    def _masked(self, text: str) -> str:
        text = self._without_secrets(text)
        if self._patterns:
            if "://" in text:
                text = _PASSWORD.sub(rf"\1:{_MASK}@", text)
            if "=" in text or ":" in text:
                text = _NAMED.sub(_mask_value, text)
            text = _BEARER.sub(rf"\1 {_MASK}", text)
        return text

    def _without_secrets(self, text: str) -> str:
        return self._secrets.sub(_MASK, text) if self._secrets is not None else text

    def document(self, value: Any) -> Any:
        """Return JSON-ready data with every text in it masked."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, dict):
            masked = {}
            for key, item in value.items():
                shown, names_credential = self._cached_key(key) if len(key) <= _SHORT else self._masked_key(key)
                masked[shown] = _MASK if names_credential and isinstance(item, str) else self.document(item)
            return masked
        if isinstance(value, list):
            return [self.document(item) for item in value]
        return value

    def _masked_key(self, key: str) -> tuple[str, bool]:
        """Return `key` without secrets, and whether a text under this key is a credential."""
        return self._without_secrets(key), self._patterns and _IS_NAME.fullmatch(key) is not None


def _mask_value(found: re.Match[str]) -> str:
    quote = _QUOTE.match(found[2])
    around = quote[0] if quote else ""
    return f"{found[1]}{around}{_MASK}{around}"
