"""Two tables that no system file names, as a pair to compare: files that were given, frames in Python."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from pydantic import ValidationError

from app.config import Drift, System
from app.config.drift import (
    DEFAULT_COMPARABLE,
    DEFAULT_MATERIAL_SHARE,
    DEFAULT_MATERIAL_SPREAD,
    DEFAULT_MIN_ROWS,
    DEFAULT_THRESHOLD,
    Rule,
)
from app.drift.comparison import Pair
from app.drift.result import Policy
from app.errors import DataError
from app.periods import Period, labelled
from app.runs.source import Source
from app.words.message import t

if TYPE_CHECKING:
    import pandas as pd

    from app.periods import Frame

# A wider table is no table of features; the report alone would have hundreds of megabytes.
MAX_COLUMNS: Final = 500
# What a name may be in the file `drift_<ref>_vs_<cur>.html`.
MAX_KEY: Final = 60


@dataclass(frozen=True, slots=True)
class Rules:
    """What two tables are judged by: the keys of `[drift]` that a table without a system file can have."""

    threshold: float = DEFAULT_THRESHOLD
    label: str | None = None
    identifier: str | None = None
    columns: Literal["features", "all"] = "features"
    features: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    thresholds: Mapping[str, float] = field(default_factory=dict)
    methods: Mapping[str, str] = field(default_factory=dict)
    target_threshold: float | None = None
    sentinels: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    rule: Rule = "evidently"
    material_spread: float = DEFAULT_MATERIAL_SPREAD
    material_share: float = DEFAULT_MATERIAL_SHARE
    min_rows: int = DEFAULT_MIN_ROWS
    comparable: float = DEFAULT_COMPARABLE

    def drift(self) -> Drift:
        """The same as the `[drift]` table of a system. DataError names what is not accepted."""
        given = {name: getattr(self, name) for name in self.__slots__}
        try:
            return Drift(source="tables", **given)
        except ValidationError as error:
            first = error.errors()[0]
            message = first["msg"].removeprefix("Value error, ")  # no catalogue: pydantic puts it before every sentence
            place = ".".join(map(str, first["loc"]))
            raise DataError(
                f"{place}: {message}." if place else f"{message}.",
                hint=t("docs/system-file.md lists what is accepted."),
            ) from None


def keys(ref: str, cur: str) -> tuple[str, str]:
    """Two names as the keys of periods: letters, digits, dots and dashes, and never the same."""
    first, second = (re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-._")[:MAX_KEY] or "table" for name in (ref, cur))
    return (first, second) if first != second else (f"{first}-reference", f"{second}-current")


def pair(system: System, names: tuple[str, str], rules: Rules, source: Source, folder: Path | None = None) -> Pair:
    """The pair of two tables under these names."""
    drift = rules.drift()
    ref, cur = (Period(key, key, None, None, None) for key in keys(*names))
    return Pair(system, drift, Policy.of(drift), ref, cur, source, folder)


def frame(data: pd.DataFrame, drift: Drift, period: Period) -> Frame:
    """One table as a loaded period. DataError for one without rows or columns, or with too many columns."""
    if not len(data) or not len(data.columns):
        message = t("{table} has no rows.", table=period.key)
        raise DataError(message, hint=t("Give a table with rows below its column names."))
    check_width(len(data.columns), period.key)
    loaded = labelled(data, drift.label, period)
    return loaded if drift.label else replace(loaded, label_reason=t("no column was named as the label."))


def check_width(columns: int, name: str) -> None:
    """DataError for a table with too many columns."""
    if columns > MAX_COLUMNS:
        counts = {"n": columns, "most": MAX_COLUMNS}
        message = t("{table} has {n:count} columns; at most {most:count} are compared.", table=name, **counts)
        raise DataError(message, hint=t("Give the columns that matter."))


def named(names: Mapping[str, Any], frames: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    """DataError when a column that the rules name is in neither table."""
    for what, name in names.items():
        if name and not any(name in one.columns for one in frames):
            absent = t("Neither table has a column {column!r} ({role}).", column=name, role=what)
            raise DataError(absent, hint=t("Look at the names of the columns."))
