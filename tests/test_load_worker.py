import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import psutil
import pytest
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest

from app import jobs
from app.config import Settings
from app.errors import (
    AddressRefused,
    ConfigError,
    HostUnavailable,
    PlanError,
    ReportError,
    ReportNotFound,
    StorageFull,
    Unreachable,
)
from app.exposition import counter_total, parse
from app.gauges import Gauges
from app.load import counting, engine, result, worker
from app.load import plan as plans
from app.load.counting import excluded, expression
from app.load.plan import Plan
from app.load.result import Counted, Result, Seen, ServerP95
from app.load.stats import Tally, Timeline, classes
from app.runs import tidy
from app.runs.index import Ledger
from app.runs.job import Job
from app.runs.kinds import LOAD
from app.runs.result import read_result_in
from app.runs.run import LIVE, State
from app.words.language import speaking
from app.words.message import t
from tests.french import install
from tests.load_fakes import Service
from tests.waiting import until

ROOT = Path(__file__).resolve().parents[1]
RUN = "20240229T140532Z-1a2b3c"
TOML = """
title = "Fake"
[api]
url = "{url}"
[prometheus]
url = "{prometheus}"
selector = 'job="api"'
[metrics]
requests = "api_requests_total"
latency = "api_request_latency_seconds"
[request]
path = "/predict"
body = {{ user_id = "$user_id" }}
[request.fields.user_id]
from = "list"
values = ["U0001", "U0002"]
[load]
max_rate = 500
"""


class Api:
    """What a prediction service measures: a counter by endpoint and status, a histogram of 31 ms per request."""

    def __init__(self, *, step=1):
        self.registry = CollectorRegistry()
        self.counter = Counter("api_requests_total", "r", ["endpoint", "status"], registry=self.registry)
        self.latency = Histogram("api_request_latency_seconds", "l", ["endpoint"], registry=self.registry)
        self.counter.labels("/predict", "200").inc(1000)
        self.step = step

    async def predict(self, call):
        self.counter.labels("/predict", "200").inc(self.step)
        self.latency.labels("/predict").observe(0.031)
        call.answer()

    def metrics(self, _service):
        self.counter.labels("/metrics", "200").inc()
        return generate_latest(self.registry)


