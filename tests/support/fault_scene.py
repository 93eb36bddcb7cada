"""What the fault tests share: jobs beside the same jobs without lineage, and the books of their events."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import time
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import pytest

from openlineage_pod import DeliveryReport
from openlineage_pod.delivery.rejected import SUPERSEDED
from tests.support.events import SEEN_EVENTS
from tests.support.waiting import HANGS, at_most, wait_until

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path
    from typing import Protocol

    from tests.support.harness import Event, Finished, Job, Jobs, Receiver

    class Backend(Protocol):
        """Whatever received events."""

        def events(self) -> list[Event]:
            """Return the accepted events in the order of their arrival."""


__all__ = ["WHOLE", "Books", "Scene", "deliver_what_is_left", "mounting"]

WHOLE = ("START", "COMPLETE")

# Takes the place of the package in a job that has no lineage.
_WITHOUT = """
class _Nothing:
    def __getattr__(self, name):
        return lambda *args, **kwargs: None

class lineage_run:
    def __init__(self, *args, **kwargs):
        pass
    def __call__(self, function):
        return function
    def __enter__(self):
        return _Nothing()
    def __exit__(self, *error):
        return False
    async def __aenter__(self):
        return _Nothing()
    async def __aexit__(self, *error):
        return False

current_run = _Nothing
def flush(timeout=None):
    pass
"""
_ran_without: dict[tuple[str, bytes, str], Finished] = {}
# Why a START was set aside that no backend had refused for good.
_NEVER_REFUSED = f"{SUPERSEDED}: its run ended without it"
_SUMMARY = re.compile(r"at exit not all lineage events were delivered: (.*)")


class Books(NamedTuple):
    """Where the events are: each as `<job>.<event type>`, in the order in which the jobs produced them."""

    delivered: list[str]
    spooled: list[str]
    rejected: list[str]
    printed: list[str]
    superseded: list[str]

    @property
    def places(self) -> dict[str, list[str]]:
        """The places that hold any."""
        return {place: events for place, events in self._asdict().items() if events}


class Scene:
    """Jobs under one fault.

    Args:
        jobs: runs them.
        spool: their spool directory, or None.

    """

    def __init__(self, jobs: Jobs, spool: Path | None) -> None:
        self.jobs = jobs
        self.spool = spool

    @property
    def kept(self) -> str:
        """The place of events that could not be delivered."""
        return "printed" if self.spool is None else "spooled"

    @property
    def refused_for_good(self) -> str:
        """The place of events that the backend refused for good."""
        return "printed" if self.spool is None else "rejected"

    def environ(self, url: str, flush_timeout: float = 0.5, **more: str) -> dict[str, str]:
        """Return the environment of a job that reports to `url`."""
        spool = {} if self.spool is None else {"OPENLINEAGE_POD_SPOOL_DIR": str(self.spool)}
        return {"OPENLINEAGE_URL": url, "OPENLINEAGE_POD_FLUSH_TIMEOUT": str(flush_timeout), **spool, **more}

    def run(self, source: str, environ: Mapping[str, str], *, stdin: bytes = b"", **how: Any) -> Finished:
        """Run a job to its end, in time, and compare it with the same job without lineage."""
        return self.finish(self.jobs.start(source, environ, **how), source, environ, stdin=stdin, **how)

    def finish(
        self,
        job: Job,
        source: str,
        environ: Mapping[str, str],
        *,
        stdin: bytes = b"",
        **how: Any,
    ) -> Finished:
        """Wait for the end of a job that has been started, in time, and compare it alike."""
        asked = time.monotonic()
        finished = job.finish(stdin)
        took = time.monotonic() - asked
        assert took < at_most(float(environ["OPENLINEAGE_POD_FLUSH_TIMEOUT"])), f"the end took {took} s"
        without = self.run_without(source, stdin=stdin, **how)
        assert (finished.returncode, finished.stdout) == (without.returncode, without.stdout), finished.stderr
        return finished

    def run_without(self, source: str, *, stdin: bytes = b"", **how: Any) -> Finished:
        """Run the job as it would be without lineage, once for all tests that ask."""
        key = (source, stdin, str(sorted(how.items())))
        if key not in _ran_without:
            package = self.jobs.directory / "without"
            package.mkdir(exist_ok=True)
            (package / "openlineage_pod.py").write_text(_WITHOUT, encoding="utf-8")
            environ = {"PYTHONPATH": str(package)}
            _ran_without[key] = self.jobs.run(source, environ, stdin=stdin, **{**how, "name": "without.py"})
        return _ran_without[key]

    def replay(self, url: str, *options: str, **environ: str) -> subprocess.CompletedProcess[str]:
        """Run `openlineage-pod replay` for the spool."""
        return subprocess.run(
            [sys.executable, "-m", "openlineage_pod", "replay", *options, str(self.spool)],
            env={**self.jobs.base_environ(), "OPENLINEAGE_URL": url, **environ},
            cwd=self.jobs.directory,
            capture_output=True,
            text=True,
            check=False,
            timeout=HANGS,
        )

    def files(self, folder: str) -> list[Path]:
        """Return the files of a folder of the spool, in the order of their names."""
        if self.spool is None or not (self.spool / folder).is_dir():
            return []
        return sorted((self.spool / folder).iterdir())

    def _rejected(self) -> list[dict[str, Any]]:
        return [_read(file) for file in self.files("rejected")]

    def account(
        self,
        produced: Mapping[str, Sequence[str]],
        *finished: Finished,
        backends: Sequence[Backend] = (),
        told: bool = True,
        repeated: bool = False,
    ) -> Books:
        """Count the events by hand, wherever they are, and check that none is missing, doubled or out of order.

        Args:
            produced: the event types of each job in the order of their making; a job is one run here.
            finished: the processes that have ended, whose stderr may hold events and the line with the counts.
            backends: those that may have accepted events.
            told: the processes could say how many events went where.
            repeated: an event may be in two places: the backend took it, but its answer came too late.

        """
        places = {
            "delivered": [event for backend in backends for event in backend.events()],
            "spooled": [_read(file) for file in self.files("new")],
            "rejected": [record["event"] for record in self._rejected() if record["reason"] != _NEVER_REFUSED],
            "printed": [event for process in finished for event in process.printed],
            "superseded": [record["event"] for record in self._rejected() if record["reason"] == _NEVER_REFUSED],
        }
        SEEN_EVENTS.extend(places["spooled"] + places["rejected"] + places["superseded"])
        expected = [(job, event_type) for job, event_types in produced.items() for event_type in event_types]
        found = {
            place: [(event["job"]["name"], event["eventType"]) for event in events] for place, events in places.items()
        }
        everywhere = [event for events in found.values() for event in events]
        assert set(everywhere) == set(expected), f"produced: {expected}, found: {found}"
        for place, events in found.items():
            assert len(set(events)) == len(events), f"{place} twice: {events}"
            for job in produced:
                order = [event_type for name, event_type in events if name == job]
                assert order == [event_type for event_type in produced[job] if event_type in order], f"{place}: {order}"
        if not repeated:
            assert len(everywhere) == len(expected), f"in two places: {found}"
        _check_runs([event for events in places.values() for event in events])
        if told:
            _check_told(finished, {place: len(events) for place, events in places.items()})
        return Books(
            **{
                place: [f"{job}.{kind}" for job, kind in expected if (job, kind) in events]
                for place, events in found.items()
            }
        )


def _read(file: Path) -> dict[str, Any]:
    return cast("dict[str, Any]", json.loads(file.read_bytes()))


def _check_runs(events: Sequence[Event]) -> None:
    """Check that a job's events are of one run, and that no event has a time before that of its START."""
    for job in {event["job"]["name"] for event in events}:
        own = [event for event in events if event["job"]["name"] == job]
        assert len({event["run"]["runId"] for event in own}) == 1, f"{job} has several runs"
        starts = [event["eventTime"] for event in own if event["eventType"] == "START"]
        assert all(start <= event["eventTime"] for event in own for start in starts), f"{job} ended before it started"


