"""Two pods: a job in Python that reports itself, and a bash job that `openlineage-pod run` reports from outside.

The images are those of Dockerfile.example and examples/docker/Dockerfile.bash. The second pod fails, because nothing
mounts its input: so a failed run can be seen, too, with the dataset that it wanted to read.
"""

from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator
from airflow.providers.cncf.kubernetes.secret import Secret
from airflow.sdk import DAG, Asset

from openlineage_pod.airflow import lineage_env

BACKEND = {"OPENLINEAGE_URL": "{{ var.value.openlineage_url }}"}
# The key comes from the Kubernetes secret `openlineage`. Airflow never sees it, and shows it nowhere.
API_KEY = Secret("env", "OPENLINEAGE_API_KEY", "openlineage", "api-key")

with DAG("two_images", schedule=None):
    ingest_accounts = KubernetesPodOperator(
        task_id="ingest_accounts",
        image="ingest-accounts",
        env_vars={**lineage_env(), **BACKEND},
        secrets=[API_KEY],
        # What a task declares is on the graph beside what its pod reports: the pod reads this file, too.
        inlets=[Asset("file:///app/data/accounts.csv")],
    )
    load_fees = KubernetesPodOperator(
        task_id="load_fees",
        image="load-fees",
        env_vars={**lineage_env(), **BACKEND},
        secrets=[API_KEY],
        outlets=[Asset("file:///tmp/totals.csv")],
    )
    ingest_accounts >> load_fees
