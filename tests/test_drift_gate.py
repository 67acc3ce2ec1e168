"""The gate: what may be compared, told before Evidently sees it. One table of degenerate columns, no Evidently."""

import datetime as dt
import json
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest

from app.drift.gate import Names, check
from app.drift.normalise import plain
from tests.drift_frames import ROWS, calm, policy

NAMES = Names("jan", "feb")
NUMBERS = np.random.default_rng(1).normal(10, 2, ROWS)
WORDS = np.random.default_rng(2).choice(["DSL", "Fiber", "No"], ROWS)


def look(ref, cur, features=("x",), **more):
    used = more.pop("policy", policy(label=None, identifier=None))
    return check(pd.DataFrame({"x": ref}), pd.DataFrame({"x": cur}), used, NAMES, features=features, **more)


def nulls(values, share):
    changed = pd.Series(values).astype(object)
    changed[: int(len(changed) * share)] = None
    return changed


# One column on both sides, and words of the reason why it cannot be compared.
NOT_COMPARABLE = {
    "all null in current": (NUMBERS, [None] * ROWS, "no value at all in feb"),
    "all null in reference": ([np.nan] * ROWS, NUMBERS, "no value at all in jan"),
    "90 % nulls in current": (NUMBERS, nulls(NUMBERS, 0.9).astype(float), "only 20 of 200 rows have a value in feb"),
    "half null in current": (NUMBERS, nulls(NUMBERS, 0.5).astype(float), "nulls went from 0% in jan to 50% in feb"),
    "infinity in current": (NUMBERS, [np.inf, *NUMBERS[1:]], "1 infinite value in feb"),
    "infinities in reference": ([np.inf, -np.inf, *NUMBERS[2:]], NUMBERS, "2 infinite values in jan"),
    "numbers against text": (NUMBERS, WORDS, "numbers in jan, text or categories in feb"),
    "numbers against numbers as text": (
        NUMBERS,
        [str(x) for x in NUMBERS],
        'numbers in jan, numbers written as text ("10.691168384129572") in feb',
    ),
    "numbers and text mixed": (NUMBERS, [*NUMBERS[1:].astype(object), "n/a"], "in feb"),
    "whole numbers and text mixed": (
        [*range(ROWS - 1), "n/a"],
        [*range(ROWS - 1), "n/a"],
        "numbers and text mixed in jan",
    ),
    "lists": ([[1]] * ROWS, [[2]] * ROWS, "neither numbers nor text"),
    "bytes": ([b"a"] * ROWS, [b"b"] * ROWS, "neither numbers nor text"),
    "complex numbers": (NUMBERS + 1j, NUMBERS + 2j, "neither numbers nor text"),
    "numbers beyond a float": (
        pd.Series([10**400] * ROWS, dtype=object),
        pd.Series([10**401] * ROWS, dtype=object),
        "too large",
    ),
    "timestamps": (
        pd.date_range("2024-01-01", periods=ROWS),
        pd.date_range("2024-02-01", periods=ROWS),
        "a point in time",
    ),
    "dates as objects": ([dt.date(2024, 1, 1)] * ROWS, [dt.date(2024, 2, 1)] * ROWS, "a point in time"),
    "dates as text": (
        [f"2024-01-{1 + i % 28:02d}" for i in range(ROWS)],
        [f"2024-02-{1 + i % 28:02d}" for i in range(ROWS)],
        "a point in time",
    ),
    "identifiers as text": (
        [f"U{i}" for i in range(ROWS)],
        [f"V{i}" for i in range(ROWS)],
        "a different value in every row",
    ),
    "row numbers": (np.arange(ROWS), np.arange(ROWS) + 5000, "a different value in every row"),
}


@pytest.mark.parametrize("case", NOT_COMPARABLE)
def test_a_column_that_cannot_be_compared_is_listed_with_its_reason(case):
    ref, cur, words = NOT_COMPARABLE[case]
    gate = look(ref, cur)
    (column,) = gate.columns
    assert not column.comparable
    assert words in column.reason
    assert list(gate.reference.columns) == []


