"""What a block without a name is called: after its script, package, module or notebook."""

from __future__ import annotations

import sys
import zipapp
from types import ModuleType
from typing import TYPE_CHECKING

import pytest

from openlineage_pod.core.program import this_program

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.support.harness import Jobs, Receiver

BLOCK = """
from openlineage_pod import lineage_run
with lineage_run():
    pass
"""


def package(folder: Path) -> None:
    """Make a package with a main module and another one."""
    (folder / "app" / "steps").mkdir(parents=True)
    for name in ("__init__.py", "steps/__init__.py"):
        (folder / "app" / name).write_text("")
    for name in ("__main__.py", "main.py", "steps/load.py"):
        (folder / "app" / name).write_text(BLOCK)
    (folder / "load.v2.py").write_text(BLOCK)
    (folder / "crm.load").write_text(BLOCK)
    zipapp.create_archive(folder / "app", folder / "whole.pyz")


COMMANDS: dict[str, tuple[list[str], str]] = {
    "script": (["load.v2.py"], "load.v2"),
    "script without a suffix": (["./crm.load"], "crm.load"),
    "package": (["-m", "app"], "app"),
    "module": (["-m", "app.main"], "app.main"),
    "module of a package in a package": (["-m", "app.steps.load"], "app.steps.load"),
    "folder": (["app"], "app"),
    "folder with a slash": (["app/"], "app"),
    "main module as a script": (["app/__main__.py"], "app"),
    "archive": (["whole.pyz"], "whole"),
    "script below cProfile": (["-m", "cProfile", "-o", "/dev/null", "load.v2.py"], "load.v2"),
    "module below runpy": (["-m", "runpy", "app.main"], "app.main"),
}


@pytest.mark.parametrize(("command", "name"), COMMANDS.values(), ids=COMMANDS)
def test_name_of_a_program(command: list[str], name: str, receiver: Receiver, jobs: Jobs) -> None:
    """A block without a name is called after the script or module that runs, below its parent."""
    package(jobs.directory)
    parent = "airflow/etl.ingest/01a1d7b0-8a10-7a1c-9b1e-2f6f5e0d7c01"
    environ = {**receiver.environ, "OPENLINEAGE_PARENT_ID": parent}
    finished = jobs.launch([sys.executable, *command], environ).finish()
    assert (finished.returncode, finished.stderr) == (0, "")
    assert {event["job"]["name"] for event in receiver.events()} == {f"etl.ingest.{name}"}


@pytest.mark.slow
def test_name_below_pytest(receiver: Receiver, jobs: Jobs) -> None:
    """A block in a test that `python -m pytest` runs is called pytest, not __main__."""
    jobs.file("test_it.py", f"def test_it():\n{BLOCK.replace(chr(10), chr(10) + '    ')}\n")
    finished = jobs.launch([sys.executable, "-m", "pytest", "-q", "test_it.py"], receiver.environ).finish()
    assert finished.returncode == 0, finished.stdout
    assert {event["job"]["name"] for event in receiver.events()} == {"pytest"}


@pytest.mark.parametrize("command", [["-"], [], ["-c", BLOCK]], ids=["dash", "standard input", "-c"])
def test_code_without_a_file(command: list[str], receiver: Receiver, jobs: Jobs) -> None:
    """A block of code that comes from no file is called python, and one warning asks for a name."""
    finished = jobs.launch([sys.executable, *command], receiver.environ).finish(BLOCK.encode())
    assert {event["job"]["name"] for event in receiver.events()} == {"python"}
    (warning,) = finished.log
    assert warning == (
        "the job is called python because the code does not come from a file; "
        "name it: lineage_run('name') or OPENLINEAGE_JOB_NAME"
    )


@pytest.mark.parametrize(
    ("source", "environ", "name"),
    [
        (BLOCK.replace("lineage_run()", "lineage_run('ingest')"), {}, "ingest"),
        (BLOCK, {"OPENLINEAGE_JOB_NAME": "nightly"}, "nightly"),
        ("from openlineage_pod import lineage_run\nlineage_run(print)()", {}, "print"),
    ],
)
def test_no_warning_where_there_is_a_name(
    source: str, environ: dict[str, str], name: str, receiver: Receiver, jobs: Jobs
) -> None:
    """Nobody is asked for a name that was given."""
    finished = jobs.launch([sys.executable, "-"], {**receiver.environ, **environ}).finish(source.encode())
    assert finished.stderr == ""
    assert {event["job"]["name"] for event in receiver.events()} == {name}


@pytest.fixture
def main(monkeypatch: pytest.MonkeyPatch) -> Callable[..., ModuleType]:
    """Return a function that puts a stand-in in the place of `__main__`, and a path into `sys.argv`."""

    def put(path: str, **attributes: str) -> ModuleType:
        module = ModuleType("__main__")
        vars(module).update(attributes)
        monkeypatch.setitem(sys.modules, "__main__", module)
        monkeypatch.setattr(sys, "argv", [path, "-f", "/run/kernel.json"])
        return module

    return put


KERNEL = "/venv/lib/python3.11/site-packages/ipykernel_launcher.py"


@pytest.mark.parametrize(
    ("attributes", "environ"),
    [
        ({"__vsc_ipynb_file__": "/work/Daily load.ipynb"}, {}),
        ({"PAPERMILL_INPUT_PATH": "s3://notebooks/Daily load.ipynb"}, {}),
        ({}, {"JPY_SESSION_NAME": "/home/jovyan/Daily load.ipynb"}),
        ({}, {"JPY_SESSION_NAME": "Daily load.ipynb"}),
    ],
)
def test_notebook(attributes: dict[str, str], environ: dict[str, str], main: Callable[..., ModuleType]) -> None:
    """A kernel's block is called after the notebook that VS Code, papermill or Jupyter names."""
    main(KERNEL, **attributes)
    assert this_program(environ) == ("Daily load", "")


@pytest.mark.parametrize("environ", [{}, {"JPY_SESSION_NAME": "console-1"}])
def test_kernel_without_a_notebook(environ: dict[str, str], main: Callable[..., ModuleType]) -> None:
    """A kernel that does not know its notebook has no name of its own."""
    main(KERNEL)
    assert this_program(environ) == ("python", "the kernel does not know its notebook")


@pytest.mark.parametrize("argv", [[], [""]])
def test_no_arguments(argv: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """An embedded interpreter without arguments has no name of its own."""
    monkeypatch.setattr(sys, "argv", argv)
    assert this_program({}).name == "python"
