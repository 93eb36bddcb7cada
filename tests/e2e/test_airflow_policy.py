"""The cluster policy in real Airflows of two series: DAGs whose authors never heard of it, read and run by Airflow."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from openlineage_pod import ParentContext
from openlineage_pod.datasets.dataset import dataset
from openlineage_pod.settings import Settings
from tests.e2e.airflow_venvs import airflow_python, installed_package
from tests.e2e.conftest import skipping
from tests.support.constants import ROOT

if TYPE_CHECKING:
    from collections.abc import Mapping

pytestmark = pytest.mark.airflow

HERE = Path(__file__).parent / "airflow_policy"
# Nothing listens there: the operators look at their cluster's configuration, and start no pod.
CLUSTER = {
    "apiVersion": "v1",
    "kind": "Config",
    "current-context": "none",
    "contexts": [{"name": "none", "context": {"cluster": "none", "user": "none"}}],
    "clusters": [{"name": "none", "cluster": {"server": "http://127.0.0.1:9"}}],
    "users": [{"name": "none", "user": {}}],
}
ON = {
    "AIRFLOW__OPENLINEAGE_POD__INJECT": "true",
    "AIRFLOW__OPENLINEAGE_POD__URL": "http://marquez:5000",
    "AIRFLOW__OPENLINEAGE_POD__ENDPOINT": "events/openlineage/spark/api/v1/lineage",
    "AIRFLOW__OPENLINEAGE_POD__API_KEY_SECRET": "openlineage",
}
LINK = {
    "OPENLINEAGE_CONTEXT",
    "OPENLINEAGE_NAMESPACE",
    *(
        f"OPENLINEAGE_{prefix}PARENT_{part}"
        for prefix in ("", "ROOT_")
        for part in ("ID", "RUN_ID", "JOB_NAME", "JOB_NAMESPACE")
    ),
}
BACKEND = {"OPENLINEAGE_URL", "OPENLINEAGE_ENDPOINT", "OPENLINEAGE_API_KEY"}
BY_HAND = "01938a60-0000-7000-8000-000000000000"
TIMEOUT = 600


class Airflow(NamedTuple):
    """An Airflow with a database of its own."""

    series: str
    python: Path
    site: Path
    folder: Path

    def done(
        self,
        dags: str,
        *what: str,
        package: bool = True,
        environ: Mapping[str, str] | None = None,
        beside: Path | None = None,
    ) -> Done:
        """Let Airflow read some of the DAGs in a new process, and run them if `what` says so.

        Args:
            dags: their names.
            what: "run", or nothing.
            package: whether this package is installed.
            environ: for the process, over its settings.
            beside: a folder with another package that is installed.

        """
        folder = Path(tempfile.mkdtemp(dir=self.folder))
        result, reports, events = folder / "result.json", folder / "reports", folder / "events.jsonl"
        reports.mkdir()
        transport = {"type": "file", "log_file_path": str(events), "append": True}
        env = {
            **self.environ(),
            "DAGS": dags,
            "REPORTS": str(reports),
            "AIRFLOW__OPENLINEAGE__TRANSPORT": json.dumps(transport),
            "AIRFLOW__OPENLINEAGE__NAMESPACE": "prod",
            **(environ or {}),
        }
        env["PYTHONPATH"] = os.pathsep.join(map(str, filter(None, [self.site if package else None, beside])))
        log = self.succeed([self.python, HERE / "driver.py", result, *what], env)
        return Done(
            json.loads(result.read_text()),
            {file.stem: json.loads(file.read_text()) for file in reports.iterdir()},
            [json.loads(line) for line in events.read_text().splitlines()] if events.exists() else [],
            log,
        )

    def environ(self) -> dict[str, str]:
        """Return what every process of this Airflow needs."""
        other = {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "OPENLINEAGE"))}
        return {
            **other,
            "AIRFLOW_HOME": str(self.folder / "home"),
            "AIRFLOW__CORE__DAGS_FOLDER": str(self.folder / "dags"),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "false",
            "KUBECONFIG": str(self.folder / "cluster.json"),
            "NO_PROXY": "*",
            "PATH": f"{self.python.parent}{os.pathsep}{os.environ['PATH']}",
            # Else the log breaks its lines at the width of a terminal, and colours them.
            "COLUMNS": "1000",
            "NO_COLOR": "1",
            # Some operators list their fields in the order of a set, and the serialised DAG with them.
            "PYTHONHASHSEED": "0",
        }

    def succeed(self, command: list[Any], env: Mapping[str, str]) -> str:
        """Run a command to its good end, and return what it logged."""
        done = subprocess.run(
            command,
            check=False,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=env,
            timeout=TIMEOUT,
            cwd=self.folder,
        )
        assert done.returncode == 0, done.stdout[-4000:]
        return done.stdout


class Done(NamedTuple):
    """What one process of Airflow did."""

    found: dict[str, Any]
    reports: dict[str, list[dict[str, Any]]]
    events: list[dict[str, Any]]
    log: str

    def env(self, task: str, map_index: int = -1) -> dict[str, str]:
        """Return the environment that a task asked for; what comes from a secret is empty."""
        return {each["name"]: each.get("value", "") for each in self.reports[f"{task}.{map_index}"]}

    def key(self, task: str) -> Any:
        """Return where a task's API key comes from, None if it has none."""
        [*found] = [each for each in self.reports[f"{task}.-1"] if each["name"] == "OPENLINEAGE_API_KEY"]
        return found[-1]["valueFrom"]["secretKeyRef"] if found else None

    def run_ids(self, job: str) -> set[str]:
        """Return the run ids with which Airflow itself reported the start of a job."""
        named = (event for event in self.events if event["job"]["name"] == job)
        return {event["run"]["runId"] for event in named if event["eventType"] == "START"}


