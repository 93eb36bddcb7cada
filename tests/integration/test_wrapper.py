"""`openlineage-pod run`: what becomes of real commands is reported, and the commands do not notice."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.constants import AIRFLOW_ENV, PARENT_RUN_ID, ROOT_RUN_ID
from tests.support.files import owed
from tests.support.harness import by_run, types
from tests.support.processes import child_of, pid_1
from tests.support.waiting import HANGS, at_most, wait_until
from tests.support.wrapping import ADDED, QUICK, message, run, sh, start, start_relay, started, wrapped

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.support.harness import Event, Jobs, Receiver

RUN_ID = "01a1d7b0-8b20-7c3d-9d4e-0123456789ab"


def ends(event: Event) -> tuple[str, str]:
    """Return the type of a terminal event, and its reason."""
    return event["eventType"], "" if event["eventType"] == "COMPLETE" else message(event)


# --- outcomes

TRAPS = "trap 'exit {}' TERM; echo READY; for i in $(seq 3000); do sleep 0.01; done"
READY = "echo READY; exec sleep 60"
OUTCOMES: dict[str, tuple[str, signal.Signals | None, tuple[str, ...], int, str, str]] = {
    # script, signal, options; exit code, event, a part of the reason
    "0": ("exit 0", None, (), 0, "COMPLETE", ""),
    "42": ("exit 42", None, (), 42, "FAIL", "exited with 42"),
    "255": ("exit 255", None, (), 255, "FAIL", "exited with 255"),
    "stopped, 0": (TRAPS.format(0), signal.SIGTERM, (), 0, "COMPLETE", ""),
    "stopped, 3": (TRAPS.format(3), signal.SIGTERM, (), 3, "ABORT", "SIGTERM"),
    "stopped, dies": (READY, signal.SIGTERM, (), 143, "ABORT", "SIGTERM"),
    "SIGINT": (READY, signal.SIGINT, (), 130, "ABORT", "SIGINT"),
    "SIGHUP": (READY, signal.SIGHUP, (), 129, "ABORT", "SIGHUP"),
    "SIGQUIT": (READY, signal.SIGQUIT, (), 131, "ABORT", "SIGQUIT"),
    "SIGUSR1 is no stop": (READY, signal.SIGUSR1, (), 138, "FAIL", "SIGUSR1"),
    "137": ("exit 137", None, (), 137, "FAIL", "exited with 137"),
    "138": ("exit 138", None, (), 138, "FAIL", "exited with 138"),
    "a shell whose child is killed": (
        "exec 2>&-; sh -c 'kill -9 $$'; exit $?",
        None,
        (),
        137,
        "FAIL",
        "exited with 137",
    ),
    "killed": ("kill -9 $$", None, (), 137, "FAIL", "killed by SIGKILL"),
    "crash": ("kill -SEGV $$", None, (), 139, "FAIL", "SIGSEGV"),
    "--kill-after": (
        "trap '' TERM; echo READY; exec sleep 30",
        signal.SIGTERM,
        ("--kill-after", "0.2"),
        137,
        "ABORT",
        "SIGTERM",
    ),
    "--abort-on": ("exit 99", None, ("--abort-on", "98", "--abort-on", "99"), 99, "ABORT", "99"),
    "--complete-on": ("exit 3", None, ("--complete-on", "3"), 3, "COMPLETE", ""),
    "--complete-on another": ("exit 3", None, ("--complete-on", "4"), 3, "FAIL", "exited with 3"),
}


@pytest.mark.parametrize("case", OUTCOMES)
def test_outcomes(case: str, receiver: Receiver, jobs: Jobs) -> None:
    """Each end of a command has its event, with the reason, and the exit code is the command's."""
    script, number, options, code, state, part = OUTCOMES[case]
    job = start(jobs, *sh(script), options=options, environ=receiver.environ)
    if number is not None:
        job.wait_for("READY")
        job.signal(number)
    finished = job.finish()
    assert (finished.returncode, finished.stderr) == (code, "")
    start_event, end = receiver.events()
    assert start_event["eventType"] == "START"
    assert ends(end)[0] == state
    assert part in ends(end)[1]
    assert "memory" not in ends(end)[1]
    assert "killed by the OOM killer" not in ends(end)[1]


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGINT])
def test_a_signal_that_is_survived(number: signal.Signals, receiver: Receiver, jobs: Jobs) -> None:
    """A command that goes on after SIGHUP or SIGINT, longer than the grace period, is COMPLETE when it is."""
    script = f"trap 'echo GOT' {number.name.removeprefix('SIG')}; echo READY; read line; sleep 0.5; exit 0"
    job = start(jobs, *sh(script), environ={**receiver.environ, "OPENLINEAGE_POD_GRACE_PERIOD": "0.2"})
    job.wait_for("READY")
    job.signal(number)
    job.wait_for("GOT")
    finished = job.finish(b"\n")
    assert (finished.returncode, finished.stderr) == (0, "")
    assert types(receiver.events()) == ["START", "COMPLETE"]


