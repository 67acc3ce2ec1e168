"""One run from beginning to end, the same for the job host and for a command line without one.

Order: lock of the key, run directory with `progress.json`, ledger row; at the end progress, row, lock. The directory
comes first each time: what a crash leaves behind is found again (`app.runs.rescan`).
"""

from __future__ import annotations

import logging
import shutil
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.base.files import private_folder
from app.base.processes import myself
from app.config import load_systems
from app.errors import JobError, LedgerError, VigieError
from app.runs import progress as files
from app.runs import reports
from app.runs.kinds import kind_of, record_of
from app.runs.locks import Request, release, take
from app.runs.opening import opened
from app.runs.own_source import source_of_job
from app.runs.progress import Progress, as_run
from app.runs.run import Ending, State, new_run_id
from app.words.message import t

if TYPE_CHECKING:
    from app.config import Settings

LOG = logging.getLogger("vigie.jobs")


class ActiveRun:
    """A run this process answers for, from its lock to its final state."""

    def __init__(self, settings: Settings, request: Request) -> None:
        self.settings = settings
        self.request = request
        self.id = new_run_id()
        self._lock = take(settings.home / "jobs", request, self.id)
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
        request = self.request
        source = source_of_job(self.settings, request.system, request.kind, request.args)
        try:
            private_folder(self.settings.home)
            self.folder.parent.mkdir(mode=0o700, exist_ok=True)
            self.folder.mkdir(mode=0o700)
            first = Progress(
                run=self.id,
                kind=request.kind,
                system=request.system,
                key=request.key,
                state=State.QUEUED,
                stage="waiting",
                created=time.time(),
                owner=myself(),
                source=source,
            )
            files.write(self.folder, first)
        except OSError as error:
            message = t("The run cannot be written to {folder} ({why}).", folder=self.folder, why=error.strerror)
            raise JobError(message, hint=t("Make room on the disk, or set VIGIE_HOME elsewhere.")) from error
        with opened(self.settings) as ledger:
            ledger.add(replace(as_run(first), path=str(self.folder)))

    def running(self, stage: str) -> None:
        """A worker has it now."""
        now = time.time()
        self._write(state=State.RUNNING, stage=stage, started=now)
        self._record(state=State.RUNNING, started=now)

    def left(self, cause: str) -> Ending | None:
        """The ending of a run whose worker died, by what it left on the disk; None when that says nothing."""
        record = record_of(self.request.kind)
        ending = record.left(self.folder, cause)
        if ending is not None or not kind_of(self.request.kind).report:
            return ending
        try:
            return record.left(reports.find(self.settings, load_systems(self.settings), self.id), cause)
        except VigieError:
            return None

    def end(self, ending: Ending) -> Progress:
        """The final state. Without a path the result is in the run's own folder."""
        now = time.time()
        folder = ending.path or self.folder
        words = {"state": ending.state, "outcome": ending.outcome, "reason": ending.reason, "path": str(folder)}
        last = self._write(**words, stage="", finished=now)
        summary: dict[str, Any] = {"bytes": reports.size_of(folder)}
        try:
            summary |= record_of(self.request.kind).summary(folder)
        except VigieError as error:
            LOG.warning("%s: %s", self.id, error.text)
        self._record(**words, finished=now, **summary)
        self._release()
        return last

    def _write(self, **values: Any) -> Progress:
        old = files.load(self.folder)
        if old is None:
            old = Progress(
                self.id, self.request.kind, self.request.system, self.request.key, State.QUEUED, owner=myself()
            )
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
        release(self._lock)
