"""The line at exit: what was sent where; or why it was not delivered, and what became of it."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

from openlineage_pod._guard import logger
from openlineage_pod._stderr import reaches_console, write_stderr

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from openlineage_pod.delivery.report import DeliveryReport
    from openlineage_pod.events.document import Draft

__all__ = ["Summary"]

_MAX_WAIT = 0.2
# Jobs that are told apart; each keeps its name in memory.
_MAX_JOBS = 1000


class Summary:
    """Writes the line at exit, once for each report.

    Args:
        mask: removes credentials from a line.
        on_stderr: whether success is a line on stderr, and not one of the log at the level INFO.

    """

    def __init__(self, mask: Callable[[str], str], *, on_stderr: bool) -> None:
        self._mask = mask
        self._on_stderr = on_stderr
        self._jobs: dict[tuple[str, str], None] = {}
        self._parent = "no parent"
        self._written: DeliveryReport | None = None

    def note(self, draft: Draft) -> None:
        """Note whose events there are; the first one is that of the outermost run."""
        if len(self._jobs) >= _MAX_JOBS:
            return
        if not self._jobs and draft.parent is not None:
            self._parent = f"parent {_job_name(draft.parent['job'])}"
        self._jobs[draft.job_namespace, draft.job_name] = None

    def write(self, report: DeliveryReport, target: str, cause: str, *, prints_rejected: bool) -> None:
        """Write the line.

        Args:
            report: what became of the events.
            target: where the delivered ones went.
            cause: why others were not delivered.
            prints_rejected: whether rejected events were printed as well, though they do not count as that.

        """
        if report == self._written or not sum(report):
            return
        self._written = report
        if report.delivered == sum(report):
            self._tell_success(f"{_counted(report.delivered, 'event')} of {self._whose()} → {target}, {self._parent}")
            return
        counts = str(report)
        if prints_rejected:
            counts = counts.replace(", 0 printed", "")  # which nobody would believe below the printed lines
        reason = f"{cause}; " if cause else ""
        self._warn(f"{reason}at exit not all lineage events were delivered: {counts}")

    def _whose(self) -> str:
        jobs = list(self._jobs)
        others = len(jobs) - 1
        more = f" and {'at least ' if len(jobs) == _MAX_JOBS else ''}{_counted(others, 'other job')}" if others else ""
        return "/".join(jobs[0]) + more

    def _tell_success(self, text: str) -> None:
        if self._on_stderr:
            self._write_stderr(text)
        else:
            logger.info("%s", text)

    def _warn(self, text: str) -> None:
        logger.warning("%s", text)
        if not reaches_console(logging.getLogger(logger.name), logging.WARNING):
            self._write_stderr(text)

    def _write_stderr(self, text: str) -> None:
        write_stderr(f"{logger.name}: {self._mask(text)}\n", time.monotonic() + _MAX_WAIT, is_ascii=False)


def _job_name(job: Mapping[str, str]) -> str:
    return f"{job['namespace']}/{job['name']}"


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"
