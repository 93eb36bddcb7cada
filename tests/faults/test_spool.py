"""A spool in trouble: unusable, full, gone, damaged, shared."""

from __future__ import annotations

import json
import shutil
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.events import SEEN_EVENTS
from tests.support.examples import repeatable
from tests.support.fault_scene import WHOLE, Scene, mounting
from tests.support.files import owed
from tests.support.harness import Jobs, by_run
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tests.support.harness import Event, Receiver

JOB = """
from openlineage_pod import lineage_run
@lineage_run("job", outputs=["s3://lake/accounts"])
def main():
    return 42
print(main())
"""
GATED = """
from openlineage_pod import lineage_run
with lineage_run("job", outputs=["s3://lake/accounts"]):
    print("READY", flush=True)
    print(input())
"""
BOTH = ["job.START", "job.COMPLETE"]
RUNS = """
from openlineage_pod import lineage_run
for number in range({}):
    with lineage_run(f"run-{{number}}"):
        pass
print("READY", flush=True)
print(input())
"""
ON = b"on\n"


def runs(count: int) -> dict[str, tuple[str, ...]]:
    """Return what `RUNS` with this count produces."""
    return {f"run-{number}": WHOLE for number in range(count)}


def in_order(produced: Mapping[str, Sequence[str]]) -> list[str]:
    """Return everything that was produced, as the books have it."""
    return [f"{job}.{event_type}" for job, event_types in produced.items() for event_type in event_types]


def unusable(case: str, directory: Path) -> tuple[Path, tuple[str, ...]]:
    """Return a spool directory that cannot be used, also not by root, and the command in which that is so."""
    parent = directory / "volume"
    parent.mkdir()
    if case == "below a file":
        (directory / "file").write_text("no directory")
        return directory / "file" / "spool", ()
    if case == "a file":
        (directory / "file").write_text("no directory")
        return directory / "file", ()
    if case == "full":
        fill = f"dd if=/dev/zero of={parent}/filler bs=4k 2>/dev/null || true"
        return parent / "spool", mounting(f"mount -t tmpfs -o size=64k tmpfs {parent}", fill)
    if case == "without inodes":
        return parent / "spool", mounting(f"mount -t tmpfs -o nr_inodes=3 tmpfs {parent}")
    if case == "read-only, made":
        for folder in ("tmp", "new", "rejected", "owners"):
            (parent / "spool" / folder).mkdir(parents=True)
    mounts = ("mount -o remount,ro,bind /", f"mount --bind {parent} {parent}", f"mount -o remount,ro,bind {parent}")
    return parent / "spool", mounting(*mounts)


UNUSABLE = ("below a file", "a file", "read-only root", "read-only, made", "full", "without inodes")


@pytest.mark.parametrize("case", UNUSABLE)
def test_an_unusable_spool_with_a_backend_that_is_well(
    case: str, in_memory: Scene, receiver: Receiver, tmp_path: Path
) -> None:
    """Where the spool cannot be used, one warning says so, and the events are delivered as without one."""
    spool, prefix = unusable(case, tmp_path)
    environ = in_memory.environ(receiver.url, 10, OPENLINEAGE_POD_SPOOL_DIR=str(spool))
    finished = in_memory.run(JOB, environ, prefix=prefix)
    assert in_memory.account({"job": WHOLE}, finished, backends=[receiver]).places == {"delivered": BOTH}
    (line,) = finished.log
    assert str(spool) in line


@pytest.mark.parametrize("case", UNUSABLE)
def test_an_unusable_spool_without_a_backend(case: str, in_memory: Scene, refused: str, tmp_path: Path) -> None:
    """Where neither the spool nor the backend can be used, both events are printed."""
    spool, prefix = unusable(case, tmp_path)
    environ = in_memory.environ(refused, OPENLINEAGE_POD_SPOOL_DIR=str(spool))
    finished = in_memory.run(JOB, environ, prefix=prefix)
    assert in_memory.account({"job": WHOLE}, finished).places == {"printed": BOTH}


