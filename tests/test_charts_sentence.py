"""One line in words under each chart."""

from __future__ import annotations

import numpy as np
import pytest

from app.charts import sentence
from app.charts.sentence import idle
from app.config import Panel
from app.errors import QueryError
from app.prometheus import Answer, Series, State, TimeRange
from app.words.units import Clock

SPAN = TimeRange(1_795_248_000.0, 1_795_248_300.0, 1.0)
CLOCK = Clock(now=SPAN.end + 2)
TIMES = np.arange(SPAN.start, SPAN.end + 1)


def panel(unit="1/s", **keys):
    return Panel(id="a", title="A", expr="up", unit=unit, **keys)


def series(values, name="requests"):
    return Series({}, TIMES, np.asarray(values, dtype=float), name)


def said(unit, *all_series, state=State.OK, clock=CLOCK, **keys):
    return sentence(panel(unit), Answer(state, all_series, **keys), SPAN, clock)


def rising(last, peak=None, at=130):
    values = np.full(301, float(last))
    if peak is not None:
        values[at] = peak
    return values


def test_a_rate_is_said_with_its_peak():
    assert said("1/s", series(rising(12.4, 48))) == "12.4 requests a second now, peak 48/s at 08:02:10."


def test_one_is_singular():
    assert said("1/s", series(rising(1, 2))).startswith("1 request a second now")


@pytest.mark.parametrize(
    ("unit", "name", "value", "text"),
    [
        ("s", "mean", 0.041, "mean 41 ms now, unchanged through this range."),
        ("ratio", "errors", 0.0, "errors 0 % now, all through this range."),
        ("bytes", "resident", 86_500_000, "resident 86.5 MB now, unchanged through this range."),
        ("1", "value", 0.205, "0.205 now, unchanged through this range."),
        ("1/s", "/predict 200", 3.0, "/predict 200 3/s now, unchanged through this range."),
    ],
)
def test_every_unit_is_said(unit, name, value, text):
    assert said(unit, series(rising(value), name)) == text


def test_three_series_are_named_and_the_peak_says_whose():
    found = said("s", series(rising(0.012), "p50"), series(rising(0.041), "p95"), series(rising(0.08, 0.312), "p99"))
    assert found == "p50 12 ms, p95 41 ms, p99 80 ms now, peak 312 ms (p99) at 08:02:10."


def test_many_series_are_counted_and_the_highest_named():
    found = said("1/s", *[series(rising(place), f"h{place}") for place in range(7)])
    assert found.startswith("7 series; the highest now is h6 6/s")


def test_a_gap_at_the_end_is_not_now():
    values = rising(0.041)
    values[200:] = np.nan
    found = said("s", series(values, "p95"))
    assert found == "No value now; last p95 41 ms at 08:03:19. Without traffic there is nothing to measure."


def test_a_range_in_the_past_does_not_say_now():
    found = said("1/s", series(rising(3, 4)), clock=Clock(now=SPAN.end + 3600))
    assert "now" not in found
    assert "at 08:05:00" in found


def test_empty_failed_partial_and_stale_say_why():
    empty = said("s", state=State.EMPTY, reason="no series matches", hint="Check the name.")
    assert empty == "Nothing to draw: no series matches. Check the name."
    failed = sentence(panel(), Answer.failed(QueryError("line 1, column 3: parse error.", hint="Correct it.")))
    assert failed == "Not drawn: line 1, column 3: parse error. Correct it."
    partial = said("1/s", series(rising(2)), state=State.PARTIAL, reason="50 of 120 series")
    assert partial.endswith("Incomplete: 50 of 120 series.")
    stale = said("1/s", series(rising(2)), state=State.STALE, reason="no answer for 12 s")
    assert stale.endswith("Not fresh: no answer for 12 s.")
    assert sentence(panel(), Answer(State.OK, text="x")) == "The value is the text “x”."


LATE = TIMES[200:]


def late(values, name="requests"):
    return Series({}, LATE, np.asarray(values, dtype=float), name)


@pytest.mark.parametrize(
    ("unit", "values", "text"),
    [
        ("1/s", np.zeros(101), "0 requests a second now, ever since the first value at 08:03:20."),
        ("1", np.full(101, 3.0), "requests 3 now, unchanged since the first value at 08:03:20."),
        ("1/s", rising(1, 9)[50:151], "1 request a second now, peak 9/s at 08:04:40 (the first value at 08:03:20)."),
    ],
)
def test_a_line_that_begins_late_claims_nothing_of_the_time_before(unit, values, text):
    assert said(unit, late(values)) == text


def test_a_line_with_a_gap_claims_nothing_of_the_gap():
    times = np.concatenate([TIMES[:100], TIMES[160:]])
    found = said("1/s", Series({}, times, np.zeros(times.size), "requests"))
    assert found == "0 requests a second now, all through what was measured of this range."


@pytest.mark.parametrize(
    ("times", "values", "text"),
    [
        (TIMES, np.zeros(301), "No request in the last 5 min"),
        (TIMES[1:], np.zeros(300), "No request in the last 5 min"),
        (TIMES[60:], np.zeros(241), "No request in the 4 min since the first scrape"),
        (TIMES[-1:], np.zeros(1), "No request in the 1 s since the first scrape"),
        (TIMES, np.where(TIMES < SPAN.end - 119, 3.0, 0.0), "No request in the last 1 min 59 s"),
        # A gap in the scrapes: nothing is known of it.
        (np.concatenate([TIMES[:100], TIMES[240:]]), np.zeros(161), "No request in the last 1 min"),
        (TIMES, np.where((TIMES > 0) & (TIMES < SPAN.end - 60), np.nan, 0.0), "No request in the last 1 min"),
    ],
)
def test_a_service_at_rest_is_claimed_for_no_longer_than_it_was_scraped(times, values, text):
    assert idle(Series({}, times, values), SPAN).startswith(text)


def test_without_a_range_the_samples_tell_the_end():
    found = sentence(panel(), Answer(State.OK, (series(rising(2)),)), clock=CLOCK)
    assert found == "2 requests a second now, unchanged through this range."


def test_infinity_is_never_a_peak():
    values = rising(2, 5)
    values[10] = np.inf
    assert "peak 5/s" in said("1/s", series(values))
