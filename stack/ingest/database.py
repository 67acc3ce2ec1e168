"""The PostgreSQL destination: one transaction a month, the same tables as the course's, labels with their month."""

from collections.abc import Mapping
from datetime import date
from typing import TYPE_CHECKING, Any, Final, cast

import pandas as pd

from stack.ingest.layout import (
    ID,
    LABELS,
    LAYOUTS,
    PERIOD_START,
    USERS,
    IngestError,
    Kind,
    Layout,
)
from stack.ingest.reading import Month, as_csv, digest
from stack.postgres.connection import Place, connected

if TYPE_CHECKING:
    import psycopg

# Two ingests queue. Any number will do; it is "feeds" in ASCII.
INGEST_LOCK: Final = 0x6665656473
TYPES: Final[Mapping[Kind, str]] = {
    Kind.TEXT: "text",
    Kind.DATE: "date",
    Kind.FLAG: "boolean",
    Kind.WHOLE: "bigint",
    Kind.NUMBER: "double precision",
}


def put(where: Place, month: Month, *, labels_of: date | None = None) -> tuple[Month, bool]:
    """Write the month; (the month as it is there now, whether anything changed). Raises WorldError, nothing written.

    ``labels_of`` says which month the rows of an old ``labels`` table without months belong to.
    """
    with connected(where) as connection:
        connection.execute("SELECT pg_advisory_xact_lock(%s)", (INGEST_LOCK,))
        for layout in LAYOUTS.values():
            _prepare(connection, layout, labels_of)
        for table, frame in month.frames.items():
            _allow_gaps(connection, table, frame)
        if LABELS not in month.frames:
            month = month.with_labels(_stored(connection, LAYOUTS[LABELS], month))
        changed = [
            table
            for table, frame in month.frames.items()
            if digest(_stored(connection, LAYOUTS[table], month)) != digest(frame)
        ]
        for table in changed:
            _write(connection, LAYOUTS[table], month)
    return month, bool(changed)


def _prepare(connection: "psycopg.Connection[Any]", layout: Layout, labels_of: date | None) -> None:
    """The table as it has to be; IngestError when it is there and cannot be used as it is."""
    there = _columns(connection, layout.table)
    if not there:
        columns = [
            f"{column.name} {TYPES[column.kind]}{'' if column.optional else ' NOT NULL'}" for column in layout.columns
        ]
        if layout.dated:
            columns.insert(0, f"{layout.dated} date NOT NULL")
        key = f"{layout.dated}, {ID}" if layout.dated else ID
        connection.execute(f"CREATE TABLE {layout.table} ({', '.join(columns)}, PRIMARY KEY ({key}))")
        return
    if layout.table == LABELS and PERIOD_START not in there:
        _date_labels(connection, labels_of)
        there[PERIOD_START] = "date"
    needed = [*layout.names, *([layout.dated] if layout.dated else [])]
    missing = [name for name in needed if name not in there]
    if missing:
        raise IngestError(
            f"The table {layout.table} is there without the column {', '.join(missing)}. "
            "Rename that table, or add what it lacks; nothing was written."
        )
    if layout.dated and not there[layout.dated].startswith(("date", "timestamp")):
        raise IngestError(f"{layout.table}.{layout.dated} is {there[layout.dated]}, not a date. Change its type.")


def _allow_gaps(connection: "psycopg.Connection[Any]", table: str, frame: pd.DataFrame) -> None:
    """Let columns that have no value in some rows hold NULL: tables of an earlier version demand NOT NULL."""
    query = "SELECT attname FROM pg_attribute WHERE attrelid = to_regclass(%s) AND attnum > 0 AND attnotnull"
    strict = {name for (name,) in connection.execute(query, (table,)).fetchall()}
    for name in frame.columns[frame.isna().any()]:
        if name in strict:
            connection.execute(f"ALTER TABLE {table} ALTER COLUMN {name} DROP NOT NULL")


