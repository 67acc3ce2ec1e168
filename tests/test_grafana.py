"""Dashboards and provisioning: Grafana's own types, the linter's rules, every question asked of a real Prometheus."""

from __future__ import annotations

import json
import re
import subprocess
import tomllib
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import free_port
from tests.http_fakes import serve
from tests.waiting import until

ROOT = Path(__file__).resolve().parents[1]
GRAFANA = ROOT / "stack" / "grafana" / "provisioning"
JSON = GRAFANA / "dashboards" / "json"
NAMES = sorted(path.stem for path in JSON.glob("*.json"))
SYSTEMS = {path.stem: tomllib.loads(path.read_text()) for path in (ROOT / "app" / "systems").glob("*.toml")}
SERIES_SECONDS = 180.0


def dashboard(name: str) -> dict[str, Any]:
    board: dict[str, Any] = json.loads((JSON / f"{name}.json").read_text())
    return board


def panels(name: str, *, closed: bool = True) -> list[dict[str, Any]]:
    """Every panel that is no row, those in closed rows included."""
    top = dashboard(name)["panels"]
    inside = [one for row in top if row["type"] == "row" and closed for one in row["panels"]]
    return [one for one in top if one["type"] != "row"] + inside


def expressions(name: str) -> list[str]:
    return [target["expr"] for panel in panels(name) for target in panel["targets"]]


def as_prometheus(expr: str) -> str:
    """The question as Grafana would send it."""
    return expr.replace("$__rate_interval", "1m").replace("$__range", "900s")


# --- what the documents ask for ---------------------------------------------------------------------------------------


def test_f1pa_has_its_seven_panels_in_three_rows():
    board = dashboard("f1pa")
    assert board["title"] == "F1PA ML Model Monitoring"
    lines: dict[int, list[str]] = {}
    for panel in panels("f1pa", closed=False):
        lines.setdefault(panel["gridPos"]["y"], []).append(panel["title"])
    assert list(lines.values()) == [
        ["Prediction Requests/sec", "Prediction Latency (p95)"],
        ["Model Status", "Prediction Error Rate", "Database Connection", "MLflow Connection"],
        ["HTTP Status Codes"],
    ]


def test_streamflow_shows_requests_latency_errors_statuses_and_drift():
    text = "\n".join(expressions("streamflow"))
    assert 'sum(rate(api_requests_total{job="api"}[$__rate_interval]))' in text
    assert "api_request_latency_seconds_sum" in text
    assert "histogram_quantile(0.95" in text
    assert 'status!~"2.."' in text
    assert "sum by (status)" in text
    assert 'vigie_drift_share{system="streamflow"}' in text


def test_diabetes_shows_its_api_the_machine_and_its_drift_score():
    rows = [one["title"] for one in dashboard("diabetes")["panels"] if one["type"] == "row"]
    assert rows == ["API", "System", "Drift"]
    text = "\n".join(expressions("diabetes"))
    for metric in (
        "http_requests_total",
        "http_request_duration_seconds_bucket",
        "node_cpu_seconds_total",
        "node_memory_MemAvailable_bytes",
        "node_filesystem_avail_bytes",
        "data_drift_score",
    ):
        assert metric in text


@pytest.mark.parametrize("name", NAMES)
def test_drift_is_on_every_dashboard(name):
    assert re.search("vigie_drift_share|data_drift_score", "\n".join(expressions(name)))


@pytest.mark.parametrize("name", NAMES)
def test_it_refreshes_by_itself_and_offers_five_and_ten_seconds(name):
    board = dashboard(name)
    assert board["refresh"] in ("5s", "10s")
    assert {"5s", "10s"} <= set(board["timepicker"]["refresh_intervals"])
    # What that costs, and what these numbers cannot tell, stands in the dashboard itself.
    assert "Each refresh asks Prometheus once per panel" in board["description"]
    assert "F1" in board["description"]


@pytest.mark.parametrize("name", NAMES)
def test_a_title_names_no_window_that_the_panel_does_not_have(name):
    for panel in panels(name):
        assert "$" not in panel["title"]
        assert "window" not in panel["title"]
        if any("$__rate_interval" in target["expr"] for target in panel["targets"]):
            assert "Averaged over Grafana's rate interval" in panel["description"], panel["title"]


@pytest.mark.parametrize("name", NAMES)
def test_every_panel_of_the_system_file_is_on_the_dashboard(name):
    asked = {one.replace("$selector", SYSTEMS[name]["prometheus"]["selector"]) for one in file_exprs(name)}
    shown = {one.replace("$__rate_interval", "$window") for one in expressions(name)}
    assert asked <= shown


def file_exprs(name: str) -> list[str]:
    raw = [panel["expr"] for panel in SYSTEMS[name]["panels"]]
    return [expr for one in raw for expr in (one.values() if isinstance(one, dict) else [one])]


