"""Notebooks: the kernel that papermill, nbclient and nbconvert start, with its real cells."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from tests.e2e import venvs
from tests.e2e.conftest import skipping
from tests.support.constants import ROOT

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.harness import Jobs, Receiver

ENTER = """
from openlineage_pod import current_run, lineage_run
scope = lineage_run()
run = scope.__enter__()
"""
LEAVE = "scope.__exit__(None, None, None)"


@pytest.fixture(scope="session")
def python() -> Path:
    """Return a Python with Jupyter's kernel and two programs that run notebooks."""
    with skipping():
        return venvs.environment(
            "notebook", ["ipykernel", "nbclient", "papermill", "certifi", "openlineage-python", "tenacity"]
        )


@pytest.fixture
def run(python: Path, receiver: Receiver, jobs: Jobs) -> Any:
    """Return a function that runs a notebook of these cells and returns its events."""

    def run(*cells: str, program: str = "papermill", options: tuple[str, ...] = (), **environ: str) -> Any:
        notebook = {
            "cells": [
                {"cell_type": "code", "id": f"cell{number}", "metadata": {}, "source": cell, "outputs": [],
                 "execution_count": None}
                for number, cell in enumerate(cells)
            ],
            "metadata": {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}},
            "nbformat": 4,
            "nbformat_minor": 5,
        }  # fmt: skip
        path = jobs.directory / "Daily load.ipynb"
        path.write_text(json.dumps(notebook))
        commands = {
            "papermill": ["papermill", path.name, "out.ipynb", *options],
            "jupyter-execute": ["jupyter-execute", path.name, *options],
            "api": ["python", "-c", f"import papermill; papermill.execute_notebook({path.name!r}, 'out.ipynb')"],
        }
        command = commands[program]
        variables = {**jobs.base_environ(), **receiver.environ, "PYTHONPATH": str(ROOT), **environ}
        done = subprocess.run(
            [python.parent / command[0], *command[1:]],
            cwd=jobs.directory, env=variables, capture_output=True, text=True, check=False,
        )  # fmt: skip
        return done, receiver.events()

    return run


@pytest.mark.parametrize("program", ["papermill", "jupyter-execute"])
def test_cells_of_one_run(program: str, run: Any) -> None:
    """A run over several cells is named after the notebook and is the current one in each of them."""
    _, events = run(
        ENTER, "run.add_input('s3://lake/a')", "current_run().add_output('s3://lake/b')", LEAVE, program=program
    )
    assert [event["eventType"] for event in events] == ["START", "COMPLETE"]
    assert {event["job"]["name"] for event in events} == {"Daily load"}
    assert [entry["name"] for entry in (*events[1]["inputs"], *events[1]["outputs"])] == ["a", "b"]


@pytest.mark.parametrize("program", ["papermill", "jupyter-execute"])
def test_cell_that_fails_in_between(program: str, run: Any) -> None:
    """A cell that fails ends the notebook, and the run as FAIL with the cell's error."""
    done, events = run(ENTER, "{}['no such key']", LEAVE, program=program)
    assert done.returncode != 0
    assert [event["eventType"] for event in events] == ["START", "FAIL"]
    assert events[1]["run"]["facets"]["errorMessage"]["message"] == "KeyError: 'no such key'"


def test_cell_that_fails_and_is_left(run: Any) -> None:
    """A notebook that goes on after a failed cell, and leaves the run, ends it as FAIL, too."""
    _, events = run(ENTER, "1 / 0", LEAVE, program="jupyter-execute", options=("--allow-errors",))
    assert [event["eventType"] for event in events] == ["START", "FAIL"]


def test_cell_that_failed_before(run: Any) -> None:
    """A cell that failed before the run was entered does not count."""
    _, events = run("1 / 0", ENTER, LEAVE, program="jupyter-execute", options=("--allow-errors",))
    assert [event["eventType"] for event in events] == ["START", "COMPLETE"]


def test_block_and_function_in_one_cell(run: Any) -> None:
    """A block within one cell, and a decorated function, are as in a script, with the notebook's and their own name."""
    cell = f"{ENTER.splitlines()[1]}\nwith lineage_run():\n    pass\n@lineage_run\ndef load(): pass\nload()"
    _, events = run(cell)
    assert [(event["job"]["name"], event["eventType"]) for event in events] == [
        ("Daily load", "START"), ("Daily load", "COMPLETE"), ("load", "START"), ("load", "COMPLETE")
    ]  # fmt: skip


def test_notebook_without_a_name(run: Any) -> None:
    """A notebook that a program's own code runs is not known to its kernel: python, and a warning asks for a name."""
    _, events = run(f"{ENTER}\n{LEAVE}", program="api")
    assert {event["job"]["name"] for event in events} == {"python"}


@pytest.mark.parametrize("program", ["papermill", "api"])
def test_notebook_with_a_name(program: str, run: Any) -> None:
    """Jupyter's variable and papermill's parameter name the notebook."""
    options = ("--inject-input-path",) if program == "papermill" else ()
    environ = {} if program == "papermill" else {"JPY_SESSION_NAME": "/work/Nightly.ipynb"}
    _, events = run(f"{ENTER}\n{LEAVE}", program=program, options=options, **environ)
    assert {event["job"]["name"] for event in events} == {"Daily load" if program == "papermill" else "Nightly"}
