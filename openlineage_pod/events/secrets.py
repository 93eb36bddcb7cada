"""Redaction: what looks like a credential does not leave the pod."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Redactor"]

_MASK = "***"
_MIN_SECRET = 4
_MAX_REMEMBERED = 300

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
        known = sorted({secret for secret in secrets if len(secret) >= _MIN_SECRET}, key=len, reverse=True)
        self._secrets = re.compile("|".join(map(re.escape, known))) if known else None
        self._patterns = patterns
        # The same names, types and URLs come again in every event. Bounded: 256 texts of at most 300 characters.
        self._remembered = lru_cache(maxsize=256)(self._masked)

    def text(self, text: str) -> str:
        """Return `text` with its credentials masked."""
        return self._remembered(text) if len(text) <= _MAX_REMEMBERED else self._masked(text)

    def _masked(self, text: str) -> str:
        text = self._without_secrets(text)
        if self._patterns:
            text = _PASSWORD.sub(rf"\1:{_MASK}@", text)
            text = _NAMED.sub(_mask_value, text)
            text = _BEARER.sub(rf"\1 {_MASK}", text)
        return text

    def _without_secrets(self, text: str) -> str:
        return self._secrets.sub(_MASK, text) if self._secrets is not None else text

    def document(self, value: Any) -> Any:
        """Return JSON-ready data with every text in it masked."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, Mapping):
            return {self._without_secrets(key): self._item(key, item) for key, item in value.items()}
        if isinstance(value, list):
            return [self.document(item) for item in value]
        return value

    def _item(self, key: str, value: Any) -> Any:
        is_credential = self._patterns and isinstance(value, str) and _IS_NAME.fullmatch(key)
        return _MASK if is_credential else self.document(value)


def _mask_value(found: re.Match[str]) -> str:
    quote = _QUOTE.match(found[2])
    around = quote[0] if quote else ""
    return f"{found[1]}{around}{_MASK}{around}"
