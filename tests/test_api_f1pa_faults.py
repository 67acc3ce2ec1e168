"""The F1PA API when what it needs goes away and comes back: model, password, SQLite, PostgreSQL, MLflow."""

import concurrent.futures
import contextlib
import os
import shutil
import sqlite3
import subprocess
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import psutil
import pytest

from tests.conftest import absent, f1pa_home
from tests.f1pa_service import FOLDER, LAP, Server


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return f1pa_home(tmp_path_factory)


@pytest.fixture
def own(home, tmp_path):
    """A service on a copy of the data, to be broken; started with the environment given."""
    started = []

    def start(**environment):
        if not (tmp_path / "f1pa").exists():
            shutil.copytree(home / "f1pa", tmp_path / "f1pa")
        started.append(Server(tmp_path / "f1pa", tmp_path / "api.log", **environment))
        return started[-1]

    yield start
    for running in started:
        running.stop()


def test_a_database_that_goes_away_and_comes_back_moves_the_gauge_and_predictions_go_on(own):
    running = own()
    running.wait(lambda answer: answer.status_code == 200)
    running.settled("f1pa_database_connected", 1)
    file = running.folder / "f1pa.db"
    file.rename(running.folder / "away.db")
    running.settled("f1pa_database_connected", 0)
    health = running.health()
    assert (health.status_code, health.json()["status"]) == (200, "degraded")
    assert health.json()["database"] == {"connected": False, "reason": "there is no file f1pa.db"}
    answer = running.get("/data/drivers")
    assert (answer.status_code, answer.json()["error"]) == (503, "database")
    assert running.post({"features": LAP}).status_code == 200
    assert not file.exists()
    file.write_bytes(b"no database at all" * 100)
    answer = running.get("/data/circuits")
    assert answer.status_code == 503
    assert "not a database" in answer.json()["detail"]
    file.unlink()
    (running.folder / "away.db").rename(file)
    running.settled("f1pa_database_connected", 1)
    assert running.get("/data/drivers").json()["count"] == 23
    assert running.health().json()["status"] == "ok"


