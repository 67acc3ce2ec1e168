"""StreamFlow's prediction API: whether an account will be lost.

``uvicorn --app-dir <this folder> service:app`` with two settings from the environment:

* ``STREAMFLOW_MODEL_DIR``: the folder with ``model.joblib`` and ``model.json`` (see train.py);
* ``FEAST_REPO``: the feature repository, applied and materialised.

With ``MLFLOW_TRACKING_URI`` it also follows an MLflow registry (see registry.py): it serves the version that is in
production there when that file is trusted, by being the one in the folder above or by its sha256 in
``STREAMFLOW_TRUSTED_SHA256`` (several by comma). Without an answer it serves what it has, and says so.

The port answers at once; model and feature store are loaded behind it, and until then ``/health`` and ``/predict``
say 503 with the reason. The folder runs alone: nothing is imported from the rest of the repository.
"""

import asyncio
import hashlib
import json
import logging
import os
import sqlite3
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, MutableMapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

from fastapi import FastAPI, Request, Response

# Imported before Feast is: Feast would otherwise switch the client to files shared between processes.
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)
from pydantic import BaseModel, ConfigDict, StringConstraints, ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

if TYPE_CHECKING:
    from registry import Follower

# Below uvicorn's own logger, so that its handler and level apply.
log = logging.getLogger("uvicorn.streamflow")

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Asgi = Callable[[Message, Receive, Send], Awaitable[None]]

# A request is one identifier: 64 KB is a thousand times more than any honest one.
MAX_BODY: Final = 64 * 1024
# Longest identifier looked up; U0001 has five characters, a UUID 36.
MAX_USER_ID: Final = 128
# More validation errors than this tell the sender nothing new.
MAX_ERRORS: Final = 10
# The layout of model.json this service reads.
MODEL_VERSION: Final = 1
# Model and feature repository may be made after this service has started; a look costs milliseconds.
RETRY_SECONDS: Final = 1.0
PREDICT: Final = "/predict"
# Every answer /predict can give; anything else would be a new series and is counted as 500.
STATUSES: Final = (200, 404, 405, 413, 422, 499, 500, 503)
# The client went away before its answer (the number nginx gives it).
CLIENT_GONE: Final = 499

# A registry of our own: Feast puts thirty series of a server that does not run here into the default one.
REGISTRY: Final = CollectorRegistry()
for collector in (GCCollector, PlatformCollector, ProcessCollector):
    collector(registry=REGISTRY)
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


class NotReadyError(Exception):
    """Model or feature store cannot be used; the message says why."""


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


class Failure(BaseModel):
    """Every answer that is not a prediction: what happened, as a word for programs and a sentence for people."""

    error: str
    detail: str


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
                # Feast keeps one connection to PostgreSQL and never looks whether it still stands: after a restart of
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


@dataclass(slots=True)
class Readiness:
    """What the service can do now: a predictor, or the reason why there is none."""

    predictor: Predictor | None = None
    status: str = "starting"
    reason: str = "model and feature store are being loaded"
    # The model registry that is followed, where one is configured.
    follower: "Follower | None" = None

    def use(self, predictor: Predictor) -> None:
        """Serve it from now on."""
        self.predictor = predictor
        for source in SOURCES:
            SOURCE.labels(source).set(source == predictor.source)

    def need(self) -> Predictor:
        """The predictor, or NotReadyError with the reason."""
        if self.predictor is None:
            raise NotReadyError(self.reason)
        return self.predictor


def load_model(folder: Path) -> tuple[Any, dict[str, Any]]:
    """The model and its description from a folder."""
    try:
        described = (folder / "model.json").read_bytes()
        content = (folder / "model.joblib").read_bytes()
    except OSError as error:
        raise NotReadyError(f"no model in STREAMFLOW_MODEL_DIR={folder}: {error}") from error
    return open_model(content, described, f"STREAMFLOW_MODEL_DIR={folder}")


