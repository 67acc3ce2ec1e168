"""What a period is, what one loaded is, and what a source of periods does. Nothing heavy is imported here."""

from __future__ import annotations

import datetime as dt
import re
from abc import abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from app.config import Drift, Settings
from app.config.drift import PERIOD_KEY
from app.errors import DataError, UnknownPeriod
from app.words.message import t

if TYPE_CHECKING:
    import pandas as pd
    import sqlalchemy as sa

# A picker of more months than this is no picker; a table of minutes was named as months by mistake.
MAX_PERIODS: Final = 2000
# So many periods are named when one does not exist.
NAMED: Final = 6

NO_LABEL: Final = t("the system file names no label")
LATER: Final = t("rows are counted when the file is loaded")
LABELS_LATER: Final = t("labels are counted when the file is loaded")


@dataclass(frozen=True, slots=True)
class Period:
    """A month or window. `rows` and `labelled` are None when not known, and `note` says why."""

    key: str
    name: str
    date: dt.date | None
    rows: int | None
    labelled: int | None
    note: str = ""

    @property
    def called(self) -> str:
        """`month_000 (2024-01-31)`, or the key alone."""
        return self.key if self.name == self.key else f"{self.name} ({self.key})"


@dataclass(frozen=True, slots=True)
class Frame:
    """One period as loaded: `data` has features, label and identifier, one row per entity.

    `labelled` counts rows with a label; it is None, with `label_reason`, when that is unknown. `label_reason` is ""
    exactly when there are labels to measure with.
    """

    data: pd.DataFrame
    key: str
    rows: int
    labelled: int | None
    label_reason: str
    notes: tuple[str, ...] = ()


class PeriodSource(Drift):
    """The `[drift]` table of a source of periods, and how it is read.

    Each method raises SourceUnavailable or DataError. A page waits for the list, so a module with a source imports
    pandas, SQLAlchemy and heavier libraries inside these methods.
    """

    @abstractmethod
    def list_periods(self, settings: Settings, *, labels: bool = True) -> list[Period]:
        """All periods, oldest first. Without `labels` nothing is read only to count rows with a label."""

    @abstractmethod
    def list_ids(self, settings: Settings, period: Period, limit: int) -> list[str]:
        """Identifiers of one period, at most `limit`, in stable order; `identifier` is set."""

    @abstractmethod
    def load(self, settings: Settings, period: Period) -> Frame:
        """The rows of one period, none included. For workers."""

    def preload(self) -> None:
        """Import what loading would wait for, where that is much. For workers."""


class DatabaseSource(PeriodSource):
    """A source in `database`, a SQLAlchemy URL; POSTGRES_* variables beat it."""

    database: str

    def connected(self, settings: Settings) -> AbstractContextManager[sa.Connection]:
        """A read-only connection."""
        from app.periods import database

        return database.connected(settings.postgres_url or self.database)

    def origin(self, settings: Settings) -> tuple[str, ...] | None:
        """The database."""
        from app.periods import database

        return database.identity(settings.postgres_url or self.database)


def labelled(data: pd.DataFrame, label: str | None, period: Period) -> Frame:
    """A table that has features and label side by side, with its labels counted."""
    if not label:
        return Frame(data, period.key, len(data), None, NO_LABEL)
    if label not in data.columns:
        return Frame(data, period.key, len(data), None, no_column(period.called, label))
    column = data[label]
    # With two columns of the label's name the count is unknown; the gate reports them.
    count = int(column.notna().sum()) if column.ndim == 1 else None
    return Frame(data, period.key, len(data), count, "" if count else t("{month} has no labels", month=period.called))


def no_column(table: str, column: str) -> str:
    """That a table, file or month lacks a column."""
    return t("{table} has no column {column}", table=table, column=column)


def key_of(value: object) -> str:
    """A period key from a database value: the date of a date or timestamp, else the value itself."""
    if isinstance(value, dt.date):
        return value.isoformat()[:10]
    text = str(value).strip()
    if re.fullmatch(r"\d{4}-\d{2}-\d{2}[ T].*", text):
        return text[:10]
    if not PERIOD_KEY.fullmatch(text):
        raise DataError(
            t("{key!r} cannot be the key of a period.", key=text[:80]),
            hint=t("Keys are dates, or letters, digits, dot, dash and underscore (64 at most)."),
        )
    return text


def date_of(key: str) -> dt.date | None:
    """The date that a key is; None for any other."""
    try:
        return dt.date.fromisoformat(key)
    except ValueError:
        return None


def numbered(periods: Sequence[Period]) -> list[Period]:
    """In order of date; when all have one, they are also called month_000, month_001 and so on."""
    ordered = sorted(periods, key=lambda period: (period.date or dt.date.max, period.key))
    if any(period.date is None for period in ordered):
        return ordered
    return [replace(period, name=f"month_{index:03d}") for index, period in enumerate(ordered)]


def check_number(periods: int) -> None:
    """DataError for more periods than any system has months."""
    if periods > MAX_PERIODS:
        message = t("More than {most:count} different periods: that column is a time, not a month.", most=MAX_PERIODS)
        raise DataError(message, hint=t("Name a column that holds one date per month."))


def pick(periods: Sequence[Period], text: str) -> Period:
    """The period of that key, name or date; `2024-02` is enough when it has one period. Raises UnknownPeriod."""
    text = text.strip()
    for period in periods:
        if text in (period.key, period.name):
            return period
    if re.fullmatch(r"\d{4}-\d{2}", text):
        inside = [period for period in periods if period.date is not None and period.key.startswith(text)]
        if len(inside) == 1:
            return inside[0]
    raise UnknownPeriod(t("There is no period {key!r}.", key=text[:80]), hint=_existing(periods))


def _existing(periods: Sequence[Period]) -> str:
    if not periods:
        return t("This system has no periods.")
    names = [period.key if period.name == period.key else f"{period.name} = {period.key}" for period in periods]
    if len(names) > NAMED:
        names = [*names[: NAMED - 1], "…", names[-1]]
    return t("There are {count}: {names}.", count=len(periods), names=", ".join(names))
