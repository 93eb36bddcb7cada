"""Transports: openlineage-python's own, by its own configuration, made fit for a pod.

What is changed about them, and why:

- The client is built without writing to `os.environ`: its constructor copies the API key into further variables, which
  every child process of the job would inherit.
- The retries of its HTTP transport (39 s per event on a hung backend) are off unless the user configured them: there
  is one retry layer, and it knows the deadline.
- `async_http` is delivered by the HTTP transport: it reports neither failures nor their status, and its thread dies
  with the process. Delivery already happens beside the job here.
- `console` is visible also in a job that configured no logging.
"""

from __future__ import annotations

import logging
import os
import re
import time
from typing import TYPE_CHECKING, Any, Protocol

from openlineage_pod._guard import ConfigurationError
from openlineage_pod.delivery.last_resort import write_stderr
from openlineage_pod.events import to_run_event

if TYPE_CHECKING:
    from collections.abc import Mapping

    from openlineage.client import OpenLineageClient
    from openlineage.client.transport import Transport

__all__ = ["Backend", "connect", "describe"]

NOT_CONFIGURED = (
    "no OpenLineage transport is configured, so events are only printed; set OPENLINEAGE_URL "
    "(for example OPENLINEAGE_URL=http://marquez:5000), OPENLINEAGE_CONFIG or OPENLINEAGE__TRANSPORT__TYPE, "
    "or OPENLINEAGE_DISABLED=true to report nothing"
)
_CONSOLE_WRITE_TIMEOUT = 1.0
_LONGEST_ANSWER = 200


class Backend(Protocol):
    """Where events go."""

    def emit(self, document: Mapping[str, Any]) -> None:
        """Deliver one event or raise."""


class _ClientBackend:
    """openlineage-python's client: its tags, filters and facets from the configuration apply to every event."""

    def __init__(self, client: OpenLineageClient) -> None:
        self._client = client

    def emit(self, document: Mapping[str, Any]) -> None:
        # A new typed event for each attempt: the client changes the one it is given.
        self._client.emit(to_run_event(document))


def preload() -> None:
    """Import what the first event needs, also what openlineage-python and requests import on their first use.

    A process that forks in the middle of an import leaves its child with a module that never becomes ready.
    """
    import encodings.idna  # noqa: F401  requests encodes host names with it

    import openlineage.client.event_v2
    import openlineage.client.facet_v2
    import openlineage.client.transport  # noqa: F401
    import tenacity  # noqa: F401
    from dateutil import parser  # noqa: F401  openlineage-python checks event times with it


def connect(environ: Mapping[str, str]) -> Backend | None:
    """Return the backend that the environment configures, or None if it configures none.

    Raises:
        ConfigurationError: No transport can be built from the configuration; the message names the variables.

    """
    from openlineage.client import OpenLineageClient
    from openlineage.client.transport import get_default_factory
    from openlineage.client.transport.http import HttpConfig, HttpTransport
    from openlineage.client.transport.noop import NoopConfig, NoopTransport

    class Client(OpenLineageClient):
        def _alias_env_vars(self) -> None:
            """Leave `os.environ` alone; `_configuration` says the same as what this would have written there."""

    try:
        config_path = environ.get("OPENLINEAGE_CONFIG")
        if config_path and not os.access(config_path, os.R_OK):
            raise FileNotFoundError(f"OPENLINEAGE_CONFIG={config_path} is no readable file")
        # Given a transport, the client builds none itself; the real one takes its place below.
        client = Client(transport=NoopTransport(NoopConfig()), config=_configuration(environ))
        config = client.config.transport or {}
        if config.get("type"):
            transport = get_default_factory().create(config)
        elif environ.get("OPENLINEAGE_URL"):
            transport = HttpTransport(HttpConfig.from_dict(_http_from_url(environ)))
        else:
            return None
        client.transport = _adapted(transport)
    except Exception as error:
        raise ConfigurationError(
            f"no OpenLineage transport can be built from {_variables(environ)}: {describe(error, environ)}; "
            "events are only printed. Example: OPENLINEAGE_URL=http://marquez:5000"
        ) from error
    return _ClientBackend(client)


def _http_from_url(environ: Mapping[str, str]) -> dict[str, Any]:
    config: dict[str, Any] = {"type": "http", "url": environ["OPENLINEAGE_URL"]}
    if endpoint := environ.get("OPENLINEAGE_ENDPOINT"):
        config["endpoint"] = endpoint
    if key := environ.get("OPENLINEAGE_API_KEY"):
        config["auth"] = {"type": "api_key", "apiKey": key}
    return config


