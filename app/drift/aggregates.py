"""Columns in aggregates: means, shares and histograms of both periods on common bins. Nothing here names a row."""

from __future__ import annotations

from typing import Final

import numpy as np

from app.drift.counted import Counted
from app.drift.result import Histogram, Side

# Enough to see a shape at the width of a table cell, few enough to read the counts.
BINS: Final = 20
# A bar chart of more categories than this cannot be read; the rest is summed.
CATEGORIES: Final = 20
OTHER: Final = "(other)"


def sides(column: Counted) -> tuple[Side, Side]:
    """Both sides of one column."""
    both = ((column.ref, column.ref_nulls), (column.cur, column.cur_nulls))
    if column.kind == "number":
        finite = np.isfinite(column.values)
        edges = _edges(column.values[finite])
        ref, cur = (_number(column.values, rows, nulls, finite, edges) for rows, nulls in both)
    else:
        most = np.argsort(-(column.ref + column.cur), kind="stable")[:CATEGORIES]
        ref, cur = (_category(column.values, rows, nulls, most) for rows, nulls in both)
    return ref, cur


def _edges(values: np.ndarray) -> np.ndarray | None:
    if not values.size:
        return None
    low, high = float(values[0]), float(values[-1])
    # Beyond this the width of a bin is not a finite number, or vanishes next to the values themselves.
    if not np.isfinite(high - low) or (high > low and low + (high - low) / BINS == low):
        return None
    if high - low < BINS and np.all(values == np.round(values)):
        # Small whole numbers: one bar each, centred on the number.
        return np.arange(low - 0.5, high + 1.0, 1.0)
    return np.linspace(low, high, BINS + 1) if high > low else np.array([low - 0.5, low + 0.5])


def _number(values: np.ndarray, rows: np.ndarray, nulls: int, finite: np.ndarray, edges: np.ndarray | None) -> Side:
    some, often = values[finite], rows[finite]
    with np.errstate(over="ignore", invalid="ignore"):
        mean = float(np.sum(some * often) / often.sum()) if often.any() else None
    histogram = None
    if edges is not None:
        counts, _ = np.histogram(some, bins=edges, weights=often)
        histogram = Histogram(tuple(float(edge) for edge in edges), tuple(int(one) for one in counts))
    return Side(
        mean=mean if mean is None or np.isfinite(mean) else None,
        nulls=nulls,
        infinite=int(rows[~finite].sum()),
        histogram=histogram,
    )


def _category(values: np.ndarray, rows: np.ndarray, nulls: int, most: np.ndarray) -> Side:
    present = int(rows.sum())
    if not present:
        return Side(shares={}, nulls=nulls, infinite=0)
    shares = {str(values[place]): int(rows[place]) / present for place in most}
    if present > rows[most].sum():
        shares[OTHER] = max(1.0 - sum(shares.values()), 0.0)
    return Side(shares=shares, nulls=nulls, infinite=0)
