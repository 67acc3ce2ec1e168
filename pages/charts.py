"""Charts: the system's panels on one time axis with its load and drift runs, and an explorer for any expression."""

from __future__ import annotations

import streamlit as st

from app.ui import cache, charts, explorer, picked, widgets
from app.words.explain import DETECTS, HISTOGRAM_AGAINST_MEAN, RATE_ZERO
from app.words.shared import PROMETHEUS_SILENT

system = picked.system()

widgets.head("Charts")
view = charts.controls()
names = charts.tabs(system)
tab = st.segmented_control("Tab", names, key="tab", default=names[0], required=True, label_visibility="collapsed")


@st.fragment(run_every=view.refresh)
@widgets.guarded
def draw() -> None:
    """All panels of the tab, again at every refresh."""
    charts.grid(system, charts.of_tab(system, str(tab)), view)
    widgets.ready("charts-panels")


if tab == charts.EXPLORER:
    explorer.draw(system, view)
else:
    problem = cache.connection(system.id).error
    if problem is not None:
        widgets.problem(problem, title=f"{PROMETHEUS_SILENT}.")
    draw()
    with st.expander("How to read these charts"):
        st.markdown(f"{RATE_ZERO}\n\n{HISTOGRAM_AGAINST_MEAN}\n\n{DETECTS}")
widgets.ready("charts")
