"""The months of a home's world as folders of CSV files: what a person who has the course's data has on disk."""

import sqlite3
from contextlib import closing
from datetime import UTC, date, datetime
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq

from stack.data import world_of
from stack.ingest.layout import AS_OF, FEATURE_FILES, LABELS, LAYOUTS, PERIOD_START, SUBSCRIPTIONS, USERS, Kind
from stack.ingest.reading import as_csv


def months(home: Path) -> list[date]:
    """The months of the world that is there, by date; WorldError without one."""
    return [date.fromisoformat(str(month["as_of"])) for month in world_of(home)["months"]]


def write(home: Path, as_of: date, folder: Path) -> None:
    """Write one month into a folder; without labels.csv where its churn is not known."""
    data = home / "world" / "streamflow"
    folder.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(f"{(data / 'streamflow.db').absolute().as_uri()}?mode=ro", uri=True)) as connection:
        for table, dated in ((USERS, ""), (SUBSCRIPTIONS, AS_OF), (LABELS, PERIOD_START)):
            layout = LAYOUTS[table]
            query = f"SELECT {', '.join(layout.names)} FROM {table}"  # noqa: S608 - names of the layout
            given = (str(as_of),) if dated else ()
            rows = connection.execute(f"{query} WHERE {dated} = ?" if dated else query, given).fetchall()
            frame = pd.DataFrame(rows, columns=list(layout.names))
            for column in layout.columns:
                if column.kind is Kind.FLAG:
                    frame[column.name] = frame[column.name].astype("bool")
            if table != LABELS or rows:
                (folder / layout.file).write_bytes(as_csv(frame))
    at = datetime.combine(as_of, datetime.min.time(), UTC)
    for table, stem in FEATURE_FILES.items():
        if table == SUBSCRIPTIONS:
            continue
        layout = LAYOUTS[table]
        columns = list(layout.names)
        rows_of = pq.read_table(
            data / "features" / f"{stem}.parquet", columns=columns, filters=[("event_timestamp", "=", at)]
        )
        (folder / layout.file).write_bytes(as_csv(rows_of.to_pandas()[columns]))
