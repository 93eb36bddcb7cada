"""URIs: the parts of a dataset's URI, without the credentials in it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from openlineage_pod._redaction.names import compiled
from openlineage_pod.events.addresses import MARKS, PORT, UnclearError, has_credential_option, without_userinfo
from openlineage_pod.events.texts import cut

if TYPE_CHECKING:
    import re
    from collections.abc import Callable

__all__ = [
    "EXAMPLES",
    "NotUnderstoodError",
    "Parts",
    "Templates",
    "is_connection_string",
    "read_oracle",
    "read_url",
    "scheme_of",
    "shown",
]

EXAMPLES = '"postgres://warehouse:5432/crm.public.accounts", "s3://lake/accounts" or ("namespace", "name")'
_FIRST_OPTION = r"\w{1,20}="
_SCHEME = r"(?:[jJ][dD][bB][cC]:)?([A-Za-z][\w+.\-]*)(?::[\w.\-]+)*://"
_ORACLE = r"(?i)(?:jdbc:)?oracle:(?:thin|oci8?|kprb):"
_ORACLE_ADDRESS = r"(?:tcps?://|//)?(?P<hosts>(?:\[[^\]]*\]|[^/:()=\[\]]*)(?::[\d,]+|:[^/()=:]*,[^/()=]*)?)"
# kafka://SASL_SSL://b1:9092,SASL_SSL://b2:9092
_PROTOCOL = r"(?:(?<=,)|^)[A-Z][A-Z_]*://"
_HOST_AND_PORT = rf"(\[[^\]]*\]|[^:\[\]]*)(?::({PORT}))?"
# Where the options of a database URL begin: ?user=…, ;user=…, DB2's /DB:user=… and Teradata's /USER=…,PASSWORD=…
_DATABASE_OPTIONS = r"[?#;]|(?:^/?|[:,&])[A-Za-z][\w .\-]{0,40}="
_JDBC_OPTIONS = r";[A-Za-z][\w .\-]*="
_CONNECTION_STRING = r"[A-Za-z][\w .\-]{0,40}=[^/]*[;\s] {0,4}[A-Za-z][\w .\-]{0,40}="
# user:password@host, scott/tiger@host:1521 and scott/tiger@//host, and git@host:path
_USER_AND_HOST = r"[^/@\s]*:[^@]*@|[^/@\s]+/[^@]*@(?://|[\w.\-]+:\d)|[^/@\s]+@[^/@\s]+:"
# //user:password@host, or with a scheme that lacks its colon
_USER_BEHIND_SLASHES = r"[\w+.\-]*//[^/@\s:]+:[^@]+@"
_EXPRESSION = r"\$\{[^{}]{0,200}\}|\{\{[^{}]{0,200}\}\}|\{%[^{}]{0,200}%\}|\$\([^()]{0,200}\)|%\([^()]{0,200}\)s"
_MAX_SHOWN = 100


class NotUnderstoodError(ValueError):
    """What the user gave cannot be read; the message says what was expected, and quotes no credential."""


class Parts(NamedTuple):
    """The parts of a URI: `path` is without the slash in front and without options."""

    scheme: str
    user: str
    authority: str
    path: str
    has_credentials: bool

    def first_host(self, default_port: str) -> str:
        """Return the first of the hosts, with its port or the default one."""
        first = next(filter(None, self.authority.split(",")), "")
        found = compiled(_HOST_AND_PORT).fullmatch(first)
        if found is None or not default_port:
            return first
        return f"{found[1]}:{found[2] or default_port}"


class Templates:
    """Expressions such as `{{ host }}` in a URI, which may hold any of its separators.

    Attributes:
        text: The URI with one character in the place of each.

    """

    def __init__(self, uri: str) -> None:
        self._expressions: list[str] = []
        self.text = compiled(_EXPRESSION).sub(self._hide, uri) if "{" in uri or "(" in uri else uri

    def _hide(self, found: re.Match[str]) -> str:
        if len(self._expressions) == len(MARKS):
            return "_"
        self._expressions.append(found[0])
        return chr(MARKS[len(self._expressions) - 1])

    def restored(self, part: str) -> str:
        """Return a part of the text with the expressions in their places."""
        return self._each(part, lambda expression: expression)

    def flattened(self, part: str) -> str:
        """Return a part of the text with `_` for whatever in the expressions could be read as a separator."""
        return self._each(part, lambda expression: compiled(r"[^a-zA-Z0-9_.\-]").sub("_", expression))

    def _each(self, part: str, change: Callable[[str], str]) -> str:
        for mark, expression in zip(MARKS, self._expressions, strict=False):
            part = part.replace(chr(mark), change(expression))
        return part


def scheme_of(uri: str) -> str:
    """Return the scheme of `scheme://…` in lower case; empty if there is none."""
    found = compiled(_SCHEME).match(uri)
    return found[1].lower().partition("+")[0] if found else ""  # SQLAlchemy writes postgresql+psycopg2


def read_url(uri: str, *, is_database: bool, has_users: bool = True) -> Parts:
    """Return the parts of `scheme://…`.

    Args:
        uri: The text.
        is_database: Whether its scheme is that of a database: then its path ends where options begin.
        has_users: Whether such a URI may have a user.

    Raises:
        NotUnderstoodError: It is not a URL, or it cannot be told where its password ends.

    """
    found = compiled(_SCHEME).match(uri)
    if found is None:
        raise NotUnderstoodError(f"{shown(uri)} names no dataset; give {EXAMPLES}")
    rest, options = uri[found.end() :], ""
    if "://" in rest:
        rest = compiled(_PROTOCOL).sub("", rest)
    if uri[:5].lower() == "jdbc:":
        rest, options = _cut(rest, _JDBC_OPTIONS)
    try:
        if "/" in options.partition("@")[2]:  # options, or a password with `;` in it?
            raise UnclearError
        user, rest = without_userinfo(rest, is_database=is_database, has_users=has_users)
    except UnclearError:
        raise NotUnderstoodError(
            f"{shown(uri)}: it is not clear where the password ends; remove user and password, or percent-encode "
            "the characters @ / ? # : in them"
        ) from None
    authority, path = _cut(rest, "[/?#;]" if is_database else "[/?#]")
    if has_credential_option(authority):
        authority, more = _cut(authority, ";")
        options += more
    if has_credential_option(authority):
        raise NotUnderstoodError(f"the host and port in {shown(uri)} cannot be read; give {EXAMPLES}")
    path, more = _cut(path, _DATABASE_OPTIONS) if is_database else _without_options(path)
    has_credentials = ":" in user or has_credential_option(options + more)
    return Parts(scheme_of(uri), user, authority, path.removeprefix("/"), has_credentials)


def _without_options(path: str) -> tuple[str, str]:
    """Split the path of a file or object from options; `;` and `#` may stand in its name, `?` not."""
    path, more = _cut(path, r"\?")
    if has_credential_option(path, is_name=True):
        path, options = _cut(path, "[;&#] {0,4}[A-Za-z]")
        more += options
    return path, more


def _cut(text: str, pattern: str) -> tuple[str, str]:
    """Split a text where a pattern is found first; the second part begins with it, and is empty without it."""
    found = compiled(pattern).search(text)
    return (text[: found.start()], text[found.start() :]) if found else (text, "")


def read_oracle(uri: str) -> Parts | None:
    """Return the parts of `jdbc:oracle:thin:…`, or None if `uri` is not of this form.

    It may be `user/password@//host:port/service` or `@host:port:SID`; the password may hold anything.

    Raises:
        NotUnderstoodError: It has no host.

    """
    found = compiled(_ORACLE).match(uri)
    if found is None:
        return None
    user, separator, rest = uri[found.end() :].rpartition("@")
    rest = rest.partition("?")[0]
    address = compiled(_ORACLE_ADDRESS).match(rest)
    if not separator or address is None or not address["hosts"] or rest[address.end() : address.end() + 1] not in ":/":
        raise NotUnderstoodError(
            f"{found[0]}... cannot be read; give a URI such as oracle://host:1521/SERVICE.SCHEMA.TABLE"
        )
    return Parts("oracle", user, address["hosts"], rest[address.end() + 1 :], bool(user))


def is_connection_string(text: str) -> bool:
    """Return whether a text without `scheme://` names a user and a host, or has options, instead of a path."""
    if text.startswith(("/", "./", "../", "~")) and not text.startswith("//"):
        return False
    return bool(
        compiled(_USER_AND_HOST).match(text)
        or compiled(_USER_BEHIND_SLASHES).match(text)
        or compiled(_CONNECTION_STRING).match(text)
        or has_credential_option(text.partition("/")[0])
        or has_credential_option(text, is_name=True)
    )


def shown(uri: str) -> str:
    """Return a URI for a message; if it may hold a credential, only its scheme or the first word before a `=`."""
    if "@" in uri or "=" in uri or is_connection_string(uri):
        found = compiled(_SCHEME).match(uri) or compiled(_ORACLE).match(uri) or compiled(_FIRST_OPTION).match(uri)
        return repr(f"{found[0]}..." if found else "...")
    return repr(cut(uri, _MAX_SHOWN))
