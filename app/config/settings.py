"""What the environment says, and where each service answers.

Settings are read once per process from the environment (`contracts.md`, Environment). An address is looked up in this
order: `VIGIE_<SERVICE>_URL`, the system file, the stack's `state.json`; `Address.origin` says which one answered.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

from app.base.files import read
from app.base.processes import Owner
from app.config import origin as origins
from app.config.origin import Origin
from app.errors import ConfigError

if TYPE_CHECKING:
    from app.config.system import System

ROOT = Path(__file__).resolve().parents[2]
# Reports of Evidently are 4.5 MB each: 5 GB keeps about a thousand runs, and far more once gzipped at rest.
DEFAULT_KEEP_BYTES = 5_000_000_000
# The database of the reference system listens on Postgres' own port.
DEFAULT_POSTGRES_PORT = "5432"
# A row of state.json has some 300 bytes.
MAX_STATE_BYTES = 1_000_000
ENDED = "the stack has ended; start it again with python -m stack up"
POSTGRES_KEYS = ("POSTGRES_HOST", "POSTGRES_PORT", "POSTGRES_DB", "POSTGRES_USER", "POSTGRES_PASSWORD")


@dataclass(frozen=True, slots=True)
class Settings:
    """The console's environment, validated. Paths are absolute; `environ` is what it was read from."""

    root: Path
    home: Path
    systems_dirs: tuple[Path, ...]
    prometheus_url: str | None
    ledger_url: str
    report_dir: str | None
    feast_repo: Path | None
    postgres_url: str | None
    allowed_hosts: tuple[str, ...]
    allowed_origins: tuple[Origin, ...]
    keep_bytes: int
    propose_hosts: tuple[str, ...]
    environ: Mapping[str, str] = field(repr=False)

    @property
    def home_id(self) -> str:
        """16 hex digits that tell one VIGIE_HOME from another without naming its path."""
        return hashlib.sha256(str(self.home.resolve()).encode()).hexdigest()[:16]

    @property
    def attached(self) -> bool:
        """True when the console watches a Prometheus it did not start."""
        return self.prometheus_url is not None

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None, *, root: Path = ROOT) -> Settings:
        """Read every `VIGIE_*` variable. Raises ConfigError with variable, value and what is accepted."""
        env = dict(os.environ if environ is None else environ)
        home = Path(env.get("VIGIE_HOME") or root / "var").expanduser().absolute()
        folders = [root / "app" / "systems", _user_systems(env)]
        folders += [
            Path(part).expanduser().absolute() for part in env.get("VIGIE_SYSTEMS", "").split(os.pathsep) if part
        ]
        repo = env.get("FEAST_REPO")
        return cls(
            root=root,
            home=home,
            systems_dirs=tuple(folders),
            prometheus_url=_url(env, "VIGIE_PROMETHEUS_URL") or _url(env, "PROMETHEUS_URL"),
            ledger_url=env.get("VIGIE_LEDGER_URL") or f"sqlite:///{home / 'ledger.db'}",
            report_dir=env.get("REPORT_DIR") or None,
            feast_repo=Path(repo).expanduser().absolute() if repo else None,
            postgres_url=_postgres(env),
            allowed_hosts=origins.allowed_hosts(env),
            allowed_origins=origins.allowed_origins(env),
            keep_bytes=_whole(env, "VIGIE_KEEP_BYTES", DEFAULT_KEEP_BYTES),
            propose_hosts=origins.entries(env, "VIGIE_PROPOSE_HOSTS"),
            environ=env,
        )


def _user_systems(env: Mapping[str, str]) -> Path:
    base = env.get("XDG_CONFIG_HOME") or Path(env.get("HOME") or "~").expanduser() / ".config"
    return Path(base).absolute() / "vigie" / "systems"


def _whole(env: Mapping[str, str], name: str, default: int) -> int:
    text = env.get(name, "").strip().replace("_", "")
    if not text:
        return default
    if not (text.isascii() and text.isdigit()):
        message = f"{name} is {text!r}; accepted: a whole number of bytes, for example {default}."
        raise ConfigError(message, hint=f"Correct {name} or unset it.")
    return int(text)


def check_url(name: str, text: str) -> str:
    """`text` without its trailing slash when it is an http(s) URL with a host; ConfigError otherwise."""
    try:
        parts = urlsplit(text)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        good = False
    if not good:
        message = f"{name} is {text!r}; accepted: http://HOST:PORT or https://HOST[:PORT][/PATH]."
        raise ConfigError(message, hint=f"Correct {name}.")
    if parts.username or parts.password:
        # A password in a URL ends up in logs and links.
        message = f"{name} carries a user or password in the address."
        raise ConfigError(message, hint="Give credentials through `auth`, `user` and `secret` in the system file.")
    return text.rstrip("/")


