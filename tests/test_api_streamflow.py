"""The StreamFlow API through a real uvicorn, on good, bad and hostile requests."""

import concurrent.futures
import hashlib
import importlib.util
import json
import os
import pickle
import re
import shutil
import socket
import sqlite3
import sys
from pathlib import Path

import pytest
import requests

from stack.world import story
from tests import warm
from tests.conftest import sample_home
from tests.hostile_text import DOCUMENTS, TEXTS
from tests.waiting import until

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "stack" / "api" / "streamflow"
STATUSES = {"200", "404", "405", "413", "422", "499", "500", "503"}
MAX_BODY = 64 * 1024
# Bodies that break a service which hands them on unread: always tried.
HOSTILE = {
    "nothing": b"",
    "a space": b" ",
    "not json": b"user_id=U0001",
    "null": b"null",
    "a list": b"[]",
    "a text": b'"U0001"',
    "NaN": b"NaN",
    "Infinity": b"-Infinity",
    "NaN as user": b'{"user_id": NaN}',
    "1e999 as user": b'{"user_id": 1e999}',
    "a huge number": b'{"user_id": ' + b"9" * 5000 + b"}",
    "a number": b'{"user_id": 1}',
    "a bool": b'{"user_id": true}',
    "a null user": b'{"user_id": null}',
    "a nested user": b'{"user_id": {"user_id": "U0001"}}',
    "an empty user": b'{"user_id": ""}',
    "a long user": b'{"user_id": "' + b"U" * 129 + b'"}',
    "no user": b"{}",
    "a lone surrogate": b'{"user_id": "\\ud800"}',
    "a lone surrogate as key": b'{"\\ud800": 1}',
    "two low surrogates": b'{"user_id": "\\udc00\\udc00"}',
    "bad utf-8": b'{"user_id": "\xff\xfe"}',
    "encoded surrogate": b'{"user_id": "\xed\xa0\x80"}',
    "a byte order mark": b'\xef\xbb\xbf{"user_id": "U0001"}',
    "utf-16": '{"user_id": "U0001"}'.encode("utf-16"),
    "deep lists": b"[" * 30000,
    "deep user": b'{"user_id": ' + b"[" * 20000 + b"]" * 20000 + b"}",
    "deep objects": b'{"a":' * 10000 + b"1" + b"}" * 10000,
    "cut off": b'{"user_id": "U00',
    "something after": b'{"user_id": "U0001"} x',
}
UNKNOWN = [
    "NOPE",
    "u0001",
    " U0001",
    "U0001\u0000",
    "\u0000",
    "💥",
    "U0001' OR 1=1 --",
    "../../etc/passwd",
    "<script>",
    "é" * 128,
]


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return sample_home(tmp_path_factory)


class Server:
    """A uvicorn of our own on a free port, started as the stack starts it; `cold`, its libraries are imported anew."""

    def __init__(self, model, repository, log, folder=FOLDER, *, cold=False, **environment):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = log
        settings = {"STREAMFLOW_MODEL_DIR": model, "FEAST_REPO": repository}
        env = {**os.environ, "OMP_NUM_THREADS": "1", **environment}
        env |= {name: str(value) for name, value in settings.items() if value is not None}
        libraries = warm.NONE if cold else warm.FEAST
        options = ("--app-dir", str(folder))
        self.process = warm.service(self.port, *options, log=log, env=env, libraries=libraries)

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
        self.process.terminate()
        self.process.wait(timeout=120)

    def predict(self, body, **kwargs):
        data = json.dumps(body) if isinstance(body, dict) else body
        return requests.post(f"{self.url}/predict", data=data, timeout=20, **kwargs)

    def metrics(self):
        return requests.get(f"{self.url}/metrics", timeout=10).text

    def counted(self):
        found = re.findall(
            r'^api_requests_total\{endpoint="/predict",status="(\d+)"\} (\S+)$', self.metrics(), re.MULTILINE
        )
        return {status: int(float(value)) for status, value in found}

    def observed(self):
        return int(float(re.search(r"^api_request_latency_seconds_count (\S+)$", self.metrics(), re.MULTILINE)[1]))


