"""Fixtures for real processes, sockets and signals; whatever a test starts ends with it."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from tests.integration.harness import Jobs, Receiver

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture
def new_receiver() -> Iterator[Callable[[], Receiver]]:
    """Return a function that starts one more backend."""
    with ExitStack() as stack:

        def start() -> Receiver:
            receiver = Receiver()
            stack.callback(receiver.stop)
            return receiver

        yield start


@pytest.fixture
def receiver(new_receiver: Callable[[], Receiver]) -> Receiver:
    """Start a backend."""
    return new_receiver()


@pytest.fixture
def jobs(tmp_path: Path) -> Iterator[Jobs]:
    """Run job scripts in a directory of the test's own."""
    running = Jobs(tmp_path)
    yield running
    running.stop()


@pytest.fixture
def refused() -> str:
    """Return the URL of a port where nobody listens."""
    import socket

    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{listener.getsockname()[1]}"
