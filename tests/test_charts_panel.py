"""A panel against a real Prometheus: placeholders, names, partial answers, and why a chart is empty."""

from __future__ import annotations

import re

import numpy as np
import pytest

from app.charts import Context, ask, sentence, title
from app.charts.panel import last_increase, legend_name, merge
from app.config import Panel, Settings, load_systems
from app.errors import QueryError
from app.prometheus import Answer, Prometheus, Series, State, TimeRange
from app.words.units import Clock
from tests.conftest import free_port


@pytest.fixture(scope="module")
def prometheus(prometheus_url):
    client = Prometheus(prometheus_url)
    yield client
    client.close()


def panel(expr, **keys):
    return Panel(id="a", title="p95 latency, $window window", expr=expr, **keys)


def context(**keys):
    return Context(
        **{"selector": 'job="api"', "window": 60.0, "span": TimeRange.last(30, scrape=1), "scrape": 1.0, **keys}
    )


def test_a_panel_is_asked_with_its_placeholders_filled(prometheus):
    found = ask(
        prometheus,
        panel("sum(rate(api_requests_total{$selector}[$rate_interval]))", unit="1/s", legend="requests"),
        context(),
    )
    assert found.state is State.OK
    assert [one.name for one in found.series] == ["requests"]
    assert "requests a second now" in sentence(panel("x", unit="1/s"), found)


def test_a_title_says_the_window_in_words_and_claims_none_that_was_not_asked():
    assert title(panel("up"), context(window=30)) == "p95 latency, 30 s window"
    assert title(panel("up"), context(window=30), asked=False) == "p95 latency"
    over = Panel(id="a", title="Requests over $window", expr="up")
    assert title(over, context(window=30), asked=False) == "Requests over unknown"


def test_several_expressions_are_named_by_their_keys(prometheus):
    found = ask(prometheus, panel({"p50": "vector(1)", "p95": "vector(2)"}), context())
    assert [one.name for one in found.series] == ["p50", "p95"]
    assert found.total_series == 2


def test_a_legend_template_is_filled_and_equal_names_are_told_apart(prometheus):
    found = ask(prometheus, panel("api_requests_total{$selector}", legend="{{status}}"), context())
    assert sorted(one.name for one in found.series) == ["200", "500"]
    alike = ask(prometheus, panel("api_requests_total{$selector}", legend="all"), context())
    assert sorted(one.name for one in alike.series) == ["all (200)", "all (500)"]


def test_one_expression_that_fails_leaves_the_others(prometheus):
    found = ask(prometheus, panel({"good": "vector(1)", "bad": "1 +"}), context())
    assert found.state is State.PARTIAL
    assert [one.name for one in found.series] == ["good"]
    assert "bad: line 1, column 4" in found.reason
    assert "Incomplete" in sentence(panel("x"), found)


def test_when_all_fail_the_error_is_the_answer(prometheus):
    found = ask(prometheus, panel({"a": "1 +", "b": "("}), context())
    assert found.state is State.ERROR
    assert isinstance(found.error, QueryError)


def test_an_unknown_placeholder_is_an_answer_not_an_exception(prometheus):
    assert "$windw is unknown" in ask(prometheus, panel("rate(x[$windw])"), context()).reason


def test_no_server_is_an_answer_not_an_exception():
    found = ask(Prometheus(f"http://127.0.0.1:{free_port()}"), panel("up"), context(requests="api_requests_total"))
    assert found.state is State.ERROR
    assert "nothing listens" in sentence(panel("up"), found)


def test_an_empty_chart_says_that_the_service_is_not_scraped(prometheus):
    there = context(selector='job="elsewhere"', requests="api_requests_total")
    found = ask(prometheus, panel("sum(rate(api_requests_total{$selector}[$window]))"), there)
    assert found.state is State.EMPTY
    assert found.reason == 'Prometheus has no series api_requests_total{job="elsewhere"}'
    assert "Targets" in found.hint


def test_an_empty_chart_says_that_nobody_asked(prometheus):
    found = ask(prometheus, panel("idle_seconds_sum / idle_seconds_count"), context(requests="idle_seconds_count"))
    assert found.state is State.EMPTY
    # The session's Prometheus is younger than the eight hours that are looked back.
    assert re.fullmatch(r"no request in the .+ since the first scrape", found.reason)
    assert "Generate traffic" in found.hint


class Canned:
    """A Prometheus whose two answers are known: the chart's, then the counter's."""

    def __init__(self, *answers):
        self.answers = list(answers)

    def query_range(self, expr, span):
        self.asked = expr
        return self.answers.pop(0)


