"""An answer, or two runs side by side, as CSV that no spreadsheet executes. Pure."""

from __future__ import annotations

import csv
import io
import math
from datetime import UTC, datetime

from app.drift.result import Column
from app.drift.sentence import method_words
from app.drift.versus import Versus
from app.prometheus import Answer

# A cell that begins with one of these is a formula to a spreadsheet.
FORMULA = ("=", "+", "-", "@", "\t", "\r")


def safe_cell(text: str) -> str:
    """Text from data as a cell that stays text."""
    return f"'{text}" if text.startswith(FORMULA) else text


def answer_csv(answer: Answer) -> bytes:
    """One row per sample: UTC time (ISO 8601), series name, one column per label, value. A gap is an empty value."""
    names = sorted({name for series in answer.series for name in series.labels})
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow(["time", "series", *(safe_cell(name) for name in names), "value"])
    for series in answer.series:
        labels = [safe_cell(series.labels.get(name, "")) for name in names]
        for at, value in zip(series.times.tolist(), series.values.tolist(), strict=True):
            moment = datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")
            number = "" if math.isnan(value) else repr(value)
            writer.writerow([moment, safe_cell(series.name), *labels, number])
    return out.getvalue().encode("utf-8", "replace")


def versus_csv(two: Versus) -> bytes:
    """One row per column of either run, numbers unrounded; what is not known is a word, never an empty cell."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    # no catalogue: programs read these columns
    facts = ("score", "threshold", "method", "drifted", "reason", "reference mean", "current mean")
    sides = [f"{side} {fact}" for side in ("first", "second") for fact in facts]
    # no catalogue: programs read these columns
    writer.writerow(["column", "change", *sides, "score second - first", "mean or share", "in words"])
    for row in two.rows:
        # no catalogue: programs read it
        moved = "not comparable" if row.score_moved is None else repr(row.score_moved)
        cells = [*_column_cells(row.a), *_column_cells(row.b)]
        texts = (safe_cell(row.moves), safe_cell(row.words))
        writer.writerow([safe_cell(row.name), row.change, *cells, moved, *texts])
    return out.getvalue().encode("utf-8", "replace")


def _column_cells(column: Column | None) -> list[str]:
    if column is None:
        return ["no such column"] * 7  # no catalogue: programs read it
    # no catalogue: programs read it
    drifted = {True: "yes", False: "no", None: "not comparable"}[column.drifted]
    method = safe_cell(method_words(column.method)) if column.method else "unknown"
    numbers = [column.score, column.threshold, column.ref.mean, column.cur.mean]
    score, threshold, before, after = ("unknown" if one is None else repr(float(one)) for one in numbers)
    return [score, threshold, method, drifted, safe_cell(column.reason) or "none", before, after]
