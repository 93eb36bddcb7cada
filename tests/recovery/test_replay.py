"""Replay: finds the events in spools, files and logs of any kind, and sends each once, oldest first."""

from __future__ import annotations

import bz2
import gzip
import io
import itertools
import json
import lzma
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from openlineage_pod.delivery.spool import Spool
from openlineage_pod.recovery import replay as replay_module
from openlineage_pod.recovery.replay import replay
from openlineage_pod.settings import ConfigurationError
from tests.support.files import names
from tests.support.replaying import Setting, event, lines
from tests.support.spools import another_process
from tests.support.waiting import HANGS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

Event = dict[str, Any]


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give up a failing event at once."""
    monkeypatch.setattr(replay_module, "EVENT_BUDGET", 0.0)


STAMP = "2026-11-21T08:00:00.000000000Z"
FORMATS: dict[str, Callable[[str], str]] = {
    "bare": lambda line: line,
    "airflow": lambda line: f"[2026-11-21, 08:00:00 UTC] {{pod_manager.py:477}} INFO - [base] {line}",
    "airflow-2.10": lambda line: f"[2026-11-21T08:00:00.000+0000] {{pod_manager.py:536}} INFO - [base] {line}",
    "airflow-3": lambda line: json.dumps(
        {"timestamp": STAMP, "level": "info", "event": f"[base] {line}", "logger": "airflow.task.operators"}
    ),
    "airflow-3-in-one": lambda line: json.dumps({"event": f"container said:\n{line}\nand more", "timestamp": STAMP}),
    "cri": lambda line: f"{STAMP} stderr F {line}",
    "docker": lambda line: json.dumps({"log": f"{line}\n", "stream": "stderr", "time": STAMP}),
    "kubectl": lambda line: f"[pod/ingest-x2k/base] {STAMP} {line}",
    "nested": lambda line: json.dumps({"severity": "ERROR", "jsonPayload": {"message": line}, "labels": ["a"]}),
    "indented": lambda line: f"    {line}",
}


@pytest.mark.parametrize("size", [0, 40_000], ids=["one-line", "parts"])
@pytest.mark.parametrize("how", FORMATS)
def test_log(how: str, size: int, setting: Setting) -> None:
    """Last-resort lines are found in a log of any kind, whole and in parts, with what surrounds them."""
    events = [event(1, size=size), event(2, size=size)]
    printed = [FORMATS[how](line) for line in lines(*events)]
    path = setting.file("INFO - a line of the job", *printed, '{"event": "done"}', "", "{not json")
    assert setting.replay(path) == (0, "", "2 sent, 0 rejected, 0 left, 0 problems\n")
    assert setting.receiver.events() == events


def test_line_ends_and_text_behind(setting: Setting) -> None:
    """Windows line ends, colour codes and text behind the event do not hurt."""
    (first,), parts = lines(event(1)), lines(event(2, size=40_000))
    path = setting.file(f"\x1b[31m{first}\x1b[0m", *parts, f"{lines(event(3))[0]} and more", end="\r\n")
    assert setting.replay(path).status == 0
    assert setting.receiver.events() == [event(1), event(2, size=40_000), event(3)]


def test_reader_that_strips_lines(setting: Setting) -> None:
    """A log whose writer strips the ends of lines, as Airflow does, holds the same event."""
    one = event(1)
    one["run"]["facets"]["own"] = {"_producer": "https://x", "_schemaURL": "https://x", "text": " " * 40_000}
    assert setting.replay(setting.file(*[line.strip() for line in lines(one)])).status == 0
    assert setting.receiver.events() == [one]


def cut(line: str, *at: int) -> list[str]:
    """Return a line as a container runtime writes it that splits it at these places."""
    places = [0, *at, len(line)]
    texts = [line[start:end] for start, end in zip(places, places[1:], strict=False)]
    return [f"{STAMP} stderr {'F' if text is texts[-1] else 'P'} {text}" for text in texts]


def test_partial_lines(setting: Setting) -> None:
    """Lines that the container runtime has split (`P`) are joined to the last piece (`F`)."""
    (first,), parts = lines(event(1)), lines(event(2, size=40_000))
    pieces = [*cut(first, 100), *(piece for part in parts for piece in cut(part, 10, 3_000))]
    assert setting.replay(setting.file(f"{STAMP} stderr F text", *pieces, f"{STAMP} stdout F text")).status == 0
    assert setting.receiver.events() == [event(1), event(2, size=40_000)]


def test_half_of_a_line(setting: Setting) -> None:
    """A line of which the runtime wrote the end into another file is a problem."""
    begin, _ = cut(lines(event(1))[0], 100)
    result = setting.replay(setting.file(begin))
    assert (result.status, setting.sent()) == (1, [])


def test_partial_lines_of_two_streams(setting: Setting) -> None:
    """A line of the other stream between two pieces does not come between them."""
    begin, end = cut(lines(event(1))[0], 100)
    path = setting.file(begin, f"{STAMP} stdout P loading", f"{STAMP} stdout F  accounts", end)
    assert setting.replay(path).status == 0
    assert setting.receiver.events() == [event(1)]


def test_parts_of_several_pods_at_once(setting: Setting) -> None:
    """The parts of several events, one line of each pod in turn, come together again."""
    events = [event(number, size=40_000) for number in range(1, 5)] + [event(1, "COMPLETE", size=40_000, second=9)]
    rows = itertools.zip_longest(*(lines(one) for one in events))
    mixed = [f"[pod/ingest-{index}/base] {line}" for row in rows for index, line in enumerate(row) if line]
    assert setting.replay(setting.file(*mixed)).status == 0
    assert setting.receiver.events() == events


def test_parts_in_another_order(setting: Setting) -> None:
    """Parts that a log collector has put into another order are joined by their numbers."""
    one = event(1, size=200_000)
    printed = lines(one)
    assert len(printed) > 9
    assert setting.replay(setting.file(*reversed(printed))).status == 0
    assert setting.receiver.events() == [one]


@pytest.mark.parametrize("order", [*itertools.permutations(range(3))], ids=str)
def test_parts_in_rotated_files(order: tuple[int, ...], setting: Setting) -> None:
    """The parts of an event in files that were rotated meanwhile come together, whatever the order of the files."""
    one = event(1, size=40_000)
    printed = lines(one)
    files = [setting.file("text", *some) for some in (printed[:4], printed[4:9], printed[9:])]
    assert setting.replay(*(files[index] for index in order)).status == 0
    assert setting.receiver.events() == [one]


def test_missing_part_of_rotated_files(setting: Setting) -> None:
    """An event of which a part is in none of the files is one problem that names the files with its other parts."""
    printed = lines(event(1, size=40_000))
    files = [setting.file(*printed[:3]), setting.file(*printed[5:]), setting.file("text")]
    result = setting.replay(*files)
    assert (result.status, setting.sent()) == (1, [])
    assert f"{files[0]}, {files[1]} of event" in result.err
    assert f"there are {len(printed) - 2} of {len(printed)} parts" in result.err


def test_missing_part(setting: Setting) -> None:
    """An event of which a part is missing is a problem that names it, and the others are sent."""
    printed = lines(event(1, size=40_000))
    result = setting.replay(setting.file(*printed[:-1], *lines(event(2))))
    assert result.status == 1
    assert f"{event(1)['run']['runId']}.START there are {len(printed) - 1} of {len(printed)} parts" in result.err
    assert setting.sent() == ["job_2 START"]


def test_torn_line(setting: Setting) -> None:
    """A line that breaks off is a problem that names the place, and the others are sent."""
    (line,) = lines(event(1))
    path = setting.file("text", line[:200], *lines(event(2)))
    result = setting.replay(path)
    assert (result.status, setting.sent()) == (1, ["job_2 START"])
    assert f"{path}:2 holds an event that cannot be read" in result.err


def with_secret(number: int, size: int = 0) -> Event:
    """Return an event in which the word `warehouse` stands in several names, as a password might."""
    one = event(number, size=size)
    one["inputs"] = [{"namespace": "postgres://warehouse:5432", "name": "crm.public.accounts", "facets": {}}]
    one["job"]["facets"]["sql"] = {"_producer": "https://x", "_schemaURL": "https://x", "query": "from warehouse"}
    return one


def unstamped(*printed: str) -> list[str]:
    """Return last-resort lines as the release before printed them."""
    return [re.sub(r" ?#1:[0-9a-f]{8}$", "", line) for line in printed]


@pytest.mark.parametrize("size", [0, 40_000], ids=["one-line", "parts"])
@pytest.mark.parametrize("how", FORMATS)
def test_altered_by_a_masker(how: str, size: int, setting: Setting) -> None:
    """An event that the log's masker of secrets has altered is not sent, and told with its job and what was masked."""
    printed = [line.replace("warehouse", "***") for line in lines(with_secret(1, size), event(2))]
    result = setting.replay(setting.file(*(FORMATS[how](line) for line in printed)))
    assert (result.status, setting.sent()) == (1, ["job_2 START"])
    assert "START of job default/job_1 is not sent: it was altered after it was printed" in result.err
    assert "inputs[0].namespace 'postgres://***:5432'" in result.err
    assert result.err.endswith("1 sent, 0 rejected, 0 left, 1 problems\n")


