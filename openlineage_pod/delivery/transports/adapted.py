"""openlineage-python's transports, made fit for a pod.

- The retries of the HTTP transport (39 s per event on a hung backend) are off unless the user configured them: there
  is one retry layer, and it knows the deadline.
- `console` is visible also in a job that configured no logging.
- `kafka` waits for the broker's answer and raises what it refuses: it would only log that, and the event would be lost.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any

import attr
from openlineage.client.serde import Serde
from openlineage.client.transport.composite import CompositeTransport
from openlineage.client.transport.console import ConsoleConfig, ConsoleTransport, log
from openlineage.client.transport.http import ApiKeyTokenProvider, HttpTransport, TokenProvider
from openlineage.client.transport.kafka import KafkaTransport
from openlineage.client.transport.transform import TransformTransport

from openlineage_pod._stderr import write_stderr
from openlineage_pod.delivery.transports.address import base_url, check_url, key_of
from openlineage_pod.delivery.transports.session import BoundedSession

if TYPE_CHECKING:
    from openlineage.client.transport import Transport

__all__ = ["adapted", "prepared"]

_CONSOLE_WRITE_TIMEOUT = 1.0


def adapted(transport: Transport) -> Transport:
    """Return `transport`, and the transports inside it, made fit for a pod (see the module's documentation)."""
    if isinstance(transport, CompositeTransport):
        transport.__dict__["transports"] = [adapted(child) for child in transport.transports]
    elif isinstance(transport, TransformTransport):
        transport.transport = adapted(transport.transport)
    elif isinstance(transport, ConsoleTransport):
        transport = _VisibleConsoleTransport.like(transport)
    elif isinstance(transport, KafkaTransport) and transport.producer is not None:
        transport.flush = True
        transport.__dict__["producer"] = _AskingProducer(transport.producer)
    return prepared(transport) if isinstance(transport, HttpTransport) else transport


def prepared(transport: HttpTransport) -> HttpTransport:
    """Have an HTTP transport make one attempt, and take no redirect for a delivery."""
    check_url(transport.url)
    if transport.endpoint:
        transport.url = base_url(transport.url)
    _without_retries(transport)
    config = transport.config
    if isinstance(config.auth, ApiKeyTokenProvider):
        config.auth.api_key = key_of("openlineage-python's configuration (apiKey)", config.auth.api_key or "")
    transport.session = BoundedSession(is_keyed=type(config.auth) is not TokenProvider or bool(config.custom_headers))
    return transport


def _without_retries(transport: Any) -> None:
    config = transport.config
    if config.retry == attr.fields_dict(type(config))["retry"].default:
        # An empty status_forcelist, so that a 503 comes as an HTTPError with its status and not as a RetryError.
        config.retry = {"total": 0, "status_forcelist": []}


class _AskingProducer:
    """A Kafka producer whose `flush` raises what the broker answered."""

    def __init__(self, producer: Any) -> None:
        self._producer = producer
        self._refusals: list[Any] = []

    def produce(self, **message: Any) -> None:
        self._producer.produce(**{**message, "on_delivery": self._answered})

    def flush(self, timeout: float = -1) -> int:
        left: int = self._producer.flush(timeout)
        if self._refusals:
            refusals, self._refusals = self._refusals, []
            raise OSError(f"Kafka did not take the event: {refusals[0]}")
        return left

    def _answered(self, error: Any, _message: Any) -> None:
        if error is not None:
            self._refusals.append(error)


class _VisibleConsoleTransport(ConsoleTransport):
    """Prints events on stderr where the job's logging would not show them."""

    @classmethod
    def like(cls, transport: ConsoleTransport) -> _VisibleConsoleTransport:
        """Return one that has the place of `transport`."""
        console = cls(ConsoleConfig())
        console.name, console.priority = transport.name, transport.priority
        return console

    def emit(self, event: Any) -> None:
        if _is_shown(log):
            super().emit(event)
            return
        # Raised errors are retried: a full pipe may be read later.
        if not write_stderr(f"{Serde.to_json(event)}\n", time.monotonic() + _CONSOLE_WRITE_TIMEOUT):
            raise OSError("stderr cannot be written to")


def _is_shown(log: logging.Logger) -> bool:
    """Say whether the job's logging configuration shows an INFO record of `log` anywhere."""
    if log.disabled or not log.isEnabledFor(logging.INFO):
        return False
    logger: logging.Logger | None = log
    while logger is not None:
        if any(
            handler.level <= logging.INFO and type(handler) is not logging.NullHandler for handler in logger.handlers
        ):
            return True
        logger = logger.parent if logger.propagate else None
    return False
