"""What looks like a credential in a text, by its form.

`_FORMS` is the table of all forms. Each takes linear time: a search moves forward only, and every step within it is
bounded. Patterns are compiled at their first use, because every job imports this module.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from openlineage_pod._redaction.names import MASK, MAX_NAME, compiled, is_credential_name, is_credential_value, words
from openlineage_pod._redaction.urls import replace_passwords

if TYPE_CHECKING:
    import re
    from collections.abc import Callable

    Replace = Callable[[str], str]

__all__ = ["find_credentials", "redact", "remove_tokens"]


# --- values behind a name

# A text in quotes, which may be escaped as in JSON within JSON, to the end of the line where the closing quote is
# missing; what stands in braces; else all up to a character that separates. A comma or bracket separates if the text
# ends there, or something that has a name follows.
_NEXT = r"(?!\s|$|['\"]|[\w.-]{1,40}['\"]?[ \t]?[=:])"
_VALUE = (
    r"[bBrRuUfF]{0,2}(?P<quote>\\{0,8}['\"])(?P<quoted>(?:(?P=quote){2}|.)*?)(?:(?<!\\)(?P=quote)(?!(?P=quote))|(?=\n|\Z))"
    r"|\{(?P<braced>[^{}\n]+)\}"
    rf"|(?P<bare>(?:[^\s'\"&;,)}}\]\\<]|[,)}}\]&;]{_NEXT}|['\"](?=\w)|<(?!/)|\\(?!['\"\\nrtu]))+)"
)
_SCHEME = r"(?i:bearer|basic|token|digest|negotiate|ntlm|apikey)"
_HEADER_VALUE = rf"(?P<header>{_SCHEME}[ \t]+[^\n'\"]+)|{_VALUE}"
# No credentials, but what a program or its documentation says in the place of one.
_PLACEHOLDERS = words("none null true false str int bool bytes any optional ...")
# Behind an option of a command: "--password is required".
_PROSE = words(
    "a and are as be but can cannot command deprecated expired failed flag for from has have if in instead invalid "
    "is it may missing must needs no not of on option or parameter password required requires secret should takes "
    "the their to token value was when will with without yes"
)
# ${DB_PASSWORD}, {{ var.value.password }}
_UNRENDERED = r"\$\{\w+\}?|\{\{"

_STEMS = "passw|passphrase|passcode|pass|pwd|pw|secret|token|key|credential|signature|sig|authorization|cookie|jwt|sas"
_NAMED = rf"(?i)(?:{_STEMS})[\w.-]{{0,60}}\\{{0,8}}['\"]?\]?[ \t]{{0,8}}(?:={{1,3}}|=>|:=|:|%3[dD])>?[ \t]{{0,8}}"
_AROUND_NAMES = r"[^\w.-]"
_OPTION = r"(?<![\w-])--(?P<name>[A-Za-z][\w-]{0,60})(?:['\"],[ \t]{0,8}|[ \t]{1,8})(?!-)"
# V1EnvVar(name='DB_PASSWORD', value='x'), - name: DB_PASSWORD\n  value: x; and ('password', 'x')
_SETTING = (
    r"(?i)\b(?:name|key)['\"]?[ \t]{0,4}[=:][ \t]{0,4}['\"]?(?P<name>[a-z][\w.-]{0,60})['\"]?,?\s{1,40}"
    r"['\"]?value['\"]?[ \t]{0,4}[=:][ \t]{0,4}"
)
_PAIR = r"(?<![^\[ ])(?<!\w )\(['\"](?P<name>[A-Za-z][\w.-]{0,60})['\"], ?(?=(['\"])[^'\"]{1,1000}\2\))"
# spark.hadoop.fs.s3a.secret.key x
_PROPERTY = r"(?<![\w/.-])(?P<name>(?:\w[\w-]{0,40}\.){2,8}\w[\w-]{0,40})[ \t]{1,40}(?=[^\s}|)\]=:,])"
_NETRC = r"\blogin[ \t]+\S{1,100}\s+password[ \t]+(?=\S)"
# CREATE USER … PASSWORD 'x', SECRET_ACCESS_KEY 'x', and within an option list SECRET 'x'; but: unexpected token 'x'
_SQL_NAMED = r"(?i)(?<![\w/.-])(?P<name>[a-z]\w{0,40})[ \t]{1,8}(?=['\"])"
_NOT_IN_SQL = words(
    "token tokens secret secrets signature credential credentials authorization sig sas jwt cookie cookies"
)
_IDENTIFIED = (
    r"(?i)\bidentified[ \t]+(?:with[ \t]+\S{1,40}[ \t]+)?(?:by|as)[ \t]+(?:(?:values|password)[ \t]+)?(?!password\b)"
)
_CALL = r"(?i)\bpassword[ \t]?\([ \t]?(?=['\"])"

# --- forms that one pattern finds: the credential is its group `secret`

_ORACLE = r"(?i)(?:(?:jdbc:oracle:\w{1,10}:|oracle[\w+]{0,20}://)[^\s/@'\":]{0,64}/)(?P<secret>[^\s'\"]{1,128})(?=@)"
_ORACLE_SHORT = r"(?<![\w/.:@-])[A-Za-z]\w{0,30}/(?P<secret>[^\s/@'\"]{1,64})(?=@(?://)?[\w.-]{1,80}:\d{2,5}[/:]\w)"
# etl:secret@warehouse. Not: mailto:ada@example.com, app:1.2@sha256:…, project:dataset.table@1699999999
_SCHEMELESS = (
    r"(?:(?<![\w/.@:+-])|(?<=[\s'\"]//))(?!(?i:mailto|e-?mail|mail|to|from|cc|bcc|contact|author|owner|maintainer|sip|acct|urn|arn|jdbc|"
    r"https?|ftp|s3|gs|file|git|ssh|npm|pkg|pypi|docker|oci):)"
    r"[A-Za-z_][\w.-]{0,40}:(?!//|\d{1,5}:)(?P<secret>[^\s@'\"<>]{3,80}(?:@[^\s@'\"<>]{1,80}){0,3})"
    r"(?=@(?!sha\d{3}:|v\d)(?:[A-Za-z][\w.-]*|\d{1,3}(?:\.\d{1,3}){3}|\[[0-9a-fA-F:]{2,40}\]))"
)
_PRIVATE_KEY = r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----"
_END_OF_KEY = "-----END"
# What a key consists of, where a text was cut before its end; the ends of lines may be escaped.
_KEY_LINES = r"(?:[ \t\r\n]|\\[nr]|[A-Za-z0-9+/=:,]{4,76}(?![\w+/=]))+"
# With a digit: "basic authentication failed" holds none.
_BEARER = r"(?i)\b(?:bearer|basic)[ \t]+(?P<secret>(?=[\w.~+/=-]{0,200}\d)[\w.~+/=-]{8,})"
_MIN_TOKEN = 15
_JWT = r"(?<![\w-])(?P<secret>eyJ[\w-]{8,}\.eyJ[\w-]{8,}\.[\w-]*)"
_VENDOR = (
    r"(?<![\w-])(?P<secret>gh[pousr]_[A-Za-z0-9]{30,}|github_pat_\w{22,}|glpat-[\w-]{20,}|xox[abeoprs]-[\w-]{10,}|"
    r"xapp-[\w-]{20,}|AIza[\w-]{35}|ya29\.[\w-]{20,}|GOCSPX-[\w-]{20,}|[rs]k_(?:live|test)_\w{16,}|"
    r"sk-(?=[\w-]*\d)[\w-]{32,}|pypi-[\w-]{50,}|npm_\w{36}|dapi[0-9a-f]{32}|hf_[A-Za-z]{30,}|"
    r"SG\.[\w-]{22}\.[\w-]{43}|hv[sb]\.[\w-]{20,}|dop_v1_[0-9a-f]{64}|glsa_\w{32,})"
)
_SLACK_HOOK = r"hooks\.slack\.com/(?:services|workflows)/(?P<secret>[\w/-]{20,})"
# https://token@host: a user without a password that nobody could remember.
_LONG_USER = r"(?i)https?://(?P<secret>(?=[\w.~-]{0,200}\d)(?=[\w.~-]{0,200}[a-z])[\w.~-]{20,200})(?=@)"
# Between two arguments of a command, also in the list that subprocess puts into its messages.
_NEXT_ARGUMENT = r"(?:['\"],[ ]?|[ ])['\"]?"
_OPTIONS = r"\b[^\n;|]{0,200}?(?:[ ]['\"]?|,['\"])"
_OF_USER = rf"(?:-u(?:{_NEXT_ARGUMENT})?|--(?:proxy-)?user(?:=|{_NEXT_ARGUMENT}))"
# By what a command is called, or a mark that the option of it has.
_COMMANDS = {
    ("mysql", "mariadb"): rf"\b(?:mysql|mariadb)\w*{_OPTIONS}-p(?!ort|rotocol)(?P<secret>[^\s'\"]{{3,}})",
    ("login", "mongo"): rf"\b(?:login|mongo\w*){_OPTIONS}-p{_NEXT_ARGUMENT}(?!\d+:\d)(?P<secret>[^\s'\"]{{3,}})",
    ("sqlcmd", "bcp"): rf"\b(?:sqlcmd|bcp){_OPTIONS}-P(?:{_NEXT_ARGUMENT})?(?P<secret>[^\s'\"]{{3,}})",
    ("sshpass",): rf"\bsshpass{_NEXT_ARGUMENT}-p(?:{_NEXT_ARGUMENT})?(?P<secret>[^\s'\"]+)",
    ("redis-cli",): rf"\bredis-cli{_OPTIONS}-a{_NEXT_ARGUMENT}(?P<secret>[^\s'\"]+)",
    ("curl",): rf"\bcurl{_OPTIONS}{_OF_USER}[^\s:'\"]{{1,64}}:(?P<secret>[^\s'\"]+)",
    ("pass:",): rf"-pass(?:in|out)?{_NEXT_ARGUMENT}pass:(?P<secret>[^\s'\"]+)",
}
_ELEMENT = r"<(?P<name>[A-Za-z][\w:.-]{0,60})(?:[ ][^<>\n]{0,200})?>(?=[^<>\s])"


class _Form(NamedTuple):
    """One form of a credential: `find` replaces all of its kind in a text that holds one of the `marks`.

    Attributes:
        in_names: whether it also counts in a dataset's name or namespace.

    """

    marks: tuple[str, ...]
    find: Callable[[str, Replace], str]
    in_names: bool = False


def redact(text: str) -> str:
    """Return `text` with all that looks like a credential masked."""
    return _replaced(text, lambda _secret: MASK)


def find_credentials(text: str) -> set[str]:
    """Return all in `text` that looks like a credential."""
    found: set[str] = set()
    _replaced(text, lambda secret: found.add(secret) or secret)  # type: ignore[func-returns-value]
    return found


def remove_tokens(name: str) -> str:
    """Return the name or namespace of a dataset without tokens: they have a form that nothing else has."""
    return name if len(name) < _MIN_TOKEN else _replaced(name, lambda _secret: "", in_names=True)


def _replaced(text: str, replace: Replace, *, in_names: bool = False) -> str:
    lowered = text.lower()
    for marks, find, is_for_names in _FORMS:
        if is_for_names or not in_names:
            for mark in marks:
                if mark in lowered:
                    text = find(text, replace)
                    break
    return text


def _pattern(pattern: str) -> Callable[[str, Replace], str]:
    """Return a `find` for a pattern with the group `secret`."""

    def find(text: str, replace: Replace) -> str:
        def one(found: re.Match[str]) -> str:
            start, end = found.start("secret") - found.start(), found.end("secret") - found.start()
            return f"{found[0][:start]}{replace(found['secret'])}{found[0][end:]}" if start < end else found[0]

        return compiled(pattern).sub(one, text)

    return find


def _private_keys(text: str, replace: Replace) -> str:
    pieces: list[str] = []
    done = 0
    is_ended = True
    while (begin := compiled(_PRIVATE_KEY).search(text, done)) is not None:
        end = text.find(_END_OF_KEY, begin.end()) if is_ended else -1
        if end < 0:
            is_ended = False  # nor is any further key
            lines = compiled(_KEY_LINES).match(text, begin.end())
            end = lines.end() if lines else begin.end()
        key = text[begin.end() : end]
        pieces += [text[done : begin.end()], replace(key) if key.strip() else key]
        done = end
    return "".join([*pieces, text[done:]])


def _behind(
    pattern: str, name_of: Callable[[re.Match[str]], str | None], is_value: Callable[[str, str], bool]
) -> Callable[[str, Replace], str]:
    """Return a `find` for the values behind what a pattern finds.

    Args:
        pattern: ends where the value begins.
        name_of: returns the name of the credential that follows a match, or None if no credential follows.
        is_value: whether a value under such a name is one.

    """

    def find(text: str, replace: Replace) -> str:
        pieces: list[str] = []
        done = position = 0
        while (found := compiled(pattern).search(text, position)) is not None:
            position = found.end()
            if (name := name_of(found)) is None:
                continue
            is_header = "auth" in found[0].lower() or "cookie" in found[0].lower()
            behind = compiled(_HEADER_VALUE if is_header else _VALUE).match(text, position)
            if behind is None:
                continue
            group = behind.lastgroup or ""  # each way of writing a value ends with its group
            if behind[group] and is_value(name, f"'{behind[group]}'" if group == "quoted" else behind[group]):
                pieces += [text[done : behind.start(group)], replace(behind[group])]
                done = position = behind.end(group)
        return "".join([*pieces, text[done:]])

    return find


def _before(found: re.Match[str]) -> str:
    """Return the characters in front of a match, as many as a name may have."""
    return found.string[max(0, found.start() - MAX_NAME) : found.start()]


def _name(found: re.Match[str]) -> str | None:
    """Return the whole name of which `_NAMED` has found the end."""
    names = compiled(_AROUND_NAMES)
    start = names.split(_before(found))[-1]
    begin = found.start() - len(start)
    # Not in a path: "/etc/passwd: Permission denied", s3://lake/token=1/part
    is_in_path = found.string[begin - 1 : begin] in ("/", "\\")
    name: str = start + names.split(found[0], 1)[0]
    return name if not is_in_path and is_credential_name(name) else None


def _is_value(name: str, value: str) -> bool:
    # token=token, password=self.password, ON a.token = b.token
    is_passed_on = value.rpartition(".")[2].lower() == name.rpartition(".")[2].lower()
    is_text = value.lower() in _PLACEHOLDERS or not _is_argument(name, value) or compiled(_UNRENDERED).fullmatch(value)
    return not is_text and not is_passed_on and is_credential_value(name, value.strip("'"))


def _name_of_option(found: re.Match[str]) -> str | None:
    return found["name"] if is_credential_name(found["name"]) else None


def _is_argument(_name: str, value: str) -> bool:
    return value.lower().rstrip(".:") not in _PROSE and not (value.isupper() and is_credential_name(value))


def _is_value_of_setting(name: str, value: str) -> bool:
    return is_credential_value(name, value.strip("'"))


def _name_in_sql(found: re.Match[str]) -> str | None:
    name = found["name"].lower()
    if name == "secret":  # CREATE SECRET (TYPE S3, KEY_ID 'x', SECRET 'y')
        before = _before(found).lower()
        return name if before.rstrip()[-1:] == "," and "key_id" in before else None
    return name if name not in _NOT_IN_SQL and is_credential_name(name) else None


def _no_name(_found: re.Match[str]) -> str:
    return ""


def _is_any(_name: str, _value: str) -> bool:
    return True


_FORMS = (
    _Form(("-----begin",), _private_keys),
    _Form(("://",), replace_passwords),
    _Form(("oracle",), _pattern(_ORACLE)),
    _Form(("@",), _pattern(_ORACLE_SHORT)),
    _Form(tuple(_STEMS.split("|")), _behind(_NAMED, _name, _is_value)),
    _Form(("--",), _behind(_OPTION, _name_of_option, _is_argument)),
    _Form(("value",), _behind(_SETTING, _name_of_option, _is_value_of_setting)),
    _Form(("('", '("'), _behind(_PAIR, _name_of_option, _is_any)),
    _Form(("password ", "secret ", "key ", "token "), _behind(_PROPERTY, _name_of_option, _is_argument)),
    _Form(("login",), _behind(_NETRC, _no_name, _is_argument)),
    _Form(("pass", "pwd", "secret", "key"), _behind(_SQL_NAMED, _name_in_sql, _is_any)),
    _Form(("identified",), _behind(_IDENTIFIED, _no_name, _is_argument)),
    _Form(("password(", "password ("), _behind(_CALL, _no_name, _is_any)),
    _Form(("</",), _behind(_ELEMENT, _name_of_option, _is_argument)),
    _Form(("bearer", "basic"), _pattern(_BEARER)),
    _Form(("eyj",), _pattern(_JWT), in_names=True),
    _Form(
        (
            *("ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_"),
            "glpat-",
            "xox",
            "xapp-",
            "aiza",
            "ya29.",
            "gocspx-",
            "_live_",
            "_test_",
            "sk-",
            "pypi-",
            "npm_",
            "dapi",
            "hf_",
            "sg.",
            "hvs.",
            "hvb.",
            "dop_",
            "glsa_",
        ),
        _pattern(_VENDOR),
        in_names=True,
    ),
    _Form(("hooks.slack.com",), _pattern(_SLACK_HOOK), in_names=True),
    _Form(("@",), _pattern(_LONG_USER)),
    *(_Form(marks, _pattern(pattern)) for marks, pattern in _COMMANDS.items()),
    _Form(("@",), _pattern(_SCHEMELESS)),
)
