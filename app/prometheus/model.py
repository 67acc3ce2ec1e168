"""What a query brings: series as columns, and a state that tells empty, partial and failed apart."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

import numpy as np
import numpy.typing as npt

from app.errors import VigieError

Column = npt.NDArray[np.float64]


class State(StrEnum):
    """OK; EMPTY: valid, but no number to show; PARTIAL: shown, something is missing; STALE: an older answer; ERROR."""

    OK = "OK"
    EMPTY = "EMPTY"
    PARTIAL = "PARTIAL"
    STALE = "STALE"
    ERROR = "ERROR"


@dataclass(frozen=True, slots=True, eq=False)
class Series:
    """One series: `times` in seconds since the epoch, `values` of equal length; `name` is its legend.

    `query` is the expression that a panel asked for it, its placeholders filled.
    """

    labels: Mapping[str, str]
    times: Column
    values: Column
    name: str = ""
    query: str = ""

    @property
    def newest(self) -> tuple[float, float]:
        """(time, value) of the newest sample, finite or not; NaN for both where there is none."""
        return (float(self.times[-1]), float(self.values[-1])) if self.times.size else (np.nan, np.nan)

    @property
    def last(self) -> tuple[float, float] | None:
        """(time, value) of the newest sample that is a finite number."""
        good = np.flatnonzero(np.isfinite(self.values))
        return (float(self.times[good[-1]]), float(self.values[good[-1]])) if good.size else None


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """The answer to one expression or panel.

    `reason` and `hint` say why it is EMPTY, PARTIAL or ERROR; `total_series` is how many matched, also where fewer are
    in `series`; `text` is the value of a string expression; `error` is what failed; `seconds` is the waiting time;
    `idle` says that it is EMPTY because there was no traffic.
    """

    state: State
    series: tuple[Series, ...] = ()
    warnings: tuple[str, ...] = ()
    infos: tuple[str, ...] = ()
    reason: str = ""
    hint: str = ""
    seconds: float = 0.0
    total_series: int = 0
    kind: str = ""
    text: str = ""
    idle: bool = False
    error: VigieError | None = field(default=None, repr=False)

    @classmethod
    def failed(cls, error: VigieError, seconds: float = 0.0) -> Answer:
        """The ERROR state of `error`."""
        return cls(State.ERROR, reason=error.message, hint=error.hint, seconds=seconds, error=error)

    def checked(self) -> Answer:
        """Itself; raises the error of an ERROR answer."""
        if self.error is not None:
            raise self.error
        return self

    @property
    def value(self) -> float | None:
        """The newest finite value when there is exactly one series; None otherwise (unknown, never 0)."""
        last = self.series[0].last if len(self.series) == 1 else None
        return last[1] if last else None

    def stale(self, reason: str, hint: str = "") -> Answer:
        """The same values as the last good answer, with why there is no newer one."""
        return replace(self, state=State.STALE, reason=reason, hint=hint)


@dataclass(frozen=True, slots=True)
class Metadata:
    """What a metric is: `type` counter, gauge, histogram …, `help` in the service's words, `unit` (often empty)."""

    type: str
    help: str
    unit: str


@dataclass(frozen=True, slots=True)
class AlertNow:
    """An alert as Prometheus holds it now: `state` pending or firing, `since` in epoch seconds."""

    name: str
    state: str
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    since: float | None
    value: float | None


@dataclass(frozen=True, slots=True)
class Rule:
    """An alerting or recording rule as Prometheus runs it; `for_seconds` and `seconds` (evaluation) in seconds."""

    group: str
    name: str
    kind: str
    expr: str
    state: str
    for_seconds: float
    health: str
    last_error: str
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    evaluated: float | None
    seconds: float | None
    alerts: tuple[AlertNow, ...]
