"""Redaction: what looks like a credential does not leave the pod."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Redactor"]

_MASK = "***"
_SHORTEST_SECRET = 4

# user:password@ of a URI. Without a password it stays: in abfss://container@account it is a name.
_PASSWORD = re.compile(r"(?<=://)([^\s/:@'\"]*):[^\s/@'\"]+@")
# key=value and "key": "value", as in queries of URIs, connection strings and dumped settings.
_NAMED = re.compile(
    r"(?i)((?:password|passwd|pwd|secret|token|api[_-]?key|apikey|access[_-]?key|private[_-]?key|credential|signature|"
    r"authorization|\bsig|x-amz-security-token)[\w-]*['\"]?\s*[=:]\s*['\"]?)(?:(?:bearer|basic)\s+)?[^\s'\"&;,)}\]]+"
)
_BEARER = re.compile(r"(?i)\b(bearer|basic)\s+[\w.~+/=-]{8,}")


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

    def text(self, text: str) -> str:
        """Return `text` with its credentials masked."""
        if self._secrets is not None:
            text = self._secrets.sub(_MASK, text)
        if self._patterns:
            text = _PASSWORD.sub(rf"\1:{_MASK}@", text)
            text = _BEARER.sub(rf"\1 {_MASK}", text)
            text = _NAMED.sub(rf"\1{_MASK}", text)
        return text

    def document(self, value: Any) -> Any:
        """Return JSON-ready data with every text in it masked."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, Mapping):
            return {key: self.document(item) for key, item in value.items()}
        if isinstance(value, list):
            return [self.document(item) for item in value]
        return value
