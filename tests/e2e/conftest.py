"""The real servers, started when the first test asks for them, and stopped with their data at the end of the session.

Marquez and Data.Rentgen have databases of their own in one PostgreSQL. A server that cannot be had on this machine
is a skip that says how to get it.
"""

from __future__ import annotations

import shutil
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, TypeVar

import pytest

from tests.e2e import podman as containers
from tests.e2e import programs, servers
from tests.e2e.consumers import Marquez, Rentgen
from tests.e2e.consumers import entry as open_entry
from tests.e2e.pods import Names
from tests.e2e.scene import Scene
from tests.support import options
from tests.support.cache import UnavailableError
from tests.support.constants import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from tests.e2e.consumers import Consumer, Entry
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
    with skipping():
        python = programs.data_rentgen()
    yield from _running(servers.data_rentgen(cluster, python))


@pytest.fixture(scope="session")
def consumers(request: pytest.FixtureRequest) -> list[Consumer]:
    """Return the real consumers that this machine can have, both in CI unless one is left out by name."""
    found: list[Consumer] = []
    missing: list[str] = []
    for name, wrap in (("marquez", Marquez), ("data_rentgen", Rentgen)):
        if name.removeprefix("data_") in options.WITHOUT:
            continue
        try:
            found.append(wrap(request.getfixturevalue(name)))
        except pytest.skip.Exception as error:
            missing.append(str(error))
    if not found or (missing and options.NO_SKIPS):
        pytest.skip("; ".join(missing) or "every consumer is left out")
    return found


@pytest.fixture
def entry(consumers: list[Consumer]) -> Iterator[Entry]:
    """Return an entry for events in front of all consumers."""
    with open_entry(consumers) as running:
        yield running


@pytest.fixture
def namespace() -> str:
    """Return a job namespace for Airflow that no other test uses."""
    return Names.new().namespace


@pytest.fixture
def scene(entry: Entry, namespace: str) -> Iterator[Scene]:
    """Return an Airflow task that runs as long as the test does."""
    scene = Scene(entry, namespace)
    yield scene
    scene.end()
    assert entry.refused == []


@pytest.fixture(scope="session")
def dbt() -> Path:
    """Return the folder with the programs `dbt` and `dbt-ol`."""
    with skipping():
        return programs.dbt()


@pytest.fixture(scope="session")
def podman() -> Iterator[Podman]:
    """Return a podman that can run containers."""
    yield from _running(containers.running())


@pytest.fixture(scope="session")
def ingest_accounts(podman: Podman) -> Iterator[str]:
    """Build Dockerfile.example."""
    with podman.image("ingest-accounts", ROOT / "Dockerfile.example", ROOT, containers.PYTHON_BASE) as name:
        yield name


@pytest.fixture(scope="session")
def load_fees(podman: Podman, dist: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Build the image of a bash job with the bundle, on a base without Python."""
    context = tmp_path_factory.mktemp("context")
    shutil.copytree(dist, context / "dist", symlinks=True)
    docker = context / "examples" / "docker"
    shutil.copytree(ROOT / "examples" / "docker", docker)
    with podman.image("load-fees", docker / "Dockerfile.bash", context, containers.BASE) as name:
        yield name
    shutil.rmtree(context)


@contextmanager
def skipping() -> Iterator[None]:
    """Skip the test if the block asks for what cannot be had on this machine."""
    try:
        yield
    except UnavailableError as error:
        pytest.skip(str(error))


def _running(server: AbstractContextManager[T]) -> Iterator[T]:
    with ExitStack() as stack:
        with skipping():
            running = stack.enter_context(server)
        yield running
