"""Any pandas column as plain numbers or plain categories, or the reason why it is neither."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import pandas as pd

Kind = Literal["number", "category", "time", "empty", "unknown"]
# A category longer than this is shown nowhere and makes a report of many megabytes.
MAX_VALUE_CHARS: Final = 200
# What marks text as a date: enough of the ISO form that no product code looks like it.
ISO_DATE: Final = r"\d{4}-\d{2}-\d{2}(?:[ T].*)?"
# So few different dates may well be a category ("contract from 2024-01-01").
MIN_DATES: Final = 20


@dataclass(frozen=True, slots=True)
class Plain:
    """A normalised column: int64 or float64 numbers, bool, or text with None for null. `reason` for "unknown"."""

    data: pd.Series
    kind: Kind
    reason: str = ""


def plain(series: pd.Series) -> Plain:
    """Normalise one column of whatever dtype."""
    dtype = series.dtype
    if not series.notna().any():
        return Plain(series, "empty")
    if isinstance(dtype, pd.CategoricalDtype):
        return plain(series.astype(object))
    if pd.api.types.is_datetime64_any_dtype(dtype) or isinstance(dtype, pd.PeriodDtype):
        return Plain(series, "time")
    if pd.api.types.is_timedelta64_dtype(dtype):
        return Plain(series.dt.total_seconds(), "number")
    if pd.api.types.is_complex_dtype(dtype) or isinstance(dtype, pd.IntervalDtype):
        return Plain(series, "unknown", "values that are neither numbers nor text")
    if pd.api.types.is_bool_dtype(dtype):
        return Plain(series.astype(bool) if series.notna().all() else _objects(series), "category")
    if pd.api.types.is_numeric_dtype(dtype):
        return Plain(_numbers(series), "number")
    return _from_objects(_objects(series))


def harmonised(ref: Plain, cur: Plain) -> tuple[Plain, Plain]:
    """The two sides in one form: True/False against 0/1 become categories; text becomes text on both sides."""
    if {ref.kind, cur.kind} == {"number", "category"}:
        ref, cur = _as_flags(ref, cur), _as_flags(cur, ref)
    if ref.kind == cur.kind == "category" and not (_is_bool(ref) and _is_bool(cur)):
        return Plain(texts(ref.data), "category"), Plain(texts(cur.data), "category")
    return ref, cur


def _is_bool(side: Plain) -> bool:
    return bool(side.data.dtype == bool)


def _as_flags(side: Plain, other: Plain) -> Plain:
    """`side` as True/False when it holds 0 and 1 alone and the other side is boolean."""
    found = other.data.dropna().unique() if other.kind == "category" else [""]
    flags = all(isinstance(value, bool | np.bool_) for value in found)
    if side.kind != "number" or not flags or not side.data.dropna().isin([0, 1]).all():
        return side
    return Plain(_objects(side.data).map(bool, na_action="ignore"), "category")


def _objects(series: pd.Series) -> pd.Series:
    """As Python objects with None for every kind of null."""
    values = [None if null else value for value, null in zip(series.astype(object), series.isna(), strict=True)]
    return pd.Series(values, index=series.index, dtype=object)


def _numbers(series: pd.Series) -> pd.Series:
    """int64 where nothing is lost by it, float64 otherwise."""
    if pd.api.types.is_integer_dtype(series.dtype) and series.notna().all() and str(series.dtype).lower() != "uint64":
        return pd.Series(series.to_numpy(dtype="int64"), index=series.index)
    return pd.Series(series.to_numpy(dtype=float, na_value=np.nan), index=series.index)


def _from_objects(series: pd.Series) -> Plain:
    found = pd.api.types.infer_dtype(series, skipna=True)
    if found == "string":
        return Plain(series, "time") if _dates(series) else Plain(series, "category")
    if found == "boolean":
        return Plain(series, "category")
    if found in ("integer", "floating", "mixed-integer-float", "decimal"):
        try:
            return Plain(pd.Series([np.nan if one is None else float(one) for one in series], series.index), "number")
        except (OverflowError, ValueError, TypeError):
            return Plain(series, "unknown", "numbers too large to compare")
    if found in ("datetime", "datetime64", "date", "period", "time"):
        return Plain(series, "time")
    if found == "mixed-integer":
        return Plain(series, "unknown", "numbers and text mixed")
    kinds = sorted({type(value).__name__ for value in series.dropna().head(1000)})
    return Plain(series, "unknown", f"values that are neither numbers nor text ({', '.join(kinds[:3])})")


def _dates(series: pd.Series) -> bool:
    values = series.dropna()
    sample = pd.Series(values.unique()[: 50 * MIN_DATES])
    return len(sample) >= MIN_DATES and bool(sample.str.fullmatch(ISO_DATE).all())


def texts(series: pd.Series) -> pd.Series:
    """Values as text that can be written to a file: no lone surrogates, none of megabytes."""
    objects = _objects(series)
    known = {value: _text(value) for value in objects.dropna().unique()}
    return objects.map(known, na_action="ignore")


def _text(value: object) -> str:
    text = str(value).encode("utf-8", "replace").decode("utf-8")
    if len(text) <= MAX_VALUE_CHARS:
        return text
    digest = hashlib.sha256(text.encode()).hexdigest()[:8]
    return f"{text[:MAX_VALUE_CHARS]}… ({digest})"
