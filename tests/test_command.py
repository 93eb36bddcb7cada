"""What the wrapper makes of a command's end and report, and its command line."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest

from openlineage_pod import command as wrapper
from openlineage_pod import oom, reporter
from openlineage_pod.command import RunOptions
from openlineage_pod.process import Ended, Supervisor
from openlineage_pod.runtime import existing_runtime
from tests.support.waiting import at_most
from tests.support.wrapping import message, wrapped

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from openlineage_pod.testing import Recorded

NAME = "OPENLINEAGE_POD_REPORT"
TERM, INT, KILL = 15, 2, 9

OUTCOMES = [
    # code, stopped by, --abort-on, --complete-on, OOM; state, a part of the message
    (0, None, (), (), False, "COMPLETE", ""),
    (0, TERM, (), (), False, "COMPLETE", ""),
    (0, None, (), (), True, "COMPLETE", ""),
    (0, None, (0,), (), False, "ABORT", "exited with 0"),
    (7, None, (), (), False, "FAIL", "exited with 7"),
    (255, None, (), (), False, "FAIL", "exited with 255"),
    (7, TERM, (), (), False, "ABORT", "SIGTERM"),
    (7, INT, (), (), False, "ABORT", "SIGINT"),
    (143, TERM, (), (), False, "ABORT", "SIGTERM"),
    (143, None, (), (), False, "FAIL", "SIGTERM"),
    (139, None, (), (), False, "FAIL", "SIGSEGV"),
    (139, TERM, (), (), False, "ABORT", "SIGSEGV"),
    (137, None, (), (), False, "FAIL", "killed from outside"),
    (137, None, (), (), True, "FAIL", "OOM"),
    (137, TERM, (), (), False, "ABORT", "SIGKILL"),
    (137, TERM, (), (), True, "FAIL", "OOM"),
    (1, None, (), (), True, "FAIL", "exited with 1"),
    (99, None, (99,), (), False, "ABORT", "exited with 99"),
    (99, None, (), (99,), False, "COMPLETE", ""),
    (99, None, (98, 99), (1, 2), False, "ABORT", "exited with 99"),
    (99, TERM, (), (99,), False, "COMPLETE", ""),
    (137, None, (137,), (), False, "ABORT", "137"),
    (178, None, (), (), False, "FAIL", "signal 50"),
]


@pytest.mark.parametrize(("code", "stopped_by", "abort_on", "complete_on", "oom", "state", "part"), OUTCOMES)
def test_outcomes(  # noqa: PLR0917  parameters of one table
    code: int,
    stopped_by: int | None,
    abort_on: Sequence[int],
    complete_on: Sequence[int],
    oom: bool,
    state: str,
    part: str,
) -> None:
    """Each way in which a command can end has its state, and a message that says why."""
    options = RunOptions(abort_on=abort_on, complete_on=complete_on)
    outcome = reporter._outcome_of(Ended(code, stopped_by), options, oom=oom)
    assert outcome.state == state
    assert part in outcome.message
    assert ("OOM" in outcome.message) == (part == "OOM")


@pytest.mark.parametrize("code", [126, 127])
def test_outcome_of_a_command_that_could_not_be_started(code: int) -> None:
    """It is a failure whatever the options say, and the message says why."""
    ended = Ended(code, error="job.sh: Permission denied")
    outcome = reporter._outcome_of(ended, RunOptions(complete_on=(code,)), oom=False)
    assert (outcome.state, "job.sh: Permission denied" in outcome.message) == ("FAIL", True)


@pytest.mark.parametrize(
    ("texts", "count"),
    [
        (["low 0\nhigh 0\nmax 3\noom 2\noom_kill 1\noom_group_kill 0\n"], 1),
        (["oom_kill_disable 0\nunder_oom 0\noom_kill 4\n"], 4),
        (["oom_kill_disable 0\nunder_oom 0\n"], None),
        ([None, "oom_kill 2\n"], 2),
        (["garbage\n", "oom_kill 3\n"], 3),
        (["oom_kill many\n"], None),
        (["", "oom_kill 3\n"], None),
        ([None, None], None),
    ],
)
def test_counter_of_oom_kills(
    texts: list[str | None], count: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The counter of the first control group that has one is read, in the forms of both versions."""
    paths = [tmp_path / str(number) for number in range(len(texts))]
    for path, text in zip(paths, texts, strict=True):
        if text is not None:
            path.write_text(text)
    monkeypatch.setattr(oom, "_memory_files", lambda: list(map(str, paths)))
    assert oom.count_oom_kills() == count


