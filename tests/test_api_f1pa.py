"""The F1PA API through a real uvicorn, SQLite and model: sign-in, lap times, counters, bad input."""

import concurrent.futures
import importlib.util
import json
import pickle
import re
import shutil
import socket
import sys
from pathlib import Path

import pytest
import requests

from app.config import Settings, load_systems
from app.exposition import counter_total, difference, parse
from app.load import worker
from app.load.counting import excluded
from app.load.payload import make
from app.load.plan import Plan
from app.runs.job import Job
from stack.world import f1pa
from tests.conftest import f1pa_home
from tests.f1pa_service import FOLDER, LAP, Server
from tests.hostile_text import DOCUMENTS, TEXTS
from tests.waiting import until

STATUSES = {"200", "401", "404", "405", "413", "422", "499", "500", "503"}
ENDPOINTS = {
    "/predict/lap", "/predict/batch", "/data/drivers", "/data/circuits", "/health", "/metrics", "/docs",
    "/openapi.json",
}  # fmt: skip
MAX_BODY, MAX_BATCH_BODY = 64 * 1024, 512 * 1024
ALL = json.dumps(LAP).encode()
HOSTILE = {
    "nothing": b"",
    "not json": b"features=1",
    "null": b"null",
    "a list": b"[]",
    "no features": b"{}",
    "features null": b'{"features": null}',
    "features a list": b'{"features": [1]}',
    "NaN": b"NaN",
    "NaN inside": b'{"features": ' + ALL.replace(b"21.4", b"NaN") + b"}",
    "1e999 inside": b'{"features": ' + ALL.replace(b"21.4", b"1e999") + b"}",
    "a huge number inside": b'{"features": ' + ALL.replace(b"21.4", b"9" * 5000) + b"}",
    "a lone surrogate": b'{"features": ' + ALL.replace(b"21.4", b'"\\ud800"') + b"}",
    "a lone surrogate as key": b'{"\\ud800": 1}',
    "bad utf-8": b'{"features": "\xff\xfe"}',
    "encoded surrogate": b'{"features": "\xed\xa0\x80"}',
    "utf-16": json.dumps({"features": LAP}).encode("utf-16"),
    "deep lists": b"[" * 30000,
    "deep objects": b'{"features":' * 5000 + b"1" + b"}" * 5000,
    "cut off": b'{"features": {"driver_number": 1',
}


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return f1pa_home(tmp_path_factory)


@pytest.fixture(scope="module")
def system(home):
    return load_systems(Settings.from_env({"VIGIE_HOME": str(home), "HOME": str(home)})).by_id["f1pa"]


@pytest.fixture(scope="module")
def server(home, tmp_path_factory):
    running = Server(home / "f1pa", tmp_path_factory.mktemp("log") / "api.log")
    try:
        running.wait(lambda answer: answer.status_code == 200)
        running.fresh = running.metrics()
        yield running
    finally:
        running.stop()


# --- what it answers -------------------------------------------------------------------------------------------------


def test_every_series_exists_at_zero_before_the_first_request(server):
    for name in ("f1pa_predictions_total", "f1pa_prediction_errors_total", "f1pa_prediction_duration_seconds_count"):
        for kind in ("single", "batch"):
            assert f'\n{name}{{endpoint_type="{kind}"}} 0.0\n' in server.fresh
    for status in STATUSES:
        assert f'http_requests_total{{endpoint="/predict/lap",method="POST",status="{status}"}} 0.0' in server.fresh
    for what in ("drivers", "circuits"):
        assert f'f1pa_data_queries_total{{endpoint="{what}"}} 0.0' in server.fresh
    assert "\nf1pa_db_query_duration_seconds_count 0.0\n" in server.fresh
    for name in ("process_cpu_seconds_total", "process_resident_memory_bytes", "python_info"):
        assert f"\n{name}" in server.fresh


def test_a_lap_is_answered_in_seconds_as_the_model_file_says(server, home):
    import joblib
    import numpy as np

    model = joblib.load(home / "f1pa" / "model" / "model.joblib")
    names = json.loads((home / "f1pa" / "model" / "model.json").read_text())["features"]
    for circuit in (7, 39, 22):
        lap = {**LAP, "circuit_key": circuit}
        answer = server.post({"features": lap})
        assert answer.status_code == 200, answer.text
        expected = float(model.predict(np.array([[float(lap[name]) for name in names]]))[0])
        assert answer.json() == {"lap_duration": round(expected, 3)}
        assert 60 < expected < 130