@contextlib.contextmanager
def prometheus(service, *, every=0.3, broken=False):
    """A Prometheus that really scrapes the fake service, and answers the few queries a run asks."""
    state = {"total": None, "at": 0.0, "asked": []}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            parts = urlsplit(self.path)
            if broken:
                body = b"<html>login</html>"
            elif parts.path == "/api/v1/targets":
                row = {
                    "labels": {"job": "api"},
                    "health": "up",
                    "scrapeUrl": service.url,
                    "scrapeInterval": "500ms",
                    "scrapeTimeout": "1s",
                }
                body = json.dumps({"status": "success", "data": {"activeTargets": [row]}}).encode()
            else:
                query = parse_qs(parts.query)["query"][0]
                state["asked"].append(query)
                value = state["at"] if "timestamp(" in query else state["total"]
                rows = [] if value is None else [{"metric": {}, "value": [time.time(), str(value)]}]
                body = json.dumps({"status": "success", "data": {"resultType": "vector", "result": rows}}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    def scrape():
        from app import egress

        while not stop.wait(every):
            with contextlib.suppress(Exception):
                at = time.time()  # a sample bears the time at which its scrape began
                samples = parse(egress.get(service.url + "/metrics").body)
                state["total"] = counter_total(samples, "api_requests_total", exclude={"endpoint": ["/metrics"]})
                state["at"] = at

    stop = threading.Event()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threads = [threading.Thread(target=server.serve_forever, daemon=True), threading.Thread(target=scrape, daemon=True)]
    for thread in threads:
        thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", state
    finally:
        stop.set()
        server.shutdown()
        server.server_close()


NOWHERE = "http://127.0.0.1:9"


@pytest.fixture
def home(tmp_path):
    (tmp_path / "systems").mkdir()
    (tmp_path / "home" / "runs" / RUN).mkdir(parents=True)
    return tmp_path


def job(home, url, args, *, prometheus=NOWHERE, toml=TOML, system="fake"):
    (home / "systems" / "fake.toml").write_text(toml.format(url=url, prometheus=prometheus))
    environ = {"VIGIE_HOME": str(home / "home"), "VIGIE_SYSTEMS": str(home / "systems"), "HOME": str(home)}
    return Job(run=RUN, kind="load", system=system, key="load:fake:run", args=args, settings=Settings.from_env(environ))


def test_three_counts_agree_and_the_sentence_says_so(home):
    api = Api()
    with Service(api.predict, metrics=api.metrics) as service, prometheus(service) as (url, state):
        while state["total"] is None:
            time.sleep(0.05)
        todo = job(home, service.url, {"count": 100, "duration": 1}, prometheus=url)
        outcome = worker.run(todo)
        found = read_result_in(todo.directory, LOAD, result.Result)
        assert service.calls == 100
    assert (outcome.state, outcome.outcome, outcome.path) == ("done", worker.COMPLETE, todo.directory)
    assert outcome.reason == found.sentence
    assert found.sentence.startswith("100 sent, 100 answered, counter +100, Prometheus +100. Client p95 ")
    assert found.sentence.endswith("; server p95 between 25 and 50 ms.")
    assert (found.sent, found.answered, found.ok, found.failed, found.not_sent) == (100, 100, 100, 0, 0)
    assert (found.counted.before, found.counted.after, found.counted.delta) == (1000, 1100, 100)
    assert (found.prometheus.delta, found.prometheus.reason) == (100, "")
    assert (found.server_p95.low, found.server_p95.high) == (0.025, 0.05)
    assert found.asked_rate == 100
    assert found.achieved_rate == pytest.approx(100, rel=0.1)
    assert found.buckets["response"]["buckets"][-1] == ["+Inf", 100]
    assert found.plan["words"] == "100 requests over 1 s"
    assert found.remark == ""


def test_the_result_file_holds_what_the_contract_names_and_survives_reading(home):
    api = Api()
    with Service(api.predict, metrics=api.metrics) as service:
        todo = job(home, service.url, {"count": 10, "duration": 0.5})
        worker.run(todo)
    raw = json.loads((todo.directory / "result.json").read_text())
    names = "version run system plan started finished sent answered failed not_sent by_status errors asked_rate achieved_rate response service buckets timeline counted prometheus server_p95 stopped_by sentence"
    assert set(names.split()) <= set(raw)
    assert (raw["version"], raw["run"], raw["system"], raw["by_status"]) == (1, RUN, "fake", {"200": 10})
    assert set(raw["response"]) == {"count", "mean", "p50", "p95", "p99", "max"}
    assert raw["started"] <= raw["finished"] <= time.time()
    assert read_result_in(todo.directory, LOAD, result.Result).to_dict() == raw
    assert [entry.name for entry in todo.directory.iterdir() if entry.name.startswith(".result")] == []


def test_progress_goes_from_preparing_over_sending_to_settling(home, monkeypatch):
    stages = []
    api = Api()
    with Service(api.predict, metrics=api.metrics) as service:
        todo = job(home, service.url, {"count": 50, "duration": 1})
        real = Job.progress
        monkeypatch.setattr(
            Job,
            "progress",
            lambda self, stage, *args, **detail: (
                stages.append((stage, args, detail)),
                real(self, stage, *args, **detail),
            )[1],
        )
        worker.run(todo)
    assert [stage for stage, _, _ in stages][:2] == ["preparing", "sending"]
    assert stages[-1][0] == "settling"
    assert stages[-1][1] == (50, 50)
    sending = [detail for stage, _, detail in stages if stage == "sending"][-1]
    assert {"asked_rate", "achieved_rate", "sent", "ok", "failed", "in_flight", "p95", "timeline", "plan"} <= set(
        sending
    )
    on_disk = json.loads((todo.directory / "progress.json").read_text())
    assert on_disk["detail"]["ok"] == 50


def test_without_prometheus_the_rest_is_known_and_the_reason_is_said(home):
    api = Api()
    with Service(api.predict, metrics=api.metrics) as service:
        todo = job(home, service.url, {"count": 5, "duration": 0.2})
        assert worker.run(todo).state == "done"
    found = read_result_in(todo.directory, LOAD, result.Result)
    assert found.counted.delta == 5
    assert found.prometheus.delta is None
    assert "connection refused" in found.prometheus.reason
    assert "Prometheus unknown (" in found.sentence


def test_a_prometheus_that_is_something_else_is_unknown_with_its_reason(home):
    api = Api()
    with Service(api.predict, metrics=api.metrics) as service, prometheus(service, broken=True) as (url, _):
        todo = job(home, service.url, {"count": 5, "duration": 0.2}, prometheus=url)
        worker.run(todo)
    found = read_result_in(todo.directory, LOAD, result.Result)
    assert found.prometheus.delta is None
    assert found.prometheus.reason


def test_a_prometheus_that_scrapes_no_more_is_unknown_and_not_zero(home):
    api = Api()
    with Service(api.predict, metrics=api.metrics) as service, prometheus(service, every=3600) as (url, _):
        todo = job(home, service.url, {"count": 5, "duration": 0.2}, prometheus=url)
        worker.run(todo)
    found = read_result_in(todo.directory, LOAD, result.Result)
    assert found.prometheus.delta is None
    assert "Prometheus unknown" in found.sentence


def test_requests_before_the_run_that_prometheus_had_not_yet_seen_are_not_counted_twice(home):
    api = Api()
    with Service(api.predict, metrics=api.metrics) as service, prometheus(service, every=3600) as (url, state):
        state.update(total=990, at=time.time() - 1)  # ten of the 1,000 came after its newest scrape

        def scrape_later():
            while service.calls < 20:
                time.sleep(0.01)
            time.sleep(0.3)
            state.update(total=1020, at=time.time())

        threading.Thread(target=scrape_later, daemon=True).start()
        todo = job(home, service.url, {"count": 20, "duration": 0.4}, prometheus=url)
        worker.run(todo)
    found = read_result_in(todo.directory, LOAD, result.Result)
    assert (found.counted.delta, found.prometheus.delta) == (20, 20)


def test_a_service_without_metrics_is_sent_to_all_the_same(home):
    with Service() as service:
        todo = job(home, service.url, {"count": 5, "duration": 0.2})
        assert worker.run(todo).state == "done"
        assert service.calls == 5
    found = read_result_in(todo.directory, LOAD, result.Result)
    assert (found.ok, found.counted.delta, found.counted.before) == (5, None, None)
    assert "HTTP 404" in found.counted.reason
    assert found.server_p95.low is None
    assert "counter unknown (" in found.sentence


def test_a_service_that_is_down_is_a_failed_run_in_words(home):
    todo = job(home, "http://127.0.0.1:9", {"count": 5, "duration": 0.2})
    with pytest.raises(Unreachable) as caught:
        worker.run(todo)
    assert "127.0.0.1:9" in str(caught.value)
    assert caught.value.hint
    assert not (todo.directory / "result.json").exists()


def test_a_service_that_dies_during_the_run_leaves_what_was_measured(home):
    api = Api()

    async def dies(call):
        if call.number >= 50:
            call.close = True
            return
        await api.predict(call)

    with Service(dies, metrics=api.metrics) as service:
        todo = job(home, service.url, {"rate": 50, "duration": 60})
        outcome = worker.run(todo)
    found = read_result_in(todo.directory, LOAD, result.Result)
    assert (outcome.state, outcome.outcome, found.ok) == ("done", worker.LIMIT, 50)
    assert "in a row failed" in found.stopped_by
    assert "Stopped by a limit: " in found.sentence
    assert found.not_sent > 2000


def test_a_counter_that_moves_too_far_is_explained_by_others(home):
    api = Api(step=2)
    with Service(api.predict, metrics=api.metrics) as service:
        todo = job(home, service.url, {"count": 10, "duration": 0.2})
        worker.run(todo)
    found = read_result_in(todo.directory, LOAD, result.Result)
    assert found.counted.delta == 20
    assert (
        found.remark == "the service counted 10 more than reached it from this run: another client sends requests too"
    )
    assert "The service counted 10 more" in found.sentence


def test_background_traffic_is_named_as_the_reason(home):
    from app.runs.index import Ledger
    from app.runs.run import Run, State

    api = Api(step=2)
    with Service(api.predict, metrics=api.metrics) as service:
        todo = job(home, service.url, {"count": 10, "duration": 0.2})
        with Ledger(todo.settings.ledger_url) as ledger:
            ledger.add(
                Run(
                    id="20240229T140000Z-aaaaaa",
                    kind="load",
                    system="fake",
                    key="load:fake:background",
                    state=State.RUNNING,
                    created=time.time(),
                )
            )
        worker.run(todo)
    assert "background traffic went on as well" in read_result_in(todo.directory, LOAD, result.Result).remark


def test_a_restart_of_the_service_makes_both_counts_unknown(home):
    first, second = Api(), Api()
    second.counter.clear()

    async def restarts(call):
        await (first if call.number < 5 else second).predict(call)

    with (
        Service(restarts, metrics=lambda service: (first if service.calls < 5 else second).metrics(service)) as service,
        prometheus(service) as (url, _),
    ):
        todo = job(home, service.url, {"count": 10, "duration": 0.2}, prometheus=url)
        worker.run(todo)
    found = read_result_in(todo.directory, LOAD, result.Result)
    assert found.counted.delta is None
    assert "restarted" in found.counted.reason
    assert found.prometheus.delta is None
    assert "restarted" in found.prometheus.reason


def test_stop_ends_a_run_long_before_its_end_and_keeps_what_it_had(home):
    api = Api()
    with Service(api.predict, metrics=api.metrics) as service:
        todo = job(home, service.url, {"rate": 20, "duration": 60})

        def stop():
            while service.calls < 10:
                time.sleep(0.01)
            todo.stopping.set()

        threading.Thread(target=stop, daemon=True).start()
        outcome = worker.run(todo)
    found = read_result_in(todo.directory, LOAD, result.Result)
    assert (outcome.state, outcome.outcome, found.cancelled) == ("cancelled", worker.STOPPED, True)
    # Of the 1,200 of a whole run.
    assert 10 <= found.ok < 600
    assert found.counted.delta == found.ok
    assert "Stopped before its end, after" in found.sentence


def test_a_termination_signal_stops_a_real_process_gracefully(home):
    """The harness sets the event from a signal handler: it must be heard while the event loop runs."""
    api = Api()
    code = """
import signal, sys, threading, json
sys.path.insert(0, sys.argv[1])
from app.runs.job import Job
from app import jobs
from app.config import Settings
from app.load import worker
worker.preload()
job = Job(run=sys.argv[2], kind="load", system="fake", key="k", args={"rate": 50, "duration": 60}, settings=Settings.from_env())
signal.signal(signal.SIGTERM, lambda *_: job.stopping.set())
outcome = worker.run(job)
print(json.dumps([outcome.state, outcome.reason]))
"""
    root = Path(__file__).resolve().parents[1]
    with Service(api.predict, metrics=api.metrics) as service:
        todo = job(home, service.url, {})
        process = subprocess.Popen(
            [sys.executable, "-c", code, str(root), RUN],
            env=dict(todo.settings.environ),
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            until(lambda: service.calls >= 20, "twenty requests")
            process.send_signal(signal.SIGTERM)
            out, _ = process.communicate(timeout=120)
        finally:
            process.kill()
            process.wait()
    state, reason = json.loads(out)
    assert (process.returncode, state) == (0, "cancelled")
    assert "Stopped before its end" in reason
    assert read_result_in(todo.directory, LOAD, result.Result).ok >= 20


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"system": "other"}, ConfigError, "no system called 'other'"),
        ({"args": {"rate": 9999, "duration": 5}}, PlanError, "allows 500"),
        ({"toml": TOML.replace('url = "{url}"', "# {url}")}, Unreachable, "has no address"),
        (
            {"toml": TOML.replace('url = "{url}"', 'url = "http://203.0.113.5:80" # {url}')},
            AddressRefused,
            "not an address that configuration allows",
        ),
        (
            {"toml": TOML.replace("[prometheus]", 'auth = "bearer"\nsecret = "NO_SUCH_TOKEN"\n[prometheus]')},
            ConfigError,
            "NO_SUCH_TOKEN is not set",
        ),
        ({"toml": TOML + 'engine = "locust"\n'}, ConfigError, "locust"),
        ({"toml": TOML + "colour = 1\n"}, ConfigError, "unknown key load.colour"),
    ],
)
def test_what_cannot_start_says_what_where_and_the_next_step(home, change, error, words):
    with Service() as service:
        todo = job(home, service.url, change.pop("args", {"count": 1, "duration": 1}), **change)
        with pytest.raises(error) as caught:
            worker.run(todo)
        assert words in str(caught.value)
        assert caught.value.hint
        assert service.calls == 0


