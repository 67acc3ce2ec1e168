"""The months a system has, for a page: keys, dates, rows and label coverage, in milliseconds. Nothing heavy here."""

from __future__ import annotations

import datetime as dt
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import sqlalchemy as sa

from app.config import Drift, Settings, System
from app.errors import DataError, UnknownPeriod
from app.periods import database, files
from app.periods.coverage import NO_LABEL

KEY: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
# Columns of the course's tables; a feast system that names them otherwise can use source = "sql".
AS_OF: Final = "as_of"
PERIOD_START: Final = "period_start"
# A picker of more months than this is no picker; a table of minutes was named as months by mistake.
MAX_PERIODS: Final = 2000
# Bound on the identifiers handed to the load generator.
MAX_IDS: Final = 100_000
# So many known periods are named when one is not found.
NAMED: Final = 6


@dataclass(frozen=True, slots=True)
class Period:
    """A month or window. `rows` and `labelled` are None when not known, and `note` says why."""

    key: str
    name: str
    date: dt.date | None
    rows: int | None
    labelled: int | None
    note: str = ""


def list_periods(settings: Settings, system: System, *, labels: bool = True) -> list[Period]:
    """The periods of a system in order of date; none for a gauge. Raises SourceUnavailable or DataError in words.

    `labels` False spares reading files for their label coverage: for who only looks up a key.
    """
    drift = system.drift
    if drift is None or drift.source == "gauge":
        return []
    if drift.source == "files":
        named = files.PLACEHOLDER in str(drift.path)
        return _numbered([Period(*row) for row in files.listing(system, labels=labels)], named=named)
    with database.connected(settings, system) as connection:
        if drift.source == "sql":
            return _from_sql(connection, drift)
        return _from_feast(connection, drift)


def _from_feast(connection: sa.Connection, drift: Drift) -> list[Period]:
    entities = database.table(str(drift.entities), AS_OF)
    query = sa.select(entities.c[AS_OF], sa.func.count()).group_by(entities.c[AS_OF])
    rows: dict[str, int] = {}
    for value, found in connection.execute(query.limit(MAX_PERIODS + 1)):
        if value is not None:
            rows[_key(value)] = rows.get(_key(value), 0) + int(found)
    _check_number(len(rows))
    labels, note = _label_coverage(connection, drift)
    periods = []
    for key, count in rows.items():
        labelled = None if labels is None else labels.get(key, 0)
        over = labelled is not None and labelled > count
        # The table of labels knows rows that the month does not have: their number is no coverage.
        said = f"{labelled:,} labels for {count:,} rows: some belong to none of them" if over else note
        periods.append(Period(key, key, _date(key), count, None if over else labelled, said))
    return _numbered(periods, named=True)


def _label_coverage(connection: sa.Connection, drift: Drift) -> tuple[dict[str, int] | None, str]:
    """Rows with a label by period, or None and the reason why that is not known."""
    if not drift.labels or not drift.label:
        return None, "the system file names no labels"
    schema, _, short = drift.labels.rpartition(".")
    inspector = sa.inspect(connection)
    if not inspector.has_table(short, schema=schema or None):
        return None, f"there is no table {drift.labels}"
    names = {column["name"] for column in inspector.get_columns(short, schema=schema or None)}
    if drift.label not in names:
        return None, f"{drift.labels} has no column {drift.label}"
    if PERIOD_START not in names:
        return None, f"{drift.labels} has no {PERIOD_START}: every month would get the same labels"
    labels = database.table(drift.labels, PERIOD_START, drift.label)
    period = labels.c[PERIOD_START]
    counts: dict[str, int] = {}
    for value, found in connection.execute(sa.select(period, sa.func.count(labels.c[drift.label])).group_by(period)):
        if value is not None:
            counts[_key(value)] = counts.get(_key(value), 0) + int(found)
    return counts, ""


def _from_sql(connection: sa.Connection, drift: Drift) -> list[Period]:
    """`periods` lists key, and optionally rows and labelled rows, one period a row."""
    result = connection.execute(sa.text(str(drift.periods)))
    if not result.returns_rows:
        raise DataError("`periods` in [drift] gives no rows: it is no query.", hint="Write it as SELECT …")
    found = result.fetchmany(MAX_PERIODS + 1)
    _check_number(len(found))
    periods = [_listed(row, drift) for row in found if row[0] is not None]
    keys = Counter(one.key for one in periods)
    twice = next((key for key, times in keys.items() if times > 1), None)
    if twice:
        raise DataError(f"`periods` in [drift] gives {twice} more than once.", hint="Group by the month.")
    return _numbered(periods, named=True)


def _listed(row: Sequence[Any], drift: Drift) -> Period:
    key = _key(row[0])
    rows, labelled = _whole(row, 1, "rows"), _whole(row, 2, "rows with a label")
    if rows is None:
        note = "rows are counted when the period is loaded"
    elif labelled is None:
        note = "labels are counted when the period is loaded" if drift.label else NO_LABEL
    else:
        note = ""
    return Period(key, key, _date(key), rows, labelled, note)


