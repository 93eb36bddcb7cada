"""Users' code type-checks against the library."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def test_users_code_type_checks() -> None:
    """The uses in api.py pass mypy in strict mode, and the wrong ones in it are errors."""
    api = Path(__file__).with_name("api.py")
    result = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--warn-unused-ignores", str(api)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout
