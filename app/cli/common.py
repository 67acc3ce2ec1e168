"""What the commands share: exit codes, a system by its id, and how values are written."""

from __future__ import annotations

from datetime import UTC, datetime
from enum import IntEnum
from typing import Any

from app.config import Settings, System, load_systems
from app.errors import ConfigError, VigieError
from app.words.language import word
from app.words.message import t


class Exit(IntEnum):
    """Exit codes (docs: contracts)."""

    DONE = 0
    ERROR = 1
    USAGE = 2
    RETRAINING = 3
    UNDECIDED = 4
    LIMIT = 5
    CANCELLED = 6
    INTERRUPTED = 130


class UsageError(VigieError):
    """The arguments do not fit together; ends with exit code 2."""


def find_system(settings: Settings, name: str) -> System:
    """The system of that id. Raises ConfigError: what is wrong with its file, or which ids there are."""
    systems = load_systems(settings)
    if name in systems.by_id:
        return systems.by_id[name]
    for error in systems.broken:
        if f"{name}.toml" in str(error):
            raise error
    hint = t("Known systems: {names}.", names=", ".join(systems.by_id) or t("none"))
    raise ConfigError(t("there is no system called {name}.", name=repr(name)), hint=hint)


def error_object(error: VigieError) -> dict[str, Any]:
    """An error as `--json` shows it."""
    shown = {"type": type(error).__name__, "message": str(error), "hint": error.hint}
    position = getattr(error, "position", None)
    return shown | ({"line": position[0], "column": position[1]} if position else {})


def stamp(at: float | None) -> str:
    """Epoch seconds as UTC text; unknown is a word."""
    return word("unknown") if at is None else datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