def test_altered_elsewhere(setting: Setting) -> None:
    """An event whose names are as they were, but not its facets, is not sent either: nobody knows what is missing."""
    printed = [line.replace("from warehouse", "from ***") for line in lines(with_secret(1))]
    assert setting.replay(setting.file(*printed)).status == 1
    assert setting.sent() == []


MASKED_NAMES = {
    "job": lambda one: one["job"].update(name="***.load"),
    "job namespace": lambda one: one["job"].update(namespace="***"),
    "run id": lambda one: one["run"].update(runId="***"),
    "dataset": lambda one: one["inputs"][0].update(name="crm.***.accounts"),
    "namespace": lambda one: one["inputs"][0].update(namespace="postgres://***:5432"),
    "parent": lambda one: one["run"]["facets"].update(parent={"run": {"runId": "***"}, "job": {}}),
    "symlink": lambda one: one["inputs"][0]["facets"].update(
        symlinks={"identifiers": [{"namespace": "s3://***", "name": "x", "type": "TABLE"}]}
    ),
    "column": lambda one: one["inputs"][0]["facets"].update(schema={"fields": [{"name": "***", "type": "int"}]}),
    "column lineage": lambda one: one["inputs"][0]["facets"].update(columnLineage={"fields": {"***": {}}}),
}


