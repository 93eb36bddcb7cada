"""Runs the pods of Kubernetes as containers of podman, and says how they are, as a node's kubelet does.

All containers are on the network of the host, so that they reach servers on its loopback. A pod that asks for what is
not known here, such as init containers, is refused.
"""

from __future__ import annotations

import json
import re
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any
from uuid import uuid4

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from tests.e2e.podman import Podman

    Document = dict[str, Any]

DEFAULT_GRACE = 30
_UNITS = {"": 1, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "k": 10**3, "M": 10**6, "G": 10**9}


class ConfigError(Exception):
    """A container asks for what is not there; the kubelet would try again until it is."""


class RunningPod:
    """A pod from the moment that it is accepted until it is deleted.

    Args:
        podman: runs its containers.
        manifest: what was sent to the API.
        namespace: where it was sent.
        folder: for its volumes.
        secrets: the secrets of the namespace: name, key, value.

    """

    def __init__(
        self,
        podman: Podman,
        manifest: Mapping[str, Any],
        *,
        namespace: str,
        folder: Path,
        secrets: Mapping[str, Mapping[str, str]],
    ) -> None:
        self._podman = podman
        self._folder = folder
        self._secrets = secrets
        self._document: Document = deepcopy(dict(manifest))
        self._metadata = self._document["metadata"]
        self._metadata.update(namespace=namespace, uid=str(uuid4()), creationTimestamp=now(), resourceVersion="1")
        self._metadata.setdefault("labels", {})
        self.name: str = self._metadata["name"]
        spec = self._document["spec"]
        assert not spec.get("initContainers"), "no init containers here"
        assert spec["restartPolicy"] == "Never", "no restarts here"
        known = {"emptyDir", "secret"}
        assert all(known.intersection(volume) for volume in spec.get("volumes") or ()), f"no volumes but {known} here"
        spec.setdefault("terminationGracePeriodSeconds", DEFAULT_GRACE)
        spec.setdefault("nodeName", "node-1")
        self._containers: list[Document] = spec["containers"]
        self._states: dict[str, Document] = {
            each["name"]: {"waiting": {"reason": "ContainerCreating"}} for each in self._containers
        }
        self._changed = threading.Condition()
        self._runners = ThreadPoolExecutor(len(self._containers))

    def start(self) -> None:
        """Start its containers, each with a thread beside it that follows its life."""
        for container in self._containers:
            self._runners.submit(self._run, container)
        self._runners.shutdown(wait=False)

    def document(self) -> Document:
        """Return it as the API shows it."""
        with self._changed:
            states = deepcopy(self._states)
            document = deepcopy(self._document)
        document["status"] = {
            "phase": _phase(list(states.values())),
            "startTime": document["metadata"]["creationTimestamp"],
            "conditions": [{"type": "PodScheduled", "status": "True"}],
            "containerStatuses": [
                {
                    "name": each["name"],
                    "image": each["image"],
                    "imageID": each["image"],
                    "ready": "running" in states[each["name"]],
                    "restartCount": 0,
                    "state": states[each["name"]],
                }
                for each in self._containers
            ],
        }
        return document

    def label(self, labels: Mapping[str, str]) -> None:
        """Set labels."""
        with self._changed:
            self._metadata["labels"].update(labels)

    def wait_until_started(self, seconds: float) -> None:
        """Return when no container waits for its start any more, or after so many seconds."""
        with self._changed:
            self._changed.wait_for(lambda: not any("waiting" in state for state in self._states.values()), seconds)

    def log(self, container: str, *, follow: bool, timestamps: bool, seconds: float | None) -> Iterator[bytes]:
        """Give the lines of a container's log, of the last seconds only if they are given, and those to come, too."""
        since = datetime.now(timezone.utc) - timedelta(seconds=seconds) if seconds else None
        pending = time = b""
        with self._log_file(container).open("rb") as file:
            while True:
                # Asked before the reading: what is written until the end is read after it.
                running = follow and "running" in self._states[container]
                for line in file:
                    pending += line
                    if not line.endswith(b"\n"):
                        break  # it is being written
                    written, _, kind, text = pending.split(b" ", 3)
                    pending = b""
                    if since and _parsed(written) < since:
                        continue
                    # P is a part of a line: its time stands once, before the first part.
                    yield (written + b" " if timestamps and not time else b"") + (text[:-1] if kind == b"P" else text)
                    time = written if kind == b"P" else b""
                if not running:
                    return
                with self._changed:
                    self._changed.wait(0.1)

    def container(self, name: str) -> str:
        """Return podman's name for one of its containers."""
        return f"{self.name}-{name}"

    def stop(self, grace: int | None) -> None:
        """Send SIGTERM to what still runs, SIGKILL after the grace, and return when nothing runs any more."""
        if grace is None:
            grace = self._document["spec"]["terminationGracePeriodSeconds"]
        with self._changed:
            self._metadata.update(deletionTimestamp=now(), deletionGracePeriodSeconds=grace)
            # podman cannot stop what it has not started yet.
            self._changed.wait_for(lambda: not any(map(_is_creating, self._states.values())))
        stop = self._podman.open("stop", "--ignore", f"--time={grace}", *self._names(), stderr=subprocess.DEVNULL)
        with stop, self._changed:
            self._changed.wait_for(lambda: not any("running" in state for state in self._states.values()))

    def remove(self) -> None:
        """Leave nothing of it."""
        self._podman("rm", "--force", "--ignore", "--time=0", *self._names())

    def _names(self) -> list[str]:
        return [self.container(each["name"]) for each in self._containers]

    def _run(self, container: Document) -> None:
        started = now()
        try:
            self._follow(container)
        except Exception as error:  # nobody reads what becomes of this thread: without an end all would wait for one
            ended = {"exitCode": 128, "reason": "ContainerCannotRun", "message": repr(error)}
            self._set(container, terminated={**ended, "startedAt": started, "finishedAt": now()})

    def _follow(self, container: Document) -> None:
        name = self.container(container["name"])
        try:
            arguments = self._arguments(container)
        except ConfigError as error:
            self._set(container, waiting={"reason": "CreateContainerConfigError", "message": str(error)})
            return
        done = self._podman.ask("run", "--detach", "--pull=never", f"--name={name}", *arguments)
        if done.returncode not in (0, 126, 127):  # with these there is a container, which could not start its command
            self._set(container, waiting={"reason": "ErrImageNeverPull", "message": done.stderr.strip()})
            return
        started = now()
        if done.returncode == 0:
            self._set(container, running={"startedAt": started})
            self._podman("wait", "--interval=50ms", name, timeout=3600)
            code, oom = self._podman("inspect", "--format={{.State.ExitCode}} {{.State.OOMKilled}}", name).split()
        else:
            code, oom = str(done.returncode), "false"
        reason = "OOMKilled" if oom == "true" else "Completed" if code == "0" else "Error"
        ended = {"exitCode": int(code), "reason": reason, "startedAt": started, "finishedAt": now()}
        if message := self._termination_log(container).read_text(errors="replace"):
            ended["message"] = message
        self._set(container, terminated=ended)

    def _set(self, container: Document, **state: Document) -> None:
        with self._changed:
            self._states[container["name"]] = state
            self._changed.notify_all()

    def _arguments(self, container: Document) -> list[str]:
        log = self._termination_log(container)
        log.parent.mkdir(exist_ok=True)
        log.touch()
        log.chmod(0o666)  # whoever the container's user is
        path = container.get("terminationMessagePath") or "/dev/termination-log"
        options = [f"--hostname={self.name}", f"--volume={log}:{path}"]
        options.append(f"--log-opt=path={self._log_file(container['name'])}")
        options.append(f"--volume={self._service_account()}:/var/run/secrets/kubernetes.io/serviceaccount:ro")
        options += [f"--env={name}={value}" for name, value in self._environment(container).items()]
        options += [
            f"--volume={self._volume(mount['name'])}:{mount['mountPath']}"
            for mount in container.get("volumeMounts") or ()
        ]
        memory = (container.get("resources") or {}).get("limits", {}).get("memory")
        if memory:
            options.append(f"--memory={_bytes(memory)}")
        if container.get("workingDir"):
            options.append(f"--workdir={container['workingDir']}")
        security = {**(self._document["spec"].get("securityContext") or {}), **(container.get("securityContext") or {})}
        if "runAsUser" in security:
            options.append(f"--user={security['runAsUser']}")
        if container.get("command"):
            options.append(f"--entrypoint={json.dumps(container['command'])}")
        return [*options, container["image"], *(container.get("args") or ())]

    def _environment(self, container: Document) -> dict[str, str]:
        environment = {
            # By these a program knows that it is in a cluster, and where.
            "KUBERNETES_SERVICE_HOST": "127.0.0.1",
            "KUBERNETES_SERVICE_PORT": "443",
            # Patient at the exit: on a busy machine the first connection takes its time.
            "OPENLINEAGE_POD_FLUSH_TIMEOUT": "30",
        }
        for source in container.get("envFrom") or ():
            environment.update(self._secret(source["secretRef"]["name"]))
        for variable in container.get("env") or ():
            environment[variable["name"]] = self._value(variable)
        return environment

    def _value(self, variable: Document) -> str:
        source = variable.get("valueFrom")
        if not source:
            return str(variable.get("value", ""))
        if "secretKeyRef" in source:
            secret = self._secret(source["secretKeyRef"]["name"])
            key = source["secretKeyRef"]["key"]
            if key not in secret:
                raise ConfigError(f"couldn't find key {key} in Secret {source['secretKeyRef']['name']}")
            return secret[key]
        return self._field(source["fieldRef"]["fieldPath"])

    def _secret(self, name: str) -> Mapping[str, str]:
        if name not in self._secrets:
            raise ConfigError(f'secret "{name}" not found')
        return self._secrets[name]

    def _field(self, path: str) -> str:
        label = re.fullmatch(r"metadata\.labels\['(.+)'\]", path)
        if label:
            return str(self._metadata["labels"].get(label.group(1), ""))
        part, _, field = path.partition(".")
        return str(self._document[part][field])

    def _volume(self, name: str) -> Path:
        [volume] = [each for each in self._document["spec"]["volumes"] if each["name"] == name]
        folder = self._folder / "volumes" / name
        with self._changed:  # containers share it
            if not folder.exists():
                content = self._secret(volume["secret"]["secretName"]) if "secret" in volume else {}
                folder.mkdir(parents=True)
                folder.chmod(0o777)  # whoever the containers' users are
                for key, value in content.items():
                    (folder / key).write_text(value)
        return folder

    def _service_account(self) -> Path:
        folder = self._folder / "serviceaccount"
        folder.mkdir(exist_ok=True)
        (folder / "namespace").write_text(self._metadata["namespace"])
        return folder

    def _log_file(self, container: str) -> Path:
        return self._folder / f"{container}.log"

    def _termination_log(self, container: Document) -> Path:
        return self._folder / "termination-logs" / str(container["name"])


def now() -> str:
    """Return the time as the API writes it."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds").replace("+00:00", "Z")


def _parsed(time: bytes) -> datetime:
    # Its nanoseconds are more than Python knows.
    return datetime.strptime(time[:26].decode(), "%Y-%m-%dT%H:%M:%S.%f").replace(tzinfo=timezone.utc)


def _is_creating(state: Document) -> bool:
    return bool(state.get("waiting", {}).get("reason") == "ContainerCreating")


def _phase(states: list[Document]) -> str:
    if any("waiting" in state for state in states):
        return "Pending"
    if any("running" in state for state in states):
        return "Running"
    return "Succeeded" if all(state["terminated"]["exitCode"] == 0 for state in states) else "Failed"


def _bytes(quantity: str) -> int:
    number, unit = re.fullmatch(r"([\d.]+)(\w*)", quantity).groups()  # type: ignore[union-attr]
    return int(float(number) * _UNITS[unit])
