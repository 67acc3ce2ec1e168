"""Periods in a Feast feature repository: identifiers and labels from a database, features joined at each moment.

Labels join left on (identifier, event_timestamp). Under the policy "all" they join inner, as the original course script
did; the rows lost by it are named in a note.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from app.config import Settings
from app.periods.model import DatabaseSource, Frame, Period, date_of, numbered
from app.words.message import t

if TYPE_CHECKING:
    import pandas as pd

    from app.periods.entities import Entities


class Feast(DatabaseSource):
    """`repo`, the repository; `entities`, the table with identifier and `as_of`; `labels`, the table of labels."""

    source: Literal["feast"] = "feast"
    repo: str
    entities: str
    features: tuple[str, ...]
    identifier: str
    labels: str | None = None

    def list_periods(self, settings: Settings, *, labels: bool = True) -> list[Period]:
        """The different values of `as_of`, by day."""
        with self._tables(settings) as tables:
            rows = tables.rows_by_period()
            coverage, note = tables.labels_by_period() if labels else (None, t("labels were not counted"))
        periods = []
        for key, count in rows.items():
            labelled = None if coverage is None else coverage.get(key, 0)
            # The table of labels knows rows that the month does not have: their number is no coverage.
            if labelled is not None and labelled > count:
                why = t(
                    "{labels:count} labels for {rows:count} rows: some belong to none of them",
                    labels=labelled,
                    rows=count,
                )
                periods.append(Period(key, key, date_of(key), count, None, why))
            else:
                periods.append(Period(key, key, date_of(key), count, labelled, note))
        return numbered(periods)

    def list_ids(self, settings: Settings, period: Period, limit: int) -> list[str]:
        """In alphabetical order."""
        with self._tables(settings) as tables:
            return tables.ids(period, limit)

    def preload(self) -> None:
        """Feast itself."""
        from app.periods import store

        store.preload()

    def load(self, settings: Settings, period: Period) -> Frame:
        """Features as they were at the moment of each row, joined with its label."""
        import pandas as pd

        from app.periods import freshness, store
        from app.periods.entities import EVENT_TIMESTAMP, NoLabels

        notes: list[str] = []
        with self._tables(settings) as tables:
            entities = tables.rows_of(period, notes)
            before = tables.moment_before(period)
            labels = tables.labels_of(period, notes)
        repo = self._repo(settings)
        feature_store = store.opened(repo, self.features)
        moments = pd.to_datetime(entities[EVENT_TIMESTAMP], utc=True)
        month = freshness.Month(period.called, entities[self.identifier], moments.min(), moments.max(), before)
        notes += freshness.notes(feature_store, self.features, month)
        data = store.features_of(feature_store, repo, entities, self.features, notes)
        if settings.postgres_url and str(getattr(feature_store.config.offline_store, "type", "")) != "postgres":
            # Not an error (features may live in files on purpose), but two sources that drift apart would be one.
            notes.append(
                t(
                    "Entities and labels are read from PostgreSQL, features from {repo}, which is not over it.",
                    repo=repo,
                )
            )
        # Feast gives rows in no fixed order, and comparing identifiers depends on it.
        data = data.drop(columns=[EVENT_TIMESTAMP]).sort_values(self.identifier, kind="stable", ignore_index=True)
        if isinstance(labels, NoLabels):
            return Frame(data, period.key, len(data), labels.labelled, labels.reason, tuple(notes))
        return self._joined(data, labels, period, notes)

    def _joined(self, data: pd.DataFrame, labels: pd.DataFrame, period: Period, notes: list[str]) -> Frame:
        how: Literal["inner", "left"] = "inner" if self.columns == "all" else "left"
        # Both hold one month: the identifier alone joins them on (identifier, event_timestamp).
        joined = data.merge(labels, on=self.identifier, how=how, validate="1:1")
        labelled = int(joined[str(self.label)].notna().sum())
        lost = len(data) - len(joined)
        if lost:
            notes.append(
                t(
                    "{month}: {missing:count} of {rows:count} rows have no label and are left out, as all columns "
                    "count.",
                    month=period.called,
                    missing=lost,
                    rows=len(data),
                )
            )
        elif labelled < len(joined):
            notes.append(
                t(
                    "{month}: {missing:count} of {rows:count} rows have no label.",
                    month=period.called,
                    missing=len(joined) - labelled,
                    rows=len(joined),
                )
            )
        reason = "" if labelled else t("no label of {month} belongs to one of its rows", month=period.called)
        return Frame(joined, period.key, len(joined), labelled, reason, tuple(notes))

    def origin(self, settings: Settings) -> tuple[str, ...] | None:
        """The database and the repository."""
        place = super().origin(settings)
        repo = os.path.realpath(self._repo(settings).expanduser())
        if place is None:
            return None
        return t("{database}, feature repository {repo}", database=place[0], repo=repo), *place[1:], repo

    def _repo(self, settings: Settings) -> Path:
        return settings.feast_repo or Path(self.repo)

    @contextmanager
    def _tables(self, settings: Settings) -> Iterator[Entities]:
        from app.periods.entities import Entities

        with self.connected(settings) as connection:
            yield Entities(connection, self.entities, self.identifier, self.labels, self.label)