@pytest.fixture(scope="module", params=["3", "2"])
def airflow(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Airflow:
    """Return a real Airflow with this package installed beside it, as a user installs it."""
    folder = tmp_path_factory.mktemp(f"airflow{request.param}-")
    with skipping():
        python = airflow_python(request.param)
        made = Airflow(request.param, python, installed_package(python, folder), folder)
    (folder / "dags").mkdir()
    (folder / "dags" / "dags.py").symlink_to(HERE / "dags.py")
    (folder / "cluster.json").write_text(json.dumps(CLUSTER))
    made.succeed([made.python.parent / "airflow", "db", "migrate"], made.environ())
    return made


@pytest.fixture(scope="module")
def ran(airflow: Airflow) -> Done:
    """Return what came of running the DAGs with the policy on, in one process."""
    return airflow.done("forms,defaults,declared,native", "run", environ=ON)


@pytest.fixture(scope="module")
def read(airflow: Airflow) -> Done:
    """Return what came of reading the odd DAG with the policy on."""
    return airflow.done("odd", environ=ON)


@pytest.fixture(scope="module")
def without(airflow: Airflow) -> Done:
    """Return what Airflow finds where this package is not installed."""
    return airflow.done("forms,defaults,declared,native,odd", package=False)


def linked(done: Done, task: str, map_index: int = -1) -> ParentContext:
    """Return the parent that a task's pod finds."""
    parent = ParentContext.from_env(done.env(task, map_index))
    assert parent is not None
    return parent


def test_all_dags_run(ran: Done) -> None:
    """Airflow reads and runs every DAG to its good end with the policy."""
    assert ran.found["errors"] == {}
    assert set(ran.found["states"]) == {"forms", "defaults", "declared", "7"}
    assert {state.rpartition(".")[2].lower() for state in ran.found["states"].values()} == {"success"}


@pytest.mark.parametrize(
    "task",
    [
        "forms.plain",
        "forms.own_dict",
        "forms.own_list",
        "forms.own_backend",
        "forms.own_key",
        "forms.shared_a",
        "forms.shared_b",
        "forms.team",
        "forms.job",
        "forms.docker",
        "forms.decorated",
        "forms.decorated_docker",
        "defaults.plain",
        "declared.ingest",
        "7.plain",
    ],
)
def test_pod_is_linked_to_the_run_that_airflow_reports(airflow: Airflow, ran: Done, task: str) -> None:
    """The pod of an unchanged DAG finds the run id of its task's own events as its parent, and the DAG run as root."""
    parent = linked(ran, task)
    assert {parent.run_id} == ran.run_ids(task)
    assert (parent.job_namespace, parent.job_name) == ("prod", task)
    dag = task.partition(".")[0]
    # The DAG run's own start is not reported by such a run; its end is, by the later series, which has a root.
    ended = {event["run"]["runId"] for event in ran.events if event["job"]["name"] == dag}
    if airflow.series == "3":
        assert parent.root is not None
        assert ({parent.root.run_id}, parent.root.job_name) == (ended, dag)
    else:
        assert parent.root is None


def test_command_decorator(airflow: Airflow, ran: Done) -> None:
    """`@task.kubernetes_cmd`, which only the later series has, is linked alike."""
    if airflow.series == "2":
        assert "forms.decorated_command.-1" not in ran.reports
    else:
        assert {linked(ran, "forms.decorated_command").run_id} == ran.run_ids("forms.decorated_command")


@pytest.mark.parametrize(
    ("task", "count"),
    [
        ("forms.mapped", 2),
        ("forms.mapped_own", 1),
        ("forms.mapped_own_list", 1),
        ("forms.mapped_kwargs", 2),
        ("forms.mapped_kwargs_plain", 1),
        ("forms.decorated_mapped", 2),
        ("defaults.mapped", 1),
        ("defaults.mapped_kwargs", 2),
        ("defaults.group.mapped", 1),
        ("declared.mapped", 1),
    ],
)
def test_each_mapped_task_is_linked(ran: Done, task: str, count: int) -> None:
    """Of a mapped task each pod finds the run of its own task instance."""
    assert {linked(ran, task, index).run_id for index in range(count)} == ran.run_ids(task)
    assert f"{task}.{count}" not in ran.reports


def test_variables_of_the_dag_stand(ran: Done) -> None:
    """What the DAG sets itself is there as it set it, in either form, beside ours."""
    assert ran.env("forms.own_dict")["OPENLINEAGE_NAMESPACE"] == "theirs"
    assert ran.env("forms.docker")["OPENLINEAGE_NAMESPACE"] == "theirs"
    for task in ("forms.own_dict", "forms.own_list", "forms.docker"):
        assert len(ran.env(task)["MINE"]) == len("2026-01-01")
        assert ran.env(task).keys() >= LINK | {"OPENLINEAGE_URL"}
    names = [each["name"] for each in ran.reports["forms.own_dict.-1"]]
    assert len(names) == len(set(names))


@pytest.mark.parametrize(
    ("task", "own"),
    [
        ("forms.own_parent", {"OPENLINEAGE_PARENT_RUN_ID", "OPENLINEAGE_PARENT_JOB_NAME"}),
        ("forms.own_root", {"OPENLINEAGE_ROOT_PARENT_ID"}),
        ("forms.own_spec", {"OPENLINEAGE_CONTEXT"}),
    ],
)
def test_parent_by_hand_is_the_only_one(ran: Done, task: str, own: set[str]) -> None:
    """A DAG that names a parent or a root in any form gets no other form, which the pod might prefer."""
    assert set(ran.env(task)) == own | BACKEND


def test_what_a_container_is_given_otherwise(ran: Done) -> None:
    """What stands in a container's private environment or file of variables counts as set by the DAG, too."""
    assert ran.env("forms.own_private").keys() == {"OPENLINEAGE_PARENT_ID", "OPENLINEAGE_URL", "OPENLINEAGE_ENDPOINT"}
    assert ran.env("forms.own_file").keys() == LINK


def test_default_environments_are_kept(ran: Done) -> None:
    """Environments from the defaults of a DAG or a task group reach each pod that had them, mapped or not."""
    assert ran.env("defaults.plain")["DEFAULT"] == "dag"
    assert ran.env("defaults.mapped", 0)["DEFAULT"] == "dag"
    assert ran.env("defaults.group.mapped", 0)["DEFAULT"] == "group"
    # Of a task that is expanded over environments, only what names none has the default.
    assert "DEFAULT" not in ran.env("defaults.mapped_kwargs", 0)
    assert ran.env("defaults.mapped_kwargs", 0)["MINE"] == "1"
    assert ran.env("defaults.mapped_kwargs", 1)["DEFAULT"] == "dag"


def test_expanded_environments(ran: Done) -> None:
    """Each environment that a task is expanded over is completed by itself."""
    assert ran.env("forms.mapped_env", 0).keys() == {"MINE"} | LINK | BACKEND
    assert {linked(ran, "forms.mapped_env", 0).run_id} <= ran.run_ids("forms.mapped_env")
    by_hand = ran.env("forms.mapped_env", 1)
    assert by_hand.keys() == {"MINE", "OPENLINEAGE_PARENT_ID"} | BACKEND
    assert (by_hand["MINE"], by_hand["OPENLINEAGE_PARENT_ID"]) == ("2", f"ns/by.hand/{BY_HAND}")
    assert ran.env("forms.mapped_kwargs", 0)["MINE"] == "1"


def test_arguments_from_another_task(ran: Done) -> None:
    """A task whose arguments come from another task stays as it is, also without our key, and a line says so."""
    assert ran.env("forms.mapped_unknown", 0).keys() == {"MINE"}
    assert ran.env("forms.mapped_unknown", 1).keys() == set()
    reason = "expands over arguments from another task, which may name env_vars, so the pod is not linked"
    assert f"DAG forms: task mapped_unknown {reason}" in ran.log


def test_shared_environment_is_not_changed(ran: Done) -> None:
    """Two tasks that share one dictionary do not see each other's datasets."""
    assert "OPENLINEAGE_POD_INPUTS" in ran.env("forms.shared_a")
    assert "OPENLINEAGE_POD_INPUTS" not in ran.env("forms.shared_b")
    assert ran.env("forms.shared_b")["MINE"] == "shared"


def test_backend(ran: Done) -> None:
    """Pods get the URL, and the key by reference to a secret that need not be there; containers of Docker no key."""
    assert ran.env("forms.plain")["OPENLINEAGE_URL"] == "http://marquez:5000"
    assert ran.env("forms.plain")["OPENLINEAGE_ENDPOINT"] == "events/openlineage/spark/api/v1/lineage"
    optional = {"name": "openlineage", "key": "api-key", "optional": True}
    for task in ("forms.plain", "forms.own_dict", "forms.own_list", "forms.decorated", "forms.job"):
        assert ran.key(task) == optional
    assert ran.env("forms.docker").keys() & BACKEND == {"OPENLINEAGE_URL", "OPENLINEAGE_ENDPOINT"}
    assert ran.env("forms.mapped", 0).keys() >= BACKEND


def test_backend_of_the_dag_stands(ran: Done) -> None:
    """A DAG with its own URL gets no key of another backend; one with its own key keeps it."""
    assert ran.env("forms.own_backend")["OPENLINEAGE_URL"] == "http://theirs"
    assert ran.key("forms.own_backend") is None
    assert ran.key("forms.own_key") == {"name": "theirs", "key": "key"}
    assert len([each for each in ran.reports["forms.own_key.-1"] if each["name"] == "OPENLINEAGE_API_KEY"]) == 1


def test_declared_datasets_are_named_as_in_the_pod(ran: Done) -> None:
    """Inlets and outlets reach the pod with the names that a job inside gives them; a template is none of them."""
    found = Settings.from_env(ran.env("declared.ingest"))
    assert found.problems == ()
    inputs = [dataset(each) for each in found.inputs]
    assert [each[:2] for each in inputs] == [
        dataset(each)[:2]
        for each in (
            "file:///data/in.csv",
            "s3://lake/in",
            ("postgres://warehouse:5432", 'crm.public."accounts"'),
            "s3://lake/file",
            "file:///data/file",
        )
    ]
    [output] = (dataset(each) for each in found.outputs)
    assert output[:2] == dataset("postgres://warehouse:5432/crm.public.t")[:2]
    assert [(each["name"], each["type"]) for each in output.facets["schema"]["fields"]] == [("id", "bigint")]
    [output] = Settings.from_env(ran.env("declared.mapped", 0)).outputs
    assert output == {"namespace": "s3://lake", "name": "out"}


def test_credentials_in_declared_datasets(ran: Done) -> None:
    """A password in the address of an inlet is not in the environment, which others may read."""
    environ = ran.env("declared.secretive")
    assert "hunter2" not in json.dumps(environ)
    first, second = Settings.from_env(environ).inputs
    assert first == {"namespace": "postgres://warehouse:5432", "name": "crm.public.a"}
    assert "@" not in dataset(second).namespace or "***" in dataset(second).namespace


def test_more_datasets_than_a_variable_holds(ran: Done) -> None:
    """A pod whose declared datasets would keep its command from starting gets none of them, and a warning says so."""
    assert "OPENLINEAGE_POD_INPUTS" not in ran.env("declared.many")
    assert "OPENLINEAGE_PARENT_ID" in ran.env("declared.many")
    assert "task declared.many: its inlets are too many for an environment variable, and left out" in ran.log


def test_native_rendering(ran: Done) -> None:
    """In a DAG that renders literals as values, even one whose name is a number, the environment stays text."""
    env = {each["name"]: each["value"] for each in ran.reports["7.plain.-1"] if "value" in each}
    assert {type(value) for value in env.values()} == {str}
    assert Settings.from_env(env).inputs == ({"namespace": "s3://lake", "name": "in"},)


def test_type_of_the_environment_is_kept(airflow: Airflow, ran: Done, without: Done) -> None:
    """A dictionary stays one, and a list a list of the same objects: each as the operator holds it."""
    before, after = (done.found["first"]["forms"]["tasks"] for done in (without, ran))
    kinds = {name: (shown["type"], shown["of"]) for name, shown in after.items()}
    for name in (
        "plain",
        "team",
        "own_dict",
        "own_list",
        "own_parent",
        "shared_b",
        "docker",
        "mapped_own",
        "mapped_own_list",
    ):
        assert kinds[name] == (before[name]["type"], before[name]["of"] or kinds[name][1])
    assert kinds["own_list"] == kinds["plain"] == ("list", "V1EnvVar")
    assert kinds["own_dict"][0] == ("dict" if airflow.series == "3" else "list")


OTHER_POLICY = """
from airflow.policies import hookimpl
from kubernetes.client import V1EnvVar

@hookimpl
def task_policy(task):
    if task.task_id == "plain":
        task.env_vars.append(V1EnvVar(name="THEIRS", value="1"))
    if task.task_id == "own_dict":
        task.env_vars = {**task.env_vars, "OPENLINEAGE_PARENT_ID": "ns/theirs/01938a60-0000-7000-8000-000000000000"}
"""


@pytest.mark.parametrize("airflow", ["3"], indirect=True)
@pytest.mark.parametrize("name", ["a_policy", "z_policy"])
def test_policy_of_another_package(name: str, airflow: Airflow, tmp_path: Path) -> None:
    """Another package's policy finds each task as its DAG made it, and ours sees what it added."""
    (tmp_path / f"{name}.py").write_text(OTHER_POLICY)
    metadata = tmp_path / f"{name}-1.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n")
    (metadata / "entry_points.txt").write_text(f"[airflow.policy]\n{name} = {name}\n")
    done = airflow.done("forms", environ=ON, beside=tmp_path)
    assert done.found["errors"] == {}
    plain, own_dict = (done.found["first"]["forms"]["tasks"][task]["text"] for task in ("plain", "own_dict"))
    assert "THEIRS" in plain
    assert "OPENLINEAGE_CONTEXT" in plain
    assert "OPENLINEAGE_URL" in own_dict
    assert "OPENLINEAGE_CONTEXT" not in own_dict


