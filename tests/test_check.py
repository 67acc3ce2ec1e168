"""A system file tried live: real Prometheus, real HTTP, each part OK, empty, wrong or not tried."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.check import Outcome, check
from app.cli import main
from app.config import Settings, parse_system
from app.prometheus.names import expression_problems
from app.propose import propose
from tests.conftest import free_port
from tests.http_fakes import answer, serve
from tests.own_service_fixture import running_service

OPENAPI = {
    "openapi": "3.1.0",
    "paths": {
        "/predict": {
            "post": {
                "requestBody": {
                    "content": {
                        "application/json": {
                            "schema": {
                                "type": "object",
                                "required": ["age"],
                                "additionalProperties": False,
                                "properties": {"age": {"type": "integer", "minimum": 0, "maximum": 120}},
                            }
                        }
                    }
                }
            }
        }
    },
}
NAMED = 'requests = "x_requests_total"\n'
METRICS = b'# TYPE x_requests_total counter\nx_requests_total{status="200"} 3\n# TYPE later_total counter\n'


@pytest.fixture
def settings(tmp_path) -> Settings:
    return Settings.from_env({"VIGIE_HOME": str(tmp_path / "home"), "HOME": str(tmp_path)})


@pytest.fixture
def attached(settings, prometheus_url) -> Settings:
    return Settings.from_env({**settings.environ, "VIGIE_PROMETHEUS_URL": prometheus_url})


@pytest.fixture
def service() -> Iterator:
    """Health, metrics, OpenAPI, and a /predict that takes an age and refuses 99."""

    def handle(client, request):
        line = request.split(b"\r\n")[0]
        if line.startswith(b"POST"):
            bad = b"99" in request.split(b"\r\n\r\n", 1)[1]
            answer(b'{"detail":"too old"}' if bad else b"{}", status="422 Unprocessable" if bad else "200 OK")(
                client, request
            )
        elif b"/openapi.json" in line:
            answer(json.dumps(OPENAPI).encode())(client, request)
        elif b"/metrics" in line:
            answer(METRICS, kind="text/plain")(client, request)
        else:
            answer()(client, request)

    with serve(handle) as fake:
        yield fake


def tried(settings, text, **more):
    system = parse_system(f'title = "X"\n{text}', Path("mine.toml"), settings)
    report = check(settings, system, **more)
    return {(row.part, row.name): row for row in report.rows}, report


def panel(expr, name="p"):
    return f'[[panels]]\nid = "{name}"\ntitle = "P"\nexpr = {json.dumps(expr)}\n'


# --- Prometheus -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("expr", "outcome", "words"),
    [
        ("sum(rate(api_requests_total{$selector}[$window]))", Outcome.OK, "1 series"),
        ('sum(rate(api_requests_total{$selector, status="302"}[$window]))', Outcome.EMPTY, ""),
        ("rate(api_request_total{$selector}[$window])", Outcome.ERROR, "there is no metric called api_request_total"),
        ("sum(rate(api_requests_total{$selector}[$window])", Outcome.ERROR, "column"),
        ("api_requests_total{$selector} +", Outcome.ERROR, "line 1"),
        ("up{$selector}", Outcome.OK, "1 series"),
        ('label_replace(up{$selector}, "x", "nobody{", "job", "(.*)")', Outcome.OK, "1 series"),
    ],
)
def test_a_panel_answers_or_says_why_not(attached, expr, outcome, words):
    rows, report = tried(attached, panel(expr))
    row = rows["panel", "p"]
    assert (row.outcome, report.failed) == (outcome, outcome is Outcome.ERROR)
    assert words in row.text


def test_one_wrong_expression_of_several_is_an_error(attached):
    text = '[[panels]]\nid = "p"\ntitle = "P"\nexpr.good = "up{$selector}"\nexpr.bad = "up{$selector} +"\n'
    row = tried(attached, text)[0]["panel", "p"]
    assert row.outcome is Outcome.ERROR
    assert row.text.startswith("bad: ")


@pytest.mark.parametrize(
    ("expr", "outcome", "words"),
    [
        ("up{$selector} == 0", Outcome.OK, "does not fire now"),
        ("up{$selector} == 1", Outcome.OK, "its condition holds now"),
        ("sum(api_requsts_total{$selector}) > 5", Outcome.ERROR, "there is no metric called api_requsts_total"),
        ("up{$selector} ==", Outcome.ERROR, "column"),
        ("up{$selectr} == 0", Outcome.ERROR, "$selectr is unknown"),
    ],
)
def test_an_alert_that_could_never_fire_is_told_from_one_that_does_not(attached, expr, outcome, words):
    row = tried(attached, f'[[alerts]]\nname = "A"\nexpr = "{expr}"\n')[0]["alert", "A"]
    assert row.outcome is outcome
    assert words in row.text


def test_targets_are_up_down_with_their_reason_or_unknown(attached):
    def target(selector):
        rows, _ = tried(attached, f"[prometheus]\nselector = '{selector}'\n")
        return next(row for (part, _), row in rows.items() if part == "targets")

    assert target('job="api"').outcome is Outcome.OK
    down = target('job="dead"')
    assert down.outcome is Outcome.ERROR
    assert "nothing listens on port" in down.text
    unknown = target('job="nowhere"')
    assert unknown.outcome is Outcome.EMPTY
    assert "raw /metrics" in unknown.hint


def test_without_a_prometheus_the_rest_is_still_tried(settings, service):
    text = f'[api]\nurl = "{service.url}"\n[metrics]\nrequests = "x_requests_total"\n' + panel("up{$selector}")
    rows, report = tried(settings, text)
    assert rows["targets", "Prometheus"].outcome is Outcome.ERROR
    assert rows["panel", "p"].outcome is Outcome.SKIPPED
    assert rows["metrics", "requests"].outcome is Outcome.OK
    assert report.failed


# --- the service ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "name", "outcome", "words"),
    [
        ('requests = "x_requests_total"', "requests", Outcome.OK, "1 series"),
        ('requests = "x_request_total"', "requests", Outcome.ERROR, "does not expose x_request_total"),
        ('requests = "later_total"', "requests", Outcome.EMPTY, "declared and has no series yet"),
        ('latency = "x_seconds"', "latency", Outcome.ERROR, "does not expose x_seconds"),
        (f"{NAMED}errors = 'status=~\"5..\"'", "errors", Outcome.OK, "200 counts as answered, no failed one seen yet"),
        (f"{NAMED}errors = 'code=~\"5..\"'", "errors", Outcome.EMPTY, "x_requests_total has no label code"),
        ("errors = 'status=~\"5..\"'", "errors", Outcome.EMPTY, "a counter that is not named"),
        ("requests = 'later_total'\nerrors = 'a=\"b\"'", "errors", Outcome.EMPTY, "has no series of requests yet"),
        ("errors = 'code=~'", "errors", Outcome.ERROR, "not a list of matchers"),
        ('errors = "x_errors_total"', "errors", Outcome.ERROR, "does not expose x_errors_total"),
    ],
)
def test_each_named_metric_is_looked_for_in_raw_metrics(settings, service, line, name, outcome, words):
    row = tried(settings, f'[api]\nurl = "{service.url}"\n[metrics]\n{line}\n')[0]["metrics", name]
    assert row.outcome is outcome
    assert words in row.text
    if outcome is Outcome.ERROR and "x_request_total" in line:
        assert "x_requests_total" in row.hint


def test_a_service_that_is_not_there_or_is_html_is_an_error_in_words(settings):
    row = tried(settings, f'[api]\nurl = "http://127.0.0.1:{free_port()}"\n')[0]["service", "/health"]
    assert row.outcome is Outcome.ERROR
    assert row.hint
    with serve(answer(b"<html><title>Proxy</title></html>", kind="text/html")) as fake:
        rows, _ = tried(settings, f'[api]\nurl = "{fake.url}"\n')
    assert rows["metrics", "/metrics"].outcome is Outcome.ERROR
    assert "HTML" in rows["metrics", "/metrics"].text


def test_another_machine_is_not_asked_unless_the_file_names_it_for_traffic(settings):
    rows, report = tried(settings, '[api]\nurl = "http://10.255.255.1:9"\n[request]\nbody = { age = 1 }\n')
    assert rows["service", "/health"].outcome is Outcome.SKIPPED
    assert rows["request", "POST /predict"].outcome is Outcome.ERROR
    assert report.failed


def test_a_secret_that_is_not_set_is_named_and_never_shown(settings, service):
    text = f'[api]\nurl = "{service.url}"\nauth = "basic"\nuser = "u"\nsecret = "MINE_PASSWORD"\n'
    row = tried(settings, text)[0]["service", "/health"]
    assert row.outcome is Outcome.ERROR
    assert "MINE_PASSWORD" in row.text
    with_password = Settings.from_env({**settings.environ, "MINE_PASSWORD": "h0rse"})
    rows, report = tried(with_password, text)
    assert rows["service", "/health"].outcome is Outcome.OK
    assert "h0rse" not in repr(report)


# --- the request ------------------------------------------------------------------------------------------------------


def request(service, body, path="/predict", more=""):
    return f'[api]\nurl = "{service.url}"\n[request]\npath = "{path}"\nbody = {body}\n{more}'


@pytest.mark.parametrize(
    ("body", "outcome", "words"),
    [
        ("{ age = 30 }", Outcome.OK, "nothing was sent"),
        ("{ age = 300 }", Outcome.ERROR, "above the maximum 120"),
        ('{ age = "x" }', Outcome.ERROR, "not integer"),
        ("{ }", Outcome.ERROR, "body.age is missing"),
        ("{ age = 1, colour = 2 }", Outcome.ERROR, "body.colour is not accepted"),
        ('{ age = "$age" }', Outcome.ERROR, "$age, which [request.fields] does not define"),
    ],
)
def test_the_body_is_compared_with_the_services_own_schema_and_nothing_is_sent(settings, service, body, outcome, words):
    row = tried(settings, request(service, body))[0]["request", "POST /predict"]
    assert row.outcome is outcome
    assert words in row.text
    assert not any(one.startswith(b"POST") for one in service.requests)


def test_every_value_of_a_field_is_compared_not_only_the_first(settings, service):
    more = '[request.fields.age]\nfrom = "range"\nmin = 100\nmax = 200\nwhole = true\n'
    row = tried(settings, request(service, '{ age = "$age" }', more=more))[0]["request", "POST /predict"]
    assert row.outcome is Outcome.ERROR


def test_a_route_that_the_service_does_not_have_is_named_with_those_it_has(settings, service):
    row = tried(settings, request(service, "{ age = 1 }", path="/predct"))[0]["request", "POST /predct"]
    assert row.outcome is Outcome.ERROR
    assert "/predict" in row.hint


def test_one_real_prediction_is_sent_only_when_asked_for(settings, service):
    row = tried(settings, request(service, "{ age = 30 }"), send=True)[0]["request", "POST /predict"]
    assert (row.outcome, sum(one.startswith(b"POST") for one in service.requests)) == (Outcome.OK, 1)
    row = tried(settings, request(service, "{ age = 99 }"), send=True)[0]["request", "POST /predict"]
    assert row.outcome is Outcome.ERROR
    assert "HTTP 422" in row.text
    assert "too old" in row.text


def test_without_an_openapi_document_the_body_is_not_judged(settings):
    with serve(answer(b"no", status="404 Not Found", kind="text/plain")) as fake:
        row = tried(settings, request(fake, "{ age = 1 }"))[0]["request", "POST /predict"]
    assert row.outcome is Outcome.SKIPPED
    assert "--send" in row.hint


# --- data -------------------------------------------------------------------------------------------------------------


def months(folder, *names):
    for name in names:
        with (folder / f"{name}.csv").open("w", newline="") as file:
            csv.writer(file).writerows([["a"], *[[number] for number in range(50)]])


def files(folder):
    return f'[drift]\nsource = "files"\npath = "{folder}/{{period}}.csv"\nfeatures = ["a"]\n'


def test_months_are_listed_with_their_rows(settings, tmp_path):
    months(tmp_path, "2024-01-31", "2024-02-29")
    rows, _ = tried(settings, files(tmp_path))
    listing = [row.text for (part, _), row in rows.items() if part == "month"]
    assert len(listing) == 2
    assert all("rows" in text for text in listing)


def test_one_month_alone_is_not_enough(settings, tmp_path):
    months(tmp_path, "2024-01-31")
    row = tried(settings, files(tmp_path))[0]["drift", "files"]
    assert row.outcome is Outcome.EMPTY
    assert "needs two" in row.text


def test_data_that_is_not_there_is_said(settings, tmp_path):
    rows, _ = tried(settings, files(tmp_path / "nowhere"))
    row = rows["drift", "files"]
    assert row.outcome in (Outcome.EMPTY, Outcome.ERROR)
    assert row.hint


def test_a_drift_gauge_is_asked_as_a_panel_is(attached):
    text = '[drift]\nsource = "gauge"\nexpr = "api_drift_score{$selector}"\n'
    assert tried(attached, text)[0]["drift", "gauge"].outcome is Outcome.ERROR


# --- words and command ------------------------------------------------------------------------------------------------


def test_the_sentence_counts_every_row(settings, service):
    report = tried(settings, request(service, "{ age = 300 }"))[1]
    counts = report.counts()
    assert sum(counts.values()) == len(report.rows)
    assert report.sentence.startswith(f"{counts[Outcome.OK]} of {len(report.rows)} parts answer")


def test_a_wrong_placeholder_needs_no_service_to_be_found(settings):
    system = parse_system('title = "X"\n' + panel("rate(x[$windw])"), Path("mine.toml"), settings)
    assert "$windw is unknown" in str(expression_problems(system)[0])


def test_the_command_prints_a_table_and_exits_with_1_when_something_fails(capsys, attached, scraped_service, tmp_path):
    path = tmp_path / "mine.toml"
    text = f'title = "Mine"\n[api]\nurl = "{scraped_service.url}"\nhealth = "/metrics"\n[metrics]\nrequests = "api_requests_total"\n'
    path.write_text(text + panel("sum(rate(api_requests_total{$selector}[$window]))"))
    assert main(["systems", "check", str(path)], attached.environ) == 0
    out = capsys.readouterr().out
    assert "panel" in out
    assert "nothing fails" in out
    assert "written by hand" not in out
    hook = '[drift]\nsource = "gauge"\nexpr = "x"\nhooks = [{name = "x", command = ["true"]}]\n'
    path.write_text(text + hook + panel("rate(nothing_total{$selector}[$window])"))
    assert main(["systems", "check", str(path), "--json"], attached.environ) == 1
    printed = json.loads(capsys.readouterr().out)
    assert printed["checks"][0]["failed"] is True
    assert printed["checks"][0]["by_hand"] == ["drift.hooks"]
    assert {"part", "name", "outcome", "text", "hint"} <= set(printed["checks"][0]["rows"][0])


def test_a_prediction_is_sent_for_a_named_file_alone(capsys, settings):
    assert main(["systems", "check", "--send"], settings.environ) == 2
    assert "--send needs a FILE" in capsys.readouterr().err


def test_a_proposed_file_of_a_real_service_passes_every_part_that_can_be_tried(settings):
    with running_service() as url:
        proposal = propose(settings, url)
        system = parse_system(proposal.toml, Path("iris.toml"), settings)
        report = check(settings, system)
        sent = check(settings, system, send=True)
    wrong = [row for row in report.rows if row.outcome is Outcome.ERROR]
    assert [row.part for row in wrong] == ["targets"]
    row = next(row for row in sent.rows if row.part == "request")
    assert (row.outcome, "HTTP 200" in row.text) == (Outcome.OK, True)
