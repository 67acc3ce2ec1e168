"""Periods in CSV and Parquet files: one file per period by a pattern, or one table split in two."""

from __future__ import annotations

import contextlib
import datetime as dt
import glob
import re
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final

from app.config import Drift, System
from app.errors import DataError, SourceUnavailable, UnknownPeriod, VigieError
from app.periods import coverage
from app.periods.coverage import Budget, Counts, unreadable

if TYPE_CHECKING:
    import pandas as pd

PLACEHOLDER: Final = "{period}"
KEY: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
# A folder of more files than this is not a folder of months.
MAX_FILES: Final = 2000
# One file is read into memory whole; beyond this the worker would be killed rather than answer.
MAX_BYTES: Final = 2_000_000_000

# A CSV is looked through in pieces of so many bytes; no row is longer.
BLOCK_BYTES: Final = 16_000_000
ROWS_HINT: Final = "Every row needs a value or an empty one for each column; a half-written file, wait for its end."
OTHER_MARKS: Final = {";": "semicolons", "\t": "tabs", "|": "bars"}
FORMATS: Final = "CSV (UTF-8) and Parquet are read."

# key, name, date, rows, labelled, note: the fields of a Period.
Row = tuple[str, str, dt.date | None, int | None, int | None, str]


def listing(system: System, *, labels: bool = True) -> list[Row]:
    """The periods of a `files` system. SourceUnavailable when nothing is there.

    Without `labels` no file is read for its label coverage.
    """
    drift = _drift(system)
    budget = Budget(coverage.READ_BYTES if labels else 0)
    if PLACEHOLDER in str(drift.path):
        return _one_each(drift, budget)
    path = _table(drift)
    if drift.window is None:
        return _two_sides(drift, path, budget)
    from app.periods import windows

    missing = f"{path.name} has no column {drift.label}" if drift.label else coverage.NO_LABEL
    return [
        (one.key, one.name, one.start.date(), one.rows, one.labelled, missing if one.labelled is None else "")
        for one in windows.windows(drift, path)
    ]


def _one_each(drift: Drift, budget: Budget) -> list[Row]:
    """One file, one period. What may be read is spent on the newest first: they are compared most."""
    rows: list[Row] = []
    for key, path in reversed(paths(drift).items()):
        counts = coverage.count(path, drift.label, budget)
        rows.append((key, key, _date(key), counts.rows, counts.labelled, counts.note))
    return rows[::-1]


def _two_sides(drift: Drift, path: Path, budget: Budget) -> list[Row]:
    """Both parts of a table that is split, counted as they are loaded: by the same cut, over the columns it needs."""
    keys = split_keys(drift)
    counts = _counted(drift, path, budget) or _cut(drift, path)
    return [
        (key, name, None, one.rows, one.labelled, one.note)
        for key, name, one in zip(keys, ("reference", "current"), counts, strict=True)
    ]


def _counted(drift: Drift, path: Path, budget: Budget) -> tuple[Counts, Counts] | None:
    """Both parts by reading time and label alone; None when that takes too long, or cannot be."""
    try:
        known = columns_of(path)
        wanted = [name for name in (drift.time, drift.label) if name and name in known] or known[:1]
        if not wanted or not budget.take(coverage.narrow_cost(path, wanted)):
            return None
        frame = read(path, columns=wanted)
        parts = [_part(frame, drift, key) for key in split_keys(drift)]
    except VigieError:
        return None
    except unreadable():
        # Loading says what is wrong with this table; the list of its parts can do without.
        return None
    first, second = (_labels_of(part, drift, path) for part in parts)
    return first, second


def _labels_of(part: pd.DataFrame, drift: Drift, path: Path) -> Counts:
    if not drift.label:
        return Counts(len(part), None, coverage.NO_LABEL)
    if drift.label not in part.columns:
        return Counts(len(part), None, f"{path.name} has no column {drift.label}")
    return Counts(len(part), int(part[drift.label].notna().sum()))


def _cut(drift: Drift, path: Path) -> tuple[Counts, Counts]:
    """What is known of both parts without reading more than the number of rows."""
    if drift.split is None:
        note = f"rows are counted when the table is split at {drift.split_at}"
        return Counts(None, None, note), Counts(None, None, note)
    whole = coverage.count(path, None, Budget(0))
    if whole.rows is None:
        return whole, whole
    note = coverage.LABELS_LATER if drift.label else coverage.NO_LABEL
    cut = cut_row(whole.rows, drift.split)
    return Counts(cut, None, note), Counts(whole.rows - cut, None, note)


