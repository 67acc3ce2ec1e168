"""The door itself: the check before every route, page, file and WebSocket, the sign-in form and the way out.

Nothing but `/healthz` and the form is answered to a stranger. `?token=` on any address signs in and leaves the address
at once; `/metrics` also takes the token as a bearer.
"""

from __future__ import annotations

import html
import logging
import re
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, quote, unquote, unquote_plus, urlencode

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from app.config.origin import Origin
from app.doors.access import SESSION_SECONDS, Access, Tries, cookies
from app.words.language import language
from app.words.message import t, tn

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

LOG = logging.getLogger("vigie.doors")
SIGN_IN, SIGN_OUT = "/signin", "/signout"
# Set for `/healthz` when a stranger asks.
STRANGER = "vigie.stranger"
# Streamlit's own steps of a sign-in with an identity provider.
LOGIN_PATHS = ("/auth/login", "/oauth2callback")
# How long a person may take at an identity provider and still reach the page they asked for.
LOGIN_SECONDS = 600
# A token and an address: a longer body is not our form.
MAX_FORM = 8192
# The page asks for nothing and runs nothing.
POLICY = "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
# `same-origin`: under `no-referrer` a browser would send the form with `Origin: null`.
HEADERS = {"Content-Security-Policy": POLICY, "Cache-Control": "no-store", "Referrer-Policy": "same-origin"}
LEAVING = {"Cache-Control": "no-store", "Referrer-Policy": "no-referrer"}
WRONG = t("That is not the token of this console.")
# The form and one step below it, nothing deeper: no way leads from there to another route.
_FORM = re.compile(rf"{SIGN_IN}(/[^/]+)?")
_PAGE = Template((Path(__file__).parent / "page.html").read_text(encoding="utf-8"))


