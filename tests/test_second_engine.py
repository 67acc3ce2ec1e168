"""Another engine behind the same API: the client and the data of the Charts page against a real VictoriaMetrics.

It stands for every cluster that answers as Prometheus does. What it lacks (metadata, rules, a version) and what it says
in other words (errors, targets) must reach a person as a sentence.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest

from app.base.home import Home
from app.charts import Context, ask, figure, sentence
from app.config import Settings, load_systems
from app.drift import panels as drift_panels
from app.errors import BadAnswer, DeadlineExceeded, QueryError
from app.prometheus import Prometheus, State, TimeRange
from app.prometheus.parse import api_error, parse
from app.prometheus.promql import MAX_SERIES
from app.prometheus.targets import Health, scrape_interval
from stack import apt
from stack.errors import BinaryAbsent
from tests.conftest import absent, free_port, wait_for_samples
from tests.http_fakes import answer, dribble, metrics_page, raw, serve

PROGRAM = "victoria-metrics"
# Requests a second of the service below: (status, rate).
TRAFFIC = (("200", 40), ("404", 10))
# Seconds a request of the service below takes: 60 % of them under 5 ms, the rest from 75 to 100 ms.
FAST, SLOW = 0.005, 0.1
MEAN = 0.6 * FAST + 0.4 * SLOW
EDGES = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)


@pytest.fixture(scope="module")
def victoria_binary():
    """The program on PATH, in the cache, or from the system's own package sources."""
    cached = Home.of(os.environ).bin / PROGRAM / "usr" / "bin" / PROGRAM
    path = Path(shutil.which(PROGRAM) or cached)
    if not path.is_file():
        path = cached
        try:
            fetch(cached.parents[2])
        except (BinaryAbsent, OSError) as error:
            absent(f"no {PROGRAM}: {error}")
    return path


def fetch(target):
    """Unpack the Debian package into a folder that appears in one rename, with the server alone in it."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{PROGRAM}-") as name:
        unpacked, kept = Path(name) / "all", Path(name) / "kept"
        unpacked.mkdir()
        apt.extract(PROGRAM, unpacked, lambda _: None)
        (kept / "usr" / "bin").mkdir(parents=True)
        (unpacked / "usr" / "bin" / PROGRAM).rename(kept / "usr" / "bin" / PROGRAM)
        if not target.exists():
            kept.rename(target)


def streamflow_page():
    """StreamFlow's metrics under a steady load, those of a node, and the odd ones of the other fake."""
    started, odd = time.time(), metrics_page()

    def handle(client, request):
        if request.split(b" ", 2)[1] != b"/metrics":
            odd(client, request)
            return
        seconds = time.time() - started
        lines = [
            f'api_requests_total{{endpoint="/predict",status="{status}"}} {int(seconds * rate)}'
            for status, rate in TRAFFIC
        ]
        lines += ['api_requests_total{endpoint="/predict",status="500"} 0']
        count = int(seconds * sum(rate for _, rate in TRAFFIC))
        buckets = [(edge, int(count * 0.6) if edge < SLOW else count) for edge in EDGES] + [("+Inf", count)]
        lines += [f'api_request_latency_seconds_bucket{{le="{edge}"}} {total}' for edge, total in buckets]
        lines += [f"api_request_latency_seconds_sum {count * MEAN}"]
        lines += [f"api_request_latency_seconds_count {count}", "idle_seconds_sum 0", "idle_seconds_count 0"]
        lines += ["process_resident_memory_bytes 2e+08", f"process_cpu_seconds_total {seconds * 0.25}"]
        lines += [
            f'node_cpu_seconds_total{{cpu="0",mode="idle"}} {seconds * 0.5}',
            "node_memory_MemAvailable_bytes 4e9",
        ]
        lines += ['vigie_drift_share{system="streamflow"} 0.4', 'vigie_drift_threshold{system="streamflow"} 0.3']
        lines += ['hostile{text="</script><b>x</b>\\"],[1,\\\\"} 1e-05', "big 1.7976931348623157e+308", "infinite +Inf"]
        lines += [f'many{{number="{number:03d}"}} {number}' for number in range(120)]
        answer("\n".join([*lines, ""]).encode(), kind="text/plain; version=0.0.4")(client, request)

    return handle


