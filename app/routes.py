"""The console's own HTTP routes next to Streamlit's, and the middleware round all of them.

Reports are served by `app.report_routes`; `/metrics` are the gauges of `app.gauges`, `/healthz` says who serves here.
Endpoints are plain functions: Starlette runs them in threads, so that neither a large report nor a slow disk holds up a
page.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from app.base.processes import myself
from app.base.version import VERSION
from app.config import Settings
from app.doors import STRANGER, Access, Doors
from app.gauges import Gauges
from app.report_routes import OddReportPaths, report_routes
from app.words.language import preferred, speaking

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

# What our page may fetch: nothing outside this console. Without frame-src a report would still leak by navigating
# its own frame elsewhere; Streamlit's own pages need inline script and styles, and workers made on the spot.
PAGES = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; font-src 'self' data:; media-src 'self' data: blob:; connect-src 'self' data: blob:; "
    "worker-src 'self' blob:; frame-src 'self'; object-src 'none'; base-uri 'self'; form-action 'self'; "
    "frame-ancestors 'none'"
)


def routes(settings: Settings, *, prefix: str = "") -> list[Route]:
    """Every route that is no page; Starlette answers HEAD wherever GET is answered.

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

    table = report_routes(settings) | {"/metrics": metrics, "/healthz": healthz}
    bases = ["", f"/{prefix.strip('/')}"] if prefix.strip("/") else [""]
    return [Route(base + path, endpoint, methods=["GET"]) for base in bases for path, endpoint in table.items()]


def middleware(settings: Settings, doors: Doors | None = None) -> list[Middleware]:
    """Headers on every answer, then the doors (host, origin, access) for every route, page and WebSocket."""
    doors = doors or Doors(settings, Access.of(settings))
    return [Middleware(SecurityHeaders), Middleware(Spoken), *doors.middleware(), Middleware(OddReportPaths)]


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


class Spoken:
    """The texts of our own answers (sign-in, reports, refusals) are in the language that the browser asks for."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on. A WebSocket carries a session of Streamlit, which has a language of its own."""
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        with speaking(preferred(Headers(scope=scope).get("accept-language", ""))):
            return await self.app(scope, receive, send)