@pytest.mark.parametrize("where", MASKED_NAMES)
def test_masked_name_of_the_release_before(where: str, setting: Setting) -> None:
    """In an event without a digest a mask in any name, namespace or id is recognised; it is not sent, but told."""
    one = with_secret(1)
    MASKED_NAMES[where](one)
    result = setting.replay(setting.file(*unstamped(*lines(one, event(2)))))
    assert (result.status, setting.sent()) == (1, ["job_2 START"])
    assert "is not sent: it has names that were probably masked in this log" in result.err


@pytest.mark.parametrize("size", [0, 40_000], ids=["one-line", "parts"])
def test_lines_of_the_release_before(size: int, setting: Setting) -> None:
    """Lines without a digest are sent; a mask in a text that is not a name, such as our own, does not keep them."""
    one = with_secret(1, size)
    one["job"]["facets"]["sql"]["query"] = "password=***"
    assert setting.replay(setting.file(*unstamped(*lines(one)))) == (0, "", "1 sent, 0 rejected, 0 left, 0 problems\n")
    assert setting.receiver.events() == [one]


def test_altered_and_as_it_was(setting: Setting) -> None:
    """Where another log, or a spool, has the event as it was, that one is sent, and nothing is missing."""
    one = with_secret(1)
    altered = setting.file(*[line.replace("warehouse", "***") for line in lines(one)])
    assert setting.replay(altered, setting.file(*lines(one))).status == 0
    assert setting.replay(altered, setting.left_behind(one)).status == 0
    assert setting.receiver.events() == [one, one]


@pytest.mark.parametrize("size", [0, 40_000], ids=["one-line", "parts"])
def test_lines_of_a_later_release(size: int, setting: Setting) -> None:
    """An event of a format that this release does not know is not sent, but told."""
    printed = [line.replace(" #1:", " #2:") for line in lines(event(1, size=size))]
    result = setting.replay(setting.file(*printed, *lines(event(2))))
    assert (result.status, setting.sent()) == (1, ["job_2 START"])
    assert "START of job default/job_1 is not sent: it was written by a later release" in result.err


@pytest.mark.parametrize("size", [0, 40_000], ids=["one-line", "parts"])
def test_release_before_reads_our_lines(size: int) -> None:
    """The reader of the release before, which takes the JSON and passes over what follows, finds the event."""
    printed = lines(with_secret(1, size))
    texts = [line.split(" ", 3)[3] if size else line.partition(" ")[2] for line in printed]
    assert json.JSONDecoder().raw_decode("".join(texts))[0] == with_secret(1, size)


@pytest.mark.parametrize("where", ["log", "file", "spool"])
def test_namespace_that_harms_a_backend(where: str, setting: Setting) -> None:
    """A namespace that Marquez cannot store, of an earlier release or another program, is made right, and told."""
    one = with_secret(1)
    one["inputs"] = [{**one["inputs"][0], "namespace": name} for name in ("kafka://b1:9092,b2:9092", "postgres://ü:1")]
    paths = {"log": lines(one), "file": [json.dumps(one)]}
    path = setting.left_behind(one) if where == "spool" else setting.file(*paths[where])
    result = setting.replay(path)
    assert result.status == 0
    (sent,) = setting.receiver.events()
    assert [each["namespace"] for each in sent["inputs"]] == ["kafka://b1:9092", "postgres://_:1"]
    assert ("postgres://_:1" in result.err) == (where != "spool")  # there it is a log line


def test_deep_json(setting: Setting) -> None:
    """A line of JSON that is nested as deeply as Python can read does not stop the others."""
    depth = sys.getrecursionlimit()
    deep = [
        f'{{"a": {"[" * levels}"OPENLINEAGE_POD_EVENT"{"]" * levels}}}' for levels in (depth // 2, depth - 60, depth)
    ]
    setting.replay(setting.file(*deep, *lines(event(1))))
    assert setting.sent() == ["job_1 START"]


def zstd(data: bytes) -> bytes:
    """Return two frames: what is appended to a file is a frame of its own."""
    zstandard = pytest.importorskip("zstandard")
    half = len(data) // 2
    return b"".join(zstandard.ZstdCompressor().compress(part) for part in (data[:half], data[half:]))


COMPRESSIONS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": lambda data: gzip.compress(data[:100]) + gzip.compress(data[100:]),
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "zstd": zstd,
    "UTF-8 with a mark": lambda data: b"\xef\xbb\xbf" + data,
    "UTF-16": lambda data: data.decode().encode("utf-16"),
    "UTF-16, big-endian": lambda data: b"\xfe\xff" + data.decode().encode("utf-16-be"),
    "UTF-32": lambda data: data.decode().encode("utf-32"),
    "UTF-8 behind bytes like a mark": lambda data: b"\xff\xfe\n" + data,
    "UTF-16 in gzip": lambda data: gzip.compress(data.decode().encode("utf-16")),
}


