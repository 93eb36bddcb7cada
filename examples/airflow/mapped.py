"""One pod for each argument: every mapped task instance is the parent of its own pod's run."""

from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator
from airflow.sdk import DAG

from openlineage_pod.airflow import lineage_env

with DAG("mapped", schedule=None):
    KubernetesPodOperator.partial(
        task_id="ingest_accounts",
        image="ingest-accounts",
        env_vars={**lineage_env(), "OPENLINEAGE_URL": "{{ var.value.openlineage_url }}"},
    ).expand(arguments=[["--max-rejected", "2"], ["--max-rejected", "1"]])
