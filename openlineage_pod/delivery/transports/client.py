"""Transports: openlineage-python's own, by its own configuration, made fit for a pod.

A plain `OPENLINEAGE_URL` takes the direct way (`delivery.http`), everything else openlineage-python's client. What is
changed about its transports, and why:

- The client is built without writing to `os.environ`: its constructor copies the API key into further variables, which
  every child process of the job would inherit.
- The retries of its HTTP transport (39 s per event on a hung backend) are off unless the user configured them: there
  is one retry layer, and it knows the deadline.
- `async_http` is delivered by the HTTP transport: it reports neither failures nor their status, and its thread dies
  with the process. Delivery already happens beside the job here.
- `console` is visible also in a job that configured no logging.
- `kafka` waits for the broker's answer and raises what it refuses: it would only log that, and the event would be lost.
"""

from __future__ import annotations

import copy
import importlib
import json
import logging
import os
import re
import threading
import time
from collections.abc import Mapping
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Protocol

from openlineage_pod import environment
from openlineage_pod._fork import importing
from openlineage_pod._stderr import write_stderr
from openlineage_pod.delivery.transports.key_file import KeyFile, KeyRefusedError
from openlineage_pod.events.document import to_run_event
from openlineage_pod.events.secrets import Redactor
from openlineage_pod.settings import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from openlineage.client import OpenLineageClient
    from openlineage.client.transport import Transport
    from openlineage.client.transport.http import HttpTransport

__all__ = ["NOT_CONFIGURED", "Backend", "configured_secrets", "connect", "describe"]

NOT_CONFIGURED = (
    "no OpenLineage transport is configured; set OPENLINEAGE_URL "
    "(for example OPENLINEAGE_URL=http://marquez:5000), OPENLINEAGE_CONFIG or OPENLINEAGE__TRANSPORT__TYPE, "
    "or OPENLINEAGE_DISABLED=true to report nothing"
)
_CONSOLE_WRITE_TIMEOUT = 1.0
_MAX_ANSWER = 200
_MAX_MESSAGE = 4000
_MAX_KEY = 64 * 1024
_KEY_FILE_PROVIDER = "openlineage_pod.auth.ApiKeyFileTokenProvider"
# What holds a credential by its name, in openlineage-python's configuration and in that of Kafka and the like.
_SECRET_NAME = re.compile(r"(?i)key|token|secret|passw|credential|auth|header")
_NO_SECRET_NAME = re.compile(r"(?i)(type|path|url|endpoint|location|message_?key|user(name)?|key_?id)$")
_PASSWORD_IN_URL = re.compile(r"://[^/:@\s]*:([^@]+)@")


class Backend(Protocol):
    """Where events go."""

    def emit(self, document: Mapping[str, Any]) -> None:
        """Deliver one event or raise."""

    def another(self) -> Backend | None:
        """Return a further backend to use at the same time from another thread, or None if that is not possible."""


class _ClientBackend:
    """openlineage-python's client: its tags, filters and facets from the configuration apply to every event."""

    def __init__(self, client: OpenLineageClient) -> None:
        self._client = client
        self._keys = _key_files(client.transport)

    def emit(self, document: Mapping[str, Any]) -> None:
        try:
            # A new typed event for each attempt: the client changes the one it is given.
            event = to_run_event(document)
        except (KeyError, TypeError) as error:
            raise ValueError(f"it is no run event: {error!r}") from error
        try:
            self._client.emit(event)
        except Exception as error:
            KeyRefusedError.raise_for(error, self._keys)
            raise

    def another(self) -> Backend | None:
        """Return a backend with a connection of its own; only HTTP, the others are not known to bear it."""
        from openlineage.client.transport.http import HttpTransport

        if not isinstance(self._client.transport, HttpTransport):
            return None
        client = copy.copy(self._client)
        client.transport = _prepared(HttpTransport(self._client.transport.config))
        return _ClientBackend(client)


