"""Columns of the gate with their scores: from counts, one column at a time, and by Evidently where counts do not do.

For workers. Evidently is imported for a column that needs it: text, total variation, a score at its very threshold.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Final

import numpy as np
import pandas as pd

from app.drift.counted import Counted, counted
from app.drift.decide import counted_columns
from app.drift.methods import Method, method_of
from app.drift.once import Answers, once
from app.drift.opinion import opinion
from app.drift.result import Column, Policy
from app.drift.scores import score
from app.errors import DataError
from app.words.message import t

# Comparing identifiers as text trains a classifier, half of all time at a million rows: beyond this they are left out
# unless the policy counts them.
IDENTIFIER_ROWS: Final = 50_000


def scored(
    columns: Sequence[Column],
    reference: pd.DataFrame,
    current: pd.DataFrame,
    policy: Policy,
    *,
    counts: Mapping[str, Counted] = MappingProxyType({}),
    answers: Answers | None = None,
    listener: Callable[[int], None] | None = None,
) -> tuple[Column, ...]:
    """Score every comparable column, and test it for the second opinion. Both frames are the gate's.

    `listener` hears how many have been looked at. A column that its method cannot judge comes back as not comparable
    with the reason. An identifier that does not count waits for `with_identifier`. `counts` are those that the gate
    has kept. What Evidently is asked here, the report has from `answers`.
    """
    counting = {one.name for one in counted_columns(columns, policy)}
    done = []
    for column in columns:
        if column.comparable and (column.kind != "text" or column.name in counting):
            rows = reference[column.name], current[column.name]
            done.append(_scored(column, rows, counts.get(column.name), policy, answers))
        elif column.uncertain and column.name in counts:
            done.append(_tested(column, counts[column.name], policy))
        else:
            done.append(column)
        if listener is not None:
            listener(len(done))
    return tuple(done)


def with_identifier(
    columns: Sequence[Column], reference: pd.DataFrame, current: pd.DataFrame, policy: Policy
) -> tuple[Column, ...]:
    """The columns with the score of an identifier that does not count, for the other way of counting, while cheap."""

    def judged(column: Column) -> Column:
        if column.kind != "text" or not column.comparable or column.score is not None:
            return column
        if len(reference) + len(current) > IDENTIFIER_ROWS:
            return unfit(column, t("left out: comparing it as text takes too long at this size"))
        return by_evidently(column, reference[column.name], current[column.name], policy)

    return tuple(judged(column) for column in columns)


def by_evidently(
    column: Column, reference: pd.Series, current: pd.Series, policy: Policy, answers: Answers | None = None
) -> Column:
    """The column with the score that Evidently gives it alone, or why it gives none."""
    from app.drift.evidently_run import value_drift, why

    text = column.kind == "text"
    chosen = None if text else policy.methods.get(column.name)
    threshold = None if text else policy.thresholds.get(column.name)
    try:
        with once(answers=answers):
            theirs = value_drift(reference, current, column.kind, chosen, threshold)
    except DataError as error:
        return unfit(column, _failed(chosen, why(error)))
    value = math.nan if theirs.value is None else theirs.value
    if theirs.method is None or theirs.threshold is None:
        return unfit(column, t("Evidently gives no method for it"))
    one = not math.isfinite(value) and len({*reference.dropna().unique(), *current.dropna().unique()}) == 1
    return _with(column, method_of(theirs.method), value, theirs.threshold, theirs.drifted, one_value=one)


def unfit(column: Column, reason: str) -> Column:
    """The column as one that cannot be compared."""
    return replace(column, comparable=False, reason=reason, method=None, score=None, threshold=None, drifted=None)


def failing(column: Column, policy: Policy, cause: str) -> Column:
    """The column after Evidently failed on it."""
    return unfit(column, _failed(None if column.kind == "text" else policy.methods.get(column.name), cause))


def _failed(chosen: str | None, cause: str) -> str:
    if not chosen:
        return t("Evidently fails on its values: {why}", why=cause)
    return t("the method chosen for it ({method}) fails on its values: {why}", method=chosen, why=cause)


def _scored(
    column: Column,
    rows: tuple[pd.Series, pd.Series],
    counts: Counted | None,
    policy: Policy,
    answers: Answers | None,
) -> Column:
    if column.kind == "text":
        return by_evidently(column, *rows, policy, answers)
    chosen = policy.methods.get(column.name)
    counts = counts or counted(*rows, column.kind)
    column = _tested(column, counts, policy)
    if chosen is not None:
        method = method_of(chosen)
        if reason := method.misfit(column.kind):
            return unfit(column, reason)
        if not fits(method, counts):
            needs = {"method": chosen, "needs": t(method.needs)}
            return unfit(column, t("the method chosen for it ({method}) needs {needs}", **needs))
    ours = score(counts, chosen, policy.thresholds.get(column.name))
    if ours is None or ours.near:
        return by_evidently(column, *rows, policy, answers)
    return _with(column, method_of(ours.method), ours.value, ours.threshold, None, one_value=len(counts.values) == 1)


def _tested(column: Column, counts: Counted, policy: Policy) -> Column:
    return replace(column, opinion=opinion(counts, policy.methods.get(column.name), policy.thresholds.get(column.name)))


def _with(
    column: Column, method: Method, value: float, threshold: float, flag: bool | None, *, one_value: bool
) -> Column:
    if not math.isfinite(value):
        if not one_value:
            return unfit(column, t("{method} gives no number for these values", method=method.shown))
        # A test has nothing to test on one value that is the same on both sides: there is no drift, and that is known.
        value = 1.0 if method.p_value else 0.0
    drifted = method.drifted(value, threshold) if flag is None else flag
    return replace(column, method=method.shown, score=value, threshold=threshold, drifted=drifted)


def fits(method: Method, column: Counted) -> bool:
    """Whether this method has an answer on these values. Evidently raises on some, and answers wrongly with z."""
    values = len(column.values)
    if method.name in ("fisher_exact", "g_test") and column.ref.sum() != column.cur.sum():
        return False
    if method.name in ("fisher_exact", "z"):
        return values <= 2
    if method.name == "anderson":
        return values > 1
    if method.name == "hellinger" and column.kind == "number":
        numbers = column.values.astype(np.int64) if column.whole else column.values
        return values == 1 or len(np.histogram_bin_edges(numbers, bins="sturges")) > 2
    if method.name == "es":
        quarter, three = np.percentile(np.repeat(column.values, column.ref + column.cur), (25, 75))
        return bool(three > quarter)
    return True
