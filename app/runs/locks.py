"""One process at a time runs a key: a lock file under `<home>/jobs` that says whose it is."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.base.files import Lock, private_folder, read
from app.base.processes import Owner, myself
from app.errors import JobError
from app.words.message import t

if TYPE_CHECKING:
    from app.config import Settings


# Between taking a lock and writing its own name into it a process needs microseconds.
NAME_TRIES = 50
NAME_WAIT = 0.01
# A run id, a process id and a start time.
MAX_LOCK_BYTES = 10_000


@dataclass(frozen=True, slots=True)
class Request:
    """What a run does. Two requests with equal kind, system and key are one run."""

    kind: str
    system: str
    key: str
    args: Mapping[str, Any]

    @property
    def lock_name(self) -> str:
        """File name of the lock for this key."""
        text = f"{self.kind}\0{self.system}\0{self.key}"
        return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32] + ".lock"


class KeyHeld(JobError):
    """Another process runs this key: `run` is its run id."""

    def __init__(self, run: str) -> None:
        super().__init__(t("The same job already runs as {run}.", run=run), hint=t("Follow that run."))
        self.run = run


@contextmanager
def held(settings: Settings, request: Request, run: str) -> Iterator[None]:
    """Hold the lock of a key for a short piece of work under the name `run`; KeyHeld when another process does."""
    lock = take(settings.home / "jobs", request, run)
    try:
        yield
    finally:
        release(lock)


def release(lock: Lock) -> None:
    """Give a key back."""
    lock.release(remove=True)


def take(folder: Path, request: Request, run: str) -> Lock:
    """Lock the key for `run`; KeyHeld when another process has it."""
    lock = Lock(folder / request.lock_name)
    try:
        private_folder(folder.parent)
        folder.mkdir(exist_ok=True, mode=0o700)
        while not lock.acquire():
            holder = _holder(lock.path)
            if holder is not None:
                raise KeyHeld(holder)
        _sign(lock, run)
    except OSError as error:
        message = t("The lock {file} cannot be taken ({why}).", file=lock.path, why=error.strerror)
        raise JobError(message, hint=t("Make room on the disk, or set VIGIE_HOME elsewhere.")) from error
    return lock


def _sign(lock: Lock, run: str) -> None:
    """Write whose lock it is. Where that fails the lock is released: others would wait forever for its name."""
    owner = myself()
    try:
        lock.note(json.dumps({"run": run, "pid": owner.pid, "started": owner.started}))
    except BaseException:
        lock.release(remove=True)
        raise


def _holder(path: Path) -> str | None:
    """The run id a live process wrote into the lock; None when the lock has gone in the meantime."""
    for _ in range(NAME_TRIES):
        try:
            raw = json.loads(read(path, MAX_LOCK_BYTES))
            if Owner(int(raw["pid"]), str(raw["started"])).alive:
                return str(raw["run"])
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError, RecursionError):
            pass  # locked a moment ago and not named yet
        time.sleep(NAME_WAIT)
    return None