def test_an_empty_chart_says_when_the_last_request_was():
    span = TimeRange(1_795_246_500.0, 1_795_248_300.0, 5.0)
    times = np.arange(span.start, span.end + 1, 5)
    counter = Series({}, times, np.where(times < span.end - 600, 3.0, 4.0))
    empty = Answer(State.EMPTY, reason="the series hold no number")
    canned = Canned(empty, Answer(State.OK, (counter,)))
    found = ask(canned, panel("x"), context(span=span, requests="api_requests_total"), Clock(now=span.end))
    assert found.reason == "the last request, at 07:55:00, is older than the 1 min window"
    assert found.idle
    assert canned.asked == 'sum(api_requests_total{job="api"})'


END = 1_795_248_300.0


def counts(since, *steps):
    """The counter every five seconds from `since` seconds before the end; `steps`: (seconds before the end, value)."""
    times = np.arange(END - since, END + 1, 5)
    values = np.zeros(times.size)
    for before, value in steps:
        values[times >= END - before] = value
    return Answer(State.OK, (Series({}, times, values),))


UP = Answer(State.OK, (Series({}, np.arange(END - 240, END + 1, 5), np.ones(49)),))
DAY = counts(28_800, (28_800, 7))


@pytest.mark.parametrize(
    ("answers", "reason"),
    [
        # Prometheus is four minutes old; half an hour and eight hours are looked at.
        ([counts(240), UP, counts(240), UP], "no request in the 4 min since the first scrape"),
        ([counts(1800), DAY], "no request in the last 8 h"),
        ([counts(1800), counts(7200), UP], "no request in the 2 h since the first scrape"),
        # The counter has labels: it appears with its first requests, which are in no difference of its values.
        ([counts(100, (100, 100)), UP], "the last request, at 08:03:20, is older than the 1 min window"),
        # A service that began anew and has answered since.
        ([counts(1800, (1800, 50), (300, 3))], "the last request, at 08:00:00, is older than the 1 min window"),
    ],
)
def test_an_empty_chart_claims_nothing_of_the_time_before_the_first_scrape(answers, reason):
    span = TimeRange(END - 300, END, 5.0)
    empty = Answer(State.EMPTY, reason="the series hold no number")
    found = ask(Canned(empty, *answers), panel("x"), context(span=span, requests="calls_total"), Clock(now=END))
    assert found.reason == reason


def test_a_counter_that_never_moved_has_no_last_increase():
    times = np.arange(4.0)
    assert last_increase(Series({}, times, np.full(4, 7.0))) is None
    assert last_increase(Series({}, times, np.array([1.0, 2.0, 2.0, 0.0]))) == 1.0
    assert last_increase(Series({}, times, np.array([5.0, 5.0, 2.0, 2.0]))) == 2.0


@pytest.mark.parametrize(
    ("legend", "labels", "name"),
    [
        ("", {}, "value"),
        ("", {"__name__": "up", "job": "api"}, "up job=api"),
        ("{{status}}", {"status": "200"}, "200"),
        ("{{ status }} on {{host}}", {"status": "200"}, "200 on"),
        ("{{nothing}}", {"job": "api"}, "job=api"),
        ("requests", {"a": "b"}, "requests"),
    ],
)
def test_legends(legend, labels, name):
    assert legend_name(legend, labels) == name


def test_a_long_name_is_cut_and_stays_on_one_line():
    name = legend_name("{{q}}", {"q": "select\n" * 50})
    assert len(name) == 60
    assert "\n" not in name


def test_merged_answers_add_up():
    one = Answer(State.OK, (Series({}, np.arange(2.0), np.arange(2.0)),), seconds=1, total_series=1)
    found = merge({"a": one, "b": Answer(State.EMPTY, reason="no series matches", seconds=2)})
    assert (found.state, found.seconds, found.total_series, len(found.series)) == (State.OK, 3, 1, 1)


@pytest.mark.parametrize("system_id", ["streamflow", "diabetes", "f1pa"])
def test_every_panel_of_every_shipped_system_is_accepted_by_a_real_server(prometheus, tmp_path, system_id):
    settings = Settings.from_env({"VIGIE_HOME": str(tmp_path), "HOME": str(tmp_path)})
    system = load_systems(settings).by_id[system_id]
    there = Context.of(system, 60.0, TimeRange.last(300, scrape=1), prometheus.targets())
    for one in system.panels:
        found = ask(prometheus, one, there)
        assert found.state in (State.OK, State.EMPTY, State.PARTIAL), f"{one.id}: {found.reason}"
        assert sentence(one, found)
    for expr in [*(one.expr for one in system.status), *(one.expr for one in system.alerts)]:
        assert prometheus.query(there.fill(expr)).error is None, expr