# --- Grafana's types --------------------------------------------------------------------------------------------------

# The Prometheus plugin's own keys of an annotation, which the core's types leave open.
PLUGIN_KEYS = re.compile(r"\.annotations\.list\[0\]\.(expr|step|titleFormat|textFormat|tagKeys)")


def lost(before: Any, after: Any, path: str = "") -> Iterator[str]:
    """Where a value did not come back from Grafana's types as it went in."""
    if isinstance(before, dict) and isinstance(after, dict):
        for key, value in before.items():
            yield from lost(value, after[key], f"{path}.{key}") if key in after else [f"{path}.{key}"]
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for place, (one, other) in enumerate(zip(before, after, strict=True)):
            yield from lost(one, other, f"{path}[{place}]")
    elif before != after:
        yield path


def through_grafana(raw: dict[str, Any]) -> dict[str, Any]:
    from grafana_foundation_sdk.cog import encoder, plugins
    from grafana_foundation_sdk.models.dashboard import Dashboard

    plugins.register_default_plugins()
    board: dict[str, Any] = json.loads(encoder.JSONEncoder(sort_keys=True).encode(Dashboard.from_json(raw)))
    return board


@pytest.mark.parametrize("name", NAMES)
def test_grafana_knows_every_key_of_the_dashboard(name):
    raw = dashboard(name)
    assert [path for path in lost(raw, through_grafana(raw)) if not PLUGIN_KEYS.fullmatch(path)] == []


def test_a_key_that_grafana_does_not_know_would_be_found():
    raw = dashboard("streamflow")
    raw["panels"][1]["options"]["legend"]["colour"] = "red"
    raw["reload"] = "5s"
    gone = list(lost(raw, through_grafana(raw)))
    assert {".reload", ".panels[1].options.legend.colour"} <= set(gone)


# --- the rules of Grafana's dashboard-linter --------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_the_data_source_is_a_variable_so_that_it_can_be_imported_anywhere(name):
    board = dashboard(name)
    (variable,) = board["templating"]["list"]
    assert (variable["type"], variable["name"], variable["query"]) == ("datasource", "datasource", "prometheus")
    chosen = {"type": "prometheus", "uid": "${datasource}"}
    assert board["annotations"]["list"][0]["datasource"] == chosen
    for panel in panels(name):
        assert panel["datasource"] == chosen
        assert all(target["datasource"] == chosen for target in panel["targets"])
    assert "id" not in board
    assert "__inputs" not in board


@pytest.mark.parametrize("name", NAMES)
def test_every_panel_has_title_description_unit_and_a_question(name):
    for panel in panels(name):
        assert panel["title"]
        assert len(panel["description"]) > 10, panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"] in {
            "reqps", "s", "percentunit", "decbytes", "Bps", "short", "none", "celsius",
        }  # fmt: skip
        assert panel["targets"]
        refs = [target["refId"] for target in panel["targets"]]
        assert len(set(refs)) == len(refs)
        # Without a value a panel says so, it does not show 0 or nothing.
        assert panel["fieldConfig"]["defaults"]["noValue"]


@pytest.mark.parametrize("name", NAMES)
def test_rates_follow_the_zoom_and_counters_are_never_shown_raw(name):
    for expr in expressions(name):
        windows = re.findall(r"\[([^\]]+)\]", re.sub(r'"[^"]*"', "", expr))
        assert set(windows) <= {"$__rate_interval"}, expr
        for counter in re.finditer(r"\b\w+_(?:total|bucket|sum|count)\{", expr):
            before = expr[: counter.start()]
            assert re.search(r"(?:rate|increase)\($", before), expr


@pytest.mark.parametrize("name", NAMES)
def test_a_question_stays_inside_its_system(name):
    job = SYSTEMS[name]["prometheus"]["selector"]
    for expr in expressions(name):
        for selector in re.findall(r"([a-zA-Z_:]+)(\{[^}]*\})", expr):
            metric, braces = selector
            assert metric.startswith("node_") or job in braces or f'system="{name}"' in braces, expr


@pytest.mark.parametrize("name", NAMES)
def test_it_cannot_be_edited_in_place_and_is_told_apart_by_uid_and_tags(name):
    board = dashboard(name)
    assert board["editable"] is False
    assert re.fullmatch(r"[a-z0-9_-]{1,40}", board["uid"])
    assert board["tags"] == ["vigie", name]
    assert len({dashboard(one)["uid"] for one in NAMES}) == len(NAMES)
    assert 39 <= board["schemaVersion"] <= 41


