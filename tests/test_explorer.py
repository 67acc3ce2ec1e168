"""The explorer's table: whole numbers that sort as numbers, and what is no number told apart."""

from __future__ import annotations

import math

import numpy as np
import pytest

from app.charts.export import answer_csv
from app.prometheus import Answer, Series, State
from app.ui.explorer import VALUE, rows
from app.words.units import Clock

AT = 1_795_248_300.0
CLOCK = Clock(now=AT)


def answer(*values, at=(), labels=()):
    times = at or [AT] * len(values)
    names = labels or [{"instance": str(number)} for number in range(len(values))]
    pairs = zip(names, times, values, strict=True)
    series = tuple(Series(own, np.array([when]), np.array([float(value)])) for own, when, value in pairs)
    return Answer(State.OK, series, total_series=len(series))


@pytest.mark.parametrize("value", [25_276_518_400.0, 12_345.0, 0.1 + 0.2, 1e-9, 1_795_248_300.123, -7.0])
def test_a_value_is_shown_as_prometheus_gave_it(value):
    frame, at = rows(answer(value), CLOCK)
    assert frame[VALUE].tolist() == [value]
    assert at == "08:05:00"
    assert answer_csv(answer(value)).decode().splitlines()[1].endswith(f",{value!r}")


def test_values_sort_as_numbers():
    frame, _ = rows(answer(9, 12_345, 800), CLOCK)
    assert frame[VALUE].dtype == np.float64
    assert frame.sort_values(VALUE)["instance"].tolist() == ["0", "2", "1"]


def test_what_is_no_finite_number_is_told_apart():
    frame, _ = rows(answer(1, math.nan, math.inf, -math.inf), CLOCK)
    assert frame["not finite"].tolist() == ["", "NaN", "+Inf", "-Inf"]
    assert "not finite" not in rows(answer(1, 2), CLOCK)[0]


def test_moments_that_differ_stand_in_each_row():
    frame, at = rows(answer(1, 2, at=(AT, AT - 60)), CLOCK)
    assert (frame["time"].tolist(), at) == (["08:05:00", "08:04:00"], "")


def test_labels_called_like_our_columns_keep_theirs():
    frame, _ = rows(answer(5, math.nan, at=(AT, AT - 60), labels=({"value": "a", "time": "b"}, {})), CLOCK)
    assert frame["value"].tolist()[0] == "a"
    assert frame["time"].tolist()[0] == "b"
    assert frame[VALUE].tolist()[0] == 5.0


def test_one_value_without_labels_is_one_row():
    frame, _ = rows(answer(3, labels=({},)), CLOCK)
    assert frame.to_dict("records") == [{VALUE: 3.0}]
