"""The diabetes prediction API: a classifier that measures the drift of its own input.

``uvicorn --app-dir <this folder> service:app`` with settings from the environment:

* ``DIABETES_DATA_DIR``: the folder with ``reference.csv``, ``model/model.joblib``, ``model/model.json`` (train.py);
* ``DIABETES_DRIFT_WINDOW`` (500) and ``DIABETES_DRIFT_MINIMUM`` (200): how many of the newest predictions are compared
  with the reference, and from how many on.

The port answers at once; the model is loaded behind it, and until then ``/health`` and ``/predict`` say 503 with the
reason. One process: the window is in its memory, and a restart empties it. The folder runs alone: nothing is imported
from the rest of the repository.

Requests
--------
``http_requests_total`` and ``http_request_duration_seconds`` hold requests to /predict and nothing else. Prometheus
and health checks ask every few seconds for as long as the service lives; counted, they would be most of its traffic.

Drift
-----
The population stability index (PSI) of a feature is the sum over bins of (q - p) ln(q / p), with p the share of the
reference in a bin and q the share of the last N predictions. Bins end at the deciles of the reference; where many rows
share a value (0 = "not measured") neighbours are joined, so that each holds 5 % of the reference at least. Shares are
smoothed: (count + 0.5) / (rows + 0.5 x bins). ``data_drift_score`` is the largest PSI of the features, so that the
usual reading holds: below 0.1 stable, from 0.2 on a feature has moved. Below the minimum of predictions both gauges are
absent: without any drift, 50 predictions score 0.29 on average (chance), 200 score 0.07 and exceed 0.2 once in 700
times, 300 and more never did in 1,500 trials.
"""

import asyncio
import csv
import hashlib
import io
import json
import logging
import math
import os
import threading
import time
from bisect import bisect_left
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping, MutableMapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final

from fastapi import FastAPI, Request, Response
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.exceptions import HTTPException

# Below uvicorn's own logger, so that its handler and level apply.
log = logging.getLogger("uvicorn.diabetes")

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Asgi = Callable[[Message, Receive, Send], Awaitable[None]]

# A request is eight numbers: 64 KB is three hundred times more than any honest one.
MAX_BODY: Final = 64 * 1024
# More validation errors than this tell the sender nothing new.
MAX_ERRORS: Final = 10
# A key that should not be there is named in the answer, up to here.
MAX_KEY_CHARS: Final = 40
# The layout of model.json this service reads.
MODEL_VERSION: Final = 1
# In a container the data may be put in place after this service has started; a look costs milliseconds.
RETRY_SECONDS: Final = 5.0
PREDICT: Final = "/predict"
# The client went away before its answer (the number nginx gives it).
CLIENT_GONE: Final = 499
# Every answer /predict can give, by method; anything else would be a new series and is counted as 500.
REFUSED: Final = (405, 413, CLIENT_GONE, 500)
STATUSES: Final = {"POST": (200, 422, 503, *REFUSED), "GET": REFUSED, "other": REFUSED}

# Deciles: fine enough to see a tail move, coarse enough for a few hundred predictions.
BINS: Final = 10
# A bin with hardly any reference rows turns one prediction into drift.
MIN_SHARE: Final = 0.05
# Half a row a bin (Jeffreys): no logarithm of zero, and one empty bin does not decide as it does with a tiny constant.
SMOOTHING: Final = 0.5
# At 10 requests a second one minute; the chance level of the PSI (about 9/N + 9/768 a feature) is 0.03.
WINDOW: Final = 500
# See the module's docstring: fewer would raise alarms by chance.
MINIMUM: Final = 200
# Six megabytes of memory; more is no longer "current".
MAX_WINDOW: Final = 100_000

REGISTRY: Final = CollectorRegistry()
for collector in (GCCollector, PlatformCollector, ProcessCollector):
    collector(registry=REGISTRY)
REQUESTS: Final = Counter(
    "http_requests_total", "Requests to the prediction endpoint.", ["method", "endpoint", "status"], registry=REGISTRY
)
LATENCY: Final = Histogram(
    "http_request_duration_seconds",
    "Seconds from request to answer of the prediction endpoint, failures included.",
    ["endpoint"],
    registry=REGISTRY,
).labels(endpoint=PREDICT)
# Series exist from the start: the first increment of a series that appears later is invisible to rate().
COUNTED: Final = {
    (method, status): REQUESTS.labels(method=method, endpoint=PREDICT, status=str(status))
    for method, statuses in STATUSES.items()
    for status in statuses
}


class NotReadyError(Exception):
    """Model or reference cannot be used; the message says why."""


