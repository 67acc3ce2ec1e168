"""F1PA's prediction API: how long a lap will take.

``uvicorn --app-dir <this folder> service:app`` with settings from the environment:

* ``F1PA_DATA_DIR``: the folder with ``model/`` (see train.py) and, by default, ``f1pa.db`` and ``password``;
* ``F1PA_DATABASE_URL``: the database behind /data as a SQLAlchemy URL (default: ``f1pa.db``);
* ``F1PA_USER`` (default f1pa) and ``F1PA_PASSWORD``, or ``F1PA_PASSWORD_FILE`` (default: ``password``);
* ``MLFLOW_TRACKING_URI``: optional; only whether it answers is shown, the model comes from its file.

Everything wants HTTP basic auth except /metrics, which Prometheus reads, and /health, which supervisors do. The port
answers at once; what is missing is in /health with its reason. Nothing but ``../common.py`` is imported from
the rest of the repository.
"""

import asyncio
import base64
import binascii
import hashlib
import hmac
import logging
import math
import os
import sys
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final

import sqlalchemy as sa
from fastapi import Request, Response
from fastapi.openapi.utils import get_openapi
from prometheus_client import Counter, Gauge, Histogram, disable_created_metrics
from pydantic import BaseModel, Field
from starlette.concurrency import run_in_threadpool

# In the checkout common.py is next to the folders of the services, in an image next to this file.
sys.path.append(str(Path(__file__).resolve().parents[1]))

from common import (
    CLIENT_GONE,
    Asgi,
    BadBodyError,
    BodyLimit,
    Failure,
    Measured,
    Message,
    NotReadyError,
    Readiness,
    Receive,
    Send,
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
    reply,
)

# Below uvicorn's own logger, so that its handler and level apply.
log = logging.getLogger("uvicorn.f1pa")

LAP: Final = "/predict/lap"
BATCH: Final = "/predict/batch"
# Routes and the method each takes; any other address is counted as "other".
ROUTES: Final = {
    LAP: "POST", BATCH: "POST", "/data/drivers": "GET", "/data/circuits": "GET", "/health": "GET", "/metrics": "GET",
    "/docs": "GET", "/openapi.json": "GET",
}  # fmt: skip
# Without a password: what Prometheus and a supervisor read.
OPEN: Final = ("/metrics", "/health")
KINDS: Final = {LAP: "single", BATCH: "batch"}
# A race of twenty cars has about 1,200 laps; a thousand at a time take some milliseconds.
MAX_LAPS: Final = 1000
# One lap is 200 bytes, a full batch 200 KB.
MAX_BODY: Final = 64 * 1024
MAX_BATCH_BODY: Final = 512 * 1024
# A grid has twenty drivers, a season 24 circuits: more rows mean that this is another table.
MAX_ROWS: Final = 1000
# The layout of model.json this service reads.
MODEL_VERSION: Final = 1
# What is not there yet may come; a look costs milliseconds.
RETRY_SECONDS: Final = 2.0
# How often database and MLflow are looked at, and how long one look may take.
CHECK_SECONDS: Final = 1.0
ANSWER_SECONDS: Final = 2
# Questions to the database at once. One that hangs keeps its place, and only its own kind waits behind it.
MAX_QUERIES: Final = 4
# A look that hangs says nothing good: after this long without an answer the gauge falls.
STALE_SECONDS: Final = 8.0
# Statuses that are counted by their own number; anything else would be a new series and is counted as 500.
STATUSES: Final = (200, 401, 404, 405, 413, 422, CLIENT_GONE, 500, 503)
# Statuses of a request that asked for no prediction (not allowed, not a POST) or did not wait for it.
NOT_ASKED: Final = (401, 405, CLIENT_GONE)
# From a millisecond, what a prediction takes, to the ten seconds after which no one waits.
BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

