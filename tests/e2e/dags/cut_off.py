"""A function in a pod that waits to be stopped, started by the shell of `@task.kubernetes`."""

from airflow.sdk import DAG, task

from openlineage_pod.airflow import lineage_env

with DAG("cut_off", schedule=None):

    @task.kubernetes(
        image="ingest-accounts",
        env_vars={**lineage_env(), "OPENLINEAGE_URL": "{{ var.value.openlineage_url }}"},
        termination_grace_period=10,
    )
    def wait() -> None:
        """Report a run that goes on until the pod is deleted."""
        import time
        from pathlib import Path

        from openlineage_pod import lineage_run

        print(f"PID 1 is {Path('/proc/1/comm').read_text()}")
        with lineage_run("wait"):
            time.sleep(600)

    wait()