def paths(drift: Drift) -> dict[str, Path]:
    """The files behind `{period}` by key, in order."""
    pattern = str(drift.path)
    known = glob.glob(glob.escape(pattern).replace(glob.escape(PLACEHOLDER), "*"))  # noqa: PTH207 - pattern is text
    expression = re.escape(pattern).replace(re.escape(PLACEHOLDER), "(?P<period>[^/]+)", 1)
    expression = expression.replace(re.escape(PLACEHOLDER), "(?P=period)")
    found = {}
    for name in sorted(known)[: MAX_FILES + 1]:
        match = re.fullmatch(expression, name)
        if match is not None and KEY.fullmatch(match["period"]):
            found[match["period"]] = Path(name)
    if not found:
        raise SourceUnavailable(
            f"No file matches {pattern}.", hint="One file per month, with the month's name or date for {period}."
        )
    if len(found) > MAX_FILES:
        raise DataError(f"More than {MAX_FILES:,} files match {pattern}.", hint="Narrow the pattern.")
    return found


def split_keys(drift: Drift) -> tuple[str, str]:
    """The keys of the fixed pair: `rows-000-070` and `rows-070-100`, or `before-DATE` and `from-DATE`."""
    if drift.split is not None:
        middle = f"{round(drift.split * 100):03d}"
        return f"rows-000-{middle}", f"rows-{middle}-100"
    moment = re.sub(r"[^A-Za-z0-9._-]", "-", str(drift.split_at))[:50]
    return f"before-{moment}", f"from-{moment}"


def cut_row(rows: int, split: float) -> int:
    """How many rows come before the cut; a share that is a whole number of rows stays one (0.7 of 10 is 7)."""
    return int(rows * split + 1e-9)


def columns_of(path: Path) -> list[str]:
    """The names of a file's columns, without its rows. SourceUnavailable in words."""
    if path.suffix == ".parquet" and path.is_file():
        import pyarrow.parquet as pq

        try:
            return [str(name) for name in pq.ParquetFile(path).schema_arrow.names]
        except unreadable() as error:
            raise SourceUnavailable(
                f"{path} cannot be read ({type(error).__name__}).", hint="Make it again."
            ) from error
    return [str(name) for name in read(path, rows=0).columns]


def read(path: Path, *, rows: int | None = None, columns: list[str] | None = None) -> pd.DataFrame:
    """A CSV or Parquet file as a frame, whole or some of its columns. SourceUnavailable in words."""
    import pandas as pd

    if path.exists() and not path.is_file():
        # A pipe would be waited for, a device read without end, a folder taken for a table with all that lies in it.
        raise SourceUnavailable(f"{path} is no regular file.", hint=FORMATS)
    if path.is_file() and path.stat().st_size > MAX_BYTES:
        raise DataError(f"{path} has more than {MAX_BYTES:,} bytes.", hint="Use a database source for such tables.")
    try:
        if path.suffix == ".parquet":
            frame = pd.read_parquet(path, columns=columns)
            return frame if rows is None else frame.head(rows)
        if rows is None:
            _every_row_under_its_header(path)
        frame = csv(path, nrows=rows, usecols=columns)
        return frame if columns is not None else _under_its_header(frame, path)
    except pd.errors.EmptyDataError as error:
        raise SourceUnavailable(f"{path} is empty.", hint="A file needs a line of column names at least.") from error
    except FileNotFoundError as error:
        raise SourceUnavailable(f"There is no file {path}.", hint="Correct drift.path in the system file.") from error
    except MemoryError as error:
        raise SourceUnavailable(
            f"{path} does not fit into the memory that is free.", hint="Take fewer rows."
        ) from error
    except unreadable() as error:
        said = " ".join(str(error).split())[:200]
        raise SourceUnavailable(f"{path} cannot be read: {said}.", hint=FORMATS) from error


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
            raise SourceUnavailable(
                f"{label or path}: its rows have more values than columns.", hint=ROWS_HINT
            ) from error
    return frame


def _every_row_under_its_header(path: Path) -> None:
    """SourceUnavailable for the first row with more or fewer values than the first line has columns.

    pandas drops what is too much, or shifts it, and takes `1362,46665.99,7` for a row with little in it.
    """
    import pyarrow as pa
    import pyarrow.csv as arrow

    header = _header(path)
    if len(header) == 1 and (mark := next((words for mark, words in OTHER_MARKS.items() if mark in header[0]), "")):
        raise SourceUnavailable(f"{path}: its columns are separated by {mark}.", hint="Save it with commas.")
    rows: list[arrow.InvalidRow] = []

    def handler(row: arrow.InvalidRow) -> str:
        # A line of blanks is no row, to pandas either.
        if not row.text.strip():
            return "skip"
        rows.append(row)
        return "error"

    reading = arrow.ReadOptions(use_threads=False, block_size=BLOCK_BYTES, autogenerate_column_names=True)
    parsing = arrow.ParseOptions(newlines_in_values=True, invalid_row_handler=handler)
    # One column is converted, as it stands; what else is wrong with the file pandas says in its own words.
    converting = arrow.ConvertOptions(include_columns=["f0"], column_types={"f0": pa.binary()}, check_utf8=False)
    with contextlib.suppress(pa.ArrowInvalid):
        for _ in arrow.open_csv(path, reading, parsing, converting):
            pass
    if rows:
        have, columns = rows[0].actual_columns, rows[0].expected_columns
        message = f"{path}: row {rows[0].number - 1} has {have} of {columns} values."
        if have > columns:
            message = f"{path}: row {rows[0].number - 1} has {have} values, for {columns} columns."
        raise SourceUnavailable(message, hint=ROWS_HINT)


