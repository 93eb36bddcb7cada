"""A job as it runs in a pod: reads a CSV export of accounts, cleans it, and writes a SQLite table.

Of its lines those that use `openlineage_pod` are the lineage; the others are the job. It needs no lineage backend:

    python examples/ingest_accounts.py --database demo-out/accounts.db
"""

import argparse
import csv
import os
import sqlite3
import sys
from collections.abc import Callable
from contextlib import closing
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path

from openlineage_pod import current_run, dataset, lineage_run

Value = int | str | None

# As the exporting offices write dates. The one with slashes is American: month first.
DATE_FORMATS = ("%Y-%m-%d", "%d.%m.%Y", "%m/%d/%Y", "%d %b %Y")
NO_EMAIL = ("", "n/a")

CREATE_TABLE = """
    CREATE TABLE accounts (
        account_id INTEGER PRIMARY KEY,
        company TEXT NOT NULL,
        email TEXT,
        country TEXT NOT NULL,
        signed_up_on DATE NOT NULL,
        monthly_fee_cents INTEGER NOT NULL
    )
"""


def email(text: str) -> str | None:
    """Return an e-mail address in lower case, or None where the export has none."""
    return None if text.lower() in NO_EMAIL else text.lower()


def iso_date(text: str) -> str:
    """Return a date as YYYY-MM-DD, from any of `DATE_FORMATS`."""
    for date_format in DATE_FORMATS:
        try:
            day: date = datetime.strptime(text, date_format).date()  # noqa: DTZ007  a date has no time zone
        except ValueError:
            continue
        return day.isoformat()
    raise ValueError(f"{text!r} is no date")


def number(text: str) -> int:
    """Return an account's number."""
    if not text.isdecimal():
        raise ValueError(f"{text!r} is no account number")
    return int(text)


def cents(text: str) -> int:
    """Return an amount such as 1,490.00 in cents."""
    return int(Decimal(text.replace(",", "")) * 100)


# Column of the table -> column of the export and how it is cleaned. The job works by it and reports it as column
# lineage, so the two cannot differ.
COLUMNS: dict[str, tuple[str, Callable[[str], Value]]] = {
    "account_id": ("account_id", number),
    "company": ("company", str),
    "email": ("contact_email", email),
    "country": ("country", str.upper),
    "signed_up_on": ("signed_up", iso_date),
    "monthly_fee_cents": ("monthly_fee", cents),
}


INSERT = f"INSERT INTO accounts ({', '.join(COLUMNS)}) VALUES ({', '.join('?' * len(COLUMNS))})"  # noqa: S608


def read(source: Path) -> tuple[list[str], list[dict[str, str]]]:
    """Return the header and the rows of the export."""
    with source.open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        rows = list(reader)
        return list(reader.fieldnames or ()), rows


def clean(rows: list[dict[str, str]]) -> tuple[list[tuple[Value, ...]], list[str]]:
    """Return one row per account, the last one of each id, and one sentence for each row that cannot be used."""
    accounts: dict[Value, tuple[Value, ...]] = {}
    rejected: list[str] = []
    for line, row in enumerate(rows, start=2):
        try:
            account = tuple(cleaned(row[column].strip()) for column, cleaned in COLUMNS.values())
            accounts[account[0]] = account
        except (ValueError, ArithmeticError) as error:  # noqa: PERF203  each row is accepted or rejected by itself
            rejected.append(f"line {line}: {error}")
    return list(accounts.values()), rejected


def load(database: Path, accounts: list[tuple[Value, ...]]) -> tuple[list[tuple[str, str]], int]:
    """Replace the table by `accounts`; return its columns with their types and its number of rows, as SQLite has them.

    In one transaction: a job that is killed leaves the table as it was.
    """
    database.parent.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(database, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("DROP TABLE IF EXISTS accounts")
        connection.execute(CREATE_TABLE)
        connection.executemany(INSERT, accounts)
        connection.execute("COMMIT")
        schema = [(name, kind) for _, name, kind, *_ in connection.execute("PRAGMA table_info(accounts)")]
        (rows,) = connection.execute("SELECT count(*) FROM accounts").fetchone()
    return schema, rows


def arguments() -> argparse.Namespace:
    """Return the command line; its defaults make the job runnable as it stands."""
    parser = argparse.ArgumentParser(description="Load a CSV export of accounts into SQLite.")
    parser.add_argument("--source", type=Path, default=Path(__file__).parent / "data" / "accounts.csv")
    parser.add_argument(
        "--database",
        type=Path,
        default=Path(os.environ.get("ACCOUNTS_DATABASE", "demo-out/accounts.db")),
        help="default: $ACCOUNTS_DATABASE, else %(default)s",
    )
    parser.add_argument("--max-rejected", type=int, default=5, help="fail if more rows are unusable (%(default)s)")
    return parser.parse_args()


@lineage_run("ingest_accounts")
def main() -> None:
    """Run the job."""
    options = arguments()
    source: Path = options.source
    database: Path = options.database
    table = f"sqlite://{database.absolute()}/accounts"
    run = current_run()
    # Named before the work: a run that fails must not vanish from the lineage graph.
    run.add_input(source)
    run.add_output(table)

    header, rows = read(source)
    # The same dataset again: what is known of it by now is laid over.
    run.add_input(dataset(source, schema=header, rows=len(rows), size=source.stat().st_size))

    accounts, rejected = clean(rows)
    for sentence in rejected:
        print(f"rejected {source.name} {sentence}", file=sys.stderr)
    if len(rejected) > options.max_rejected:
        raise ValueError(f"{len(rejected)} of {len(rows)} rows are unusable, at most {options.max_rejected} may be")

    schema, written = load(database, accounts)
    origins = {column: [(source, origin)] for column, (origin, _) in COLUMNS.items()}
    run.add_output(dataset(table, schema=schema, rows=written, column_lineage=origins))
    duplicates = len(rows) - len(rejected) - written
    print(f"{written} accounts in {database} (of {len(rows)} rows {duplicates} repeated, {len(rejected)} rejected)")


if __name__ == "__main__":
    main()