def test_counter_that_rises(monkeypatch: pytest.MonkeyPatch, recorded: Recorded) -> None:
    """Only a rise of the counter while the command ran makes a 137 an OOM; without a counter none is denied."""
    cases = (3, 3, "not for want of memory"), (3, 4, "(OOM)"), (None, None, "(SIGKILL)"), (None, 4, "(SIGKILL)")
    for before, after, part in cases:
        counts = iter([before, after])
        for module in (wrapper, reporter):
            monkeypatch.setattr(module, "count_oom_kills", lambda counts=counts: next(counts))
        Reported().end(Ended(128 + KILL))
        assert part in message(recorded.events[-1])
    assert [event["eventType"] for event in recorded.events] == ["START", "FAIL"] * len(cases)


# --- the last word


@pytest.mark.parametrize(
    ("content", "expected"), [("", "the command exited with 7"), ("the job's own", "the job's own"), (None, None)]
)
def test_termination_log(
    content: str | None,
    expected: str | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    recorded: Recorded,
) -> None:
    """The reason of a failure is written where Kubernetes looks for it, if the file is there and empty."""
    path = tmp_path / "termination-log"
    if content is not None:
        path.write_text(content)
    monkeypatch.setattr(reporter, "_TERMINATION_LOG", str(path))
    Reported().end(Ended(7))
    assert (path.read_text() if path.exists() else None) == expected
    assert len(recorded.events) == 2


def test_termination_log_of_a_success(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recorded: Recorded) -> None:
    """A command that succeeded leaves no last word."""
    path = tmp_path / "termination-log"
    path.touch()
    monkeypatch.setattr(reporter, "_TERMINATION_LOG", str(path))
    Reported().end(Ended(0))
    assert path.read_text() == ""
    assert len(recorded.events) == 2


