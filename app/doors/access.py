"""Who may come in: the token of `VIGIE_TOKEN`, the session that it opens, and Streamlit's own sign-in next to it.

A session is a cookie that says until when it holds, signed with a key made from the token and the home: another token
ends every session, and the server keeps nothing. Its name holds the home, because cookies know no port and two
consoles on one machine would overwrite each other's.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import time
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import Protocol

from app.base import variables
from app.base.files import private_folder, replace
from app.config import Settings
from app.egress.signin import FILE, secret_in
from app.errors import ConfigError
from app.words.message import t

VARIABLE = variables.TOKEN.name
# 16 characters of `secrets.token_urlsafe` are 96 bits: too many to guess, even without a limit on tries.
MIN_TOKEN = 16
# Tokens travel in a form, an address and a header; a longer one is a file named by mistake.
MAX_TOKEN = 512
# A sentence of one letter has the length and nothing to guess.
MIN_DIFFERENT = 6
# A week: a person signs in on Monday and not again until the next one.
SESSION_SECONDS = 7 * 86_400
# Wrong tokens from one address within a minute, and from all of them together.
TRIES, ALL_TRIES, TRIES_SECONDS = 10, 300, 60.0
# Addresses remembered at a time: the table stays under 1 MB in any case.
MAX_ADDRESSES = 1000
_SESSION = re.compile(r"(\d{1,12})\.([0-9a-f]{32})\.([0-9a-f]{64})", re.ASCII)
_MADE = t("{command} prints a good one.", command="python3 -c 'import secrets; print(secrets.token_urlsafe(24))'")


class Login(Protocol):
    """Streamlit's own sign-in, `[auth]` in secrets.toml."""

    def providers(self) -> Sequence[tuple[str, str]]:
        """Name and title of each identity provider."""

    def address(self, provider: str) -> str:
        """Where the sign-in with a provider begins, below the path prefix."""

    def admits(self, cookies: Mapping[str, str]) -> bool:
        """Whether the cookies are those of someone who has signed in."""


@dataclass(frozen=True, slots=True)
class Access:
    """What opens this console: a token, a sign-in of Streamlit's, either of both, or nothing at all (`open`)."""

    home: str
    token: str | None = field(repr=False)
    login: Login | None = None
    # The path prefix of the console, without slash at its end: "" or "/vigie".
    base: str = ""

    @classmethod
    def of(cls, settings: Settings, *, login: Login | None = None, base: str = "") -> Access:
        """The access that the environment asks for. Raises ConfigError for a token that is none."""
        prefix = base.strip("/")
        return cls(settings.home_id, _token(settings.environ), login, f"/{prefix}" if prefix else "")

    @property
    def open(self) -> bool:
        """True when the console asks for no sign-in."""
        return self.token is None and self.login is None

    @property
    def cookie(self) -> str:
        """The name of the session cookie."""
        return f"vigie_{self.home}"

    @property
    def onward(self) -> str:
        """The name of the cookie that remembers where someone was going while a provider signs them in."""
        return f"{self.cookie}_next"

    def right(self, given: str) -> bool:
        """Whether this is the token, in a time that says nothing about how near it was."""
        return self.token is not None and hmac.compare_digest(_digest(given), _digest(self.token))

    def session(self, now: float | None = None) -> str:
        """The value of a new session cookie. Only where there is a token."""
        until = int((time.time() if now is None else now) + SESSION_SECONDS)
        nonce = secrets.token_hex(16)
        return f"{until}.{nonce}.{self._signature(f'{until}.{nonce}')}"

    def admits(self, cookie_header: str, now: float | None = None) -> bool:
        """Whether the cookies of a request belong to someone who has signed in, one way or the other."""
        pairs = list(cookies(cookie_header))
        # Every cookie of the name: a page on another port may set a second one, which must not lock a user out.
        if self.token is not None and any(name == self.cookie and self._holds(value, now) for name, value in pairs):
            return True
        return self.login is not None and self.login.admits(dict(pairs))

    def _holds(self, value: str, now: float | None) -> bool:
        match = _SESSION.fullmatch(value)
        if match is None or not hmac.compare_digest(match[3], self._signature(f"{match[1]}.{match[2]}")):
            return False
        return int(match[1]) > (time.time() if now is None else now)

    def _signature(self, text: str) -> str:
        # no catalogue: what is signed
        key = hmac.digest((self.token or "").encode(), f"vigie session {self.home}".encode(), "sha256")
        return hmac.digest(key, text.encode(), "sha256").hex()

    def local(self, address: str) -> str:
        """`address` when it is a path of this console, otherwise where the console begins: no way leads elsewhere."""
        start = f"{self.base}/"
        safe = re.fullmatch(r"/(?!/)[\x21-\x7e]*", address) and "\\" not in address
        return address if safe and (address.startswith(start) or address.partition("?")[0] == self.base) else start


