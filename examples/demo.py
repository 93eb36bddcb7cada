"""Runs ingest_accounts.py twice as a pod that Airflow started would run it, and shows the events. See `make demo`.

The first run succeeds. The second one is told to accept no unusable row, so it fails. No Airflow, no Kubernetes and no
backend are needed: a pod learns who started it from its environment, and that can be set here; the events go to a file.
The exit code is 0 only if all is as it should be.
"""

import json
import os
import subprocess
import sys
from datetime import datetime
from pathlib import Path
from textwrap import fill
from typing import Any, NamedTuple

from openlineage.client.uuid import generate_new_uuid

JOB = Path(__file__).parent / "ingest_accounts.py"
OUT = Path("demo-out").absolute()
EVENTS = OUT / "events.jsonl"

Event = dict[str, Any]


class Case(NamedTuple):
    """One pod: the Airflow task that starts it, what it is told, and how it must end."""

    task: str
    arguments: tuple[str, ...]
    exit_code: int
    states: tuple[str, str]


CASES = (
    Case("ingest_accounts", (), 0, ("START", "COMPLETE")),
    Case("ingest_strictly", ("--max-rejected", "0"), 1, ("START", "FAIL")),
)


def airflow_job(name: str, kind: str) -> Event:
    """Return a job as Airflow's OpenLineage provider describes it."""
    job_type = {"processingType": "BATCH", "integration": "AIRFLOW", "jobType": kind}
    return {"namespace": "airflow", "name": name, "facets": {"jobType": job_type}}


def parent_of(case: Case, dag_run_id: str) -> Event:
    """Return the standard description of a pod's parent, the task, with the DAG run as root."""
    root = {"run": {"runId": dag_run_id}, "job": airflow_job("crm", "DAG")}
    run = {"runId": str(generate_new_uuid())}
    return {"run": run, "job": airflow_job(f"crm.{case.task}", "TASK"), "root": root}


def pod_environment(case: Case, parent: Event) -> dict[str, str]:
    """Return what the container's environment holds in a cluster: the parent, the pod, the transport."""
    # Whatever is configured in the shell of whoever runs this demo must not take part in it.
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("OPENLINEAGE")}
    return {
        **inherited,
        "OPENLINEAGE_CONTEXT": json.dumps({"parent": parent}),
        "POD_NAME": f"{case.task.replace('_', '-')}-k7x2m9qp",
        "POD_NAMESPACE": "data-jobs",
        "NODE_NAME": "worker-3",
        "OPENLINEAGE__TRANSPORT__TYPE": "file",
        "OPENLINEAGE__TRANSPORT__LOG_FILE_PATH": str(EVENTS),
        "OPENLINEAGE__TRANSPORT__APPEND": "true",
    }


def read_events() -> list[Event]:
    """Return the events that the pods have written so far."""
    return [json.loads(line) for line in EVENTS.read_text().splitlines()] if EVENTS.exists() else []


def faults(case: Case, exit_code: int, parent: Event, events: list[Event]) -> list[str]:
    """Say what is not as it should be."""
    found = []
    if exit_code != case.exit_code:
        found.append(f"the job's exit code is {exit_code}, not {case.exit_code}")
    states = tuple(event["eventType"] for event in events)
    if states != case.states:
        return [*found, f"the events are {states}, not {case.states}"]
    if len({event["run"]["runId"] for event in events}) != 1:
        found.append("the events are not of one run")
    for event in events:
        facet = event["run"]["facets"].get("parent", {})
        named = [node.get("run", {}).get("runId") for node in (facet, facet.get("root", {}))]
        if named != [parent["run"]["runId"], parent["root"]["run"]["runId"]]:
            found.append(f"{event['eventType']} is not linked to the task and the DAG run, but to {named}")
    last = events[-1]
    if len(last["inputs"]) != 1 or len(last["outputs"]) != 1:
        found.append(f"{last['eventType']} has {len(last['inputs'])} inputs and {len(last['outputs'])} outputs")
    elif last["eventType"] == "COMPLETE":
        output = last["outputs"][0]
        if not output["facets"]["schema"]["fields"] or not output["outputFacets"]["outputStatistics"]["rowCount"]:
            found.append("the output has no columns or no rows")
    elif "unusable" not in last["run"]["facets"]["errorMessage"]["message"]:
        found.append("FAIL does not say why")
    return found


