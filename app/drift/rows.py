"""Rows of two periods: repeated within one, or the same in both. By hashes, so that any value will do."""

from __future__ import annotations

from typing import Final

import numpy as np
import pandas as pd

# Two independent samples whose rows take so many forms are never equal in all their counts.
MANY_FORMS: Final = 10
# Rows repeat by chance where there are few forms a row can take: so many times the pairs of rows is far from it.
CHANCE_FACTOR: Final = 10


def same(left: pd.DataFrame, right: pd.DataFrame, *, also: tuple[pd.Series, pd.Series] | None = None) -> bool:
    """Whether both hold the same rows in any order. `also` are identifiers, asked where rows take few forms.

    A flag that is on for as many rows in both months does not make them the same month.
    """
    if len(left) != len(right) or not len(left.columns):
        return False
    first, second = _rows(left), _rows(right)
    forms = len(pd.unique(first))
    if forms < 2 or not np.array_equal(np.sort(first), np.sort(second)):
        return False
    if forms >= MANY_FORMS:
        return True
    alike = also is None or np.array_equal(_column(also[0]), _column(also[1]))
    return bool(np.array_equal(first, second) and alike)


def repeated(frame: pd.DataFrame) -> int:
    """How many rows repeat an earlier one in every column; 0 where rows take so few forms that they must repeat."""
    if len(frame) < 2 or not len(frame.columns):
        return 0
    columns = [_column(frame.iloc[:, place]) for place in range(frame.shape[1])]
    forms = 1.0
    for column in columns:
        forms *= len(pd.unique(column))
        if forms >= CHANCE_FACTOR * len(frame) ** 2:
            break
    else:
        return 0
    return len(frame) - len(pd.unique(_combined(columns)))


def repeated_values(values: pd.Series) -> int:
    """How many values repeat an earlier one; nulls do not count."""
    present = values.dropna()
    return len(present) - len(pd.unique(_column(present)))


def _rows(frame: pd.DataFrame) -> np.ndarray:
    """One hash per row; 1 and 1.0 are one value."""
    return _combined([_column(_as_floats(frame.iloc[:, place])) for place in range(frame.shape[1])])


def _as_floats(series: pd.Series) -> pd.Series:
    return series.astype(float) if series.dtype.kind in "iu" else series


def _combined(columns: list[np.ndarray]) -> np.ndarray:
    combined = np.zeros(len(columns[0]), dtype="uint64")
    for column in columns:
        combined = combined * np.uint64(1_000_003) ^ column
    return combined


def _column(series: pd.Series) -> np.ndarray:
    try:
        hashed = pd.util.hash_pandas_object(series, index=False)
    except (TypeError, ValueError, OverflowError, NotImplementedError):
        # Lists, mappings, numbers beyond a float: alike when they read alike.
        texts = pd.Series([repr(value) for value in series], dtype=object)
        hashed = pd.util.hash_pandas_object(texts, index=False)
    return np.asarray(hashed, dtype="uint64")
