"""The monitoring report: each of its numbers is got again from where it says it comes; each gap says what to do."""

import hashlib
import io
import json
import os
import platform
import subprocess
import time
import tomllib
import urllib.request
import zipfile
from dataclasses import replace
from importlib import metadata
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import urlencode

import numpy as np
import pandas as pd
import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from app.base.version import VERSION
from app.config import Settings, load_systems
from app.config.system import Lab, Metrics, parse_system
from app.errors import DeadlineExceeded
from app.load import readings
from app.prometheus import Answer, Prometheus
from app.report import lab, monitoring
from app.report.asking import MOST_RUNS, UNDER_WAY, Asking
from app.report.document import Code, Document, Gap, Picture, Section, Table, Text
from app.report.write import files
from app.runs import opening
from app.runs.index import Ledger
from app.runs.own_source import source_of
from app.runs.run import Run, State
from app.runs.source import columns_of
from app.runs.tables import RUNS, row_of
from app.words.language import speaking
from tests import warm
from tests.conftest import free_port, wait_for_samples
from tests.load_fakes import Service

SHOP = """\
title = "Shop <b>&"
[api]
url = "{url}"
[prometheus]
url = "{prometheus}"
selector = 'job="api"'
[metrics]
requests = "api_requests_total"
latency = "api_request_latency_seconds"
errors = 'status!~"2.."'
[[panels]]
id = "rps"
title = "Requests a second, $window window"
expr = 'sum(rate(api_requests_total{{$selector}}[$window]))'
unit = "1/s"
legend = "requests"
[[panels]]
id = "statuses"
title = "By <status>"
expr = 'sum by (status) (api_requests_total{{$selector}})'
unit = "count"
legend = "{{{{status}}}}"
[[panels]]
id = "empty"
title = "No such series"
expr = 'no_such_series{{$selector}}'
[request]
body = {{ user_id = "$user_id" }}
[request.fields.user_id]
from = "list"
values = ["U1", "U2"]
"""
DRIFT = """\
[drift]
source = "files"
path = "{folder}/{{period}}.parquet"
label = "label"
features = ["amount", "`=cmd|<i>"]
threshold = 0.30
"""
GAUGE = """\
[drift]
source = "gauge"
expr = 'max(api_drift{{$selector}})'
threshold = 0.2
"""
RULES = """\
groups:
- name: shop
  rules:
  - {alert: Busy, expr: 'vector(1)', for: 0s, labels: {system: shop, severity: warning, who: '<b>"x"</b>'}}
  - {alert: Quiet, expr: 'vector(0) > 0', for: 1m, labels: {system: shop}}
  - {alert: Foreign, expr: 'vector(1)', for: 0s, labels: {system: another}}
"""
# Two months of 400 rows: `amount` moved, the other feature did not.
ROWS = 400


class Shop:
    """What a prediction service measures and says of itself."""

    def __init__(self):
        self.registry = CollectorRegistry()
        self.counter = Counter("api_requests_total", "r", ["endpoint", "status"], registry=self.registry)
        self.latency = Histogram("api_request_latency_seconds", "l", ["endpoint"], registry=self.registry)
        Gauge("api_drift", "d", registry=self.registry).set(0.07)
        Info("shop", "i", registry=self.registry).info({"version": "4.5.6"})
        self.counter.labels("/predict", "200").inc(1000)

    async def __call__(self, call):
        if "openapi.json" in call.line:
            call.answer(body=b'{"info": {"version": "1.2.3"}}')
            return
        if "/health" in call.line:
            call.answer(body=b'{"status": "well"}')
            return
        status = "404" if call.number % 10 == 9 else "200"
        self.counter.labels("/predict", status).inc()
        self.latency.labels("/predict").observe(0.031)
        call.answer(int(status))

    def metrics(self, _service):
        return generate_latest(self.registry)


def months(folder):
    folder.mkdir()
    for number, key in enumerate(("2024-01-31", "2024-02-29")):
        random = np.random.default_rng(number)
        data = {"amount": random.normal(10 + 3 * number, 1, ROWS), "`=cmd|<i>": random.normal(0, 1, ROWS)}
        data["label"] = (np.arange(ROWS) % 100 < 30 + number).astype(int)
        pd.DataFrame(data).to_parquet(folder / f"{key}.parquet")


