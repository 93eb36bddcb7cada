"""Real Airflows of two series, each in a virtual environment of its own: they clash with what other tests need.

This package is not part of what is cached, for it changes: `installed_package` puts it beside an Airflow as a user's
`pip install` does, with the metadata that Airflow finds plugins by.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import zlib
from pathlib import Path

from tests.e2e.servers import UnavailableError, cached

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
    requirements = _REQUIREMENTS[series].split()
    version = requirements[0].partition("==")[2]
    base, python_version = _base(series)
    which = f"{zlib.crc32(' '.join(requirements).encode()):08x}"  # other requirements make another environment
    with cached(f"airflow-{version}-python{python_version}-{which}") as (folder, complete):
        python = folder / "bin" / "python"
        if not complete:
            _run(f"Python {python_version} makes no virtual environment", [base, "-m", "venv", str(folder)])
            install = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
            hint = f"pip cannot install Airflow {version}, let it reach a package index"
            _run(hint, [*install, *requirements])
    return python


def installed_package(python: Path, folder: Path) -> Path:
    """Install this package into a new folder for PYTHONPATH; what it depends on comes with Airflow."""
    target = folder / "site"
    command = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
    _run("pip cannot build this package, let it reach a package index", [*command, "--target", str(target), _PROJECT])
    return target


def _base(series: str) -> tuple[str, str]:
    """Return a Python that this Airflow runs on, and its version."""
    own = f"{sys.version_info.major}.{sys.version_info.minor}"
    for version in _PYTHONS[series]:
        found = sys.executable if version == own else shutil.which(f"python{version}")
        # A shim of a version manager may stand for a Python that is not there.
        if found and subprocess.run([found, "--version"], check=False, capture_output=True).returncode == 0:
            return found, version
    names = " or ".join(f"python{version}" for version in _PYTHONS[series])
    raise UnavailableError(f"Airflow {series} needs {names} on PATH")


def _run(hint: str, command: list[str | Path]) -> None:
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines() or ["no message"]
        raise UnavailableError(f"{hint}: {lines[0]}")
