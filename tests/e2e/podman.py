"""Real containers and pods, by podman. No image registry takes part: the base images are made here, by debootstrap.

The image store with the base images is kept in the cache of `servers.py`, and used by one test session at a time, so
that images and pods have their own names in it. It has nothing to do with a podman that the machine may use otherwise.

    python -m tests.e2e.podman      # fills the cache; exits with 3, and says why, if there can be no containers here
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
import zlib
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from tests.e2e.venvs import pip_options
from tests.support.cache import UnavailableError, cached
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

BASE = "localhost/base:bookworm"
"""Debian without Python."""
PYTHON_BASE = "localhost/pybase:bookworm"
"""Debian with its Python and venv."""

_PACKAGES = {BASE: (), PYTHON_BASE: ("python3", "python3-venv")}
# gcc is for the bundle, which goes into an image.
_PROGRAMS = ("podman", "runc", "catatonit", "debootstrap", "gcc")
_TIMEOUT = 300.0
_BUILD_TIMEOUT = 900.0

# Limits that need no privilege to raise, the network of the host, and nothing of systemd. JSON strings are TOML's.
_CONTAINERS_CONF = """
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1000:1000"]
netns = "host"
log_driver = "k8s-file"
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
tmp_dir = "{store}/tmp"
"""
# vfs copies instead of mounting: slower, but it works also where the tests run in a container themselves.
_STORAGE_CONF = """
[storage]
driver = "vfs"
graphroot = "{store}/graph"
runroot = "{store}/run"
"""
_PROBE = """ARG BASE
FROM ${BASE}
RUN python3 -m venv /venv && /venv/bin/pip install --quiet attrs
"""
# What pip inside a build must know to reach the index that it reaches here.
_PIP_OPTIONS = ("cert", "extra-index-url", "index-url", "proxy", "trusted-host")


class Podman:
    """podman with a store of its own.

    Args:
        store: the folder of its images and containers.

    """

    def __init__(self, store: Path) -> None:
        self._store = store
        self._environ = dict(os.environ)
        for variable, name, text in (
            ("CONTAINERS_CONF", "containers.conf", _CONTAINERS_CONF),
            ("CONTAINERS_STORAGE_CONF", "storage.conf", _STORAGE_CONF),
        ):
            file = store / name
            file.write_text(text.format(store=store))
            self._environ[variable] = str(file)

    def __call__(self, *arguments: str, timeout: float = _TIMEOUT, **how: Any) -> str:
        """Return what `podman ARGUMENTS` prints; it must succeed."""
        done = self.ask(*arguments, timeout=timeout, **how)
        assert done.returncode == 0, f"podman {' '.join(arguments)}: {done.returncode}\n{done.stderr[-2000:]}"
        return done.stdout.strip()

    def ask(self, *arguments: str, timeout: float = _TIMEOUT, **how: Any) -> subprocess.CompletedProcess[str]:
        """Run `podman ARGUMENTS`, however it ends."""
        return subprocess.run(
            ["podman", *arguments],
            check=False,
            capture_output=True,
            text=True,
            cwd=self._store,  # where its monitor leaves an empty file `oom` after an OOM kill
            env=self._environ,
            timeout=timeout,
            **how,
        )

    def open(self, *arguments: str, **how: Any) -> subprocess.Popen[bytes]:
        """Start `podman ARGUMENTS` with what it reads and writes as pipes."""
        pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **how}
        return subprocess.Popen(["podman", *arguments], cwd=self._store, env=self._environ, **pipes)

    @contextmanager
    def image(self, name: str, dockerfile: Path, context: Path, base: str) -> Iterator[str]:
        """Build an image on `base`; it is gone after the block. Its build may use the package index of this machine."""
        with tempfile.TemporaryDirectory() as folder:
            pip_conf = Path(folder) / "pip.conf"
            pip_conf.write_text(_pip_conf())
            self(
                *("build", "--layers=false", "--force-rm", "--network=host", f"--build-arg=BASE={base}"),
                *("--volume=/etc/ssl/certs:/etc/ssl/certs:ro", f"--volume={pip_conf}:/etc/pip.conf:ro"),
                *(f"--file={dockerfile}", f"--tag=localhost/{name}", str(context)),
                timeout=_BUILD_TIMEOUT,
            )
        try:
            yield name
        finally:
            self("rmi", "--force", f"localhost/{name}")
            self("image", "prune", "--force")  # of a session that was killed: its name is that of a later image

    @contextmanager
    def container(
        self,
        name: str,
        image: str,
        *command: str,
        environ: Mapping[str, str] | None = None,
        options: Sequence[str] = (),
    ) -> Iterator[Container]:
        """Start a container; it is gone after the block."""
        variables = [f"--env={key}={value}" for key, value in (environ or {}).items()]
        try:
            self("run", "--detach", "--replace", f"--name={name}", *variables, *options, image, *command)
            yield Container(self, name)
        finally:
            self("rm", "--force", "--ignore", "--time=0", name)

    @contextmanager
    def pod(self, pod: Mapping[str, Any], *objects: Mapping[str, Any]) -> Iterator[Pod]:
        """Play a Pod and the objects that it needs; it is gone with its volumes after the block."""
        name = pod["metadata"]["name"]
        manifests = yaml.safe_dump_all([*objects, pod])
        try:
            self("kube", "play", "--replace", "-", input=manifests)
            yield Pod(self, name)
        finally:
            self("pod", "rm", "--force", "--ignore", "--time=0", name)
            for volume in pod["spec"]["volumes"]:
                kept = volume.get("configMap", {}).get("name") or volume.get("persistentVolumeClaim", {}).get(
                    "claimName"
                )
                if kept:
                    self.ask("volume", "rm", "--force", kept)


class Container:
    """A container that was started."""

    def __init__(self, podman: Podman, name: str) -> None:
        self._podman = podman
        self.name = name

    def run(self, *command: str) -> str:
        """Return what a further command prints in it."""
        return self._podman("exec", self.name, *command)

    def kill(self) -> None:
        """Send SIGKILL to its PID 1, and so to all of it."""
        self._podman("kill", "--signal=KILL", self.name)

    def stop(self, grace: int) -> None:
        """Send SIGTERM, and SIGKILL after so many seconds."""
        self._podman("stop", f"--time={grace}", self.name)

    def wait(self) -> int:
        """Return its exit code as soon as it has ended."""
        return int(self._podman("wait", self.name))

    def logs(self) -> tuple[str, str]:
        """Return what it has written to stdout and stderr so far."""
        done = self._podman.ask("logs", self.name)
        return done.stdout, done.stderr

    def wait_for(self, line: str) -> None:
        """Return as soon as it has printed the line."""
        wait_until(
            lambda: line in self.logs()[0].splitlines(), f"{self.name} prints {line}", seconds=_TIMEOUT, every=0.2
        )


class Pod:
    """A pod that was started."""

    def __init__(self, podman: Podman, name: str) -> None:
        self._podman = podman
        self.name = name

    def container(self, name: str) -> Container:
        """Return one of its containers."""
        return Container(self._podman, f"{self.name}-{name}")

    def stop(self, grace: int) -> None:
        """Send SIGTERM to its containers, and SIGKILL after so many seconds."""
        self._podman("pod", "stop", f"--time={grace}", self.name)


@contextmanager
def running() -> Iterator[Podman]:
    """Give a podman that has the base images and was seen to run a container, to one process at a time."""
    if os.geteuid() != 0:
        raise UnavailableError("containers with memory limits need root here: run the tests as root")
    missing = [program for program in _PROGRAMS if shutil.which(program) is None]
    if missing:
        debian = "apt-get install podman runc catatonit debootstrap gcc libc6-dev"
        raise UnavailableError(f"not on PATH: {', '.join(missing)}; on Debian: {debian}")
    wanted = zlib.crc32(repr(_PACKAGES).encode())  # other packages make another store
    with cached(f"podman-bookworm-{wanted:08x}") as (store, complete):
        podman = Podman(store)
        if not complete:
            for image, packages in _PACKAGES.items():
                _make_base(podman, image, packages)
    with (store / "in-use.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        trivial = ["run", "--rm", "--memory=64m", BASE, "true"]
        done = podman.ask(*trivial)
        if done.returncode != 0:
            raise UnavailableError(f"podman {' '.join(trivial)}: {_last_line(done.stderr)}")
        yield podman


def _make_base(podman: Podman, image: str, packages: Sequence[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "root"
        included = [f"--include={','.join(packages)}"] if packages else []
        command = ["debootstrap", "--variant=minbase", *included, "bookworm", str(root)]
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        if done.returncode != 0:
            raise UnavailableError(f"{' '.join(command)}: {_last_line(done.stdout + done.stderr)}")
        archive = Path(folder) / "root.tar"
        subprocess.run(["tar", "-C", str(root), "-cf", str(archive), "."], check=True)
        # Without a PATH in the image, `kube play` finds no command.
        path = "ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        done = podman.ask("import", f"--change={path}", str(archive), image)
        if done.returncode != 0:
            raise UnavailableError(f"podman import: {_last_line(done.stderr)}")


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ["no message"])[-1]


def _pip_conf() -> str:
    options = pip_options()
    return "\n".join(["[global]", *(f"{name} = {options[name]}" for name in _PIP_OPTIONS if name in options)])


def playable(
    pod: Mapping[str, Any],
    url: str,
    *,
    paths: Mapping[str, Path],
    environ: Mapping[str, str] | None = None,
    args: Sequence[str] = (),
) -> Any:
    """Return a Pod of Kubernetes as podman 4.3 can play it, with as little changed as possible.

    Args:
        pod: the manifest.
        url: of the backend, on the loopback of this machine.
        paths: folders of this machine in place of the volumes with these names.
        environ: added to that of the container `base`.
        args: in place of those of the container `base`.

    """
    pod = deepcopy(dict(pod))
    spec = pod["spec"]
    spec["hostNetwork"] = True  # so that it reaches the backend
    # It knows no native sidecars.
    sidecars = [each for each in spec.get("initContainers", ()) if each.get("restartPolicy") == "Always"]
    for sidecar in sidecars:
        spec["initContainers"].remove(sidecar)
        del sidecar["restartPolicy"]
    spec["containers"] = [*sidecars, *spec["containers"]]
    for container in (*spec.get("initContainers", ()), *spec["containers"]):
        # It refuses these fields.
        container["env"] = [
            {**variable, "value": url} if variable["name"] == "OPENLINEAGE_URL" else variable
            for variable in container.get("env", ())
            if _field(variable) not in ("metadata.namespace", "spec.nodeName")
        ]
        if container["name"] == "base":
            container["env"] += [{"name": name, "value": value} for name, value in (environ or {}).items()]
            container["args"] = list(args) or container.get("args", [])
    spec["volumes"] = [
        {"name": volume["name"], "hostPath": {"path": str(paths[volume["name"]])}}
        if volume["name"] in paths
        else volume
        for volume in spec["volumes"]
    ]
    return pod


def _field(variable: Mapping[str, Any]) -> Any:
    return variable.get("valueFrom", {}).get("fieldRef", {}).get("fieldPath")


def main() -> int:
    """Fill the cache, run one container, build one image with a package in it, and say why if that cannot be."""
    try:
        with running() as podman, tempfile.TemporaryDirectory() as folder:
            dockerfile = Path(folder) / "Dockerfile"
            dockerfile.write_text(_PROBE)
            with podman.image("probe", dockerfile, Path(folder), PYTHON_BASE):
                return 0
    except (UnavailableError, AssertionError, subprocess.TimeoutExpired) as error:
        print(error, file=sys.stderr)  # noqa: T201  for .ci/run
        return 3


if __name__ == "__main__":
    sys.exit(main())
