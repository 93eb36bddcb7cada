"""Handing a run over: what a process object takes along when it is pickled for a new interpreter."""

from __future__ import annotations

import pickle
import sys
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from openlineage_pod import ParentContext, lineage_run
from openlineage_pod.core.handover import handed_over

if TYPE_CHECKING:
    from openlineage_pod.testing import Recorded

MODULES = ["multiprocessing.process", "multiprocess.process", "billiard.process"]


@pytest.fixture(params=MODULES)
def config(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Put a stand-in in the place of a module of processes, and return the configuration of its current process."""
    for name in MODULES:
        monkeypatch.delitem(sys.modules, name, raising=False)
    module = ModuleType(request.param)
    config: dict[str, Any] = {"authkey": b""}
    vars(module)["current_process"] = lambda: SimpleNamespace(_config=config)
    monkeypatch.setitem(sys.modules, request.param, module)
    return config


def taken_along(config: dict[str, Any]) -> Any:
    """Return what a new interpreter finds, which needs no import for it."""
    pickled = pickle.dumps({**config, "authkey": b""})
    assert b"lineage_run" not in pickled
    assert b"core.handover" not in pickled
    return pickle.loads(pickled).get("openlineage_pod")  # noqa: S301  our own


def test_current_run_is_taken_along(config: dict[str, Any], recorded: Recorded) -> None:
    """A process object that is pickled within a run takes the innermost one along, and afterwards none."""
    with lineage_run("outer"):
        with lineage_run("inner") as inner:
            parent = ParentContext.from_env(taken_along(config))
            assert parent is not None
            assert parent.run_id == inner.run_id
        again = ParentContext.from_env(taken_along(config))
        assert again is not None
        assert again.job_name == "outer"
    assert taken_along(config) == {}
    assert len(recorded.events) == 4


def test_what_was_handed_over_goes_on(config: dict[str, Any], recorded: Recorded) -> None:
    """A process that was handed a run over hands it on where it has none itself."""
    config["openlineage_pod"] = {"OPENLINEAGE_CONTEXT": "{}"}
    assert handed_over() == {"OPENLINEAGE_CONTEXT": "{}"}
    with lineage_run("own"):
        assert "own" in taken_along(config)["OPENLINEAGE_CONTEXT"]
    assert taken_along(config) == {"OPENLINEAGE_CONTEXT": "{}"}
    assert len(recorded.events) == 2


@pytest.mark.parametrize("module", [ModuleType("empty"), SimpleNamespace(current_process=SimpleNamespace), None])
def test_module_without_a_configuration(module: Any, monkeypatch: pytest.MonkeyPatch, recorded: Recorded) -> None:
    """A module that is being imported, or that keeps no such configuration, changes nothing."""
    for name in MODULES:
        monkeypatch.setitem(sys.modules, name, module)
    assert handed_over() == {}
    with lineage_run("own"):
        pass
    assert len(recorded.events) == 2


def test_multiprocessing_keeps_its_configuration_there() -> None:
    """The private name that we use is still that of the standard library."""
    import multiprocessing.process

    assert "authkey" in vars(multiprocessing.process.current_process())["_config"]
