"""An answer as CSV that no spreadsheet executes. Pure."""

from __future__ import annotations

import csv
import io
import math
from datetime import UTC, datetime

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