POD = "airflow.providers.cncf.kubernetes.operators.pod.KubernetesPodOperator"
OPT_OUTS = {
    # variables; the tasks that Airflow does not report, and those that it does
    "selective_enable": (
        {"AIRFLOW__OPENLINEAGE__SELECTIVE_ENABLE": "true"},
        ("plain", "by_hand"),
        ("enabled", "enabled_by_hand"),
    ),
    "disabled_for_operators": (
        {"AIRFLOW__OPENLINEAGE__DISABLED_FOR_OPERATORS": POD},
        ("plain", "by_hand"),
        ("enabled", "enabled_by_hand"),
    ),
    "emission_policy": (
        {
            "AIRFLOW__OPENLINEAGE__EMISSION_POLICY": json.dumps(
                [{"scope": {"operator": POD}, "controls": {"emit": False}}]
            )
        },
        ("plain", "by_hand", "silent", "silent_by_hand"),
        ("enabled", "enabled_by_hand"),
    ),
    "author": ({}, ("silent", "silent_by_hand"), ("plain", "by_hand")),
}
ONLY_3 = ("emission_policy", "author")


@pytest.mark.parametrize(
    ("airflow", "option"),
    # The provider of Airflow 2's time has no emission policy, and so no word for an author to opt out with.
    [("3", option) for option in OPT_OUTS] + [("2", option) for option in OPT_OUTS if option not in ONLY_3],
    indirect=["airflow"],
)
def test_task_that_opted_out(option: str, airflow: Airflow) -> None:
    """The pod of a task that Airflow does not report has no parent, by policy or by hand; the policy adds nothing."""
    environ, unreported, reported = OPT_OUTS[option]
    done = airflow.done("opted", "run", environ={**ON, **environ})
    assert done.found["errors"] == {}
    for task in reported:
        assert {linked(done, f"opted.{task}").run_id} == done.run_ids(f"opted.{task}") != set()
    for task in unreported:
        assert done.run_ids(f"opted.{task}") == set()
        env = done.env(f"opted.{task}")
        assert {env.get(name, "") for name in LINK} == {""}
        assert not env.keys() & (BACKEND | {"OPENLINEAGE_POD_INPUTS"})
        assert ParentContext.from_env(env) is None
    assert "opted out of OpenLineage, so the pod is not linked" in done.log