@pytest.fixture(scope="module")
def world(prometheus_binary, tmp_path_factory):
    """A scraped service, a load run to it, a comparison, and alerts that fire."""
    folder = tmp_path_factory.mktemp("report")
    (folder / "systems").mkdir()
    months(folder / "data")
    (folder / "rules.yml").write_text(RULES)
    shop, port = Shop(), free_port()
    with Service(shop, metrics=shop.metrics) as service:
        url = f"http://127.0.0.1:{port}"
        config = {
            "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
            "rule_files": ["rules.yml"],
            "scrape_configs": [
                {"job_name": name, "static_configs": [{"targets": [target]}]}
                for name, target in (("api", service.url.removeprefix("http://")), ("dead", f"127.0.0.1:{free_port()}"))
            ],
        }
        (folder / "prometheus.yml").write_text(json.dumps(config))
        text = SHOP.format(url=service.url, prometheus=url)
        (folder / "systems" / "shop.toml").write_text(text + DRIFT.format(folder=folder / "data"))
        (folder / "systems" / "own.toml").write_text(text + GAUGE.format())
        environ = {name: value for name, value in os.environ.items() if not name.startswith(("VIGIE", "REPORT"))}
        environ |= {"VIGIE_HOME": str(folder / "home"), "VIGIE_SYSTEMS": str(folder / "systems")}
        environ |= {"HOME": str(folder), "REPORT_DIR": str(folder / "reports")}
        command = [prometheus_binary, "--config.file=prometheus.yml", "--storage.tsdb.path=data-of-prometheus"]
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(
                [*command, f"--web.listen-address=127.0.0.1:{port}"], cwd=folder, stdout=log, stderr=log
            )
        try:
            wait_for_samples(url, process, folder / "log", 2)
            told = {}
            for name, command in (
                ("load", ("load", "--system", "shop", "--count", "40", "--duration", "1")),
                ("drift", ("drift", "--system", "shop", "--ref", "2024-01-31", "--cur", "2024-02-29")),
            ):
                done = warm.run("app", *command, "--json", env=environ)
                assert done.returncode == 0, done.stderr
                told[name] = json.loads(done.stdout)
            settings = Settings.from_env(environ)
            # All that was done is scraped, and before the end of any report.
            time.sleep(2 * UNDER_WAY)
            yield SimpleNamespace(settings=settings, folder=folder, url=url, service=service, **told)
        finally:
            process.terminate()
            process.wait(120)


def asking(world, system="shop", since=600.0, **changes):
    now = time.time() - UNDER_WAY
    return replace(Asking(world.settings, load_systems(world.settings).by_id[system], now - since, now), **changes)


@pytest.fixture(scope="module")
def report(world) -> Document:
    return monitoring.document(asking(world))


# --- each number again ------------------------------------------------------------------------------------------------


def asked(world, path, **query):
    with urllib.request.urlopen(f"{world.url}/api/v1/{path}?{urlencode(query)}", timeout=20) as answer:
        return json.load(answer)["data"]["result"]


def again(world, report, origin):
    """The value that an origin leads to; None where there is none."""
    match origin:
        case {"query": query, "at": at, **rest}:
            rows = asked(world, "query", query=query, time=f"{at:.3f}")
            rows = [row for row in rows if row["metric"] == rest.get("labels", row["metric"])]
            return float(rows[0]["value"][1]) if len(rows) == 1 else None
        case {"query": query, "start": start, "end": end, "step": step, "take": take, "labels": labels}:
            rows = asked(world, "query_range", query=query, start=start, end=end, step=step)
            (row,) = [row for row in rows if row["metric"] == labels]
            return taken(row["values"], take, step, origin.get("stretch"))
        case {"run": run, "field": place}:
            value = json.loads((kept(world, run) / "result.json").read_bytes())
            for part in place.split(".") if isinstance(place, str) else place:
                value = value[int(part)] if isinstance(value, list) else value[part]
            return value
        case {"file": file, "sample": name, "labels": labels, **rest}:
            value = sample(report, file, name, labels)
            return value if "minus" not in rest else value - (again(world, report, rest["minus"]) or 0)
        case {"system": place}:
            table, key = place.split(".")
            return tomllib.loads((world.folder / "systems" / "own.toml").read_text())[table][key]
    raise AssertionError(f"no way to ask again: {origin}")


