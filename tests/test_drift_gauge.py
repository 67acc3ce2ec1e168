"""A drift gauge decided on without Evidently: value, threshold, the lines, and every way of not knowing."""

from urllib.parse import unquote_plus

import numpy as np
import pytest

from app.config import Settings, load_systems
from app.drift.gauge import judge, look
from app.errors import DataError, Unreachable
from app.prometheus import Answer, Prometheus, Series, State
from tests.http_fakes import answer, serve


def one(value):
    series = Series({}, np.array([1.0]), np.array([value]))
    return Answer(State.OK, (series,), total_series=1)


@pytest.mark.parametrize(
    ("value", "decision", "line"),
    [
        (0.05, "NO_ACTION", "drift_share=0.05 -> NO_ACTION drift_share=0.05 < 0.20 (target_drift=NaN)"),
        (0.2, "RETRAINING_TRIGGERED", "drift_share=0.20 -> RETRAINING_TRIGGERED (SIMULÉ) drift_share=0.20 >= 0.20"),
        (0.1999999, "NO_ACTION", "drift_share=0.20 -> NO_ACTION drift_share=0.20 < 0.20"),
        (7.0, "RETRAINING_TRIGGERED", "drift_share=7.00 ->"),
    ],
)
def test_the_gauge_triggers_at_its_threshold_and_prints_the_contracts_line(value, decision, line):
    judgement = judge("diabetes", one(value), 0.2)
    assert judgement.decision == decision
    assert judgement.line.startswith("[Evidently] report_html=- report_json=- ")
    assert line in judgement.line
    assert judgement.value == value


@pytest.mark.parametrize(
    "unknown",
    [
        Answer(State.EMPTY, reason="no series matches", hint="Check metric name."),
        Answer.failed(Unreachable("nothing listens", hint="Start it.")),
        one(float("nan")),
        Answer(State.OK, (one(1.0).series[0], one(2.0).series[0]), total_series=2),
    ],
)
def test_a_gauge_without_one_number_is_undecided_with_a_reason_and_never_zero(unknown):
    judgement = judge("diabetes", unknown, 0.2)
    assert (judgement.decision, judgement.value) == ("UNDECIDED", None)
    assert "no value" in judgement.reason
    assert "drift_share=NaN -> UNDECIDED" in judgement.line
    assert "\n" not in judgement.line


def test_a_look_asks_prometheus_with_the_systems_selector(tmp_path):
    system = load_systems(Settings.from_env({"VIGIE_HOME": str(tmp_path), "HOME": str(tmp_path)})).by_id["diabetes"]
    body = b'{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[1,"0.31"]}]}}'
    with serve(answer(body)) as fake:
        judgement = look(Prometheus(fake.url), system)
    asked = unquote_plus(fake.requests[0].decode())
    assert f"data_drift_score{{{system.prometheus.selector}}}" in asked
    assert judgement.decision == "RETRAINING_TRIGGERED"
    assert judgement.value == 0.31


@pytest.mark.parametrize(
    ("count", "words", "missing"),
    [
        ("100", "has no value yet: the service needs 200 predictions, has 100.", 100),
        ("0", "needs 200 predictions, has 0.", 200),
        ("199", "needs 200 predictions, has 199.", 1),
        ("200", "the drift gauge has no value: ", None),
        (None, "the drift gauge has no value: ", None),
    ],
)
def test_a_gauge_that_is_short_of_predictions_says_how_many_it_needs_and_has(tmp_path, count, words, missing):
    """The system file names both; what the count does not explain keeps the reason that Prometheus gives."""
    system = load_systems(Settings.from_env({"VIGIE_HOME": str(tmp_path), "HOME": str(tmp_path)})).by_id["diabetes"]

    def reply(client, request):
        series = b""
        if b"data_drift_window_requests" in request and count is not None:
            series = b'{"metric":{},"value":[1,"%s"]}' % count.encode()
        body = b'{"status":"success","data":{"resultType":"vector","result":[' + series + b"]}}"
        answer(body)(client, request)

    with serve(reply) as fake:
        judgement = look(Prometheus(fake.url), system)
    assert (judgement.decision, judgement.value, judgement.missing) == ("UNDECIDED", None, missing)
    assert words in judgement.reason
    assert judgement.line.endswith(judgement.reason)


def test_a_system_without_a_gauge_says_so(tmp_path):
    system = load_systems(Settings.from_env({"VIGIE_HOME": str(tmp_path), "HOME": str(tmp_path)})).by_id["streamflow"]
    with pytest.raises(DataError, match="no drift gauge"):
        look(Prometheus("http://127.0.0.1:9"), system)
