"""Drift that alerts: one run says the same wherever it is read, and the generated rules fire in a real Prometheus."""

import contextlib
import json
import os
import subprocess
import threading
import time
import urllib.request
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import urlencode

import numpy as np
import pandas as pd
import pytest
import uvicorn
import yaml
from prometheus_client.parser import text_string_to_metric_families
from starlette.applications import Starlette

from app import jobs
from app.config import Settings, load_systems
from app.drift.compare import read_scores
from app.drift.importing import import_report
from app.drift.request import job_args, job_key
from app.drift.result import Policy, Result
from app.errors import HostUnavailable
from app.export import rules_file
from app.routes import middleware, routes
from app.runs import reports
from app.runs.index import Ledger
from tests import warm
from tests.conftest import free_port
from tests.waiting import until

ROOT = Path(__file__).resolve().parents[1]
# Above Evidently's 1000 rows: distances with a threshold of 0.1, far above what chance does to these columns.
ROWS = 2500
FEATURES = [f"f{number:02d}" for number in range(14)]
DRIFT = """\
title = "{name}"
[drift]
source = "files"
path = "{folder}/{{period}}.parquet"
label = "label"
identifier = "user"
features = {features}
columns = "all"
"""
SYSTEMS = {
    "low": "threshold = 0.05\n",
    "high": "threshold = 0.30\n",
    "fine": 'threshold = 0.05\nleft_out = ["f13"]\nthresholds = { f00 = 0.95 }\nmethods = { f01 = "ks" }\n'
    "target_threshold = 0.005\n",
}
JANUARY, CALM, MOVED, SHORT, SAME = "2024-01-31", "2024-02-29", "2024-03-31", "2024-04-30", "2024-05-31"


def month(seed, moved=0, rows=ROWS, rate=0.3):
    """14 features, label and identifier; the first `moved` features stand one standard deviation higher."""
    random = np.random.default_rng(seed)
    data = pd.DataFrame({name: random.normal(10 + (n < moved), 1, rows) for n, name in enumerate(FEATURES)})
    data["label"] = (np.arange(rows) % 100 < 100 * rate).astype(int)
    data["user"] = [f"U{number:05d}" for number in range(rows)]
    return data


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Three systems on the same five months, and a job host with a warm worker."""
    folder = tmp_path_factory.mktemp("alerts")
    (folder / "systems").mkdir()
    (folder / "data").mkdir()
    for name, more in SYSTEMS.items():
        text = DRIFT.format(name=name, folder=folder / "data", features=json.dumps(FEATURES))
        (folder / "systems" / f"{name}.toml").write_text(text + more)
    frames = {
        JANUARY: month(1),
        CALM: month(2, moved=1),
        MOVED: month(3, moved=7, rate=0.31),
        SHORT: month(4, rows=5),
        SAME: month(5),
    }
    for key, frame in frames.items():
        frame.to_parquet(folder / "data" / f"{key}.parquet")
    environ = {name: text for name, text in os.environ.items() if not name.startswith(("VIGIE", "REPORT"))}
    environ |= {"VIGIE_HOME": str(folder / "home"), "VIGIE_SYSTEMS": str(folder / "systems"), "HOME": str(folder)}
    environ |= {"REPORT_DIR": str(folder / "reports")}
    settings = Settings.from_env(environ)
    host = warm.Command("app.jobs", "--parent-pipe", env=environ)
    try:
        until(lambda: answers(settings), "the job host")
        yield SimpleNamespace(settings=settings, environ=environ, folder=folder)
    finally:
        host.stdin.close()
        host.wait(120)


def answers(settings):
    with contextlib.suppress(HostUnavailable):
        return jobs.ping(settings)
    return None


def typed(world, system, cur, *more, ref=JANUARY):
    """What the command line prints with --json."""
    done = warm.run("app", "drift", "--system", system, "--ref", ref, "--cur", cur, "--json", *more, env=world.environ)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def compared(world, system, cur, threshold=None):
    """The result of a comparison that the job host ran."""
    policy = Policy.of(load_systems(world.settings).by_id[system].drift, threshold)
    key = job_key(load_systems(world.settings).by_id[system], JANUARY, cur, policy)
    run = jobs.run_and_wait(world.settings, "drift", system, key, job_args(JANUARY, cur, policy))
    assert run.state == "done", run.reason
    return Result.from_json(reports.read_file(Path(run.path), "result.json"))


@contextlib.contextmanager
def console(settings, port):
    """The console's own routes, as they are served; each time with an exporter that has read nothing yet."""
    app = Starlette(routes=routes(settings), middleware=middleware(settings))
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=port, log_level="warning"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        until(lambda: server.started, "the console to listen")
        yield
    finally:
        server.should_exit = True
        thread.join(10)


