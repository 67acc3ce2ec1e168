"""Sentinels are named and taken out, and a spread that a few rows rule never yields "not drifted"."""

import numpy as np
import pandas as pd
import pytest

from app.drift import extremes
from app.drift.counted import counted
from app.drift.decide import policy_notes
from app.drift.gate import Names, check
from app.drift.result import Column, Mass, Policy
from tests.drift_frames import policy

ROWS = 1500
RANDOM = np.random.default_rng(11)
LEFT, RIGHT = RANDOM.normal(10, 2, ROWS), RANDOM.normal(10, 2, ROWS)


def with_mass(values, *masses):
    """The values with the first rows replaced: `(value, share)` each."""
    changed, at = np.array(values, dtype=float), 0
    for value, share in masses:
        rows = round(share * len(changed))
        changed[at : at + rows] = value
        at += rows
    return changed


def look(ref, cur, **more):
    used = policy(label=None, identifier=None, **more)
    return check(pd.DataFrame({"x": ref}), pd.DataFrame({"x": cur}), used, Names("jan", "feb"), features=("x",))


def values(ref, cur):
    return [mass.value for mass in extremes.sentinels(counted(pd.Series(ref), pd.Series(cur), "number"))]


@pytest.mark.parametrize("share", [0.005, 0.01, 0.05, 0.2])
def test_a_mass_at_an_extreme_is_named_and_the_rest_is_compared(share):
    gate = look(with_mass(LEFT, (-999, share)), with_mass(RIGHT + 2, (-999, share)))
    (column,) = gate.columns
    assert column.comparable
    assert [mass.value for mass in column.sentinels] == [-999]
    assert f"x: -999 in {share:.1%} of rows, both months; taken for no value" in gate.notes[0]
    assert gate.reference.x.min() > 0
    assert column.ref.nulls == gate.reference.x.isna().sum() == round(ROWS * share)


SENTINELS = {
    "two at one end": (((-999, 0.02), (-998, 0.05)), [-999, -998]),
    "one at each end": (((-999, 0.03), (9999, 0.03)), [-999, 9999]),
    "99 among small numbers": (((99, 0.1),), [99]),
}
NONE = {
    "more than a fifth": ((-999, 0.25),),
    "a handful of rows": ((-999, 0.001),),
    "next to the other values": ((19.0, 0.1),),
    "many different values": tuple((1000 + place, 0.01) for place in range(5)),
}


@pytest.mark.parametrize("case", SENTINELS)
def test_every_mass_of_a_few_is_a_sentinel(case):
    masses, expected = SENTINELS[case]
    assert values(with_mass(LEFT, *masses), with_mass(RIGHT, *masses)) == expected


@pytest.mark.parametrize("case", NONE)
def test_what_is_no_mass_far_outside_is_left_among_the_values(case):
    assert values(with_mass(LEFT, *NONE[case]), with_mass(RIGHT, *NONE[case])) == []


def test_a_mass_of_one_month_alone_is_a_move_and_no_sentinel():
    assert values(LEFT, with_mass(RIGHT, (-999, 0.05))) == []
    assert values(with_mass(LEFT, (-999, 0.05)), RIGHT) == []


def test_numbers_that_are_counted_or_capped_have_no_sentinels():
    assert values(RANDOM.poisson(0.9, ROWS), RANDOM.poisson(0.9, ROWS)) == []
    assert values(RANDOM.choice([0, 1, 2, 50], ROWS), RANDOM.choice([0, 1, 2, 50], ROWS)) == []
    capped = [np.minimum(RANDOM.lognormal(0, 1, ROWS), 10) for _ in range(2)]
    assert values(*capped) == []
    assert extremes.sentinels(counted(pd.Series(["a", "b"]), pd.Series(["a"]), "category")) == ()


def test_the_policy_names_sentinels_and_forbids_to_look_for_any():
    ref, cur = with_mass(LEFT, (10, 0.3), (-999, 0.05)), with_mass(RIGHT, (10, 0.2), (-999, 0.05))
    (named,) = look(ref, cur, sentinels={"x": (10.0,), "*": (-999.0,)}).columns
    assert named.sentinels == (Mass(10.0, 0.3, 0.2),)
    (every,) = look(ref, cur, sentinels={"*": (-999.0,)}).columns
    assert [mass.value for mass in every.sentinels] == [-999]
    gate = look(ref, cur, sentinels={"x": (), "nobody": (1.0,)})
    assert gate.columns[0].sentinels == ()
    assert "sentinels names nobody, which neither jan nor feb has." in gate.notes
    words = [Column(name, "category", comparable=True) for name in ("plan", "fee")]
    (note,) = policy_notes(policy(sentinels={"plan": (-1.0,)}), words)
    assert note == "sentinels names plan: only numbers stand for no value."
    shares = look(ref, cur, sentinels={"x": (10.0,)}).notes
    assert shares[0].startswith("x: 10 in 30.0% → 20.0% of rows; taken for no value")


def test_whole_numbers_stay_whole_where_there_is_no_sentinel():
    whole = [pd.Series(RANDOM.integers(0, 50, ROWS)) for _ in range(2)]
    assert look(*whole).reference.x.dtype == "int64"


# --- outliers that are no mass ---------------------------------------------------------------------------------------


def scattered(values, share):
    """The values with a share of them far away, each at another place."""
    changed = np.array(values)
    rows = round(share * len(changed))
    changed[:rows] = RANDOM.uniform(5_000, 10_000, rows)
    return changed


@pytest.mark.parametrize("share", [0.015, 0.03, 0.06])
def test_a_spread_ruled_by_the_last_few_per_cent_is_never_not_drifted(share):
    (column,) = look(scattered(LEFT, share), scattered(RIGHT + 2, share)).columns
    assert not column.comparable
    assert "outliers" in column.reason or "of the rows rule" in column.reason
    # What is known of the rest may be asked for.
    assert look(scattered(LEFT, share), scattered(RIGHT + 2, share), methods={"x": "ks"}).columns[0].comparable


def test_long_tails_that_hide_nothing_are_compared():
    left, right = RANDOM.lognormal(0, 1.5, ROWS), RANDOM.lognormal(0, 1.5, ROWS)
    assert look(left, right).columns[0].comparable
    assert look(LEFT, RIGHT + 0.15).columns[0].comparable


def test_a_policy_with_sentinels_is_the_same_after_it_was_kept():
    from app.drift.result import _policy

    one = Policy("features", 0.3, 30, 0.8, sentinels={"x": (-999.0, 1.0)})
    kept = {"columns": "features", "threshold": 0.3, "min_rows": 30, "comparable": 0.8}
    assert _policy(kept | {"sentinels": {"x": [-999.0, 1.0]}}) == one
    assert _policy(kept).sentinels == {}
