"""`openlineage-pod replay`: deliver the events in spools, in files of events, and in the last-resort lines of logs."""

from __future__ import annotations

import json
import os
import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, NamedTuple, TextIO

from openlineage_pod.delivery.last_resort import PartJoiner
from openlineage_pod.delivery.ledger import MAX_ATTEMPTS_ALONE
from openlineage_pod.delivery.retry import RetryPolicy, is_key_refused, is_transient
from openlineage_pod.delivery.spool import Spool
from openlineage_pod.delivery.spool_files import shown
from openlineage_pod.delivery.transports.base import NOT_CONFIGURED, describe, emit_for_sure
from openlineage_pod.delivery.transports.connect import connect
from openlineage_pod.events.document import TERMINAL_TYPES, Document
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
            if self.is_end:
                self.spool.rejected.supersede_start(self.document.run_id)
        elif self.spool is not None and self.record:
            self.spool.rejected.remove(self.record)

    def supersede(self) -> None:
        """Set the event aside where it was found, if that was a spool: it must not be sent any more."""
        if self.spool is not None and self.entry is not None:
            self.spool.supersede(self.entry)
        elif self.spool is not None and self.record:
            self.spool.rejected.supersede_start(self.document.run_id)

    def reject(self, reason: str) -> bool:
        """Set the refused event aside in its spool; return False where the spool has no room for it."""
        if self.spool is not None and self.entry is not None:
            return self.spool.reject(self.entry, self.document, reason)
        return True

    @property
    def is_end(self) -> bool:
        """Whether it is a terminal event."""
        return self.document.event_type in TERMINAL_TYPES

    def __str__(self) -> str:
        document = self.document.fields
        job = document["job"]
        text = (
            f"{document['eventTime']} {document['eventType']:8} {job['namespace']}/{job['name']} "
            f"{document['run']['runId']} ({self.source})"
        )
        return shown(text.encode("ascii", "backslashreplace").decode("ascii"))  # a terminal may show only ASCII


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

    Each event is delivered once, even if it is found several times. A START whose run has ended for the backend is not
    sent. An accepted event is deleted from its spool. Events of processes that still run are left to those processes.

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
            listed = [event for event in found.values() if event.is_end or event.document.run_id not in reader.ended]
            for event in listed:
                print(event, file=out)
            print(f"{len(listed)} events would be sent, {reader.problems} problems", file=err)
            return 1 if reader.problems else 0
        sending = _Sending(environ, err)
        sending.run(list(found.values()), reader.ended)
        for event in everything:  # an event may lie in several spools
            sending.clear_up(event)
    sent, superseded, rejected = len(sending.sent), len(sending.superseded), sending.rejected
    left = len(found) - sent - superseded - rejected
    aside = f"{superseded} superseded, " if superseded else ""
    print(f"{sent} sent, {rejected} rejected, {left} left, {aside}{reader.problems} problems", file=err)
    return 1 if rejected or left or reader.problems else 0


class _Sending:
    """Delivers events in order, and knows what became of them, by their identities.

    A START that keeps failing is overtaken by the terminal event of its run. After that it is never sent: it would
    re-open the run.
    """

    def __init__(self, environ: Mapping[str, str], err: TextIO) -> None:
        self.sent: set[str] = set()
        self.superseded: set[str] = set()
        self.rejected = 0
        self._environ = environ
        self._err = err
        self._retry = RetryPolicy()
        self._budget = EVENT_BUDGET
        self._has_overtaken = False

    def run(self, events: list[_Found], ended: set[str]) -> None:
        """Deliver events; the runs in `ended` are known to have ended for the backend."""
        transport = connect(self._environ) if events else None
        if transport is None:
            if events:
                print(NOT_CONFIGURED, file=self._err)
            return
        ends = {event.document.run_id: event for event in events if event.is_end}
        behind: set[str] = set()
        for number, event in enumerate(events, 1):
            if self._err.isatty():
                self._draw_progress(number, len(events))
            run_id = event.document.run_id
            if run_id in behind or event.identity in self.sent:
                continue  # an earlier event of its run is left, and the events of a run keep their order
            if run_id in ended and not event.is_end:
                self.superseded.add(event.identity)
            elif self._send(event, transport, ends.get(run_id)):
                ended |= {run_id} if event.identity in self.sent and event.is_end else set()
            else:
                behind.add(run_id)

    def _send(self, event: _Found, transport: Transport, end: _Found | None) -> bool:
        """Deliver an event, or the terminal event of its run without it; return False if it is left."""
        attempts = 0

        def attempt() -> None:
            nonlocal attempts
            attempts += 1
            emit_for_sure(transport, event.document)

        try:
            self._retry.call(attempt, lambda _error: None, self._budget)
        except Exception as error:
            reason = describe(error, SECRETS)
            if not (is_transient(error) or is_key_refused(error)):
                if event.reject(reason):
                    self.rejected += 1
                    _print_line(f"rejected: {event}: {reason}", self._err)
                else:
                    _print_line(f"left, as rejected/ is full: {event}: {reason}", self._err)
                return True
            self._budget = 0 if is_transient(error) else self._budget
            may_be_overtaken = not event.is_end and (self._has_overtaken or attempts >= MAX_ATTEMPTS_ALONE)
            if may_be_overtaken and end is not None and self._overtake(event, transport, end):
                _print_line(f"superseded, its run has ended: {event}: {reason}", self._err)
                return True
            _print_line(f"left: {event}: {reason}", self._err)
            return False
        self.sent.add(event.identity)
        self.clear_up(event)
        return True

    def _overtake(self, event: _Found, transport: Transport, end: _Found) -> bool:
        try:
            emit_for_sure(transport, end.document)
        except Exception:
            return False  # it is told when its turn comes
        self._has_overtaken = True
        self.superseded.add(event.identity)
        self.sent.add(end.identity)
        self.clear_up(event)
        self.clear_up(end)
        return True

    def clear_up(self, event: _Found) -> None:
        """Take an event that is not to be sent again out of its spool."""
        if event.identity in self.superseded:
            event.supersede()
        elif event.identity in self.sent:
            event.forget()

    def _draw_progress(self, number: int, total: int) -> None:
        done = 30 * number // total
        print(f"\r[{'#' * done:30}] {number}/{total}", end="\n" if number == total else "", file=self._err)


def _print_line(text: str, err: TextIO) -> None:
    """Write a line; on a terminal over the progress bar, which the next event draws again."""
    print(f"\r{'':60}\r{text}" if err.isatty() else text, file=err)


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
        # The runs that are known to have ended for the backend.
        self.ended: set[str] = set()

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
        others = set(spool.entries()).difference(entries)
        if newer := sum(entry.is_newer for entry in others):
            self._problem(f"{path}: {newer} events were written by a later release, which has to send them")
        if left := len(others) - newer:
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
                if finding.ended:
                    self.ended.add(finding.ended)
                elif finding.document is None:
                    self._problem(f"{finding.place} {finding.problem}")
                elif finding.problem:
                    self._unfit.append((_identity(finding.document), f"{finding.place} {finding.problem}"))
                else:
                    document, warnings = clean_namespaces(finding.document)
                    for warning in warnings:
                        print(SECRETS.text(f"{finding.place} {warning}"), file=self._err)
                    yield _Found(Document(document), finding.place)
            if not (is_of_use or log.is_text):
                self._problem(
                    f"{path} is neither text nor compressed with gzip, bzip2, xz or zstd: nothing in it could be read"
                )

    def _problem(self, text: str) -> None:
        self.problems += 1
        print(shown(SECRETS.text(text)), file=self._err)