def test_sigterm_after_another_stop_signal(receiver: Receiver, jobs: Jobs) -> None:
    """SIGTERM is the reason that counts, and a run that nothing ends is aborted before the grace period is over."""
    script = "trap 'echo GOT' HUP; trap '' TERM; echo READY; read line; read line"
    job = start(jobs, *sh(script), environ={**receiver.environ, "OPENLINEAGE_POD_GRACE_PERIOD": "4"})
    job.wait_for("READY")
    receiver.requests(at_least=1)
    job.signal(signal.SIGHUP)
    job.wait_for("GOT")
    job.signal(signal.SIGTERM)
    assert ends(receiver.events(at_least=2)[1]) == ("ABORT", "stopped by SIGTERM, and killed before it ended")


@pytest.mark.parametrize("broken", ["_ctypes", "logging", "select", "requests", "openlineage_pod.wrapper.reporter"])
def test_a_module_that_cannot_be_imported(broken: str, receiver: Receiver, jobs: Jobs, tmp_path: Path) -> None:
    """Whatever module is missing or broken, the command runs, its exit code is its own, and there is no traceback."""
    (tmp_path / "sitecustomize.py").write_text(f"import sys; sys.modules[{broken!r}] = None")
    environ = {**receiver.environ, "PYTHONPATH": str(tmp_path), "TMPDIR": str(tmp_path)}
    finished = run(jobs, *sh("echo done; exit 7"), environ=environ)
    assert (finished.returncode, finished.stdout) == (7, "done\n")
    assert "Traceback" not in finished.stderr
    assert not list(tmp_path.glob("*.jsonl"))


@pytest.mark.slow
@pytest.mark.serial
def test_imports_that_take_long(receiver: Receiver, jobs: Jobs, tmp_path: Path) -> None:
    """Signals are forwarded at once, and the end is waited for no longer than the flush timeout, whatever they take."""
    (tmp_path / "logging.py").write_text("import time; time.sleep(60)")  # as from a file system that hangs
    environ = {**receiver.environ, "PYTHONPATH": str(tmp_path), "OPENLINEAGE_POD_FLUSH_TIMEOUT": "2"}
    job = start(
        jobs,
        *sh("trap 'echo TERM' TERM; trap 'echo USR1; exit 7' USR1; echo READY; while :; do sleep 0.05; done"),
        environ=environ,
    )
    job.wait_for("READY")
    job.signal(signal.SIGTERM)
    job.wait_for("TERM", seconds=at_most())
    job.signal(signal.SIGUSR1)
    finished = job.finish()
    assert (finished.returncode, finished.duration < at_most(5)) == (7, True)
    assert "take too long" in finished.stderr


@pytest.mark.parametrize(
    ("name", "code", "job"),
    [
        ("no-such-command", 127, "no-such-command"),
        ("/usr/lib/", 126, "lib"),
        ("/", 126, "command"),
        ("", 127, "command"),
    ],
)
def test_command_that_cannot_be_started(name: str, code: int, job: str, receiver: Receiver, jobs: Jobs) -> None:
    """It is a run that failed, the reason is in the event, and its job has a name all the same."""
    assert run(jobs, name, environ=receiver.environ).returncode == code
    start_event, fail = receiver.events()
    assert (start_event["eventType"], fail["eventType"]) == ("START", "FAIL")
    assert f"{name}: " in message(fail)
    assert fail["job"]["name"] == job


def test_as_pid_1(receiver: Receiver, jobs: Jobs) -> None:
    """As PID 1, SIGTERM reaches the command, and the run is aborted."""
    job = start(jobs, *sh(READY), environ=receiver.environ, prefix=pid_1())
    job.wait_for("READY")
    os.kill(child_of(job.pid), signal.SIGTERM)
    assert job.finish(timeout=20).returncode == 143
    assert types(receiver.events()) == ["START", "ABORT"]


@pytest.fixture
def memory_limit() -> Iterator[Path]:
    """Make a control group with a memory limit below our own, or skip the test."""
    groups = dict(line.split(":", 2)[1:] for line in Path("/proc/self/cgroup").read_text().splitlines())
    if "memory" in groups:
        parent, limit = Path(f"/sys/fs/cgroup/memory{groups['memory']}"), "memory.limit_in_bytes"
    else:
        parent, limit = Path(f"/sys/fs/cgroup{groups.get('', '')}"), "memory.max"
    group = parent / f"openlineage-pod-test-{os.getpid()}"
    try:
        group.mkdir()
    except OSError as error:
        pytest.skip(f"no control group can be made: {error}")
    try:
        try:
            (group / limit).write_text(str(150 * 2**20))
        except OSError as error:
            pytest.skip(f"no memory limit can be set: {error}")
        yield group
    finally:
        wait_until(lambda: not (group / "cgroup.procs").read_text(), "the control group is empty")
        group.rmdir()


