"""Credentials: named in the system file, read from the environment or secrets.toml, never shown."""

from __future__ import annotations

import base64
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import requests
from requests.auth import AuthBase

from app.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Credentials:
    """How to sign in: `secret` is the value, never shown; `name` is where it came from (variable or key)."""

    kind: str
    name: str
    secret: str = field(repr=False)
    user: str = ""

    @property
    def header(self) -> str:
        """The value of the `Authorization` header."""
        if self.kind == "bearer":
            return f"Bearer {self.secret}"
        return "Basic " + base64.b64encode(f"{self.user}:{self.secret}".encode()).decode()

    def redact(self, text: str) -> str:
        """`text` without the secret, plain or as sent."""
        for hidden in (self.header.partition(" ")[2], self.secret):
            text = text.replace(hidden, "***") if hidden else text
        return text


class SignIn(Protocol):
    """The keys of a system file's `[api]` and `[prometheus]` that say how to sign in."""

    @property
    def auth(self) -> str:
        """`none`, `basic` or `bearer`."""

    @property
    def user(self) -> str | None:
        """The user name of `basic`."""

    @property
    def secret(self) -> str | None:
        """Name of a variable or key, never the value."""


def credentials(source: SignIn, environ: Mapping[str, str], root: Path, *, where: str) -> Credentials | None:
    """The credentials a system file names, or None for `auth = "none"`.

    `source.secret` names an environment variable or, when that is not set, a key of `<root>/.streamlit/secrets.toml`.
    Raises ConfigError naming `where` (file and table) and the variable when the secret is missing or unusable.
    """
    if source.auth == "none":
        return None
    if not source.secret or (source.auth == "basic" and not source.user):
        message = f'{where}: auth = "{source.auth}" needs `secret`' + (" and `user`" if source.auth == "basic" else "")
        raise ConfigError(message + ".", hint="`secret` is the name of an environment variable, never the value.")
    value = environ.get(source.secret) or _stored_secret(root / ".streamlit" / "secrets.toml", source.secret)
    if not value:
        message = f"{where}: the secret {source.secret} is not set."
        hint = f"Set the environment variable {source.secret}, or that key in .streamlit/secrets.toml."
        raise ConfigError(message, hint=hint)
    if not value.isprintable():
        message = f"{where}: the secret {source.secret} holds a line break or another control character."
        raise ConfigError(message, hint="Store it without the line break at its end.")
    return Credentials(source.auth, source.secret, value, source.user or "")


def _stored_secret(path: Path, key: str) -> str | None:
    try:
        value: Any = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        message = f"{path.name} cannot be read ({type(error).__name__})."
        raise ConfigError(message, hint="Correct .streamlit/secrets.toml or set the variable.") from error
    for part in [key] if key in value else key.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value if isinstance(value, str) else None


class Authorization(AuthBase):
    """Credentials as requests wants them."""

    def __init__(self, auth: Credentials) -> None:
        self.auth = auth

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """Add the header."""
        request.headers["Authorization"] = self.auth.header
        return request
