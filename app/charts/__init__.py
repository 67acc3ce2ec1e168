"""Charts: a panel's queries as one answer, that answer as a Plotly figure and as one sentence. Pure, no Streamlit."""

from app.charts.figure import Mark, figure
from app.charts.panel import Context, ask, title
from app.charts.sentence import sentence
from app.charts.units import Clock, format_duration, format_time, format_value

__all__ = [
    "Clock",
    "Context",
    "Mark",
    "ask",
    "figure",
    "format_duration",
    "format_time",
    "format_value",
    "sentence",
    "title",
]