class Gate:
    """Passes on what `access` admits; answers all else with the sign-in form, or 401 with a line of text."""

    def __init__(self, app: ASGIApp, access: Access, secure: Callable[[Headers, str], bool], tries: Tries) -> None:
        self.app = app
        self._access, self._secure, self._tries = access, secure, tries

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on, sign in, or refuse."""
        if scope["type"] not in ("http", "websocket") or self._access.open:
            await self.app(scope, receive, send)
            return
        answer = self._answer(scope)
        await (answer or self.app)(scope, receive, send)

    def _answer(self, scope: Scope) -> Response | None:
        """What is answered here; None passes the request on."""
        headers = Headers(scope=scope)
        path = _below(self._access.base, scope["path"])
        inside = self._access.admits("; ".join(headers.getlist("cookie")))
        plain = scope["type"] == "http"
        if plain and path == "/healthz":
            scope[STRANGER] = not inside
            return None
        query = scope["query_string"].decode("latin-1")
        if plain and scope["method"] in ("GET", "HEAD") and self._access.token is not None:
            tokens, rest = _without_token(query)
            if tokens:
                return self._sign_in(scope, headers, tokens[-1], rest, inside=inside)
        if inside and plain and path == "/":
            return self._onward(headers)
        if inside or (plain and _FORM.fullmatch(path)):
            return None
        if plain and self._access.login is not None and path in LOGIN_PATHS:
            return None
        if plain and path == "/metrics" and "authorization" in headers:
            return self._bearer(scope, headers["authorization"])
        if plain and scope["method"] in ("GET", "HEAD") and "text/html" in headers.get("accept", ""):
            return form(self._access, _address(scope, query), status=401)
        return _line(t("Sign in first: open the console in a browser."), 401)

    def _sign_in(self, scope: Scope, headers: Headers, token: str, query: str, *, inside: bool) -> Response:
        """To the same address without the token: with a session when it is right, to the form when it is not."""
        there = self._access.local(_address(scope, query))
        if inside:
            return RedirectResponse(there, 303, LEAVING)
        if attempt(self._access, self._tries, scope, "form", token) is None:
            return welcome(self._access, there, secure=self._secure(headers, scope["scheme"]))
        back = f"{self._access.base}{SIGN_IN}?{urlencode({'next': there, 'wrong': '1'})}"
        return RedirectResponse(back, 303, LEAVING)

    def _onward(self, headers: Headers) -> Response | None:
        """Streamlit leads everyone back to its first page: from there to where they were going, once."""
        access = self._access
        there = access.local(unquote(dict(cookies(headers.get("cookie", ""))).get(access.onward, "")))
        if there == access.local(""):
            return None
        answer = RedirectResponse(there, 303, LEAVING)
        answer.delete_cookie(access.onward, path=access.base or "/", httponly=True)
        return answer

    def _bearer(self, scope: Scope, authorization: str) -> Response | None:
        kind, _, given = authorization.partition(" ")
        if kind.lower() != "bearer":
            return _line(t("Send the token as `Authorization: Bearer`."), 401)
        seconds = attempt(self._access, self._tries, scope, "bearer", given.strip())
        if seconds is None:
            return None
        return _line(t(WRONG), 401) if seconds == 0 else _line(t("Too many wrong tokens."), 429, seconds)


def routes(access: Access, secure: Callable[[Headers, str], bool], tries: Tries) -> list[Route]:
    """The sign-in form, the way to an identity provider, and the way out; behind the path prefix too."""

    async def sign_in(request: Request) -> Response:
        fields = await _fields(request)
        there = access.local(fields.get("next", ""))
        if access.open or access.admits(request.headers.get("cookie", "")):
            return RedirectResponse(there, 303, LEAVING)
        if request.method != "POST" or access.token is None:
            return form(access, there, t(WRONG) if "wrong" in fields else "")
        seconds = attempt(access, tries, request.scope, "form", fields.get("token", "").strip())
        if seconds is None:
            return welcome(access, there, secure=secure(request.headers, request.url.scheme))
        if seconds:
            wait = tn(
                "Too many wrong tokens came from your address. Try again in {n:.0f} second.",
                "Too many wrong tokens came from your address. Try again in {n:.0f} seconds.",
                round(seconds),
            )
            return form(access, there, wait, status=429, seconds=seconds)
        return form(access, there, t(WRONG), status=401)

    async def provider(request: Request) -> Response:
        name = request.path_params["provider"]
        if access.login is None or name not in dict(access.login.providers()):
            return _line(t("No such way to sign in."), 404)
        answer = RedirectResponse(access.base + access.login.address(name), 303, LEAVING)
        there = access.local(request.query_params.get("next", ""))
        answer.set_cookie(
            access.onward, quote(there, safe=""), LOGIN_SECONDS, path=access.base or "/", httponly=True, samesite="lax"
        )
        return answer

    async def sign_out(request: Request) -> Response:
        if request.method != "POST":
            return _page(t("Sign out?"), _way_out(access))
        by_login = access.login is not None and access.login.admits(dict(request.cookies))
        to = f"{access.base}/auth/logout" if by_login else f"{access.base}{SIGN_IN}"
        answer = RedirectResponse(to, 303, LEAVING)
        if access.cookie in request.cookies:
            answer.delete_cookie(access.cookie, path=access.base or "/", httponly=True)
        return answer

    table: list[tuple[str, Callable[[Request], Coroutine[Any, Any, Response]], list[str]]] = [
        (SIGN_IN, sign_in, ["GET", "POST"]),
        (SIGN_IN + "/{provider}", provider, ["GET"]),
        (SIGN_OUT, sign_out, ["GET", "POST"]),
    ]
    return [Route(base + path, do, methods=way) for base in dict.fromkeys(["", access.base]) for path, do, way in table]


def attempt(access: Access, tries: Tries, scope: Scope, door: str, token: str) -> float | None:
    """None for the right token; 0.0 for a wrong one, which is counted; else the seconds until the next may be sent."""
    address = str((scope.get("client") or ("?",))[0])
    now = time.monotonic()
    seconds = tries.wait(door, address, now)
    if seconds:
        return seconds
    if access.right(token):
        return None
    tries.wrong(door, address, now)
    LOG.warning("A wrong token was sent from %s (%s).", address, door)
    return 0.0


def welcome(access: Access, there: str, *, secure: bool) -> Response:
    """On to an address of the console, with a session."""
    answer = RedirectResponse(there, 303, LEAVING)
    # Lax: a link from a chat keeps the session, a form on another site does not have it.
    answer.set_cookie(
        access.cookie, access.session(), SESSION_SECONDS, path=access.base or "/", secure=secure, httponly=True,
        samesite="lax",
    )  # fmt: skip
    return answer


def form(access: Access, there: str, problem: str = "", *, status: int = 200, seconds: float = 0) -> Response:
    """The sign-in form; `there` is where it leads."""
    parts = [f'<p class="wrong" role="alert">{html.escape(problem)}</p>'] if problem else []
    there = access.local(there)
    if access.token is not None:
        parts.insert(0, f"<p>{_safe(t('This console asks for the token that it was started with (VIGIE_TOKEN).'))}</p>")
        parts.append(
            f'<form method="post" action="{html.escape(access.base + SIGN_IN)}">'
            f'<input type="hidden" name="next" value="{html.escape(there)}">'
            f'<label for="token">{_safe(t("Token"))}</label>'
            '<input id="token" name="token" type="password" autocomplete="current-password" required autofocus>'
            f'<button type="submit">{_safe(t("Sign in"))}</button></form>'
        )
    for name, title in access.login.providers() if access.login else ():
        href = html.escape(f"{access.base}{SIGN_IN}/{quote(name, safe='')}?{urlencode({'next': there})}")
        parts.append(f'<a class="button" href="{href}">{_safe(t("Sign in with {provider}", provider=title))}</a>')
    return _page(t("Sign in"), "\n".join(parts), status, seconds)


def _way_out(access: Access) -> str:
    action = html.escape(access.base + SIGN_OUT)
    what = t("Runs in progress continue. Other browsers stay signed in; a new VIGIE_TOKEN ends every session.")
    return (
        f'<p>{_safe(what)}</p><form method="post" action="{action}">'
        f'<button type="submit">{_safe(t("Sign out"))}</button></form>'
        f'<a class="button" href="{html.escape(access.base)}/">{_safe(t("Stay"))}</a>'
    )


def _safe(text: str) -> str:
    """A text between tags: an apostrophe stays what it is."""
    return html.escape(text, quote=False)


def _page(title: str, body: str, status: int = 200, seconds: float = 0) -> Response:
    page = _PAGE.substitute(title=title, body=body, language=language())
    return HTMLResponse(page, status, HEADERS | _refusal(status, seconds))


def _line(text: str, status: int, seconds: float = 0) -> Response:
    return PlainTextResponse(f"{text}\n", status, {"Cache-Control": "no-store"} | _refusal(status, seconds))


def _refusal(status: int, seconds: float) -> dict[str, str]:
    headers = {"WWW-Authenticate": 'Bearer realm="vigie"'} if status == 401 else {}  # no catalogue: a header
    return headers | ({"Retry-After": f"{seconds:.0f}"} if seconds else {})


async def _fields(request: Request) -> dict[str, str]:
    """Query and form of a request, the form last; a body that is too long or no form counts as empty."""
    body = b""
    async for piece in request.stream():
        body += piece
        if len(body) > MAX_FORM:
            return {}
    text = f"{request.url.query}&{body.decode('latin-1')}"
    try:
        return dict(parse_qsl(text, keep_blank_values=True, max_num_fields=20))
    except ValueError:
        return {}


def _without_token(query: str) -> tuple[list[str], str]:
    """The values of `token` in a query string, and the rest of it exactly as it was."""
    tokens, rest = [], []
    for part in query.split("&"):
        name, _, value = part.partition("=")
        if unquote_plus(name) == "token":
            tokens.append(unquote_plus(value).strip())
        else:
            rest.append(part)
    return tokens, "&".join(rest)


def _address(scope: Scope, query: str) -> str:
    """Path and query as the browser wrote them."""
    raw = scope.get("raw_path")
    path = raw.decode("latin-1") if raw else quote(scope["path"])
    return f"{path}?{query}" if query else path


def _below(base: str, path: str) -> str:
    """The path without the prefix of the console; every route answers with and without it."""
    return path[len(base) :] if base and path.startswith(f"{base}/") else path


def by_https(allowed: tuple[Origin, ...]) -> Callable[[Headers, str], bool]:
    """Answers whether the browser uses https: directly, or through a proxy at one of the allowed origins."""
    https = [origin for origin in allowed if origin.scheme == "https"]

    def secure(headers: Headers, scheme: str) -> bool:
        if scheme in ("https", "wss"):
            return True
        if "origin" in headers:
            origin = Origin.parse(headers["origin"])
            return origin is not None and origin.scheme == "https"
        host = Origin.parse(f"https://{headers.get('host', '')}")
        return host in https

    return secure
