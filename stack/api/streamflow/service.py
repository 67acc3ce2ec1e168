"""StreamFlow's prediction API: whether an account will be lost.

``uvicorn --app-dir <this folder> service:app`` with two settings from the environment:

* ``STREAMFLOW_MODEL_DIR``: the folder with ``model.joblib`` and ``model.json`` (see train.py);
* ``FEAST_REPO``: the feature repository, applied and materialised.

With ``MLFLOW_TRACKING_URI`` it also follows an MLflow registry (see registry.py): it serves the version that is in
production there when that file is trusted, by being the one in the folder above or by its sha256 in
``STREAMFLOW_TRUSTED_SHA256`` (several by comma). Without an answer it serves what it has, and reports it.

The port answers at once; model and feature store are loaded behind it, and until then ``/health`` and ``/predict``
say 503 with the reason. Nothing but ``../common.py`` is imported from the rest of the repository.
"""

import logging
import os
import sqlite3
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

from fastapi import Request, Response

# Imported before Feast is: Feast would otherwise switch the client to files shared between processes.
from prometheus_client import Counter, Gauge, Histogram
from pydantic import BaseModel, ConfigDict, StringConstraints
from starlette.concurrency import run_in_threadpool

# In the checkout common.py is next to the folders of the services, in an image next to this file.
sys.path.append(str(Path(__file__).resolve().parents[1]))

from common import (
    CLIENT_GONE,
    BodyLimit,
    Failure,
    Measured,
    NotReadyError,
    Readiness,
    add_common_routes,
    answer,
    application,
    body_of,
    failure,
    folder_of,
    loading,
    model_files,
    open_model,
    process_registry,
    read_body,
)

if TYPE_CHECKING:
    from registry import Follower

# Below uvicorn's own logger, so that its handler and level apply.
log = logging.getLogger("uvicorn.streamflow")

# A request is one identifier: 64 KB is a thousand times more than any honest one.
MAX_BODY: Final = 64 * 1024
# Longest identifier looked up; U0001 has five characters, a UUID 36.
MAX_USER_ID: Final = 128
# The layout of model.json this service reads.
MODEL_VERSION: Final = 1
# Model and feature repository may be made after this service has started; a look costs milliseconds.
RETRY_SECONDS: Final = 1.0
PREDICT: Final = "/predict"
# Every answer /predict can give; anything else would be a new series and is counted as 500.
STATUSES: Final = (200, 404, 405, 413, 422, CLIENT_GONE, 500, 503)

# A separate registry: Feast puts thirty series of a server that does not run here into the default one.
REGISTRY: Final = process_registry()
REQUESTS: Final = Counter(
    "api_requests_total", "Requests to the prediction endpoint.", ["endpoint", "status"], registry=REGISTRY
)
LATENCY: Final = Histogram(
    "api_request_latency_seconds", "Seconds from request to answer, failures included.", registry=REGISTRY
)
SOURCE: Final = Gauge(
    "streamflow_model_source", "1 for where the model in use comes from.", ["source"], registry=REGISTRY
)
SOURCES: Final = ("file", "mlflow")
# Joins the others when MLFLOW_TRACKING_URI is set: without MLflow there is nothing to be connected to.
CONNECTED: Final = Gauge("api_mlflow_connected", "1 when MLflow answered the last look.", registry=None)
for source in SOURCES:
    SOURCE.labels(source)
# Series exist from the start: the first increment of a series that appears later is invisible to rate().
COUNTED: Final = {status: REQUESTS.labels(endpoint=PREDICT, status=str(status)) for status in STATUSES}


class UnknownUserError(Exception):
    """The online store holds nothing for this identifier."""


class FeaturesMissingError(Exception):
    """The online store holds some of the features of this account, not all."""


class Question(BaseModel):
    """The body of /predict."""

    model_config = ConfigDict(strict=True)

    user_id: Annotated[str, StringConstraints(min_length=1, max_length=MAX_USER_ID)]


class Prediction(BaseModel):
    """The answer of /predict: 1 when the account is likely to be lost."""

    user_id: str
    prediction: int
    features_used: dict[str, float | int | bool | str]


