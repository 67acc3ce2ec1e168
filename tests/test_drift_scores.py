"""Scores from counts against Evidently's own tests on the same rows: value, method, threshold and decision."""

import itertools
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from app.drift.chance import METHOD_SWITCH_ROWS
from app.drift.counted import Counted, counted
from app.drift.methods import METHODS, TEXT, method_of
from app.drift.scores import score

SAME = 1e-9
SIZES = [(40, 35), (300, 1200), (999, 999), (1000, 400), (1001, 1001), (1500, 60), (2500, 3000)]


def _with(random, moved, rows, *values):
    """Normal numbers with nulls, and with `values` in the first rows."""
    numbers = random.normal(0.2 * moved, 1, rows)
    numbers[random.random(rows) < 0.1] = np.nan
    numbers[: len(values)] = values
    return numbers


def _of(names):
    return lambda random, moved, rows: random.choice(names[1 if moved else 0], rows)


# What each form is, `moved` a little (1) or not (0).
NUMBERS = {
    "normal": lambda random, moved, rows: random.normal(0.1 * moved, 1, rows),
    "ties": lambda random, moved, rows: np.round(random.normal(0.15 * moved, 1, rows), 1),
    "whole": lambda random, moved, rows: random.poisson(12 + moved, rows),
    "flags": lambda random, moved, rows: (random.random(rows) < 0.4 + 0.05 * moved).astype(int),
    "five": lambda random, moved, rows: random.integers(0, 5, rows),
    "six": lambda random, moved, rows: random.integers(0, 6, rows) + (random.random(rows) < 0.1 * moved),
    "skewed": lambda random, moved, rows: random.lognormal(0.1 * moved, 2, rows),
    "constant": lambda random, moved, rows: np.full(rows, 3.0),
    "tiny": lambda random, moved, rows: random.normal(1e-5 * moved, 1e-5, rows),
    "nulls": _with,
    "infinite": lambda random, moved, rows: _with(random, moved, rows, np.inf, -np.inf, np.inf),
}
CATEGORIES = {
    "two": lambda random, moved, rows: random.choice(["yes", "no"], rows, p=[0.3 + 0.05 * moved, 0.7 - 0.05 * moved]),
    "three": lambda random, moved, rows: random.choice(list("abc"), rows, p=[0.3, 0.3 + moved / 25, 0.4 - moved / 25]),
    "many": lambda random, moved, rows: random.choice([f"k{one}" for one in range(40 + 2 * moved)], rows),
    "unseen": _of((["a", "b"], ["a", "b", "new"])),
    "lost": _of((["a", "b", "old"], ["a", "b"])),
    "one": _of((["same"], ["same"])),
    "flags as words": lambda random, moved, rows: random.random(rows) < 0.5 + 0.05 * moved,
    "nulls as none": lambda random, moved, rows: [
        None if one < 0.1 else "a" if one < 0.5 + 0.1 * moved else "b" for one in random.random(rows)
    ],
}
FORMS = {"number": NUMBERS, "category": CATEGORIES}
CASES = [case for kind in FORMS for case in itertools.product([kind], FORMS[kind], SIZES, (0, 1))]


def column_of(kind, form, sizes, moved):
    """Both sides of one generated column; the current one has moved a little, or not at all."""
    random = np.random.default_rng(sum(map(ord, form)) + sizes[0] + moved)
    sides = [FORMS[kind][form](random, place * moved, rows) for place, rows in enumerate(sizes)]
    return [pd.Series(side, dtype=object if kind == "category" and "flags" not in form else None) for side in sides]


def evidently_score(reference, current, kind, method=None, threshold=None):
    """Name, score, threshold and flag of Evidently's own test on what it makes of these rows."""
    from evidently.legacy.calculations.stattests import get_stattest
    from evidently.legacy.core import ColumnType

    kinds = {"number": ColumnType.Numerical, "category": ColumnType.Categorical}
    sides = [side.replace([-np.inf, np.inf], np.nan).dropna() for side in (reference, current)]
    test = get_stattest(*sides, kinds[kind], method)
    with np.errstate(all="ignore"):
        result = test(*sides, kinds[kind], threshold)
    return test.name, float(result.drift_score), result.actual_threshold, bool(result.drifted)


