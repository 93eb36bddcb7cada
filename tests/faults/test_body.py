"""Bodies that are hard to report: odd errors, odd values, huge values, a wrong clock, no standard streams."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tests.support.examples import fast
from tests.support.fault_scene import WHOLE
from tests.support.harness import pipe, types
from tests.support.waiting import at_most, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.fault_scene import Scene
    from tests.support.harness import Finished, Job, Receiver

FAILED = ("START", "FAIL")
BOTH = ["job.START", "job.COMPLETE"]

# --- errors

RAISES = {
    "recursion": "def dive():\n    dive()\ndive()",
    "memory": "bytearray(1 << 62)",
    "__str__ raises": """
class Odd(Exception):
    def __str__(self):
        raise ValueError("no text")
    __repr__ = __str__
raise Odd
""",
    "__str__ is no text": """
class Odd(Exception):
    def __str__(self):
        return 7
raise Odd
""",
    "__str__ exits": """
class Odd(Exception):
    def __str__(self):
        raise SystemExit(9)
raise Odd
""",
    "exit code without a repr": """
class Odd:
    def __str__(self):
        return "leaving"
    def __repr__(self):
        raise ValueError("no text")
raise SystemExit(Odd())
""",
    "__cause__ in a circle": """
one, two = ValueError("one"), ValueError("two")
one.__cause__, two.__cause__ = two, one
raise one
""",
    "a long chain": """
def chain(depth):
    try:
        if depth:
            chain(depth - 1)
    finally:
        raise ValueError(depth)
chain(300)
""",
    "surrogates": "raise ValueError(b'\\xff\\x00'.decode('utf-8', 'surrogateescape'))",
    "a long message": "raise ValueError('x' * 5_000_000)",
}


def failing(statements: str) -> str:
    """Return a job that ends with what `statements` raise, and tells the caller of its body about it first."""
    indented = statements.strip().replace("\n", "\n    ")
    return f"""
from openlineage_pod import lineage_run
def body():
    {indented}
try:
    with lineage_run("job", outputs=["s3://lake/accounts"]):
        body()
except BaseException as error:
    print(type(error).__name__, flush=True)
    raise
"""


def test_errors_that_are_hard_to_report(in_memory: Scene, receiver: Receiver) -> None:
    """The caller of a body gets its own error, and its run is FAIL with its datasets and a message."""
    source = "\n".join(
        failing(statements).replace('"job"', repr(error)).replace("    raise\n", "    pass\n")
        for error, statements in RAISES.items()
    )
    finished = in_memory.run(source, in_memory.environ(receiver.url, 10))
    assert (finished.returncode, len(finished.stdout.splitlines())) == (0, len(RAISES))
    books = in_memory.account(dict.fromkeys(RAISES, FAILED), finished, backends=[receiver])
    assert list(books.places) == ["delivered"]
    for fail in (event for event in receiver.events() if event["eventType"] == "FAIL"):
        assert fail["outputs"][0]["name"] == "accounts"
        assert fail["run"]["facets"]["errorMessage"]["message"]


@pytest.mark.parametrize("error", ["recursion", "memory", "__str__ raises"])
def test_an_error_without_a_backend(error: str, spooling: Scene, refused: str) -> None:
    """The job ends with its own error also where nobody takes the events, which are kept."""
    finished = spooling.run(failing(RAISES[error]), spooling.environ(refused))
    assert finished.returncode == 1
    assert spooling.account({"job": FAILED}, finished).places == {"spooled": ["job.START", "job.FAIL"]}


def test_a_job_without_memory_for_threads(scene: Scene, refused: str) -> None:
    """Where no thread of ours can be started, the job ends as ever, and its events are kept at the end."""
    source = """
import resource
from openlineage_pod import lineage_run
import threading
threading.stack_size(64 * 1024 * 1024)
resource.setrlimit(resource.RLIMIT_AS, (300 << 20, resource.RLIM_INFINITY))
used = []
try:
    while True:
        used.append(bytearray(8 << 20))
except MemoryError:
    pass
with lineage_run("job"):
    print("body")
"""
    finished = scene.run(source, scene.environ(refused))
    assert scene.account({"job": WHOLE}, finished, told=False).places == {scene.kept: BOTH}


def test_a_job_without_any_memory(in_memory: Scene, refused: str) -> None:
    """Where no memory is left when the process ends, the events are printed all the same."""
    source = """
import resource, threading
from openlineage_pod import lineage_run
from openlineage_pod.delivery.transports import connect
taken = []
def take_all(environ):
    for size in (8 << 20, 1 << 16, 1 << 10, 1 << 7):
        try:
            while True:
                taken.append(bytearray(size))
        except MemoryError:
            pass
    raise MemoryError
