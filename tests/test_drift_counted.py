"""Two columns as counts: nothing is lost but the rows."""

import numpy as np
import pandas as pd
import pytest

from app.drift.counted import counted, quantiles


def test_numbers_are_sorted_floats_with_the_rows_of_each_side():
    column = counted(pd.Series([3, 1, 3, 2]), pd.Series([2.0, np.nan, -0.0, np.inf, 0.0]), "number")
    assert column.values.dtype == np.float64
    assert column.values.tolist() == [0.0, 1.0, 2.0, 3.0, np.inf]
    assert (column.ref.tolist(), column.cur.tolist()) == ([0, 1, 1, 2, 0], [2, 0, 1, 0, 1])
    assert (column.ref_nulls, column.cur_nulls) == (0, 1)
    assert column.ref.dtype == column.cur.dtype == np.int64


def test_categories_are_sorted_text_and_true_and_false_are_words():
    column = counted(pd.Series(["b", None, "a", "b"], dtype=object), pd.Series(["é", "a"], dtype=object), "category")
    assert column.values.tolist() == ["a", "b", "é"]
    assert (column.ref.tolist(), column.cur.tolist()) == ([1, 2, 0], [1, 0, 1])
    assert (column.ref_nulls, column.cur_nulls) == (1, 0)
    flags = counted(pd.Series([True, False, True]), pd.Series([True, True]), "category")
    assert (flags.values.tolist(), flags.ref.tolist(), flags.cur.tolist()) == (["False", "True"], [1, 2], [0, 2])


@pytest.mark.parametrize("kind", ["number", "category"])
def test_a_side_without_a_value_is_counted_as_nulls(kind):
    present = pd.Series([1.0, 2.0]) if kind == "number" else pd.Series(["x", "y"], dtype=object)
    column = counted(present, pd.Series([None, None], dtype=object), kind)
    assert (column.ref.sum(), column.cur.sum(), column.cur_nulls) == (2, 0, 2)


def test_quantiles_of_counts_are_those_of_the_rows():
    random = np.random.default_rng(3)
    for rows in (1, 2, 7, 1000):
        side = np.round(random.normal(0, 1, rows), 1)
        column = counted(pd.Series(side), pd.Series([0.0]), "number")
        shares = (0.0, 0.01, 0.25, 0.5, 0.99, 1.0)
        assert quantiles(column.values, column.ref, shares) == pytest.approx(list(np.quantile(side, shares)))


def test_whole_numbers_far_apart_and_near_each_other_are_counted_alike():
    for values in ([3, 3, -5, 70_000], [3, 3, -5, 700], [2**60, 2**60, 0]):
        column = counted(pd.Series(values), pd.Series(values[:1]), "number")
        assert column.whole
        assert column.values.tolist() == sorted({float(one) for one in values})
        assert column.ref[column.values == values[0]] == 2
