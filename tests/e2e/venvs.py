"""Virtual environments for programs that clash with what the tests need. Each is made once and kept in the cache.

uv fills them, because it is many times faster than pip. It gets pip's configuration, so both use the same index.
"""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
import zlib
from functools import cache
from typing import TYPE_CHECKING

from tests.support.cache import UnavailableError, cache_folder, cached

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

_UV = "0.13.9"
# What uv calls pip's options.
_UV_VARIABLES = {
    "cert": "SSL_CERT_FILE",
    "extra-index-url": "UV_INDEX",
    "index-url": "UV_DEFAULT_INDEX",
    "proxy": "HTTPS_PROXY",
    "trusted-host": "UV_INSECURE_HOST",
}


def environment(
    name: str,
    requirements: Sequence[str],
    *,
    base: str = sys.executable,
    overrides: Sequence[str] = (),
    compiled: bool = True,
) -> Path:
    """Return the Python of a virtual environment. Other requirements make another one.

    Args:
        name: begins the name of its folder.
        requirements: what is installed.
        base: the Python that it is made of.
        overrides: requirements in place of those that the installed packages declare.
        compiled: whether all is compiled at once. Otherwise its processes compile what they import, and each does that
            again if the environment has PYTHONDONTWRITEBYTECODE.

    """
    wanted = zlib.crc32("\n".join([*requirements, *overrides]).encode())
    with cached(f"{name}-python{version_of(base)}-{wanted:08x}") as (folder, complete):
        python = folder / "bin" / "python"
        if not complete:
            make(folder, base)
            file = folder / "overrides.txt"
            file.write_text("\n".join(overrides))
            options = ["--compile-bytecode"] if compiled else []
            install(python, *options, "--override", file, *requirements)
    return python


def make(folder: Path, base: str) -> None:
    """Make an empty virtual environment in an empty folder."""
    run(f"uv cannot make a virtual environment of {base}", [_uv(), "venv", "--python", base, folder])


def install(python: Path, *arguments: str | Path) -> None:
    """Run `uv pip install ARGUMENTS` for the Python."""
    options = ["--quiet", "--python", str(python)]
    run("uv cannot install it, let it reach a package index", [_uv(), "pip", "install", *options, *arguments])


def run(hint: str, command: Sequence[str | Path]) -> str:
    """Return what the command prints. Where it fails, the environment cannot be had, and `hint` says why."""
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=_uv_environ())
    if done.returncode != 0:
        said = " ".join(done.stderr.split()) or "no message"
        raise UnavailableError(f"{hint}: {' '.join(map(str, command[-2:]))}: {said[:500]}")
    return done.stdout


def find_python(*versions: str) -> str | None:
    """Return the first of these versions of Python, such as "3.12", that this machine has."""
    own = f"{sys.version_info.major}.{sys.version_info.minor}"
    for version in versions:
        found = sys.executable if version == own else shutil.which(f"python{version}")
        # A shim of a version manager may stand for a Python that is not there.
        if found and subprocess.run([found, "--version"], check=False, capture_output=True).returncode == 0:
            return found
    return None


@cache
def pip_options() -> Mapping[str, str]:
    """Return pip's options on this machine, from its files and from the environment, which has the last word."""
    command = [sys.executable, "-m", "pip", "config", "list"]
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    options = {}
    for line in sorted(lines, key=lambda line: line.startswith(":env:")):
        key, _, value = line.partition("=")
        options[key.rpartition(".")[2]] = ast.literal_eval(value)
    return options


def version_of(python: str) -> str:
    """Return the full version of a Python."""
    program = "import platform; print(platform.python_version())"
    return run(f"{python} does not run", [python, "-c", program]).strip()


def _uv() -> Path:
    with cached(f"uv-{_UV}") as (folder, complete):
        if not complete:
            command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
            run(
                "pip cannot install uv, let it reach a package index",
                [*command, "--target", folder, f"uv=={_UV}"],
            )
    return folder / "bin" / "uv"


def _uv_environ() -> dict[str, str]:
    options = pip_options()
    own = {
        "UV_CACHE_DIR": str(cache_folder() / "uv"),
        "UV_COMPILE_BYTECODE_TIMEOUT": "0",
        "UV_HTTP_TIMEOUT": "180",
        "UV_INDEX_STRATEGY": "unsafe-best-match",  # as pip does: the best version of all indexes
        "UV_NO_CONFIG": "1",
        "UV_PYTHON_DOWNLOADS": "never",
    }
    of_pip = {variable: " ".join(options[name].split()) for name, variable in _UV_VARIABLES.items() if name in options}
    return {**os.environ, **of_pip, **own}