def test_a_whole_number_may_be_written_with_a_point_and_further_keys_do_not_matter(server):
    plain = server.post({"features": LAP}).json()
    assert server.post({"features": {**LAP, "year": 2025.0, "lap_number": 12.0, "tyre": "soft"}}).json() == plain


def test_a_batch_gives_the_same_times_in_the_order_of_the_question(server):
    laps = [{**LAP, "lap_number": number} for number in range(1, 41)]
    found = server.post({"features": laps}, "/predict/batch")
    assert found.status_code == 200
    singles = [server.post({"features": lap}).json()["lap_duration"] for lap in laps]
    assert found.json() == {"lap_durations": singles}


def test_a_batch_is_bounded(server):
    def batch(number):
        return server.post({"features": [LAP] * number}, "/predict/batch")

    assert len(batch(1000).json()["lap_durations"]) == 1000
    for number in (0, 1001):
        assert (batch(number).status_code, batch(number).json()["error"]) == (422, "invalid_features")
    wrong = server.post({"features": [LAP, {**LAP, "temp": 999}]}, "/predict/batch")
    assert wrong.status_code == 422
    assert "features.1.temp" in wrong.json()["detail"]


def test_drivers_and_circuits_come_from_the_database(server):
    before = {
        what: server.value("f1pa_data_queries_total", f'{{endpoint="{what}"}}') for what in ("drivers", "circuits")
    }
    timed = server.value("f1pa_db_query_duration_seconds_count")
    drivers, circuits = server.get("/data/drivers").json(), server.get("/data/circuits").json()
    assert (drivers["count"], circuits["count"]) == (23, 24)
    assert [row["driver_number"] for row in drivers["drivers"]] == sorted({*f1pa.FIELD, *f1pa.NEW_DRIVERS})
    spa = next(row for row in circuits["circuits"] if row["circuit_key"] == 7)
    assert (spa["country"], spa["length_km"]) == ("Belgium", 7.004)
    for what, known in before.items():
        assert server.value("f1pa_data_queries_total", f'{{endpoint="{what}"}}') == known + 1
    assert server.value("f1pa_db_query_duration_seconds_count") == timed + 2


def test_health_is_open_and_names_model_database_and_mlflow(server):
    body = requests.get(f"{server.url}/health", timeout=10).json()
    assert body["status"] == "ok"
    assert body["model"]["held_out"]["r2"] > 0.99
    assert body["model"]["later"]["mae_seconds"] > body["model"]["held_out"]["mae_seconds"]
    assert body["database"] == {"connected": True, "reason": ""}
    assert body["mlflow"]["connected"] is False
    assert "the model comes from its file" in body["mlflow"]["reason"]
    for name, wanted in (("f1pa_model_loaded", 1), ("f1pa_database_connected", 1), ("f1pa_mlflow_connected", 0)):
        assert server.value(name) == wanted


def test_the_documentation_page_needs_nothing_from_outside(server):
    page = server.get("/docs")
    assert page.status_code == 200
    assert page.headers["content-type"].startswith("text/html")
    assert not re.findall(r"""(?:https?:)?//[\w.-]+\.\w+""", page.text)
    api = server.get("/openapi.json").json()
    assert set(api["paths"]) == ENDPOINTS - {"/docs", "/openapi.json"}
    assert {"200", "401", "413", "422", "503"} <= set(api["paths"]["/predict/lap"]["post"]["responses"])
    assert api["components"]["securitySchemes"]["basic"] == {"type": "http", "scheme": "basic"}
    assert api["paths"]["/predict/lap"]["post"]["security"] == [{"basic": []}]
    assert "security" not in api["paths"]["/health"]["get"]
    for reference in set(re.findall(r'"\$ref": "#/([^"]+)"', json.dumps(api))):
        found = api
        for part in reference.split("/"):
            found = found[part]