def test_the_password_of_the_service_is_used_for_both_and_written_nowhere(home):
    seen = []
    api = Api()

    async def notes(call):
        seen.append(call.header("Authorization"))
        await api.predict(call)

    with Service(notes, metrics=api.metrics) as service:
        toml = TOML.replace("[prometheus]", 'auth = "basic"\nuser = "me"\nsecret = "FAKE_PASSWORD"\n[prometheus]')
        todo = job(home, service.url, {"count": 3, "duration": 0.2}, toml=toml)
        todo.settings.environ["FAKE_PASSWORD"] = "hunter2-hunter2"
        worker.run(todo)
    assert seen == ["Basic bWU6aHVudGVyMi1odW50ZXIy"] * 3
    for path in todo.directory.iterdir():
        assert "hunter2" not in path.read_text()
        assert "bWU6" not in path.read_text()


def test_a_full_disk_is_said_and_leaves_no_torn_result(home, tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    with pytest.raises(StorageFull) as caught:
        result.write(blocked / "run", sample())
    assert caught.value.hint


def test_a_missing_or_damaged_result_is_said(home, tmp_path):
    with pytest.raises(ReportNotFound):
        read_result_in(tmp_path, LOAD, result.Result)
    for text in ("{", "[]", "{}", '{"version": 99}', '{"version": 1}'):
        (tmp_path / "result.json").write_text(text)
        with pytest.raises(ReportError):
            read_result_in(tmp_path, LOAD, result.Result)


def sample(**changes):
    tally = Tally(Timeline(1), planned=3000)
    base = Result(
        run=RUN, system="fake", plan={}, started=0, finished=0, asked_rate=1, achieved_rate=1, **result.measured(tally)
    )
    return replace(base, **changes)


FULL = {
    "sent": 3000,
    "answered": 3000,
    "ok": 3000,
    "not_sent": 0,
    "by_status": {"200": 3000},
    "counted": Counted("c", 0, 3000, 3000),
    "prometheus": Seen(3000),
    "response": {"p95": 0.031},
    "server_p95": ServerP95(0.025, 0.05),
}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (
            {},
            "3,000 sent, 3,000 answered, counter +3,000, Prometheus +3,000. Client p95 31 ms; server p95 between 25 and 50 ms.",
        ),
        (
            {"server_p95": ServerP95(0.75, 1.0)},
            "3,000 sent, 3,000 answered, counter +3,000, Prometheus +3,000. Client p95 31 ms; server p95 between 750 ms and 1 s.",
        ),
        (
            {"server_p95": ServerP95(10.0, None)},
            "3,000 sent, 3,000 answered, counter +3,000, Prometheus +3,000. Client p95 31 ms; server p95 above 10 s.",
        ),
        (
            {"server_p95": ServerP95(0.0, 0.005)},
            "3,000 sent, 3,000 answered, counter +3,000, Prometheus +3,000. Client p95 31 ms; server p95 at most 5 ms.",
        ),
        (
            {
                "failed": 3,
                "answered": 2998,
                "by_status": {"200": 2997, "500": 1},
                "errors": {"HTTP 500": 1, "connection reset": 2},
                "prometheus": Seen(None, "nobody asked"),
            },
            "3,000 sent, 2,998 answered (2,997 × 2xx, 1 × 5xx), counter +3,000, Prometheus unknown (nobody asked). 3 failed: 2 × connection reset, 1 × HTTP 500. Client p95 31 ms; server p95 between 25 and 50 ms.",
        ),
        (
            {
                "sent": 0,
                "answered": 0,
                "not_sent": 3000,
                "cancelled": True,
                "seconds": 1.5,
                "counted": Counted("c", 5, 5, 0),
                "prometheus": Seen(0),
                "response": {"p95": None},
                "server_p95": ServerP95(reason="no histogram"),
            },
            "0 sent, 0 answered, counter +0, Prometheus +0. 3,000 of the plan were not sent. Stopped before its end, after 1.5 s. Client p95 unknown (no answer); server p95 unknown (no histogram).",
        ),
        (
            {"by_status": {"200": 2400, "422": 600}, "meant_to_fail": 600, "refused": 600},
            "3,000 sent, 3,000 answered (2,400 × 2xx, 600 × 4xx), counter +3,000, Prometheus +3,000. 600 were meant to fail and were refused as asked. Client p95 31 ms; server p95 between 25 and 50 ms.",
        ),
        (
            {
                "by_status": {"200": 2998, "422": 1, "500": 1},
                "ok": 2999,
                "failed": 1,
                "errors": {"HTTP 500 where 422 was asked for": 1},
                "meant_to_fail": 2,
                "refused": 1,
            },
            "3,000 sent, 3,000 answered (2,998 × 2xx, 1 × 4xx, 1 × 5xx), counter +3,000, Prometheus +3,000. 1 of 2 meant to fail was refused as asked. 1 failed: 1 × HTTP 500 where 422 was asked for. Client p95 31 ms; server p95 between 25 and 50 ms.",
        ),
        (
            {
                "cut": True,
                "sent": 78,
                "answered": 76,
                "ok": 76,
                "by_status": {"200": 76},
                "not_sent": 2922,
                "server_p95": ServerP95(reason="killed"),
            },
            "Interrupted after 78 requests: 76 answered (76 × 2xx), 2 still on their way; nothing was counted on the other side. 2,922 of the plan were not sent. Client p95 31 ms; server p95 unknown (killed).",
        ),
        (
            {"cut": True, "sent": 0, "answered": 0, "ok": 0, "by_status": {}, "not_sent": 3000, "response": {}},
            "Interrupted as it began to send: how many requests went out is not known. Client p95 unknown (no answer); server p95 between 25 and 50 ms.",
        ),
    ],
)
def test_the_sentence_says_what_is_known_and_no_more(changes, expected):
    assert result.sentence(sample(**(FULL | changes))) == expected


