"""openlineage-python's transports, made fit for a pod.

| transport | what changes |
|---|---|
| `http` | One attempt within one deadline: the one retry layer knows the end of the process. |
| `async_http`, `datadog`, `gcplineage` | Synchronous: their threads die with the process, and report no failure. |
| `composite` | Each of its transports gets every event, and is retried on its own. |
| `kafka`, `msk-iam` | Each event waits for the broker's answer, and raises a refusal, which would only be logged. |
| `amazon_datazone_api` | One attempt, and an error with the status, without the event. |
| `console` | Visible also in a job that configured no logging. |
| the job's own | With a queue: each event is waited for, or else the queue at the end of the process. |
"""

from __future__ import annotations

import logging
import time
from contextlib import suppress
from importlib import import_module
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urljoin

import attr
from openlineage.client.serde import Serde
from openlineage.client.transport.composite import CompositeTransport
from openlineage.client.transport.console import ConsoleTransport, log
from openlineage.client.transport.file import FileTransport
from openlineage.client.transport.http import ApiKeyTokenProvider, HttpTransport, TokenProvider
from openlineage.client.transport.kafka import KafkaTransport
from openlineage.client.transport.transform import TransformTransport

from openlineage_pod._stderr import handlers_of, write_stderr
from openlineage_pod.delivery.transports.address import base_url, check_url, key_of, without_credentials
from openlineage_pod.delivery.transports.answer import Answer, AnswerError
from openlineage_pod.delivery.transports.base import REQUEST_TIMEOUT
from openlineage_pod.delivery.transports.composite import CompositeLeg
from openlineage_pod.delivery.transports.exchange import UnreachableError
from openlineage_pod.delivery.transports.key_file import KeyRefusedError
from openlineage_pod.delivery.transports.leg import Leg, OwnLeg, QueuedLeg, TransformLeg
from openlineage_pod.delivery.transports.session import BoundedSession
from openlineage_pod.events.secrets import SECRETS

if TYPE_CHECKING:
    from collections.abc import Callable

    from openlineage.client.transport import Transport

__all__ = ["adapted", "all_legs"]

_CONSOLE_WRITE_TIMEOUT = 1.0
_UPSTREAM = "openlineage.client."


def adapted(transport: Transport) -> Leg:
    """Return `transport`, and the transports inside it, made fit for a pod (see the module's documentation)."""
    # A class of the job's own that inherits from a composite may do something else with its transports.
    if isinstance(transport, CompositeTransport) and type(transport).emit is CompositeTransport.emit:
        return CompositeLeg(transport, [adapted(child) for child in transport.transports])
    if isinstance(transport, TransformTransport):
        return TransformLeg(transport, adapted(transport.transport))
    if transport.kind == "datadog" and isinstance(http := getattr(transport, "http", None), HttpTransport):
        if (queue := getattr(transport, "async_http", None)) is not None:  # releases before 1.54 make it at once
            queue.close(0)
        http.name, http.priority = transport.name, transport.priority
        return _HttpLeg(http)
    for base, leg in _LEGS.items():
        if isinstance(transport, base):
            return leg(transport)
    if (leg_of_kind := _LEGS_BY_KIND.get(transport.kind)) is not None:
        return leg_of_kind(transport)
    if QueuedLeg.fits(transport):
        return QueuedLeg(transport)
    return Leg(transport) if type(transport).__module__.startswith(_UPSTREAM) else OwnLeg(transport)


def all_legs(leg: Leg) -> list[Leg]:
    """Return a leg and all that are inside it."""
    return [leg, *(each for inner in leg.legs for each in all_legs(inner))]


class _HttpLeg(Leg):
    """An HTTP transport that makes one attempt, and takes nothing for a delivery that is none."""

    def __init__(self, transport: HttpTransport) -> None:
        super().__init__(transport)
        check_url(transport.url)
        if transport.endpoint:
            transport.url = base_url(transport.url)
        config = transport.config
        _without_retries(transport)
        if isinstance(config.auth, ApiKeyTokenProvider):
            config.auth.api_key = key_of("openlineage-python's configuration (apiKey)", config.auth.api_key or "")
        _learn_bearer(config.auth)
        is_keyed = type(config.auth) is not TokenProvider or bool(config.custom_headers)
        self._session = transport.session = BoundedSession(is_keyed=is_keyed)

    @property
    def target(self) -> str:
        """The URL that events are posted to, without credentials."""
        return without_credentials(urljoin(self.inner.url, self.inner.endpoint))

    @property
    def phase(self) -> str:
        """What the request under way is waiting for; empty if there is none."""
        return self._session.phase

    @property
    def timeout(self) -> float | None:
        """Seconds that one request may take."""
        return cast("float", self.inner.timeout)

    @timeout.setter
    def timeout(self, seconds: float | None) -> None:
        self.inner.timeout = seconds
        if seconds is not None:
            self._session.limit(seconds)

    def emit(self, event: Any) -> Any:
        """Deliver one event or raise."""
        try:
            return super().emit(event)
        except Exception as error:
            KeyRefusedError.raise_for(error, getattr(self.inner.config.auth, "file", None))
            raise

    def close(self, _timeout: float = -1) -> bool:
        """Close the connection; the next event opens another one."""
        self._session.close()
        return True

    def clone(self) -> _HttpLeg | None:
        """Return a transport with a connection of its own."""
        if type(self.inner) is not HttpTransport:
            return None
        further = HttpTransport(self.inner.config)
        further.name = self.name
        return _HttpLeg(further)