def compressed(path: str, how: str) -> str:
    """Change a file into its compressed form, under its name."""
    Path(path).write_bytes(COMPRESSIONS[how](Path(path).read_bytes()))
    return path


@pytest.mark.parametrize("how", COMPRESSIONS)
def test_compressed_log(how: str, setting: Setting) -> None:
    """A compressed log, or one in another encoding, is read, whatever its name is."""
    events = [event(1), event(2, size=40_000), event(3)]
    path = compressed(setting.file(json.dumps(event(1)), "text", *lines(*events)), how)
    assert setting.replay(path) == (0, "", "3 sent, 0 rejected, 0 left, 0 problems\n")
    assert setting.receiver.events() == events


@pytest.mark.parametrize("how", COMPRESSIONS)
def test_standard_input(how: str, setting: Setting) -> None:
    """The standard input is read like a file, also where it is a pipe."""
    path = compressed(setting.file("text", *lines(event(1), event(2, size=40_000))), how)
    done = subprocess.run(
        [sys.executable, "-m", "openlineage_pod", "replay", "-"],
        input=Path(path).read_bytes(),
        env={**os.environ, **setting.receiver.environ},
        capture_output=True,
        check=False,
        timeout=HANGS,
    )
    assert (done.returncode, done.stderr) == (0, b"2 sent, 0 rejected, 0 left, 0 problems\n")
    assert setting.sent() == ["job_1 START", "job_2 START"]


@pytest.mark.parametrize("how", ["gzip", "bzip2", "xz", "zstd"])
def test_compressed_log_that_breaks_off(how: str, setting: Setting) -> None:
    """A compressed file that is not whole is a problem that names it, and the other files are sent."""
    path = Path(compressed(setting.file(*lines(event(1, size=400_000))), how))
    path.write_bytes(path.read_bytes()[:-20])
    result = setting.replay(str(path), setting.file(*lines(event(2))))
    assert (result.status, setting.sent()[-1:]) == (1, ["job_2 START"])
    assert str(path) in result.err
    assert "Traceback" not in result.err


@pytest.mark.parametrize(("how", "sent"), [("gzip", 2), ("xz", 2), ("zstd", 1)])
def test_events_in_front_of_the_damage(how: str, sent: int, setting: Setting) -> None:
    """What can be decompressed of a damaged file is read, and that it is damaged is a problem."""
    path = Path(compressed(setting.file(*lines(event(1)), *map(str, range(9_000)), *lines(event(2))), how))
    path.write_bytes(path.read_bytes()[:-4])
    assert setting.replay(str(path)).status == 1
    assert setting.sent() == ["job_1 START", "job_2 START"][:sent]


@pytest.mark.parametrize("size", [1, 20])
def test_zstd_frame_that_breaks_off(size: int, setting: Setting) -> None:
    """A short frame that is not whole is a problem as well, though nothing of it can be read."""
    zstandard = pytest.importorskip("zstandard")
    path = Path(setting.file(*lines(event(1))))
    path.write_bytes(zstandard.ZstdCompressor().compress(path.read_bytes())[:-size])
    result = setting.replay(str(path))
    assert (result.status, str(path) in result.err) == (1, True)


