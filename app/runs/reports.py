"""The only writer of report directories: atomic, by id; keeps the disk bounded.

A run is the folder `<report dir>/runs/<run id>/`; it exists from the moment it carries a valid `meta.json`, which is
written last into a temporary folder. Chosen files are also published flat in the report directory, each by
one atomic replace: those are the paths a decision line prints.
"""

from __future__ import annotations

import errno
import gzip
import hashlib
import json
import os
import re
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from io import BytesIO
from pathlib import Path
from typing import Final, NoReturn

from app.base.files import flock, read
from app.config import Settings, System, Systems
from app.errors import ReportError, ReportNotFound, StorageFull
from app.runs.kinds import kind_of
from app.runs.run import RUN_ID, Meta
from app.words.message import t

VERSION: Final = 1
# Names of temporary files: of a run that is being saved, and of what a deletion has set aside.
_WRITING: Final = re.compile(rf"\.tmp-(?P<run>{RUN_ID.pattern})-.+")
_ASIDE: Final = re.compile(r"\.tmp-gone-.+")
# What this module writes and serves: no separators, no leading dot, no surprises in a URL or an archive.
FILE_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")
META: Final = "meta.json"
# Evidently's report is 4.6 MB at any row count; ten times that is still a report, a gigabyte is an accident.
MAX_FILE_BYTES: Final = 64_000_000
# meta.json lists a handful of files; a longer one was not written here.
MAX_META_BYTES: Final = 100_000
# A file of this age that no process holds belongs to a writer that was killed: what was set aside is put back, or
# deleted, within the seconds that the index may wait for another writer.
STALE_SECONDS: Final = 60.0
NO_ROOM: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
NO_RIGHT: Final = (errno.EROFS, errno.EACCES, errno.EPERM)


def _as_given(settings: Settings, system: System) -> str:
    """The report directory as it was set: relative stays relative (to the checkout).

    REPORT_DIR replaces the folder of a system that names one (`drift.reports`, as StreamFlow does); every other system
    gets a separate folder inside, so that equal month names of two systems never overwrite each other.
    """
    folder = system.drift.reports if system.drift is not None else None
    if settings.report_dir is None:
        return f"reports/{folder or system.id}"
    return settings.report_dir if folder else os.path.join(settings.report_dir, system.id)  # noqa: PTH118 - as given


def report_dir(settings: Settings, system: System) -> Path:
    """Where the runs of this system are kept; absolute, not necessarily there yet."""
    return settings.root / Path(_as_given(settings, system)).expanduser()


def shown_path(settings: Settings, system: System, name: str) -> str:
    """The flat path of a published file as a decision line prints it."""
    return f"{_as_given(settings, system).rstrip('/')}/{name}"


# --- writing ---------------------------------------------------------------------------------------------------------


def save(
    directory: Path,
    run_id: str,
    kind: str,
    files: Mapping[str, bytes | Path],
    publish: Sequence[str],
    *,
    about: Mapping[str, str] | None = None,
) -> Path:
    """Write a run and publish some of its files flat; the run's folder is returned.

    Either everything is there or nothing is: raises StorageFull (no room, no right) or ReportError, with the temporary
    files removed.
    """
    _check_names(run_id, kind, files, publish)
    final = directory / "runs" / run_id
    temporary = directory / "runs" / f".tmp-{run_id}-{os.getpid()}"
    flat = {name: directory / f".tmp-{run_id}-{name}" for name in publish}
    with mapped(directory):
        sweep(directory)
        if final.exists():
            there = t("Run {run} is already saved in {folder}.", run=run_id, folder=directory)
            raise ReportError(there, hint=t("A run is written once."))
        held: int | None = None
        try:
            held = _made_and_held(temporary)
            sums = {name: write_file(temporary / name, content) for name, content in files.items()}
            meta = {"version": VERSION, "run": run_id, "kind": kind, "files": sums}
            meta |= {"about": dict(about)} if about else {}
            # The flat copies are on disk before the run exists: a full disk is met while nothing shows yet.
            for name, path in flat.items():
                write_file(path, temporary / name)
            write_file(temporary / META, json.dumps(meta, indent=1).encode())
            _sync(temporary)
            temporary.rename(final)
            _sync(final.parent)
            for name, path in flat.items():
                path.replace(directory / name)
            _sync(directory)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
            for path in flat.values():
                path.unlink(missing_ok=True)
            if held is not None:
                os.close(held)
    return final