@pytest.fixture(scope="module")
def server(home, tmp_path_factory):
    model = home / "world" / "streamflow" / "model"
    # How its metrics count depends on what is imported first.
    running = Server(model, home / "feast", tmp_path_factory.mktemp("log") / "api.log", cold=True)
    try:
        running.wait(lambda answer: answer.status_code == 200)
        # Before any other request: what a fresh service shows.
        running.fresh = running.metrics()
        yield running
    finally:
        running.stop()


@pytest.fixture(scope="module")
def sick(home, tmp_path_factory):
    """A service whose model file is not the one that was described."""
    folder = tmp_path_factory.mktemp("sick")
    shutil.copytree(home / "world" / "streamflow" / "model", folder / "model")
    shutil.copytree(home / "feast", folder / "feast")
    with (folder / "model" / "model.joblib").open("ab") as handle:
        handle.write(b"\0")
    running = Server(folder / "model", folder / "feast", folder / "api.log")
    running.folder = folder
    try:
        yield running
    finally:
        running.stop()


def test_every_series_exists_at_zero_before_the_first_request(server):
    lines = server.fresh.splitlines()
    for status in STATUSES:
        assert f'api_requests_total{{endpoint="/predict",status="{status}"}} 0.0' in lines
    assert "api_request_latency_seconds_count 0.0" in lines
    edges = re.findall(r'api_request_latency_seconds_bucket\{le="([^"]+)"\}', server.fresh)
    defaults = "0.005 0.01 0.025 0.05 0.075 0.1 0.25 0.5 0.75 1.0 2.5 5.0 7.5 10.0 +Inf"
    assert edges == defaults.split()
    for name in (
        "process_cpu_seconds_total",
        "process_resident_memory_bytes",
        "python_info",
        "python_gc_collections_total",
    ):
        assert f"\n{name}" in server.fresh
    assert "feast_" not in server.fresh


def test_a_prediction_names_the_user_the_class_and_the_14_features(server):
    answer = server.predict({"user_id": "U0001"})
    assert answer.status_code == 200
    body = answer.json()
    assert list(body) == ["user_id", "prediction", "features_used"]
    assert body["user_id"] == "U0001"
    assert body["prediction"] in (0, 1)
    assert isinstance(body["prediction"], int)
    assert list(body["features_used"]) == list(story.FEATURES)
    assert body["features_used"]["net_service"] in ("Fiber optic", "DSL", "No")
    assert isinstance(body["features_used"]["paperless_billing"], bool)


def test_the_model_answers_both_classes_and_agrees_with_the_file(server, home):
    import joblib

    model = joblib.load(home / "world" / "streamflow" / "model" / "model.joblib")
    seen = set()
    for number in range(1, 41):
        body = server.predict({"user_id": f"U{number:04d}"}).json()
        assert body["prediction"] == model.predict([body["features_used"]])[0]
        seen.add(body["prediction"])
    assert seen == {0, 1}


@pytest.mark.parametrize("user", UNKNOWN)
def test_an_unknown_user_is_404_in_words(server, user):
    answer = server.predict({"user_id": user})
    assert (answer.status_code, answer.json()["error"]) == (404, "unknown_user")


@pytest.mark.parametrize("name", HOSTILE)
def test_a_bad_body_is_422_in_words_and_is_not_sent_back(server, name):
    answer = server.predict(HOSTILE[name])
    assert answer.status_code == 422, answer.text
    assert answer.json()["error"] == "bad_body"
    assert len(answer.content) < 2000
    assert answer.content.isascii()


def test_further_keys_do_not_matter(server):
    assert server.predict(b'{"user_id": "U0001", "note": NaN, "n": 1e999}').status_code in (200, 422)
    assert server.predict({"user_id": "U0001", "note": "x"}).status_code == 200


