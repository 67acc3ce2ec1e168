"""Put StreamFlow's churn model into an MLflow registry, as alias and stage "production".

``python register.py --model DIR [--tracking-uri http://mlflow:5000]``: DIR holds ``model.joblib`` and ``model.json`` as
stack/api/streamflow/train.py writes them. Standard library only, over MLflow 2's REST API: the model is trained in the
API's own environment, because one pickled with the scikit-learn of MLflow's image does not load there.

A second call changes nothing: versions carry the file's sha256. Who may write to the registry is the operator's matter;
the service opens no file whose sha256 is not in its own configuration (see stack/api/streamflow/registry.py).
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import os
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any, Final

NAME: Final = "streamflow_churn"
EXPERIMENT: Final = "streamflow"
ALIAS: Final = "production"
STAGE: Final = "Production"
# The files of a model, in the folder `model` of its run.
FILES: Final = ("model.joblib", "model.json")
# A first start of the server makes its tables: 10 s on a free machine, a minute on a busy one.
WAIT_SECONDS: Final = 180.0
# One request carries a few KB to a server nearby.
REQUEST_SECONDS: Final = 30.0
# A logistic regression has some KB, a version or an experiment too: more is another file, or another server.
MAX_BYTES: Final = 16 * 1024 * 1024
EXISTS: Final = "RESOURCE_ALREADY_EXISTS"
ABSENT: Final = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")


class RegistrationFailed(Exception):
    """What failed, in one sentence. `code` is MLflow's own word for it, "" when there was none."""

    def __init__(self, message: str, code: str = "") -> None:
        super().__init__(message)
        self.code = code


class _Stay(urllib.request.HTTPRedirectHandler):
    """A registry answers itself: a redirect would carry the password elsewhere."""

    def redirect_request(self, *_: Any) -> None:
        return None


@dataclass(frozen=True, slots=True)
class Server:
    """An MLflow tracking server. Raises RegistrationFailed for everything but a good answer."""

    address: str
    user: str = ""
    password: str = ""

    @classmethod
    def at(cls, address: str, environ: Mapping[str, str]) -> Server:
        """The server at an http(s) address, with the credentials of MLflow's own variables."""
        parts = urllib.parse.urlsplit(address)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise RegistrationFailed(
                f"MLFLOW_TRACKING_URI={address!r} is not the address of a server (http://localhost:5000)"
            )
        if parts.username or parts.password:
            raise RegistrationFailed(
                "MLFLOW_TRACKING_URI holds a password; put it in MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
            )
        names = ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD")
        return cls(address.rstrip("/"), *(environ.get(name, "") for name in names))

    def send(self, method: str, path: str, body: bytes | None = None, kind: str = "application/json") -> bytes:
        """One request; the answer's body."""
        headers = {"Content-Type": kind} if body is not None else {}
        if self.user:
            secret = base64.b64encode(f"{self.user}:{self.password}".encode()).decode()
            headers["Authorization"] = f"Basic {secret}"
        request = urllib.request.Request(f"{self.address}{path}", data=body, headers=headers, method=method)
        # A registry inside the network is not behind the proxy of the outside world.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), _Stay)
        try:
            with opener.open(request, timeout=REQUEST_SECONDS) as answer:
                content: bytes = answer.read(MAX_BYTES + 1)
        except urllib.error.HTTPError as error:
            raise self._refused(error) from error
        except (OSError, HTTPException) as error:
            reason = getattr(error, "reason", None) or error
            raise RegistrationFailed(f"no MLflow at {self.address}: {reason}") from error
        if len(content) > MAX_BYTES:
            raise RegistrationFailed(f"{self.address}{path} answered more than {MAX_BYTES} bytes")
        return content

    def _refused(self, error: urllib.error.HTTPError) -> RegistrationFailed:
        try:
            body = json.loads(error.read(MAX_BYTES))
            code, message = str(body["error_code"]), str(body["message"]).splitlines()[0][:300]
        except (OSError, ValueError, KeyError, TypeError, IndexError):
            code, message = "", f"{error.reason}; is it MLflow?"
        return RegistrationFailed(f"MLflow at {self.address} refused with {error.code}: {message}", code)

    def ask(self, method: str, path: str, body: Mapping[str, Any] | None = None, **query: str) -> dict[str, Any]:
        """One call of the REST API, `path` after /api/2.0/mlflow/."""
        full = f"/api/2.0/mlflow/{path}" + (f"?{urllib.parse.urlencode(query)}" if query else "")
        content = self.send(method, full, None if body is None else json.dumps(body).encode())
        try:
            answer = json.loads(content or b"{}")
        except ValueError as error:
            raise RegistrationFailed(
                f"{self.address}{full} answered something that is not JSON; is it MLflow?"
            ) from error
        if not isinstance(answer, dict):
            raise RegistrationFailed(f"{self.address}{full} answered something that is no object; is it MLflow?")
        return answer

    def wait(self, seconds: float) -> None:
        """Until the server says it is healthy."""
        until = time.monotonic() + seconds
        while True:
            try:
                self.send("GET", "/health")
            except RegistrationFailed as error:
                if time.monotonic() > until:
                    raise RegistrationFailed(f"{error} (waited {seconds:g} s)") from error
                time.sleep(1)
            else:
                return


