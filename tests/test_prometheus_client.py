"""The client against a real Prometheus, and against servers that are none."""

from __future__ import annotations

import contextlib
import json
import math
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.config import Settings
from app.egress import Session
from app.errors import (
    AnswerTooLarge,
    BadAnswer,
    ConfigError,
    DeadlineExceeded,
    EgressError,
    QueryError,
    Unreachable,
    VigieError,
)
from app.prometheus import Prometheus, State, TimeRange, connect
from app.prometheus.parse import parse
from app.prometheus.promql import MAX_SERIES
from app.prometheus.targets import Health
from tests.conftest import free_port
from tests.http_fakes import answer, dribble, raw, serve
from tests.waiting import until


@pytest.fixture(scope="module")
def prometheus(prometheus_url):
    client = Prometheus(prometheus_url)
    yield client
    client.close()


@pytest.fixture
def span():
    return TimeRange.last(30, scrape=1)


def test_targets_are_read_from_a_real_server_with_their_errors_in_words(prometheus):
    targets = {one.job: one for one in prometheus.targets()}
    assert targets["api"].health is Health.UP
    assert targets["dead"].health is Health.DOWN
    assert "nothing listens" in targets["dead"].meaning.text
    assert "404" in targets["missing"].meaning.text
    assert "metrics format" in targets["page"].meaning.text or "content type" in targets["page"].meaning.text
    assert (targets["api"].interval, targets["api"].timeout) == (1.0, 1.0)
    assert targets["api"].last_scrape == pytest.approx(time.time(), abs=30)


def test_metadata_values_of_labels_and_version_are_read(prometheus):
    assert prometheus.metadata()["api_requests_total"].type == "counter"
    assert {"api", "dead", "page"} <= set(prometheus.label_values("job"))
    assert {"200", "500"} <= set(prometheus.label_values("status"))
    assert prometheus.build()[0].isdigit()


def test_rules_and_alerts_are_read_and_not_escaped_away(prometheus):
    rule = prometheus.rules()[0]
    assert (rule.name, rule.kind, rule.expr, rule.for_seconds) == ("Down", "alerting", 'up{job="dead"} == 0', 0.0)
    alert = prometheus.alerts()[0]
    assert (alert.name, alert.state) == ("Down", "firing")
    assert alert.annotations["summary"] == "it is <b>down</b>"
    assert alert.since is not None


def test_an_instant_query_gives_values(prometheus):
    assert prometheus.query('up{job="api"}').value == 1.0
    assert prometheus.query("1e-05").value == 1e-05
    assert prometheus.query('"text"').text == "text"
    assert prometheus.query("big").value == 1.7976931348623157e308


def test_a_range_query_gives_columns_that_move(prometheus, span):
    # The window must be full of scrapes before its rate is the true one.
    rate = "sum(rate(api_requests_total{job='api'}[5s]))"
    until(lambda: abs((prometheus.query(rate).value or 0) - 10) <= 3, "the true rate", every=0.5)
    span = TimeRange.between(time.time() - 30, time.time())
    reply = prometheus.query_range("sum(rate(api_requests_total{job='api'}[5s]))", span)
    assert reply.state is State.OK
    series = reply.series[0]
    assert series.times.dtype == np.float64
    assert (np.diff(series.times) >= span.step).all()
    assert series.values[-1] == pytest.approx(10, abs=5)


def test_hostile_label_values_arrive_as_they_were_scraped(prometheus, span):
    labels = prometheus.query_range("hostile", span).series[0].labels
    assert labels["text"] == '</script><b>x</b>"],[1,\\'


@pytest.mark.parametrize(
    ("expr", "reason"),
    [
        ("no_such_metric", "no series matches"),
        ("idle_seconds_sum / idle_seconds_count", "no number"),
        ("nothing", "no number"),
        ("infinite", "no number"),
    ],
)
def test_empty_is_told_from_failed_with_a_reason(prometheus, span, expr, reason):
    for reply in (prometheus.query(expr), prometheus.query_range(expr, span)):
        assert reply.state is State.EMPTY
        assert reason in reply.reason
        assert reply.value is None


@pytest.mark.parametrize(
    ("expr", "position"), [("1 +", (1, 4)), ("rate(up[5s]", None), ("up}", None), ("sum(\n rate(\n", None)]
)
def test_a_refused_expression_has_the_servers_position(prometheus, span, expr, position):
    for reply in (prometheus.query(expr), prometheus.query_range(expr, span)):
        assert reply.state is State.ERROR
        assert isinstance(reply.error, QueryError)
        line, column = reply.error.position
        assert 1 <= line <= expr.count("\n") + 1
        assert column >= 1
        assert position in (None, (line, column))
        with pytest.raises(QueryError):
            reply.checked()


def test_a_comment_at_the_end_does_not_break_the_count(prometheus, span):
    assert prometheus.query_range("up # all of them", span).state is State.OK


