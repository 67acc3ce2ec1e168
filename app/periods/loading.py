"""All rows of one period with features and labels. For workers: Feast is imported inside the functions.

Labels join left on (identifier, event_timestamp). Under the policy "all" they join inner, as the original course script
did; the rows lost by it are said.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import pandas as pd
import sqlalchemy as sa

from app import postgres
from app.config import Drift, Settings, System
from app.errors import DataError, SourceUnavailable, UnknownPeriod, VigieError
from app.periods import database, files, freshness
from app.periods.listing import AS_OF, PERIOD_START, Period, stored_values

# Feast's name for the moment at which features are looked up.
EVENT_TIMESTAMP: Final = "event_timestamp"
# A pandas frame of more rows than this takes tens of gigabytes in Evidently (8.5 GB at five million).
MAX_ROWS: Final = 5_000_000
APPLY_HINT: Final = "Run `feast apply` in that repository (the embedded stack does it: python -m stack up)."
# What the first retrieval from a store imports: 300 modules, a second on a machine that has not compiled them yet.
LATE: Final = (
    "feast.infra.offline_stores.duckdb",
    "feast.infra.online_stores.sqlite",
    "feast.infra.passthrough_provider",
    "feast.infra.registry.registry",
    "feast.repo_operations",
    "ibis.backends.duckdb",
    "sqlalchemy.dialects.sqlite",
)
_PERIODLESS: Final = "{table} has no {column}; the course script prints 0.0 here: both months get the same labels"


@dataclass(frozen=True, slots=True)
class Frame:
    """One period as loaded: `data` has features, label and identifier, one row per entity.

    `labelled` counts rows with a label; it is None, with `label_reason`, when labels cannot be told. `label_reason`
    is "" exactly when there are labels to measure with.
    """

    data: pd.DataFrame
    key: str
    rows: int
    labelled: int | None
    label_reason: str
    notes: tuple[str, ...] = ()


def preload() -> None:
    """Import Feast and what it imports late itself, so that the first comparison does not wait for it."""
    os.environ.setdefault("FEAST_USAGE", "False")
    import feast  # noqa: F401

    for name in LATE:
        # Another version of Feast may have other parts: they are then imported when they are needed.
        with contextlib.suppress(ImportError):
            importlib.import_module(name)


def load(settings: Settings, system: System, period: Period) -> Frame:
    """The rows of one period. UnknownPeriod names a month without rows; SourceUnavailable says what failed."""
    drift = system.drift
    if drift is None or drift.source == "gauge":
        raise DataError(
            f"{system.title} measures its drift itself, as a gauge: there are no months to compare.",
            hint="Look at the gauge on the Charts page.",
        )
    if drift.source == "feast":
        frame = _from_feast(settings, system, drift, period)
    elif drift.source == "sql":
        frame = labelled(_query(settings, system, drift, period), drift, period)
    else:
        frame = labelled(files.rows_of(system, period.key), drift, period)
    if not frame.rows:
        raise UnknownPeriod(f"{_called(period)} has no rows.", hint="Choose another month, or load its data.")
    return frame


def _called(period: Period) -> str:
    return period.key if period.name == period.key else f"{period.name} ({period.key})"


# --- SQL and files ---------------------------------------------------------------------------------------------------


def _query(settings: Settings, system: System, drift: Drift, period: Period) -> pd.DataFrame:
    statement = sa.text(str(drift.query))
    bound = set(statement.compile().params)
    if bound != {"period"}:
        others = ", ".join(f":{name}" for name in sorted(bound - {"period"}))
        wrong = f"names {others}, which nobody gives" if others else "has no :period: each month would be the same rows"
        raise DataError(
            f"`query` in [drift] {wrong}.", hint="Write … WHERE month = :period (a colon of its own as \\:)."
        )
    with database.connected(settings, system) as connection:
        found = connection.execute(statement, {"period": period.key})
        if not found.returns_rows:
            raise DataError("`query` in [drift] gives no rows: it is no query.", hint="Write it as SELECT …")
        return _fetched(found, f"the query for {period.key}")


def _fetched(found: sa.CursorResult[Any], what: str) -> pd.DataFrame:
    rows = found.fetchmany(MAX_ROWS + 1)
    if len(rows) > MAX_ROWS:
        raise DataError(f"{what} gives more than {MAX_ROWS:,} rows.", hint="Compare a sample of them.")
    return pd.DataFrame([tuple(row) for row in rows], columns=list(found.keys()))


def labelled(data: pd.DataFrame, drift: Drift, period: Period) -> Frame:
    """A table that has features and label side by side, with its labels counted."""
    if not drift.label:
        return Frame(data, period.key, len(data), None, "the system file names no label")
    if drift.label not in data.columns:
        return Frame(data, period.key, len(data), None, f"{_called(period)} has no column {drift.label}")
    label = data[drift.label]
    # Two columns of the label's name: the gate says so.
    count = int(label.notna().sum()) if isinstance(label, pd.Series) else None
    reason = "" if count else f"{_called(period)} has no labels"
    return Frame(data, period.key, len(data), count, reason)


# --- Feast -----------------------------------------------------------------------------------------------------------


def _from_feast(settings: Settings, system: System, drift: Drift, period: Period) -> Frame:
    identifier = str(drift.identifier)
    notes: list[str] = []
    with database.connected(settings, system) as connection:
        entities = _entities(connection, drift, period, identifier, notes)
        before = _before(connection, drift, period)
        labels, reason = _labels(connection, drift, period, identifier, notes)
    repo = settings.feast_repo or Path(str(drift.repo))
    store = _store(repo, drift.features)
    moments = pd.to_datetime(entities[EVENT_TIMESTAMP], utc=True)
    month = freshness.Month(_called(period), entities[identifier], moments.min(), moments.max(), before)
    notes += freshness.notes(store, drift.features, month)
    data = _features(store, repo, entities, list(drift.features), notes)
    if settings.postgres_url and str(getattr(store.config.offline_store, "type", "")) != "postgres":
        # Not an error (features may live in files on purpose), but two sources that drift apart would be one.
        notes.append(f"Entities and labels are read from PostgreSQL, features from {repo}, which is not over it.")
    # Feast gives rows in no fixed order, and comparing identifiers depends on it.
    data = data.drop(columns=[EVENT_TIMESTAMP]).sort_values(identifier, kind="stable", ignore_index=True)
    if labels is None:
        return Frame(data, period.key, len(data), None if PERIOD_START in reason else 0, reason, tuple(notes))
    how: Literal["inner", "left"] = "inner" if drift.columns == "all" else "left"
    label = str(drift.label)
    # Both hold one month: the identifier alone joins them on (identifier, event_timestamp).
    joined = data.merge(labels, on=identifier, how=how, validate="1:1")
    labelled = int(joined[label].notna().sum())
    lost = len(data) - len(joined)
    if lost:
        notes.append(
            f"{_called(period)}: {lost:,} of {len(data):,} rows have no label and are left out, as all columns count."
        )
    elif labelled < len(joined):
        notes.append(f"{_called(period)}: {len(joined) - labelled:,} of {len(joined):,} rows have no label.")
    reason = "" if labelled else f"no label of {_called(period)} belongs to one of its rows"
    return Frame(joined, period.key, len(joined), labelled, reason, tuple(notes))


def _entities(
    connection: sa.Connection, drift: Drift, period: Period, identifier: str, notes: list[str]
) -> pd.DataFrame:
    stored = stored_values(connection, drift, period.key)
    table = database.table(str(drift.entities), identifier, AS_OF)
    query = sa.select(table.c[identifier], table.c[AS_OF]).where(table.c[AS_OF].in_(stored))
    rows = _fetched(connection.execute(query), f"{drift.entities} at {period.key}")
    if rows.empty:
        raise UnknownPeriod(f"{drift.entities} has no rows for {_called(period)}.", hint="Choose another month.")
    named = rows.dropna(subset=[identifier])
    single = named.drop_duplicates(subset=[identifier])
    for lost, what in ((len(rows) - len(named), f"without {identifier}"), (len(named) - len(single), "given twice")):
        if lost:
            notes.append(f"{_called(period)}: {lost:,} rows {what} are left out.")
    moments = pd.to_datetime(single[AS_OF], utc=True, format="mixed")
    return pd.DataFrame({identifier: single[identifier].to_numpy(), EVENT_TIMESTAMP: moments.to_numpy()})


def _before(connection: sa.Connection, drift: Drift, period: Period) -> pd.Timestamp | None:
    """The moment of the period before this one; None for the first."""
    table = database.table(str(drift.entities), AS_OF)
    stored = stored_values(connection, drift, period.key)
    found = connection.execute(sa.select(sa.func.max(table.c[AS_OF])).where(table.c[AS_OF] < min(stored))).scalar()
    return None if found is None else pd.to_datetime(found, utc=True)


def _labels(
    connection: sa.Connection, drift: Drift, period: Period, identifier: str, notes: list[str]
) -> tuple[pd.DataFrame | None, str]:
    """The labels of the period by identifier, or None and the reason."""
    if not drift.labels or not drift.label:
        return None, "the system file names no labels"
    schema, _, short = drift.labels.rpartition(".")
    inspector = sa.inspect(connection)
    if not inspector.has_table(short, schema=schema or None):
        return None, f"there is no table {drift.labels}"
    names = {column["name"] for column in inspector.get_columns(short, schema=schema or None)}
    for needed in (identifier, drift.label):
        if needed not in names:
            return None, f"{drift.labels} has no column {needed}"
    if PERIOD_START not in names:
        return None, _PERIODLESS.format(table=drift.labels, column=PERIOD_START)
    table = database.table(drift.labels, identifier, PERIOD_START, drift.label)
    periods = connection.execute(sa.select(table.c[PERIOD_START]).distinct()).scalars()
    stored = [value for value in periods if value is not None and str(value)[:10] == period.key]
    if not stored:
        return None, f"{_called(period)} has no labels yet"
    query = sa.select(table.c[identifier], table.c[drift.label]).where(table.c[PERIOD_START].in_(stored))
    labels = _fetched(connection.execute(query), f"{drift.labels} at {period.key}").dropna(subset=[drift.label])
    if labels.empty:
        return None, f"{_called(period)} has no labels yet"
    if labels[drift.label].dtype == bool:
        # PostgreSQL has booleans, SQLite has 0 and 1: one label is told alike whatever keeps it.
        labels[drift.label] = labels[drift.label].astype("int64")
    single = labels.drop_duplicates(subset=[identifier])
    if len(single) < len(labels):
        notes.append(f"{_called(period)}: {len(labels) - len(single):,} labels are given twice; the first one counts.")
    return single, ""


def _features(
    store: Any, repo: Path, entities: pd.DataFrame, features: Sequence[str], notes: Sequence[str]
) -> pd.DataFrame:
    """Point-in-time features for these entity rows, one row each. `notes` may say why some are missing."""
    try:
        with warnings.catch_warnings():
            # Deprecations inside Feast and ibis are theirs to heed.
            warnings.simplefilter("ignore")
            found: pd.DataFrame = store.get_historical_features(entity_df=entities, features=list(features)).to_df()
    except Exception as error:
        # Feast raises its own errors and those of dask, pyarrow, duckdb, SQLAlchemy, whichever store is below it.
        raise SourceUnavailable(
            f"Feast could not read the features from {repo}: {_said(error)}.",
            hint="Check that the files or tables behind its feature views are there.",
        ) from error
    if len(found) < len(entities):
        # Its engine for plain files does so, with the values of every other view in those rows.
        raise DataError(
            f"Feast leaves out {len(entities) - len(found):,} of {len(entities):,} rows of this month.",
            hint=" ".join(notes[:3]) or "Look for entities without any row in a feature view; duckdb keeps them.",
        )
    if len(found) > len(entities):
        raise DataError(
            f"Feast gives {len(found):,} rows for {len(entities):,} entities of this month.",
            hint="Look for duplicate rows in the feature views' sources.",
        )
    return found


def _store(repo: Path, features: Sequence[str]) -> Any:
    """The feature store; a missing, empty or damaged registry is an error, never a store without features."""
    os.environ.setdefault("FEAST_USAGE", "False")
    # Feast gives its PostgreSQL connections no deadline; libpq takes one from here.
    os.environ.setdefault("PGCONNECT_TIMEOUT", str(postgres.CONNECT_SECONDS))
    from feast import FeatureStore

    if not (repo / "feature_store.yaml").is_file():
        raise SourceUnavailable(f"There is no feature repository in {repo} (no feature_store.yaml).", hint=APPLY_HINT)
    try:
        store = FeatureStore(repo_path=str(repo))
        _check_registry(repo, store.config.registry)
        known = {view.name: {field.name for field in view.features} for view in store.list_all_feature_views()}
    except VigieError:
        raise
    except Exception as error:
        # A damaged registry shows as a protobuf error, a wrong feature_store.yaml as Feast's or pydantic's.
        raise SourceUnavailable(
            f"The feature repository {repo} cannot be opened: {_said(error)}.", hint=APPLY_HINT
        ) from error
    if not known:
        raise SourceUnavailable(f"The registry of {repo} has no feature views.", hint=APPLY_HINT)
    missing = [name for name in features if name.rpartition(":")[2] not in known.get(name.rpartition(":")[0], set())]
    if missing:
        raise SourceUnavailable(
            f"The registry of {repo} does not know {', '.join(missing[:3])}"
            f"{f' and {len(missing) - 3} more features' if len(missing) > 3 else ''}.",
            hint=f"It has the feature views {', '.join(sorted(known)[:6])}.",
        )
    return store


def _check_registry(repo: Path, registry: Any) -> None:
    """Feast silently makes a new, empty registry where the file is missing or empty."""
    path = str(getattr(registry, "path", registry) or "")
    if getattr(registry, "registry_type", "file") != "file" or "://" in path or not path:
        return
    place = repo / path
    if not place.is_file():
        raise SourceUnavailable(f"The registry {place} is missing.", hint=APPLY_HINT)
    if not place.stat().st_size:
        raise SourceUnavailable(f"The registry {place} is empty.", hint=APPLY_HINT)


# Their messages quote the configuration, in which Feast has put the password by then.
_QUOTING: Final = ("yaml", "pydantic", "pydantic_core", "feast")


def _said(error: Exception) -> str:
    library = type(error).__module__.partition(".")[0]
    if library == "psycopg":
        return f"its database {postgres.why(error)[0]}"
    if library in _QUOTING and os.environ.get("POSTGRES_PASSWORD"):
        return f"{type(error).__name__} (details are left out: they may hold the password)"
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