def measurement(most: float, **more: Any) -> Any:
    """A finite number from 0 to ``most``: wide enough to measure drift instead of refusing it."""
    return Field(ge=0, le=most, allow_inf_nan=False, **more)


class Question(BaseModel):
    """The body of /predict: one patient. 0 means "not measured", except for Pregnancies."""

    model_config = ConfigDict(strict=True, extra="forbid")

    Pregnancies: Annotated[float, measurement(50, multiple_of=1)]
    Glucose: Annotated[float, measurement(2000)]
    BloodPressure: Annotated[float, measurement(500)]
    SkinThickness: Annotated[float, measurement(500)]
    Insulin: Annotated[float, measurement(10_000)]
    BMI: Annotated[float, measurement(300)]
    DiabetesPedigreeFunction: Annotated[float, measurement(20)]
    Age: Annotated[float, measurement(150)]


FEATURES: Final = tuple(Question.model_fields)


class Prediction(BaseModel):
    """The answer of /predict: 1 when diabetes is likely."""

    prediction: int


class Failure(BaseModel):
    """Every answer that is not a prediction: what happened, as a word for programs and a sentence for people."""

    error: str
    detail: str


def edges(values: Sequence[float]) -> list[float]:
    """Where bins end (inclusive): the deciles, without those that would leave a bin under MIN_SHARE."""
    ordered, found, below = sorted(values), list[float](), 0
    for decile in range(1, BINS):
        edge = ordered[-(-decile * len(ordered) // BINS) - 1]
        upto = sum(value <= edge for value in ordered)
        least = MIN_SHARE * len(ordered)
        if upto - below >= least and len(ordered) - upto >= least:
            found.append(edge)
            below = upto
    return found


def shares(counts: Sequence[int]) -> list[float]:
    """Smoothed shares of the bins; they add up to 1 and none is 0."""
    total = sum(counts) + SMOOTHING * len(counts)
    return [(count + SMOOTHING) / total for count in counts]


def psi(reference: Sequence[float], current: Sequence[float]) -> float:
    """The population stability index of two lists of shares."""
    return sum((q - p) * math.log(q / p) for p, q in zip(reference, current, strict=True))


class DriftWindow:
    """The newest predictions as counts per bin, kept up to date: a scrape costs some 70 logarithms, not a pass."""

    def __init__(self, reference: Mapping[str, Sequence[float]], size: int, minimum: int) -> None:
        self.size, self.minimum = size, minimum
        self._edges = {name: edges(values) for name, values in reference.items()}
        self._counts = {name: [0] * (len(found) + 1) for name, found in self._edges.items()}
        self._reference: dict[str, list[float]] = {}
        for name, values in reference.items():
            counts = [0] * len(self._counts[name])
            for value in values:
                counts[bisect_left(self._edges[name], value)] += 1
            self._reference[name] = shares(counts)
        self._rows: deque[bytes] = deque()
        # Predictions add from the event loop, a scrape reads from a thread.
        self._lock = threading.Lock()

    def add(self, row: Iterable[float]) -> None:
        """Take in one prediction's features, in the order of the reference; the oldest one leaves a full window."""
        bins = bytes(bisect_left(found, value) for found, value in zip(self._edges.values(), row, strict=True))
        with self._lock:
            self._rows.append(bins)
            gone = self._rows.popleft() if len(self._rows) > self.size else None
            for place, counts in enumerate(self._counts.values()):
                counts[bins[place]] += 1
                if gone is not None:
                    counts[gone[place]] -= 1

    def __len__(self) -> int:
        return len(self._rows)

    def scores(self) -> dict[str, float]:
        """PSI by feature; empty below the minimum."""
        with self._lock:
            if len(self._rows) < self.minimum:
                return {}
            counts = {name: list(found) for name, found in self._counts.items()}
        return {name: psi(self._reference[name], shares(found)) for name, found in counts.items()}


@dataclass(slots=True)
class Predictor:
    """A checked model and the window of its input."""

    model: Any
    described: Mapping[str, Any]
    window: DriftWindow

    def predict(self, question: Question) -> int:
        """Ask the model, then let the window know. Under a millisecond: it runs in the event loop."""
        row = [getattr(question, name) for name in FEATURES]
        stand_ins = self.described["unmeasured"]
        measured = [value or stand_ins.get(name, value) for name, value in zip(FEATURES, row, strict=True)]
        prediction = int(self.model.predict([measured])[0])
        self.window.add(row)
        return prediction


@dataclass(slots=True)
class Readiness:
    """What the service can do now: a predictor, or the reason why there is none."""

    predictor: Predictor | None = None
    status: str = "starting"
    reason: str = "the model is being loaded"

    def need(self) -> Predictor:
        """The predictor, or NotReadyError with the reason."""
        if self.predictor is None:
            raise NotReadyError(self.reason)
        return self.predictor


def load_model(folder: Path) -> tuple[Any, dict[str, Any]]:
    """The model and its description. A file whose hash is not the one in model.json is not opened."""
    try:
        described = json.loads((folder / "model.json").read_text("utf-8"))
        content = (folder / "model.joblib").read_bytes()
    except (OSError, ValueError) as error:
        raise NotReadyError(f"no model in {folder}: {error}") from error
    if not isinstance(described, dict) or described.get("version") != MODEL_VERSION:
        raise NotReadyError(f"{folder / 'model.json'} is not version {MODEL_VERSION}: train the model again")
    if described.get("features") != list(FEATURES) or not isinstance(described.get("unmeasured"), dict):
        raise NotReadyError(f"{folder / 'model.json'} describes other features: train the model again")
    if hashlib.sha256(content).hexdigest() != described.get("sha256"):
        raise NotReadyError(
            f"{folder / 'model.joblib'} is not the file model.json describes (another sha256): train the model again"
        )
    import joblib
    import sklearn

    if sklearn.__version__ != described.get("sklearn"):
        raise NotReadyError(
            f"the model was trained with scikit-learn {described.get('sklearn')}, this service runs "
            f"{sklearn.__version__}: train the model again"
        )
    # From the bytes that were hashed: the file may change in between.
    return joblib.load(io.BytesIO(content)), described


def load_reference(path: Path, digest: object) -> dict[str, list[float]]:
    """Feature -> its values in the file the model was trained on."""
    try:
        content = path.read_bytes()
        if hashlib.sha256(content).hexdigest() != digest:
            raise NotReadyError(f"{path} is not the file the model was trained on (another sha256): train it again")
        rows = list(csv.DictReader(io.StringIO(content.decode("utf-8"))))
        columns = {name: [float(row[name]) for row in rows] for name in FEATURES}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise NotReadyError(f"no reference in {path}: {type(error).__name__}: {error}") from error
    if len(rows) < BINS or not all(math.isfinite(value) for values in columns.values() for value in values):
        raise NotReadyError(f"{path} has {len(rows)} rows or values that are no numbers: nothing to compare with")
    return columns


def whole(environ: Mapping[str, str], name: str, default: int, least: int) -> int:
    """A whole number from the environment between ``least`` and MAX_WINDOW."""
    text = environ.get(name) or str(default)
    if not text.isascii() or not text.isdigit() or len(text) > 9 or not least <= int(text) <= MAX_WINDOW:
        raise NotReadyError(f"{name} is {text[:MAX_KEY_CHARS]!r}; accepted: whole numbers from {least} to {MAX_WINDOW}")
    return int(text)


def load(environ: Mapping[str, str]) -> Predictor:
    """Model, reference and window from the environment's settings, tried on one row. Raises NotReadyError."""
    if not environ.get("DIABETES_DATA_DIR"):
        raise NotReadyError("DIABETES_DATA_DIR is not set")
    folder = Path(environ["DIABETES_DATA_DIR"])
    minimum = whole(environ, "DIABETES_DRIFT_MINIMUM", MINIMUM, BINS)
    size = whole(environ, "DIABETES_DRIFT_WINDOW", max(WINDOW, minimum), minimum)
    try:
        model, described = load_model(folder / "model")
        reference = load_reference(folder / "reference.csv", described.get("reference_sha256"))
        model.predict([[values[0] for values in reference.values()]])
    except NotReadyError:
        raise
    except Exception as error:
        # joblib, pickle and numpy raise their own; whatever it was, the service must say it and stay up.
        log.exception("loading failed")
        raise NotReadyError(f"loading failed: {type(error).__name__}: {error}") from error
    return Predictor(model=model, described=described, window=DriftWindow(reference, size, minimum))


def start_loading(ready: Readiness, environ: Mapping[str, str]) -> threading.Thread:
    """Fill ``ready`` from a thread, so that the port answers at once; try again while something is missing."""

    def work() -> None:
        started = time.monotonic()
        while ready.predictor is None:
            try:
                ready.predictor = load(environ)
            except NotReadyError as error:
                if str(error) != ready.reason:
                    log.error("not ready: %s", error)  # noqa: TRY400 - the reason is the whole message
                ready.status, ready.reason = "not ready", str(error)
                time.sleep(RETRY_SECONDS)
        ready.status, ready.reason = "ok", ""
        log.info("ready after %.1f s", time.monotonic() - started)

    thread = threading.Thread(target=work, name="load", daemon=True)
    thread.start()
    return thread


@dataclass(slots=True, eq=False)
class DriftCollector(Collector):
    """The drift gauges, computed at each scrape; without a score there is no sample, never 0 or NaN."""

    ready: Readiness

    def collect(self) -> Iterator[Metric]:
        """Three families: the largest score, the score by feature, how many predictions they are made of."""
        predictor = self.ready.predictor
        scores = predictor.window.scores() if predictor else {}
        about = "PSI of the newest predictions against the reference; absent until there are enough of them"
        worst = GaugeMetricFamily("data_drift_score", f"Largest {about}.")
        each = GaugeMetricFamily("data_drift_score_by_feature", f"By feature: {about}.", labels=["feature"])
        if scores:
            worst.add_metric([], max(scores.values()))
        for name, score in scores.items():
            each.add_metric([name], score)
        yield worst
        yield each
        rows = GaugeMetricFamily("data_drift_window_requests", "Predictions that the drift scores are made of.")
        rows.add_metric([], len(predictor.window) if predictor else 0)
        yield rows


def answer(status: int, body: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> Response:
    """A JSON answer in ASCII: a lone surrogate cannot break it, and NaN cannot get in."""
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
        if announced.isdigit() and (len(announced) > 9 or int(announced) > MAX_BODY):
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
                method = scope["method"] if scope["method"] in STATUSES else "other"
                COUNTED.get((method, status), COUNTED[method, 500]).inc()
                LATENCY.observe(time.perf_counter() - started)


ready = Readiness()
REGISTRY.register(DriftCollector(ready))


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    """Begin loading when the server starts; never wait for it."""
    start_loading(ready, os.environ)
    yield


app = FastAPI(
    title="Diabetes API",
    version="1.0.0",
    description="Predicts diabetes from eight measurements, and measures the drift of its own input.",
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

EXAMPLE: Final = {
    "Pregnancies": 1,
    "Glucose": 120,
    "BloodPressure": 70,
    "SkinThickness": 23,
    "Insulin": 94,
    "BMI": 33.6,
    "DiabetesPedigreeFunction": 0.627,
    "Age": 50,
}
FAILURES: Final[dict[int | str, dict[str, Any]]] = {
    413: {"model": Failure, "description": "The body is over 64 KB."},
    422: {"model": Failure, "description": "The body is not a JSON object with the eight features, or one is wrong."},
    503: {"model": Failure, "description": "Not ready: starting, or the model is missing."},
}


def sentence(error: ValidationError) -> str:
    """What is wrong with a body: feature and reason, without sending the input back."""
    found = error.errors(include_url=False, include_context=False, include_input=False)
    parts = [
        f"{'.'.join(str(part) for part in item['loc'])[:MAX_KEY_CHARS] or 'body'}: {item['msg']}"
        for item in found[:MAX_ERRORS]
    ]
    more = len(found) - len(parts)
    return "; ".join([*parts, f"and {more} more"] if more else parts)


@app.post(
    PREDICT,
    response_model=Prediction,
    responses=FAILURES,
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": Question.model_json_schema(), "example": EXAMPLE}},
        }
    },
)
async def predict(request: Request) -> Response:
    """Predict for one patient."""
    try:
        # Pydantic's own parser: it knows bad UTF-8, lone surrogates, NaN and deep nesting as errors, and the
        # framework's error answer would send the input back.
        question = Question.model_validate_json(await request.body())
    except ValidationError as error:
        return failure(422, "bad_body", sentence(error))
    try:
        return answer(200, {"prediction": ready.need().predict(question)})
    except NotReadyError as error:
        return failure(503, "not_ready", str(error))


@app.get("/health", responses={503: {"description": "Starting, or not ready with its reason."}})
async def health() -> Response:
    """200 once predictions are possible, else 503 with the reason; how far the drift window is filled."""
    predictor = ready.predictor
    if predictor is None:
        return answer(503, {"status": ready.status, "reason": ready.reason})
    known = ("model", "auc_held_out", "positive_rate", "sklearn", "sha256")
    window, scores = predictor.window, predictor.window.scores()
    drift = {
        "method": "PSI",
        "requests": len(window),
        "minimum": window.minimum,
        "window": window.size,
        "score": max(scores.values()) if scores else None,
    }
    model = {name: predictor.described.get(name) for name in known}
    return answer(200, {"status": "ok", "model": model, "drift": drift})


@app.get("/metrics", response_class=Response)
async def metrics() -> Response:
    """Prometheus text format: requests, latency, drift, process and Python runtime."""
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
