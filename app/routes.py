"""The console's own HTTP routes beside Streamlit's, and the middleware round all of them.

`/reports/view/{id}` a report inside a sandbox of its own, `/reports/file/{id}/{html|json}` the same as a download,
`/metrics` the gauges of `app.gauges`, `/healthz` who serves here. Endpoints are plain functions: Starlette runs them in
threads, so that neither a large report nor a slow disk holds up a page.
"""

from __future__ import annotations

import gzip
import html
import re
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING

from starlette.datastructures import MutableHeaders
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from app import VERSION, reports
from app.config import Settings, load_systems
from app.doors import STRANGER, Access, Doors
from app.errors import ReportNotFound, VigieError
from app.gauges import Gauges
from app.processes import myself

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

VIEW, FILE = "/reports/view/", "/reports/file/"
# A report is somebody's data in somebody's HTML: it runs its script in an origin of its own and reaches nothing.
SANDBOX = (
    "sandbox allow-scripts; default-src 'none'; script-src 'unsafe-inline' 'unsafe-eval'; style-src 'unsafe-inline'; "
    "img-src data: blob:; font-src data:; worker-src blob:; connect-src 'none'; form-action 'none'; base-uri 'none'; "
    "frame-ancestors 'self'"
)
# Without frame-src a report still leaks by navigating its own frame elsewhere.
PAGES = "frame-ancestors 'none'; frame-src 'self'; object-src 'none'; base-uri 'self'"
# A report never changes once it is saved; it may be deleted to keep the disk bounded.
CACHE = "private, max-age=300"
# A piece of this size is written to the socket in well under a millisecond.
PIECE = 262_144
# Evidently lays its tables out for a wide page and cuts them off in ours on a laptop; the file itself stays as it is.
FIT = b"<style>@media (max-width: 1150px) { html { zoom: 0.78 } }</style>"
# Smaller bodies gain nothing.
WORTH_PACKING = 10_000
# Evidently's 4.6 MB become 1.2 MB in 50 ms; a higher level takes three times as long for a tenth less.
PACK_LEVEL = 1
MEDIA = {"html": "text/html; charset=utf-8", "json": "application/json"}


def routes(settings: Settings, *, prefix: str = "") -> list[Route]:
    """Every route of ours; Starlette answers HEAD wherever GET is answered.

    `prefix` is the path a proxy serves the console under (`server.baseUrlPath`): each route then answers there too.
    """
    gauges = Gauges(settings)

    def metrics(_request: Request) -> Response:
        body, media = gauges.exposition()
        return Response(body, media_type=media, headers={"Cache-Control": "no-store"})

    def healthz(request: Request) -> Response:
        me = myself()
        answer: dict[str, object] = {"service": "vigie", "home": settings.home_id}
        if not request.scope.get(STRANGER):
            # Who has not signed in learns that it runs and for which home, by a hash: another start joins by it.
            answer |= {"version": VERSION, "pid": me.pid, "started": me.started}
        return JSONResponse(answer, headers={"Cache-Control": "no-store"})

    def view(request: Request) -> Response:
        return _guarded(lambda: _report(settings, request, request.path_params["rest"], "html", download=False))

    def file(request: Request) -> Response:
        run, _, kind = request.path_params["rest"].rpartition("/")
        return _guarded(lambda: _report(settings, request, run, kind, download=True))

    # `:path` also takes ids with slashes in them: their answer is ours, in words.
    table = {VIEW + "{rest:path}": view, FILE + "{rest:path}": file, "/metrics": metrics, "/healthz": healthz}
    bases = ["", f"/{prefix.strip('/')}"] if prefix.strip("/") else [""]
    return [Route(base + path, endpoint, methods=["GET"]) for base in bases for path, endpoint in table.items()]


def middleware(settings: Settings, doors: Doors | None = None) -> list[Middleware]:
    """Headers on every answer, then the doors (host, origin, access) for every route, page and WebSocket."""
    doors = doors or Doors(settings, Access.of(settings))
    return [Middleware(SecurityHeaders), *doors.middleware(), Middleware(OddReportPaths)]


