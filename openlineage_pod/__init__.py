"""Lineage from inside the container that Airflow's KubernetesPodOperator starts.

    from openlineage_pod import lineage_run

    @lineage_run("ingest_accounts", inputs=["postgres://warehouse:5432/crm.public.accounts"])
    def main(): ...

Everything heavy is imported by the delivery thread, beside the job. What stands below is imported when it is asked for:
`openlineage-pod run` needs none of it before it starts its command.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from openlineage_pod.events.facets import __version__

if TYPE_CHECKING:
    from openlineage_pod.core.current import current_run
    from openlineage_pod.core.lineage import LineageScope, flush, lineage_run
    from openlineage_pod.core.parent import ParentContext
    from openlineage_pod.core.run import LineageRun
    from openlineage_pod.datasets.dataset import Dataset, dataset
    from openlineage_pod.delivery.report import DeliveryReport
    from openlineage_pod.settings import ConfigurationError

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

_HOMES = {
    "ConfigurationError": "settings",
    "Dataset": "datasets.dataset",
    "DeliveryReport": "delivery.report",
    "LineageRun": "core.run",
    "LineageScope": "core.lineage",
    "ParentContext": "core.parent",
    "current_run": "core.current",
    "dataset": "datasets.dataset",
    "flush": "core.lineage",
    "lineage_run": "core.lineage",
}


if not TYPE_CHECKING:  # a type checker shall know the names above only

    def __getattr__(name: str) -> object:
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from importlib import import_module

        # All of them, so that there is one moment, and not several, in which a fork would inherit a lock of the import.
        globals().update({each: getattr(import_module(f"{__name__}.{home}"), each) for each, home in _HOMES.items()})
        return globals()[name]


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
