"""What every prediction service has: answers, limits, counting, a checked model, and when it is ready.

Each image copies this file next to its service; in the checkout it is next to the folders of the services. Nothing here
knows which service it serves.
"""

import asyncio
import hashlib
import io
import json
import logging
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, MutableMapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Generic, TypeVar

from fastapi import FastAPI, Request, Response

# Imported before Feast is: Feast would otherwise switch the client to files shared between processes.
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    GCCollector,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)
from pydantic import BaseModel, ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Asgi = Callable[[Message, Receive, Send], Awaitable[None]]
# Method, path, status and seconds of an answered request.
Count = Callable[[str, str, int, float], None]
Predictor = TypeVar("Predictor")
Body = TypeVar("Body", bound=BaseModel)

# The client went away before its answer (the number nginx gives it).
CLIENT_GONE: Final = 499
# More validation errors than this tell the sender nothing new.
MAX_ERRORS: Final = 10
# A key that should not be there is named in the answer, up to here.
MAX_KEY_CHARS: Final = 40
# A number of more digits is larger than any limit.
MAX_LENGTH_DIGITS: Final = 9


class NotReadyError(Exception):
    """Something this service needs is missing; the message says what."""


class BadBodyError(Exception):
    """The body of a request is wrong; the message says how."""


class Failure(BaseModel):
    """Every answer that is not a prediction: what happened, as a word for programs and a sentence for people."""

    error: str
    detail: str


def process_registry() -> CollectorRegistry:
    """A registry with the series of process and Python runtime, and nothing that libraries add to the default one."""
    registry = CollectorRegistry()
    for collector in (GCCollector, PlatformCollector, ProcessCollector):
        collector(registry=registry)
    return registry


# --- answers ----------------------------------------------------------------------------------------------------------


