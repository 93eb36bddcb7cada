"""Replay: deliver the events that lie in spools, in files of events, or as last-resort lines in logs."""

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

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from openlineage_pod.delivery.spool import Entry
    from openlineage_pod.delivery.transports.base import Transport

__all__ = ["replay"]

# One event that keeps failing is given up after this time; once one was, the others get one attempt each.
_PATIENCE = 15.0


class _Found(NamedTuple):
    """An event to deliver, and its place in the spool if it has one there."""

    document: Document
    source: str
    spool: Spool | None = None
    entry: Entry | None = None

    @property
    def identity(self) -> str:
        """What makes it the same event wherever it was found."""
        return json.dumps([self.document.fields[key] for key in ("run", "eventType", "eventTime")], sort_keys=True)

    def __str__(self) -> str:
        document = self.document.fields
        job = document["job"]
        text = (
            f"{document['eventTime']} {document['eventType']:8} {job['namespace']}/{job['name']} "
            f"{document['run']['runId']} ({self.source})"
        )
        return text.encode("ascii", "backslashreplace").decode("ascii")  # whatever the terminal can show


def replay(
    paths: Sequence[str],
    environ: Mapping[str, str],
    *,
    dry_run: bool = False,
    out: TextIO | None = None,
    err: TextIO | None = None,
) -> int:
    """Deliver the events found at `paths`, oldest first, and return the exit status of the command.

    Each event is delivered once, however often it was found. From a spool it is deleted after it was accepted, and
    events of processes that still run are left to them.

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
        reader = _Reader(stack, err, dry_run=dry_run)
        everything = sorted(reader.read(paths), key=lambda event: event.document.fields["eventTime"])
        found = {event.identity: event for event in everything}
        if dry_run:
            for event in found.values():
                print(event, file=out)
            print(f"{len(found)} events would be sent, {reader.problems} problems", file=err)
            return 1 if reader.problems else 0
        sent, rejected, failed = _deliver(list(found.values()), environ, err)
        for event in everything:  # what was found twice
            if event.identity in sent:
                _forget(event)
    print(f"{len(sent)} sent, {rejected} rejected, {failed} left, {reader.problems} problems", file=err)
    return 1 if rejected or failed or reader.problems else 0


def _deliver(events: list[_Found], environ: Mapping[str, str], err: TextIO) -> tuple[set[str], int, int]:
    """Deliver in order; return the identities of what was sent, and how many were refused and left."""
    secrets = Secrets.from_env(environ)
    transport = connect(environ) if events else None
    if events and transport is None:
        print(NOT_CONFIGURED, file=err)
        return set(), 0, len(events)
    retry, patience = RetryPolicy(), _PATIENCE
    sent: set[str] = set()
    behind: set[str] = set()
    rejected = 0
    for number, event in enumerate(events, 1):
        run_id = event.document.run_id
        if err.isatty():
            done = 30 * number // len(events)
            print(f"\r[{'#' * done:30}] {number}/{len(events)}", end="\n" if number == len(events) else "", file=err)
        if run_id in behind:
            continue  # after an event of its run that is left: a run's events keep their order
        try:
            _attempt(retry, transport, event, patience)
        except Exception as error:
            reason = describe(error, secrets)
            if is_transient(error):
                patience = 0
                behind.add(run_id)
                _tell(f"left: {event}: {reason}", err)
            else:
                rejected += 1
                _tell(f"rejected: {event}: {reason}", err)
                if event.spool is not None and event.entry is not None:
                    event.spool.reject(event.entry, event.document, reason)
        else:
            sent.add(event.identity)
            _forget(event)
    return sent, rejected, len(events) - len(sent) - rejected


def _tell(text: str, err: TextIO) -> None:
    """Write a line; on a terminal in place of the progress bar, which comes again below."""
    print(f"\r{'':60}\r{text}" if err.isatty() else text, file=err)


def _attempt(retry: RetryPolicy, transport: Transport | None, event: _Found, patience: float) -> None:
    assert transport is not None  # noqa: S101  there are events only with a transport
    retry.call(lambda: transport.emit(event.document), lambda _error: None, patience)


def _forget(event: _Found) -> None:
    if event.spool is not None and event.entry is not None:
        event.spool.resolve(event.entry)


class _Reader:
    """Finds events; what cannot be read is told, counted in `problems`, and never fatal."""

    def __init__(self, stack: ExitStack, err: TextIO, *, dry_run: bool) -> None:
        self._stack = stack
        self._dry_run = dry_run
        self._err = err
        self.problems = 0

    def read(self, paths: Iterable[str]) -> Iterator[_Found]:
        """Give the events at all paths."""
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
        spool = Spool(path, max_bytes=0)
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
