"""After a restart, and every now and then: what processes that are gone left running or half-made."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.base.files import Lock
from app.errors import VigieError
from app.runs import progress as files
from app.runs import reports, rescan
from app.runs.index import MAX_LIMIT
from app.runs.kinds import KINDS, record_of
from app.runs.opening import opened
from app.runs.progress import Progress, ended_silently, folders, write_down
from app.runs.run import ENDED, LIVE, Run

if TYPE_CHECKING:
    from app.config import Settings, Systems

LOG = logging.getLogger("vigie.jobs")


def interrupt(settings: Settings) -> list[Run]:
    """Mark what was queued or running in a process that is gone, in ledger and progress file. Nothing is resumed."""
    with opened(settings) as ledger:
        alive: list[str] = []
        live = ledger.runs(states=LIVE, limit=MAX_LIMIT)
        for run in live:
            progress = files.read_progress(settings, run.id)
            elsewhere = progress is None and run.path != "" and Path(run.path).parent != settings.home / "runs"
            if elsewhere or (progress is not None and not progress.final):
                # It goes on, or belongs to another home on the same index, which alone knows.
                alive.append(run.id)
            elif progress is not None and not ended_silently(progress):
                # It ended properly; only its end is missing in the index.
                ledger.update(run.id, **_last_word(progress))
        looked_at = [run.id for run in live]
        orphans = ledger.interrupt_orphans(alive, reason=ENDED, among=looked_at) if len(alive) < len(live) else []
        for run in orphans:
            with contextlib.suppress(OSError, ValueError):
                ended = write_down(files.directory(settings, run.id))
                if ended is not None and not ended_silently(ended):
                    ledger.update(run.id, **_last_word(ended))
    for run in orphans:
        LOG.info("%s (%s) was going when its process ended: interrupted", run.id, run.key)
    return orphans


def sweep(settings: Settings, systems: Systems) -> list[Path]:
    """Remove what processes that are gone left half-made in this home and its report directories; what was removed.

    Only names that Vigie makes go, and only when their owner is gone: a lock that no process holds, a part file of the
    progress of a run that has ended, a run's folder without progress, or what a deletion set aside, older than a
    minute; files given for a comparison, older than any comparison may take.
    """
    gone = [path for name in KINDS for path in record_of(name).sweep(settings)]
    for directory in dict.fromkeys(reports.report_dir(settings, system) for system in systems.by_id.values()):
        gone += reports.sweep(directory)
    _sweep_locks(settings.home / "jobs")
    runs, limit = settings.home / "runs", time.time() - reports.STALE_SECONDS
    parts = [*runs.glob("*/.progress.json.*"), *runs.glob("*/.result.json.*")]
    left = [*runs.glob(".tmp-gone-*"), *(folder for folder in folders(runs) if _never_began(folder))]
    for path in (*left, *(part for part in parts if not _goes_on(part.parent))):
        with contextlib.suppress(OSError):
            if path.lstat().st_mtime >= limit:
                continue
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink()
            gone.append(path)
    return gone


def _never_began(folder: Path) -> bool:
    """A run's folder in which there is nothing, or nothing but the first part of a progress file."""
    try:
        return all(entry.name.startswith(f".{files.NAME}.") for entry in os.scandir(folder))
    except OSError:
        return False


def _goes_on(folder: Path) -> bool:
    progress = files.load(folder)
    return progress is not None and not progress.final and progress.owner is not None and progress.owner.alive


def tidy(settings: Settings, *, scan: bool = True) -> None:
    """What a process that does the work itself does first: end what no process runs, read the directories, sweep.

    Job host and command line alike. A failure is a line in the log: the index itself says more when it is asked.
    """
    from app.config import load_systems

    systems = load_systems(settings)
    try:
        interrupt(settings)
        if scan:
            with opened(settings) as ledger:
                LOG.info("index: %s", rescan.rescan(ledger, settings, systems))
        for path in sweep(settings, systems):
            LOG.info("swept: %s", path)
    except (VigieError, OSError) as error:
        LOG.warning("%s", error)


def _last_word(progress: Progress) -> dict[str, Any]:
    names = ("state", "started", "finished", "outcome", "reason", "path")
    return {name: getattr(progress, name) for name in names}


def _sweep_locks(folder: Path) -> None:
    """Remove lock files that no process holds."""
    for path in folder.glob("*.lock"):
        with contextlib.suppress(OSError):
            lock = Lock(path)
            if lock.acquire():
                lock.release(remove=True)
