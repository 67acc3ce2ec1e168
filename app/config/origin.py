"""Origins and host names as browsers write them, and the two variables that list them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv6Address

from app.base import variables
from app.base.variables import Variable
from app.errors import ConfigError
from app.words.message import t

PORTS = {"http": 80, "https": 443}
MAX_PORT = 65_535
# A name ends in a letter or digit: with a dot at its end it is another host to a browser.
_NAME = r"[a-z0-9](?:[a-z0-9._-]*[a-z0-9])?"
_ORIGIN = re.compile(rf"(https?)://(\[[0-9a-f:.]+\]|{_NAME})(?::([1-9][0-9]{{0,4}}))?", re.IGNORECASE | re.ASCII)
_HOST = re.compile(rf"\[[0-9a-f:.]+\]|(?:\*\.)?{_NAME}", re.IGNORECASE | re.ASCII)


@dataclass(frozen=True, slots=True)
class Origin:
    """Scheme, host (lower case, IPv6 in brackets) and port of an address; the port is always a number."""

    scheme: str
    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Origin | None:
        """The origin that `text` is and nothing more (no path, no user, not `null`); None for anything else."""
        match = _ORIGIN.fullmatch(text)
        if match is None:
            return None
        scheme, host = match[1].lower(), match[2].lower()
        port = int(match[3] or PORTS[scheme])
        if port > MAX_PORT:
            return None
        if host.startswith("["):
            try:
                host = f"[{IPv6Address(host[1:-1]).compressed}]"
            except ValueError:
                return None
        return cls(scheme, host, port)

    @property
    def netloc(self) -> str:
        """Host and port as a browser writes them: without the port that the scheme implies."""
        return self.host if self.port == PORTS[self.scheme] else f"{self.host}:{self.port}"

    def __str__(self) -> str:
        return f"{self.scheme}://{self.netloc}"


def allowed_origins(env: Mapping[str, str]) -> tuple[Origin, ...]:
    """`VIGIE_ALLOWED_ORIGINS`, by comma. Raises ConfigError for an entry that is no origin."""
    origins = []
    for text in entries(env, variables.ALLOWED_ORIGINS):
        origin = Origin.parse(text.removesuffix("/"))
        if origin is None:
            message = t(
                "VIGIE_ALLOWED_ORIGINS has {text!r}; accepted: http://HOST[:PORT] or https://HOST[:PORT].", text=text
            )
            hint = t(
                "Write what the browser shows before the first single slash, for example https://vigie.example:8443."
            )
            raise ConfigError(message, hint=hint)
        origins.append(origin)
    return tuple(origins)


def allowed_hosts(env: Mapping[str, str]) -> tuple[str, ...]:
    """`VIGIE_ALLOWED_HOSTS`, by comma, lower case. Raises ConfigError for an entry that is no host name."""
    hosts = entries(env, variables.ALLOWED_HOSTS)
    for host in hosts:
        if not _HOST.fullmatch(host):
            # `*` is refused too: then any web page can point its own name at the console and read it.
            message = t("VIGIE_ALLOWED_HOSTS has {host!r}; accepted: host names without port, or *.DOMAIN.", host=host)
            raise ConfigError(message, hint=t("Name the hosts under which browsers reach the console."))
    return tuple(host.lower() for host in hosts)


def entries(env: Mapping[str, str], variable: Variable) -> tuple[str, ...]:
    """A variable that is a list by comma; empty parts left out."""
    return tuple(part.strip() for part in variable.of(env).split(",") if part.strip())
