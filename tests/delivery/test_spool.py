"""The spool: what is in it, in which order, whose it is, and what happens to what does not belong there."""

from __future__ import annotations

import json
import os
import signal
import stat
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from openlineage_pod.delivery.spool import Entry, Spool
from openlineage_pod.delivery.spool_files import Folder
from openlineage_pod.events.document import Document, to_document
from tests.support.events import draft
from tests.support.files import names
from tests.support.spools import another_process, kill
from tests.support.waiting import wait_until

MIB = 1024 * 1024


def event(number: int, event_type: str = "START") -> Document:
    """Return the event of a run of its own."""
    return Document(to_document(draft(number, event_type)))


def size_of(document: Document) -> int:
    """Return the bytes that an event takes in the spool."""
    return len(document.body)


def fields(document: Document | None) -> dict[str, Any] | None:
    """Return what an event that was read says."""
    return None if document is None else document.fields


def jobs(entries: list[Entry], spool: Spool) -> list[str]:
    """Return the jobs of the events."""
    return [document.job_name for entry in entries if (document := spool.read(entry)) is not None]


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Return the path of a spool that nobody has made yet."""
    return tmp_path / "volume" / "spool"


@pytest.fixture
def spool(directory: Path) -> Spool:
    """Return the spool of this process."""
    return Spool(str(directory), MIB)


def given(entries: list[Entry] | None) -> list[Entry]:
    """Return the entries that are left behind: nobody else is draining."""
    assert entries is not None
    return entries


def test_write_read_remove(spool: Spool, directory: Path) -> None:
    """What was written is one file of new/ with the event's JSON; removed, nothing is left of it."""
    entry = spool.write(event(1))
    assert names(directory / "new") == [entry.name]
    assert names(directory / "tmp") == []
    assert json.loads(Path(entry.path).read_text()) == event(1).fields == fields(spool.read(entry))
    assert (entry.run_id, entry.owner) == (event(1).run_id, spool.owner)
    assert spool.has(entry)
    spool.remove(entry)
    assert names(directory / "new") == []
    assert not spool.has(entry)
    assert spool.read(entry) is None
    spool.remove(entry)