# The moments at which series came to be would double the page, and Prometheus 2 does not use them.
disable_created_metrics()  # type: ignore[no-untyped-call]
REGISTRY: Final = process_registry()
HTTP: Final = Counter(
    "http_requests_total", "Requests by route and status.", ["method", "endpoint", "status"], registry=REGISTRY
)
HTTP_SECONDS: Final = Histogram(
    "http_request_duration_seconds", "Seconds from request to answer, failures included.", ["method", "endpoint"],
    registry=REGISTRY,
)  # fmt: skip
PREDICTIONS: Final = Counter(
    "f1pa_predictions_total", "Requests answered with a prediction; a batch is one.", ["endpoint_type"],
    registry=REGISTRY,
)  # fmt: skip
ERRORS: Final = Counter(
    "f1pa_prediction_errors_total", "Requests for a prediction that got none: invalid features, too large, not ready.",
    ["endpoint_type"], registry=REGISTRY,
)  # fmt: skip
PREDICTION_SECONDS: Final = Histogram(
    "f1pa_prediction_duration_seconds", "Seconds from valid features to lap times.", ["endpoint_type"],
    registry=REGISTRY, buckets=BUCKETS,
)  # fmt: skip
QUERIES: Final = Counter("f1pa_data_queries_total", "Questions under /data.", ["endpoint"], registry=REGISTRY)
QUERY_SECONDS: Final = Histogram(
    "f1pa_db_query_duration_seconds", "Seconds of a database query, failed ones included.", registry=REGISTRY,
    buckets=BUCKETS,
)  # fmt: skip
# Series exist from the start: the first increment of a series that appears later is invisible to rate().
for route, verb in ROUTES.items():
    HTTP_SECONDS.labels(verb, route)
    for code in STATUSES:
        HTTP.labels(verb, route, str(code))
for kind in KINDS.values():
    for metric in (PREDICTIONS, ERRORS, PREDICTION_SECONDS):
        metric.labels(kind)
for what in ("drivers", "circuits"):
    QUERIES.labels(what)


class QueryError(Exception):
    """The database did not answer; the message says why, without address or password."""


def between(low: float, high: float, *, step: float | None = None) -> Any:
    """A finite JSON number in a range, neither text nor true. With a step of 1, 57 and 57.0 are the same."""
    return Field(ge=low, le=high, multiple_of=step, strict=True, allow_inf_nan=False)


class Features(BaseModel):
    """One lap: the ten features of the model. Ranges are what can be true, not what was seen."""

    driver_number: Annotated[float, between(1, 99, step=1)]
    circuit_key: Annotated[float, between(1, 9999, step=1)]
    st_speed: Annotated[float, between(50, 450)] = Field(description="km/h at the speed trap")
    i1_speed: Annotated[float, between(50, 450)] = Field(description="km/h at the first intermediate")
    i2_speed: Annotated[float, between(50, 450)] = Field(description="km/h at the second intermediate")
    temp: Annotated[float, between(-20, 60)] = Field(description="air, °C")
    rhum: Annotated[float, between(0, 100)] = Field(description="relative humidity, %")
    pres: Annotated[float, between(600, 1100)] = Field(description="air pressure, hPa")
    lap_number: Annotated[float, between(1, 100, step=1)]
    year: Annotated[float, between(2018, 2035, step=1)]


class Lap(BaseModel):
    """The body of /predict/lap."""

    features: Features


class Laps(BaseModel):
    """The body of /predict/batch."""

    features: Annotated[list[Features], Field(min_length=1, max_length=MAX_LAPS)]


class LapTime(BaseModel):
    """The answer of /predict/lap, in seconds."""

    lap_duration: float


class LapTimes(BaseModel):
    """The answer of /predict/batch, in seconds and in the order of the question."""

    lap_durations: list[float]


