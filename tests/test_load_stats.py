import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.load import stats
from app.load.stats import LES, Histogram, Tally, Timeline


def filled(values):
    made = Histogram()
    for value in values:
        made.record(value)
    return made


@pytest.mark.parametrize(
    "values",
    [
        np.random.default_rng(1).lognormal(-4, 1.5, 19_997),
        np.random.default_rng(2).uniform(0, 2e-4, 4_999),
        np.random.default_rng(3).exponential(3.0, 4_999),
        np.concatenate([np.full(900, 0.002), np.linspace(0.01, 1.0, 103)]),
        np.array([0.5]),
    ],
)
@pytest.mark.parametrize("percent", [1, 50, 90, 95, 99, 99.9, 100])
def test_percentiles_are_within_one_percent_of_the_exact_ones(values, percent):
    exact = float(np.percentile(values, percent, method="inverted_cdf"))
    # a microsecond besides: latencies are whole microseconds
    assert filled(values).percentile(percent) == pytest.approx(exact, rel=0.01, abs=1e-6)


@settings(max_examples=200, deadline=None)
@given(st.integers(0, stats.MAX_MICROS))
def test_the_middle_of_a_bucket_is_within_half_a_percent_of_any_value_in_it(micros):
    middle = stats._middle(stats._index(micros))
    assert abs(middle - micros) <= max(micros / 200, 0)
    assert stats._index(micros) < stats.BUCKETS


def test_count_mean_smallest_and_largest_are_exact():
    made = filled([0.001, 0.002, 0.009])
    assert made.summary() == {
        "count": 3,
        "mean": 0.004,
        "p50": pytest.approx(0.002, rel=0.01),
        "p95": 0.009,
        "p99": 0.009,
        "max": 0.009,
    }


def test_nothing_recorded_is_unknown_and_not_zero():
    assert Histogram().summary() == {"count": 0, "mean": None, "p50": None, "p95": None, "p99": None, "max": None}


def test_values_beyond_the_range_are_kept_at_its_ends():
    made = filled([-1.0, 1e9])
    assert (made.percentile(1), made.max) == (0.0, stats.MAX_MICROS / 1e6)


def test_merging_equals_recording_together():
    left, right = np.random.default_rng(4).exponential(0.1, (2, 500))
    together = filled([*left, *right])
    made = filled(left)
    made.merge(filled(right))
    assert made.to_dict() == together.to_dict()


def test_a_histogram_survives_json():
    made = filled([0.1, 0.2, 30.0])
    again = Histogram.from_dict(json.loads(json.dumps(made.to_dict())))
    assert again.summary() == made.summary()
    assert Histogram.from_dict(Histogram().to_dict()).summary() == Histogram().summary()


@pytest.mark.parametrize(
    "raw",
    [
        {},
        {"sub_bits": 3},
        Histogram().to_dict() | {"buckets": [[9_999_999, 1]]},
        Histogram().to_dict() | {"buckets": 4},
    ],
)
def test_a_damaged_histogram_is_refused(raw):
    with pytest.raises(ValueError):
        Histogram.from_dict(raw)


def test_cumulative_buckets_rise_and_end_with_everything():
    values = np.random.default_rng(5).lognormal(-3, 2, 2000)
    rows = filled(values).cumulative()
    assert [le for le, _ in rows] == [*LES, math.inf]
    assert rows[-1][1] == 2000
    assert sorted(count for _, count in rows) == [count for _, count in rows]
    for le, count in rows[:-1]:
        assert (values <= le * 0.99).sum() <= count <= (values <= le * 1.01).sum()


def test_the_timeline_has_a_row_for_every_second_and_gaps_are_zeros():
    line = Timeline(10)
    line.sent(0.1)
    line.ended(0.2, ok=True, response=0.1)
    line.sent(3.5)
    line.ended(3.9, ok=False, response=None)
    assert [(row.t, row.sent, row.ok, row.failed) for row in line.rows()] == [
        (0, 1, 1, 0),
        (1, 0, 0, 0),
        (2, 0, 0, 0),
        (3, 1, 0, 1),
    ]
    assert [row.p95 for row in line.rows()] == [0.1, None, None, None]
    assert [row.t for row in line.rows(2)] == [2, 3]


def test_a_long_timeline_has_wider_steps_instead_of_more_rows():
    line = Timeline(8 * 3600)
    line.advance(8 * 3600)
    assert len(line.rows()) <= stats.MAX_ROWS
    assert line.rows()[1].t == line.step


def test_causes_beyond_the_bound_are_counted_together():
    tally = Tally(Timeline(1), planned=100)
    for number in range(100):
        tally.fail(f"cause {number}")
    assert tally.failed == sum(tally.errors.values()) == 100
    assert len(tally.errors) == stats.MAX_CAUSES + 1
