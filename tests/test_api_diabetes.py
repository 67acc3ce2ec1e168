"""The diabetes API through a real uvicorn: predictions, hostile requests, its counters and its own drift score."""

import ast
import concurrent.futures
import csv
import hashlib
import importlib.util
import itertools
import json
import math
import os
import pickle
import re
import shutil
import socket
import sys
import threading
import tomllib
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import requests

from app.config import Settings, load_systems
from app.exposition import parse
from app.load import payload
from app.load.counting import Meter
from app.load.plan import Plan, Shape
from tests import warm
from tests.conftest import diabetes_home
from tests.hostile_text import DOCUMENTS, TEXTS
from tests.waiting import until

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "stack" / "api" / "diabetes"
MAX_BODY = 64 * 1024
# The request of the documents.
PATIENT = {
    "Pregnancies": 1,
    "Glucose": 120,
    "BloodPressure": 70,
    "SkinThickness": 23,
    "Insulin": 94,
    "BMI": 33.6,
    "DiabetesPedigreeFunction": 0.627,
    "Age": 50,
}
SERIES = {
    *(("POST", status) for status in ("200", "422", "503", "405", "413", "499", "500")),
    *((method, status) for method in ("GET", "other") for status in ("405", "413", "499", "500")),
}


def patient(**changes):
    """The patient of the documents with some values as JSON text."""
    body = {name: json.dumps(value) for name, value in PATIENT.items()} | changes
    return ("{" + ", ".join(f'"{name}": {text}' for name, text in body.items() if text) + "}").encode()


# Bodies that break a service which hands them on unread: always tried.
HOSTILE = {
    "nothing": b"",
    "not json": b"Glucose=120",
    "null": b"null",
    "a list": b"[1, 120, 70, 23, 94, 33.6, 0.627, 50]",
    "an empty object": b"{}",
    "NaN": b"NaN",
    "NaN as glucose": patient(Glucose="NaN"),
    "Infinity as glucose": patient(Glucose="Infinity"),
    "minus Infinity as age": patient(Age="-Infinity"),
    "1e999 as insulin": patient(Insulin="1e999"),
    "a huge number": patient(Glucose="9" * 5000),
    "a huge exponent": patient(Glucose="1e-99999999999999999999"),
    "a text": patient(Glucose='"120"'),
    "a bool": patient(Pregnancies="true"),
    "a null": patient(BMI="null"),
    "a list as value": patient(BMI="[33.6]"),
    "a negative": patient(BMI="-0.1"),
    "far too much": patient(BMI="301"),
    "half a pregnancy": patient(Pregnancies="1.5"),
    "a feature missing": patient(Age=""),
    "a feature too many": patient(Outcome="1"),
    "a long key too many": patient(**{"k" * 20000: "1"}),
    "a lone surrogate": patient(Glucose='"\\ud800"'),
    "a lone surrogate as key": patient(**{"\\ud800": "1"}),
    "bad utf-8": b'{"Glucose": "\xff\xfe"}',
    "bad utf-8 as key": patient().replace(b'"Age"', b'"\xed\xa0\x80"'),
    "utf-16": patient().decode().encode("utf-16"),
    "deep lists": b"[" * 30000,
    "deep value": patient(Glucose="[" * 20000 + "]" * 20000),
    "many keys": patient(**{f"k{n}": "1" for n in range(4000)}),
    "cut off": patient()[:-5],
    "something after": patient() + b" x",
}
# A number so small that it is 0 is a number.
HARMLESS = {"a huge exponent"}


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return diabetes_home(tmp_path_factory)


@pytest.fixture(scope="module")
def rows(home):
    """The reference as request bodies."""
    with (home / "diabetes" / "reference.csv").open(newline="") as handle:
        return [{name: json.loads(row[name]) for name in PATIENT} for row in csv.DictReader(handle)]


