"""Any pandas column as plain numbers or plain categories, or the reason why it is neither."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from numbers import Number
from typing import Final, Literal

import numpy as np
import pandas as pd

from app.words.message import t

Kind = Literal["number", "category", "time", "empty", "unknown"]
# A category longer than this is shown nowhere and makes a report of many megabytes.
MAX_VALUE_CHARS: Final = 200
# What marks text as a date: enough of the ISO form, or of day.month.year, that no product code looks like it.
DATE: Final = r"\d{4}-\d{2}-\d{2}(?:[ T].*)?|\d{1,2}([./-])\d{1,2}\1\d{4}(?: .*)?"
# So few different dates may well be a category ("contract from 2024-01-01").
MIN_DATES: Final = 20
# A whole number, one with a decimal point or comma, or one with an exponent; "007" is a code.
NUMBER_TEXT: Final = r"\s*[-+]?(?:0|[1-9]\d*)?(?:[.,]\d+)?(?:[eE][-+]?\d+)?\s*%?"
# So few different numbers as text may well be codes ("1", "2", "3").
MAX_CODES: Final = 20
# Text that says what a boolean says; a CSV file writes booleans in as many ways as there are programs.
FLAGS: Final = {"true": "True", "false": "False"}
# From here on a float no longer holds every whole number.
EXACT: Final = 2**53


@dataclass(frozen=True, slots=True)
class Plain:
    """A normalised column: int64 or float64 numbers, bool, or text with None for null. `reason` for "unknown"."""

    data: pd.Series
    kind: Kind
    reason: str = ""


def plain(series: pd.Series) -> Plain:
    """Normalise one column of any dtype."""
    dtype = series.dtype
    if isinstance(dtype, pd.SparseDtype):
        return plain(pd.Series(np.asarray(series), index=series.index))
    if not series.notna().any():
        return Plain(series, "empty")
    if isinstance(dtype, pd.CategoricalDtype):
        return plain(series.astype(object))
    if pd.api.types.is_datetime64_any_dtype(dtype) or isinstance(dtype, pd.PeriodDtype):
        return Plain(series, "time")
    if pd.api.types.is_timedelta64_dtype(dtype):
        return Plain(series.dt.total_seconds(), "number")
    if pd.api.types.is_complex_dtype(dtype):
        return Plain(series, "unknown", t("values that are neither numbers nor text (complex numbers)"))
    if pd.api.types.is_bool_dtype(dtype):
        return Plain(series.astype(bool) if series.notna().all() else _objects(series), "category")
    if pd.api.types.is_numeric_dtype(dtype) and not isinstance(dtype, pd.ArrowDtype):
        return _numbers(series)
    return _from_objects(_objects(series))


def harmonised(ref: Plain, cur: Plain) -> tuple[Plain, Plain]:
    """The two sides in one form: True/False against 0/1 become categories; text becomes text on both sides."""
    if {ref.kind, cur.kind} == {"number", "category"}:
        ref, cur = _as_flags(ref, cur), _as_flags(cur, ref)
    if ref.kind != "category" or cur.kind != "category" or (_is_bool(ref) and _is_bool(cur)):
        return ref, cur
    left, right = texts(ref.data), texts(cur.data)
    if _holds_flags(ref) != _holds_flags(cur):
        left, right = (side.map(lambda one: FLAGS.get(one.lower(), one), na_action="ignore") for side in (left, right))
    if _other_dates(left, right):
        return Plain(left, "time"), Plain(right, "time")
    return Plain(left, "category"), Plain(right, "category")


def flags_against_words(ref: Plain, cur: Plain) -> bool:
    """Whether one of two sides holds True and False, the other text that is neither."""
    sides = [set(side.data.dropna().astype(str).unique()) for side in (ref, cur)]
    words = set(FLAGS.values())
    return any(one <= words and not other & words for one, other in (sides, sides[::-1]))


def _is_bool(side: Plain) -> bool:
    return bool(side.data.dtype == bool)


def _holds_flags(side: Plain) -> bool:
    return all(isinstance(value, bool | np.bool_) for value in side.data.dropna().unique())


def _as_flags(side: Plain, other: Plain) -> Plain:
    """`side` as True/False when it holds 0 and 1 alone and the other side is boolean."""
    if side.kind != "number" or other.kind != "category" or not _holds_flags(other):
        return side
    if not side.data.dropna().isin([0, 1]).all():
        return side
    return Plain(_objects(side.data).map(bool, na_action="ignore"), "category")


def _objects(series: pd.Series) -> pd.Series:
    """As Python objects with None for every kind of null."""
    values, nulls = series.astype(object).to_numpy(), series.isna().to_numpy()
    if nulls.any():
        values = values.copy()
        values[nulls] = None
    return pd.Series(values, index=series.index, dtype=object)


def _numbers(series: pd.Series) -> Plain:
    """int64 where nothing is lost by it, float64 otherwise."""
    if pd.api.types.is_float_dtype(series.dtype):
        return Plain(pd.Series(series.to_numpy(dtype=float, na_value=np.nan), index=series.index), "number")
    present = series.dropna()
    if series.notna().all() and int(present.max()) <= np.iinfo(np.int64).max:
        numbers = pd.Series(series.to_numpy(dtype="int64"), index=series.index)
    else:
        numbers = pd.Series(series.to_numpy(dtype=float, na_value=np.nan), index=series.index)
    return _told_apart(numbers, present)


def _told_apart(numbers: pd.Series, whole: pd.Series) -> Plain:
    """Every method calculates in floats; whole numbers that become equal there are not compared at all."""
    if max(abs(int(whole.max())), abs(int(whole.min()))) > EXACT:
        floats = pd.Series([float(value) for value in whole.unique()])
        if floats.nunique() < len(floats):
            return Plain(numbers, "unknown", t("whole numbers beyond 2^53, which cannot be told apart"))
    return Plain(numbers, "number")


def _from_objects(series: pd.Series) -> Plain:
    inferred = pd.api.types.infer_dtype(series, skipna=True)
    if inferred == "string":
        return _from_text(series)
    if inferred == "boolean":
        return Plain(series, "category")
    if inferred in ("datetime", "datetime64", "date", "period", "time"):
        return Plain(series, "time")
    if inferred in ("timedelta", "timedelta64"):
        return Plain(pd.to_timedelta(series).dt.total_seconds(), "number")
    if inferred == "interval":
        # Bins, as pandas.cut makes them: their names are categories.
        return Plain(texts(series), "category")
    kinds = {type(value) for value in series if value is not None}
    real = {kind for kind in kinds if issubclass(kind, Number) and not issubclass(kind, bool | complex)}
    if kinds == real:
        return _from_numbers(series, whole=inferred == "integer")
    rest = {*kinds} - real
    if rest and all(issubclass(kind, str | bool | np.bool_) for kind in rest):
        return Plain(
            series, "unknown", t("numbers and text mixed") if str in rest else t("numbers and True or False mixed")
        )
    names = ", ".join(sorted(kind.__name__ for kind in kinds)[:3])
    return Plain(series, "unknown", t("values that are neither numbers nor text ({types})", types=names))


def _from_numbers(series: pd.Series, *, whole: bool) -> Plain:
    try:
        numbers = pd.Series([np.nan if one is None else float(one) for one in series], series.index)
        return _told_apart(numbers, series.dropna()) if whole else Plain(numbers, "number")
    except (OverflowError, ValueError, TypeError):
        return Plain(series, "unknown", t("numbers too large to compare"))


def _from_text(series: pd.Series) -> Plain:
    values = pd.Series(series.unique()).dropna()
    if len(values) >= MIN_DATES and _all_like(values, DATE):
        return Plain(series, "time")
    if len(values) > MAX_CODES and _all_like(values, NUMBER_TEXT):
        example = values.iloc[0].strip()[:20]
        return Plain(series, "unknown", t('numbers written as text ("{example}")', example=example))
    return Plain(series, "category")


def _all_like(values: pd.Series, pattern: str) -> bool:
    return bool(values[: 50 * MIN_DATES].str.fullmatch(pattern).all())


def _other_dates(left: pd.Series, right: pd.Series) -> bool:
    """Whether both sides hold dates as text and not one in common: the days of two months, or when each was taken."""
    first, second = (pd.Series(side.dropna().unique()) for side in (left, right))
    return not set(first) & set(second) and _all_like(first, DATE) and _all_like(second, DATE)


def texts(series: pd.Series) -> pd.Series:
    """Values as text that can be written to a file: no lone surrogates, none of megabytes; 7.0 is 7 as 7 is."""
    try:
        # Each different value is written once: there are few of them in a million rows.
        codes, values = pd.factorize(series.astype(object))
    except TypeError:
        # Lists and mappings have no hash.
        return _objects(series).map(_text, na_action="ignore")
    # The code of null is -1, the last place.
    written = np.array([*map(_text, values), None], dtype=object)
    return pd.Series(written[codes], index=series.index, dtype=object)


def readable(text: str) -> str:
    """Text that can be written to a file and seen on a page: `' '` for a blank, no lone surrogates."""
    whole = text.encode("utf-8", "replace").decode("utf-8")
    return whole if whole.strip() else repr(whole)


def _text(value: object) -> str:
    # Whole numbers with one null among them arrive as floats.
    number = int(value) if isinstance(value, float) and value.is_integer() else value
    text = readable(str(number))
    if len(text) <= MAX_VALUE_CHARS:
        return text
    digest = hashlib.sha256(text.encode()).hexdigest()[:8]
    return f"{text[:MAX_VALUE_CHARS]}… ({digest})"