# Job -> how its target fails, and the words that must say so.
FAULTS = {
    "missing": (answer(b"nothing here", status="404 Not Found"), "404: the service answers, but has no metrics"),
    "failing": (answer(b"dial: connection refused", status="500 Error"), "500: the service fails"),
    "secret": (answer(b"no", status="401 Unauthorized"), "401: the service wants a user"),
    "silent": (dribble(b"HTTP/1.1 200 OK\r\n\r\n", b"#"), "no complete answer within the scrape timeout of 1 s"),
    "other": (raw(b"SSH-2.0-OpenSSH\r\n\r\n"), "does not speak plain http"),
    "circle": (answer(status="301 Moved", extra="Location: /metrics\r\n"), "redirects in a circle"),
    "many": (answer(b"a 1\nb 1\nc 1\n", kind="text/plain"), "more than Prometheus is allowed"),
    "packed": (answer(b"a 1\n", extra="Content-Encoding: gzip\r\n"), "calls its answer gzip"),
    "cut": (raw(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\na 1\n"), "closed the connection in the middle"),
}


@pytest.fixture(scope="module")
def victoria_url(victoria_binary, tmp_path_factory):
    """A running VictoriaMetrics that scrapes itself, the service (job `api`) and every fault."""
    folder, port = tmp_path_factory.mktemp("victoria"), free_port()
    with contextlib.ExitStack() as running:
        service = running.enter_context(serve(streamflow_page())).host
        jobs = {"victoria": f"127.0.0.1:{port}", "api": service, "page": service, "dead": f"127.0.0.1:{free_port()}"}
        jobs |= {job: running.enter_context(serve(handler)).host for job, (handler, _) in FAULTS.items()}
        lines = ["global: {scrape_interval: 1s, scrape_timeout: 1s}", "scrape_configs:"]
        for job, target in {**jobs, "later": service}.items():
            lines += [f"- job_name: {job}", f"  static_configs: [{{targets: ['{target}']}}]"]
            lines += ["  metrics_path: /html"] if job == "page" else []
            lines += ["  sample_limit: 2"] if job == "many" else []
            # Far from its first scrape, which is spread over the interval.
            lines += ["  scrape_interval: 365d"] if job == "later" else []
        (folder / "scrape.yml").write_text("\n".join(lines) + "\n")
        command = [str(victoria_binary), f"-promscrape.config={folder}/scrape.yml", f"-storageDataPath={folder}/data"]
        # Samples are visible at once instead of after 30 s, and the answers are not cached.
        command += [f"-httpListenAddr=127.0.0.1:{port}", "-search.latencyOffset=0s", "-search.disableCache"]
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen([*command, "-memory.allowedBytes=100MB"], stdout=log, stderr=log, cwd=folder)
        try:
            url = f"http://127.0.0.1:{port}"
            wait_for_samples(url, process, folder / "log", len(jobs))
            yield url
        finally:
            process.terminate()
            process.wait(120)


@pytest.fixture(scope="module")
def engine(victoria_url):
    client = Prometheus(victoria_url)
    yield client
    client.close()


@pytest.fixture(scope="module")
def targets(engine):
    return {one.job: one for one in engine.targets()}


@pytest.fixture
def span():
    return TimeRange.last(30, scrape=1)


# --- targets ---------------------------------------------------------------------------------------------------------


def test_targets_are_read_with_interval_timeout_and_time(targets):
    api = targets["api"]
    assert (api.health, api.interval, api.timeout) == (Health.UP, 1.0, 1.0)
    assert api.last_scrape == pytest.approx(time.time(), abs=60)
    assert scrape_interval(targets.values(), 'job="api"') == 1.0
    assert api.meaning.text == "answers"
    assert targets["dead"].health is Health.DOWN
    assert "nothing listens on port" in targets["dead"].meaning.text


@pytest.mark.parametrize("job", FAULTS)
def test_each_scrape_error_of_this_engine_is_said_in_words(targets, job):
    assert targets[job].health is Health.DOWN
    assert FAULTS[job][1] in targets[job].meaning.text
    assert targets[job].meaning.hint


def test_a_page_without_samples_is_up_here_and_said_to_be_no_metrics(targets):
    assert targets["page"].health is Health.UP
    assert targets["page"].samples == 0
    assert "no sample" in targets["page"].meaning.text


def test_a_target_that_was_never_scraped_waits_and_was_not_scraped_in_1970(targets):
    later = targets["later"]
    assert (later.waiting, later.last_scrape, later.health) == (True, None, Health.UNKNOWN)
    assert later.meaning.text == "waiting for the first scrape"


# --- labels, metadata, and what it lacks -----------------------------------------------------------------------------


def test_the_values_of_labels_are_read(engine):
    assert set(engine.label_values("job")) >= {"api", "dead", "page"}
    assert {"200", "404", "500"} <= set(engine.label_values("status"))
    assert "api_request_latency_seconds_bucket" in engine.label_values("__name__")


def test_metadata_that_it_does_not_keep_is_empty_and_no_error(engine):
    """Types and help are decoration in the console: without them the names stay."""
    assert engine.metadata() == {}


def test_a_version_is_a_number_or_its_absence_is_said(engine):
    try:
        assert engine.build()[0].isdigit()
    except BadAnswer as error:
        assert "does not tell its version" in str(error)
        assert "another engine" in error.hint


def test_it_evaluates_no_rules_and_so_has_no_alerts(engine):
    assert engine.rules() == []
    assert engine.alerts() == []


@pytest.mark.parametrize("status", ["400 Bad Request", "404 Not Found", "501 Not Implemented"])
@pytest.mark.parametrize("what", ["rules", "alerts"])
def test_an_engine_without_rules_says_that_it_evaluates_none(status, what):
    with serve(answer(b"unsupported path requested", status=status, kind="text/plain")) as fake:
        with pytest.raises(BadAnswer, match=f"has no {what}.*does not evaluate rules") as caught:
            getattr(Prometheus(fake.url), what)()
    assert "vmalert" in caught.value.hint
    assert caught.value.status == int(status[:3])


def test_a_sick_server_is_not_mistaken_for_one_without_rules():
    with serve(answer(b"<html>Bad gateway", status="502 Bad Gateway", kind="text/html")) as fake:
        with pytest.raises(BadAnswer, match="502") as caught:
            Prometheus(fake.url).rules()
    assert "evaluate" not in str(caught.value)


# --- queries ---------------------------------------------------------------------------------------------------------


def test_an_instant_query_gives_values(engine):
    assert engine.query('up{job="api"}').value == 1.0
    assert engine.query("1e-05").value == 1e-05
    assert engine.query("infinite").state is State.EMPTY
    assert engine.query("big").value == pytest.approx(1.7976931348623157e308)
    at = round(time.time()) - 1.5
    assert engine.query("time()", at).value == pytest.approx(at, abs=1e-3)
    assert engine.query(" + ".join(["vector(1)"] * 400)).value == 400.0


def test_a_range_query_gives_columns(engine, span):
    reply = engine.query_range('sum(rate(api_requests_total{job="api"}[5s]))', span)
    assert reply.state is State.OK
    times, values = reply.series[0].times, reply.series[0].values
    assert times.dtype == values.dtype == np.float64
    assert (np.diff(times) >= span.step).all()
    assert np.nanmedian(values) == pytest.approx(50, rel=0.5)


def test_hostile_label_values_arrive_as_they_were_scraped(engine, span):
    assert engine.query_range("hostile", span).series[0].labels["text"] == '</script><b>x</b>"],[1,\\'


def test_series_are_counted_and_bounded_with_the_largest_kept(engine, span):
    assert engine.series_count("many") == 120
    assert engine.series_count("no_such_metric") == 0
    reply = engine.query_range("many", span)
    assert (reply.state, len(reply.series), reply.total_series) == (State.PARTIAL, MAX_SERIES, 120)
    assert {int(one.labels["number"]) for one in reply.series} == set(range(70, 120))
    several = engine.query_range('{job="victoria"}', span)
    assert (several.state, len(several.series)) == (State.PARTIAL, MAX_SERIES)


@pytest.mark.parametrize("expr", ["no_such_metric", "idle_seconds_sum / idle_seconds_count", "infinite"])
def test_empty_is_told_from_failed(engine, span, expr):
    for reply in (engine.query(expr), engine.query_range(expr, span)):
        assert reply.state is State.EMPTY
        assert reply.reason
        assert reply.value is None


@pytest.mark.parametrize(
    ("expr", "position"),
    [
        ("1 +", (1, 4)),
        ("up}", (1, 3)),
        ("rate(up[5s]", (1, 12)),
        ("sum(\n rate(\n", (3, 1)),
        ('sum(\n up{job="\\"é\\\\"} !! 1)', (2, 18)),
    ],
)
def test_a_refused_expression_has_the_place_where_the_engine_stopped_reading(engine, span, expr, position):
    for reply in (engine.query(expr), engine.query_range(expr, span)):
        assert isinstance(reply.error, QueryError), reply
        assert reply.error.position == position
        assert reply.reason.startswith(f"line {position[0]}, column {position[1]}: ")
        assert "unparsed data" not in reply.reason
        assert reply.hint == "Correct the expression at the place named."


@pytest.mark.parametrize(
    ("expr", "words", "hint"),
    [
        ("nosuchfunc(up)", "unknown func", "misspelt"),
        ("up + on() up", "duplicate time series", "aggregate"),
        ("count_over_time(vector(1)[1d:1ms])", "too many points", "range"),
    ],
)
def test_an_error_without_a_place_has_none_and_says_what_to_do(engine, span, expr, words, hint):
    reply = engine.query_range(expr, span)
    assert isinstance(reply.error, QueryError)
    assert reply.error.position is None
    assert words in reply.reason
    assert "error when executing" not in reply.reason
    assert hint in reply.hint.lower()


def test_a_label_that_is_none_is_refused_before_it_becomes_a_path(engine):
    with pytest.raises(QueryError):
        engine.label_values("../../-/quit")


@pytest.mark.parametrize(
    ("kind", "text", "error"),
    [
        ("422", "cannot fetch: timeout exceeded during query execution: 4.500 seconds", DeadlineExceeded),
        ("503", "couldn't start executing the request in 4.5 seconds", BadAnswer),
        ("422", 'error when executing query="a\nb" for (x): y; unparsed data: ""', QueryError),
        ("422", 'error when executing query="a" for (x): y; unparsed data: "not its end"', QueryError),
        ("422", 'error when executing query="\\q" for (x): y; unparsed data: "\\xzz"', QueryError),
    ],
)
def test_other_errors_of_the_engine_have_their_class_and_no_invented_place(kind, text, error):
    raised = api_error(kind, text, where="there", status=int(kind))
    assert type(raised) is error
    assert getattr(raised, "position", None) is None


def test_an_answer_of_a_part_of_the_cluster_is_partial():
    body = (
        b'{"status":"success","isPartial":%s,"data":{"resultType":"vector","result":[{"metric":{},"value":[1,"1"]}]}}'
    )
    with serve(answer(body % b"true")) as fake:
        reply = Prometheus(fake.url).query("up")
    assert (reply.state, reply.value) == (State.PARTIAL, 1.0)
    assert "part of the cluster" in reply.reason
    assert parse(body % b"false").warnings == ()


# --- the data of the Charts page -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def streamflow(tmp_path_factory):
    home = str(tmp_path_factory.mktemp("home"))
    return load_systems(Settings.from_env({"VIGIE_HOME": home, "HOME": home})).by_id["streamflow"]


@pytest.fixture
def context(streamflow, engine, span):
    return Context.of(streamflow, 5, span, engine.targets())


# Panel -> the newest value of each series by name, and how far off it may be.
EXPECTED = {
    "rps": ({"requests": 50.0}, 0.5),
    "latency_mean": ({"mean": MEAN}, 0.2),
    "latency_p95": ({"p50": FAST * 0.5 / 0.6, "p95": 0.0969, "p99": 0.0994}, 0.2),
    "errors": ({"errors": 0.2}, 0.3),
    "statuses": ({"200": 40.0, "404": 10.0}, 0.5),
    "memory": ({"": 2e8}, 0.01),
    "cpu": ({"": 0.25}, 0.5),
    "node_cpu": ({"": 0.5}, 0.5),
    "node_memory": ({"": 4e9}, 0.01),
    "drift_share": ({"share": 0.4, "threshold": 0.3}, 0.01),
}


def test_every_panel_of_streamflow_is_known_here(streamflow):
    # Of those on comparisons one stands for all: the engine has the share and its threshold alone.
    assert {one.id for one in streamflow.panels} | {"drift_share"} == set(EXPECTED)


@pytest.mark.parametrize("name", EXPECTED)
def test_a_panel_of_streamflow_is_asked_drawn_and_said(engine, streamflow, context, name):
    panel = next(one for one in (*streamflow.panels, *drift_panels.panels(streamflow)) if one.id == name)
    reply = ask(engine, panel, context)
    assert reply.state is State.OK, reply
    expected, off = EXPECTED[name]
    newest = {one.name: one.last[1] for one in reply.series}
    if len(expected) == 1:
        newest = dict(zip(expected, newest.values(), strict=True))
    assert newest == pytest.approx(expected, rel=off)
    text = sentence(panel, reply, context.span)
    assert re.search(r"\d", text)
    assert not re.search("Nothing|Not drawn|Incomplete|nan", text)
    drawn = figure(panel, reply, (), "light", context.span)
    assert len(drawn.data) == len(expected)
    assert all(np.isfinite(np.asarray(trace.y, dtype=float)).any() for trace in drawn.data)


def test_a_chart_without_series_says_why(engine, streamflow, context):
    """No such job; and a counter that is there but did not move within the window."""
    panel = streamflow.panels[0]
    stranger = streamflow.model_copy(
        update={"prometheus": streamflow.prometheus.model_copy(update={"selector": 'job="no"'})}
    )
    reply = ask(engine, panel, Context.of(stranger, 5, context.span, engine.targets()))
    assert reply.state is State.EMPTY
    assert 'has no series api_requests_total{job="no"}' in reply.reason
    assert sentence(panel, reply, context.span).startswith("Nothing to draw: ")
    idle = panel.model_copy(update={"expr": "idle_seconds_sum / idle_seconds_count"})
    reply = ask(engine, idle, context)
    assert reply.state is State.EMPTY
    assert reply.reason


def test_a_refused_expression_of_a_panel_is_said_with_its_place(engine, streamflow, context):
    panel = streamflow.panels[0].model_copy(update={"expr": "sum(rate(api_requests_total{$selector}[$window])"})
    reply = sentence(panel, ask(engine, panel, context), context.span)
    assert reply.startswith("Not drawn: line 1, column ")


def test_the_engine_stopped_between_two_looks_is_a_sentence(streamflow, context):
    client = Prometheus(f"http://127.0.0.1:{free_port()}")
    text = sentence(streamflow.panels[0], ask(client, streamflow.panels[0], context), context.span)
    assert text.startswith("Not drawn: ")
    assert "nothing listens" in text