def test_a_kept_result_says_its_texts_in_the_language_of_its_reader(monkeypatch, home, tmp_path):
    install(
        monkeypatch,
        {
            "{sent:count} sent, {answered}, counter {counted}, Prometheus {prometheus}.": "{sent:count} envoyées, {answered}, compteur {counted}, Prometheus {prometheus}.",
            "{answered:count} answered ({classes})": "{answered:count} répondues ({classes})",
            "{failed:count} failed: {causes}.": "{failed:count} échouées : {causes}.",
            "no answer within {deadline:g} s": "pas de réponse en {deadline:g} s",
            "connection reset": "connexion rompue",
            "the system file names no request counter": "pas de compteur",
            "unknown ({reason})": "inconnu ({reason})",
            "server p95 between {low:significant} and {high:seconds}": "p95 du serveur entre {low:significant} et {high:seconds}",
            "{rate:g}/s for {duration:g} s": "{rate:g}/s pendant {duration:g} s",
        },
    )
    steady = Plan("fake", plans.Shape.STEADY, 3000, 1.5, 2000)
    changes = FULL | {
        "failed": 3,
        "answered": 2998,
        "by_status": {"200": 2997, "500": 1},
        "errors": {engine._late(2.5, connected=True): 2, t("connection reset"): 1},
        "counted": Counted(reason=t(counting.NO_COUNTER)),
        "plan": steady.to_dict(),
    }
    whole = sample(**changes)
    whole = replace(whole, sentence=result.sentence(whole))
    result.write(tmp_path, whole)
    raw = json.loads((tmp_path / "result.json").read_text())
    assert raw["sentence"] == str(whole.sentence)
    assert raw["plan"]["words"] == "1.5/s for 2000 s"
    assert list(raw["errors"]) == ["no answer within 2.5 s", "connection reset"]
    assert read_result_in(tmp_path, LOAD, Result) == whole
    with speaking("fr"):
        kept = read_result_in(tmp_path, LOAD, Result)
        assert t(kept.sentence).startswith(
            "3\u202f000 envoyées, 2\u202f998 répondues (2\u202f997 × 2xx, 1 × 5xx), compteur inconnu (pas de compteur), "
            "Prometheus +3\u202f000. 3 échouées : 2 × pas de réponse en 2,5 s, 1 × connexion rompue."
        )
        assert t(kept.sentence).endswith("p95 du serveur entre 25 et 50 ms.")
        assert (kept.plan["words"], kept.counted.reason) == ("1,5/s pendant 2000 s", "pas de compteur")
        assert list(kept.errors) == ["pas de réponse en 2,5 s", "connexion rompue"]


