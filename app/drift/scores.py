"""Scores of one column from its counts: what Evidently gives for the same rows, without the rows and without Evidently.

Its own choice of a method and every method that can be chosen are here, but two: total variation permutes rows in their
order, and text is no counts. tests/test_drift_scores.py holds each one to Evidently's own answer.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from app.drift.chance import FEW_NUMBERS, METHOD_SWITCH_ROWS, MIN_SPREAD
from app.drift.counted import Counted, quantiles
from app.drift.methods import method_of

# Evidently's threshold where the policy has none: for distances, and for most tests ...
DEFAULT: Final = 0.1
# ... and for these tests.
STRICT_TESTS: Final = dict.fromkeys(("chisquare", "es", "ks", "mannw", "t_test", "z"), 0.05)
# A score this near its threshold (as a part of it) is decided on by Evidently's own sum, whose last digits are others.
NEAR: Final = 1e-9
# Up to so many different reference values Evidently compares numbers value by value, above in bins.
VALUE_BY_VALUE: Final = 20
# Half of a normal distribution is within so many of its standard deviations.
HALF: Final = 1.349
# What Evidently puts in the place of a share of 0, and how much less where shares are as small as that.
NO_SHARE: Final = 0.0001
SMALLER: Final = 10**6


@dataclass(frozen=True, slots=True)
class Score:
    """`method` by its short name, and `value`, not finite where the method has no answer on these values."""

    method: str
    value: float
    threshold: float

    @property
    def near(self) -> bool:
        """Whether score and threshold are so near that the order of a sum decides between them."""
        return abs(self.value - self.threshold) <= NEAR * self.threshold

    @property
    def drifted(self) -> bool:
        """Evidently's rule of this method."""
        return method_of(self.method).drifted(self.value, self.threshold)


def default_method(column: Counted) -> str:
    """Evidently's choice for a column without infinities."""
    small = int(column.ref.sum()) <= METHOD_SWITCH_ROWS
    if column.kind == "number" and len(column.values) > FEW_NUMBERS:
        return "ks" if small else "wasserstein"
    if not small:
        return "jensenshannon"
    return "chisquare" if len(column.values) > 2 else "z"


def score(column: Counted, method: str | None = None, threshold: float | None = None) -> Score | None:
    """The score by this method, or by Evidently's choice; None where the method needs the rows, or has none to ask."""
    column = finite(column)
    if not column.ref.any() or not column.cur.any():
        return None
    method = method or default_method(column)
    if method not in _METHODS:
        return None
    with np.errstate(all="ignore"):
        value = float(_METHODS[method](column))
    return Score(method, value, STRICT_TESTS.get(method, DEFAULT) if threshold is None else threshold)


def finite(column: Counted) -> Counted:
    """The column as Evidently compares it: without infinities."""
    if column.kind != "number" or np.isfinite(column.values).all():
        return column
    kept = np.isfinite(column.values)
    return replace(column, values=column.values[kept], ref=column.ref[kept], cur=column.cur[kept])


# --- distances -------------------------------------------------------------------------------------------------------


def wasserstein(column: Counted) -> float:
    """The area between both distribution functions, in standard deviations of the reference."""
    apart = np.abs(np.cumsum(column.ref)[:-1] / column.ref.sum() - np.cumsum(column.cur)[:-1] / column.cur.sum())
    return float(np.sum(apart * np.diff(column.values))) / max(spread(column.values, column.ref), MIN_SPREAD)


def spread(values: np.ndarray, counts: np.ndarray) -> float:
    """The standard deviation of values that occur so often."""
    rows = counts.sum()
    mean = float(np.sum(values * counts)) / rows
    return math.sqrt(float(np.sum(counts * (values - mean) ** 2)) / rows)


def middle_spread(values: np.ndarray, counts: np.ndarray) -> float:
    """The width of the middle half of the rows, as a standard deviation; 0 where half of them hold one value."""
    low, high = quantiles(values, counts, (0.25, 0.75))
    return (high - low) / HALF


def _jensenshannon(column: Counted) -> float:
    from scipy.special import rel_entr

    one, two = (part / part.sum() for part in _shares(column))
    middle = (one + two) / 2
    return float(np.sqrt((np.sum(rel_entr(one, middle)) + np.sum(rel_entr(two, middle))) / 2))


def _psi(column: Counted) -> float:
    one, two = (_without_zero(part) for part in _shares(column))
    return float(np.sum((one - two) * np.log(one / two)))


def _kl_div(column: Counted) -> float:
    from scipy.special import rel_entr

    one, two = (_without_zero(part) for part in _shares(column))
    return float(np.sum(rel_entr(one / one.sum(), two / two.sum())))