HUNGRY = (
    "import sys; sys.stdin.readline(); data = bytearray(600 * 2**20); data[::4096] = bytes([1]) * len(data[::4096])"
)


OUT_OF_MEMORY = {
    # the script around the hungry command; exit code, reason
    "the command": ('exec "$@"', 137, "the command was killed because it ran out of memory (OOM)"),
    "its child": (
        '"$@"; exit $?',
        137,
        "the command exited with 137; a process of the container was killed by the OOM killer",
    ),
    "a child that it speaks of in its own way": (
        '"$@" || exit 1',
        1,
        "the command exited with 1; a process of the container was killed by the OOM killer",
    ),
}


@pytest.mark.parametrize("by", OUT_OF_MEMORY)
def test_out_of_memory(by: str, memory_limit: Path, receiver: Receiver, jobs: Jobs) -> None:
    """A command that fails by a real memory limit has a run that failed, and the reason names the OOM killer."""
    script, code, reason = OUT_OF_MEMORY[by]
    command = ("sh", "-c", script, "sh", sys.executable, "-I", "-S", "-c", HUNGRY)
    inside = ("sh", "-c", f'echo $$ > {memory_limit}/cgroup.procs; exec "$@"', "sh")
    job = start(jobs, *command, environ=receiver.environ, prefix=inside)
    receiver.events(at_least=1)  # by now the wrapper needs no further memory, for which the kernel could kill it
    assert job.finish(b"\n").returncode == code
    assert ends(receiver.events()[-1]) == ("FAIL", reason)


# --- what is reported


def test_the_run_and_its_parent(receiver: Receiver, jobs: Jobs) -> None:
    """The job is named after the task and the command, linked to the task, with the declared datasets at its end."""
    options = ("--input", "postgres://warehouse/crm.public.accounts", "--input", "s3://a/b", "--output", "s3://lake/x")
    environ = {**receiver.environ, **AIRFLOW_ENV, "OPENLINEAGE_POD_OUTPUTS": '["s3://lake/dag"]'}
    assert run(jobs, "/bin/true", options=options, environ=environ).returncode == 0
    events = receiver.events()
    assert types(events) == ["START", "COMPLETE"]
    for event in events:
        assert (event["job"]["namespace"], event["job"]["name"]) == ("airflow", "etl.ingest.true")
        assert event["job"]["facets"]["jobType"]["jobType"] == "COMMAND"
        engine = event["run"]["facets"]["processing_engine"]
        assert (engine["name"], engine["version"]) == ("true", "0+unknown")
        parent = event["run"]["facets"]["parent"]
        assert (parent["run"]["runId"], parent["root"]["run"]["runId"]) == (PARENT_RUN_ID, ROOT_RUN_ID)
        assert [dataset["name"] for dataset in event["inputs"]] == ["crm.public.accounts", "b"]
        assert sorted(dataset["name"] for dataset in event["outputs"]) == ["dag", "x"]
    assert len(by_run(events)) == 1


def test_the_command_hears_of_its_own_job_type(receiver: Receiver, jobs: Jobs) -> None:
    """A run inside the command has a command as its parent."""
    script = "from openlineage_pod import lineage_run; lineage_run('inner')(len)('')"
    assert run(jobs, sys.executable, "-c", script, environ=receiver.environ).returncode == 0
    inner = next(event for event in receiver.events() if event["job"]["name"] == "inner")
    assert inner["run"]["facets"]["parent"]["job"]["facets"]["jobType"]["jobType"] == "COMMAND"


def test_names(receiver: Receiver, jobs: Jobs) -> None:
    """The options name the job, else the environment does; the run id is the one that the environment gives."""
    environ = {
        **receiver.environ,
        **AIRFLOW_ENV,
        "OPENLINEAGE_JOB_NAME": "by-environment",
        "OPENLINEAGE_RUN_ID": RUN_ID,
        "OPENLINEAGE_NAMESPACE": "environment",
    }
    run(jobs, "true", options=("--job-name", "by-option", "--namespace", "option"), environ=environ)
    run(jobs, "true", environ=environ)
    first, _, second, _ = receiver.events()
    assert (first["job"]["namespace"], first["job"]["name"]) == ("option", "by-option")
    assert (second["job"]["namespace"], second["job"]["name"]) == ("environment", "by-environment")
    assert first["run"]["runId"] == second["run"]["runId"] == RUN_ID