@pytest.mark.usefixtures("airflow")
@pytest.mark.parametrize("airflow", ["3"], indirect=True)
def test_size_of_a_serialised_dag(without: Done, ran: Done) -> None:
    """The serialised DAG, of which the scheduler stores every version, grows by little for each pod."""
    before, after = (len(json.dumps(done.found["first"]["forms"]["serialised"])) for done in (without, ran))
    pods = len([name for name in ran.found["first"]["forms"]["tasks"] if name != "upstream"])
    assert (after - before) / pods < 2200


def test_policy_twice_is_policy_once(ran: Done, read: Done) -> None:
    """Airflow applies it in several processes to the same task: a second time changes nothing."""
    for done in (ran, read):
        assert done.found["again"] == done.found["first"]


def test_without_datasets_the_provider_is_not_imported(airflow: Airflow) -> None:
    """A DAG whose tasks declare no datasets is read without the slow import that names them."""
    done = airflow.done("defaults", environ=ON)
    assert "OPENLINEAGE_CONTEXT" in done.found["first"]["defaults"]["tasks"]["plain"]["text"]
    assert done.found["extractors"] == []


def test_errors_are_one_line_and_nothing_else(read: Done, without: Done) -> None:
    """What raises while it is looked at is one warning with the task's name; the task and all others are read."""
    assert read.found["errors"] == {}
    before, after = (done.found["first"]["odd"]["tasks"] for done in (without, read))
    line = "task odd.hostile: could not link it to its pod (RuntimeError: look away: second line)"
    # Once for each time that the policy was applied.
    assert sum(line in each for each in read.log.splitlines()) == 2
    assert after["hostile"] == before["hostile"]
    assert "task odd.hostile_inlet: left out one of its inlets (RuntimeError: look away)" in read.log
    assert '"s3://lake"' in after["hostile_inlet"]["text"]
    # Once more for the second time, and not for each of its environments.
    assert read.log.count("task odd.mapped_inlets: left out one of its inlets") == 2
    assert "OPENLINEAGE_CONTEXT" in after["fine"]["text"]
    assert "Traceback" not in read.log


