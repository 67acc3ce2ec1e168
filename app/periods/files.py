"""Periods in CSV and Parquet files: one file per period by a pattern, or one table split in two or cut into windows."""

from __future__ import annotations

import glob
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Literal

from pydantic import Field as Key
from pydantic import model_validator

from app.config import Settings
from app.config.drift import PERIOD_KEY
from app.errors import DataError, SourceUnavailable, UnknownPeriod, VigieError
from app.periods import coverage, tables, windows
from app.periods.coverage import Budget, Counts, unreadable
from app.periods.model import (
    LABELS_LATER,
    NO_LABEL,
    Frame,
    Period,
    PeriodSource,
    date_of,
    labelled,
    no_column,
    numbered,
)
from app.words.message import listed, t

if TYPE_CHECKING:
    import pandas as pd

PLACEHOLDER: Final = "{period}"
# A folder of more files than this is not a folder of months.
MAX_FILES: Final = 2000
TWO_SIDES: Final = ("reference", "current")


class Files(PeriodSource):
    """`path` with `{period}`, or one table with `split` (share of rows), `split_at` (a date) or `window` (length).

    `split_at` and `window` go by the column `time`; rolling windows are the last 7d against the 7 before.
    """

    source: Literal["files"] = "files"
    path: str
    split: Annotated[float, Key(gt=0, lt=1)] | None = None
    split_at: str | None = None
    window: Annotated[str, Key(pattern=r"^[0-9]+[dh]$")] | None = None

    @model_validator(mode="after")
    def _complete(self) -> Files:
        if PLACEHOLDER not in self.path and not (self.split or self.split_at or self.window):
            raise ValueError(t("source = 'files' needs `{period}` in `path`, or one of `split`, `split_at`, `window`"))
        if self.window and not self.time:
            raise ValueError(t("`window` needs `time`, the column that says when a row happened"))
        return self

    @property
    def rolling(self) -> bool:
        """True for windows."""
        return self.window is not None

    def list_periods(self, settings: Settings, *, labels: bool = True) -> list[Period]:
        """One period a file, the two sides of a table, or its windows."""
        del settings
        budget = Budget(coverage.READ_BYTES if labels else 0)
        if PLACEHOLDER in self.path:
            return self._one_each(budget)
        path = self._table()
        if self.window is None:
            counts = self._counted(path, budget) or self._cut(path)
            return [
                Period(key, name, None, side.rows, side.labelled, side.note)
                for key, name, side in zip(split_keys(self), TWO_SIDES, counts, strict=True)
            ]
        missing = no_column(path.name, self.label) if self.label else NO_LABEL
        return [
            Period(one.key, one.name, one.start.date(), one.rows, one.labelled, missing if one.labelled is None else "")
            for one in windows.windows(path, str(self.time), self.window, self.label)
        ]

    def list_ids(self, settings: Settings, period: Period, limit: int) -> list[str]:
        """In the order of the file."""
        del settings
        if PLACEHOLDER in self.path:
            frame = tables.read(paths(self.path)[period.key], rows=limit)
        else:
            frame = self.rows_of(period.key).head(limit)
        if self.identifier not in frame.columns:
            message = t("{table} has no column {column!r}.", table=self.path, column=self.identifier)
            raise DataError(message, hint=t("Correct `identifier` in [drift]."))
        tables.once(frame, str(self.identifier), self.path)
        return [str(value) for value in frame[self.identifier].dropna()]

    def load(self, settings: Settings, period: Period) -> Frame:
        """The file of this period, or its part of the table."""
        del settings
        return labelled(self.rows_of(period.key), self.label, period)

    def origin(self, settings: Settings) -> tuple[str, ...]:
        """The path without links; a pattern stays in it."""
        del settings
        return (os.path.realpath(Path(self.path).expanduser()),)

    def rows_of(self, key: str) -> pd.DataFrame:
        """The rows of one period. UnknownPeriod names those that exist."""
        if PLACEHOLDER in self.path:
            files = paths(self.path)
            if key not in files:
                hint = t("There are {names}.", names=", ".join(list(files)[:6]))
                raise UnknownPeriod(t("There is no file for {key!r}.", key=key), hint=hint)
            return tables.read(files[key])
        if self.window is not None:
            return windows.rows_of(self._table(), str(self.time), self.window, key)
        keys = split_keys(self)
        if key not in keys:
            raise UnknownPeriod(
                t("There is no period {key!r}.", key=key), hint=t("There are {names}.", names=listed(keys))
            )
        return self._sides(tables.read(self._table()))[keys.index(key)]

    def _one_each(self, budget: Budget) -> list[Period]:
        """One file, one period. What may be read is spent on the newest first: they are compared most."""
        periods = []
        for key, path in reversed(paths(self.path).items()):
            counts = coverage.count(path, self.label, budget)
            periods.append(Period(key, key, date_of(key), counts.rows, counts.labelled, counts.note))
        return numbered(periods)

    def _counted(self, path: Path, budget: Budget) -> tuple[Counts, Counts] | None:
        """Both sides by reading time and label alone; None when that takes too long, or cannot be done."""
        try:
            columns = tables.columns_of(path)
            needed = [name for name in (self.time, self.label) if name and name in columns] or columns[:1]
            if not needed or not budget.take(coverage.narrow_cost(path, needed)):
                return None
            before, after = self._sides(tables.read(path, columns=needed))
        except VigieError:
            return None
        except unreadable():
            # Loading says what is wrong with this table; the list of its parts can do without.
            return None
        return self._labels_in(before, path), self._labels_in(after, path)

    def _labels_in(self, part: pd.DataFrame, path: Path) -> Counts:
        if not self.label:
            return Counts(len(part), None, NO_LABEL)
        if self.label not in part.columns:
            return Counts(len(part), None, no_column(path.name, self.label))
        return Counts(len(part), int(part[self.label].notna().sum()))

    def _cut(self, path: Path) -> tuple[Counts, Counts]:
        """What is known of both sides without reading more than the number of rows."""
        if self.split is None:
            note = t("rows are counted when the table is split at {moment}", moment=self.split_at)
            return Counts(None, None, note), Counts(None, None, note)
        whole = coverage.count(path, None, Budget(0))
        if whole.rows is None:
            return whole, whole
        note = LABELS_LATER if self.label else NO_LABEL
        cut = cut_row(whole.rows, self.split)
        return Counts(cut, None, note), Counts(whole.rows - cut, None, note)

    def _sides(self, frame: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Both sides of a table that is split; of its columns, those that decide the cut are needed."""
        if self.split is None:
            return self._split_at(frame)
        if self.time is not None:
            frame = tables.by_time(frame, self.time, self.path).sort_values(self.time, kind="stable")
        cut = cut_row(len(frame), self.split)
        return frame.iloc[:cut], frame.iloc[cut:]

    def _split_at(self, frame: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
        import pandas as pd

        if self.time is None:
            raise DataError(t("split_at needs `time`, the column to split by."), hint=t('Add time = "…" to [drift].'))
        timed = tables.by_time(frame, self.time, self.path)
        try:
            moment = pd.Timestamp(str(self.split_at))
            moment = moment.tz_localize("UTC") if moment.tzinfo is None else moment.tz_convert("UTC")
        except ValueError as error:
            message = t("split_at = {moment!r} is no date.", moment=self.split_at)
            raise DataError(message, hint=t("Write it as 2024-01-31.")) from error
        return timed[timed[self.time] < moment], timed[timed[self.time] >= moment]

    def _table(self) -> Path:
        path = Path(self.path)
        if not path.is_file():
            raise tables.no_file(path)
        return path


def paths(pattern: str) -> dict[str, Path]:
    """The files behind `{period}` by key, in order."""
    names = glob.glob(glob.escape(pattern).replace(glob.escape(PLACEHOLDER), "*"))  # noqa: PTH207 - pattern is text
    expression = re.escape(pattern).replace(re.escape(PLACEHOLDER), "(?P<period>[^/]+)", 1)
    expression = expression.replace(re.escape(PLACEHOLDER), "(?P=period)")
    files = {}
    for name in sorted(names)[: MAX_FILES + 1]:
        match = re.fullmatch(expression, name)
        if match is not None and PERIOD_KEY.fullmatch(match["period"]):
            files[match["period"]] = Path(name)
    if not files:
        raise SourceUnavailable(
            t("No file matches {pattern}.", pattern=pattern),
            hint=t("One file per month, with the month's name or date for {period}."),
        )
    if len(files) > MAX_FILES:
        message = t("More than {most:count} files match {pattern}.", most=MAX_FILES, pattern=pattern)
        raise DataError(message, hint=t("Narrow the pattern."))
    return files


def split_keys(drift: Files) -> tuple[str, str]:
    """The keys of the fixed pair: `rows-000-070` and `rows-070-100`, or `before-DATE` and `from-DATE`."""
    if drift.split is not None:
        middle = f"{round(drift.split * 100):03d}"
        return f"rows-000-{middle}", f"rows-{middle}-100"
    moment = re.sub(r"[^A-Za-z0-9._-]", "-", str(drift.split_at))[:50]
    return f"before-{moment}", f"from-{moment}"


def cut_row(rows: int, split: float) -> int:
    """How many rows come before the cut; a share that is a whole number of rows stays one (0.7 of 10 is 7)."""
    return int(rows * split + 1e-9)
