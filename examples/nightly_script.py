"""A script with steps: each step is a run of its own within the script's run, and one step starts another program.

    python examples/nightly_script.py

The program of the first step, ingest_accounts.py, is not told by arguments who started it: it finds its parent in the
environment that `run.child_env()` made for it, and reports itself.

    <task>.nightly_script             this script, named after it by default
    ├─ <task>.nightly_script.load     first step
    │  └─ ingest_accounts             the program it starts
    └─ <task>.nightly_script.report   second step
"""

import csv
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

from openlineage_pod import dataset, lineage_run

OUT = Path(os.environ.get("NIGHTLY_OUT", "demo-out"))
INGEST = Path(__file__).parent / "ingest_accounts.py"

QUERY = """
    SELECT country, count(*) AS accounts, sum(monthly_fee_cents) AS monthly_fee_cents
    FROM accounts GROUP BY country ORDER BY monthly_fee_cents DESC
"""
# Column of the report -> columns of the table from which the query computes it.
ORIGINS = {"country": ["country"], "accounts": ["account_id"], "monthly_fee_cents": ["monthly_fee_cents"]}


def columns(database: Path) -> list[tuple[str, str]]:
    """Return the table's columns with their types."""
    with closing(sqlite3.connect(database)) as connection:
        return [(name, kind) for _, name, kind, *_ in connection.execute("PRAGMA table_info(accounts)")]


def query(database: Path) -> tuple[list[str], list[tuple[object, ...]]]:
    """Return the names of the result's columns and its rows."""
    with closing(sqlite3.connect(database)) as connection:
        cursor = connection.execute(QUERY)
        return [column[0] for column in cursor.description], cursor.fetchall()


def write(report: Path, header: list[str], rows: list[tuple[object, ...]]) -> None:
    """Write the report as CSV."""
    with report.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)


def main() -> None:
    """Run both steps; a step that fails ends the script, and both runs end as FAIL."""
    database, report = OUT / "accounts.db", OUT / "fees_by_country.csv"
    with lineage_run() as script:
        # A step's name continues the script's: Marquez files a run with children under the name of its events only if
        # that name begins with its parent's.
        with lineage_run(f"{script.job_name}.load") as run:
            command = [sys.executable, str(INGEST), "--database", str(database)]
            subprocess.run(command, env=run.child_env(), check=True)

        with lineage_run(f"{script.job_name}.report") as run:
            table = f"sqlite://{database.absolute()}/accounts"
            # With its schema: Marquez shows column lineage only between columns that it knows.
            run.add_input(dataset(table, schema=columns(database)))
            run.add_output(report)
            header, rows = query(database)
            write(report, header, rows)
            origins = {column: [(table, name) for name in names] for column, names in ORIGINS.items()}
            run.add_output(
                dataset(report, schema=header, rows=len(rows), size=report.stat().st_size, column_lineage=origins)
            )
    print(f"{len(rows)} countries in {report}")


if __name__ == "__main__":
    main()
