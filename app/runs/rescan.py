"""Which runs the directories hold: the index is made again from them."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from app.errors import ReportNotFound, VigieError
from app.runs import progress as files
from app.runs import reports
from app.runs.kinds import kind_of, record_of
from app.runs.own_source import source_of
from app.runs.progress import as_run, folders, write_down
from app.runs.run import Rescan, Run, State, created_at
from app.runs.source import UNKNOWN, columns_of
from app.runs.tables import SOURCE, SUMMARY

if TYPE_CHECKING:
    from app.config import Settings, System, Systems
    from app.runs.index import Ledger

LOG = logging.getLogger("vigie.jobs")


def rescan(ledger: Ledger, settings: Settings, systems: Systems) -> Rescan:
    """Make the index agree with the run directories: add missing rows, say which directories are gone."""
    # Reading directories takes a while: no one waits for the lock meanwhile.
    ended_runs, unreadable = found_runs(settings, systems, ledger.everything())
    return replace(ledger.correct(ended_runs, settings.home / "runs"), unreadable=unreadable)


def found_runs(settings: Settings, systems: Systems, rows: Mapping[str, Run]) -> tuple[dict[str, Run], tuple[str, ...]]:
    """Every ended run that has a directory, by id, and the directories that could not be read.

    `rows` are the rows there are: a result is read only for a run whose row is missing, wrong or without its summary.
    """
    ended_runs: dict[str, Run] = {}
    unreadable: list[str] = []
    for folder in folders(settings.home / "runs"):
        try:
            progress = write_down(folder)
        except OSError as error:
            LOG.warning("%s: %s", folder, error)
            progress = None
        if progress is None or progress.run != folder.name:
            unreadable.append(str(folder))
        elif progress.final:
            run = as_run(progress)
            if not Path(run.path).is_dir():
                run = replace(run, path="")
            elif Path(run.path) == folder:
                run = replace(run, bytes=_size(folder, rows.get(run.id)))
            ended_runs[run.id] = run
    for run in _reports(settings, systems, rows):
        ended = ended_runs.get(run.id)
        if ended is None:
            ended_runs[run.id] = run
        elif ended.state is State.INTERRUPTED:
            ended_runs[run.id] = _finished_after_all(settings, ended, run)
        else:
            names = [name for name in ("path", *SUMMARY) if run.source_kind or name not in SOURCE]
            mine = {name: getattr(run, name) for name in names}
            ended_runs[run.id] = replace(ended, reason=ended.reason or run.reason, **mine)
    return {run.id: _with_source(settings, systems, run) for run in ended_runs.values()}, tuple(unreadable)


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
    if source == UNKNOWN and (system is None or not kind_of(run.kind).of_service):
        return run
    with contextlib.suppress(OSError):
        files.write(folder, replace(progress, source=source))
    row = replace(run, **columns_of(source))
    return replace(row, bytes=reports.size_of(folder)) if run.path == str(folder) else row


def _finished_after_all(settings: Settings, ended: Run, report: Run) -> Run:
    """A run whose process ended after its report was whole and before its end was written: it is done."""
    run = replace(report, key=ended.key, created=ended.created, started=ended.started, finished=ended.finished)
    folder = files.directory(settings, run.id)
    progress = files.load(folder)
    if progress is not None:
        done = replace(progress, state=State.DONE, stage="", outcome=run.outcome, reason=run.reason, path=run.path)
        with contextlib.suppress(OSError):
            files.write(folder, done)
    return run


def _size(folder: Path, row: Run | None) -> int | None:
    """Bytes of a run's own folder, as its row has them when it has them."""
    return reports.size_of(folder) if row is None or row.bytes is None or row.path != str(folder) else row.bytes


def _reports(settings: Settings, systems: Systems, rows: Mapping[str, Run]) -> list[Run]:
    """The runs with a report directory, as their own files tell them."""
    runs: list[Run] = []
    for system in systems.by_id.values():
        try:
            runs_of_system = reports.folders(reports.report_dir(settings, system))
        except VigieError as error:
            LOG.warning("%s", error.text)
            continue
        for folder in runs_of_system:
            row = rows.get(folder.name)
            right = (
                row is not None
                and row.path == str(folder)
                and row.state is State.DONE
                and not record_of(row.kind).lacking(row)
            )
            # What is not a run at all is reported when it is read.
            with contextlib.suppress(ReportNotFound):
                runs.append(row if row is not None and right else row_of_report(folder, system))
    return runs


def row_of_report(folder: Path, system: System) -> Run:
    """A row from `meta.json` and what the record of its kind reads. Raises ReportNotFound when `folder` is no run."""
    meta = reports.read_meta(folder)
    key = f"{meta.kind}:{system.id}:{meta.run}"
    created = created_at(meta.run)
    run = Run(meta.run, meta.kind, system.id, key, State.DONE, created, path=str(folder), bytes=reports.size_of(folder))
    return record_of(meta.kind).row(run, folder, meta, system)
