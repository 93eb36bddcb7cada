"""The relay beside a wrapper that is killed, as every real consumer shows it; tests/e2e/test_containers.py has pods."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest

from tests.support.wrapping import message, start, start_relay, stop

if TYPE_CHECKING:
    from pathlib import Path

    from tests.e2e.scene import Scene
    from tests.support.harness import Jobs

pytestmark = pytest.mark.consumers


def test_a_wrapper_is_killed(scene: Scene, jobs: Jobs, tmp_path: Path) -> None:
    """Its run is FAIL: once, with the datasets that it had named."""
    spool = tmp_path / "spool"
    relay = start_relay(jobs, spool, {"OPENLINEAGE_URL": scene.entry.url})
    spooling = {**scene.task.by_id(), "OPENLINEAGE_POD_SPOOL_DIR": str(spool)}
    wrapper = start(jobs, "cat", environ=spooling, options=("--output", "s3://lake/accounts"))
    scene.started()
    wrapper.signal(signal.SIGKILL)
    wrapper.finish()
    end = scene.ended("FAIL")
    stop(relay)

    assert len(scene.events()) == 2
    assert message(end) == "the process ended without reporting (killed or out of memory)"
    assert [each["name"] for each in end["outputs"]] == ["accounts"]