@pytest.mark.parametrize("name", NAMES)
def test_panels_fill_the_grid_without_overlap(name):
    board = dashboard(name)["panels"]
    ids = [one["id"] for row in board for one in [row, *row.get("panels", [])]]
    assert len(set(ids)) == len(ids)
    for group in [board, *(row["panels"] for row in board if row.get("collapsed"))]:
        cells: set[tuple[int, int]] = set()
        for one in group:
            at = one["gridPos"]
            mine = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
            assert max(x for x, _ in mine) < 24
            assert not mine & cells, one["title"]
            cells |= mine


# --- provisioning -----------------------------------------------------------------------------------------------------


def test_the_data_source_is_the_prometheus_of_the_compose_network():
    (source,) = yaml.safe_load((GRAFANA / "datasources" / "prometheus.yml").read_text())["datasources"]
    assert (source["type"], source["url"], source["isDefault"]) == ("prometheus", "http://prometheus:9090", True)
    # The slowest job: Grafana takes four of these as its shortest window.
    config = yaml.safe_load((ROOT / "stack" / "prometheus" / "prometheus.yml").read_text())
    slowest = max(job.get("scrape_interval", config["global"]["scrape_interval"]) for job in config["scrape_configs"])
    assert source["jsonData"]["timeInterval"] in (slowest, config["global"]["scrape_interval"])


def test_dashboards_are_read_from_where_they_are_mounted():
    (provider,) = yaml.safe_load((GRAFANA / "dashboards" / "vigie.yml").read_text())["providers"]
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]["grafana"]
    mounts = dict(one.split(":")[:2] for one in compose["volumes"])
    inside = mounts["./stack/grafana/provisioning"]
    assert provider["options"]["path"] == f"{inside}/dashboards/json"
    home = compose["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert (JSON / home.removeprefix(f"{inside}/dashboards/json/")).is_file()


# --- a real Prometheus ------------------------------------------------------------------------------------------------


def page(job: str, counted: int) -> str:
    """Metrics as the services of this job expose them; counters grow by what has been scraped before."""

    def counter(name: str, labels: str) -> str:
        return f"# TYPE {name} counter\n{name}_total{{{labels}}} {counted}\n".replace("_total_total", "_total")

    def histogram(name: str, labels: str) -> str:
        rest = f"{labels}," if labels else ""
        lines = [f'{name}_bucket{{{rest}le="{le}"}} {counted}' for le in ("0.1", "+Inf")]
        braces = f"{{{labels}}}" if labels else ""
        return "\n".join(
            [f"# TYPE {name} histogram", *lines, f"{name}_sum{braces} {counted}", f"{name}_count{braces} {counted}\n"]
        )

    def gauge(name: str, value: float, labels: str = "") -> str:
        return f"# TYPE {name} gauge\n{name}{{{labels}}} {value}\n"

    process = gauge("process_resident_memory_bytes", 1e8) + f"process_cpu_seconds_total {counted}\n"
    http = counter("http_requests", 'method="POST",endpoint="/predict",status="200"')
    http += f'http_requests_total{{method="POST",endpoint="/predict",status="422"}} {counted}\n'
    timed = histogram("http_request_duration_seconds", 'endpoint="/predict"')
    pages = {
        "api": counter("api_requests", 'endpoint="/predict",status="200"')
        + f'api_requests_total{{endpoint="/predict",status="404"}} {counted}\n'
        + histogram("api_request_latency_seconds", "")
        + process,
        "fastapi": http + timed + process + gauge("data_drift_score", 0.25)
        + gauge("data_drift_score_by_feature", 0.25, 'feature="BMI"') + gauge("data_drift_window_requests", 500),
        "f1pa_api": http + timed + process
        + counter("f1pa_predictions", 'endpoint_type="single"')
        + counter("f1pa_prediction_errors", 'endpoint_type="single"')
        + counter("f1pa_data_queries", 'endpoint="drivers"')
        + histogram("f1pa_prediction_duration_seconds", "")
        + histogram("f1pa_db_query_duration_seconds", "")
        + "".join(gauge(f"f1pa_{one}", 1) for one in ("model_loaded", "database_connected", "mlflow_connected")),
        "node-exporter": f'node_cpu_seconds_total{{cpu="0",mode="idle"}} {counted}\n'
        + gauge("node_memory_MemAvailable_bytes", 1e9)
        + gauge("node_filesystem_avail_bytes", 1e9, 'device="/dev/sda1",fstype="ext4",mountpoint="/"'),
        "console": "".join(
            gauge("vigie_drift_share", 0.5, own) + gauge("vigie_drift_threshold", 0.3, own)
            + gauge("vigie_target_drift", 0.02, own)
            + gauge("vigie_drift_columns", 1, f'{own},state="drifted"')
            + gauge("vigie_drift_columns", 0, f'{own},state="not_comparable"')
            + gauge("vigie_decision", 1, f'{own},decision="RETRAINING_TRIGGERED"')
            + gauge("vigie_drift_column_score", 0.2, f'{own},column="a",method="x"')
            for own in ('system="streamflow"', 'system="f1pa"')
        ),
    }  # fmt: skip
    # A family may be declared once: comments are dropped, Prometheus needs none.
    return "".join(line + "\n" for line in pages[job].splitlines() if not line.startswith("#"))


@pytest.fixture(scope="module")
def loaded(prometheus_binary, tmp_path_factory) -> Iterator[str]:
    """A Prometheus with the jobs of the compose file, the committed rules, and a service of each kind under traffic."""
    folder = tmp_path_factory.mktemp("grafana")
    scrapes: dict[str, int] = {}

    def handle(client, request: bytes) -> None:
        job = request.split(b" ")[1].decode().removeprefix("/")
        scrapes[job] = scrapes.get(job, 0) + 5
        body = page(job, scrapes[job]).encode()
        client.sendall(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\nContent-Length: %d\r\n\r\n" % len(body)
            + body
        )

    with serve(handle) as fake:
        config = yaml.safe_load((ROOT / "stack" / "prometheus" / "prometheus.yml").read_text())
        config["global"] = dict.fromkeys(("scrape_interval", "scrape_timeout", "evaluation_interval"), "1s")
        config["rule_files"] = [str(ROOT / "stack" / "prometheus" / "alerts.yml")]
        for job in config["scrape_configs"]:
            job["metrics_path"] = f"/{job['job_name']}"
            job["scrape_interval"] = "1s"
            job["static_configs"] = [{"targets": [fake.host]}]
            # The bearer of the console is a secret of Compose; this console asks for none.
            job.pop("authorization", None)
        (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
        port = free_port()
        command = [
            str(prometheus_binary),
            f"--config.file={folder}/prometheus.yml",
            f"--storage.tsdb.path={folder}/data",
        ]
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen([*command, f"--web.listen-address=127.0.0.1:{port}"], stdout=log, stderr=log)
        try:
            url = f"http://127.0.0.1:{port}"

            def scraped():
                assert process.poll() is None, (folder / "log").read_text()[-2000:]
                return len(ask(url, "count_over_time(up[1m]) > 3")) >= len(config["scrape_configs"])

            until(scraped, lambda: (folder / "log").read_text()[-2000:], seconds=SERIES_SECONDS, every=0.3)
            yield url
        finally:
            process.terminate()
            process.wait(120)


def ask(url: str, expr: str) -> list[dict[str, Any]]:
    """The series of an instant query; raises for one that Prometheus refuses."""
    question = f"{url}/api/v1/query?{urllib.parse.urlencode({'query': expr})}"
    try:
        with urllib.request.urlopen(question, timeout=10) as answer:
            body = json.load(answer)
    except urllib.error.HTTPError as error:
        if error.code == 503:
            return []  # it listens, and still reads its data
        pytest.fail(f"{expr}: {error.read().decode()}")
    except OSError:
        return []  # not listening yet
    assert body["status"] == "success"
    assert "warnings" not in body
    series: list[dict[str, Any]] = body["data"]["result"]
    return series


@pytest.mark.parametrize("name", NAMES)
def test_every_question_of_the_dashboard_brings_an_answer(loaded, name):
    for panel in panels(name):
        for target in panel["targets"]:
            series = ask(loaded, as_prometheus(target["expr"]))
            assert series, f"{panel['title']}: {target['expr']}"
            assert all(one["value"][1] not in ("NaN", "+Inf") for one in series), panel["title"]
            # A legend names a label that the answer has.
            for label in re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]):
                assert all(label in one["metric"] for one in series), panel["title"]