@pytest.mark.parametrize(
    ("task", "reason"),
    [
        ("text", "has as its env_vars a str"),
        ("text_of_task", "has as its env_vars a PlainXComArg"),
        ("mapped_env", "expands over env_vars from another task"),
        ("spark", "renders no templates in its env_vars"),
    ],
)
def test_environment_that_is_known_later_is_left_alone(read: Done, without: Done, task: str, reason: str) -> None:
    """A task whose environment cannot be added to stays as it is, and a line says why."""
    before, after = (done.found["first"]["odd"]["tasks"] for done in (without, read))
    assert after[task] == before[task]
    [told, _] = [line for line in read.log.splitlines() if "DAG odd: " in line]  # the policy was applied twice
    assert f"task {task} {reason}" in told
    assert "the pod is not linked" in told


def test_expanded_secrets_are_left_alone(read: Done) -> None:
    """A task that is expanded over secrets is linked, and gets no secret of ours, which would be an error."""
    shown = read.found["first"]["odd"]["tasks"]["mapped_secrets"]
    assert "OPENLINEAGE_CONTEXT" in shown["text"]
    assert shown["secrets"] == []
    assert "task mapped_secrets expands over secrets, so the pod gets no API key" in read.log


@pytest.mark.parametrize(
    ("inject", "warnings"),
    [({}, 0), ({"AIRFLOW__OPENLINEAGE_POD__INJECT": "maybe"}, 1), ({"AIRFLOW__OPENLINEAGE_POD__INJECT": "no"}, 0)],
    ids=["default", "malformed", "no"],
)
def test_off(airflow: Airflow, without: Done, inject: dict[str, str], warnings: int) -> None:
    """Unless it is on, DAGs and their serialised form are as without the package; a slip is one warning."""
    done = airflow.done(
        "forms,defaults,declared,native,odd", environ={**ON, "AIRFLOW__OPENLINEAGE_POD__INJECT": "", **inject}
    )
    assert done.found["first"] == without.found["first"]
    assert done.found["errors"] == {}
    told = [line for line in done.log.splitlines() if "is neither true nor false" in line]
    assert len(told) == warnings
    assert all("[openlineage_pod] inject='maybe' is" in line for line in told)
    assert done.log.count("task forms.") == 0


