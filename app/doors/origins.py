"""Who may open the WebSocket and send what changes something: the pages of the console itself alone.

A browser says in `Origin` which page a request comes from, and a script cannot change that. Without this check any
page that a reader has open elsewhere, another port of this machine included, could press the console's buttons.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse

from app.config.origin import Origin
from app.words.message import t

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

LOG = logging.getLogger("vigie.doors")
LOCAL_HOSTS = ("localhost", "127.0.0.1", "[::1]")
# Methods that only read. Everything else acts: the upload of a file, the sign-in form.
READS = ("GET", "HEAD", "OPTIONS")
# Read by their method, and act all the same: they are distinguished by where the navigation began.
ACTING_PATHS = ("/auth/logout",)
SCHEMES = {"http": "http", "ws": "http", "https": "https", "wss": "https"}
# Refused origins that are logged, each once: a hostile page cannot fill the log.
MAX_LOGGED = 50
# An Origin is cut to this many characters in the log and in the answer.
SHOWN = 120


class OriginCheck:
    """Answers 403 unless a WebSocket or an acting request comes from the console's own pages or an allowed origin.

    Own is what equals scheme and `Host` of the request, for the hosts of this machine and of `VIGIE_ALLOWED_HOSTS`;
    the host check is before it. `allowed` are compared as they are; which `Host` a proxy passes on does not matter.
    """

    def __init__(self, app: ASGIApp, hosts: Sequence[str], allowed: Sequence[Origin]) -> None:
        self.app = app
        self._hosts = (*LOCAL_HOSTS, *hosts)
        self._allowed = frozenset(allowed)
        self._logged: set[str] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on what only reads, and what comes from the right place."""
        if not acts(scope):
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        values = headers.getlist("origin")
        origin = Origin.parse(values[0]) if len(values) == 1 else None
        if scope["type"] == "http" and scope["method"] in READS:
            # A navigation carries no Origin. Browsers report where it began; other programs act for their own user.
            good = headers.get("sec-fetch-site", "none") in ("none", "same-origin")
        else:
            good = origin is not None and (origin in self._allowed or origin == self._own(scope, headers))
        if not good:
            await self._refuse(values)(scope, receive, send)
            return
        if scope["type"] == "websocket" and origin is not None:
            # Streamlit compares Origin with Host once more, and asks a server on the internet for this machine's
            # address when they differ, as they do behind a proxy that passes its own Host on.
            rest = [(name, value) for name, value in scope["headers"] if name != b"host"]
            scope = {**scope, "headers": [(b"host", _netloc(values[0])), *rest]}
        await self.app(scope, receive, send)

    def _own(self, scope: Scope, headers: Headers) -> Origin | None:
        own = Origin.parse(f"{SCHEMES[scope['scheme']]}://{headers.get('host', '')}")
        return own if own is not None and any(_is_host(own.host, pattern) for pattern in self._hosts) else None

    def _refuse(self, values: Sequence[str]) -> PlainTextResponse:
        # Anything that was sent: printable, on one line.
        shown = ", ".join(ascii(value[:SHOWN]) for value in values[:3])
        text = f"from {shown}" if values else "without an Origin"  # no catalogue: for the log
        if text not in self._logged and len(self._logged) < MAX_LOGGED:
            self._logged.add(text)
            LOG.warning("A request %s was refused; VIGIE_ALLOWED_ORIGINS names what is allowed.", text)
        refused = t("A request without an Origin may not act here.")
        if values:
            refused = t("A request from {origins} may not act here.", origins=shown)
        way_out = t(
            "The console takes orders from its own pages. Behind a proxy, set VIGIE_ALLOWED_ORIGINS to what the "
            "browser shows before the path, for example https://vigie.example."
        )
        return PlainTextResponse(f"{refused}\n{way_out}\n", 403, {"Cache-Control": "no-store"})


def acts(scope: Scope) -> bool:
    """Whether a request may change something: every WebSocket, every method but the reading ones, a few paths."""
    if scope["type"] == "websocket":
        return True
    if scope["type"] != "http":
        return False
    return scope["method"] not in READS or scope["path"].endswith(ACTING_PATHS)


def _is_host(host: str, pattern: str) -> bool:
    return host == pattern or (pattern.startswith("*.") and host.endswith(pattern[1:]))


def _netloc(origin: str) -> bytes:
    """Host and port exactly as the browser wrote them in an Origin."""
    return origin.partition("://")[2].encode("latin-1")
