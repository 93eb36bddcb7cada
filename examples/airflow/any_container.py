"""A container that is known only when the DAG is triggered: image, arguments and input come with the trigger.

    airflow dags trigger any_container --conf '{"image": "load-fees", "arguments": ["bash", "/app/load.sh"]}'

Its run is linked all the same: KubernetesPodOperator renders `env_vars` together with the rest.
"""

from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator
from airflow.sdk import DAG, Param

from openlineage_pod.airflow import lineage_env

with DAG(
    "any_container",
    schedule=None,
    params={
        "image": "load-fees",
        "arguments": Param(["bash", "/app/load.sh"], type="array"),
        "fees": "/data/fees.csv",
    },
    render_template_as_native_obj=True,  # the arguments are a list
):
    KubernetesPodOperator(
        task_id="run",
        image="{{ params.image }}",
        arguments="{{ params.arguments }}",
        env_vars={
            **lineage_env(inputs=[("file", "{{ params.fees }}")]),
            "OPENLINEAGE_URL": "{{ var.value.openlineage_url }}",
            "FEES": "{{ params.fees }}",
        },
    )
