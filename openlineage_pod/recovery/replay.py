"""`openlineage-pod replay`: deliver the events in spools, in files of events, and in the last-resort lines of logs."""

from __future__ import annotations

import json
import os
import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING, NamedTuple, TextIO

from openlineage_pod.delivery.retry import RetryPolicy, is_transient
from openlineage_pod.delivery.spool import Spool
from openlineage_pod.delivery.transports.base import NOT_CONFIGURED, describe
from openlineage_pod.delivery.transports.connect import connect
from openlineage_pod.events.document import Document
from openlineage_pod.events.secrets import Secrets
from openlineage_pod.recovery.log_lines import events_in
from openlineage_pod.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from openlineage_pod.delivery.spool import Entry
    from openlineage_pod.delivery.transports.base import Transport

__all__ = ["EVENT_BUDGET", "replay"]

EVENT_BUDGET = 15.0
"""Seconds for the attempts to deliver one event. After the first event that uses them up, each gets one attempt."""


class _Found(NamedTuple):
    """An event to deliver, where it was found, and its entry if that was a spool."""

    document: Document
    source: str
    spool: Spool | None = None
    entry: Entry | None = None

    @property
    def identity(self) -> str:
        """What is the same for the same event, wherever it was found."""
        return json.dumps([self.document.fields[key] for key in ("run", "eventType", "eventTime")], sort_keys=True)

    def __str__(self) -> str:
        document = self.document.fields
        job = document["job"]
        text = (
            f"{document['eventTime']} {document['eventType']:8} {job['namespace']}/{job['name']} "
            f"{document['run']['runId']} ({self.source})"
        )
        return text.encode("ascii", "backslashreplace").decode("ascii")  # a terminal may show only ASCII


def replay(
    paths: Sequence[str],
    environ: Mapping[str, str],
    *,
    dry_run: bool = False,
    out: TextIO | None = None,
    err: TextIO | None = None,
) -> int:
    """Deliver the events found at `paths`, oldest first, and return the exit status of the command.

    Each event is delivered once, even if it is found several times. An accepted event is deleted from its spool. Events
    of processes that still run are left to those processes.

    Args:
        paths: spool directories, files of events (one JSON document a line), logs of any kind that hold
            `OPENLINEAGE_POD_EVENT` lines; `-` is the standard input.
        environ: the transport's configuration.
        dry_run: list the events on `out` and deliver nothing.
        out: default: the standard output.
        err: where progress and the summary go; default: the standard error.

    Returns:
        0 if nothing is left to deliver, else 1.

    Raises:
        ConfigurationError: No transport can be built from the configuration.

    """
    out, err = out or sys.stdout, err or sys.stderr
    with ExitStack() as stack:
        reader = _Reader(stack, err, Settings.from_env(environ).spool_max_bytes, dry_run=dry_run)
        everything = sorted(reader.read(paths), key=lambda event: event.document.fields["eventTime"])
        found = {event.identity: event for event in everything}
        if dry_run:
            for event in found.values():
                print(event, file=out)
            print(f"{len(found)} events would be sent, {reader.problems} problems", file=err)
            return 1 if reader.problems else 0
        sent, rejected, failed = _deliver(list(found.values()), environ, err)
        for event in everything:  # an event may lie in several spools
            if event.identity in sent:
                _forget(event)
    print(f"{len(sent)} sent, {rejected} rejected, {failed} left, {reader.problems} problems", file=err)
    return 1 if rejected or failed or reader.problems else 0