def test_name_of_the_script(receiver: Receiver, jobs: Jobs) -> None:
    """The job has the name of the script behind the interpreter, and a failure names the script's language."""
    script = jobs.file("load.py", "import sys; sys.exit(3)")
    run(jobs, "env", "A=b", sys.executable, "-u", "-X", "dev", str(script), environ={**receiver.environ, **AIRFLOW_ENV})
    start_event, fail = receiver.events()
    assert start_event["job"]["name"] == fail["job"]["name"] == "etl.ingest.load"
    assert fail["run"]["facets"]["errorMessage"]["programmingLanguage"] == "PYTHON"


def test_start_carries_the_time_before_the_command(receiver: Receiver, jobs: Jobs) -> None:
    """START lies before the first thing that the command does, and the end after the last one."""
    finished = run(jobs, *sh("date +%s.%N; sleep 0.3; date +%s.%N"), environ=receiver.environ)
    began, ended = map(float, finished.stdout.split())
    first, last = (datetime.fromisoformat(event["eventTime"]).timestamp() for event in receiver.events())
    assert began - 1 < first <= began
    assert ended <= last < ended + 1


def test_start_is_delivered_while_the_command_runs(receiver: Receiver, jobs: Jobs) -> None:
    """The START does not wait for the end."""
    job = start(jobs, "cat", environ=receiver.environ)
    assert types(receiver.events(at_least=1)) == ["START"]
    assert job.finish(b"on").stdout == "on"
    assert types(receiver.events()) == ["START", "COMPLETE"]


REPORTS = """
echo '{"input": "s3://lake/raw", "rows": 3}' >> "$OPENLINEAGE_POD_REPORT"
echo 'no JSON' >> "$OPENLINEAGE_POD_REPORT"
echo '{"output": "s3://lake/accounts", "rows": 10}' >> "$OPENLINEAGE_POD_REPORT"
echo '{"runFacet": {"nightly": {"batch": 7}}}' >> "$OPENLINEAGE_POD_REPORT"
echo "$OPENLINEAGE_POD_REPORT"
exit 7
"""


def test_report_of_the_command(receiver: Receiver, jobs: Jobs) -> None:
    """What the command reports stands in the terminal event of a failed run, too, and a bad line is named."""
    finished = run(jobs, *sh(REPORTS), environ=receiver.environ)
    assert finished.returncode == 7
    (warning,) = finished.log
    assert "line 2 of OPENLINEAGE_POD_REPORT" in warning
    _, fail = receiver.events()
    assert fail["inputs"][0]["inputFacets"]["inputStatistics"]["rowCount"] == 3
    assert fail["outputs"][0]["outputFacets"]["outputStatistics"]["rowCount"] == 10
    assert fail["run"]["facets"]["nightly"]["batch"] == 7
    assert not Path(finished.stdout.strip()).exists()


# --- the environment of the command

SHOWS_ENVIRONMENT = ("env", "-0")
OWN = {"OPENLINEAGE_RUN_ID", "OPENLINEAGE_JOB_NAME", "OPENLINEAGE_POD_INPUTS", "OPENLINEAGE_POD_OUTPUTS"}


def shown(command: Sequence[str], environ: dict[bytes, bytes], directory: Path) -> dict[bytes, bytes]:
    """Return the environment that a command sees."""
    output = subprocess.run(command, env=environ, cwd=directory, stdout=subprocess.PIPE, check=True).stdout
    return dict(entry.split(b"=", 1) for entry in output.split(b"\0") if entry)


def plain_environ(jobs: Jobs, **further: str) -> dict[bytes, bytes]:
    """Return an environment without a locale, but with odd values."""
    environ = {name: value for name, value in jobs.base_environ().items() if name not in ("LANG", "LC_ALL", "LC_CTYPE")}
    encoded = {os.fsencode(name): os.fsencode(value) for name, value in {**environ, **further}.items()}
    return {**encoded, b"EMPTY": b"", b"LINES": b"a\nb", b"BYTES": b"caf\xe9\xff", b"odd.name-1": b"=x="}


LOCALES = [
    {},
    {"LC_CTYPE": "C"},
    {"LC_CTYPE": "POSIX"},
    {"LC_CTYPE": "C.UTF-8"},
    {"LC_CTYPE": ""},
    {"LC_ALL": "C"},
    {"LANG": "C"},
    {"LC_ALL": "C.UTF-8", "LC_CTYPE": "C"},
    {"LANG": "xx_YY.latin-9"},
]


@pytest.mark.parametrize("locale", LOCALES, ids=str)
def test_the_environment_is_not_polluted(locale: dict[str, str], jobs: Jobs) -> None:
    """Under any locale the command sees the same variables as without us, but for the ones that name its parent."""
    environ = plain_environ(jobs, OPENLINEAGE_POD_LAST_RESORT="off", OPENLINEAGE_POD_FLUSH_TIMEOUT="0", **locale)
    without = shown(SHOWS_ENVIRONMENT, environ, jobs.directory)
    found = shown(wrapped(*SHOWS_ENVIRONMENT), environ, jobs.directory)
    assert {name.decode() for name in found.keys() - without.keys()} == ADDED
    assert {name: found.get(name) for name in without} == without


