import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.config import Request, RequestError, System
from app.errors import PlanError
from app.load import plan as plans
from app.load.plan import Plan, Shape, arrivals, presets, preview

SYSTEM = System(id="fake", title="Fake", request=Request(errors={"bad": RequestError(body={}, status=422)}))


def made(**args):
    return Plan.from_args(args, SYSTEM)


def test_a_hundred_requests_over_ten_seconds_are_evenly_spread():
    times = arrivals(made(count=100, duration=10))
    assert len(times) == 100
    assert times[0] == 0
    assert np.allclose(np.diff(times), 0.1)
    assert times[-1] < 10


@pytest.mark.parametrize(
    ("args", "shape", "requests"),
    [
        ({"count": 100, "duration": 10}, Shape.COUNT, 100),
        ({"count": 50, "pause": 0.2}, Shape.CLOSED, 50),
        ({"count": 50}, Shape.CLOSED, 50),
        ({"rate": 50, "duration": 10}, Shape.STEADY, 500),
        ({"shape": "steady", "rate": 10, "duration": 0.7}, Shape.STEADY, 7),
        ({"shape": "ramp", "rate": 50, "duration": 10}, Shape.RAMP, 250),
        ({"shape": "spike", "rate": 100, "duration": 10}, Shape.SPIKE, 280),
        ({"background": True}, Shape.BACKGROUND, 28_800),
    ],
)
def test_arguments_become_the_shape_they_describe(args, shape, requests):
    found = made(**args)
    assert (found.shape, found.requests) == (shape, requests)
    assert found.words


@pytest.mark.parametrize("shape", ["steady", "ramp", "spike"])
def test_send_times_rise_within_the_duration_and_never_above_the_rate(shape):
    found = made(shape=shape, rate=40, duration=20)
    times = arrivals(found)
    assert len(times) == found.requests
    assert np.all(np.diff(times) >= 0)
    assert 0 <= times[0] <= times[-1] <= 20
    busiest = max(np.searchsorted(times, times + 1.0, side="left") - np.arange(len(times)))
    assert busiest <= 41


def test_a_ramp_sends_a_quarter_in_its_first_half():
    times = arrivals(made(shape="ramp", rate=40, duration=20))
    assert (times < 10).mean() == pytest.approx(0.25, abs=0.01)


def test_a_spike_is_ten_times_its_base_in_the_middle():
    times = arrivals(made(shape="spike", rate=100, duration=20))
    middle, before = ((times >= 8) & (times < 12)).sum() / 4, (times < 8).sum() / 8
    assert (middle, before) == (pytest.approx(100, rel=0.02), pytest.approx(10, rel=0.05))


def test_the_preview_adds_up_to_the_plan():
    for args in (
        {"count": 77, "duration": 3},
        {"shape": "ramp", "rate": 30, "duration": 7},
        {"shape": "spike", "rate": 30, "duration": 7},
    ):
        found = made(**args)
        shown = preview(found, 40)
        assert len(shown.seconds) == 40
        assert shown.rates.sum() * shown.step == pytest.approx(found.requests)


def test_a_closed_plan_has_no_times_and_says_why():
    shown = preview(made(count=10, pause=1))
    assert len(shown.rates) == 0
    assert "the service sets the rate" in shown.reason
    with pytest.raises(ValueError):
        arrivals(made(count=10, pause=1))


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ({}, "rate"),
        ({"count": 0, "duration": 1}, "whole number from 1"),
        ({"count": 1.5, "duration": 1}, "whole number"),
        ({"count": True, "duration": 1}, "whole number"),
        ({"count": 10**6, "pause": 0}, "200,000"),
        ({"count": 1000, "duration": 1}, "fake allows 200 (max_rate)"),
        ({"rate": 201, "duration": 10}, "fake allows 200 (max_rate)"),
        ({"rate": math.nan, "duration": 10}, "rate is nan"),
        ({"rate": math.inf, "duration": 10}, "rate is inf"),
        ({"rate": "50", "duration": 10}, "rate is '50'"),
        ({"rate": -1, "duration": 10}, "rate is -1"),
        ({"rate": 10, "duration": 0}, "duration is 0"),
        ({"rate": 10, "duration": 901}, "duration is 901; accepted: from 0.1 to 900"),
        ({"rate": 0.01, "duration": 10}, "less than one request"),
        ({"count": 100, "pause": 61}, "pause is 61"),
        ({"count": 1000, "pause": 1}, "longest run"),
        ({"background": True, "rate": 5}, "background traffic sends at most 1"),
        ({"background": True, "duration": 10**6}, "28800"),
        ({"shape": "sawtooth", "rate": 1, "duration": 1}, "sawtooth"),
        ({"rate": 1, "duration": 1, "errors": 1.5}, "errors is 1.5"),
        ({"rate": 1, "duration": 1, "deadline": 0}, "deadline is 0"),
        ({"rate": 1, "duration": 1, "in_flight": 801}, "in_flight is 801"),
        ({"rate": 1, "duration": 1, "period": "../../etc"}, "period"),
        ({"rate": 1, "duration": 1, "seed": -1}, "seed is -1"),
        ({"rate": 1, "duration": 1, "urls": []}, "unknown argument 'urls'"),
    ],
)
def test_what_is_outside_the_bounds_is_refused_by_name(args, words):
    with pytest.raises(PlanError) as caught:
        made(**args)
    assert words in caught.value.text
    assert caught.value.hint


def test_the_most_requests_hold_at_the_highest_rate_a_file_may_allow():
    fast = SYSTEM.model_copy(update={"load": SYSTEM.load.model_copy(update={"max_rate": 1000.0})})
    with pytest.raises(PlanError, match="200,000, the most of one run"):
        Plan.from_args({"rate": 1000, "duration": 900}, fast)


def test_a_system_without_a_request_or_without_failing_requests_says_so():
    bare = System(id="bare", title="Bare")
    with pytest.raises(PlanError, match="no \\[request\\]"):
        Plan.from_args({"count": 1}, bare)
    with pytest.raises(PlanError, match="names no requests that must fail"):
        Plan.from_args({"count": 1, "errors": 0.5}, bare.model_copy(update={"request": Request()}))


def test_background_and_foreground_runs_have_different_keys():
    assert made(background=True).key != made(count=1).key == made(rate=5, duration=2).key


@pytest.mark.parametrize("top", [0.5, 3.0, 200.0, 1000.0])
def test_every_preset_is_allowed_by_its_system(top):
    slow = SYSTEM.model_copy(update={"load": SYSTEM.load.model_copy(update={"max_rate": top})})
    for preset in presets(slow):
        assert Plan.from_args(preset.args, slow).requests > 0


def test_a_rate_that_makes_more_requests_than_a_number_holds_is_refused_in_words():
    with pytest.raises(PlanError, match="no number of requests"):
        Plan.from_args({"rate": 1e304, "background": True}, SYSTEM)


numbers = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-10, 10**7),
    st.floats(),
    st.text(max_size=3),
    st.lists(st.integers(), max_size=1),
)


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(st.dictionaries(st.sampled_from(sorted(plans.KEYS)), numbers))
def test_any_arguments_give_a_bounded_plan_or_a_plan_error(args):
    try:
        found = Plan.from_args(args, SYSTEM)
    except PlanError:
        return
    assert 1 <= found.requests <= plans.MAX_REQUESTS
    assert found.rate <= 200 * (1 + 1e-9)
    assert found.most_seconds <= plans.MAX_BACKGROUND_SECONDS + 2 * plans.MAX_DEADLINE
    if not found.closed:
        assert len(arrivals(found)) == found.requests
