"""Fixtures for all tests: recorded runs, no error hidden by our own boundary, every event checked at the end."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from openlineage_pod import _guard
from openlineage_pod.delivery import prepare
from openlineage_pod.testing import Recorded, record_events

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

ROOT = Path(__file__).parents[1]
# Every event that any test saw leave; tests/test_spec.py validates them all, last.
SEEN_EVENTS: list[dict[str, Any]] = []

PARENT_RUN_ID = "01a1d7b0-8a10-7a1c-9b1e-2f6f5e0d7c01"
ROOT_RUN_ID = "01a1d7b0-8a00-7b2d-8c3f-0123456789ab"
AIRFLOW_ENV = {
    "OPENLINEAGE_PARENT_ID": f"airflow/etl.ingest/{PARENT_RUN_ID}",
    "OPENLINEAGE_ROOT_PARENT_ID": f"airflow/etl/{ROOT_RUN_ID}",
}


def pytest_configure() -> None:
    """Give signals their default actions: a shell in the background and nohup ignore some, which is inherited."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, signal.SIG_DFL)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what this machine cannot have by its own word, and check the events of all other tests last."""
    without = {name for name in os.environ.get("OPENLINEAGE_POD_TEST_WITHOUT", "").split(",") if name}
    left_out = [item for item in items if without.intersection(item.keywords)]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]
    items.sort(key=lambda item: "test_spec.py" in item.nodeid)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
    """Turn a skip into a failure where `OPENLINEAGE_POD_TEST_NO_SKIPS` is set, as in CI."""
    report = yield
    if report.skipped and not hasattr(report, "wasxfail") and os.environ.get("OPENLINEAGE_POD_TEST_NO_SKIPS"):
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} was skipped: {call.excinfo.value if call.excinfo else ''}"
    return report


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the OpenLineage variables of the developer's own shell out of the tests."""
    for variable in list(os.environ):
        if variable.startswith("OPENLINEAGE") and not variable.startswith("OPENLINEAGE_POD_TEST"):
            monkeypatch.delenv(variable)


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
def recorded() -> Iterator[Recorded]:
    """Record the events of all runs of the test; no parent in the environment."""
    with record_events({}) as events:
        yield events


@pytest.fixture
def recording() -> Iterator[Callable[[Mapping[str, str]], Recorded]]:
    """Return a function that records under an environment of the test's own."""
    from contextlib import ExitStack

    with ExitStack() as stack:
        yield lambda environ: stack.enter_context(record_events(environ))
