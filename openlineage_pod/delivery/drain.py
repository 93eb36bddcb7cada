"""Delivering what other processes left in a spool."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from openlineage_pod._guard import logger
from openlineage_pod.delivery.last_resort import PRINT_TIMEOUT, print_event
from openlineage_pod.delivery.retry import is_transient
from openlineage_pod.delivery.transports.base import describe

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from openlineage_pod.delivery.spool import Entry, Spool
    from openlineage_pod.events.document import Document
    from openlineage_pod.events.secrets import Secrets

__all__ = ["drain"]


def drain(
    spool: Spool,
    entries: Iterable[Entry],
    emit: Callable[[Document], None],
    secrets: Secrets,
    is_over: Callable[[], bool],
    *,
    last_resort: bool = True,
) -> BaseException | None:
    """Deliver entries in their order; a run whose event fails is left for the next time. Return the last failure.

    Args:
        spool: where they are; what is accepted is deleted there, what is refused for good is set aside.
        entries: from `Spool.left_behind`, whose lock the caller holds.
        emit: delivers one event or raises.
        secrets: masks messages.
        is_over: whether to stop after a failure.
        last_resort: whether a refused event for which the spool has no room is printed.

    """
    failure: BaseException | None = None
    failed: set[str] = set()
    for entry in entries:
        if entry.run_id in failed:
            continue
        document = spool.read(entry)
        if document is None:
            continue
        try:
            emit(document)
        except Exception as error:
            if not is_transient(error):
                reason = describe(error, secrets)
                logger.warning("the lineage backend refused %s for good: %s", entry.path, reason)
                if not spool.reject(entry, document, reason) and last_resort:
                    _print(spool, entry, document)
                continue
            failure = error
            failed.add(entry.run_id)
            if is_over():
                break
        else:
            spool.resolve(entry)
    return failure


def _print(spool: Spool, entry: Entry, document: Document) -> None:
    """Print a refused event that cannot be set aside: in new/ it would be sent again and again."""
    if print_event(document, time.monotonic() + PRINT_TIMEOUT):
        spool.resolve(entry)
