"""Addresses: where the credentials stand in a URL or connection string, and the same address without them.

A password may hold any character, although `@`, `/`, `?` and `#` should be percent-encoded in it. So credentials are
found by the grammar around them, never by what they look like.
"""

from __future__ import annotations

from openlineage_pod._redaction.names import compiled

__all__ = [
    "MARKS",
    "PORT",
    "UnclearError",
    "has_credential_option",
    "is_host_list",
    "is_template",
    "without_credentials",
    "without_userinfo",
]

MARKS = range(0xE000, 0xE100)
"""What stands for the templates in a URI, such as `{{ port }}`, while the URI is read."""
PORT = rf"(?:\d*|[{chr(MARKS[0])}-{chr(MARKS[-1])}])"
"""A pattern for the port of a host."""

_HOST = rf"(?:\[[^\[\]/?#@]*\]|[^/?#@:,;()=\[\]]*)(?::{PORT})?"
_HOSTS = rf"{_HOST}(?:,{_HOST})*(?=[/?#;]|$)"
_IN_BRACKETS = r"\[[^\]]*\]"
# The options at the end of a URL, which may hold an `@` of their own: ?user=me@company
_QUERY = r"\?[\w.\-]+=[^/?#]*$"
_OPTION = r"(?:^|[;?&#,:\s])([A-Za-z][\w .\-]{0,40}?) {0,4}="
_OPTION_OF_NAME = r"[;?&#] {0,4}([A-Za-z][\w .\-]{0,40}?) {0,4}="
# In a namespace no path stands in front of the host, so the password may hold anything.
_USER_IN_NAMESPACE = r"[A-Za-z]\w*/.+@(?=(?://)?[\w.\-]+:\d)"
# host=h password=x, but not the partitions token=1/day=2
_CONNECTION_STRING = r"[A-Za-z][\w .\-]{0,40}?=[^;\s]*[;\s] {0,4}[A-Za-z][\w .\-]{0,40}="
# Wider than for text in general: no option belongs into the name of a dataset.
_CREDENTIAL = (
    r"(?i)pass(?:w|phrase|code|_|\d|$)|pwd|secret|token(?!i)|signature|credential(?!.*(?:path|file))|authorization"
    r"|^(?:key|sig|sas|auth)$|sess(?:ion)?_?id$"
    r"|(?:api|access|private|pvt|account|shared|encryption|subscription|service|storage)[_ -]?key\d*$"
)
_URL = r"[A-Za-z][\w+.\-]*://"
_JDBC = r"(?i)jdbc:[\w+.\-]+:(?:\w+:)?"
# Without a scheme only what names a host behind it: ns:table@branch and a/b@2024 are names.
_USER_AND_HOST = (
    r"(?://)?[A-Za-z][\w.\-]*:(?!\d+[@:/])[^\s/@]+@(?=[A-Za-z][\w.\-]*(?::\d+)?/)"
    r"|[A-Za-z]\w*/[^\s/@]+@(?=(?://)?[\w.\-]+:\d)"
)
_TEMPLATE = r"\$\{|\{\{|\{%|\$\(|%\(\w+\)s"
_VARIABLE = r"\$[A-Za-z_]|<[A-Za-z_]+>"


class UnclearError(ValueError):
    """It cannot be told where the credentials of a URL end."""


def is_host_list(authority: str) -> bool:
    """Return whether `authority` is one or more hosts, each with a port or without."""
    return compiled(_HOSTS).fullmatch(authority) is not None


def without_userinfo(rest: str, *, is_database: bool, has_users: bool = True) -> tuple[str, str]:
    """Return the user and password of a URL, and what follows them.

    Args:
        rest: What follows `scheme://`.
        is_database: Whether the URL is that of a database: no `@` is expected in its path.
        has_users: Whether such a URL may have a user: those of HDFS and the like have none.

    Raises:
        UnclearError: Several readings are possible, or none.

    """
    if "@" not in rest:
        return "", rest
    query = compiled(_QUERY).search(rest)
    end = query.start() if query else len(rest)
    starts = [0, *(place + 1 for place, character in enumerate(rest[:end]) if character == "@")]
    readings = [found for start in starts if (found := compiled(_HOSTS).match(rest, start))]
    if not readings:
        raise UnclearError
    first = readings[0].start()
    if len(readings) > 1 and (first or has_users):
        # user:password, or scott/tiger in front of an `@`? Or an `@` in a path behind the host?
        before = rest[: first - 1] if first else readings[0][0]
        if ":" in compiled(_IN_BRACKETS).sub("", before) or (is_database and not first):
            raise UnclearError
    return rest[: first - 1] if first else "", rest[first:]


def without_credentials(text: str, *, is_name: bool = False) -> str:
    """Return a namespace, or the name of a dataset, without the credentials that stand in it.

    Removed are `user:password@` and all options, such as `;user=…;password=…`, if one of them is a credential.
    """
    if has_credential_option(text, is_name=is_name):
        found = compiled(_option(text, is_name=is_name)).search(text)
        text = text[: found.start()] if found else text
    if "@" not in text:
        return text
    start = compiled(_URL).search(text) or compiled(_JDBC).match(text)
    scheme, rest = (text[: start.end()], text[start.end() :]) if start else ("", text)
    before, _, after = rest.rpartition("@")
    user_and_host = compiled(_USER_AND_HOST).match(rest)
    if not is_name:
        user_and_host = user_and_host or compiled(_USER_IN_NAMESPACE).match(rest)
    if user_and_host:
        return scheme + (rest[user_and_host.end() :] if is_name else after).removeprefix("//")
    if start is None and is_name:
        return text
    user = compiled("[/?#]").split(before, 1)[0] if is_name else before
    if ":" in user or (start is not None and not start[0].endswith("//")):
        return f"{scheme}{after}"
    return text  # a container, as in abfss://container@account, or a path


def has_credential_option(text: str, *, is_name: bool = False) -> bool:
    """Return whether `text` has an option such as `password=…`; in a name only behind `;`, `?`, `&` or `#`."""
    if "=" not in text:
        return False
    options = compiled(_option(text, is_name=is_name)).findall(text)
    return any(compiled(_CREDENTIAL).search(name) for name in options)


def _option(text: str, *, is_name: bool) -> str:
    """Return the pattern for the options in a namespace or name."""
    return _OPTION_OF_NAME if is_name and not compiled(_CONNECTION_STRING).match(text) else _OPTION


def is_template(text: str, *, is_name: bool = False) -> bool:
    """Return whether `text` has an expression that was to be replaced, such as `${HOST}` or `{{ host }}`."""
    # A `$` alone is common in names: SYS.V$SESSION
    return bool(compiled(_TEMPLATE).search(text) or (not is_name and compiled(_VARIABLE).search(text)))
