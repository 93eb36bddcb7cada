"""Jobs that run as their container would run them: a script in a process of its own, with an environment of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from textwrap import dedent
from typing import TYPE_CHECKING, NamedTuple
from uuid import uuid4

from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

_JOB_TIMEOUT = 180.0
# What a container has from its image; and nothing of the proxies of this machine, the servers are on this one.
_OF_THE_IMAGE = ("PATH", "HOME", "LANG", "LC_ALL", "PYTHONPATH", "PYTHONDONTWRITEBYTECODE")

_LOAD = """
import os
import time

from openlineage_pod import dataset, lineage_run

with lineage_run("load_accounts") as run:
    run.add_input(dataset(f"{os.environ['WAREHOUSE']}/crm.public.accounts", schema={"id": "bigint", "name": "text"}))
    run.add_output(dataset(f"{os.environ['LAKE']}/accounts", schema={"id": "bigint"}, rows=3))
"""
_LAST_LINES = {
    "COMPLETE": "",
    "FAIL": "    raise LookupError('no such table: accounts')\n",
    "ABORT": "    print('loading', flush=True)\n    time.sleep(600)\n",
}
ENDS = tuple(_LAST_LINES)
"""How the job of `Pod.load` can end, by the type of the event that reports it."""


class Names(NamedTuple):
    """Names that no other test uses: they share the servers, and lineage connects what has the same name."""

    namespace: str
    """Of the Airflow instance."""
    warehouse: str
    lake: str

    @classmethod
    def new(cls) -> Names:
        """Return new names."""
        tag = uuid4().hex[:8]
        return cls(f"airflow-{tag}", f"postgres://warehouse-{tag}:5432", f"s3://lake-{tag}")

    def to_env(self) -> dict[str, str]:
        """Return what a job is told of them."""
        return {"WAREHOUSE": self.warehouse, "LAKE": self.lake}


class Pod:
    """Runs scripts in a folder of its own, with nothing in the environment but what a container would have.

    Args:
        folder: for the scripts.
        environment: what the DAG author gave to the pod.

    """

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self._folder = folder
        image = {name: os.environ[name] for name in _OF_THE_IMAGE if name in os.environ}
        # Patient at the exit: on a busy machine the first connection takes its time.
        self._environment = {**image, "OPENLINEAGE_POD_FLUSH_TIMEOUT": "30", **environment}

    def run(self, source: str) -> subprocess.CompletedProcess[str]:
        """Run a job to its end."""
        with self.started(source) as job:
            stdout, stderr = job.communicate(timeout=_JOB_TIMEOUT)
        return subprocess.CompletedProcess(job.args, job.returncode, stdout, stderr)

    def run_well(self, source: str) -> None:
        """Run a job that ends well and has nothing to say, and whose lineage has nothing to say either."""
        done = self.run(source)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")

    def load(self, end: str, is_running: Callable[[], bool]) -> None:
        """Run a job that loads the table `crm.public.accounts` into the lake, to the given end.

        For `ABORT` it gets a real SIGTERM once the backend knows of its start (`is_running`). The job must end as it
        would without lineage.
        """
        source = _LOAD + _LAST_LINES[end]
        if end == "COMPLETE":
            self.run_well(source)
        elif end == "FAIL":
            done = self.run(source)
            assert (done.returncode, done.stdout) == (1, "")
            assert done.stderr.startswith("Traceback (most recent call last):\n")
            assert done.stderr.endswith("\nLookupError: no such table: accounts\n")
        else:
            with self.started(source) as job:
                assert job.stdout is not None
                assert job.stdout.readline() == "loading\n"
                wait_until(is_running, "the run is known as running", seconds=_JOB_TIMEOUT)
                job.terminate()
                assert job.communicate(timeout=_JOB_TIMEOUT) == ("", "")
            assert job.returncode == -signal.SIGTERM

    @contextmanager
    def started(self, source: str) -> Iterator[subprocess.Popen[str]]:
        """Run a job beside the block; it is killed if it outlives the block."""
        script = self._folder / "job.py"
        script.write_text(dedent(source))
        with subprocess.Popen(
            [sys.executable, script],
            cwd=self._folder,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as job:
            try:
                yield job
            finally:
                job.kill()
