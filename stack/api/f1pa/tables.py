"""Copy drivers and circuits from the file ``f1pa.db`` into the database of ``F1PA_DATABASE_URL``.

``python tables.py --from /data/f1pa.db``: in one transaction; a second time gives the same tables. The address comes
from the environment alone, because it may hold a password. The folder runs alone.
"""

import argparse
import os
import sqlite3
import sys
from pathlib import Path
from typing import Final

import sqlalchemy as sa

METADATA: Final = sa.MetaData()
TABLES: Final = (
    sa.Table(
        "drivers",
        METADATA,
        sa.Column("driver_number", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("code", sa.Text, nullable=False),
        sa.Column("team", sa.Text, nullable=False),
        sa.Column("first_season", sa.Integer, nullable=False),
        sa.Column("last_season", sa.Integer, nullable=False),
        sa.Column("laps", sa.Integer, nullable=False),
        sa.Column("best_lap", sa.Double, nullable=False),
    ),
    sa.Table(
        "circuits",
        METADATA,
        sa.Column("circuit_key", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("country", sa.Text, nullable=False),
        sa.Column("length_km", sa.Double, nullable=False),
        sa.Column("race_laps", sa.Integer, nullable=False),
        sa.Column("laps", sa.Integer, nullable=False),
        sa.Column("best_lap", sa.Double, nullable=False),
        sa.Column("mean_lap", sa.Double, nullable=False),
    ),
)


def read(path: Path) -> dict[str, list[dict[str, object]]]:
    """The rows of both tables in the file, by table."""
    connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
    connection.row_factory = sqlite3.Row
    try:
        return {table.name: [dict(row) for row in connection.execute(_query(table))] for table in TABLES}
    finally:
        connection.close()


def _query(table: sa.Table) -> str:
    return f"SELECT {', '.join(column.name for column in table.columns)} FROM {table.name}"  # noqa: S608 - constants


def write(engine: sa.Engine, rows: dict[str, list[dict[str, object]]]) -> None:
    """Replace what both tables hold, or change nothing."""
    with engine.begin() as connection:
        METADATA.create_all(connection)
        for table in TABLES:
            connection.execute(table.delete())
            connection.execute(table.insert(), rows[table.name])


def main(arguments: list[str] | None = None) -> int:
    """Copy; exit 1 with one line when something is missing. No message repeats the address."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0] if __doc__ else None)
    parser.add_argument("--from", dest="file", type=Path, required=True, help="the SQLite file f1pa.db")
    options = parser.parse_args(arguments)
    address = os.environ.get("F1PA_DATABASE_URL", "")
    try:
        rows = read(options.file)
    except sqlite3.Error as error:
        print(f"{options.file} cannot be read: {error}", file=sys.stderr)
        return 1
    try:
        engine = sa.create_engine(address.replace("postgresql://", "postgresql+psycopg://", 1))
        write(engine, rows)
    except (sa.exc.SQLAlchemyError, ImportError) as error:
        reason = str(getattr(error, "orig", None) or "it is not the address of a database (SQLAlchemy URL)")
        print(f"F1PA_DATABASE_URL: {' '.join(reason.split())}", file=sys.stderr)
        return 1
    print(", ".join(f"{len(copied)} {name}" for name, copied in rows.items()) + " copied")
    return 0


if __name__ == "__main__":
    sys.exit(main())
