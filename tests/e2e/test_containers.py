"""The example images and manifests, really built, and run below an Airflow task as containers and pods.

They end in every way, and every real consumer must show what became of them.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from tests.e2e.podman import BASE, playable
from tests.support.constants import ROOT
from tests.support.harness import types
from tests.support.wrapping import message

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from tests.e2e.podman import Pod, Podman
    from tests.e2e.scene import Scene
    from tests.support.harness import Event

    Play = Callable[..., AbstractContextManager[Pod]]

pytestmark = [pytest.mark.consumers, pytest.mark.podman]

KUBERNETES = ROOT / "examples" / "kubernetes"
FEES = "DE;10\nES;5\nDE;3\n"
CONFIG_MAP = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "fees"}, "data": {"fees.csv": FEES}}
# Patient at the exit: on a busy machine the first connection takes its time.
PATIENT = {"OPENLINEAGE_POD_FLUSH_TIMEOUT": "30"}
GRACE = 30


@pytest.fixture
def environ(scene: Scene) -> dict[str, str]:
    """Return what an Airflow task gives to its pod."""
    return {"OPENLINEAGE_URL": scene.entry.url, **scene.task.by_id(), **PATIENT}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Return a folder with the input of load.sh, and one with the same name that never comes: a job waits for it."""
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "fees.csv").write_text(FEES)
    os.mkfifo(folder / "never.csv", 0o644)
    return folder


def manifest(name: str) -> Any:
    """Return an example for Kubernetes; of a Job or a CronJob the Pod that it would make."""
    document = yaml.safe_load((KUBERNETES / name).read_text())
    spec = document["spec"].get("jobTemplate", document)["spec"]
    if "template" not in spec:
        return document
    return {"apiVersion": "v1", "kind": "Pod", "metadata": document["metadata"], **spec["template"]}


def pod_of(scene: Scene, name: str, paths: Mapping[str, Path], args: Sequence[str] = ()) -> Any:
    """Return an example for Kubernetes as a pod of the task that podman can play."""
    return playable(manifest(name), scene.entry.url, paths=paths, environ={**scene.task.by_id(), **PATIENT}, args=args)


def named(things: Any) -> list[tuple[str, str]]:
    """Return the identity of datasets or jobs."""
    return [(each["namespace"], each["name"]) for each in things]


def rows(event: Event) -> list[int]:
    """Return how many rows were written to each output."""
    return [each["outputFacets"]["outputStatistics"]["rowCount"] for each in event["outputs"]]


def test_python_image(podman: Podman, ingest_accounts: str, scene: Scene, environ: dict[str, str]) -> None:
    """A job of the Python image reports START and COMPLETE below its task, with its datasets."""
    with podman.container("ingest-accounts", ingest_accounts, environ=environ) as container:
        assert container.wait() == 0
        stdout, stderr = container.logs()

    assert stdout.startswith("26 accounts in ")
    assert [line.partition(" ")[0] for line in stderr.splitlines()] == ["rejected"] * 2
    complete = scene.ended("COMPLETE")
    assert named(complete["inputs"]) == [("file", "/app/data/accounts.csv")]
    assert named(complete["outputs"]) == [("sqlite", "/srv/job/demo-out/accounts.db/accounts")]
    assert rows(complete) == [26]


def test_python_image_fails(podman: Podman, ingest_accounts: str, scene: Scene, environ: dict[str, str]) -> None:
    """A job of the Python image whose input is missing is FAIL, with the exception; both datasets are on the graph."""
    command = ["--source", "/data/missing.csv"]
    with podman.container("ingest-accounts", ingest_accounts, *command, environ=environ) as container:
        assert container.wait() == 1
        assert "/data/missing.csv" in container.logs()[1]

    fail = scene.ended("FAIL")
    assert message(fail).startswith("FileNotFoundError: ")
    assert named(fail["inputs"]) == [("file", "/data/missing.csv")]
    assert named(fail["outputs"]) == [("sqlite", "/srv/job/demo-out/accounts.db/accounts")]