class Tries:
    """Counts wrong tokens by door and address: who has had too many waits, and is not even asked."""

    def __init__(self) -> None:
        self._rows: OrderedDict[tuple[str, str], list[float]] = OrderedDict()

    def wait(self, door: str, address: str, now: float) -> float:
        """Seconds until this address may try again; 0.0 when it may now."""
        return max(self._left((door, address), TRIES, now), self._left((door, ""), ALL_TRIES, now))

    def wrong(self, door: str, address: str, now: float) -> None:
        """Count one wrong token."""
        for key, limit in (((door, address), TRIES), ((door, ""), ALL_TRIES)):
            times = self._rows.setdefault(key, [])
            times.append(now)
            del times[:-limit]
            self._rows.move_to_end(key)
        while len(self._rows) > MAX_ADDRESSES:
            self._rows.popitem(last=False)

    def _left(self, key: tuple[str, str], limit: int, now: float) -> float:
        times = self._rows.get(key, [])
        return max(0.0, times[-limit] + TRIES_SECONDS - now) if len(times) >= limit else 0.0


def refuse_open(address: str | None, access: Access) -> None:
    """Raise ConfigError when the console would listen beyond this machine and let everyone in."""
    if access.open and not _is_loopback(address):
        where = address or t("every address of this machine")
        hint = t(
            "Set {variable} ({made:clause}), configure [auth] in .streamlit/secrets.toml, or listen on 127.0.0.1.",
            variable=VARIABLE,
            made=_MADE,
        )
        raise ConfigError(t("The console would listen on {address} and let everybody in.", address=where), hint=hint)


def hand_over(settings: Settings, access: Access) -> None:
    """Write the token for the Prometheus of the stack, `<home>/stack/console.token`, readable by this user alone.

    Prometheus reads the file at each scrape. Raises ConfigError when it cannot be written.
    """
    if access.token is None:
        return
    path = settings.home / "stack" / "console.token"
    try:
        private_folder(settings.home)
        path.parent.mkdir(mode=0o700, exist_ok=True)
        replace(path, access.token, private=True)
    except OSError as error:
        message = t("{file} cannot be written ({why}).", file=path, why=error.strerror)
        raise ConfigError(message, hint=t("Look at the rights of that folder, or set VIGIE_HOME.")) from error


def _token(env: Mapping[str, str]) -> str | None:
    """The token: the value of the variable, or what is in the file that `file:PATH` names."""
    text = env.get(VARIABLE)
    if text is None:
        return None
    where, token = VARIABLE, text.strip()
    if token.startswith(FILE):
        where = token.removeprefix(FILE)
        stored = secret_in(Path(where).expanduser(), VARIABLE)
        if stored is None:
            message = t("{variable}: there is no file {file}.", variable=VARIABLE, file=where)
            raise ConfigError(message, hint=t("Make the file, or name another."))
        token = stored.strip()
    if not token:
        # The variable is set to close the door: an empty value must not open it.
        hint = t("Unset {variable}, or set it: {made}", variable=VARIABLE, made=_MADE)
        raise ConfigError(t("{place} is empty; a token is expected there.", place=where), hint=hint)
    if not (MIN_TOKEN <= len(token) <= MAX_TOKEN and re.fullmatch(r"[\x21-\x7e]+", token)):
        message = t(
            "{place} has {count} characters; accepted: {least} to {most}, no spaces or accents.",
            place=where,
            count=len(token),
            least=MIN_TOKEN,
            most=MAX_TOKEN,
        )
        raise ConfigError(message, hint=_MADE)
    if len(set(token)) < MIN_DIFFERENT:
        raise ConfigError(t("{place} repeats the same few characters: it can be guessed.", place=where), hint=_MADE)
    return token


def _is_loopback(address: str | None) -> bool:
    if not address:
        return False
    try:
        return ip_address(address.strip("[]")).is_loopback
    except ValueError:
        return address == "localhost"


def cookies(header: str) -> Iterator[tuple[str, str]]:
    """Every name and value of a `Cookie` header, repeated names too."""
    for part in header.split(";"):
        name, mark, value = part.strip().partition("=")
        if mark:
            yield name, value


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
