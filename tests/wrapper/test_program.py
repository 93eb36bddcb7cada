"""What a command is called: the script or module that it runs, behind interpreters and launchers."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openlineage_pod.wrapper.program import Program, program_of

if TYPE_CHECKING:
    from pathlib import Path

PROGRAMS = """
# command line | name | language
python load.py | load | PYTHON
python3.11 /app/load.py --date x.sql | load | PYTHON
python -u -X dev load.py | load | PYTHON
python -Xdev -Werror -- load.v2.py | load.v2 | PYTHON
python -W error -m app.main x.py | app.main | PYTHON
python -um app | app | PYTHON
python -mapp.__main__ | app | PYTHON
python --check-hash-based-pycs always load.py | load | PYTHON
python /app/etl/__main__.py | etl | PYTHON
python /app/etl/ | etl | PYTHON
python app.pyz | app | PYTHON
/usr/local/bin/pypy3 load.py | load | PYTHON
coverage run --source x -m app.main | app.main | PYTHON
papermill --kernel python3 report.ipynb out.ipynb | report | PYTHON
# an interpreter without a name to find
python | python | PYTHON
python3.11 - load.py | python | PYTHON
python -Ic pass load.py | python | PYTHON
python -c pass | python | PYTHON
python -m | python | PYTHON
node -e 1 | node | JAVASCRIPT
bash -s load.sh | bash | BASH
bash -c | bash | BASH
# shells
bash /app/load.sh a b | load | BASH
sh -eux load.sh | load | SHELL
bash -euo pipefail -O extglob load.sh | load | BASH
bash +x --rcfile rc -- load.sh | load | BASH
sh -c "python load.py" | load | PYTHON
bash -cx "cd /app && exec python -m app.main --date 2026-01-01" | app.main | PYTHON
bash -lc "set -e; export A=b\\ncd /app\\nA=b ./load.sh" | load | SHELL
sh -c "" | sh | SHELL
sh -c "exit 7" | sh | SHELL
sh -c "echo start && python load.py; exit 7" | load | PYTHON
sh -c "python a.py; python b.py" | sh | SHELL
sh -c "python load.py | tee log" | sh | SHELL
sh -c "python 'load.py'" | sh | SHELL
bash -c "python $JOB" | bash | BASH
busybox sh load.sh | load | SHELL
# other interpreters
node --max-old-space-size=100 -r dotenv/config load.js | load | JAVASCRIPT
deno run -A load.ts | load | TYPESCRIPT
perl -w -I lib load.pl | load | PERL
perl -Ilib -ne 1 | perl | PERL
ruby -I lib load.rb | load | RUBY
php -d a=b -f load.php | load | PHP
Rscript --vanilla load.R | load | R
R --no-save --file=load.R | load | R
go run ./load.go | load | GO
torchrun --nproc_per_node 2 train.py | train | PYTHON
julia --project=. -t 4 load.jl | load | JULIA
java -Xmx1g -Da=b -jar /opt/load.jar x | load | JAVA
java -cp a.jar:b.jar org.acme.Main x | org.acme.Main | JAVA
java -m module/org.acme.Main | org.acme.Main | JAVA
spark-submit --master local --conf a=b load.py --date x | load | PYTHON
spark-submit --verbose --class org.acme.Main app.jar | org.acme.Main | UNKNOWN
# launchers
env A=b python x.py | x | PYTHON
env -i -u B -C /app A=b C=d python -- x.py | x | PYTHON
uv run x.py | x | PYTHON
uv run --with pandas -- python -m app.main | app.main | PYTHON
uv run -m app.main | app.main | PYTHON
uv sync | uv | PYTHON
poetry run python x.py | x | PYTHON
conda run -n env --no-capture-output python x.py | x | PYTHON
tini -g -- python x.py | x | PYTHON
dumb-init sh -c "exec python x.py" | x | PYTHON
timeout -k 5 10 nice -n 5 python x.py | x | PYTHON
gosu app python x.py | x | PYTHON
sudo -Eu app python x.py | x | PYTHON
openlineage-pod run --job-name y -- python x.py | x | PYTHON
flock -w 5 /lock python x.py | x | PYTHON
env | env | UNKNOWN
# programs
dbt run --select x.py | dbt | UNKNOWN
/usr/bin/load2 x.py | load2 | UNKNOWN
./load.sh | load | SHELL
load.py | load | PYTHON
.sh | .sh | UNKNOWN
/ | command | UNKNOWN
"""


@pytest.mark.parametrize("case", [line for line in PROGRAMS.splitlines() if line and not line.startswith("#")])
def test_program(case: str) -> None:
    """The script or module counts, not the interpreter; the interpreter does where there is no script."""
    line, name, language = case.rsplit(" | ", 2)
    command = shlex.split(line.replace("\\n", "\n"))
    found = program_of(command)
    assert (found.name, found.language) == (name, language)


def test_executable() -> None:
    """The executable is that of the command itself, with its version."""
    assert program_of(["/usr/bin/env", "python3.11", "x.py"]) == Program("x", "env", "PYTHON")
    assert program_of(["/usr/bin/python3.11", "x.py"]).executable == "python3.11"
    assert program_of(["/usr/bin/caf\udce9.sh"]).executable == "caf?.sh"


def test_folder_of_the_process() -> None:
    """A package that is named by the current folder has that folder's name."""
    here = shlex.split("python .")
    assert program_of(here).name == program_of(["python", "__main__.py"]).name != "."


@pytest.mark.parametrize(
    "command", [[""], ["python", ""], ["python", "-"], ["-"], ["env", ""], ["sh", "-c", "\udce9 x"]]
)
def test_odd_words(command: list[str]) -> None:
    """Whatever the words are, there is a name."""
    assert program_of(command).name


def test_folder_that_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package that is named by a folder that is gone has some name, too."""
    monkeypatch.chdir(tmp_path)
    tmp_path.rmdir()
    assert program_of(["python", "."]).name


WORDS = [
    "python",
    "sh",
    "env",
    "uv",
    "java",
    "run",
    "-c",
    "-m",
    "-jar",
    "-um",
    "-",
    "--",
    "A=b",
    "x.py",
    "",
    "+x",
    "a b; c",
]


@given(st.lists(st.sampled_from(WORDS) | st.text(max_size=5), min_size=1, max_size=8))
def test_any_words(command: list[str]) -> None:
    """Whatever the words are, a name, an executable and a language are found."""
    assert all(program_of(command))


def test_long_chain_of_launchers() -> None:
    """A chain of any length is followed."""
    assert program_of([*["env"] * 10_000, "x.py"]).name == "x"