def taken(samples, take, step, stretch):
    times, values = [at for at, _ in samples], [float(value) for _, value in samples]
    if stretch is None:
        finite = [value for value in values if np.isfinite(value)]
        return {"last": finite[-1], "min": min(finite), "max": max(finite)}[take]
    groups = [[times[0]]]
    for before, at in pairwise(times):
        groups.append([at]) if at - before > 1.5 * step else groups[-1].append(at)
    return groups[stretch][0 if take == "from" else -1]


def kept(world, run):
    with Ledger(world.settings.ledger_url) as ledger:
        return Path(ledger.get(run).path)


def evidence(report):
    return {f"evidence/{one.name}": one.data for section in report.walk() for one in section.evidence}


def sample(report, file, name, labels):
    families = text_string_to_metric_families(evidence(report)[file].decode())
    values = [one.value for family in families for one in family.samples if (one.name, one.labels) == (name, labels)]
    return values[0] if values else None


def walked(world, report):
    """How many numbers were got again; fails at one that is another."""
    numbers = report.all_numbers
    for number in numbers:
        value = again(world, report, number.origin)
        assert number.value == (None if value is None else pytest.approx(value, rel=1e-12)), number
        assert number.shown.startswith("unknown") == (number.value is None), number
        assert number.shown not in ("unknown", ""), number
    return len(numbers)


def test_every_number_of_the_report_is_what_its_origin_says(world, report):
    assert walked(world, report) > 50
    origins = [name for number in report.all_numbers for name in ("query", "run", "file") if name in number.origin]
    assert set(origins) == {"query", "run", "file"}


def test_a_system_with_a_gauge_has_its_reading_and_its_line(world):
    report = monitoring.document(asking(world, "own"))
    assert walked(world, report) > 20
    decision = section(report, "Drift decision")
    assert [block.text for block in decision.blocks if isinstance(block, Code)] == [
        "[Evidently] report_html=- report_json=- drift_share=0.07 -> NO_ACTION drift_share=0.07 < 0.20 (target_drift=NaN)"
    ]
    (over_time,) = decision.parts
    assert [row[0] for table in tables(over_time) for row in table.rows] == ["threshold", "drift"]
    assert any(isinstance(block, Picture) for block in over_time.blocks)


def test_a_report_in_french_has_the_same_numbers_and_the_same_line(world):
    at = time.time() - 2 * UNDER_WAY
    moment = Asking(world.settings, load_systems(world.settings).by_id["shop"], at - 600, at)
    english = monitoring.document(moment)
    with speaking("fr"):
        french = monitoring.document(replace(moment))
    assert french.language == "fr"
    assert [(one.value, one.origin) for one in french.all_numbers] == [
        (one.value, one.origin) for one in english.all_numbers
    ]
    assert {block.text for block in blocks(french, Code)} == {block.text for block in blocks(english, Code)}
    assert not {one.title for one in french.walk()} & {"Targets", "Load run", "Alerts", "Explanations"}


def test_both_sides_of_the_load_run_and_the_pages_it_read(world, report):
    said = world.load
    rows = {row[0]: row[1].value for table in tables(section(report, "Load run")) for row in table.rows}
    assert rows["requests sent"] == rows["the counter of the service moved by"] == said["sent"] == 40
    assert rows["the counter in Prometheus moved by"] == said["prometheus"]["delta"]
    assert (rows["answers 2xx"], rows["answers 4xx"]) == (36, 4)
    (raw,) = section(report, "Load run").parts
    before, after = (block.text for block in raw.blocks if isinstance(block, Code))
    assert 'api_requests_total{endpoint="/predict",status="200"} 1000.0' in before.splitlines()
    assert 'api_requests_total{endpoint="/predict",status="200"} 1036.0' in after.splitlines()
    assert "shop_info" not in after
    folder = kept(world, said["run"])
    for name in ("metrics_before.txt", "metrics_after.txt", "result.json"):
        assert evidence(report)[f"evidence/load/{name}"] == (folder / name).read_bytes()
    assert b"shop_info" in evidence(report)["evidence/load/metrics_before.txt"]


