"""The passwords of URLs, also of such as are not percent-encoded: with `/`, `?`, `#`, `@`, quotes, blanks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from openlineage_pod._redaction.names import MAX_NAME, compiled

if TYPE_CHECKING:
    from collections.abc import Callable

    Replace = Callable[[str], str]

__all__ = ["replace_passwords"]

_URL_REST = r"\S*"
_URL_SCHEME = r"[A-Za-z][\w+.-]{0,40}\Z"
_PORT = r"\d{1,5}(?![\w%!$*~^+.@:&=-])"
_TEMPLATE = r"[$\{<%*]|port\b"
# Their tools accept a slash in a password, so that digits and a slash need not be a port.
_DATABASES = (
    r"(?i)(?:postgres|mysql|mariadb|mssql|sqlserver|oracle|redshift|snowflake|mongodb|amqp|redis|clickhouse|"
    r"trino|presto|db2|cockroachdb|vertica|teradata|cassandra)[\w+]*\Z"
)
# In how many characters behind a blank the @ is looked for.
_MAX_BLANKS = 128
# What stands at the end of a text that was cut.
_CUT = "'\"…. \n"
_QUERY = r"[?&;][\w.-]{1,64}="


def replace_passwords(text: str, replace: Replace) -> str:
    """Return a text with the password of each URL in it replaced."""
    pieces = text.split("://")
    for index in range(1, len(pieces)):
        if scheme := compiled(_URL_SCHEME).search(pieces[index - 1][-MAX_NAME:]):
            before = pieces[index - 1][: len(pieces[index - 1]) - len(scheme[0])]
            is_last = index == len(pieces) - 1
            pieces[index] = _url(scheme[0], before[-1:], pieces[index], replace, is_last=is_last)
    return "://".join(pieces)


def _url(scheme: str, opening: str, rest: str, replace: Replace, *, is_last: bool) -> str:
    """Return what follows `scheme://`, with the password replaced."""
    user, colon, _ = rest[:256].partition(":")
    if not colon or any(character in " \t\r\n/@'\"[" for character in user):
        return rest
    start = len(user) + 1
    port = compiled(_PORT).match(rest, start)
    if port and not _may_be_password(scheme, rest, port.end()):
        return rest
    token = compiled(_URL_REST).match(rest)
    end = token.end() if token else 0
    closing = rest.find(">" if opening == "<" else opening, start, end) if opening in ("'", '"', "`", "<") else -1
    if closing > 0 and (rest.rfind("@", start, closing) > 0 or rest[closing - 1] != "\\"):
        end = closing
    at = _end_of_password(rest, start, end)
    if at < 0 and not port:
        at = _end_of_odd_password(rest, start, end, is_last=is_last)
    if at <= start or (port and rest[at - 1] == "/"):
        return rest
    return f"{rest[:start]}{replace(rest[start:at])}{rest[at:]}"


def _may_be_password(scheme: str, rest: str, behind: int) -> bool:
    """Return whether digits that look like a port may begin a password, by what stands behind them."""
    separator = rest[behind : behind + 1]
    if separator == "/":
        return compiled(_DATABASES).match(scheme) is not None
    return separator == "#" or (separator == "?" and compiled(_QUERY).match(rest, behind) is None)


def _end_of_odd_password(rest: str, start: int, end: int, *, is_last: bool) -> int:
    """Return where a password ends that has a blank in it, or where the text was cut within the password; else -1."""
    if compiled(_TEMPLATE).match(rest, start):
        return -1
    line = rest.find("\n", end, end + _MAX_BLANKS)
    at = rest.rfind("@", end, line if line >= 0 else end + _MAX_BLANKS)
    if at < 0 and is_last and end >= len(rest.rstrip(_CUT)):
        return len(rest[:end].rstrip(_CUT))
    return at


def _end_of_password(rest: str, start: int, end: int) -> int:
    """Return where the @ behind the password stands: the last one that is not in an option such as `?email=a@b`."""
    first = rest.find("@", start, end)
    options = compiled(_QUERY).search(rest, first, end) if first >= 0 else None
    return rest.rfind("@", start, options.start() if options else end)
