"""Real Airflows of two series, each in a virtual environment of its own: they clash with what other tests need.

This package is not part of what is cached, for it changes: `installed_package` puts it beside an Airflow as a user's
`pip install` does, with the metadata that Airflow finds plugins by.
"""

from __future__ import annotations

from pathlib import Path

from tests.e2e import venvs
from tests.support.cache import UnavailableError

_PROJECT = Path(__file__).parents[2]

# Airflow's own lists of constraints are not asked for, as they lie outside the package index. What follows a blank
# line is there because a later release of it breaks that Airflow.
_REQUIREMENTS = {
    "3": """
        apache-airflow==3.3.2
        apache-airflow-providers-openlineage==2.20.3
        apache-airflow-providers-cncf-kubernetes==10.25.0
        apache-airflow-providers-common-io
        apache-airflow-providers-docker
        openlineage-python>=1.54,<2
    """,
    "2": """
        apache-airflow==2.9.3
        apache-airflow-providers-openlineage==1.9.1
        apache-airflow-providers-cncf-kubernetes==8.3.3
        apache-airflow-providers-common-io==1.3.2
        apache-airflow-providers-docker==3.12.2
        openlineage-python==1.18.0

        apache-airflow-providers-common-sql==1.14.2
        apache-airflow-providers-fab==1.2.2
        apache-airflow-providers-ftp==3.10.0
        apache-airflow-providers-http==4.12.0
        apache-airflow-providers-imap==3.6.1
        apache-airflow-providers-smtp==1.7.1
        apache-airflow-providers-sqlite==3.8.1
        openlineage-integration-common==1.18.0
        openlineage-sql==1.18.0
        aiohttp==3.9.5
        connexion<3
        flask==2.2.5
        flask-appbuilder==4.5.0
        flask-session==0.5.0
        kubernetes==29.0.0
        kubernetes-asyncio==29.0.0
        marshmallow==3.21.3
        opentelemetry-api==1.25.0
        opentelemetry-exporter-otlp==1.25.0
        opentelemetry-sdk==1.25.0
        pendulum==3.0.0
        pydantic==2.7.4
        setuptools<80
        sqlalchemy<2
        werkzeug==2.2.3
        wtforms==3.1.2
    """,
}
# The Pythons that each series runs on, the best first.
_PYTHONS = {"3": ("3.12", "3.11", "3.13", "3.10"), "2": ("3.11", "3.12", "3.10")}


def airflow_python(series: str) -> Path:
    """Return the Python of a virtual environment with Airflow of the series "3" or "2", and without this package."""
    base = venvs.find_python(*_PYTHONS[series])
    if base is None:
        names = " or ".join(f"python{version}" for version in _PYTHONS[series])
        raise UnavailableError(f"Airflow {series} needs {names} on PATH")
    return venvs.environment(f"airflow-{series}", _REQUIREMENTS[series].split(), base=base)


def installed_package(python: Path, folder: Path) -> Path:
    """Install this package into a new folder for PYTHONPATH; what it depends on comes with Airflow."""
    target = folder / "site"
    venvs.install(python, "--no-deps", "--target", target, str(_PROJECT))
    return target