def test_the_environment_of_a_disabled_run(jobs: Jobs) -> None:
    """Where nothing is reported the environment stays as it is, to the last variable."""
    further = {**AIRFLOW_ENV, "OPENLINEAGE_RUN_ID": RUN_ID, "OPENLINEAGE_JOB_NAME": "x", "OPENLINEAGE_DISABLED": "1"}
    environ = plain_environ(jobs, **further)
    without = shown(SHOWS_ENVIRONMENT, environ, jobs.directory)
    assert shown(wrapped(*SHOWS_ENVIRONMENT), environ, jobs.directory) == without


def test_the_command_sees_its_parent_in_every_form(receiver: Receiver, jobs: Jobs) -> None:
    """All forms name the run of the wrapper and its root; what names the wrapper's own run is not handed down."""
    further = {
        **AIRFLOW_ENV,
        **receiver.environ,
        "OPENLINEAGE_RUN_ID": RUN_ID,
        "OPENLINEAGE_JOB_NAME": "load",
        "OPENLINEAGE_POD_INPUTS": '["s3://a/b"]',
        "OPENLINEAGE_POD_OUTPUTS": '["s3://a/c"]',
        "OPENLINEAGE_API_KEY": "secret",
        "OPENLINEAGE__TRANSPORT__URL": receiver.url,
        "OPENLINEAGE_NAMESPACE": "pods",
    }
    environ = plain_environ(jobs, **further)
    without = shown(SHOWS_ENVIRONMENT, environ, jobs.directory)
    found = shown(wrapped(*SHOWS_ENVIRONMENT), environ, jobs.directory)
    told = {name.decode(): value.decode() for name, value in found.items() if name.startswith(b"OPENLINEAGE")}
    changed = {name for name in without if found.get(name) != without[name]}
    assert {name.decode() for name in changed} == {*OWN, *AIRFLOW_ENV} - {"OPENLINEAGE_ROOT_PARENT_ID"}
    assert not OWN & told.keys()
    assert told["OPENLINEAGE_PARENT_ID"] == f"pods/load/{RUN_ID}"
    assert told["OPENLINEAGE_ROOT_PARENT_ID"] == AIRFLOW_ENV["OPENLINEAGE_ROOT_PARENT_ID"]
    parts = [told[f"OPENLINEAGE_PARENT_{part}"] for part in ("JOB_NAMESPACE", "JOB_NAME", "RUN_ID")]
    assert parts == ["pods", "load", RUN_ID]
    parts = [told[f"OPENLINEAGE_ROOT_PARENT_{part}"] for part in ("JOB_NAMESPACE", "JOB_NAME", "RUN_ID")]
    assert parts == ["airflow", "etl", ROOT_RUN_ID]
    context: dict[str, Any] = json.loads(told["OPENLINEAGE_CONTEXT"])["parent"]
    assert (context["run"]["runId"], context["job"]["name"]) == (RUN_ID, "load")
    assert context["root"]["run"]["runId"] == ROOT_RUN_ID
    assert {event["run"]["runId"] for event in receiver.events()} == {RUN_ID}


PYTHON_JOB = """
from openlineage_pod import lineage_run
with lineage_run():
    pass
"""


def test_nested(receiver: Receiver, jobs: Jobs) -> None:
    """A wrapper inside a wrapper, and a Python job inside that, are linked one below the other, to one root."""
    script = jobs.script(PYTHON_JOB)
    inner = wrapped(sys.executable, str(script), options=("--job-name", "inner"))
    environ = {**receiver.environ, **AIRFLOW_ENV, "OPENLINEAGE_RUN_ID": RUN_ID}
    finished = run(jobs, *inner, options=("--job-name", "outer"), environ=environ)
    assert (finished.returncode, finished.stderr) == (0, "")
    ended = [event for event in receiver.events() if event["eventType"] == "COMPLETE"]
    assert [event["job"]["name"] for event in ended] == ["inner.job", "inner", "outer"]
    assert len(set(by_run(receiver.events()))) == 3
    parents = [event["run"]["facets"]["parent"] for event in ended]
    runs = [event["run"]["runId"] for event in ended]
    assert [parent["run"]["runId"] for parent in parents] == [*runs[1:], PARENT_RUN_ID]
    assert [parent["root"]["run"]["runId"] for parent in parents] == [ROOT_RUN_ID] * 3


