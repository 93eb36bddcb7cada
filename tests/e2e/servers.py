"""Real servers for the end-to-end tests, on free loopback ports, with their data in folders that vanish with them.

What is downloaded (the jars of Kafka, virtual environments, the base images of podman) is kept in a cache outside the
source tree, `$OPENLINEAGE_POD_TEST_CACHE` or `~/.cache/openlineage-pod`.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import requests

from tests.support import options
from tests.support.cache import UnavailableError, cached
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

LOOPBACK = "127.0.0.1"
STOP_TIMEOUT = 30.0

_KAFKA = ("org.apache.kafka", "kafka_2.13", "3.9.1")
RENTGEN_TOPIC = "input.runs"

_POM = """<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>e2e</groupId><artifactId>e2e</artifactId><version>1</version><packaging>pom</packaging>
  <dependencies>
    <dependency><groupId>{}</groupId><artifactId>{}</artifactId><version>{}</version></dependency>
  </dependencies>
</project>
"""


class Api:
    """The JSON interface of a server."""

    def __init__(self, url: str, token: str | None = None) -> None:
        self.url = url
        self._token = token

    def request(self, method: str, path: str, **arguments: Any) -> requests.Response:
        """Send a request past any proxy of the environment; returns whatever the answer is."""
        with requests.Session() as session:
            session.trust_env = False
            if self._token:
                session.headers["Authorization"] = f"Bearer {self._token}"
            return session.request(method, f"{self.url}{path}", timeout=90, **arguments)

    def get(self, path: str, **query: Any) -> Any:
        """Return the JSON of an answer that must be a success."""
        answer = self.request("GET", path, params=query)
        assert answer.ok, f"{answer.status_code} {answer.url}: {answer.text[:500]}"
        return answer.json()

    def post(self, path: str, document: Any) -> Any:
        """Send JSON, which must be accepted; returns the answer's JSON, or None where there is none."""
        answer = self.request("POST", path, json=document)
        assert answer.ok, f"{answer.status_code} {answer.url}: {answer.text[:500]}"
        return answer.json() if answer.content else None

    def answers(self, path: str) -> bool:
        """Say whether the server is up."""
        with suppress(requests.RequestException):
            return self.request("GET", path).ok
        return False


