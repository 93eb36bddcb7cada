"""The real servers, started when the first test asks for them, and stopped with their data at the end of the session.

Marquez and Data.Rentgen have databases of their own in one PostgreSQL. A server that cannot be had on this machine
is a skip that says how to get it.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, TypeVar

import pytest

from tests.e2e import podman as containers
from tests.e2e import servers

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

    from tests.e2e.podman import Podman
    from tests.e2e.servers import Api, DataRentgen, PostgreSQL

T = TypeVar("T")


@pytest.fixture(scope="session")
def cluster() -> Iterator[PostgreSQL]:
    """Return a running PostgreSQL."""
    yield from _running(servers.postgresql())


@pytest.fixture(scope="session")
def marquez(cluster: PostgreSQL) -> Iterator[Api]:
    """Return the interface of a running Marquez."""
    yield from _running(servers.marquez(cluster))


@pytest.fixture(scope="session")
def data_rentgen(cluster: PostgreSQL) -> Iterator[DataRentgen]:
    """Return the addresses of a running Data.Rentgen and of the Kafka that it reads."""
    yield from _running(servers.data_rentgen(cluster))


@pytest.fixture(scope="session")
def podman() -> Iterator[Podman]:
    """Return a podman that can run containers."""
    yield from _running(containers.running())


def _running(server: AbstractContextManager[T]) -> Iterator[T]:
    with ExitStack() as stack:
        try:
            running = stack.enter_context(server)
        except servers.UnavailableError as error:
            pytest.skip(str(error))
        yield running