connect._transport = take_all
threading.stack_size(64 * 1024 * 1024)
resource.setrlimit(resource.RLIMIT_AS, (100 << 20, resource.RLIM_INFINITY))
with lineage_run("job"):
    print("body")
"""
    finished = in_memory.jobs.run(source, in_memory.environ(refused))
    assert in_memory.account({"job": WHOLE}, finished, told=False).places == {"printed": BOTH}


def test_a_job_without_memory_for_imports(in_memory: Scene, refused: str) -> None:
    """Where nothing can be imported any more, the events are printed all the same, without the API key."""
    source = """
import sys
from openlineage_pod import lineage_run
class NoMemory:
    def find_spec(self, *_):
        raise MemoryError
sys.meta_path.insert(0, NoMemory())
with lineage_run("job") as run:
    run.add_output(f"s3://lake/{'key-of-12-letters'}")
"""
    finished = in_memory.run(source, in_memory.environ(refused, 0.2, OPENLINEAGE_API_KEY="key-of-12-letters"))
    assert in_memory.account({"job": WHOLE}, finished).places == {"printed": BOTH}
    assert "key-of-12-letters" not in finished.stderr


# --- values

VALUES = {
    "an object": "object()",
    "NaN": "float('nan')",
    "a set": "{1, 'two', (3,)}",
    "bytes": "b'\\xff'",
    "a dictionary within itself": "circle",
    "a list within itself": "ring",
    "a dictionary twice within itself": "knot",
    "shared many times over": "shared",
    "an int too long for text": "10 ** 5000",
    "a class": "dict",
    "a generator": "(number for number in range(3))",
    "no items": "Odd()",
    "isoformat raises": "OddDate()",
    "keys that are no text": "{None: 1, 2: 2, (3,): 3, b'4': 4}",
    "nested deep": "deep",
}
ODD = """
from collections.abc import Mapping
from openlineage_pod import current_run, lineage_run
class Odd(Mapping):
    def __getitem__(self, key):
        raise RuntimeError("no item")
    def __iter__(self):
        raise RuntimeError("no items")
    def __len__(self):
        return 1
class OddDate:
    def isoformat(self):
        raise RuntimeError("no date")
circle = {{"here": 1}}
circle["circle"] = circle
ring = [1]
ring.append(ring)
knot = {{}}
knot.update(one=knot, two=knot)
shared = []
for _ in range(60):
    shared = [shared, shared]
deep = []
for _ in range(100_000):
    deep = [deep]
values = {{{values}}}
while values:
    name, value = values.popitem()
    with lineage_run(name, outputs=["s3://lake/accounts"]) as run:
        run.add_run_facet("odd", {{"value": value, "well": 1}})
        print("body")
value = deep = None
with lineage_run("next"):
    pass
"""


def odd(*values: str) -> str:
    """Return a job with a run for each of these values, and another run."""
    return ODD.format(values=", ".join(f"{value!r}: {VALUES[value]}" for value in reversed(values)))


def test_values_that_have_no_json(in_memory: Scene, receiver: Receiver) -> None:
    """A facet's value that cannot be written as JSON costs neither its event nor another one, nor any time."""
    source = odd(*VALUES)
    # A conversion that never ends would hold up the exit for ever.
    finished = in_memory.run(source, in_memory.environ(receiver.url, 10))
    books = in_memory.account(dict.fromkeys([*VALUES, "next"], WHOLE), finished, backends=[receiver])
    assert list(books.places) == ["delivered"]
    ends = [event for event in receiver.events() if event["eventType"] == "COMPLETE" and event["job"]["name"] != "next"]
    for facets in (event["run"]["facets"] for event in ends):
        if "odd" in facets:
            assert facets["odd"]["well"] == 1
            assert "value" in facets["odd"]
        else:  # what is left of it exceeds the limit of an event
            assert facets["tags"]["tags"][0]["value"] == "odd"


def test_values_that_have_no_json_and_no_backend(scene: Scene, refused: str) -> None:
    """With such a value in it, an event that nobody takes is kept like any other."""
    values = ("an object", "a dictionary within itself", "an int too long for text")
    finished = scene.run(odd(*values), scene.environ(refused))
    books = scene.account(dict.fromkeys([*values, "next"], WHOLE), finished)
    assert list(books.places) == [scene.kept]