# --- sign-in ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [*sorted(ENDPOINTS - {"/health", "/metrics"}), "/nowhere", "/predict/lap/"])
def test_without_the_password_nothing_is_served_and_the_refusal_is_counted(server, path):
    endpoint = path if path in ENDPOINTS else "other"
    before = server.counted().get(("POST", endpoint, "401"), 0)
    tries = [None, ("f1pa", "f1pa"), ("admin", server.auth[1]), ("f1pa", ""), ("", server.auth[1])]
    for auth in tries:
        answer = requests.post(server.url + path, json={"features": LAP}, auth=auth, timeout=10)
        assert (answer.status_code, answer.json()["error"]) == (401, "unauthorized")
        assert answer.headers["www-authenticate"].startswith("Basic ")
    assert server.counted()["POST", endpoint, "401"] == before + len(tries)


@pytest.mark.parametrize(
    "header", ["", "Basic", "Basic ", "Basic !!!", "Basic ZjFwYQ==", "Bearer x", "basic\x80", "Basic " + "A" * 9000]
)
def test_a_header_that_is_no_sign_in_is_401(server, header):
    answer = requests.get(f"{server.url}/data/drivers", headers={"Authorization": header.encode("latin-1")}, timeout=10)
    assert answer.status_code == 401


def test_a_right_password_under_another_scheme_is_401(server):
    import base64

    right = base64.b64encode(":".join(server.auth).encode()).decode()
    for scheme, wanted in (("Basic", 200), ("basic", 200), ("Bearer", 401)):
        headers = {"Authorization": f"{scheme} {right}"}
        assert requests.get(f"{server.url}/data/drivers", headers=headers, timeout=10).status_code == wanted


def test_refused_requests_are_no_failed_predictions(server):
    before = server.value("f1pa_prediction_errors_total", '{endpoint_type="single"}')
    server.post({"features": LAP}, auth=None)
    assert server.get("/predict/lap").status_code == 405
    assert server.value("f1pa_prediction_errors_total", '{endpoint_type="single"}') == before


def test_the_password_is_in_no_log_and_in_no_answer(server):
    server.post({"features": LAP}, auth=("f1pa", "wrong"))
    seen = server.log.read_text() + server.metrics() + server.health().text + server.get("/openapi.json").text
    assert server.auth[1] not in seen


# --- what it counts --------------------------------------------------------------------------------------------------


def test_invalid_features_move_the_error_counter(server):
    labels = '{endpoint_type="single"}'
    errors, made = server.value("f1pa_prediction_errors_total", labels), server.value("f1pa_predictions_total", labels)
    timed = server.value("f1pa_prediction_duration_seconds_count", labels)
    answer = server.post({"features": {"driver_number": -999}})
    assert (answer.status_code, answer.json()["error"]) == (422, "invalid_features")
    assert "features.driver_number: Input should be greater than or equal to 1" in answer.json()["detail"]
    assert "features.year: Field required" in answer.json()["detail"]
    assert server.value("f1pa_prediction_errors_total", labels) == errors + 1
    assert server.value("f1pa_predictions_total", labels) == made
    assert server.value("f1pa_prediction_duration_seconds_count", labels) == timed


def test_a_failed_batch_is_one_error_and_a_good_one_is_one_prediction(server):
    labels = '{endpoint_type="batch"}'
    errors, made = server.value("f1pa_prediction_errors_total", labels), server.value("f1pa_predictions_total", labels)
    server.post({"features": [LAP] * 30}, "/predict/batch")
    server.post({"features": [{"driver_number": -999}] * 30}, "/predict/batch")
    assert server.value("f1pa_predictions_total", labels) == made + 1
    assert server.value("f1pa_prediction_errors_total", labels) == errors + 1


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"circuit_key": 1}, "1 is not one of the circuits known: 2, 4, 6"),
        ({"circuit_key": 7.5}, "features.circuit_key"),
        ({"driver_number": "1"}, "features.driver_number"),
        ({"driver_number": True}, "features.driver_number"),
        ({"lap_number": 0}, "features.lap_number"),
        ({"year": 1900}, "features.year"),
        ({"pres": 0}, "features.pres"),
        ({"rhum": None}, "features.rhum"),
    ],
)
def test_a_feature_that_cannot_be_is_named(server, change, words):
    answer = server.post({"features": {**LAP, **change}})
    assert answer.status_code == 422
    assert words in answer.json()["detail"]


