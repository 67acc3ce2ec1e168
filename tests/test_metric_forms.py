"""Each form in which the documents print a service's metrics, scraped by a real Prometheus: rate, latency, error rate."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from app.charts import Context, ask, kpis, sentence
from app.check import check
from app.config import Panel, Settings, parse_system
from app.exposition import described, parse
from app.prometheus import Prometheus, State, TimeRange
from app.propose.measures import find, metrics
from tests.console_world import wait_until
from tests.metric_forms import FORMS

# Scrapes come every second and the pages move by ten a second.
A_SECOND = 10


@pytest.fixture(scope="module")
def prometheus(prometheus_url):
    client = Prometheus(prometheus_url)
    # A rate is the true one only when its window is full of scrapes.
    scrapes = 'min(count_over_time(up{job=~"form-.*"}[20s]))'
    wait_until("every form was scraped ten times", lambda: (client.query(scrapes).value or 0) > 9)
    yield client
    client.close()


@pytest.fixture
def settings(tmp_path, prometheus_url):
    environ = {"VIGIE_HOME": str(tmp_path / "home"), "HOME": str(tmp_path), "VIGIE_PROMETHEUS_URL": prometheus_url}
    return Settings.from_env(environ)


@pytest.fixture(params=FORMS)
def form(request):
    return request.param, FORMS[request.param]


def system_of(settings, name, form, url="http://127.0.0.1:9"):
    latency = f'latency = "{form.latency}"\n' if form.latency else ""
    text = (
        f'title = "X"\n[api]\nurl = "{url}"\nhealth = "/metrics"\n[prometheus]\nselector = \'job="form-{name}"\'\n'
        f'[metrics]\nrequests = "{form.counter}"\nerrors = {json.dumps(form.errors)}\n{latency}'
    )
    return parse_system(text, Path("x.toml"), settings)


def context_of(prometheus, system):
    return Context.of(system, None, TimeRange.last(10, scrape=1), prometheus.targets())


def test_rate_latency_and_error_rate_are_true_or_unknown_with_the_reason(prometheus, settings, form):
    name, true = form
    system = system_of(settings, name, true)
    context = context_of(prometheus, system)
    found = {panel.id: (panel, ask(prometheus, panel, context)) for panel in kpis.panels(system)}
    rate = found["kpi-rps"][1].value
    assert rate == pytest.approx(true.rate * A_SECOND, rel=0.5)
    if true.latency:
        assert 0.025 <= found["kpi-p95"][1].value <= 0.05
    panel, errors = found["kpi-errors"]
    if true.share is None:
        assert (errors.state, errors.value) == (State.EMPTY, None)
        assert true.words in errors.reason
        assert errors.hint
        assert true.words in sentence(panel, errors)
    else:
        assert errors.value == pytest.approx(true.share, abs=0.02)


def test_a_matcher_written_by_hand_in_a_panel_is_held_to_the_labels_too(prometheus, settings, form):
    name, true = form
    if "status" not in true.errors:
        return
    system = system_of(settings, name, true)
    traffic = f'{true.counter}{{$selector, endpoint!="/health"'
    share = f"sum(rate({traffic}, {true.errors}}}[$window])) / sum(rate({traffic}}}[$window]))"
    found = ask(prometheus, Panel(id="a", title="A", expr=share), context_of(prometheus, system))
    if true.share is None:
        assert true.words in found.reason
    elif true.share:
        assert found.value == pytest.approx(true.share, abs=0.02)
    else:
        assert found.state is State.EMPTY  # nothing failed: no series, and no share of 100 %
    both = ask(
        prometheus, Panel(id="a", title="A", expr={"all": "vector(1)", "errors": share}), context_of(prometheus, system)
    )
    assert both.series[0].name == "all"
    if true.share is None:
        assert both.state is State.PARTIAL
        assert "errors unknown: " in both.reason


@pytest.mark.parametrize(
    ("errors", "share"),
    [
        ("f1pa_prediction_error_total", None),  # a name that is nowhere
        ("f1pa_refusals_total", 0.0),  # declared: its first series comes with the first failure
    ],
)
def test_a_counter_of_failures_that_nobody_knows_is_no_proof_of_none(prometheus, settings, errors, share):
    system = system_of(settings, "counter", replace(FORMS["counter"], errors=errors))
    panel = next(one for one in kpis.panels(system) if one.id == "kpi-errors")
    found = ask(prometheus, panel, context_of(prometheus, system))
    assert found.value == share
    if share is None:
        assert found.reason == f"Prometheus knows no counter {errors}"


def test_the_check_says_which_rule_applies(settings, scraped_service, form):
    name, true = form
    system = system_of(settings, name, true, f"{scraped_service.url}/forms/{name}")
    rows = {(row.part, row.name): row for row in check(settings, system).rows}
    row = rows["metrics", "errors"]
    assert true.words in row.text
    assert row.outcome == ("EMPTY" if true.share is None else "OK")
    assert bool(row.hint) == (true.share is None)
    assert rows["metrics", "requests"].outcome == "OK"


@pytest.mark.parametrize(
    ("name", "errors"),
    [
        ("bare", None),
        ("bare_codes", None),
        ("success", 'status!="success"'),
        ("words", 'status="error"'),
        ("codes", 'status=~"[45].."'),
        ("classes", 'status=~"[45].."'),
        ("some", None),
    ],
)
def test_what_is_proposed_for_a_form_tells_failures_only_where_the_counter_does(name, errors):
    text = FORMS[name].page(3)
    found = find(metrics(parse(text), described(text)))
    assert found.counter.name == FORMS[name].counter
    assert (found.latency.name if found.latency else "") == FORMS[name].latency
    assert (found.failures.errors if found.failures and found.failures.label else None) == errors
    if errors:
        assert found.failures.words.partition(":")[2] == FORMS[name].words.partition(":")[2]
