"""A test of our own beside Evidently's score: how far a column moved, in its unit, and how sure that is. Pure.

Numbers: the difference of the means; tested by ranks (Mann-Whitney) and by the largest gap of both distribution
functions (K-S), the smaller p-value doubled. Categories, and numbers of few values: the share that moved most; tested
by chi-square of both sides, where Evidently takes the reference's shares for exact. Everything is reckoned from counts.
"""

from __future__ import annotations

from dataclasses import replace
from statistics import NormalDist
from typing import Final

import numpy as np

from app.drift.chance import FEW_NUMBERS, MIN_SPREAD
from app.drift.counted import Counted
from app.drift.methods import method_of
from app.drift.result import Opinion
from app.drift.scores import default_method, finite, middle_spread, score, spread, wasserstein

# An interval holds the true move in so many of a hundred cases.
SURE: Final = 0.95
# Cells in which fewer rows than this are expected are tested together: chi-square is none with fewer.
EXPECTED: Final = 5.0
# Outliers that make the spread so many times that of the middle half are no measure of a move.
RULED: Final = 3.0
# So often the rows are drawn again: enough to tell a column that always drifts from one that may.
DRAWS: Final = 100
# Distributions are drawn from so many bins of equal rows.
BINS: Final = 64


def opinion(column: Counted, method: str | None = None, threshold: float | None = None) -> Opinion | None:
    """What our own test says of a column, None without values on a side.

    `method` and `threshold` are those the policy gives to the column; how often its drift by them comes and goes when
    the rows are drawn again is `again`.
    """
    column = finite(column)
    if not column.ref.sum() or not column.cur.sum():
        return None
    few = column.kind != "number" or len(column.values) <= FEW_NUMBERS
    with np.errstate(all="ignore"):
        ours = _shares(column) if few else _numbers(column)
    return replace(ours, again=_again(column, method or default_method(column), threshold))


# --- numbers ---------------------------------------------------------------------------------------------------------


def _numbers(column: Counted) -> Opinion:
    rows = [float(side.sum()) for side in (column.ref, column.cur)]
    means = [
        float((column.values * side).sum() / count) for side, count in zip((column.ref, column.cur), rows, strict=True)
    ]
    spreads = [spread(column.values, side) for side in (column.ref, column.cur)]
    error = float(np.sqrt(sum(width**2 / count for width, count in zip(spreads, rows, strict=True))))
    scale, middle = max(spreads[0], MIN_SPREAD), middle_spread(column.values, column.ref)
    if middle and scale > RULED * middle:
        scale = middle
    effect, reach = means[1] - means[0], NormalDist().inv_cdf((1 + SURE) / 2) * error
    # The distance of two samples of one distribution is not zero: what chance alone brings is taken off.
    beyond = wasserstein(column) * max(spreads[0], MIN_SPREAD) - _by_chance(column, rows)
    return Opinion(
        unit="mean",
        before=means[0],
        after=means[1],
        low=effect - reach,
        high=effect + reach,
        error=error,
        size=max(abs(effect), beyond) / scale,
        p=min(1.0, 2 * min(_by_ranks(column, rows), _by_gap(column, rows))),
    )


def _by_chance(column: Counted, rows: list[float]) -> float:
    """The first Wasserstein distance that two samples of all rows have in the middle, in the unit."""
    pooled = np.cumsum(column.ref + column.cur)[:-1] / sum(rows)
    wide = np.sqrt(pooled * (1 - pooled) * (1 / rows[0] + 1 / rows[1]) * 2 / np.pi)
    return float((wide * np.diff(column.values)).sum())