def test_the_decision_is_the_line_and_the_files_of_the_comparison(world, report):
    decision = section(report, "Drift decision")
    assert [block.text for block in decision.blocks if isinstance(block, Code)] == [world.drift["line"]]
    folder = Path(world.drift["path"])
    sums = json.loads((folder / "meta.json").read_bytes())["files"]
    assert len(sums) == 3
    for name, checksum in sums.items():
        assert hashlib.sha256(evidence(report)[f"evidence/drift/{name}"]).hexdigest() == checksum


def test_alerts_are_those_of_the_system_with_when_they_fired(report):
    rules, now, fired = section(report, "Alerts").parts
    assert [row[0] for table in tables(rules) for row in table.rows] == ["Busy", "Quiet"]
    assert [row[0] for table in tables(now) for row in table.rows] == ["Busy"]
    ((name, held, start, end, labels),) = [row for table in tables(fired) for row in table.rows]
    assert name == "Busy"
    assert held.value <= start.value <= end.value
    assert end.shown.endswith("it was still firing")
    assert 'who=<b>"x"</b>' in labels


def test_a_reader_with_a_minute_is_told_what_happened(world, report):
    lines = {row[0]: getattr(row[1], "shown", row[1]) for table in tables(report.sections[0]) for row in table.rows}
    assert lines == {
        "targets that are up": "1 of 2",
        "newest load run": world.load["sentence"],
        "drift decision": "RETRAINING_TRIGGERED: 1 of 2 columns drifted: 0.50 ≥ 0.30",
        "alerts that fired": "Busy",
    }


def test_states_versions_and_errors_are_told(report):
    text = said(section(report, "Services and versions")) + said(section(report, "Targets"))
    for words in (
        "1.2.3",
        "4.5.6",
        VERSION,
        platform.python_version(),
        metadata.version("evidently"),
        "connection refused",
    ):
        assert words in text


def test_written_it_has_every_file_that_a_number_names_and_names_of_data_are_text(report):
    made = files(report)
    with zipfile.ZipFile(io.BytesIO(made["monitoring.zip"])) as archive:
        names = set(archive.namelist())
        numbers = json.loads(archive.read("numbers.json"))
    assert {one["origin"]["file"] for one in numbers if "file" in one["origin"]} <= names
    assert [one["value"] for one in numbers] == [one.value for one in report.all_numbers]
    page = made["monitoring.html"].decode()
    assert "cmd|&lt;i&gt;" in page
    assert "Shop &lt;b&gt;&amp;" in page
    assert "<b>&" not in page
    assert "<i>" not in page


# --- the same world as a lab ------------------------------------------------------------------------------------------


def lab_of(world, course, system="shop"):
    """The document of a course, and what it asks for by name."""
    asks = asking(world, system)
    shop = asks.system.model_copy(update={"lab": Lab(course=course)})
    asks = replace(asks, system=shop)
    proofs = {proof.what: proof for exercise in lab.exercises(asks) for proof in exercise.proofs}
    return lab.document(asks), proofs


def test_the_lab_of_a_course_proves_what_was_done_and_names_what_was_not(world):
    report, proofs = lab_of(world, "monitoring-lab")
    assert report.name == "rapport_tp5"
    assert [one.title for one in report.sections][1:] == [
        "1. Start the stack",
        "2. Instrument the API",
        "3. Read Prometheus",
        "4. Show it on a dashboard",
        "5. Detect drift and decide",
    ]
    missing = {what: proof.missing for what, proof in proofs.items() if not proof.done}
    assert list(missing) == ["Grafana answers", "50 calls or more, counted on both sides"]
    assert (
        missing["50 calls or more, counted on both sides"].why == "The newest run had 36 good answers to 40 requests."
    )
    assert [gap.why for gap in report.gaps] == [gap.why for gap in missing.values()]
    assert walked(world, report) > 60
    assert world.drift["line"] in {block.text for block in blocks(report, Code)}
    names = {block.name for block in blocks(report, Picture)}
    assert {*(f"chart-query-{place}" for place in range(5)), "chart-rps", "drift-columns"} <= names
    kept_files = evidence(report)
    assert {
        f"evidence/{one}" for one in ("load/metrics_before.txt", "load/metrics_after.txt", "grafana/shop.json")
    } <= {*kept_files}
    assert len([name for name in kept_files if name.startswith("evidence/drift/")]) == 3