def held_to_evidently(reference, current, kind, method=None, threshold=None):
    name, value, limit, drifted = evidently_score(reference, current, kind, method, threshold)
    ours = score(counted(reference, current, kind), method, threshold)
    assert (ours.method, ours.threshold) == (name, limit)
    assert ours.value == pytest.approx(value, rel=SAME, abs=SAME, nan_ok=True)
    if not ours.near:
        assert ours.drifted is drifted
    return ours


def test_every_generated_pair_has_evidentlys_score_method_threshold_and_decision():
    """Ties, nulls, infinities, unseen and lost categories; 999, 1,000 and 1,001 rows; one value, two, five and six."""
    assert len(CASES) >= 200
    judged = [held_to_evidently(*column_of(kind, form, sizes, moved), kind) for kind, form, sizes, moved in CASES]
    assert {one.method for one in judged} == {"ks", "wasserstein", "chisquare", "z", "jensenshannon"}
    assert {one.drifted for one in judged} == {True, False}


@pytest.mark.filterwarnings("ignore:.*variant", "ignore:p-value")
@pytest.mark.parametrize(
    "method", [one for one in METHODS if one.kinds != TEXT and one.name != "TVD"], ids=lambda one: one.name
)
def test_every_method_that_can_be_chosen_has_evidentlys_score(method):
    for kind in sorted(method.kinds):
        forms = ["normal", "ties", "whole", "skewed", "nulls"] if kind == "number" else ["two", "three", "many", "lost"]
        if method.name in ("z", "fisher_exact"):
            forms = ["two", "flags as words"]
        for form, moved in itertools.product(forms, (0, 1)):
            held_to_evidently(*column_of(kind, form, (400, 400), moved), kind, method.name)
        held_to_evidently(*column_of(kind, forms[0], (400, 400), 1), kind, method.name, 0.2)


@pytest.mark.parametrize("rows", [999, 1000, 1001, 3000])
@pytest.mark.parametrize("apart", [-1e-3, -1e-5, -1e-7, 1e-7, 1e-5, 1e-3])
def test_a_score_next_to_the_threshold_is_decided_as_evidently_decides(rows, apart):
    random = np.random.default_rng(rows)
    reference, noise = pd.Series(random.normal(0, 1, rows)), pd.Series(random.normal(0, 1, rows))
    method = "ks" if rows <= METHOD_SWITCH_ROWS else "wasserstein"
    # The threshold comes to the score: a K-S test has no score between two steps.
    value = score(counted(reference, noise + 0.12, "number")).value
    ours = held_to_evidently(reference, noise + 0.12, "number", method, value + apart)
    assert abs(ours.value - ours.threshold) <= 1e-3 + SAME


def test_a_score_at_the_threshold_itself_is_called_near():
    column = counted(pd.Series(np.arange(2000.0)), pd.Series(np.arange(2000.0) + 40), "number")
    value = score(column).value
    assert score(column, threshold=value).near
    assert score(column, threshold=value * (1 + 1e-12)).near
    assert not score(column, threshold=value * (1 + 1e-8)).near


def test_what_needs_the_rows_or_has_none_is_left_to_evidently():
    column = counted(pd.Series(["a", "b"] * 40, dtype=object), pd.Series(["a"] * 80, dtype=object), "category")
    assert score(column, "TVD") is None
    empty = replace(column, cur=np.zeros_like(column.cur))
    assert score(empty) is None
    assert score(Counted("number", np.array([np.inf]), np.array([1]), np.array([1]), 0, 0)) is None


def test_shown_names_are_those_of_the_methods_table():
    for kind, form in (("number", "normal"), ("category", "three")):
        ours = score(counted(*column_of(kind, form, (300, 300), 0), kind))
        assert method_of(ours.method).name == ours.method
