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

from app.errors import DataError, UnknownPeriod
from app.periods import tables
from app.words.message import t

if TYPE_CHECKING:
    import pandas as pd

# A year of weeks, two months of days: windows further back are not compared.
MAX_WINDOWS: Final = 60
UNITS: Final = {"d": "D", "h": "h"}


@dataclass(frozen=True, slots=True)
class Window:
    """From `start` (included) to `end` (excluded), UTC. `labelled` is None without a label column."""

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
            # no catalogue: a window is also picked by its name
            return f"{self.start:%Y-%m-%d} to {self.end - dt.timedelta(days=1):%Y-%m-%d}"
        return f"{self.start:%Y-%m-%d %H:00} to {self.end:%Y-%m-%d %H:00} UTC"  # no catalogue: likewise


def length(window: str) -> dt.timedelta:
    """`7d` as a length. Raises DataError for none at all."""
    match = re.fullmatch(r"(\d+)([dh])", window)
    count = int(match[1]) if match else 0
    if match is None or not count:
        raise DataError(t("window = {window!r} is no length.", window=window), hint=t("Write it as 7d or 12h."))
    return dt.timedelta(days=count) if match[2] == "d" else dt.timedelta(hours=count)


def windows(path: Path, time: str, window: str, label: str | None) -> list[Window]:
    """The whole windows of a table, oldest first, at most MAX_WINDOWS; the oldest, partly filled one is left out.

    Raises DataError for a table whose rows do not fill one.
    """
    import numpy as np

    frame = _times(path, time, label)
    if frame.empty:
        return []
    width, unit = length(window), UNITS[window[-1]]
    times = frame[time]
    order = np.argsort(times.to_numpy(), kind="stable")
    ordered = times.to_numpy()[order]
    # How many rows up to each one have a label: a difference of two of them is a window's.
    labels = None if label not in frame else np.cumsum([0, *frame[label].notna().to_numpy()[order]])
    end = times.max().floor(unit) + (dt.timedelta(days=1) if unit == "D" else dt.timedelta(hours=1))
    begin = times.min().floor(unit)
    newest: list[Window] = []
    while len(newest) < MAX_WINDOWS and end - width >= begin:
        start = end - width
        first, last = np.searchsorted(ordered, [np.datetime64(start), np.datetime64(end)])
        labelled = None if labels is None else int(labels[last] - labels[first])
        newest.append(Window(_utc(start), _utc(end), int(last - first), labelled))
        end = start
    if not newest:
        message = t(
            "The rows of {file} go from {first} to {last}: that does not fill one window of {window}.",
            file=path.name,
            first=f"{begin:%Y-%m-%d %H:%M}",
            last=f"{times.max():%Y-%m-%d %H:%M}",
            window=window,
        )
        raise DataError(message, hint=t("Take a shorter window."))
    return newest[::-1]


def rows_of(path: Path, time: str, window: str, key: str) -> pd.DataFrame:
    """The rows of one window."""
    by_key = {one.key: one for one in windows(path, time, window, None)}
    if key not in by_key:
        hint = t("There are {names}.", names=", ".join(list(by_key)[-6:])) if by_key else t("There are none.")
        raise UnknownPeriod(t("There is no window {key!r}.", key=key), hint=hint)
    timed = tables.by_time(tables.read(path), time, str(path))
    return timed[(timed[time] >= by_key[key].start) & (timed[time] < by_key[key].end)]


def _times(path: Path, time: str, label: str | None) -> pd.DataFrame:
    """The time column as UTC times without a zone, and the label where there is one; no time is an error."""
    labels = [label] if label and label in tables.columns_of(path) else []
    frame = tables.by_time(tables.read(path, columns=[time, *labels]), time, str(path))
    return frame.assign(**{time: frame[time].dt.tz_localize(None)})


def _utc(moment: pd.Timestamp) -> dt.datetime:
    return moment.to_pydatetime().replace(tzinfo=dt.UTC)