@pytest.mark.usefixtures("recorded")
@pytest.mark.parametrize("kind", ["directory", "full", "pipe"])
def test_termination_log_that_cannot_be_written(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A last word that cannot be written is none, no error, and no wait."""
    path = tmp_path / "termination-log"
    if kind == "directory":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    monkeypatch.setattr(reporter, "_TERMINATION_LOG", "/dev/full" if kind == "full" else str(path))
    Reported().end(Ended(7))


@pytest.mark.parametrize("letter", ["x", "ü", "🚢"])
def test_long_termination_message(letter: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No more than 4096 bytes are written, and no half of a character."""
    path = tmp_path / "termination-log"
    path.touch()
    monkeypatch.setattr(reporter, "_TERMINATION_LOG", str(path))
    reporter._leave_termination_message("." + letter * 5000)
    assert 4090 < path.stat().st_size <= 4096
    assert path.read_text(encoding="utf-8").strip(".") == letter * ((path.stat().st_size - 1) // len(letter.encode()))


def test_termination_message_with_any_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recorded: Recorded
) -> None:
    """A file name that is no text costs neither the termination message nor an event."""
    path = tmp_path / "termination-log"
    path.touch()
    monkeypatch.setattr(reporter, "_TERMINATION_LOG", str(path))
    Reported().end(Ended(127, error="no-such-caf\udce9: No such file or directory"))
    assert path.read_text() == "the command could not be started: no-such-caf?: No such file or directory"
    assert [event["eventType"] for event in recorded.events] == ["START", "FAIL"]


# --- while it is being made


def test_stop_signal_while_the_reporter_is_being_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """A signal is noted also if the reporter is there between two looks."""
    noted: list[int] = []

    class Maker:
        """The thread that makes the reporter; it comes to its end when somebody asks."""

        ident = None

        def __init__(self, **_: Any) -> None:
            """Take what a thread takes."""

        def start(self) -> None:
            """Begin."""

        def is_alive(self) -> bool:
            reporting._reporter = reporter.Reporter.__new__(reporter.Reporter)
            return False

    monkeypatch.setattr(threading, "Thread", Maker)
    monkeypatch.setattr(reporter.Reporter, "stopping", lambda _self, number, *_: noted.append(number))
    reporting = wrapper._Reporting(wrapper._plan(["true"], RunOptions()), RunOptions())
    reporting.stopping(signal.SIGTERM, Supervisor(["true"], [{}], mask=set()))
    assert noted == [signal.SIGTERM]


def test_reporter_that_cannot_be_made(monkeypatch: pytest.MonkeyPatch, swallowed: list[Exception]) -> None:
    """The file for the command's report is gone at the end also where nobody reads it."""
    monkeypatch.setattr(reporter, "new_run", None)
    reported = Reported()
    assert reported.path.exists()
    reported.end()
    assert not reported.path.exists()
    assert [type(error) for error in swallowed] == [TypeError]
    swallowed.clear()


def test_last_chance_that_is_not_taken(
    monkeypatch: pytest.MonkeyPatch, recorded: Recorded, swallowed: list[Exception]
) -> None:
    """A run whose last chance cannot begin, or comes to nothing, is reported when its command ends."""

    def no_thread(thread: threading.Thread) -> None:
        raise RuntimeError(f"can't start new thread: {thread.name}")

    class Now:
        """A supervisor whose timers are due at once."""

        def at(self, _deadline: float, act: Callable[[], None]) -> None:
            """Act."""
            with monkeypatch.context() as patched:
                if never_starts:
                    patched.setattr(threading.Thread, "start", no_thread)
                act()

    hangs = threading.Event()
    for never_starts in (True, False):
        command = Reported()
        made = command._reporting._reporter
        assert made is not None
        if not never_starts:
            monkeypatch.setattr(made, "_read_report", lambda *_: hangs.wait(60))
        made.stopping(signal.SIGTERM, cast("Supervisor", Now()), 0.0)
        made.end(Ended(3, signal.SIGTERM), time.monotonic() + 0.5)
        assert recorded.events[-1]["eventType"] == "ABORT"
        command.clean_up()
    hangs.set()
    assert [type(error) for error in swallowed] == [RuntimeError]
    swallowed.clear()
    assert [event["eventType"] for event in recorded.events] == ["START", "ABORT"] * 2


# --- the report of the command


class Reported:
    """A command that is reported in this process; what it tells is written by hand."""

    def __init__(self) -> None:
        plan = wrapper._plan(["/usr/bin/load"], RunOptions())._replace(runtime=existing_runtime())
        self.path = Path(plan.environs[0][NAME])
        self._reporting = wrapper._Reporting(plan, RunOptions())
        self._reporting._thread.join()  # the time of START is to be before all that follows

    def clean_up(self) -> None:
        """Remove what the command has put in the place of the file."""
        if self.path.is_dir():
            self.path.rmdir()
        else:
            self.path.unlink(missing_ok=True)

    def end(self, ended: Ended = Ended(0)) -> None:  # noqa: B008  immutable
        """End the command."""
        self._reporting.end(ended)


@pytest.fixture
def reported(recorded: Recorded) -> Iterator[Reported]:
    """Report a command."""
    command = Reported()
    yield command
    command.clean_up()
    assert [event["eventType"] for event in recorded.events] == ["START", "COMPLETE"]


def names(datasets: Sequence[dict[str, Any]]) -> list[str]:
    """Return the datasets as their URIs."""
    return [f"{dataset['namespace']}/{dataset['name']}" for dataset in datasets]


def test_report(reported: Reported, recorded: Recorded) -> None:
    """Datasets and facets of every kind come into the terminal event, and the file is gone afterwards."""
    assert (reported.path.stat().st_mode & 0o777, reported.path.read_text()) == (0o600, "")
    lines: list[dict[str, Any]] = [
        {"input": "postgres://warehouse/crm.public.accounts", "schema": {"id": "bigint"}, "rows": 3},
        {"input": ["s3://lake", "raw/accounts"], "size": 12, "files": 2},
        {"output": "s3://lake/accounts", "rows": 10, "size": 100, "files": 1, "schema": ["id", "name"]},
        {"output": "s3://lake/accounts", "facets": {"lifecycleStateChange": {"lifecycleStateChange": "OVERWRITE"}}},
        {"runFacet": {"nightly": {"batch": 7}, "second": {"a": [1]}}},
        {"jobFacet": {"owner": {"team": "crm"}}},
    ]
    reported.path.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    reported.end()
    start, complete = recorded.events
    assert (start["inputs"], start["outputs"]) == ([], [])
    assert names(complete["inputs"]) == ["postgres://warehouse:5432/crm.public.accounts", "s3://lake/raw/accounts"]
    table, files = complete["inputs"]
    assert table["facets"]["schema"]["fields"][0]["type"] == "bigint"
    assert table["inputFacets"]["inputStatistics"]["rowCount"] == 3
    assert files["inputFacets"]["inputStatistics"]["fileCount"] == 2
    (output,) = complete["outputs"]
    assert output["outputFacets"]["outputStatistics"]["rowCount"] == 10
    assert output["facets"]["lifecycleStateChange"]["lifecycleStateChange"] == "OVERWRITE"
    assert [field["name"] for field in output["facets"]["schema"]["fields"]] == ["id", "name"]
    assert complete["run"]["facets"]["nightly"]["batch"] == 7
    assert complete["run"]["facets"]["second"]["a"] == [1]
    assert complete["job"]["facets"]["owner"]["team"] == "crm"
    assert complete["job"]["facets"]["jobType"]["jobType"] == "COMMAND"
    assert not reported.path.exists()


@pytest.mark.parametrize("end", ["\n", "\r\n", ""])
def test_ends_of_lines(end: str, reported: Reported, recorded: Recorded) -> None:
    """Empty lines, the line ends of Windows and a last line without an end are all right."""
    break_ = end or "\n"
    reported.path.write_bytes(f'{break_}{{"input": "s3://a/b"}}{break_} {break_}{{"output": "s3://c/d"}}{end}'.encode())
    reported.end()
    event = recorded.events[-1]
    assert names(event["inputs"] + event["outputs"]) == ["s3://a/b", "s3://c/d"]


BAD_LINES: list[bytes] = [
    b"text",
    b"{",
    b'{"output": "s3://lake/torn',
    b"[]",
    b"null",
    b"5",
    b'"output"',
    b"{}",
    b'{"rows": 10}',
    b'{"input": "s3://a/b", "output": "s3://c/d"}',
    b'{"output": null}',
    b'{"output": 5}',
    b'{"output": {}}',
    b'{"output": []}',
    b'{"output": ["s3://lake"]}',
    b'{"output": ""}',
    b'{"output": "s3://lake/x", "rows": "many"}',
    b'{"output": "s3://lake/x", "rows": -1}',
    b'{"output": "s3://lake/x", "rows": 1e400}',
    b'{"output": "s3://lake/x", "rows": NaN}',
    b'{"output": "s3://lake/x", "schema": 5}',
    b'{"output": "s3://lake/x", "facets": 5}',
    b'{"output": "s3://lake/x", "facets": {"a": 5}}',
    b'{"output": "s3://lake/x", "colour": "red"}',
    b'{"runFacet": 5}',
    b'{"runFacet": {"a": 5}}',
    b'{"runFacet": []}',
    b'{"runFacet": {"": {}}}',
    b'{"jobFacet": {"a": null}}',
    b'{"output": "\xff\xfe"',
    b"\x00\x01\x02",
    b"[" * 100_000,
    b'{"runFacet": {"deep": ' + b'{"a":' * 500 + b"1" + b"}" * 502,
    b"1" * 5000,
]


@pytest.mark.parametrize("line", BAD_LINES, ids=[repr(line[:50]) for line in BAD_LINES])
def test_bad_line(
    line: bytes,
    reported: Reported,
    recorded: Recorded,
    swallowed: list[Exception],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A line that cannot be used is a warning that names its number, and costs none of the other lines."""
    reported.path.write_bytes(b'{"input": "s3://a/first"}\n\n' + line + b'\n{"output": "s3://a/last"}\n')
    reported.end()
    swallowed.clear()
    event = recorded.events[-1]
    assert names(event["inputs"])[:1] == ["s3://a/first"]
    assert names(event["outputs"])[-1:] == ["s3://a/last"]
    if b'"deep"' not in line:  # a deep facet is cut off, and that is not the line's fault
        warnings = [record.getMessage() for record in caplog.records]
        assert [warning for warning in warnings if f"line 3 of {NAME}" in warning], warnings
    assert not [record for record in caplog.records if f"line 1 of {NAME}" in record.getMessage()]


@pytest.mark.parametrize("kind", ["missing", "directory", "dangling"])
def test_report_that_is_no_file(
    kind: str,
    reported: Reported,
    swallowed: list[Exception],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A report that the command has taken away, or put something else in its place, costs no more than a warning."""
    reported.path.unlink()
    if kind == "directory":
        reported.path.mkdir()
    elif kind == "dangling":
        reported.path.symlink_to("/no/such/file")
    reported.end()
    swallowed.clear()
    assert len(caplog.records) <= 1
    assert all(NAME in record.getMessage() for record in caplog.records)


def test_empty_report(reported: Reported, caplog: pytest.LogCaptureFixture) -> None:
    """A command that tells nothing is no cause for a warning."""
    reported.end()
    assert not reported.path.exists()
    assert caplog.records == []


@pytest.mark.serial
def test_large_report(reported: Reported, recorded: Recorded) -> None:
    """Of 20,000 lines about some datasets each counts, within the time that the end may take."""
    with reported.path.open("w") as file:
        for number in range(20_000):
            file.write(f'{{"output": "s3://lake/part-{number % 100}", "rows": {number}}}\n')
    began = time.monotonic()
    reported.end()
    assert time.monotonic() - began < at_most()
    outputs = recorded.events[-1]["outputs"]
    assert len(outputs) == 100
    assert outputs[7]["outputFacets"]["outputStatistics"]["rowCount"] == 19_907


def test_report_that_is_too_long(reported: Reported, recorded: Recorded, caplog: pytest.LogCaptureFixture) -> None:
    """Of a report that is larger than any event could be, the first lines count; a warning names the last of them."""
    reported.path.write_text('{"input": "s3://a/first"}\n\n' + " " * 16 * 1024 * 1024 + '{"output": "s3://a/last"}\n')
    reported.end()
    assert names(recorded.events[-1]["inputs"]) == ["s3://a/first"]
    assert recorded.events[-1]["outputs"] == []
    assert [record.getMessage() for record in caplog.records] == [f"{NAME} is too long; what follows line 2 is ignored"]


@pytest.mark.parametrize("kind", ["pipe", "endless", "growing"])
def test_report_without_an_end(kind: str, tmp_path: Path) -> None:
    """A report that is a pipe or an endless device, or still grows, does not hold up the end of the process."""
    replacing = {"pipe": "mkfifo", "endless": "ln -s /dev/zero", "growing": "growing"}[kind]
    growing = 'growing() { while :; do echo \'{"input": "s3://a/b"}\'; done >"$1" & sleep 0.2; }'
    script = f'{growing}; rm "${NAME}"; {replacing} "${NAME}"; exit 7'
    environ = {**os.environ, "OPENLINEAGE_POD_FLUSH_TIMEOUT": "0.5", "TMPDIR": str(tmp_path)}
    limited = ["sh", "-c", 'ulimit -v 4000000; exec "$@"', "sh", *wrapped("sh", "-c", script)]
    process = subprocess.Popen(
        limited, env=environ, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        process.wait(timeout=at_most(5))
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # also what makes the report grow
        process.wait()
    assert process.returncode == 7


@pytest.mark.skipif(os.getuid() != 0, reason="without root the wrapper cannot make a report unreadable for itself")
def test_unreadable_report(tmp_path: Path) -> None:
    """A report that may not be read is a warning."""
    environ = {**os.environ, "OPENLINEAGE_POD_FLUSH_TIMEOUT": "0.5", "TMPDIR": str(tmp_path)}
    tmp_path.chmod(0o777)
    without = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-dac_override,-dac_read_search"]
    command = [*without, *wrapped("sh", "-c", f'chmod 0 "${NAME}"; exit 7')]
    finished = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=30, check=False)
    assert finished.returncode == 7
    assert f"could not read what the command reported in {NAME}" in finished.stderr
    assert "Traceback" not in finished.stderr


def test_no_temporary_directory(tmp_path: Path) -> None:
    """Where no report can be made the command runs all the same, and is not pointed at anybody else's."""
    environ = {**os.environ, "OPENLINEAGE_POD_FLUSH_TIMEOUT": "0", NAME: "/somebody/else's", "TMPDIR": "/proc"}
    source = (
        "import sys; from openlineage_pod import command; command._TEMPORARY = ('/proc',)\n"
        "from openlineage_pod.cli import main; sys.exit(main())"
    )
    command = [sys.executable, "-c", source, "run", "--", "sh", "-c", f'echo "[${NAME}]"; exit 7']
    finished = subprocess.run(command, env=environ, capture_output=True, cwd=tmp_path, timeout=30, check=False)
    assert (finished.returncode, finished.stdout) == (7, b"[]\n")


# --- the command line


USAGE_ERRORS = [
    ["run"],
    ["run", "--"],
    ["run", "true"],
    ["run", "--job-name", "x"],
    ["run", "--job-name", "--", "true"],
    ["run", "--no-such-option", "--", "true"],
    ["run", "--abort-on", "x", "--", "true"],
    ["run", "--abort-on", "1.5", "--", "true"],
    ["run", "--complete-on", "", "--", "true"],
    ["run", "--kill-after", "soon", "--", "true"],
    ["run", "--kill-after", "-1", "--", "true"],
    ["run", "--kill-after", "nan", "--", "true"],
    ["run", "--kill-after", "inf", "--", "true"],
    ["run", "extra", "--", "true"],
    ["relay"],
    ["relay", "a", "b"],
    ["relay", "a", "--", "true"],
    ["replay", "a", "--", "true"],
    ["--", "true"],
]


@pytest.mark.parametrize("arguments", USAGE_ERRORS, ids=" ".join)
def test_usage_errors(arguments: list[str], tmp_path: Path) -> None:
    """Arguments that make no sense are exit status 2 and the usage, and start nothing."""
    finished = subprocess.run(
        [sys.executable, "-m", "openlineage_pod", *arguments],
        env={**os.environ, "OPENLINEAGE_POD_FLUSH_TIMEOUT": "0", "OPENLINEAGE_URL": "http://127.0.0.1:9"},
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=20,
        check=False,
    )
    assert (finished.returncode, finished.stdout) == (2, "")
    assert finished.stderr.startswith("usage: openlineage-pod")
    assert "Traceback" not in finished.stderr
    assert list(tmp_path.iterdir()) == []


def test_help_of_run(tmp_path: Path) -> None:
    """`run --help` says what there is."""
    command = [sys.executable, "-m", "openlineage_pod", "run", "--help"]
    finished = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=20, check=False)
    assert (finished.returncode, finished.stderr) == (0, "")
    for option in (
        "--job-name",
        "--input",
        "--output",
        "--abort-on",
        "--complete-on",
        "--signal-group",
        "--kill-after",
    ):
        assert option in finished.stdout


def test_the_command_keeps_its_arguments(tmp_path: Path) -> None:
    """Everything after the first -- is the command's, options of ours, further -- and bytes of no encoding too."""
    arguments = [b"--", b"--help", b"--job-name", b"", b"two words", b"caf\xe9", b"-x", "ü".encode()]
    show = [sys.executable, "-I", "-S", "-c", "import os, sys; print([os.fsencode(a) for a in sys.argv[1:]])"]
    finished = subprocess.run(
        [*wrapped(*show), *arguments],
        env={**os.environ, "OPENLINEAGE_DISABLED": "true"},
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=20,
        check=False,
    )
    assert (finished.returncode, finished.stderr) == (0, "")
    assert finished.stdout == f"{arguments}\n"


def test_strict(tmp_path: Path) -> None:
    """In strict mode a wrong setting is one clear line, and the command does not start."""
    environ = {**os.environ, "OPENLINEAGE_POD_STRICT": "true", "OPENLINEAGE_POD_FLUSH_TIMEOUT": "soon"}
    finished = subprocess.run(
        wrapped("touch", "started"), env=environ, capture_output=True, text=True, cwd=tmp_path, timeout=20, check=False
    )
    assert (finished.returncode, finished.stdout) == (2, "")
    assert "OPENLINEAGE_POD_FLUSH_TIMEOUT" in finished.stderr
    assert "Traceback" not in finished.stderr
    assert list(tmp_path.iterdir()) == []
