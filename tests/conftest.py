"""Fixtures for all tests: real processes and backends, recorded runs, and checks that every test must pass."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

from openlineage_pod import _guard
from openlineage_pod.delivery import prepare
from openlineage_pod.events.secrets import SECRETS, Secrets
from openlineage_pod.testing import Recorded, record_events
from tests.support import options, specification
from tests.support.constants import ROOT
from tests.support.events import SEEN_EVENTS
from tests.support.harness import Jobs, Receiver
from tests.support.interpreters import report_header
from tests.support.replaying import Setting

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

# They need what only the environment of the slow tests has.
SLOW_FOLDERS = tuple(ROOT / "tests" / name for name in ("e2e", "typing"))


def pytest_configure(config: pytest.Config) -> None:
    """Give signals their default actions, and hide the options of the tests from the processes that tests start."""
    # A shell in the background and nohup ignore some signals, and processes inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, signal.SIG_DFL)
    # With pytest-xdist the workers run the tests. They have their options from the environment of this process.
    if hasattr(config, "workerinput") or not config.getoption("numprocesses", None):
        options.hide()


def pytest_report_header() -> str:
    """Name the Pythons that this machine has, and those that it does not have."""
    return report_header()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Return the number of workers for `-n auto`: two for each processor, because most tests wait most of the time."""
    processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(2 * processors, 8)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Do not import the modules of the slow tests where these are not wanted: their imports would fail."""
    return True if "not slow" in config.option.markexpr and collection_path in SLOW_FOLDERS else None


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark the slow folders, and leave out what `OPENLINEAGE_POD_TEST_WITHOUT` names."""
    for item in items:
        if any(folder in item.path.parents for folder in SLOW_FOLDERS):
            item.add_marker("slow")
    left_out = [item for item in items if options.WITHOUT.intersection(item.keywords)]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
    """Turn a skip into a failure where `OPENLINEAGE_POD_TEST_NO_SKIPS` is set, as in CI."""
    report = yield
    if report.skipped and not hasattr(report, "wasxfail") and options.NO_SKIPS:
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} was skipped: {call.excinfo.value if call.excinfo else ''}"
    return report


@pytest.fixture(autouse=True)
def _every_event_is_valid() -> Iterator[None]:
    """Validate every event that the test saw against the specification, after all its other fixtures."""
    yield
    unique = {json.dumps(event, sort_keys=True): event for event in SEEN_EVENTS}
    SEEN_EVENTS.clear()
    if unique and specification.has_schemas():
        for event in unique.values():
            found = specification.problems(event)
            assert not found, (found, event)


# A proxy or authorities of the developer's own. Slow tests download, and need them.
NETWORK = re.compile(r".*_proxy|(REQUESTS|CURL)_CA_BUNDLE|SSL_CERT_(FILE|DIR)|NETRC", re.IGNORECASE)


@pytest.fixture(autouse=True)
def _clean_environment(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the variables of the developer's own shell out of the tests."""
    is_slow = request.node.get_closest_marker("slow") is not None
    for variable in list(os.environ):
        if variable.startswith("OPENLINEAGE") or (NETWORK.fullmatch(variable) and not is_slow):
            monkeypatch.delenv(variable)
    # An image often has it, and it hides what a job's buffered output does.
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)


@pytest.fixture(autouse=True)
def _unknown_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the process know no credentials of an earlier test."""
    monkeypatch.setattr(SECRETS, "__dict__", vars(Secrets(environ=os.environ)))


@pytest.fixture(autouse=True)
def swallowed(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Exception]]:
    """Fail a test in which our own boundary hid an error; a test that expects one clears the list."""
    errors: list[Exception] = []
    monkeypatch.setattr(_guard, "swallowed", errors)
    yield errors
    if errors:
        raise AssertionError(f"hidden by the boundary: {errors!r}") from errors[0]


@pytest.fixture(autouse=True)
def _remember_events(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep every event that leaves in this process for the check against the specification."""
    build: Any = vars(prepare)["to_document"]

    def remembering(draft: Any) -> dict[str, Any]:
        document: dict[str, Any] = build(draft)
        SEEN_EVENTS.append(document)
        return document

    monkeypatch.setattr(prepare, "to_document", remembering)


@pytest.fixture(scope="session")
def compiler() -> tuple[str, ...]:
    """Return the command that links statically, or skip the test."""
    command = ("gcc", "-static", "-x", "c", "-")
    check = [*command, "-o", "/dev/null"]
    if (
        shutil.which("gcc") is None
        or subprocess.run(check, input=b"int main(void) { return 0; }", capture_output=True, check=False).returncode
    ):
        pytest.skip("the bundle needs gcc and the static C library (Debian: gcc libc6-dev)")
    return command


@pytest.fixture(scope="session")
def dist(compiler: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the bundle and its tarball, once."""
    assert compiler
    into = tmp_path_factory.mktemp("dist")
    build = ROOT / "bundle" / "build.py"
    subprocess.run([sys.executable, str(build), "--into", str(into)], check=True, capture_output=True)
    return into


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


@pytest.fixture
def setting(receiver: Receiver, tmp_path: Path) -> Setting:
    """Return a backend that accepts everything, and a folder for what is replayed to it."""
    return Setting(receiver, tmp_path)


@pytest.fixture
def recorded() -> Iterator[Recorded]:
    """Record the events of all runs of the test; no parent in the environment."""
    with record_events({}) as events:
        yield events


@pytest.fixture
def recording() -> Iterator[Callable[[Mapping[str, str]], Recorded]]:
    """Return a function that records under an environment of the test's own."""
    with ExitStack() as stack:
        yield lambda environ: stack.enter_context(record_events(environ))
