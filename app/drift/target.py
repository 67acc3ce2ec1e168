"""Target drift: how far the label rate moved between two periods."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pandas as pd

from app.drift.normalise import plain
from app.drift.result import Target

if TYPE_CHECKING:
    from app.periods import Frame


# What yes/no labels are written as, in lower case: CSV files, databases and people differ.
YES: Final = frozenset({"true", "yes", "y", "t", "1", "1.0"})
NO: Final = frozenset({"false", "no", "n", "f", "0", "0.0"})


def measure(reference: Frame, current: Frame, label: str | None, min_rows: int = 1) -> Target:
    """|rate(current) - rate(reference)| of a yes/no label, or the reason why there is none.

    With fewer than `min_rows` labels on a side a rate says nothing: one label more moves it too far.
    """
    if not label:
        return Target(reason=f"{reference.label_reason.rstrip('.') or 'the system file names no label'}.")
    reasons = [frame.label_reason for frame in (reference, current) if frame.label_reason]
    if reasons:
        return Target(reason=f"{'; '.join(dict.fromkeys(reasons))}.")
    rates = []
    for frame in (reference, current):
        if frame.labelled is not None and frame.labelled < min_rows:
            rows = f"{frame.labelled:,} {'row' if frame.labelled == 1 else 'rows'} of {frame.key}"
            return Target(reason=f"only {rows} have a label; at least {min_rows} are needed (min_rows).")
        rate = _rate(frame.data[label])
        if rate is None:
            return Target(reason=f"{label} is not a yes/no value in {frame.key}; its value drift is among the columns.")
        rates.append(rate)
    return Target(abs(rates[1] - rates[0]), rates[0], rates[1])


def _rate(values: pd.Series | pd.DataFrame) -> float | None:
    """The share of ones (True, yes) among the labels that are there; None for any other kind of label."""
    if isinstance(values, pd.DataFrame):
        return None
    side = plain(values)
    present = side.data.dropna()
    if side.kind == "number" and present.isin([0, 1]).all():
        return float(present.astype(int).mean())
    if side.kind == "category":
        words = present.astype(str).str.strip().str.lower()
        if words.isin(YES | NO).all():
            return float(words.isin(YES).mean())
    return None