def test_nested_as_pid_1_under_sigterm(receiver: Receiver, jobs: Jobs) -> None:
    """SIGTERM goes through both wrappers, and both runs are aborted, the inner one first."""
    inner = wrapped(*sh(READY), options=("--job-name", "inner"))
    job = start(jobs, *inner, options=("--job-name", "outer"), environ=receiver.environ, prefix=pid_1())
    job.wait_for("READY")
    os.kill(child_of(job.pid), signal.SIGTERM)
    assert job.finish(timeout=20).returncode == 143
    aborted = [event["job"]["name"] for event in receiver.events() if event["eventType"] == "ABORT"]
    assert aborted == ["inner", "outer"]


def test_disabled(receiver: Receiver, jobs: Jobs) -> None:
    """With OPENLINEAGE_DISABLED nothing is reported and nothing said, also of a failure after a signal."""
    environ = {**receiver.environ, "OPENLINEAGE_DISABLED": "true"}
    job = start(jobs, *sh(TRAPS.format(3)), environ=environ, prefix=pid_1())
    job.wait_for("READY")
    os.kill(child_of(job.pid), signal.SIGTERM)
    finished = job.finish()
    assert (finished.returncode, finished.stderr) == (3, "")
    assert receiver.requests() == []


# --- backends that are not well


@pytest.mark.serial
@pytest.mark.parametrize("backend", ["none", "refuses", "hangs", "fails", "unusable"])
@pytest.mark.parametrize("stopped", [False, True], ids=["ends", "stopped"])
def test_backend_that_is_not_well(backend: str, stopped: bool, receiver: Receiver, refused: str, jobs: Jobs) -> None:
    """Whatever the backend does, the exit code is the command's, in time, and the events are printed."""
    receiver.script({"action": "hang"} if backend == "hangs" else {"status": 503, "headers": {"Retry-After": "60"}})
    url = {"none": "", "refuses": refused, "unusable": "gopher://x"}.get(backend, receiver.url)
    environ = {"OPENLINEAGE_URL": url, "OPENLINEAGE_POD_FLUSH_TIMEOUT": "0.5"}
    job = start(jobs, *sh(TRAPS.format(7)), environ=environ)
    job.wait_for("READY")
    if backend == "hangs":
        receiver.requests(at_least=1)
    if not stopped:
        os.kill(child_of(job.pid), signal.SIGTERM)
    else:
        job.signal(signal.SIGTERM)
    asked = time.monotonic()
    finished = job.finish(timeout=30)
    assert time.monotonic() - asked < at_most(0.5)
    assert (finished.returncode, finished.stdout) == (7, "READY\n")
    assert types(finished.printed) == ["START", "ABORT" if stopped else "FAIL"]
    assert "Traceback" not in finished.stderr


@pytest.mark.slow
@pytest.mark.serial
def test_grace_period_that_is_shorter_than_the_flush_timeout(receiver: Receiver, jobs: Jobs) -> None:
    """After a stop signal the end of the wrapper keeps within the grace period, and the events are printed before."""
    receiver.script({"action": "hang"})
    environ = {
        **receiver.environ,
        "OPENLINEAGE_POD_GRACE_PERIOD": "6",
        "OPENLINEAGE_POD_FLUSH_TIMEOUT": "60",
    }
    job = start(jobs, *sh(TRAPS.format(3)), environ=environ)
    job.wait_for("READY")
    receiver.requests(at_least=1)
    asked = time.monotonic()
    job.signal(signal.SIGTERM)
    finished = job.finish(timeout=30)
    assert time.monotonic() - asked < at_most(6)
    assert finished.returncode == 3
    assert types(finished.printed) == ["START", "ABORT"]


def test_command_that_outlives_the_grace_period(receiver: Receiver, jobs: Jobs) -> None:
    """Before the end of the grace period the ABORT is delivered, and the command's own end is no second event."""
    environ = {**receiver.environ, "OPENLINEAGE_POD_GRACE_PERIOD": "3.2"}
    job = start(jobs, *sh("trap '' TERM; echo READY; read line; exit 4"), environ=environ)
    job.wait_for("READY")
    job.signal(signal.SIGTERM)
    assert types(receiver.events(at_least=2)) == ["START", "ABORT"]
    finished = job.finish(b"\n")
    assert finished.returncode == 4
    assert types(receiver.events()) == ["START", "ABORT"]


# --- with a spool


def wills(spool: Path) -> list[Event]:
    """Return what others would report of the open runs."""
    found = []
    for path in (spool / "open").glob("*"):
        with suppress(FileNotFoundError):  # withdrawn meanwhile
            found.append(json.loads(path.read_bytes()))
    return found


def identity(event: Event) -> dict[str, Any]:
    """Return what the events of a run have in common."""
    return {"job": event["job"], "parent": event["run"]["facets"]["parent"], "run": event["run"]["runId"]}