def _hellinger(column: Counted) -> float:
    if column.kind == "category":
        one, two = column.ref / column.ref.sum(), column.cur / column.cur.sum()
    else:
        # Evidently bins the different values, each once.
        edges = np.histogram_bin_edges(_numbers(column), bins="sturges")
        # As density times width, bin by bin, which is the share.
        one, two = (_binned(column.values, counts, edges) / counts.sum() for counts in (column.ref, column.cur))
    return math.sqrt(1 - min(float(np.sum(np.sqrt(one * two))), 1.0))


def _shares(column: Counted) -> tuple[np.ndarray, np.ndarray]:
    """Shares of both sides by value, or by bin where the reference has many different numbers."""
    one, two = column.ref, column.cur
    if column.kind == "number" and np.count_nonzero(column.ref) > VALUE_BY_VALUE:
        edges = np.histogram_bin_edges(np.concatenate(_rows(column)), bins="sturges")
        one, two = (_binned(column.values, counts, edges) for counts in (one, two))
    return one / column.ref.sum(), two / column.cur.sum()


def _binned(values: np.ndarray, counts: np.ndarray, edges: np.ndarray) -> np.ndarray:
    return np.histogram(values, bins=edges, weights=counts)[0]


def _without_zero(shares: np.ndarray) -> np.ndarray:
    least = float(shares[shares > 0].min())
    return np.where(shares == 0, least / SMALLER if least <= NO_SHARE else NO_SHARE, shares)


# --- tests -----------------------------------------------------------------------------------------------------------


def _chisquare(column: Counted) -> float:
    from scipy.special import chdtrc

    expected = column.ref * (column.cur.sum() / column.ref.sum())
    return float(chdtrc(len(column.values) - 1, np.sum((column.cur - expected) ** 2 / expected)))


def _g_test(column: Counted) -> float:
    from scipy.special import chdtrc, xlogy

    return float(chdtrc(len(column.values) - 1, 2 * np.sum(xlogy(column.cur, column.cur / column.ref))))


def _z(column: Counted) -> float:
    from scipy.special import ndtr

    if len(column.values) == 1:
        return 1.0
    ref, cur = int(column.ref.sum()), int(column.cur.sum())
    one, two = 1 - column.ref[0] / ref, 1 - column.cur[0] / cur
    both = (one * ref + two * cur) / (ref + cur)
    return float(2 * (1 - ndtr(abs((one - two) / math.sqrt(both * (1 - both) * (1 / ref + 1 / cur))))))


def _fisher(column: Counted) -> float:
    from scipy.stats import fisher_exact

    def two(counts: np.ndarray) -> list[int]:
        return [int(one) for one in np.resize(np.append(counts, 0), 2)]

    return float(fisher_exact([two(column.cur), two(column.ref)])[1])


def _from_rows(name: str, place: int = 1, **named: str) -> Callable[[Counted], float]:
    """A test of scipy's, which takes the rows: their order is all that counts do not say, and no test asks for it."""

    def test(column: Counted) -> float:
        from scipy import stats

        return float(getattr(stats, name)(*_rows(column), **named)[place])

    return test


def _cramer(column: Counted) -> float:
    from scipy.stats import cramervonmises_2samp

    return float(cramervonmises_2samp(*_rows(column)).pvalue)


def _anderson(column: Counted) -> float:
    from scipy.stats import anderson_ksamp

    return float(anderson_ksamp(_rows(column))[2])


def _energy(column: Counted) -> float:
    from scipy.stats import energy_distance

    return float(energy_distance(column.values, column.values, column.ref, column.cur))


def _rows(column: Counted) -> tuple[np.ndarray, np.ndarray]:
    return np.repeat(_numbers(column), column.ref), np.repeat(_numbers(column), column.cur)


def _numbers(column: Counted) -> np.ndarray:
    """The values in their type: numpy gives whole numbers no bin narrower than 1."""
    return column.values.astype(np.int64) if column.whole else column.values


_METHODS: Final[dict[str, Callable[[Counted], float]]] = {
    "anderson": _anderson,
    "chisquare": _chisquare,
    "cramer_von_mises": _cramer,
    "ed": _energy,
    "es": _from_rows("epps_singleton_2samp"),
    "fisher_exact": _fisher,
    "g_test": _g_test,
    "hellinger": _hellinger,
    "jensenshannon": _jensenshannon,
    "kl_div": _kl_div,
    "ks": _from_rows("ks_2samp"),
    "mannw": _from_rows("mannwhitneyu", alternative="less"),
    "psi": _psi,
    "t_test": _from_rows("ttest_ind"),
    "wasserstein": wasserstein,
    "z": _z,
}
