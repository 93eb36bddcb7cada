"""The fast tests by every other Python of the machine, and by the oldest with the lowest dependencies."""

from __future__ import annotations

import os
import re
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.support.cache import UnavailableError
from tests.support.constants import ROOT
from tests.support.interpreters import Interpreter, interpreter_with_package, interpreters

if TYPE_CHECKING:
    from pathlib import Path

_PYTHONS = [python for python in interpreters() if not python.is_own or python.has_lowest]
# A Python that this machine does not have is not collected; the report's header names it.
__test__ = bool(_PYTHONS)

# These depend on no version of Python, need more than the environments have, or take too long (garbage). The tests of
# the exit have each Python as a parameter already.
_LEFT_OUT = (
    "tests/e2e",
    "tests/faults",
    "tests/typing",
    "tests/airflow",
    "tests/datasets",
    "tests/test_airflow_examples.py",
    "tests/test_bundle.py",
    "tests/test_examples.py",
    "tests/test_kubernetes_examples.py",
    "tests/integration/test_exit_by_python.py",
    "tests/integration/test_garbage.py",
    "tests/integration/test_other_pythons.py",
)
# It compares with what the newest openlineage-python sends.
_NOT_BY_THE_LOWEST = "tests/delivery/test_http.py::test_same_request"
_SELECTED = "not slow and not serial"
_PROCESSES = "2"
# Ends a run that hangs, on a machine that is slow as well.
_PATIENCE = 2400


@pytest.mark.slow
@pytest.mark.parametrize("python", _PYTHONS, ids=lambda python: python.version)
def test_the_fast_tests(python: Interpreter, tmp_path: Path) -> None:
    """Each test that passes by one Python passes by the others."""
    try:
        executable = interpreter_with_package(python, tmp_path / "python")
    except UnavailableError as error:
        pytest.skip(str(error))
    options = ["-n", _PROCESSES, "-m", _SELECTED, "-p", "no:cacheprovider", "-q", "--tb=short", "--color=no"]
    options += [f"--basetemp={tmp_path / 'nested'}", *(f"--ignore={path}" for path in _LEFT_OUT)]
    if python.has_lowest:
        options += ["--deselect", _NOT_BY_THE_LOWEST]
    done = subprocess.run(
        [executable, "-m", "pytest", *options, "tests"],
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=ROOT,
        env=_environ(),
        timeout=_PATIENCE,
    )
    # What went wrong follows the lines of progress.
    trouble = re.search(r"^=+ (ERRORS|FAILURES) =+$", done.stdout, re.MULTILINE)
    shown = done.stdout[trouble.start() :] if trouble else done.stdout
    assert done.returncode == 0, f"by Python {python.version}:\n{shown[-50_000:]}"


def _environ() -> dict[str, str]:
    """Return the environment without what the pytest around this one, or its xdist, has put there."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