def test_many_series_are_bounded_and_said(prometheus, span):
    reply = prometheus.query_range("many", span)
    assert reply.state is State.PARTIAL
    assert (len(reply.series), reply.total_series) == (MAX_SERIES, 120)
    assert "50 of 120 series" in reply.reason
    assert {int(one.labels["number"]) for one in reply.series} == set(range(70, 120))


def test_series_of_several_names_are_bounded_too(prometheus, span):
    reply = prometheus.query_range('{job="prometheus"}', span)
    assert reply.state is State.PARTIAL
    assert len(reply.series) == MAX_SERIES


def test_an_expensive_expression_is_ended_by_the_server_in_words(prometheus, span):
    reply = prometheus.query_range("count_over_time(vector(1)[1d:1ms])", span)
    assert isinstance(reply.error, QueryError | DeadlineExceeded)
    assert reply.hint


def test_a_long_expression_goes_in_the_body(prometheus):
    wide = " + ".join(["vector(1)"] * 400)
    assert prometheus.query(wide).value == 400.0


@pytest.mark.parametrize("expr", ["", "  ", "up " * 20_000, 'up{a="\udcff"}'])
def test_an_expression_that_cannot_be_asked_is_an_answer_too(prometheus, span, expr):
    assert isinstance(prometheus.query(expr).error, VigieError)
    assert isinstance(prometheus.query_range(expr, span).error, VigieError)


def test_a_point_in_time_is_asked_for_exactly(prometheus):
    at = round(time.time()) - 1.5
    assert prometheus.query("time()", at).value == pytest.approx(at, abs=1e-3)


CALLS = ["targets", "metadata", "build", "rules", "alerts", "label_values", "query", "query_range"]
KEYS = ["resultType", "result", "metric", "value", "values", "activeTargets", "groups", "rules", "alerts", "labels", "name",
        "type", "query", "state", "version", "discoveredLabels", "health", "lastScrape", "vector", "matrix", "scalar"]  # fmt: skip
CORPUS = Path(__file__).resolve().parents[2] / "shared" / "corpora" / "json"


def asked(client, call, span):
    """One question to a Prometheus, whatever it brings."""
    calls = {
        "query": lambda: client.query("up").checked(),
        "query_range": lambda: client.query_range("up", span).checked(),
        "label_values": lambda: client.label_values("job"),
    }
    return calls.get(call, getattr(client, call))()


@pytest.fixture(scope="module")
def wrong_server():
    """A server that answers with its `body`."""
    server = SimpleNamespace(body=b"{}", url="")

    def handle(client, request):
        answer(server.body)(client, request)

    with serve(handle) as fake:
        server.url = fake.url
        yield server


# --- servers that are no Prometheus ----------------------------------------------------------------------------------

WRONG = {
    "html": answer(b"<html><title>Log in</title>", kind="text/html"),
    "truncated": answer(b'{"status":"success","data":{"resultType":"matrix","result":[{"metric":{},"values":[[1,"'),
    "empty": answer(b""),
    "list": answer(b"[]"),
    "null": answer(b"null"),
    "other json": answer(b'{"hello": "world"}'),
    "no data": answer(b'{"status":"success"}'),
    "wrong data": answer(b'{"status":"success","data":"x"}'),
    "wrong rows": answer(b'{"status":"success","data":{"activeTargets":[1],"groups":[1],"alerts":[1],"result":[1]}}'),
    "redirect": answer(b"", status="302 Found", extra="Location: http://127.0.0.1:1/login\r\n"),
    "unauthorized": answer(b"no", status="401 Unauthorized"),
    "proxy": answer(b"<html>Bad gateway", status="502 Bad Gateway", kind="text/html"),
    "envelope": answer(b'{"status":"error","errorType":"internal","error":"boom"}', status="500 Error"),
    "closed": raw(b""),
    "deep": answer(b"[" * 100_000),
    "deep object": answer(b'{"status":"success","data":' + b'{"a":' * 100_000),
    "deep labels": answer(
        b'{"status":"success","data":{"resultType":"matrix","result":[{"metric":'
        + b"[" * 100_000
        + b',"values":[[1,"2"]]}]}}'
    ),
    "deep warnings": answer(
        b'{"status":"success","data":{"resultType":"matrix","result":[{"metric":{},"values":[[1,"2"]]}]},"warnings":'
        + b"[" * 100_000
    ),
    "a number beyond any float": answer(
        b'{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[1'
        + b"0" * 400
        + b',"1"]}],'
        b'"activeTargets":[{"labels":{},"discoveredLabels":{},"lastScrapeDuration":1' + b"0" * 400 + b"}]}}"
    ),
}


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**400), 10**400) | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=4), inner, max_size=6),
    max_leaves=20,
)  # fmt: skip


