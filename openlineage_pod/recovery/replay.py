"""`openlineage-pod replay`: deliver the events in spools, in files of events, and in the last-resort lines of logs."""

from __future__ import annotations

import json
import os
import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, NamedTuple, TextIO

from openlineage_pod.delivery.last_resort import PartJoiner
from openlineage_pod.delivery.retry import RetryPolicy, is_key_refused, is_transient
from openlineage_pod.delivery.spool import Spool
from openlineage_pod.delivery.transports.base import NOT_CONFIGURED, describe
from openlineage_pod.delivery.transports.connect import connect
from openlineage_pod.events.document import Document
from openlineage_pod.events.namespaces import clean_namespaces
from openlineage_pod.events.secrets import SECRETS
from openlineage_pod.recovery.log_files import open_log
from openlineage_pod.recovery.log_lines import events_in
from openlineage_pod.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Iterator, Mapping, Sequence

    from openlineage_pod.delivery.spool import Entry
    from openlineage_pod.delivery.transports.base import Transport

__all__ = ["EVENT_BUDGET", "replay"]

EVENT_BUDGET = 15.0
"""Seconds for the attempts to deliver one event. After the first event that uses them up, each gets one attempt."""


class _Found(NamedTuple):
    """An event to deliver, where it was found, and its entry or its file in rejected/ if that was a spool."""

    document: Document
    source: str
    spool: Spool | None = None
    entry: Entry | None = None
    record: str = ""

    @property
    def identity(self) -> str:
        """What is the same for the same event, wherever it was found."""
        return _identity(self.document.fields)

    def forget(self) -> None:
        """Delete the event where it was found, if that was a spool: it has been delivered."""
        if self.spool is not None and self.entry is not None:
            self.spool.resolve(self.entry)
        elif self.spool is not None and self.record:
            self.spool.rejected.remove(self.record)

    def reject(self, reason: str) -> bool:
        """Set the refused event aside in its spool; return False where the spool has no room for it."""
        if self.spool is not None and self.entry is not None:
            return self.spool.reject(self.entry, self.document, reason)
        return True

    def __str__(self) -> str:
        document = self.document.fields
        job = document["job"]
        text = (
            f"{document['eventTime']} {document['eventType']:8} {job['namespace']}/{job['name']} "
            f"{document['run']['runId']} ({self.source})"
        )
        return text.encode("ascii", "backslashreplace").decode("ascii")  # a terminal may show only ASCII


def _identity(fields: Mapping[str, Any]) -> str:
    return json.dumps([fields["run"]["runId"], fields["eventType"], fields["eventTime"]])


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
        paths: spool directories (with what they hold in rejected/), files of events (one JSON document a line), logs of
            any kind that hold `OPENLINEAGE_POD_EVENT` lines, also compressed; `-` is the standard input.
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
        reader.report_unfit(found)
        if dry_run:
            for event in found.values():
                print(event, file=out)
            print(f"{len(found)} events would be sent, {reader.problems} problems", file=err)
            return 1 if reader.problems else 0
        sent, rejected, failed = _deliver(list(found.values()), environ, err)
        for event in everything:  # an event may lie in several spools
            if event.identity in sent:
                event.forget()
    print(f"{len(sent)} sent, {rejected} rejected, {failed} left, {reader.problems} problems", file=err)
    return 1 if rejected or failed or reader.problems else 0


def _deliver(events: list[_Found], environ: Mapping[str, str], err: TextIO) -> tuple[set[str], int, int]:
    """Deliver in order; return the identities of the sent events, and how many were rejected and are left."""
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
            reason = describe(error, SECRETS)
            if is_transient(error) or is_key_refused(error):
                budget = 0 if is_transient(error) else budget
                behind.add(run_id)
                _print_line(f"left: {event}: {reason}", err)
            elif event.reject(reason):
                rejected += 1
                _print_line(f"rejected: {event}: {reason}", err)
            else:
                _print_line(f"left, as rejected/ is full: {event}: {reason}", err)
        else:
            sent.add(event.identity)
            event.forget()
    return sent, rejected, len(events) - len(sent) - rejected


def _print_line(text: str, err: TextIO) -> None:
    """Write a line; on a terminal over the progress bar, which the next event draws again."""
    print(f"\r{'':60}\r{text}" if err.isatty() else text, file=err)


def _attempt(retry: RetryPolicy, transport: Transport | None, event: _Found, budget: float) -> None:
    assert transport is not None  # noqa: S101  without a transport no event gets here
    retry.call(lambda: transport.emit(event.document), lambda _error: None, budget)


class _Reader:
    """Finds events. A source that cannot be read is a line on stderr and counts in `problems`; it never raises."""

    def __init__(self, stack: ExitStack, err: TextIO, max_bytes: int, *, dry_run: bool) -> None:
        self._stack = stack
        self._max_bytes = max_bytes
        self._dry_run = dry_run
        self._err = err
        self._parts = PartJoiner()
        # Events that are not to be sent, by their identity: why.
        self._unfit: list[tuple[str, str]] = []
        self.problems = 0

    def read(self, paths: Iterable[str]) -> Iterator[_Found]:
        """Yield the events at all paths."""
        for path in paths:
            try:
                if os.path.isdir(path):
                    yield from self._spool(path)
                else:
                    yield from self._log(path)
            except OSError as error:  # noqa: PERF203  one unreadable path does not stop the others
                self._problem(f"{path}: {error.strerror or error}")
            except Exception as error:  # of a library that decompresses: the file is damaged
                self._problem(f"{path} cannot be read to its end: {type(error).__name__}: {error}")
        for logs, problem in self._parts.incomplete():
            self._problem(f"{logs} {problem}")

    def report_unfit(self, found: Container[str]) -> None:
        """Report the events that are not to be sent, unless they were found elsewhere as they were."""
        for identity, problem in self._unfit:
            if identity not in found:
                self._problem(problem)

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
        yield from self._rejected(spool, path)
        if self._dry_run:
            yield from (_Found(end, place) for _, place, end in spool.fallbacks(set_aside=False) if end is not None)

    def _rejected(self, spool: Spool, path: str) -> Iterator[_Found]:
        """Yield what the backend refused before: it may have been mended since, or have had a wrong key."""
        count = 0
        for name, document in spool.rejected.events():
            count += 1
            yield _Found(document, os.path.join(path, "rejected", name), spool, record=name)
        if count:
            print(f"{path}: {count} rejected events are tried again", file=self._err)

    def _log(self, path: str) -> Iterator[_Found]:
        is_of_use = False
        with open_log(path) as log:
            for finding in events_in(log.lines, path, self._parts):
                is_of_use = True
                if finding.document is None:
                    self._problem(f"{finding.place} {finding.problem}")
                elif finding.problem:
                    self._unfit.append((_identity(finding.document), f"{finding.place} {finding.problem}"))
                else:
                    document, warnings = clean_namespaces(finding.document)
                    for warning in warnings:
                        print(f"{finding.place} {warning}", file=self._err)
                    yield _Found(Document(document), finding.place)
            if not (is_of_use or log.is_text):
                self._problem(
                    f"{path} is neither text nor compressed with gzip, bzip2, xz or zstd: nothing in it could be read"
                )

    def _problem(self, text: str) -> None:
        self.problems += 1
        print(text, file=self._err)