def _whole(row: Sequence[Any], place: int, what: str) -> int | None:
    if len(row) <= place or row[place] is None:
        return None
    try:
        return int(row[place])
    except (TypeError, ValueError) as error:
        raise DataError(
            f"`periods` in [drift] gives {str(row[place])[:40]!r} as the number of {what} of {row[0]}.",
            hint="Its columns are the key, the rows, and the rows with a label.",
        ) from error


def _check_number(found: int) -> None:
    if found > MAX_PERIODS:
        raise DataError(
            f"More than {MAX_PERIODS:,} different periods: that column is a time, not a month.",
            hint="Name a column that holds one date per month.",
        )


def _key(value: object) -> str:
    """A period key from a database value: the date of a date or timestamp, else the value itself."""
    if isinstance(value, dt.date):
        return value.isoformat()[:10]
    text = str(value).strip()
    if re.fullmatch(r"\d{4}-\d{2}-\d{2}[ T].*", text):
        return text[:10]
    if not KEY.fullmatch(text):
        raise DataError(
            f"{text[:80]!r} cannot be the key of a period.",
            hint="Keys are dates, or letters, digits, dot, dash and underscore (64 at most).",
        )
    return text


def _date(key: str) -> dt.date | None:
    try:
        return dt.date.fromisoformat(key)
    except ValueError:
        return None


def _numbered(periods: list[Period], *, named: bool) -> list[Period]:
    """In order of date; dated ones are also called month_000, month_001 and so on."""
    if not named:
        return periods
    ordered = sorted(periods, key=lambda period: (period.date or dt.date.max, period.key))
    if any(period.date is None for period in ordered):
        return ordered
    return [replace(period, name=f"month_{index:03d}") for index, period in enumerate(ordered)]


def pick(periods: Sequence[Period], text: str) -> Period:
    """The period of that key, name or date; `2024-02` will do when one period lies in that month. UnknownPeriod."""
    wanted = text.strip()
    for period in periods:
        if wanted in (period.key, period.name):
            return period
    if re.fullmatch(r"\d{4}-\d{2}", wanted):
        inside = [period for period in periods if period.date is not None and period.key.startswith(wanted)]
        if len(inside) == 1:
            return inside[0]
    raise UnknownPeriod(f"There is no period {text[:80]!r}.", hint=_known(periods))


def _known(periods: Sequence[Period]) -> str:
    if not periods:
        return "This system has no periods."
    names = [one.key if one.name == one.key else f"{one.name} = {one.key}" for one in periods]
    if len(names) > NAMED:
        names = [*names[: NAMED - 1], "…", names[-1]]
    return f"There are {len(periods)}: {', '.join(names)}."


def entity_ids(settings: Settings, system: System, period_key: str | None, limit: int) -> list[str]:
    """Identifiers of one period (of the newest without a key), at most `limit`, in stable order."""
    drift = system.drift
    if drift is None or not drift.identifier:
        raise DataError(f"{system.title} names no identifier.", hint="Set drift.identifier in its system file.")
    limit = max(0, min(limit, MAX_IDS))
    if drift.source == "files":
        known = list_periods(settings, system)
        period = pick(known, period_key) if period_key is not None else known[-1] if known else pick(known, "")
        return files.identifiers(system, period.key, limit)
    with database.connected(settings, system) as connection:
        if drift.source == "feast":
            return _feast_ids(connection, drift, period_key, limit)
        if drift.source == "sql":
            known = _from_sql(connection, drift)
            period = pick(known, period_key) if period_key is not None else known[-1] if known else pick(known, "")
            found = connection.execute(sa.text(str(drift.query)), {"period": period.key}).mappings().fetchmany(limit)
            return [str(row[drift.identifier]) for row in found if row.get(drift.identifier) is not None]
    raise DataError(f"{system.title} measures drift as a gauge: it has no rows.", hint="Use from = 'list' or 'range'.")


def _feast_ids(connection: sa.Connection, drift: Drift, period_key: str | None, limit: int) -> list[str]:
    entities = database.table(str(drift.entities), AS_OF, str(drift.identifier))
    stored = stored_values(connection, drift, period_key)
    name = entities.c[str(drift.identifier)]
    query = sa.select(name).where(entities.c[AS_OF].in_(stored), name.is_not(None)).order_by(name).limit(limit)
    return [str(value) for (value,) in connection.execute(query)]


def stored_values(connection: sa.Connection, drift: Drift, period_key: str | None) -> list[Any]:
    """The values of as_of that belong to a period, as the database holds them (text, date or timestamp)."""
    entities = database.table(str(drift.entities), AS_OF)
    query = sa.select(entities.c[AS_OF]).distinct().limit(MAX_PERIODS + 1)
    values = [value for (value,) in connection.execute(query) if value is not None]
    keys = sorted({_key(value) for value in values})
    if period_key is None:
        period_key = keys[-1] if keys else ""
    found = [value for value in values if _key(value) == period_key]
    if not found:
        periods = _numbered([Period(key, key, _date(key), None, None) for key in keys], named=True)
        raise UnknownPeriod(f"{drift.entities} has no rows for {period_key or 'any month'}.", hint=_known(periods))
    return found