def connect(environ: Mapping[str, str]) -> Backend | None:
    """Return the backend that the environment configures, or None if it configures none.

    Imports what the first event needs, also what is otherwise imported on first use: a process that forks in the middle
    of an import leaves its child with a module that never becomes ready.

    Raises:
        ConfigurationError: No transport can be built from the configuration; the message names the variables.

    """
    try:
        with importing():
            importlib.import_module("encodings.idna")  # requests imports these two for its first request
            importlib.import_module("netrc")
            return _http_backend(environ) if _is_only_a_url(environ) else _client_backend(environ)
    except Exception as error:
        raise ConfigurationError(
            f"no OpenLineage transport can be built from {_variables(environ)}: "
            f"{describe(error, Redactor(configured_secrets(environ)))}. "
            "Example: OPENLINEAGE_URL=http://marquez:5000"
        ) from None  # the cause may quote a credential


def _is_only_a_url(environ: Mapping[str, str]) -> bool:
    """Say whether openlineage-python would make an HTTP transport of OPENLINEAGE_URL with no further configuration."""
    if not environ.get(environment.URL) or environ.get(environment.CONFIG):
        return False
    files = ("openlineage.yml", os.path.expanduser("~/.openlineage/openlineage.yml"))
    has_parts = any(name.startswith(environment.CLIENT_PREFIX) for name in environ)
    return not has_parts and not any(map(os.path.isfile, files))


def _http_backend(environ: Mapping[str, str]) -> Backend:
    from openlineage_pod.delivery.transports.http import HttpBackend  # deferred: it imports requests

    path = environ.get(environment.API_KEY_FILE)
    # Stripped: a secret that was made with echo ends in a line break, which no header can have.
    key = KeyFile(path) if path else environ.get(environment.API_KEY, "").strip()
    return HttpBackend(environ[environment.URL], environ.get(environment.ENDPOINT), key)


def _client_backend(environ: Mapping[str, str]) -> Backend | None:
    import openlineage.client.event_v2
    import openlineage.client.facet_v2  # noqa: F401
    from dateutil import parser  # noqa: F401  openlineage-python checks event times with it
    from openlineage.client import OpenLineageClient
    from openlineage.client.transport import get_default_factory
    from openlineage.client.transport.http import HttpConfig, HttpTransport
    from openlineage.client.transport.noop import NoopConfig, NoopTransport

    class Client(OpenLineageClient):
        def _alias_env_vars(self) -> None:
            """Leave `os.environ` alone; `_with_url` says the same as what this would have written there."""

    config_path = environ.get(environment.CONFIG)
    if config_path and not os.access(config_path, os.R_OK):
        raise FileNotFoundError(f"OPENLINEAGE_CONFIG={config_path} is no readable file")
    _check_file(config_path or Client._find_yaml_config_path())
    with _discreet_loggers(Redactor(configured_secrets(environ))):
        # Given a transport, the client builds none itself; the real one takes its place below.
        client = Client(transport=NoopTransport(NoopConfig()))
        config = _with_url(client.config.transport or {}, environ)
        if config.get("type"):
            transport = _with_key_file(get_default_factory().create(config), environ)
        elif environ.get(environment.URL):
            transport = HttpTransport(HttpConfig.from_dict(_http_from_url(environ)))
        else:
            return None
        client.transport = _adapted(transport)
    return _ClientBackend(client)


def _check_file(path: str | None) -> None:
    """Raise ValueError for a configuration file that openlineage-python would only log about and then ignore."""
    if path is None:
        return
    import yaml

    try:
        with open(path, encoding="utf-8") as file:
            content = yaml.safe_load(file)
    except (yaml.YAMLError, ValueError):
        raise ValueError(f"{path} is no YAML") from None  # which would quote it, credentials included
    if content is not None and not isinstance(content, dict):
        raise ValueError(f'{path} is no mapping with the key "transport"')


