"""The gate: what may be compared, told before Evidently sees it. One table of degenerate columns, no Evidently."""

import datetime as dt
import json
import uuid
from decimal import Decimal

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from app.drift.gate import Names, check
from app.drift.normalise import plain
from tests.drift_frames import FEATURES, ROWS, calm, policy

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
    "numbers with a decimal comma": (
        [f"{x:.2f}".replace(".", ",") for x in NUMBERS],
        [f"{x:.2f}".replace(".", ",") for x in NUMBERS],
        "numbers written as text",
    ),
    "days of two months as text": (
        [f"{1 + i % 9}.01.2024" for i in range(ROWS)],
        [f"{1 + i % 9}.02.2024" for i in range(ROWS)],
        "a point in time",
    ),
    "the day of the snapshot": (["2024-01-31"] * ROWS, ["2024-02-29"] * ROWS, "a point in time"),
    "True and False against words": (
        [True, False] * 100,
        ["yes", "no"] * 100,
        "True and False in one of jan and feb, text in the other",
    ),
    "nearly a different value in every row": (
        [f"name {i % 150}" for i in range(ROWS)],
        [f"name {i % 140}" for i in range(ROWS)],
        "150 different values in 200 rows of jan",
    ),
    "identifiers beyond 2^53": (2**60 + np.arange(ROWS) // 2, 2**60 + np.arange(ROWS) // 2, "cannot be told apart"),
    "True mixed with numbers": (
        pd.Series([True, 2] * 100, dtype=object),
        pd.Series([True, 2] * 100, dtype=object),
        "numbers and True or False mixed in jan",
    ),
    "UUIDs": ([uuid.UUID(int=i) for i in range(ROWS)], [uuid.UUID(int=7)] * ROWS, "neither numbers nor text (UUID)"),
    "numbers beyond a square": (NUMBERS * 1e160, NUMBERS, "too large to reckon a spread of, in jan"),
    "numbers a float cannot part": ([1e16, 1e16 + 2] * 100, NUMBERS, "so close together"),
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
    "sparse": (pd.arrays.SparseArray(NUMBERS), pd.arrays.SparseArray(NUMBERS[:150] + 1), "number"),
    "Arrow numbers": (pd.array(NUMBERS, dtype="double[pyarrow]"), NUMBERS + 1, "number"),
    "Arrow decimals": (
        pd.Series([Decimal("1.5"), Decimal(2), None, Decimal(9)] * 50, dtype=pd.ArrowDtype(pa.decimal128(6, 2))),
        [1.5, 2, 2] * 60,
        "number",
    ),
    "Arrow durations": (
        pd.Series(pd.to_timedelta(NUMBERS, unit="h")).astype("duration[ns][pyarrow]"),
        pd.to_timedelta(NUMBERS + 3, unit="h"),
        "number",
    ),
    "durations as objects": (
        pd.Series([dt.timedelta(hours=x) for x in NUMBERS], dtype=object),
        pd.Series([dt.timedelta(hours=x + 3) for x in NUMBERS], dtype=object),
        "number",
    ),
    "Decimal and float in one column": (
        pd.Series([Decimal(1), 2.5] * 100, dtype=object),
        pd.Series([Decimal(1), 2.5, 2.5] * 60, dtype=object),
        "number",
    ),
    "bins of pandas.cut": (pd.cut(NUMBERS, [0, 9, 11, 99]), pd.cut(NUMBERS[:150], [0, 9, 11, 99]), "category"),
    "codes with zeros in front": (
        [f"{i % 30:03d}" for i in range(ROWS)],
        [f"{i % 30:03d}" for i in range(ROWS - 20)],
        "category",
    ),
    "True and False against true and false": ([True, False] * 100, ["true", "false", "false"] * 60, "category"),
    "uint64 beyond int64": (
        np.array([2**63 + 4096, 1] * 100, dtype="uint64"),
        np.array([1, 2**63 + 4096, 1] * 60, dtype="uint64"),
        "number",
    ),
    "contracts by the day they began": (
        ["2024-01-01", "2024-02-01"] * 100,
        ["2024-01-01", "2024-02-01", "2024-03-01"] * 60,
        "category",
    ),
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


# --- what Evidently measures wrongly without a word ------------------------------------------------------------------


def pair_of_numbers(left, right, **more):
    """The one column of two months of 1,500 rows, above the size at which distances are measured."""
    return look(left, right, **more).columns[0]


LARGE = np.random.default_rng(3).normal(10, 2, 1500)


def test_a_constant_has_no_spread_to_divide_by():
    assert "always 29.1 in jan" in pair_of_numbers(np.full(1500, 29.1), LARGE).reason
    assert pair_of_numbers(np.full(1500, 29.1), np.full(1499, 29.1)).comparable
    assert pair_of_numbers(np.full(1500, 29.1), np.full(1500, 30.0)).comparable
    # A test needs no spread.
    assert look(np.full(200, 29.1), NUMBERS).columns[0].comparable


def test_a_unit_so_large_that_the_distance_vanishes_is_said_and_another_method_is_believed():
    small = LARGE * 1e-6
    assert "below 0.001 normed Wasserstein measures nothing" in pair_of_numbers(small, small * 2).reason
    chosen = policy(label=None, identifier=None, methods={"x": "ks"})
    assert pair_of_numbers(small, small * 2, policy=chosen).comparable


def test_an_outlier_that_hides_all_other_values_is_said():
    assert "beside its outliers" in pair_of_numbers([1e90, *LARGE[1:]], LARGE + 100).reason
    # In current alone it is one row, and one row is chance.
    assert "no more different than random parts" in pair_of_numbers(LARGE, [1e90, *LARGE[1:]]).reason
    assert pair_of_numbers([0.0] * 1490 + [1.0] * 10, [0.0] * 1400 + [1.0] * 100).comparable


def test_columns_no_more_different_than_chance_makes_them_are_not_called_drifted():
    found = look(["a", "b"] * 100, ["c", *["a", "b"] * 90]).columns[0]
    assert "no more different than random parts" in found.reason
    assert (found.comparable, found.uncertain) == (False, True)
    random = np.random.default_rng(5)
    few = look(random.normal(0, 1, 1500), random.normal(0, 1, 30)).columns[0]
    assert "too few rows (1,500 and 30) to tell" in few.reason
    # What is further apart than chance brings is believed, however few rows there are.
    assert look(random.normal(0, 1, 1500), random.normal(3, 1, 30)).columns[0].comparable
    assert look(["a", "b"] * 100, ["c", "d"] * 100).columns[0].comparable
    # Whoever asks for a threshold of 0.001 gets it.
    chosen = policy(label=None, identifier=None, thresholds={"x": 0.001})
    assert pair_of_numbers(LARGE, LARGE[:750], policy=chosen).comparable


def test_numbers_of_few_values_above_the_switch_are_judged_as_categories():
    assert pair_of_numbers(np.arange(1500) % 3 * 1e-9, np.arange(1400) % 3 * 1e-9).comparable


# --- notes -----------------------------------------------------------------------------------------------------------


def notes(ref, cur, **more):
    features = more.pop("features", FEATURES)
    return check(ref, cur, policy(**more), NAMES, features=features).notes


def test_repeated_rows_and_identifiers_are_counted():
    ref, cur = calm(1), calm(2)
    twice = pd.concat([ref, ref.head(30)])
    assert notes(twice, cur) == (
        "30 of 230 rows of jan repeat another row.",
        "30 of 230 rows of jan repeat an identifier (user).",
    )
    cur["user"] = cur["user"].where(np.arange(ROWS) > 4, None)
    assert notes(ref, cur) == ()
    # Rows of two flags must repeat.
    coarse = pd.DataFrame({"f6": ref.f6, "f7": ref.f7})
    assert notes(coarse, coarse.head(150), identifier=None, label=None, features=["f6", "f7"]) == ()


def test_repeated_rows_are_found_among_values_that_cannot_be_compared():
    ref, cur = (calm(seed).assign(f0=[[seed, 2]] * ROWS) for seed in (1, 2))
    assert "5 of 205 rows of feb repeat another row." in notes(ref, pd.concat([cur, cur.head(5)]))


def test_columns_left_out_are_nowhere_and_named():
    ref, cur = calm(1), calm(2)
    used = policy(left_out=("f0", "label", "nobody"), thresholds={"f1": 0.2, "f0": 0.1, "x": 1.0}, methods={"y": "ks"})
    gate = check(ref, cur.drop(columns="f0"), used, NAMES, features=FEATURES)
    assert {column.name for column in gate.columns} == {*FEATURES[1:], "user"}
    assert {*gate.reference.columns} == {*FEATURES[1:], "user"}
    assert gate.notes == (
        "Left out by the policy: f0, label.",
        "left_out names nobody, which neither jan nor feb has.",
        "thresholds names x, which neither jan nor feb has.",
        "thresholds names f0, which is not compared.",
        "methods names y, which neither jan nor feb has.",
    )


def test_with_every_feature_left_out_no_other_column_takes_its_place():
    gate = check(calm(1), calm(2), policy(left_out=("f0",), label=None, identifier=None), NAMES, features=["f0"])
    assert gate.columns == ()


def test_a_column_of_one_month_that_nobody_asked_for_is_named():
    said = notes(calm(1).assign(old=1), calm(2).assign(new=1, newer=2), features=["f1"])
    assert said == ("Only jan has old; not compared.", "Only feb has new, newer; not compared.")


def test_a_column_that_differs_in_white_space_or_case_is_pointed_at():
    ref, cur = calm(1), calm(2).rename(columns={"f0": " f0", "f1": "F1"})
    reasons = {one.name: one.reason for one in check(ref, cur, policy(), NAMES, features=["f0", "f1"]).columns}
    assert reasons["f0"] == "missing in feb, which has ' f0'"
    assert reasons["f1"] == "missing in feb, which has 'F1'"


def test_columns_whose_nulls_put_them_below_the_switch_are_named():
    ref, cur = calm(1, 1300), calm(2, 1300)
    for data in (ref, cur):
        data.loc[data.index < 400, "f3"] = None
    (said,) = notes(ref, cur)
    assert said.startswith("f3: 1,000 values or fewer in jan, so Evidently tests for significance")


def test_a_label_or_identifier_among_the_features_counts_once():
    gate = check(calm(1), calm(2), policy(), NAMES, features=["f0", "label", "user"])
    assert [column.name for column in gate.columns] == ["f0", "label", "user"]


def test_identifiers_of_any_kind_are_text_and_a_null_does_not_change_them():
    ref, cur = calm(1).assign(user=np.arange(ROWS)), calm(2).assign(user=[*map(float, range(ROWS - 1)), None])
    gate = check(ref, cur, policy(), NAMES, features=["f0"])
    assert gate.reference.user[7] == gate.current.user[7] == "7"
    lists = check(ref.assign(user=[[1]] * ROWS), cur, policy(), NAMES, features=["f0"])
    assert lists.columns[-1].comparable


# --- the same month twice --------------------------------------------------------------------------------------------


def test_a_flag_that_is_on_as_often_in_both_months_does_not_make_them_one():
    ref, cur = ([True, False, False, False] * 50, [False, True, False, False] * 50)
    assert look(ref, cur).refusal == ""
    assert look([1.0] * 200, [1.0] * 200).refusal == ""
    assert "the same rows" in look(ref, ref).refusal


def test_whole_numbers_and_floats_of_one_month_are_the_same_rows():
    assert "the same rows" in look(np.arange(200) * 7, (np.arange(200) * 7.0)[::-1]).refusal


def test_a_month_under_new_identifiers_is_still_the_same_month():
    gate = check(calm(1), calm(1).assign(user=[f"V{i}" for i in range(ROWS)]), policy(), NAMES, features=FEATURES)
    assert "the same rows" in gate.refusal