@dataclass(slots=True)
class Predictor:
    """A checked model and an open feature store."""

    model: Any
    store: Any
    described: Mapping[str, Any]
    source: str = "file"
    # Feast's SQLite store shares one connection between threads.
    lock: threading.Lock = field(default_factory=threading.Lock)

    def features(self, user_id: str) -> dict[str, Any]:
        """The account's online features by name, in the model's order."""
        references = self.described["features"]
        rows = [{"user_id": user_id}]
        with self.lock:
            try:
                answer = self.store.get_online_features(features=references, entity_rows=rows).to_dict()
            except Exception:
                # Feast keeps one connection to PostgreSQL and never looks whether it still works: after a restart of
                # the database every request would fail. A store opened anew has a new one.
                log.warning("the feature store failed; opening it anew", exc_info=True)
                self.store = open_store(Path(self.store.repo_path))
                answer = self.store.get_online_features(features=references, entity_rows=rows).to_dict()
        names = [reference.split(":", 1)[1] for reference in references]
        values = {name: answer[name][0] for name in names}
        missing = [name for name, value in values.items() if value is None]
        if len(missing) == len(values):
            raise UnknownUserError(f"no features for user {user_id!r}: it is unknown to the online store")
        if missing:
            raise FeaturesMissingError(f"user {user_id!r} has no value for {', '.join(missing)}")
        return values

    def predict(self, user_id: str) -> Prediction:
        """Read the features and ask the model."""
        features = self.features(user_id)
        return Prediction(user_id=user_id, prediction=int(self.model.predict([features])[0]), features_used=features)


class Service(Readiness[Predictor]):
    """Readiness that shows where its model comes from, and the registry that is followed where one is configured."""

    follower: "Follower | None" = None

    def use(self, predictor: Predictor) -> None:
        """Serve it from now on."""
        self.predictor = predictor
        for source in SOURCES:
            SOURCE.labels(source).set(source == predictor.source)


def load_model(folder: Path) -> tuple[Any, dict[str, Any]]:
    """The model and its description from a folder. Raises NotReadyError."""
    content, description = model_files(folder, "STREAMFLOW_MODEL_DIR=")
    return open_model(content, description, f"STREAMFLOW_MODEL_DIR={folder}", MODEL_VERSION)


def open_store(repository: Path) -> Any:
    """The feature store, checked to hold feature views (Feast itself takes an empty registry silently)."""
    if not (repository / "feature_store.yaml").is_file():
        raise NotReadyError(f"no feature_store.yaml in FEAST_REPO={repository}")
    store = feature_store_class(repository)(repo_path=str(repository))
    if not store.list_feature_views():
        raise NotReadyError(f"the registry of FEAST_REPO={repository} holds no feature views: apply it again")
    return store


def feature_store_class(repository: Path) -> Any:
    """Feast's FeatureStore, imported so that it writes nothing of its own."""
    os.environ["FEAST_USAGE"] = "False"
    # Feast gives its connections to PostgreSQL no deadline; libpq takes one from here (seconds).
    os.environ.setdefault("PGCONNECT_TIMEOUT", "3")
    # Feast's metrics module makes a temporary folder unless this is set; nothing is written there because the
    # Prometheus client is loaded already.
    os.environ["PROMETHEUS_MULTIPROCESS_DIR"] = str(repository)
    try:
        from feast import FeatureStore
    finally:
        os.environ.pop("PROMETHEUS_MULTIPROCESS_DIR", None)
        os.environ.pop("PROMETHEUS_MULTIPROC_DIR", None)
    return FeatureStore


def import_libraries(repository: Path) -> None:
    """Import what loading needs, seconds of work, so that it is done while model and features are still being made."""
    # Anything that is wrong with a library is reported when it is used.
    with suppress(Exception):
        import joblib  # noqa: F401 - imported to be there
        import sklearn.feature_extraction
        import sklearn.linear_model
        import sklearn.pipeline  # noqa: F401 - imported to be there

        feature_store_class(repository)


