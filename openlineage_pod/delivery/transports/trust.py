"""The authorities that a backend's certificate may be of."""

from __future__ import annotations

import os

from openlineage_pod import environment

__all__ = ["ca_bundle", "further_authorities"]


def ca_bundle() -> str | None:
    """Return the trusted certificates that the environment names, by the variables that `requests` reads."""
    return os.environ.get(environment.REQUESTS_CA_BUNDLE) or os.environ.get(environment.CURL_CA_BUNDLE) or None


def further_authorities() -> dict[str, str]:
    """Return the certificates that OpenSSL's own variables name, as arguments of `load_verify_locations`.

    Images of companies often set only these. `requests` does not read them; here they add to the public authorities,
    unless one of the variables of `requests` is set.
    """
    if ca_bundle() is not None:
        return {}
    places = {
        "cafile": os.environ.get(environment.SSL_CERT_FILE),
        "capath": os.environ.get(environment.SSL_CERT_DIR),
    }
    return {kind: place for kind, place in places.items() if place and os.path.exists(place)}
