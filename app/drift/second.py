"""The second opinion: which columns moved significantly and materially, and whether Evidently's count agrees. Pure.

Significance is corrected over the counted columns (Benjamini-Hochberg): of fourteen columns that did not move, one is
below 0.05 in half of all comparisons.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from statistics import NormalDist
from typing import Final

from app.drift.result import Column, Policy, Second, Verdict
from app.words.message import clauses, figure, listed, on_one_line, some, t
from app.words.numbers import moved, number, share_moved

# A p-value at or below this is significant.
LEVEL: Final = 0.05
# The smallest move that is seen is one that so many of a hundred samples show.
POWER: Final = 0.9
# The share of drifted columns lies in its interval in so many of a hundred drawings.
SURE: Final = 0.95
# So many columns are named in the line.
NAMED: Final = 3


def corrected(columns: Sequence[Column], counted: Iterable[str], policy: Policy) -> tuple[Column, ...]:
    """The columns with the opinion on each held against those that count with it; on others there is no verdict."""
    names = set(counted)
    looked = [column for column in columns if column.name in names and column.opinion is not None]
    adjusted = dict(zip((one.name for one in looked), _adjusted([_p(one) for one in looked]), strict=True))
    level = NormalDist().inv_cdf(1 - LEVEL / 2 / max(len(looked), 1)) + NormalDist().inv_cdf(POWER)

    def judged(column: Column) -> Column:
        ours = column.opinion
        if ours is None:
            return column
        if column.name not in adjusted:
            return replace(column, opinion=replace(ours, adjusted=None, moved=None, perhaps=False, smallest=None))
        limit = policy.material_spread if ours.unit == "mean" else policy.material_share
        material, p = ours.size >= limit, adjusted[column.name]
        significant = p <= LEVEL
        made = replace(
            ours,
            adjusted=p,
            moved=significant and material,
            # Its own test says so, and that of all columns does not: one more is drifted by chance often enough.
            perhaps=material and not significant and ours.p <= LEVEL,
            smallest=level * ours.error,
        )
        return replace(column, opinion=made)

    return tuple(judged(column) for column in columns)


def _p(column: Column) -> float:
    return 1.0 if column.opinion is None else column.opinion.p


def _adjusted(values: Sequence[float]) -> list[float]:
    """Each p-value as Benjamini and Hochberg correct it over all of them."""
    least, answer = 1.0, [1.0] * len(values)
    for rank, place in sorted(enumerate(sorted(range(len(values)), key=values.__getitem__), 1), reverse=True):
        least = min(least, values[place] * len(values) / rank)
        answer[place] = least
    return answer


def under(policy: Policy, columns: Sequence[Column]) -> tuple[Column, ...]:
    """The columns as the policy's rule sees them: whether each drifted, and why one cannot be said to.

    Text has no second opinion and is Evidently's alone.
    """
    if policy.rule == "evidently":
        return tuple(columns)
    return tuple(_under(policy, column) for column in columns)


def _under(policy: Policy, column: Column) -> Column:
    ours = column.opinion
    if ours is None or ours.moved is None:
        return column
    flag = None if ours.perhaps else ours.moved
    if policy.rule == "both":
        theirs = column.drifted if column.comparable else None
        flag = False if False in (flag, theirs) else None if None in (flag, theirs) else True
    if flag is not None:
        return replace(column, drifted=flag, comparable=True, reason="", uncertain=False)
    reason = column.reason or t(
        "moved by its own test (p {p:number}), but no further than one of so many columns does by chance", p=ours.p
    )
    return replace(column, drifted=None, comparable=False, reason=reason, uncertain=True)


# --- the whole of it -------------------------------------------------------------------------------------------------


def interval(columns: Sequence[Column]) -> tuple[float, float] | None:
    """Between which shares the counted columns drift by Evidently's methods when the rows are drawn again.

    Column by column, as if they did not depend on each other. None without columns.
    """
    if not columns:
        return None
    chances = [1.0]
    for column in columns:
        p = _drifts(column)
        chances = [a * (1 - p) + b * p for a, b in zip([*chances, 0.0], [0.0, *chances], strict=True)]
    low = _quantile(chances, (1 - SURE) / 2)
    return low / len(columns), _quantile(chances, (1 + SURE) / 2) / len(columns)


def _drifts(column: Column) -> float:
    if not column.comparable:
        return 0.0
    if column.opinion is None or column.opinion.again is None:
        return float(column.drifted is True)
    return column.opinion.again


def _quantile(chances: Sequence[float], share: float) -> int:
    reached = 0.0
    for k, chance in enumerate(chances):
        reached += chance
        if reached >= share - 1e-12:
            return k
    return len(chances) - 1


Count = tuple[Verdict, int, int]


def second(policy: Policy, theirs: Count, ours: Count, columns: Sequence[Column]) -> Second | None:
    """The second opinion on the counted columns: what Evidently's rule decides with its k of n, and what ours does.

    Its line is "" where both agree on the verdict and on every column.
    """
    looked = [column for column in columns if column.opinion is not None and column.opinion.moved is not None]
    between = interval(columns)
    if not looked or between is None:
        return None
    missed = [one for one in looked if one.opinion and one.opinion.moved and one.comparable and not one.drifted]
    over = [one for one in looked if one.opinion and not one.opinion.moved and one.drifted]
    line = ""
    if theirs[0] is not ours[0] or missed or over:
        line = on_one_line(t("{parts}.", parts=clauses([_head(policy, theirs, ours), *_why(policy, missed, over)])))
    return Second(*ours, *between, line)


def _head(policy: Policy, theirs: Count, ours: Count) -> str:
    verdict, k, n = ours if policy.rule == "evidently" else theirs
    counts = {"verdict": verdict, "k": k, "n": n}
    if policy.rule != "evidently":
        return t("By Evidently alone {verdict}: {k} of {n} columns drifted", **counts)
    if theirs[0] is ours[0]:
        return t("Second opinion, the same verdict: {k} of {n} columns moved significantly and materially", **counts)
    return t("Second opinion {verdict}: {k} of {n} columns moved significantly and materially", **counts)


def _why(policy: Policy, missed: Sequence[Column], over: Sequence[Column]) -> list[str]:
    parts: list[str] = []
    if missed:
        names = [t("{column} ({effect})", column=one.name, effect=effect_words(one)) for one in missed[:NAMED]]
        names += [t("{n} more", n=len(missed) - NAMED)] if len(missed) > NAMED else []
        parts.append(t("Evidently's methods do not see {columns}", columns=listed(names)))
    chance = [one.name for one in over if one.opinion and (one.opinion.adjusted or 0.0) > LEVEL]
    little = [one.name for one in over if one.name not in chance]
    if chance:
        parts.append(t("{columns} drifted no further than chance allows", columns=some(chance, NAMED)))
    if little:
        parts.append(
            t(
                "{columns} moved by less than matters ({spread:number} standard deviations, {share:.3g}% of rows)",
                columns=some(little, NAMED),
                spread=policy.material_spread,
                share=policy.material_share * 100,
            )
        )
    return parts


def effect_words(column: Column) -> str:
    """How far a column moved, with its interval: `mean 2.3 → 2.6, by +0.24 to +0.38`."""
    ours = column.opinion
    if ours is None:
        return ""
    if ours.unit == "mean":
        return t(
            "mean {means:figure}, by {low:figure} to {high:figure}",
            means=figure(moved, ours.before, ours.after),
            low=figure(_signed, ours.low),
            high=figure(_signed, ours.high),
        )
    return t(
        "{value}: {shares:figure}, by {low:figure} to {high:figure} points",
        value=ours.value,
        shares=figure(share_moved, ours.before, ours.after),
        low=figure(_points, ours.low),
        high=figure(_points, ours.high),
    )


def _signed(value: float) -> str:
    return f"{'+' if value > 0 else ''}{number(value)}"


def _points(value: float) -> str:
    return f"{value * 100:+.1f}"
