"""Prometheus: client, answers as columns, targets, PromQL text. No Streamlit, no pandas."""

from app.prometheus.client import Prometheus, connect
from app.prometheus.model import AlertNow, Answer, Metadata, Rule, Series, State
from app.prometheus.promql import TimeRange
from app.prometheus.targets import Target

__all__ = ["AlertNow", "Answer", "Metadata", "Prometheus", "Rule", "Series", "State", "Target", "TimeRange", "connect"]
