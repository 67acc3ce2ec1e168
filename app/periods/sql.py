"""Periods that queries of a database give: one lists them, one gives the rows of one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, Literal

from app.config import Settings
from app.errors import DataError
from app.periods.model import (
    MAX_PERIODS,
    NO_LABEL,
    DatabaseSource,
    Frame,
    Period,
    check_number,
    date_of,
    key_of,
    labelled,
    numbered,
)
from app.words.message import t

NO_QUERY = t("Write it as SELECT …")


class Sql(DatabaseSource):
    """`periods`, a query that gives keys and, where it can, rows and rows with a label; `query` with one `:period`."""

    source: Literal["sql"] = "sql"
    query: str
    periods: str

    def list_periods(self, settings: Settings, *, labels: bool = True) -> list[Period]:
        """What the query `periods` lists, one period a row."""
        del labels  # the query counts them or does not
        import sqlalchemy as sa

        with self.connected(settings) as connection:
            result = connection.execute(sa.text(self.periods))
            if not result.returns_rows:
                raise DataError(t("`periods` in [drift] gives no rows: it is no query."), hint=NO_QUERY)
            rows = result.fetchmany(MAX_PERIODS + 1)
        check_number(len(rows))
        periods = [_period(row, self.label) for row in rows if row[0] is not None]
        keys = Counter(period.key for period in periods)
        twice = next((key for key, times in keys.items() if times > 1), None)
        if twice:
            message = t("`periods` in [drift] gives {month} more than once.", month=twice)
            raise DataError(message, hint=t("Group by the month."))
        return numbered(periods)

    def list_ids(self, settings: Settings, period: Period, limit: int) -> list[str]:
        """In the order of the query."""
        import sqlalchemy as sa

        with self.connected(settings) as connection:
            rows = connection.execute(sa.text(self.query), {"period": period.key}).mappings().fetchmany(limit)
        values = [row.get(str(self.identifier)) for row in rows]
        return [str(value) for value in values if value is not None]

    def load(self, settings: Settings, period: Period) -> Frame:
        """What `query` gives for this period."""
        import sqlalchemy as sa

        from app.periods import database

        statement = sa.text(self.query)
        others = [f":{name}" for name in sorted(set(statement.compile().params) - {"period"})]
        if others or "period" not in statement.compile().params:
            message = t("`query` in [drift] has no :period: each month would be the same rows.")
            if others:
                names = ", ".join(others)
                message = t("`query` in [drift] names {names}, but only :period has a value.", names=names)
            raise DataError(message, hint=t("Write … WHERE month = :period (a colon of its own as \\:)."))
        with self.connected(settings) as connection:
            result = connection.execute(statement, {"period": period.key})
            if not result.returns_rows:
                raise DataError(t("`query` in [drift] gives no rows: it is no query."), hint=NO_QUERY)
            return labelled(database.frame_of(result, t("the query for {month}", month=period.key)), self.label, period)


def _period(row: Sequence[Any], label: str | None) -> Period:
    key = key_of(row[0])
    rows, labels = _whole(row, 1, t("rows")), _whole(row, 2, t("rows with a label"))
    note = ""
    if rows is None:
        note = t("rows are counted when the period is loaded")
    elif labels is None:
        note = t("labels are counted when the period is loaded") if label else NO_LABEL
    return Period(key, key, date_of(key), rows, labels, note)


def _whole(row: Sequence[Any], place: int, what: str) -> int | None:
    if len(row) <= place or row[place] is None:
        return None
    try:
        return int(row[place])
    except (TypeError, ValueError) as error:
        message = t(
            "`periods` in [drift] gives {value!r} as the number of {what} of {month}.",
            value=str(row[place])[:40],
            what=what,
            month=row[0],
        )
        hint = t("Its columns are the key, the rows, and the rows with a label.")
        raise DataError(message, hint=hint) from error