@pytest.fixture(scope="module")
def service():
    """The service's module, loaded from its file as uvicorn does."""
    spec = importlib.util.spec_from_file_location("diabetes_service", FOLDER / "service.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


class Server:
    """A uvicorn of our own on a free port, started as the stack starts it."""

    def __init__(self, data, log, **environment):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = log
        env = {**os.environ, "OMP_NUM_THREADS": "1", **environment}
        if data is not None:
            env["DIABETES_DATA_DIR"] = str(data)
        options = ("--app-dir", str(FOLDER), "--no-access-log")
        self.process = warm.service(self.port, *options, log=log, env=env)
        self.session = requests.Session()

    def health(self):
        """The first answer of /health; the port opens within a second or so."""

        def ask():
            assert self.process.poll() is None, self.log.read_text()
            # A bad status is an answer, too, and false.
            return [requests.get(f"{self.url}/health", timeout=10)]

        return until(ask, self.log.read_text, every=0.1, despite=(requests.ConnectionError,))[0]

    def wait(self, accept):
        def accepted():
            answer = self.health()
            return [answer] if accept(answer) else None

        return until(accepted, lambda: self.health().text + self.log.read_text(), every=0.1)[0]

    def stop(self):
        self.session.close()
        self.process.terminate()
        self.process.wait(timeout=120)

    def predict(self, body, **kwargs):
        data = json.dumps(body) if isinstance(body, dict) else body
        return self.session.post(f"{self.url}/predict", data=data, timeout=20, **kwargs)

    def metrics(self):
        return self.session.get(f"{self.url}/metrics", timeout=10).text

    def value(self, series):
        """A sample's value as the text shows it; None when it is absent."""
        found = re.search(rf"^{re.escape(series)} (\S+)$", self.metrics(), re.MULTILINE)
        return None if found is None else float(found[1])

    def counted(self):
        line = r'^http_requests_total\{endpoint="/predict",method="(\w+)",status="(\d+)"\} (\S+)$'
        found = re.findall(line, self.metrics(), re.MULTILINE)
        return {(method, status): int(float(value)) for method, status, value in found}

    def observed(self):
        return int(self.value('http_request_duration_seconds_count{endpoint="/predict"}'))

    def scores(self):
        found = re.findall(r'^data_drift_score_by_feature\{feature="(\w+)"\} (\S+)$', self.metrics(), re.MULTILINE)
        return {name: float(value) for name, value in found}


def running(data, log, **environment):
    """A ready server."""
    server = Server(data, log, **environment)
    try:
        server.wait(lambda answer: answer.status_code == 200)
    except BaseException:
        server.stop()
        raise
    return server


@pytest.fixture(scope="module")
def server(home, tmp_path_factory):
    found = running(home / "diabetes", tmp_path_factory.mktemp("log") / "api.log")
    # Before any other request: what a fresh service shows.
    found.fresh = found.metrics()
    yield found
    found.stop()


@pytest.fixture
def window(home, tmp_path):
    """A server of its own with an empty window."""
    found = running(home / "diabetes", tmp_path / "api.log")
    yield found
    found.stop()


def test_every_series_exists_at_zero_before_the_first_request(server):
    lines = server.fresh.splitlines()
    for method, status in SERIES:
        assert f'http_requests_total{{endpoint="/predict",method="{method}",status="{status}"}} 0.0' in lines
    assert 'http_request_duration_seconds_count{endpoint="/predict"} 0.0' in lines
    assert 'http_request_duration_seconds_bucket{endpoint="/predict",le="+Inf"} 0.0' in lines
    for name in ("process_cpu_seconds_total", "process_resident_memory_bytes", "python_info"):
        assert f"\n{name}" in server.fresh


def test_the_drift_score_is_absent_and_not_zero_before_there_are_enough_requests(server):
    assert "# TYPE data_drift_score gauge" in server.fresh
    assert not re.search(r"^data_drift_score", server.fresh, re.MULTILINE)
    assert "data_drift_window_requests 0.0" in server.fresh


def test_the_request_of_the_documents_gets_the_answer_of_the_documents(server):
    answer = server.predict(PATIENT)
    assert (answer.status_code, answer.json()) == (200, {"prediction": 1})
    assert answer.content == b'{"prediction":1}'


def test_predictions_agree_with_the_model_file_and_are_mostly_right(server, home, rows):
    import joblib

    model = joblib.load(home / "diabetes" / "model" / "model.joblib")
    stand_ins = json.loads((home / "diabetes" / "model" / "model.json").read_text())["unmeasured"]
    with (home / "diabetes" / "reference.csv").open(newline="") as handle:
        outcomes = [int(row["Outcome"]) for row in csv.DictReader(handle)]
    right = 0
    for row, outcome in list(zip(rows, outcomes, strict=True))[:60]:
        said = server.predict(row).json()["prediction"]
        assert said == model.predict([[value or stand_ins.get(name, value) for name, value in row.items()]])[0]
        right += said == outcome
    assert right > 40


def test_whole_numbers_written_with_a_point_are_taken(server):
    assert server.predict(patient(Pregnancies="1.0", Age="50.0")).status_code == 200


@pytest.mark.parametrize("name", HOSTILE)
def test_a_bad_body_is_422_in_words_and_is_not_sent_back(server, name):
    answer = server.predict(HOSTILE[name])
    if name in HARMLESS:
        assert answer.status_code in (200, 422)
        return
    assert answer.status_code == 422, answer.text
    assert answer.json()["error"] == "bad_body"
    assert len(answer.content) < 2000
    assert answer.content.isascii()


def test_a_refusal_names_each_feature_and_why(server):
    detail = server.predict(patient(Glucose='"high"', BMI="-1", Age="")).json()["detail"]
    assert [part.split(":")[0] for part in detail.split("; ")] == ["Glucose", "BMI", "Age"]
    assert "high" not in detail
    assert server.predict(HOSTILE["many keys"]).json()["detail"].endswith("; and 3990 more")


def test_no_hostile_document_or_text_makes_a_500(server):
    for name, raw in DOCUMENTS.items():
        for body in (raw, patient(Glucose="@").replace(b"@", raw), patient(**{"@": "1"}).replace(b'"@"', raw)):
            answer = server.predict(body)
            assert answer.status_code in (200, 413, 422), (name, answer.text)
            answer.json()
    for text in TEXTS:
        assert server.predict({**PATIENT, "Glucose": text}).status_code == 422
        assert server.predict({**PATIENT, text: 1}).status_code == 422
    assert server.counted()["POST", "500"] == 0
    assert "Traceback" not in server.log.read_text()


def padded(size):
    body = patient()
    return body[:-1] + b" " * (size - len(body)) + b"}"


def test_64_kb_is_read_and_one_byte_more_is_413(server):
    assert server.predict(padded(MAX_BODY)).status_code == 200
    answer = server.predict(padded(MAX_BODY + 1))
    assert (answer.status_code, answer.json()["error"]) == (413, "too_large")
    assert server.session.post(f"{server.url}/nowhere", data=padded(MAX_BODY + 1), timeout=20).status_code == 413


def test_a_body_of_unannounced_length_is_413_once_it_is_too_long(server):
    assert server.predict(iter([padded(MAX_BODY)])).status_code == 200
    assert server.predict(iter([padded(MAX_BODY), b" "])).status_code == 413


@pytest.mark.parametrize("chunked", [False, True])
def test_50_mb_are_refused_and_not_held_in_memory(server, chunked):
    block = b" " * (1 << 20)
    before = server.value("process_resident_memory_bytes")
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
        length = b"Transfer-Encoding: chunked" if chunked else b"Content-Length: %d" % (50 * len(block))
        connection.sendall(b"POST /predict HTTP/1.1\r\nHost: x\r\n" + length + b"\r\n\r\n")
        for _ in range(50):
            connection.sendall(b"%x\r\n%b\r\n" % (len(block), block) if chunked else block)
        assert connection.recv(1000).split()[1] == b"413"
    assert server.value("process_resident_memory_bytes") - before < 10 * len(block)


def test_counter_and_histogram_move_by_exactly_what_was_sent(server):
    before, timed = server.counted(), server.observed()
    for body in [patient()] * 3 + [b"{}"] * 2 + [padded(MAX_BODY + 1)]:
        server.predict(body)
    for method in ("GET", "PUT", "MKCOL"):
        assert server.session.request(method, f"{server.url}/predict", timeout=10).status_code == 405
    after = server.counted()
    assert {series: after[series] - before[series] for series in after if after[series] != before[series]} == {
        ("POST", "200"): 3,
        ("POST", "422"): 2,
        ("POST", "413"): 1,
        ("GET", "405"): 1,
        ("other", "405"): 2,
    }
    assert server.observed() - timed == 9
    assert server.observed() == sum(after.values())


def test_scrapes_health_checks_and_other_paths_are_not_counted(server):
    before = server.counted()
    for path in ("health", "metrics", "docs", "openapi.json", "nowhere", "predict/"):
        server.session.get(f"{server.url}/{path}", timeout=10)
    assert server.counted() == before


def test_100_requests_at_once_are_plus_100_in_the_console_s_own_count(server, tmp_path):
    system = load_systems(Settings.from_env({"VIGIE_HOME": str(tmp_path), "HOME": str(tmp_path)})).by_id["diabetes"]
    meter = Meter(server.url, system, None)
    before = meter.read()
    with concurrent.futures.ThreadPoolExecutor(20) as pool:
        send = lambda _: requests.post(f"{server.url}/predict", data=patient(), timeout=20)  # noqa: E731
        assert {answer.status_code for answer in pool.map(send, range(100))} == {200}
        # As Prometheus and the pages do meanwhile.
        server.health()
        server.metrics()
    counted, after = meter.counted(before, SimpleNamespace(answered=100), threading.Event())
    assert (counted.delta, counted.reason) == (100, "")
    assert meter.server_p95(before, after).low is not None


def test_a_client_that_leaves_in_the_middle_of_its_body_is_counted_and_harmless(server):
    before = server.counted()
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
        connection.sendall(b'POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{"Gluc')
    until(
        lambda: server.counted()["POST", "499"] > before["POST", "499"], "the client that left is counted", every=0.05
    )
    assert server.counted()["POST", "499"] == before["POST", "499"] + 1
    assert server.predict(PATIENT).status_code == 200


def test_distinct_bodies_paths_and_methods_make_no_new_series(server):
    """2,000 here; each kind costs a series the first time or never."""
    methods = ("GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "MKCOL", "PROPFIND", "PURGE", "M")

    def series():
        return {(sample.name, sample.labels) for sample in parse(server.metrics())}

    for _ in range(200):
        server.predict(PATIENT)
    before = series()
    for number in range(500):
        server.predict({**PATIENT, "Insulin": number / 7})
        server.predict(patient(**{f"key{number}": str(number)}))
        server.session.request(methods[number % len(methods)], f"{server.url}/predict", timeout=10)
        server.session.get(f"{server.url}/{number}/predict?{number}", timeout=10)
    assert series() == before
    assert set(server.counted()) == SERIES


def test_health_names_the_model_its_quality_and_how_full_the_window_is(server, home):
    body = server.health().json()
    described = json.loads((home / "diabetes" / "model" / "model.json").read_text())
    assert body["status"] == "ok"
    assert body["model"]["sha256"] == described["sha256"]
    assert body["model"]["auc_held_out"] == described["auc_held_out"]
    assert (body["drift"]["method"], body["drift"]["minimum"], body["drift"]["window"]) == ("PSI", 200, 500)


def test_the_documentation_page_needs_nothing_from_outside(server):
    page = server.session.get(f"{server.url}/docs", timeout=10)
    assert page.status_code == 200
    assert page.headers["content-type"].startswith("text/html")
    assert not re.findall(r"""(?:https?:)?//[\w.-]+\.\w+""", page.text)
    api = server.session.get(f"{server.url}/openapi.json", timeout=10).json()
    assert set(api["paths"]) == {"/predict", "/health", "/metrics"}
    asked = api["paths"]["/predict"]["post"]
    assert {"200", "413", "422", "503"} <= set(asked["responses"])
    described = asked["requestBody"]["content"]["application/json"]
    assert described["schema"]["required"] == list(PATIENT)
    assert server.predict(described["example"]).json() == {"prediction": 1}
    for path in ("redoc", "docs/oauth2-redirect"):
        assert server.session.get(f"{server.url}/{path}", timeout=10).status_code == 404


# Drift


def reference_psi(reference, current):
    """PSI by numpy, from the definition: decile bins that hold 5 % or more, half a row added to each bin."""
    ordered = np.sort(np.asarray(reference, dtype=float))
    cuts, last = [], -math.inf
    for cut in np.quantile(ordered, np.arange(1, 10) / 10, method="inverted_cdf"):
        if np.mean((ordered > last) & (ordered <= cut)) >= 0.05 and np.mean(ordered > cut) >= 0.05:
            cuts.append(cut)
            last = cut
    bounds = [-math.inf, *cuts, math.inf]
    expected, actual = (
        np.array([np.sum((data > low) & (data <= high)) for low, high in itertools.pairwise(bounds)]) + 0.5
        for data in (ordered, np.asarray(current, dtype=float))
    )
    expected, actual = expected / expected.sum(), actual / actual.sum()
    return float(np.sum((actual - expected) * np.log(actual / expected)))


def send(server, bodies):
    for body in bodies:
        assert server.predict(body).status_code == 200


def calm(rows, number, seed=1):
    chosen = np.random.default_rng(seed).integers(0, len(rows), number)
    return [rows[place] for place in chosen]


def older(rows, number, seed=2):
    """Another clinic: its patients are twelve years older, nothing else differs."""
    return [{**row, "Age": row["Age"] + 12} for row in calm(rows, number, seed)]


def test_the_score_appears_with_the_200th_prediction_and_is_the_largest_of_the_features(window, rows):
    sent = calm(rows, 200)
    send(window, sent[:199])
    for refused in (b"{}", padded(MAX_BODY + 1)):
        window.predict(refused)
    assert window.value("data_drift_score") is None
    assert (window.scores(), window.value("data_drift_window_requests")) == ({}, 199)
    assert window.health().json()["drift"]["score"] is None
    send(window, sent[199:])
    scores = window.scores()
    assert window.value("data_drift_score") == max(scores.values())
    expected = {name: reference_psi([row[name] for row in rows], [row[name] for row in sent]) for name in PATIENT}
    assert scores == pytest.approx(expected, abs=1e-9)


def test_a_calm_stream_stays_below_0_2_and_a_drifted_one_crosses_it_and_falls_back(window, rows):
    threshold = tomllib.loads((ROOT / "app" / "systems" / "diabetes.toml").read_text())["drift"]["threshold"]
    send(window, calm(rows, 600))
    assert window.value("data_drift_score") < 0.1 < threshold
    send(window, older(rows, 500))
    scores = window.scores()
    assert scores.pop("Age") == window.value("data_drift_score") >= threshold
    assert max(scores.values()) < 0.1
    send(window, calm(rows, 500, seed=3))
    assert window.value("data_drift_score") < 0.1


def test_the_traffic_of_the_system_file_is_calm(window, tmp_path):
    settings = Settings.from_env({"VIGIE_HOME": str(tmp_path), "HOME": str(tmp_path)})
    system = load_systems(settings).by_id["diabetes"]
    bodies = payload.make(Plan("diabetes", Shape.COUNT, 500, 10.0, 50.0, seed=7), settings, system).bodies[0]
    assert len(set(bodies)) > 490
    send(window, bodies)
    assert window.value("data_drift_window_requests") == 500
    assert window.value("data_drift_score") < 0.1


def test_the_window_holds_the_newest_and_counts_come_out_even(service, rows):
    reference = {name: [row[name] for row in rows] for name in PATIENT}
    one, other = service.DriftWindow(reference, 300, 100), service.DriftWindow(reference, 300, 100)
    for row in [*older(rows, 450), *calm(rows, 300)]:
        one.add(row.values())
    for row in calm(rows, 300):
        other.add(row.values())
    assert len(one) == len(other) == 300
    assert one.scores() == other.scores()


def test_the_reference_itself_scores_nothing(service, rows):
    reference = {name: [row[name] for row in rows] for name in PATIENT}
    window = service.DriftWindow(reference, len(rows), 200)
    for row in rows:
        window.add(row.values())
    assert set(window.scores().values()) == {0.0}


@pytest.mark.parametrize(
    ("values", "found"),
    [
        (list(range(1, 101)), [10, 20, 30, 40, 50, 60, 70, 80, 90]),
        ([0] * 100, []),
        ([0] * 50 + list(range(1, 51)), [0, 10, 20, 30, 40]),
        ([0] * 29 + list(range(1, 72)), [0, 11, 21, 31, 41, 51, 61]),
        ([0] * 3 + [1] * 97, []),
        ([1] * 97 + [2] * 3, []),
        ([0] * 50 + [1] * 50, [0]),
    ],
)
def test_bins_end_at_deciles_and_none_is_nearly_empty(service, values, found):
    assert service.edges(values) == found


def test_shares_add_up_and_psi_is_0_for_equals_and_finite_for_opposites(service):
    assert service.shares([0, 0, 10, 30]) == pytest.approx([0.5 / 42, 0.5 / 42, 10.5 / 42, 30.5 / 42])
    assert service.psi([0.25] * 4, [0.25] * 4) == 0
    assert service.psi([0.8, 0.2], [0.2, 0.8]) == pytest.approx(2 * 0.6 * math.log(4))
    assert math.isfinite(service.psi(service.shares([768, 0]), service.shares([0, 500])))


def test_values_beyond_the_reference_are_counted_in_the_outer_bins(service, rows):
    window = service.DriftWindow({name: [row[name] for row in rows] for name in PATIENT}, 200, 200)
    for number in range(200):
        window.add([0.0] * 8 if number % 2 else [1e300] * 8)
    assert all(1 < score < 20 for score in window.scores().values())


# Starting, and what can be missing


def test_window_and_minimum_come_from_the_environment(home, tmp_path, rows):
    server = running(home / "diabetes", tmp_path / "log", DIABETES_DRIFT_WINDOW="60", DIABETES_DRIFT_MINIMUM="50")
    try:
        send(server, calm(rows, 49))
        assert server.value("data_drift_score") is None
        send(server, calm(rows, 20))
        assert server.value("data_drift_score") is not None
        assert server.value("data_drift_window_requests") == 60
    finally:
        server.stop()


@pytest.mark.parametrize("text", ["0", "9", "-1", "1e3", "many", "٣٠٠", "100001", "9" * 5000])
def test_a_window_that_is_none_is_refused_with_what_is_accepted(service, home, text):
    settings = {"DIABETES_DATA_DIR": str(home / "diabetes"), "DIABETES_DRIFT_MINIMUM": text}
    with pytest.raises(
        service.NotReadyError, match=r"DIABETES_DRIFT_MINIMUM is .{1,50}; accepted: whole numbers from 10"
    ):
        service.load(settings)
    with pytest.raises(service.NotReadyError, match="accepted: whole numbers from 200 to 100000"):
        service.load({"DIABETES_DATA_DIR": str(home / "diabetes"), "DIABETES_DRIFT_WINDOW": "199"})


def break_data(fault, folder):
    model = folder / "model"
    described = json.loads((model / "model.json").read_text())
    changed = {
        "old model.json": {"version": 0},
        "other features": {"features": described["features"][::-1]},
        "other scikit-learn": {"sklearn": "0.1"},
    }
    if fault == "no model":
        (model / "model.joblib").unlink()
    elif fault == "torn model.json":
        (model / "model.json").write_text("{")
    elif fault == "a list as model.json":
        (model / "model.json").write_text("[]")
    elif fault == "another model":
        (model / "model.joblib").write_bytes(b"x")
    elif fault in changed:
        (model / "model.json").write_text(json.dumps(described | changed[fault]))
    elif fault == "no reference":
        (folder / "reference.csv").unlink()
    elif fault == "another reference":
        (folder / "reference.csv").write_text("Glucose\n1\n")
    else:
        texts = {
            "reference without columns": "Glucose\n1\n",
            "reference of words": ",".join(PATIENT) + "\n" + ",".join("x" * 8) + "\n",
            "reference of NaN": ",".join(PATIENT) + "\n" + (",".join(["nan"] * 8) + "\n") * 20,
            "reference of one row": ",".join(PATIENT) + "\n" + ",".join("1" * 8) + "\n",
            "a reference that is no text": "",
        }
        content = texts[fault].encode() or b"\xff\xfe"
        (folder / "reference.csv").write_bytes(content)
        digest = hashlib.sha256(content).hexdigest()
        (model / "model.json").write_text(json.dumps(described | {"reference_sha256": digest}))


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("no model", "no model in "),
        ("torn model.json", "no model in "),
        ("a list as model.json", "is not version 1"),
        ("old model.json", "is not version 1"),
        ("other features", "describes other features"),
        ("another model", "is not the file model.json describes"),
        ("other scikit-learn", "was trained with scikit-learn 0.1"),
        ("no reference", "no reference in "),
        ("another reference", "is not the file the model was trained on"),
        ("reference without columns", "no reference in "),
        ("reference of words", "no reference in "),
        ("reference of NaN", "values that are no numbers"),
        ("reference of one row", "has 1 rows"),
        ("a reference that is no text", "no reference in "),
    ],
)
def test_each_thing_that_is_missing_is_named(service, home, tmp_path, fault, words):
    shutil.copytree(home / "diabetes", tmp_path / "diabetes")
    settings = {"DIABETES_DATA_DIR": str(tmp_path / "diabetes")}
    assert service.load(settings).predict(service.Question(**PATIENT)) == 1
    break_data(fault, tmp_path / "diabetes")
    with pytest.raises(service.NotReadyError, match=re.escape(words)):
        service.load(settings)