def test_the_console_counts_100_sent_as_100_while_others_read_health_and_metrics(server, system, home):
    settings = Settings.from_env({"VIGIE_HOME": str(home), "HOME": str(home)})
    payloads = make(Plan.from_args({"count": 100, "duration": 5, "errors": 0.1, "seed": 1}, system), settings, system)

    def read():
        return parse(server.metrics().encode())

    before = read()
    wanted = []
    for number in range(100):
        kind, index = payloads.at(number)
        answer = server.post(payloads.bodies[kind][index])
        wanted.append((answer.status_code, payloads.kinds[kind].status or 200))
        server.health()
    assert [got for got, _ in wanted] == [asked for _, asked in wanted]
    moved = difference(before, read(), system.metrics.requests, exclude=excluded(system))
    assert moved.delta == 100
    assert difference(before, read(), "f1pa_predictions_total").delta == 90
    assert difference(before, read(), "f1pa_prediction_errors_total").delta == 10
    assert counter_total(read(), system.metrics.requests) > counter_total(
        read(), system.metrics.requests, exclude=excluded(system)
    )


def test_of_100_requests_20_meant_to_fail_are_told_by_class_and_as_refused(server, home):
    run = "20240229T140532Z-1a2b3c"
    environ = {"VIGIE_HOME": str(home), "HOME": str(home), "VIGIE_F1PA_URL": server.url}
    args = {"count": 100, "duration": 1, "errors": 0.2}
    job = Job(run=run, kind="load", system="f1pa", key="load:f1pa:run", args=args, settings=Settings.from_env(environ))
    job.directory.mkdir(parents=True)
    outcome = worker.run(job)
    found = json.loads((job.directory / "result.json").read_text())
    assert found["classes"] == {"2xx": 80, "3xx": 0, "4xx": 20, "5xx": 0, "no answer": 0}
    assert (found["ok"], found["failed"], found["meant_to_fail"], found["refused"]) == (100, 0, 20, 20)
    assert outcome.reason.startswith("100 sent, 100 answered (80 × 2xx, 20 × 4xx), counter +100, ")
    assert " 20 were meant to fail and were refused as asked. " in outcome.reason


def test_100_requests_at_once_are_all_answered(server):
    before = server.counted()["POST", "/predict/lap", "200"]
    laps = [{**LAP, "lap_number": 1 + number % 44} for number in range(100)]
    with concurrent.futures.ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda lap: server.post({"features": lap}), laps))
    assert {answer.status_code for answer in answers} == {200}
    assert server.counted()["POST", "/predict/lap", "200"] == before + 100


def test_no_identifier_becomes_a_label_and_the_number_of_series_does_not_grow(server):
    def flood(session, number):
        session.get(f"{server.url}/data/drivers/{number}")
        session.request("BREW", f"{server.url}/{number}?x={number}")
        session.post(f"{server.url}/predict/lap", json={"features": {**LAP, "driver_number": 1 + number % 99}})
        session.post(f"{server.url}/predict/lap", json={"features": {**LAP, f"k{number}": number}}, auth=("u", "x"))

    with requests.Session() as session:
        session.auth = server.auth
        flood(session, 0)
        for path in ENDPOINTS:
            session.request("PUT", server.url + path)
        lines = len(server.metrics().splitlines())
        for number in range(1, 150):
            flood(session, number)
    text = server.metrics()
    assert len(text.splitlines()) == lines
    assert set(re.findall(r'endpoint="([^"]*)"', text)) == {*ENDPOINTS, "other", "drivers", "circuits"}
    assert set(re.findall(r'method="([^"]*)"', text)) == {"GET", "POST", "other"}
    assert {status for _, _, status in server.counted()} == STATUSES
    assert len(text) < 100_000


# --- bad input -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/predict/lap", "/predict/batch"])
@pytest.mark.parametrize("name", HOSTILE)
def test_a_bad_body_is_422_in_words_and_is_not_sent_back(server, name, path):
    answer = server.post(HOSTILE[name], path)
    assert answer.status_code == 422, answer.text
    assert answer.json()["error"] == "invalid_features"
    assert len(answer.content) < 3000
    assert answer.content.isascii()


