"""Numbers and times as a person reads them."""

from __future__ import annotations

import math
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.words.numbers import apart, count, counts_moved, share_apart, share_moved
from app.words.shared import rows
from app.words.units import Clock, format_duration, format_number, format_time, format_value

UNITS = ["1/s", "s", "ratio", "bytes", "bytes/s", "count", "1", "celsius"]


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (12.44, "1/s", "12.4/s"),
        (0.0412, "s", "41.2 ms"),
        (0.9996, "s", "1 s"),
        (0.00000512, "s", "5.12 µs"),
        (1.2345, "s", "1.23 s"),
        (0, "s", "0 ms"),
        (0.005, "ratio", "0.5 %"),
        (1, "ratio", "100 %"),
        (0, "ratio", "0 %"),
        (1_250_000, "bytes", "1.25 MB"),
        (999_999, "bytes", "1 MB"),
        (512, "bytes", "512 B"),
        (2_000, "bytes/s", "2 kB/s"),
        (7043, "count", "7,043"),
        (1, "1", "1"),
        (0.20512, "1", "0.205"),
        (21.04, "celsius", "21 °C"),
        (-0.0412, "s", "-41.2 ms"),
        (1e-7, "1", "1e-7"),
        (123456.7, "1/s", "123,000/s"),
        (None, "s", "unknown"),
        (math.nan, "s", "unknown"),
        (math.inf, "s", "infinite"),
        (-math.inf, "1", "minus infinite"),
    ],
)
def test_a_value_has_three_digits_and_a_unit(value, unit, text):
    assert format_value(value, unit) == text


def test_units_in_words():
    assert format_value(12.4, "1/s", words=True) == "12.4 a second"


@given(st.floats(), st.sampled_from(UNITS))
def test_every_value_of_every_unit_can_be_shown(value, unit):
    text = format_value(value, unit)
    assert text
    assert "nan" not in text.lower()


@given(st.floats(1e-12, 1e14))
def test_what_is_shown_is_within_half_a_unit_of_the_third_digit(value):
    assert float(format_number(value).replace(",", "")) == pytest.approx(value, rel=5.1e-3)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0412, "41.2 ms"), (12, "12 s"), (30, "30 s"), (60, "1 min"), (90, "1 min 30 s"), (300, "5 min"), (3600, "1 h"),
     (7500, "2 h 5 min"), (86_400 * 3 + 4 * 3600, "3 d 4 h"), (None, "unknown"), (-60, "-1 min")],
)  # fmt: skip
def test_lengths_of_time(seconds, text):
    assert format_duration(seconds) == text


def test_a_moment_has_its_date_when_it_is_not_today():
    clock = Clock(ZoneInfo("Europe/Paris"), 1_795_248_000.0)
    assert format_time(1_795_248_000.0, clock) == "09:00:00"
    assert format_time(1_795_248_000.0 - 86_400, clock) == "2026-11-20 09:00:00"
    assert format_time(None, clock) == "unknown"


@pytest.mark.parametrize(
    ("zone", "text"),
    [
        ("Europe/Paris", "Europe/Paris (UTC+01:00)"),
        ("America/St_Johns", "America/St_Johns (UTC-03:30)"),
        ("UTC", "UTC (UTC+00:00)"),
    ],
)
def test_the_zone_is_named_with_its_distance(zone, text):
    assert Clock(ZoneInfo(zone)).zone(1_795_248_000.0) in (text, "UTC+00:00")


def test_without_a_zone_times_are_utc_and_say_so():
    assert Clock().zone(0) == "UTC"


def test_a_count_carries_its_noun_and_an_unknown_one_is_a_word():
    assert (rows(1), rows(1200)) == ("1 row", "1,200 rows")
    assert counts_moved(None, 3) == "unknown → 3"
    assert counts_moved(None, None) == count(None) == "unknown"


def test_a_number_beside_its_threshold_stays_on_its_side():
    assert share_apart(0.12, 0.3) == "0.12"
    assert share_apart(0.125, 0.125) == "0.125"
    assert share_apart(0.29996, 0.3) == "0.29996"
    assert apart(0.0999, 0.1) == "0.0999"


def test_shares_that_differ_in_a_decimal_that_is_not_shown_get_more_of_them():
    assert share_moved(0.265, 0.296) == "26.5% → 29.6%"
    assert share_moved(0.26501, 0.26502) == "26.5010% → 26.5020%"
