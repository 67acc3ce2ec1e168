"""The diabetes prediction API: a classifier that measures the drift of its input.

``uvicorn --app-dir <this folder> service:app`` with settings from the environment:

* ``DIABETES_DATA_DIR``: the folder with ``reference.csv``, ``model/model.joblib``, ``model/model.json`` (train.py);
* ``DIABETES_DRIFT_WINDOW`` (500) and ``DIABETES_DRIFT_MINIMUM`` (200): how many of the newest predictions are compared
  with the reference, and from how many on.

The port answers at once; the model is loaded behind it, and until then ``/health`` and ``/predict`` say 503 with the
reason. One process: the window is in its memory, and a restart empties it. Nothing but ``../common.py`` is imported
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

import csv
import hashlib
import io
import logging
import math
import os
import sys
import threading
from bisect import bisect_left
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final

from fastapi import Request, Response
from prometheus_client import Counter, Histogram
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from pydantic import BaseModel, ConfigDict, Field

# In the checkout common.py is next to the folders of the services, in an image next to this file.
sys.path.append(str(Path(__file__).resolve().parents[1]))

from common import (
    CLIENT_GONE,
    MAX_KEY_CHARS,
    BodyLimit,
    Failure,
    Measured,
    NotReadyError,
    Readiness,
    add_common_routes,
    answer,
    application,
    body_of,
    describe,
    folder_of,
    loading,
    model_files,
    open_model,
    process_registry,
    read_body,
)

# Below uvicorn's own logger, so that its handler and level apply.
log = logging.getLogger("uvicorn.diabetes")

# A request is eight numbers: 64 KB is three hundred times more than any honest one.
MAX_BODY: Final = 64 * 1024
# The layout of model.json this service reads.
MODEL_VERSION: Final = 1
# In a container the data may be put in place after this service has started; a look costs milliseconds.
RETRY_SECONDS: Final = 5.0
PREDICT: Final = "/predict"
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

REGISTRY: Final = process_registry()
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


def edges(values: Sequence[float]) -> list[float]:
    """Where bins end (inclusive): the deciles, without those that would leave a bin under MIN_SHARE."""
    ordered, ends, below = sorted(values), list[float](), 0
    for decile in range(1, BINS):
        edge = ordered[-(-decile * len(ordered) // BINS) - 1]
        upto = sum(value <= edge for value in ordered)
        least = MIN_SHARE * len(ordered)
        if upto - below >= least and len(ordered) - upto >= least:
            ends.append(edge)
            below = upto
    return ends


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
        self._counts = {name: [0] * (len(ends) + 1) for name, ends in self._edges.items()}
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
        bins = bytes(bisect_left(ends, value) for ends, value in zip(self._edges.values(), row, strict=True))
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
            counts = {name: list(row) for name, row in self._counts.items()}
        return {name: psi(self._reference[name], shares(row)) for name, row in counts.items()}


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


def load_model(folder: Path) -> tuple[Any, dict[str, Any]]:
    """The model and its description, for the features of this service. Raises NotReadyError."""
    content, description = model_files(folder)
    described = describe(description, str(folder), MODEL_VERSION)
    if described.get("features") != list(FEATURES) or not isinstance(described.get("unmeasured"), dict):
        raise NotReadyError(f"model.json in {folder} describes other features: train the model again")
    return open_model(content, description, str(folder), MODEL_VERSION)


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
    folder = folder_of(environ, "DIABETES_DATA_DIR")
    minimum = whole(environ, "DIABETES_DRIFT_MINIMUM", MINIMUM, BINS)
    size = whole(environ, "DIABETES_DRIFT_WINDOW", max(WINDOW, minimum), minimum)
    with loading(log):
        model, described = load_model(folder / "model")
        reference = load_reference(folder / "reference.csv", described.get("reference_sha256"))
        model.predict([[values[0] for values in reference.values()]])
    return Predictor(model=model, described=described, window=DriftWindow(reference, size, minimum))


@dataclass(slots=True, eq=False)
class DriftCollector(Collector):
    """The drift gauges, computed at each scrape; without a score there is no sample, never 0 or NaN."""

    ready: Readiness[Predictor]

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


def count(method: str, path: str, status: int, seconds: float) -> None:
    """Note one answered request to /predict in the metrics."""
    if path == PREDICT:
        label = method if method in STATUSES else "other"
        COUNTED.get((label, status), COUNTED[label, 500]).inc()
        LATENCY.observe(seconds)


ready = Readiness[Predictor]("the model is being loaded")
REGISTRY.register(DriftCollector(ready))


app = application(
    "Diabetes API",
    "Predicts diabetes from eight measurements, and measures the drift of its own input.",
    lambda: ready.load(lambda: load(os.environ), RETRY_SECONDS, log),
)
app.add_middleware(BodyLimit, limit=MAX_BODY)
# Added last, so outermost: it also sees what the limit refuses.
app.add_middleware(Measured, count=count, log=log)

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


@app.post(PREDICT, response_model=Prediction, responses=FAILURES, openapi_extra=body_of(Question, EXAMPLE))
async def predict(request: Request) -> Response:
    """Predict for one patient."""
    question = read_body(Question, await request.body())
    return answer(200, {"prediction": ready.need().predict(question)})


@app.get("/health", responses={503: {"description": "Starting, or not ready with its reason."}})
async def health() -> Response:
    """200 once predictions are possible, else 503 with the reason; how far the drift window is filled."""
    predictor = ready.predictor
    if predictor is None:
        return answer(503, {"status": ready.status, "reason": ready.reason})
    names = ("model", "auc_held_out", "positive_rate", "sklearn", "sha256")
    window, scores = predictor.window, predictor.window.scores()
    drift = {
        "method": "PSI",
        "requests": len(window),
        "minimum": window.minimum,
        "window": window.size,
        "score": max(scores.values()) if scores else None,
    }
    model = {name: predictor.described.get(name) for name in names}
    return answer(200, {"status": "ok", "model": model, "drift": drift})


add_common_routes(
    app,
    REGISTRY,
    Path(__file__).with_name("docs.html"),
    "Prometheus text format: requests, latency, drift, process and Python runtime.",
)
