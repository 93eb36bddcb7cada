"""Who we are in Kubernetes, as the `kubernetes_pod` run facet.

The properties have the names of OpenTelemetry's resource attributes, so that a run can be joined with the traces and
metrics of the same pod (https://opentelemetry.io/docs/specs/semconv/resource/k8s/).
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from openlineage_pod import environment
from openlineage_pod.events.facets import facet
from openlineage_pod.events.percent import percent_decoded

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["pod_facet"]

_NAMESPACE_FILE = "/var/run/secrets/kubernetes.io/serviceaccount/namespace"
# The kubelet writes it for each pod; its first line says whether the pod uses the network of its node.
_HOSTS_FILE = "/etc/hosts"
_HOST_NETWORK = "(host network)"

# Longer names are cut for the host name, so that one of this length may be incomplete.
_MAX_HOSTNAME = 63
_DNS_LABEL = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-")
_MIN_SUFFIX, _MAX_SUFFIX = 5, 10
_MAX_READ = 4096

# Attribute -> the variable that pod manifests commonly fill from the downward API.
_ATTRIBUTES = {
    "k8s.pod.name": environment.POD_NAME,
    "k8s.pod.uid": environment.POD_UID,
    "k8s.namespace.name": environment.POD_NAMESPACE,
    "k8s.node.name": environment.NODE_NAME,
    "k8s.container.name": environment.CONTAINER_NAME,
    "container.image.name": environment.CONTAINER_IMAGE,
}


def pod_facet(
    environ: Mapping[str, str], namespace_file: str = _NAMESPACE_FILE, hosts_file: str = _HOSTS_FILE
) -> dict[str, object] | None:
    """Return the `kubernetes_pod` facet, JSON-ready, or None where neither the pod's name nor its UID is known.

    Read from, in this order: `POD_NAME`, `POD_UID`, `POD_NAMESPACE`, `NODE_NAME`, `CONTAINER_NAME`, `CONTAINER_IMAGE`;
    `OTEL_RESOURCE_ATTRIBUTES`; and, in a container that Kubernetes started, `HOSTNAME` (see `_is_pod_name`) and the
    service account's namespace file. Outside Kubernetes a `POD_NAME` alone still counts: somebody set it to be seen.
    """
    otel = _otel_attributes(environ.get(environment.OTEL_RESOURCE_ATTRIBUTES, ""))
    found = {
        attribute: value
        for attribute, variable in _ATTRIBUTES.items()
        if (value := environ.get(variable, "").strip() or otel.get(attribute, "")) and value.isprintable()
    }
    if environment.KUBERNETES_SERVICE_HOST in environ:
        hostname = environ.get(environment.HOSTNAME, "").strip()
        if "k8s.pod.name" not in found and _is_pod_name(hostname, found, hosts_file):
            found["k8s.pod.name"] = hostname
        # The service account token is not mounted everywhere.
        if namespace := _read(namespace_file).strip():
            found.setdefault("k8s.namespace.name", namespace)
    is_known = "k8s.pod.name" in found or "k8s.pod.uid" in found
    return facet("KubernetesPodRunFacet", **found) if is_known else None


def _is_pod_name(hostname: str, known: Mapping[str, str], hosts_file: str) -> bool:
    """Return whether the host name of a container in Kubernetes is the name of its pod.

    1. Not if it is that of the node (`hostNetwork: true`), or not in Kubernetes' alphabet.
    2. A domain name (`setHostnameAsFQDN`) and one that may have been cut count only where the pod's UID is known too.
       One of 63 characters that ends in a random suffix is whole: KubernetesPodOperator makes names of that length.
    """
    labels = hostname.split(".")
    if not all(label and not set(label) - _DNS_LABEL for label in labels) or hostname == known.get("k8s.node.name"):
        return False
    if _HOST_NETWORK in _read(hosts_file).partition("\n")[0]:
        return False
    suffix = hostname.rpartition("-")[2]
    is_whole = len(hostname) < _MAX_HOSTNAME or (
        len(hostname) == _MAX_HOSTNAME and _MIN_SUFFIX <= len(suffix) <= _MAX_SUFFIX
    )
    return (len(labels) == 1 and is_whole) or "k8s.pod.uid" in known


def _read(file: str) -> str:
    """Return the beginning of a file; empty if it cannot be read."""
    # No pathlib: it would cost every job some milliseconds.
    with suppress(OSError, ValueError), open(file, encoding="utf-8") as opened:
        return opened.read(_MAX_READ)
    return ""


def _otel_attributes(value: str) -> dict[str, str]:
    """Parse `key=value,key=value` with percent-encoded values (OpenTelemetry's resource specification)."""
    pairs = (item.partition("=") for item in value.split(","))
    return {key.strip(): percent_decoded(text.strip()) for key, equals, text in pairs if equals}