def test_no_hostile_document_or_text_makes_a_500(server):
    with requests.Session() as session:
        session.auth = server.auth
        for name, raw in DOCUMENTS.items():
            inside = ALL[:-1] + b', "x": ' + raw + b"}"
            bodies = [raw, b'{"features": ' + raw + b"}", b'{"features": ' + inside + b"}"]
            for body in [*bodies, b'{"features": ' + ALL.replace(b"21.4", raw) + b"}"]:
                answer = session.post(f"{server.url}/predict/lap", data=body, timeout=20)
                assert answer.status_code in (200, 413, 422), (name, answer.text)
                answer.json()
        for text in TEXTS:
            answer = session.post(f"{server.url}/predict/lap", json={"features": {**LAP, "temp": text}}, timeout=20)
            assert answer.status_code == 422, text
    assert not [key for key, value in server.counted().items() if key[2] == "500" and value]
    assert "Traceback" not in server.log.read_text()


def padded(size):
    body = b'{"features": ' + ALL
    return body + b" " * (size - len(body) - 1) + b"}"


def test_a_body_at_the_limit_is_read_and_one_byte_more_is_413(server):
    errors = server.value("f1pa_prediction_errors_total", '{endpoint_type="single"}')
    assert server.post(padded(MAX_BODY)).status_code == 200
    for body in (padded(MAX_BODY + 1), iter([padded(MAX_BODY), b" "])):
        answer = server.post(body)
        assert (answer.status_code, answer.json()["error"]) == (413, "too_large")
    assert server.value("f1pa_prediction_errors_total", '{endpoint_type="single"}') == errors + 2
    assert server.post(b" " * (MAX_BODY + 1), "/predict/batch").status_code == 422
    assert server.post(b" " * (MAX_BATCH_BODY + 1), "/predict/batch").status_code == 413


def test_the_schema_names_the_circuits_the_model_knows(server):
    schemas = server.get("/openapi.json").json()["components"]["schemas"]
    assert schemas["Features"]["properties"]["circuit_key"]["enum"] == sorted(f1pa.CIRCUITS)
    assert set(schemas["Features"]["required"]) == set(f1pa.FEATURES)


def test_a_large_body_without_the_password_is_refused_unread(server):
    head = b"POST /predict/batch HTTP/1.1\r\nHost: x\r\nContent-Length: 50000000\r\n\r\n"
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
        connection.sendall(head)
        assert connection.recv(1000).split()[1] == b"401"


def test_a_client_that_leaves_in_the_middle_of_its_body_is_counted_and_harmless(server):
    import base64

    key = ("POST", "/predict/lap", "499")
    before = server.counted()[key]
    sign = b"Authorization: Basic " + base64.b64encode(":".join(server.auth).encode()) + b"\r\n"
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
        connection.sendall(b"POST /predict/lap HTTP/1.1\r\nHost: x\r\n" + sign + b"Content-Length: 100\r\n\r\n{")
    until(lambda: server.counted()[key] > before, "the client that left is counted", every=0.05)
    assert server.counted()[key] == before + 1
    assert server.post({"features": LAP}).status_code == 200


# --- without a server ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def service():
    """The service's module, loaded by path as uvicorn does."""
    spec = importlib.util.spec_from_file_location("f1pa_service", FOLDER / "service.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("model.json", None, "no model in"),
        ("model.joblib", None, "no model in"),
        ("model.json", "{", "no model in"),
        ("model.json", "[]", "is not version 1"),
        ("model.json", '{"version": 0}', "is not version 1"),
        ("sklearn", "0.1", "was trained with scikit-learn 0.1"),
        ("probe", {}, "loading failed"),
        ("features", ["nowhere"], "loading failed"),
    ],
)
def test_each_thing_that_is_wrong_with_a_model_is_named(service, home, tmp_path, name, content, words):
    folder = tmp_path / "model"
    shutil.copytree(home / "f1pa" / "model", folder)
    assert service.load_model(folder).described["version"] == 1
    if name in ("sklearn", "probe", "features"):
        described = json.loads((folder / "model.json").read_text())
        (folder / "model.json").write_text(json.dumps({**described, name: content}))
    elif content is None:
        (folder / name).unlink()
    else:
        (folder / name).write_text(content)
    with pytest.raises(service.NotReadyError, match=re.escape(words)):
        service.load_model(folder)


