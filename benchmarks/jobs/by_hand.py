"""The same job that reports its START and COMPLETE with plain openlineage-python."""

import os
import sys
import time
from datetime import datetime, timezone

from openlineage.client import OpenLineageClient
from openlineage.client.event_v2 import InputDataset, Job, OutputDataset, Run, RunEvent, RunState
from openlineage.client.facet_v2 import parent_run
from openlineage.client.uuid import generate_new_uuid

PRODUCER = "https://example.com/nightly_report"


def main(seconds: float, rounds: int) -> None:
    """Say when the first line was reached, then wait and compute."""
    print(time.monotonic_ns(), flush=True)
    time.sleep(seconds)
    for _ in range(rounds):
        pass


def run_event(state: RunState, run_id: str) -> RunEvent:
    """Return an event of this run, linked to the parent that the environment names."""
    namespace, job_name, parent_run_id = os.environ["OPENLINEAGE_PARENT_ID"].rsplit("/", 2)
    parent = parent_run.ParentRunFacet(
        run=parent_run.Run(runId=parent_run_id),
        job=parent_run.Job(namespace=namespace, name=job_name),
        producer=PRODUCER,
    )
    return RunEvent(
        eventType=state,
        eventTime=datetime.now(timezone.utc).isoformat(),
        run=Run(runId=run_id, facets={"parent": parent}),
        job=Job(namespace=namespace, name=f"{job_name}.nightly_report"),
        producer=PRODUCER,
        inputs=[InputDataset(namespace="postgres://warehouse:5432", name="crm.public.accounts")],
        outputs=[OutputDataset(namespace="s3://lake", name="reports/accounts")],
    )


if __name__ == "__main__":
    client = OpenLineageClient()
    this_run = str(generate_new_uuid())
    client.emit(run_event(RunState.START, this_run))
    main(float(sys.argv[1]), int(sys.argv[2]))
    client.emit(run_event(RunState.COMPLETE, this_run))
