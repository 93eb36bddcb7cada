"""A DAG that gives Airflow's own run id to the pod as its parent's, which is no UUID."""

from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator
from airflow.sdk import DAG

with DAG("bad_parent", schedule=None):
    KubernetesPodOperator(
        task_id="load",
        image="load-fees",
        arguments=["true"],
        env_vars={
            "OPENLINEAGE_PARENT_RUN_ID": "{{ run_id }}",
            "OPENLINEAGE_PARENT_JOB_NAME": "{{ dag.dag_id }}.{{ task.task_id }}",
            "OPENLINEAGE_PARENT_JOB_NAMESPACE": "airflow",
            "OPENLINEAGE_URL": "{{ var.value.openlineage_url }}",
        },
    )