def _configuration(environ: Mapping[str, str]) -> dict[str, Any]:
    """Return what openlineage-python's client would have written into `os.environ` for `OPENLINEAGE_URL`.

    There it becomes one of the transports of a composite one, named `default_http`, and fills in the URL of
    `async_http` (https://openlineage.io/docs/client/python/configuration).
    """
    prefix = "OPENLINEAGE__TRANSPORT__"
    kind = environ.get(f"{prefix}TYPE")
    if not environ.get("OPENLINEAGE_URL") or kind not in ("composite", "async_http"):
        return {}
    http = _http_from_url(environ)
    if kind == "composite":
        if any(variable.startswith(f"{prefix}TRANSPORTS__DEFAULT_HTTP") for variable in environ):
            return {}
        return {"transport": {"transports": {"default_http": http}}}
    own = {key: value for key, value in http.items() if key != "type" and not environ.get(f"{prefix}{key.upper()}")}
    return {"transport": own}


def _adapted(transport: Transport) -> Transport:
    """Return `transport`, and the transports inside it, made fit for a pod (see the module's documentation)."""
    from openlineage.client.transport.async_http import AsyncHttpTransport
    from openlineage.client.transport.composite import CompositeTransport
    from openlineage.client.transport.console import ConsoleTransport
    from openlineage.client.transport.http import HttpTransport
    from openlineage.client.transport.transform import TransformTransport

    if isinstance(transport, CompositeTransport):
        transport.__dict__["transports"] = [_adapted(child) for child in transport.transports]
    elif isinstance(transport, TransformTransport):
        transport.transport = _adapted(transport.transport)
    elif isinstance(transport, AsyncHttpTransport):
        transport = _as_http(transport)
    elif isinstance(transport, ConsoleTransport):
        transport = _visible(transport)
    if isinstance(transport, HttpTransport):
        _without_retries(transport)
    return transport


def _without_retries(transport: Any) -> None:
    import attr

    config = transport.config
    if config.retry == attr.fields_dict(type(config))["retry"].default:
        # An empty status_forcelist, so that a 503 comes as an HTTPError with its status and not as a RetryError.
        config.retry = {"total": 0, "status_forcelist": []}


def _as_http(transport: Any) -> Transport:
    from openlineage.client.transport.http import HttpConfig, HttpTransport

    transport.should_exit.set()  # its own thread has nothing to do
    config = transport.config
    same = ("url", "endpoint", "timeout", "verify", "auth", "compression", "custom_headers", "retry")
    http = HttpTransport(HttpConfig(**{name: getattr(config, name) for name in same}))
    http.name, http.priority = transport.name, transport.priority
    return http


def _visible(transport: Any) -> Transport:
    from openlineage.client.serde import Serde
    from openlineage.client.transport.console import ConsoleConfig, ConsoleTransport, log

    class VisibleConsoleTransport(ConsoleTransport):
        def emit(self, event: Any) -> None:
            if _is_shown(log):
                super().emit(event)
                return
            # Raised errors are retried: a full pipe may be read later.
            if not write_stderr(f"{Serde.to_json(event)}\n", time.monotonic() + _CONSOLE_WRITE_TIMEOUT):
                raise OSError("stderr cannot be written to")

    console = VisibleConsoleTransport(ConsoleConfig())
    console.name, console.priority = transport.name, transport.priority
    return console


def _is_shown(log: logging.Logger) -> bool:
    """Say whether the job's logging configuration shows an INFO record of `log` anywhere."""
    if log.disabled or not log.isEnabledFor(logging.INFO):
        return False
    logger: logging.Logger | None = log
    while logger is not None:
        if any(handler.level <= logging.INFO for handler in logger.handlers):
            return True
        logger = logger.parent if logger.propagate else None
    return False


def _variables(environ: Mapping[str, str]) -> str:
    """Name the variables that configure the transport; not their values, which may hold credentials."""
    names = sorted(
        name
        for name, value in environ.items()
        if value
        and (
            name in ("OPENLINEAGE_URL", "OPENLINEAGE_ENDPOINT", "OPENLINEAGE_CONFIG")
            or name.startswith("OPENLINEAGE__")
        )
    )
    return ", ".join(names) or "openlineage.yml"


def describe(error: BaseException, environ: Mapping[str, str]) -> str:
    """Say in one line what failed, with the backend's answer where there is one, and without any credential."""
    text = f"{type(error).__name__}: {error}"
    if answer := getattr(getattr(error, "response", None), "text", ""):
        text = f"{text}: {answer[:_LONGEST_ANSWER]}"
    text = " ".join("".join(character if character.isprintable() else " " for character in text).split())
    if key := environ.get("OPENLINEAGE_API_KEY"):
        text = text.replace(key, "***")
    text = re.sub(r"//[^/@\s]+@", "//***@", text)
    return re.sub(r"\?[^\s'\")]+", "?***", text)[:600]
