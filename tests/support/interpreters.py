"""The Pythons of this machine, each with a virtual environment that can run the tests.

An environment is made once and kept in the test cache (see `tests.e2e.servers.cached`). It holds what this package and
its tests need, but not the package, as several checkouts may share the cache. `interpreter_with_package` adds that.
"""

from __future__ import annotations

import functools
import os
import re
import subprocess
import sys
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from tests.support.cache import UnavailableError, cached
from tests.support.constants import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = [
    "MINORS",
    "Interpreter",
    "interpreter_with_package",
    "interpreters",
    "report_header",
]

MINORS = ("3.10", "3.11", "3.12", "3.13")
_OWN = f"{sys.version_info.major}.{sys.version_info.minor}"
# The parts of the extra `test` that only linting, type checking, tests of schemas and tests of examples need.
_NOT_NEEDED = re.compile(r"(jinja2|kubernetes-validate|mypy|pandas|polars|pyarrow|ruff|types-)", re.IGNORECASE)
# Prints nothing for a build without the global lock, and fails without ensurepip, which Debian packages separately. The
# base of a virtual environment counts, so that all checkouts have the same.
_PROBE = """
import ensurepip, sys, sysconfig, venv
if not sysconfig.get_config_var("Py_GIL_DISABLED"):
    print(*sys.version_info[:3], sys._base_executable)
"""


class Interpreter(NamedTuple):
    """A Python of this machine: `version` such as "3.12.1", and the path of its executable.

    `has_lowest`: its environment has the lowest version of each dependency that pyproject.toml allows.
    """

    version: str
    executable: str
    has_lowest: bool

    @property
    def minor(self) -> str:
        """The version without its last part, such as "3.12"."""
        return self.version.rpartition(".")[0]

    @property
    def is_own(self) -> bool:
        """Whether this Python runs these tests."""
        return self.minor == _OWN


@functools.cache
def interpreters() -> tuple[Interpreter, ...]:
    """Return one Python for each minor version that this machine has, the oldest first; that one has the lowest."""
    found: list[Interpreter] = []
    for minor in MINORS:
        for path in _candidates(minor):
            if version_and_base := _probe(path, minor):
                found.append(Interpreter(*version_and_base, has_lowest=not found))
                break
    return tuple(found)


def report_header() -> str:
    """Return the line that names the Pythons of this machine, and those that it does not have."""
    found = ", ".join(f"{python.version} (this one)" if python.is_own else python.version for python in interpreters())
    absent = [minor for minor in MINORS if minor not in {python.minor for python in interpreters()}]
    return f"Pythons: {found or 'none'}" + (f"; not found: {', '.join(absent)}" if absent else "")


def interpreter_with_package(python: Interpreter, folder: Path) -> str:
    """Return the path of a Python that has this checkout installed, and all that the tests need.

    Args:
        python: the Python.
        folder: an empty folder, for a small virtual environment above the one of the cache.

    Raises:
        UnavailableError: The environment cannot be made.

    """
    site = next(_environment(python).parents[1].glob("lib/python*/site-packages"))
    _run(
        f"Python {python.version} makes no virtual environment",
        [python.executable, "-m", "venv", "--without-pip", folder],
    )
    (own_site,) = folder.glob("lib/python*/site-packages")
    (own_site / "checkout.pth").write_text(f"{ROOT}\nimport site; site.addsitedir({str(site)!r})\n")
    executable, command = folder / "bin" / "python", folder / "bin" / "openlineage-pod"
    command.write_text(f"#!{executable}\nimport sys\nfrom openlineage_pod.cli import main\nsys.exit(main())\n")
    command.chmod(0o755)
    return str(executable)


def _environment(python: Interpreter) -> Path:
    """Return the Python of the environment in the cache."""
    requirements = _requirements(lowest=python.has_lowest)
    which = f"{zlib.crc32(' '.join([python.executable, *requirements]).encode()):08x}"
    with cached(f"tests-python{python.version}-{which}") as (folder, complete):
        executable = folder / "bin" / "python"
        if not complete:
            _run(f"Python {python.version} makes no virtual environment", [python.executable, "-m", "venv", folder])
            install = [str(executable), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
            _run(f"pip of Python {python.version} cannot install what the tests need", [*install, *requirements])
    return executable


def _requirements(*, lowest: bool) -> list[str]:
    """Return the requirements of this package and of its tests, from pyproject.toml."""
    # By a pattern: tomllib is there from Python 3.11 on.
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    package, test = _strings(text, "dependencies"), _strings(text, "test")
    if lowest:
        package = [requirement.replace(">=", "==") for requirement in package]
    return [*package, *(requirement for requirement in test if not _NOT_NEEDED.match(requirement))]


def _strings(text: str, key: str) -> list[str]:
    """Return the strings of a list in a TOML document, one of which stands on each line."""
    (block,) = re.findall(rf"^{key} = \[\n(.*?)^\]", text, re.MULTILINE | re.DOTALL)
    return re.findall(r'^\s*"([^"]+)"', block, re.MULTILINE)


def _candidates(minor: str) -> Iterator[str]:
    """Yield the paths at which this Python may be, the best first."""
    if minor == _OWN:
        yield sys.executable
    for directory in os.get_exec_path():
        yield os.path.join(directory, f"python{minor}")  # noqa: PTH118  as PATH says it, also if that is relative
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    for path in sorted(pyenv.glob(f"versions/{minor}.*/bin/python{minor}"), key=_patch, reverse=True):
        yield str(path)


def _patch(path: Path) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", path.parents[1].name)]


def _probe(path: str, minor: str) -> tuple[str, str] | None:
    """Return version and executable, or None: a shim of a version manager may stand for a Python that is not there."""
    if not Path(path).is_file():
        return None
    try:
        done = subprocess.run([path, "-I", "-c", _PROBE], check=False, capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.SubprocessError):
        return None
    found = re.fullmatch(r"(\d+) (\d+) (\d+) (.+)\n", done.stdout)
    if done.returncode != 0 or found is None or f"{found[1]}.{found[2]}" != minor:
        return None
    return ".".join(found.groups()[:3]), found[4]


def _run(hint: str, command: list[str | Path]) -> None:
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode != 0:
        lines = [line for line in (done.stderr or done.stdout).splitlines() if line.strip()] or ["no message"]
        raise UnavailableError(f"{hint}: {lines[0]}")