def test_a_facet_that_the_job_changes_all_the_time(in_memory: Scene, receiver: Receiver) -> None:
    """A dictionary that grows while it is being read costs no event."""
    source = """
from openlineage_pod import lineage_run
counts = {str(number): number for number in range(2000)}
for name in range(4):
    with lineage_run(f"run-{name}", run_facets={"counts": {"counts": counts}}):
        for number in range(2000):
            counts[f"{name}-{number}"] = number
            if number % 2:
                del counts[f"{name}-{number}"]
"""
    finished = in_memory.run(source, in_memory.environ(receiver.url, 20))
    produced = {f"run-{number}": WHOLE for number in range(4)}
    assert list(in_memory.account(produced, finished, backends=[receiver]).places) == ["delivered"]


HUGE = {
    "text": "'x' * 50_000_000",
    "numbers": "list(range(7_000_000))",
}


@pytest.mark.slow
@pytest.mark.parametrize(("what", "backend"), [("text", "well"), ("text", "refused"), ("numbers", "refused")])
def test_a_facet_of_50_mb(backend: str, what: str, in_memory: Scene, receiver: Receiver, refused: str) -> None:
    """A facet of 50 MB is left out of its event, which says so; the event is not lost, and the exit is in time."""
    source = f"""
from openlineage_pod import lineage_run
with lineage_run("job", outputs=["s3://lake/accounts"]) as run:
    run.add_run_facet("huge", {{"huge": {HUGE[what]}}})
    print("END", flush=True)
"""
    # Finding out what to leave out takes a second of processor time, several on a busy machine. An event that is not
    # ready at the deadline is only counted.
    environ = in_memory.environ(receiver.url if backend == "well" else refused, 10)
    job = in_memory.jobs.start(source, environ)
    job.wait_for("END")
    finished = in_memory.finish(job, source, environ)
    books = in_memory.account({"job": WHOLE}, finished, backends=[receiver])
    assert books.delivered + books.printed == BOTH
    (complete,) = [event for event in [*receiver.events(), *finished.printed] if event["eventType"] == "COMPLETE"]
    assert "huge" not in complete["run"]["facets"]
    assert "openlineage_pod_left_out" in str(complete["run"]["facets"]["tags"])


# --- the clock

CLOCK = """
import os, time
shift = 0
real_time, real_ns = time.time, time.time_ns
time.time = lambda: real_time() + shift
time.time_ns = lambda: real_ns() + shift * 10**9
from openlineage_pod import lineage_run
with lineage_run("{job}"):
    print("READY", flush=True)
    while not os.path.exists("go-on"):
        time.sleep(0.01)
    shift = {shift}
    with lineage_run("{inner}"):
        shift = 2 * {shift}
"""
CLOCK_RUNS = {"job": WHOLE, "inner": WHOLE}


def run_clock(shift: int, scene: Scene, url: str, flush_timeout: float, *, first: Callable[[], object]) -> Finished:
    """Run a job whose clock jumps after `first` has become true: the START has been delivered or spooled."""
    source = CLOCK.format(shift=shift, job="job", inner="inner")
    environ = scene.environ(url, flush_timeout)
    job = scene.jobs.start(source, environ)
    job.wait_for("READY")
    wait_until(first, "the START is where it goes")
    (scene.jobs.directory / "go-on").touch()
    return scene.finish(job, source, environ)


@pytest.mark.parametrize("shift", [-3600, 3600])
def test_a_clock_that_is_set(shift: int, spooling: Scene, receiver: Receiver) -> None:
    """Though the clock jumps, START comes first, and no run ends before it began."""
    finished = run_clock(shift, spooling, receiver.url, 10, first=receiver.events)
    assert list(spooling.account(CLOCK_RUNS, finished, backends=[receiver]).places) == ["delivered"]


@pytest.mark.parametrize("shift", [-3600, 3600])
def test_a_clock_that_is_set_and_no_backend(shift: int, scene: Scene, refused: str) -> None:
    """What is printed or spooled is in the order of the events also when the clock jumps."""
    finished = run_clock(shift, scene, refused, 1, first=lambda: scene.spool is None or scene.files("new"))
    assert list(scene.account(CLOCK_RUNS, finished).places) == [scene.kept]


@pytest.mark.parametrize("how", ["job", "replay"])
def test_a_clock_that_was_set_before_the_spool_is_drained(
    how: str, spooling: Scene, refused: str, receiver: Receiver
) -> None:
    """Also what a process with a jumping clock left in the spool is delivered START first."""
    run_clock(-3600, spooling, refused, 1, first=lambda: spooling.files("new"))
    if how == "replay":
        assert spooling.replay(receiver.url).returncode == 0
    else:
        source = CLOCK.format(shift=0, job="next", inner="next-inner")
        spooling.run(source, spooling.environ(receiver.url, 10))
    runs = {job: [event for event in receiver.events() if event["job"]["name"] == job] for job in CLOCK_RUNS}
    assert {job: types(events) for job, events in runs.items()} == {job: list(WHOLE) for job in CLOCK_RUNS}