@pytest.mark.parametrize(("system", "count"), [("shop", 4), ("own", 4)])
def test_anyones_own_system_has_the_general_order(world, system, count):
    report, proofs = lab_of(world, "general", system)
    assert report.name == "lab"
    assert len(report.sections) == 1 + count
    missing = {what: proof.missing for what, proof in proofs.items() if not proof.done}
    assert set(missing) == {"50 calls or more, counted on both sides", *RULES_MISSING} or system == "own"
    assert walked(world, report) > 40
    line = [block.text for block in blocks(report, Code) if block.text.startswith("[Evidently]")]
    assert len(set(line)) == 1


# The rules on drift, which this Prometheus has not loaded.
RULES_MISSING = ("Alerting rules, each with condition, impact and action",)


# --- what is missing --------------------------------------------------------------------------------------------------


def section(report, title) -> Section:
    (one,) = [one for one in report.sections if one.title == title]
    return one


def tables(one):
    return [block for block in one.blocks if isinstance(block, Table)]


def blocks(report, kind):
    return [block for one in report.walk() for block in one.blocks if isinstance(block, kind)]


def said(one: Section) -> str:
    """All that a section says, its gaps and parts too."""
    texts = [one.title]
    for block in one.blocks:
        match block:
            case Text(text) | Code(text):
                texts.append(text)
            case Gap(why, step):
                texts += [why, step]
            case Table(heads, rows):
                texts += [*heads, *(getattr(cell, "shown", cell) for row in rows for cell in row)]
    return "\n".join([*texts, *(said(part) for part in one.parts)])


def gaps(one: Section) -> list[Gap]:
    return [block for part in (one, *one.parts) for block in part.blocks if isinstance(block, Gap)]


@pytest.fixture
def bare(tmp_path):
    """Settings of a home in which nothing ran, and where no Prometheus is."""
    environ = {"VIGIE_HOME": str(tmp_path / "home"), "HOME": str(tmp_path), "REPORT_DIR": str(tmp_path / "reports")}
    (tmp_path / "home").mkdir()
    return Settings.from_env(environ)


def system_of(settings, text, tmp_path):
    return parse_system(text, tmp_path / "shop.toml", settings)


TOML = SHOP.format(url="http://127.0.0.1:9", prometheus="http://127.0.0.1:9") + DRIFT.format(folder="/nowhere")


def test_without_anything_each_part_says_what_to_do(bare, tmp_path):
    now = time.time()
    report = monitoring.document(Asking(bare, system_of(bare, TOML, tmp_path), now - 600, now))
    assert [one.title for one in report.sections] == [title for title, _ in monitoring.parts()]
    for title in ("Targets", "Charts", "Load run", "Drift decision", "Alerts"):
        (gap,) = gaps(section(report, title))
        assert gap.why.endswith("."), gap
        assert gap.step, gap
    assert "connection refused" in gaps(section(report, "Targets"))[0].why
    assert "press Start" in gaps(section(report, "Load run"))[0].step
    assert "press Compare months" in gaps(section(report, "Drift decision"))[0].step
    assert "does not answer" in said(section(report, "Services and versions"))
    assert report.all_numbers == []


def test_a_system_file_that_names_little_says_what_to_add(bare, tmp_path):
    now = time.time()
    report = monitoring.document(Asking(bare, system_of(bare, 'title = "Bare"', tmp_path), now - 600, now))
    assert "[[panels]]" in gaps(section(report, "Charts"))[0].step
    assert "[request]" in gaps(section(report, "Load run"))[0].step
    assert "[drift]" in gaps(section(report, "Drift decision"))[0].step
    assert "python -m stack up" in gaps(section(report, "Services and versions"))[0].step


def test_prometheus_away_costs_only_what_it_knows(world):
    away = asking(world)
    table = away.system.prometheus.model_copy(update={"url": "http://127.0.0.1:9"})
    report = monitoring.document(replace(away, system=away.system.model_copy(update={"prometheus": table})))
    # Its runs are those of the service under another Prometheus: nothing here is of this source.
    assert {title for title in ("Targets", "Charts", "Alerts") if gaps(section(report, title))} == {
        "Targets",
        "Charts",
        "Alerts",
    }
    assert "RETRAINING_TRIGGERED" in said(section(report, "Drift decision"))


