"""Charts: a panel's queries as one answer, that answer as a Plotly figure and as one sentence. Pure, no Streamlit."""

from app.charts.figure import Mark, figure
from app.charts.panel import Context, ask, title
from app.charts.sentence import sentence

__all__ = [
    "Context",
    "Mark",
    "ask",
    "figure",
    "sentence",
    "title",
]