class SecurityHeaders:
    """Adds the headers of a page to every HTTP answer that does not bring its own. Pure ASGI: streams stay streams."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on; complete the headers on the way back."""

        async def complete(message: Message) -> None:
            if message["type"] in ("http.response.start", "websocket.http.response.start"):
                headers = MutableHeaders(scope=message)
                headers.setdefault("Content-Security-Policy", PAGES)
                headers.setdefault("X-Content-Type-Options", "nosniff")
                headers.setdefault("Referrer-Policy", "same-origin")
            await send(message)

        await self.app(scope, receive, complete)


class OddReportPaths:
    """Answers report paths with `..`, a backslash or NUL in them itself, before Streamlit's own terse 400 does."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass everything else on."""
        path = scope.get("path", "")
        if scope["type"] == "http" and path.startswith((VIEW, FILE)) and re.search(r"\.\.|[\\\x00]", path):
            await _not_found(ReportNotFound("That is no run id.", hint="Open a run from the list of reports."))(
                scope, receive, send
            )
            return
        await self.app(scope, receive, send)


def _guarded(work: Callable[[], Response]) -> Response:
    try:
        return work()
    except VigieError as error:
        return _not_found(error)


def _report(settings: Settings, request: Request, run: str, kind: str, *, download: bool) -> Response:
    """The report of a run as one kind of file. Raises ReportNotFound or ReportError."""
    if kind not in MEDIA:
        raise ReportNotFound("A report can be had as html or as json.", hint="Use the buttons of the page.")
    folder = reports.find(settings, load_systems(settings), run)
    name = _name(reports.read_meta(folder), kind)
    data = reports.read_file(folder, name)
    headers = {
        "Content-Security-Policy": SANDBOX,
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Cache-Control": CACHE,
        "Vary": "Accept-Encoding",
    }
    if kind == "html" and not download:
        data = data.replace(b"</head>", FIT + b"</head>", 1)
    if download:
        headers["Content-Disposition"] = f'attachment; filename="{name}"'
    if len(data) > WORTH_PACKING and "gzip" in request.headers.get("accept-encoding", ""):
        # Here, in a thread: Streamlit's own compression would do it in the event loop and hold up every page.
        data = gzip.compress(data, PACK_LEVEL, mtime=0)
        headers["Content-Encoding"] = "gzip"
    else:
        headers["Content-Encoding"] = "identity"
    headers["Content-Length"] = str(len(data))
    return StreamingResponse(_pieces(data), media_type=MEDIA[kind], headers=headers)


def _name(meta: reports.Meta, kind: str) -> str:
    """The file that is the report: `drift_<ref>_vs_<cur>.<kind>`, or the only one of its kind that is not ours."""
    names = sorted(name for name in meta.files if name.endswith(f".{kind}") and name != "result.json")
    # Names were checked when they were saved (letters, digits, dot, dash, underscore): safe in a header as they are.
    named = [name for name in names if name.startswith("drift_")]
    if not names:
        hint = "A run without a decision embeds no report; its page says why."
        raise ReportNotFound(f"Run {meta.run} has no {kind} report.", hint=hint)
    return (named or names)[0]


async def _pieces(data: bytes) -> AsyncIterator[memoryview]:
    whole = memoryview(data)
    for start in range(0, len(data), PIECE):
        yield whole[start : start + PIECE]


def _not_found(error: VigieError) -> Response:
    """A small page in words; also good inside the frame of a report."""
    text = html.escape(str(error)) + " " + html.escape(error.hint)
    body = (
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>Vigie: no such report</title>'
        '<body style="font: 16px/1.5 sans-serif; margin: 3rem; max-width: 40rem">'
        f'<h1 style="font-size: 1.2rem">There is no such report</h1><p>{text}</p></body></html>'
    )
    status = 404 if isinstance(error, ReportNotFound) else 500
    headers = {"Content-Security-Policy": SANDBOX, "Cache-Control": "no-store"}
    return Response(body, status, headers, "text/html; charset=utf-8")
