"""Charts: the system's panels on one time axis with its load and drift runs, and an explorer for any expression."""

from __future__ import annotations

import streamlit as st

from app.ui import cache, charts, explorer, picked, widgets
from app.words.explain import DETECTS, HISTOGRAM_AGAINST_MEAN, RATE_ZERO
from app.words.message import t
from app.words.shared import PROMETHEUS_SILENT

system = picked.system()

widgets.head(t("Charts"))
view = charts.controls()
tab = widgets.segments(t("Tab"), charts.tabs(system), key="tab", hidden=True)


@st.fragment(run_every=view.refresh)
@widgets.guarded
def draw() -> None:
    """All panels of the tab, again at every refresh."""
    charts.grid(system, charts.of_tab(system, tab), view)
    widgets.ready("charts-panels")


if tab == charts.EXPLORER:
    explorer.draw(system, view)
else:
    problem = cache.connection(system.id).error
    if problem is not None:
        widgets.problem(problem, title=f"{t(PROMETHEUS_SILENT)}.")
    draw()
    with st.expander(t("How to read these charts")):
        st.markdown("\n\n".join(t(text) for text in (RATE_ZERO, HISTOGRAM_AGAINST_MEAN, DETECTS)))
widgets.ready("charts")
