"""What the index of runs keeps of a run's directory: the figures of its comparison, and how large it is."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from app.base.text import finite
from app.errors import VigieError
from app.runs.run import MAX_WHOLE, Run
from app.runs.source import columns_of

if TYPE_CHECKING:
    from app.drift.result import Result

LOG = logging.getLogger("vigie.jobs")
RESULT: Final = "result.json"
# The kinds whose result.json is a comparison; that of a load run is something else.
COMPARED: Final = frozenset({"drift", "imported"})


def summary(folder: Path, kind: str) -> dict[str, Any]:
    """Values for the summary columns of the run kept in `folder`. What cannot be read stays out: it is unknown."""
    found: dict[str, Any] = {"bytes": size(folder)}
    if kind in COMPARED and any((folder / name).is_file() for name in (RESULT, f"{RESULT}.gz")):
        try:
            found |= figures(result_of(folder))
        except VigieError as error:
            LOG.warning("%s: %s", folder.name, error.text)
    return found


def sent(folder: Path, cause: str) -> tuple[str, str, str] | None:
    """(state, outcome, reason) of a load run whose process ended without a word; None when nothing is known of it.

    Its result is written while it sends: one that is whole is its end, one that was cut says how far it came.
    """
    from app.load import result as load_result
    from app.load.worker import COMPLETE, LIMIT

    try:
        found = load_result.read(folder)
    except VigieError:
        return None
    if found.cut or found.cancelled:
        return "interrupted", "", f"{found.sentence} {cause[:1].upper()}{cause[1:]}."
    return "done", LIMIT if found.stopped_by else COMPLETE, found.sentence


def lacking(run: Run) -> bool:
    """Whether the row of a done run lacks its summary: it was written by an older version, or could not be read."""
    return run.bytes is None or not run.source_kind or (run.kind in COMPARED and run.counted is None)


def result_of(folder: Path) -> Result:
    """The comparison of a run, checked against its hash. Raises ReportError."""
    from app.drift.result import Result
    from app.runs import reports

    return Result.from_json(reports.read_file(folder, RESULT))


def figures(result: Result) -> Mapping[str, Any]:
    """The summary columns of a comparison; a value that is no number of sensible size is unknown."""
    return {
        "ref": str(result.ref.key),
        "cur": str(result.cur.key),
        "rows_ref": _whole(result.ref.rows),
        "rows_cur": _whole(result.cur.rows),
        "share": finite(result.share),
        "threshold": finite(result.policy.threshold),
        "drifted": _whole(result.k),
        "counted": _whole(result.n),
        "target_drift": finite(result.target_drift.value),
        "own": result.own if isinstance(result.own, bool) else None,
        **({} if result.source is None else columns_of(result.source)),
    }


def size(folder: Path) -> int | None:
    """Bytes of the files directly in `folder`; None when it cannot be listed."""
    try:
        with os.scandir(folder) as entries:
            return sum(entry.stat(follow_symlinks=False).st_size for entry in entries if not entry.is_dir())
    except OSError:
        return None


def _whole(value: object) -> int | None:
    number = finite(value) if not isinstance(value, int) or abs(value) <= MAX_WHOLE else None
    return int(number) if number is not None and abs(number) <= MAX_WHOLE else None