@dataclass(frozen=True, slots=True)
class Model:
    """The two files of a trained model, read and checked against each other."""

    content: bytes
    description: bytes
    described: Mapping[str, Any]

    @property
    def sha256(self) -> str:
        """Of model.joblib, as model.json has it."""
        return str(self.described["sha256"])


def read_model(folder: Path) -> Model:
    """The model of a folder. Raises RegistrationFailed when it is not what train.py writes."""
    try:
        content, description = ((folder / name).read_bytes() for name in FILES)
        described = json.loads(description)
    except (OSError, ValueError) as error:
        raise RegistrationFailed(f"no model in {folder}: {error}") from error
    digest = hashlib.sha256(content).hexdigest()
    if not isinstance(described, dict) or described.get("sha256") != digest:
        raise RegistrationFailed(f"{folder / FILES[0]} is not the file {FILES[1]} describes: train the model again")
    if len(content) > MAX_BYTES:
        raise RegistrationFailed(f"{folder / FILES[0]} has {len(content)} bytes; a model may have {MAX_BYTES}")
    return Model(content, description, described)


def register(server: Server, model: Model, name: str = NAME) -> tuple[str, bool]:
    """Make the model the production version; (version, whether it is new)."""
    try:
        server.ask("POST", "registered-models/create", {"name": name, "description": "Will the account be lost?"})
    except RegistrationFailed as error:
        if error.code != EXISTS:
            raise
    version = _known(server, model, name)
    new = version is None
    if version is None:
        version = _create(server, model, name)
    _promote(server, name, version)
    return version, new


def _known(server: Server, model: Model, name: str) -> str | None:
    """The newest usable version that holds these bytes."""
    same_model = f"name='{name}' and tags.sha256='{model.sha256}'"
    versions = server.ask("GET", "model-versions/search", filter=same_model).get("model_versions", [])
    ready = [int(one["version"]) for one in versions if one.get("status") == "READY"]
    return str(max(ready)) if ready else None


def _create(server: Server, model: Model, name: str) -> str:
    """Upload both files to their own run and make a version of it."""
    described = model.described
    title = f"churn {described.get('trained_on')}"
    begun = {"experiment_id": _experiment(server), "run_name": title, "start_time": int(time.time() * 1000)}
    info = server.ask("POST", "runs/create", begun)["run"]["info"]
    run, root = str(info["run_id"]), str(info["artifact_uri"])
    try:
        _upload(server, model, root)
        server.ask("POST", "runs/log-batch", {"run_id": run, **_logged(model)})
        created = server.ask(
            "POST",
            "model-versions/create",
            {
                "name": name,
                "source": f"{root}/model",
                "run_id": run,
                "description": f"{described.get('model')}, trained on {described.get('trained_on')}",
                "tags": [{"key": "sha256", "value": model.sha256}],
            },
        )
    except RegistrationFailed:
        server.ask("POST", "runs/update", {"run_id": run, "status": "FAILED", "end_time": int(time.time() * 1000)})
        raise
    server.ask("POST", "runs/update", {"run_id": run, "status": "FINISHED", "end_time": int(time.time() * 1000)})
    return str(created["model_version"]["version"])


