"""The examples, the README's snippets and the example image, as a newcomer meets them."""

from __future__ import annotations

import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from openlineage_pod import dataset, environment
from tests.support.constants import AIRFLOW_ENV, PARENT_RUN_ID, ROOT, ROOT_RUN_ID
from tests.support.events import SEEN_EVENTS

EXAMPLES = ROOT / "examples"
README = (ROOT / "README.md").read_text(encoding="utf-8")
DOCKERFILE = (ROOT / "Dockerfile.example").read_text(encoding="utf-8")
SNIPPETS = re.findall(r"^```python\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)
BY_HAND = next(snippet for snippet in SNIPPETS if "openlineage.client" in snippet)
# Airflow is no dependency of this project.
RUNNABLE = [snippet for snippet in SNIPPETS if "import KubernetesPodOperator" not in snippet]
# The job name of nightly_script.py under the parent of AIRFLOW_ENV.
SCRIPT = "etl.ingest.nightly_script"

Event = dict[str, Any]


class Workplace:
    """A working directory in which programs run as in a pod, their events going to a file."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._file = directory / "events.jsonl"

    def run(
        self, *command: str, environ: dict[str, str] | None = None, lineage: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Run a Python program to its end; `lineage`: with a transport and a parent."""
        return subprocess.run(
            [sys.executable, *command],
            cwd=self.directory,
            env={**os.environ, **(self.pod_environ if lineage else {}), **(environ or {})},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    @property
    def pod_environ(self) -> dict[str, str]:
        """What a pod's environment adds: the parent and the transport."""
        transport = {"TYPE": "file", "LOG_FILE_PATH": str(self._file), "APPEND": "true"}
        # What a busy machine may need to import openlineage-python.
        timeout = {"OPENLINEAGE_POD_FLUSH_TIMEOUT": "30"}
        return {
            **AIRFLOW_ENV,
            **timeout,
            **{f"OPENLINEAGE__TRANSPORT__{key}": value for key, value in transport.items()},
        }

    def events(self, path: Path | None = None) -> list[Event]:
        """Return the events in the file, and leave them for the check against the specification."""
        path = path or self._file
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        events = [json.loads(line) for line in lines]
        SEEN_EVENTS.extend(event for event in events if event["producer"].endswith(f"v{_version()}"))
        return events


def _version() -> str:
    from openlineage_pod import __version__

    return __version__


@pytest.fixture
def workplace(tmp_path: Path) -> Workplace:
    """Return an empty working directory."""
    return Workplace(tmp_path)


def example(name: str) -> str:
    """Return the path of an example."""
    return str(EXAMPLES / name)


def parent_id(event: Event) -> str | None:
    """Return the run id of an event's parent."""
    found: str | None = event["run"]["facets"].get("parent", {}).get("run", {}).get("runId")
    return found


def root_id(event: Event) -> str | None:
    """Return the run id at the top of an event's chain."""
    found: str | None = event["run"]["facets"].get("parent", {}).get("root", {}).get("run", {}).get("runId")
    return found


def columns(entry: Event) -> list[str]:
    """Return the names of the columns in a dataset's schema."""
    return [field["name"] for field in entry["facets"]["schema"]["fields"]]


def test_ingest_reports_a_run_linked_to_the_airflow_task(workplace: Workplace) -> None:
    """The job's START and COMPLETE are of one run, and both name the Airflow task and the DAG run."""
    done = workplace.run(example("ingest_accounts.py"))
    events = workplace.events()
    assert done.returncode == 0, done.stderr
    assert [event["eventType"] for event in events] == ["START", "COMPLETE"]
    assert len({event["run"]["runId"] for event in events}) == 1
    assert {(parent_id(event), root_id(event)) for event in events} == {(PARENT_RUN_ID, ROOT_RUN_ID)}
    assert {(event["job"]["namespace"], event["job"]["name"]) for event in events} == {("airflow", "ingest_accounts")}


def test_ingest_reports_the_datasets_as_they_really_are(workplace: Workplace) -> None:
    """Columns, row counts and column lineage of COMPLETE are those of the CSV file and the SQLite table."""
    workplace.run(example("ingest_accounts.py"))
    complete = workplace.events()[-1]
    (source,), (table,) = complete["inputs"], complete["outputs"]
    header, *lines = (EXAMPLES / "data" / "accounts.csv").read_text(encoding="utf-8").splitlines()
    assert columns(source) == header.split(",")
    assert source["inputFacets"]["inputStatistics"]["rowCount"] == len(lines)

    database = workplace.directory / "demo-out" / "accounts.db"
    with closing(sqlite3.connect(database)) as connection:
        fields = [{"name": row[1], "type": row[2]} for row in connection.execute("PRAGMA table_info(accounts)")]
        (rows,) = connection.execute("SELECT count(*) FROM accounts").fetchone()
    assert (table["namespace"], table["name"]) == ("sqlite", f"{database}/accounts")
    assert [{"name": field["name"], "type": field["type"]} for field in table["facets"]["schema"]["fields"]] == fields
    assert table["outputFacets"]["outputStatistics"]["rowCount"] == rows

    lineage = table["facets"]["columnLineage"]["fields"]
    assert sorted(lineage) == sorted(columns(table))
    assert {origin["field"] for column in lineage.values() for origin in column["inputFields"]} <= set(columns(source))


def test_ingest_cleans_its_data(workplace: Workplace) -> None:
    """Each account is there once, in its last version, with trimmed text, ISO dates and no made-up e-mail."""
    workplace.run(example("ingest_accounts.py"), "--database", "accounts.db")
    with closing(sqlite3.connect(workplace.directory / "accounts.db")) as connection:
        rows = {row[0]: row[1:] for row in connection.execute("SELECT * FROM accounts")}
    assert rows[1002] == ("Aldea Foods S.L.", "compras@aldeafoods.example", "ES", "2021-04-02", 9900)
    assert rows[1003] == ("Brightwater Analytics Ltd", "accounts@brightwater.example", "GB", "2021-04-19", 169000)
    assert rows[1004] == ("Fjord & Sønn AS", None, "NO", "2021-05-03", 14900)
    assert rows[1025][3] == "2022-04-04"
    assert 1018 not in rows
    assert len(rows) == 26


def test_ingest_writes_the_same_without_any_lineage_configuration(workplace: Workplace) -> None:
    """Without transport and parent the job's stdout and exit code are the same, and its events lie on stderr."""
    with_lineage = workplace.run(example("ingest_accounts.py"))
    without = workplace.run(example("ingest_accounts.py"), lineage=False)
    assert (without.stdout, without.returncode) == (with_lineage.stdout, 0)
    assert without.stdout == "26 accounts in demo-out/accounts.db (of 30 rows 2 repeated, 2 rejected)\n"
    assert without.stderr.count("OPENLINEAGE_POD_EVENT {") == 2


def test_ingest_finds_its_database_by_the_environment(workplace: Workplace) -> None:
    """ACCOUNTS_DATABASE says where the table is written, as a pod's manifest may."""
    workplace.run(example("ingest_accounts.py"), environ={"ACCOUNTS_DATABASE": "elsewhere/crm.db"})
    assert (workplace.directory / "elsewhere" / "crm.db").exists()
    assert workplace.events()[-1]["outputs"][0]["name"] == f"{workplace.directory}/elsewhere/crm.db/accounts"


def test_a_failing_ingest_keeps_its_place_on_the_graph(workplace: Workplace) -> None:
    """Too many unusable rows: FAIL with the message, both datasets, exit code 1, and the table of before untouched."""
    workplace.run(example("ingest_accounts.py"))
    database = workplace.directory / "demo-out" / "accounts.db"
    before = database.read_bytes()
    done = workplace.run(example("ingest_accounts.py"), "--max-rejected", "1")
    fail = workplace.events()[-1]
    assert done.returncode == 1
    assert fail["eventType"] == "FAIL"
    assert "2 of 30 rows are unusable" in fail["run"]["facets"]["errorMessage"]["message"]
    assert (len(fail["inputs"]), len(fail["outputs"])) == (1, 1)
    assert database.read_bytes() == before


def test_nightly_script_is_a_chain_of_runs(workplace: Workplace) -> None:
    """The steps have the script's run as parent, the program of the first step that step's, and all the same root."""
    done = workplace.run(example("nightly_script.py"))
    assert done.returncode == 0, done.stderr
    events = workplace.events()
    runs: dict[str, list[Event]] = {}
    for event in events:
        runs.setdefault(event["job"]["name"], []).append(event)
    script, load, report = SCRIPT, f"{SCRIPT}.load", f"{SCRIPT}.report"
    assert set(runs) == {script, load, "ingest_accounts", report}
    assert all([event["eventType"] for event in run] == ["START", "COMPLETE"] for run in runs.values())
    run_id = {name: run[0]["run"]["runId"] for name, run in runs.items()}
    assert {name: {parent_id(event) for event in run} for name, run in runs.items()} == {
        script: {PARENT_RUN_ID},
        load: {run_id[script]},
        report: {run_id[script]},
        "ingest_accounts": {run_id[load]},
    }
    assert {root_id(event) for event in events} == {ROOT_RUN_ID}


def test_nightly_steps_meet_at_the_table(workplace: Workplace) -> None:
    """The table that the first step's program writes is, by name and columns, the one that the second step reads."""
    workplace.run(example("nightly_script.py"))
    last = {event["job"]["name"]: event for event in workplace.events()}
    (written,), (read,), (report,) = (
        last["ingest_accounts"]["outputs"],
        last[f"{SCRIPT}.report"]["inputs"],
        last[f"{SCRIPT}.report"]["outputs"],
    )
    assert (read["namespace"], read["name"]) == (written["namespace"], written["name"])
    assert columns(read) == columns(written)
    lines = Path(report["name"]).read_text(encoding="utf-8").splitlines()
    assert columns(report) == lines[0].split(",")
    assert report["outputFacets"]["outputStatistics"]["rowCount"] == len(lines) - 1


def test_nightly_script_fails_with_its_step(workplace: Workplace) -> None:
    """A step that fails ends as FAIL, and so does the script's run; the second step never starts."""
    (workplace.directory / "demo-out").write_text("a file where the directory should be")
    done = workplace.run(example("nightly_script.py"))
    assert done.returncode == 1
    last = {event["job"]["name"]: event["eventType"] for event in workplace.events()}
    assert last == {SCRIPT: "FAIL", f"{SCRIPT}.load": "FAIL", "ingest_accounts": "FAIL"}


def test_demo_shows_a_linked_run_and_a_failing_one(workplace: Workplace) -> None:
    """`make demo`'s program shows the chain, the states, the columns and the error, and says where the events are."""
    done = workplace.run(example("demo.py"), lineage=False, environ={"OPENLINEAGE_URL": "http://127.0.0.1:9"})
    assert done.returncode == 0, done.stdout + done.stderr
    shown = iter(done.stdout.splitlines())
    for expected in (
        r"  crm +DAG run  [0-9a-f-]{36}$",
        r"  └─ crm\.ingest_accounts +task     [0-9a-f-]{36}$",
        r"     └─ ingest_accounts +pod run  [0-9a-f-]{36}$",
        r" START ",
        r" COMPLETE ",
        r"accounts\.csv, 30 rows$",
        r"columns account_id, company, contact_email, country, signed_up,$",
        r"^ +monthly_fee$",
        r"demo-out/accounts\.db/accounts, 26 rows$",
        r"email +TEXT +from contact_email$",
        r" FAIL ",
        r"why: ValueError: 2 of 30 rows are unusable",
        r"^4 events, one a line, in demo-out/events\.jsonl$",
    ):
        assert any(re.search(expected, line) for line in shown), f"{expected} is not shown, or not in this order"
    events = workplace.events(workplace.directory / "demo-out" / "events.jsonl")
    assert [event["eventType"] for event in events] == ["START", "COMPLETE", "START", "FAIL"]
    assert len({root_id(event) for event in events}) == 1
    # The file that is read is shown by its path, as long as that may be.
    assert all(len(line) <= 80 for line in done.stdout.splitlines() if "reads  file:" not in line)


def test_demo_fails_when_the_events_are_not_as_expected(workplace: Workplace) -> None:
    """With a transport that delivers nowhere the demo says what is missing and exits with 1."""
    # The job is told by its own configuration file to write elsewhere: a filter on its name drops its events.
    (workplace.directory / "openlineage.yml").write_text(
        "filters: [{type: exact, match: ingest_accounts}]\n", encoding="utf-8"
    )
    done = workplace.run(example("demo.py"), lineage=False)
    assert done.returncode == 1
    assert "NOT AS EXPECTED: crm.ingest_accounts: the events are ()" in done.stderr


@pytest.mark.parametrize("snippet", SNIPPETS, ids=lambda snippet: snippet.strip().splitlines()[-1].strip()[:40])
def test_readme_snippets_compile(snippet: str) -> None:
    """Every Python snippet of the README is a complete piece of Python."""
    compile(snippet, "README.md", "exec")


@pytest.mark.parametrize("snippet", RUNNABLE, ids=lambda snippet: snippet.strip().splitlines()[-1].strip()[:40])
def test_readme_snippets_run(snippet: str, workplace: Workplace) -> None:
    """Every Python snippet of the README runs as it stands, its tests included, and no warning is logged."""
    program = f"{snippet}\nfor name in [name for name in globals() if name.startswith('test_')]: globals()[name]()\n"
    (workplace.directory / "snippet.py").write_text(program, encoding="utf-8")
    context = {"parent": {"run": {"runId": PARENT_RUN_ID}, "job": {"namespace": "airflow", "name": "etl.ingest"}}}
    done = workplace.run("snippet.py", environ={"OPENLINEAGE_CONTEXT": json.dumps(context)})
    assert (done.returncode, done.stderr) == (0, "")
    events = workplace.events()
    if "lineage_run(" in snippet and "record_events" not in snippet:
        assert events
    for event in events:
        assert parent_id(event) is not None


def test_by_hand_is_the_same_as_the_first_snippet(workplace: Workplace) -> None:
    """The README compares like with like: both snippets report the same job, parent and datasets."""

    def report(snippet: str) -> list[object]:
        file = workplace.directory / "events.jsonl"
        file.unlink(missing_ok=True)
        (workplace.directory / "snippet.py").write_text(snippet, encoding="utf-8")
        context = {"parent": {"run": {"runId": PARENT_RUN_ID}, "job": {"namespace": "airflow", "name": "etl.ingest"}}}
        workplace.run("snippet.py", environ={"OPENLINEAGE_CONTEXT": json.dumps(context)})
        return [
            (
                event["eventType"],
                event["job"]["namespace"],
                event["job"]["name"],
                parent_id(event),
                [(entry["namespace"], entry["name"]) for entry in event["inputs"]],
                [
                    (
                        entry["namespace"],
                        entry["name"],
                        columns(entry),
                        entry["outputFacets"]["outputStatistics"]["rowCount"],
                    )
                    for entry in event["outputs"]
                ],
            )
            for event in workplace.events()
        ]

    reported = report(SNIPPETS[0])
    assert len(reported) == 2
    assert reported == report(BY_HAND)


def test_readme_counts_its_snippets_right() -> None:
    """The numbers of lines that the README compares are those of its two snippets."""

    def lines(snippet: str) -> int:
        return sum(bool(line.strip()) for line in snippet.splitlines())

    assert f"has {lines(SNIPPETS[0])} lines" in README
    assert f"these {lines(BY_HAND)}:" in README


def test_readme_documents_every_environment_variable() -> None:
    """Every variable that environment.py names stands in the README's table."""
    variables = {value for name, value in vars(environment).items() if name.isupper() and isinstance(value, str)}
    # Those that everybody's programs read, and `requests`.
    common = {environment.TMPDIR, environment.LC_CTYPE, environment.PROXY_SUFFIX, environment.NO_PROXY}
    of_requests = {environment.NETRC, environment.REQUESTS_CA_BUNDLE, environment.CURL_CA_BUNDLE}
    variables -= {environment.OWN_PREFIX, environment.CLIENT_PREFIX} | common | of_requests
    variables.add(f"{environment.CLIENT_PREFIX}…")
    table = README.partition("## Environment variables")[2].partition("## ")[0]
    assert {variable for variable in variables if f"`{variable}`" not in table} == set()


def test_readme_has_no_variable_that_the_code_does_not_know() -> None:
    """Every OPENLINEAGE_POD_ variable that the README names is one that environment.py names."""
    assert set(re.findall(r"`(OPENLINEAGE_POD_[A-Z_]+)`", README)) == set(environment.OWN)


def test_own_variables_are_complete() -> None:
    """Each constant of environment.py that begins with our prefix is among those that count as known."""
    named = {value for name, value in vars(environment).items() if name.isupper() and isinstance(value, str)}
    own = {value for value in named if value.startswith(environment.OWN_PREFIX)} - {environment.OWN_PREFIX}
    assert own == set(environment.OWN)


@pytest.mark.parametrize(
    ("uri", "namespace", "name"),
    re.findall(r"^\| `(\S+)` \| `(\S+)` \| `(\S+)` \|$", README, re.MULTILINE),
)
def test_readme_names_datasets_right(uri: str, namespace: str, name: str) -> None:
    """Every row of the README's table of dataset names is what `dataset()` makes of that URI."""
    named = dataset(uri)
    assert (named.namespace, named.name, named.problems) == (namespace, name, ())


def test_readme_links_lead_somewhere() -> None:
    """Every link of the README to a file or a heading of this repository has its target."""
    headings = {
        re.sub(r"[^a-z0-9 -]", "", heading.lower()).replace(" ", "-")
        for heading in re.findall(r"^#+ (.+)$", README, re.MULTILINE)
    }
    for target in re.findall(r"\]\(([^)]+)\)", README):
        if target.startswith("#"):
            assert target[1:] in headings, target
        elif not target.startswith("http"):
            assert (ROOT / target).exists(), target


def test_readme_recipe_delivers_the_printed_events(workplace: Workplace) -> None:
    """The recipe delivers the printed events in an Airflow task log, each line with Airflow's own prefix."""
    printed = workplace.run(example("ingest_accounts.py"), lineage=False).stderr
    log = "".join(
        f"[2026-11-21, 08:02:34 UTC] {{pod_manager.py:490}} INFO - [base] {line}\n" for line in printed.splitlines()
    )
    (workplace.directory / "task.log").write_text(log, encoding="utf-8")
    assert "\nopenlineage-pod replay task.log " in README
    done = workplace.run("-m", "openlineage_pod", "replay", "task.log")
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr == "2 sent, 0 rejected, 0 left, 0 problems\n"
    assert [event["eventType"] for event in workplace.events()] == ["START", "COMPLETE"]


def _instruction(name: str) -> list[str]:
    return re.findall(rf"^{name} (.+)$", DOCKERFILE, re.MULTILINE)


def test_image_starts_the_job_itself() -> None:
    """The ENTRYPOINT has the exec form, so the job and no shell gets SIGTERM, and names a file that is copied in."""
    (entrypoint,) = _instruction("ENTRYPOINT")
    program, script = json.loads(entrypoint)
    assert program == "/opt/venv/bin/python"
    assert any(
        f"{destination}{Path(source).name}" == script and (ROOT / source).exists()
        for source, destination in (line.split() for line in _instruction("COPY") if len(line.split()) == 2)
    )


def test_image_does_not_run_as_root() -> None:
    """The user is a number other than 0, so that Kubernetes can check it for runAsNonRoot."""
    (user,) = _instruction("USER")
    assert user.split(":") == ["1000", "1000"]


def test_image_has_the_base_of_its_builder_and_no_secret() -> None:
    """BASE can be replaced, both stages use it, Python is called python3, and nothing is set that looks like a key."""
    assert _instruction("ARG") == ["BASE=python:3.11-slim"]
    assert _instruction("FROM") == ["${BASE} AS build", "${BASE}"]
    assert not re.search(r"^RUN (?!python3 |/opt/venv/bin/pip |mkdir )", DOCKERFILE, re.MULTILINE)
    assert not re.search(r"(?i)(key|token|password|secret)\s*=", DOCKERFILE)


def test_image_has_all_that_the_package_is_built_from() -> None:
    """Every file that pyproject.toml needs for a build is copied into the build stage."""
    copied = " ".join(_instruction("COPY"))
    assert all(name in copied for name in ("pyproject.toml", "README.md", "LICENSE", "openlineage_pod"))


def test_a_terminated_job_ends_as_abort(workplace: Workplace) -> None:
    """The README's claim about SIGTERM holds for a job of its kind: ABORT is reported, and the signal kills it."""
    program = (
        "import time\nfrom openlineage_pod import lineage_run\n"
        "with lineage_run('sleeper'):\n    print('running', flush=True)\n    time.sleep(60)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program],
        cwd=workplace.directory,
        env={**os.environ, **workplace.pod_environ},
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "running\n"
        process.send_signal(signal.SIGTERM)
    assert process.returncode == -signal.SIGTERM
    assert [event["eventType"] for event in workplace.events()] == ["START", "ABORT"]