def _deliver(events: list[_Found], environ: Mapping[str, str], err: TextIO) -> tuple[set[str], int, int]:
    """Deliver in order; return the identities of the sent events, and how many were rejected and are left."""
    secrets = Secrets.from_env(environ)
    transport = connect(environ) if events else None
    if events and transport is None:
        print(NOT_CONFIGURED, file=err)
        return set(), 0, len(events)
    retry, budget = RetryPolicy(), EVENT_BUDGET
    sent: set[str] = set()
    behind: set[str] = set()
    rejected = 0
    for number, event in enumerate(events, 1):
        run_id = event.document.run_id
        if err.isatty():
            done = 30 * number // len(events)
            print(f"\r[{'#' * done:30}] {number}/{len(events)}", end="\n" if number == len(events) else "", file=err)
        if run_id in behind:
            continue  # an earlier event of its run is left, and the events of a run keep their order
        try:
            _attempt(retry, transport, event, budget)
        except Exception as error:
            reason = describe(error, secrets)
            if is_transient(error):
                budget = 0
                behind.add(run_id)
                _print_line(f"left: {event}: {reason}", err)
            else:
                rejected += 1
                _print_line(f"rejected: {event}: {reason}", err)
                if event.spool is not None and event.entry is not None:
                    event.spool.reject(event.entry, event.document, reason)
        else:
            sent.add(event.identity)
            _forget(event)
    return sent, rejected, len(events) - len(sent) - rejected


def _print_line(text: str, err: TextIO) -> None:
    """Write a line; on a terminal over the progress bar, which the next event draws again."""
    print(f"\r{'':60}\r{text}" if err.isatty() else text, file=err)


def _attempt(retry: RetryPolicy, transport: Transport | None, event: _Found, budget: float) -> None:
    assert transport is not None  # noqa: S101  without a transport no event gets here
    retry.call(lambda: transport.emit(event.document), lambda _error: None, budget)


def _forget(event: _Found) -> None:
    if event.spool is not None and event.entry is not None:
        event.spool.resolve(event.entry)


class _Reader:
    """Finds events. A source that cannot be read is a line on stderr and counts in `problems`; it never raises."""

    def __init__(self, stack: ExitStack, err: TextIO, max_bytes: int, *, dry_run: bool) -> None:
        self._stack = stack
        self._max_bytes = max_bytes
        self._dry_run = dry_run
        self._err = err
        self.problems = 0

    def read(self, paths: Iterable[str]) -> Iterator[_Found]:
        """Yield the events at all paths."""
        for path in paths:
            try:
                if os.path.isdir(path):
                    yield from self._spool(path)
                elif path == "-":
                    with open(0, encoding="utf-8", errors="replace", closefd=False) as file:
                        yield from self._lines(file, path)
                else:
                    with open(path, encoding="utf-8", errors="replace") as file:
                        yield from self._lines(file, path)
            except OSError as error:  # noqa: PERF203  one unreadable path does not stop the others
                self._problem(f"{path}: {error.strerror or error}")

    def _spool(self, path: str) -> Iterator[_Found]:
        if not os.path.isdir(os.path.join(path, "new")):
            self._problem(f"{path} is no spool: it has no folder new/")
            return
        spool = Spool(path, self._max_bytes)
        spool.release()
        entries = self._stack.enter_context(spool.left_behind(look=self._dry_run))
        if entries is None:
            self._problem(f"{path}: another process is delivering from it at the moment")
            return
        for run_id in spool.unreported:
            self._problem(f"{path}: the end of run {run_id} cannot be reported yet")
        if left := len(spool.entries()) - len(entries):
            self._problem(f"{path}: {left} events belong to processes that still run")
        for entry in entries:
            document = spool.read(entry, set_aside=not self._dry_run)
            if document is not None:
                yield _Found(document, path, spool, entry)
            else:
                self._problem(f"{entry.path} is no event")
        if self._dry_run:
            yield from (_Found(end, place) for _, place, end in spool.fallbacks(set_aside=False) if end is not None)

    def _lines(self, lines: Iterable[str], path: str) -> Iterator[_Found]:
        for finding in events_in(lines, path):
            if finding.document is not None:
                yield _Found(Document(finding.document), finding.place)
            else:
                self._problem(f"{finding.place} {finding.problem}")

    def _problem(self, text: str) -> None:
        self.problems += 1
        print(text, file=self._err)