def _check_told(finished: Sequence[Finished], counted: Mapping[str, int]) -> None:
    """Compare what the processes said at their ends with what was counted; nothing is said where all is delivered."""
    told = dict.fromkeys(DeliveryReport._fields, 0)
    for process in finished:
        for line in filter(None, map(_SUMMARY.search, process.log)):
            for count, place in (part.split() for part in line[1].split(", ")):
                told[place] += int(count)
    assert told["pending"] == 0, f"{told['pending']} events were lost"
    assert told["spooled"] == counted["spooled"], f"told: {told}, counted: {counted}"
    # Without a spool, nothing keeps a START that was superseded.
    assert told["superseded"] >= counted["superseded"], f"told: {told}, counted: {counted}"
    # Without a spool, what was refused for good is printed.
    assert told["rejected"] + told["printed"] == counted["rejected"] + counted["printed"], f"{told}, counted: {counted}"


@cache
def _unshare() -> tuple[str, ...]:
    """Return the command that gives a command mounts of its own, or nothing where that is not possible."""
    for unshare in (("unshare", "-m"), ("unshare", "-Urm")):
        attempt = [*unshare, "sh", "-c", "mount -t tmpfs tmpfs /mnt"]
        if shutil.which("unshare") and not subprocess.run(attempt, capture_output=True, check=False).returncode:
            return unshare
    return ()


def mounting(*before: str, after: str = "") -> tuple[str, ...]:
    """Return the command that runs a command between others, with mounts that nobody else sees; or skip the test."""
    if not _unshare():
        pytest.skip("mounts of its own need `unshare` (util-linux) and root, CAP_SYS_ADMIN or user namespaces")
    script = ["set -e", *before, "set +e", '"$0" "$@"', "status=$?", after, "exit $status"]
    return (*_unshare(), "sh", "-c", "\n".join(script))


_NEXT = """
from openlineage_pod import lineage_run
with lineage_run("next"):
    print(input())
"""


def deliver_what_is_left(scene: Scene, receiver: Receiver) -> None:
    """Run a job that uses the spool with a backend that is well, until the spool is empty."""
    receiver.script()
    environ = scene.environ(receiver.url, 10)
    job = scene.jobs.start(_NEXT, environ)
    wait_until(lambda: not scene.files("new"), "the spool is drained")
    assert scene.finish(job, _NEXT, environ, stdin=b"on\n").stderr == ""