def test_a_prometheus_that_goes_away_in_the_middle_is_not_waited_for_by_each_question(world, monkeypatch):
    questions = []

    def silent(_self, expr, *_rest):
        questions.append(expr)
        return Answer.failed(DeadlineExceeded("no answer within 10 s.", hint="Ask less."))

    monkeypatch.setattr(Prometheus, "query", silent)
    monkeypatch.setattr(Prometheus, "query_range", silent)
    report = monitoring.document(asking(world))
    assert len(questions) == 1
    assert gaps(section(report, "Targets"))[0].why == "No answer within 10 s."
    assert gaps(section(report, "Charts"))[0].why == "No answer within 10 s."


def test_an_index_that_does_not_answer_costs_runs_alone_and_is_waited_for_once(world, monkeypatch):
    away, looks, real = asking(world), [], opening.ledger_of
    monkeypatch.setattr(opening, "ledger_of", lambda settings: looks.append(settings) or real(settings))
    lost = replace(away.settings, ledger_url="postgresql+psycopg://nobody:secret@127.0.0.1:9/none")
    report = monitoring.document(replace(away, settings=lost))
    for title in ("Load run", "Drift decision"):
        (gap,) = gaps(section(report, title))
        assert "secret" not in gap.why + gap.step
        assert gap.step
    assert blocks(report, Picture)
    # A damaged file is opened a second time.
    assert len(looks) == 2


def test_a_system_without_counter_has_its_pages_and_says_what_to_name(world):
    asks = asking(world)
    silent = asks.system.model_copy(update={"metrics": Metrics()})
    (raw,) = section(monitoring.document(replace(asks, system=silent)), "Load run").parts
    (gap,) = gaps(raw)
    assert "neither a request counter" in gap.why
    assert [one.name for one in raw.evidence] == ["load/metrics_before.txt", "load/metrics_after.txt"]


def test_a_range_before_the_first_scrape_is_unknown_and_not_zero(world):
    now = time.time()
    report = monitoring.document(replace(asking(world), since=now - 90_000, until=now - 86_400))
    walked(world, report)
    targets = [cell for table in tables(section(report, "Targets")) for row in table.rows for cell in row[3:]]
    assert {cell.value for cell in targets} == {None}
    assert not blocks(report, Picture)[:-1]
    assert all(gaps(part) for part in section(report, "Charts").parts)
    assert "No alert fired" in said(section(report, "Alerts"))
    assert gaps(section(report, "Load run"))
    # The newest comparison there is, and that it is not of the range.
    assert "No comparison was made in the range" in said(section(report, "Drift decision"))


def test_a_range_without_length_is_refused_in_words(world):
    report = monitoring.document(replace(asking(world), since=time.time() + 3600))
    assert "its start is not before its end" in gaps(section(report, "Charts"))[0].why


def test_a_load_run_without_kept_pages_says_what_to_click(world, tmp_path):
    folder = kept(world, world.load["run"])
    (folder / "metrics_before.txt").rename(tmp_path / "away")
    try:
        report = monitoring.document(asking(world))
    finally:
        (tmp_path / "away").rename(folder / "metrics_before.txt")
    (gap,) = gaps(section(report, "Load run"))
    assert "did not keep them" in gap.why
    assert "press Start once more" in gap.step


def test_a_comparison_whose_files_were_deleted_keeps_what_the_index_knows(world, tmp_path):
    run = world.drift["run"]
    with Ledger(world.settings.ledger_url) as ledger:
        path = ledger.get(run).path
        ledger.update(run, path="")
        try:
            report = monitoring.document(asking(world))
        finally:
            ledger.update(run, path=path)
    decision = section(report, "Drift decision")
    assert "were deleted" in gaps(decision)[0].why
    (numbers,) = [row[1] for row in tables(decision)[0].rows if row[0] == "share of drifted columns"]
    assert (numbers.value, numbers.origin) == (world.drift["share"], {"run": run, "column": "share"})


