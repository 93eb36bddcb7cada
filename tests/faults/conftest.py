"""Fixtures of the fault suite: those of the integration tests, and a scene with and without a spool."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.faults.scene import Scene
from tests.integration.conftest import jobs, new_receiver, receiver, refused  # noqa: F401  pytest finds them here

if TYPE_CHECKING:
    from pathlib import Path

    from tests.integration.harness import Jobs


@pytest.fixture(params=["memory", "spool"])
def scene(request: pytest.FixtureRequest, jobs: Jobs, tmp_path: Path) -> Scene:  # noqa: F811  a fixture's argument
    """Run jobs that keep their events in memory, and again ones that have a spool."""
    return Scene(jobs, tmp_path / "spool" if request.param == "spool" else None)


@pytest.fixture
def spooling(jobs: Jobs, tmp_path: Path) -> Scene:  # noqa: F811  a fixture's argument
    """Run jobs that have a spool."""
    return Scene(jobs, tmp_path / "spool")


@pytest.fixture
def in_memory(jobs: Jobs) -> Scene:  # noqa: F811  a fixture's argument
    """Run jobs that keep their events in memory."""
    return Scene(jobs, None)