def test_the_committed_rules_are_evaluated_without_error_and_drift_fires(loaded):
    with urllib.request.urlopen(f"{loaded}/api/v1/rules", timeout=10) as answer:
        groups = json.load(answer)["data"]["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    assert {group["name"] for group in groups} == set(NAMES)
    assert [rule["name"] for rule in rules if rule["health"] == "err"] == []
    # The mark that every dashboard draws where an alert fires.
    firing = ask(loaded, 'ALERTS{alertstate="firing", system="streamflow"}')
    assert [one["metric"]["alertname"] for one in firing] == ["DataDrift"]


@pytest.mark.parametrize("name", NAMES)
def test_every_metric_asked_for_is_one_that_somebody_exports(name):
    gauges = (ROOT / "app" / "gauges.py").read_text()
    service = (ROOT / "stack" / "api" / name / "service.py").read_text()
    asked = {metric for expr in expressions(name) for metric in re.findall(r"\b(\w+)\{", expr)}
    asked |= {metric for expr in expressions(name) for metric in re.findall(r"\bnode_\w+", expr)}
    for metric in asked:
        base = re.sub(r"_(bucket|sum|count)$", "", metric)
        where = gauges if metric.startswith("vigie_") else service
        assert base.startswith(("node_", "process_")) or base in where, metric
