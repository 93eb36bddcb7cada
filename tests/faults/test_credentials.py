"""Credentials that are wrong for a while, late, or for somebody else."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.examples import fast
from tests.support.fault_scene import WHOLE
from tests.support.harness import types
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.fault_scene import Scene
    from tests.support.harness import Receiver

JOB = """
from openlineage_pod import lineage_run
with lineage_run("job"):
    print(input())
"""
BOTH = ["job.START", "job.COMPLETE"]
OLD, NEW = "sk-old-3b9d", "sk-new-71fe"


def vault(directory: Path, key: str) -> Path:
    """Write the key as a Vault agent does: a new file takes the place of the old one."""
    rendered = directory / "openlineage-api-key"
    temporary = directory / "openlineage-api-key.tmp"
    temporary.write_text(key)
    temporary.rename(rendered)
    return rendered


def kubernetes(directory: Path, key: str) -> Path:
    """Write the key as the kubelet does: a symbolic link to the directory of a version is replaced."""
    version = directory / f"..{key}"
    version.mkdir()
    (version / "api-key").write_text(f"{key}\n")
    link = directory / "..data_tmp"
    link.symlink_to(version.name)
    link.rename(directory / "..data")
    mounted = directory / "api-key"
    if not mounted.is_symlink():
        mounted.symlink_to("..data/api-key")
    return mounted


@pytest.mark.parametrize(("rotate", "before"), [(vault, None), (kubernetes, OLD)], ids=["missing", "rotated"])
def test_a_key_file_that_is_written_later(
    rotate: object, before: str | None, scene: Scene, receiver: Receiver, tmp_path: Path
) -> None:
    """A 401 is no refusal for good while the key comes from a file: with the rotated key everything is delivered."""
    write = kubernetes if rotate is kubernetes else vault
    directory = tmp_path / "secrets"
    directory.mkdir()
    path = (
        write(directory, before)
        if before
        else directory / ("api-key" if write is kubernetes else "openlineage-api-key")
    )
    receiver.script({"status": 401})
    environ = scene.environ(receiver.url, 10, OPENLINEAGE_API_KEY_FILE=str(path))
    job = scene.jobs.start(JOB, environ)
    refused = receiver.requests(at_least=2)
    assert {request["headers"].get("authorization") for request in refused} == {f"Bearer {before}" if before else None}
    write(directory, NEW)
    wait_until(
        lambda: receiver.requests()[-1]["headers"].get("authorization") == f"Bearer {NEW}", "the new key is used"
    )
    receiver.script()
    receiver.wait_for(lambda events: types(events) == ["START"])
    finished = scene.finish(job, JOB, environ, stdin=b"on\n")
    assert scene.account({"job": WHOLE}, finished, backends=[receiver]).places == {"delivered": BOTH}
    assert OLD not in finished.stderr
    assert NEW not in finished.stderr


@pytest.mark.parametrize("status", fast([401, 403], 403))
def test_a_key_file_that_stays_wrong(status: int, scene: Scene, receiver: Receiver, tmp_path: Path) -> None:
    """With a key that nobody rotates the events wait for a better one, and no key is in what was kept."""
    receiver.script({"status": status, "body": f"no such key: {OLD}"})
    environ = scene.environ(receiver.url, OPENLINEAGE_API_KEY_FILE=str(vault(tmp_path, OLD)))
    finished = scene.run(JOB, environ, stdin=b"on\n")
    assert scene.account({"job": WHOLE}, finished, backends=[receiver]).places == {scene.kept: BOTH}
    assert OLD not in finished.stderr + str([file.read_text() for file in scene.files("new")])


@pytest.mark.parametrize("status", fast([401, 403], 401))
def test_a_wrong_key_of_the_environment(status: int, scene: Scene, receiver: Receiver) -> None:
    """With a key that cannot change in this process the events wait, or are printed, and no key is in what was kept."""
    receiver.script({"status": status, "body": f"no such key: {OLD}"})
    environ = scene.environ(receiver.url, OPENLINEAGE_API_KEY=OLD)
    job = scene.jobs.start(JOB, environ)
    receiver.requests(at_least=1)
    finished = scene.finish(job, JOB, environ, stdin=b"on\n")
    assert scene.account({"job": WHOLE}, finished, backends=[receiver]).places == {scene.kept: BOTH}
    assert OLD not in finished.stderr + str([file.read_text() for file in scene.files("new")])
