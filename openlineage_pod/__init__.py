"""Lineage from inside the container that Airflow's KubernetesPodOperator starts.

    from openlineage_pod import lineage_run

    @lineage_run("ingest_accounts", inputs=["postgres://warehouse:5432/crm.public.accounts"])
    def main(): ...

Everything heavy is imported by the delivery thread, beside the job.
"""

from openlineage_pod._guard import ConfigurationError
from openlineage_pod.datasets import Dataset, dataset
from openlineage_pod.delivery.report import DeliveryReport
from openlineage_pod.lineage import LineageScope, flush, lineage_run
from openlineage_pod.parent import ParentContext
from openlineage_pod.run import LineageRun, current_run
from openlineage_pod.spec import __version__

__all__ = [
    "ConfigurationError",
    "Dataset",
    "DeliveryReport",
    "LineageRun",
    "LineageScope",
    "ParentContext",
    "__version__",
    "current_run",
    "dataset",
    "flush",
    "lineage_run",
]
