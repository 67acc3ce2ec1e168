"""The two tables of a Feast system that Feast does not read: entities at each moment, and their labels."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa

from app.errors import UnknownPeriod
from app.periods import database
from app.periods.model import MAX_PERIODS, Period, check_number, date_of, key_of, no_column, numbered, pick
from app.words.message import t, tn

if TYPE_CHECKING:
    import pandas as pd

# Columns of the course's tables; a feast system that names them otherwise can use source = "sql".
AS_OF: Final = "as_of"
PERIOD_START: Final = "period_start"
# Feast's name for the moment at which features are looked up.
EVENT_TIMESTAMP: Final = "event_timestamp"


@dataclass(frozen=True, slots=True)
class NoLabels:
    """Why a period has no labels; `labelled` is 0, or None where some may exist that belong to no known period."""

    reason: str
    labelled: int | None = 0


@dataclass(frozen=True, slots=True)
class Entities:
    """Both tables on an open connection, as `[drift]` names them and their columns."""

    connection: sa.Connection
    entities: str
    identifier: str
    labels: str | None
    label: str | None

    def rows_by_period(self) -> dict[str, int]:
        """How many rows each period has."""
        table = database.table(self.entities, AS_OF)
        query = sa.select(table.c[AS_OF], sa.func.count()).group_by(table.c[AS_OF])
        rows = _by_key(self.connection.execute(query.limit(MAX_PERIODS + 1)))
        check_number(len(rows))
        return rows

    def labels_by_period(self) -> tuple[dict[str, int] | None, str]:
        """How many labels each period has, or None and the reason why that is not known."""
        reason = self._without_labels()
        if reason:
            return None, reason
        if PERIOD_START not in self._columns():
            return None, t(
                "{table} has no {column}: every month would get the same labels", table=self.labels, column=PERIOD_START
            )
        table = database.table(str(self.labels), PERIOD_START, str(self.label))
        period = table.c[PERIOD_START]
        query = sa.select(period, sa.func.count(table.c[str(self.label)])).group_by(period)
        return _by_key(self.connection.execute(query)), ""

    def ids(self, period: Period, limit: int) -> list[str]:
        """Identifiers of a period in alphabetical order."""
        table = database.table(self.entities, AS_OF, self.identifier)
        name = table.c[self.identifier]
        mine = table.c[AS_OF].in_(self._moments(period))
        query = sa.select(name).where(mine, name.is_not(None)).order_by(name).limit(limit)
        return [str(value) for (value,) in self.connection.execute(query)]

    def rows_of(self, period: Period, notes: list[str]) -> pd.DataFrame:
        """Identifiers of a period, each once, with the moment of its features; what is left out goes into `notes`."""
        import pandas as pd

        table = database.table(self.entities, self.identifier, AS_OF)
        query = sa.select(table.c[self.identifier], table.c[AS_OF]).where(table.c[AS_OF].in_(self._moments(period)))
        rows = database.frame_of(self.connection.execute(query), _at(self.entities, period))
        if rows.empty:
            message = t("{table} has no rows for {month}.", table=self.entities, month=period.called)
            raise UnknownPeriod(message, hint=t("Choose another month."))
        named = rows.dropna(subset=[self.identifier])
        single = named.drop_duplicates(subset=[self.identifier])
        if nameless := len(rows) - len(named):
            notes.append(
                tn(
                    "{month}: {n:count} row without {column} is left out.",
                    "{month}: {n:count} rows without {column} are left out.",
                    nameless,
                    month=period.called,
                    column=self.identifier,
                )
            )
        if twice := len(named) - len(single):
            notes.append(
                tn(
                    "{month}: {n:count} row given twice is left out.",
                    "{month}: {n:count} rows given twice are left out.",
                    twice,
                    month=period.called,
                )
            )
        moments = pd.to_datetime(single[AS_OF], utc=True, format="mixed")
        return pd.DataFrame({self.identifier: single[self.identifier].to_numpy(), EVENT_TIMESTAMP: moments.to_numpy()})

    def moment_before(self, period: Period) -> pd.Timestamp | None:
        """The moment of the period before this one; None for the first."""
        import pandas as pd

        table = database.table(self.entities, AS_OF)
        earlier = table.c[AS_OF] < min(self._moments(period))
        moment = self.connection.execute(sa.select(sa.func.max(table.c[AS_OF])).where(earlier)).scalar()
        return None if moment is None else pd.to_datetime(moment, utc=True)

    def labels_of(self, period: Period, notes: list[str]) -> pd.DataFrame | NoLabels:
        """The labels of a period by identifier, each identifier once."""
        reason = self._without_labels()
        if reason:
            return NoLabels(reason)
        columns = self._columns()
        if self.identifier not in columns:
            return NoLabels(no_column(str(self.labels), self.identifier))
        if PERIOD_START not in columns:
            periodless = t(
                "{table} has no {column}; the course script prints 0.0 here: both months get the same labels",
                table=self.labels,
                column=PERIOD_START,
            )
            return NoLabels(periodless, None)
        label = str(self.label)
        table = database.table(str(self.labels), self.identifier, PERIOD_START, label)
        starts = self.connection.execute(sa.select(table.c[PERIOD_START]).distinct()).scalars()
        stored = [value for value in starts if value is not None and str(value)[:10] == period.key]
        query = sa.select(table.c[self.identifier], table.c[label]).where(table.c[PERIOD_START].in_(stored))
        rows = database.frame_of(self.connection.execute(query), _at(str(self.labels), period))
        labels = rows.dropna(subset=[label])
        if labels.empty:
            return NoLabels(t("{month} has no labels yet", month=period.called))
        if labels[label].dtype == bool:
            # PostgreSQL has booleans, SQLite has 0 and 1: one label is the same in both.
            labels[label] = labels[label].astype("int64")
        single = labels.drop_duplicates(subset=[self.identifier])
        if len(single) < len(labels):
            notes.append(
                tn(
                    "{month}: {n:count} label is given twice; the first one counts.",
                    "{month}: {n:count} labels are given twice; the first one counts.",
                    len(labels) - len(single),
                    month=period.called,
                )
            )
        return single

    def _moments(self, period: Period) -> list[Any]:
        """The values of as_of that belong to a period, as the database holds them (text, date or timestamp)."""
        table = database.table(self.entities, AS_OF)
        query = sa.select(table.c[AS_OF]).distinct().limit(MAX_PERIODS + 1)
        values = [value for (value,) in self.connection.execute(query) if value is not None]
        moments = [value for value in values if key_of(value) == period.key]
        if not moments:
            keys = sorted({key_of(value) for value in values})
            pick(numbered([Period(key, key, date_of(key), None, None) for key in keys]), period.key)
        return moments

    def _without_labels(self) -> str:
        """Why there are no labels at all; empty when there are."""
        if not self.labels or not self.label:
            return t("the system file names no labels")
        schema, _, short = self.labels.rpartition(".")
        if not sa.inspect(self.connection).has_table(short, schema=schema or None):
            return t("there is no table {table}", table=self.labels)
        return "" if self.label in self._columns() else no_column(self.labels, self.label)

    def _columns(self) -> set[str]:
        schema, _, short = str(self.labels).rpartition(".")
        return {column["name"] for column in sa.inspect(self.connection).get_columns(short, schema=schema or None)}


def _by_key(rows: Iterable[Any]) -> dict[str, int]:
    """Counts by period; moments of one day are one period."""
    counts: dict[str, int] = {}
    for value, count in rows:
        if value is not None:
            counts[key_of(value)] = counts.get(key_of(value), 0) + int(count)
    return counts


def _at(table: str, period: Period) -> str:
    return t("{table} at {month}", table=table, month=period.key)
