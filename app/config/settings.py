"""What the environment says, read once per process (`contracts.md`, Environment)."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote, urlsplit

from app.base import variables
from app.base.home import Home, attached_to
from app.base.variables import Variable
from app.config import origin as origins
from app.config.origin import Origin
from app.errors import ConfigError
from app.words.message import t

ROOT = Path(__file__).resolve().parents[2]


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
        return Home(self.home).id

    @property
    def attached(self) -> bool:
        """True when the console watches a Prometheus it did not start."""
        return self.prometheus_url is not None

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None, *, root: Path = ROOT) -> Settings:
        """Read the variables of `app.base.variables`. Raises ConfigError with variable, value and what is accepted."""
        env = dict(os.environ if environ is None else environ)
        home = Home.of(env, root).path
        attached = attached_to(env)
        folders = [root / "app" / "systems", _user_systems(env)]
        more = variables.SYSTEMS.of(env).split(os.pathsep)
        folders += [Path(folder).expanduser().absolute() for folder in more if folder]
        repo = variables.FEAST_REPO.of(env)
        return cls(
            root=root,
            home=home,
            systems_dirs=tuple(folders),
            prometheus_url=check_url(*attached) if attached else None,
            ledger_url=variables.LEDGER_URL.of(env) or f"sqlite:///{home / 'ledger.db'}",
            report_dir=variables.REPORT_DIR.of(env) or None,
            feast_repo=Path(repo).expanduser().absolute() if repo else None,
            postgres_url=_postgres(env),
            allowed_hosts=origins.allowed_hosts(env),
            allowed_origins=origins.allowed_origins(env),
            keep_bytes=_whole(env, variables.KEEP_BYTES),
            propose_hosts=origins.entries(env, variables.PROPOSE_HOSTS),
            environ=env,
        )


def _user_systems(env: Mapping[str, str]) -> Path:
    base = env.get("XDG_CONFIG_HOME") or Path(env.get("HOME") or "~").expanduser() / ".config"
    return Path(base).absolute() / "vigie" / "systems"


def _whole(env: Mapping[str, str], variable: Variable) -> int:
    text = variable.of(env).strip().replace("_", "")
    if not (text.isascii() and text.isdigit()):
        message = t(
            "{variable} is {text!r}; accepted: a whole number of bytes, for example {example}.",
            variable=variable.name,
            text=text,
            example=variable.fallback,
        )
        raise ConfigError(message, hint=t("Correct {variable} or unset it.", variable=variable.name))
    return int(text)


def check_url(name: str, text: str) -> str:
    """`text` without its trailing slash when it is an http(s) URL with a host; ConfigError otherwise."""
    try:
        parts = urlsplit(text)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        good = False
    if not good:
        message = t(
            "{name} is {text!r}; accepted: http://HOST:PORT or https://HOST[:PORT][/PATH].", name=name, text=text
        )
        raise ConfigError(message, hint=t("Correct {name}.", name=name))
    if parts.username or parts.password:
        # A password in a URL ends up in logs and links.
        message = t("{name} carries a user or password in the address.", name=name)
        raise ConfigError(message, hint=t("Give credentials through `auth`, `user` and `secret` in the system file."))
    return text.rstrip("/")


def url_of(env: Mapping[str, str], variable: Variable) -> str | None:
    """The address in an environment variable, checked; None when it is unset or blank."""
    text = variable.of(env).strip()
    return check_url(variable.name, text) if text else None


def _postgres(env: Mapping[str, str]) -> str | None:
    """A SQLAlchemy URL when any POSTGRES_* is set: each of them beats the system file's database."""
    if not any(env.get(variable.name) for variable in variables.POSTGRES):
        return None
    host, port, database, user, password = (variable.of(env) for variable in variables.POSTGRES)
    secret = f":{quote(password, safe='')}" if password else ""
    return f"postgresql+psycopg://{quote(user, safe='')}{secret}@{host}:{port}/{quote(database, safe='')}"
