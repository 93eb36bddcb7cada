"""The spool as a border: nothing that others put into it is followed, waited for, or written to."""

from __future__ import annotations

import json
import os
import shutil
import stat
from pathlib import Path
from tempfile import mkdtemp
from typing import TYPE_CHECKING

import pytest

from openlineage_pod.delivery import spool_files
from openlineage_pod.delivery.spool import Spool
from openlineage_pod.events.document import Document, fallback_event
from tests.support.events import event
from tests.support.files import names
from tests.support.spools import another_process
from tests.support.users import needs_root, run_as

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MIB = 1024 * 1024
FOLDERS = ("tmp", "new", "open", "rejected", "owners")


def document(number: int, event_type: str = "START") -> Document:
    """Return the event of a run of its own."""
    return Document(event(number, event_type))


def delivered(spool: Spool) -> list[str]:
    """Deliver what is left behind, and return the jobs."""
    with spool.left_behind() as entries:
        assert entries is not None
        documents = [(entry, spool.read(entry)) for entry in entries]
        for entry, found in documents:
            if found is not None:
                spool.resolve(entry)
    return [found.job_name for _, found in documents if found is not None]


@pytest.fixture(scope="module")
def of_a_process_that_has_gone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a spool directory with the event of a process that was killed, once."""
    directory = tmp_path_factory.mktemp("gone") / "spool"
    with another_process(directory, 1):
        pass
    return directory


@pytest.fixture
def directory(of_a_process_that_has_gone: Path, tmp_path: Path) -> Path:
    """Return the spool directory with the event of a process that has gone."""
    return shutil.copytree(of_a_process_that_has_gone, tmp_path / "spool")


@pytest.fixture
def victim(tmp_path: Path) -> Iterator[Path]:
    """Return a file outside of the spool that holds an event; it must stay as it is."""
    outside = tmp_path / "outside"
    outside.mkdir()
    path = outside / "event.json"
    path.write_text(json.dumps(event(66)))
    before = (path.read_bytes(), path.stat().st_mode, names(outside))
    yield path
    assert (path.read_bytes(), path.stat().st_mode, names(outside)) == before


def _device(path: Path, _victim: Path) -> None:
    try:
        os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, 5))  # /dev/zero
    except PermissionError:
        pytest.skip("devices need root")


def _folder(path: Path, _victim: Path) -> None:
    path.mkdir()
    (path / "file").touch()


PLANTS: dict[str, Callable[[Path, Path], object]] = {
    "FIFO": lambda path, _victim: os.mkfifo(path),
    "link to a file": lambda path, victim: path.symlink_to(victim),
    "link to a folder": lambda path, victim: path.symlink_to(victim.parent),
    "link to nothing": lambda path, victim: path.symlink_to(victim.with_name("missing")),
    "link to itself": lambda path, _victim: path.symlink_to(path),
    "socket": lambda path, _victim: os.mknod(path, stat.S_IFSOCK | 0o600),
    "device": _device,
    "folder": _folder,
}


def told(caplog: pytest.LogCaptureFixture, name: str) -> int:
    """Return how many log lines name a file."""
    return sum(name in record.getMessage() for record in caplog.records)


@pytest.mark.parametrize("plant", PLANTS)
@pytest.mark.parametrize("folder", FOLDERS)
def test_foreign_thing(
    folder: str, plant: str, directory: Path, victim: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """What is not a regular file is set aside with one line, wherever it lies, and the events are delivered."""
    name = f"planted~START~{os.urandom(4).hex()}"
    PLANTS[plant](directory / folder / name, victim)
    spool = Spool(str(directory), MIB)
    assert delivered(spool) == ["job_1"]
    entry = spool.write(document(2))
    assert spool.reject(entry, document(2), "400")
    assert delivered(spool) == []
    assert set(names(directory / "rejected")) == {name, entry.name}
    assert all(names(directory / each) == [] for each in ("tmp", "new", "open"))
    assert names(directory / "owners") == [spool.owner]
    assert told(caplog, name) == (folder != "rejected")
    assert not spool.is_in_use()


@pytest.mark.parametrize("plant", PLANTS)
def test_foreign_lock_file(plant: str, directory: Path, victim: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A lock file that is not a regular file is set aside with one line, and a new one takes its place."""
    (directory / "drain.lock").unlink(missing_ok=True)
    PLANTS[plant](directory / "drain.lock", victim)
    spool = Spool(str(directory), MIB)
    assert delivered(spool) == ["job_1"]
    assert names(directory / "rejected") == ["drain.lock"]
    assert (directory / "drain.lock").is_file()
    assert told(caplog, "drain.lock") == 1


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("folder", FOLDERS)
def test_link_in_the_place_of_a_folder(
    when: str, folder: str, directory: Path, victim: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A link in the place of a folder is renamed with one line and never followed; the folder is made anew."""

    def plant() -> None:
        (directory / folder).rename(directory / "old")
        (directory / folder).symlink_to(victim.parent)

    if when == "before":
        plant()
    spool = Spool(str(directory), MIB)
    if when == "after":
        plant()
    assert delivered(spool) == ([] if folder == "new" else ["job_1"])
    entry = spool.write(document(2))
    spool.write_fallback(document(2, "FAIL"))
    assert spool.reject(entry, document(2), "400")
    assert not (directory / folder).is_symlink()
    assert told(caplog, "was not a folder") == 1
    (aside,) = directory.glob(f"{folder}.foreign-*")
    assert aside.readlink() == victim.parent


@pytest.mark.parametrize("plant", PLANTS)
def test_exchanged_between_look_and_read(
    plant: str, directory: Path, victim: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """What takes the place of an event after the folder was listed is not read, but set aside."""
    spool = Spool(str(directory), MIB)
    with spool.left_behind() as entries:
        assert entries is not None
        (entry,) = entries
        Path(entry.path).unlink()
        PLANTS[plant](Path(entry.path), victim)
        assert spool.read(entry) is None
    assert names(directory / "rejected") == [entry.name]
    assert told(caplog, entry.name) == 1


@pytest.mark.parametrize("plant", [os.link, os.symlink])
def test_never_written_through_a_link(
    plant: Callable[[Path, Path], None], directory: Path, victim: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What others have put into tmp/ under the name of a new file, a hard link as well, is not written to."""
    monkeypatch.setattr("openlineage_pod.delivery.spool.time.time_ns", lambda: 42)
    spool, run_id = Spool(str(directory), MIB), document(2).run_id
    for name in (f"{42:020d}-00000000~{run_id}~START~{spool.owner}.json", f"{run_id}~{spool.owner}.json"):
        plant(victim, directory / "tmp" / name)
    entry = spool.write(document(2))
    spool.write_fallback(document(2))
    assert json.loads(Path(entry.path).read_text()) == document(2).fields
    assert names(directory / "tmp") == []


@pytest.mark.parametrize("run_id", ["../../outside/event", "/outside", "..", "a/b", "x" * 300, "a~b", "line\nbreak"])
def test_run_id_that_is_a_path(run_id: str, directory: Path, victim: Path) -> None:
    """The run id of a foreign fallback never leads out of the folder: the event is delivered as it is."""
    foreign = event(3)
    foreign["run"]["runId"] = run_id
    (directory / "open" / "x~y.json").write_text(json.dumps(fallback_event(foreign)))
    assert delivered(Spool(str(directory), MIB)) == ["job_1", "job_3"]
    assert names(victim.parent) == ["event.json"]


@pytest.mark.parametrize("name", [".", "..", "~..", "a~b~START~..", "a~b~START~."])
def test_owner_that_is_a_folder(name: str, directory: Path) -> None:
    """An owner in a file name that would be a folder counts as gone."""
    (directory / "new" / f"{name}.json").write_text(json.dumps(event(2)))
    assert sorted(delivered(Spool(str(directory), MIB))) == ["job_1", "job_2"]


def test_huge_file(directory: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A file above the size of any event is set aside unread, and takes no room from events."""
    with (directory / "new" / "huge.json").open("wb") as file:
        file.truncate(1 << 40)
    spool = Spool(str(directory), MIB)
    spool.write(document(2))
    assert delivered(spool) == ["job_1"]
    assert names(directory / "rejected") == ["huge.json"]
    assert told(caplog, "huge.json is larger than") == 1
    assert spool.reject(spool.write(document(3)), document(3), "400")


def test_many_files(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of more files than a process holds in memory the first ones count, so that runs keep their order."""
    monkeypatch.setattr(spool_files, "_MAX_FILES", 10)
    spool = Spool(str(directory), MIB)
    for number in range(2, 30):
        spool.write(document(number))
    with spool.left_behind(all_of_them=True) as entries:
        assert entries is not None
        found = [spool.read(entry) for entry in entries]
    assert [each and each.job_name for each in found] == [f"job_{number}" for number in range(1, 11)]


def test_name_with_a_line_break(directory: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The name of a foreign file cannot forge a log line."""
    (directory / "new" / "a\nOPENLINEAGE_POD_EVENT {}").write_text("")
    delivered(Spool(str(directory), MIB))
    (record,) = caplog.records
    assert "\n" not in record.getMessage()
    assert "a\\nOPENLINEAGE_POD_EVENT" in record.getMessage()


def test_name_that_rejected_has_already(directory: Path) -> None:
    """What is set aside does not replace an earlier file of its name."""
    for text in ("first", "second"):
        (directory / "new" / "foreign").write_text(text)
        delivered(Spool(str(directory), MIB))
    assert sorted(path.read_text() for path in (directory / "rejected").iterdir()) == ["first", "second"]


# --- other users


@pytest.fixture
def shared() -> Iterator[Path]:
    """Return a directory that all users can reach."""
    path = Path(mkdtemp(prefix="openlineage-pod-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


def write_and_go(directory: Path, number: int) -> None:
    """Leave an event behind, a refused one, and the fallback of a run that did not end."""
    spool = Spool(str(directory), MIB)
    spool.write(document(number))
    assert spool.reject(spool.write(document(number + 1)), document(number + 1), "400")
    spool.write_fallback(Document(fallback_event(event(number))))


def deliver_all(directory: Path) -> None:
    """Deliver what the others have left, and check that nothing is left and rejected events can be read."""
    found = delivered(Spool(str(directory), MIB))
    assert (found[:2], sorted(found[2:])) == (["job_1", "job_11"], ["job_1", "job_11"])
    assert names(directory / "new") == names(directory / "open") == names(directory / "tmp") == []
    for path in (directory / "rejected").iterdir():
        json.loads(path.read_text())


@needs_root
@pytest.mark.parametrize("umask", [0o000, 0o777])
@pytest.mark.parametrize(
    ("mode", "groups"),
    [(0o777, ()), (0o2777, ()), (0o1777, ()), (0o770, (4000,)), (0o2770, (4000,)), (0o3770, (4000,))],
    ids=lambda value: oct(value) if isinstance(value, int) else "",
)
@pytest.mark.parametrize("reader", [0, 1003])
def test_containers_with_different_users(
    reader: int, mode: int, groups: tuple[int, ...], umask: int, shared: Path
) -> None:
    """Whoever may use the directory may use what others left in it, whatever the umask is, and nobody else may."""
    directory = shared / "spool"
    directory.mkdir()
    os.chown(directory, 1001, 4000)
    directory.chmod(mode)
    run_as(1001, lambda: write_and_go(directory, 1), groups=groups, umask=umask)
    run_as(1002, lambda: write_and_go(directory, 11), groups=groups, umask=umask)
    for path in directory.rglob("*"):
        status = path.stat()
        wanted = 0o700 | mode & 0o077 if path.is_dir() else 0o600 | mode & 0o066
        assert oct(stat.S_IMODE(status.st_mode) & 0o777) == oct(wanted), path
        if groups:  # only a member may keep the setgid bit
            assert (status.st_gid, bool(status.st_mode & stat.S_ISGID)) == (4000, path.is_dir() and bool(mode & 0o2000))
    run_as(reader, lambda: deliver_all(directory), groups=groups, umask=umask)


@needs_root
@pytest.mark.parametrize("umask", [0o077, 0o777])
def test_directory_made_under_any_umask(umask: int, shared: Path) -> None:
    """A directory that a process makes itself is its own alone, also where the umask leaves it no right."""
    shared.chmod(0o777)
    directory = shared / "deep" / "spool"

    def deliver_own() -> None:
        assert delivered(Spool(str(directory), MIB)) == ["job_1", "job_1"]

    run_as(1001, lambda: write_and_go(directory, 1), umask=umask)
    run_as(1001, deliver_own, umask=umask)
    modes = {stat.S_IMODE(path.stat().st_mode) for path in directory.rglob("*")}
    assert modes == {0o700, 0o600}


@needs_root
def test_file_that_cannot_be_read(shared: Path) -> None:
    """A file of another user that cannot be read stays where it is, with one line; also the end of a vanished run."""
    directory = shared / "spool"
    directory.mkdir()
    directory.chmod(0o777)
    run_as(1001, lambda: write_and_go(directory, 1))
    for folder in ("new", "open"):
        for path in (directory / folder).iterdir():
            path.chmod(0o600)

    def look() -> None:
        spool = Spool(str(directory), MIB)
        lines: list[str] = []
        spool.rejected.tell = lambda path, what: lines.append(f"{path} {what}")  # type: ignore[method-assign]
        assert delivered(spool) == []
        assert len(lines) == 2, lines
        assert all("cannot be read (Permission denied) and stays there" in line for line in lines)

    run_as(1002, look)
    assert len(names(directory / "new")) == len(names(directory / "open")) == 1


@needs_root
def test_folders_of_the_release_before(shared: Path) -> None:
    """Folders that an earlier release made for their user alone become those of everybody who may use the spool."""
    directory = shared / "spool"
    directory.mkdir()
    directory.chmod(0o777)
    for folder in FOLDERS:
        (directory / folder).mkdir(mode=0o700)
    Spool(str(directory), MIB)
    run_as(1001, lambda: write_and_go(directory, 1))
