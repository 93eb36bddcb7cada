"""Many processes, threads and tasks under a fault: each run is accounted for once, and nothing hangs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.examples import fast
from tests.support.fault_scene import WHOLE, deliver_what_is_left

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tests.support.fault_scene import Scene
    from tests.support.harness import Receiver

FAILED, ABORTED = ("START", "FAIL"), ("START", "ABORT")
BACKENDS = ("well", "refused")


def in_order(produced: Mapping[str, Sequence[str]]) -> list[str]:
    """Return everything that was produced, as the books have it."""
    return [f"{job}.{event_type}" for job, event_types in produced.items() for event_type in event_types]


FORKS = """
import os, time
from openlineage_pod import lineage_run
with lineage_run("job-{number}"):
    time.sleep({moment})
    pid = os.fork()
    if pid == 0:
        with lineage_run("child-{number}"):
            pass
        raise SystemExit(3)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""


@pytest.mark.parametrize("transport", ["url", pytest.param("client", marks=pytest.mark.slow)])
def test_a_fork_in_the_first_200_ms(transport: str, scene: Scene, receiver: Receiver) -> None:
    """Whenever a job forks while a worker imports, neither process hangs, and both runs end once."""
    environ = scene.environ(receiver.url, 20)
    if transport == "client":
        # openlineage-python's own: more than a hundred milliseconds of imports.
        environ |= {"OPENLINEAGE__TRANSPORT__TYPE": "http", "OPENLINEAGE__TRANSPORT__URL": receiver.url}
    produced: dict[str, Sequence[str]] = {}
    finished = []
    for pair in ((0, 2), (4, 8)):
        sources = {number: FORKS.format(number=number, moment=number * 0.02) for number in pair}
        started = {
            number: scene.jobs.start(source, environ, name=f"job-{number}.py") for number, source in sources.items()
        }
        for number, job in started.items():
            finished.append(scene.finish(job, sources[number], environ))
            produced |= {f"job-{number}": WHOLE, f"child-{number}": WHOLE}
    assert {process.stdout for process in finished} == {"3\n"}
    if scene.spool is not None:
        # With a spool, a busy machine may end a process before it has connected: the next one delivers its events.
        deliver_what_is_left(scene, receiver)
        produced["next"] = WHOLE
    books = scene.account(produced, *finished, backends=[receiver], told=scene.spool is None)
    assert books.places == {"delivered": in_order(produced)}


CHILDREN = """
import multiprocessing
from openlineage_pod import lineage_run
def work(number):
    with lineage_run(f"child-{{number}}"):
        pass
    if number == 2:
        raise SystemExit(5)
if __name__ == "__main__":
    context = multiprocessing.get_context("{method}")
    with lineage_run("job"):
        children = [context.Process(target=work, args=(number,)) for number in range(3)]
        for child in children:
            child.start()
        for child in children:
            child.join()
        print([child.exitcode for child in children])
"""


@pytest.mark.parametrize(("method", "backend"), [("fork", "well"), ("spawn", "refused")])
def test_multiprocessing(method: str, backend: str, scene: Scene, receiver: Receiver, refused: str) -> None:
    """The runs of three children are delivered or kept by the children themselves, that of the parent by the parent."""
    url, place = (receiver.url, "delivered") if backend == "well" else (refused, scene.kept)
    environ = scene.environ(url, 10 if backend == "well" else 0.5)
    finished = scene.run(CHILDREN.format(method=method), environ)
    produced = dict.fromkeys(("job", "child-0", "child-1", "child-2"), WHOLE)
    assert scene.account(produced, finished, backends=[receiver]).places == {place: in_order(produced)}


THREADS = """
import threading
from openlineage_pod import current_run, lineage_run
gate = threading.Barrier(64)
results = [None] * 64
def work(number):
    gate.wait()
    try:
        with lineage_run(f"run-{number}") as run:
            run.add_output(f"s3://lake/table-{number}")
            gate.wait()
            current_run().add_run_facet("own", {"number": number})
            if number % 4 == 3:
                raise ValueError(number)
            results[number] = number
    except ValueError as error:
        results[number] = -error.args[0]
threads = [threading.Thread(target=work, args=(number,)) for number in range(64)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(results)
"""


