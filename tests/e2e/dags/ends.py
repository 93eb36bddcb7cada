"""Pods that end in other ways than the examples: killed, cleared, timed out, skipped, retried, with an XCom."""

from datetime import timedelta

from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator
from airflow.sdk import DAG

from openlineage_pod.airflow import lineage_env

POD = {
    "image": "load-fees",
    "env_vars": {**lineage_env(), "OPENLINEAGE_URL": "{{ var.value.openlineage_url }}"},
    "startup_check_interval_seconds": 1,
}
SLEEP = ["sleep", "600"]

with DAG("killed", schedule=None):
    KubernetesPodOperator(task_id="load", arguments=SLEEP, **POD)

with DAG("cleared", schedule=None):
    first_sleeps = "[ {{ ti.try_number }} = 2 ] || exec sleep 600"
    KubernetesPodOperator(task_id="load", arguments=["bash", "-c", first_sleeps], **POD)

with DAG("timed_out", schedule=None):
    KubernetesPodOperator(task_id="load", arguments=SLEEP, execution_timeout=timedelta(seconds=90), **POD)

with DAG("retried", schedule=None):
    first_fails = "exit $((2 - {{ ti.try_number }}))"
    KubernetesPodOperator(
        task_id="load", arguments=["bash", "-c", first_fails], retries=1, retry_delay=timedelta(seconds=1), **POD
    )

with DAG("skipped", schedule=None):
    KubernetesPodOperator(
        task_id="load",
        cmds=["/openlineage-pod/openlineage-pod", "run", "--abort-on", "99", "--"],
        arguments=["bash", "-c", "exit 99"],
        skip_on_exit_code=99,
        **POD,
    )

with DAG("xcom", schedule=None):
    push = "echo '[\"totals.csv\", 2]' >/airflow/xcom/return.json"
    KubernetesPodOperator(task_id="load", arguments=["bash", "-c", push], do_xcom_push=True, **POD)
