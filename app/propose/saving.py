"""Keeps a system file that was typed or proposed: validated first, written in one step, never over another."""

from __future__ import annotations

import errno
import json
import os
import secrets
import tomllib
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from app.base import files
from app.config import Settings, System, parse_system
from app.config.system import MAX_FILE_BYTES, SYSTEM_ID, expanded
from app.errors import ConfigError, StorageFull
from app.prometheus.names import expression_problems
from app.propose.allowed import refusals
from app.propose.reading import check_free, taken
from app.words.message import t

# The file next to its configuration from which the embedded Prometheus reads targets that users add.
OWN_TARGETS = "targets/own-*.json"
# What file systems without links say.
NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)
# A Prometheus configuration has some hundred lines.
MAX_CONFIG_BYTES = 1_000_000
# A system file has a few hundred lines.
MAX_CHARS = 100_000


@dataclass(frozen=True, slots=True)
class Saved:
    """Where a system file was written, and the file that tells the embedded Prometheus of it, if there is one."""

    system: System
    path: Path
    targets: Path | None


def target_folder(settings: Settings) -> Path:
    """The first folder of VIGIE_SYSTEMS, or the user's own; never the folder of the shipped files."""
    own = settings.systems_dirs[1:]
    return own[1] if len(own) > 1 else own[0]


def read(settings: Settings, name: str, text: str) -> System:
    """The system that a typed or proposed text describes, with nothing in it that a page may not save.

    Raises ConfigError with file, key, value and what is accepted; nothing that the text names is opened or asked.
    """
    if not SYSTEM_ID.fullmatch(name):
        # Before it becomes a path: `../x` would be written elsewhere.
        message = t("{name!r} is no id of a system; accepted: {pattern}.", name=name, pattern=SYSTEM_ID.pattern)
        raise ConfigError(message, hint=t("Use small letters, digits, _ and -, and begin with a letter."))
    if len(text) > MAX_CHARS:
        message = t(
            "{name}.toml: {length:count} characters; a page saves at most {most:count}.",
            name=name,
            length=len(text),
            most=MAX_CHARS,
        )
        raise ConfigError(message, hint=t("Write a longer file by hand."))
    system = parse_system(text, Path(f"{name}.toml"), settings)
    closed = refusals(settings, expanded(tomllib.loads(text), settings))
    if closed:
        message = t("{name}.toml: a page may not save {keys}.", name=name, keys=", ".join(closed))
        file = target_folder(settings) / f"{name}.toml"
        hint = t("Save without, then write this by hand into {file} (docs/system-file.md).", file=file)
        raise ConfigError(message, hint=hint)
    problems = expression_problems(system)
    if problems:
        raise problems[0]
    return system


def by_hand(settings: Settings, path: Path) -> list[str]:
    """Keys of a valid file that no page could have saved: the ones to review after an unknown user had access."""
    return refusals(settings, expanded(tomllib.loads(files.read(path, MAX_FILE_BYTES).decode()), settings))


def save(settings: Settings, name: str, text: str) -> Saved:
    """Write `<folder>/<name>.toml`. Raises ConfigError (invalid, not from a page, exists) and StorageFull."""
    system = read(settings, name, text)
    check_free(name, taken(settings))
    folder = target_folder(settings)
    path = folder / f"{name}.toml"
    _write_new(path, text)
    return Saved(system, path, announce(settings, system, path))


def _write_new(path: Path, text: str) -> None:
    """All of it or nothing, and only where there is no file of that name."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with draft.open("x", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            _publish(draft, path)
        finally:
            draft.unlink(missing_ok=True)
    except OSError as error:
        message = t("{path} cannot be written ({why}).", path=path, why=error.strerror)
        hint = t("Set VIGIE_SYSTEMS to a folder that can be written, and start again.")
        raise StorageFull(message, hint=hint) from error


def _publish(draft: Path, path: Path) -> None:
    """Give the finished file its name. Raises ConfigError: unlike a rename, a link replaces nothing."""
    try:
        os.link(draft, path)
    except OSError as error:
        if isinstance(error, FileExistsError) or path.exists():
            message = t("{path} exists already; nothing is overwritten.", path=path)
            raise ConfigError(message, hint=t("Choose another id.")) from error
        if error.errno not in NO_LINKS:
            raise
        draft.rename(path)


def announces(settings: Settings) -> bool:
    """True when the embedded Prometheus looks for targets that users add."""
    if settings.attached:
        return False
    try:
        config = files.read(settings.home / "stack" / "prometheus.yml", MAX_CONFIG_BYTES)
        return OWN_TARGETS.encode() in config
    except OSError:
        return False  # no stack has run for this home


def announce(settings: Settings, system: System, file: Path) -> Path | None:
    """Tell the embedded Prometheus to scrape this system's API; None when it would not look, or has the target."""
    selector = f'job="{system.id}"'
    if system.api.url is None or system.prometheus.url or system.prometheus.selector != selector:
        return None
    if not announces(settings):
        return None
    parts = urlsplit(system.api.url)
    labels = {
        "job": system.id,
        "__scheme__": parts.scheme,
        "__metrics_path__": parts.path.rstrip("/") + "/metrics",
        # The stack forgets the target at its next start when this file is gone; Prometheus drops labels of this kind.
        "__meta_vigie_system_file": str(file),
    }
    port = parts.port or (443 if parts.scheme == "https" else 80)
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    path = settings.home / "stack" / OWN_TARGETS.replace("*", system.id)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        files.replace(path, json.dumps([{"targets": [f"{host}:{port}"], "labels": labels}]) + "\n")
    except OSError as error:
        message = t("the system file is saved, but {path} cannot be written ({why}).", path=path, why=error.strerror)
        raise StorageFull(message, hint=t("Give Prometheus the job by hand.")) from error
    return path
