"""Our routes and headers: over ASGI where that says it, over a real server where the wire matters."""

import gzip
import http.client
import re
import socket
import sqlite3
import threading
import time
from contextlib import closing, contextmanager
from dataclasses import replace

import pytest
import uvicorn
from prometheus_client.parser import text_string_to_metric_families
from starlette.applications import Starlette
from starlette.responses import HTMLResponse, PlainTextResponse
from starlette.routing import Route, WebSocketRoute
from starlette.testclient import TestClient, WebSocketDenialResponse

from app import gauges
from app.config import Settings, load_systems
from app.drift.result import Column, Months, Policy, Result, Target, Verdict
from app.load import result as load_result
from app.load.stats import Histogram, Tally, Timeline
from app.routes import PAGES, middleware, routes
from app.runs import html, keep, reports
from app.runs.html import SANDBOX
from app.runs.index import Ledger
from app.runs.own_source import source_of
from app.runs.run import Run, State, new_run_id
from app.runs.source import Source, columns_of
from app.ui.traffic import result_of

HTML = b"<!doctype html><title>report</title><script>document.title='x'</script>" + b"<p>row</p>" * 5000


@pytest.fixture
def settings(tmp_path):
    home = {"VIGIE_HOME": str(tmp_path / "home"), "REPORT_DIR": str(tmp_path / "reports")}
    return Settings.from_env(home | {"VIGIE_ALLOWED_HOSTS": "vigie.example"})


def application(settings):
    async def page(_request):
        return HTMLResponse("a page of Streamlit's")

    async def own(_request):
        return PlainTextResponse("x", headers={"Content-Security-Policy": "default-src 'none'"})

    async def stream(websocket):
        await websocket.accept()
        await websocket.send_text("hello")
        await websocket.close()

    pages = [Route("/own", own), WebSocketRoute("/_stcore/stream", stream), Route("/{rest:path}", page)]
    return Starlette(routes=[*routes(settings), *pages], middleware=middleware(settings))


@pytest.fixture
def client(settings):
    with TestClient(application(settings), base_url="http://127.0.0.1:8501") as made:
        yield made


@pytest.fixture
def streamflow(settings):
    return load_systems(settings).by_id["streamflow"]


def a_result(system, run, **values):
    base = {
        "run": run,
        "system": system.id,
        "ref": Months("2024-01-31", 7043, 7043),
        "cur": Months("2024-02-29", 7043, 7043),
        "policy": Policy.of(system.drift),
        "share": 0.0625,
        "k": 1,
        "n": 2,
        "share_features": 1 / 14,
        "columns": (
            Column("rebuffer_events_7d", "number", "Wasserstein distance (normed)", 0.205, 0.1, True, True),
            Column('odd "name"\\\n', "category", "Jensen-Shannon distance", 0.0, 0.1, False, True),
            Column("empty", "unknown", reason="all null"),
        ),
        "target_drift": Target(0.0238, 0.2654, 0.2415),
        "decision": Verdict.NO_ACTION,
        "reason": "",
        "line": "",
        "seconds": 1.0,
        "peak_bytes": None,
    }
    return Result(**(base | values))


def save(settings, system, *, finished=100.0, html=HTML, run=None, state=State.DONE, source=None, **values):
    run = run or new_run_id()
    result = a_result(system, run, **values)
    name = f"drift_{result.ref.key}_vs_{result.cur.key}"
    files = {"result.json": result.to_json(), f"{name}.json": b"{}"} | ({f"{name}.html": html} if html else {})
    folder = reports.save(reports.report_dir(settings, system), run, "drift", files, ())
    with Ledger(settings.ledger_url) as ledger:
        key = f"drift:{system.id}:a:b:{result.policy.digest}"
        row = Run(run, "drift", system.id, key, state, finished - 1, finished - 1, finished, path=str(folder))
        ledger.add(replace(row, **columns_of(source or source_of(settings, system))))
    return run


# --- reports -------------------------------------------------------------------------------------------------------