def _by_ranks(column: Counted, rows: list[float]) -> float:
    """Mann-Whitney, both ways, with ties."""
    from scipy.special import ndtr

    tied, everyone = (column.ref + column.cur).astype(float), sum(rows)
    ranks = np.cumsum(tied) - (tied - 1) / 2
    wins = float((ranks * column.cur).sum()) - rows[1] * (rows[1] + 1) / 2
    ties = float((tied**3 - tied).sum()) / (everyone * (everyone - 1))
    variance = rows[0] * rows[1] / 12 * (everyone + 1 - ties)
    if variance <= 0:
        return 1.0
    return float(2 * ndtr(-abs(wins - rows[0] * rows[1] / 2) / np.sqrt(variance)))


def _by_gap(column: Counted, rows: list[float]) -> float:
    """K-S for many rows; ties make it careful."""
    from scipy.special import kolmogorov

    gap = np.abs(np.cumsum(column.ref) / rows[0] - np.cumsum(column.cur) / rows[1]).max()
    return float(kolmogorov(gap * np.sqrt(rows[0] * rows[1] / sum(rows))))


# --- shares ----------------------------------------------------------------------------------------------------------


def _shares(column: Counted) -> Opinion:
    from scipy.special import chdtrc

    rows = [float(side.sum()) for side in (column.ref, column.cur)]
    before, after = column.ref / rows[0], column.cur / rows[1]
    moves, pooled = after - before, (column.ref + column.cur) / sum(rows)
    # Of two values the second: True and not False, 1 and not 0.
    most = len(moves) - 1 - int(np.abs(moves[::-1]).argmax())
    error = float(np.sqrt(sum(side[most] * (1 - side[most]) / n for side, n in ((before, rows[0]), (after, rows[1])))))
    # The largest of several is looked at: each of their intervals is made wider for it.
    sure = NormalDist().inv_cdf(1 - (1 - SURE) / 2 / max(len(moves) - 1, 1))
    effect, value = float(moves[most]), column.values[most]
    chance = np.sqrt(pooled * (1 - pooled) * (1 / rows[0] + 1 / rows[1]) * 2 / np.pi)
    cells = _tested_together(np.stack([column.ref, column.cur]).astype(float), rows)
    expected = np.outer(rows, cells.sum(axis=0)) / sum(rows)
    p = 1.0
    if cells.shape[1] > 1:
        p = float(chdtrc(cells.shape[1] - 1, ((cells - expected) ** 2 / expected).sum()))
    return Opinion(
        unit="share",
        value=str(int(value)) if isinstance(value, float) and value.is_integer() else str(value),
        before=float(before[most]),
        after=float(after[most]),
        low=max(effect - sure * error, -1.0),
        high=min(effect + sure * error, 1.0),
        error=error,
        size=max(abs(effect), float(np.abs(moves).sum() - chance.sum()) / 2),
        p=p,
    )


def _tested_together(cells: np.ndarray, rows: list[float]) -> np.ndarray:
    """Counts of two sides by cell, those that are too small as one; 0 and 1 columns are no test."""
    cells = cells[:, cells.sum(axis=0) > 0]
    small = cells.sum(axis=0) * min(rows) / sum(rows) < EXPECTED
    if small.sum() < 2:
        return cells
    return np.column_stack([cells[:, ~small], cells[:, small].sum(axis=1)])


# --- Evidently's flag when the rows are drawn again ------------------------------------------------------------------


def _again(column: Counted, method: str, threshold: float | None) -> float | None:
    """In which share of drawings of the same rows the method calls the column drifted; None where it is not drawn."""
    # Others are not drawn again, and some raise on values that they cannot judge.
    ours = score(column, method, threshold) if method in _STATISTICS else None
    if ours is None or not np.isfinite(ours.value):
        return None
    cells = _binned(column) if method in ("wasserstein", "ks") else column
    random, statistic = np.random.default_rng(0), _STATISTICS[method]
    drawn = [random.poisson(side, (DRAWS, len(cells.values))).astype(float) for side in (cells.ref, cells.cur)]
    with np.errstate(all="ignore"):
        scores = statistic(drawn[0], drawn[1], cells.values)
        whole = statistic(cells.ref[None].astype(float), cells.cur[None].astype(float), cells.values)[0]
    limit = _critical(method, ours.threshold, len(column.values))
    if not np.isfinite(scores).all() or not np.isfinite(whole) or not np.isfinite(limit):
        return None
    # What is drawn again lies further apart than what it is drawn from: only how far it varies is taken.
    reached = (whole if method_of(method).p_value else ours.value) + scores - scores.mean()
    return float((reached >= limit).mean())


