"""Names of credentials: api_key, PGPASSWORD, clientSecret, fs.s3a.secret.key; and what their values cannot be."""

from __future__ import annotations

import re
from functools import cache

__all__ = ["MASK", "MAX_NAME", "compiled", "is_credential_name", "is_credential_value", "words"]

MASK = "***"
"""What stands in the place of a credential."""
MAX_NAME = 64
"""Characters of a name that are looked at."""


def words(text: str) -> frozenset[str]:
    """Return the words of a text."""
    return frozenset(text.split())


@cache
def compiled(pattern: str) -> re.Pattern[str]:
    """Return a pattern, compiled at its first use."""
    return re.compile(pattern)


_PARTS = r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+"
_WORDS = words(
    "password passwords passwd passphrase passcode pwd pw secret secrets token tokens credential credentials signature "
    "sig authorization cookie cookies jwt sas apikey apikeys accesskey accountkey privatekey secretkey authkey"
)
_ENDINGS = ("password", "passwd", "pwd", "secret", "token", "apikey", "accesskey", "secretkey", "accountkey")
# Words that make a credential of a key, and of "pass".
_OF_KEY = words(
    "access account api app application auth consumer deploy encryption fernet license master private secret shared "
    "signing ssh storage subscription"
)
_OF_PASS = words("admin auth basic db ftp http mail my mysql oracle pg proxy root smtp sql user")
# token_count, secret_name, password_file: what ends so is not the credential itself.
_HARMLESS_ENDS = words(
    "algorithm arn at audience bucket budget column columns count counts csv dir enabled encoder endpoint "
    "expiration expires expiry field fields file files format host id ids in index issuer json kind len length limit "
    "limits location log manager md message method mode name names namespace path paths per policy port "
    "provider py rate ratio required schema scope scopes service size sql store table timeout total ttl txt type types "
    "uri uris url urls usage used user username version yaml yml"
)
# max_tokens=512, signature: 15
_COUNTED = words("token tokens sig signature credentials secrets cookies passwords")
_NUMBER = r"\d{1,7}(\.\d{1,3})?"


def is_credential_name(name: str) -> bool:
    """Return whether a key such as `api_key` or `client_secret_2` names a credential."""
    parts = [part.lower() for part in compiled(_PARTS).findall(name[-MAX_NAME:])]
    while parts and parts[-1].isdigit():
        parts.pop()
    if not parts or parts[-1] in _HARMLESS_ENDS:
        return False
    pairs = list(zip(parts, parts[1:]))  # noqa: B905, RUF007  the second is shorter; Python 3.10 has pairwise
    return (
        any(part in _WORDS or part.endswith(_ENDINGS) for part in parts)
        or any(first in _OF_KEY and second in ("key", "keys") for first, second in pairs)
        or any(first in _OF_PASS and second == "pass" for first, second in pairs)
    )


def is_credential_value(name: str, value: object) -> bool:
    """Return whether a value under the name of a credential can be one: not a count of tokens, nor a directory."""
    if isinstance(value, list):
        return bool(value) and all(isinstance(item, str) for item in value)
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        return False
    text, last = str(value), (compiled(_PARTS).findall(name) or [""])[-1].lower()
    if last == "pwd" and text.startswith("/"):
        return False
    return text != MASK and not (last in _COUNTED and compiled(_NUMBER).fullmatch(text))