def _date_labels(connection: "psycopg.Connection[Any]", labels_of: date | None) -> None:
    """Give an old labels table its months: with rows and no word on their month, no one can."""
    rows = connection.execute(f"SELECT count(*) FROM {LABELS}").fetchall()[0][0]  # noqa: S608 - a constant
    if rows and labels_of is None:
        raise IngestError(
            f"The table labels has {rows:,} rows without a month (no column {PERIOD_START}), so every month would get "
            "the same labels. Say which month they belong to with --labels-of DATE, or rename the table; "
            "nothing was written."
        )
    connection.execute(f"ALTER TABLE {LABELS} ADD COLUMN {PERIOD_START} date")
    connection.execute(f"UPDATE {LABELS} SET {PERIOD_START} = %s", (labels_of,))  # noqa: S608 - constants
    keys = connection.execute(
        "SELECT conname FROM pg_constraint WHERE conrelid = %s::regclass AND contype IN ('p', 'u')", (LABELS,)
    ).fetchall()
    for (key,) in keys:
        connection.execute(f'ALTER TABLE {LABELS} DROP CONSTRAINT "{key}"')
    connection.execute(f"ALTER TABLE {LABELS} ALTER COLUMN {PERIOD_START} SET NOT NULL")
    connection.execute(f"ALTER TABLE {LABELS} ADD PRIMARY KEY ({PERIOD_START}, {ID})")


def _columns(connection: "psycopg.Connection[Any]", table: str) -> dict[str, str]:
    """Columns and types of the table that its bare name means here; empty when there is none."""
    query = """
        SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute
        WHERE attrelid = to_regclass(%s) AND attnum > 0 AND NOT attisdropped
    """
    return dict(connection.execute(query, (table,)).fetchall())


def _stored(connection: "psycopg.Connection[Any]", layout: Layout, month: Month) -> pd.DataFrame:
    """What is there for this month, as the files would say it; of users, those of this month's file."""
    where, value = f"{layout.dated} = %s", cast("Any", month.as_of)
    if not layout.dated:
        where, value = f"{ID} = ANY(%s)", month.frames[layout.table][ID].tolist()
    # Sorted here: the server's collation may differ from ours.
    query = f"SELECT {', '.join(layout.names)} FROM {layout.table} WHERE {where}"  # noqa: S608 - names of the layout
    rows = connection.execute(query, (value,)).fetchall()
    frame = pd.DataFrame(rows, columns=list(layout.names), dtype=object)
    for column in layout.columns:
        if column.kind is Kind.DATE:
            frame[column.name] = [None if cell is None else str(cell) for cell in frame[column.name]]
        elif column.kind is Kind.NUMBER:
            frame[column.name] = frame[column.name].astype("float64")
    return frame.sort_values(ID, ignore_index=True)


def _write(connection: "psycopg.Connection[Any]", layout: Layout, month: Month) -> None:
    """Replace the month's rows (of users: those named in its file)."""
    frame = month.frames[layout.table]
    names = list(layout.names)
    with connection.cursor() as cursor:
        if layout.dated:
            cursor.execute(f"DELETE FROM {layout.table} WHERE {layout.dated} = %s", (month.as_of,))  # noqa: S608
            frame = frame.assign(**{layout.dated: str(month.as_of)})
            names.append(layout.dated)
            target = layout.table
        else:
            target = "incoming_users"
            cursor.execute(f"CREATE TEMPORARY TABLE {target} (LIKE {layout.table}) ON COMMIT DROP")
        with cursor.copy(f"COPY {target} ({', '.join(names)}) FROM STDIN (FORMAT csv, HEADER)") as copy:
            copy.write(as_csv(frame[names]))
        if not layout.dated:
            changes = ", ".join(f"{name} = EXCLUDED.{name}" for name in names if name != ID)
            cursor.execute(
                f"INSERT INTO {USERS} ({', '.join(names)}) SELECT {', '.join(names)} FROM {target} "  # noqa: S608
                f"ON CONFLICT ({ID}) DO UPDATE SET {changes}"
            )
            cursor.execute(f"DROP TABLE {target}")