def _learn_bearer(auth: Any) -> None:
    """Know whatever a token provider gives as a credential, before a backend can quote it."""
    if "get_bearer" in getattr(auth, "__dict__", {"get_bearer"}):
        return
    get_bearer = auth.get_bearer

    def learned() -> str | None:
        bearer: str | None = get_bearer()
        SECRETS.add([bearer] if bearer else [])
        return bearer

    auth.get_bearer = learned


def _without_retries(transport: Any) -> None:
    config = transport.config
    if config.retry == attr.fields_dict(type(config))["retry"].default:
        # An empty status_forcelist, so that a 503 comes as an HTTPError with its status and not as a RetryError.
        config.retry = {"total": 0, "status_forcelist": []}


class _KafkaLeg(Leg):
    """A Kafka transport that waits for the broker's answer to each event."""

    def __init__(self, transport: KafkaTransport) -> None:
        super().__init__(transport)
        self.timeout = REQUEST_TIMEOUT
        if transport.producer is not None:
            transport.flush = True
            transport.__dict__["producer"] = _AskingProducer(transport.producer, self)

    @property
    def target(self) -> str:
        """The topic."""
        return f"Kafka topic {self.inner.topic}"

    def close(self, _timeout: float = -1) -> bool:
        """Return True: nothing is queued between two events."""
        return True


class _AskingProducer:
    """A Kafka producer whose `flush` raises what the broker answered, or that it did not answer in time."""

    def __init__(self, producer: Any, leg: _KafkaLeg) -> None:
        self._producer = producer
        self._leg = leg
        self._refusals: list[Any] = []

    def produce(self, **message: Any) -> None:
        self._producer.produce(**{**message, "on_delivery": self._answered})

    def flush(self, timeout: float = -1) -> int:
        timeout = self._leg.timeout or REQUEST_TIMEOUT if timeout < 0 else timeout
        left = self._producer.flush(timeout) or 0
        if left and not self._refusals:
            if (purge := getattr(self._producer, "purge", None)) is not None:
                purge()  # else the next attempt queues the event once more
                self._producer.flush(0)
            self._refusals.clear()
            raise OSError(f"Kafka has not answered within {timeout:g} seconds")
        if self._refusals:
            refusals, self._refusals = self._refusals, []
            raise OSError(f"Kafka did not take the event: {refusals[0]}")
        return int(left)

    def _answered(self, error: Any, _message: Any) -> None:
        if error is not None:
            self._refusals.append(error)


class _FileLeg(Leg):
    @property
    def target(self) -> str:
        """The file, or what the names of the files begin with."""
        return f"file {self.inner.config.log_file_path}"


class _ConsoleLeg(Leg):
    """Prints events on stderr where the job's logging would not show them."""

    def emit(self, event: Any) -> None:
        """Print one event or raise."""
        if any(type(handler) is not logging.NullHandler for handler in handlers_of(log, logging.INFO)):
            self.inner.emit(event)
        # Raised errors are retried: a full pipe may be read later.
        elif not write_stderr(f"{Serde.to_json(event)}\n", time.monotonic() + _CONSOLE_WRITE_TIMEOUT):
            raise OSError("stderr cannot be written to")


class _CloudLeg(Leg):
    """A transport of a cloud's own library: its errors become ones that tell whether another attempt may succeed."""

    def emit(self, event: Any) -> Any:
        """Deliver one event or raise."""
        try:
            return super().emit(event)
        except Exception as error:
            # What openlineage-python raises for DataZone quotes the whole event.
            cause = error.__cause__ if isinstance(error, RuntimeError) and error.__cause__ is not None else error
            message = f"{self.kind}: {type(cause).__name__}: {cause}"
            if status := _status(cause):
                raise AnswerError(message, Answer(status, "", {}, "")) from None
            raise UnreachableError(message) from None


class _GcpLeg(_CloudLeg):
    def __init__(self, transport: Transport) -> None:
        super().__init__(transport)
        self.inner.config.async_transport_rules = {}

    def close(self, _timeout: float = -1) -> bool:
        """Close the client if there is one: openlineage-python would make two, only to close them."""
        if (client := vars(self.inner).get("client")) is not None:
            client.transport.close()
        return True


class _DataZoneLeg(_CloudLeg):
    def __init__(self, transport: Transport) -> None:
        super().__init__(transport)
        with suppress(Exception):  # another release of the library: its own defaults stay
            self.inner.datazone = _impatient_client(self.inner.config)

    def close(self, _timeout: float = -1) -> bool:
        """Close the connections."""
        self.inner.datazone.close()
        return True


def _impatient_client(config: Any) -> Any:
    """Return a client that makes one attempt within the time of a request; by default it takes minutes."""
    limits = import_module("botocore.config").Config(
        connect_timeout=REQUEST_TIMEOUT, read_timeout=REQUEST_TIMEOUT, retries={"total_max_attempts": 1}
    )
    options = {"endpoint_url": config.endpoint_override} if config.endpoint_override else {"region_name": config.region}
    return import_module("boto3").client("datazone", config=limits, **options)


def _status(error: Any) -> int | None:
    """Return the HTTP status in an error of botocore or google-api-core, or None."""
    answer = getattr(error, "response", None)
    status = answer.get("ResponseMetadata", {}).get("HTTPStatusCode") if isinstance(answer, dict) else None
    status = getattr(error, "code", None) if status is None else status
    return int(status) if isinstance(status, int) else None


_LEGS: dict[type[Any], Callable[[Any], Leg]] = {
    HttpTransport: _HttpLeg,
    KafkaTransport: _KafkaLeg,
    ConsoleTransport: _ConsoleLeg,
    FileTransport: _FileLeg,
}
_LEGS_BY_KIND: dict[str | None, Callable[[Any], Leg]] = {
    "gcplineage": _GcpLeg,
    "amazon_datazone_api": _DataZoneLeg,
}
