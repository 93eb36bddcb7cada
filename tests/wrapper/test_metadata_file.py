"""The metadata file: what a command writes into it, and what it may put in its place."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

from openlineage_pod.wrapper.metadata_file import make_metadata_file
from tests.support.waiting import at_most
from tests.support.wrapping import wrapped

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from openlineage_pod.testing import Recorded
    from tests.wrapper.reported import Reported

NAME = "OPENLINEAGE_POD_REPORT"


def names(datasets: Sequence[dict[str, Any]]) -> list[str]:
    """Return the datasets as their URIs."""
    return [f"{dataset['namespace']}/{dataset['name']}" for dataset in datasets]


def test_every_kind_of_line(reported: Reported, recorded: Recorded) -> None:
    """Datasets and facets of every kind are in the terminal event, and the file is removed."""
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
    """Empty lines, the line ends of Windows and a last line without an end are accepted."""
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
    b'{"output": "s3://lake/x", "format": "1"}',
    b'{"output": "s3://lake/x", "format": 0}',
    b'{"output": "s3://lake/x", "format": null}',
    b'{"output": "s3://lake/x", "format": 2}',
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
    """A line that cannot be used is a warning with its number, and the other lines count."""
    reported.path.write_bytes(b'{"input": "s3://a/first"}\n\n' + line + b'\n{"output": "s3://a/last"}\n')
    reported.end()
    swallowed.clear()
    event = recorded.events[-1]
    assert names(event["inputs"])[:1] == ["s3://a/first"]
    assert names(event["outputs"])[-1:] == ["s3://a/last"]
    if b'"deep"' not in line:  # a deep facet is cut off without a warning about the line
        warnings = [record.getMessage() for record in caplog.records]
        assert [warning for warning in warnings if f"line 3 of {NAME}" in warning], warnings
    assert not [record for record in caplog.records if f"line 1 of {NAME}" in record.getMessage()]


def test_formats(reported: Reported, recorded: Recorded, caplog: pytest.LogCaptureFixture) -> None:
    """Lines with and without a format count; those of a later release, whatever their form, are one warning."""
    reported.path.write_text(
        '{"format": 2, "dataset": "s3://lake/new"}\n{"output": "s3://lake/a"}\n{"output": "s3://lake/b", "format": 1}\n'
        '{"format": 3, "output": "s3://lake/new"}\n'
    )
    reported.end()
    assert names(recorded.events[-1]["outputs"]) == ["s3://lake/a", "s3://lake/b"]
    (record,) = caplog.records
    assert f"line 1 of {NAME} has the format 2; this release reads formats up to 1" in record.getMessage()


@pytest.mark.parametrize("kind", ["missing", "directory", "dangling", "link", "socket"])
def test_path_that_is_no_file(
    kind: str,
    reported: Reported,
    recorded: Recorded,
    swallowed: list[Exception],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A command that removes or replaces the file causes a warning at most, and a link is not followed."""
    reported.path.unlink()
    if kind == "directory":
        reported.path.mkdir()
    elif kind == "dangling":
        reported.path.symlink_to("/no/such/file")
    elif kind == "link":
        other = reported.path.with_name("other.jsonl")
        other.write_text('{"output": "s3://lake/a"}\n')
        reported.path.symlink_to(other)
    elif kind == "socket":
        os.mknod(reported.path, stat.S_IFSOCK | 0o600)
    reported.end()
    swallowed.clear()
    assert len(caplog.records) <= 1
    assert all(NAME in record.getMessage() for record in caplog.records)
    assert recorded.events[-1]["outputs"] == []


@pytest.mark.parametrize("umask", [0o000, 0o077, 0o777])
def test_umask(umask: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the umask is, the file is readable and writable for its own user, and for nobody else."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    before = os.umask(umask)
    try:
        path = make_metadata_file()
    finally:
        os.umask(before)
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600  # noqa: PTH116


def test_empty_file(reported: Reported, caplog: pytest.LogCaptureFixture) -> None:
    """A command that writes nothing causes no warning."""
    reported.end()
    assert not reported.path.exists()
    assert caplog.records == []


@pytest.mark.serial
def test_large_file(recorded: Recorded, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """Each of 20,000 lines counts, within the time that the end may take."""
    # Half of it is for reading, however slow the machine is.
    monkeypatch.setenv("OPENLINEAGE_POD_FLUSH_TIMEOUT", "60")
    reported: Reported = request.getfixturevalue("reported")
    with reported.path.open("w") as file:
        for number in range(20_000):
            file.write(f'{{"output": "s3://lake/part-{number % 100}", "rows": {number}}}\n')
    began = time.monotonic()
    reported.end()
    assert time.monotonic() - began < at_most()
    outputs = recorded.events[-1]["outputs"]
    assert len(outputs) == 100
    assert outputs[7]["outputFacets"]["outputStatistics"]["rowCount"] == 19_907


def test_file_that_is_too_long(reported: Reported, recorded: Recorded, caplog: pytest.LogCaptureFixture) -> None:
    """The first lines of a huge file count, and a warning names the last of them."""
    reported.path.write_text('{"input": "s3://a/first"}\n\n' + " " * 16 * 1024 * 1024 + '{"output": "s3://a/last"}\n')
    reported.end()
    assert names(recorded.events[-1]["inputs"]) == ["s3://a/first"]
    assert recorded.events[-1]["outputs"] == []
    assert [record.getMessage() for record in caplog.records] == [f"{NAME} is too long; what follows line 2 is ignored"]


@pytest.mark.parametrize("kind", ["pipe", "endless", "growing"])
def test_file_without_an_end(kind: str, tmp_path: Path) -> None:
    """A pipe, an endless device or a growing file does not delay the end of the process."""
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
            os.killpg(process.pid, signal.SIGKILL)  # the process that makes the file grow, too
        process.wait()
    assert process.returncode == 7


@pytest.mark.skipif(os.getuid() != 0, reason="only root can make a file unreadable for itself")
def test_unreadable_file(tmp_path: Path) -> None:
    """A file that the wrapper may not read is a warning."""
    environ = {**os.environ, "OPENLINEAGE_POD_FLUSH_TIMEOUT": "0.5", "TMPDIR": str(tmp_path)}
    tmp_path.chmod(0o777)
    without = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-dac_override,-dac_read_search"]
    command = [*without, *wrapped("sh", "-c", f'chmod 0 "${NAME}"; exit 7')]
    finished = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=30, check=False)
    assert finished.returncode == 7
    assert f"could not read what the command reported in {NAME}" in finished.stderr
    assert "Traceback" not in finished.stderr


def test_no_temporary_directory(tmp_path: Path) -> None:
    """A command without a metadata file runs, and does not get the path of another one."""
    environ = {**os.environ, "OPENLINEAGE_POD_FLUSH_TIMEOUT": "0", NAME: "/somebody/else's", "TMPDIR": "/proc"}
    source = (
        "import sys; from openlineage_pod.wrapper import metadata_file\n"
        "metadata_file.TEMPORARY_DIRECTORIES = ('/proc',)\n"
        "from openlineage_pod.cli import main; sys.exit(main())"
    )
    command = [sys.executable, "-c", source, "run", "--", "sh", "-c", f'echo "[${NAME}]"; exit 7']
    finished = subprocess.run(command, env=environ, capture_output=True, cwd=tmp_path, timeout=30, check=False)
    assert (finished.returncode, finished.stdout) == (7, b"[]\n")
