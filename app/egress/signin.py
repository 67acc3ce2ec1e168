"""Credentials: named in the system file, read from the environment, secrets.toml or a file, never shown."""

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

# Begins the place of a file in `secret`, as in "F1PA_PASSWORD, file:/run/secrets/f1pa".
FILE = "file:"
# Longest secret file read; a token of a few kilobytes is long, a larger file was named by mistake.
MAX_SECRET_BYTES = 16_384


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
        """Name of a variable or key, `file:PATH`, or both with a comma between; never the value."""


def credentials(source: SignIn, environ: Mapping[str, str], root: Path, *, where: str) -> Credentials | None:
    """The credentials a system file names, or None for `auth = "none"`.

    `source.secret` says where to look: `NAME` is an environment variable or, when that is not set, a key of
    `<root>/.streamlit/secrets.toml`; `file:PATH` is a file that holds nothing else, as a generated password or a
    container's secret; `NAME, file:PATH` tries one after the other. Raises ConfigError naming `where` (file and
    table) and the places when the secret is missing or unusable.
    """
    if source.auth == "none":
        return None
    if not source.secret or (source.auth == "basic" and not source.user):
        message = f'{where}: auth = "{source.auth}" needs `secret`' + (" and `user`" if source.auth == "basic" else "")
        raise ConfigError(message + ".", hint="`secret` is the name of an environment variable, never the value.")
    named, mark, path = source.secret.partition(FILE)
    name = named.strip().removesuffix(",").strip()
    value = (environ.get(name) or _stored_secret(root / ".streamlit" / "secrets.toml", name)) if name else None
    if not value and mark:
        value = secret_in(Path(path.strip()), where)
    if not value:
        raise _not_set(where, name, path.strip())
    if not value.isprintable():
        message = f"{where}: the secret {name or path.strip()} holds a line break or another control character."
        raise ConfigError(message, hint="Store it without the line break at its end.")
    return Credentials(source.auth, name or path.strip(), value, source.user or "")


def _not_set(where: str, name: str, path: str) -> ConfigError:
    """What was looked for, and what to do."""
    places = [f"the secret {name} is not set"] if name else []
    places += [f"there is no password in {path}"] if path else []
    ways = [f"set the environment variable {name}, or that key in .streamlit/secrets.toml"] if name else []
    ways += [f"start the service that writes {path}"] if path else []
    hint = "; or ".join(ways) + "."
    return ConfigError(f"{where}: {' and '.join(places)}.", hint=hint[0].upper() + hint[1:])


def secret_in(path: Path, where: str) -> str | None:
    """The text of a secret file without its last line break; None when there is no such file."""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_SECRET_BYTES + 1)
        text = content.decode("utf-8")
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        message = f"{where}: the secret in {path} cannot be read ({type(error).__name__})."
        raise ConfigError(message, hint="It must be a text file that this user may read.") from error
    if len(content) > MAX_SECRET_BYTES:
        message = f"{where}: {path} has more than {MAX_SECRET_BYTES:,} bytes."
        raise ConfigError(message, hint="A secret file holds the secret and nothing else.")
    return text.removesuffix("\n").removesuffix("\r")


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
