"""After a restart: which runs were going when their process ended, and which runs the directories hold."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import math
import os
import shutil
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.errors import ReportNotFound, VigieError
from app.runs import progress as files
from app.runs.index import MAX_LIMIT
from app.runs.opening import opened
from app.runs.progress import ENDED, Progress, as_run
from app.runs.run import LIVE, RUN_ID, Run, State, created_at
from app.runs.source import UNKNOWN, Source, columns_of, source_of
from app.runs.summary import RESULT, figures, lacking, result_of, sent, size
from app.runs.tables import SOURCE, SUMMARY

if TYPE_CHECKING:
    from app.config import Settings, System, Systems

LOG = logging.getLogger("vigie.jobs")


def interrupt(settings: Settings) -> list[Run]:
    """Mark what was queued or running in a process that is gone, in ledger and progress file. Nothing is resumed."""
    with opened(settings) as ledger:
        alive: list[str] = []
        live = ledger.runs(states=LIVE, limit=MAX_LIMIT)
        for run in live:
            told = files.read_progress(settings, run.id)
            elsewhere = told is None and run.path != "" and Path(run.path).parent != settings.home / "runs"
            if elsewhere or (told is not None and not told.final):
                # It goes on, or belongs to another home on the same index, which alone knows.
                alive.append(run.id)
            elif told is not None and told.reason != ENDED:
                # It ended properly; only the last word in the index is missing.
                ledger.update(run.id, **_last_word(told))
        looked_at = [run.id for run in live]
        orphans = ledger.interrupt_orphans(alive, reason=ENDED, among=looked_at) if len(alive) < len(live) else []
        for run in orphans:
            with contextlib.suppress(OSError, ValueError):
                ended = _write_down(files.directory(settings, run.id))
                if ended is not None and ended.reason != ENDED:
                    ledger.update(run.id, **_last_word(ended))
    for run in orphans:
        LOG.info("%s (%s) was going when its process ended: interrupted", run.id, run.key)
    return orphans


def sweep(settings: Settings, systems: Systems) -> list[Path]:
    """Remove what processes that are gone left half-made in this home and its report directories; what was removed.

    Only names of ours go, and only when their owner is gone: a lock that nobody holds, a part file beside the progress
    of a run that has ended, a run's folder without progress, or what a deletion set aside, older than a minute; files
    given for a comparison, older than any comparison may take.
    """
    from app.drift import uploads
    from app.runs import reports

    gone: list[Path] = uploads.sweep(settings)
    for directory in dict.fromkeys(reports.report_dir(settings, system) for system in systems.by_id.values()):
        gone += reports.sweep(directory)
    _sweep_locks(settings.home / "jobs")
    runs, limit = settings.home / "runs", time.time() - reports.STALE_SECONDS
    parts = [*runs.glob("*/.progress.json.*"), *runs.glob("*/.result.json.*")]
    left = [*runs.glob(".tmp-gone-*"), *(folder for folder in _folders(runs) if _never_began(folder))]
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
        return all(entry.name.startswith(".progress.json.") for entry in os.scandir(folder))
    except OSError:
        return False


def _goes_on(folder: Path) -> bool:
    progress = files.load(folder)
    return progress is not None and not progress.final and progress.owner is not None and progress.owner.alive


def tidy(settings: Settings, *, scan: bool = True) -> None:
    """What whoever does the work itself does first: end what nobody runs any more, read the directories, sweep.

    Job host and command line alike. A failure is a line in the log: the index has its own words for whoever asks it.
    """
    from app.config import load_systems

    systems = load_systems(settings)
    try:
        interrupt(settings)
        if scan:
            with opened(settings) as ledger:
                LOG.info("index: %s", ledger.rescan(settings, systems))
        for path in sweep(settings, systems):
            LOG.info("swept: %s", path)
    except (VigieError, OSError) as error:
        LOG.warning("%s", error)


def _last_word(told: Progress) -> dict[str, Any]:
    names = ("state", "started", "finished", "outcome", "reason", "path")
    return {name: getattr(told, name) for name in names}


def _write_down(folder: Path) -> Progress | None:
    """The progress of a run as it now is; one whose owner is gone is written down as interrupted."""
    found = files.load(folder)
    if found is None or found.final or (found.owner is not None and found.owner.alive):
        return found
    left = sent(folder, ENDED) if found.kind == "load" else None
    state, outcome, reason = left or ("interrupted", "", ENDED)
    last: dict[str, Any] = {"state": state, "outcome": outcome, "reason": reason, "finished": found.updated}
    ended = replace(found, **last, path=found.path or str(folder))
    files.write(folder, ended)
    return ended


def _sweep_locks(folder: Path) -> None:
    """Remove lock files that nobody holds."""
    for path in folder.glob("*.lock"):
        with contextlib.suppress(OSError):
            descriptor = os.open(path, os.O_RDWR)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                path.unlink()
            finally:
                os.close(descriptor)


def found_runs(
    settings: Settings, systems: Systems, known: Mapping[str, Run]
) -> tuple[dict[str, Run], tuple[str, ...]]:
    """Every ended run that directories tell of, by id, and the directories that could not be read.

    `known` are the rows there are: a result is read only for a run whose row is missing, wrong or without its summary.
    """
    found: dict[str, Run] = {}
    unreadable: list[str] = []
    for folder in _folders(settings.home / "runs"):
        try:
            told = _write_down(folder)
        except OSError as error:
            LOG.warning("%s: %s", folder, error)
            told = None
        if told is None or told.run != folder.name:
            unreadable.append(str(folder))
        elif told.final:
            run = as_run(told)
            if not Path(run.path).is_dir():
                run = replace(run, path="")
            elif Path(run.path) == folder:
                run = replace(run, bytes=_size(folder, known.get(run.id)))
            found[run.id] = run
    for run in _reports(settings, systems, known):
        ended = found.get(run.id)
        if ended is None:
            found[run.id] = run
        elif ended.state is State.INTERRUPTED:
            found[run.id] = _finished_after_all(settings, ended, run)
        else:
            names = [name for name in ("path", *SUMMARY) if run.source_kind or name not in SOURCE]
            mine = {name: getattr(run, name) for name in names}
            found[run.id] = replace(ended, reason=ended.reason or run.reason, **mine)
    return {run.id: _with_source(settings, systems, run) for run in found.values()}, tuple(unreadable)


def _with_source(settings: Settings, systems: Systems, run: Run) -> Run:
    """A run of an older version gets its source: that of its system today when this home made it, else unknown.

    The progress file proves it, and keeps the answer. A report that another home left in the same report directory has
    no such file here. While the system file cannot be read nothing is decided: the next scan looks again.
    """
    if run.source_kind:
        return run
    folder = files.directory(settings, run.id)
    progress = files.load(folder)
    if progress is None:
        return replace(run, **columns_of(UNKNOWN))
    system = systems.by_id.get(run.system)
    source = UNKNOWN if system is None else source_of(settings, system, run.kind)
    if source == UNKNOWN and (system is None or run.kind == "drift"):
        return run
    with contextlib.suppress(OSError):
        files.write(folder, replace(progress, source=source))
    told = replace(run, **columns_of(source))
    return replace(told, bytes=size(folder)) if run.path == str(folder) else told


def _finished_after_all(settings: Settings, ended: Run, report: Run) -> Run:
    """A run whose process ended after its report was whole and before it could say so: it is done, here and there."""
    run = replace(report, key=ended.key, created=ended.created, started=ended.started, finished=ended.finished)
    folder = files.directory(settings, run.id)
    told = files.load(folder)
    if told is not None:
        done = replace(told, state=str(State.DONE), stage="", outcome=run.outcome, reason=run.reason, path=run.path)
        with contextlib.suppress(OSError):
            files.write(folder, done)
    return run


def _size(folder: Path, row: Run | None) -> int | None:
    """Bytes of a run's own folder, as its row has them when it has them."""
    return size(folder) if row is None or row.bytes is None or row.path != str(folder) else row.bytes


