"""Months and windows of data: one file a source (`feast`, `sql`, `files`), read through `catalogue`."""

from app.periods.catalogue import entity_ids, list_periods, load
from app.periods.model import Frame, Period, PeriodSource, labelled, pick

__all__ = ["Frame", "Period", "PeriodSource", "entity_ids", "labelled", "list_periods", "load", "pick"]