def _check_names(run_id: str, kind: str, files: Mapping[str, bytes | Path], publish: Sequence[str]) -> None:
    if not RUN_ID.fullmatch(run_id):
        # no catalogue: for developers
        raise ReportError(f"{run_id!r} is no run id.", hint="Ids are made by app.runs.run.new_run_id.")
    if not kind_of(kind).report:
        raise ReportError(t("A run of kind {kind!r} has no report directory.", kind=kind))
    for name, content in files.items():
        if not FILE_NAME.fullmatch(name) or name == META:
            no_name = t("{file!r} cannot be a file of a run.", file=name)
            raise ReportError(no_name, hint=t("Letters, digits, dot, dash, underscore."))
        size = len(content) if isinstance(content, bytes) else content.stat().st_size
        if size > MAX_FILE_BYTES:
            most = MAX_FILE_BYTES
            long = t("{file} has {size:,} bytes; a report may have {most:,}.", file=name, size=size, most=most)
            raise ReportError(long, hint=t("Leave out columns with very many values."))
    missing = [name for name in publish if name not in files]
    if missing:
        raise ReportError(t("{file} is to be published but not among the files of the run.", file=missing[0]))


def write_file(path: Path, content: bytes | Path) -> str:
    """Write and fsync one file; its SHA-256."""
    digest = hashlib.sha256()
    with path.open("xb") as handle:
        for block in blocks(content):
            digest.update(block)
            handle.write(block)
        handle.flush()
        os.fsync(handle.fileno())
    return digest.hexdigest()


def blocks(content: bytes | Path) -> Iterator[bytes]:
    """The content, a piece at a time."""
    if isinstance(content, bytes):
        yield content
        return
    with content.open("rb") as handle:
        while block := handle.read(1 << 20):
            yield block


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _made_and_held(folder: Path) -> int:
    """Make a temporary folder and lock it; the descriptor. The kernel lets go of it when its writer ends, however."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    parent = os.open(folder.parent, os.O_RDONLY)
    try:
        # No process sweeps between the making and the locking.
        with suppress(OSError):  # a file system without locks: nothing is swept there
            flock(parent, shared=True, wait=True)
        folder.mkdir()
        descriptor = os.open(folder, os.O_RDONLY)
        with suppress(OSError):
            flock(descriptor, wait=True)
    finally:
        os.close(parent)
    return descriptor


def sweep(directory: Path) -> list[Path]:
    """Remove the temporary files of writers that are gone from a report directory; what was removed.

    A writer that goes on holds a lock on its folder; what was set aside by a deletion, or packed, stays for
    STALE_SECONDS. Only names that Vigie makes are touched, and a folder that cannot be read or locked stays.
    """
    gone: list[Path] = []
    try:
        parent = os.open(directory / "runs", os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        return gone
    try:
        # A writer that is just making its folder is let finish that first; one is never waited for.
        if not flock(parent):
            return gone
        for left in (*directory.glob("runs/.tmp-*"), *directory.glob(".tmp-*"), *directory.glob("runs/*/.tmp-*.gz")):
            with suppress(OSError):
                if _abandoned(directory, left):
                    if left.is_dir() and not left.is_symlink():
                        shutil.rmtree(left, ignore_errors=True)
                    else:
                        left.unlink()
                    gone.append(left)
    except OSError:
        pass
    finally:
        os.close(parent)
    return gone


def _abandoned(directory: Path, left: Path) -> bool:
    """Whether the writer of a temporary file or folder is gone."""
    writing = _WRITING.fullmatch(left.name)
    if writing is None:
        aside = _ASIDE.fullmatch(left.name) is not None or left.parent.parent.name == "runs"
        return aside and left.lstat().st_mtime < time.time() - STALE_SECONDS
    # Of a folder the owner's lock says all; a flat copy belongs to the folder of its run, under its first name or last.
    run = writing["run"]
    folders = [left] if left.is_dir() else [*directory.glob(f"runs/.tmp-{run}-*"), directory / "runs" / run]
    return not any(_locked(folder) for folder in folders)


def _locked(folder: Path) -> bool:
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        return False
    try:
        return not flock(descriptor)
    except OSError:
        return True
    finally:
        os.close(descriptor)


@contextmanager
def mapped(place: Path) -> Iterator[None]:
    """Errors of the file system in `place` as ours."""
    try:
        yield
    except OSError as error:
        refuse(error, place)


def refuse(error: OSError, place: Path) -> NoReturn:
    """Raise what an error of the file system in `place` means."""
    why = error.strerror or type(error).__name__
    if error.errno in NO_ROOM:
        raise StorageFull(
            t("No room left to save the report in {folder} ({why}); nothing was kept of it.", folder=place, why=why),
            hint=t("Free some disk space or lower VIGIE_KEEP_BYTES, then try again."),
        ) from error
    if error.errno in NO_RIGHT:
        raise StorageFull(
            t("The report cannot be saved in {folder}: {why}.", folder=place, why=why),
            hint=t("Give write permission on that folder, or set REPORT_DIR to another one."),
        ) from error
    raise ReportError(f"{place}: {why}.", hint=t("Check the report directory.")) from error


# --- reading ---------------------------------------------------------------------------------------------------------


def read_meta(run_dir: Path) -> Meta:
    """The run's meta.json, validated. Raises ReportNotFound when the folder is not a finished run."""
    gone = t("{run} is not a finished run.", run=run_dir.name)
    hint = t("It was interrupted while it was saved, or deleted.")
    try:
        raw = json.loads(read(run_dir / META, MAX_META_BYTES))
        files, about = (
            {str(name): str(text) for name, text in part.items()} for part in (raw["files"], raw.get("about", {}))
        )
        meta = Meta(str(raw["run"]), str(raw["kind"]), files, about)
        valid = raw["version"] == VERSION and meta.run == run_dir.name and kind_of(meta.kind).report
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ReportNotFound(gone, hint=hint) from error
    valid = valid and RUN_ID.fullmatch(meta.run) is not None and all(FILE_NAME.fullmatch(name) for name in meta.files)
    if not valid or any(stored(run_dir, name) is None for name in meta.files):
        raise ReportNotFound(gone, hint=hint)
    return meta