def _folders(parent: Path) -> list[Path]:
    try:
        return [Path(entry.path) for entry in os.scandir(parent) if RUN_ID.fullmatch(entry.name)]
    except OSError:
        return []


def _reports(settings: Settings, systems: Systems, known: Mapping[str, Run]) -> list[Run]:
    """The runs with a report directory, as their own files tell them."""
    from app.runs import reports

    runs: list[Run] = []
    for system in systems.by_id.values():
        try:
            folders = reports.folders(reports.report_dir(settings, system))
        except VigieError as error:
            LOG.warning("%s", error.text)
            continue
        for folder in folders:
            row = known.get(folder.name)
            right = row is not None and row.path == str(folder) and row.state is State.DONE and not lacking(row)
            # Whoever is not a run at all says so when it is read.
            with contextlib.suppress(ReportNotFound):
                runs.append(row if row is not None and right else row_of_report(folder, system))
    return runs


def row_of_report(folder: Path, system: System) -> Run:
    """A row from `meta.json` and, where there is one, `result.json`; that of an imported report is whole.

    The exact key of a run made here is only in its progress file. Raises ReportNotFound when `folder` is no run.
    """
    from app.drift.result import Policy
    from app.runs import reports

    meta = reports.read_meta(folder)
    created = created_at(meta.run)
    key = f"{meta.kind}:{system.id}:{meta.run}"
    run = Run(meta.run, meta.kind, system.id, key, State.DONE, created, path=str(folder), bytes=size(folder))
    if meta.kind == "imported":
        return _imported(run, meta.about, folder, has_result=RESULT in meta.files)
    if RESULT not in meta.files or meta.kind != "drift":
        return replace(run, started=created, finished=created)
    try:
        result = result_of(folder)
    except VigieError as error:
        return replace(run, started=created, finished=created, reason=error.text)
    if result.own is None and system.drift is not None and result.policy == Policy.of(system.drift):
        # It was saved before that was written down; the policy of today is most likely the one of then.
        result = replace(result, own=True)
    return replace(
        run,
        system=result.system,
        key=f"drift:{result.system}:{result.ref.key}:{result.cur.key}:{result.policy.digest}",
        started=created,
        finished=created + (result.seconds or 0.0),
        outcome=str(result.decision),
        reason=result.reason,
        **figures(result),
    )


def _imported(run: Run, about: Mapping[str, str], folder: Path, *, has_result: bool) -> Run:
    """The row of an imported report: when it ran, and for how long, only its maker knew."""
    try:
        created = float(about.get("created", ""))
    except ValueError:
        created = run.created
    run = replace(
        run,
        created=created if math.isfinite(created) else run.created,
        key=about.get("key", run.key),
        outcome=about.get("outcome", ""),
        reason=about.get("reason", ""),
        ref=about.get("ref", ""),
        cur=about.get("cur", ""),
        **columns_of(Source.of("imported", about.get("name", ""), run.id)),
    )
    try:
        return replace(run, **figures(result_of(folder))) if has_result else run
    except VigieError as error:
        return replace(run, reason=error.text)
