"""The checkout, and the parent and root run that an Airflow task gives to its pod."""

from __future__ import annotations

from pathlib import Path

__all__ = ["AIRFLOW_ENV", "PARENT_RUN_ID", "ROOT", "ROOT_RUN_ID"]

ROOT = Path(__file__).parents[2]

PARENT_RUN_ID = "01a1d7b0-8a10-7a1c-9b1e-2f6f5e0d7c01"
ROOT_RUN_ID = "01a1d7b0-8a00-7b2d-8c3f-0123456789ab"
AIRFLOW_ENV = {
    "OPENLINEAGE_PARENT_ID": f"airflow/etl.ingest/{PARENT_RUN_ID}",
    "OPENLINEAGE_ROOT_PARENT_ID": f"airflow/etl/{ROOT_RUN_ID}",
}