@pytest.mark.parametrize("airflow", ["3"], indirect=True)
def test_examples_bring_their_own_variables(airflow: Airflow) -> None:
    """Every example names the parent of each of its pods itself, and needs no policy for it."""
    examples = ROOT / "examples" / "airflow"
    done = airflow.done("", environ={"AIRFLOW__CORE__DAGS_FOLDER": str(examples)})
    assert done.found["errors"] == {}
    assert set(done.found["first"]) == {file.stem for file in examples.glob("*.py")}
    shown = [task["text"] for dag in done.found["first"].values() for task in dag["tasks"].values()]
    assert all("'OPENLINEAGE_PARENT_ID': " in text for text in shown)


def test_malformed_backend_is_ignored(airflow: Airflow) -> None:
    """A malformed URL and a key in the place of a secret's name are one warning each, which does not show them."""
    wrong = {
        "AIRFLOW__OPENLINEAGE_POD__URL": "http://u:hidden@marquez",
        "AIRFLOW__OPENLINEAGE_POD__API_KEY_SECRET": "Hidden",
    }
    done = airflow.done("defaults", environ={**ON, **wrong})
    shown = done.found["first"]["defaults"]["tasks"]["plain"]
    assert "OPENLINEAGE_CONTEXT" in shown["text"]
    assert "OPENLINEAGE_URL" not in shown["text"]
    assert shown["secrets"] == []
    assert done.log.count("[openlineage_pod] url is no URL") == 1
    assert done.log.count("[openlineage_pod] api_key_secret is no name") == 1
    assert "hidden" not in done.log.lower()


def test_openlineage_disabled(airflow: Airflow) -> None:
    """Where OpenLineage is disabled in Airflow, every task runs, and its pod finds no parent and nothing malformed."""
    done = airflow.done("declared,native", "run", environ={**ON, "AIRFLOW__OPENLINEAGE__DISABLED": "true"})
    assert {state.rpartition(".")[2].lower() for state in done.found["states"].values()} == {"success"}
    assert done.events == []
    env = done.env("declared.ingest")
    assert {env[name] for name in LINK} == {""}
    assert ParentContext.from_env(env) is None
    assert Settings.from_env(env).problems == ()
    assert len(Settings.from_env(env).inputs) == 5
