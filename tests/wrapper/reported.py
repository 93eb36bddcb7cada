"""A command that is reported in the process of the test."""

from __future__ import annotations

from pathlib import Path

from openlineage_pod.core.runtime import existing_runtime
from openlineage_pod.wrapper.command import BackgroundReporter
from openlineage_pod.wrapper.plan import RunOptions, make_plan
from openlineage_pod.wrapper.supervisor import Ended

NAME = "OPENLINEAGE_POD_REPORT"


class Reported:
    """A command that is reported in this process; the test writes its metadata file."""

    def __init__(self, options: RunOptions = RunOptions()) -> None:  # noqa: B008  immutable
        plan = make_plan(["/usr/bin/load"], options)._replace(runtime=existing_runtime())
        self.path = Path(plan.environs[0][NAME])
        self.reporting = BackgroundReporter(plan, options)
        self.reporting.wait_until_made()  # START must have an earlier time than everything that follows

    def clean_up(self) -> None:
        """Remove whatever the test has put in the place of the file."""
        if self.path.is_dir():
            self.path.rmdir()
        else:
            self.path.unlink(missing_ok=True)

    def end(self, ended: Ended = Ended(0)) -> None:  # noqa: B008  immutable
        """End the command."""
        self.reporting.end(ended)
