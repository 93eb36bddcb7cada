"""Who we are in Kubernetes, as the `kubernetes_pod` run facet.

The properties have the names of OpenTelemetry's resource attributes, so that a run can be joined with the traces and
metrics of the same pod (https://opentelemetry.io/docs/specs/semconv/resource/k8s/).
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from openlineage_pod import environment
from openlineage_pod.events.facets import facet

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["pod_facet"]

_NAMESPACE_FILE = "/var/run/secrets/kubernetes.io/serviceaccount/namespace"

# Attribute -> the variable that pod manifests commonly fill from the downward API.
_ATTRIBUTES = {
    "k8s.pod.name": environment.POD_NAME,
    "k8s.pod.uid": environment.POD_UID,
    "k8s.namespace.name": environment.POD_NAMESPACE,
    "k8s.node.name": environment.NODE_NAME,
    "k8s.container.name": environment.CONTAINER_NAME,
    "container.image.name": environment.CONTAINER_IMAGE,
}


def pod_facet(environ: Mapping[str, str], namespace_file: str = _NAMESPACE_FILE) -> dict[str, object] | None:
    """Return the `kubernetes_pod` facet, JSON-ready, or None outside Kubernetes.

    Read from, in this order: `POD_NAME`, `POD_UID`, `POD_NAMESPACE`, `NODE_NAME`, `CONTAINER_NAME`, `CONTAINER_IMAGE`;
    `OTEL_RESOURCE_ATTRIBUTES`; and, in a container that Kubernetes started, `HOSTNAME` and the service account's
    namespace file. Outside Kubernetes a `POD_NAME` alone still counts: somebody set it to be seen.
    """
    otel = _otel_attributes(environ.get(environment.OTEL_RESOURCE_ATTRIBUTES, ""))
    found = {
        attribute: value
        for attribute, variable in _ATTRIBUTES.items()
        if (value := environ.get(variable, "").strip() or otel.get(attribute, "")) and value.isprintable()
    }
    if environment.KUBERNETES_SERVICE_HOST in environ:
        if hostname := environ.get(environment.HOSTNAME, "").strip():
            found.setdefault("k8s.pod.name", hostname)
        # The service account token is not mounted everywhere. No pathlib: it would cost every job some milliseconds.
        with suppress(OSError, ValueError), open(namespace_file, encoding="utf-8") as file:
            found.setdefault("k8s.namespace.name", file.read().strip())
    return facet("KubernetesPodRunFacet", **found) if "k8s.pod.name" in found else None


def _otel_attributes(value: str) -> dict[str, str]:
    """Parse `key=value,key=value` with percent-encoded values (OpenTelemetry's resource specification)."""
    from urllib.parse import unquote

    pairs = (item.partition("=") for item in value.split(","))
    return {key.strip(): unquote(text.strip()) for key, equals, text in pairs if equals}
