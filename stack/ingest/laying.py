"""Kept months laid over the sample world while it is made: its SQLite database and its Parquet files."""

import sqlite3
from contextlib import closing
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from stack.data import INGESTED, ingested
from stack.ingest.layout import AS_OF, FEATURE_FILES, LABELS, LAYOUTS, PERIOD_START, SUBSCRIPTIONS, USERS
from stack.ingest.reading import Month, read_month
from stack.world.store import CREATED_AFTER


def lay_over(data: Path, home: Path) -> None:
    """Put the kept months into a world that is being made: ``data`` has streamflow.db and features/."""
    for kept in ingested(home):
        month = read_month(home / INGESTED / kept["as_of"], date.fromisoformat(kept["as_of"]))
        _into_database(data / "streamflow.db", month)
        for table, stem in FEATURE_FILES.items():
            _into_parquet(data / "features" / f"{stem}.parquet", month.as_of, month.frames[table])


def _into_database(path: Path, month: Month) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        for table, dated in ((SUBSCRIPTIONS, AS_OF), (LABELS, PERIOD_START)):
            connection.execute(f"DELETE FROM {table} WHERE {dated} = ?", (str(month.as_of),))  # noqa: S608 - constants
        for table in (USERS, SUBSCRIPTIONS, LABELS):
            if table not in month.frames:
                continue
            frame, dated = month.frames[table], LAYOUTS[table].dated
            if dated:
                frame = frame.assign(**{dated: str(month.as_of)})
            columns = ", ".join(frame.columns)
            marks = ", ".join("?" * len(frame.columns))
            query = f"INSERT OR REPLACE INTO {table} ({columns}) VALUES ({marks})"  # noqa: S608 - names of the layout
            connection.executemany(query, _plain(frame))


def _plain(frame: pd.DataFrame) -> list[tuple[Any, ...]]:
    """Rows of Python values, None where nothing is known."""
    columns = [
        [None if value != value else value for value in frame[name].tolist()]  # noqa: PLR0124 - NaN alone differs
        for name in frame.columns
    ]
    return list(zip(*columns, strict=True))


def _into_parquet(path: Path, as_of: date, frame: pd.DataFrame) -> None:
    """Replace a month of a feature file; one row group a month, in their order, as the sample is written."""
    before = pq.read_table(path)
    at = datetime.combine(as_of, datetime.min.time(), UTC)
    stamps = pa.scalar(at, before.schema.field("event_timestamp").type)
    rows = len(frame)
    values: dict[str, Any] = {"event_timestamp": [at] * rows, "created": [at + CREATED_AFTER] * rows}
    values |= {name: frame[name].tolist() for name in before.schema.names if name not in values}
    added = pa.Table.from_pydict(values, schema=before.schema)
    others = before.filter(pc.not_equal(before["event_timestamp"], stamps))
    months = sorted({*pc.unique(others["event_timestamp"]).to_pylist(), at})
    with pq.ParquetWriter(path, before.schema, compression="snappy") as writer:
        for month in months:
            part = (
                added
                if month == at
                else others.filter(pc.equal(others["event_timestamp"], pa.scalar(month, stamps.type)))
            )
            writer.write_table(part, row_group_size=max(1, len(part)))
