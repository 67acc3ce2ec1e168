"""Months and windows of data: `listing` is light enough for a page, `loading` is for workers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from app.config import Settings, System
from app.periods.listing import Period, entity_ids, list_periods, pick

if TYPE_CHECKING:
    from app.periods.loading import Frame

__all__ = ["Period", "entity_ids", "list_periods", "load", "pick"]


def load(settings: Settings, system: System, period: Period) -> Frame:
    """All rows of one period with features and labels. Heavy (Feast, pandas): for workers alone."""
    from app.periods.loading import load as load_frame

    return load_frame(settings, system, period)