@pytest.mark.parametrize(
    ("by_status", "unanswered", "counts"),
    [
        ({}, 0, [0, 0, 0, 0, 0]),
        ({200: 78, 201: 2, 422: 20}, 0, [80, 0, 20, 0, 0]),
        ({"204": 1, "307": 2, "404": 3, "599": 4}, 5, [1, 2, 3, 4, 5]),
    ],
)
def test_answers_are_told_by_the_first_digit_of_their_status(by_status, unanswered, counts):
    assert list(classes(by_status, unanswered).values()) == counts
    assert list(classes({299: 1, 700: 2}, 0).items())[-2:] == [("7xx", 2), ("no answer", 0)]


def test_a_result_of_an_earlier_version_has_classes_and_says_nothing_of_requests_meant_to_fail():
    raw = sample(**FULL).to_dict()
    for name in ("classes", "meant_to_fail", "refused", "cut"):
        del raw[name]
    old = Result.from_dict(raw)
    assert (old.classes["2xx"], old.meant_to_fail, old.cut) == (3000, None, False)


def killed_while_sending(home, service, kill):
    """Start a host, a run of 50 requests a second and, when some of 20 are written down, let `kill` end something; the settings."""
    settings = job(home, service.url, {}).settings
    environ = {**os.environ, **settings.environ, "REPORT_DIR": str(home / "reports")}
    args = ["--system", "fake", "--rate", "50", "--duration", "60"]
    command = ["-m", "app", "load", *args] if kill == "command line" else ["-m", "app.jobs"]
    process = subprocess.Popen([sys.executable, *command], cwd=ROOT, env=environ, stderr=subprocess.DEVNULL)
    try:
        if kill != "command line":
            until(lambda: answering(settings), "the host to answer")
            jobs.start(settings, "load", "fake", "load:fake:run", {"rate": 50, "duration": 60})
        until(lambda: service.calls >= 20, "twenty requests")
        # On a busy machine the first second, after which they are written down, can hold fewer than they are.
        until(
            lambda: any(written(folder) for folder in (settings.home / "runs").iterdir()), "answers to be written down"
        )
        victim = psutil.Process(process.pid)
        workers = [child for child in victim.children() if "app.jobs.worker" in child.cmdline()]
        (workers[0] if kill == "worker" else victim).kill()
        until(lambda: not workers[0].is_running() or workers[0].status() == psutil.STATUS_ZOMBIE, "the worker to end")
        if kill == "worker":
            until(lambda: not live(settings), "the host to write its end")
    finally:
        process.kill()
        process.wait()
    tidy.interrupt(settings)  # as the next host does at its start
    return settings