def test_python_image_is_stopped(
    podman: Podman, ingest_accounts: str, scene: Scene, environ: dict[str, str], data: Path
) -> None:
    """The job is PID 1 and no root; SIGTERM ends it with the usual exit code, and its run as ABORT."""
    options = [f"--volume={data}:/data:ro"]
    command = ["--source", "/data/never.csv"]
    with podman.container("stopped", ingest_accounts, *command, environ=environ, options=options) as container:
        scene.started()
        status = dict(line.split(":", 1) for line in container.run("cat", "/proc/1/status").splitlines())
        assert (status["Name"].strip(), status["Uid"].split()) == ("python", ["1000"] * 4)
        container.stop(GRACE)
        assert container.wait() == 143
        assert container.logs() == ("", "")

    assert "SIGTERM" in message(scene.ended("ABORT"))


def test_bash_image(podman: Podman, load_fees: str, scene: Scene, environ: dict[str, str], data: Path) -> None:
    """A bash job in an image without Python is COMPLETE, with what it told of its datasets."""
    options = [f"--volume={data}:/data:ro"]
    with podman.container("load-fees", load_fees, environ=environ, options=options) as container:
        assert container.wait() == 0
        assert container.logs() == ("2 countries\n", "")

    complete = scene.ended("COMPLETE")
    assert named(complete["inputs"]) == [("file", "/data/fees.csv")]
    assert named(complete["outputs"]) == [("file", "/tmp/totals.csv")]  # noqa: S108  in the container
    assert rows(complete) == [2]
    found = podman.ask("run", "--rm", "--entrypoint=bash", load_fees, "-c", "type python python3")
    assert found.returncode == 1


def test_bash_image_fails(podman: Podman, load_fees: str, scene: Scene, environ: dict[str, str]) -> None:
    """A bash job without its input is FAIL with the exit code; the input that it named before is on the graph."""
    with podman.container("load-fees", load_fees, environ=environ) as container:
        assert container.wait() == 1
        assert "/data/fees.csv: No such file or directory" in container.logs()[1]

    fail = scene.ended("FAIL")
    assert message(fail) == "the command exited with 1"
    assert named(fail["inputs"]) == [("file", "/data/fees.csv")]


def test_bash_image_is_stopped(
    podman: Podman, load_fees: str, scene: Scene, environ: dict[str, str], data: Path
) -> None:
    """SIGTERM reaches the job of a bash image, whose run is ABORT."""
    options = [f"--volume={data}:/data:ro", "--env=FEES=/data/never.csv"]
    with podman.container("load-fees", load_fees, environ=environ, options=options) as container:
        scene.started()
        container.stop(GRACE)
        assert container.wait() == 143
        assert container.logs() == ("", "")

    assert message(scene.ended("ABORT")) == "stopped by SIGTERM; the command was killed by SIGTERM"


def test_out_of_memory(podman: Podman, load_fees: str, scene: Scene, environ: dict[str, str]) -> None:
    """A command that eats more than the container may have is killed by the kernel: FAIL, which says so."""
    eat = "dd if=/dev/zero of=/dev/null bs=256M count=1"  # it reads all of that into its memory
    command = ["bash", "-c", f"until [ -e /tmp/hungry ]; do sleep 0.1; done; exec {eat}"]
    with podman.container("hungry", load_fees, *command, environ=environ, options=["--memory=64m"]) as container:
        scene.started()
        container.run("touch", "/tmp/hungry")  # noqa: S108  in the container
        assert container.wait() == 137

    assert message(scene.ended("FAIL")) == "the command was killed because it ran out of memory (OOM)"


def test_killed_from_outside(podman: Podman, load_fees: str, scene: Scene, environ: dict[str, str]) -> None:
    """A command that somebody kills, in a container with a memory limit that it did not reach, is FAIL and no OOM."""
    command = ["bash", "-c", "echo $$ >/tmp/pid; echo ready; exec sleep 600"]
    with podman.container("killed", load_fees, *command, environ=environ, options=["--memory=64m"]) as container:
        scene.started()
        container.wait_for("ready")
        container.run("bash", "-c", "kill -KILL $(cat /tmp/pid)")
        assert container.wait() == 137

    assert message(scene.ended("FAIL")) == "the command was killed by SIGKILL (not by the OOM killer)"


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    """Return the folder of a mounted secret."""
    folder = tmp_path / "secret"
    folder.mkdir()
    (folder / "api-key").write_text("from-the-secret")
    return folder


