"""Export: rules that Prometheus takes and that fire when they should, files that follow the system files."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from app.cli import main
from app.config import Settings, load_systems
from app.config.system import Alert, System
from app.errors import ConfigError
from app.export import dashboard_json, rules_file, rules_of
from tests.catalogue import code

ROOT = Path(__file__).resolve().parents[1]
RULES = ROOT / "stack" / "prometheus" / "alerts.yml"
DASHBOARDS = ROOT / "stack" / "grafana" / "provisioning" / "dashboards" / "json"


def shipped() -> dict[str, System]:
    """The systems of the checkout, whatever this user has of their own."""
    settings = replace(Settings.from_env({}), systems_dirs=(ROOT / "app" / "systems",))
    systems = load_systems(settings)
    assert systems.broken == ()
    return dict(systems.by_id)


def system(**more) -> System:
    return System.model_validate({"id": "mine", "title": "Mine", **more})


# --- committed files --------------------------------------------------------------------------------------------------


def test_the_committed_rules_are_those_of_the_system_files():
    again = "python -m app export rules stack/prometheus"
    assert RULES.read_text() == rules_file(shipped().values()), again


def test_the_committed_dashboards_are_those_of_the_system_files():
    systems = shipped()
    assert sorted(path.name for path in DASHBOARDS.iterdir()) == sorted(f"{name}.json" for name in systems)
    for name, one in systems.items():
        again = "python -m app export dashboards stack/grafana/provisioning/dashboards/json"
        assert (DASHBOARDS / f"{name}.json").read_text() == dashboard_json(one), again


def test_a_chosen_language_is_that_of_the_files_in_every_text_and_of_nothing_that_is_asked(tmp_path, environ, capsys):
    french, texts = tmp_path / "fr", set(code((), ROOT).texts)
    for what in ("rules", "dashboards"):
        assert main(["--lang", "fr", "export", what, str(french), "--json"], environ) == 0
    english_rules, rules = (yaml.safe_load((folder / "alerts.yml").read_text()) for folder in (RULES.parent, french))
    for before, after in zip(english_rules["groups"], rules["groups"], strict=True):
        for old, new in zip(before["rules"], after["rules"], strict=True):
            assert {**old, "annotations": None} == {**new, "annotations": None}
            assert all(new["annotations"][name] != text for name, text in old["annotations"].items())
    for path in DASHBOARDS.iterdir():
        before, after = (json.loads((folder / path.name).read_text()) for folder in (DASHBOARDS, french))
        assert _asked(before) == _asked(after)
        # Products and signs are called the same in both.
        stay = {"StreamFlow churn", "HTTP", "API", "PSI", "p50", "p95", "p99", "predictions"}
        words = {text for text in _words(after) if text in texts or "window" in text or "rate interval" in text}
        assert words <= stay


def _asked(value, key=""):
    """All of a dashboard but its texts."""
    if isinstance(value, dict):
        texts = ("title", "description", "legendFormat", "noValue", "name")
        return {name: _asked(item, name) for name, item in value.items() if name not in texts}
    return [_asked(item) for item in value] if isinstance(value, list) else value


def _words(value):
    """Its titles, descriptions and legends."""
    if isinstance(value, dict):
        texts = ("title", "description", "legendFormat", "noValue")
        yield from (value[name] for name in texts if name in value)
        value = list(value.values())
    for item in value if isinstance(value, list) else ():
        yield from _words(item)


# --- rules ------------------------------------------------------------------------------------------------------------


def test_every_alert_carries_severity_system_condition_impact_and_action():
    groups = yaml.safe_load(RULES.read_text())["groups"]
    assert [group["name"] for group in groups] == list(shipped())
    for group in groups:
        for rule in group["rules"]:
            assert rule["labels"] == {"severity": rule["labels"]["severity"], "system": group["name"]}
            assert rule["labels"]["severity"] in ("info", "warning", "critical")
            assert set(rule["annotations"]) == {"condition", "impact", "action"}, rule["alert"]
            assert re.fullmatch(r"\d+[smh]", rule["for"])


def test_the_four_alerts_of_f1pa_have_the_bounds_of_its_document():
    rules = {rule.alert: rule for rule in rules_of(shipped()["f1pa"])}
    bounds = {
        "HighPredictionLatency": ("> 1", "5m"),
        "ModelNotLoaded": ('f1pa_model_loaded{job="f1pa_api"} == 0', "1m"),
        "DatabaseDisconnected": ('f1pa_database_connected{job="f1pa_api"} == 0', "2m"),
        "HighPredictionErrorRate": ("> 0.05", "5m"),
    }  # fmt: skip
    for name, (end, for_) in bounds.items():
        assert rules[name].expr.endswith(end)
        assert rules[name].for_ == for_
    # A percentage has a denominator: the document's own rule was errors a second.
    assert " / (" in rules["HighPredictionErrorRate"].expr


@pytest.mark.parametrize("name", list(shipped()))
def test_a_system_with_drift_has_exactly_one_rule_on_it(name):
    asked = [rule for rule in rules_of(shipped()[name]) if re.search("vigie_drift_share|data_drift_score", rule.expr)]
    assert len(asked) == 1


def test_a_gauge_without_a_rule_of_its_own_gets_one_with_the_threshold():
    gauge = {"source": "gauge", "expr": "my_drift{$selector}", "threshold": 0.25}
    (rule,) = rules_of(system(drift=gauge, prometheus={"selector": 'job="x"'}))
    assert rule.expr == '(my_drift{job="x"}) >= 0.25'


def test_a_threshold_stands_in_its_rule_to_the_last_digit():
    gauge = {"source": "gauge", "expr": "a", "threshold": 0.1 + 0.2}
    assert rules_of(system(drift=gauge))[0].expr == "(a) >= 0.30000000000000004"
    files = {"source": "files", "path": "{period}.csv", "target_threshold": 1 / 3}
    assert " >= 0.3333333333333333 and " in rules_of(system(drift=files))[1].expr


def test_drift_has_a_rule_for_each_way_to_decide():
    files = {"source": "files", "path": "{period}.csv"}
    alerts = [(rule.alert, rule.labels["severity"]) for rule in rules_of(system(drift=files))]
    assert alerts == [("DataDrift", "warning"), ("DriftUndecided", "info")]
    alerts = [rule.alert for rule in rules_of(system(drift=files | {"target_threshold": 0.02}))]
    assert alerts == ["DataDrift", "TargetDrift", "DriftUndecided"]


def test_a_rule_of_the_file_on_the_same_gauge_replaces_the_generated_one():
    files = {"source": "files", "path": "{period}.csv"}
    own = {"name": "Mine", "expr": 'vigie_drift_share{system="mine"} > 0.5'}
    assert [rule.alert for rule in rules_of(system(drift=files, alerts=[own]))] == ["Mine", "DriftUndecided"]


@pytest.mark.parametrize(
    ("value", "decision", "fires"),
    [
        (0.02, "RETRAINING_TRIGGERED", True),
        (0.0199, "RETRAINING_TRIGGERED", False),
        (0.5, "UNDECIDED", False),
        (0.02, "NO_ACTION", False),
    ],
)
def test_target_drift_fires_at_its_threshold_and_never_against_the_decision(promtool, tmp_path, value, decision, fires):
    files = {"source": "files", "path": "{period}.csv", "target_threshold": 0.02}
    (tmp_path / "alerts.yml").write_text(rules_file([system(drift=files)]))
    rules = {rule.alert: rule for rule in rules_of(system(drift=files))}
    verdicts = ("RETRAINING_TRIGGERED", "NO_ACTION", "UNDECIDED")
    series = [("vigie_target_drift", 'system="mine", job="console"', value)]
    series += [
        ("vigie_decision", f'system="mine", job="console", decision="{one}"', int(one == decision)) for one in verdicts
    ]

    def expected(alert, **labels):
        rule = rules[alert]
        full = {"system": "mine", "job": "console"} | labels | dict(rule.labels)
        return {"exp_labels": full, "exp_annotations": dict(rule.annotations)}

    moments = [
        ("TargetDrift", [expected("TargetDrift")] if fires else []),
        ("DriftUndecided", [expected("DriftUndecided", decision=decision)] if decision == "UNDECIDED" else []),
    ]
    case = {
        "interval": "10s",
        "input_series": [
            {"series": f"{name}{{{labels}}}", "values": f"{number}x30"} for name, labels, number in series
        ],
        "alert_rule_test": [{"eval_time": "1m", "alertname": name, "exp_alerts": full} for name, full in moments],
    }
    unit_test(promtool, tmp_path, [case])


def test_a_gauge_expression_that_ends_in_a_comment_keeps_its_bracket(promtool, tmp_path):
    gauge = {"source": "gauge", "expr": "max(a) or b # of both", "threshold": 1}
    (tmp_path / "alerts.yml").write_text(rules_file([system(drift=gauge)]))
    done = subprocess.run([promtool, "check", "rules", tmp_path / "alerts.yml"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_system_without_alerts_and_drift_has_no_group():
    assert yaml.safe_load(rules_file([system()])) == {"groups": []}


def test_placeholders_of_a_rule_are_filled():
    alert = {"name": "A", "expr": "rate(a{$selector}[$window]) > 0 or rate(b[$rate_interval]) or c[$range:]"}
    (rule,) = rules_of(system(alerts=[alert]))
    assert rule.expr == 'rate(a{job="api"}[5m]) > 0 or rate(b[1m]) or c[1h:]'


@pytest.mark.parametrize("make", [rules_of, dashboard_json], ids=["rules", "dashboard"])
def test_an_unknown_placeholder_names_file_and_key(make):
    broken = system(alerts=[{"name": "A", "expr": "up{$job}"}], panels=[{"id": "p", "title": "P", "expr": "up{$job}"}])
    with pytest.raises(ConfigError, match=r"mine\.toml: key (alerts\.A|panels\.p)\.expr: \$job is unknown"):
        make(broken)


@given(st.text(st.characters(codec="utf-8"), max_size=80))
def test_any_sentence_comes_back_from_the_rules_file_as_it_was(text):
    alert = Alert.model_validate({"name": "A", "expr": "up", "impact": text})
    (rule,) = rules_of(system(alerts=[alert]))
    written = yaml.safe_load(rules_file([system(alerts=[alert])]))["groups"][0]["rules"][0]
    assert written.get("annotations", {}).get("impact", "") == rule.annotations.get("impact", "")


def test_braces_in_a_sentence_are_no_template(promtool, tmp_path):
    alert = {"name": "A", "expr": "up", "for": "0m", "impact": "{{ .Nothing }} of 5 %", "severity": "info"}
    (tmp_path / "alerts.yml").write_text(rules_file([system(alerts=[alert])]))
    expected = {"exp_labels": {"severity": "info", "system": "mine"}, "exp_annotations": {"impact": alert["impact"]}}
    case = {
        "interval": "1m",
        "input_series": [{"series": "up", "values": "1 1"}],
        "alert_rule_test": [{"eval_time": "1m", "alertname": "A", "exp_alerts": [expected]}],
    }
    unit_test(promtool, tmp_path, [case])


# --- promtool ---------------------------------------------------------------------------------------------------------


def unit_test(promtool: Path, folder: Path, cases: list[dict]) -> None:
    """Run `promtool test rules` on the file alerts.yml of a folder."""
    test = {"rule_files": [str(folder / "alerts.yml")], "evaluation_interval": "10s", "tests": cases}
    (folder / "test.yml").write_text(yaml.safe_dump(test))
    done = subprocess.run([promtool, "test", "rules", folder / "test.yml"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


def test_promtool_takes_the_committed_rules_and_configuration(promtool, tmp_path):
    # promtool looks for the file of the bearer, which Compose mounts into the container.
    token = tmp_path / "token"
    token.write_text("a token of Compose")
    text = RULES.with_name("prometheus.yml").read_text()
    assert "/run/secrets/vigie_token" in text
    shutil.copy(RULES, tmp_path)
    config = tmp_path / "prometheus.yml"
    config.write_text(text.replace("/run/secrets/vigie_token", str(token)))
    for kind, file in (("rules", RULES), ("config", config)):
        done = subprocess.run([promtool, "check", kind, file], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stdout + done.stderr


F1 = 'job="f1pa_api"'
API = 'job="api"'


def steady(metric: str, labels: str, start: float, step: float) -> tuple[str, str]:
    return f"{metric}{{{labels}}}", f"{start}+{step}x120"


def histogram(metric: str, labels: str, slow: bool) -> list[tuple[str, str]]:
    """Two requests a scrape, all between 0.5 and 1 s, or all between 1 and 2.5 s."""
    return [
        steady(f"{metric}_bucket", f'{labels}, le="0.5"', 0, 0),
        steady(f"{metric}_bucket", f'{labels}, le="1.0"', 0, 0 if slow else 2),
        steady(f"{metric}_bucket", f'{labels}, le="2.5"', 0, 2),
        steady(f"{metric}_bucket", f'{labels}, le="+Inf"', 0, 2),
    ]


ERRORS, ANSWERED = "f1pa_prediction_errors_total", "f1pa_predictions_total"
# alert, system, series, minute from which it fires (None: never), and a minute at which it is still pending.
CASES = {
    "slow predictions": ("HighPredictionLatency", "f1pa", histogram("f1pa_prediction_duration_seconds", F1, True), 6),
    "fast predictions": (
        "HighPredictionLatency",
        "f1pa",
        histogram("f1pa_prediction_duration_seconds", F1, False),
        None,
    ),
    "no model": ("ModelNotLoaded", "f1pa", [steady("f1pa_model_loaded", F1, 0, 0)], 1),
    "a model": ("ModelNotLoaded", "f1pa", [steady("f1pa_model_loaded", F1, 1, 0)], None),
    "no database": ("DatabaseDisconnected", "f1pa", [steady("f1pa_database_connected", F1, 0, 0)], 2),
    "a database": ("DatabaseDisconnected", "f1pa", [steady("f1pa_database_connected", F1, 1, 0)], None),
    # 10 % of predictions fail, at far less than 5 errors in 100 seconds: the document's own rule would stay silent.
    "a tenth of predictions fails": (
        "HighPredictionErrorRate",
        "f1pa",
        [steady(ERRORS, F1, 0, 0.1), steady(ANSWERED, F1, 0, 0.9)],
        6,
    ),
    # 2 % fail at a high rate: 2 errors a second would have fired it.
    "many errors among far more answers": (
        "HighPredictionErrorRate",
        "f1pa",
        [steady(ERRORS, F1, 0, 20), steady(ANSWERED, F1, 0, 980)],
        None,
    ),
    "errors in two kinds of prediction": (
        "HighPredictionErrorRate",
        "f1pa",
        [
            steady(ERRORS, f'{F1}, endpoint_type="single"', 0, 1),
            steady(ANSWERED, f'{F1}, endpoint_type="single"', 0, 9),
            steady(ANSWERED, f'{F1}, endpoint_type="batch"', 0, 990),
        ],
        None,
    ),
    "slow answers": ("HighPredictionLatency", "streamflow", histogram("api_request_latency_seconds", API, True), 6),
    "fast answers": ("HighPredictionLatency", "streamflow", histogram("api_request_latency_seconds", API, False), None),
    "the API is gone": ("ApiDown", "streamflow", [steady("up", f'{API}, instance="api:8000"', 0, 0)], 1),
    "another job is gone": ("ApiDown", "streamflow", [steady("up", 'job="console"', 0, 0)], None),
    "drift at the threshold": (
        "DataDrift",
        "streamflow",
        [
            steady("vigie_drift_share", 'system="streamflow", job="console"', 0.3, 0),
            steady("vigie_drift_threshold", 'system="streamflow", job="console"', 0.3, 0),
        ],
        0,
    ),
    "drift below it": (
        "DataDrift",
        "streamflow",
        [
            steady("vigie_drift_share", 'system="streamflow", job="console"', 0.0625, 0),
            steady("vigie_drift_threshold", 'system="streamflow", job="console"', 0.3, 0),
        ],
        None,
    ),
    "a threshold of another system": (
        "DataDrift",
        "f1pa",
        [
            steady("vigie_drift_share", 'system="f1pa", job="console"', 0.5, 0),
            steady("vigie_drift_threshold", 'system="streamflow", job="console"', 0.3, 0),
        ],
        None,
    ),
    "a drift score": ("DiabetesDataDrift", "diabetes", [steady("data_drift_score", 'job="fastapi"', 0.2, 0)], 2),
    "a low drift score": ("DiabetesDataDrift", "diabetes", [steady("data_drift_score", 'job="fastapi"', 0.1, 0)], None),
}


@pytest.mark.parametrize("case", list(CASES))
def test_a_committed_rule_fires_when_it_should_and_not_before(promtool, tmp_path, case):
    alert, name, series, fires = CASES[case]
    (tmp_path / "alerts.yml").write_text(RULES.read_text())
    rule = next(rule for rule in rules_of(shipped()[name]) if rule.alert == alert)

    def at(minute: int, firing: bool) -> dict:
        labels = re.findall(r'(\w+)="([^"]*)"', series[0][0]) if "sum" not in rule.expr else []
        expected = {"exp_labels": dict(labels) | dict(rule.labels), "exp_annotations": dict(rule.annotations)}
        return {"eval_time": f"{minute}m", "alertname": alert, "exp_alerts": [expected] if firing else []}

    moments = [at(15, fires is not None)]
    if fires:
        moments = [at(fires - 1, False), at(fires, True), *moments]
    test = {
        "interval": "10s",
        "input_series": [{"series": one, "values": values} for one, values in series],
        # Both systems have a rule called HighPredictionLatency: only series of this one exist here.
        "alert_rule_test": moments,
    }
    unit_test(promtool, tmp_path, [test])


# --- the command ------------------------------------------------------------------------------------------------------


@pytest.fixture
def environ(tmp_path):
    (tmp_path / "systems").mkdir()
    return {"HOME": str(tmp_path), "VIGIE_HOME": str(tmp_path / "home"), "VIGIE_SYSTEMS": str(tmp_path / "systems")}


def test_the_command_writes_a_service_of_the_users_own_as_well(capsys, environ, tmp_path):
    (tmp_path / "systems" / "mine.toml").write_text(
        'title = "Mine"\n[[panels]]\nid = "up"\ntitle = "Up"\nexpr = "up{$selector}"\n'
        '[[alerts]]\nname = "Gone"\nexpr = "up{$selector} == 0"\n'
    )
    assert main(["export", "dashboards", str(tmp_path / "new" / "d")], environ) == 0
    assert main(["export", "rules", str(tmp_path / "r")], environ) == 0
    names = [*shipped(), "mine"]
    assert {path.stem for path in (tmp_path / "new" / "d").iterdir()} == set(names)
    groups = yaml.safe_load((tmp_path / "r" / "alerts.yml").read_text())["groups"]
    assert {group["name"] for group in groups} == set(names)
    assert capsys.readouterr().out.splitlines()[-1] == str(tmp_path / "r" / "alerts.yml")


def test_a_broken_system_file_is_said_and_hides_no_other(capsys, environ, tmp_path):
    (tmp_path / "systems" / "broken.toml").write_text("title = 1\n")
    assert main(["export", "rules", str(tmp_path / "r"), "--json"], environ) == 1
    out, err = capsys.readouterr()
    printed = json.loads(out)
    assert printed["written"] == [str(tmp_path / "r" / "alerts.yml")]
    assert "broken.toml" in printed["broken"][0]["message"]
    assert "broken.toml" in err
    assert len(yaml.safe_load((tmp_path / "r" / "alerts.yml").read_text())["groups"]) == len(shipped())


def test_one_system_can_be_chosen_and_an_unknown_one_is_named(capsys, environ, tmp_path):
    assert main(["export", "dashboards", str(tmp_path / "d"), "--system", "f1pa"], environ) == 0
    assert [path.name for path in (tmp_path / "d").iterdir()] == ["f1pa.json"]
    assert main(["export", "dashboards", str(tmp_path / "d"), "--system", "nobody"], environ) == 1
    assert "'nobody'" in capsys.readouterr().err


def test_a_folder_that_cannot_be_written_is_an_error_in_words(capsys, environ, tmp_path):
    (tmp_path / "file").write_text("")
    assert main(["export", "rules", str(tmp_path / "file" / "below")], environ) == 1
    assert "cannot be written" in capsys.readouterr().err