@pytest.mark.parametrize("backend", ["well", "refused"])
def test_a_spool_that_gets_full_during_the_run(
    backend: str, jobs: Jobs, receiver: Receiver, refused: str, tmp_path: Path
) -> None:
    """Once its file system is full, the spool keeps what it has, and later events are kept in memory and printed."""
    volume, copy = tmp_path / "volume", tmp_path / "copy"
    volume.mkdir()
    spool = volume / "spool"
    scene = Scene(jobs, copy)
    prefix = mounting(
        f"mount -t tmpfs -o size=64k tmpfs {volume}", after=f"rm -f {volume}/filler; cp -r {spool} {copy}"
    )
    url = receiver.url if backend == "well" else refused
    environ = scene.environ(url, 3, OPENLINEAGE_POD_SPOOL_DIR=str(spool))
    job = jobs.start(GATED, environ, prefix=prefix)
    job.wait_for("READY")
    if backend == "well":
        receiver.wait_for(lambda events: len(events) == 1)
    seen = Path(f"/proc/{job.pid}/root{volume}")
    wait_until(
        lambda: len(list((seen / "spool" / "new").glob("*"))) == (backend == "refused"), "the START is where it stays"
    )
    with suppress(OSError), (seen / "filler").open("wb", buffering=0) as filler:
        while True:
            filler.write(bytes(512))
    finished = scene.finish(job, GATED, environ, stdin=ON, prefix=())
    books = scene.account({"job": WHOLE}, finished, backends=[receiver])
    expected = {"delivered": BOTH} if backend == "well" else {"spooled": ["job.START"], "printed": ["job.COMPLETE"]}
    assert books.places == expected
    assert any("cannot be written to" in line for line in finished.log)


@pytest.mark.parametrize("count", [1, 30])
@pytest.mark.parametrize("backend", ["well", "refused", "comes back"])
def test_a_spool_that_vanishes_during_the_run(backend: str, count: int, spooling: Scene, receiver: Receiver) -> None:
    """What was in a spool that somebody deletes is still in memory: it is delivered, or printed at the end."""
    if backend != "well":
        receiver.script({"status": 503})
    source = f"{RUNS.format(count)}\nwith lineage_run('late'):\n    pass\n"
    environ = spooling.environ(receiver.url, 10 if backend == "well" else 3)
    job = spooling.jobs.start(source, environ)
    job.wait_for("READY")
    spooled = 0 if backend == "well" else 2 * count
    receiver.requests(at_least=1 if spooled else 2 * count)
    wait_until(lambda: len(spooling.files("new")) == spooled, "the events are where they stay")
    assert spooling.spool is not None
    # Rename it first: the job's threads may still add a file, which would make rmtree fail.
    deleted = spooling.spool.rename(spooling.spool.with_name("deleted"))
    shutil.rmtree(deleted)
    if backend == "comes back":
        receiver.script()
        receiver.wait_for(lambda events: len(events) == 2 * count)
    finished = spooling.finish(job, source, environ, stdin=ON)
    produced = {**runs(count), "late": WHOLE}
    books = spooling.account(produced, finished, backends=[receiver])
    assert books.places == {"printed" if backend == "refused" else "delivered": in_order(produced)}


def test_a_spool_that_reaches_its_limit(spooling: Scene, refused: str) -> None:
    """What the spool may not hold is printed, the spool stays within its limit, and a warning names the limit."""
    environ = spooling.environ(refused, 3, OPENLINEAGE_POD_SPOOL_MAX_BYTES="10000")
    finished = spooling.run(RUNS.format(12), environ, stdin=ON)
    books = spooling.account(runs(12), finished)
    assert sorted(books.places) == ["printed", "spooled"]
    assert sum(file.stat().st_size for file in spooling.files("new")) <= 10_000
    assert len(books.spooled) >= 5
    assert any("its limit of 10000 bytes is reached" in line for line in finished.log)


