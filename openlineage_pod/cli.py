"""The command `openlineage-pod`."""

from __future__ import annotations

import argparse
import os
import sys
from typing import TYPE_CHECKING

from openlineage_pod._guard import ConfigurationError
from openlineage_pod.spec import __version__

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command with `arguments` (default: those of the process) and return its exit status."""
    parser = argparse.ArgumentParser(prog="openlineage-pod", description="Lineage from inside containers.")
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    replay = commands.add_parser(
        "replay",
        help="deliver events from spools, files of events and logs",
        description="Deliver the events that lie in spool directories, in files of events (one JSON document a line) "
        "or as OPENLINEAGE_POD_EVENT lines in any log. The transport is configured by the environment, as for a job.",
    )
    replay.add_argument("paths", nargs="+", metavar="PATH", help="a spool directory, a file, or - for standard input")
    replay.add_argument("--dry-run", action="store_true", help="list the events and deliver nothing")
    options = parser.parse_args(arguments)

    from openlineage_pod.replay import replay as run_replay

    try:
        return run_replay(options.paths, os.environ, dry_run=options.dry_run)
    except ConfigurationError as error:
        print(f"openlineage-pod: {error}", file=sys.stderr)
        return 2
