"""Write the world: one SQLite database for entities and labels, four Parquet files for features."""

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, date, datetime, timedelta
from itertools import repeat
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from stack.world.population import Accounts, Columns
from stack.world.story import MONTHS, PROFILE, TABLES, USERS, VERSION

# The month's features are computed in the night after its last day.
CREATED_AFTER: Final = timedelta(hours=26)

# Ingested months may have gaps wherever the course's tables allow NULL.
# WITHOUT ROWID keeps each month together on disk and needs no second index.
SCHEMA: Final = """
CREATE TABLE users (
    user_id TEXT NOT NULL PRIMARY KEY, signup_date TEXT, user_gender TEXT, user_is_senior BOOLEAN, has_family BOOLEAN,
    has_dependents BOOLEAN
) WITHOUT ROWID;
CREATE TABLE subscriptions_profile_snapshots (
    as_of TEXT NOT NULL, user_id TEXT NOT NULL, months_active INTEGER, monthly_fee REAL, paperless_billing BOOLEAN,
    plan_stream_tv BOOLEAN, plan_stream_movies BOOLEAN, net_service TEXT, contract_type TEXT, total_paid REAL,
    PRIMARY KEY (as_of, user_id)
) WITHOUT ROWID;
CREATE TABLE labels (
    period_start TEXT NOT NULL, user_id TEXT NOT NULL, churn_label BOOLEAN NOT NULL,
    PRIMARY KEY (period_start, user_id)
) WITHOUT ROWID;
"""


@contextmanager
def new_database(path: Path, schema: str, layout: int) -> Iterator[sqlite3.Connection]:
    """A new SQLite file, written in one transaction.

    A rollback journal, not a write-ahead log: the file is only read afterwards and must stay one file.
    """
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.executescript(
            f"PRAGMA page_size = 4096; PRAGMA encoding = 'UTF-8'; PRAGMA auto_vacuum = NONE; "
            f"PRAGMA journal_mode = DELETE; PRAGMA synchronous = OFF; PRAGMA user_version = {layout};"
        )
        connection.executescript("BEGIN;" + schema)
        yield connection
        connection.execute("COMMIT")


def write_database(path: Path, people: Accounts, months: list[Columns]) -> None:
    """The tables users, subscriptions_profile_snapshots and labels."""
    with new_database(path, SCHEMA, VERSION) as connection:
        connection.executemany(_insert("users", 6), _users(people, months[0]))
        for month, columns in zip(MONTHS, months, strict=True):
            rows = _snapshots(people, month.as_of, months[0], columns)
            connection.executemany(_insert("subscriptions_profile_snapshots", 10), rows)
            if "churn_label" in columns:
                labels = zip(repeat(month.as_of), people.user_id, columns["churn_label"].tolist(), strict=False)
                connection.executemany(_insert("labels", 3), labels)


def write_features(folder: Path, people: Accounts, months: list[Columns]) -> None:
    """One Parquet file a feature view: user_id, event_timestamp, created, features; one row group a month."""
    for stem, names in TABLES.items():
        with pq.ParquetWriter(folder / f"{stem}.parquet", _schema(names, months[0]), compression="snappy") as writer:
            for month, columns in zip(MONTHS, months, strict=True):
                at = datetime.combine(date.fromisoformat(month.as_of), datetime.min.time(), UTC)
                data: dict[str, Any] = {
                    "user_id": people.user_id,
                    "event_timestamp": [at] * USERS,
                    "created": [at + CREATED_AFTER] * USERS,
                    **{name: columns[name].tolist() for name in names},
                }
                writer.write_table(pa.Table.from_pydict(data, schema=writer.schema), row_group_size=USERS)


def _schema(names: Iterable[str], columns: Columns) -> pa.Schema:
    kinds = {"i": pa.int64(), "f": pa.float64(), "b": pa.bool_(), "O": pa.string()}
    stamps = pa.timestamp("us", tz="UTC")
    fixed = [("user_id", pa.string()), ("event_timestamp", stamps), ("created", stamps)]
    return pa.schema([*fixed, *((name, kinds[columns[name].dtype.kind]) for name in names)])


def _insert(table: str, width: int) -> str:
    return f"INSERT INTO {table} VALUES ({','.join('?' * width)})"  # noqa: S608 - both are constants above


def _users(people: Accounts, first: Columns) -> Iterator[tuple[object, ...]]:
    start = date.fromisoformat(MONTHS[0].as_of)
    signup = [_months_before(start, int(months)).isoformat() for months in first["months_active"]]
    columns = [
        people.people[name].tolist() for name in ("user_gender", "user_is_senior", "has_family", "has_dependents")
    ]
    return zip(people.user_id, signup, *columns, strict=True)


def _snapshots(people: Accounts, as_of: str, first: Columns, columns: Columns) -> Iterator[tuple[object, ...]]:
    since_first = int(as_of[5:7]) - 1
    paid = first["monthly_fee"] * first["months_active"] + columns["monthly_fee"] * since_first
    values = [columns[name].tolist() for name in PROFILE]
    return zip(
        repeat(as_of, USERS), people.user_id, *values, people.contract_type, np.round(paid, 2).tolist(), strict=True
    )


def _months_before(day: date, months: int) -> date:
    """The first day of the month that is ``months`` before the month of ``day``."""
    number = day.year * 12 + day.month - 1 - months
    return date(number // 12, number % 12 + 1, 1)
