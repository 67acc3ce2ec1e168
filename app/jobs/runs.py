"""One run from beginning to end, the same for the job host and for a command line without one.

Order: lock of the key, run directory with `progress.json`, ledger row; at the end progress, row, lock. The directory
comes first each time: what a crash leaves behind is found again (`recover`).
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import logging
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.base.files import private_folder, read
from app.base.processes import Owner, myself
from app.errors import JobError, LedgerError
from app.jobs import progress as files
from app.jobs.progress import Progress
from app.jobs.summary import columns_of, summary
from app.source import source_of_job

if TYPE_CHECKING:
    from app.config import Settings
    from app.ledger import Ledger

LOG = logging.getLogger("vigie.jobs")
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


class ActiveRun:
    """A run this process answers for, from its lock to its last word."""

    def __init__(self, settings: Settings, request: Request) -> None:
        from app.reports import new_run_id

        self.settings = settings
        self.request = request
        self.id = new_run_id()
        self._lock = _take(settings.home / "jobs", request, self.id)
        try:
            self._begin()
        except BaseException:
            # A run that never began leaves nothing behind.
            shutil.rmtree(self.folder, ignore_errors=True)
            self._release()
            raise

    @property
    def folder(self) -> Path:
        """`<home>/runs/<run id>`."""
        return files.directory(self.settings, self.id)

    def _begin(self) -> None:
        from app.ledger import Run, State

        now = time.time()
        request = self.request
        source = source_of_job(self.settings, request.system, request.kind, request.args)
        try:
            private_folder(self.settings.home)
            self.folder.parent.mkdir(mode=0o700, exist_ok=True)
            self.folder.mkdir(mode=0o700)
            first = Progress(
                run=self.id,
                kind=self.request.kind,
                system=self.request.system,
                key=self.request.key,
                state="queued",
                stage="waiting",
                created=now,
                owner=myself(),
                source=source,
            )
            files.write(self.folder, first)
        except OSError as error:
            message = f"The run cannot be written to {self.folder} ({error.strerror})."
            raise JobError(message, hint="Make room on the disk, or set VIGIE_HOME elsewhere.") from error
        row = Run(
            id=self.id,
            kind=self.request.kind,
            system=self.request.system,
            key=self.request.key,
            state=State.QUEUED,
            created=now,
            path=str(self.folder),
            **columns_of(source),
        )
        with opened(self.settings) as ledger:
            ledger.add(row)

    def running(self, stage: str) -> None:
        """A worker has it now."""
        now = time.time()
        self._write(state="running", stage=stage, started=now)
        self._record(state="running", started=now)

    def stage(self, stage: str) -> None:
        """Change the words under the progress bar."""
        self._write(stage=stage)

    def end(self, state: str, *, outcome: str = "", reason: str = "", path: str | None = None) -> Progress:
        """The last word. `path` is where the result is; without one it stays the run's own folder."""
        now = time.time()
        where = path or str(self.folder)
        last = self._write(state=state, stage="", outcome=outcome, reason=reason, path=where, finished=now)
        found = summary(Path(where), self.request.kind)
        self._record(state=state, outcome=outcome, reason=reason, path=where, finished=now, **found)
        self._release()
        return last

    def _write(self, **values: Any) -> Progress:
        old = files.load(self.folder)
        if old is None:
            old = Progress(self.id, self.request.kind, self.request.system, self.request.key, "queued", owner=myself())
        new = replace(old, **values)
        try:
            files.write(self.folder, new)
        except OSError as error:
            # The ledger still gets its row: a full disk must not leave the run without an end.
            LOG.warning("%s: progress cannot be written: %s", self.id, error)
        return new

    def _record(self, **values: Any) -> None:
        try:
            with opened(self.settings) as ledger:
                ledger.update(self.id, **values)
        except LedgerError as error:
            # The directory is the truth and the next start of a host reads it back into the index.
            LOG.warning("%s: %s", self.id, error.text)

    def _release(self) -> None:
        path, descriptor = self._lock
        with contextlib.suppress(FileNotFoundError):
            path.unlink()
        os.close(descriptor)


@contextmanager
def opened(settings: Settings) -> Iterator[Ledger]:
    """The ledger for one short piece of work; opened a second time when a damaged file was just put aside."""
    from app.ledger import Ledger

    try:
        ledger = Ledger.of(settings)
    except LedgerError as error:
        LOG.warning("%s", error.text)
        ledger = Ledger.of(settings)
    with ledger:
        yield ledger


@contextmanager
def held(settings: Settings, request: Request, run: str) -> Iterator[None]:
    """Hold the lock of a key for a short piece of work under the name `run`; KeyHeld when somebody else does."""
    path, descriptor = _take(settings.home / "jobs", request, run)
    try:
        yield
    finally:
        with contextlib.suppress(FileNotFoundError):
            path.unlink()
        os.close(descriptor)


def _take(folder: Path, request: Request, run: str) -> tuple[Path, int]:
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