def test_a_model_file_is_not_unpickled_before_its_hash_is_right(service, home, tmp_path):
    shutil.copytree(home / "diabetes" / "model", tmp_path / "model")
    mark = tmp_path / "opened"

    class Evil:
        def __reduce__(self):
            return (Path.touch, (mark,))

    (tmp_path / "model" / "model.joblib").write_bytes(pickle.dumps(Evil()))
    with pytest.raises(service.NotReadyError, match=r"is not the file model\.json describes"):
        service.load_model(tmp_path / "model")
    assert not mark.exists()


def test_a_service_without_data_says_so_and_starts_once_the_data_is_there(home, tmp_path):
    server = Server(tmp_path / "diabetes", tmp_path / "api.log")
    try:
        answer = server.wait(lambda answer: answer.json()["status"] != "starting")
        assert (answer.status_code, answer.json()["status"]) == (503, "not ready")
        assert "no model in" in answer.json()["reason"]
        refused = server.predict(PATIENT)
        assert (refused.status_code, refused.json()["error"]) == (503, "not_ready")
        assert server.predict(b"{}").status_code == 422
        assert server.counted()["POST", "503"] == 1
        assert server.value("data_drift_score") is None
        shutil.copytree(home / "diabetes", tmp_path / "fresh")
        (tmp_path / "fresh").rename(tmp_path / "diabetes")
        server.wait(lambda answer: answer.status_code == 200)
        assert server.predict(PATIENT).json() == {"prediction": 1}
    finally:
        server.stop()