def test_a_report_is_served_in_its_sandbox(settings, streamflow, client):
    run = save(settings, streamflow)
    answer = client.get(f"/reports/frame/{run}")
    assert answer.status_code == 200
    assert answer.content == html.guarded(HTML)
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.headers["content-security-policy"] == SANDBOX
    assert SANDBOX == (
        "sandbox allow-scripts; default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; "
        "img-src data: blob:; font-src data:; frame-src 'none'; child-src 'none'; worker-src 'none'; "
        "connect-src 'none'; form-action 'none'; base-uri 'none'; frame-ancestors 'self'; "
        "require-trusted-types-for 'script'; trusted-types default"
    )
    assert answer.headers["connection-allowlist"] == "()"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"].startswith("private")
    assert "set-cookie" not in answer.headers
    assert "content-disposition" not in answer.headers


def test_a_full_page_is_ours_round_the_sandboxed_report(settings, streamflow, client):
    run = save(settings, streamflow)
    with Ledger(settings.ledger_url) as ledger:
        ledger.update(run, ref="2024-01-31", cur="<b>cur", outcome="NO_ACTION", reason="1 of 2 <i>drifted")
    answer = client.get(f"/reports/view/{run}")
    assert answer.status_code == 200
    assert "<script" not in answer.text
    assert "<b>cur" not in answer.text
    assert "<i>drifted" not in answer.text
    for part in ("2024-01-31 → &lt;b&gt;cur", "NO_ACTION", "1 of 2 &lt;i&gt;drifted", f'href="../file/{run}/json"'):
        assert part in answer.text, part
    assert f'<iframe src="../frame/{run}" sandbox="allow-scripts"' in answer.text
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; ")
    for part in ("frame-src 'self'", "frame-ancestors 'none'", "base-uri 'none'", "form-action 'none'"):
        assert part in policy


def test_a_full_page_needs_no_index(settings, streamflow, client):
    run = save(settings, streamflow)
    with closing(sqlite3.connect(settings.ledger_url.removeprefix("sqlite:///"))) as index:
        index.execute("DELETE FROM runs")
        index.commit()
    assert f"Run {run}" in client.get(f"/reports/view/{run}").text


@pytest.mark.parametrize("dest", ["document", "iframe", None])
def test_the_frame_is_no_page_of_its_own(settings, streamflow, client, dest):
    run = save(settings, streamflow)
    headers = {"Sec-Fetch-Dest": dest} if dest else {}
    answer = client.get(f"/reports/frame/{run}", headers=headers, follow_redirects=False)
    assert answer.status_code == (303 if dest == "document" else 200)
    assert answer.headers.get("location") == (f"../view/{run}" if dest == "document" else None)
    assert "Sec-Fetch-Dest" in answer.headers["vary"]


@pytest.mark.parametrize("encoding", ["gzip", "identity"])
def test_a_report_arrives_whole_with_and_without_compression(settings, streamflow, client, encoding):
    run = save(settings, streamflow)
    with client.stream("GET", f"/reports/frame/{run}", headers={"Accept-Encoding": encoding}) as answer:
        raw = b"".join(answer.iter_raw())
    assert answer.headers["content-encoding"] == encoding
    assert int(answer.headers["content-length"]) == len(raw)
    assert (gzip.decompress(raw) if encoding == "gzip" else raw) == html.guarded(HTML)


def test_a_report_gzipped_at_rest_is_the_same_report(settings, streamflow, client, monkeypatch):
    run = save(settings, streamflow)
    folder = reports.report_dir(settings, streamflow)
    monkeypatch.setattr(keep, "PLAIN_RUNS", 1)
    save(settings, streamflow, run="20990101T000000Z-abcdef")
    keep.prune([folder], 10**9)
    assert list((folder / "runs" / run).glob("*.html.gz"))
    assert client.get(f"/reports/frame/{run}").content == html.guarded(HTML)


@pytest.mark.parametrize("kind", ["html", "json"])
def test_a_download_has_the_name_of_its_months(settings, streamflow, client, kind):
    run = save(settings, streamflow)
    answer = client.get(f"/reports/file/{run}/{kind}")
    name = f"drift_2024-01-31_vs_2024-02-29.{kind}"
    assert answer.headers["content-disposition"] == f'attachment; filename="{name}"'
    assert answer.content == (HTML if kind == "html" else b"{}")
    assert answer.headers["content-security-policy"] == SANDBOX