def test_a_spool_that_reaches_its_limit_with_a_backend_that_is_well(spooling: Scene, receiver: Receiver) -> None:
    """A full spool is no obstacle for the delivery, and delivering makes room again."""
    receiver.script({"delay": 0.02})
    environ = spooling.environ(receiver.url, 10, OPENLINEAGE_POD_SPOOL_MAX_BYTES="10000")
    finished = spooling.run(RUNS.format(20), environ, stdin=ON)
    books = spooling.account(runs(20), finished, backends=[receiver])
    assert books.places == {"delivered": in_order(runs(20))}
    assert spooling.files("tmp") == []


def leave_behind(spooling: Scene, refused: str, count: int) -> None:
    """Have a process leave so many runs in the spool."""
    finished = spooling.run(RUNS.format(count), spooling.environ(refused), stdin=ON)
    assert list(spooling.account(runs(count), finished).places) == ["spooled"]


NEXT = """
from openlineage_pod import lineage_run
with lineage_run("{name}"):
    print("READY", flush=True)
    print(input())
"""


def test_two_jobs_that_drain_one_spool_at_once(spooling: Scene, refused: str, receiver: Receiver) -> None:
    """Of several jobs that find the same events left behind, exactly one delivers each."""
    leave_behind(spooling, refused, 20)
    receiver.script({"delay": 0.01})
    environ = spooling.environ(receiver.url, 10)
    names = ("one", "two", "three")
    started = {name: spooling.jobs.start(NEXT.format(name=name), environ, name=f"{name}.py") for name in names}
    wait_until(lambda: not spooling.files("new"), "the spool is drained")
    finished = [spooling.finish(job, NEXT.format(name=name), environ, stdin=ON) for name, job in started.items()]
    produced = {**runs(20), **dict.fromkeys(names, WHOLE)}
    books = spooling.account(produced, *finished, backends=[receiver])
    assert books.places == {"delivered": in_order(produced)}
    assert spooling.files("owners") == spooling.files("tmp") == []


def test_a_replay_beside_a_job_and_beside_itself(spooling: Scene, refused: str, receiver: Receiver) -> None:
    """A replay leaves to a living job what is its own, and what two of them find is sent once."""
    leave_behind(spooling, refused, 10)
    # A job that lives while others replay; its own events cannot be delivered yet.
    environ = spooling.environ(receiver.url, 10)
    receiver.script({"job": "living", "status": 503}, {"delay": 0.01})
    job = spooling.jobs.start(NEXT.format(name="living"), environ)
    job.wait_for("READY")
    replays = [spooling.replay(receiver.url) for _ in range(2)]
    assert all("Traceback" not in replay.stderr for replay in replays)
    wait_until(lambda: len(spooling.files("new")) == 1, "only the living job's START is left")
    receiver.script()
    finished = spooling.finish(job, NEXT.format(name="living"), environ, stdin=ON)
    produced = {**runs(10), "living": WHOLE}
    books = spooling.account(produced, finished, backends=[receiver])
    assert books.places == {"delivered": in_order(produced)}


# --- damaged files

Mutation = tuple[str, int, bytes]
FILES = 20
mutations = st.one_of(
    st.none(),
    st.tuples(
        st.sampled_from(("overwrite", "insert", "truncate", "delete", "whole")),
        st.integers(0, 2000),
        st.one_of(
            st.binary(min_size=1, max_size=8), st.sampled_from((b"\x00", b"[" * 200_000, b"{}", b'"', b"\\ud800"))
        ),
    ),
)


def mutated(data: bytes, mutation: Mutation) -> bytes:
    """Return the damaged content of a file."""
    kind, where, what = mutation
    where %= len(data)
    if kind == "overwrite":
        return data[:where] + what[:1] + data[where + 1 :]
    if kind == "insert":
        return data[:where] + what + data[where:]
    if kind == "truncate":
        return data[:where]
    if kind == "delete":
        return data[:where] + data[where + len(what) :]
    return what


