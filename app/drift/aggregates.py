"""Columns in aggregates: means, shares and histograms of both periods on common bins. Nothing here names a row."""

from __future__ import annotations

from typing import Final

import numpy as np
import pandas as pd

from app.drift.result import Histogram, Side

# Enough to see a shape at the width of a table cell, few enough to read the counts.
BINS: Final = 20
# A bar chart of more categories than this cannot be read; the rest is summed.
CATEGORIES: Final = 20
OTHER: Final = "(other)"


def sides(reference: pd.Series, current: pd.Series, kind: str) -> tuple[Side, Side]:
    """Both sides of one normalised column (`kind` "number", "category" or "text")."""
    if kind == "number":
        edges = _edges(reference, current)
        return _number(reference, edges), _number(current, edges)
    if kind == "category":
        kept = _kept(reference, current)
        return _category(reference, kept), _category(current, kept)
    return Side(nulls=int(reference.isna().sum())), Side(nulls=int(current.isna().sum()))


def _finite(series: pd.Series) -> np.ndarray:
    values = _floats(series)
    return np.asarray(values[np.isfinite(values)])


def _floats(series: pd.Series) -> np.ndarray:
    return np.asarray(series.to_numpy(dtype=float, na_value=np.nan))


def _edges(reference: pd.Series, current: pd.Series) -> np.ndarray | None:
    values = np.concatenate([_finite(reference), _finite(current)])
    if not values.size:
        return None
    low, high = float(values.min()), float(values.max())
    # Beyond this the width of a bin is not a finite number, or vanishes next to the values themselves.
    if not np.isfinite(high - low) or (high > low and low + (high - low) / BINS == low):
        return None
    distinct = np.unique(values[: 100 * BINS])
    if np.all(distinct == np.round(distinct)) and high - low < BINS and np.all(values == np.round(values)):
        # Small whole numbers: one bar each, centred on the number.
        return np.arange(low - 0.5, high + 1.0, 1.0)
    return np.linspace(low, high, BINS + 1) if high > low else np.array([low - 0.5, low + 0.5])


def _number(series: pd.Series, edges: np.ndarray | None) -> Side:
    values = _floats(series)
    finite = values[np.isfinite(values)]
    with np.errstate(over="ignore", invalid="ignore"):
        mean = float(finite.mean()) if finite.size else None
    histogram = None
    if edges is not None:
        counts, _ = np.histogram(finite, bins=edges)
        histogram = Histogram(tuple(float(edge) for edge in edges), tuple(int(one) for one in counts))
    return Side(
        mean=mean if mean is None or np.isfinite(mean) else None,
        nulls=int(np.isnan(values).sum()),
        infinite=int(np.isinf(values).sum()),
        histogram=histogram,
    )


def _kept(reference: pd.Series, current: pd.Series) -> list[str]:
    counts = pd.concat([reference, current]).dropna().astype(str).value_counts()
    return [str(value) for value in counts.index[:CATEGORIES]]


def _category(series: pd.Series, kept: list[str]) -> Side:
    present = series.dropna()
    counts = present.astype(str).value_counts()
    if not len(present):
        return Side(shares={}, nulls=len(series), infinite=0)
    shares = {value: float(counts.get(value, 0)) / len(present) for value in kept}
    rest = 1.0 - sum(shares.values())
    if len(counts) and counts.index.difference(kept).size:
        shares[OTHER] = max(rest, 0.0)
    return Side(shares=shares, nulls=int(series.isna().sum()), infinite=0)
