"""The values of Helm charts and the pod template in examples/airflow: Airflow and its pods report to one backend."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from openlineage.client import OpenLineageClient
from openlineage.client.transport.http import HttpTransport

from tests.support.constants import ROOT

FOLDER = ROOT / "examples" / "airflow"
VALUES = sorted((FOLDER / "helm").iterdir())


def values_of(file: Path) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the values, with something in the place of each placeholder, and the variables of Airflow in them."""
    values = yaml.safe_load(re.sub(r"<(\w+)>", r"\1", file.read_text(encoding="utf-8")))
    listed = values.get("commonEnv") or values["env"]
    return values, {each["name"]: each["value"] for each in listed}


@pytest.mark.parametrize("file", VALUES, ids=lambda path: path.name)
def test_one_backend(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Airflow itself, the cluster policy and the example DAGs know the same URL, and each variable is well-formed."""
    values, environ = values_of(file)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    urls = {environ["AIRFLOW_VAR_OPENLINEAGE_URL"]}
    urls.update(environ[name] for name in ("AIRFLOW__OPENLINEAGE_POD__URL", "OPENLINEAGE_URL") if name in environ)
    if "openLineage" in values:
        urls.add(values["openLineage"]["url"])
    if transport := environ.get("AIRFLOW__OPENLINEAGE__TRANSPORT"):
        client = OpenLineageClient(config={"transport": json.loads(transport)})
        assert isinstance(client.transport, HttpTransport)
        urls.add(client.transport.url)
    assert len(urls) == 1


def test_the_key_of_vault_is_one_file() -> None:
    """The pods read the file that the template renders, and Airflow the one of the same name."""
    _, environ = values_of(FOLDER / "helm" / "astro-vault.yaml")
    pod = yaml.safe_load((FOLDER / "pod_template_vault.yaml").read_text(encoding="utf-8"))
    kubernetes_validate.validate(pod, kubernetes_validate.latest_version(), strict=True)
    [container] = pod["spec"]["containers"]
    file = {each["name"]: each["value"] for each in container["env"]}["OPENLINEAGE_API_KEY_FILE"]
    assert file == json.loads(environ["AIRFLOW__OPENLINEAGE__TRANSPORT"])["auth"]["path"]
    name = Path(file).name
    assert f"vault.hashicorp.com/agent-inject-secret-{name}" in pod["metadata"]["annotations"]
    assert f"vault.hashicorp.com/agent-inject-template-{name}" in pod["metadata"]["annotations"]