def is_event(data: bytes) -> bool:
    """Say whether there is anything in it that a backend could take for an event."""
    try:
        event = json.loads(data)
        texts = (event["eventType"], event["eventTime"], event["producer"], event["run"]["runId"])
        job = (event["job"]["namespace"], event["job"]["name"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return False
    return all(isinstance(text, str) for text in (*texts, *job))


@pytest.fixture(scope="module")
def left_behind(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a spool with the events of a process that is gone."""
    directory = tmp_path_factory.mktemp("template")
    jobs = Jobs(directory)
    leave_behind(Scene(jobs, directory / "spool"), "http://127.0.0.1:9", FILES // 2)
    jobs.stop()
    return directory / "spool"


def received(receiver: Receiver, before: int) -> list[Event]:
    """Return the events since then; damaged ones are not for the check of all events against the specification."""
    seen = len(SEEN_EVENTS)
    events = receiver.events()[before:]
    del SEEN_EVENTS[seen:]
    return events


def check_damaged(spool: Path, contents: Mapping[str, bytes], damaged: set[str], events: Sequence[Event]) -> None:
    """Check that every intact event was delivered once, and every damaged file delivered or set aside unchanged."""
    aside = {file.name: file.read_bytes() for file in (spool / "rejected").iterdir()}
    assert owed((spool / "new").iterdir(), events) == []
    for name, content in contents.items():
        if name in damaged and not is_event(content):
            assert aside.get(name) == content, f"{name} is not set aside"
        elif name in damaged:
            assert (json.loads(content) in events) != (name in aside), f"{name} is in two places or in none"
        else:
            assert events.count(json.loads(content)) == 1, f"{name}, which is intact, was not delivered once"


@pytest.mark.parametrize("examples", [2, pytest.param(12, marks=pytest.mark.slow)])
@pytest.mark.parametrize("how", ["job", "replay"])
def test_damaged_files(  # noqa: PLR0917  fixtures
    how: str, examples: int, left_behind: Path, jobs: Jobs, receiver: Receiver, tmp_path: Path
) -> None:
    """Whatever happened to some files of new/, a job and a replay deliver the others and set the damaged ones aside."""

    @repeatable(examples)
    @given(st.lists(mutations, min_size=FILES, max_size=FILES))
    def check(chosen: list[Mutation | None]) -> None:
        deliver_damaged(how, chosen, left_behind, jobs, receiver, tmp_path / "spool")

    check()


def deliver_damaged(  # noqa: PLR0917  one for each fixture
    how: str, chosen: list[Mutation | None], left_behind: Path, jobs: Jobs, receiver: Receiver, spool: Path
) -> None:
    """Deliver a spool with damaged files, and check what becomes of each."""
    shutil.rmtree(spool, ignore_errors=True)
    shutil.copytree(left_behind, spool)
    scene = Scene(jobs, spool)
    damaged = set()
    for file, mutation in zip(scene.files("new"), chosen, strict=True):
        if mutation is not None:
            damaged.add(file.name)
            file.write_bytes(mutated(file.read_bytes(), mutation))
    contents = {file.name: file.read_bytes() for file in scene.files("new")}
    before = len(received(receiver, 0))
    if how == "job":
        finished = scene.run(NEXT.format(name="next"), scene.environ(receiver.url, 20), stdin=ON)
        assert "Traceback" not in finished.stderr
    else:
        replay = scene.replay(receiver.url)
        assert "Traceback" not in replay.stderr
        assert replay.returncode == any(not is_event(contents[name]) for name in damaged)
    check_damaged(spool, contents, damaged, received(receiver, before))


BROKEN: dict[str, Any] = {
    "empty": b"",
    "no JSON": b"\x80\xff",
    "an array": b"[]",
    "a number": b"1" * 5000,
    "nested": b"[" * 200_000,
    "no event time": {"eventTime": None},
    "no job": {"job": None},
    "a job without a name": {"job": {"namespace": "default"}},
    "a run without an id": {"run": {}},
    "an event type that is none": {"eventType": 7},
}


@pytest.mark.parametrize("client", [False, True], ids=["url", "client"])
@pytest.mark.parametrize("how", ["job", "replay"])
def test_files_that_are_no_events(
    how: str, client: bool, spooling: Scene, left_behind: Path, receiver: Receiver
) -> None:
    """A file that lacks what makes an event is set aside, and the events behind it, also of its run, are delivered."""
    spool = spooling.spool
    assert spool is not None
    shutil.copytree(left_behind, spool)
    files = spooling.files("new")
    damaged = set()
    # Each START is damaged, so that its COMPLETE shows whether its run goes on.
    for file, broken in zip(files[::2], BROKEN.values(), strict=False):
        damaged.add(file.name)
        if isinstance(broken, bytes):
            file.write_bytes(broken)
        else:
            event = {**json.loads(file.read_bytes()), **broken}
            file.write_text(json.dumps({key: value for key, value in event.items() if value is not None}))
    contents = {file.name: file.read_bytes() for file in files}
    transport = {"OPENLINEAGE__TRANSPORT__TYPE": "http", "OPENLINEAGE__TRANSPORT__URL": receiver.url} if client else {}
    if how == "job":
        environ = {**spooling.environ(receiver.url, 20), **transport}
        assert "Traceback" not in spooling.run(NEXT.format(name="next"), environ, stdin=ON).stderr
    else:
        replay = spooling.replay(receiver.url, **transport)
        assert (replay.returncode, "Traceback" in replay.stderr) == (1, False)
    events = received(receiver, 0)
    assert owed(spooling.files("new"), events) == []
    assert {file.name for file in spooling.files("rejected")} == damaged
    intact = [json.loads(content) for name, content in contents.items() if name not in damaged]
    assert by_run(events).items() >= by_run(intact).items()


def test_foreign_things_in_the_spool(spooling: Scene, left_behind: Path, receiver: Receiver) -> None:
    """A directory, a dangling link and a file of another name in new/ stop neither a job nor a replay."""
    spool = spooling.spool
    assert spool is not None
    shutil.copytree(left_behind, spool)
    first = spooling.files("new")[0]
    first.rename(first.with_name("by-hand.json"))
    (spool / "new" / "000-directory").mkdir()
    (spool / "new" / "000-link").symlink_to(spool / "nowhere")
    finished = spooling.run(NEXT.format(name="next"), spooling.environ(receiver.url, 20), stdin=ON)
    assert "Traceback" not in finished.stderr
    assert all(sorted(run) == ["COMPLETE", "START"] for run in by_run(receiver.events()).values())
    assert len(receiver.events()) == FILES + 2
    assert "Traceback" not in spooling.replay(receiver.url).stderr
    assert len(receiver.events()) == FILES + 2


def test_a_dry_run_shows_what_no_terminal_can(spooling: Scene, left_behind: Path, receiver: Receiver) -> None:
    """`replay --dry-run` lists an event with half a surrogate pair in its name, and sends nothing."""
    spool = spooling.spool
    assert spool is not None
    shutil.copytree(left_behind, spool)
    first = spooling.files("new")[0]
    first.write_bytes(first.read_bytes().replace(b'"run-0"', b'"run-\\ud800"'))
    replay = spooling.replay(receiver.url, "--dry-run")
    assert (replay.returncode, "Traceback" in replay.stderr) == (0, False), replay.stderr
    assert len(replay.stdout.splitlines()) == FILES
    assert receiver.events() == []


def test_what_a_killed_process_left_half_written_is_tidied_up(
    spooling: Scene, left_behind: Path, receiver: Receiver
) -> None:
    """A torn file in tmp/ of a process that is gone does not stay there for ever."""
    spool = spooling.spool
    assert spool is not None
    shutil.copytree(left_behind, spool)
    first = spooling.files("new")[0]
    (spool / "tmp" / first.name).write_bytes(first.read_bytes()[:100])
    spooling.run(NEXT.format(name="next"), spooling.environ(receiver.url, 20), stdin=ON)
    assert spooling.files("tmp") == []
    assert len(receiver.events()) == FILES + 2