@contextmanager
def serving(
    command: Sequence[str],
    ready: Callable[[], bool],
    *,
    folder: Path,
    log: str,
    env: Mapping[str, str] | None = None,
    user: str | None = None,
    stop_signal: signal.Signals = signal.SIGTERM,
) -> Iterator[None]:
    """Run a server in the foreground from the moment that it is ready until the end of the block."""
    log_file = folder / log
    # Where there is setpriv (util-linux), the server dies with the test process, even if that is killed.
    setpriv = shutil.which("setpriv")
    guard = [setpriv, "--pdeathsig", stop_signal.name.removeprefix("SIG"), "--"] if setpriv else []
    with log_file.open("wb") as output:
        # A session of its own: Ctrl-C in the terminal is for the tests, which then stop the servers in order.
        server = subprocess.Popen(
            [*guard, *command],
            cwd=folder,
            env=env,
            user=user,
            group=user,
            extra_groups=None if user is None else [],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def up_or_dead() -> bool:
        return server.poll() is not None or ready()

    try:
        try:
            wait_until(up_or_dead, f"{log} is ready", every=0.05)
            assert server.poll() is None, f"{log}: ended with {server.returncode}"
        except AssertionError as error:
            lines = log_file.read_text(errors="replace").splitlines()[-30:]
            raise AssertionError("\n".join([str(error), *lines])) from None
        yield
    finally:
        server.send_signal(stop_signal)
        try:
            server.wait(STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()
        with suppress(ProcessLookupError):  # children that it left behind
            os.killpg(server.pid, signal.SIGKILL)


def free_ports(count: int) -> list[int]:
    """Return ports on which nobody listens."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind((LOOPBACK, 0))
        return [each.getsockname()[1] for each in sockets]


@contextmanager
def temporary_folder(user: str | None = None) -> Iterator[Path]:
    """Give an empty folder of the user; it is gone after the block."""
    folder = Path(tempfile.mkdtemp(prefix="openlineage-pod-e2e-"))
    try:
        if user is not None:
            shutil.chown(folder, user, user)
        yield folder
    finally:
        shutil.rmtree(folder)


class PostgreSQL:
    """A throw-away cluster, with a superuser `postgres` whom it trusts without a password."""

    def __init__(self, programs: Path, port: int) -> None:
        self._programs = programs
        self.port = port

    def create_database(self, name: str) -> str:
        """Create an empty database and return its address, `host:port/name`."""
        self._ask("createdb", name).check_returncode()
        return f"{LOOPBACK}:{self.port}/{name}"

    def is_ready(self) -> bool:
        """Say whether it takes connections."""
        return self._ask("pg_isready").returncode == 0

    def _ask(self, program: str, *arguments: str) -> subprocess.CompletedProcess[bytes]:
        where = ["--host", LOOPBACK, "--port", str(self.port), "--username", "postgres"]
        return subprocess.run([self._programs / program, *where, *arguments], check=False, stdout=subprocess.DEVNULL)


@contextmanager
def postgresql() -> Iterator[PostgreSQL]:
    """Run a PostgreSQL of our own, as the user postgres if we are root, whom it refuses to run as."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: float(path.parts[-3]))
    initdb = found[-1] if found else shutil.which("initdb")
    if initdb is None:
        raise UnavailableError("PostgreSQL's initdb is neither on PATH nor in /usr/lib/postgresql: install PostgreSQL")
    user = "postgres" if os.geteuid() == 0 else None
    # Not resolved: a wrapper on PATH finds its siblings under the names there.
    programs = Path(initdb).parent
    [port] = free_ports(1)
    cluster = PostgreSQL(programs, port)
    with temporary_folder(user) as folder:
        data = folder / "data"
        subprocess.run(
            [initdb, "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync"],
            check=True,
            cwd=folder,
            user=user,
            group=user,
            extra_groups=None if user is None else [],
            stdout=subprocess.DEVNULL,
        )
        options = {
            "port": port,
            "listen_addresses": LOOPBACK,
            "unix_socket_directories": "",
            "fsync": "off",
            "max_connections": 200,
        }
        command = [str(programs / "postgres"), "-D", str(data)]
        for name, value in options.items():
            command += ["-c", f"{name}={value}"]
        # SIGINT: it disconnects its clients and stops, where SIGTERM would wait for them.
        with serving(
            command, cluster.is_ready, folder=folder, log="postgresql.log", user=user, stop_signal=signal.SIGINT
        ):
            yield cluster


@contextmanager
def marquez(cluster: PostgreSQL) -> Iterator[Api]:
    """Run Marquez on a database of its own in `cluster`, and check at the end that no test has damaged it."""
    variable, jars = options.MARQUEZ_JARS_VARIABLE, options.MARQUEZ_JARS
    if not jars:
        raise UnavailableError(f"set {variable} to a folder with the jars of Marquez and of all that it needs")
    folder_of_jars = Path(jars).resolve()  # the server runs in another folder
    assert list(folder_of_jars.glob("marquez-api*.jar")), f"{variable}={jars}: there is no marquez-api*.jar"
    port, admin_port = free_ports(2)

    def connector(port: int) -> dict[str, Any]:
        return {"type": "http", "port": port, "bindHost": LOOPBACK, "httpCompliance": "RFC7230_LEGACY"}

    configuration = {
        "server": {"applicationConnectors": [connector(port)], "adminConnectors": [connector(admin_port)]},
        "db": {
            "driverClass": "org.postgresql.Driver",
            "url": f"jdbc:postgresql://{cluster.create_database('marquez')}",
            "user": "postgres",
            "password": "",
        },
        "migrateOnStartup": True,
        "graphql": {"enabled": True},
        "logging": {"level": "INFO", "appenders": [{"type": "console"}]},
        "search": {"enabled": False},
    }
    api = Api(f"http://{LOOPBACK}:{port}")
    with temporary_folder() as folder:
        # JSON is YAML.
        (folder / "marquez.yml").write_text(json.dumps(configuration))
        command = [*_java(256), "-cp", f"{folder_of_jars}/*", "marquez.MarquezApp", "server", "marquez.yml"]
        with serving(command, lambda: api.answers("/api/v1/namespaces"), folder=folder, log="marquez.log"):
            yield api
            _assert_readable(api)


def _assert_readable(marquez: Api) -> None:
    """Fail if Marquez no longer lists what it holds.

    It stores some names that it refuses to read back. One of these breaks its lists for everybody, for good.
    """
    for path in ("/api/v1/namespaces", "/api/v1/jobs"):
        answer = marquez.request("GET", path, params={"limit": 1000})
        assert answer.status_code == requests.codes.ok, (
            f"after the tests, Marquez answers {answer.status_code} to GET {path}, because a test has sent a name "
            f"that Marquez cannot read back: {answer.text[:500]}"
        )


@contextmanager
def kafka() -> Iterator[str]:
    """Run a single Kafka broker that is its own controller, and give its `host:port`."""
    jars = _kafka_jars()
    port, controller_port = free_ports(2)
    with temporary_folder() as folder:
        properties = {
            "process.roles": "broker,controller",
            "node.id": 1,
            "controller.quorum.voters": f"1@{LOOPBACK}:{controller_port}",
            "listeners": f"PLAINTEXT://{LOOPBACK}:{port},CONTROLLER://{LOOPBACK}:{controller_port}",
            "advertised.listeners": f"PLAINTEXT://{LOOPBACK}:{port}",
            "controller.listener.names": "CONTROLLER",
            "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
            "log.dirs": folder / "data",
            "offsets.topic.replication.factor": 1,
            "offsets.topic.num.partitions": 1,
            "transaction.state.log.replication.factor": 1,
            "transaction.state.log.min.isr": 1,
            "group.initial.rebalance.delay.ms": 0,
        }
        file = folder / "server.properties"
        file.write_text("".join(f"{key}={value}\n" for key, value in properties.items()))
        program = [*_java(256), "-cp", f"{jars}/*"]
        cluster_id = "MkU3OEVBNTcwNTJENDM2Qg"  # any 16 bytes in base64
        formatted = [*program, "kafka.tools.StorageTool", "format", "-t", cluster_id, "-c", str(file)]
        subprocess.run(formatted, check=True, capture_output=True)
        with serving([*program, "kafka.Kafka", str(file)], lambda: _is_listening(port), folder=folder, log="kafka.log"):
            yield f"{LOOPBACK}:{port}"


class DataRentgen(NamedTuple):
    """The addresses of a running Data.Rentgen."""

    api: Api
    """Its interface for readers, `/v1/runs` and the like."""
    ingest_url: str
    """Its HTTP entry for events, which takes them at `/v1/openlineage` from whoever has the token."""
    token: str
    broker: str
    """The Kafka behind it, `host:port`, which it reads from the topic `input.runs`."""


@contextmanager
def data_rentgen(cluster: PostgreSQL, python: Path) -> Iterator[DataRentgen]:
    """Run Data.Rentgen: the consumer of its Kafka topic, the server for readers, and the HTTP entry.

    Args:
        cluster: has a database of its own for it.
        python: has Data.Rentgen installed.

    """
    with ExitStack() as stack:
        folder = stack.enter_context(temporary_folder())
        broker = stack.enter_context(kafka())
        prefix = "DATA_RENTGEN__"
        auth = "data_rentgen.server.providers.auth.dummy_provider.DummyAuthProvider"
        env = {
            **os.environ,
            f"{prefix}DATABASE__URL": f"postgresql+asyncpg://postgres:none@{cluster.create_database('rentgen')}",
            f"{prefix}KAFKA__BOOTSTRAP_SERVERS": json.dumps([broker]),
            f"{prefix}CONSUMER__AUTO_OFFSET_RESET": "earliest",
            f"{prefix}AUTH__PROVIDER": auth,
            f"{prefix}AUTH__ACCESS_TOKEN__SECRET_KEY": "of no use outside this test",
            f"{prefix}AUTH__PERSONAL_TOKENS__ENABLED": "true",
            f"{prefix}AUTH__PERSONAL_TOKENS__SECRET_KEY": "of no use outside this test",
            f"{prefix}SERVER__STATIC_FILES__ENABLED": "false",
        }
        for step in (["db.migrations", "upgrade", "head"], ["db.scripts.create_partitions"]):
            _succeed([str(python), "-m", f"data_rentgen.{step[0]}", *step[1:]], cwd=folder, env=env)
        urls = {}
        ports = free_ports(3)
        for service, port in zip(("consumer", "server", "http2kafka"), ports, strict=True):
            urls[service] = f"http://{LOOPBACK}:{port}"
            command = [str(python), "-m", f"data_rentgen.{service}", "--host", LOOPBACK, "--port", str(port)]
            ready = _pinged(urls[service])
            stack.enter_context(serving(command, ready, folder=folder, log=f"{service}.log", env=env))
        login = {"grant_type": "password", "username": "e2e", "password": "any"}
        answer = Api(urls["server"]).request("POST", "/v1/auth/token", data=login)
        user = Api(urls["server"], answer.json()["access_token"])
        token = str(user.post("/v1/personal-tokens", {"name": "e2e"})["content"])
        yield DataRentgen(Api(urls["server"], token), urls["http2kafka"], token, broker)


def _pinged(url: str) -> Callable[[], bool]:
    return lambda: Api(url).answers("/monitoring/ping")


def _is_listening(port: int) -> bool:
    with suppress(OSError), socket.create_connection((LOOPBACK, port), timeout=1):
        return True
    return False


def _java(megabytes: int) -> list[str]:
    java = shutil.which("java")
    if java is None:
        raise UnavailableError("java is not on PATH: install a Java runtime, 17 or later")
    # These start fast and stay small, which counts for more here than throughput.
    return [java, "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", f"-Xmx{megabytes}m"]


def _succeed(command: Sequence[str], cwd: Path | None = None, env: Mapping[str, str] | None = None) -> str:
    done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=cwd, env=env)
    assert done.returncode == 0, f"{command}: {done.returncode}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
    return done.stdout


def _kafka_jars() -> Path:
    """Return the folder of the cache with Kafka and all that it needs at run time."""
    with cached(f"kafka-{_KAFKA[-1]}") as (folder, complete):
        if not complete:
            wanted = ":".join(_KAFKA)
            maven = shutil.which("mvn")
            if maven is None:
                raise UnavailableError(
                    f"mvn is not on PATH to fetch {wanted}: install Maven, or set {options.CACHE_VARIABLE}"
                )
            with temporary_folder() as project:
                (project / "pom.xml").write_text(_POM.format(*_KAFKA))
                goal = ["dependency:copy-dependencies", "-DincludeScope=runtime", f"-DoutputDirectory={folder}"]
                command = [maven, "-q", "-B", "-U", *goal]
                done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=project)
            if done.returncode != 0:
                # Maven writes to its standard output, and resets colours that it never set.
                said = re.sub(r"\x1b\[[\d;]*m", "", f"{done.stdout}\n{done.stderr}")
                first = next((line.strip() for line in said.splitlines() if line.strip()), "no message")
                raise UnavailableError(f"Maven cannot get {wanted}, let it reach a repository: {first}")
    return folder
