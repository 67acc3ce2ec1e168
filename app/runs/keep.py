"""What stays on the disk: a run deleted whole by a person, and the oldest taken by retention."""

from __future__ import annotations

import gzip
import hashlib
import logging
import os
import secrets
import shutil
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from app.config import Settings, Systems, load_systems
from app.errors import ReportError, ReportNotFound, StorageFull, VigieError
from app.runs import reports
from app.runs.kinds import KINDS, kind_of, record_of
from app.runs.opening import opened
from app.runs.progress import read_progress
from app.runs.reports import (
    META,
    NO_RIGHT,
    NO_ROOM,
    blocks,
    folders,
    mapped,
    read_file,
    read_meta,
    refuse,
    stored,
    write_file,
)
from app.runs.result import RESULT
from app.runs.run import RUN_ID, Run
from app.words.message import t

LOG = logging.getLogger("vigie.library")


# The newest runs are the ones people open; older HTML shrinks to a fifth under gzip.
PLAIN_RUNS: Final = 20


def set_aside(folder: Path) -> Path | None:
    """Take a run's folder out of every list in one step; where it is now, None when it is not there.

    Under its new name `save` sweeps it up later, even if the process ends. Raises StorageFull or ReportError.
    """
    aside = folder.parent / f".tmp-gone-{folder.name}-{secrets.token_hex(4)}"
    try:
        # Young again: anyone who saves a run at this moment must not sweep it up while it may still be put back.
        os.utime(folder)
        folder.rename(aside)
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno in (*NO_ROOM, *NO_RIGHT):
            raise StorageFull(
                t(
                    "Run {run} cannot be deleted from {folder}: {why}; nothing was changed.",
                    run=folder.name,
                    folder=folder.parent,
                    why=error.strerror,
                ),
                hint=t("Give write permission on that folder, then delete the run again."),
            ) from error
        refuse(error, folder)
    return aside


def put_back(aside: Path, folder: Path) -> None:
    """Undo `set_aside`. Raises ReportError, naming where the files are."""
    try:
        aside.rename(folder)
    except OSError as error:
        run, why = folder.name, error.strerror
        message = t("The files of run {run} are now in {folder} ({why}).", run=run, folder=aside, why=why)
        raise ReportError(message, hint=t("Rename that folder by hand.")) from error


def republish(directory: Path, gone: Mapping[str, str]) -> None:
    """After a run was deleted: what it had published becomes that of the newest run that has a file of this name.

    `gone` are its files with their SHA-256. A flat file of other content is someone else's and stays. Raises
    StorageFull when there is no room for a copy; the old one is gone then too.
    """
    runs = [path for path in folders(directory)[::-1] if any(stored(path, name) for name in gone)]
    for name, sum_ in gone.items():
        flat = directory / name
        with mapped(directory):
            if _sum(flat) != sum_:
                continue
            flat.unlink(missing_ok=True)
            data = next(filter(None, (_to_publish(path, name) for path in runs)), None)
            if data is None:
                continue
            temporary = directory / f".tmp-gone-{secrets.token_hex(4)}-{name}"
            try:
                write_file(temporary, data)
                temporary.replace(flat)
            finally:
                temporary.unlink(missing_ok=True)


def _to_publish(run: Path, name: str) -> bytes | None:
    """A file of a comparison; None for an imported report, which is not published, and for a run just deleted."""
    try:
        return read_file(run, name) if kind_of(read_meta(run).kind).published else None
    except ReportNotFound:
        return None


def _sum(path: Path) -> str | None:
    digest = hashlib.sha256()
    try:
        for block in blocks(path):
            digest.update(block)
    except FileNotFoundError:
        return None
    return digest.hexdigest()


@dataclass(frozen=True, slots=True)
class Pruned:
    """Ids of the runs deleted, oldest first, and the bytes that are left of each run that was packed."""

    gone: tuple[str, ...]
    packed: Mapping[str, int]


def prune(
    directories: Iterable[Path],
    keep_bytes: int,
    *,
    acknowledged: Collection[str] = (),
    may_go: Callable[[str], bool] = lambda _run: True,
) -> Pruned:
    """Gzip older HTML, then delete the oldest runs until all fit `keep_bytes`.

    Runs in `acknowledged` (someone wrote a note or took a decision on them) go only when nothing else is left; the
    newest of each directory, which may have been written a moment ago, and those that `may_go` says no to always stay.
    """
    newest: set[Path] = set()
    packed: list[Path] = []
    sizes: dict[Path, int] = {}
    for directory in dict.fromkeys(directories):
        # After every run this goes through all there are: one look into each folder, and no file is opened.
        looks = {run: look for run in folders(directory) if (look := _look(run)) is not None}
        runs = list(looks)
        newest.update(runs[-1:])
        sizes |= {run: look.size for run, look in looks.items()}
        with mapped(directory):
            for run in runs[:-PLAIN_RUNS]:
                # A person may delete a run at this moment.
                with suppress(FileNotFoundError):
                    if looks[run].html:
                        _pack(run)
                        packed.append(run)
                        sizes[run] = _size(run)
    total = sum(sizes.values())
    order = sorted(sizes.keys() - newest, key=lambda run: (run.name in acknowledged, run.name))
    gone: list[str] = []
    for run in order:
        if total <= keep_bytes:
            break
        if not may_go(run.name):
            continue
        moved = set_aside(run)
        if moved is not None:
            shutil.rmtree(moved, ignore_errors=True)
        total -= sizes[run]
        gone.append(run.name)
    return Pruned(tuple(gone), {run.name: sizes[run] for run in packed if run.name not in gone})


@dataclass(frozen=True, slots=True)
class _Look:
    """Bytes of a finished run, and whether HTML is in it unpacked."""

    size: int
    html: bool


