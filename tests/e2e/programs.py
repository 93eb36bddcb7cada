"""Programs that run in virtual environments of their own, and their versions."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from tests.e2e import venvs
from tests.support.cache import UnavailableError, cached

if TYPE_CHECKING:
    from pathlib import Path

_DBT = ("dbt-core==1.10.23", "dbt-duckdb==1.10.1", "openlineage-dbt==1.54.0")

_RENTGEN = "0.7.2"
_RENTGEN_EXTRAS = ("server", "consumer", "http2kafka", "postgres")
# Prints what the installed data-rentgen needs for our extras.
_RENTGEN_REQUIREMENTS = """
import re, sys
from importlib.metadata import requires
for line in requires("data-rentgen"):
    requirement, _, marker = line.partition(";")
    extra = re.search(r'extra == "(\\w+)"', marker)
    if not extra or extra.group(1) in sys.argv[1:]:
        print(requirement.strip())
"""

OPENMETADATA = ("2.0.7.0", "1.12.14.2")
"""The versions of OpenMetadata's connectors, the main one first."""
# What the connector imports and does not declare.
_OPENMETADATA_UNDECLARED = ("cachetools", "dsnparse", "pytz", "rich", "toml")
# It downloads something from outside the package index. The connector does not use it.
_OPENMETADATA_OVERRIDES = ("dbt-core; sys_platform == 'never'",)


def dbt() -> Path:
    """Return the folder with the programs of dbt on DuckDB and of dbt-ol."""
    return venvs.environment("dbt", _DBT).parent


def data_rentgen() -> Path:
    """Return a Python with Data.Rentgen."""
    wanted = f"data-rentgen[{','.join(_RENTGEN_EXTRAS)}]=={_RENTGEN}"
    if base := venvs.find_python("3.13", "3.12"):
        return venvs.environment("data-rentgen", [wanted], base=base)
    if sys.version_info < (3, 11):
        raise UnavailableError("Data.Rentgen needs a python3.12 or python3.13 on PATH")
    # It declares a later Python, yet runs on this one. The same must not be assumed of what it needs.
    with cached(f"data-rentgen-{_RENTGEN}-{'-'.join(_RENTGEN_EXTRAS)}-python{venvs.version_of(sys.executable)}") as (
        folder,
        complete,
    ):
        python = folder / "bin" / "python"
        if not complete:
            venvs.make(folder, sys.executable)
            [packages] = folder.glob("lib/python*/site-packages")
            pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
            into = ["--ignore-requires-python", "--target", packages, f"data-rentgen=={_RENTGEN}"]
            venvs.run("pip cannot install it, let it reach a package index", [*pip, *into])
            needed = venvs.run("it does not say what it needs", [python, "-c", _RENTGEN_REQUIREMENTS, *_RENTGEN_EXTRAS])
            venvs.install(python, "--compile-bytecode", *filter(None, needed.split("\n")))
    return python


def openmetadata(version: str) -> Path:
    """Return a Python with OpenMetadata's connector for OpenLineage."""
    requirements = [f"openmetadata-ingestion[openlineage]=={version}", *_OPENMETADATA_UNDECLARED]
    # Thousands of modules, of which one process uses a part.
    return venvs.environment(f"openmetadata-{version}", requirements, overrides=_OPENMETADATA_OVERRIDES, compiled=False)
