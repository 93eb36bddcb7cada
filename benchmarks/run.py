"""Measure what lineage costs a job, side by side: no lineage, this project, openlineage-python by hand.

    make bench                                      # print the tables
    .venv/bin/python benchmarks/run.py --write      # and put them into benchmarks/README.md

What is measured and how is in benchmarks/README.md. Times and sizes are printed, never asserted; that no event got lost
is.
"""

from __future__ import annotations

import argparse
import os
from importlib.metadata import version
from platform import python_version

import startup
import throughput
import wrapper
from measuring import HERE, prepared

README = HERE / "README.md"
BEGIN, END = "<!-- measured: begin -->\n", "<!-- measured: end -->\n"


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="also put the tables into benchmarks/README.md")
    arguments = parser.parse_args()
    with prepared() as bench:
        lines = [*startup.tables(bench), "", *throughput.table(bench), "", *wrapper.table(bench)]
    versions = f"Python {python_version()}, openlineage-python {version('openlineage-python')}"
    measured = "\n".join([*lines, "", f"One run on {os.cpu_count()} cores, {versions}."])
    print(measured)
    if arguments.write:
        text = README.read_text(encoding="utf-8")
        before, after = text.partition(BEGIN)[0], text.partition(END)[2]
        README.write_text(f"{before}{BEGIN}\n{measured}\n\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
