"""The variables `OPENLINEAGE_POD_TEST_*`, which say how the tests are run.

This is the only module that reads them. `hide` removes them from the environment of a process that runs tests: the
processes that tests start are jobs, and a job would warn about variables that the package does not know.
"""

from __future__ import annotations

import os
from pathlib import Path

__all__ = [
    "CACHE",
    "CACHE_VARIABLE",
    "CASES",
    "EXAMPLES",
    "MARQUEZ_JARS",
    "MARQUEZ_JARS_VARIABLE",
    "NO_SKIPS",
    "SPEC",
    "WITHOUT",
    "hide",
]

_PREFIX = "OPENLINEAGE_POD_TEST_"
_values = {name.removeprefix(_PREFIX): value for name, value in os.environ.items() if name.startswith(_PREFIX)}

CACHE_VARIABLE = f"{_PREFIX}CACHE"
CACHE = Path(_values.get("CACHE") or Path.home() / ".cache" / "openlineage-pod")
"""The folder that keeps what the slow tests download and install."""
EXAMPLES = int(_values.get("EXAMPLES") or 2000)
"""How many garbage values the slow tests try."""
MARQUEZ_JARS_VARIABLE = f"{_PREFIX}MARQUEZ_JARS"
MARQUEZ_JARS = _values.get("MARQUEZ_JARS")
"""A folder with Marquez and all its dependencies, or None: the tests with Marquez are skipped."""
NO_SKIPS = bool(_values.get("NO_SKIPS"))
"""Whether a skipped test counts as failed, as in CI."""
_SHARED = Path(__file__).parents[3] / "shared"
CASES = Path(_values.get("CASES") or _SHARED / "cases")
"""The folder of inputs with their right answers: names.tsv."""
SPEC = Path(_values.get("SPEC") or _SHARED / "spec")
"""The folder of OpenLineage's JSON schemas: OpenLineage.json and facets/."""
WITHOUT = frozenset(name for name in _values.get("WITHOUT", "").split(",") if name)
"""The markers of tests that are left out."""


def hide() -> None:
    """Remove the variables from the environment of this process."""
    for name in [name for name in os.environ if name.startswith(_PREFIX)]:
        del os.environ[name]