@dataclass(frozen=True, slots=True)
class Model:
    """A checked regressor and its description (model.json)."""

    regressor: Any
    described: Mapping[str, Any]

    def check(self, laps: Sequence[Features]) -> None:
        """Raise BadBodyError for a circuit that the model has never seen and cannot guess."""
        circuits = self.described["circuits"]
        unknown = {int(lap.circuit_key) for lap in laps if lap.circuit_key not in circuits}
        if unknown:
            listed = ", ".join(map(str, circuits))
            raise BadBodyError(f"features.circuit_key: {min(unknown)} is not one of the circuits known: {listed}")

    def seconds(self, laps: Sequence[Features]) -> list[float]:
        """The lap times."""
        import numpy as np

        rows = [[getattr(lap, name) for name in self.described["features"]] for lap in laps]
        times = [round(float(value), 3) for value in self.regressor.predict(np.array(rows, dtype=np.float64))]
        if not all(map(math.isfinite, times)):
            raise NotReadyError("the model gave no number")
        return times


def load_model(folder: Path) -> Model:
    """The model of a folder, tried on one lap. Raises NotReadyError."""
    content, description = model_files(folder)
    with loading(log):
        model = Model(*open_model(content, description, str(folder), MODEL_VERSION))
        # The first prediction imports half of scikit-learn: not in front of a client.
        model.seconds([Features.model_validate(model.described["probe"])])
    return model


class Database:
    """The tables drivers and circuits, read only. A SQLite file is opened anew for each query."""

    def __init__(self, address: str) -> None:
        try:
            url = sa.make_url(address.replace("postgresql://", "postgresql+psycopg://", 1))
            self.file = Path(url.database or "") if url.get_backend_name() == "sqlite" else None
            if self.file is not None:
                # Opened for reading alone: SQLite would make an empty file where there is none.
                path = urllib.parse.quote(str(self.file.absolute()))
                url = sa.make_url(f"sqlite:///file:{path}?mode=ro&uri=true")
                limits: dict[str, Any] = {"poolclass": sa.NullPool, "connect_args": {"timeout": ANSWER_SECONDS}}
            else:
                options = {
                    "connect_timeout": ANSWER_SECONDS,
                    "options": f"-c statement_timeout={ANSWER_SECONDS * 1000}",
                    "tcp_user_timeout": ANSWER_SECONDS * 1000,
                }
                # One more for the look of the background.
                pool = {"pool_size": MAX_QUERIES + 1, "max_overflow": 0, "pool_timeout": ANSWER_SECONDS}
                limits = {"pool_pre_ping": True, "connect_args": options, **pool}
            self.engine = sa.create_engine(url, **limits)
        except (sa.exc.ArgumentError, ImportError) as error:
            # The address may hold a password: its text is not repeated.
            raise QueryError(f"F1PA_DATABASE_URL cannot be used ({type(error).__name__})") from error

    def rows(self, query: str) -> list[dict[str, Any]]:
        """The rows of a query, at most MAX_ROWS. Raises QueryError."""
        try:
            if self.file is not None and not self.file.is_file():
                raise QueryError(f"there is no file {self.file.name}")
            with self.engine.connect() as connection:
                return [dict(row) for row in connection.execute(sa.text(query)).mappings().fetchmany(MAX_ROWS)]
        except sa.exc.SQLAlchemyError as error:
            reason = str(getattr(error, "orig", None) or type(error).__name__)
            raise QueryError(" ".join(reason.split())[:200]) from error

    def look(self) -> None:
        """Raise QueryError unless both tables answer."""
        query = "SELECT (SELECT count(*) FROM drivers) + (SELECT count(*) FROM circuits) AS rows_there"
        if not self.rows(query)[0]["rows_there"]:
            raise QueryError("the tables drivers and circuits are empty")


class _Stay(urllib.request.HTTPRedirectHandler):
    """Follow no redirect: another server's answer says nothing about this one."""

    def redirect_request(self, *_: Any) -> None:
        """Refuse."""


def look_at_mlflow(address: str) -> None:
    """Raise QueryError unless an MLflow server answers its health check at this address."""
    if not address:
        raise QueryError("MLFLOW_TRACKING_URI is not set: the model comes from its file")
    if not address.startswith(("http://", "https://")):
        raise QueryError("MLFLOW_TRACKING_URI is not the address of a server: the model comes from its file")
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), _Stay)
    try:
        with opener.open(address.rstrip("/") + "/health", timeout=ANSWER_SECONDS) as answer:
            answer.read(64)
    except (OSError, ValueError) as error:
        # URLError, HTTPError and time-outs are OSErrors; a malformed answer is an HTTPException, caught by the check.
        raise QueryError(f"MLflow does not answer ({getattr(error, 'reason', None) or error})") from error