class _DiscreetFilter(logging.Filter):
    """Masks credentials and control characters in openlineage-python's log messages; holds them back for a while.

    It quotes what it cannot parse, such as an `auth` with the API key, and its complaints while it is being configured
    only repeat what our one warning says.
    """

    def __init__(self, redactor: Redactor) -> None:
        super().__init__()
        self.redactor = redactor
        self.is_configuring = True
        self._thread = threading.current_thread()

    def filter(self, record: logging.LogRecord) -> bool:
        """Rewrite one record, and say whether it may pass."""
        if self.is_configuring and threading.current_thread() is self._thread:
            return False
        record.msg, record.args = _one_line(self.redactor.text(record.getMessage())), ()
        return True


@contextmanager
def _discreet_loggers(redactor: Redactor) -> Iterator[None]:
    """Have all loggers of openlineage-python be discreet from now on, and be silent within the block."""
    discreet = _DiscreetFilter(redactor)
    loggers = [logging.getLogger(name) for name in logging.root.manager.loggerDict if name.startswith("openlineage.")]
    for logger in loggers:
        for before in [one for one in logger.filters if isinstance(one, _DiscreetFilter)]:
            logger.removeFilter(before)
        logger.addFilter(discreet)
    try:
        yield
    finally:
        discreet.is_configuring = False


def _http_from_url(environ: Mapping[str, str]) -> dict[str, Any]:
    config: dict[str, Any] = {"type": "http", "url": environ[environment.URL]}
    if endpoint := environ.get(environment.ENDPOINT):
        config["endpoint"] = endpoint
    if path := environ.get(environment.API_KEY_FILE):
        config["auth"] = {"type": _KEY_FILE_PROVIDER, "path": path}
    elif key := environ.get(environment.API_KEY):
        config["auth"] = {"type": "api_key", "apiKey": key.strip()}
    return config


def _with_key_file(transport: Transport, environ: Mapping[str, str]) -> Transport:
    """Give an HTTP transport that is configured without credentials the key of OPENLINEAGE_API_KEY_FILE.

    Not those inside a composite one: the key is for one backend.
    """
    from openlineage.client.transport.http import TokenProvider

    config = getattr(transport, "config", None)
    path = environ.get(environment.API_KEY_FILE)
    if path and config is not None and type(getattr(config, "auth", None)) is TokenProvider:
        from openlineage_pod.auth import ApiKeyFileTokenProvider

        config.auth = ApiKeyFileTokenProvider({"path": path})
    return transport


def _key_files(transport: Any) -> list[KeyFile]:
    """Return the rotating keys of a transport and of those inside it."""
    from openlineage_pod.auth import ApiKeyFileTokenProvider

    inner = [*getattr(transport, "transports", ()), *filter(None, [getattr(transport, "transport", None)])]
    auth = getattr(getattr(transport, "config", None), "auth", None)
    own = [auth.file] if isinstance(auth, ApiKeyFileTokenProvider) else []
    return own + [key for child in inner for key in _key_files(child)]


def configured_secrets(environ: Mapping[str, str]) -> set[str]:
    """Return the credentials that the environment configures, to be masked wherever they turn up."""
    secrets: set[str] = set()
    for name, value in environ.items():
        if name in (environment.URL, environment.API_KEY):
            secrets |= _secrets(value, name)
        elif name.startswith(environment.CLIENT_PREFIX):
            try:
                secrets |= _secrets(json.loads(value), name)
            except (ValueError, RecursionError):
                secrets |= _secrets(value, name)
    path = environ.get(environment.API_KEY_FILE)
    with suppress(OSError, ValueError):
        if path and os.path.isfile(path):  # no pipe, which might block
            with open(path) as file:
                secrets.add(file.read(_MAX_KEY).strip())
    # An error message may quote one line of it.
    return secrets | {line.strip() for secret in secrets for line in secret.splitlines()}


