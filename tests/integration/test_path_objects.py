"""Path objects of real libraries, which are in an environment of their own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.e2e import venvs
from tests.support.cache import UnavailableError
from tests.support.constants import ROOT

if TYPE_CHECKING:
    from tests.support.harness import Jobs

pytestmark = pytest.mark.slow

_LIBRARIES = ("cloudpathlib[s3]", "fsspec", "s3path", "universal_pathlib")
_PACKAGE = ("attrs", "certifi", "openlineage-python", "requests", "tenacity")
JOB = """
import socket

import cloudpathlib
import fsspec
import s3path
from upath import UPath

from openlineage_pod import dataset

def refused(*_arguments):
    raise AssertionError("the library connects")

socket.socket.connect = socket.getaddrinfo = refused
paths = [
    cloudpathlib.S3Path("s3://lake/a b"),
    s3path.S3Path("/lake/a b"),
    UPath("memory://lake/a b"),
    UPath("/data/a b"),
    UPath("file:///data/a b"),
    cloudpathlib.AnyPath("/data/a b"),
    fsspec.open("file:///data/a b"),
]
for path in paths:
    found = dataset(path)
    print(found.namespace, found.name, *found.problems, *found.warnings, sep="|")
"""


def test_real_path_objects(jobs: Jobs) -> None:
    """Each is named by its URI, and no library is made to connect to its store."""
    try:
        python = venvs.environment("paths", [*_LIBRARIES, *_PACKAGE])
    except UnavailableError as error:
        pytest.skip(str(error))
    keys = {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "y"}
    script = jobs.script(JOB)
    finished = jobs.launch([str(python), str(script)], {"PYTHONPATH": str(ROOT), **keys}).finish()
    assert finished.stdout.splitlines() == [
        "s3://lake|a b",
        "s3://lake|a b",
        "memory://lake|a b",
        "file|/data/a b",
        "file|/data/a b",
        "file|/data/a b",
        "file|/data/a b",
    ], finished.stderr
