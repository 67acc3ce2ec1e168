"""A system that measures its own drift: its gauge against the threshold, decided on without Evidently.

Nothing is stored: the gauge's history lives in Prometheus, and every look asks for its value now.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

from app.base.text import one_line
from app.config import Gauge, System
from app.drift.result import Verdict
from app.errors import DataError
from app.prometheus import Answer, Prometheus, State
from app.prometheus.promql import fill
from app.words.numbers import number

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


def look(prometheus: Prometheus, system: System, threshold: float | None = None) -> Look:
    """Ask for the gauge and decide. Raises DataError for a system without one; a failed query is a reason."""
    drift = system.drift
    if not isinstance(drift, Gauge):
        message = f"{system.title} has no drift gauge."
        raise DataError(message, hint='Set source = "gauge" and expr under [drift] in its system file.')
    limit = drift.threshold if threshold is None else threshold
    seen = judge(system.id, _ask(prometheus, system, drift.expr), limit)
    if seen.value is not None or drift.needs is None or drift.has is None:
        return seen
    count = _ask(prometheus, system, drift.has).value
    if count is None or count >= drift.needs:
        return seen
    reason = f"the drift gauge has no value yet: the service needs {drift.needs:,} predictions, has {count:,.0f}."
    unknown = _unknown(system.id, limit, reason)
    return replace(unknown, missing=math.ceil(drift.needs - count))


def _ask(prometheus: Prometheus, system: System, expr: str) -> Answer:
    return prometheus.query(fill(expr, selector=system.prometheus.selector, window=WINDOW))


def _unknown(system_id: str, threshold: float, reason: str) -> Look:
    line = f"[Evidently] report_html=- report_json=- drift_share=NaN -> {Verdict.UNDECIDED} {reason}"
    return Look(system_id, None, threshold, Verdict.UNDECIDED, reason, line)


def judge(system_id: str, answer: Answer, threshold: float) -> Look:
    """The decision on an answer: `>=` triggers; no single number leaves it open."""
    value = answer.value if answer.state in (State.OK, State.PARTIAL) else None
    if value is None:
        many = len(answer.series) > 1
        why = f"the expression has {len(answer.series)} series, one is needed" if many else answer.reason
        reason = one_line(f"the drift gauge has no value: {why or 'nothing was answered'}. {answer.hint}").rstrip()
        return _unknown(system_id, threshold, reason)
    triggered = value >= threshold
    verdict = Verdict.RETRAINING_TRIGGERED if triggered else Verdict.NO_ACTION
    simulated, sign = (" (SIMULÉ)", ">=") if triggered else ("", "<")
    words = f"{verdict}{simulated} drift_share={value:.2f} {sign} {threshold:.2f} (target_drift=NaN)"
    line = f"[Evidently] report_html=- report_json=- drift_share={value:.2f} -> {words}"
    reason = f"the drift gauge is {number(value)}, {'at or above' if triggered else 'below'} {number(threshold)}."
    return Look(system_id, value, threshold, verdict, reason, line)
