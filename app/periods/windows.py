"""Rolling windows over one table with a time column: the last 7 days against the 7 before, and the ones before those.

Windows end at the end of the day (or hour) of the newest row and are counted back from there, so that a window keeps
its key while rows are added to the same day.
"""

from __future__ import annotations

import datetime as dt
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from app.config import Drift
from app.errors import DataError, UnknownPeriod
from app.periods import files

if TYPE_CHECKING:
    import pandas as pd

# A year of weeks, two months of days: further back nobody compares by window.
MAX_WINDOWS: Final = 60
UNITS: Final = {"d": "D", "h": "h"}


@dataclass(frozen=True, slots=True)
class Window:
    """From `start` (included) to `end` (excluded), UTC. `labelled` is None where no label is told."""

    start: dt.datetime
    end: dt.datetime
    rows: int
    labelled: int | None = None

    @property
    def days(self) -> bool:
        """True when it begins and ends at midnight."""
        return not (self.start.hour or self.end.hour)

    @property
    def key(self) -> str:
        """`2026-11-14.7d`, with the hour where windows are not whole days."""
        width = self.end - self.start
        if self.days:
            return f"{self.start:%Y-%m-%d}.{width.days}d"
        return f"{self.start:%Y-%m-%dT%H}.{round(width.total_seconds() / 3600)}h"

    @property
    def name(self) -> str:
        """`2026-11-14 to 2026-11-20` in whole days, else with hours."""
        if self.days:
            return f"{self.start:%Y-%m-%d} to {self.end - dt.timedelta(days=1):%Y-%m-%d}"
        return f"{self.start:%Y-%m-%d %H:00} to {self.end:%Y-%m-%d %H:00} UTC"


def length(drift: Drift) -> dt.timedelta:
    """`window = "7d"` as a length. Raises DataError for none at all."""
    found = re.fullmatch(r"(\d+)([dh])", str(drift.window))
    count = int(found[1]) if found else 0
    if found is None or not count:
        raise DataError(f"window = {drift.window!r} is no length.", hint="Write it as 7d or 12h.")
    return dt.timedelta(days=count) if found[2] == "d" else dt.timedelta(hours=count)


def windows(drift: Drift, table: Path) -> list[Window]:
    """The whole windows of a table, oldest first, at most MAX_WINDOWS; the oldest, partly filled one is left out.

    Raises DataError for a table whose rows do not fill one.
    """
    import numpy as np

    frame = _times(drift, table)
    if frame.empty:
        return []
    times = frame[str(drift.time)]
    width = length(drift)
    unit = UNITS[str(drift.window)[-1]]
    order = np.argsort(times.to_numpy(), kind="stable")
    ordered = times.to_numpy()[order]
    # How many rows up to each one have a label: a difference of two of them is a window's.
    labels = None if drift.label not in frame else np.cumsum([0, *frame[drift.label].notna().to_numpy()[order]])
    end = times.max().floor(unit) + (dt.timedelta(days=1) if unit == "D" else dt.timedelta(hours=1))
    begin = times.min().floor(unit)
    found: list[Window] = []
    while len(found) < MAX_WINDOWS and end - width >= begin:
        start = end - width
        first, last = np.searchsorted(ordered, [np.datetime64(start), np.datetime64(end)])
        labelled = None if labels is None else int(labels[last] - labels[first])
        found.append(Window(_utc(start), _utc(end), int(last - first), labelled))
        end = start
    if not found:
        message = f"The rows of {table.name} go from {begin:%Y-%m-%d %H:%M} to {times.max():%Y-%m-%d %H:%M}"
        raise DataError(f"{message}: that does not fill one window of {drift.window}.", hint="Take a shorter window.")
    return found[::-1]


def rows_of(drift: Drift, table: Path, key: str) -> pd.DataFrame:
    """The rows of one window."""
    known = {window.key: window for window in windows(drift, table)}
    if key not in known:
        raise UnknownPeriod(f"There is no window {key!r}.", hint=f"There are {', '.join(list(known)[-6:]) or 'none'}.")
    timed = files.by_time(files.read(table), drift)
    times, window = timed[str(drift.time)], known[key]
    return timed[(times >= window.start) & (times < window.end)]


def _times(drift: Drift, table: Path) -> pd.DataFrame:
    """The time column as UTC times without a zone, and the label where there is one; no time is an error."""
    label = [drift.label] if drift.label and drift.label in files.columns_of(table) else []
    frame = files.by_time(files.read(table, columns=[str(drift.time), *label]), drift)
    times: pd.Series = frame[str(drift.time)].dt.tz_localize(None)
    return frame.assign(**{str(drift.time): times})


def _utc(moment: pd.Timestamp) -> dt.datetime:
    return moment.to_pydatetime().replace(tzinfo=dt.UTC)