def load(environ: Mapping[str, str]) -> Predictor:
    """Model and store from the environment's settings, tried on one known account. Raises NotReadyError."""
    folder, repository = folder_of(environ, "STREAMFLOW_MODEL_DIR"), folder_of(environ, "FEAST_REPO")
    with loading(log):
        model, described = load_model(folder)
        predictor = Predictor(model=model, store=open_store(repository), described=described)
        try:
            predictor.predict(described["probe"])
        except UnknownUserError as error:
            raise NotReadyError(f"the online store of {repository} is empty: materialise it") from error
    return predictor


def follow(ready: Service, environ: Mapping[str, str]) -> None:
    """Serve what the registry has in production, as long as this process runs; what fails changes nothing."""
    from registry import LOOK_SECONDS, Follower, Registry

    ready.follower = follower = Follower(Registry.from_environ(environ), environ)
    CONNECTED.set_function(lambda: follower.connected)
    REGISTRY.register(CONNECTED)

    def use(content: bytes, description: bytes, where: str) -> None:
        model, described = open_model(content, description, where, MODEL_VERSION)
        changed = Predictor(model, ready.need().store, described, "mlflow", ready.need().lock)
        changed.predict(described["probe"])
        ready.use(changed)

    while True:
        current = ready.need()
        follower.look(current.described["sha256"] if current.source == "mlflow" else None, use)
        time.sleep(LOOK_SECONDS)


def start(ready: Service, environ: Mapping[str, str]) -> None:
    """Load model and store, trying again while something is missing, then follow the registry where there is one."""
    import_libraries(Path(environ.get("FEAST_REPO") or "."))
    ready.load(lambda: load(environ), RETRY_SECONDS, log)
    ready.use(ready.need())
    if environ.get("MLFLOW_TRACKING_URI"):
        follow(ready, environ)


def count(_method: str, path: str, status: int, seconds: float) -> None:
    """Note one answered request to /predict in the metrics."""
    if path == PREDICT:
        COUNTED.get(status, COUNTED[500]).inc()
        LATENCY.observe(seconds)


ready = Service("model and feature store are being loaded")


app = application(
    "StreamFlow API",
    "Predicts whether an account of the streaming service will be lost.",
    lambda: start(ready, os.environ),
)
app.add_middleware(BodyLimit, limit=MAX_BODY)
# Added last, so outermost: it also sees what the limit refuses.
app.add_middleware(Measured, count=count, log=log)

FAILURES: Final[dict[int | str, dict[str, Any]]] = {
    404: {"model": Failure, "description": "The user is unknown."},
    413: {"model": Failure, "description": "The body is over 64 KB."},
    422: {"model": Failure, "description": "The body is not a JSON object with a text user_id."},
    503: {"model": Failure, "description": "Not ready, or features of this user are missing."},
}


@app.post(
    PREDICT,
    response_model=Prediction,
    responses=FAILURES,
    openapi_extra=body_of(Question, {"user_id": "U0001"}),
)
async def predict(request: Request) -> Response:
    """Predict for one account from its online features."""
    question = read_body(Question, await request.body())
    try:
        prediction = await run_in_threadpool(ready.need().predict, question.user_id)
    except UnknownUserError as error:
        return failure(404, "unknown_user", str(error))
    except FeaturesMissingError as error:
        return failure(503, "features_missing", str(error))
    except (sqlite3.Error, OSError) as error:
        log.warning("the online store failed: %s", error)
        return failure(503, "store_failed", f"the online store failed: {error}")
    return answer(200, prediction.model_dump())


@app.get("/health", responses={503: {"description": "Starting, or not ready with its reason."}})
async def health() -> Response:
    """200 once predictions are possible, else 503 with the reason."""
    predictor = ready.predictor
    if predictor is None:
        return answer(503, {"status": ready.status, "reason": ready.reason})
    names = ("model", "trained_on", "auc_held_out", "sklearn", "sha256")
    model = {name: predictor.described.get(name) for name in names} | {"source": predictor.source}
    registry = {} if ready.follower is None else {"registry": ready.follower.reason or "its model is in use"}
    return answer(200, {"status": "ok", "model": model, **registry})


add_common_routes(
    app,
    REGISTRY,
    Path(__file__).with_name("docs.html"),
    "Prometheus text format: requests, latency, process and Python runtime.",
)
