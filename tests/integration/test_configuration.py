"""Without a backend, with a wrong one, and with none wanted: one clear line, and the job as ever."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tests.support.examples import fast
from tests.support.harness import types

if TYPE_CHECKING:
    from tests.support.harness import Jobs, Receiver

JOB = """
from openlineage_pod import lineage_run
for name in ("first", "second"):
    with lineage_run(name):
        pass
print("done")
"""
MISCONFIGURED = {
    "nothing": {},
    "empty URL": {"OPENLINEAGE_URL": ""},
    "no URL": {"OPENLINEAGE_URL": "marquez"},
    "template": {"OPENLINEAGE_URL": "{{ var.value.openlineage_url }}"},
    "unknown type": {"OPENLINEAGE__TRANSPORT__TYPE": "carrier-pigeon"},
    "http without URL": {"OPENLINEAGE__TRANSPORT__TYPE": "http"},
    "type of a type": {"OPENLINEAGE__TRANSPORT__TYPE": '{"a": 1}'},
    "missing file": {"OPENLINEAGE_CONFIG": "missing/lineage.yml"},
    "directory": {"OPENLINEAGE_CONFIG": "/"},
    "not yaml": {"OPENLINEAGE_CONFIG": "broken.yml"},
    "list": {"OPENLINEAGE_CONFIG": "list.yml"},
    "binary": {"OPENLINEAGE_CONFIG": "binary.yml"},
    "FIFO": {"OPENLINEAGE_CONFIG": "fifo.yml"},
    "device": {"OPENLINEAGE_CONFIG": "/dev/zero"},
}


@pytest.fixture(autouse=True)
def _files(jobs: Jobs) -> None:
    jobs.file("broken.yml", "transport: {type: http, url: [")
    jobs.file("list.yml", "[1, 2]")
    (jobs.directory / "binary.yml").write_bytes(bytes(range(256)))
    os.mkfifo(jobs.directory / "fifo.yml")


@pytest.mark.parametrize("case", fast(MISCONFIGURED, "nothing", "no URL", "unknown type", "not yaml", "FIFO"))
def test_a_missing_or_wrong_backend_is_one_warning(case: str, jobs: Jobs) -> None:
    """One warning says which variable to set or mend, all events are printed, and the job is unaffected."""
    # No exit waits so long where there is no backend; only the imports of openlineage-python do.
    finished = jobs.run(JOB, {**MISCONFIGURED[case], "OPENLINEAGE_POD_FLUSH_TIMEOUT": "30"})
    assert (finished.returncode, finished.stdout) == (0, "done\n")
    assert types(finished.printed) == ["START", "COMPLETE"] * 2
    warning, at_exit = finished.log
    assert "OPENLINEAGE_URL" in warning
    for variable in MISCONFIGURED[case]:
        assert variable in warning
    assert "4 printed" in at_exit


@pytest.mark.parametrize(
    "variable", ["OPENLINEAGE_URL", "OPENLINEAGE_ENDPOINT", "OPENLINEAGE_CONFIG", "OPENLINEAGE__TRANSPORT__URL"]
)
def test_template_that_was_not_rendered(variable: str, receiver: Receiver, jobs: Jobs) -> None:
    """A template in a variable of the transport is one warning that says so, and all events are printed."""
    finished = jobs.run(JOB, {**receiver.environ, variable: "http://{{ var.value.host }}:5000"})
    assert types(finished.printed) == ["START", "COMPLETE"] * 2
    warning, _ = finished.log
    assert f"{variable}='http://{{{{ var.value.host }}}}:5000' is a template that was not rendered" in warning


def test_key_that_was_not_rendered(receiver: Receiver, jobs: Jobs) -> None:
    """A template in the key is told without the value."""
    finished = jobs.run(JOB, {**receiver.environ, "OPENLINEAGE_API_KEY": "{{ conn.marquez.password }}"})
    assert "OPENLINEAGE_API_KEY is a template that was not rendered" in finished.log[0]
    assert receiver.requests() == []


@pytest.mark.parametrize("case", fast(MISCONFIGURED, "nothing", "no URL", "missing file"))
def test_strict_raises_at_the_start(case: str, jobs: Jobs) -> None:
    """With `OPENLINEAGE_POD_STRICT=true` the same raises ConfigurationError before the body runs."""
    finished = jobs.run(JOB, {**MISCONFIGURED[case], "OPENLINEAGE_POD_STRICT": "true"})
    assert (finished.returncode, finished.stdout) == (1, "")
    last = finished.stderr.splitlines()[-1]
    assert last.startswith("openlineage_pod.settings.ConfigurationError: ")
    assert "OPENLINEAGE_URL" in last


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("OPENLINEAGE_RUN_ID", "manual__2026-11-20T00:00:00+00:00"),
        ("OPENLINEAGE_CONTEXT", "{"),
        ("OPENLINEAGE_PARENT_ID", "namespace/job"),
        ("OPENLINEAGE_POD_OUTPUTS", "s3://lake/accounts"),
        ("OPENLINEAGE_POD_FLUSH_TIMEOUT", "soon"),
    ],
)
def test_strict_raises_for_a_malformed_value(variable: str, value: str, receiver: Receiver, jobs: Jobs) -> None:
    """With a well backend, too, strict mode raises for a malformed value, and names it; without strict it warns."""
    strict = jobs.run(JOB, {**receiver.environ, variable: value, "OPENLINEAGE_POD_STRICT": "true"})
    assert (strict.returncode, strict.stdout) == (1, "")
    assert f"ConfigurationError: {variable}=" in strict.stderr
    lenient = jobs.run(JOB, {**receiver.environ, variable: value})
    assert (lenient.returncode, lenient.stdout) == (0, "done\n")
    (warning,) = lenient.log
    assert warning.startswith(f"{variable}=")
    assert "Example: " in warning
    assert types(receiver.events()) == ["START", "COMPLETE"] * 2


def test_strict_is_quiet_when_all_is_well(receiver: Receiver, jobs: Jobs) -> None:
    """Strict mode raises nothing with a right configuration."""
    finished = jobs.run(JOB, {**receiver.environ, "OPENLINEAGE_POD_STRICT": "true"})
    assert (finished.returncode, finished.stdout, finished.stderr) == (0, "done\n", "")
    assert types(receiver.events()) == ["START", "COMPLETE"] * 2


@pytest.mark.parametrize("environ", [{}, {"OPENLINEAGE_POD_STRICT": "true"}, {"OPENLINEAGE_RUN_ID": "none"}])
def test_disabled_reports_and_imports_nothing(environ: dict[str, str], receiver: Receiver, jobs: Jobs) -> None:
    """With `OPENLINEAGE_DISABLED=true` nothing is sent or printed, no thread is started, and runs are null objects."""
    finished = jobs.run(
        """
        import signal, sys, threading
        from openlineage_pod import current_run, flush, lineage_run
        try:
            with lineage_run("job") as run:
                run.add_output("s3://lake/accounts")
                print(bool(run), bool(current_run()), run.child_env({"A": "1"}), *flush())
            print(threading.active_count(), "openlineage.client" in sys.modules)
            print(signal.getsignal(signal.SIGTERM) is signal.SIG_DFL)
        except ValueError as error:
            print(type(error).__name__)
        """,
        {**receiver.environ, "OPENLINEAGE_DISABLED": "true", **environ},
    )
    assert finished.stdout == "False False {'A': '1'} 0 0 0 0 0 0\n1 False\nTrue\n"
    assert finished.printed == []
    assert receiver.requests() == []


@pytest.mark.parametrize(
    "how", ["import openlineage_pod", "from openlineage_pod import *", "import openlineage_pod.testing"]
)
def test_the_import_is_light(how: str, jobs: Jobs) -> None:
    """`import openlineage_pod` brings in nothing that costs the job time: no client, no HTTP, no asyncio."""
    finished = jobs.run(
        f"""
        import sys
        {how}
        heavy = {{"openlineage", "requests", "urllib3", "yaml", "asyncio", "attr", "tenacity", "inspect", "dateutil",
                 "dataclasses", "http", "ssl", "socket", "multiprocessing", "subprocess", "concurrent", "pathlib"}}
        print(sorted(heavy & {{name.partition(".")[0] for name in sys.modules}}))
        """,
        options=("-I",),
    )
    assert (finished.stdout, finished.stderr) == ("[]\n", "")


@pytest.mark.parametrize("client", [True, False], ids=["client", "direct"])
def test_a_run_imports_nothing_heavy_on_the_job_s_thread(client: bool, receiver: Receiver, jobs: Jobs) -> None:
    """What the delivery needs is imported by its own threads, and openlineage-python only where it is configured."""
    environ = {"OPENLINEAGE__TRANSPORT__TYPE": "http", "OPENLINEAGE__TRANSPORT__URL": receiver.url} if client else {}
    finished = jobs.run(
        """
        import builtins, threading
        importers, real = {}, builtins.__import__
        def watching(name, *args, **kwargs):
            importers.setdefault(name.partition(".")[0], threading.current_thread().name)
            return real(name, *args, **kwargs)
        builtins.__import__ = watching
        from openlineage_pod import flush, lineage_run
        with lineage_run("job") as run:
            run.add_output("s3://lake/accounts")
            flush(20)
        names = ("http", "requests", "openlineage", "attr", "yaml", "tenacity")
        print([name for name in names if name in importers], "MainThread" in map(importers.get, names))
        """,
        {**receiver.environ, **environ},
    )
    assert finished.stdout == f"{['http', *(['requests', 'openlineage', 'attr', 'yaml'] if client else [])]} False\n"
    assert types(receiver.events()) == ["START", "COMPLETE"]
