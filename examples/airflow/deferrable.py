"""A pod that no worker waits for: the triggerer watches it, and its run is linked like any other."""

from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator
from airflow.sdk import DAG

from openlineage_pod.airflow import lineage_env

with DAG("deferrable", schedule=None):
    KubernetesPodOperator(
        task_id="ingest_accounts",
        image="ingest-accounts",
        env_vars={**lineage_env(), "OPENLINEAGE_URL": "{{ var.value.openlineage_url }}"},
        deferrable=True,
    )