def test_no_hostile_document_or_text_makes_a_500(server):
    before = server.counted()["500"]
    with requests.Session() as session:
        for name, raw in DOCUMENTS.items():
            bodies = [raw, b'{"user_id": ' + raw + b"}", b'{"user_id": "U0001", "x": ' + raw + b"}"]
            for body in bodies:
                answer = session.post(f"{server.url}/predict", data=body, timeout=20)
                assert answer.status_code in (200, 404, 413, 422), (name, answer.text)
                answer.json()
        for text in TEXTS:
            answer = session.post(f"{server.url}/predict", json={"user_id": text}, timeout=20)
            assert answer.status_code in (404, 422), text
            answer.json()
    assert server.counted()["500"] == before
    assert "Traceback" not in server.log.read_text()


def padded(size):
    body = b'{"user_id": "U0001"'
    return body + b" " * (size - len(body) - 1) + b"}"


def test_64_kb_is_read_and_one_byte_more_is_413(server):
    assert server.predict(padded(MAX_BODY)).status_code == 200
    answer = server.predict(padded(MAX_BODY + 1))
    assert (answer.status_code, answer.json()["error"]) == (413, "too_large")


def test_a_body_of_unannounced_length_is_413_once_it_is_too_long(server):
    assert server.predict(iter([padded(MAX_BODY)])).status_code == 200
    assert server.predict(iter([padded(MAX_BODY), b" "])).status_code == 413


def resident(server):
    return float(re.search(r"^process_resident_memory_bytes (\S+)$", server.metrics(), re.MULTILINE)[1])


@pytest.mark.parametrize("chunked", [False, True])
def test_50_mb_are_refused_and_not_held_in_memory(server, chunked):
    block = b" " * (1 << 20)
    before = resident(server)
    statuses = []
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
        length = b"Transfer-Encoding: chunked" if chunked else b"Content-Length: %d" % (50 * len(block))
        connection.sendall(b"POST /predict HTTP/1.1\r\nHost: x\r\n" + length + b"\r\n\r\n")
        for _ in range(50):
            connection.sendall(b"%x\r\n%b\r\n" % (len(block), block) if chunked else block)
        statuses.append(connection.recv(1000).split()[1])
    assert statuses == [b"413"]
    assert resident(server) - before < 10 * len(block)


def test_the_limit_holds_on_every_path(server):
    assert requests.post(f"{server.url}/nowhere", data=padded(MAX_BODY + 1), timeout=20).status_code == 413


def test_counter_and_histogram_move_by_exactly_what_was_sent(server):
    before, timed = server.counted(), server.observed()
    sent = [b'{"user_id": "U0002"}'] * 3 + [b'{"user_id": "NOPE"}'] * 2 + [b"{}", padded(MAX_BODY + 1)]
    for body in sent:
        server.predict(body)
    assert requests.get(f"{server.url}/predict", timeout=10).status_code == 405
    after = server.counted()
    moved = {status: after[status] - before[status] for status in after if after[status] != before[status]}
    assert moved == {"200": 3, "404": 2, "422": 1, "413": 1, "405": 1}
    assert server.observed() - timed == 8
    assert server.observed() == sum(after.values())


def test_other_paths_are_not_counted(server):
    before = server.counted()
    for path in ("health", "metrics", "docs", "openapi.json", "nowhere", "predict/"):
        requests.get(f"{server.url}/{path}", timeout=10)
    assert server.counted() == before


def test_100_requests_at_once_are_all_answered_and_counted(server):
    before = server.counted()["200"]
    users = [f"U{number:04d}" for number in range(100, 200)]
    with concurrent.futures.ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda user: server.predict({"user_id": user}), users))
    assert [answer.json()["user_id"] for answer in answers] == users
    assert server.counted()["200"] == before + 100


def test_a_client_that_leaves_in_the_middle_of_its_body_is_counted_and_harmless(server):
    before = server.counted()
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
        connection.sendall(b'POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{"user')
    until(lambda: server.counted()["499"] > before["499"], "the client that left is counted", every=0.05)
    assert server.counted()["499"] == before["499"] + 1
    assert server.predict({"user_id": "U0001"}).status_code == 200