def _url(env: Mapping[str, str], name: str) -> str | None:
    text = env.get(name, "").strip()
    return check_url(name, text) if text else None


def _postgres(env: Mapping[str, str]) -> str | None:
    """A SQLAlchemy URL when any POSTGRES_* is set: each of them beats the system file's database."""
    if not any(env.get(key) for key in POSTGRES_KEYS):
        return None
    user, password = env.get("POSTGRES_USER") or "streamflow", env.get("POSTGRES_PASSWORD") or ""
    host, port = env.get("POSTGRES_HOST") or "postgres", env.get("POSTGRES_PORT") or DEFAULT_POSTGRES_PORT
    secret = f":{quote(password, safe='')}" if password else ""
    database = quote(env.get("POSTGRES_DB") or "streamflow", safe="")
    return f"postgresql+psycopg://{quote(user, safe='')}{secret}@{host}:{port}/{database}"


@dataclass(frozen=True, slots=True)
class Service:
    """One row of state.json: a service the embedded stack runs."""

    name: str
    url: str | None
    state: str
    reason: str
    pid: int | None
    started: str | None
    log: Path | None


@dataclass(frozen=True, slots=True)
class Task:
    """Something the stack makes or fetches at its start; `state` is waiting, running, done or failed."""

    about: str
    state: str
    reason: str


@dataclass(frozen=True, slots=True)
class StackState:
    """state.json as read: `services` by name; `reason` says why there are none.

    `offers` are the systems whose API the stack starts when it is asked (`app.config.wanted`).
    """

    services: Mapping[str, Service]
    owner: Owner | None
    reason: str
    offers: tuple[str, ...] = ()
    tasks: tuple[Task, ...] = ()


@dataclass(frozen=True, slots=True)
class Address:
    """Where a service answers. `url` None means unknown and `reason` says why; `origin` says who told."""

    url: str | None
    origin: str
    state: str = "unknown"
    reason: str = ""


def read_state(settings: Settings) -> StackState:
    """The embedded stack as its supervisor last wrote it. Never raises: a missing or torn file is a reason."""
    path = settings.home / "stack" / "state.json"
    try:
        raw = json.loads(read(path, MAX_STATE_BYTES))
        rows = {name: _service(name, row) for name, row in raw["services"].items()}
        told = raw.get("owner")
        owner = Owner(int(told["pid"]), str(told["started"])) if told else None
        if owner is not None and not owner.alive:
            # The supervisor ended without a last word (kill -9, power): what it wrote is no longer true.
            rows = {name: replace(row, state="down", reason=ENDED) for name, row in rows.items()}
        tasks = tuple(
            Task(*(str(task.get(name) or "") for name in ("about", "state", "reason")))
            for task in (raw.get("tasks") or {}).values()
        )
        return StackState(rows, owner, "", tuple(map(str, raw.get("offers") or ())), tasks)
    except FileNotFoundError:
        return StackState({}, None, "the embedded stack has not been started")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        return StackState({}, None, f"{path.name} cannot be read ({type(error).__name__})")


def _service(name: str, row: Mapping[str, Any]) -> Service:
    log = row.get("log")
    return Service(
        name=name,
        url=row.get("url") or None,
        state=str(row.get("state") or "unknown"),
        reason=str(row.get("reason") or ""),
        pid=row.get("pid"),
        started=row.get("started"),
        log=Path(log) if log else None,
    )


def _key(system: System | None, service: str) -> str:
    return (system.id if service == "api" and system is not None else service).upper().replace("-", "_")


def public_url(settings: Settings, system: System | None, service: str) -> str | None:
    """Where a browser reaches a service that the console reaches under another name (a compose network)."""
    return _url(settings.environ, f"VIGIE_{_key(system, service)}_PUBLIC_URL")


def address(settings: Settings, system: System | None, service: str) -> Address:
    """Where `service` ("prometheus", "api" for the system's own API, "node_exporter", …) answers.

    Precedence: environment, system file, state.json. With an attached Prometheus the stack is not consulted.
    """
    key = system.id if service == "api" and system is not None else service
    named = settings.prometheus_url
    if service != "prometheus":
        named = _url(settings.environ, f"VIGIE_{_key(system, service)}_URL")
    if named:
        return Address(named, "environment")
    if system is not None:
        own = {"api": system.api.url, "prometheus": system.prometheus.url}.get(service)
        if own:
            return Address(own, "system file")
    state = read_state(settings)
    row = state.services.get(key)
    if row is None:
        return Address(None, "none", "unknown", state.reason or f"the stack has no service called {key}")
    # The port of a service that has ended may be taken by a stranger: its answers would be wrong numbers.
    gone = row.state in ("down", "absent") and row.pid is None
    return Address(None if gone else row.url, "stack", row.state, row.reason)