def test_zstd_without_a_library(setting: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no library reads zstd, that is a problem that says what to install."""
    path = compressed(setting.file(*lines(event(1))), "zstd")
    for name in ("zstandard", "pyzstd", "backports.zstd", "compression.zstd"):
        monkeypatch.setitem(sys.modules, name, None)
    result = setting.replay(path, setting.file(*lines(event(2))))
    assert (result.status, setting.sent()) == (1, ["job_2 START"])
    assert "pip install zstandard" in result.err


@pytest.mark.parametrize(
    "data",
    [
        bytes(range(256)) * 40,
        b"\x7fELF\x02\x01\x01" + bytes(100),
        b"PK\x03\x04\x14\x00\x00\x00",
        gzip.compress(bytes(999)),
    ],
    ids=["noise", "program", "zip", "noise in gzip"],
)
def test_file_of_which_nothing_can_be_read(data: bytes, setting: Setting) -> None:
    """A file that is no text in any form is a problem that names it; a text without events is not."""
    path = setting.folder / "some.log"
    path.write_bytes(data)
    result = setting.replay(str(path))
    assert (result.status, f"{path} is neither text nor compressed" in result.err) == (1, True)
    assert setting.replay(setting.file("Größe: 3 µm", "\x1b[31mtext\x1b[0m")).status == 0


@pytest.mark.parametrize("text", ["OPENLINEAGE_POD_EVENT", "set OPENLINEAGE_POD_EVENT {}", "OPENLINEAGE_POD_EVENT []"])
def test_prefix_without_an_event(text: str, setting: Setting) -> None:
    """A line that only mentions the prefix is a problem at most, and nothing of it is sent."""
    assert setting.replay(setting.file(text)).status == 1
    assert setting.sent() == []


def test_file_of_events(setting: Setting) -> None:
    """A file with one event a line is sent; lines that are no events are passed over."""
    texts = [json.dumps(event(1)), "", "# comment", json.dumps({"a": 1}), json.dumps([1]), json.dumps(event(2))]
    assert setting.replay(setting.file(*texts)) == (0, "", "2 sent, 0 rejected, 0 left, 0 problems\n")
    assert setting.receiver.events() == [event(1), event(2)]


@pytest.mark.parametrize("where", ["file", "log", "rejected"])
def test_event_that_quotes_the_prefix(where: str, setting: Setting) -> None:
    """An event whose error message quotes a last-resort line, such as a command's stderr, is not overlooked."""
    one = event(1)
    error = {"_producer": "https://x", "_schemaURL": "https://x", "programmingLanguage": "PYTHON"}
    one["run"]["facets"]["errorMessage"] = {**error, "message": f"exit status 1: {lines(event(2))[0]}"}
    text = {"file": json.dumps(one), "log": lines(one)[0], "rejected": json.dumps({"reason": "400", "event": one})}
    setting.replay(setting.file(text[where]))
    assert one in setting.receiver.events()


def test_oldest_first(setting: Setting) -> None:
    """Events of all sources are sent in the order of their times, and of the same time in the order found."""
    spool = setting.left_behind(event(3), event(1))
    path = setting.file(*lines(event(4), event(2), event(2, "RUNNING"), event(2, "COMPLETE")))
    assert setting.replay(spool, path).status == 0
    assert setting.sent() == [
        "job_1 START",
        "job_2 START",
        "job_2 RUNNING",
        "job_2 COMPLETE",
        "job_3 START",
        "job_4 START",
    ]


def test_each_once(setting: Setting) -> None:
    """An event found in a spool, twice in a log, in parts and in a file is sent once, and goes from the spool."""
    one, large = event(1), event(2, size=40_000)
    spool = setting.left_behind(one, large)
    log = setting.file(*lines(one, one), *lines(large), *lines(large))
    file = setting.file(json.dumps(one), json.dumps(large, separators=(",", ":")))
    assert setting.replay(log, spool, file, log).err == "2 sent, 0 rejected, 0 left, 0 problems\n"
    assert setting.sent() == ["job_1 START", "job_2 START"]
    assert names(setting.spool / "new") == []


def test_each_line_twice(setting: Setting) -> None:
    """A log in which each line stands twice, as after a broken connection to the pod, holds the event once."""
    one = event(1, size=40_000)
    doubled = [line for line in lines(one) for _ in range(2)]
    assert setting.replay(setting.file(*doubled)) == (0, "", "1 sent, 0 rejected, 0 left, 0 problems\n")
    assert setting.receiver.events() == [one]


def test_events_of_one_run_are_several(setting: Setting) -> None:
    """Events of the same run that differ in type or time are not the same event."""
    events = [event(1), event(1, "RUNNING"), event(1, "RUNNING", second=5), event(1, "COMPLETE", second=6)]
    assert setting.replay(setting.file(*lines(*events))).status == 0
    assert setting.receiver.events() == events


def test_spool(setting: Setting) -> None:
    """What the dead have left in a spool is sent and deleted."""
    spool = setting.left_behind(event(1), event(2))
    assert setting.replay(spool) == (0, "", "2 sent, 0 rejected, 0 left, 0 problems\n")
    assert setting.receiver.events() == [event(1), event(2)]
    assert (names(setting.spool / "new"), names(setting.spool / "owners")) == ([], [])
    assert setting.replay(spool) == (0, "", "0 sent, 0 rejected, 0 left, 0 problems\n")


def test_spool_of_a_living_process(setting: Setting) -> None:
    """The events of a process that still runs are left to it, which is told; once it is dead they are sent."""
    setting.left_behind(event(3))
    with another_process(setting.spool, 1, 2) as process:
        result = setting.replay(str(setting.spool))
        assert (result.status, setting.sent()) == (1, ["job_3 START"])
        assert "2 events belong to processes that still run" in result.err
        assert len(names(setting.spool / "new")) == 2
        process.send_signal(signal.SIGKILL)
        process.wait(30)
        assert setting.replay(str(setting.spool)).status == 0
    assert setting.sent() == ["job_3 START", "job_1 START", "job_2 START"]


HANDED_OVER = """
from openlineage_pod.events.document import fallback_event
spool.hand_over()
spool.write_fallback(Document(fallback_event(to_document(draft(1)))))
spool.write(Document(to_document(draft(1, "COMPLETE"))))
"""


@pytest.mark.parametrize("status", [200, 400])
def test_end_whose_will_is_still_there(status: int, setting: Setting) -> None:
    """A process killed after the end of its run was sent or refused, its will not yet taken back, adds no FAIL."""
    setting.receiver.script({"status": status})
    with another_process(setting.spool, 1, then=HANDED_OVER) as process:
        setting.replay(str(setting.spool))
        assert names(setting.spool / "new") == []
        process.send_signal(signal.SIGKILL)
        process.wait(30)
    setting.receiver.script()
    assert setting.replay(str(setting.spool)).status == 0  # with what was refused
    assert setting.sent() == ["job_1 START", "job_1 COMPLETE"]
    assert names(setting.spool / "open") == []


def test_end_that_cannot_be_written(setting: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the end of a killed process's run cannot be put into the spool, that is a problem; later it is sent."""

    def full(*_args: Any, **_how: Any) -> None:
        raise OSError("No space left on device")

    will = (
        "from openlineage_pod.events.document import fallback_event\n"
        "spool.write_fallback(Document(fallback_event(to_document(draft(1)))))"
    )
    with another_process(setting.spool, 1, then=will):
        pass
    with monkeypatch.context() as patch:
        patch.setattr(Spool, "write", full)
        result = setting.replay(str(setting.spool))
    assert (result.status, setting.sent()) == (1, ["job_1 START"])
    assert "the end of run 01938a60-0000-7000-8000-000000000001 cannot be reported yet" in result.err
    assert setting.replay(str(setting.spool)).status == 0
    assert setting.sent() == ["job_1 START", "job_1 FAIL"]


def test_spool_of_a_later_release(setting: Setting) -> None:
    """Events that a later release spooled are a problem that says so; they stay, and the others are sent."""
    spool = setting.left_behind(event(1), event(2))
    newer = names(setting.spool / "new")[0]
    (setting.spool / "new" / newer).rename(setting.spool / "new" / newer.replace(".f1.", ".f2."))
    result = setting.replay(spool)
    assert (result.status, setting.sent()) == (1, ["job_2 START"])
    assert f"{spool}: 1 events were written by a later release" in result.err
    assert result.err.endswith("1 sent, 0 rejected, 0 left, 1 problems\n")
    assert len(names(setting.spool / "new")) == 1


def test_spool_that_somebody_delivers_from(setting: Setting) -> None:
    """A spool from which another process delivers at the moment is a problem that says so, and nothing is sent."""
    setting.left_behind(event(3))
    drains = "draining = spool.left_behind(); draining.__enter__()"
    with another_process(setting.spool, then=drains):
        result = setting.replay(str(setting.spool))
    assert (result.status, setting.sent()) == (1, [])
    assert "another process is delivering from it" in result.err
    assert "1 problems" in result.err


def test_no_spool(setting: Setting) -> None:
    """A directory that is no spool is a problem, and stays as it is."""
    (setting.folder / "other").mkdir()
    result = setting.replay(str(setting.folder / "other"))
    assert (result.status, names(setting.folder / "other")) == (1, [])
    assert "is no spool" in result.err


def test_foreign_files_in_a_spool(setting: Setting) -> None:
    """Files in a spool that are no events are problems; they are kept, and the events are sent."""
    spool = setting.left_behind(event(1))
    for name, text in {
        "torn": '{"run":',
        "other": '{"a": 1}',
        "part": '{"run": {"runId": "r"}, "eventType": "x"}',
    }.items():
        (setting.spool / "new" / name).write_text(text)
    result = setting.replay(spool)
    assert (result.status, setting.sent()) == (1, ["job_1 START"])
    assert "3 problems" in result.err
    kept = {**{path.name: path for path in (setting.spool / "rejected").iterdir()}}
    kept |= {path.name: path for path in (setting.spool / "new").iterdir()}
    assert set(kept) == {"torn", "other", "part"}


@pytest.mark.usefixtures("impatient")
def test_left_in_the_spool(setting: Setting) -> None:
    """An event that is not accepted stays in the spool, and so do the later ones of its run; the others are sent."""
    spool = setting.left_behind(event(1), event(2), event(1, "COMPLETE", second=3), event(4))
    setting.receiver.script({"job": "job_1", "event_type": "START", "status": 503})
    result = setting.replay(spool)
    assert result.status == 1
    assert result.err.endswith("2 sent, 0 rejected, 2 left, 0 problems\n")
    assert setting.sent() == ["job_2 START", "job_4 START"]
    assert len(names(setting.spool / "new")) == 2
    setting.receiver.script()
    assert setting.replay(spool).status == 0
    assert setting.sent()[2:] == ["job_1 START", "job_1 COMPLETE"]
    assert names(setting.spool / "new") == []


def test_refused_for_good(setting: Setting) -> None:
    """A refused event is told with the answer, kept in rejected/ beside it, and the others of its run are sent."""
    spool = setting.left_behind(event(1), event(1, "COMPLETE", second=2))
    setting.receiver.script({"event_type": "START", "status": 422, "body": "no such job"})
    result = setting.replay(spool)
    assert result.status == 1
    assert result.err.endswith("1 sent, 1 rejected, 0 left, 0 problems\n")
    assert "no such job" in result.err
    assert names(setting.spool / "new") == []
    (record,) = (setting.spool / "rejected").iterdir()
    content = json.loads(record.read_text())
    assert content["event"] == event(1)
    assert "422" in content["reason"]
    assert "no such job" in content["reason"]


def test_rejected_again(setting: Setting) -> None:
    """The files of rejected/ can be replayed when the backend has been mended, and stay where they are."""
    spool = setting.left_behind(event(1), event(2))
    setting.receiver.script({"status": 400})
    assert setting.replay(spool).status == 1
    setting.receiver.script()
    records = [str(path) for path in (setting.spool / "rejected").iterdir()]
    assert setting.replay(*records) == (0, "", "2 sent, 0 rejected, 0 left, 0 problems\n")
    assert setting.sent() == ["job_1 START", "job_2 START"]
    assert len(names(setting.spool / "rejected")) == 2


def test_rejected_events_of_a_spool(setting: Setting) -> None:
    """A spool is replayed with its rejected events, which is told; what is accepted is deleted, the rest stays."""
    spool = setting.left_behind(event(1), event(2), event(1, "COMPLETE", second=3))
    setting.receiver.script({"status": 400})
    assert setting.replay(spool).err.endswith("0 sent, 3 rejected, 0 left, 0 problems\n")
    (setting.spool / "rejected" / "foreign").write_text("no event")
    setting.receiver.script({"job": "job_2", "status": 422})
    result = setting.replay(spool)
    assert (result.status, setting.sent()) == (1, ["job_1 START", "job_1 COMPLETE"])
    assert f"{spool}: 3 rejected events are tried again\n" in result.err
    assert result.err.endswith("2 sent, 1 rejected, 0 left, 0 problems\n")
    assert len(names(setting.spool / "rejected")) == 2
    setting.receiver.script()
    assert setting.replay(spool).err.endswith("1 sent, 0 rejected, 0 left, 0 problems\n")
    assert names(setting.spool / "rejected") == ["foreign"]
    assert setting.replay(spool) == (0, "", "0 sent, 0 rejected, 0 left, 0 problems\n")


def test_rejected_events_of_a_dry_run(setting: Setting) -> None:
    """A dry run lists the rejected events, with their files."""
    spool = setting.left_behind(event(1))
    setting.receiver.script({"status": 400})
    setting.replay(spool)
    result = setting.replay(spool, dry_run=True)
    assert f"({spool}/rejected/" in result.out
    assert result.err == f"{spool}: 1 rejected events are tried again\n1 events would be sent, 0 problems\n"


def test_rejected_of_a_later_release(setting: Setting) -> None:
    """A file of rejected/ that a later release wrote stays where it is, and is told if it is named itself."""
    spool = setting.left_behind(event(1))
    setting.receiver.script({"status": 400})
    setting.replay(spool)
    setting.receiver.script()
    (path,) = (setting.spool / "rejected").iterdir()
    path.write_text(path.read_text().replace('"format":1', '"format":2'))
    assert setting.replay(spool).status == 0
    result = setting.replay(str(path))
    assert (result.status, "was written by a later release" in result.err) == (1, True)
    assert (setting.sent(), path.exists()) == ([], True)


@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize("where", ["spool", "log"])
def test_refused_key(where: str, status: int, setting: Setting) -> None:
    """Events are left where they are while the backend refuses the key, with its answer; later they are sent."""
    events = [event(1), event(2), event(1, "COMPLETE", second=3)]
    path = setting.left_behind(*events) if where == "spool" else setting.file(*lines(*events))
    setting.receiver.script({"status": status, "body": "wrong key"})
    result = setting.replay(path)
    assert result.status == 1
    assert result.err.endswith("0 sent, 0 rejected, 3 left, 0 problems\n")
    assert f"{status} " in result.err
    setting.receiver.script()
    assert setting.replay(path) == (0, "", "3 sent, 0 rejected, 0 left, 0 problems\n")


def test_no_room_for_a_refused_event(setting: Setting) -> None:
    """A refused event for which rejected/ has no room stays in new/, and is told."""
    spool = setting.left_behind(event(1, size=12_000))
    setting.receiver.script({"status": 400, "body": "bad"})
    err = io.StringIO()
    environ = {**setting.receiver.environ, "OPENLINEAGE_POD_SPOOL_MAX_BYTES": "10000"}
    assert replay([spool], environ, out=io.StringIO(), err=err) == 1
    assert "left, as rejected/ is full" in err.getvalue()
    assert err.getvalue().endswith("0 sent, 0 rejected, 1 left, 0 problems\n")
    assert len(names(setting.spool / "new")) == 1


def test_refused_from_a_log(setting: Setting) -> None:
    """An event from a log that is refused is told with its place, and the log stays as it is."""
    path = setting.file("text", *lines(event(1)))
    before = Path(path).read_text()
    setting.receiver.script({"status": 400})
    result = setting.replay(path)
    assert (result.status, Path(path).read_text()) == (1, before)
    assert f"({path}:2)" in result.err


@pytest.mark.usefixtures("impatient")
def test_no_credential_in_messages(setting: Setting, tmp_path: Path) -> None:
    """What a backend answers is shown without the key, also where it quotes it."""
    setting.receiver.script({"status": 400, "body": "no access with key-1-of-mine"})
    err = io.StringIO()
    environ = {**setting.receiver.environ, "OPENLINEAGE_API_KEY": "key-1-of-mine"}
    assert replay([setting.left_behind(event(1))], environ, out=io.StringIO(), err=err) == 1
    kept = "".join(path.read_text() for path in tmp_path.rglob("*") if path.is_file())
    assert "no access with ***" in err.getvalue()
    assert "key-1-of-mine" not in err.getvalue() + kept


def test_dry_run(setting: Setting) -> None:
    """A dry run lists each event once with its place, oldest first, sends nothing and needs no transport."""
    spool = setting.left_behind(event(3), event(1))
    log = setting.file(*lines(event(2), event(2)))
    before = sorted(str(path) for path in setting.folder.rglob("*"))
    out, err = io.StringIO(), io.StringIO()
    assert replay([spool, log], {}, dry_run=True, out=out, err=err) == 0
    listed = out.getvalue().splitlines()
    assert [line.split()[:3] for line in listed] == [
        [event(number)["eventTime"], "START", f"default/job_{number}"] for number in (1, 2, 3)
    ]
    assert event(1)["run"]["runId"] in listed[0]
    assert "task-0.log:" in listed[1]
    assert err.getvalue() == "3 events would be sent, 0 problems\n"
    assert setting.receiver.requests() == []
    assert sorted(str(path) for path in setting.folder.rglob("*") if path.name != "drain.lock") == before


def test_dry_run_moves_nothing(setting: Setting) -> None:
    """A dry run tells of files that are no events, and leaves them where they are."""
    spool = setting.left_behind(event(1))
    (setting.spool / "new" / "torn").write_text('{"run":')
    before = names(setting.spool / "new")
    assert setting.replay(spool, dry_run=True).status == 1
    assert names(setting.spool / "new") == before


def test_line_breaks_in_names(setting: Setting) -> None:
    """A line break in the name of a job or a file makes no line of its own: it might look like an event."""
    one = event(1)
    one["job"]["name"] = "a\nOPENLINEAGE_POD_EVENT {}"
    spool = setting.left_behind(one)
    (setting.spool / "new" / "b\nOPENLINEAGE_POD_EVENT {}").touch()
    dry = setting.replay(spool, dry_run=True)
    setting.receiver.script({"status": 400, "body": "c\nOPENLINEAGE_POD_EVENT {}"})
    for text in (dry.out, dry.err, setting.replay(spool).err):
        assert "OPENLINEAGE_POD_EVENT" in text
        assert not [line for line in text.splitlines() if line.startswith("OPENLINEAGE_POD_EVENT")]


def test_unreadable_paths(setting: Setting) -> None:
    """A path that cannot be read is a problem, and the others are sent."""
    missing = str(setting.folder / "missing.log")
    result = setting.replay(missing, setting.file(*lines(event(1))))
    assert (result.status, setting.sent()) == (1, ["job_1 START"])
    assert "missing.log: No such file" in result.err


def test_bytes_that_are_no_text(setting: Setting) -> None:
    """A log with bytes of another encoding is read all the same."""
    path = setting.file(*lines(event(1)))
    Path(path).write_bytes(b"caf\xe9 \xff\x00\n" + Path(path).read_bytes() + b"\x80")
    assert setting.replay(path) == (0, "", "1 sent, 0 rejected, 0 left, 0 problems\n")


def test_no_transport(setting: Setting) -> None:
    """Without a transport nothing is sent, the reason is told, and everything stays."""
    out, err = io.StringIO(), io.StringIO()
    assert replay([setting.left_behind(event(1))], {}, out=out, err=err) == 1
    assert "OPENLINEAGE_URL" in err.getvalue()
    assert "1 left" in err.getvalue()
    assert len(names(setting.spool / "new")) == 1


def test_broken_transport(setting: Setting) -> None:
    """A wrong configuration raises before anything is touched."""
    spool = setting.left_behind(event(1))
    with pytest.raises(ConfigurationError, match="OPENLINEAGE_URL"):
        replay([spool], {"OPENLINEAGE_URL": "marquez"}, out=io.StringIO(), err=io.StringIO())
    assert len(names(setting.spool / "new")) == 1
    with another_process(setting.spool):
        pass
    assert setting.replay(spool).status == 0


def test_nothing_found(setting: Setting) -> None:
    """A log without any event is no failure, and needs no transport."""
    err = io.StringIO()
    assert replay([setting.file("text")], {}, out=io.StringIO(), err=err) == 0
    assert err.getvalue() == "0 sent, 0 rejected, 0 left, 0 problems\n"


class Terminal(io.StringIO):
    """A stream that says that it is a terminal."""

    def isatty(self) -> bool:
        return True


def test_progress_on_a_terminal(setting: Setting) -> None:
    """On a terminal a bar grows to its full length while the events are sent."""
    err = Terminal()
    path = setting.file(*lines(*(event(number) for number in range(1, 6))))
    assert replay([path], setting.receiver.environ, out=io.StringIO(), err=err) == 0
    bars = [text for text in err.getvalue().split("\r") if text.startswith("[")]
    assert [bar.count("#") for bar in bars] == [6, 12, 18, 24, 30]
    assert "] 5/5\n" in bars[-1]


def test_many_events(setting: Setting) -> None:
    """A log of thousands of lines with many events is read in one pass."""

    def log() -> Iterable[str]:
        for number in range(300):
            yield from (f"INFO - line {index} of the job" for index in range(50))
            yield from lines(event(number, second=number % 60))

    assert setting.replay(setting.file(*log())).err == "300 sent, 0 rejected, 0 left, 0 problems\n"
    assert len(setting.receiver.events()) == 300
