"""The periods of a system from any source: listed for a page in milliseconds, loaded for a worker."""

from __future__ import annotations

from typing import Final

from app.config import Settings, System
from app.errors import DataError, UnknownPeriod
from app.periods.model import Frame, Period, PeriodSource, pick
from app.words.message import t

# Bound on the identifiers handed to the load generator.
MAX_IDS: Final = 100_000


def list_periods(settings: Settings, system: System, *, labels: bool = True) -> list[Period]:
    """The periods of a system in order of date; none for a gauge. Raises SourceUnavailable or DataError.

    `labels` False skips counting rows with a label, for callers that only look up a key.
    """
    return system.drift.list_periods(settings, labels=labels) if isinstance(system.drift, PeriodSource) else []


def entity_ids(settings: Settings, system: System, period_key: str | None, limit: int) -> list[str]:
    """Identifiers of one period (of the newest without a key), at most `limit`, in stable order."""
    drift = system.drift
    if drift is None or not drift.identifier:
        hint = t("Set drift.identifier in its system file.")
        raise DataError(t("{system} names no identifier.", system=t(system.title)), hint=hint)
    if not isinstance(drift, PeriodSource):
        raise DataError(
            t("{system} measures drift as a gauge: it has no rows.", system=t(system.title)),
            hint=t("Use from = 'list' or 'range'."),
        )
    periods = drift.list_periods(settings, labels=False)
    period = periods[-1] if period_key is None and periods else pick(periods, period_key or "")
    return drift.list_ids(settings, period, max(0, min(limit, MAX_IDS)))


def load(settings: Settings, system: System, period: Period) -> Frame:
    """All rows of one period with features and labels. Heavy (Feast, pandas): for workers alone.

    Raises UnknownPeriod for a month without rows; SourceUnavailable says what failed.
    """
    if not isinstance(system.drift, PeriodSource):
        raise DataError(
            t(
                "{system} measures its drift itself, as a gauge: there are no months to compare.",
                system=t(system.title),
            ),
            hint=t("Look at the gauge on the Charts page."),
        )
    frame = system.drift.load(settings, period)
    if not frame.rows:
        hint = t("Choose another month, or load its data.")
        raise UnknownPeriod(t("{month} has no rows.", month=period.called), hint=hint)
    return frame