def written(folder):
    """Whether a run's result on the disk has answers."""
    with contextlib.suppress(ReportNotFound):
        return read_result_in(folder, LOAD, result.Result).ok > 0
    return False


def answering(settings):
    with contextlib.suppress(HostUnavailable):
        return bool(jobs.ping(settings))
    return False


def live(settings):
    with Ledger(settings.ledger_url) as ledger:
        return ledger.runs(states=LIVE)


@pytest.mark.parametrize("victim", ["worker", "job host", "command line"])
def test_of_a_run_whose_process_is_killed_is_known_what_it_had_sent(home, victim):
    """Counts, statistics of what was answered, the index and the gauges: none of them says that nothing was sent."""
    api = Api()
    with Service(api.predict, metrics=api.metrics) as service:
        settings = killed_while_sending(home, service, victim)
        calls = service.calls
    with Ledger(settings.ledger_url) as ledger:
        (row,) = ledger.runs(kind="load")
    found = read_result_in(Path(row.path), LOAD, result.Result)
    assert row.state is State.INTERRUPTED
    assert row.reason.startswith(found.sentence)
    # At most a second before the kill it was written down; a worker whose parent is gone stops by itself.
    assert max(1, calls - 75) <= found.sent <= calls
    assert found.ok == found.classes["2xx"] > 0
    assert found.response["p95"] > 0
    assert (found.cut, found.cancelled) == ((True, False) if victim == "worker" else (False, True))
    words = (
        f"Interrupted after {found.sent} requests: " if found.cut else f"{found.sent} sent, {found.answered} answered"
    )
    assert row.reason.startswith(words)
    assert row.reason.endswith("killed (signal 9)." if victim == "worker" else "The process that ran it ended.")
    body = Gauges(settings).exposition()[0].decode()
    assert f'vigie_load_requests_total{{outcome="ok",system="fake"}} {float(found.ok)}' in body
    assert 'vigie_load_latency_seconds_count{kind="response",system="fake"}' in body