def test_no_identifier_appears_in_the_metrics_and_label_sets_are_closed(server):
    server.predict({"user_id": "U0815"})
    server.predict({"user_id": "NOBODY"})
    text = server.metrics()
    assert "U0815" not in text
    assert "NOBODY" not in text
    assert set(server.counted()) == STATUSES
    assert set(re.findall(r'endpoint="([^"]*)"', text)) == {"/predict"}


def test_health_names_the_model_and_its_quality(server, home):
    body = requests.get(f"{server.url}/health", timeout=10).json()
    described = json.loads((home / "world" / "streamflow" / "model" / "model.json").read_text())
    assert body["status"] == "ok"
    assert body["model"]["sha256"] == described["sha256"]
    assert body["model"]["auc_held_out"] == described["auc_held_out"]


def test_the_documentation_page_needs_nothing_from_outside(server):
    page = requests.get(f"{server.url}/docs", timeout=10)
    assert page.status_code == 200
    assert page.headers["content-type"].startswith("text/html")
    assert not re.findall(r"""(?:https?:)?//[\w.-]+\.\w+""", page.text)
    api = requests.get(f"{server.url}/openapi.json", timeout=10).json()
    assert set(api["paths"]) == {"/predict", "/health", "/metrics"}
    assert {"200", "404", "413", "422", "503"} <= set(api["paths"]["/predict"]["post"]["responses"])
    for path in ("redoc", "docs/oauth2-redirect"):
        assert requests.get(f"{server.url}/{path}", timeout=10).status_code == 404


def test_a_model_whose_hash_differs_is_refused_until_the_right_one_is_there(sick, home):
    answer = sick.wait(lambda answer: answer.json()["status"] != "starting")
    assert (answer.status_code, answer.json()["status"]) == (503, "not ready")
    assert "is not the file model.json describes" in answer.json()["reason"]
    refused = sick.predict({"user_id": "U0001"})
    assert (refused.status_code, refused.json()["error"]) == (503, "not_ready")
    assert "train the model again" in refused.json()["detail"]
    assert sick.predict({}).status_code == 422
    assert sick.counted()["503"] == 1
    assert sick.observed() == 2
    shutil.copyfile(home / "world" / "streamflow" / "model" / "model.joblib", sick.folder / "model" / "model.joblib")
    sick.wait(lambda answer: answer.status_code == 200)
    assert sick.predict({"user_id": "U0001"}).status_code == 200


def test_a_feature_store_that_fails_later_is_503_in_words(sick):
    sick.wait(lambda answer: answer.status_code == 200)
    table = '"streamflow_support_agg_90d_fv"'
    with sqlite3.connect(sick.folder / "feast" / "online_store.db") as db:
        db.execute(f"update {table} set value = ? where feature_name = 'support_tickets_90d'", (b"",))
    answer = sick.predict({"user_id": "U0005"})
    assert (answer.status_code, answer.json()["error"]) == (503, "features_missing")
    assert answer.json()["detail"] == "user 'U0005' has no value for support_tickets_90d"
    with sqlite3.connect(sick.folder / "feast" / "online_store.db") as other:
        other.execute(f"drop table {table}")
    answer = sick.predict({"user_id": "U0005"})
    assert (answer.status_code, answer.json()["error"]) == (503, "store_failed")
    assert sick.counted()["500"] == 0
    db.close()
    other.close()