# --- standard streams

STREAMS = {
    "stdout closed": ("import sys; print('before'); sys.stdout.close()", ()),
    "descriptor 1 closed": ("import os; print('before', flush=True); os.close(1)", ()),
    "started without stdout": ("", ("sh", "-c", 'exec "$0" "$@" >&-')),
}
SILENT = {
    "stderr closed": ("import sys; print('before'); sys.stderr.close()", ()),
    "descriptor 2 closed": ("import os; print('before'); os.close(2)", ()),
    "started without stderr": ("print('before')", ("sh", "-c", 'exec "$0" "$@" 2>&-')),
    "started without any": ("", ("sh", "-c", 'exec "$0" "$@" <&- >&- 2>&-')),
}
STREAMLESS = """
{closing}
from openlineage_pod import lineage_run
with lineage_run("job"):
    pass
{leaving}
"""


@pytest.mark.parametrize("case", STREAMS)
def test_a_closed_stdout(case: str, in_memory: Scene, refused: str) -> None:
    """A job without a stdout ends as it would without lineage, and both events are printed."""
    closing, prefix = STREAMS[case]
    source = STREAMLESS.format(closing=closing, leaving="raise SystemExit(7)")
    finished = in_memory.run(source, in_memory.environ(refused), prefix=prefix)
    assert in_memory.account({"job": WHOLE}, finished).places == {"printed": BOTH}


@pytest.mark.parametrize(
    ("case", "backend"),
    fast(
        [(case, backend) for case in SILENT for backend in ("well", "refused")],
        *((case, "refused") for case in SILENT),
        ("started without any", "well"),
    ),
)
def test_a_closed_stderr(case: str, backend: str, spooling: Scene, receiver: Receiver, refused: str) -> None:
    """A job without a stderr ends as it would without lineage; its events are delivered, or are in the spool."""
    closing, prefix = SILENT[case]
    url = receiver.url if backend == "well" else refused
    source = STREAMLESS.format(closing=closing, leaving="raise SystemExit(7)")
    finished = spooling.run(source, spooling.environ(url, 10), prefix=prefix)
    assert finished.returncode == 7
    books = spooling.account({"job": WHOLE}, finished, backends=[receiver], told=False)
    assert books.places == {"delivered" if backend == "well" else "spooled": BOTH}


@pytest.mark.parametrize("backend", ["well", "refused"])
def test_a_full_pipe_behind_stderr(backend: str, scene: Scene, receiver: Receiver, refused: str) -> None:
    """A stderr that nobody reads stops neither the job nor the delivery nor the spool."""
    source = STREAMLESS.format(closing="print('before')", leaving="raise SystemExit(7)")
    # A backend that is well is not waited for any longer than it needs.
    environ = scene.environ(receiver.url, 10) if backend == "well" else scene.environ(refused, 1)
    with pipe(full=True) as stderr:
        job: Job = scene.jobs.start(source, environ, stderr=stderr)
        finished: Finished = job.finish(timeout=at_most(float(environ["OPENLINEAGE_POD_FLUSH_TIMEOUT"])))
    assert (finished.returncode, finished.stdout) == (7, "before\n")
    if backend == "well" or scene.spool is not None:
        books = scene.account({"job": WHOLE}, finished, backends=[receiver], told=False)
        assert books.places == {"delivered" if backend == "well" else "spooled": BOTH}


def test_a_pipe_behind_stderr_that_is_read_late(in_memory: Scene, refused: str) -> None:
    """What is printed at the end goes through a pipe in whole lines also if its reader begins only then."""
    reader, writer = os.pipe()
    try:
        source = """
from openlineage_pod import lineage_run
for number in range(40):
    with lineage_run(f"run-{number}"):
        pass
print("END", flush=True)
"""
        job = in_memory.jobs.start(source, in_memory.environ(refused), stderr=writer)
        os.close(writer)
        job.wait_for("END")
        read = bytearray()
        while data := os.read(reader, 65536):
            read += data
        finished = job.finish()._replace(stderr=read.decode())
    finally:
        os.close(reader)
    produced = {f"run-{number}": WHOLE for number in range(40)}
    assert list(in_memory.account(produced, finished).places) == ["printed"]