@pytest.mark.parametrize("backend", fast(["well", "hangs", "fails"], "hangs"))
def test_64_threads(backend: str, scene: Scene, receiver: Receiver) -> None:
    """Of 64 threads with runs of their own every event is delivered or kept, each with its own datasets."""
    if backend != "well":
        receiver.script({"action": "hang"} if backend == "hangs" else {"status": 503})
    finished = scene.run(THREADS, scene.environ(receiver.url, 20 if backend == "well" else 1))
    produced = {f"run-{number}": FAILED if number % 4 == 3 else WHOLE for number in range(64)}
    books = scene.account(produced, finished, backends=[receiver])
    assert books.places == {"delivered" if backend == "well" else scene.kept: in_order(produced)}
    for event in [*receiver.events(), *finished.printed]:
        assert [f"run-{output['name'].rpartition('-')[2]}" for output in event["outputs"]] in (
            [],
            [event["job"]["name"]],
        )


TASKS = """
import asyncio
from openlineage_pod import lineage_run
async def work(number, ready):
    async with lineage_run(f"task-{number}"):
        ready.set()
        await asyncio.sleep(3600 if number % 2 else 0)
        return number
@lineage_run("shielded")
async def shielded():
    try:
        await asyncio.sleep(3600)
    except asyncio.CancelledError:
        return "went on"
async def main():
    async with lineage_run("job"):
        events = [asyncio.Event() for _ in range(6)]
        tasks = [asyncio.create_task(work(number, event)) for number, event in enumerate(events)]
        tasks.append(asyncio.create_task(shielded()))
        for event in events:
            await event.wait()
        for task in tasks[1::2] + tasks[-1:]:
            task.cancel()
        print(await asyncio.gather(*tasks, return_exceptions=True))
        try:
            async with lineage_run("timed-out"):
                await asyncio.wait_for(asyncio.sleep(3600), 0.01)
        except asyncio.TimeoutError:
            print("timed out")
asyncio.run(main())
"""


@pytest.mark.parametrize("backend", ["well", "hangs"])
def test_asyncio_cancellation(backend: str, scene: Scene, receiver: Receiver) -> None:
    """Cancelled tasks end as ABORT, one that bears it as COMPLETE, and a timeout outside as FAIL."""
    if backend == "hangs":
        receiver.script({"action": "hang"})
    finished = scene.run(TASKS, scene.environ(receiver.url, 10 if backend == "well" else 1))
    produced = {
        "job": WHOLE,
        **{f"task-{number}": ABORTED if number % 2 else WHOLE for number in range(6)},
        "shielded": WHOLE,
        "timed-out": FAILED,
    }
    books = scene.account(produced, finished, backends=[receiver])
    assert books.places == {"delivered" if backend == "well" else scene.kept: in_order(produced)}


NESTED = """
from openlineage_pod import lineage_run
@lineage_run("factorial")
def decorated():
    return 6
with lineage_run("outer"):
    with lineage_run("middle"):
        try:
            with lineage_run("inner"):
                print(decorated())
                raise KeyError("lost")
        except KeyError as error:
            print(error)
    with lineage_run("last") as run:
        run.fail("no rows")
    raise SystemExit(4)
"""


@pytest.mark.parametrize("backend", BACKENDS)
def test_nested_runs(backend: str, scene: Scene, receiver: Receiver, refused: str) -> None:
    """Each of five runs within each other ends as its own body did, and names the one around it as its parent."""
    url, place = (receiver.url, "delivered") if backend == "well" else (refused, scene.kept)
    finished = scene.run(NESTED, scene.environ(url, 10 if backend == "well" else 1))
    produced = {"outer": FAILED, "middle": WHOLE, "inner": FAILED, "factorial": WHOLE, "last": FAILED}
    assert finished.returncode == 4
    assert scene.account(produced, finished, backends=[receiver]).places == {place: in_order(produced)}
    if backend == "well":
        parents = {
            event["job"]["name"]: event["run"]["facets"].get("parent", {}).get("job", {}).get("name")
            for event in receiver.events()
        }
        assert parents == {
            "outer": None, "middle": "outer", "inner": "middle", "factorial": "inner", "last": "outer",
        }  # fmt: skip