@pytest.mark.parametrize("who", ["relay", "next process"])
@pytest.mark.parametrize("stopped", [False, True], ids=["killed", "stopped and killed"])
def test_killed_with_a_spool(who: str, stopped: bool, receiver: Receiver, jobs: Jobs, tmp_path: Path) -> None:
    """The run of a killed wrapper is ended by others, once: as ABORT if it had been stopped before, else as FAIL."""
    spool = tmp_path / "spool"
    environ = {**receiver.environ, **AIRFLOW_ENV, "OPENLINEAGE_POD_SPOOL_DIR": str(spool)}
    job = start(jobs, *sh("trap '' TERM; echo READY; read line"), options=("--output", "s3://a/b"), environ=environ)
    job.wait_for("READY")
    receiver.events(at_least=1)
    # Else it is killed between the delivery and the deletion, and START is delivered again.
    wait_until(lambda: not list((spool / "new").iterdir()), "START is delivered and deleted")
    if stopped:
        job.signal(signal.SIGTERM)
        wait_until(lambda: types(wills(spool)) == ["ABORT"], "the provisional ABORT is in the spool")
    else:
        assert types(wills(spool)) == ["FAIL"]
    os.kill(job.pid, signal.SIGKILL)
    assert job.finish().returncode == -signal.SIGKILL
    if who == "relay":
        relay = start_relay(jobs, spool, receiver.environ)
        receiver.events(at_least=2)
        relay.signal(signal.SIGTERM)
        assert relay.finish().returncode == 0
    else:
        following = start(jobs, "cat", environ={**receiver.environ, "OPENLINEAGE_POD_SPOOL_DIR": str(spool)})
        receiver.wait_for(lambda events: len(events) >= 3)
        assert following.finish().returncode == 0
    assert run(jobs, "true", environ={**environ, "OPENLINEAGE_PARENT_ID": ""}).returncode == 0
    begun, *_ = receiver.events()
    (ended,) = (
        event
        for event in receiver.events()
        if event["run"]["runId"] == begun["run"]["runId"] and event["eventType"] != "START"
    )
    assert identity(ended) == identity(begun)
    assert [dataset["name"] for dataset in ended["outputs"]] == ["b"]
    assert ends(ended)[0] == ("ABORT" if stopped else "FAIL")
    assert ("SIGTERM" if stopped else "killed or out of memory") in message(ended)
    assert [*owed((spool / "new").iterdir(), receiver.events()), *wills(spool)] == []


def test_spool_of_a_run_that_ends_well(receiver: Receiver, jobs: Jobs, tmp_path: Path) -> None:
    """A command that completes after SIGTERM leaves nothing to others."""
    spool = tmp_path / "spool"
    environ = {**receiver.environ, "OPENLINEAGE_POD_SPOOL_DIR": str(spool)}
    job = start(jobs, *sh(TRAPS.format(0)), environ=environ)
    job.wait_for("READY")
    receiver.events(at_least=1)
    job.signal(signal.SIGTERM)
    assert job.finish(timeout=HANGS).returncode == 0
    assert types(receiver.events()) == ["START", "COMPLETE"]
    assert [*owed((spool / "new").iterdir(), receiver.events()), *wills(spool)] == []


# --- at the edges


@pytest.mark.slow
@pytest.mark.serial
def test_last_chance_before_the_kill(refused: str, jobs: Jobs) -> None:
    """A command that goes on after SIGTERM is reported, with all it has told, before the SIGKILL comes."""
    tell = 'echo \'{"output": "s3://lake/accounts"}\' >"$OPENLINEAGE_POD_REPORT"'
    environ = {"OPENLINEAGE_URL": refused, "OPENLINEAGE_POD_GRACE_PERIOD": "4"}
    job = start(jobs, *sh(f"trap '' TERM; {tell}; echo READY; exec sleep 600"), environ=environ)
    job.wait_for("READY")
    asked = time.monotonic()
    job.signal(signal.SIGTERM)
    wait_until(lambda: job.stderr.read_text().count("OPENLINEAGE_POD_EVENT ") == 2, "both events are printed")
    assert time.monotonic() - asked < at_most(4)
    command = child_of(job.pid)
    job.signal(signal.SIGKILL)
    os.kill(command, signal.SIGKILL)
    start_, abort = job.finish().printed
    assert types([start_, abort]) == ["START", "ABORT"]
    assert [each["name"] for each in abort["outputs"]] == ["accounts"]