def read_file(run_dir: Path, name: str) -> bytes:
    """One file of a run, checked against its hash; gzip at rest is undone here."""
    for _ in range(2):
        # Between the look and the reading it may be packed (then it is there under its other name), or deleted.
        with suppress(FileNotFoundError):
            return _read(run_dir, read_meta(run_dir), name)
    raise ReportNotFound(t("Run {run} was deleted a moment ago.", run=run_dir.name), hint=t("Pick another run."))


def _read(run_dir: Path, meta: Meta, name: str) -> bytes:
    path = stored(run_dir, name) if name in meta.files else None
    if path is None:
        no_file = t("Run {run} has no file {file!r}.", run=meta.run, file=name)
        raise ReportNotFound(no_file, hint=t("It has {files}.", files=", ".join(meta.files) or t("none")))
    try:
        if path.suffix == ".gz" and not name.endswith(".gz"):
            with gzip.open(BytesIO(read(path, MAX_FILE_BYTES))) as packed:
                data = packed.read(MAX_FILE_BYTES + 1)
        else:
            data = read(path, MAX_FILE_BYTES)
    except FileNotFoundError:
        raise
    except (OSError, EOFError) as error:
        unread = t("{file} of run {run} cannot be read: {why}.", file=name, run=meta.run, why=error)
        raise ReportError(unread, hint=t("Run it again.")) from error
    if hashlib.sha256(data).hexdigest() != meta.files[name]:
        changed = t("{file} of run {run} was changed after it was saved.", file=name, run=meta.run)
        raise ReportError(changed, hint=t("Run it again."))
    return data


def stored(run_dir: Path, name: str) -> Path | None:
    """Where a file of a run is, packed or not; None when it is not there."""
    for path in (run_dir / name, run_dir / f"{name}.gz"):
        if path.is_file() and not path.is_symlink():
            return path
    return None


def scan(directory: Path) -> list[Path]:
    """The folders of finished runs, oldest first; anything without a valid meta.json is passed over."""
    finished = []
    for path in folders(directory):
        with suppress(ReportNotFound):
            read_meta(path)
            finished.append(path)
    return finished


def folders(directory: Path) -> list[Path]:
    """Every folder that has a run id, oldest first; unlike `scan` it opens none of them."""
    try:
        names = sorted(name for name in os.listdir(directory / "runs") if RUN_ID.fullmatch(name))  # noqa: PTH208
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        refuse(error, directory)
    return [directory / "runs" / name for name in names]


def find(settings: Settings, systems: Systems, run_id: str) -> Path:
    """The folder of a finished run. Raises ReportNotFound, also for anything that is not a run id."""
    if not RUN_ID.fullmatch(run_id):
        raise ReportNotFound(t("That is no run id."), hint=t("Ids look like 20240229T140532Z-1a2b3c."))
    for directory in dict.fromkeys(report_dir(settings, system) for system in systems.by_id.values()):
        path = directory / "runs" / run_id
        if (path / META).is_file():
            read_meta(path)
            return path
    no_report = t("No report of run {run}.", run=run_id)
    raise ReportNotFound(no_report, hint=t("It may have been deleted to keep the disk bounded."))


def size_of(folder: Path) -> int | None:
    """Bytes of the files directly in `folder`; None when it cannot be listed."""
    try:
        with os.scandir(folder) as entries:
            return sum(entry.stat(follow_symlinks=False).st_size for entry in entries if not entry.is_dir())
    except OSError:
        return None
