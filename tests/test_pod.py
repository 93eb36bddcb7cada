"""The pod facet: where the pod's identity comes from."""

from __future__ import annotations

from typing import TYPE_CHECKING

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


def test_garbage_is_left_out() -> None:
    """A value with control characters is not reported."""
    assert pod_facet({"POD_NAME": "a\x00b"}, NOWHERE) is None