class Check:
    """Whether something answers, looked at every CHECK_SECONDS by its own thread."""

    def __init__(self, look: Callable[[], None]) -> None:
        self.look = look
        self._reason = "not looked at yet"
        self._at = time.monotonic()

    @property
    def reason(self) -> str:
        """Why it does not hold, or "" when it does."""
        if time.monotonic() - self._at > STALE_SECONDS:
            return f"no answer for {STALE_SECONDS:.0f} s"
        return self._reason

    def watch(self, name: str) -> None:
        """Look forever."""

        def work() -> None:
            while True:
                try:
                    self.look()
                    reason = ""
                except QueryError as error:
                    reason = str(error)
                except Exception as error:
                    # A thread that ends would leave the gauge as it was.
                    log.exception("looking at %s failed", name)
                    reason = f"{type(error).__name__}"
                if reason != self._reason:
                    log.log(logging.WARNING if reason else logging.INFO, "%s: %s", name, reason or "connected")
                self._reason, self._at = reason, time.monotonic()
                time.sleep(CHECK_SECONDS)

        threading.Thread(target=work, name=f"check-{name}", daemon=True).start()


class Service:
    """What this process can do now: model, password, database, and why something of it is missing."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self.environ = environ
        self.user = environ.get("F1PA_USER") or "f1pa"
        self.ready = Readiness[Model]("the model is being loaded")
        self._password = ""
        self._database: Database | None = None
        self.database_check = Check(lambda: self.database().look())
        self.mlflow_check = Check(lambda: look_at_mlflow(environ.get("MLFLOW_TRACKING_URI", "")))

    def _place(self, variable: str, name: str) -> Path:
        """The file a variable names, else the one in the data folder."""
        named = self.environ.get(variable)
        return Path(named) if named else folder_of(self.environ, "F1PA_DATA_DIR") / name

    def password(self) -> str:
        """The password, never empty. Raises NotReadyError: without one, nothing is served."""
        if ":" in self.user:
            # The first colon of `user:password` ends the user (RFC 7617): no one could sign in.
            raise NotReadyError("F1PA_USER holds a colon: no client can send such a user")
        if not self._password:
            text = self.environ.get("F1PA_PASSWORD", "")
            try:
                text = text or self._place("F1PA_PASSWORD_FILE", "password").read_text("utf-8").strip()
            except (OSError, ValueError, NotReadyError) as error:
                raise NotReadyError("no password: set F1PA_PASSWORD or F1PA_PASSWORD_FILE") from error
            if not text:
                raise NotReadyError("the password is empty: set F1PA_PASSWORD or F1PA_PASSWORD_FILE")
            self._password = text
        return self._password

    def database(self) -> Database:
        """The database behind /data. Raises QueryError."""
        if self._database is None:
            try:
                address = self.environ.get("F1PA_DATABASE_URL") or f"sqlite:///{self._place('', 'f1pa.db')}"
            except NotReadyError as error:
                raise QueryError(str(error)) from error
            self._database = Database(address)
        return self._database

    def start(self) -> None:
        """Look at everything from threads."""
        self.database_check.watch("database")
        self.mlflow_check.watch("mlflow")
        self.ready.load(self._load, RETRY_SECONDS, log)

    def _load(self) -> Model:
        self.password()
        return load_model(self._place("", "model"))

    def allows(self, header: bytes) -> bool:
        """Whether an Authorization header holds user and password, compared in constant time."""
        scheme, _, given = header.partition(b" ")
        try:
            decoded = base64.b64decode(given.strip(), validate=True)
        except binascii.Error:
            decoded = b""
        expected = f"{self.user}:{self.password()}".encode()
        # Digests have one length, so that the length of the password does not show either.
        same = hmac.compare_digest(hashlib.sha256(decoded).digest(), hashlib.sha256(expected).digest())
        return same and scheme.lower() == b"basic"


service = Service(os.environ)
for gauge_name, text, holds in (
    ("f1pa_model_loaded", "1 when a model is in memory.", lambda: service.ready.predictor is not None),
    ("f1pa_database_connected", "1 when the database answers.", lambda: not service.database_check.reason),
    ("f1pa_mlflow_connected", "1 when MLflow answers.", lambda: not service.mlflow_check.reason),
):
    Gauge(gauge_name, text, registry=REGISTRY).set_function(holds)


class Guard:
    """Let in who knows the password; everyone may read OPEN. Nothing of the body is read before."""

    def __init__(self, app: Asgi) -> None:
        self.app = app

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Pass on, or answer 401; 503 while no password is set."""
        if scope["type"] != "http" or scope["path"] in OPEN:
            await self.app(scope, receive, send)
            return
        given = next((value for name, value in scope["headers"] if name == b"authorization"), b"")
        try:
            allowed = service.allows(given)
        except NotReadyError as error:
            await reply(send, failure(503, "not_ready", str(error)))
            return
        if allowed:
            await self.app(scope, receive, send)
            return
        challenge = {"WWW-Authenticate": 'Basic realm="F1PA", charset="UTF-8"'}
        await reply(send, failure(401, "unauthorized", "user and password are needed (HTTP basic)", challenge))


