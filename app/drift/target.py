"""Target drift: how far the label rate moved between two periods."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from app.drift.normalise import plain
from app.drift.result import Target

if TYPE_CHECKING:
    from app.periods.loading import Frame


def measure(reference: Frame, current: Frame, label: str | None) -> Target:
    """|rate(current) - rate(reference)| of a yes/no label, or the reason why there is none."""
    if not label:
        return Target(reason="the system file names no label.")
    reasons = [frame.label_reason for frame in (reference, current) if frame.label_reason]
    if reasons:
        return Target(reason=f"{'; '.join(dict.fromkeys(reasons))}.")
    rates = []
    for frame in (reference, current):
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
        words = (
            present.astype(str).str.strip().str.lower().map({"true": 1, "yes": 1, "1": 1, "false": 0, "no": 0, "0": 0})
        )
        if words.notna().all():
            return float(words.astype(int).mean())
    return None
