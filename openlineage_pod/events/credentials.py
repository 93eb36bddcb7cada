"""Where the credentials of a process are configured: its environment, openlineage.yml, and the API key file."""

from __future__ import annotations

import binascii
import json
import os
import re
from collections.abc import Mapping
from contextlib import suppress
from importlib import import_module
from typing import TYPE_CHECKING, Any

from openlineage_pod import environment
from openlineage_pod._redaction.forms import find_credentials
from openlineage_pod._redaction.names import is_credential_name, words
from openlineage_pod._redaction.urls import replace_passwords
from openlineage_pod.events.percent import percent_decoded, percent_encoded
from openlineage_pod.events.regular_file import read_regular

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["credentials_in", "in_environment", "in_files", "spellings"]

_TRANSPORT = (environment.URL, environment.ENDPOINT, environment.API_KEY)
_MAX_FILE = 256 * 1024
_CONFIG_FILES = ("openlineage.yml", "~/.openlineage/openlineage.yml")
# What holds a credential by its name, in openlineage-python's configuration and in that of Kafka and the like.
_CONFIDENTIAL = r"(?i)key|token|secret|passw|credential|auth|header|sasl\.jaas"
_NOT_CONFIDENTIAL = (
    r"(?i)(type|path|url|endpoint|location|file|mechanism|protocol|message_?key|user(_?name)?|key_?id|"
    r"headers\.(accept|content|user-agent)[\w-]*|headers\.name)$"
)
# What stands for "no credential", or is a switch.
_SWITCHES = words("true false none null yes no on off default")
# Variables of the job itself, whose names alone say that they hold a credential: a word such as `warehouse` would be
# masked in every message.
_MIN_GUESSED = 8
_MIN_GUESSED_WORD = 16
_IS_PATH = r"[~.]{0,2}(/[\w.-]+)+/?"
# A URL that ends with its host, as that of a proxy does: what looks like a port may be a password that begins so.
_AUTHORITY = r"://[^\s/:@]*:(?!.*\?[\w.-]+=)(.+)@[\w.:\[\]-]+/?$"
_PORT = r"\d{1,5}[/?#]"
_MIN_PIECE = 3
_MAX_DEPTH = 64
# Lines of a credential that are known by themselves, as of a private key: an expression of very many holds the
# interpreter for seconds while it is made.
_MAX_LINES = 100
# The key is sent without quotes and the word Bearer.
_AROUND_KEY = r"(?i)^(?:[\s'\"]|authorization\s*:|bearer\s|basic\s|token\s)+|[\s'\"]+$"


def in_environment(environ: Mapping[str, str]) -> set[str]:
    """Return the credentials in the variables of an environment. Reads no file."""
    found: set[str] = set()
    for name, value in list(environ.items()):
        if name in _TRANSPORT or name.startswith(environment.CLIENT_PREFIX):
            found |= credentials_in(_parsed(value), name)
        elif name.lower().endswith(environment.PROXY_SUFFIX) or "://" in value:
            found |= credentials_in(value, "")
        elif is_credential_name(name):
            found |= _guessed(value)
    return found


def in_files(environ: Mapping[str, str]) -> set[str]:
    """Return the credentials in the files that an environment names: not on the job's thread."""
    found: set[str] = set()
    if (key := _read(environ.get(environment.API_KEY_FILE))) and (key := key.strip()):
        found.add(key)
    for path in (environ.get(environment.CONFIG), *map(os.path.expanduser, _CONFIG_FILES)):
        if text := _read(path):
            found |= _in_yaml(text)
    return found


def credentials_in(value: Any, name: str, depth: int = 0) -> set[str]:
    """Return what of a piece of configuration under this name is a credential."""
    if depth > _MAX_DEPTH:
        return set()
    if isinstance(value, Mapping):
        own = {key: f"{name}.{key}" if "header" in name.lower() else str(key) for key in value}
        return {secret for key, item in value.items() for secret in credentials_in(item, own[key], depth + 1)}
    if isinstance(value, (list, tuple)):
        return {secret for item in value for secret in credentials_in(item, name, depth + 1)}
    if not isinstance(value, str) or value.strip().lower() in _SWITCHES:
        return set()
    found = find_credentials(value) | set(_user_info(value))
    if re.search(_CONFIDENTIAL, name) and not re.search(_NOT_CONFIDENTIAL, name):
        found.add(value.strip())
    return found


def spellings(secret: str) -> Iterator[str]:
    """Yield the forms in which a credential may stand in a text."""
    secret = secret.strip()
    yield secret
    lines = secret.splitlines()[:_MAX_LINES]
    yield from (re.sub(_AROUND_KEY, "", line) for line in lines)
    # An error message may quote one line of a credential.
    yield from filter(None, map(str.strip, lines))
    # Undecodable bytes of the environment, as they stand in events.
    text = secret.encode("utf-8", "replace").decode()
    yield text
    quoted = percent_encoded(text)
    yield from (quoted, quoted.replace("%2F", "/"), quoted.replace("%20", "+"), percent_decoded(text))
    yield re.sub("%[0-9A-F]{2}", lambda found: found[0].lower(), quoted)
    for escaped in (json.dumps(secret), json.dumps(secret, ensure_ascii=False), repr(secret), ascii(secret)):
        yield escaped[1:-1]
        yield json.dumps(escaped[1:-1])[1:-1]
    yield text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace('"', "&quot;")
    yield _base64(text).rstrip("=")


def _user_info(text: str) -> Iterator[str]:
    """Yield what an error may quote of the user information of URLs: passwords, pieces of them, both in base64."""
    passwords: list[str] = []
    replace_passwords(text, lambda password: passwords.append(password) or password)  # type: ignore[func-returns-value]
    if text.count("://") == 1 and (found := re.search(_AUTHORITY, text)):
        passwords.append(found[1])
    for password in passwords:
        yield password
        for user in re.findall(rf"://([^\s/:@]*):{re.escape(password)}@", text):
            yield _base64(percent_decoded(f"{user}:{password}"))
        # Tools take an unescaped character for the end of the host. But it may be a path behind a port.
        if not re.match(_PORT, password):
            yield from (piece for piece in re.split(r"[/?#@:]", password) if len(piece) >= _MIN_PIECE)


def _base64(text: str) -> str:
    return binascii.b2a_base64(text.encode("utf-8", "replace"), newline=False).decode()


def _parsed(value: str) -> Any:
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return value


def _guessed(value: str) -> set[str]:
    """Return the credentials in a variable of the job whose name is that of one."""
    value = value.strip()
    if value[:1] in ("{", "[") and not isinstance(parsed := _parsed(value), str):
        return credentials_in(parsed, "")
    if "://" in value or re.fullmatch(_IS_PATH, value) or len(value) < _MIN_GUESSED:
        return set()
    is_word = value.replace("-", "").replace("_", "").replace(".", "").isalpha()
    is_mixed = value.lower() != value != value.upper()
    return {value} if not is_word or is_mixed or (value.isalpha() and len(value) >= _MIN_GUESSED_WORD) else set()


def _read(path: str | None) -> str | None:
    with suppress(OSError, ValueError):
        return read_regular(path, _MAX_FILE, follow=True).decode("utf-8", "replace") if path else None
    return None


def _in_yaml(text: str) -> set[str]:
    found = find_credentials(text)
    with suppress(Exception):  # its errors are reported where the transport is made
        # Deferred: only where there is such a file. openlineage-python, which reads it, too, brings the library along.
        found |= credentials_in(import_module("yaml").safe_load(text), "")
    return found
