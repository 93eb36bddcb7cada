"""The search for the Pythons of a machine."""

from __future__ import annotations

import platform
import sys
from typing import TYPE_CHECKING

import pytest

from tests.support.interpreters import MINORS, interpreters, report_header

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

OWN = f"{sys.version_info.major}.{sys.version_info.minor}"
OTHER = next(minor for minor in MINORS if minor != OWN)


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Search a machine that has nothing on PATH and nothing in pyenv; its folder has a `bin` and a `pyenv`."""
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path / "pyenv"))
    interpreters.cache_clear()
    yield tmp_path
    interpreters.cache_clear()


def script(path: Path, text: str) -> None:
    """Write an executable shell script."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def test_only_the_python_of_the_tests(machine: Path) -> None:
    """A machine without other Pythons has the one that runs the tests, and the header names those that are absent."""
    assert machine
    (own,) = interpreters()
    assert own.version == platform.python_version()
    assert own.is_own
    assert own.has_lowest
    absent = ", ".join(minor for minor in MINORS if minor != OWN)
    assert report_header() == f"Pythons: {own.version} (this one); not found: {absent}"


def test_a_shim_without_a_python_is_passed_over(machine: Path) -> None:
    """A shim that cannot run its Python does not hide that of pyenv, whose newest one counts."""
    script(machine / "bin" / f"python{OTHER}", "echo command not found >&2; exit 127")
    for patch in (9, 10):
        answer = f"echo {OTHER.replace('.', ' ')} {patch} /real/python"
        script(machine / "pyenv" / "versions" / f"{OTHER}.{patch}" / "bin" / f"python{OTHER}", answer)
    assert (f"{OTHER}.10", "/real/python") in [python[:2] for python in interpreters()]


@pytest.mark.parametrize("answer", ["echo 3 9 1 /other/version", "echo nonsense", "exit 1", "true"])
def test_what_is_not_that_python_is_not_found(answer: str, machine: Path) -> None:
    """An executable of that name which is another version, or no Python at all, does not count."""
    script(machine / "bin" / f"python{OTHER}", answer)
    assert [python.version for python in interpreters()] == [platform.python_version()]