@pytest.fixture
def beside_relay(
    podman: Podman,
    load_fees: str,  # noqa: ARG001  the image is to be there
    scene: Scene,
    secret: Path,
) -> Play:
    """Return a function that plays pod.yaml, the main container with these arguments."""

    def play(*args: str) -> AbstractContextManager[Pod]:
        return podman.pod(pod_of(scene, "pod.yaml", {"openlineage": secret}, args), CONFIG_MAP)

    return play


def until_term(then: str) -> tuple[str, str, str]:
    """Return the command of a container that goes on until SIGTERM, and what it does at that."""
    return ("bash", "-c", f"trap '{then}' TERM; echo ready; while :; do sleep 0.1; done")


def test_the_relay_delivers(beside_relay: Play, scene: Scene) -> None:
    """The sidecar delivers what the main container spools, with the key of the secret; stopped, it leaves nothing."""
    with beside_relay() as played:
        assert played.container("base").wait() == 0
        assert played.container("base").logs()[0] == "2 countries\n"
        complete = scene.ended("COMPLETE")
        played.stop(GRACE)
        assert played.container("lineage").wait() == 0
        assert played.container("lineage").logs() == ("", "")

    assert types(scene.events()) == ["START", "COMPLETE"]
    assert scene.entry.authorizations[-2:] == ["Bearer from-the-secret"] * 2
    assert named([complete["job"]]) == [("nightly", "load_fees")]
    assert complete["run"]["facets"]["kubernetes_pod"]["k8s.pod.name"] == "load-fees"
    assert rows(complete) == [2]


def test_the_relay_ends_the_run_of_a_killed_container(beside_relay: Play, scene: Scene) -> None:
    """When the whole main container is killed, the sidecar ends its run as FAIL: once, also after its own end."""
    with beside_relay("sleep", "600") as played:
        scene.started()
        played.container("base").kill()
        assert played.container("base").wait() == 137
        fail = scene.ended("FAIL")
        played.stop(GRACE)
        assert played.container("lineage").wait() == 0

    assert types(scene.events()) == ["START", "FAIL"]
    assert "without reporting" in message(fail)


def test_the_relay_ends_the_run_of_a_container_that_does_not_stop(beside_relay: Play, scene: Scene) -> None:
    """A main container that gets SIGTERM, goes on, and is killed: its run was asked to end, so it is ABORT."""
    with beside_relay(*until_term("")) as played:
        scene.started()
        played.container("base").wait_for("ready")
        played.container("base").stop(1)
        assert played.container("base").wait() == 137
        abort = scene.ended("ABORT")
        played.stop(GRACE)
        assert played.container("lineage").wait() == 0

    assert types(scene.events()) == ["START", "ABORT"]
    assert message(abort) == "stopped by SIGTERM, and killed before it ended"


def test_a_pod_is_stopped(beside_relay: Play, scene: Scene) -> None:
    """SIGTERM for the whole pod: the sidecar waits for the main container, and delivers its ABORT."""
    with beside_relay(*until_term("sleep 1; exit 3")) as played:
        scene.started()
        played.container("base").wait_for("ready")
        played.stop(GRACE)
        assert played.container("base").wait() == 3
        assert played.container("lineage").wait() == 0

    assert message(scene.ended("ABORT")) == "stopped by SIGTERM; the command exited with 3"


@pytest.mark.usefixtures("ingest_accounts")
def test_job(podman: Podman, scene: Scene) -> None:
    """The pod of the Job reports its run itself, over its spool on a claim."""
    pod = pod_of(scene, "job.yaml", {})
    with podman.pod(pod) as played:
        assert played.container("base").wait() == 0

    assert named([scene.ended("COMPLETE")["job"]]) == [("crm", "ingest_accounts")]


@pytest.mark.usefixtures("load_fees")
def test_cron_job(podman: Podman, scene: Scene) -> None:
    """The pod of the CronJob runs its command in an image of its own, through the bundle of an init container."""
    pod = pod_of(scene, "cronjob.yaml", {})
    pod["spec"]["containers"][0]["image"] = BASE
    with podman.pod(pod) as played:
        assert played.container("base").wait() == 0
        assert played.container("base").logs() == ("loaded\n", "")

    assert named([scene.ended("COMPLETE")["job"]]) == [("nightly", "nightly_load")]