def answer(status: int, body: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> Response:
    """A JSON answer in ASCII: a lone surrogate cannot break it, and NaN cannot get in."""
    content = json.dumps(body, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return Response(content, status, headers=dict(headers or {}), media_type="application/json")


def failure(status: int, error: str, detail: str, headers: Mapping[str, str] | None = None) -> Response:
    """A Failure as a response."""
    return answer(status, {"error": error, "detail": detail}, headers)


async def reply(send: Send, response: Response) -> None:
    """Send a finished response from outside the framework."""
    await send({"type": "http.response.start", "status": response.status_code, "headers": response.raw_headers})
    await send({"type": "http.response.body", "body": response.body})


def read_body(model: type[Body], body: bytes) -> Body:
    """The body of a request as a model. Raises BadBodyError."""
    try:
        # Pydantic's own parser: it knows bad UTF-8, lone surrogates, NaN and deep nesting as errors, and the
        # framework's error answer would send the input back.
        return model.model_validate_json(body)
    except ValidationError as error:
        raise BadBodyError(sentence(error)) from error


def sentence(error: ValidationError) -> str:
    """What is wrong with a body: feature and reason, without sending the input back."""
    errors = error.errors(include_url=False, include_context=False, include_input=False)
    parts = [
        f"{'.'.join(str(part) for part in item['loc'])[:MAX_KEY_CHARS] or 'body'}: {item['msg']}"
        for item in errors[:MAX_ERRORS]
    ]
    more = len(errors) - len(parts)
    return "; ".join([*parts, f"and {more} more"] if more else parts)


class BodyLimit:
    """Answer 413 to a body over its limit, announced or not, holding no more than the limit of it in memory."""

    def __init__(self, app: Asgi, limit: int, larger: Mapping[str, int] | None = None) -> None:
        """Take the limit in bytes, and a larger one by path where a route needs it."""
        self.app, self.limit, self.larger = app, limit, larger or {}

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Read the body within its limit, then hand it on as one message."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        limit = self.larger.get(scope["path"], self.limit)
        announced = next((value for name, value in scope["headers"] if name == b"content-length"), b"0")
        parts: list[bytes] = []
        size, more = 0, True
        if announced.isdigit() and (len(announced) > MAX_LENGTH_DIGITS or int(announced) > limit):
            size = limit + 1
        while more and size <= limit:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            parts.append(message.get("body", b""))
            size += len(parts[-1])
            more = message.get("more_body", False)
        if size > limit:
            await reply(send, failure(413, "too_large", f"the body is larger than {limit} bytes"))
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
    """Count and time every request, also one that fails; answer 500 for what no one caught."""

    def __init__(self, app: Asgi, count: Count, log: logging.Logger) -> None:
        self.app, self.count, self.log = app, count, log

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
            self.log.exception("unexpected error at %s", scope["path"])
            if status != CLIENT_GONE:
                raise
            status = 500
            await reply(send, failure(500, "internal", "unexpected error; the log of the service has the details"))
        finally:
            self.count(scope["method"], scope["path"], status, time.perf_counter() - started)


# --- a checked model, and when it is there ---------------------------------------------------------------------------


@dataclass(slots=True)
class Readiness(Generic[Predictor]):
    """What the service can do now: a predictor, or the reason why there is none."""

    reason: str
    predictor: Predictor | None = None
    status: str = "starting"

    def need(self) -> Predictor:
        """The predictor, or NotReadyError with the reason."""
        if self.predictor is None:
            raise NotReadyError(self.reason)
        return self.predictor

    def load(self, load: Callable[[], Predictor], retry: float, log: logging.Logger) -> None:
        """Load until it works; the port answers meanwhile. What is missing may come, so look again every `retry` s."""
        started = time.monotonic()
        while self.predictor is None:
            try:
                self.predictor = load()
            except NotReadyError as error:
                if str(error) != self.reason:
                    log.error("not ready: %s", error)  # noqa: TRY400 - the reason is the whole message
                self.status, self.reason = "not ready", str(error)
                time.sleep(retry)
        self.status, self.reason = "ok", ""
        log.info("ready after %.1f s", time.monotonic() - started)


@contextmanager
def loading(log: logging.Logger) -> Iterator[None]:
    """Whatever libraries raise of their own, as a NotReadyError: the service must say it and stay up."""
    try:
        yield
    except NotReadyError:
        raise
    except Exception as error:
        log.exception("loading failed")
        raise NotReadyError(f"loading failed: {type(error).__name__}: {error}") from error


def folder_of(environ: Mapping[str, str], name: str) -> Path:
    """The folder that a variable names. Raises NotReadyError."""
    if not environ.get(name):
        raise NotReadyError(f"{name} is not set")
    return Path(environ[name])


def model_files(folder: Path, name: str = "") -> tuple[bytes, bytes]:
    """`model.joblib` and `model.json` of a folder, which a setting may have named. Raises NotReadyError."""
    try:
        return (folder / "model.joblib").read_bytes(), (folder / "model.json").read_bytes()
    except OSError as error:
        raise NotReadyError(f"no model in {name}{folder}: {error}") from error


def open_model(content: bytes, description: bytes, where: str, version: int) -> tuple[Any, dict[str, Any]]:
    """The model of these two files. A model.joblib whose hash is not the one in model.json is not opened."""
    described = describe(description, where, version)
    digest = hashlib.sha256(content).hexdigest()
    if digest != described.get("sha256"):
        raise NotReadyError(
            f"model.joblib in {where} is not the file model.json describes "
            f"(sha256 {digest[:12]}… instead of {str(described.get('sha256'))[:12]}…): train the model again"
        )
    import joblib
    import sklearn

    if sklearn.__version__ != described.get("sklearn"):
        raise NotReadyError(
            f"the model in {where} was trained with scikit-learn {described.get('sklearn')}, this service runs "
            f"{sklearn.__version__}: train the model again"
        )
    # From the bytes that were hashed: the file may change in between.
    return joblib.load(io.BytesIO(content)), described


def describe(description: bytes, where: str, version: int) -> dict[str, Any]:
    """The contents of model.json, of this version. Raises NotReadyError."""
    try:
        described = json.loads(description)
    except ValueError as error:
        raise NotReadyError(f"no model in {where}: model.json: {error}") from error
    if not isinstance(described, dict) or described.get("version") != version:
        raise NotReadyError(f"model.json in {where} is not version {version}: train the model again")
    return described


# --- the application --------------------------------------------------------------------------------------------------


def application(title: str, description: str, start: Callable[[], None]) -> FastAPI:
    """An application without FastAPI's own pages, which load scripts from elsewhere, and without redirects.

    `start` runs beside the server, in a thread that ends with the process, so that the port answers at once.
    """

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        threading.Thread(target=start, name="load", daemon=True).start()
        # The first use of the thread pool imports its backend: 30 ms that the first prediction should not show.
        await run_in_threadpool(time.monotonic)
        yield

    # A redirect would be counted as a second request, and names whatever Host the client sent.
    return FastAPI(
        title=title,
        version="1.0.0",
        description=description,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )


def body_of(model: type[BaseModel], example: Any) -> dict[str, Any]:
    """The request body of a route, for openapi.json."""
    schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
    # A model inside it is listed once, among the components.
    schema.pop("$defs", None)
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema, "example": example}}}}


def add_common_routes(
    app: FastAPI, registry: CollectorRegistry, docs_page: Path, about: str, bad_body: str = "bad_body"
) -> None:
    """Add `/metrics` (described by `about`), `/docs` from a file, and errors in the shape of every failure."""

    async def metrics() -> Response:
        return Response(await asyncio.to_thread(generate_latest, registry), media_type=CONTENT_TYPE_LATEST)

    def docs() -> Response:
        return Response(docs_page.read_bytes(), media_type="text/html; charset=utf-8")

    async def refused(_: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        return answer(error.status_code, {"error": "http", "detail": str(error.detail)}, error.headers)

    async def not_ready(_: Request, error: Exception) -> Response:
        return failure(503, "not_ready", str(error))

    async def wrong(_: Request, error: Exception) -> Response:
        return failure(422, bad_body, str(error))

    app.get("/metrics", response_class=Response, description=about)(metrics)
    app.get("/docs", include_in_schema=False)(docs)
    for kind, handler in ((HTTPException, refused), (NotReadyError, not_ready), (BadBodyError, wrong)):
        app.exception_handler(kind)(handler)