def test_a_model_file_is_not_unpickled_before_its_hash_is_right(service, home, tmp_path):
    shutil.copytree(home / "f1pa" / "model", tmp_path / "model")
    mark = tmp_path / "opened"

    class Evil:
        def __reduce__(self):
            return (Path.touch, (mark,))

    (tmp_path / "model" / "model.joblib").write_bytes(pickle.dumps(Evil()))
    with pytest.raises(service.NotReadyError, match=r"is not the file model\.json describes"):
        service.load_model(tmp_path / "model")
    assert not mark.exists()


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("nonsense", "F1PA_DATABASE_URL cannot be used"),
        ("oracle9://x:geheim@y/z", "F1PA_DATABASE_URL cannot be used"),
        ("postgresql://me:geheim@127.0.0.1:1/laps", "refused"),
    ],
)
def test_a_database_address_that_does_not_work_is_said_without_its_password(service, url, words):
    with pytest.raises(service.QueryError, match=words) as caught:
        service.Database(url).look()
    assert "geheim" not in str(caught.value)


def test_a_look_that_hangs_is_no_connection_after_a_while(service, monkeypatch):
    check = service.Check(lambda: None)
    assert check.reason == "not looked at yet"
    check._reason = ""
    assert check.reason == ""
    monkeypatch.setattr(service, "STALE_SECONDS", -1.0)
    assert "no answer for" in check.reason


@pytest.mark.parametrize("address", ["", "file:///tmp/mlruns", "sqlite:///mlflow.db", "http://127.0.0.1:1"])
def test_an_mlflow_that_is_none_is_a_reason(service, address):
    with pytest.raises(service.QueryError, match=r"(?i)mlflow"):
        service.look_at_mlflow(address)


def test_the_system_file_asks_only_for_what_the_service_exposes(server, system):
    known = set(re.findall(r"^(\w+?)(?:_bucket|_sum|_count)?(?:\{| )", server.metrics(), re.MULTILINE))
    expressions = [
        expr
        for panel in system.panels
        for expr in ([panel.expr] if isinstance(panel.expr, str) else panel.expr.values())
    ]
    expressions += [one.expr for one in (*system.alerts, *system.status)]
    for expression in expressions:
        for name in re.findall(r"\b((?:f1pa|http|process)_\w+?)(?:_bucket|_sum|_count)?\{", expression):
            assert name in known, name
    assert {system.metrics.requests, system.metrics.latency} <= known


def test_the_seven_panels_and_four_alerts_of_the_documents_are_there(system):
    titles = [panel.title.partition(",")[0] for panel in system.panels]
    assert titles[:7] == [
        "Prediction Requests/sec", "Prediction Latency (p95)", "Model Status", "Prediction Error Rate",
        "Database Connection", "MLflow Connection", "HTTP Status Codes",
    ]  # fmt: skip
    assert len(system.status) == 3
    waits = {alert.name: alert.for_ for alert in system.alerts}
    assert waits == {
        "HighPredictionLatency": "5m", "ModelNotLoaded": "1m", "DatabaseDisconnected": "2m",
        "HighPredictionErrorRate": "5m",
    }  # fmt: skip
    assert all(alert.condition and alert.impact and alert.action for alert in system.alerts)


def test_the_requests_of_the_console_are_laps_of_the_data(system):
    fields = system.request.fields
    assert set(fields) == set(f1pa.FEATURES)
    assert set(fields["driver_number"].values) == {*f1pa.FIELD, *f1pa.NEW_DRIVERS}
    assert set(fields["circuit_key"].values) == set(f1pa.CIRCUITS)


def test_the_image_runs_without_root_and_its_lock_names_no_index():
    docker = (FOLDER / "Dockerfile").read_text()
    assert re.search(r"^USER \d+$", docker, re.MULTILINE)
    assert "slim" in docker
    lock = (FOLDER / "requirements.txt").read_text()
    assert "--hash=sha256:" in lock
    assert "://" not in lock
    assert "--index-url" not in lock