# The image


def test_the_lock_holds_every_import_of_the_folder_with_hashes_and_no_index():
    lock = (FOLDER / "requirements.txt").read_text()
    pinned = set(re.findall(r"^([a-z0-9-]+)==", lock, re.MULTILINE))
    asked = set(re.findall(r"^([a-z0-9-]+)[>=<]", (FOLDER / "requirements.in").read_text(), re.MULTILINE))
    imported = set()
    for file in ("service.py", "train.py", "../common.py"):
        for node in ast.walk(ast.parse((FOLDER / file).read_text())):
            modules = [node.module] if isinstance(node, ast.ImportFrom) else []
            modules += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            imported |= {module.partition(".")[0] for module in modules}
    names = {"sklearn": "scikit-learn", "prometheus_client": "prometheus-client"}
    outside = {names.get(name, name) for name in imported - set(sys.stdlib_module_names) - {"common"}}
    assert outside <= asked | {"starlette"} <= pinned
    assert len(re.findall(r"^[a-z0-9-]+==", lock, re.MULTILINE)) <= lock.count("--hash=sha256:")
    assert "index" not in lock
    assert "://" not in lock


def test_the_lock_has_the_versions_of_the_whole_repository():
    """A model trained by one is read by the other."""

    def pins(path):
        return set(re.findall(r"^([a-z0-9-]+==\S+(?: ; [^\\]+)?)", path.read_text(), re.MULTILINE))

    assert {pin for pin in pins(FOLDER / "requirements.txt") if pin.startswith(("scikit", "joblib", "numpy"))} <= pins(
        ROOT / "requirements.txt"
    )


def test_the_image_runs_as_a_user_without_rights_and_copies_what_exists():
    lines = (FOLDER / "Dockerfile").read_text().splitlines()
    assert any(re.fullmatch(r"FROM python:3\.1[123]-slim", line) for line in lines)
    assert any(re.fullmatch(r"USER [1-9][0-9]+", line) for line in lines)
    copied = [name for line in lines if line.startswith("COPY") for name in line.split()[1:-1]]
    files = ["docs.html", "requirements.txt", "service.py", "train.py"]
    assert sorted(copied) == ["common.py", *(f"diabetes/{name}" for name in files)]
    assert all((FOLDER.parent / name).is_file() for name in copied)
    assert lines[-1].startswith('CMD ["uvicorn", "service:app"')
