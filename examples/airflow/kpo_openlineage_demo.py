"""A pod whose run is linked to its Airflow task: the smallest DAG that does it.

All DAGs of this folder need Airflow 3 (this one runs in Airflow 2, too), with `openlineage-pod` for `lineage_env`; the
Airflow variable `openlineage_url`, the address of the lineage backend as pods reach it; and the connection
`kubernetes_default`, where Airflow does not run in the cluster itself. This one needs the image of Dockerfile.example.
"""

from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator

from openlineage_pod.airflow import lineage_env

try:
    from airflow.sdk import DAG
except ImportError:  # Airflow 2
    from airflow import DAG

with DAG("kpo_openlineage_demo", schedule=None):
    KubernetesPodOperator(
        task_id="ingest_accounts",
        image="ingest-accounts",
        env_vars={**lineage_env(), "OPENLINEAGE_URL": "{{ var.value.openlineage_url }}"},
    )