def gauges(settings, system):
    """Every sample of a system by name and its other labels, from an exporter that has just started."""
    port = free_port()
    with console(settings, port), urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=20) as answer:
        text = answer.read().decode()
    found = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = dict(sample.labels)
            if labels.pop("system", None) == system:
                found[sample.name, tuple(sorted(labels.items()))] = sample.value
    return found


def row(settings, run):
    with Ledger(settings.ledger_url) as ledger:
        return ledger.get(run)


def agree(world, system, said):
    """Hold command line, result.json, ledger and gauges of one run against each other; the result."""
    kept = row(world.settings, said["run"])
    result = Result.from_json(reports.read_file(Path(kept.path), "result.json"))
    raw = json.loads(reports.read_file(Path(kept.path), "result.json"))
    assert {name: said[name] for name in raw} == raw
    target = result.target_drift.value
    assert (kept.share, kept.threshold, kept.drifted, kept.counted, kept.target_drift, kept.outcome) == (
        result.share, result.policy.threshold, result.k, result.n, target, str(result.decision),
    )  # fmt: skip
    assert kept.own is True
    shown = gauges(world.settings, system)
    expected = {
        ("vigie_drift_share", ()): result.share,
        ("vigie_drift_threshold", ()): result.policy.threshold,
        ("vigie_target_drift", ()): target,
        ("vigie_drift_last_run_timestamp_seconds", ()): kept.finished,
        ("vigie_drift_columns", (("state", "drifted"),)): result.k,
        ("vigie_drift_columns", (("state", "compared"),)): sum(one.comparable for one in result.columns),
        ("vigie_drift_columns", (("state", "not_comparable"),)): sum(not one.comparable for one in result.columns),
    }
    for one in ("RETRAINING_TRIGGERED", "NO_ACTION", "UNDECIDED"):
        expected["vigie_decision", (("decision", one),)] = float(one == result.decision)
    for one in result.columns:
        if one.method is not None:
            expected["vigie_drift_column_score", (("column", one.name), ("method", one.method))] = one.score
        expected["vigie_drift_column_drifted", (("column", one.name),)] = one.drifted
    # Unknown is absent: neither zero nor NaN.
    assert shown == {key: value for key, value in expected.items() if value is not None}
    return result, shown


def test_a_run_says_the_same_on_the_command_line_in_its_files_in_the_ledger_and_in_the_gauges(world):
    said = typed(world, "high", MOVED)
    result, shown = agree(world, "high", said)
    assert (result.share, result.k, result.n, str(result.decision)) == (7 / 16, 7, 16, "RETRAINING_TRIGGERED")
    stem = f"drift_{JANUARY}_vs_{MOVED}"
    reading = read_scores(reports.read_file(Path(said["path"]), f"{stem}.json"))
    assert (reading.share, reading.drifted, reading.drift_share) == (7 / 16, 7, 0.3)
    scores = {labels[0][1]: value for (name, labels), value in shown.items() if name == "vigie_drift_column_score"}
    assert scores == {name: one.value for name, one in reading.scores.items()}
    assert len(scores) == 16
    assert said["line"].endswith(f"drift_share=0.44 >= 0.30 (target_drift={shown['vigie_target_drift', ()]!r})")


def test_a_run_that_decides_nothing_has_no_share_anywhere(world):
    said = typed(world, "high", SHORT)
    result, shown = agree(world, "high", said)
    assert (said["share"], said["k"], str(result.decision)) == (None, None, "UNDECIDED")
    names = {name for name, _ in shown}
    assert "vigie_drift_share" not in names
    assert shown["vigie_decision", (("decision", "UNDECIDED"),)] == 1
    assert "drift_share=NaN -> UNDECIDED" in said["line"]


def test_a_policy_with_every_key_is_known_again_as_the_systems_own(world):
    said = typed(world, "fine", MOVED)
    result, shown = agree(world, "fine", said)
    assert result.policy.left_out == ("f13",)
    assert not [labels for (name, labels) in shown if ("column", "f13") in labels]
    assert result.policy.thresholds == {"f00": 0.95}
    assert shown["vigie_drift_column_score", (("column", "f01"), ("method", "K-S p_value"))] < 0.05