def test_head_is_answered_everywhere_without_a_body(settings, streamflow, client):
    run = save(settings, streamflow)
    for path in (f"/reports/view/{run}", f"/reports/frame/{run}", f"/reports/file/{run}/json", "/metrics", "/healthz"):
        answer = client.head(path)
        assert (answer.status_code, answer.content) == (200, b""), path


def test_other_methods_are_refused(client):
    own = {"Origin": "http://127.0.0.1:8501"}
    assert client.post("/healthz", headers=own).status_code == 405


UNKNOWN = [
    "20240229T140532Z-1a2b3c",
    "nothing",
    "",
    "%2e%2e%2f%2e%2e%2fetc%2fpasswd",
    "..%2F..%2Fetc%2Fpasswd",
    "%252e%252e%252fetc%252fpasswd",
    "20240229T140532Z-1a2b3c%00",
    "20240229T140532Z-1a2b3c%2f..%2f..",
    "a/b/c/d",
    "..%5c..%5cetc",
    "%3Cscript%3Ealert(1)%3C%2Fscript%3E",
    "x" * 3000,
]


@pytest.mark.parametrize("run", UNKNOWN)
@pytest.mark.parametrize(
    "pattern", ["/reports/view/{}", "/reports/frame/{}", "/reports/file/{}/html", "/reports/file/{}"]
)
def test_an_unknown_id_is_a_page_in_words(settings, streamflow, client, run, pattern):
    save(settings, streamflow)
    answer = client.get(pattern.format(run))
    assert answer.status_code == 404
    assert "There is no such report" in answer.text
    assert "<script" not in answer.text
    assert answer.headers["content-security-policy"] == SANDBOX


@contextmanager
def served(settings):
    """A real server on a free port."""
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(application(settings), log_level="error", lifespan="off"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [sock]})
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield sock.getsockname()[1]
    finally:
        server.should_exit = True
        thread.join()
        sock.close()


def raw_get(port, path, host="127.0.0.1", **headers):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.putrequest("GET", path, skip_host=True)
    for name, value in ({"Host": host} | headers).items():
        connection.putheader(name, value)
    connection.endheaders()
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer, body


def test_dots_that_no_client_has_tidied_up_reach_no_file(settings, streamflow):
    save(settings, streamflow)
    with served(settings) as port:
        for path in (
            "/reports/view/../../etc/passwd",
            "/reports/file/../../../etc/passwd/html",
            "/reports/view/..%2f..",
        ):
            answer, body = raw_get(port, path)
            assert answer.status == 404, path
            assert b"There is no such report" in body
            assert b"root:" not in body


def test_a_large_report_holds_up_no_other_request(settings, streamflow):
    run = save(settings, streamflow, html=b"<p>" + b"x" * 50_000_000)
    with served(settings) as port:
        got = {}

        def fetch():
            got["large"] = len(raw_get(port, f"/reports/frame/{run}")[1])

        thread = threading.Thread(target=fetch)
        thread.start()
        small = 0
        while thread.is_alive():
            assert raw_get(port, "/healthz")[0].status == 200
            small += 1
        thread.join()
    assert got["large"] == 50_000_003 + len(html.guarded(b""))
    assert small > 1


def test_a_run_without_a_report_says_why_there_is_none(settings, streamflow, client):
    run = save(settings, streamflow, html=None, share=None, decision=Verdict.UNDECIDED)
    answer = client.get(f"/reports/view/{run}")
    assert answer.status_code == 404
    assert "has no html report" in answer.text


def test_a_report_that_was_changed_on_disk_is_not_served(settings, streamflow, client):
    run = save(settings, streamflow)
    path = next((reports.report_dir(settings, streamflow) / "runs" / run).glob("*.html"))
    path.write_bytes(b"<script>evil</script>")
    answer = client.get(f"/reports/frame/{run}")
    assert answer.status_code == 500
    assert "was changed after it was saved" in answer.text