def open_model(content: bytes, description: bytes, where: str) -> tuple[Any, dict[str, Any]]:
    """The model of two files. A model.joblib whose hash is not the one in model.json is not opened."""
    try:
        described = json.loads(description)
    except ValueError as error:
        raise NotReadyError(f"no model in {where}: model.json: {error}") from error
    if not isinstance(described, dict) or described.get("version") != MODEL_VERSION:
        raise NotReadyError(f"model.json in {where} is not version {MODEL_VERSION}: train the model again")
    digest = hashlib.sha256(content).hexdigest()
    if digest != described.get("sha256"):
        raise NotReadyError(
            f"model.joblib in {where} is not the file model.json describes "
            f"(sha256 {digest[:12]}… instead of {str(described.get('sha256'))[:12]}…): train the model again"
        )
    import sklearn

    if sklearn.__version__ != described.get("sklearn"):
        raise NotReadyError(
            f"the model in {where} was trained with scikit-learn {described.get('sklearn')}, this service runs "
            f"{sklearn.__version__}: train the model again"
        )
    from io import BytesIO

    import joblib

    # From the bytes that were hashed: the file may change in between.
    return joblib.load(BytesIO(content)), described


def open_store(repository: Path) -> Any:
    """The feature store, checked to hold feature views (Feast itself takes an empty registry without a word)."""
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
    # Whatever is wrong with a library is said when it is used.
    with suppress(Exception):
        import joblib  # noqa: F401 - imported to be there
        import sklearn.feature_extraction
        import sklearn.linear_model
        import sklearn.pipeline  # noqa: F401 - imported to be there

        feature_store_class(repository)


def load(environ: Mapping[str, str]) -> Predictor:
    """Model and store from the environment's settings, tried on one known account. Raises NotReadyError."""
    settings = {}
    for name in ("STREAMFLOW_MODEL_DIR", "FEAST_REPO"):
        if not environ.get(name):
            raise NotReadyError(f"{name} is not set")
        settings[name] = Path(environ[name])
    try:
        model, described = load_model(settings["STREAMFLOW_MODEL_DIR"])
        predictor = Predictor(model=model, store=open_store(settings["FEAST_REPO"]), described=described)
        predictor.predict(described["probe"])
    except NotReadyError:
        raise
    except UnknownUserError as error:
        raise NotReadyError(f"the online store of {settings['FEAST_REPO']} is empty: materialise it") from error
    except Exception as error:
        # Feast, protobuf, sqlite and joblib raise their own; whatever it was, the service must say it and stay up.
        log.exception("loading failed")
        raise NotReadyError(f"loading failed: {type(error).__name__}: {error}") from error
    return predictor


def follow(ready: Readiness, environ: Mapping[str, str]) -> None:
    """Serve what the registry has in production, as long as this process runs; what fails changes nothing."""
    from registry import LOOK_SECONDS, Follower, Registry

    ready.follower = follower = Follower(Registry.from_environ(environ), environ)
    CONNECTED.set_function(lambda: follower.connected)
    REGISTRY.register(CONNECTED)

    def use(content: bytes, description: bytes, where: str) -> None:
        model, described = open_model(content, description, where)
        changed = Predictor(model, ready.need().store, described, "mlflow", ready.need().lock)
        changed.predict(described["probe"])
        ready.use(changed)

    while True:
        current = ready.need()
        follower.look(current.described["sha256"] if current.source == "mlflow" else None, use)
        time.sleep(LOOK_SECONDS)


def start_loading(ready: Readiness, environ: Mapping[str, str]) -> threading.Thread:
    """Fill ``ready`` from a thread, so that the port answers at once; try again while something is missing."""

    def work() -> None:
        started = time.monotonic()
        import_libraries(Path(environ.get("FEAST_REPO") or "."))
        while ready.predictor is None:
            try:
                ready.use(load(environ))
            except NotReadyError as error:
                if str(error) != ready.reason:
                    log.error("not ready: %s", error)  # noqa: TRY400 - the reason is the whole message
                ready.status, ready.reason = "not ready", str(error)
                time.sleep(RETRY_SECONDS)
        ready.status, ready.reason = "ok", ""
        log.info("ready after %.1f s", time.monotonic() - started)
        if environ.get("MLFLOW_TRACKING_URI"):
            follow(ready, environ)

    thread = threading.Thread(target=work, name="load", daemon=True)
    thread.start()
    return thread


