"""One process at a time runs a key: a lock file under `<home>/jobs` that says whose it is."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.base.files import private_folder, read
from app.base.processes import Owner, myself
from app.errors import JobError

if TYPE_CHECKING:
    from app.config import Settings


# Between taking a lock and writing its own name into it a process needs microseconds.
NAME_TRIES = 50
NAME_WAIT = 0.01
# A run id, a process id and a start time.
MAX_LOCK_BYTES = 10_000


@dataclass(frozen=True, slots=True)
class Request:
    """What is to be run. Two requests with equal kind, system and key are one run."""

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
        super().__init__(f"The same job already runs as {run}.", hint="Follow that run.")
        self.run = run


@contextmanager
def held(settings: Settings, request: Request, run: str) -> Iterator[None]:
    """Hold the lock of a key for a short piece of work under the name `run`; KeyHeld when somebody else does."""
    lock = take(settings.home / "jobs", request, run)
    try:
        yield
    finally:
        release(lock)


def release(lock: tuple[Path, int]) -> None:
    """Give a key back."""
    path, descriptor = lock
    with contextlib.suppress(FileNotFoundError):
        path.unlink()
    os.close(descriptor)


def take(folder: Path, request: Request, run: str) -> tuple[Path, int]:
    """Lock the key for `run`; KeyHeld when another process has it."""
    path = folder / request.lock_name
    try:
        private_folder(folder.parent)
        folder.mkdir(exist_ok=True, mode=0o700)
        while True:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(descriptor)
                holder = _holder(path)
                if holder is None:
                    continue
                raise KeyHeld(holder) from None
            # Its holder removes the file when done: ours must still be the one under that name.
            if _same_file(path, descriptor):
                _sign(path, descriptor, run)
                return path, descriptor
            os.close(descriptor)
    except OSError as error:
        message = f"The lock {path} cannot be taken ({error.strerror})."
        raise JobError(message, hint="Make room on the disk, or set VIGIE_HOME elsewhere.") from error


def _sign(path: Path, descriptor: int, run: str) -> None:
    """Write whose lock it is. Where that cannot be, the lock is let go: everybody would wait for its name for ever."""
    owner = myself()
    text = json.dumps({"run": run, "pid": owner.pid, "started": owner.started})
    try:
        os.truncate(descriptor, 0)
        os.write(descriptor, text.encode())
    except BaseException:
        with contextlib.suppress(OSError):
            path.unlink()
        os.close(descriptor)
        raise


def _same_file(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


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
