"""`stack/state.json` and the lock: who owns the stack of a home and what runs where.

Only the owner (the process that holds the lock) writes the file, atomically. A reader believes it only while the
owner it names runs; anything unreadable counts as no state.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

from app.base.files import replace
from app.base.home import Home
from app.base.phrase import code_of
from app.base.processes import Owner

VERSION = 1

# A state file is under 4 KB; a larger one is not ours.
STATE_BYTES = 1_000_000


class State(StrEnum):
    """What a service is, in the words of the contract."""

    STARTING = "starting"
    UP = "up"
    DOWN = "down"
    ABSENT = "absent"


@dataclass(frozen=True, slots=True)
class ServiceState:
    """One service as state.json shows it; `reason` is "" only while it is up."""

    state: State
    reason: str = ""
    url: str | None = None
    pid: int | None = None
    started: str | None = None
    log: str | None = None


@dataclass(frozen=True, slots=True)
class TaskState:
    """One task of a start: `waiting`, `running` (reason: its last line), `done` or `failed` (reason: why)."""

    about: str
    state: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What the file says; without owner (the supervisor that writes it) when there is no readable file."""

    owner: Owner | None = None
    services: Mapping[str, ServiceState] = field(default_factory=dict)
    # Services that a console may ask for (`stack.wanted`), running or not.
    offers: Sequence[str] = ()
    # What is made or fetched before services are up.
    tasks: Mapping[str, TaskState] = field(default_factory=dict)
    # The supervisor has begun to stop.
    stopping: bool = False

    @property
    def live(self) -> bool:
        """Tell whether the owner named in the file runs, that is whether the rest is true now."""
        return self.owner is not None and self.owner.alive


def write(home: Home, snapshot: Snapshot) -> None:
    """Replace the state file atomically."""
    body = {
        "version": VERSION,
        "owner": {**asdict(snapshot.owner), "stopping": snapshot.stopping} if snapshot.owner else None,
        "services": {name: _row(service) for name, service in snapshot.services.items()},
        "offers": list(snapshot.offers),
        "tasks": {name: _row(task) for name, task in snapshot.tasks.items()},
    }
    replace(home.state_file, json.dumps(body, indent=1) + "\n")


def _row(one: ServiceState | TaskState) -> dict[str, Any]:
    """Its values, and what says its texts in another language."""
    row = asdict(one)
    codes = {name: code for name, value in row.items() if (code := code_of(value))}
    return {**row, "codes": codes} if codes else row


def read(home: Home) -> Snapshot:
    """Return the state file's content; an empty snapshot when it is missing, torn or of another version."""
    try:
        with home.state_file.open("rb") as file:
            body = json.loads(file.read(STATE_BYTES))
        return _parse(body)
    except (OSError, ValueError, KeyError, TypeError):
        return Snapshot()


def _parse(body: Any) -> Snapshot:
    # KeyError, TypeError and ValueError all mean the same to `read`: not our state.
    if body["version"] != VERSION:
        raise ValueError(body["version"])
    owner = body["owner"]
    return Snapshot(
        owner=None if owner is None else Owner(int(owner["pid"]), str(owner["started"])),
        stopping=bool(owner and owner.get("stopping")),
        services={str(name): _service(service) for name, service in body["services"].items()},
        offers=tuple(str(name) for name in body.get("offers", ())),
    )


def _service(row: Mapping[str, Any]) -> ServiceState:
    values = {name: value for name, value in row.items() if name != "codes"}
    return ServiceState(**{**values, "state": State(row["state"])})