COMPARABLE = {
    "pandas category": (pd.Categorical(WORDS), pd.Categorical(WORDS[::-1][:150]), "category"),
    "category of numbers": (pd.Categorical([1, 2] * 100), pd.Categorical([1, 1, 2, 2] * 45), "number"),
    "pandas string": (pd.array(WORDS, dtype="string"), pd.array(WORDS[:150], dtype="string"), "category"),
    "Int64 with nulls": (
        pd.array([1, 2, None, 4] * 50, dtype="Int64"),
        pd.array([1, 2, 3, 4] * 40, dtype="Int64"),
        "number",
    ),
    "Float64": (pd.array(NUMBERS, dtype="Float64"), pd.array(NUMBERS + 1, dtype="Float64"), "number"),
    "Decimal": ([Decimal("1.5"), Decimal(2)] * 100, [Decimal("1.5"), *[Decimal(3)] * 5, None] * 30, "number"),
    "boolean with nulls": (
        pd.array([True, False] * 100, dtype="boolean"),
        [True, None, False, False, True] * 40,
        "category",
    ),
    "booleans against 0 and 1": ([True, False] * 100, [0, 1, 1, 1] * 50, "category"),
    "arrow text": (pd.array(WORDS, dtype="string[pyarrow]"), WORDS[:150], "category"),
    "uint8": (np.array([1, 2] * 100, dtype="uint8"), np.array([1, 2, 3] * 60, dtype="uint8"), "number"),
    "float16": (NUMBERS.astype("float16"), (NUMBERS + 1).astype("float16"), "number"),
    "huge whole numbers": ([2**70, 1] * 100, [2**70, 2, 3] * 60, "number"),
    "timedelta": (pd.to_timedelta(NUMBERS, unit="h"), pd.to_timedelta(NUMBERS + 3, unit="h"), "number"),
    "constant": ([29.1] * ROWS, [29.1] * 150, "number"),
    "text with nulls": (nulls(WORDS, 0.1), nulls(WORDS, 0.2), "category"),
}


@pytest.mark.parametrize("case", COMPARABLE)
def test_every_other_kind_becomes_plain_numbers_or_plain_categories(case):
    ref, cur, kind = COMPARABLE[case]
    gate = look_sizes(ref, cur)
    (column,) = gate.columns
    assert (column.comparable, column.kind, column.reason) == (True, kind, "")
    for frame in (gate.reference, gate.current):
        assert str(frame["x"].dtype) in ("int64", "float64", "bool", "object")
        if kind == "category":
            assert {type(value) for value in frame["x"].dropna()} in ({str}, {bool})


def look_sizes(ref, cur):
    used = policy(label=None, identifier=None)
    return check(pd.DataFrame({"x": ref}), pd.DataFrame({"x": cur}), used, NAMES, features=("x",))


WHOLE = {
    "one row": (calm(1), calm(2, 1), "feb has 1 row; at least 30 are needed"),
    "five rows": (calm(1, 5), calm(2), "jan has 5 rows; at least 30 are needed"),
    "no rows": (calm(1), calm(2).iloc[:0], "feb has 0 rows"),
    "both too small": (calm(1, 3), calm(2, 4), "jan has 3 rows and feb has 4 rows"),
    "the same month twice": (calm(1), calm(1), "the same rows"),
    "the same rows in another order": (calm(1), calm(1).sample(frac=1, random_state=3), "the same rows"),
}


@pytest.mark.parametrize("case", WHOLE)
def test_two_periods_that_say_nothing_are_refused(case):
    ref, cur, words = WHOLE[case]
    assert words in check(ref, cur, policy(), NAMES).refusal


def test_a_column_on_one_side_is_counted_and_named():
    ref, cur = calm(1), calm(2)
    gate = check(ref.drop(columns="f0"), cur.drop(columns="f1"), policy(), NAMES, features=["f0", "f1", "f2", "gone"])
    reasons = {column.name: column.reason for column in gate.columns}
    assert (reasons["f0"], reasons["f1"], reasons["f2"]) == ("missing in jan", "missing in feb", "")
    assert reasons["gone"] == "in neither of the two"
    derived = check(ref.drop(columns="f0"), cur.drop(columns="f1"), policy(), NAMES)
    assert {"Only jan has f1.", "Only feb has f0."} <= set(derived.notes)


