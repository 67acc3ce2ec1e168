"""The churn model in a real MLflow 2.16: registered once, found again, followed by the service; and MLflow at its worst."""

import contextlib
import hashlib
import importlib.util
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import joblib
import pytest
import requests

from stack.mlflow import register
from tests import http_fakes
from tests.conftest import free_port, sample_home
from tests.locked_environments import environ, environment
from tests.test_api_streamflow import Server
from tests.waiting import until

ROOT = Path(__file__).resolve().parents[1]
SERVICE = ROOT / "stack" / "api" / "streamflow"
START_SECONDS = 170
HTML = http_fakes.answer(b"<html>sign in</html>", kind="text/html")
heavy = [pytest.mark.heavy("mlflow"), pytest.mark.timeout(900)]


class Mlflow:
    """`mlflow server` as compose starts it, on loopback and a folder of its own."""

    def __init__(self, python: Path, folder: Path):
        self.python, self.folder, self.port = python, folder, free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.process = None

    def start(self):
        folder = self.folder
        command = [self.python.with_name("mlflow"), "server", "--host", "127.0.0.1", "--port", str(self.port)]
        command += ["--workers", "1", "--backend-store-uri", "sqlite:///mlflow.db"]
        command += ["--artifacts-destination", "./artifacts", "--serve-artifacts"]
        # gunicorn is found by name.
        path = f"{self.python.parent}:/usr/bin:/bin"
        with (folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                command,
                cwd=folder,
                stdout=log,
                stderr=log,
                env=environ(folder, PATH=path, HOME=str(folder)),
                # The command does not hand on a signal to the gunicorn it starts.
                start_new_session=True,
            )
        register.Server(self.url).wait(START_SECONDS)
        return self

    def stop(self):
        if self.process is not None:
            os.killpg(self.process.pid, signal.SIGTERM)
            self.process.wait(120)
            self.process = None
            # gunicorn outlives the command by a moment, and the next server wants its port.
            until(lambda: not self._listening(), f"MLflow leaves port {self.port}", every=0.1)

    def _listening(self):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
            return True
        return False

    def ask(self, path, **query):
        answer = requests.get(f"{self.url}/api/2.0/mlflow/{path}", params=query, timeout=30)
        answer.raise_for_status()
        return answer.json()

    def version(self, number):
        return self.ask("model-versions/get", name=register.NAME, version=number)["model_version"]


@pytest.fixture(scope="module")
def mlflow(tmp_path_factory) -> Iterator[Mlflow]:
    server = Mlflow(environment("mlflow"), tmp_path_factory.mktemp("mlflow"))
    try:
        yield server.start()
    finally:
        server.stop()


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    """The folder of the model that the sample world trained."""
    return sample_home(tmp_path_factory) / "world" / "streamflow" / "model"


@pytest.fixture(scope="module")
def later_model(model, tmp_path_factory) -> Path:
    """The same service's model, trained on the month after."""
    world, folder = model.parent, tmp_path_factory.mktemp("later")
    command = [sys.executable, SERVICE / "train.py", "--features", world / "features", "--out", folder]
    subprocess.run([*command, "--labels", world / "streamflow.db", "--as-of", "2024-02-29"], check=True)
    return folder


def registered(folder, url, *more):
    command = [
        sys.executable,
        ROOT / "stack" / "mlflow" / "register.py",
        "--model",
        folder,
        "--tracking-uri",
        url,
        *more,
    ]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, env=environ(folder))


