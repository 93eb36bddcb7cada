"""The same runs, each reported with plain openlineage-python."""

from by_hand import run_event
from loop import body, loop
from openlineage.client import OpenLineageClient
from openlineage.client.event_v2 import RunState
from openlineage.client.uuid import generate_new_uuid

client = OpenLineageClient()


def one_run() -> None:
    """Report the start and the end of a run."""
    run_id = str(generate_new_uuid())
    client.emit(run_event(RunState.START, run_id))
    body()
    client.emit(run_event(RunState.COMPLETE, run_id))


if __name__ == "__main__":
    loop(one_run)
    # Waits for what `async_http` has not delivered yet: without it, that is lost.
    client.close()
