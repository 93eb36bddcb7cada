"""The plugin that registers our macro. Airflow finds it by its entry point in the group `airflow.plugins`."""

from __future__ import annotations

from airflow.plugins_manager import AirflowPlugin

from openlineage_pod.airflow.macros import env

__all__ = ["OpenLineagePodPlugin"]


class OpenLineagePodPlugin(AirflowPlugin):  # type: ignore[misc]
    """Makes `macros.openlineage_pod.env` known to the templates of every task."""

    name = "openlineage_pod"
    macros = [env]  # noqa: RUF012  the base class's own type
