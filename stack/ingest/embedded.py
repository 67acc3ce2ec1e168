"""The embedded destination: checked months kept under ``<home>/ingested``, laid over the sample world.

The kept files are the truth and nothing but an ingest writes them. The world (SQLite and Parquet) is made from the
sample and them, whole, so it can be made again at any time (a newer version, a damaged file) without losing a month.
"""

import json
import sqlite3
from contextlib import closing
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, Final

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from stack.data import INGESTED, MONTH_FILE, ingested, locked, replaced
from stack.ingest.layout import AS_OF, FEATURE_FILES, ID, LABELS, LAYOUTS, PERIOD_START, SUBSCRIPTIONS, USERS
from stack.ingest.reading import UNLABELLED, Month, as_csv, read_month
from stack.world.build import ensure_world
from stack.world.store import CREATED_AFTER

VERSION: Final = 1


def put(home: Path, month: Month) -> tuple[Month, bool]:
    """Keep the month and make the world with it; (the month as kept, whether anything changed).

    Labels that came with an earlier folder of this month stay when this one has none.
    """
    with locked(home):
        target = home / INGESTED / str(month.as_of)
        known = {one["as_of"]: one for one in ingested(home)}.get(str(month.as_of))
        if known is not None and LABELS not in month.frames and known["labelled"]:
            month = _with_labels(month, read_month(target, month.as_of))
        changed = known is None or known["sha256"] != month.sha256
        if changed:
            target.parent.mkdir(exist_ok=True)
            with replaced(target) as folder:
                _keep(folder, month)
    ensure_world(home)
    return month, changed


def _with_labels(month: Month, before: Month) -> Month:
    labels = before.frames[LABELS]
    labels = labels[labels[ID].isin(month.frames[SUBSCRIPTIONS][ID])].reset_index(drop=True)
    note = f"no labels: the {len(labels):,} labels that this month has already stay"
    notes = (one for one in month.notes if one != UNLABELLED)
    return Month(month.as_of, {**month.frames, LABELS: labels}, (*notes, note))


def _keep(folder: Path, month: Month) -> None:
    for table, frame in month.frames.items():
        (folder / LAYOUTS[table].file).write_bytes(as_csv(frame))
    described = {
        "version": VERSION,
        "as_of": str(month.as_of),
        "rows": month.rows,
        "labelled": month.labelled,
        "sha256": month.sha256,
    }
    (folder / MONTH_FILE).write_text(json.dumps(described, indent=1) + "\n", "utf-8")


def lay_over(data: Path, home: Path) -> None:
    """Put the kept months into a world that is being made: ``data`` has streamflow.db and features/."""
    for known in ingested(home):
        month = read_month(home / INGESTED / known["as_of"], date.fromisoformat(known["as_of"]))
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
    known = pq.read_table(path)
    at = datetime.combine(as_of, datetime.min.time(), UTC)
    stamps = pa.scalar(at, known.schema.field("event_timestamp").type)
    rows = len(frame)
    values: dict[str, Any] = {"event_timestamp": [at] * rows, "created": [at + CREATED_AFTER] * rows}
    values |= {name: frame[name].tolist() for name in known.schema.names if name not in values}
    added = pa.Table.from_pydict(values, schema=known.schema)
    others = known.filter(pc.not_equal(known["event_timestamp"], stamps))
    months = sorted({*pc.unique(others["event_timestamp"]).to_pylist(), at})
    with pq.ParquetWriter(path, known.schema, compression="snappy") as writer:
        for month in months:
            part = (
                added
                if month == at
                else others.filter(pc.equal(others["event_timestamp"], pa.scalar(month, stamps.type)))
            )
            writer.write_table(part, row_group_size=max(1, len(part)))
