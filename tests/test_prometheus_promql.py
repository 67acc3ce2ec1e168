"""Steps, ranges, placeholders and quoting."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import ConfigError, QueryError
from app.prometheus.promql import (
    MAX_POINTS,
    NEWEST,
    TimeRange,
    duration,
    fill,
    matcher,
    parse_selector,
    quote,
    rate_interval,
    seconds_of,
    selects,
    step_for,
    window_for,
)


@given(st.floats(1, 1e9), st.floats(0.001, 4e9), st.sampled_from([None, 0.1, 2.0, 15.0, 60.0]))
def test_a_range_never_has_more_points_than_allowed_and_is_aligned(seconds, now, scrape):
    end = max(now, seconds)
    span = TimeRange.last(seconds, now=end, scrape=scrape)
    assert span.points <= MAX_POINTS
    assert span.start <= span.end <= end + 1e-3
    grid = min(span.step, max(NEWEST, scrape or 0.0))
    assert math.isclose(span.end / grid, round(span.end / grid), abs_tol=1e-6)
    assert math.isclose(span.seconds / span.step, round(span.seconds / span.step), abs_tol=1e-6)
    assert span.start >= 0
    assert end - span.end <= grid + 1e-3


@pytest.mark.parametrize(
    ("seconds", "scrape", "step"),
    [(300, None, 1), (300, 2, 2), (1800, 2, 5), (21_600, 2, 60), (86_400, 15, 300), (86_400 * 400, 15, 86_400), (300, 15, 15)],
)  # fmt: skip
def test_the_step_suits_the_range_and_is_not_finer_than_the_scrapes(seconds, scrape, step):
    assert step_for(seconds, scrape) == step


def test_two_refreshes_within_a_step_ask_for_the_same_range():
    assert TimeRange.last(3600, now=1_700_000_001) == TimeRange.last(3600, now=1_700_000_007)


@pytest.mark.parametrize(
    ("start", "end", "step"), [(5, 5, 1), (6, 5, 1), (0, 10, 0), (0, 10, -1), (0, math.inf, 1), (0, 1e6, 1), (math.nan, 1, 1)]
)  # fmt: skip
def test_a_range_out_of_bounds_is_refused_in_words(start, end, step):
    with pytest.raises(QueryError) as caught:
        TimeRange.between(start, end, step=step)
    assert caught.value.hint


def test_the_rate_interval_is_grafanas():
    assert rate_interval(2, 1) == 8
    assert rate_interval(2, 60) == 62
    assert rate_interval(None, 1) == 240


@pytest.mark.parametrize(
    ("seconds", "text"), [(90, "1m30s"), (0.5, "500ms"), (3600, "1h"), (60, "1m"), (86_461, "1d1m1s")]
)
def test_durations_are_written_and_read_back(seconds, text):
    assert duration(seconds) == text
    assert seconds_of(text) == seconds


@pytest.mark.parametrize(
    ("chosen", "scrape", "range_", "window"),
    [
        (None, 2, 300, 8),  # four scrapes
        (None, 5, 300, 20),
        (None, 60, 300, 240),
        (None, 2, 86_400, 302),  # a step and a scrape
        (None, None, 300, 240),  # Prometheus' own default interval
        (30, 2, 300, 30),
        (60, 10, 300, 60),
        (30, 60, 300, 240),  # holds no two scrapes
        (60, 2, 86_400, 302),  # shorter than the step of five minutes
        (300, 2, 86_400, 302),
        (300, 2, 21_600, 300),
        (30, None, 300, 30),
    ],
)
def test_a_window_follows_the_scrapes_and_is_never_shorter_than_the_step(chosen, scrape, range_, window):
    step = step_for(range_, scrape)
    assert window_for(chosen, scrape, step) == window
    assert window >= step


def test_samples_are_put_on_the_steps_of_a_range_and_gaps_stay_gaps():
    span = TimeRange(100.0, 110.0, 2.0)
    grid = span.grid(np.array([102.0, 106.0, 108.0, 114.0]), np.array([1.0, np.inf, 3.0, 4.0]))
    np.testing.assert_array_equal(grid, [np.nan, 1.0, np.nan, np.nan, 3.0, np.nan])


@pytest.mark.parametrize("text", ["", "5", "5 m", "m", "5m]", "1.5h", "-5m"])
def test_what_is_no_duration_is_refused(text):
    with pytest.raises(QueryError):
        seconds_of(text)


def test_placeholders_are_filled_in_both_spellings():
    expr = 'sum(rate(m{$selector, s="x"}[$window])) + rate(m[${rate_interval}]) + m offset $range'
    filled = fill(expr, selector='job="api"', window=60, rate_interval="8s", range_=300)
    assert filled == 'sum(rate(m{job="api", s="x"}[1m])) + rate(m[8s]) + m offset 5m'


def test_strings_and_comments_are_left_alone():
    expr = 'm{s=~"5..$", t="$window", u=\'$x\', v=`$y`} # $z'
    assert fill(expr) == expr


def test_an_empty_selector_takes_its_comma_with_it():
    assert fill('m{$selector, s="x"}', selector="") == 'm{s="x"}'
    assert fill("m{$selector}", selector="") == "m{}"


@pytest.mark.parametrize(
    ("expr", "position"), [("rate(m[$windw])", (1, 8)), ("a +\n  $window", (2, 3)), ("$1", (1, 1))]
)
def test_an_unknown_or_missing_placeholder_is_named_with_its_place(expr, position):
    with pytest.raises(QueryError) as caught:
        fill(expr, selector='job="api"')
    assert caught.value.position == position
    assert "$selector" in caught.value.hint


@pytest.mark.parametrize(
    "text", ['job="api"} or vector(1) #', "job=api", "{}", 'job="a" instance="b"', '"', 'job="a",,']
)
def test_a_selector_cannot_break_out_of_its_braces(text):
    with pytest.raises(ConfigError, match="selector"):
        fill("m{$selector}", selector=text)


def test_a_selector_is_matched_as_prometheus_does():
    labels = {"job": "api", "instance": "127.0.0.1:8000"}
    assert selects('job="api", instance=~"127.*"', labels)
    assert not selects('instance=~"127"', labels)
    assert selects('zone="", job!="x", job!~"x|y"', labels)
    assert not selects("job!='api'", labels)
    assert not selects('job=~"("', labels)
    assert not selects('job=~"(.+)+("', labels)
    assert not selects('job=~"a{99999999999999999999}"', labels)
    assert selects("", labels)
    assert parse_selector(r'a="x\"\\\ny"')[0].value == 'x"\\\ny'


@pytest.mark.parametrize(
    "pattern", ["(a+)+b", "(a|a)*b", "a?" * 60 + "a" * 60 + "b", "a*a*a*a*a*a*a*b", "(a|a)" * 40 + "b"]
)
def test_an_expression_that_tries_everything_holds_up_nobody(pattern):
    """A selector may come from a page: Python's own engine would be at it for years, with every page waiting."""
    assert not selects(f'job=~"{pattern}"', {"job": "a" * 3000})
    assert selects(f'job=~"{pattern}|a+"', {"job": "a" * 3000})


@pytest.mark.parametrize(
    ("pattern", "value", "fits"),
    [
        ("a.*|b.*", "b\nc", True),
        ("a.*|b.*", "cb", False),
        ("x|y+z*", "yy", True),
        ("x?y?", "", True),
        ("b.*", "b\n", True),
    ],
)
def test_both_engines_match_the_whole_value_as_prometheus_does(pattern, value, fits):
    assert selects(f'job=~"{pattern}"', {"job": value}) is fits


@pytest.mark.parametrize("name", ["", "a b", 'a"', "1a", "a-b"])
def test_a_label_name_is_checked(name):
    with pytest.raises(QueryError):
        matcher(name, "x")


def test_quoting_escapes_what_would_end_the_string():
    assert quote('a"b\\c\n') == '"a\\"b\\\\c\\n"'
    assert quote("\udcff") == '"?"'
