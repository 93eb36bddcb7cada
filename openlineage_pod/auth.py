"""The rotating API key of a file, for openlineage-python's HTTP transports.

`OPENLINEAGE_API_KEY_FILE` sets it up; in openlineage.yml it is::

    transport:
      type: http
      url: https://…
      auth:
        type: openlineage_pod.auth.ApiKeyFileTokenProvider
        path: /vault/secrets/openlineage-api-key
"""

from __future__ import annotations

from openlineage_pod.delivery.transports.client import ApiKeyFileTokenProvider

__all__ = ["ApiKeyFileTokenProvider"]
