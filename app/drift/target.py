"""Target drift: how far the label rate moved between two periods."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pandas as pd

from app.drift.normalise import plain
from app.drift.result import Target
from app.words.message import clauses, t, tn

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
        return Target(reason=t("{why:clause}.", why=reference.label_reason or t("the system file names no label")))
    reasons = [frame.label_reason for frame in (reference, current) if frame.label_reason]
    if reasons:
        return Target(reason=t("{why:clause}.", why=clauses(dict.fromkeys(reasons))))
    rates = []
    for frame in (reference, current):
        if frame.labelled is not None and frame.labelled < min_rows:
            few = tn(
                "only {n:count} row of {month} has a label; at least {least} are needed (min_rows).",
                "only {n:count} rows of {month} have a label; at least {least} are needed (min_rows).",
                frame.labelled,
                month=frame.key,
                least=min_rows,
            )
            return Target(reason=few)
        rate = _rate(frame.data[label])
        if rate is None:
            unlike = {"label": label, "month": frame.key}
            return Target(
                reason=t("{label} is not a yes/no value in {month}; its value drift is among the columns.", **unlike)
            )
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
