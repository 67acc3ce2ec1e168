"""CSV and Parquet files as tables: every row under its header, and what is wrong with a file as a sentence."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final

from app.errors import DataError, SourceUnavailable
from app.periods.coverage import unreadable
from app.words.message import t, tn

if TYPE_CHECKING:
    import pandas as pd

# One file is read into memory whole; beyond this the worker would be killed rather than answer.
MAX_BYTES: Final = 2_000_000_000

# A CSV is looked through in pieces of so many bytes; no row is longer.
BLOCK_BYTES: Final = 16_000_000
ROWS_HINT: Final = t("Every row needs a value or an empty one for each column; a half-written file, wait for its end.")
OTHER_MARKS: Final = {";": t("semicolons"), "\t": t("tabs"), "|": t("bars")}
FORMATS: Final = t("CSV (UTF-8) and Parquet are read.")


def columns_of(path: Path) -> list[str]:
    """The names of a file's columns, without its rows. Raises SourceUnavailable."""
    if path.suffix == ".parquet" and path.is_file():
        import pyarrow.parquet as pq

        try:
            return [str(name) for name in pq.ParquetFile(path).schema_arrow.names]
        except unreadable() as error:
            message = t("{file} cannot be read ({error}).", file=path, error=type(error).__name__)
            raise SourceUnavailable(message, hint=t("Make it again.")) from error
    return [str(name) for name in read(path, rows=0).columns]


def read(path: Path, *, rows: int | None = None, columns: list[str] | None = None) -> pd.DataFrame:
    """A CSV or Parquet file as a frame, whole or some of its columns. Raises SourceUnavailable or DataError."""
    import pandas as pd

    if path.exists() and not path.is_file():
        # A pipe would block, a device has no end, and a folder would be read as one table of all its files.
        raise SourceUnavailable(t("{file} is no regular file.", file=path), hint=FORMATS)
    if path.is_file() and path.stat().st_size > MAX_BYTES:
        message = t("{file} has more than {most:count} bytes.", file=path, most=MAX_BYTES)
        raise DataError(message, hint=t("Use a database source for such tables."))
    try:
        if path.suffix == ".parquet":
            frame = pd.read_parquet(path, columns=columns)
            return frame if rows is None else frame.head(rows)
        if rows is None:
            _every_row_under_its_header(path)
        frame = csv(path, nrows=rows, usecols=columns)
        return frame if columns is not None else _under_its_header(frame, path)
    except pd.errors.EmptyDataError as error:
        hint = t("A file needs a line of column names at least.")
        raise SourceUnavailable(t("{file} is empty.", file=path), hint=hint) from error
    except FileNotFoundError as error:
        raise no_file(path) from error
    except MemoryError as error:
        message = t("{file} does not fit into the memory that is free.", file=path)
        raise SourceUnavailable(message, hint=t("Take fewer rows.")) from error
    except unreadable() as error:
        cause = " ".join(str(error).split())[:200]
        raise SourceUnavailable(t("{file} cannot be read: {why}.", file=path, why=cause), hint=FORMATS) from error


def no_file(path: Path) -> SourceUnavailable:
    """What a wrong `path` of a system file gives."""
    return SourceUnavailable(t("There is no file {file}.", file=path), hint=t("Correct drift.path in the system file."))


def csv(path: Path | IO[bytes], *, label: str = "", **options: Any) -> pd.DataFrame:
    """`pandas.read_csv` that never takes the first column for row names, which shifts all others by one.

    `label` is what an error calls it, in place of the path. Raises SourceUnavailable where its first rows have more
    values than there are columns.
    """
    import warnings

    import pandas as pd

    with warnings.catch_warnings():
        warnings.simplefilter("error", pd.errors.ParserWarning)
        try:
            frame: pd.DataFrame = pd.read_csv(path, index_col=False, **options)
        except pd.errors.ParserWarning as error:
            message = t("{file}: its rows have more values than columns.", file=label or path)
            raise SourceUnavailable(message, hint=ROWS_HINT) from error
    return frame