def answer(status: int, body: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> Response:
    """A JSON answer in ASCII: an identifier with a lone surrogate cannot break it, and NaN cannot get in."""
    content = json.dumps(body, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return Response(content, status, headers=dict(headers or {}), media_type="application/json")


def failure(status: int, error: str, detail: str) -> Response:
    """A Failure as a response."""
    return answer(status, {"error": error, "detail": detail})


async def reply(send: Send, response: Response) -> None:
    """Send a finished response from outside the framework."""
    await send({"type": "http.response.start", "status": response.status_code, "headers": response.raw_headers})
    await send({"type": "http.response.body", "body": response.body})


class BodyLimit:
    """Answer 413 to a body over MAX_BODY, announced or not, holding at most MAX_BODY of it in memory."""

    def __init__(self, app: Asgi) -> None:
        self.app = app

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Read the body within its limit, then hand it on as one message."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        announced = next((value for name, value in scope["headers"] if name == b"content-length"), b"0")
        parts: list[bytes] = []
        size, more = 0, True
        if announced.isdigit() and int(announced) > MAX_BODY:
            size = MAX_BODY + 1
        while more and size <= MAX_BODY:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            parts.append(message.get("body", b""))
            size += len(parts[-1])
            more = message.get("more_body", False)
        if size > MAX_BODY:
            await reply(send, failure(413, "too_large", f"the body is larger than {MAX_BODY} bytes"))
            return
        body: bytes | None = b"".join(parts)

        async def replay() -> Message:
            nonlocal body
            if body is None:
                return await receive()
            message, body = {"type": "http.request", "body": body, "more_body": False}, None
            return message

        await self.app(scope, replay, send)


class Measured:
    """Count and time every request to /predict, whatever becomes of it; answer 500 for what nobody caught."""

    def __init__(self, app: Asgi) -> None:
        self.app = app

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Pass the request on and note its status and duration."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started, status = time.perf_counter(), CLIENT_GONE

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, noting)
        except Exception:
            log.exception("unexpected error at %s", scope["path"])
            if status != CLIENT_GONE:
                raise
            status = 500
            await reply(send, failure(500, "internal", "unexpected error; the log of the service has the details"))
        finally:
            if scope["path"] == PREDICT:
                COUNTED.get(status, COUNTED[500]).inc()
                LATENCY.observe(time.perf_counter() - started)


ready = Readiness()


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    """Begin loading when the server starts; never wait for it."""
    start_loading(ready, os.environ)
    # The first use of the thread pool imports its backend: 30 ms that the first prediction should not show.
    await run_in_threadpool(time.monotonic)
    yield


app = FastAPI(
    title="StreamFlow API",
    version="1.0.0",
    description="Predicts whether an account of the streaming service will be lost.",
    lifespan=lifespan,
    # FastAPI's own pages load scripts from a CDN; /docs below needs nothing from outside.
    docs_url=None,
    redoc_url=None,
    # A redirect to /predict would be counted as a second request, and names whatever Host the client sent.
    redirect_slashes=False,
)
app.add_middleware(BodyLimit)
# Added last, so outermost: it also sees what the limit refuses.
app.add_middleware(Measured)

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
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": Question.model_json_schema(), "example": {"user_id": "U0001"}}},
        }
    },
)
async def predict(request: Request) -> Response:
    """Predict for one account from its online features."""
    try:
        # Pydantic's own parser: it knows bad UTF-8, lone surrogates, NaN and deep nesting as errors, and the
        # framework's error answer would send the input back.
        question = Question.model_validate_json(await request.body())
    except ValidationError as error:
        found = error.errors(include_url=False, include_context=False, include_input=False)[:MAX_ERRORS]
        sentences = [f"{'.'.join(str(part) for part in item['loc']) or 'body'}: {item['msg']}" for item in found]
        return failure(422, "bad_body", "; ".join(sentences))
    try:
        prediction = await run_in_threadpool(ready.need().predict, question.user_id)
    except NotReadyError as error:
        return failure(503, "not_ready", str(error))
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
    known = ("model", "trained_on", "auc_held_out", "sklearn", "sha256")
    model = {name: predictor.described.get(name) for name in known} | {"source": predictor.source}
    registry = {} if ready.follower is None else {"registry": ready.follower.reason or "its model is in use"}
    return answer(200, {"status": "ok", "model": model, **registry})


@app.get("/metrics", response_class=Response)
async def metrics() -> Response:
    """Prometheus text format: requests, latency, process and Python runtime."""
    return Response(await asyncio.to_thread(generate_latest, REGISTRY), media_type=CONTENT_TYPE_LATEST)


@app.get("/docs", include_in_schema=False)
async def docs() -> Response:
    """A page about this API that needs no other server."""
    return Response((Path(__file__).parent / "docs.html").read_bytes(), media_type="text/html; charset=utf-8")


@app.exception_handler(HTTPException)
async def refused(_: Request, error: Exception) -> Response:
    """404 and 405 of the router in the same shape as every other failure."""
    assert isinstance(error, HTTPException)
    return answer(error.status_code, {"error": "http", "detail": str(error.detail)}, error.headers)
