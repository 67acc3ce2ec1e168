"""Deleting a run whole, and making a report from elsewhere a run of the library."""

from __future__ import annotations

import hashlib
import logging
import math
import re
import shutil
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from app import report_html, reports
from app.base.text import one_line
from app.config import Settings, System, Systems, load_systems
from app.config.system import DEFAULT_THRESHOLD
from app.errors import AlreadyImported, ReportError, ReportNotFound, VigieError
from app.jobs import recover
from app.jobs.progress import read_progress
from app.jobs.runs import KeyHeld, Request, held, opened
from app.ledger import Ledger, Run

LOG = logging.getLogger("vigie.library")
# Evidently's JSON has 2 KB a column; parsed it takes twenty times its size.
MAX_JSON_BYTES: Final = 8_000_000
# A label in a table, not a document.
MAX_NAME: Final = 120
# The markup that makes a file HTML stands at its beginning, after comments at most.
HTML_HEAD_BYTES: Final = 65_536
_MARKUP: Final = re.compile(rb"<(!doctype\s+html|html|head|body)[\s>]", re.IGNORECASE)
_PAIR: Final = re.compile(r"(?:drift_)?(?P<ref>.+?)(?:_vs_| vs\.? | (?:→|->) )(?P<cur>.+?)(?:\.html?|\.json)?")
_PERIOD: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
# A day ahead of this machine's clock is another time zone; beyond that, a mistake.
CLOCK_SECONDS: Final = 86_400.0


# --- deleting --------------------------------------------------------------------------------------------------------


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
    if not reports.RUN_ID.fullmatch(run_id):
        raise ReportNotFound("That is no run id.", hint="Ids look like 20240229T140532Z-1a2b3c.")
    with opened(settings) as ledger:
        kept = _kept(settings, systems, run_id, ledger.get(run_id))
        names = _published(kept)
        with ExitStack() as undo:
            aside = []
            for folder in filter(None, (kept.report, kept.folder)):
                moved = reports.set_aside(folder)
                if moved is not None:
                    aside.append(moved)
                    undo.callback(reports.put_back, moved, folder)
            # From here on nothing lists or opens the run; a failing index puts it back.
            ledger.remove(run_id)
            undo.pop_all()
    for folder in aside:
        shutil.rmtree(folder, ignore_errors=True)
    LOG.info("%s was deleted", run_id)
    for directory, files in names.items():
        try:
            reports.republish(directory, files)
        except ReportError as error:
            message = f"Run {run_id} is deleted, but what it had published was not replaced: {error}"
            raise type(error)(message, hint=error.hint) from error


def _kept(settings: Settings, systems: Systems, run_id: str, row: Run | None) -> _Kept:
    """What there is of a run that may be deleted."""
    told = read_progress(settings, run_id)
    if (told is not None and not told.final) or (row is not None and not row.state.final and told is None):
        raise ReportError(f"Run {run_id} is still going; it cannot be deleted.", hint="Stop it first, or wait.")
    folder = settings.home / "runs" / run_id
    directories = dict.fromkeys(reports.report_dir(settings, system) for system in systems.by_id.values())
    places = [directory / "runs" / run_id for directory in directories]
    report = next((place for place in places if place.is_dir() and not place.is_symlink()), None)
    if report is None and row is not None and Path(row.path).name == run_id and Path(row.path) != folder:
        # The system file is gone, or its report directory is another one now.
        report = _valid(Path(row.path))
    if report is None and row is None and not folder.is_dir():
        raise ReportNotFound(f"There is no run {run_id}.", hint="It may have been deleted already; reload the list.")
    return _Kept(report, folder, row)


def _valid(folder: Path) -> Path | None:
    try:
        reports.read_meta(folder)
    except ReportNotFound:
        return None
    return None if folder.is_symlink() else folder


def _published(kept: _Kept) -> dict[Path, dict[str, str]]:
    """By report directory: the names this run may have published, with the hashes its files have."""
    if kept.report is None:
        return {}
    try:
        meta = reports.read_meta(kept.report)
    except ReportNotFound:
        return {}
    files = {name: sum_ for name, sum_ in meta.files.items() if name != "result.json"}
    return {kept.report.parent.parent: files} if meta.kind == "drift" else {}


# --- importing -------------------------------------------------------------------------------------------------------


