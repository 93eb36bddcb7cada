"""The public names."""

from __future__ import annotations

import subprocess
import sys

import pytest

import openlineage_pod


def test_public_names() -> None:
    """Each name of `__all__` is there and is listed; another one is an AttributeError."""
    for name in openlineage_pod.__all__:
        assert getattr(openlineage_pod, name) is not None
        assert name in dir(openlineage_pod)
    with pytest.raises(AttributeError, match="no attribute 'lineage_ran'"):
        _ = openlineage_pod.lineage_ran  # type: ignore[attr-defined]


def test_a_command_waits_for_few_imports() -> None:
    """What `openlineage-pod run` imports before it starts its command has no logging, no HTTP, no delivery in it."""
    heavy = {"logging", "tempfile", "argparse", "ssl", "socket", "openlineage_pod.core.run", "openlineage_pod.delivery"}
    heavy |= {"openlineage_pod._guard", "openlineage_pod.datasets.dataset", "openlineage_pod.wrapper.reporter"}
    source = f"import sys, openlineage_pod.cli, openlineage_pod.wrapper.command; print({heavy} & set(sys.modules))"
    finished = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, timeout=60, check=False)
    assert (finished.stdout, finished.stderr) == ("set()\n", "")


def test_a_job_waits_for_no_pattern() -> None:
    """What a job imports compiles no pattern before one is needed."""
    source = """
import re, sys
from openlineage_pod import lineage_run
modules = {name: vars(module) for name, module in sys.modules.items() if name.startswith("openlineage_pod")}
print([f"{name}.{key}" for name, own in modules.items() for key in own if isinstance(own[key], re.Pattern)])
"""
    finished = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, timeout=60, check=False)
    assert (finished.stdout, finished.stderr) == ("[]\n", "")
