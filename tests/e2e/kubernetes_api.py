"""A Kubernetes API, as far as KubernetesPodOperator asks for one, whose pods are real containers.

The operator's own code finds it by a kubeconfig, and talks plain HTTP with it: pods are listed, made, read, labelled
and deleted; their logs are followed; commands are executed in them by a WebSocket. What it does not know is answered
with 404, and kept in `unknown`, for a test to see.
"""

from __future__ import annotations

import json
import re
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

from tests.e2e.kubelet import RunningPod
from tests.e2e.servers import LOOPBACK
from tests.e2e.websocket import WebSocket
from tests.support.harness import on_a_thread

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from concurrent.futures import Future

    from tests.e2e.podman import Podman

    Document = dict[str, Any]
    Query = Mapping[str, list[str]]

_STDIN, _STDOUT, _STDERR, _ERROR = range(4)  # the channels of v4.channel.k8s.io
_PODS = re.compile(r"/api/v1/namespaces/(?P<namespace>[^/]+)/pods(/(?P<name>[^/]+)(/(?P<part>log|exec))?)?")
_EVENTS = re.compile(r"/api/v1/namespaces/[^/]+/events")


class Cluster:
    """The pods of all namespaces, and the secrets that they may ask for.

    Args:
        podman: runs the pods.
        folder: for their volumes.
        secrets: name, key, value.

    """

    def __init__(self, podman: Podman, folder: Path, secrets: Mapping[str, Mapping[str, str]]) -> None:
        self.podman = podman
        self.url = ""
        self.unknown: list[str] = []
        """What was asked for, and is not known here."""
        self.created: list[Document] = []
        """All pods that were ever accepted, as they were sent."""
        self._folder = folder
        self._secrets = secrets
        self._pods: dict[tuple[str, str], RunningPod] = {}
        self._deleting = ThreadPoolExecutor(16)
        self._deletions: list[Future[None]] = []

    def kubeconfig(self) -> Document:
        """Return the configuration by which a client finds it."""
        return {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "test", "cluster": {"server": self.url}}],
            "users": [{"name": "test", "user": {}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
            "current-context": "test",
        }

    def pods(self, namespace: str | None = None) -> list[RunningPod]:
        """Return the pods that are there."""
        return [pod for (its, _), pod in list(self._pods.items()) if namespace in (None, its)]

    def find(self, namespace: str, name: str) -> RunningPod | None:
        """Return a pod, unless it is gone or never was."""
        return self._pods.get((namespace, name))

    def create(self, namespace: str, manifest: Document) -> Document:
        """Accept a pod, which then starts."""
        self.created.append(manifest)
        name = manifest["metadata"]["name"]
        folder = self._folder / namespace / name
        folder.mkdir(parents=True)
        pod = RunningPod(self.podman, manifest, namespace=namespace, folder=folder, secrets=self._secrets)
        document = pod.document()  # as it is now: pending
        self._pods[namespace, name] = pod
        pod.start()
        return document

    def delete(self, namespace: str, pod: RunningPod, grace: int | None = None) -> None:
        """Begin to stop a pod; it is there until all of it has stopped."""

        def until_gone() -> None:
            pod.stop(grace)
            if self._pods.pop((namespace, pod.name), None):  # else another deletion came before
                pod.remove()

        self._deletions.append(self._deleting.submit(until_gone))

    def close(self) -> None:
        """Kill what is left; return when no container is there."""
        for (namespace, _), pod in list(self._pods.items()):
            self.delete(namespace, pod, grace=0)
        self._deleting.shutdown()
        for deletion in self._deletions:
            deletion.result()


@contextmanager
def kubernetes(podman: Podman, secrets: Mapping[str, Mapping[str, str]]) -> Iterator[Cluster]:
    """Run a cluster; no container of it is left after the block."""
    with tempfile.TemporaryDirectory(prefix="openlineage-pod-kubernetes-", ignore_cleanup_errors=True) as folder:
        cluster = Cluster(podman, Path(folder), secrets)
        server = ThreadingHTTPServer((LOOPBACK, 0), type("BoundRequest", (_Request,), {"cluster": cluster}))
        cluster.url = f"http://{LOOPBACK}:{server.server_port}"
        with closing(cluster), on_a_thread(server):
            yield cluster


class _Request(BaseHTTPRequestHandler):
    """One request of a client."""

    protocol_version = "HTTP/1.1"
    cluster: Cluster

    def do_GET(self) -> None:
        url, query = self._asked()
        if _EVENTS.fullmatch(url):
            self._events(query)
        elif (match := _PODS.fullmatch(url)) and match["name"] is None:
            selected = _selector(query.get("labelSelector", [""])[0])
            found = [pod.document() for pod in self.cluster.pods(match["namespace"])]
            items = [document for document in found if selected(document["metadata"]["labels"])]
            self._answer({"kind": "PodList", "apiVersion": "v1", "metadata": {"resourceVersion": "1"}, "items": items})
        elif pod := self._pod(url):
            part = match["part"] if match else None
            if part == "log":
                self._log(pod, query)
            elif part == "exec":
                self._exec(pod, query)
            else:
                self._answer(pod.document())

    def do_POST(self) -> None:
        url, _ = self._asked()
        match = _PODS.fullmatch(url)
        if match is None or match["name"] is not None:
            self._unknown()
            return
        pod = self._body()
        wrong = [
            variable
            for container in pod["spec"]["containers"]
            for variable in container.get("env") or ()
            if not isinstance(variable.get("value", ""), str)
        ]
        if wrong:  # what templates render to is not always a text
            self._answer(_status(400, "BadRequest", f"cannot unmarshal into EnvVar.value of type string: {wrong}"), 400)
        else:
            self._answer(self.cluster.create(match["namespace"], pod), 201)

    def do_PATCH(self) -> None:
        url, _ = self._asked()
        if pod := self._pod(url):
            body = self._body()
            assert set(body) == {"metadata"}, body
            assert set(body["metadata"]) == {"labels"}, body
            pod.label(body["metadata"]["labels"])
            self._answer(pod.document())

    def do_DELETE(self) -> None:
        url, query = self._asked()
        body = self._body() or {}
        if pod := self._pod(url):
            match = _PODS.fullmatch(url)
            assert match
            given = body.get("gracePeriodSeconds", query.get("gracePeriodSeconds", [None])[0])
            self.cluster.delete(match["namespace"], pod, None if given is None else int(given))
            self._answer(pod.document())

    def _asked(self) -> tuple[str, Query]:
        parts = urlsplit(self.path)
        return parts.path, parse_qs(parts.query)

    def _pod(self, url: str) -> RunningPod | None:
        """Return the pod of a URL, or answer that there is none."""
        match = _PODS.fullmatch(url)
        if match is None:
            self._unknown()
            return None
        pod = self.cluster.find(match["namespace"], match["name"])
        if pod is None:
            self._answer(_status(404, "NotFound", f'pods "{match["name"]}" not found'), 404)
        return pod

    def _events(self, query: Query) -> None:
        listed = {"kind": "EventList", "apiVersion": "v1", "metadata": {"resourceVersion": "1"}, "items": []}
        if "watch" not in query:
            self._answer(listed)
            return
        # Nothing ever happens here, and that is the whole answer as soon as nobody waits for the pod's start any more.
        name = query.get("fieldSelector", [""])[0].rpartition("=")[2]
        for pod in self.cluster.pods():
            if pod.name == name:
                pod.wait_until_started(float(query.get("timeoutSeconds", ["30"])[0]))
        self._stream(iter(()))

    def _log(self, pod: RunningPod, query: Query) -> None:
        container = query.get("container", [pod.document()["spec"]["containers"][0]["name"]])[0]
        since = query.get("sinceSeconds")
        lines = pod.log(
            container,
            follow=_is_true(query, "follow"),
            timestamps=_is_true(query, "timestamps"),
            seconds=float(since[0]) if since else None,
        )
        self._stream(lines)

    def _exec(self, pod: RunningPod, query: Query) -> None:
        interactive = _is_true(query, "stdin")
        options = ["--interactive"] if interactive else []
        process = self.cluster.podman.open(
            *("exec", *options, pod.container(query["container"][0]), *query["command"]),
            stdin=subprocess.PIPE if interactive else subprocess.DEVNULL,
        )
        assert process.stdout
        assert process.stderr
        socket = WebSocket(self)
        with process, ThreadPoolExecutor(3) as threads:
            if interactive:
                threads.submit(_feed, socket, process)
            outputs = [
                threads.submit(_pass_on, socket, _STDOUT, process.stdout.read1),  # type: ignore[attr-defined]
                threads.submit(_pass_on, socket, _STDERR, process.stderr.read1),  # type: ignore[attr-defined]
            ]
            for output in outputs:
                output.result()
            code = process.wait()
            causes = {"causes": [{"reason": "ExitCode", "message": str(code)}]}
            ended = {"status": "Success"} if code == 0 else {"status": "Failure", "details": causes}
            with suppress(OSError):  # the client may have gone: a command that ends itself may end the connection, too
                socket.send(bytes([_ERROR]) + json.dumps(ended).encode())
                socket.close()

    def _body(self) -> Any:
        text = self.rfile.read(int(self.headers["Content-Length"] or 0))
        return json.loads(text) if text else None

    def _unknown(self) -> None:
        self.cluster.unknown.append(f"{self.command} {self.path}")
        self._answer(_status(404, "NotFound", "the server could not find the requested resource"), 404)

    def _answer(self, document: Document, status: int = 200) -> None:
        text = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def _stream(self, lines: Iterator[bytes]) -> None:
        """Answer with lines as they come; the end of the connection is the end of the answer."""
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Connection", "close")
        self.end_headers()
        with suppress(BrokenPipeError, ConnectionResetError):  # the client has read enough
            for line in lines:
                self.wfile.write(line)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


def _is_true(query: Query, name: str) -> bool:
    return query.get(name) in (["True"], ["true"])


def _feed(socket: WebSocket, process: subprocess.Popen[bytes]) -> None:
    """Pass what the client sends on to the command; the end of one is the end of the other."""
    assert process.stdin
    with suppress(OSError):
        for message in socket.received():
            if message[0] == _STDIN:
                process.stdin.write(message[1:])
                process.stdin.flush()
    with suppress(OSError):
        process.stdin.close()


def _pass_on(socket: WebSocket, channel: int, read: Callable[[], bytes]) -> None:
    while text := read():
        with suppress(OSError):
            socket.send(bytes([channel]) + text)


def _selector(text: str) -> Callable[[Mapping[str, str]], bool]:
    """Return whether labels fulfil a selector of `key=value`, `key!=value` and `!key`, joined by commas."""
    conditions = [condition for condition in text.split(",") if condition]

    def holds(labels: Mapping[str, str], condition: str) -> bool:
        if condition.startswith("!"):
            return condition[1:] not in labels
        key, unequal, value = condition.partition("!=")
        if unequal:
            return labels.get(key) != value
        key, _, value = condition.partition("=")
        return labels.get(key) == value.removeprefix("=")

    return lambda labels: all(holds(labels, condition) for condition in conditions)


def _status(code: int, reason: str, message: str) -> Document:
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": message,
        "reason": reason,
        "code": code,
    }