def test_other_thresholds_captures_and_imports_move_no_gauge(world):
    compared(world, "high", MOVED)
    before = gauges(world.settings, "high")
    compared(world, "high", CALM, threshold=0.05)
    settings = world.settings
    system = load_systems(settings).by_id["high"]
    page = b"<!doctype html><html><head><title>Report</title></head><body>evidently</body></html>"
    assert import_report(settings, system, html=page, json=None, name="old").kind == "imported"
    pd.read_parquet(world.folder / "data" / f"{CALM}.parquet").to_parquet(
        world.folder / "data" / "capture-20240229T140532Z-1a2b3c.parquet"
    )
    captured = compared(world, "high", "capture-20240229T140532Z-1a2b3c")
    assert captured.share == 1 / 16
    assert gauges(settings, "high") == before


# --- the rules in Prometheus ------------------------------------------------------------------------------------------


@pytest.fixture
def prometheus(prometheus_binary, world, tmp_path):
    """A Prometheus that scrapes a console's port every second and judges the generated rules; (url, that port)."""
    systems = load_systems(world.settings).by_id
    (tmp_path / "alerts.yml").write_text(rules_file([systems[name] for name in SYSTEMS]))
    port, scraped = free_port(), free_port()
    config = {
        "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
        "rule_files": ["alerts.yml"],
        "scrape_configs": [{"job_name": "console", "static_configs": [{"targets": [f"127.0.0.1:{scraped}"]}]}],
    }
    (tmp_path / "prometheus.yml").write_text(yaml.safe_dump(config))
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            [prometheus_binary, "--config.file=prometheus.yml", "--storage.tsdb.path=data", f"--web.listen-address=127.0.0.1:{port}"],
            cwd=tmp_path, stdout=log, stderr=log,
        )  # fmt: skip
    try:
        yield f"http://127.0.0.1:{port}", scraped
    finally:
        process.terminate()
        process.wait(120)


def asked(url, path, **query):
    try:
        with urllib.request.urlopen(f"{url}/api/v1/{path}?{urlencode(query)}", timeout=5) as answer:
            return json.load(answer)["data"]
    except OSError:
        return {}


def scraped_since(url, moment):
    samples = asked(url, "query", query="min(timestamp(vigie_ledger_up))").get("result", [])
    return bool(samples) and float(samples[0]["value"][1]) >= moment


def judged_since(url, moment):
    # Written with nanoseconds, which pandas reads.
    evaluated = [pd.Timestamp(one["lastEvaluation"]).timestamp() for one in asked(url, "rules").get("groups", [])]
    return bool(evaluated) and min(evaluated) > moment


def firing(url):
    """The alerts that fire once everything up to now has been scraped and then judged, as `Alert system`."""
    now = time.time()
    until(lambda: scraped_since(url, now), "a scrape")
    now = time.time()
    until(lambda: judged_since(url, now), "an evaluation")
    return {
        f"{one['labels']['alertname']} {one['labels']['system']}"
        for one in asked(url, "alerts")["alerts"]
        if one["state"] == "firing"
    }


def test_after_the_calm_pair_the_rule_at_005_fires_and_the_one_at_030_does_not(world, prometheus):
    url, port = prometheus
    said = {name: compared(world, name, CALM) for name in ("low", "high")}
    assert {name: (one.share, str(one.decision)) for name, one in said.items()} == {
        "low": (0.0625, "RETRAINING_TRIGGERED"),
        "high": (0.0625, "NO_ACTION"),
    }
    with console(world.settings, port):
        calm = firing(url)
        assert "DataDrift low" in calm
        assert "DataDrift high" not in calm
    with console(world.settings, port):
        assert "DataDrift low" in firing(url), "an exporter that has just started knows the run from the ledger"
        compared(world, "low", MOVED, threshold=1.0)
        assert "DataDrift low" in firing(url), "another threshold says nothing for the system"
        assert compared(world, "low", SAME).decision == "NO_ACTION"
        assert "DataDrift low" not in firing(url)
        compared(world, "high", MOVED)
        compared(world, "low", SHORT)
        compared(world, "fine", MOVED)
        assert {"DataDrift high", "DriftUndecided low", "TargetDrift fine", "DataDrift fine"} <= firing(url)
        compared(world, "low", SAME)
        assert not {one for one in firing(url) if one.endswith(" low")}
