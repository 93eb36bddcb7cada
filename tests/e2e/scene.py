"""An Airflow task and the runs of its pod, as every consumer shows them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.e2e.airflow_task import AirflowTask
from tests.support.harness import types
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from tests.e2e.consumers import Entry
    from tests.support.harness import Event


class Scene:
    """A task that has started.

    Args:
        entry: where it reports, as its pod does.
        namespace: of the Airflow instance.

    """

    def __init__(self, entry: Entry, namespace: str) -> None:
        self.entry = entry
        self.task = AirflowTask(lambda event: entry.receive(dict(event)), namespace)
        self.task.start()

    def below(self, run_id: str) -> list[list[Event]]:
        """Return the events of each run whose parent is this one."""
        return list(self.entry.children(run_id).values())

    def events(self) -> list[Event]:
        """Return the events so far of the one run below the task."""
        runs = self.below(self.task.run_id)
        assert len(runs) <= 1, runs
        return runs[0] if runs else []

    def started(self) -> None:
        """Return as soon as that run has been reported."""
        wait_until(lambda: bool(self.events()), "the run has started")

    def ended(self, state: str) -> Event:
        """Return the event with which that run ended, once every consumer shows what it says."""
        wait_until(lambda: len(self.events()) > 1, "the run has ended")
        events = self.events()
        assert types(events) == ["START", state], events
        self.entry.show(events[-1])
        return events[-1]

    def end(self) -> None:
        """End the task, and wait until every consumer knows."""
        self.task.end()
        self.entry.ended(self.task.run_id, "COMPLETE")
