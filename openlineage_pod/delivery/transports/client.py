"""openlineage-python's client, configured as it configures itself, but without its side effects.

- It is built without writing to `os.environ`: its constructor copies the API key into further variables, which every
  child process of the job would inherit.
- Its log messages quote what it cannot parse, such as an `auth` with the API key: they are masked.
- Its transports are made fit for a pod (`adapted`).
"""

from __future__ import annotations

import copy
import logging
import os
from collections import deque
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from openlineage.client import OpenLineageClient
from openlineage.client import client as upstream
from openlineage.client.transport import get_default_factory
from openlineage.client.transport.http import HttpConfig, HttpTransport, TokenProvider
from openlineage.client.transport.noop import NoopConfig, NoopTransport

from openlineage_pod import environment
from openlineage_pod._threads import get_ident, late_imports
from openlineage_pod.delivery.transports.adapted import adapted, all_legs
from openlineage_pod.delivery.transports.address import key_of
from openlineage_pod.delivery.transports.base import one_line
from openlineage_pod.delivery.transports.key_file import KeyFile
from openlineage_pod.delivery.transports.leg import close_leg
from openlineage_pod.delivery.transports.typed_event import to_run_event
from openlineage_pod.events.regular_file import ForeignFileError, read_regular
from openlineage_pod.events.secrets import SECRETS, Secrets

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from openlineage_pod.delivery.transports.base import Transport
    from openlineage_pod.delivery.transports.leg import Leg
    from openlineage_pod.events.document import Document

__all__ = ["ApiKeyFileTokenProvider", "ClientTransport"]

# Not imported by its own name: it is a dependency of openlineage-python, not of this package.
_read_yaml: Any = vars(upstream)["yaml"].safe_load
_MAX_UNCONFIRMED = 1000
_ASYNC_HTTP = (
    "async_http",
    "openlineage.client.transport.AsyncHttpTransport",
    "openlineage.client.transport.async_http.AsyncHttpTransport",
)
_MAX_CONFIG_BYTES = 1024 * 1024
# The public name: it also stands in the configuration files of users.
_KEY_FILE_PROVIDER = "openlineage_pod.auth.ApiKeyFileTokenProvider"