def _experiment(server: Server) -> str:
    try:
        experiment = server.ask("GET", "experiments/get-by-name", experiment_name=EXPERIMENT)["experiment"]
    except RegistrationFailed as error:
        if error.code not in ABSENT:
            raise
        return str(server.ask("POST", "experiments/create", {"name": EXPERIMENT})["experiment_id"])
    if experiment.get("lifecycle_stage") == "deleted":
        raise RegistrationFailed(f"the experiment {EXPERIMENT!r} was deleted in MLflow: restore it there")
    return str(experiment["experiment_id"])


def _upload(server: Server, model: Model, root: str) -> None:
    """Write the files and read the model back: what is registered is what was trained."""
    place = urllib.parse.urlsplit(root)
    if place.scheme != "mlflow-artifacts":
        raise RegistrationFailed(f"the server keeps artifacts at {root}; start it with --serve-artifacts")
    base = f"/api/2.0/mlflow-artifacts/artifacts/{urllib.parse.quote(place.path.strip('/'))}/model"
    for file, content in zip(FILES, (model.content, model.description), strict=True):
        server.send("PUT", f"{base}/{file}", content, "application/octet-stream")
    if hashlib.sha256(server.send("GET", f"{base}/{FILES[0]}")).hexdigest() != model.sha256:
        raise RegistrationFailed(f"{root}/model/{FILES[0]} did not arrive whole")


def _logged(model: Model) -> dict[str, Any]:
    """What MLflow's page of the run shows."""
    described, now = model.described, int(time.time() * 1000)
    numbers = {"auc_held_out": described.get("auc_held_out"), "churn_rate": described.get("churn_rate")}
    return {
        "metrics": [
            {"key": key, "value": value, "timestamp": now, "step": 0}
            for key, value in numbers.items()
            if isinstance(value, int | float)
        ],
        "params": [
            {"key": key, "value": str(described[key])[:500]}
            for key in ("model", "trained_on", "label", "sklearn", "rows")
            if key in described
        ],
        "tags": [{"key": "sha256", "value": model.sha256}, {"key": "mlflow.source.name", "value": "register.py"}],
    }


def _promote(server: Server, name: str, version: str) -> None:
    """Alias and stage: newer clients read the one, older ones the other."""
    server.ask("POST", "registered-models/alias", {"name": name, "alias": ALIAS, "version": version})
    now = server.ask("GET", "model-versions/get", name=name, version=version)["model_version"]
    if now.get("current_stage") != STAGE:
        change = {"name": name, "version": version, "stage": STAGE, "archive_existing_versions": True}
        server.ask("POST", "model-versions/transition-stage", change)


def main(arguments: list[str] | None = None) -> int:
    """Register; exit 1 with one line when that cannot be done."""
    parser = argparse.ArgumentParser(description="Put the churn model into an MLflow registry, as production.")
    default = os.environ.get("STREAMFLOW_MODEL_DIR")
    parser.add_argument(
        "--model", type=Path, default=default, required=not default, help="its folder (STREAMFLOW_MODEL_DIR)"
    )
    parser.add_argument(
        "--tracking-uri", default=os.environ.get("MLFLOW_TRACKING_URI", ""), help="the server (MLFLOW_TRACKING_URI)"
    )
    parser.add_argument("--wait", type=float, default=WAIT_SECONDS, help="seconds to wait for the server")
    options = parser.parse_args(arguments)
    try:
        model = read_model(Path(options.model))
        server = Server.at(options.tracking_uri, os.environ)
        server.wait(options.wait)
        version, new = register(server, model)
    except RegistrationFailed as error:
        print(f"registration failed: {error}", file=sys.stderr)
        return 1
    except (KeyError, TypeError) as error:
        print(f"registration failed: MLflow's answer lacks {error}; is it version 2?", file=sys.stderr)
        return 1
    words = "registered" if new else "already there"
    print(f"{NAME} version {version} (sha256 {model.sha256[:12]}…) is {ALIAS}: {words}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
