"""The settings of this process, read once from the environment or from a mapping that a test injects.

A malformed value never stops the job: it becomes a *problem*, one sentence that names the variable, what was wrong and
a right value, and the default is used instead.
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any, NamedTuple

from openlineage_pod import environment

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = [
    "NOT_RENDERED",
    "ConfigurationError",
    "Settings",
    "canonical_uuid",
    "is_template",
    "name_fault",
    "quoted",
    "read_boolean",
    "read_name",
    "unrendered",
]

MAX_NAME = 1024
"""Longest job name or namespace in characters; Marquez refuses longer namespaces."""

_DEFAULT_FLUSH_TIMEOUT = 5.0
_DEFAULT_GRACE_PERIOD = 30.0
_MAX_SECONDS = 3600.0
_DEFAULT_SPOOL_BYTES = 16 * 1024 * 1024
_DEFAULT_EVENT_BYTES = 250_000
_MIN_BYTES = 10_000
_MAX_DIGITS = 15
_MAX_QUOTED = 1000
NOT_RENDERED = "is a template that was not rendered (is the operator's field templated?)"
# How similar a misspelled name must be to a known one, from 0 to 1: without the prefix, and where that is misspelled.
_PREFIX = environment.CLIENT_PREFIX.removesuffix("_")
_CUTOFF, _PREFIX_CUTOFF = 0.7, 0.92
_TRUE, _FALSE = ("true", "1", "yes", "on"), ("false", "0", "no", "off")


class ConfigurationError(ValueError):
    """A wrong or missing setting.

    It reaches a job with `OPENLINEAGE_POD_STRICT=true` only, else it is a warning; `relay` and `replay` end with it.
    """


# Names say themselves that they were not rendered, datasets hold templates beside what is right.
_OPTIONS = (
    environment.RUN_ID,
    environment.DISABLED,
    *(name for name in environment.OWN if name not in (environment.INPUTS, environment.OUTPUTS)),
)


def quoted(value: object) -> str:
    """Return `value` for a message: without credentials, escaped to stay on one line, cut at 80 characters.

    Of what is not a text it is the type.
    """
    if not isinstance(value, str):
        return type(value).__name__
    from openlineage_pod._redaction.forms import redact  # deferred: only a problem pays for it

    shown = ascii(redact(value[:_MAX_QUOTED]))  # masked first: nobody can tell where the password of half a URL ends
    return shown if len(shown) <= 80 else f"{shown[:76]}...{shown[0]}"  # noqa: PLR2004


class Settings(NamedTuple):
    """What the environment says about this pod's own runs and their delivery.

    `problems` holds one sentence for each malformed value; the field of such a value has its default.
    """

    environ: Mapping[str, str]
    namespace: str | None = None
    job_name: str | None = None
    run_id: str | None = None
    disabled: bool = False
    inputs: tuple[Any, ...] = ()
    outputs: tuple[Any, ...] = ()
    flush_timeout: float = _DEFAULT_FLUSH_TIMEOUT
    last_resort: bool = True
    spool_dir: str | None = None
    spool_max_bytes: int = _DEFAULT_SPOOL_BYTES
    max_event_bytes: int = _DEFAULT_EVENT_BYTES
    redact: bool = True
    grace_period: float = _DEFAULT_GRACE_PERIOD
    strict: bool = False
    summary: bool = False
    problems: tuple[str, ...] = ()

    def __repr__(self) -> str:
        """Leave out the environment, which holds the API key."""
        return f"<Settings namespace={self.namespace!r} job_name={self.job_name!r} disabled={self.disabled}>"

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None) -> Settings:
        """Read the settings from `environ` (default: a snapshot of the process environment). Never raises."""
        complete = dict(os.environ if environ is None else environ)
        problems = _misspelled(complete)
        problems += _without_quotes(complete)
        templates = unrendered(complete, _OPTIONS)
        problems += [f"{problem}; it is ignored" for problem in templates.values()]
        problems += unrendered(complete, (environment.INPUTS, environment.OUTPUTS)).values()
        environ = {name: value for name, value in complete.items() if name not in templates}
        return cls(
            environ=complete,
            namespace=read_name(environ, environment.NAMESPACE, "my-namespace", problems),
            job_name=read_name(environ, environment.JOB_NAME, "ingest_accounts", problems),
            run_id=_run_id(environ, problems),
            disabled=read_boolean(environ, environment.DISABLED, problems),
            inputs=_datasets(environ, environment.INPUTS, problems),
            outputs=_datasets(environ, environment.OUTPUTS, problems),
            flush_timeout=_seconds(environ, environment.FLUSH_TIMEOUT, _DEFAULT_FLUSH_TIMEOUT, problems),
            last_resort=_last_resort(environ, problems),
            spool_dir=_path(environ, environment.SPOOL_DIR, problems),
            spool_max_bytes=_bytes(environ, environment.SPOOL_MAX_BYTES, _DEFAULT_SPOOL_BYTES, problems),
            max_event_bytes=_bytes(environ, environment.MAX_EVENT_BYTES, _DEFAULT_EVENT_BYTES, problems),
            redact=read_boolean(environ, environment.REDACT, problems, default=True),
            grace_period=_seconds(environ, environment.GRACE_PERIOD, _DEFAULT_GRACE_PERIOD, problems),
            strict=read_boolean(environ, environment.STRICT, problems),
            summary=read_boolean(environ, environment.SUMMARY, problems),
            problems=tuple(problems),
        )


def _misspelled(environ: Mapping[str, str]) -> list[str]:
    """Return one sentence for each variable about OpenLineage that nobody reads, if it is most likely a misspelled one.

    That are those with our own prefix, and those that resemble a known one; all others may be of a program of the job.
    """
    suspects = [
        name
        for name in environ
        if _is_about_openlineage(name)
        and name not in environment.KNOWN
        and not _is_of_client(name)
        and not _is_service_link(name)
    ]
    return [problem for name in sorted(suspects) if (problem := _hint(name))]


def _without_quotes(environ: dict[str, str]) -> list[str]:
    """Take the quotes off the values that have them, as `docker run --env-file` leaves them; one sentence for each.

    The API key is read elsewhere, without them.
    """
    problems = []
    for name in sorted(environment.KNOWN & environ.keys() - {environment.API_KEY}):
        value = environ[name].strip()
        if len(value) > 1 and value[0] == value[-1] and value[0] in "'\"":
            problems.append(f"{name}={quoted(value)} is read without the quotes around it; write it without")
            environ[name] = value[1:-1]
    return problems


def _is_about_openlineage(name: str) -> bool:
    letters = name.upper().replace("_", "").replace("-", "")
    return "LINEAGE" in letters or "OPENLI" in letters


def _is_of_client(name: str) -> bool:
    """Return whether openlineage-python reads such a variable; `OPENLINEAGE__TRANSPORT_TYPE` is a misspelled one."""
    rest = name.removeprefix(environment.CLIENT_PREFIX)
    return rest != name and ("_" not in rest or "__" in rest)


def _is_service_link(name: str) -> bool:
    """Return whether Kubernetes makes such a variable for a service, as `OPENLINEAGE_POD_SERVICE_HOST`."""
    parts = name.split("_")
    return parts[-2:] == ["SERVICE", "HOST"] or "PORT" in parts


def _hint(name: str) -> str:
    from difflib import get_close_matches  # deferred: 5 ms that only a suspicious name costs

    # Without the prefixes that they have in common, unless it is the prefix that is misspelled.
    written = name.upper().replace("-", "_")
    is_ours = written.startswith(_PREFIX)
    known = {_end(each) if is_ours else each: each for each in (*environment.KNOWN, *environment.CLIENT_PARTS)}
    end, cutoff = (_end(written), _CUTOFF) if is_ours else (written, _PREFIX_CUTOFF)
    similar = get_close_matches(end, known, 1, cutoff)
    if not similar and not written.startswith(environment.OWN_PREFIX):
        return ""
    return f"unknown variable {name}{f'; did you mean {known[similar[0]]}?' if similar else ''}"


def _end(name: str) -> str:
    return name.removeprefix(environment.OWN_PREFIX).removeprefix(_PREFIX)


def is_template(value: str) -> bool:
    """Return whether `value` is a template, or a reference to a variable, that was not rendered."""
    if "{{" in value or "{%" in value:
        return True
    return any(start in value and end in value.partition(start)[2] for start, end in (("${", "}"), ("$(", ")")))


def unrendered(environ: Mapping[str, str], variables: Iterable[str]) -> dict[str, str]:
    """Return those of `variables` that were not rendered, each with a sentence that says so."""
    return {
        name: f"{name}{'' if name == environment.API_KEY else f'={quoted(environ[name])}'} {NOT_RENDERED}"
        for name in variables
        if is_template(environ.get(name, ""))
    }


def read_name(environ: Mapping[str, str], variable: str, example: str, problems: list[str]) -> str | None:
    """Return a job name or namespace, or None (absent, empty, or malformed: then `problems` says so)."""
    value = environ.get(variable, "").strip(" ")
    if not value:
        return None
    fault = name_fault(value)
    if fault is None:
        return value
    problems.append(f"{variable}={quoted(value)} {fault}; it is ignored. Example: {variable}={example}")
    return None


def name_fault(value: object) -> str | None:
    """Return why `value` is not a job name or namespace, or None if it is one."""
    if not isinstance(value, str):
        return f"is {type(value).__name__}, not a string"
    if not value.strip():
        return "is empty"
    if is_template(value):
        return NOT_RENDERED
    if len(value) > MAX_NAME:
        return f"is {len(value)} characters long; the limit is {MAX_NAME}"
    # isprintable() is false for control characters, line breaks and the lone surrogates of undecodable bytes.
    if not value.isprintable():
        return "has control characters or undecodable bytes"
    return None


def canonical_uuid(value: object) -> str | None:
    """Return `value` as a lower-case UUID with hyphens, or None if it is none."""
    if not isinstance(value, str):
        return None
    digits = value.strip().lower()
    if [len(part) for part in digits.split("-")] not in ([8, 4, 4, 4, 12], [32]):
        return None
    digits = digits.replace("-", "")
    if len(digits) != 32 or set(digits) - set("0123456789abcdef"):  # noqa: PLR2004
        return None
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def _run_id(environ: Mapping[str, str], problems: list[str]) -> str | None:
    value = environ.get(environment.RUN_ID, "").strip()
    if not value:
        return None
    run_id = canonical_uuid(value)
    if run_id is None:
        problems.append(
            f"{environment.RUN_ID}={quoted(value)} is no UUID; a new one is made. "
            f"Example: {environment.RUN_ID}=01938a60-0000-7000-8000-000000000000"
        )
    return run_id


def read_boolean(environ: Mapping[str, str], variable: str, problems: list[str], *, default: bool = False) -> bool:
    """Return whether a variable says true; `problems` says so if it is neither true nor false."""
    value = environ.get(variable, "").strip().lower()
    if value in (*_TRUE, *_FALSE):
        return value in _TRUE
    if value:
        problems.append(
            f"{variable}={quoted(value)} is neither true nor false; {str(default).lower()} is used. "
            f"Example: {variable}={str(not default).lower()}"
        )
    return default


def _path(environ: Mapping[str, str], variable: str, problems: list[str]) -> str | None:
    value = environ.get(variable, "").strip()
    if value and not (value.isprintable() and value.startswith("/")):
        problems.append(
            f"{variable}={quoted(value)} is no absolute path; it is ignored. Example: {variable}=/var/spool/openlineage"
        )
        return None
    return value or None


def _bytes(environ: Mapping[str, str], variable: str, default: int, problems: list[str]) -> int:
    value = environ.get(variable, "").strip()
    if not value:
        return default
    # The length first: int() refuses, or takes its time with, a value of megabytes.
    if len(value) <= _MAX_DIGITS and value.isascii() and value.isdecimal() and int(value) >= _MIN_BYTES:
        return int(value)
    problems.append(
        f"{variable}={quoted(value)} is no number of bytes from {_MIN_BYTES} up; {default} is used. "
        f"Example: {variable}={default}"
    )
    return default


def _datasets(environ: Mapping[str, str], variable: str, problems: list[str]) -> tuple[Any, ...]:
    value = environ.get(variable, "").strip()
    if not value:
        return ()
    example = f"""Example: {variable}='["postgres://warehouse:5432/crm.public.accounts"]'"""
    try:
        datasets = json.loads(value)
    # RecursionError: "[[[[…" nested some thousand levels deep.
    except (ValueError, RecursionError) as error:
        problems.append(f"{variable}={quoted(value)} is no JSON ({type(error).__name__}); it is ignored. {example}")
        return ()
    if not isinstance(datasets, list):
        problems.append(f"{variable}={quoted(value)} is no JSON array; it is ignored. {example}")
        return ()
    return tuple(datasets)


def _seconds(environ: Mapping[str, str], variable: str, default: float, problems: list[str]) -> float:
    value = environ.get(variable, "").strip()
    if not value:
        return default
    try:
        seconds = float(value)
    except ValueError:
        seconds = -1
    # The comparison is false for nan, too.
    if 0 <= seconds <= _MAX_SECONDS:
        return seconds
    problems.append(
        f"{variable}={quoted(value)} is no number of seconds from 0 to {_MAX_SECONDS:g}; {default:g} is used. "
        f"Example: {variable}={default:g}"
    )
    return default


def _last_resort(environ: Mapping[str, str], problems: list[str]) -> bool:
    value = environ.get(environment.LAST_RESORT, "").strip().lower()
    if value not in ("stderr", "off", ""):
        problems.append(
            f"{environment.LAST_RESORT}={quoted(value)} is neither stderr nor off; stderr is used. "
            f"Example: {environment.LAST_RESORT}=off"
        )
    return value != "off"
