"""What looks like a credential in a text, by its form."""

from __future__ import annotations

import re

__all__ = ["MASK", "is_credential_name", "redact"]

MASK = "***"
"""What stands in the place of a credential."""

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


def redact(text: str) -> str:
    """Return `text` with all that looks like a credential masked."""
    if "://" in text:
        text = _PASSWORD.sub(rf"\1:{MASK}@", text)
    if "=" in text or ":" in text:
        text = _NAMED.sub(_mask_value, text)
    return _BEARER.sub(rf"\1 {MASK}", text)


def is_credential_name(name: str) -> bool:
    """Say whether a key such as `api_key` or `client_secret_2` names a credential."""
    return _IS_NAME.fullmatch(name) is not None


def _mask_value(found: re.Match[str]) -> str:
    quote = _QUOTE.match(found[2])
    around = quote[0] if quote else ""
    return f"{found[1]}{around}{MASK}{around}"
