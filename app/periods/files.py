"""Periods in CSV and Parquet files: one file per period by a pattern, or one table split in two."""

from __future__ import annotations

import datetime as dt
import glob
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from app.config import Drift, System
from app.errors import DataError, SourceUnavailable, UnknownPeriod

if TYPE_CHECKING:
    import pandas as pd

PLACEHOLDER: Final = "{period}"
KEY: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
# Reading a larger CSV only to count its rows would hold the page.
COUNT_BYTES: Final = 20_000_000
# A folder of more files than this is not a folder of months.
MAX_FILES: Final = 2000
# One file is read into memory whole; beyond this the worker would be killed rather than answer.
MAX_BYTES: Final = 2_000_000_000

# key, name, date, rows, labelled, note: the fields of a Period.
Row = tuple[str, str, dt.date | None, int | None, int | None, str]


def listing(system: System) -> list[Row]:
    """The periods of a `files` system. SourceUnavailable when nothing is there."""
    drift = _drift(system)
    if PLACEHOLDER in str(drift.path):
        return [_row(key, path) for key, path in paths(drift).items()]
    path = _table(drift)
    if drift.split is not None:
        first, second = split_keys(drift)
        rows, note = count_rows(path)
        cut = None if rows is None else cut_row(rows, drift.split)
        rest = None if rows is None or cut is None else rows - cut
        return [(first, "reference", None, cut, None, note), (second, "current", None, rest, None, note)]
    if drift.split_at is not None:
        note = f"rows are counted when the table is split at {drift.split_at}"
        first, second = split_keys(drift)
        return [(first, "reference", None, None, None, note), (second, "current", None, None, None, note)]
    from app.periods import windows

    note = "labels are counted when it is loaded"
    return [(one.key, one.name, one.start.date(), one.rows, None, note) for one in windows.windows(drift, path)]


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


def count_rows(path: Path) -> tuple[int | None, str]:
    """Rows of a file without reading it into memory; None and the reason when that would take too long."""
    try:
        if path.suffix == ".parquet":
            import pyarrow.parquet as pq

            return int(pq.ParquetFile(path).metadata.num_rows), ""
        size = path.stat().st_size
        if path.suffix == ".gz" or size > COUNT_BYTES:
            return None, "rows are counted when the file is loaded"
        text = path.read_bytes()
        if b'"' in text:
            # A quoted cell may hold line ends.
            return None, "rows are counted when the file is loaded"
        return max(text.count(b"\n") + (not text.endswith(b"\n")) - 1, 0) if text else 0, ""
    except (OSError, ValueError, ImportError) as error:
        return None, f"{path.name} cannot be read ({type(error).__name__})"


def read(path: Path, *, rows: int | None = None, columns: list[str] | None = None) -> pd.DataFrame:
    """A CSV or Parquet file as a frame, whole or some of its columns. SourceUnavailable in words."""
    import pandas as pd

    if path.is_file() and path.stat().st_size > MAX_BYTES:
        raise DataError(f"{path} has more than {MAX_BYTES:,} bytes.", hint="Use a database source for such tables.")
    try:
        if path.suffix == ".parquet":
            frame = pd.read_parquet(path, columns=columns)
            return frame if rows is None else frame.head(rows)
        return pd.read_csv(path, nrows=rows, usecols=columns)
    except pd.errors.EmptyDataError as error:
        raise SourceUnavailable(f"{path} is empty.", hint="A file needs a line of column names at least.") from error
    except FileNotFoundError as error:
        raise SourceUnavailable(f"There is no file {path}.", hint="Correct drift.path in the system file.") from error
    except (OSError, ValueError, ImportError, MemoryError) as error:
        # pandas' and pyarrow's parse errors are ValueErrors.
        said = " ".join(str(error).split())[:200]
        raise SourceUnavailable(f"{path} cannot be read: {said}.", hint="CSV (UTF-8) and Parquet are read.") from error


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
    frame = read(_table(drift))
    first, second = split_keys(drift)
    if key not in (first, second):
        raise UnknownPeriod(f"There is no period {key!r}.", hint=f"There are {first} and {second}.")
    if drift.split is not None:
        if drift.time is not None:
            frame = by_time(frame, drift).sort_values(drift.time, kind="stable")
        cut = cut_row(len(frame), drift.split)
        return frame.iloc[:cut] if key == first else frame.iloc[cut:]
    return _split_at(frame, drift, before=key == first)


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
    return [str(value) for value in frame[drift.identifier].dropna()]


def _row(key: str, path: Path) -> Row:
    rows, note = count_rows(path)
    try:
        date: dt.date | None = dt.date.fromisoformat(key)
    except ValueError:
        date = None
    return key, key, date, rows, None, note


def _table(drift: Drift) -> Path:
    path = Path(str(drift.path))
    if not path.is_file():
        raise SourceUnavailable(f"There is no file {path}.", hint="Correct drift.path in the system file.")
    return path


def _drift(system: System) -> Any:
    if system.drift is None:
        raise DataError(f"{system.title} has no [drift].", hint="Add it to the system file.")
    return system.drift
