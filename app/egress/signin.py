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

from app.base import files
from app.errors import ConfigError
from app.words.message import t

# Begins the place of a file in `secret`, as in "F1PA_PASSWORD, file:/run/secrets/f1pa".
FILE = "file:"
# Longest secret file read; a token of a few kilobytes is long, a larger file was named by mistake.
MAX_SECRET_BYTES = 16_384
# RFC 7617: the first colon of `user:password` ends the user.
COLON = t("Basic authentication knows no user name with a colon: correct `user`.")
# secrets.toml holds a few dozen lines.
MAX_STORED_BYTES = 1_000_000


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
            return f"Bearer {self.secret}"  # no catalogue: a header
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
        message = t('{place}: auth = "{kind}" needs `secret`.', place=where, kind=source.auth)
        if source.auth == "basic":
            message = t('{place}: auth = "{kind}" needs `secret` and `user`.', place=where, kind=source.auth)
        raise ConfigError(message, hint=t("`secret` is the name of an environment variable, never the value."))
    if source.auth == "basic" and ":" in (source.user or ""):
        message = t("{place}: the user holds a colon, which ends it for the server.", place=where)
        raise ConfigError(message, hint=t(COLON))
    named, mark, path = source.secret.partition(FILE)
    name = named.strip().removesuffix(",").strip()
    value = (environ.get(name) or _stored_secret(root / ".streamlit" / "secrets.toml", name)) if name else None
    if not value and mark:
        value = secret_in(Path(path.strip()), where)
    if not value:
        raise _not_set(where, name, path.strip())
    if not value.isprintable():
        message = t(
            "{place}: the secret {name} holds a line break or another control character.",
            place=where,
            name=name or path.strip(),
        )
        raise ConfigError(message, hint=t("Store it without the line break at its end."))
    return Credentials(source.auth, name or path.strip(), value, source.user or "")


def _not_set(where: str, name: str, path: str) -> ConfigError:
    """What was looked for, and what to do."""
    facts = {"place": where, "name": name, "file": path}
    if name and path:
        message = t("{place}: the secret {name} is not set and there is no password in {file}.", **facts)
        hint = t(
            "Set the environment variable {name}, or that key in .streamlit/secrets.toml; or start the service that "
            "writes {file}.",
            **facts,
        )
    elif name:
        message = t("{place}: the secret {name} is not set.", **facts)
        hint = t("Set the environment variable {name}, or that key in .streamlit/secrets.toml.", **facts)
    else:
        message = t("{place}: there is no password in {file}.", **facts)
        hint = t("Start the service that writes {file}.", **facts)
    return ConfigError(message, hint=hint)


def secret_in(path: Path, where: str) -> str | None:
    """The text of a secret file without its last line break; None when there is no such file."""
    try:
        text = files.read(path, MAX_SECRET_BYTES).decode()
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        cause = error.strerror if isinstance(error, OSError) else type(error).__name__
        message = t("{place}: the secret in {file} cannot be read ({why}).", place=where, file=path, why=cause)
        hint = t("It must be a text file that this user may read, with the secret and nothing else.")
        raise ConfigError(message, hint=hint) from error
    return text.removesuffix("\n").removesuffix("\r")


def stored_secrets(root: Path) -> set[str]:
    """Every text in `<root>/.streamlit/secrets.toml`, in any table. Raises ConfigError for a broken file."""
    texts, left = set[str](), [_stored(root / ".streamlit" / "secrets.toml")]
    while left:
        value = left.pop()
        if isinstance(value, str):
            texts.add(value)
        elif isinstance(value, dict | list):
            left += value.values() if isinstance(value, dict) else value
    return texts


def _stored(path: Path) -> Any:
    """secrets.toml as it reads; an empty table where there is none."""
    try:
        return tomllib.loads(files.read(path, MAX_STORED_BYTES).decode())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        message = t("{file} cannot be read ({error}).", file=path.name, error=type(error).__name__)
        raise ConfigError(message, hint=t("Correct .streamlit/secrets.toml or set the variable.")) from error


def _stored_secret(path: Path, key: str) -> str | None:
    value = _stored(path)
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