def count(method: str, path: str, status: int, seconds: float) -> None:
    """Note one answered request in the metrics. Labels come from closed sets."""
    verb = method if method in ("GET", "POST") else "other"
    route = path if path in ROUTES else "other"
    HTTP.labels(verb, route, str(status if status in STATUSES else 500)).inc()
    HTTP_SECONDS.labels(verb, route).observe(seconds)
    if route in KINDS and verb == "POST" and status not in NOT_ASKED:
        (PREDICTIONS if status == 200 else ERRORS).labels(KINDS[route]).inc()


app = application("F1PA API", "Predicts the time of a lap from driver, circuit, speeds and weather.", service.start)
app.add_middleware(BodyLimit, limit=MAX_BODY, larger={BATCH: MAX_BATCH_BODY})
app.add_middleware(Guard)
# Added last, so outermost: it also sees what the others refuse.
app.add_middleware(Measured, count=count, log=log)

EXAMPLE: Final = {
    "driver_number": 1, "circuit_key": 7, "st_speed": 308, "i1_speed": 325, "i2_speed": 274, "temp": 21.4, "rhum": 58,
    "pres": 972.1, "lap_number": 12, "year": 2025,
}  # fmt: skip
GUARDED: Final[dict[int | str, dict[str, Any]]] = {
    401: {"model": Failure, "description": "User or password are missing or wrong."},
    503: {"model": Failure, "description": "Not ready, with its reason."},
}
PREDICTING: Final[dict[int | str, dict[str, Any]]] = {
    **GUARDED,
    413: {"model": Failure, "description": "The body is too large."},
    422: {"model": Failure, "description": "Features are missing, not numbers, or out of range."},
}


async def predicted(path: str, laps: Sequence[Features]) -> list[float]:
    """Lap times. Raises BadBodyError and NotReadyError."""
    predictor = service.ready.need()
    predictor.check(laps)
    with PREDICTION_SECONDS.labels(KINDS[path]).time():
        return await run_in_threadpool(predictor.seconds, laps)


@app.post(LAP, response_model=LapTime, responses=PREDICTING, openapi_extra=body_of(Lap, {"features": EXAMPLE}))
async def predict_lap(request: Request) -> Response:
    """Predict the time of one lap, in seconds."""
    lap = await run_in_threadpool(read_body, Lap, await request.body())
    return answer(200, {"lap_duration": (await predicted(LAP, [lap.features]))[0]})


