"""The rotating API key of `key_file`, for openlineage-python's HTTP transports.

`OPENLINEAGE_API_KEY_FILE` sets it up; in openlineage.yml it is::

    transport:
      type: http
      url: https://…
      auth:
        type: openlineage_pod.auth.ApiKeyFileTokenProvider
        path: /vault/secrets/openlineage-api-key
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from openlineage.client.transport.http import TokenProvider

from openlineage_pod.delivery.transports.key_file import KeyFile

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["ApiKeyFileTokenProvider"]


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
