"""A report made elsewhere becomes a run of the library."""

from __future__ import annotations

import hashlib
import math
import re
import shutil
import time
from json import dumps
from pathlib import Path
from typing import Final

from app.base.text import one_line
from app.config import Settings, System
from app.config.drift import DEFAULT_THRESHOLD, PERIOD_KEY
from app.errors import AlreadyImported, ReportError, VigieError
from app.runs import keep, reports, rescan
from app.runs.html import safe_html
from app.runs.index import Ledger
from app.runs.locks import KeyHeld, Request, held
from app.runs.opening import opened
from app.runs.run import Run, created_at, new_run_id
from app.words.message import code_of, english, t

# Evidently's JSON has 2 KB a column; parsed it takes twenty times its size.
MAX_JSON_BYTES: Final = 8_000_000
# A label in a table, not a document.
MAX_NAME: Final = 120
# The markup that makes a file HTML is at its beginning, after comments at most.
HTML_HEAD_BYTES: Final = 65_536
_MARKUP: Final = re.compile(rb"<(!doctype\s+html|html|head|body)[\s>]", re.IGNORECASE)
_PAIR: Final = re.compile(r"(?:drift_)?(?P<ref>.+?)(?:_vs_| vs\.? | (?:→|->) )(?P<cur>.+?)(?:\.html?|\.json)?")
# A day ahead of this machine's clock is another time zone; beyond that, a mistake.
CLOCK_SECONDS: Final = 86_400.0


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
    or StorageFull otherwise; then nothing is kept.
    """
    title = _title(name)
    created = _moment(at)
    if not html and not json:
        nothing = t("There is nothing to import: the file is empty.")
        raise ReportError(nothing, hint=t("Give an HTML file, a JSON, or both."))
    if html is not None:
        _check_html(html)
    if json is not None and len(json) > MAX_JSON_BYTES:
        sizes = {"size": len(json), "most": MAX_JSON_BYTES}
        message = t("The JSON has {size:count} bytes; at most {most:count} are read.", **sizes)
        raise ReportError(message, hint=t("Import the HTML alone."))
    sums = ":".join(hashlib.sha256(part).hexdigest() if part is not None else "-" for part in (html, json))
    request = Request("imported", system.id, f"imported:{system.id}:{sums}", {})
    run_id = new_run_id()
    files, about = _contents(system, run_id, title, html, json)
    about |= {"key": request.key, "created": repr(created)}
    try:
        with held(settings, request, run_id), opened(settings) as ledger:
            _not_there_yet(ledger, request.key)
            directory = reports.report_dir(settings, system)
            folder = reports.save(directory, run_id, "imported", files, (), about=about)
            try:
                run = rescan.row_of_report(folder, system)
                ledger.list_kept(run)
            except VigieError:
                shutil.rmtree(keep.set_aside(folder) or folder, ignore_errors=True)
                raise
    except KeyHeld as other:
        raise ReportError(t("This report is being imported at this moment."), hint=t("Reload the list.")) from other
    keep.bound(settings)
    return run


def _contents(
    system: System, run_id: str, title: str, html: bytes | None, json: bytes | None
) -> tuple[dict[str, bytes], dict[str, str]]:
    """The files of the run, and what its row needs next to them."""
    from app.drift.imported import Names, read

    ref, cur = _months(title)
    files: dict[str, bytes] = {}
    reason: str = t("imported from an HTML without JSON: its share and its decision are not read")
    reason = t("{reason} ({name})", reason=reason, name=title) if title else reason
    about = {"name": title, "ref": ref, "cur": cur}
    if html is not None:
        files[f"drift_{ref}_vs_{cur}.html"] = safe_html(html)
    if json is not None:
        own = DEFAULT_THRESHOLD if system.drift is None else system.drift.threshold
        result = read(json, Names(run_id, system.id, ref, cur, title), own)
        files |= {f"drift_{ref}_vs_{cur}.json": json, "result.json": result.to_json()}
        about |= {"outcome": str(result.decision)}
        reason = result.reason
    about |= {"reason": english(reason), "reason_code": dumps(code_of(reason))}
    return files, about


def _not_there_yet(ledger: Ledger, key: str) -> None:
    for run in ledger.runs(kind="imported", key=key):
        if Path(run.path or "/nonexistent").is_dir():
            day = time.strftime("%Y-%m-%d", time.gmtime(created_at(run.id)))
            message = t("This report is there already: it was imported on {day} as {run}.", day=day, run=run.id)
            raise AlreadyImported(message, hint=t("Open that run."), run=run.id)


def _check_html(html: bytes) -> None:
    """Lenient: anything that begins as HTML is a report; the console shows it in a sandbox."""
    if not html.strip():
        raise ReportError(t("The HTML file is empty."), hint=t("Save the report again and give that file."))
    if len(html) > reports.MAX_FILE_BYTES:
        sizes = {"size": len(html), "most": reports.MAX_FILE_BYTES}
        message = t("The HTML has {size:count} bytes; a report may have {most:count}.", **sizes)
        raise ReportError(message, hint=t("Leave out columns with very many values."))
    try:
        html.decode("utf-8")
    except UnicodeDecodeError as error:
        message = t("The HTML file is not UTF-8 text (byte {start:count}).", start=error.start)
        raise ReportError(message, hint=t("Give the file as Evidently saved it.")) from error
    if b"\0" in html or not _MARKUP.search(html[:HTML_HEAD_BYTES]):
        message = t("This file is not HTML: there is no <html>, <head> or <body> at its beginning.")
        raise ReportError(message, hint=t("Give the HTML that Evidently saved."))


def _title(name: str) -> str:
    """The name on one line, without control characters, as the database can keep it."""
    return one_line(name.encode("utf-8", "replace").decode())[:MAX_NAME].strip()


def _moment(at: float | None) -> float:
    now = time.time()
    if at is None:
        return now
    if not math.isfinite(at) or not 0 <= at <= now + CLOCK_SECONDS:
        message = t("The date of the report is not between 1970 and today.")
        raise ReportError(message, hint=t("Leave it empty for today."))
    return float(at)


def _months(title: str) -> tuple[str, str]:
    """The two period keys that a name such as `drift_2024-01-31_vs_2024-02-29.html` tells, or plain words."""
    match = _PAIR.fullmatch(title)
    if match and PERIOD_KEY.fullmatch(match["ref"]) and PERIOD_KEY.fullmatch(match["cur"]):
        return match["ref"], match["cur"]
    return "reference", "current"