def test_tables_that_are_empty_or_locked_are_no_connection(own):
    running = own()
    running.wait(lambda answer: answer.json()["database"]["connected"])
    holder = sqlite3.connect(running.folder / "f1pa.db", isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    running.settled("f1pa_database_connected", 0)
    assert "locked" in running.health().json()["database"]["reason"]
    holder.execute("DELETE FROM drivers")
    holder.execute("DELETE FROM circuits")
    holder.execute("COMMIT")
    holder.close()
    running.wait(lambda answer: "are empty" in answer.json()["database"]["reason"])


class Mlflow:
    """A stand-in for MLflow's server: /health, as long as it is there."""

    def __init__(self):
        outer = self
        self.mode = "ok"

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                if outer.mode == "slow":
                    time.sleep(30)
                status = {"ok": 200, "error": 500, "elsewhere": 302}.get(outer.mode, 200)
                self.send_response(status)
                if outer.mode == "elsewhere":
                    self.send_header("Location", "/ok")
                self.end_headers()
                self.wfile.write(b"OK")

            def log_message(self, *args):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        Thread(target=self.server.serve_forever, daemon=True).start()

    def stop(self):
        self.server.shutdown()
        self.server.server_close()


def test_the_mlflow_gauge_follows_the_server(own):
    mlflow = Mlflow()
    try:
        running = own(MLFLOW_TRACKING_URI=mlflow.url + "/")
        running.wait(lambda answer: answer.status_code == 200)
        running.settled("f1pa_mlflow_connected", 1)
        for mode, word in (("error", "Internal Server Error"), ("elsewhere", "Found"), ("slow", "timed out")):
            mlflow.mode = mode
            running.wait(lambda answer, word=word: word in answer.json()["mlflow"]["reason"])
            assert running.value("f1pa_mlflow_connected") == 0
            assert running.post({"features": LAP}).status_code == 200
        mlflow.mode = "ok"
        running.settled("f1pa_mlflow_connected", 1)
    finally:
        mlflow.stop()
    running.settled("f1pa_mlflow_connected", 0)
    assert running.health().json()["status"] == "ok"


def test_the_model_gauge_is_0_until_a_model_with_the_right_hash_is_there(own, home, tmp_path):
    shutil.copytree(home / "f1pa", tmp_path / "f1pa")
    path = tmp_path / "f1pa" / "model" / "model.joblib"
    right = path.read_bytes()
    path.write_bytes(right + b"\0")
    running = own()
    answer = running.wait(lambda answer: "is being loaded" not in answer.json()["reason"])
    assert (answer.status_code, answer.json()["status"]) == (503, "not ready")
    assert "is not the file model.json describes" in answer.json()["reason"]
    assert running.value("f1pa_model_loaded") == 0
    refused = running.post({"features": LAP})
    assert (refused.status_code, refused.json()["error"]) == (503, "not_ready")
    assert running.value("f1pa_prediction_errors_total", '{endpoint_type="single"}') == 1
    assert running.post({"features": {}}).status_code == 422
    path.write_bytes(right)
    running.wait(lambda answer: answer.status_code == 200)
    assert running.value("f1pa_model_loaded") == 1
    assert running.post({"features": LAP}).status_code == 200


def test_without_any_setting_it_runs_serves_nothing_and_says_what_is_missing(tmp_path):
    running = Server(None, tmp_path / "api.log")
    try:
        answer = running.wait(lambda answer: "is being loaded" not in answer.json()["reason"])
        assert (answer.status_code, answer.json()["reason"]) == (
            503, "no password: set F1PA_PASSWORD or F1PA_PASSWORD_FILE",
        )  # fmt: skip
        assert answer.json()["database"]["reason"] == "F1PA_DATA_DIR is not set"
        for auth in (None, ("f1pa", ""), ("f1pa", "f1pa")):
            assert running.get("/data/drivers", auth=auth).status_code == 503
        assert running.value("f1pa_database_connected") == 0
    finally:
        running.stop()


def test_variables_come_before_the_files_of_the_folder(own, tmp_path):
    copy = tmp_path / "other.db"
    own_password = "für Spa & Monza"
    (tmp_path / "secret").write_text(own_password + "\n")
    running = own(F1PA_PASSWORD_FILE=str(tmp_path / "secret"), F1PA_DATABASE_URL=f"sqlite:///{copy}", F1PA_USER="me")
    running.auth = ("me", own_password.encode())
    running.wait(lambda answer: answer.status_code == 200)
    assert running.get("/data/drivers").status_code == 503
    assert not copy.exists()
    done = copy_tables(running.folder / "f1pa.db", f"sqlite:///{copy}")
    assert (done.returncode, done.stdout) == (0, "23 drivers, 24 circuits copied\n"), done.stderr
    running.settled("f1pa_database_connected", 1)
    assert running.get("/data/drivers").json()["count"] == 23
    assert running.get("/data/drivers", auth=("f1pa", (running.folder / "password").read_text())).status_code == 401


@pytest.fixture(scope="module")
def postgres():
    """A real PostgreSQL; skipped with the reason where there is none."""
    servers = pytest.importorskip("tests.postgres_server", reason="no helper that starts a PostgreSQL")
    with contextlib.ExitStack() as stack:
        try:
            server = stack.enter_context(servers.running())
        except servers.NoServer as error:
            absent(str(error))
        yield server


def copy_tables(file, url):
    return subprocess.run(
        [sys.executable, str(FOLDER / "tables.py"), "--from", str(file)],
        env={**os.environ, "F1PA_DATABASE_URL": url},
        capture_output=True,
        text=True,
        timeout=60,
    )


def processes(server):
    main = psutil.Process(server.process.pid)
    return [main, *main.children(recursive=True)]


def test_with_postgres_the_same_rows_are_served_and_the_gauge_follows_the_server(own, postgres):
    url = postgres.url()
    running = own(F1PA_DATABASE_URL=url)
    running.wait(lambda answer: answer.status_code == 200)
    running.wait(lambda answer: '"drivers" does not exist' in answer.json()["database"]["reason"])
    for _ in range(2):
        done = copy_tables(running.folder / "f1pa.db", url)
        assert (done.returncode, done.stdout) == (0, "23 drivers, 24 circuits copied\n"), done.stderr
    running.settled("f1pa_database_connected", 1)
    with sqlite3.connect(running.folder / "f1pa.db") as db:
        db.row_factory = sqlite3.Row
        for table, key in (("drivers", "driver_number"), ("circuits", "circuit_key")):
            rows = [dict(row) for row in db.execute(f"select * from {table} order by {key}")]
            assert running.get(f"/data/{table}").json() == {table: rows, "count": len(rows)}
    db.close()
    # Every connection of the pool is ended, as by a restart: the next question makes a new one.
    postgres.kick()
    assert running.get("/data/drivers").status_code == 200
    # A server that hangs answers nobody; what waits for it is bounded, and predictions go on.
    frozen = processes(postgres)
    for process in frozen:
        process.suspend()
    try:
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(lambda _: running.get("/data/drivers"), range(8)))
        assert {answer.status_code for answer in answers} == {503}
        # Whichever gives up first, the question or the connection: the reason is the time.
        said = answers[0].json()["detail"]
        assert "no answer within" in said or "timeout expired" in said
        assert running.post({"features": LAP}).status_code == 200
        running.settled("f1pa_database_connected", 0)
    finally:
        for process in frozen:
            process.resume()
    running.settled("f1pa_database_connected", 1)
    assert running.get("/data/circuits").json()["count"] == 24
    postgres.stop()
    running.settled("f1pa_database_connected", 0)
    answer = running.get("/data/drivers")
    assert (answer.status_code, answer.json()["error"]) == (503, "database")
    postgres.start()
    running.settled("f1pa_database_connected", 1)
    assert running.get("/data/drivers").json()["count"] == 23
    assert postgres.password not in running.log.read_text() + running.health().text + answer.text
