"""Tries a system file live, part by part: addresses, targets, metrics, expressions, request, data.

Every part becomes a row that says OK, EMPTY (valid, nothing there yet: why), ERROR (what, where, what to do) or SKIPPED
(not tried: why). Nothing is sent to the service but GETs, unless a prediction is asked for.
"""

from __future__ import annotations

from app.check.expressions import expressions, watch
from app.check.hooks import rows as hook_rows
from app.check.parts import data, request_row
from app.check.rows import Outcome, Report, Row
from app.check.service import api_address, raw, service
from app.config import Settings, System

__all__ = ["Outcome", "Report", "Row", "check"]


def check(settings: Settings, system: System, *, send: bool = False) -> Report:
    """Try every part of a system. Raises nothing a part could say; with `send` one real prediction is sent."""
    where = api_address(settings, system)
    rows = [*service(settings, system, where)]
    samples, descriptions, metric_rows = raw(settings, system, where)
    watched, target_rows = watch(settings, system, samples, descriptions)
    rows += target_rows
    rows += metric_rows
    rows += expressions(system, watched)
    rows += request_row(settings, system, where, send=send)
    rows += data(settings, system, watched)
    rows += hook_rows(settings, system)
    return Report(system.id, tuple(rows))