@given(data=json_values, call=st.sampled_from(CALLS))
@settings(max_examples=150, deadline=None)
def test_whatever_json_comes_as_data_is_an_answer_or_an_error_of_ours(wrong_server, data, call):
    wrong_server.body = json.dumps({"status": "success", "data": data}).encode()
    client = Prometheus(wrong_server.url, deadline=5)
    try:
        asked(client, call, TimeRange.last(30, scrape=1))
    except VigieError as error:
        assert error.hint
    finally:
        client.close()


@pytest.mark.skipif(not CORPUS.is_dir(), reason="no torture corpora beside the checkout")
def test_the_corpus_of_odd_json_is_read_or_refused_in_words():
    bodies = [path.read_bytes() for path in sorted(CORPUS.iterdir())]
    assert len(bodies) > 100
    for body in bodies:
        for whole in (body, b'{"status":"success","data":' + body + b"}", b'{"status":"success","data":{"resultType":"vector","result":' + body + b"}}"):  # fmt: skip
            with contextlib.suppress(VigieError):
                parse(whole)


@pytest.mark.parametrize("name", WRONG)
@pytest.mark.parametrize("call", CALLS)
def test_a_server_that_is_no_prometheus_is_an_error_in_words(name, call, span):
    if name == "a number beyond any float" and call == "targets":
        pytest.skip("a duration that is no number is unknown")
    with serve(WRONG[name]) as fake, pytest.raises(VigieError) as caught:
        asked(Prometheus(fake.url, deadline=3), call, span)
    assert "127.0.0.1" in str(caught.value)
    assert caught.value.hint


def test_a_slow_server_is_given_up_at_the_deadline(span):
    with serve(dribble(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n", b" ")) as fake:
        client = Prometheus(fake.url, deadline=0.7)
        reply = client.query_range("up", span)
        assert isinstance(reply.error, DeadlineExceeded)
        # The server would go on for a minute.
        assert reply.seconds < 40
        with pytest.raises(DeadlineExceeded):
            client.targets()


def test_no_server_at_all_is_unreachable_at_once(span):
    client = Prometheus(f"http://127.0.0.1:{free_port()}")
    for reply in (client.query("up"), client.query_range("up", span)):
        assert isinstance(reply.error, Unreachable)
        assert "nothing listens" in reply.reason
    with pytest.raises(Unreachable):
        client.targets()


def test_an_answer_over_the_cap_is_an_error_in_words(span):
    body = b'{"status":"success","data":{"resultType":"matrix","result":[' + b" " * 2_000_000 + b"]}}"
    with serve(answer(body)) as fake:
        client = Prometheus(fake.url, session=Session(max_bytes=1_000_000))
        assert isinstance(client.query("up").error, AnswerTooLarge)


def test_warnings_of_the_server_make_an_answer_partial(span):
    body = b'{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[1,"1"]}]},"warnings":["w"],"infos":["i"]}'
    with serve(answer(body)) as fake:
        reply = Prometheus(fake.url).query("up")
    assert (reply.state, reply.reason, reply.infos) == (State.PARTIAL, "w", ("i",))
    assert reply.value == 1.0


def test_series_without_floats_are_said_not_drawn():
    body = b'{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"histogram":[1,{"count":"1","sum":"1"}]}]}}'
    with serve(answer(body)) as fake:
        reply = Prometheus(fake.url).query("up")
    assert reply.state is State.EMPTY
    assert "native histograms" in reply.reason


def test_the_tenant_and_the_path_prefix_are_sent():
    with serve(answer(b'{"status":"success","data":[]}')) as fake:
        Prometheus(f"{fake.url}/prefix/", tenant="team").label_values("job")
    head = fake.requests[0].decode()
    assert head.startswith("GET /prefix/api/v1/label/job/values")
    assert "X-Scope-OrgID: team" in head


def test_a_label_name_is_checked_before_it_becomes_a_path(prometheus):
    with pytest.raises(QueryError):
        prometheus.label_values("../../-/quit")


def test_without_an_address_the_reason_is_said(tmp_path):
    settings = Settings.from_env({"VIGIE_HOME": str(tmp_path), "HOME": str(tmp_path)})
    with pytest.raises(Unreachable, match="has not been started") as caught:
        connect(settings, None)
    assert "stack up" in caught.value.hint


def test_an_attached_server_is_found_from_the_environment(tmp_path, prometheus_url):
    settings = Settings.from_env({"VIGIE_HOME": str(tmp_path), "HOME": str(tmp_path), "PROMETHEUS_URL": prometheus_url})
    assert connect(settings, None).query("1").value == 1.0


def test_a_value_is_unknown_when_there_is_more_than_one(prometheus):
    assert prometheus.query("up").value is None
    assert not any(math.isnan(one.last[1]) for one in prometheus.query("up").series)


def test_errors_named_here_are_the_ones_of_the_tree():
    assert issubclass(BadAnswer, EgressError)
    assert issubclass(ConfigError, VigieError)