def digest(folder):
    return hashlib.sha256((folder / "model.joblib").read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def registry():
    """The service's own reader, loaded by path as the service does."""
    spec = importlib.util.spec_from_file_location("streamflow_registry", SERVICE / "registry.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def follower(registry, url, folder, **told):
    given = {"MLFLOW_TRACKING_URI": url, "STREAMFLOW_MODEL_DIR": str(folder), **told}
    return registry.Follower(registry.Registry.from_environ(given), given)


# -- with the real server, in the order in which a deployment lives ---------------------------------------------------


class TestRealServer:
    pytestmark = heavy

    def test_before_anything_is_registered_the_reader_says_so(self, mlflow, registry, model):
        one = follower(registry, mlflow.url, model)
        one.look(None, pytest.fail)
        assert one.connected
        assert "not found" in one.reason or "no streamflow_churn" in one.reason

    def test_a_model_is_registered_once_with_alias_stage_and_hash(self, mlflow, model):
        first, second = registered(model, mlflow.url), registered(model, mlflow.url)
        assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
        assert first.stdout.startswith("streamflow_churn version 1 (sha256 ")
        assert first.stdout.endswith("is production: registered\n")
        assert second.stdout == first.stdout.replace("registered", "already there")
        version = mlflow.version("1")
        assert version["aliases"] == ["production"]
        assert version["current_stage"] == "Production"
        assert {"key": "sha256", "value": digest(model)} in version["tags"]
        run = mlflow.ask("runs/get", run_id=version["run_id"])["run"]
        assert run["info"]["status"] == "FINISHED"
        described = json.loads((model / "model.json").read_text())
        assert {one["key"]: one["value"] for one in run["data"]["metrics"]}["auc_held_out"] == described["auc_held_out"]

    def test_the_reader_gets_the_bytes_that_were_registered(self, mlflow, registry, model):
        got = []
        one = follower(registry, mlflow.url, model)
        one.look(None, lambda *files: got.append(files))
        content, description, where = got[0]
        assert content == (model / "model.joblib").read_bytes()
        assert description == (model / "model.json").read_bytes()
        assert where == "MLflow, streamflow_churn version 1"
        assert (one.connected, one.reason) == (True, "")
        one.look(digest(model), pytest.fail)

    def test_the_service_follows_the_registry_and_survives_its_end(self, mlflow, model, tmp_path_factory):
        home = sample_home(tmp_path_factory)
        folder = tmp_path_factory.mktemp("service")
        code = folder / "code"
        shutil.copytree(SERVICE, code)
        shutil.copy(SERVICE.parent / "common.py", code)
        source = (code / "registry.py").read_text()
        # Half a minute between two looks is right for a service and long for a test.
        (code / "registry.py").write_text(source.replace("LOOK_SECONDS: Final = 30.0", "LOOK_SECONDS: Final = 0.5"))
        assert "= 0.5" in (code / "registry.py").read_text()
        mlflow.stop()
        service = Server(model, home / "feast", folder / "log", folder=code, MLFLOW_TRACKING_URI=mlflow.url)
        try:
            health = service.wait(
                lambda answer: answer.status_code == 200 and "answer" in answer.json().get("registry", "")
            )
            assert health.json()["model"]["source"] == "file"
            assert "MLflow does not answer" in health.json()["registry"]
            assert gauges(service) == {"connected": 0.0, "file": 1.0, "mlflow": 0.0}
            before = service.predict({"user_id": "U0001"}).json()

            mlflow.start()
            health = service.wait(lambda answer: answer.json()["model"]["source"] == "mlflow")
            assert health.json()["model"]["sha256"] == digest(model)
            assert gauges(service) == {"connected": 1.0, "file": 0.0, "mlflow": 1.0}
            assert service.predict({"user_id": "U0001"}).json() == before

            mlflow.stop()
            service.wait(lambda answer: "does not answer" in answer.json()["registry"])
            assert gauges(service) == {"connected": 0.0, "file": 0.0, "mlflow": 1.0}
            assert service.predict({"user_id": "U0001"}).json() == before
        finally:
            service.stop()
            mlflow.start()

    def test_a_model_from_elsewhere_is_offered_only_when_its_hash_was_told(self, mlflow, registry, model, later_model):
        assert digest(later_model) != digest(model)
        done = registered(later_model, mlflow.url)
        assert done.stdout.startswith("streamflow_churn version 2 "), done.stderr
        assert mlflow.version("1")["current_stage"] == "Archived"
        assert mlflow.version("2")["aliases"] == ["production"]

        careful = follower(registry, mlflow.url, model)
        careful.look(None, pytest.fail)
        assert careful.connected
        assert f"version 2 (sha256 {digest(later_model)[:12]}) is not a model this service trusts" in careful.reason

        got = []
        told = follower(registry, mlflow.url, model, STREAMFLOW_TRUSTED_SHA256=f"0000, {digest(later_model)}")
        told.look(digest(model), lambda *files: got.append(files))
        assert hashlib.sha256(got[0][0]).hexdigest() == digest(later_model)

    def test_going_back_moves_alias_and_stage_to_the_old_version(self, mlflow, model):
        done = registered(model, mlflow.url)
        assert done.stdout.startswith("streamflow_churn version 1 "), done.stderr
        assert done.stdout.endswith("already there\n")
        assert mlflow.version("1")["aliases"] == ["production"]
        assert [mlflow.version(number)["current_stage"] for number in "12"] == ["Production", "Archived"]

    def test_a_file_swapped_in_the_artifact_store_is_not_opened(self, mlflow, registry, model):
        place = mlflow.version("1")["source"].removeprefix("mlflow-artifacts:/")
        file = mlflow.folder / "artifacts" / place / "model.joblib"
        good = file.read_bytes()
        try:
            file.write_bytes(good + b"\0")
            one = follower(registry, mlflow.url, model)
            one.look(None, pytest.fail)
            assert one.connected
            assert "has other content" in one.reason
        finally:
            file.write_bytes(good)

    def test_where_there_is_no_alias_the_stage_is_read(self, mlflow, registry):
        body = json.dumps({"name": register.NAME, "alias": "production"}).encode()
        register.Server(mlflow.url).send("DELETE", "/api/2.0/mlflow/registered-models/alias", body)
        assert mlflow.version("1").get("aliases", []) == []
        assert registry.Registry(mlflow.url).production().number == "1"


def gauges(service):
    text = service.metrics()
    found = dict(re.findall(r'^streamflow_model_source\{source="(\w+)"\} (\S+)$', text, re.MULTILINE))
    found["connected"] = re.search(r"^api_mlflow_connected (\S+)$", text, re.MULTILINE)[1]
    return {name: float(value) for name, value in found.items()}


# -- without it -------------------------------------------------------------------------------------------------------


def test_a_registered_model_loads_and_predicts(model):
    """What is uploaded is a whole model: the two files are enough."""
    one = register.read_model(model)
    assert one.described["probe"]
    assert hasattr(joblib.load(model / "model.joblib"), "predict")


@pytest.mark.parametrize(
    ("handler", "words"),
    [
        (HTML, "is it MLflow?"),
        (http_fakes.answer(b"[]"), "is it MLflow?"),
        (http_fakes.answer(b"<html>", status="502 Bad Gateway", kind="text/html"), "refused with 502"),
        (http_fakes.answer(b"", status="302 Found", extra="Location: http://127.0.0.1:1/\r\n"), "refused with 302"),
        (http_fakes.answer(b'{"error_code": "X", "message": "not\\nyou"}', status="403 Forbidden"), "403: not"),
        (http_fakes.answer(b'{"run": {}}'), "lacks"),
        (http_fakes.raw(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf"), "is it MLflow?"),
    ],
)
def test_registering_at_something_else_fails_in_one_line(model, handler, words):
    with http_fakes.serve(handler) as fake:
        done = registered(model, fake.url, "--wait", "0")
    assert done.returncode == 1
    assert words in done.stderr
    assert done.stderr.startswith("registration failed: ")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("uri", "words"),
    [
        ("", "is not the address of a server"),
        ("sqlite:///mlflow.db", "is not the address of a server"),
        ("http://user:secret@127.0.0.1:5", "holds a password"),
        ("http://127.0.0.1:1", "no MLflow at http://127.0.0.1:1"),
    ],
)
def test_an_address_without_mlflow_fails_in_words_that_hold_no_password(model, uri, words):
    done = registered(model, uri, "--wait", "0")
    assert done.returncode == 1
    assert words in done.stderr
    assert "secret" not in done.stderr


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (shutil.rmtree, "no model in"),
        (lambda folder: (folder / "model.json").write_text("{"), "no model in"),
        (lambda folder: (folder / "model.json").write_text("[]"), "train the model again"),
        (lambda folder: (folder / "model.joblib").write_bytes(b"other"), "train the model again"),
    ],
)
def test_a_folder_that_is_no_model_is_not_registered(model, tmp_path, spoil, words):
    folder = tmp_path / "model"
    shutil.copytree(model, folder)
    spoil(folder)
    with pytest.raises(register.RegistrationFailed, match=words):
        register.read_model(folder)


@pytest.mark.parametrize(
    ("handler", "connected", "words"),
    [
        (HTML, False, "is it MLflow?"),
        (http_fakes.answer(b"[1]"), False, "is it MLflow?"),
        (http_fakes.answer(b"<html>", status="502 Bad Gateway"), False, "says 502"),
        (http_fakes.answer(b"", status="302 Found", extra="Location: http://127.0.0.1:1/\r\n"), False, "says 302"),
        (http_fakes.raw(b""), False, "does not answer"),
        (http_fakes.answer(b"{}"), True, "no streamflow_churn"),
        (http_fakes.answer(b'{"error_code": "X", "message": "alias not found"}', status="400 Bad"), True, "alias not"),
        (
            http_fakes.answer(b'{"model_version": {"version": "7", "source": "s3://b/m"}}'),
            True,
            "not a model this service trusts",
        ),
    ],
)
def test_whatever_answers_in_the_place_of_mlflow_the_reader_only_says_so(registry, model, handler, connected, words):
    with http_fakes.serve(handler) as fake:
        one = follower(registry, fake.url, model)
        one.look(None, pytest.fail)
    assert one.connected is connected
    assert re.search(words, one.reason)


def test_a_model_that_is_not_trusted_is_not_even_fetched(registry, model):
    version = {
        "version": "9",
        "source": "mlflow-artifacts:/1/r/artifacts/model",
        "tags": [{"key": "sha256", "value": "f" * 64}],
    }
    with http_fakes.serve(http_fakes.answer(json.dumps({"model_version": version}).encode())) as fake:
        follower(registry, fake.url, model).look(None, pytest.fail)
        assert len(fake.requests) == 1


def test_a_model_that_breaks_leaves_the_one_in_use(registry, model):
    def broken(*_files):
        raise ZeroDivisionError("no")

    files = {b"model.joblib": (model / "model.joblib").read_bytes(), b"model.json": (model / "model.json").read_bytes()}
    version = {
        "version": "3",
        "source": "mlflow-artifacts:/1/r/artifacts/model",
        "tags": [{"key": "sha256", "value": digest(model)}],
    }

    def handle(client, request):
        name = request.split(b" ")[1].rsplit(b"/", 1)[-1]
        body = files.get(name, json.dumps({"model_version": version}).encode())
        http_fakes.answer(body)(client, request)

    with http_fakes.serve(handle) as fake:
        one = follower(registry, fake.url, model)
        one.look(None, broken)
    assert (one.connected, one.reason) == (True, "the registry's model does not work: ZeroDivisionError: no")


def test_a_server_that_never_gets_ready_is_given_up_on():
    with pytest.raises(register.RegistrationFailed, match=r"waited 0\.1 s"):
        register.Server("http://127.0.0.1:1").wait(0.1)
