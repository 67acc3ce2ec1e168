"""A column of two periods as counts: each different value, and the rows of either that hold it. No row is left."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import pandas as pd

# Whole numbers within so few of each other are counted without sorting them.
NARROW: Final = 2**16


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
    one, two = (_numbers(side) if kind == "number" else _categories(side) for side in (reference, current))
    both = np.concatenate([one[0], two[0]])
    # Two sorted runs: a stable sort merges them in one pass.
    order = np.argsort(both, kind="stable")
    merged, of_ref = both[order], order < len(one[0])
    first = np.ones(len(both), dtype=bool)
    first[1:] = merged[1:] != merged[:-1]
    places = np.cumsum(first) - 1
    ref, cur = (np.zeros(int(first.sum()), dtype=np.int64) for _ in range(2))
    ref[places[of_ref]], cur[places[~of_ref]] = one[1], two[1]
    ref_nulls, cur_nulls = len(reference) - int(ref.sum()), len(current) - int(cur.sum())
    whole = kind == "number" and all(side.dtype.kind in "iu" for side in (reference, current))
    return Counted(kind, merged[first], ref, cur, ref_nulls, cur_nulls, whole)


def quantiles(values: np.ndarray, counts: np.ndarray, shares: Sequence[float]) -> list[float]:
    """`np.quantile` of values that occur so often."""
    ends = np.cumsum(counts)
    places = np.asarray(shares) * (ends[-1] - 1)
    low, high = (values[np.searchsorted(ends, place, side="right")] for place in (np.floor(places), np.ceil(places)))
    return [float(one) for one in low + (high - low) * (places - np.floor(places))]


def _numbers(series: pd.Series) -> tuple[np.ndarray, np.ndarray]:
    """The different numbers of one side in their order, and the rows of each."""
    if series.dtype.kind in "iu" and len(series):
        whole = series.to_numpy()
        low, high = int(whole.min()), int(whole.max())
        if high - low < NARROW:
            counts = np.bincount(whole - low)
            there = np.flatnonzero(counts)
            return (there + low).astype(float), counts[there]
    numbers = series.to_numpy(dtype=float, na_value=np.nan)
    return np.unique(numbers[~np.isnan(numbers)], return_counts=True)


def _categories(series: pd.Series) -> tuple[np.ndarray, np.ndarray]:
    """The different values of one side as text in their order, and the rows of each."""
    codes, values = pd.factorize(series)
    words = np.array([str(value) for value in values], dtype=object)
    order = np.argsort(words, kind="stable")
    return words[order], np.bincount(codes[codes >= 0], minlength=len(words))[order]