# --- headers and hosts ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/", "/charts", "/healthz", "/metrics"])
def test_every_page_and_route_carries_the_headers(client, path):
    headers = client.get(path).headers
    assert headers["content-security-policy"] == PAGES
    for part in ("frame-ancestors 'none'", "frame-src 'self'", "object-src 'none'", "base-uri 'self'"):
        assert part in PAGES
    for source in ("img-src", "font-src", "media-src", "connect-src", "default-src", "script-src", "style-src"):
        # Nothing outside is fetched: neither a host nor a scheme of the network stands in it.
        assert source in PAGES
    assert not re.search(r"https?:|wss?:|\*", PAGES)
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "same-origin"


def test_a_route_with_its_own_policy_keeps_it(client):
    assert client.get("/own").headers["content-security-policy"] == "default-src 'none'"


@pytest.mark.parametrize("path", ["/", "/charts", "/healthz", "/metrics", "/reports/view/x", "/reports/file/x/html"])
@pytest.mark.parametrize("host", ["evil.example", "evil.example:8501", "localhost.evil.example", "127.0.0.1@evil", ""])
def test_a_foreign_host_is_refused_on_every_route_and_page(client, path, host):
    answer = client.get(path, headers={"Host": host})
    assert answer.status_code == 400
    assert answer.headers["content-security-policy"] == PAGES


@pytest.mark.parametrize(
    "host", ["localhost", "localhost:8501", "127.0.0.1:9999", "[::1]:8501", "[::1]", "vigie.example", "LOCALHOST"]
)
def test_loopback_and_named_hosts_are_served(client, host):
    assert client.get("/healthz", headers={"Host": host}).status_code == 200


def test_the_websocket_checks_the_host_too(client):
    own = {"Host": "localhost", "Origin": "http://localhost"}
    with client.websocket_connect("/_stcore/stream", headers=own) as websocket:
        assert websocket.receive_text() == "hello"
    with pytest.raises(WebSocketDenialResponse) as raised:
        with client.websocket_connect("/_stcore/stream", headers={"Host": "evil.example"}):
            pass
    assert raised.value.status_code == 400


def test_a_foreign_host_opens_no_websocket_on_the_wire(settings):
    with served(settings) as port:
        handshake = {
            "Connection": "Upgrade",
            "Upgrade": "websocket",
            "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
        }
        assert raw_get(port, "/_stcore/stream", host="evil.example", **handshake)[0].status == 400


# --- healthz -------------------------------------------------------------------------------------------------------


def test_healthz_says_who_serves_which_home(settings, client):
    answer = client.get("/healthz").json()
    assert set(answer) == {"service", "version", "home", "pid", "started"}
    assert (answer["service"], answer["home"]) == ("vigie", settings.home_id)


# --- metrics -------------------------------------------------------------------------------------------------------


def scrape(client):
    """Every sample as {(name, labels): value}."""
    answer = client.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain")
    samples = {}
    for family in text_string_to_metric_families(answer.text):
        for sample in family.samples:
            samples[sample.name, tuple(sorted(sample.labels.items()))] = sample.value
    return samples


def value(samples, name, **labels):
    return samples.get((name, tuple(sorted(({"system": "streamflow"} | labels).items()))))


def test_the_gauges_of_a_drift_run(settings, streamflow, client):
    save(settings, streamflow, finished=1234.5)
    samples = scrape(client)
    assert value(samples, "vigie_drift_share") == 0.0625
    assert value(samples, "vigie_drift_threshold") == 0.3
    assert [value(samples, "vigie_drift_columns", state=s) for s in ("drifted", "compared", "not_comparable")] == [
        1,
        2,
        1,
    ]
    method = "Wasserstein distance (normed)"
    assert value(samples, "vigie_drift_column_score", column="rebuffer_events_7d", method=method) == 0.205
    assert value(samples, "vigie_drift_column_drifted", column="rebuffer_events_7d") == 1
    assert value(samples, "vigie_drift_column_drifted", column='odd "name"\\\n') == 0
    assert value(samples, "vigie_drift_column_drifted", column="empty") is None
    assert value(samples, "vigie_target_drift") == 0.0238
    assert value(samples, "vigie_drift_last_run_timestamp_seconds") == 1234.5
    decisions = {str(verdict): value(samples, "vigie_decision", decision=str(verdict)) for verdict in Verdict}
    assert decisions == {"NO_ACTION": 1, "RETRAINING_TRIGGERED": 0, "UNDECIDED": 0}
    assert samples["vigie_ledger_up", ()] == 1


