"""The manifests of examples/kubernetes: valid for Kubernetes, and played by podman nearly as they are."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import kubernetes_validate
import pytest
import yaml

from tests.e2e.podman import playable
from tests.support.constants import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

MANIFESTS = sorted((ROOT / "examples" / "kubernetes").iterdir())
# The first with native sidecars that are no longer beta; and the latest one that the validator knows.
VERSIONS = ("1.33", kubernetes_validate.latest_version())


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("manifest", MANIFESTS, ids=lambda path: path.name)
def test_a_manifest_is_valid(manifest: Path, version: str) -> None:
    """Every object has the form of its kind, without a key that Kubernetes would ignore or refuse."""
    objects = list(yaml.safe_load_all(manifest.read_text(encoding="utf-8")))
    assert objects
    for each in objects:
        kubernetes_validate.validate(each, version, strict=True)


def test_the_validation_finds_a_mistake() -> None:
    """A misspelt key is no valid manifest."""
    pod = yaml.safe_load(_manifest("pod.yaml"))
    pod["spec"]["containers"][0]["volumeMount"] = []
    with pytest.raises(kubernetes_validate.ValidationError, match="volumeMount"):
        kubernetes_validate.validate(pod, VERSIONS[0], strict=True)


def test_podman_plays_the_pod_nearly_as_it_is() -> None:
    """What the container tests change in the pod is what podman cannot have otherwise, and nothing else."""
    pod = yaml.safe_load(_manifest("pod.yaml"))
    played = playable(pod, "http://127.0.0.1:1", paths={"openlineage": Path("/secret")}, args=["true"])
    before, after = set(_leaves(pod)), set(_leaves(played))
    assert before - after == {
        "spec.containers[base].args[0]=bash",
        "spec.containers[base].args[1]=/app/load.sh",
        "spec.containers[base].env[NODE_NAME].name=NODE_NAME",
        "spec.containers[base].env[NODE_NAME].valueFrom.fieldRef.fieldPath=spec.nodeName",
        "spec.containers[base].env[POD_NAMESPACE].name=POD_NAMESPACE",
        "spec.containers[base].env[POD_NAMESPACE].valueFrom.fieldRef.fieldPath=metadata.namespace",
        "spec.containers[lineage].env[OPENLINEAGE_URL].value=http://marquez:5000",
        "spec.containers[lineage].restartPolicy=Always",
        "spec.volumes[openlineage].secret.optional=True",
        "spec.volumes[openlineage].secret.secretName=openlineage",
    }
    assert after - before == {
        "spec.containers[base].args[0]=true",
        "spec.containers[lineage].env[OPENLINEAGE_URL].value=http://127.0.0.1:1",
        "spec.hostNetwork=True",
        "spec.volumes[openlineage].hostPath.path=/secret",
    }


def _manifest(name: str) -> str:
    return next(path for path in MANIFESTS if path.name == name).read_text(encoding="utf-8")


def _leaves(node: Any, path: str = "") -> Iterator[str]:
    """Give `path=value` of all that is in a manifest; an init container counts as a container."""
    if isinstance(node, dict):
        for key, value in node.items():
            yield from _leaves(value, f"{path}.{key}".removeprefix(".").replace("initContainers", "containers"))
    elif isinstance(node, list):
        for index, value in enumerate(node):
            name = value.get("name", index) if isinstance(value, dict) else index
            yield from _leaves(value, f"{path}[{name}]")
    else:
        yield f"{path}={node}"