def test_listing_while_events_are_written(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    """An end that a look at the directory shows without its START is given after it; a later run is left for later."""
    names = [spool.write(event(number, step)).name for number in (1, 2) for step in ("START", "COMPLETE")]
    looks = iter([[names[1]], names[::-1]])
    monkeypatch.setattr(Folder, "names", lambda _folder: next(looks))
    assert [entry.name for entry in spool.entries()] == names[:2]


def test_visible_only_when_complete(spool: Spool, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file comes into new/ by one rename, after all of it has been written."""
    seen: list[tuple[list[str], dict[str, Any]]] = []
    rename = os.rename

    def observed(source: str, target: str, **folders: int) -> None:
        assert source == target
        assert os.path.samestat(os.fstat(folders["src_dir_fd"]), (directory / "tmp").stat())
        seen.append((names(directory / "new"), json.loads((directory / "tmp" / source).read_text())))
        rename(source, target, **folders)

    monkeypatch.setattr(os, "rename", observed)
    spool.write(event(1))
    assert seen == [([], event(1).fields)]


def test_no_reader_sees_a_part(spool: Spool) -> None:
    """Whoever lists the spool while events are written finds complete ones only."""
    torn: list[str] = []
    done = threading.Event()

    def look() -> None:
        while not done.is_set():
            torn.extend(entry.name for entry in spool.entries() if spool.read(entry) is None)

    reader = threading.Thread(target=look)
    reader.start()
    try:
        for number in range(200):
            spool.write(event(number))
    finally:
        done.set()
        reader.join(30)
    assert torn == []
    assert len(spool.entries()) == 200


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_readable_for_nobody_else(umask: int, directory: Path) -> None:
    """Whatever the umask, the folders have the mode 0700 and the files 0600."""
    before = os.umask(umask)
    try:
        spool = Spool(str(directory), MIB)
        spool.reject(spool.write(event(1)), event(1), "400")
        spool.write(event(2))
        with spool.left_behind():
            pass
    finally:
        os.umask(before)
    modes = {
        str(path.relative_to(directory.parent)): stat.S_IMODE(path.stat().st_mode)
        for path in [directory, *directory.rglob("*")]
    }
    assert len(modes) >= 9
    for name, mode in modes.items():
        assert mode == (0o700 if (directory.parent / name).is_dir() else 0o600), name


def test_order(spool: Spool) -> None:
    """Entries come in the order of writing, also of events written within the resolution of the clock."""
    for number in range(200):
        spool.write(event(number))
    assert jobs(spool.entries(), spool) == [f"job_{number}" for number in range(200)]


def test_order_across_processes(spool: Spool, directory: Path) -> None:
    """The entries of several processes come in the order of their times."""
    spool.write(event(1))
    with another_process(directory, 2):
        pass
    spool.write(event(3))
    assert jobs(spool.entries(), spool) == ["job_1", "job_2", "job_3"]


def test_clock_that_is_set_back(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that is set back between two events does not bring the end of a run before its start."""
    spool.write(event(1, "START"))
    now = time.time_ns()
    monkeypatch.setattr(time, "time_ns", lambda: now - 3_600 * 10**9)
    spool.write(event(1, "COMPLETE"))
    documents = [fields(spool.read(entry)) for entry in spool.entries()]
    assert [document and document["eventType"] for document in documents] == ["START", "COMPLETE"]


def test_own_entries_are_not_left_behind(spool: Spool, directory: Path) -> None:
    """A process does not take its own events for left behind, whichever of its spools they are of."""
    spool.write(event(1))
    second = Spool(str(directory), MIB)
    for one in (spool, second):
        with one.left_behind() as entries:
            assert entries == []
    assert len(names(directory / "owners")) == 2


def test_entries_of_a_living_process(spool: Spool, directory: Path) -> None:
    """The events of another process are left to it while it lives, and are left behind once it has been killed."""
    with another_process(directory, 1, 2) as process:
        with spool.left_behind() as entries:
            assert entries == []
        kill(process)
        with spool.left_behind() as entries:
            assert jobs(given(entries), spool) == ["job_1", "job_2"]


def test_entries_of_a_released_process(spool: Spool, directory: Path) -> None:
    """A process that has said that it has ended leaves its events to others at once."""
    with another_process(directory, 1, then="spool.release()"), spool.left_behind() as entries:
        assert jobs(given(entries), spool) == ["job_1"]


def test_owners_that_are_gone_are_cleaned_up(spool: Spool, directory: Path) -> None:
    """The lock file of a dead process goes with the next draining, that of a living one stays."""
    with another_process(directory, 1) as first, another_process(directory, 2):
        kill(first)
        assert len(names(directory / "owners")) == 3
        with spool.left_behind() as entries:
            assert len(given(entries)) == 1
        assert len(names(directory / "owners")) == 2
        assert spool.owner in names(directory / "owners")


def test_one_process_drains_at_a_time(spool: Spool, directory: Path) -> None:
    """While another process is draining there is nothing to drain; when it is done, or dead, there is."""
    with another_process(directory, 1):
        pass
    drains = "draining = spool.left_behind(); found = draining.__enter__(); assert len(found) == 1"
    with another_process(directory, then=drains) as process:
        with spool.left_behind() as entries:
            assert entries is None
        kill(process)
        with spool.left_behind() as entries:
            assert jobs(given(entries), spool) == ["job_1"]


def test_draining_of_two_threads(spool: Spool, directory: Path) -> None:
    """The lock holds also between two spools of one process."""
    with another_process(directory, 1):
        pass
    second = Spool(str(directory), MIB)
    with spool.left_behind() as first:
        assert len(given(first)) == 1
        with second.left_behind() as entries:
            assert entries is None


FALLBACK = """
from openlineage_pod.events.document import fallback_event
spool.write_fallback(Document(fallback_event(to_document(draft(1)))))
"""


def types(spool: Spool) -> list[str]:
    """Return the event types of what is left behind."""
    with spool.left_behind() as entries:
        return [entry.part(2) for entry in given(entries)]


def test_end_of_a_vanished_run_needs_no_room(directory: Path) -> None:
    """The end of a killed process's run is reported also where the spool is over its limit: it was there before."""
    with another_process(directory, 1, then=FALLBACK):
        pass
    assert types(Spool(str(directory), 0)) == ["START", "FAIL"]
    assert names(directory / "open") == []


def test_end_that_cannot_be_written_is_tried_again(
    spool: Spool, directory: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Where the end of a vanished run cannot be written, one warning says so, and it is written when it can be."""
    with another_process(directory, 1, then=FALLBACK):
        pass
    (directory / "tmp").rmdir()
    assert [types(spool) for _ in range(3)] == [["START"]] * 3
    (record,) = caplog.records
    assert "01938a60-0000-7000-8000-000000000001" in record.getMessage()
    assert "tried again" in record.getMessage()
    (directory / "tmp").mkdir()
    assert types(spool) == ["START", "FAIL"]
    assert spool.unreported == set()


@pytest.mark.parametrize("how", ["resolved", "rejected"])
def test_what_has_an_end_needs_no_other(how: str, spool: Spool, directory: Path) -> None:
    """With the end of a run that was delivered or refused goes what its process would have others report of it."""
    end = 'spool.write(Document(to_document(draft(1, "COMPLETE"))))\nspool.hand_over()'
    with another_process(directory, 1, then=f"{FALLBACK}\n{end}"):
        with spool.left_behind() as entries:
            start, complete = given(entries)
            spool.resolve(start)
            assert len(names(directory / "open")) == 1
            if how == "resolved":
                spool.resolve(complete)
            else:
                assert spool.reject(complete, event(1, "COMPLETE"), "400")
        assert names(directory / "open") == []
    assert types(spool) == []


def test_draining_that_fails(spool: Spool, directory: Path) -> None:
    """An error in the middle of draining lets go of the lock."""
    with another_process(directory, 1):
        pass
    with pytest.raises(ZeroDivisionError), spool.left_behind():
        raise ZeroDivisionError
    with spool.left_behind() as entries:
        assert len(given(entries)) == 1


def test_size_limit(directory: Path) -> None:
    """An event that would exceed the limit is refused without a trace; delivered ones make room."""
    spool = Spool(str(directory), 3 * size_of(event(1)))
    entries = [spool.write(event(number)) for number in (1, 2, 3)]
    with pytest.raises(OSError, match="limit of"):
        spool.write(event(4))
    assert (len(names(directory / "new")), names(directory / "tmp")) == (3, [])
    spool.remove(entries[0])
    spool.write(event(4))
    assert jobs(spool.entries(), spool) == ["job_2", "job_3", "job_4"]


def test_size_limit_is_of_all_processes(directory: Path) -> None:
    """What others have written counts, and what others have delivered counts no longer."""
    with another_process(directory, 1, 2):
        pass
    spool = Spool(str(directory), 2 * size_of(event(1)))
    with pytest.raises(OSError, match="limit of"):
        spool.write(event(3))
    Path(spool.entries()[0].path).unlink()
    spool.write(event(3))
    assert jobs(spool.entries(), spool) == ["job_2", "job_3"]


def test_rejected_events_do_not_count(directory: Path) -> None:
    """What lies in rejected/ takes no room from what is to be delivered."""
    spool = Spool(str(directory), 2 * size_of(event(1)))
    assert spool.reject(spool.write(event(1)), event(1), "400")
    spool.write(event(2))
    spool.write(event(3))


def test_size_limit_of_rejected_events(directory: Path, caplog: pytest.LogCaptureFixture) -> None:
    """rejected/ has the spool's limit: an event beyond it stays where it is, with one line; deleted files make room."""
    spool = Spool(str(directory), 4 * size_of(event(1)))
    entries = [spool.write(event(number)) for number in range(1, 4)]
    kept = [spool.reject(entry, event(number), "400") for number, entry in enumerate(entries, 1)]
    assert kept == [True, True, True]
    fourth = spool.write(event(4))
    assert [spool.reject(fourth, event(4), "400") for _ in range(2)] == [False, False]
    (record,) = caplog.records
    assert f"its limit of {4 * size_of(event(1))} bytes is reached" in record.getMessage()
    assert fields(spool.read(fourth)) == event(4).fields
    assert sum(path.stat().st_size for path in (directory / "rejected").iterdir()) <= 4 * size_of(event(1))
    (directory / "rejected" / entries[0].name).unlink()
    assert spool.reject(fourth, event(4), "400")


def test_size_limit_holds_for_what_is_set_aside(directory: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A foreign file for which rejected/ has no room stays where it is, with one line, and events go on."""
    spool = Spool(str(directory), 2 * size_of(event(1)))
    (directory / "new" / "foreign").write_text("x" * 3 * size_of(event(1)))
    with another_process(directory, 1):
        pass
    for _ in range(3):
        with spool.left_behind() as entries:
            assert jobs(given(entries), spool) == ["job_1"]
    assert names(directory / "rejected") == []
    (record,) = caplog.records
    assert "foreign is not a lineage event; it cannot be set aside" in record.getMessage()


def test_reject(spool: Spool, directory: Path) -> None:
    """A refused event moves to rejected/ under its name, beside the reason, of which the beginning is kept."""
    entry = spool.write(event(1))
    assert spool.reject(entry, event(1), "400 Bad Request: " + "x" * 5_000)
    assert names(directory / "new") == []
    record = json.loads((directory / "rejected" / entry.name).read_text())
    assert record["event"] == event(1).fields
    assert record["reason"].startswith("400 Bad Request: xxx")
    assert len(record["reason"]) == 1_000


def test_rejected_again(spool: Spool, directory: Path) -> None:
    """The record of a second refusal replaces the first one, also where that was longer."""
    entry = spool.write(event(1))
    assert spool.reject(entry, event(1), "400 Bad Request: " + "x" * 500)
    assert spool.reject(entry, event(1), "400")
    record = json.loads((directory / "rejected" / entry.name).read_text())
    assert record == {"format": 1, "reason": "400", "event": event(1).fields}


def test_reject_without_room(spool: Spool, directory: Path) -> None:
    """An event that cannot be moved to rejected/ stays where it is, and that is told."""
    entry = spool.write(event(1))
    (directory / "rejected").rmdir()
    assert not spool.reject(entry, event(1), "400")
    assert fields(spool.read(entry)) == event(1).fields


TORN = [b"", b"{", b'{"run": {"runId": "r"}}', b"[]", b"null", b'"text"', b"\xff\xfe", b"[" * 100_000, b'{"run": 1}']


@pytest.mark.parametrize("data", TORN, ids=[repr(data[:12]) for data in TORN])
def test_file_that_is_no_event(data: bytes, spool: Spool, directory: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A file that is no event is set aside in rejected/ with a warning, and not looked at again."""
    path = directory / "new" / "00000000000000000001-00000000~r~START~o.json"
    path.write_bytes(data)
    with spool.left_behind() as entries:
        assert [spool.read(entry) for entry in given(entries)] == [None]
    assert (names(directory / "new"), names(directory / "rejected")) == ([], [path.name])
    assert (directory / "rejected" / path.name).read_bytes() == data
    assert len(caplog.records) == 1
    assert path.name in caplog.text


@pytest.mark.parametrize("name", ["event.json", "a~b.json", "~~~.json", "a~b~c~d~e.json", ".hidden", "ünïcode~.json"])
def test_foreign_names(name: str, spool: Spool, directory: Path) -> None:
    """An event that somebody has put there under another name belongs to nobody, so it is delivered."""
    (directory / "new" / name).write_text(json.dumps(event(7).fields))
    with spool.left_behind() as entries:
        assert jobs(given(entries), spool) == ["job_7"]


def test_files_of_a_later_release(spool: Spool, directory: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Files whose names tell a later format are left where they are, with one line; they keep no relay from ending."""
    with another_process(directory, 1):
        pass
    owner = spool.owner.replace(".f1", ".f2")
    (directory / "new" / f"00000000000000000001-00000000~r~START~{owner}.json").write_text("a new form")
    (directory / "new" / f"00000000000000000001-00000001~r~COMPLETE~{owner}.json").write_text(
        json.dumps(event(8).fields)
    )
    (directory / "open" / f"r~{owner}.json").write_text("a new form")
    for how in ({}, {"all_of_them": True}, {"look": True}):
        with spool.left_behind(**how) as entries:
            assert jobs(given(entries), spool) == ["job_1"]
    assert (len(names(directory / "new")), len(names(directory / "open"))) == (3, 1)
    (record,) = caplog.records
    assert "holds files of format 2; this release reads formats up to 1" in record.getMessage()
    Path(given(entries)[0].path).unlink()
    assert not spool.is_in_use()


def test_folder_among_the_events(spool: Spool, directory: Path) -> None:
    """A folder in new/ is set aside."""
    (directory / "new" / "folder").mkdir()
    with spool.left_behind() as entries:
        assert entries == []
    assert names(directory / "rejected") == ["folder"]
    spool.write(event(1))


def test_torn_file_of_a_killed_writer(spool: Spool, directory: Path) -> None:
    """What a killed process had not finished in tmp/ never becomes an entry."""
    with another_process(directory) as process:
        (directory / "tmp" / "half~written").write_text('{"eventType": "STA')
        kill(process)
    with spool.left_behind() as entries:
        assert entries == []


def test_abandoned_after_a_fork(directory: Path) -> None:
    """A forked child that lets go neither keeps its dead parent's events locked nor frees those of a living one."""
    pids, abandoned = directory.parent / "child", directory.parent / "abandoned"
    forks = (
        "import os\nif (pid := os.fork()) == 0:\n    spool.abandon()\n"
        f"    open({str(abandoned)!r}, 'w').close()\n    os.close(1)\n    time.sleep(60)\n    os._exit(0)\n"
        f"open({str(pids)!r}, 'w').write(str(pid))"
    )
    spool = Spool(str(directory), MIB)
    with another_process(directory, 1, then=forks) as process:
        child = int(pids.read_text())
        try:
            wait_until(abandoned.exists, "the child has let go")
            with spool.left_behind() as entries:
                assert entries == []
            kill(process)
            with spool.left_behind() as entries:
                assert jobs(given(entries), spool) == ["job_1"]
        finally:
            os.kill(child, signal.SIGKILL)


@pytest.mark.parametrize("limit", [256, 4096])
@pytest.mark.parametrize("say", ["spool.hand_over()", "spool.relay_only()", "spool.abandon()"])
def test_descriptors_that_the_job_closed(say: str, limit: int, directory: Path) -> None:
    """A job that closes all descriptors, and opens a file of its own under the number of ours, keeps that file."""
    own = directory.parent / "own"
    source = (
        f"import os\nos.closerange(3, {limit})\n"
        f"own = [open({str(own)!r}, 'w') for _ in range(9)][-1]\n{say}\nown.write('text')\nown.close()"
    )
    with another_process(directory, then=source):
        assert own.read_text() == "text"


@pytest.mark.parametrize("end", ["", "/", "//", "/.", "/./"])
def test_ways_to_write_the_path(end: str, tmp_path: Path) -> None:
    """However the path ends, the directory is its own user's alone."""
    before = os.umask(0)
    try:
        Spool(f"{tmp_path}/spool{end}", MIB)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "spool").stat().st_mode) == 0o700


def test_existing_directory(directory: Path) -> None:
    """A directory that exists with what earlier processes left is used as it is."""
    with another_process(directory, 1):
        pass
    spool = Spool(str(directory), MIB)
    assert jobs(spool.entries(), spool) == ["job_1"]


def test_directory_that_cannot_be_made(tmp_path: Path) -> None:
    """A path below a file, or that is a file, is an OSError."""
    (tmp_path / "file").touch()
    for path in (tmp_path / "file", tmp_path / "file" / "spool"):
        with pytest.raises(OSError, match="file"):
            Spool(str(path), MIB)


def test_directory_that_vanishes(spool: Spool, directory: Path) -> None:
    """Without its directory writing is an OSError; everything else finds nothing, and raises nothing."""
    entry = spool.write(event(1))
    for path in sorted(directory.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    directory.rmdir()
    with pytest.raises(OSError, match="No such file"):
        spool.write(event(2))
    assert spool.read(entry) is None
    assert spool.entries() == []
    assert not spool.has(entry)
    assert not spool.reject(entry, event(1), "400")
    spool.remove(entry)
    with spool.left_behind() as entries:
        assert entries is None
    spool.release()


def test_full_disk(spool: Spool, directory: Path) -> None:
    """Where the disk takes no more, writing is an OSError and leaves nothing behind, neither in new/ nor in tmp/."""
    import resource

    large = Document({**event(1).fields, "filler": "x" * 100_000})
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, before[1]))
    try:
        with pytest.raises(OSError, match="large"):
            spool.write(large)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert (names(directory / "new"), names(directory / "tmp")) == ([], [])
    assert fields(spool.read(spool.write(large))) == large.fields


def test_writers_in_parallel(spool: Spool, directory: Path) -> None:
    """Threads and processes that write at the same time never overwrite each other."""

    def write(first: int) -> None:
        for number in range(first, first + 50):
            spool.write(event(number))

    threads = [threading.Thread(target=write, args=(first,)) for first in range(0, 200, 50)]
    for thread in threads:
        thread.start()
    with another_process(directory, *range(200, 250)):
        for thread in threads:
            thread.join(30)
        found = jobs(spool.entries(), spool)
    assert sorted(found) == sorted(f"job_{number}" for number in range(250))
