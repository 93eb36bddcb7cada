"""Delivering what other processes left in a spool."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

from openlineage_pod._guard import logger
from openlineage_pod.delivery.last_resort import PRINT_TIMEOUT, print_event
from openlineage_pod.delivery.retry import is_key_refused, is_transient
from openlineage_pod.delivery.transports.base import describe

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from openlineage_pod.delivery.spool import Entry, Spool
    from openlineage_pod.events.document import Document
    from openlineage_pod.events.secrets import Secrets

__all__ = ["drain", "has_waited"]


# Seconds for which a START waits in the spool before the terminal event of its run may overtake it.
_MAX_TIME_ALONE = 60.0


def has_waited(entry: Entry) -> bool:
    """Return whether a START has been in the spool for so long that the end of its run may overtake it."""
    began = entry.name.partition("-")[0]
    return began.isdecimal() and time.time() - int(began) / 1e9 > _MAX_TIME_ALONE


def drain(
    spool: Spool,
    entries: Sequence[Entry],
    emit: Callable[[Document], None],
    secrets: Secrets,
    is_over: Callable[[], bool],
    *,
    last_resort: bool = True,
    emit_once: Callable[[Document], None] | None = None,
    may_be_overtaken: Callable[[Entry], bool] = has_waited,
) -> BaseException | None:
    """Deliver entries in their order; a run whose event fails is left for the next time. Return the last failure.

    Args:
        spool: where they are; what is accepted is deleted there, what is refused for good is set aside.
        entries: from `Spool.left_behind`, whose lock the caller holds.
        emit: delivers one event or raises.
        secrets: masks messages.
        is_over: whether to stop after a failure.
        last_resort: whether a refused event for which the spool has no room is printed.
        emit_once: delivers one event in one attempt or raises; default: `emit`.
        may_be_overtaken: whether the terminal event of a run may go before this one, which failed.

    """
    drainer = _Drainer(spool, secrets, emit, emit_once or emit, last_resort)
    ends = {entry.run_id: entry for entry in entries if entry.is_end}
    failure: BaseException | None = None
    done: set[str] = set()  # also the runs that are left for the next time
    for entry in entries:
        if entry.run_id in done:
            continue
        error = drainer.deliver(entry)
        if error is None:
            continue
        done.add(entry.run_id)
        end = ends.get(entry.run_id)
        if end is None or entry.is_end or not may_be_overtaken(entry) or not drainer.overtake(entry, end):
            failure = error
            if is_over():
                break
    return failure


class _Drainer(NamedTuple):
    spool: Spool
    secrets: Secrets
    emit: Callable[[Document], None]
    emit_once: Callable[[Document], None]
    last_resort: bool

    def deliver(self, entry: Entry) -> BaseException | None:
        """Deliver an entry, or set it aside; return the failure if it may be delivered later."""
        document = self.spool.read(entry)
        if document is None:
            return None
        try:
            self.emit(document)
        except Exception as error:
            if is_transient(error) or is_key_refused(error):
                return error
            reason = describe(error, self.secrets)
            what = f"the {document.event_type} event of job {document.job_name}, {entry.path},"
            logger.warning("the lineage backend refused %s for good: %s", what, reason)
            if not self.spool.reject(entry, document, reason) and self.last_resort:
                self._print(entry, document)
        else:
            self.spool.resolve(entry)
            if entry.is_end:
                self.spool.rejected.supersede_start(entry.run_id)
        return None

    def overtake(self, entry: Entry, end: Entry) -> bool:
        """Deliver the terminal event of a run without an entry before it; return whether the backend accepts it."""
        document = self.spool.read(end)
        if document is None:
            return False
        try:
            self.emit_once(document)  # during an outage, the START goes first when it is over
        except Exception:
            return False  # with another entry that fails, it comes again
        logger.info("the START event of run %s is superseded: its end was delivered without it", entry.run_id)
        self.spool.supersede(entry)
        self.spool.resolve(end)
        return True

    def _print(self, entry: Entry, document: Document) -> None:
        """Print a refused event that cannot be set aside: in new/ it would be sent again and again."""
        if print_event(document, time.monotonic() + PRINT_TIMEOUT):
            self.spool.resolve(entry)