def _binned(column: Counted) -> Counted:
    """The column in bins of about equal rows, each at the mean of its values."""
    pooled = column.ref + column.cur
    if len(column.values) <= BINS:
        return column
    of = np.minimum((np.cumsum(pooled) - 1) * BINS // pooled.sum(), BINS - 1)
    starts = np.flatnonzero(np.diff(of, prepend=-1))
    ref, cur, rows = (np.add.reduceat(side, starts) for side in (column.ref, column.cur, pooled))
    values = np.add.reduceat(column.values * pooled, starts) / rows
    return Counted(column.kind, values, ref, cur, column.ref_nulls, column.cur_nulls)


def _critical(method: str, threshold: float, values: int) -> float:
    """The threshold on the scale of the statistic."""
    from scipy.special import chdtri, kolmogi

    if method == "ks":
        return float(kolmogi(threshold))
    if method == "z":
        return NormalDist().inv_cdf(1 - threshold / 2) if 0 < threshold < 1 else float("nan")
    if method == "chisquare":
        return float(np.sqrt(chdtri(max(values - 1, 1), threshold)))
    return threshold


def _wasserstein(left: np.ndarray, right: np.ndarray, values: np.ndarray) -> np.ndarray:
    rows = left.sum(axis=1)
    mean = left @ values / rows
    width = np.sqrt(np.maximum(left @ values**2 / rows - mean**2, 0))
    return np.asarray(_gaps(left, right)[:, :-1] @ np.diff(values) / np.maximum(width, MIN_SPREAD))


def _gaps(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    one, two = (np.cumsum(side, axis=1) / side.sum(axis=1, keepdims=True) for side in (left, right))
    return np.asarray(np.abs(one - two))


def _ks(left: np.ndarray, right: np.ndarray, _values: np.ndarray) -> np.ndarray:
    one, two = left.sum(axis=1), right.sum(axis=1)
    return np.asarray(_gaps(left, right).max(axis=1) * np.sqrt(one * two / (one + two)))


def _jensenshannon(left: np.ndarray, right: np.ndarray, _values: np.ndarray) -> np.ndarray:
    from scipy.special import rel_entr

    one, two = (side / side.sum(axis=1, keepdims=True) for side in (left, right))
    middle = (one + two) / 2
    return np.asarray(np.sqrt((rel_entr(one, middle).sum(axis=1) + rel_entr(two, middle).sum(axis=1)) / 2))


def _chisquare(left: np.ndarray, right: np.ndarray, _values: np.ndarray) -> np.ndarray:
    expected = left * (right.sum(axis=1) / left.sum(axis=1))[:, None]
    there = expected > 0
    apart = np.where(there, (right - expected) ** 2 / np.where(there, expected, 1.0), 0.0)
    return np.asarray(np.sqrt(apart.sum(axis=1)))


def _z(left: np.ndarray, right: np.ndarray, _values: np.ndarray) -> np.ndarray:
    one, two = left.sum(axis=1), right.sum(axis=1)
    shares = left[:, -1] / one, right[:, -1] / two
    pooled = (left[:, -1] + right[:, -1]) / (one + two)
    return np.asarray(np.abs(shares[0] - shares[1]) / np.sqrt(pooled * (1 - pooled) * (1 / one + 1 / two)))


_STATISTICS: Final = {
    "wasserstein": _wasserstein,
    "ks": _ks,
    "jensenshannon": _jensenshannon,
    "chisquare": _chisquare,
    "z": _z,
}
