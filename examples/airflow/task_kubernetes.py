"""A function of the DAG file as the job: `@task.kubernetes` runs it in an image that has Python and openlineage-pod."""

from airflow.sdk import DAG, task

from openlineage_pod.airflow import lineage_env

with DAG("task_kubernetes", schedule=None):

    @task.kubernetes(
        image="ingest-accounts",
        env_vars={**lineage_env(), "OPENLINEAGE_URL": "{{ var.value.openlineage_url }}"},
    )
    def count_accounts() -> None:
        """Count the lines of the export; only this function goes into the pod, so it imports what it needs."""
        from pathlib import Path

        from openlineage_pod import dataset, lineage_run

        source = Path("/app/data/accounts.csv")
        with lineage_run("count_accounts") as run:
            rows = len(source.read_text().splitlines()) - 1
            run.add_input(dataset(source, rows=rows))
            print(f"{rows} accounts")

    count_accounts()
