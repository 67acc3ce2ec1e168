"""Overview: what runs, how it behaves now, the latest traffic and the latest decision, and the first steps."""

from __future__ import annotations

import streamlit as st

from app import verdict
from app.ui import overview, picked, starting, story, widgets
from app.words.message import t

# Calm enough to read, quick enough to see traffic arrive.
REFRESH_SECONDS = 5

system = picked.system()


@st.fragment(run_every=REFRESH_SECONDS)
@widgets.guarded
def draw() -> None:
    """The whole page, again every five seconds."""
    now = overview.look(system)
    widgets.head(t(system.title), verdict.badges(now))
    with st.container(key="answer"):
        st.markdown(overview.answer(now))
    begins = starting.waiting(system, now.targets)
    if begins:
        starting.draw(system)
    else:
        overview.tiles(now)
        overview.status_tiles(now)
    if not story.panel(system) and not begins:
        overview.first_steps(now)
    overview.services(now)


draw()
widgets.ready("overview")