def _header(path: Path) -> list[str]:
    """The names in the first line, as they stand there."""
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


def rows_of(system: System, key: str) -> pd.DataFrame:
    """The rows of one period."""
    drift = _drift(system)
    if PLACEHOLDER in str(drift.path):
        known = paths(drift)
        if key not in known:
            raise UnknownPeriod(f"There is no file for {key!r}.", hint=f"There are {', '.join(list(known)[:6])}.")
        return read(known[key])
    if drift.window is not None:
        from app.periods import windows

        return windows.rows_of(drift, _table(drift), key)
    if key not in split_keys(drift):
        raise UnknownPeriod(f"There is no period {key!r}.", hint=f"There are {' and '.join(split_keys(drift))}.")
    return _part(read(_table(drift)), drift, key)


def _part(frame: pd.DataFrame, drift: Drift, key: str) -> pd.DataFrame:
    """The rows of one side of a table that is split; of its columns, those that decide the cut are needed."""
    before = key == split_keys(drift)[0]
    if drift.split is None:
        return _split_at(frame, drift, before=before)
    if drift.time is not None:
        frame = by_time(frame, drift).sort_values(drift.time, kind="stable")
    cut = cut_row(len(frame), drift.split)
    return frame.iloc[:cut] if before else frame.iloc[cut:]


def _split_at(frame: pd.DataFrame, drift: Drift, *, before: bool) -> pd.DataFrame:
    import pandas as pd

    if drift.time is None:
        raise DataError("split_at needs `time`, the column to split by.", hint='Add time = "…" to [drift].')
    timed = by_time(frame, drift)
    try:
        moment = pd.Timestamp(str(drift.split_at))
        moment = moment.tz_localize("UTC") if moment.tzinfo is None else moment.tz_convert("UTC")
    except ValueError as error:
        raise DataError(f"split_at = {drift.split_at!r} is no date.", hint="Write it as 2024-01-31.") from error
    return timed[timed[drift.time] < moment] if before else timed[timed[drift.time] >= moment]


def by_time(frame: pd.DataFrame, drift: Drift) -> pd.DataFrame:
    """The frame with its time column as UTC times; rows without a time are an error, not a guess."""
    import pandas as pd

    if drift.time not in frame.columns:
        raise DataError(f"{drift.path} has no column {drift.time!r}.", hint="Correct `time` in [drift].")
    _once(frame, str(drift.time), drift)
    try:
        times = pd.to_datetime(frame[drift.time], utc=True)
    except (ValueError, TypeError) as error:
        raise DataError(f"Column {drift.time!r} does not hold dates only.", hint="Write them as 2024-01-31.") from error
    if times.isna().any():
        raise DataError(
            f"{int(times.isna().sum()):,} rows of {drift.path} have no {drift.time}.", hint="Which side are they on?"
        )
    return frame.assign(**{str(drift.time): times})


def identifiers(system: System, key: str, limit: int) -> list[str]:
    """Identifiers of one period, at most `limit`."""
    drift = _drift(system)
    pattern = PLACEHOLDER in str(drift.path)
    frame = read(paths(drift)[key], rows=limit) if pattern else rows_of(system, key).head(limit)
    if drift.identifier not in frame.columns:
        raise DataError(f"{drift.path} has no column {drift.identifier!r}.", hint="Correct `identifier` in [drift].")
    _once(frame, str(drift.identifier), drift)
    return [str(value) for value in frame[drift.identifier].dropna()]


def _once(frame: pd.DataFrame, name: str, drift: Drift) -> None:
    if list(frame.columns).count(name) > 1:
        raise DataError(f"{drift.path} has two columns {name!r}.", hint="Rename one of them.")


def _date(key: str) -> dt.date | None:
    try:
        return dt.date.fromisoformat(key)
    except ValueError:
        return None


def _table(drift: Drift) -> Path:
    path = Path(str(drift.path))
    if not path.is_file():
        raise SourceUnavailable(f"There is no file {path}.", hint="Correct drift.path in the system file.")
    return path


def _drift(system: System) -> Any:
    if system.drift is None:
        raise DataError(f"{system.title} has no [drift].", hint="Add it to the system file.")
    return system.drift
