"""Fixtures of the fault suite: a scene with and without a spool."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.fault_scene import Scene

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.harness import Jobs


@pytest.fixture(params=["memory", pytest.param("spool", marks=pytest.mark.slow)])
def scene(request: pytest.FixtureRequest, jobs: Jobs, tmp_path: Path) -> Scene:
    """Run jobs that keep their events in memory, and again ones that have a spool."""
    return Scene(jobs, tmp_path / "spool" if request.param == "spool" else None)


@pytest.fixture
def spooling(jobs: Jobs, tmp_path: Path) -> Scene:
    """Run jobs that have a spool."""
    return Scene(jobs, tmp_path / "spool")


@pytest.fixture
def in_memory(jobs: Jobs) -> Scene:
    """Run jobs that keep their events in memory."""
    return Scene(jobs, None)
