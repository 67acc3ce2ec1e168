"""Whether each feature view has rows of the month: a point-in-time join silently takes older values.

For workers: Feast and pyarrow are loaded by then.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pandas as pd

from app.words.message import t

# The longest month. An older value does not belong to the month, even when the month before it is further back.
MONTH: Final = pd.Timedelta(days=31)
DAY: Final = pd.Timedelta(days=1)
# Before any data: the start of a query for everything older.
BEGINNING: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


@dataclass(frozen=True, slots=True)
class Month:
    """What is joined: how the period is called, its identifiers, and the moments at which values are looked up.

    `before` is the moment of the period before it, None for the first.
    """

    name: str
    identifiers: pd.Series
    first: pd.Timestamp
    last: pd.Timestamp
    before: pd.Timestamp | None

    @property
    def begin(self) -> pd.Timestamp:
        """Values of the month are newer than this."""
        longest = self.first - MONTH
        return longest if self.before is None else max(longest, self.before)


def notes(store: Any, features: Sequence[str], month: Month) -> list[str]:
    """A sentence for each feature view without rows of the month, or without rows for some of its identifiers."""
    sentences = []
    for name in dict.fromkeys(reference.rpartition(":")[0] for reference in features):
        view = next((one for one in store.list_all_feature_views() if one.name == name), None)
        source = getattr(view, "batch_source", None)
        if source is None:
            continue  # computed from other views, or from the request: it has no stored rows
        try:
            sentence = _sentence(_ViewRows(store, view, source), name, month)
        except Exception as error:  # noqa: BLE001 - any store may be below; a note that cannot be made is no failure
            sentence = t(
                "Whether {view} has rows of {month} could not be checked ({error}).",
                view=name,
                month=month.name,
                error=type(error).__name__,
            )
        if sentence:
            sentences.append(sentence)
    return sentences


def _sentence(look: _ViewRows, name: str, month: Month) -> str:
    own = look.between(month.begin, month.last)
    if not own.empty:
        later = _later(look, name, month, own)
        if later:
            return later
        missing = 0
        if look.keys == [month.identifiers.name]:
            missing = int((~month.identifiers.isin(own[look.keys[0]])).sum())
        if not missing:
            return ""
        return t(
            "{view} has no row of {month} for {missing:count} of {all:count} {identifier}s: their newest older values "
            "were joined, where there are any.",
            view=name,
            month=month.name,
            missing=missing,
            all=len(month.identifiers),
            identifier=month.identifiers.name,
        )
    newest = look.newest(month.begin)
    if newest is None:
        return t("{view} has no rows up to {month}: its features are empty.", view=name, month=month.name)
    facts = {"view": name, "month": month.name, "day": f"{newest:%Y-%m-%d}"}
    live = getattr(look.view, "ttl", None)
    if live and month.first - newest > pd.Timedelta(live):
        return t(
            "{view} has no rows for {month}; its newest, of {day}, have outlived their time: they are empty.", **facts
        )
    return t("{view} has no rows for {month}; the newest older values, {day}, were joined.", **facts)


def _later(look: _ViewRows, name: str, month: Month, own: pd.DataFrame) -> str:
    """A note when rows of the last day come after the moment of the month: a plain date means midnight."""
    newest = look.utc(own[look.time].max())
    if month.last - newest <= DAY:
        return ""
    after = look.between(month.last, month.last + DAY - pd.Timedelta(microseconds=1))
    if after.empty:
        return ""
    first = look.utc(after[look.time].min())
    return t(
        "{view} has rows of {later}, later than {moment} UTC, the moment of {month}: they were not joined, those of "
        "{newest} were.",
        view=name,
        later=f"{first:%Y-%m-%d %H:%M}",
        moment=f"{month.last:%H:%M}",
        month=month.name,
        newest=f"{newest:%Y-%m-%d}",
    )


class _ViewRows:
    """The rows of one feature view: identifiers and moments, nothing else."""

    def __init__(self, store: Any, view: Any, source: Any) -> None:
        self.store, self.view, self.source = store, view, source
        self.keys = [str(key) for key in view.join_keys if key != "__dummy_id"]
        renamed = {new: old for old, new in (getattr(source, "field_mapping", None) or {}).items()}
        self._columns = [str(renamed.get(key, key)) for key in self.keys]
        self._feature = next((renamed.get(field.name, field.name) for field in view.features), None)
        self.time = str(source.timestamp_field)
        self._dataset = self._parquet()

    def _parquet(self) -> Any:
        """The Parquet file behind the view, which is read 20 times faster without Feast; None for any other store."""
        path = getattr(self.source, "path", None)
        if not isinstance(path, str) or "://" in path:
            return None
        place = Path(path) if Path(path).is_absolute() else Path(str(self.store.repo_path)) / path
        if not place.exists():
            return None
        import pyarrow as pa
        import pyarrow.dataset as ds

        try:
            dataset = ds.dataset(place, format="parquet")
        except (pa.ArrowInvalid, OSError):
            return None
        readable = self.time in dataset.schema.names and pa.types.is_timestamp(dataset.schema.field(self.time).type)
        return dataset if readable else None

    def between(self, begin: pd.Timestamp, end: pd.Timestamp) -> pd.DataFrame:
        """Identifiers and moments of the rows after `begin` and up to `end`."""
        if self._dataset is not None:
            import pyarrow.dataset as ds

            moment = ds.field(self.time)
            inside = (moment > self._literal(begin)) & (moment <= self._literal(end))
            table = self._dataset.to_table(columns=[*self._columns, self.time], filter=inside)
            return self._named(table.to_pandas())
        # Feast's own bounds are both included.
        return self._named(self._pulled("pull_all_from_table_or_query", begin + pd.Timedelta(microseconds=1), end))

    def newest(self, until: pd.Timestamp) -> pd.Timestamp | None:
        """The newest moment up to `until`; None when there is no row."""
        if self._dataset is not None:
            import pyarrow.compute as pc
            import pyarrow.dataset as ds

            older = ds.field(self.time) <= self._literal(until)
            moment = pc.max(self._dataset.to_table(columns=[self.time], filter=older)[self.time]).as_py()
        else:
            rows = self._pulled("pull_latest_from_table_or_query", pd.Timestamp(BEGINNING), until)
            moment = rows[self.time].max() if len(rows) else None
        return None if moment is None or pd.isna(moment) else self.utc(moment)

    @staticmethod
    def utc(moment: Any) -> pd.Timestamp:
        """A moment as stored, which is in UTC where it names no zone."""
        stamp = pd.Timestamp(moment)
        return stamp.tz_localize("UTC") if stamp.tzinfo is None else stamp.tz_convert("UTC")

    def _named(self, rows: pd.DataFrame) -> pd.DataFrame:
        return rows.rename(columns=dict(zip(self._columns, self.keys, strict=True)))

    def _literal(self, moment: pd.Timestamp) -> Any:
        """The moment as the column holds it: with its zone, or in UTC without one."""
        import pyarrow as pa

        kind = self._dataset.schema.field(self.time).type
        given = moment if kind.tz else moment.tz_convert("UTC").tz_localize(None)
        return pa.scalar(given.to_pydatetime(), pa.timestamp("us", tz=kind.tz))

    def _pulled(self, how: str, begin: pd.Timestamp, end: pd.Timestamp) -> pd.DataFrame:
        """What the store's own engine gives between two moments (materialisation asks it the same way)."""
        engine = self.store._get_provider().offline_store  # noqa: SLF001 - Feast has no public way to it
        job = getattr(engine, how)(
            config=self.store.config,
            data_source=self.source,
            join_key_columns=self._columns,
            # Without one, some engines read every column.
            feature_name_columns=[self._feature] if self._feature else [],
            timestamp_field=self.time,
            created_timestamp_column=None,
            start_date=begin.to_pydatetime(),
            end_date=end.to_pydatetime(),
        )
        rows: pd.DataFrame = job.to_df()
        return rows