def import_report(
    settings: Settings,
    system: System,
    *,
    html: bytes | None,
    json: bytes | None,
    name: str = "",
    at: float | None = None,
) -> Run:
    """Keep a report of Evidently as a run of kind "imported"; its row.

    `json` is that of 0.4, 0.7.15 or today, `html` any version's. `name` says what it is; one such as
    `drift_2024-01-31_vs_2024-02-29.html` also names the months. `at` is when it was made, epoch seconds (else now).
    Nothing is published flat and no gauge moves. Raises AlreadyImported for bytes that are there already, ReportError
    or StorageFull in words otherwise; then nothing is kept.
    """
    title = _title(name)
    created = _moment(at)
    if not html and not json:
        raise ReportError("There is nothing to import: the file is empty.", hint="Give an HTML file, a JSON, or both.")
    if html is not None:
        _check_html(html)
    if json is not None and len(json) > MAX_JSON_BYTES:
        message = f"The JSON has {len(json):,} bytes; at most {MAX_JSON_BYTES:,} are read."
        raise ReportError(message, hint="Import the HTML alone.")
    sums = ":".join(hashlib.sha256(part).hexdigest() if part is not None else "-" for part in (html, json))
    request = Request("imported", system.id, f"imported:{system.id}:{sums}", {})
    run_id = reports.new_run_id()
    files, about = _contents(system, run_id, title, html, json)
    about |= {"key": request.key, "created": repr(created)}
    try:
        with held(settings, request, run_id), opened(settings) as ledger:
            _not_there_yet(ledger, request.key)
            directory = reports.report_dir(settings, system)
            folder = reports.save(directory, run_id, "imported", files, (), about=about)
            try:
                run = recover.row_of_report(folder, system)
                ledger.add(run)
            except VigieError:
                shutil.rmtree(reports.set_aside(folder) or folder, ignore_errors=True)
                raise
    except KeyHeld as other:
        raise ReportError("This report is being imported at this moment.", hint="Reload the list.") from other
    _keep_bounded(settings)
    return run


def _contents(
    system: System, run_id: str, title: str, html: bytes | None, json: bytes | None
) -> tuple[dict[str, bytes], dict[str, str]]:
    """The files of the run, and what its row needs beside them."""
    from app.drift.imported import Names, read

    ref, cur = _months(title)
    files: dict[str, bytes] = {}
    reason = "imported from an HTML without JSON: its share and its decision are not read"
    about = {"name": title, "ref": ref, "cur": cur, "reason": f"{reason} ({title})" if title else reason}
    if html is not None:
        files[f"drift_{ref}_vs_{cur}.html"] = report_html.safe_html(html)
    if json is not None:
        own = DEFAULT_THRESHOLD if system.drift is None else system.drift.threshold
        result = read(json, Names(run_id, system.id, ref, cur, title), own)
        files |= {f"drift_{ref}_vs_{cur}.json": json, "result.json": result.to_json()}
        about |= {"reason": result.reason, "outcome": str(result.decision)}
    return files, about


def _not_there_yet(ledger: Ledger, key: str) -> None:
    for run in ledger.runs(kind="imported", key=key):
        if Path(run.path or "/nonexistent").is_dir():
            day = time.strftime("%Y-%m-%d", time.gmtime(recover.created_at(run.id)))
            message = f"This report is there already: it was imported on {day} as {run.id}."
            raise AlreadyImported(message, hint="Open that run.", run=run.id)


def _keep_bounded(settings: Settings) -> None:
    """As after every run: a failure is a line in the log, the report is kept."""
    try:
        recover.retain(settings, load_systems(settings))
    except VigieError as error:
        LOG.warning("%s", error.text)


def _check_html(html: bytes) -> None:
    """Lenient: whatever begins as HTML is a report; the console shows it in a sandbox."""
    if not html.strip():
        raise ReportError("The HTML file is empty.", hint="Save the report again and give that file.")
    if len(html) > reports.MAX_FILE_BYTES:
        message = f"The HTML has {len(html):,} bytes; a report may have {reports.MAX_FILE_BYTES:,}."
        raise ReportError(message, hint="Leave out columns with very many values.")
    try:
        html.decode("utf-8")
    except UnicodeDecodeError as error:
        message = f"The HTML file is not UTF-8 text (byte {error.start:,})."
        raise ReportError(message, hint="Give the file as Evidently saved it.") from error
    if b"\0" in html or not _MARKUP.search(html[:HTML_HEAD_BYTES]):
        message = "This file is not HTML: there is no <html>, <head> or <body> at its beginning."
        raise ReportError(message, hint="Give the HTML that Evidently saved.")


def _title(name: str) -> str:
    """The name on one line, without control characters, as the database can keep it."""
    return one_line(name.encode("utf-8", "replace").decode())[:MAX_NAME].strip()


def _moment(at: float | None) -> float:
    now = time.time()
    if at is None:
        return now
    if not math.isfinite(at) or not 0 <= at <= now + CLOCK_SECONDS:
        raise ReportError("The date of the report is not between 1970 and today.", hint="Leave it empty for today.")
    return float(at)


def _months(title: str) -> tuple[str, str]:
    """The two period keys that a name such as `drift_2024-01-31_vs_2024-02-29.html` tells, or plain words."""
    match = _PAIR.fullmatch(title)
    if match and _PERIOD.fullmatch(match["ref"]) and _PERIOD.fullmatch(match["cur"]):
        return match["ref"], match["cur"]
    return "reference", "current"
