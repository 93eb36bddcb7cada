"""Fixtures for the tests of the wrapper."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.wrapper.reported import Reported

if TYPE_CHECKING:
    from collections.abc import Iterator

    from openlineage_pod.testing import Recorded


@pytest.fixture
def reported(recorded: Recorded) -> Iterator[Reported]:
    """Report a command."""
    command = Reported()
    yield command
    command.clean_up()
    assert [event["eventType"] for event in recorded.events] == ["START", "COMPLETE"]