def _look(run: Path) -> _Look | None:
    """None for a folder without meta.json: it is no run."""
    size, names = 0, set()
    try:
        with os.scandir(run) as entries:
            for entry in entries:
                with suppress(FileNotFoundError):
                    size += entry.stat(follow_symlinks=False).st_size
                names.add(entry.name)
    except (FileNotFoundError, NotADirectoryError):
        return None
    return _Look(size, any(name.endswith(".html") for name in names)) if META in names else None


def _size(run: Path) -> int:
    look = _look(run)
    return 0 if look is None else look.size


def _pack(run: Path) -> None:
    """Gzip the HTML of a run."""
    for path in run.glob("*.html"):
        packed, temporary = run / f"{path.name}.gz", run / f".tmp-{path.name}.gz"
        with path.open("rb") as plain, gzip.open(temporary, "wb", compresslevel=6) as target:
            shutil.copyfileobj(plain, target)
        temporary.replace(packed)
        path.unlink()


@dataclass(frozen=True, slots=True)
class _Kept:
    """What there is of a run: its report folder and that of the job (either may be gone), and its row."""

    report: Path | None
    folder: Path
    row: Run | None


def delete(settings: Settings, systems: Systems, run_id: str) -> None:
    """Delete a run: its files, its row with notes, and what was published of it.

    The flat files that were its own become those of the newest run of the same months that remains, or go. Raises
    ReportNotFound for an unknown run, ReportError for one that is still going, StorageFull or LedgerError when it
    cannot be deleted: then everything is as it was, unless the message says otherwise.
    """
    if not RUN_ID.fullmatch(run_id):
        raise ReportNotFound(t("That is no run id."), hint=t("Ids look like 20240229T140532Z-1a2b3c."))
    with opened(settings) as ledger:
        kept = _kept(settings, systems, run_id, ledger.get(run_id))
        names = _published(kept)
        with ExitStack() as undo:
            aside = []
            for folder in filter(None, (kept.report, kept.folder)):
                moved = set_aside(folder)
                if moved is not None:
                    aside.append(moved)
                    undo.callback(put_back, moved, folder)
            # From here on nothing lists or opens the run; a failing index puts it back.
            ledger.remove(run_id)
            undo.pop_all()
    for folder in aside:
        shutil.rmtree(folder, ignore_errors=True)
    LOG.info("%s was deleted", run_id)
    for directory, files in names.items():
        try:
            republish(directory, files)
        except ReportError as error:
            message = t(
                "Run {run} is deleted, but what it had published was not replaced: {why}", run=run_id, why=error.message
            )
            raise type(error)(message, hint=error.hint) from error


def _kept(settings: Settings, systems: Systems, run_id: str, row: Run | None) -> _Kept:
    """What there is of a run that may be deleted."""
    progress = read_progress(settings, run_id)
    goes_on = not progress.final if progress is not None else row is not None and not row.state.final
    if goes_on:
        message = t("Run {run} is still going; it cannot be deleted.", run=run_id)
        raise ReportError(message, hint=t("Stop it first, or wait."))
    folder = settings.home / "runs" / run_id
    directories = dict.fromkeys(reports.report_dir(settings, system) for system in systems.by_id.values())
    places = [directory / "runs" / run_id for directory in directories]
    report = next((place for place in places if place.is_dir() and not place.is_symlink()), None)
    if report is None and row is not None and Path(row.path).name == run_id and Path(row.path) != folder:
        # The system file is gone, or its report directory is another one now.
        report = _valid(Path(row.path))
    if report is None and row is None and not folder.is_dir():
        no_run = t("There is no run {run}.", run=run_id)
        raise ReportNotFound(no_run, hint=t("It may have been deleted already; reload the list."))
    return _Kept(report, folder, row)


def _valid(folder: Path) -> Path | None:
    try:
        read_meta(folder)
    except ReportNotFound:
        return None
    return None if folder.is_symlink() else folder


def _published(kept: _Kept) -> dict[Path, dict[str, str]]:
    """By report directory: the names this run may have published, with the hashes its files have."""
    if kept.report is None:
        return {}
    try:
        meta = read_meta(kept.report)
    except ReportNotFound:
        return {}
    files = {name: sum_ for name, sum_ in meta.files.items() if name != RESULT}
    return {kept.report.parent.parent: files} if kind_of(meta.kind).published else {}


def bound(settings: Settings) -> None:
    """What every run ends with: the disk stays bounded. A failure is a line in the log, and the run stays done."""
    try:
        retain(settings, load_systems(settings))
    except VigieError as error:
        LOG.warning("%s", error.text)


def retain(settings: Settings, systems: Systems) -> list[str]:
    """Keep the report directories within VIGIE_KEEP_BYTES; ids of the runs deleted, whose rows then report it."""
    with opened(settings) as ledger:
        folders = [reports.report_dir(settings, system) for system in systems.by_id.values()]
        spare = {
            run
            for system in systems.by_id.values()
            for name in KINDS
            for run in record_of(name).spared(settings, system, ledger.finished(name, system.id))
        }

        def may_go(run: str) -> bool:
            # Of a run without a row no one knows yet whether it is noted or shown: an index that was lost is filled
            # again by the next scan.
            return run not in spare and ledger.get(run) is not None

        pruned = prune(folders, settings.keep_bytes, acknowledged=ledger.acknowledged(), may_go=may_go)
        for run, left in pruned.packed.items():
            if ledger.get(run) is not None:
                ledger.update(run, bytes=left)
        for run in pruned.gone:
            if ledger.get(run) is not None:
                # The reason stays: it is all that is left of why it was decided so.
                ledger.update(run, path="", bytes=None)
    return list(pruned.gone)
