"""An Airflow task as a backend and a pod see it: its events, and the variables that it gives to its pod."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from openlineage.client.uuid import generate_new_uuid

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_PRODUCER = "https://github.com/apache/airflow/tree/providers-openlineage/2.20.3"
_SPEC = "https://openlineage.io/spec"
_DATE = "2026-11-20T00:00:00+00:00"


class AirflowTask:
    """One try of the task `ingest` in a run of a DAG, with run ids as Airflow's provider makes them.

    Args:
        send: takes an event in its JSON form.
        namespace: the job namespace of the Airflow instance.
        dag: the name of the DAG.

    """

    def __init__(self, send: Callable[[Mapping[str, Any]], Any], namespace: str, dag: str = "etl") -> None:
        self._send = send
        self.namespace = namespace
        self.dag_name = dag
        self.job_name = f"{dag}.ingest"
        self.dag_run_id = str(generate_new_uuid())
        self.run_id = str(generate_new_uuid())

    def start(self) -> None:
        """Report that the DAG run and this task have started."""
        self._send(self._dag_event("START"))
        self._send(self._task_event("START"))

    def end(self, state: str = "COMPLETE") -> None:
        """Report that this task and the DAG run have ended."""
        self._send(self._task_event(state))
        self._send(self._dag_event(state))

    def by_id(self) -> dict[str, str]:
        """Return the variables of the macros `lineage_parent_id` and `lineage_root_parent_id`."""
        return {
            "OPENLINEAGE_PARENT_ID": f"{self.namespace}/{self.job_name}/{self.run_id}",
            "OPENLINEAGE_ROOT_PARENT_ID": f"{self.namespace}/{self.dag_name}/{self.dag_run_id}",
        }

    def by_context(self) -> dict[str, str]:
        """Return the standard variable, with the compact job types that Airflow's providers put into it."""
        parent = {**self._node(self.run_id, self.job_name), "root": self._node(self.dag_run_id, self.dag_name)}
        kind = {"jobType": "TASK", "integration": "AIRFLOW", "processingType": "BATCH"}
        parent["job"]["facets"] = {"jobType": kind}
        return {"OPENLINEAGE_CONTEXT": json.dumps({"parent": parent})}

    def by_parts(self) -> dict[str, str]:
        """Return the two variables of the best-known recipe, which names no namespace."""
        return {"OPENLINEAGE_PARENT_RUN_ID": self.run_id, "OPENLINEAGE_PARENT_JOB_NAME": self.job_name}

    def _node(self, run_id: str, name: str) -> dict[str, Any]:
        return {"run": {"runId": run_id}, "job": {"namespace": self.namespace, "name": name}}

    def _dag_event(self, state: str) -> dict[str, Any]:
        return self._event(state, self.dag_run_id, self.dag_name, "DAG", {"airflowDagRun": _facet(**self._about())})

    def _task_event(self, state: str) -> dict[str, Any]:
        facets = {
            "parent": _facet(
                "1-1-0/ParentRunFacet",
                **self._node(self.dag_run_id, self.dag_name),
                root=self._node(self.dag_run_id, self.dag_name),
            ),
            "airflow": _facet(
                **self._about(),
                task={
                    "task_id": "ingest",
                    "operator_class": "KubernetesPodOperator",
                    "upstream_task_ids": "[]",
                    "downstream_task_ids": "[]",
                    "mapped": False,
                },
                taskInstance={"try_number": 1, "log_url": "http://localhost:8080/log"},
                taskUuid=self.run_id,
            ),
            "nominalTime": _facet("1-0-1/NominalTimeRunFacet", nominalStartTime=_DATE, nominalEndTime=_DATE),
            "processing_engine": _facet(
                "1-1-1/ProcessingEngineRunFacet", name="Airflow", version="3.3.2", openlineageAdapterVersion="2.20.3"
            ),
        }
        return self._event(state, self.run_id, self.job_name, "TASK", facets)

    def _about(self) -> dict[str, Any]:
        return {
            "dag": {"dag_id": self.dag_name, "owner": "airflow", "tags": "[]", "timetable": {}, "schedule": "@daily"},
            "dagRun": {
                "dag_id": self.dag_name,
                "run_id": f"scheduled__{_DATE}",
                "run_type": "scheduled",
                "data_interval_start": _DATE,
                "data_interval_end": _DATE,
                "start_date": _DATE,
                "conf": {},
            },
        }

    def _event(self, state: str, run_id: str, name: str, job_type: str, facets: dict[str, Any]) -> dict[str, Any]:
        kind = _facet("2-0-3/JobTypeJobFacet", jobType=job_type, integration="AIRFLOW", processingType="BATCH")
        return {
            "eventType": state,
            "eventTime": datetime.now(timezone.utc).isoformat(),
            "producer": _PRODUCER,
            "schemaURL": f"{_SPEC}/2-0-2/OpenLineage.json#/$defs/RunEvent",
            "run": {"runId": run_id, "facets": facets},
            "job": {"namespace": self.namespace, "name": name, "facets": {"jobType": kind}},
            "inputs": [],
            "outputs": [],
        }


def _facet(schema: str | None = None, **fields: Any) -> dict[str, Any]:
    if schema is None:  # Airflow's own
        return {"_producer": _PRODUCER, "_schemaURL": f"{_SPEC}/2-0-2/OpenLineage.json#/$defs/RunFacet", **fields}
    version, name = schema.split("/")
    return {"_producer": _PRODUCER, "_schemaURL": f"{_SPEC}/facets/{version}/{name}.json#/$defs/{name}", **fields}