class ApiKeyFileTokenProvider(TokenProvider):
    """Gives the key that stands in a file at the moment.

    While there is none the request goes out without it, and a 401 or 403 counts as transient.

    Args:
        config: `path` is the file.

    Raises:
        KeyError: `config` has no `path`.

    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__(dict(config))
        if not config.get("path"):
            raise KeyError("`path` is required for ApiKeyFileTokenProvider: the file that holds the API key")
        self.file = KeyFile(str(config["path"]))

    def get_bearer(self) -> str | None:
        """Return the value of the Authorization header, or None while there is no key."""
        key = self.file.key
        return f"Bearer {key}" if key else None


class ClientTransport:
    """A client whose tags, filters and facets from the configuration apply to every event.

    Args:
        client: the client.
        environ: of which it is made once more, for events after `drain`.

    """

    def __init__(self, client: _Client, environ: Mapping[str, str]) -> None:
        self._client = client
        self._environ = environ
        self._is_drained = False
        # What a transport has taken that says only at its end whether it was delivered; the oldest are let go.
        self.unconfirmed: deque[Document] = deque(maxlen=_MAX_UNCONFIRMED)

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> Transport | None:
        """Return the transport that the environment and openlineage.yml configure, or None if they configure none.

        Raises:
            Exception: whatever openlineage-python says of a wrong configuration; it may quote a credential.

        """
        config_path = environ.get(environment.CONFIG)
        if config_path and not os.access(config_path, os.R_OK):
            raise FileNotFoundError(f"OPENLINEAGE_CONFIG={config_path} is not a readable file")
        _check_file(config_path or _Client.config_path())
        client = _new_client(environ)
        return None if client is None else cls(client, environ)

    @property
    def target(self) -> str:
        """Where the events go: URLs without credentials, or the kinds of transports."""
        return self._leg.target

    @property
    def phase(self) -> str:
        """What the request under way is waiting for; empty if there is none."""
        return self._leg.phase

    @property
    def timeout(self) -> float | None:
        """Seconds that one request may take; None for a transport without such a limit."""
        return min((leg.timeout for leg in all_legs(self._leg) if leg.timeout is not None), default=None)

    @timeout.setter
    def timeout(self, seconds: float) -> None:
        for leg in all_legs(self._leg):
            if leg.timeout is not None:
                leg.timeout = seconds

    def emit(self, document: Document) -> None:
        """Deliver one event or raise."""
        try:
            # A new typed event for each attempt: the client changes the one it is given.
            event = to_run_event(document.fields)
        except (KeyError, TypeError) as error:
            raise ValueError(f"it is not a run event: {error!r}") from error
        if self._is_drained:
            self._client, self._is_drained = _new_client(self._environ) or self._client, False
        with late_imports():  # some transports import what they need with their first event
            self._client.emit(event)
        if not self._leg.confirms:
            self.unconfirmed.append(document)

    def clone(self) -> Transport | None:
        """Return a transport with a connection of its own; only HTTP, the others are not known to be thread-safe."""
        leg = self._leg.clone()
        if leg is None:
            return None
        further = copy.copy(self)
        further._client = copy.copy(self._client)  # noqa: SLF001  it is one of this class
        further._client.transport = leg  # noqa: SLF001
        return further

    def close(self) -> None:
        """Close what the transport holds."""
        close_leg(self._leg, 0)

    def drain(self, seconds: float) -> None:
        """Wait so long for what the transport has queued, and close it; what is not delivered stays `unconfirmed`."""
        self._is_drained = True
        if close_leg(self._leg, seconds):
            self.unconfirmed.clear()

    @property
    def _leg(self) -> Leg:
        return self._client.transport


class _Client(OpenLineageClient):
    transport: Leg

    @classmethod
    def config_path(cls) -> str | None:
        """Return the configuration file that it finds where nobody names one."""
        return cls._find_yaml_config_path()

    def _alias_env_vars(self) -> None:
        """Leave `os.environ` alone; `_with_url` says the same as what this would have written there."""


def _new_client(environ: Mapping[str, str]) -> _Client | None:
    """Return the client that is configured, or None if no transport is."""
    with _discreet_loggers(SECRETS), _unchanged_environment():
        # Given a transport, the client builds none itself; the real one takes its place below.
        client = _Client(transport=NoopTransport(NoopConfig()))
        config = _without_async(_with_url(client.config.transport or {}, environ))
        if config.get("type"):
            transport = _with_key_file(get_default_factory().create(config), environ)
        elif environ.get(environment.URL):
            transport = HttpTransport(HttpConfig.from_dict(_http_from_url(environ)))
        else:
            return None
        client.transport = adapted(transport)
    return client


@contextmanager
def _unchanged_environment() -> Iterator[None]:
    """Take what the block adds to the configuration in `os.environ` out again: it holds keys, and children inherit it.

    A release of openlineage-python that renames `_alias_env_vars` would add to it.
    """
    before = set(os.environ)
    try:
        yield
    finally:
        for name in set(os.environ) - before:
            if name.startswith(environment.CLIENT_PREFIX):
                del os.environ[name]


def _check_file(path: str | None) -> None:
    """Raise ValueError for a configuration file that openlineage-python would only log about and then ignore."""
    if path is None:
        return
    try:
        content = _read_yaml(read_regular(path, _MAX_CONFIG_BYTES, follow=True).decode())
    except ForeignFileError as error:
        raise ValueError(f"{path} cannot be used: {error}") from None
    except Exception:
        raise ValueError(f"{path} is not valid YAML") from None  # which would quote it, credentials included
    if content is not None and not isinstance(content, dict):
        raise ValueError(f'{path} is not a mapping with the key "transport"')


class _DiscreetFilter(logging.Filter):
    """Masks credentials and control characters in openlineage-python's log messages; holds them back for a while.

    Its complaints while it is being configured only repeat what our one warning says.
    """

    def __init__(self, secrets: Secrets) -> None:
        super().__init__()
        self._secrets = secrets
        self.is_configuring = True
        self._thread = get_ident()

    def filter(self, record: logging.LogRecord) -> bool:
        """Rewrite one record, and say whether it may pass."""
        if self.is_configuring and get_ident() == self._thread:
            return False
        record.msg, record.args = one_line(self._secrets.text(record.getMessage())), ()
        return True


@contextmanager
def _discreet_loggers(secrets: Secrets) -> Iterator[None]:
    """Have all loggers of openlineage-python be discreet from now on, and be silent within the block."""
    discreet = _DiscreetFilter(secrets)
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
    endpoint = environ.get(environment.ENDPOINT)
    if endpoint is not None:
        config["endpoint"] = endpoint.strip()
    if path := environ.get(environment.API_KEY_FILE):
        config["auth"] = {"type": _KEY_FILE_PROVIDER, "path": path}
    elif key := key_of(environment.API_KEY, environ.get(environment.API_KEY, "")):
        config["auth"] = {"type": "api_key", "apiKey": key}
    return config


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


def _without_async(config: Any) -> Any:
    """Return the configuration of a transport with `http` in the place of `async_http`, also inside others.

    `async_http` reports neither failures nor their status, and its thread dies with the process. It is not even made:
    its constructor starts that thread, which Python 3.12 refuses once the exit has begun.
    """
    if not isinstance(config, dict):
        return config
    changed = dict(config)
    if config.get("type") in _ASYNC_HTTP:
        changed["type"] = "http"
    if "transport" in config:
        changed["transport"] = _without_async(config["transport"])
    children = config.get("transports")
    if isinstance(children, dict):
        changed["transports"] = {name: _without_async(child) for name, child in children.items()}
    elif isinstance(children, list):
        changed["transports"] = [_without_async(child) for child in children]
    return changed


def _with_key_file(transport: Any, environ: Mapping[str, str]) -> Any:
    """Give an HTTP transport that is configured without credentials the key of OPENLINEAGE_API_KEY_FILE.

    Not those inside a composite one: the key is for one backend.
    """
    config = getattr(transport, "config", None)
    path = environ.get(environment.API_KEY_FILE)
    if path and config is not None and type(getattr(config, "auth", None)) is TokenProvider:
        config.auth = ApiKeyFileTokenProvider({"path": path})
    return transport