@app.post(BATCH, response_model=LapTimes, responses=PREDICTING, openapi_extra=body_of(Laps, {"features": [EXAMPLE]}))
async def predict_batch(request: Request) -> Response:
    """Predict the times of up to 1,000 laps, in seconds and in the order of the question."""
    laps = await run_in_threadpool(read_body, Laps, await request.body())
    return answer(200, {"lap_durations": await predicted(BATCH, laps.features)})


places = asyncio.Semaphore(MAX_QUERIES)


async def rows_of(query: str) -> list[dict[str, Any]]:
    """The rows of a query, from a thread that a hanging database can keep. Raises QueryError after a while."""
    loop, rows = asyncio.get_running_loop(), Future[list[dict[str, Any]]]()

    def work() -> None:
        try:
            rows.set_result(service.database().rows(query))
        except Exception as error:  # noqa: BLE001 - handed on to the one who asked
            rows.set_exception(error)
        # The server may have stopped meanwhile.
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(places.release)

    try:
        async with asyncio.timeout(ANSWER_SECONDS + 1):
            await places.acquire()
            rows.set_running_or_notify_cancel()
            threading.Thread(target=work, name="query", daemon=True).start()
            return await asyncio.wrap_future(rows)
    except TimeoutError as error:
        raise QueryError(f"no answer within {ANSWER_SECONDS + 1} s") from error


async def listed(what: str, query: str) -> Response:
    """Rows of the database as JSON, or 503 with the reason."""
    QUERIES.labels(what).inc()
    try:
        # The look of the background every second is not timed: it is no question of a client.
        with QUERY_SECONDS.time():
            rows = await rows_of(query)
    except QueryError as error:
        return failure(503, "database", f"the database does not answer: {error}")
    return answer(200, {what: rows, "count": len(rows)})


@app.get("/data/drivers", responses=GUARDED)
async def drivers() -> Response:
    """Drivers with team, seasons, laps and best lap."""
    columns = "driver_number, code, team, first_season, last_season, laps, best_lap"
    return await listed("drivers", f"SELECT {columns} FROM drivers ORDER BY driver_number")  # noqa: S608 - constant


@app.get("/data/circuits", responses=GUARDED)
async def circuits() -> Response:
    """Circuits with country, length, laps of a race, best and mean lap."""
    columns = "circuit_key, name, country, length_km, race_laps, laps, best_lap, mean_lap"
    return await listed("circuits", f"SELECT {columns} FROM circuits ORDER BY circuit_key")  # noqa: S608 - constant


@app.get("/health", responses={503: {"description": "Starting, or not ready with its reason."}})
async def health() -> Response:
    """200 once predictions are possible, else 503 with the reason; database and MLflow next to it."""
    states = {
        name: {"connected": not check.reason, "reason": check.reason}
        for name, check in (("database", service.database_check), ("mlflow", service.mlflow_check))
    }
    model = service.ready.predictor
    if model is None:
        return answer(503, {"status": "not ready", "reason": service.ready.reason, **states})
    described = {name: model.described.get(name) for name in ("model", "held_out", "later", "sklearn", "sha256")}
    status = "ok" if states["database"]["connected"] else "degraded"
    return answer(200, {"status": status, "model": described, **states})


add_common_routes(
    app,
    REGISTRY,
    Path(__file__).with_name("docs.html"),
    "Prometheus text format: requests, predictions, states, process and Python runtime.",
    "invalid_features",
)


def described() -> dict[str, Any]:
    """openapi.json, with the sign-in that Guard wants and, once a model is there, the circuits it knows."""
    schema = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
    schema["components"]["securitySchemes"] = {"basic": {"type": "http", "scheme": "basic"}}
    features = Features.model_json_schema()
    if service.ready.predictor is not None:
        features["properties"]["circuit_key"]["enum"] = service.ready.predictor.described["circuits"]
    schema["components"]["schemas"]["Features"] = features
    for path, methods in schema["paths"].items():
        for operation in methods.values() if path not in OPEN else ():
            operation["security"] = [{"basic": []}]
    return schema


app.openapi = described  # type: ignore[method-assign]
