"""`stack/state.json` and the lock: who owns the stack of a home and what runs where.

Only the owner (the process that holds the lock) writes the file, atomically. A reader believes it only while the
owner it names runs; anything unreadable counts as no state.
"""

import fcntl
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from stack import process
from stack.places import Home

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
class Owner:
    """The supervisor that writes the file; `stopping` once it has begun to stop."""

    pid: int
    started: str
    stopping: bool = False

    def runs(self) -> bool:
        """Tell whether this very process still runs."""
        return process.is_running(self.pid, self.started)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What the file says; without owner when there is no readable file."""

    owner: Owner | None = None
    services: Mapping[str, ServiceState] = field(default_factory=dict)
    # Services that a console may ask for (`stack.wanted`), running or not.
    offers: Sequence[str] = ()
    # What is made or fetched before services are up.
    tasks: Mapping[str, TaskState] = field(default_factory=dict)

    @property
    def live(self) -> bool:
        """Tell whether the owner named in the file runs, that is whether the rest is true now."""
        return self.owner is not None and self.owner.runs()


def write(home: Home, snapshot: Snapshot) -> None:
    """Replace the state file atomically."""
    body = {
        "version": VERSION,
        "owner": asdict(snapshot.owner) if snapshot.owner else None,
        "services": {name: asdict(service) for name, service in snapshot.services.items()},
        "offers": list(snapshot.offers),
        "tasks": {name: asdict(task) for name, task in snapshot.tasks.items()},
    }
    replace(home.state_file, json.dumps(body, indent=1) + "\n")


def read(home: Home) -> Snapshot:
    """Return the state file's content; an empty snapshot when it is missing, torn or of another version."""
    try:
        with home.state_file.open("rb") as file:
            body = json.loads(file.read(STATE_BYTES))
        return _parse(body)
    except (OSError, ValueError, KeyError, TypeError):
        return Snapshot()


def _parse(body: Any) -> Snapshot:
    # KeyError, TypeError and ValueError all mean the same to `read`: not a state of ours.
    if body["version"] != VERSION:
        raise ValueError(body["version"])
    owner = body["owner"]
    return Snapshot(
        owner=None if owner is None else Owner(int(owner["pid"]), str(owner["started"]), bool(owner.get("stopping"))),
        services={
            str(name): ServiceState(**{**service, "state": State(service["state"])})
            for name, service in body["services"].items()
        },
        offers=tuple(str(name) for name in body.get("offers", ())),
    )


def replace(path: Path, text: str) -> None:
    """Write a text file so that a reader sees the old or the new one, never a part."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    with draft.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)


class Lock:
    """An exclusive lock on a file, held until `release` or the end of the process, however it ends."""

    def __init__(self, path: Path) -> None:
        """Name the file; nothing is opened yet."""
        self.path = path
        self._descriptor: int | None = None

    def acquire(self, *, wait: bool = False) -> bool:
        """Take the lock; False when another process has it (never with `wait`)."""
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            os.close(descriptor)
            return False
        except BaseException:
            os.close(descriptor)
            raise
        self._descriptor = descriptor
        return True

    def note(self, text: str) -> None:
        """Write who holds the lock into it, for a person and for `status`."""
        if self._descriptor is not None:
            os.ftruncate(self._descriptor, 0)
            os.pwrite(self._descriptor, text.encode(), 0)

    def keep_through_exec(self) -> None:
        """Let the program that replaces this process go on holding the lock."""
        if self._descriptor is not None:
            os.set_inheritable(self._descriptor, True)

    def release(self) -> None:
        """Give the lock back; without effect when it is not held."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