def test_sigterm_that_the_command_ignores_by_inheritance(receiver: Receiver, jobs: Jobs) -> None:
    """A SIGTERM is a stop also where it is ignored from the start: the SIGKILL comes after it all the same."""
    ignoring = ["sh", "-c", "trap '' TERM; exec \"$@\"", "sh"]
    command = wrapped(*sh("echo READY; exec sleep 600"), options=["--kill-after", "0.1"])
    job = started(jobs, [*ignoring, *command], receiver.environ)
    job.wait_for("READY")
    job.signal(signal.SIGTERM)
    assert job.finish().returncode == 137
    assert ends(receiver.events()[-1]) == ("ABORT", "stopped by SIGTERM; the command was killed by SIGKILL")


def test_signal_that_the_command_ignores_by_inheritance(receiver: Receiver, jobs: Jobs) -> None:
    """Under nohup a SIGHUP asks nobody to end: the command goes on, is not killed, and its failure is its own."""
    script = "trap 'echo ON' USR1; echo READY; until read line; do :; done; exit 7"
    job = started(jobs, ["nohup", *wrapped(*sh(script), options=["--kill-after", "0"])], receiver.environ)
    job.wait_for("READY")
    job.signal(signal.SIGHUP)
    for _ in range(2):  # a SIGKILL would come after the first one
        job.signal(signal.SIGUSR1)
        job.wait_for("ON")
        job.forget()
    assert job.finish(b"\n").returncode == 7
    assert ends(receiver.events()[-1]) == ("FAIL", "the command exited with 7")


@pytest.mark.parametrize(
    ("name", "parent", "shown"), [(b"caf\xe9{{.sh", "etl", "caf???"), (b"load.sh", "x" * 1024, "load")]
)
def test_command_with_an_impossible_name(name: bytes, parent: str, shown: str, receiver: Receiver, jobs: Jobs) -> None:
    """A command with any bytes in its name, and one below a parent with the longest name, are reported and linked."""
    script = jobs.directory / os.fsdecode(name)
    script.write_text(f"{' '.join(wrapped('true'))}\n")
    script.chmod(0o700)
    environ = {**receiver.environ, "OPENLINEAGE_PARENT_ID": f"airflow/{parent}/{PARENT_RUN_ID}"}
    finished = run(jobs, str(script), environ=environ)
    assert (finished.returncode, finished.stderr) == (0, "")
    inner, outer = [event for event in receiver.events() if event["eventType"] == "COMPLETE"]
    assert inner["run"]["facets"]["parent"]["run"]["runId"] == outer["run"]["runId"]
    assert outer["run"]["facets"]["parent"]["run"]["runId"] == PARENT_RUN_ID
    assert inner["run"]["facets"]["parent"]["job"]["name"] == outer["job"]["name"]
    names = outer["job"]["name"], inner["job"]["name"]
    assert [each.rpartition(".")[2] for each in names] == [shown, "true"]
    assert max(map(len, names)) <= 1024


def test_arguments_that_leave_no_room_for_our_variables(jobs: Jobs) -> None:
    """A command that starts without us starts with us, if need be without our variables, but not with our identity."""
    environ = {**jobs.base_environ(), **QUICK, "OPENLINEAGE_JOB_NAME": "ours"}

    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_STACK, (512 * 1024, 512 * 1024))  # a quarter of it is for the arguments

    def done(length: int, executable: str) -> subprocess.CompletedProcess[bytes] | None:
        arguments = [
            *wrapped("sh", "-c", 'test -z "$OPENLINEAGE_JOB_NAME$OPENLINEAGE_PARENT_ID"'),
            *["x" * 1000] * (length // 1000),
            "x" * (length % 1000),
        ]
        try:
            return subprocess.run(
                arguments, executable=executable, env=environ, cwd=jobs.directory, preexec_fn=limited, check=False
            )
        except OSError:  # E2BIG
            return None

    # Something that starts faster than Python, with a path of the same length.
    trivial = "/bin/true".rjust(len(sys.executable), "/")
    possible, impossible = 1000, 200_000
    while impossible - possible > 1:
        middle = (possible + impossible) // 2
        if done(middle, trivial) is None:
            impossible = middle
        else:
            possible = middle
    finished = done(possible, sys.executable)
    assert finished is not None
    assert finished.returncode == 0


@pytest.mark.parametrize("command", ["run", "relay", "replay"])
def test_strict_mode_shows_no_credential(command: str, jobs: Jobs) -> None:
    """What strict mode says of a wrong value is masked, whichever command says it."""
    environ = {"OPENLINEAGE_POD_STRICT": "true", "OPENLINEAGE_POD_INPUTS": '["postgres://u:hunter2secret@h/db.t]'}
    arguments = ["run", "--", "true"] if command == "run" else [command, "spool"]
    finished = started(jobs, [sys.executable, "-m", "openlineage_pod", *arguments], environ).finish()
    assert finished.returncode == 2
    assert finished.stderr.startswith("openlineage-pod: OPENLINEAGE_POD_INPUTS")
    assert "hunter2secret" not in finished.stderr
