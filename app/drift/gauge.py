"""A system that measures its own drift: its gauge against the threshold, decided on without Evidently.

Nothing is stored: the gauge's history lives in Prometheus, and every look asks for its value now.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

from app.config import Gauge, System
from app.drift.result import Verdict
from app.errors import DataError
from app.prometheus import Answer, Prometheus, State
from app.prometheus.promql import fill
from app.words.message import english, on_one_line, sentences, t

# A gauge has no separate window; expressions that name one get the one minute of the charts.
WINDOW: Final = 60.0


@dataclass(frozen=True, slots=True)
class Look:
    """The gauge at one moment: `value` None is unknown and `reason` says why; `line` as contracts.md prints it.

    `missing` is how many predictions the service still needs for a value; None where that is not the reason.
    """

    system: str
    value: float | None
    threshold: float
    decision: Verdict
    reason: str
    line: str
    missing: int | None = None

    def to_dict(self) -> dict[str, Any]:
        """For `--json`; null for unknown."""
        return asdict(self)


def look(prometheus: Prometheus, system: System, threshold: float | None = None, at: float | None = None) -> Look:
    """Ask for the gauge `at` a moment (None is now) and decide; a failed query is a reason.

    Raises DataError for a system without one.
    """
    drift = system.drift
    if not isinstance(drift, Gauge):
        message = t("{system} has no drift gauge.", system=t(system.title))
        raise DataError(message, hint=t('Set source = "gauge" and expr under [drift] in its system file.'))
    limit = drift.threshold if threshold is None else threshold
    seen = judge(system.id, prometheus.query(expression(system, drift.expr), at), limit)
    if seen.value is not None or drift.needs is None or drift.has is None:
        return seen
    count = prometheus.query(expression(system, drift.has), at).value
    if count is None or count >= drift.needs:
        return seen
    reason = t(
        "the drift gauge has no value yet: the service needs {needs:count} predictions, has {n:count}.",
        needs=drift.needs,
        n=count,
    )
    unknown = _unknown(system.id, limit, reason)
    return replace(unknown, missing=math.ceil(drift.needs - count))


def expression(system: System, expr: str) -> str:
    """An expression of `[drift]` with its placeholders filled."""
    return fill(expr, selector=system.prometheus.selector, window=WINDOW)


def _unknown(system_id: str, threshold: float, reason: str) -> Look:
    # no catalogue: the line of a drift run
    line = f"[Evidently] report_html=- report_json=- drift_share=NaN -> {Verdict.UNDECIDED} {english(reason)}"
    return Look(system_id, None, threshold, Verdict.UNDECIDED, reason, line)


def judge(system_id: str, answer: Answer, threshold: float) -> Look:
    """The decision on an answer: `>=` triggers; no single number leaves it open."""
    value = answer.value if answer.state in (State.OK, State.PARTIAL) else None
    if value is None:
        many = len(answer.series) > 1
        series = len(answer.series)
        why = t("the expression has {n} series, one is needed", n=series) if many else answer.reason
        empty = t("the drift gauge has no value: {why}.", why=why or t("nothing was answered"))
        reason = on_one_line(sentences([empty, answer.hint]))
        return _unknown(system_id, threshold, reason)
    triggered = value >= threshold
    verdict = Verdict.RETRAINING_TRIGGERED if triggered else Verdict.NO_ACTION
    simulated, sign = (" (SIMULÉ)", ">=") if triggered else ("", "<")
    # no catalogue: as above
    words = f"{verdict}{simulated} drift_share={value:.2f} {sign} {threshold:.2f} (target_drift=NaN)"
    line = f"[Evidently] report_html=- report_json=- drift_share={value:.2f} -> {words}"  # no catalogue: as above
    values = {"value": value, "threshold": threshold}
    if triggered:
        reason = t("the drift gauge is {value:number}, at or above {threshold:number}.", **values)
    else:
        reason = t("the drift gauge is {value:number}, below {threshold:number}.", **values)
    return Look(system_id, value, threshold, verdict, reason, line)