def at(event: Event) -> datetime:
    """Return the time of an event."""
    return datetime.fromisoformat(event["eventTime"])


def show(events: list[Event]) -> None:
    """Print one run: the chain above it, its states, its datasets."""
    last = events[-1]
    facets = last["run"]["facets"]
    parent, pod = facets["parent"], facets["kubernetes_pod"]
    for indent, what, node in (("", "DAG run", parent["root"]), ("└─ ", "task   ", parent)):
        print(f"  {indent + node['job']['name']:<29} {what}  {node['run']['runId']}")
    print(f"  {'   └─ ' + last['job']['name']:<29} pod run  {last['run']['runId']}")
    print(f"        in pod {pod['k8s.pod.name']}, namespace {pod['k8s.namespace.name']}, node {pod['k8s.node.name']}")
    for event in events:
        after = (at(event) - at(events[0])).total_seconds()
        print(f"        {at(event):%H:%M:%S.%f}  {event['eventType']:<8}  +{after:.3f} s")
    if error := facets.get("errorMessage"):
        print(f"        why: {error['message']}")
    for side, arrow in (("input", "reads"), ("output", "writes")):
        for entry in last[f"{side}s"]:
            show_dataset(entry, arrow, entry.get(f"{side}Facets", {}).get(f"{side}Statistics", {}))


def show_dataset(entry: Event, verb: str, statistics: Event) -> None:
    """Print a dataset with its columns and where they come from."""
    name = os.path.relpath(entry["name"]) if entry["namespace"] in ("file", "sqlite") else entry["name"]
    rows = f", {statistics['rowCount']} rows" if "rowCount" in statistics else ""
    print(f"        {verb:<6} {entry['namespace']}: {name}{rows}")
    facets = entry.get("facets", {})
    origins = facets.get("columnLineage", {}).get("fields", {})
    fields = facets.get("schema", {}).get("fields", [])
    if fields and not origins:
        names = f"columns {', '.join(field['name'] for field in fields)}"
        print(fill(names, 79, initial_indent=" " * 15, subsequent_indent=" " * 23))
    for field in fields if origins else ():
        sources = ", ".join(source["field"] for source in origins.get(field["name"], {}).get("inputFields", ()))
        print(f"               {field['name']:<18} {field.get('type', ''):<8} from {sources}")


def main() -> int:
    """Run both pods, show what they reported, and return the exit code."""
    OUT.mkdir(exist_ok=True)
    EVENTS.unlink(missing_ok=True)
    dag_run_id = str(generate_new_uuid())
    wrong: list[str] = []
    for case in CASES:
        command = [sys.executable, str(JOB), "--database", os.path.relpath(OUT / "accounts.db"), *case.arguments]
        parent = parent_of(case, dag_run_id)
        before = len(read_events())
        print(f"\n$ {' '.join(['ingest_accounts.py', *case.arguments])}   (as the pod of task crm.{case.task})")
        done = subprocess.run(
            command, env=pod_environment(case, parent), capture_output=True, text=True, timeout=60, check=False
        )
        for line in (*done.stdout.splitlines(), *done.stderr.splitlines()[-1:]):
            print(f"  {line}")
        print(f"  exit code {done.returncode}\n")
        events = read_events()[before:]
        fault = faults(case, done.returncode, parent, events)
        if not fault:
            show(events)
        wrong += [f"crm.{case.task}: {sentence}" for sentence in fault]
    print(f"\n{len(read_events())} events, one a line, in {os.path.relpath(EVENTS)}")
    for sentence in wrong:
        print(f"NOT AS EXPECTED: {sentence}", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
