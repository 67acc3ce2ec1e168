"""Whether a column that would count as drifted is only as different as two random parts of the same rows.

Evidently's distances grow as months shrink, its chi-square takes the reference's shares for exact, and one value it has
not seen makes that chi-square certain. A column that drifts by no more than chance brings is not a drifted column, and
not a calm one either: there are too few rows to tell.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np

from app.drift.counted import Counted
from app.drift.methods import method_of
from app.words.message import t

# Evidently changes its methods above this number of non-null reference rows.
METHOD_SWITCH_ROWS: Final = 1000
# Up to so many different numbers Evidently judges them as categories.
FEW_NUMBERS: Final = 5
# What is further apart than all of so many random divisions is not so by chance (5 %) ...
DIVISIONS: Final = 19
# ... and a method that calls so many of them drifted gives twice the false alarms of a test at that level.
FALSE_ALARMS: Final = 2
# Beyond these rows on the smaller side chance moves no distance near a threshold anyone sets.
CERTAIN_ROWS: Final = 20_000
# Evidently divides the distance by the spread of the reference, and by this where the spread is smaller.
MIN_SPREAD: Final = 0.001
# Evidently's own thresholds.
THRESHOLDS: Final = {"wasserstein": 0.1, "jensenshannon": 0.1, "chisquare": 0.05}


def within(column: Counted, method: str) -> str:
    """The reason when the method finds drift, but no more than in random divisions of the same rows; else "".

    The tests that count on chance themselves (K-S and z) are believed.
    """
    if method not in THRESHOLDS:
        return ""
    limit, rows = THRESHOLDS[method], (int(column.ref.sum()), int(column.cur.sum()))
    if method == "wasserstein":
        if min(rows) > CERTAIN_ROWS:
            return ""
        drifts, distance, draw = _by_values(column, limit)
    else:
        judge = _jensenshannon if method != "chisquare" else _chisquare
        drifts, distance, draw = _by_counts(column, judge, limit)
    if not drifts:
        return ""
    divisions = [draw() for _ in range(DIVISIONS)]
    if sum(one for one, _ in divisions) < FALSE_ALARMS or distance > max(far for _, far in divisions):
        return ""
    return t(
        "no more different than random parts of the same rows, which {method} calls drifted too:"
        " too few rows ({reference:count} and {current:count}) to tell",
        method=method_of(method).words,
        reference=rows[0],
        current=rows[1],
    )


# Whether the method calls two sides drifted, and how far apart they are on a scale without a top.
_Found = tuple[bool, float]
_Judge = Callable[[np.ndarray, np.ndarray, float], _Found]


def _by_values(column: Counted, limit: float) -> tuple[bool, float, Callable[[], _Found]]:
    left, right = (np.repeat(column.values, rows) for rows in (column.ref, column.cur))
    pooled, random = np.concatenate([left, right]), np.random.default_rng(0)

    def draw() -> _Found:
        mixed = random.permutation(pooled)
        return _wasserstein(mixed[: len(left)], mixed[len(left) :], limit)

    return *_wasserstein(left, right, limit), draw


def _by_counts(column: Counted, judge: _Judge, limit: float) -> tuple[bool, float, Callable[[], _Found]]:
    pooled, rows, random = column.ref + column.cur, int(column.ref.sum()), np.random.default_rng(0)

    def draw() -> _Found:
        part = random.multivariate_hypergeometric(pooled, rows, method="marginals")
        return judge(part, pooled - part, limit)

    return *judge(column.ref, column.cur, limit), draw


def _wasserstein(left: np.ndarray, right: np.ndarray, limit: float) -> _Found:
    from scipy.stats import wasserstein_distance

    score = float(wasserstein_distance(left, right)) / max(float(np.std(left)), MIN_SPREAD)
    return score >= limit, score


def _jensenshannon(left: np.ndarray, right: np.ndarray, limit: float) -> _Found:
    from scipy.spatial.distance import jensenshannon

    score = float(jensenshannon(left / left.sum(), right / right.sum()))
    return score >= limit, score


def _chisquare(left: np.ndarray, right: np.ndarray, limit: float) -> _Found:
    from scipy.stats import chisquare

    with np.errstate(all="ignore"):
        p_value = float(chisquare(right, left * (right.sum() / left.sum()))[1])
    # Evidently's own statistic is infinite for a value it has not seen; that of two samples is not.
    expected = np.outer((left.sum(), right.sum()), left + right) / (left.sum() + right.sum())
    return p_value < limit, float(((np.stack([left, right]) - expected) ** 2 / expected).sum())