def test_the_counts_are_of_the_columns_that_the_share_counts(streamflow):
    """A policy of features alone: the label has its score, and no place among the counted."""
    own = Policy.of(streamflow.drift)
    columns = (Column("a", "number", score=0.2, drifted=True, comparable=True), Column("b", "number", reason="gone"))
    label = Column(str(own.label), "category", score=0.2, drifted=True, comparable=True)
    result = a_result(streamflow, "r", policy=replace(own, columns="features"), k=1, n=2, columns=(*columns, label))
    digest = gauges._digest(result)
    assert (digest.drifted, digest.compared, digest.not_comparable) == (1, 1, 1)
    digest = gauges._digest(replace(result, policy=own, k=2, n=3))
    assert (digest.drifted, digest.compared, digest.not_comparable) == (2, 2, 1)


def test_what_is_unknown_is_absent_and_never_zero(settings, streamflow, client):
    save(settings, streamflow, share=None, k=None, decision=Verdict.UNDECIDED, target_drift=Target(reason="no labels"))
    samples = scrape(client)
    for name in ("vigie_drift_share", "vigie_target_drift"):
        assert value(samples, name) is None
    assert value(samples, "vigie_drift_columns", state="drifted") is None
    assert value(samples, "vigie_decision", decision="UNDECIDED") == 1
    assert not [name for name, labels in samples if ("system", "diabetes") in labels]
    assert not [name for name, _ in samples if name.startswith("vigie_load")]


def test_other_policies_captures_and_failed_runs_move_nothing(settings, streamflow, client):
    save(settings, streamflow, finished=100, share=0.5)
    save(settings, streamflow, finished=200, share=0.1, policy=Policy.of(streamflow.drift, threshold=0.05))
    save(settings, streamflow, finished=300, share=0.2, cur=Months("capture-20240229T140532Z-1a2b3c"))
    save(settings, streamflow, finished=400, share=0.3, state=State.CANCELLED)
    assert value(scrape(client), "vigie_drift_share") == 0.5
    save(settings, streamflow, finished=500, share=0.25)
    assert value(scrape(client), "vigie_drift_share") == 0.25


def test_the_policy_of_the_system_is_found_behind_many_experiments(settings, streamflow, client):
    save(settings, streamflow, finished=100, share=0.5)
    other = Policy.of(streamflow.drift, threshold=0.05)
    for n in range(60):
        save(settings, streamflow, finished=200 + n, share=0.1, policy=other, html=None)
    assert value(scrape(client), "vigie_drift_share") == 0.5


def traffic(settings, *, answered=98, failed=2, not_sent=5, state=State.DONE, write=True, source=None):
    run = new_run_id()
    folder = settings.home / "runs" / run
    folder.mkdir(parents=True)
    latency = Histogram()
    for _ in range(answered):
        latency.record(0.004)
    latency.record(2.0)
    result = load_result.Result(
        **load_result.measured(Tally(Timeline(1.0))),
        run=run,
        system="streamflow",
        plan={},
        started=1.0,
        finished=2.0,
        asked_rate=None,
        achieved_rate=None,
    )
    kinds = {kind: latency.to_dict() for kind in ("response", "service")}
    result = replace(result, ok=answered, failed=failed, not_sent=not_sent, histograms=kinds)
    if write:
        load_result.write(folder, result)
    with Ledger(settings.ledger_url) as ledger:
        row = Run(run, "load", "streamflow", f"load:{run}", state, time.time(), path=str(folder))
        source = source or source_of(settings, load_systems(settings).by_id["streamflow"], "load")
        ledger.add(replace(row, **columns_of(source)))
    return run


def test_runs_of_another_source_move_no_gauge_and_one_that_was_not_told_yet_counts_once_it_is(
    settings, streamflow, client
):
    """Such as the sample world's, beside a database of one's own: the reports lie in one folder."""
    save(settings, streamflow, source=Source.of("feast", "another home's world"))
    save(settings, streamflow, source=Source("unknown"))
    traffic(settings, source=Source.of("api", "http://elsewhere:8000"))
    waiting = traffic(settings, source=Source())
    samples = scrape(client)
    assert value(samples, "vigie_drift_share") is None
    assert value(samples, "vigie_load_requests_total", outcome="ok") is None
    own = source_of(settings, streamflow, "load")
    with Ledger(settings.ledger_url) as ledger:
        ledger.update(waiting, **columns_of(own))
    save(settings, streamflow, finished=50, share=0.5)
    samples = scrape(client)
    assert value(samples, "vigie_drift_share") == 0.5
    assert value(samples, "vigie_load_requests_total", outcome="ok") == 98


