"""Lab: the exercises of a course with their proofs, what is missing of each, and the report to hand in."""

from __future__ import annotations

import streamlit as st

from app.ui import lab, picked, widgets, write_reports
from app.words.message import t

# Traffic and comparisons take seconds to be seen by everything that a proof asks.
REFRESH_SECONDS = 5

system = picked.system()


@st.fragment(run_every=REFRESH_SECONDS)
@widgets.guarded
def draw() -> None:
    """The whole page, again every five seconds."""
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium", key="controls"):
        title = st.container(width="stretch")
        seconds = lab.span()
        write_reports.lab_button(system, seconds)
    exercises = lab.look(system, seconds)
    with title:
        widgets.head(t("Lab"), [lab.badge(exercises)])
    write_reports.newest_lab(system)
    lab.draw(exercises)
    widgets.ready("lab-proofs")


draw()
widgets.ready("lab")
