"""Values far outside that rule the spread of a number column: sentinels such as -999, and outliers.

Evidently divides the distance of two months by the spread of the reference. With -999 in 5 % of the rows of both that
spread is hundreds of times the one of all other values, and no move of theirs is seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np

from app.drift.chance import FEW_NUMBERS, MIN_SPREAD, THRESHOLDS
from app.drift.counted import Counted, quantiles
from app.drift.result import Mass
from app.drift.scores import middle_spread, spread, wasserstein
from app.words.message import figure, listed, t
from app.words.numbers import entire, share_moved

# In place of a column: every one that `sentinels` does not name.
ANY: Final = "*"
# A mass at an extreme is looked for up to this share of the rows: what is more is a part of the distribution.
MOST: Final = 0.2
# A smaller share in either month is no mass; what it hides is said as outliers.
LEAST: Final = 0.005
# So many rows of each month at least hold a sentinel.
LEAST_ROWS: Final = 3
# So many different sentinels at each end: -997, -998 and -999 have separate meanings in surveys.
MASSES: Final = 3
# What is between these shares of the values is most of them; beyond are outliers.
BULK: Final = 0.01
# A sentinel lies so many spreads of the other values beyond the nearest of them.
FAR: Final = 5.0
# These shares of the reference's rows are cut off at each end to see whether they rule its spread ...
TAILS: Final = (0.01, 0.05, 0.1)
# ... which they do when it is so many times the spread of what is left: more than in any lognormal of sigma 1.
RULED: Final = 3.0


def sentinels(column: Counted, given: tuple[float, ...] | None = None) -> tuple[Mass, ...]:
    """The masses at an extreme of a number column, or the values `given` that it holds: an empty tuple looks for none.

    A mass is far from every other value, in both months, and no more than a fifth of either.
    """
    if column.kind != "number":
        return ()
    if given is not None:
        places = [int(place) for place in np.flatnonzero(np.isin(column.values, given))]
    else:
        places = _far(column)
    totals = [max(int(side.sum()), 1) for side in (column.ref, column.cur)]
    return tuple(
        Mass(float(column.values[place]), int(column.ref[place]) / totals[0], int(column.cur[place]) / totals[1])
        for place in places
    )


def without(column: Counted, values: Sequence[float]) -> Counted:
    """The column with these values among the nulls."""
    kept = ~np.isin(column.values, values)
    gone = [int(side[~kept].sum()) for side in (column.ref, column.cur)]
    return Counted(
        column.kind,
        column.values[kept],
        column.ref[kept],
        column.cur[kept],
        column.ref_nulls + gone[0],
        column.cur_nulls + gone[1],
    )


def _far(column: Counted) -> list[int]:
    """Where in the values the masses at the extremes are."""
    values = column.values
    if len(values) <= FEW_NUMBERS + 1 or not column.ref.sum() or not column.cur.sum():
        return []
    if not np.isfinite(values[[0, -1]]).all():
        return []
    pooled, size = column.ref + column.cur, len(values)
    places: list[int] = []
    for last, step in ((0, 1), (size - 1, -1)):
        end: list[int] = []
        for number in range(1, min(MASSES, size - FEW_NUMBERS - 1) + 1):
            far = [last + step * place for place in range(number)]
            rest = np.ones(size, dtype=bool)
            rest[[*far, *places]] = False
            gap = abs(values[last + step * number] - values[far[-1]])
            if gap >= FAR * _width(values[rest], pooled[rest]) and _mass(column, [*far, *places]):
                end = far
        places += end
    return sorted(places)


def _mass(column: Counted, places: list[int]) -> bool:
    """Whether each of these values is a mass in both months, and all together no more than a fifth of either."""
    for side in (column.ref, column.cur):
        counts, rows = side[places], int(side.sum())
        if counts.min() < max(LEAST_ROWS, LEAST * rows) or counts.sum() > MOST * rows:
            return False
    return True


def _width(values: np.ndarray, counts: np.ndarray) -> float:
    """The spread of the middle half, as a standard deviation; of all where half of the rows hold one value."""
    return middle_spread(values, counts) or spread(values, counts)


def unmeasured(column: Counted, month: str, limit: float | None = None) -> str:
    """Why normed Wasserstein measures nothing on this column, whose reference is `month`; or "".

    It divides by the spread of the reference: that may be none, a very small one, or one of a few rows alone. `limit`
    is the policy's threshold for the column.
    """
    width, values = spread(column.values, column.ref), column.values[column.ref > 0]
    if len(values) == 1:
        if len(column.values) == 1:
            return ""
        there = {"value": float(values[0]), "month": month}
        return t("always {value:g} in {month}: there is no spread to measure a distance by", **there)
    if width < MIN_SPREAD:
        return t(
            "a spread of {spread:.2g} in {month}: below {least} normed Wasserstein measures nothing;"
            " use a larger unit, or another method",
            spread=width,
            month=month,
            least=MIN_SPREAD,
        )
    low, high = quantiles(column.values, column.ref, (BULK, 1 - BULK))
    # Evidently's own threshold, also where the policy has a larger one: without outliers most values are within five
    # spreads, and they are no outliers for a policy that allows as much.
    if 0 < high - low < width * THRESHOLDS["wasserstein"]:
        return t(
            "a spread of {spread:.2g} in {month} where {share:.0%} of the values lie within {width:.2g}:"
            " beside its outliers normed Wasserstein sees nothing of them",
            spread=width,
            month=month,
            share=1 - 2 * BULK,
            width=float(high - low),
        )
    tail = _hidden(column, width, THRESHOLDS["wasserstein"] if limit is None else limit)
    if tail is None:
        return ""
    return t(
        "a spread that the outermost {tail:.0%} of the rows rule: the rest moved, and normed Wasserstein does not see"
        " it (name them in `sentinels`, or choose another method)",
        tail=tail,
    )


def _hidden(column: Counted, whole: float, limit: float) -> float | None:
    """The share of rows at each end that rule the spread `whole` while the rest drifts unseen; None without such.

    A column whose whole distance reaches the limit hides nothing: it drifts.
    """
    if wasserstein(column) >= limit:
        return None
    for tail in TAILS:
        low, high = quantiles(column.values, column.ref, (tail, 1 - tail))
        first, last = np.searchsorted(column.values, low), np.searchsorted(column.values, high, side="right")
        within = slice(int(first), int(last))
        inner = replace(column, values=column.values[within], ref=column.ref[within], cur=column.cur[within])
        if not inner.ref.sum() or not inner.cur.sum():
            continue
        ruled = whole >= RULED * max(spread(inner.values, inner.ref), MIN_SPREAD)
        if ruled and wasserstein(inner) >= limit:
            return tail
    return None


def words(column: str, masses: tuple[Mass, ...]) -> str:
    """The note on a column with sentinels."""
    parts = listed([_words(mass) for mass in masses])
    return t("{column}: {masses}; taken for no value, the rest is compared (sentinels).", column=column, masses=parts)


def _words(mass: Mass) -> str:
    """`-999 in 5.0% of rows, both months`, or how its share moved."""
    value = figure(entire, mass.value)
    if f"{mass.ref:.1%}" == f"{mass.cur:.1%}":
        return t("{value:figure} in {share:.1%} of rows, both months", value=value, share=mass.ref)
    shares = figure(share_moved, mass.ref, mass.cur)
    return t("{value:figure} in {shares:figure} of rows", value=value, shares=shares)