def test_a_damaged_result_is_a_gap_with_its_reason(world, tmp_path):
    for kind, title in (("load", "Load run"), ("drift", "Drift decision")):
        path = kept(world, getattr(world, kind)["run"]) / "result.json"
        whole = path.read_bytes()
        path.write_bytes(b"{")
        try:
            report = monitoring.document(asking(world))
        finally:
            path.write_bytes(whole)
        assert gaps(section(report, title))[0].why
        assert len(report.sections) == len(monitoring.parts())


def test_of_ten_thousand_runs_the_newest_counts(bare, tmp_path):
    now = time.time()
    system = system_of(bare, TOML, tmp_path)
    source = columns_of(source_of(bare, system, "load"))
    rows = [
        row_of(Run(f"20240229T140532Z-{n:06x}", "load", "shop", "k", State.DONE, now - n / 100, **source))
        for n in range(10_000)
    ]
    with Ledger(bare.ledger_url) as ledger, ledger._write() as connection:
        connection.execute(RUNS.insert(), rows)
    runs, total = Asking(bare, system, now - 600, now + 1).runs("load", (State.DONE,))
    assert (len(runs), total, runs[0].id) == (MOST_RUNS, 10_000, "20240229T140532Z-000000")
    report = monitoring.document(Asking(bare, system, now - 600, now + 1))
    assert "No load run" in said(section(report, "Load run"))


def test_a_part_that_fails_costs_no_other(bare, tmp_path, monkeypatch):
    monkeypatch.setattr("app.report.stack.targets", lambda _: 1 / 0)
    now = time.time()
    report = monitoring.document(Asking(bare, system_of(bare, TOML, tmp_path), now - 600, now))
    assert gaps(section(report, "Targets"))[0].why == "This part could not be written (ZeroDivisionError)."
    assert len(report.sections) == len(monitoring.parts())


# --- the pages that a load run keeps ------------------------------------------------------------------------------------


def test_of_a_long_page_the_systems_own_lines_are_kept(bare, tmp_path):
    system = system_of(bare, TOML, tmp_path)
    page = "# TYPE api_requests_total counter\napi_requests_total 5\n" + 'other{x="1"} 1\n' * 60_000
    page += "# HELP api_request_latency_seconds l\napi_request_latency_seconds_count 5\napi_requests_total_more 1\n"
    readings.keep(tmp_path, system, page.encode(), b"")
    text = readings.read(tmp_path, readings.BEFORE).decode()
    assert text.splitlines()[1:] == [
        "# TYPE api_requests_total counter",
        "api_requests_total 5",
        "# HELP api_request_latency_seconds l",
        "api_request_latency_seconds_count 5",
    ]
    assert f"the page had {len(page)} characters" in text
    assert readings.read(tmp_path, readings.AFTER) is None
    own = "".join(f'api_requests_total{{user="{n}"}} 1\n' for n in range(50_000))
    readings.keep(tmp_path, system, own.encode(), b"x 1\n")
    assert len(readings.read(tmp_path, readings.BEFORE)) <= readings.MAX_TEXT_BYTES + 200
    assert readings.read(tmp_path, readings.AFTER) == b"x 1\n"


def test_of_many_lines_those_that_moved_are_shown(world, tmp_path):
    folder = kept(world, world.load["run"])
    whole = {name: (folder / name).read_bytes() for name in ("metrics_before.txt", "metrics_after.txt")}
    still = "".join(f'api_requests_total{{endpoint="/other",status="{n}"}} 0.0\n' for n in range(100)).encode()
    try:
        for name, data in whole.items():
            (folder / name).write_bytes(still + data)
        report = monitoring.document(asking(world))
    finally:
        for name, data in whole.items():
            (folder / name).write_bytes(data)
    (raw,) = section(report, "Load run").parts
    before, after = (block.text for block in raw.blocks if isinstance(block, Code))
    assert "/other" not in before + after
    assert 'api_requests_total{endpoint="/predict",status="200"} 1036.0' in after.splitlines()
    assert 'api_request_latency_seconds_count{endpoint="/predict"} 40.0' in after.splitlines()
    assert "more lines" in said(raw)


def test_a_page_that_cannot_be_kept_costs_nothing_else(bare, tmp_path):
    readings.keep(tmp_path / "gone", system_of(bare, TOML, tmp_path), b"x 1\n", b"x 2\n")
    assert readings.read(tmp_path / "gone", readings.BEFORE) is None
