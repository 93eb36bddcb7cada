"""Builds the bundle: the command with all it needs in one folder, for images without Python. See `make bundle`.

    python3 bundle/build.py [--into dist]

It takes the Python that runs it, with its standard library and every shared object, the C library and its loader
included; so it starts on any Linux of this architecture, also in an image with another C library or none. It needs a C
compiler with the static C library (Debian: gcc libc6-dev) for a launcher of 40 lines.
"""

import argparse
import compileall
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
from pathlib import Path
from py_compile import PycInvalidationMode

HERE = Path(__file__).parent
ROOT = HERE.parent
NAME = "openlineage-pod"
# Of the standard library, what no part of the command imports, and what is only for people at a keyboard.
LEFT_OUT = (
    "config-*", "curses", "dbm", "dist-packages", "distutils", "ensurepip", "idlelib", "lib2to3", "pydoc_data",
    "site-packages", "sqlite3", "test", "tests", "tkinter", "turtledemo", "turtle.py", "unittest", "venv",
    "wsgiref", "xmlrpc", "__pycache__", "*.a", "_test*", "_tkinter*", "_curses*", "_dbm*", "_gdbm*", "_sqlite3*",
    "nis*", "readline*", "_xxtestfuzz*", "xx*",
)  # fmt: skip
MAIN = """\
import sys

sys.path.insert(0, __file__.rpartition("/")[0] + "/site")
from openlineage_pod.cli import main

sys.exit(main())
"""


def build(into: Path) -> Path:
    """Build the bundle below `into`, beside a tarball of it; return its folder."""
    folder = into / NAME
    shutil.rmtree(folder, ignore_errors=True)
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    for part in ("bin", "lib"):
        (folder / part).mkdir(parents=True)
    # Python finds its standard library from the place of its executable.
    python = Path(os.path.realpath(getattr(sys, "_base_executable", None) or sys.executable))
    shutil.copy2(python, folder / "bin" / "python3")
    library = folder / "lib" / version
    shutil.copytree(sysconfig.get_path("stdlib"), library, ignore=shutil.ignore_patterns(*LEFT_OUT))
    site = folder / "site"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-compile", "--target", str(site), str(ROOT)]
    subprocess.run(pip, check=True)
    shutil.rmtree(site / "bin", ignore_errors=True)
    (folder / "main.py").write_text(MAIN)
    _add_shared_objects(folder, [python, *library.rglob("*.so"), *site.rglob("*.so")])
    # The paths in the bytecode are those of the bundle's usual place; nothing is written at run time.
    for packages in (library, site):
        compileall.compile_dir(
            packages,
            quiet=1,
            stripdir=str(folder),
            prependdir=f"/{NAME}",
            invalidation_mode=PycInvalidationMode.UNCHECKED_HASH,
        )
    compiler = [os.environ.get("CC", "gcc"), "-Os", "-static", "-s", "-Wall", "-Werror"]
    subprocess.run([*compiler, "-o", str(folder / NAME), str(HERE / "launcher.c")], check=True)
    with tarfile.open(into / f"{NAME}-{os.uname().machine}.tar.gz", "w:gz") as archive:
        archive.add(folder, NAME)
    return folder


def _add_shared_objects(folder: Path, objects: list[Path]) -> None:
    """Copy what the given files are linked with, the dynamic loader among it as lib/ld.so."""
    for found in objects:
        done = subprocess.run(["ldd", str(found)], capture_output=True, text=True, check=False)
        for name, path in re.findall(r"^\s*(?:(\S+) => )?(/\S+) \(0x", done.stdout, re.MULTILINE):
            is_loader = Path(path).name.startswith("ld-")
            target = folder / "lib" / ("ld.so" if is_loader else Path(name or path).name)
            if not target.exists():
                shutil.copy2(os.path.realpath(path), target)
                subprocess.run(["strip", "--strip-unneeded", str(target)], check=True)


def main() -> None:
    """Build as the command line says."""
    parser = argparse.ArgumentParser(description="Build the relocatable command for images without Python.")
    parser.add_argument("--into", type=Path, default=ROOT / "dist", help="default: dist")
    folder = build(parser.parse_args().into.absolute())
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    print(f"{folder}: {size / 2**20:.0f} MiB")


if __name__ == "__main__":
    main()
