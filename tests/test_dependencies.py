"""What the package needs of others: each import is declared, and what it uses of openlineage-python's inside exists."""

from __future__ import annotations

import ast
import os
import re
import sys
from importlib.metadata import distributions
from typing import TYPE_CHECKING, Any

import pytest

from openlineage_pod.delivery.transports import client as own_client
from openlineage_pod.delivery.transports.connect import connect
from tests.support.constants import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.harness import Receiver

PACKAGE = ROOT / "openlineage_pod"
# They import only where the other library is there already.
OF_THE_HOST = {"airflow", "kubernetes", "pluggy", "pandas", "polars", "pyarrow", "pyspark"}


def imports() -> Iterator[tuple[str, str]]:
    """Yield the file and the top-level name of each import of the package, wherever it stands."""
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and not node.level:
                names = [str(node.module)]
            else:
                continue
            for name in names:
                yield str(path.relative_to(ROOT)), name.partition(".")[0]


def declared() -> set[str]:
    """Return the names of the distributions that the package depends on."""
    text = (ROOT / "pyproject.toml").read_text("utf-8")
    block = re.search(r"^dependencies = \[(.*?)^\]", text, re.DOTALL | re.MULTILINE)
    assert block is not None
    return set(re.findall(r'^\s*"([\w-]+)', block[1], re.MULTILINE))


def test_each_import_is_declared() -> None:
    """Every module that the package imports is its own, of the standard library, or of a declared dependency."""
    own = {"openlineage_pod", *sys.stdlib_module_names, *OF_THE_HOST}
    needed = declared()
    files = [file for each in distributions() if each.metadata["Name"] in needed for file in each.files or ()]
    given = {file.parts[0].removesuffix(".py") for file in files}
    undeclared = {f"{path}: {name}" for path, name in imports() if name not in own | given}
    assert undeclared == set()


TRANSPORT = "openlineage.client.transport"
# Modules, and what the package overrides or reads of them. Releases before 1.54 do not have all of them.
USED = {
    "openlineage.client.client": [
        "yaml",
        "OpenLineageClient._alias_env_vars",
        "OpenLineageClient._find_yaml_config_path",
    ],
    f"{TRANSPORT}.composite": ["CompositeTransport.transports", "CompositeTransport.emit"],
    f"{TRANSPORT}.datadog": ["DatadogTransport.emit"],
    f"{TRANSPORT}.gcplineage": ["GCPLineageTransport.client"],
    f"{TRANSPORT}.http": ["HttpTransport.session", "HttpTransport.emit", "HttpConfig.from_dict"],
    f"{TRANSPORT}.kafka": ["KafkaTransport.wait_for_completion"],
    f"{TRANSPORT}.transform": ["TransformTransport.emit"],
    "urllib3.connection": ["HTTPConnection._new_conn"],
}


@pytest.mark.parametrize("module", USED)
def test_what_is_used_of_others_exists(module: str) -> None:
    """A release that renames what the package overrides or reads fails here first."""
    for path in USED[module]:
        holder: Any = pytest.importorskip(module)
        for name in path.split("."):
            assert hasattr(holder, name), path
            holder = getattr(holder, name)


def test_environment_stays_where_the_override_is_lost(
    receiver: Receiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the client writes the key into further variables after all, they are taken out again."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delattr(vars(own_client)["_Client"], "_alias_env_vars")
    monkeypatch.setenv("OPENLINEAGE_URL", receiver.url)
    monkeypatch.setenv("OPENLINEAGE_API_KEY", "key-1")
    monkeypatch.setenv("OPENLINEAGE__TAGS__JOB__TEAM", "data")
    before = dict(os.environ)
    assert connect(os.environ) is not None
    assert dict(os.environ) == before
