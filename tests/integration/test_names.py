"""Names of datasets in the locale of a bare container."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.support.wrapping import run, sh

if TYPE_CHECKING:
    from tests.support.harness import Jobs, Receiver

NAME = "kónten"


@pytest.mark.parametrize(
    "locale",
    [{"LC_ALL": "C"}, {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}],
    ids=["C", "ASCII"],
)
def test_non_ascii_names_in_the_c_locale(locale: dict[str, str], receiver: Receiver, jobs: Jobs) -> None:
    """A non-ASCII dataset in an option, a variable and the metadata file keeps its name, where Python reads ASCII."""
    report = json.dumps({"output": ["ns", f"reported {NAME}"]}, ensure_ascii=False)
    environ = {
        **receiver.environ,
        **locale,
        "OPENLINEAGE_POD_INPUTS": json.dumps([f"s3://lake/{NAME}", ["ns", NAME]], ensure_ascii=False),
    }
    command = sh(f"""echo '{report}' >> "$OPENLINEAGE_POD_REPORT" """)
    finished = run(jobs, *command, environ=environ, options=("--output", f"s3://lake/{NAME}"))
    assert (finished.returncode, finished.stderr) == (0, "")
    end = receiver.events()[-1]
    assert [entry["name"] for entry in end["inputs"]] == [NAME, NAME]
    assert {entry["name"] for entry in end["outputs"]} == {NAME, f"reported {NAME}"}
