"""The doors of the console: which pages may give it orders (`origins`), and who may come in (`access`, `gate`).

`Doors.of(settings)` reads the environment once; its middleware is before every route, page, file and WebSocket.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.routing import Route

from app.config import Settings
from app.doors.access import Access, Login, Tries, hand_over, refuse_open
from app.doors.gate import STRANGER, Gate, by_https
from app.doors.gate import routes as gate_routes
from app.doors.origins import LOCAL_HOSTS, OriginCheck

__all__ = ["STRANGER", "Access", "Doors", "Login", "hand_over", "refuse_open"]


@dataclass(frozen=True, slots=True)
class Doors:
    """Host names, origins and access of one console."""

    settings: Settings
    access: Access
    _tries: Tries = field(default_factory=Tries)

    def middleware(self) -> list[Middleware]:
        """The three checks in their order: host, origin, access."""
        settings = self.settings
        # A host of an allowed origin is a host of this console; its other schemes and ports are no origin of it.
        hosts = [*LOCAL_HOSTS, *settings.allowed_hosts, *(origin.host for origin in settings.allowed_origins)]
        return [
            Middleware(TrustedHostMiddleware, allowed_hosts=hosts, www_redirect=False),
            Middleware(OriginCheck, settings.allowed_hosts, settings.allowed_origins),
            Middleware(Gate, self.access, by_https(settings.allowed_origins), self._tries),
        ]

    def routes(self) -> list[Route]:
        """The sign-in form and the way out."""
        return gate_routes(self.access, by_https(self.settings.allowed_origins), self._tries)