@pytest.fixture(scope="module")
def service():
    """The service's module, loaded by path as uvicorn does."""
    spec = importlib.util.spec_from_file_location("streamflow_service", FOLDER / "service.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def break_home(fault, model, repository):
    described = json.loads((model / "model.json").read_text())
    if fault == "no model":
        shutil.rmtree(model)
    elif fault == "bad model.json":
        (model / "model.json").write_text("{")
    elif fault == "a list as model.json":
        (model / "model.json").write_text("[]")
    elif fault == "old model.json":
        (model / "model.json").write_text(json.dumps({**described, "version": 0}))
    elif fault == "other scikit-learn":
        (model / "model.json").write_text(json.dumps({**described, "sklearn": "0.1"}))
    elif fault == "no repository":
        (repository / "feature_store.yaml").unlink()
    elif fault == "bad feature_store.yaml":
        (repository / "feature_store.yaml").write_text("project: [")
    elif fault == "no registry":
        (repository / "registry.db").unlink()
    elif fault == "empty registry":
        (repository / "registry.db").write_bytes(b"")
    elif fault == "torn registry":
        content = (repository / "registry.db").read_bytes()
        (repository / "registry.db").write_bytes(content[: len(content) // 2])
    elif fault == "not materialised":
        with sqlite3.connect(repository / "online_store.db") as db:
            for view in ("subs_profile", "usage_agg_30d", "payments_agg_90d", "support_agg_90d"):
                db.execute(f'delete from "streamflow_{view}_fv"')
        db.close()
    elif fault == "no online store":
        (repository / "online_store.db").unlink()
    elif fault == "unknown feature":
        references = [*described["features"], "subs_profile_fv:nowhere"]
        (model / "model.json").write_text(json.dumps({**described, "features": references}))


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("no model", "no model in STREAMFLOW_MODEL_DIR"),
        ("bad model.json", "no model in STREAMFLOW_MODEL_DIR"),
        ("a list as model.json", "is not version 1"),
        ("old model.json", "is not version 1"),
        ("other scikit-learn", "was trained with scikit-learn 0.1"),
        ("no repository", "no feature_store.yaml in FEAST_REPO"),
        ("bad feature_store.yaml", "loading failed: "),
        ("no registry", "holds no feature views"),
        ("empty registry", "holds no feature views"),
        ("torn registry", "loading failed: "),
        ("not materialised", "is empty: materialise it"),
        ("no online store", "loading failed: "),
        ("unknown feature", "loading failed: "),
    ],
)
def test_each_thing_that_is_missing_is_named(service, home, tmp_path, fault, words):
    model, repository = tmp_path / "model", tmp_path / "feast"
    shutil.copytree(home / "world" / "streamflow" / "model", model)
    shutil.copytree(home / "feast", repository)
    settings = {"STREAMFLOW_MODEL_DIR": str(model), "FEAST_REPO": str(repository)}
    assert service.load(settings).predict("U0001").user_id == "U0001"
    break_home(fault, model, repository)
    with pytest.raises(service.NotReadyError, match=re.escape(words)):
        service.load(settings)


def test_a_model_file_is_not_unpickled_before_its_hash_is_right(service, home, tmp_path):
    shutil.copytree(home / "world" / "streamflow" / "model", tmp_path / "model")
    mark = tmp_path / "opened"

    class Evil:
        def __reduce__(self):
            return (Path.touch, (mark,))

    (tmp_path / "model" / "model.joblib").write_bytes(pickle.dumps(Evil()))
    with pytest.raises(service.NotReadyError, match=r"is not the file model\.json describes"):
        service.load_model(tmp_path / "model")
    assert not mark.exists()


def test_without_settings_the_service_runs_and_names_the_first_that_is_missing(tmp_path):
    running = Server(None, None, tmp_path / "api.log")
    try:
        answer = running.wait(lambda answer: answer.json()["status"] != "starting")
        assert answer.status_code == 503
        assert answer.json()["reason"] == "STREAMFLOW_MODEL_DIR is not set"
        assert running.predict({"user_id": "U0001"}).status_code == 503
        assert running.counted()["503"] == 1
    finally:
        running.stop()


def test_the_model_folder_is_the_one_the_world_made(home):
    folder = home / "world" / "streamflow" / "model"
    described = json.loads((folder / "model.json").read_text())
    assert described["sha256"] == hashlib.sha256((folder / "model.joblib").read_bytes()).hexdigest()