def test_two_columns_of_one_name_are_not_guessed_at():
    cur = pd.concat([calm(2), calm(3)[["f0"]]], axis=1)
    gate = check(calm(1), cur, policy(), NAMES, features=["f0", "f1"])
    assert gate.columns[0].reason == "two columns of this name in feb"
    assert gate.columns[1].comparable


def test_numbers_as_column_names_and_odd_names_are_plain_text():
    ref, cur = (calm(seed).rename(columns={"f0": 0, "f1": "a\n=b"}) for seed in (1, 2))
    gate = check(ref, cur, policy(), NAMES)
    assert {"0", "a\n=b"} <= {column.name for column in gate.columns}


def test_features_label_identifier_come_in_this_order_and_the_identifier_is_text():
    gate = check(calm(1), calm(2), policy(), NAMES)
    assert [column.name for column in gate.columns][-2:] == ["label", "user"]
    assert gate.columns[-1].kind == "text"
    assert gate.columns[-1].comparable


def test_an_unlabelled_month_gives_the_loaders_reason():
    gate = check(calm(1), calm(2).drop(columns="label"), policy(), NAMES, label_reason="feb has no labels yet")
    label = next(column for column in gate.columns if column.name == "label")
    assert (label.comparable, label.reason) == (False, "feb has no labels yet")


def test_a_small_move_of_nulls_is_a_note():
    gate = look(NUMBERS, nulls(NUMBERS, 0.1).astype(float))
    assert gate.columns[0].comparable
    assert "nulls went from 0.0% in jan to 10.0% in feb" in gate.notes[0]


def test_a_month_near_the_size_where_methods_change_is_a_note():
    gate = check(calm(1, 1000), calm(2, 1000), policy(), NAMES)
    assert "jan has 1,000 rows" in gate.notes[-1]


def test_values_that_no_file_takes_are_made_writable():
    hostile = ["\ud800", "x" * 5000, "</script>", "\x00"] * 50
    gate = look(hostile, hostile[:150])
    json.dumps(sorted(gate.reference["x"].unique())).encode()
    "".join(gate.reference["x"].unique()).encode("utf-8")
    assert gate.reference["x"].str.len().max() < 300


def test_aggregates_use_the_same_bins_on_both_sides_and_count_every_value():
    gate = look(np.r_[NUMBERS, [np.nan] * 10], NUMBERS + 5)
    column = gate.columns[0]
    assert column.ref.histogram.edges == column.cur.histogram.edges
    assert sum(column.ref.histogram.counts) == sum(column.cur.histogram.counts) == ROWS
    assert (column.ref.nulls, column.cur.nulls) == (10, 0)
    assert column.cur.mean == pytest.approx(column.ref.mean + 5)


def test_shares_of_categories_add_up_and_the_rest_is_summed():
    many = [f"v{index % 40}" for index in range(ROWS)]
    column = look(many, many[:150]).columns[0]
    assert sum(column.ref.shares.values()) == pytest.approx(1)
    assert "(other)" in column.ref.shares
    assert len(column.ref.shares) <= 21


@pytest.mark.parametrize("values", [[1e308, -1e308] * 100, [5e-324, 1e308] * 100, [1e16, 1e16 + 2] * 100])
def test_extreme_numbers_have_aggregates_without_an_error(values):
    column = look(values, [*values[:150], 0.0]).columns[0]
    assert column.ref.nulls == 0


def test_dtype_tricks_do_not_change_what_is_plain():
    series = pd.Series([True, None, False], dtype=object)
    assert plain(series).kind == "category"
    assert plain(pd.Series([], dtype=float)).kind == "empty"
    assert plain(pd.Series([pd.Period("2024-01")] * 3)).kind == "time"
    assert plain(pd.Series(pd.interval_range(0, 3))).kind == "category"
