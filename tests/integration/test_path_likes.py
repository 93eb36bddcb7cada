"""Paths of cloudpathlib, universal_pathlib and fsspec: named as what they are, without any I/O.

These libraries are in an environment of their own, which is made once.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.e2e import venvs
from tests.support.cache import UnavailableError
from tests.support.constants import ROOT

if TYPE_CHECKING:
    from tests.support.harness import Jobs

pytestmark = pytest.mark.slow

_LIBRARIES = ("cloudpathlib[gs,s3]", "fsspec", "universal-pathlib")
_PACKAGE = ("attrs", "certifi", "openlineage-python", "requests", "tenacity")
PATHS = {
    "cloudpathlib, S3": ("cloudpathlib.S3Path('s3://lake/a/b.parquet')", ("s3://lake", "a/b.parquet")),
    "universal_pathlib, memory": ("upath.UPath('memory://a/b.parquet')", None),
    "universal_pathlib, local": ("upath.UPath('/data/b.parquet')", ("file", "/data/b.parquet")),
    "universal_pathlib, file": ("upath.UPath('file:///data/b.parquet')", ("file", "/data/b.parquet")),
    "fsspec, memory": ("fsspec.open('memory://a/b.parquet')", None),
    "fsspec, local": ("fsspec.open('/data/b.parquet').path", ("file", "/data/b.parquet")),
}


@pytest.fixture(scope="module")
def python() -> str:
    """Return a Python that has the libraries."""
    try:
        return str(venvs.environment("paths", [*_LIBRARIES, *_PACKAGE]))
    except UnavailableError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize(("path", "expected"), PATHS.values(), ids=PATHS)
def test_path(path: str, expected: tuple[str, str] | None, python: str, jobs: Jobs) -> None:
    """A path is named by its URI; neither a file nor the network is touched for it, and no local file is made up."""
    script = jobs.file(
        "job.py",
        f"""
        import json, os, sys
        import {path.partition(".")[0]}
        from openlineage_pod.datasets.dataset import dataset
        os.environ.update(AWS_ACCESS_KEY_ID="x", AWS_SECRET_ACCESS_KEY="y", AWS_EC2_METADATA_DISABLED="true")
        path = {path}
        touched = []
        events = ("open", "socket.connect", "socket.getaddrinfo", "os.mkdir", "os.listdir")

        def hook(event, args):
            if event in events and ".py" not in str(args):  # a module that is imported
                touched.append((event, str(args)[:200]))

        sys.addaudithook(hook)
        described = dataset(path)
        print(json.dumps([[described.namespace, described.name], touched]))
        """,
    )
    finished = jobs.launch([python, str(script)], {"PYTHONPATH": str(ROOT)}).finish()
    assert finished.returncode == 0, finished.stderr
    (namespace, name), touched = json.loads(finished.stdout)
    assert touched == []
    if expected is None:
        assert namespace != "file"
    else:
        assert (namespace, name) == expected
