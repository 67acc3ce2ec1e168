"""Rows and labels of a file for the list of months: from Parquet's own statistics, or the label's column alone.

A user waits for the list of months: a count that would take longer than a moment is unknown, with the reason.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from app.periods.model import LABELS_LATER, LATER, NO_LABEL, no_column
from app.words.message import t

if TYPE_CHECKING:
    import pandas as pd

# pandas reads one column of so many bytes of CSV in about a fifth of a second, the most that a list of months may take.
READ_BYTES: Final = 20_000_000
# A compressed CSV is about a tenth of what has to be read.
PACKED: Final = 10
# Counting the line ends of a larger CSV would delay the page as well.
COUNT_BYTES: Final = 20_000_000
# Two sources of a few dozen months each, so that a rerun of a page reads nothing.
KEPT_FILES: Final = 256


@dataclass(frozen=True, slots=True)
class Counts:
    """Rows, and rows with a label. None is not known, and `note` says why."""

    rows: int | None
    labelled: int | None
    note: str = ""


@dataclass(slots=True)
class Budget:
    """What one list of months may read, in bytes."""

    left: int = READ_BYTES

    def take(self, size: int) -> bool:
        """Whether so many bytes may still be read; if so, they are counted."""
        if size > self.left:
            return False
        self.left -= size
        return True


def count(path: Path, label: str | None, budget: Budget) -> Counts:
    """Rows and labels of one file, as the loader would find them. Never raises: what fails is a note."""
    try:
        if not path.is_file():
            return Counts(None, None, t("{file} is no regular file", file=path.name))
        size = path.stat().st_size
        if path.suffix == ".parquet":
            return _parquet(path, label, budget)
        if budget.take(cost(path, size)):
            return _csv(str(path), label, path.stat().st_mtime_ns, size)
        rows = _lines(path, size)
        note = LATER if rows is None else LABELS_LATER if label else NO_LABEL
        return Counts(rows, None, note)
    except unreadable() as error:
        return Counts(None, None, t("{file} cannot be read ({error})", file=path.name, error=type(error).__name__))


def unreadable() -> tuple[type[Exception], ...]:
    """What pandas and pyarrow raise for a file that cannot be read; a damaged Parquet file has faults of any kind."""
    import pyarrow as pa

    # pandas believes what the file says of its index and types.
    return OSError, ValueError, ImportError, LookupError, TypeError, AttributeError, RuntimeError, pa.ArrowException


def cost(path: Path, size: int) -> int:
    """Bytes to go through in order to read one column of a CSV."""
    return size * PACKED if path.suffix == ".gz" else size


def narrow_cost(path: Path, columns: list[str]) -> int:
    """Bytes to go through in order to read these columns of a CSV or Parquet file."""
    if path.suffix != ".parquet":
        return cost(path, path.stat().st_size)
    import pyarrow.parquet as pq

    meta = pq.ParquetFile(path).metadata
    return sum(_size(meta, index) for index in range(meta.num_columns) if meta.schema.column(index).path in columns)


def _size(meta: Any, index: int) -> int:
    return sum(int(meta.row_group(group).column(index).total_uncompressed_size) for group in range(meta.num_row_groups))


def _parquet(path: Path, label: str | None, budget: Budget) -> Counts:
    import pyarrow.parquet as pq

    file = pq.ParquetFile(path)
    meta = file.metadata
    rows = int(meta.num_rows)
    if not label:
        return Counts(rows, None, NO_LABEL)
    leaves = [index for index in range(meta.num_columns) if meta.schema.column(index).path == label]
    if not leaves:
        nested = label in file.schema_arrow.names
        return Counts(rows, None, LABELS_LATER if nested else no_column(path.name, label))
    # The file's statistics count nulls; a NaN, which is no label either, is a number to them.
    fractional = meta.schema.column(leaves[0]).physical_type in {"FLOAT", "DOUBLE"}
    nulls = [_nulls(meta.row_group(group).column(leaves[0])) for group in range(meta.num_row_groups)]
    if not fractional and None not in nulls and len(leaves) == 1:
        return Counts(rows, rows - sum(missing for missing in nulls if missing is not None))
    if len(leaves) > 1 or not budget.take(_size(meta, leaves[0])):
        return Counts(rows, None, LABELS_LATER)
    return Counts(rows, int(file.read([label]).to_pandas()[label].notna().sum()))


def _nulls(column: Any) -> int | None:
    statistics = column.statistics
    return int(statistics.null_count) if statistics is not None and statistics.has_null_count else None


@lru_cache(maxsize=KEPT_FILES)
def _csv(path: str, label: str | None, _changed: int, _size: int) -> Counts:
    """Rows and labels of a CSV, read as the loader reads it, but one column of it."""
    import pandas as pd

    try:
        header = list(pd.read_csv(path, nrows=0, index_col=False).columns)
    except pd.errors.EmptyDataError:
        return Counts(0, None, t("the file is empty"))
    named = label is not None and label in header
    column: Any = [label] if named else [0]
    # Without index_col=False a comma at the end of each row would make the first column row names.
    data: pd.DataFrame = pd.read_csv(path, usecols=column, index_col=False)
    if named:
        return Counts(len(data), int(data[label].notna().sum()))
    return Counts(len(data), None, no_column(Path(path).name, label) if label else NO_LABEL)


def _lines(path: Path, size: int) -> int | None:
    """Rows of a CSV by its line ends; None where a cell may hold one, or that would take too long."""
    if path.suffix == ".gz" or size > COUNT_BYTES:
        return None
    text = path.read_bytes()
    if b'"' in text or b"\n\n" in text or b"\n\r\n" in text:
        return None
    return max(text.count(b"\n") + (not text.endswith(b"\n")) - 1, 0)