def _secrets(value: Any, name: str) -> set[str]:
    """Return what of a piece of configuration under this name is a credential."""
    if isinstance(value, Mapping):
        own = {key: f"{name}.{key}" if "header" in name.lower() else str(key) for key in value}
        return {secret for key, item in value.items() for secret in _secrets(item, own[key])}
    if isinstance(value, list):
        return {secret for item in value for secret in _secrets(item, name)}
    if not isinstance(value, str):
        return set()
    password = _PASSWORD_IN_URL.search(value)
    is_secret = _SECRET_NAME.search(name) and not _NO_SECRET_NAME.search(name)
    return {secret for secret in (password and password[1], is_secret and value.strip()) if secret}


def _with_url(config: dict[str, Any], environ: Mapping[str, str]) -> dict[str, Any]:
    """Return the transport's configuration with what openlineage-python makes of `OPENLINEAGE_URL` beside it.

    Its client writes that into `os.environ` first, API key included: the URL becomes one of the transports of a
    composite one, named `default_http`, and fills in what `async_http` lacks
    (https://openlineage.io/docs/client/python/configuration).
    """
    prefix = f"{environment.CLIENT_PREFIX}TRANSPORT__"
    if not environ.get(environment.URL):
        return config
    http = _http_from_url(environ)
    transports = config.get("transports", {})
    if config.get("type") == "composite" and isinstance(transports, dict):
        if any(variable.startswith(f"{prefix}TRANSPORTS__DEFAULT_HTTP") for variable in environ):
            return config
        return {**config, "transports": {**transports, "default_http": {**http, **transports.get("default_http", {})}}}
    return {**http, **config} if environ.get(f"{prefix}TYPE") == "async_http" else config


def _adapted(transport: Transport) -> Transport:
    """Return `transport`, and the transports inside it, made fit for a pod (see the module's documentation)."""
    from openlineage.client.transport.async_http import AsyncHttpTransport
    from openlineage.client.transport.composite import CompositeTransport
    from openlineage.client.transport.console import ConsoleTransport
    from openlineage.client.transport.http import HttpTransport
    from openlineage.client.transport.kafka import KafkaTransport
    from openlineage.client.transport.transform import TransformTransport

    if isinstance(transport, CompositeTransport):
        transport.__dict__["transports"] = [_adapted(child) for child in transport.transports]
    elif isinstance(transport, TransformTransport):
        transport.transport = _adapted(transport.transport)
    elif isinstance(transport, AsyncHttpTransport):
        transport = _as_http(transport)
    elif isinstance(transport, ConsoleTransport):
        transport = _visible(transport)
    elif isinstance(transport, KafkaTransport) and transport.producer is not None:
        transport.flush = True
        transport.__dict__["producer"] = _AskingProducer(transport.producer)
    return _prepared(transport) if isinstance(transport, HttpTransport) else transport


def _prepared(transport: HttpTransport) -> HttpTransport:
    """Have an HTTP transport make one attempt, and take no redirect for a delivery."""
    from openlineage_pod.delivery.transports.http import check_url, new_session  # deferred: it imports requests

    check_url(transport.url)
    _without_retries(transport)
    transport.session = new_session()
    return transport


def _without_retries(transport: Any) -> None:
    import attr

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
        if any(
            handler.level <= logging.INFO and type(handler) is not logging.NullHandler for handler in logger.handlers
        ):
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
            name in (environment.URL, environment.ENDPOINT, environment.CONFIG)
            or name.startswith(environment.CLIENT_PREFIX)
        )
    )
    return ", ".join(names) or "openlineage.yml"


def describe(error: BaseException, redactor: Redactor) -> str:
    """Say in one line what failed, with the backend's answer where there is one, and without any credential."""
    text = f"{type(error).__name__}: {error}"
    if answer := getattr(getattr(error, "response", None), "text", ""):
        text = f"{text}: {answer[:_MAX_ANSWER]}"
    return _one_line(redactor.text(text[:_MAX_MESSAGE]))[:600]


def _one_line(text: str) -> str:
    return " ".join("".join(character if character.isprintable() else " " for character in text).split())
