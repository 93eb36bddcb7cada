"""A DAG of somebody who knows nothing of lineage: the cluster policy adds what its pod needs."""

from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator
from airflow.sdk import DAG

with DAG("unchanged", schedule=None):
    KubernetesPodOperator(task_id="ingest_accounts", image="ingest-accounts", env_vars={"LANG": "C.UTF-8"})
