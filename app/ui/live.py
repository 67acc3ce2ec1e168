"""A run that goes on: its progress, looked at again and again, and the button that ends it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Literal

import streamlit as st

from app import jobs
from app.runs.run import Run
from app.ui import cache, widgets
from app.ui.access import act
from app.ui.picked import until_listed

# Live numbers are worth reading four times a second at most; twice is calm, and a stage of a comparison lasts a second.
LOOK_EVERY = 0.5


def live(
    run: Run,
    draw: Callable[[jobs.Progress, float], None],
    *,
    key: str,
    end: str,
    kind: Literal["primary", "secondary"] = "secondary",
) -> None:
    """`draw` gets the progress and for how many seconds the run goes on; `end` is the label of the button."""

    @st.fragment(run_every=LOOK_EVERY)
    @widgets.guarded
    def look() -> None:
        progress = jobs.read_progress(cache.settings(), run.id)
        if progress is None or progress.final:
            until_listed(run, progress)
            return
        with st.container(border=True, key=key):
            draw(progress, max(0.0, time.time() - (progress.started or progress.created)))
            if st.button(end, icon=":material/stop_circle:", key=f"end-{key}", type=kind):
                act(jobs.cancel, cache.settings(), run.id)

    look()
