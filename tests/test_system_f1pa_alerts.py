"""The four alerts of F1PA on made-up series, judged by Prometheus' own rule tester."""

import os
import subprocess

import pytest
import yaml

from app.config import Settings, load_systems
from app.prometheus.promql import fill
from tests.conftest import absent

JOB = 'job="f1pa_api", instance="x"'
# Long enough for a rate over 5 minutes and 5 minutes of patience.
STEPS = 80
INTERVAL = "15s"


@pytest.fixture(scope="module")
def system(tmp_path_factory):
    home = tmp_path_factory.mktemp("home")
    return load_systems(Settings.from_env({"VIGIE_HOME": str(home), "HOME": str(home)})).by_id["f1pa"]


@pytest.fixture(scope="module")
def promtool(prometheus_binary):
    program = prometheus_binary.with_name("promtool")
    if not os.access(program, os.X_OK):
        absent("this Prometheus comes without promtool")
    return program


def counter(name, per_second, labels=""):
    return {"series": f"{name}{{{JOB}{labels}}}", "values": f"0+{per_second * 15}x{STEPS}"}


def gauge(name, value):
    return {"series": f"{name}{{{JOB}}}", "values": f"{value}x{STEPS}"}


def traffic(good, bad):
    kind = ', endpoint_type="single"'
    return [
        counter("f1pa_predictions_total", good, kind),
        counter("f1pa_prediction_errors_total", bad, kind),
        counter("f1pa_predictions_total", 0, ', endpoint_type="batch"'),
        counter("f1pa_prediction_errors_total", 0, ', endpoint_type="batch"'),
    ]


def slow(share):
    """Predictions of which `share` take between 1 s and 2.5 s."""
    name, kind = "f1pa_prediction_duration_seconds_bucket", ', endpoint_type="single", le="'
    edges = (("1.0", 10 * (1 - share)), ("2.5", 10), ("+Inf", 10))
    return [counter(name, per_second, kind + edge + '"') for edge, per_second in edges]


def firing(system, promtool, tmp_path, series, at):
    """Names of the alerts that fire at a moment, as promtool finds them."""
    rules = [
        {"alert": one.name, "expr": fill(one.expr, selector=system.prometheus.selector), "for": one.for_}
        for one in system.alerts
    ]
    (tmp_path / "rules.yml").write_text(yaml.safe_dump({"groups": [{"name": "f1pa", "rules": rules}]}))
    found = set()
    for alert in system.alerts:
        # promtool compares: an expectation of none fails exactly when the alert fires.
        test = {"interval": INTERVAL, "input_series": series}
        test["alert_rule_test"] = [{"eval_time": at, "alertname": alert.name, "exp_alerts": []}]
        content = {"rule_files": ["rules.yml"], "evaluation_interval": INTERVAL, "tests": [test]}
        (tmp_path / "test.yml").write_text(yaml.safe_dump(content))
        done = subprocess.run(
            [promtool, "test", "rules", "test.yml"], cwd=tmp_path, capture_output=True, text=True, timeout=60
        )
        if done.returncode:
            assert f"alertname: {alert.name}, time:" in done.stdout + done.stderr, done.stdout + done.stderr
            found.add(alert.name)
    return found


@pytest.mark.parametrize(
    ("series", "at", "expected"),
    [
        (traffic(10, 1), "12m", {"HighPredictionErrorRate"}),
        # Two failures a second, but 2 % of the predictions: errors a second alone would have fired.
        (traffic(98, 2), "12m", set()),
        (traffic(0.01, 0.01), "12m", {"HighPredictionErrorRate"}),
        (traffic(10, 1), "4m", set()),
        (traffic(0, 0), "12m", set()),
        (slow(0.1), "12m", {"HighPredictionLatency"}),
        (slow(0.01), "12m", set()),
        (slow(0.1), "4m", set()),
        ([gauge("f1pa_model_loaded", 0)], "90s", {"ModelNotLoaded"}),
        ([gauge("f1pa_model_loaded", 0)], "45s", set()),
        ([gauge("f1pa_model_loaded", 1)], "12m", set()),
        ([gauge("f1pa_database_connected", 0)], "90s", set()),
        ([gauge("f1pa_database_connected", 0)], "150s", {"DatabaseDisconnected"}),
        ([gauge("f1pa_mlflow_connected", 0)], "12m", set()),
    ],
)
def test_each_alert_fires_when_its_condition_says_and_not_before(system, promtool, tmp_path, series, at, expected):
    assert firing(system, promtool, tmp_path, series, at) == expected
