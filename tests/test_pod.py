"""The pod facet: where the pod's identity comes from."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from openlineage_pod.core.pod import pod_facet

if TYPE_CHECKING:
    from pathlib import Path

NOWHERE = "/nowhere/namespace"


def test_outside_kubernetes() -> None:
    """A HOSTNAME alone makes no pod."""
    assert pod_facet({"HOSTNAME": "laptop"}, NOWHERE) is None


def test_downward_api() -> None:
    """The variables that manifests fill from the downward API come out under OpenTelemetry's names."""
    facet = pod_facet(
        {
            "POD_NAME": "ingest-x7k2p",
            "POD_UID": "1",
            "POD_NAMESPACE": "jobs",
            "NODE_NAME": "node-1",
            "CONTAINER_NAME": "base",
            "CONTAINER_IMAGE": "registry/ingest:1",
        },
        NOWHERE,
    )
    assert facet is not None
    assert {key: value for key, value in facet.items() if not key.startswith("_")} == {
        "k8s.pod.name": "ingest-x7k2p",
        "k8s.pod.uid": "1",
        "k8s.namespace.name": "jobs",
        "k8s.node.name": "node-1",
        "k8s.container.name": "base",
        "container.image.name": "registry/ingest:1",
    }


def test_opentelemetry_attributes() -> None:
    """OTEL_RESOURCE_ATTRIBUTES is a second source, with percent-encoded values."""
    facet = pod_facet({"OTEL_RESOURCE_ATTRIBUTES": "service.name=x,k8s.pod.name=a%20b , broken"}, NOWHERE)
    assert facet is not None
    assert facet["k8s.pod.name"] == "a b"


def test_what_every_pod_has(tmp_path: Path) -> None:
    """In a pod that says nothing of itself, the host name and the service account's namespace are known."""
    namespace_file = tmp_path / "namespace"
    namespace_file.write_text("jobs\n")
    environ = {"KUBERNETES_SERVICE_HOST": "10.0.0.1", "HOSTNAME": "ingest-x7k2p"}
    facet = pod_facet(environ, str(namespace_file))
    assert facet is not None
    assert (facet["k8s.pod.name"], facet["k8s.namespace.name"]) == ("ingest-x7k2p", "jobs")
    assert "k8s.namespace.name" not in (pod_facet(environ, NOWHERE) or {})


POD = "ingest-accounts-x7k2p"
LONG = "ingest-accounts-of-the-whole-company-and-its-many-subsidiaries-"
HOST_NETWORK = "# Kubernetes-managed hosts file (host network).\n127.0.0.1 localhost\n"


@pytest.mark.parametrize(
    ("hostname", "more", "hosts", "name"),
    [
        (POD, {}, "# Kubernetes-managed hosts file.\n127.0.0.1 localhost\n", POD),
        (POD, {"NODE_NAME": "node-1"}, "", POD),
        ("node-1", {"NODE_NAME": "node-1"}, "", None),
        ("node-1", {"OTEL_RESOURCE_ATTRIBUTES": "k8s.node.name=node-1"}, "", None),
        ("node-1", {"NODE_NAME": "node-1", "POD_UID": "1"}, "", None),
        ("node-1", {}, HOST_NETWORK, None),
        ("node-1", {"POD_UID": "1"}, HOST_NETWORK, None),
        ("node-1", {"POD_NAME": POD}, HOST_NETWORK, POD),
        ("node-1", {"OTEL_RESOURCE_ATTRIBUTES": f"k8s.pod.name={POD}"}, HOST_NETWORK, POD),
        ("ip-10-0-1-5.eu-west-1.compute.internal", {}, "", None),
        (f"{POD}.jobs.svc.cluster.local", {}, "", None),
        ("etl.load-x7k2p", {"POD_UID": "1"}, "", "etl.load-x7k2p"),
        ("Node-1", {}, "", None),
        ("node_1", {}, "", None),
        ("a" * 64, {}, "", None),
        (LONG[:63], {}, "", None),
        (f"{LONG[:54]}-x7k2p9qz", {}, "", f"{LONG[:54]}-x7k2p9qz"),
        (LONG[:62], {}, "", LONG[:62]),
        ("", {}, "", None),
    ],
)
def test_host_name_is_a_pod_name(
    hostname: str, more: dict[str, str], hosts: str, name: str | None, tmp_path: Path
) -> None:
    """A host name counts as the pod's name unless it is the node's, a domain name, or may have been cut."""
    hosts_file = tmp_path / "hosts"
    hosts_file.write_text(hosts)
    environ = {"KUBERNETES_SERVICE_HOST": "10.0.0.1", "HOSTNAME": hostname, **more}
    facet = pod_facet(environ, NOWHERE, str(hosts_file)) or {}
    assert facet.get("k8s.pod.name") == name
    assert facet.get("k8s.pod.uid") == more.get("POD_UID")


def test_garbage_is_left_out() -> None:
    """A value with control characters is not reported."""
    assert pod_facet({"POD_NAME": "a\x00b"}, NOWHERE) is None
