"""A small prediction service as somebody else would write it: FastAPI, metric names of its own. Run with uvicorn."""

from __future__ import annotations

import time
from typing import Literal

from fastapi import FastAPI, HTTPException, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, Counter, Gauge, Histogram, generate_latest
from pydantic import BaseModel, Field

app = FastAPI(title="Iris API")
CALLS = Counter("iris_requests_total", "Requests by route and status.", ["route", "code"])
TOOK = Histogram("iris_answer_duration_seconds", "Seconds to answer a request.", ["route"])
LOADED = Gauge("iris_model_loaded", "1 when the model is in memory.")
LOADED.set(1)
DRIFT = Gauge("iris_drift_score", 'PSI of the last inputs, "by method".')
DRIFT.set(0.07)


class Flower(BaseModel):
    sepal_length: float = Field(ge=4, le=8)
    sepal_width: float = Field(gt=1, lt=5)
    petals: list[float] = Field(min_length=2, max_length=2, examples=[[1.4, 0.2]])
    colour: Literal["blue", "white"]
    age: int = Field(ge=0, le=30)
    note: str | None = None


@app.middleware("http")
async def measure(request: Request, call_next) -> Response:
    began = time.perf_counter()
    answer = await call_next(request)
    CALLS.labels(request.url.path, str(answer.status_code)).inc()
    TOOK.labels(request.url.path).observe(time.perf_counter() - began)
    return answer


@app.get("/healthz")
def healthz() -> dict[str, bool]:
    return {"ok": True}


@app.get("/metrics", include_in_schema=False)
def metrics() -> Response:
    return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)


@app.post("/v1/classify")
def classify(flower: Flower) -> dict[str, str]:
    return {"kind": "setosa" if flower.sepal_length < 6 else "virginica"}


@app.post("/v1/train")
def train(flower: Flower) -> None:
    raise HTTPException(500, "training was started by somebody who only wanted to look")
