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
        """Report, as PID 1, a run that goes on until the pod is deleted."""
        import os
        import time

        from openlineage_pod import lineage_run

        assert os.getpid() == 1  # bash has become Python, for it was the last command
        with lineage_run("wait"):
            time.sleep(600)

    wait()
