"""A damaged index: kept next to the new one under a dated name, and read once more for what lives in it alone.

Rows of runs are remade from their directories; notes, acknowledgements and outcomes of hooks are nowhere else.
"""

from __future__ import annotations

import contextlib
import logging
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from app.runs.tables import HOOKS, NOTES, RUNS, row_of, run_of, values_of
from app.words.message import listed, t, tn

LOG = logging.getLogger("vigie.jobs.ledger")
# SQLite's own words for "this is no database" and "this database is damaged".
DAMAGED_CODES: Final = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
# How long a check waits for a writer.
LOOK_SECONDS: Final = 5.0
# More rows than any index has; a damaged page can lead round in a circle.
MAX_ROWS: Final = 1_000_000


def sound(file: Path) -> bool:
    """True when the file is a good database by now: another process met the damage first and put it aside."""
    try:
        with contextlib.closing(_opened(file)) as connection:
            return bool(connection.execute("PRAGMA quick_check(1)").fetchone() == ("ok",))
    except sqlite3.Error:
        return False


def set_aside(file: Path | None) -> Path | None:
    """Rename a damaged file and its two companions out of the way, with the date; never delete them."""
    if file is None or sound(file):
        return None
    aside = file.with_name(f"{file.name}.damaged-{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}")
    try:
        for suffix in ("-wal", "-shm", ""):
            part = file.with_name(file.name + suffix)
            if part.exists():
                part.rename(aside.with_name(aside.name + suffix))
    except OSError:
        return None  # the message then says that the file stays where it is
    return aside


def newest_aside(file: Path) -> Path | None:
    """The damaged file that was set aside last, if any."""
    kept = (path for path in file.parent.glob(f"{file.name}.damaged-*") if not path.name.endswith(("-wal", "-shm")))
    return max(kept, key=lambda path: path.stat().st_mtime_ns, default=None)


@dataclass(frozen=True, slots=True)
class _Rows:
    """Rows of one table that could be read, and whether they are all."""

    rows: list[dict[str, Any]]
    whole: bool


def take_over(aside: Path, connection: Connection) -> str:
    """Put what can be read of a damaged index into the new one; how much that was, as a sentence."""
    taken: dict[str, int] = {}
    whole = True
    for table in (RUNS, NOTES, HOOKS):
        rows = _rows(aside, table)
        whole = whole and rows.whole
        taken[table.name] = sum(_added(connection, table, row) for row in rows.rows)
    if not any(taken.values()) and not whole:
        return t("Nothing in it could be read: notes and acknowledgements are lost, unless there is a copy of it.")
    taken_over = listed(
        [
            tn("{n:count} run", "{n:count} runs", taken[RUNS.name]),
            tn("{n:count} note", "{n:count} notes", taken[NOTES.name]),
            tn("{n:count} hook outcome", "{n:count} hook outcomes", taken[HOOKS.name]),
        ]
    )
    if whole:
        return t("Taken over from it: {rows}.", rows=taken_over)
    return t(
        "Taken over from it: {rows}; "
        "the rest of it cannot be read, and notes there are lost unless there is a copy of it.",
        rows=taken_over,
    )


def _opened(file: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True, timeout=LOOK_SECONDS)


def _rows(file: Path, table: sa.Table) -> _Rows:
    """Every row that can be read: from the front up to the damage, then from the back down to it."""
    kept: dict[int, dict[str, Any]] = {}
    try:
        with contextlib.closing(_opened(file)) as connection:
            connection.text_factory = lambda raw: raw.decode("utf-8", "replace")
            there = {row[1] for row in connection.execute(f"PRAGMA table_info({table.name})")}
            names = [column.name for column in table.columns if column.name in there]
            if not names:
                return _Rows([], whole=False)
            for order in ("ASC", "DESC"):
                # The names are those in `app.runs.tables`.
                query = f"SELECT rowid, {', '.join(names)} FROM {table.name} NOT INDEXED ORDER BY rowid {order}"  # noqa: S608
                try:
                    for number, *values in connection.execute(f"{query} LIMIT {MAX_ROWS}"):  # no catalogue: SQL
                        kept.setdefault(number, dict(zip(names, values, strict=True)))
                    return _Rows([kept[number] for number in sorted(kept)], whole=True)
                except sqlite3.DatabaseError as error:
                    LOG.info("%s: %s", table.name, error)
    except sqlite3.Error as error:
        LOG.info("%s: %s", file.name, error)
    return _Rows([kept[number] for number in sorted(kept)], whole=False)


def _added(connection: Connection, table: sa.Table, row: Mapping[str, Any]) -> bool:
    """Insert a row that makes sense and is not there yet; a savepoint keeps a refusal from spoiling the rest."""
    values = {name: value for name, value in row.items() if name != "n"}
    try:
        if table is RUNS:
            values = row_of(run_of({column.name: None for column in RUNS.columns} | dict(row)))
            same = RUNS.c.id == values["id"]
        else:
            same = sa.and_(*(table.c[name] == value for name, value in values.items()))
        for column in table.columns:
            value = values.get(column.name)
            if value is not None and not isinstance(value, column.type.python_type | int):
                return False
        if connection.execute(sa.select(sa.literal(1)).select_from(table).where(same)).first() is not None:
            return False
        with connection.begin_nested():
            connection.execute(table.insert().values(values_of(values)))
    except (sa.exc.SQLAlchemyError, ValueError, TypeError, KeyError, AttributeError):
        return False
    return True