def test_load_runs_are_counters_that_only_grow(settings, client):
    traffic(settings)
    for expected in (98, 98):
        samples = scrape(client)
        assert value(samples, "vigie_load_requests_total", outcome="ok") == expected
    traffic(settings, answered=2, state=State.CANCELLED)
    samples = scrape(client)
    assert [value(samples, "vigie_load_requests_total", outcome=o) for o in ("ok", "failed", "not_sent")] == [
        100,
        4,
        10,
    ]
    for kind in ("response", "service"):
        assert value(samples, "vigie_load_latency_seconds_count", kind=kind) == 102
        assert value(samples, "vigie_load_latency_seconds_bucket", kind=kind, le="0.005") == 100
        assert value(samples, "vigie_load_latency_seconds_bucket", kind=kind, le="+Inf") == 102
        assert value(samples, "vigie_load_latency_seconds_sum", kind=kind) == pytest.approx(4.4)


def test_a_load_run_counts_when_it_has_ended(settings, client):
    """What it has on disk before is for the case that it is killed: neither gauges nor pages take it for the end."""
    run = traffic(settings, state=State.RUNNING)
    assert value(scrape(client), "vigie_load_requests_total", outcome="ok") is None
    with Ledger(settings.ledger_url) as ledger:
        assert result_of(ledger.runs(kind="load")[0]) is None
        ledger.update(run, state=State.DONE)
        ended = result_of(ledger.runs(kind="load")[0])
    assert ended is not None
    assert ended["ok"] == 98
    assert value(scrape(client), "vigie_load_requests_total", outcome="ok") == 98


def test_results_that_cannot_be_read_are_counted_and_stop_nothing(settings, streamflow, client):
    good = save(settings, streamflow)
    bad = save(settings, streamflow, finished=900)
    next((reports.report_dir(settings, streamflow) / "runs" / bad).glob("result.json")).write_text("{")
    traffic(settings, write=False)
    broken = traffic(settings)
    (settings.home / "runs" / broken / "result.json").write_text('{"answered": "many"}')
    traffic(settings)
    samples = scrape(client)
    assert good != bad
    assert samples["vigie_unreadable_results", ()] == 2
    assert value(samples, "vigie_drift_share") == 0.0625
    assert value(samples, "vigie_load_requests_total", outcome="ok") == 98


def test_a_sick_ledger_is_a_zero_and_the_scrape_goes_on(settings, client):
    with Ledger(settings.ledger_url) as ledger, ledger._write() as connection:
        connection.exec_driver_sql("UPDATE schema_version SET version = 99")
    samples = scrape(client)
    assert samples["vigie_ledger_up", ()] == 0
    assert samples["process_start_time_seconds", ()] > 0


def test_scrapes_at_the_same_time_count_each_run_once(settings, client):
    for _ in range(10):
        traffic(settings, answered=1)
    threads = [threading.Thread(target=lambda: client.get("/metrics")) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert value(scrape(client), "vigie_load_requests_total", outcome="ok") == 10


def test_behind_a_path_prefix_every_route_answers_there_too(settings):
    """A proxy that serves the console under /vigie passes the prefix on; Streamlit's pages do the same."""
    page = Route("/{rest:path}", lambda _request: PlainTextResponse("a page"))
    prefixed = Starlette(routes=[*routes(settings, prefix="/vigie/"), page], middleware=middleware(settings))
    with TestClient(prefixed, base_url="http://127.0.0.1:8501") as client:
        assert client.get("/vigie/healthz").json()["service"] == "vigie"
        assert client.get("/healthz").json()["service"] == "vigie"
        assert "vigie_ledger_up" in client.get("/vigie/metrics").text
        assert "no such report" in client.get("/vigie/reports/view/nothing").text
        assert client.get("/other/healthz").text == "a page"
