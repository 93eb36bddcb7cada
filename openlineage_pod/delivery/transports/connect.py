"""Choosing the transport that the environment configures."""

from __future__ import annotations

import importlib
import logging
import os
from typing import TYPE_CHECKING

from openlineage_pod import environment
from openlineage_pod._fork import importing
from openlineage_pod._threads import are_threads_patched
from openlineage_pod.delivery.transports.base import describe
from openlineage_pod.events.secrets import SECRETS
from openlineage_pod.settings import ConfigurationError, unrendered

if TYPE_CHECKING:
    from collections.abc import Mapping

    from openlineage_pod.delivery.transports.base import Transport

__all__ = ["connect"]


def connect(environ: Mapping[str, str]) -> Transport | None:
    """Return the transport that the environment configures, or None if it configures none.

    A plain `OPENLINEAGE_URL` takes the direct way (`http`), everything else openlineage-python's client (`client`).

    Imports what the first event needs, also what is otherwise imported on first use: a process that forks in the middle
    of an import leaves its child with a module that never becomes ready.

    Raises:
        ConfigurationError: No transport can be built from the configuration; the message names the variables.

    """
    SECRETS.read(environ)
    names = (*environment.TRANSPORT, *(name for name in environ if name.startswith(environment.CLIENT_PREFIX)))
    if templates := unrendered(environ, names):
        example = ". Example: OPENLINEAGE_URL=http://marquez:5000" if environment.URL in templates else ""
        raise ConfigurationError(f"{'; '.join(templates.values())}{example}")
    try:
        try:
            return _transport(environ)
        except RuntimeError:
            # A patch in the middle of our imports: the thread that holds the lock of a module has another number then.
            if not are_threads_patched():
                raise
            return _transport(environ)
    except Exception as error:
        raise ConfigurationError(
            f"no OpenLineage transport can be built from {_variables(environ)}: "
            f"{describe(error, SECRETS)}. "
            "Example: OPENLINEAGE_URL=http://marquez:5000"
        ) from None  # the cause may quote a credential


def _transport(environ: Mapping[str, str]) -> Transport | None:
    with importing():
        importlib.import_module("encodings.idna")  # sockets import it for the first host name
        return _http_transport(environ) if _is_only_a_url(environ) else _client_transport(environ)


def _is_only_a_url(environ: Mapping[str, str]) -> bool:
    """Say whether openlineage-python would make an HTTP transport of OPENLINEAGE_URL with no further configuration."""
    if not environ.get(environment.URL) or environ.get(environment.CONFIG):
        return False
    files = ("openlineage.yml", os.path.expanduser("~/.openlineage/openlineage.yml"))
    has_parts = any(name.startswith(environment.CLIENT_PREFIX) for name in environ)
    return not has_parts and not any(map(os.path.isfile, files))


def _http_transport(environ: Mapping[str, str]) -> Transport:
    # Deferred: http.client takes 30 ms.
    from openlineage_pod.delivery.transports.address import key_of
    from openlineage_pod.delivery.transports.http import DirectHttpTransport
    from openlineage_pod.delivery.transports.key_file import KeyFile

    path = environ.get(environment.API_KEY_FILE)
    key = KeyFile(path) if path else key_of(environment.API_KEY, environ.get(environment.API_KEY, ""))
    return DirectHttpTransport(environ[environment.URL], environ.get(environment.ENDPOINT), key)


def _client_transport(environ: Mapping[str, str]) -> Transport | None:
    # Old releases, such as 1.35.0, log there while they are imported that numpy is missing: a line on stderr.
    quiet = logging.getLogger("openlineage.client.serde")
    before, quiet.disabled = quiet.disabled, True
    try:
        from openlineage_pod.delivery.transports.client import ClientTransport  # deferred: openlineage.client, 200 ms
    finally:
        quiet.disabled = before
    return ClientTransport.from_env(environ)


def _variables(environ: Mapping[str, str]) -> str:
    """Return the names of the variables that configure the transport; not their values, which may hold credentials."""
    single = (environment.URL, environment.ENDPOINT, environment.CONFIG)
    given = sorted(name for name, value in environ.items() if value)
    names = [name for name in given if name in single or name.startswith(environment.CLIENT_PREFIX)]
    return ", ".join(names) or "openlineage.yml"
