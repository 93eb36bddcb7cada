"""What the program of this process is called, for the runs of blocks that have no name."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from openlineage_pod import environment

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["Program", "this_program"]

_UNNAMED = "python"
_SUFFIXES = (".py", ".pyc", ".pyw", ".pyz", ".ipynb")
_NOTEBOOK = ".ipynb"
_KERNELS = ("ipykernel_launcher", "ipykernel", "colab_kernel_launcher")
_MAX_COMMAND_LINE = 65_536


class Program(NamedTuple):
    """The name of a program; `fault` says why it has none of its own, if so."""

    name: str
    fault: str = ""


def this_program(environ: Mapping[str, str]) -> Program:
    """Return what this process runs: a notebook, a package or module (`python -m`), or a script."""
    path = sys.argv[0] if sys.argv else ""
    # `python -m`, unless a launcher such as cProfile has put the path of its own script into sys.argv.
    main = sys.modules.get("__main__")
    spec = getattr(main, "__spec__", None)
    is_module = spec is not None and spec.name != "__main__" and path == getattr(main, "__file__", None)
    name = spec.name.removesuffix(".__main__") if spec is not None and is_module else _file_name(path)
    if name in _KERNELS:
        notebook = next((path for path in _notebooks(environ) if path.endswith(_NOTEBOOK)), "")
        return Program(_file_name(notebook)) if notebook else Program(_UNNAMED, "the kernel does not know its notebook")
    if name in ("", "-", "-c"):
        return Program(_UNNAMED, "the code does not come from a file")
    return Program(name)


def _file_name(path: str) -> str:
    """Return the name of a script without its suffix; of the file `__main__.py` and of a folder that of the folder."""
    if os.path.basename(path) == "__main__.py":
        path = os.path.dirname(path) or "."
    name = os.path.basename(path.rstrip("/"))
    if name in (".", ".."):
        name = os.path.basename(os.path.abspath(path))
    stem, suffix = os.path.splitext(name)
    return stem if suffix in _SUFFIXES else name


def _notebooks(environ: Mapping[str, str]) -> Iterator[str]:
    """Yield what may be the path of the notebook whose kernel this process is."""
    # VS Code, and papermill with --inject-input-path, set a variable of the notebook; Jupyter sets one of the kernel.
    main = sys.modules.get("__main__")
    yield str(getattr(main, "__vsc_ipynb_file__", ""))
    yield str(getattr(main, "PAPERMILL_INPUT_PATH", ""))
    yield environ.get(environment.JPY_SESSION_NAME, "")
    # The command that started the kernel: papermill, `jupyter execute`, `jupyter nbconvert --execute`.
    with suppress(OSError), open(f"/proc/{os.getppid()}/cmdline", "rb") as file:
        for argument in file.read(_MAX_COMMAND_LINE).split(b"\0"):
            yield os.fsdecode(argument)
