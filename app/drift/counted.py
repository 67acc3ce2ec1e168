"""A column of two periods as counts: each different value, and the rows of either that hold it. No row is left."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd


@dataclass(frozen=True, slots=True)
class Counted:
    """One column of both periods as counts; what a GROUP BY in any engine delivers.

    `kind` is "number" or "category". `values` are distinct and sorted: float64 for numbers, text for categories. `ref`
    and `cur` (int64) count the rows that hold each; nulls are counted apart. An infinity is a value. `whole` says that
    the column holds whole numbers by its type, on both sides: where bins are drawn, none of theirs is narrower than 1.
    """

    kind: str
    values: np.ndarray
    ref: np.ndarray
    cur: np.ndarray
    ref_nulls: int
    cur_nulls: int
    whole: bool = False


def counted(reference: pd.Series, current: pd.Series, kind: str) -> Counted:
    """Count two normalised series of the gate."""
    (one, one_counts), (two, two_counts) = (_distinct(side, kind) for side in (reference, current))
    values = np.union1d(one, two)
    ref, cur = np.zeros(len(values), dtype=np.int64), np.zeros(len(values), dtype=np.int64)
    ref[np.searchsorted(values, one)] = one_counts
    cur[np.searchsorted(values, two)] = two_counts
    whole = kind == "number" and all(side.dtype.kind in "iu" for side in (reference, current))
    return Counted(kind, values, ref, cur, int(reference.isna().sum()), int(current.isna().sum()), whole)


def _distinct(series: pd.Series, kind: str) -> tuple[np.ndarray, np.ndarray]:
    """The different values of one side in their order, and the rows of each."""
    if kind == "number":
        numbers = series.to_numpy(dtype=float, na_value=np.nan)
        return np.unique(numbers[~np.isnan(numbers)], return_counts=True)
    counts = series.dropna().astype(str).value_counts().sort_index()
    return counts.index.to_numpy(dtype=object), counts.to_numpy(dtype=np.int64)