def _every_row_under_its_header(path: Path) -> None:
    """SourceUnavailable for the first row with more or fewer values than the first line has columns.

    pandas drops what is too much, or shifts it, and takes `1362,46665.99,7` for a row with little in it.
    """
    import pyarrow as pa
    import pyarrow.csv as arrow

    header = _header(path)
    if len(header) == 1 and (mark := next((words for mark, words in OTHER_MARKS.items() if mark in header[0]), "")):
        message = t("{file}: its columns are separated by {marks}.", file=path, marks=mark)
        raise SourceUnavailable(message, hint=t("Save it with commas."))
    rows: list[arrow.InvalidRow] = []

    def handler(row: arrow.InvalidRow) -> str:
        # A line of blanks is no row, to pandas either.
        if not row.text.strip():
            return "skip"
        rows.append(row)
        return "error"

    reading = arrow.ReadOptions(use_threads=False, block_size=BLOCK_BYTES, autogenerate_column_names=True)
    parsing = arrow.ParseOptions(newlines_in_values=True, invalid_row_handler=handler)
    # One column is converted, to bytes; pandas reports what else is wrong with the file.
    converting = arrow.ConvertOptions(include_columns=["f0"], column_types={"f0": pa.binary()}, check_utf8=False)
    with contextlib.suppress(pa.ArrowInvalid):
        for _ in arrow.open_csv(path, reading, parsing, converting):
            pass
    if rows:
        values, columns = rows[0].actual_columns, rows[0].expected_columns
        facts = {"file": path, "row": rows[0].number - 1, "values": values, "columns": columns}
        message = t("{file}: row {row} has {values} of {columns} values.", **facts)
        if values > columns:
            message = t("{file}: row {row} has {values} values, for {columns} columns.", **facts)
        raise SourceUnavailable(message, hint=ROWS_HINT)


def _header(path: Path) -> list[str]:
    """The names in the first line, unchanged."""
    import pandas as pd

    line = pd.read_csv(path, header=None, nrows=1, dtype=str, keep_default_na=False, index_col=False)
    return [str(name) for name in line.iloc[0]]


def _under_its_header(frame: pd.DataFrame, path: Path) -> pd.DataFrame:
    """The frame with two columns of one name where the file has them: pandas calls the second `plan.1`.

    A last column without name and values is a comma at the end of every line, and no column.
    """
    written = _header(path)
    if len(written) != len(frame.columns):
        return frame
    if not written[-1] and len(written) > 1 and not frame.iloc[:, -1].notna().any():
        frame, written = frame.iloc[:, :-1], written[:-1]
    # A column without a name keeps the one that pandas gives it.
    names = [name or given for name, given in zip(written, frame.columns, strict=True)]
    return frame.set_axis(names, axis=1)


def by_time(frame: pd.DataFrame, time: str, path: str) -> pd.DataFrame:
    """The frame with its time column as UTC times; rows without a time are an error, not a guess."""
    import pandas as pd

    if time not in frame.columns:
        message = t("{table} has no column {column!r}.", table=path, column=time)
        raise DataError(message, hint=t("Correct `time` in [drift]."))
    once(frame, time, path)
    try:
        times = pd.to_datetime(frame[time], utc=True)
    except (ValueError, TypeError) as error:
        message = t("Column {column!r} does not hold dates only.", column=time)
        raise DataError(message, hint=t("Write them as 2024-01-31.")) from error
    if timeless := int(times.isna().sum()):
        message = tn(
            "{n:count} row of {table} has no {column}.",
            "{n:count} rows of {table} have no {column}.",
            timeless,
            table=path,
            column=time,
        )
        raise DataError(message, hint=t("Which side are they on?"))
    return frame.assign(**{time: times})


def once(frame: pd.DataFrame, name: str, path: str) -> None:
    """DataError for a table that has a column twice."""
    if list(frame.columns).count(name) > 1:
        raise DataError(
            t("{table} has two columns {column!r}.", table=path, column=name), hint=t("Rename one of them.")
        )