def test_a_counter_of_successes_only_is_recognised():
    tally = Tally(Timeline(1), planned=10, sent=10, reached=10, answered=10, ok=8)
    assert "successful requests only" in counting.remark(tally, Counted("c", 0, 8, 8), [])
    assert "may not count every route" in counting.remark(tally, Counted("c", 0, 3, 3), [])
    assert counting.remark(tally, Counted("c", 0, 10, 10), []) == ""
    assert counting.remark(tally, Counted(reason="unknown"), []) == ""


def test_a_request_that_timed_out_may_or_may_not_have_been_counted():
    tally = Tally(Timeline(1), planned=10, sent=10, reached=9, answered=6, ok=6)
    assert [counting.remark(tally, Counted("c", 0, delta, delta), []) == "" for delta in (5, 6, 8, 9, 10)] == [
        False,
        True,
        True,
        True,
        False,
    ]


def test_metrics_and_health_are_left_out_on_both_sides(home):
    todo = job(home, "http://127.0.0.1:9", {})
    from app.config import load_systems

    system = load_systems(todo.settings).by_id["fake"]
    assert {"/metrics", "metrics", "/health"} <= set(excluded(system)["endpoint"])
    text = expression(system, "api_requests_total")
    assert text.startswith('api_requests_total{job="api", endpoint!~"')
    assert "/metrics|" in text
    own = system.model_copy(update={"request": system.request.model_copy(update={"path": "/health"})})
    assert "/health" not in excluded(own)["endpoint"]


def test_nothing_is_sent_when_stop_came_first(home):
    api = Api()
    with Service(api.predict, metrics=api.metrics) as service:
        todo = job(home, service.url, {"count": 100, "duration": 5})
        todo.stopping.set()
        assert worker.run(todo).state == "cancelled"
        assert service.calls <= 2


def test_an_api_that_hangs_does_not_hang_the_run(home, monkeypatch):
    async def never(call):
        await asyncio.sleep(60)

    monkeypatch.setattr(counting, "METRICS_DEADLINE", 0.5)
    with Service(never, metrics=None) as service:
        todo = job(home, service.url, {"count": 10, "duration": 0.5, "deadline": 0.5})
        outcome = worker.run(todo)
    found = read_result_in(todo.directory, LOAD, result.Result)
    assert outcome.state == "done"
    assert found.errors == {"no answer within 0.5 s": 10}
