"""Targets: what Prometheus scrapes, down first, each with the reason as text and what to do."""

from __future__ import annotations

import streamlit as st

from app.ui import cache, exports, picked, targets, widgets
from app.verdict import targets_badge
from app.words.explain import WHY_SERVICE_NAME
from app.words.message import t
from app.words.shared import PROMETHEUS_SILENT

# Prometheus scrapes every 2 s in the embedded stack; a state is never shown older than this.
REFRESH_SECONDS = 2
# Thirty scrapes of the embedded stack, and enough to say since when a target is down.
HISTORY_SECONDS = 600

system = picked.system()


@st.fragment(run_every=REFRESH_SECONDS)
@widgets.guarded
def draw() -> None:
    """Cards, again every two seconds."""
    scraped, error = cache.targets(system.id)
    if error is not None:
        widgets.head(t("Targets"), [(t(PROMETHEUS_SILENT), "bad")])
        targets.without_prometheus(system, error)
        return
    widgets.head(t("Targets"), [targets_badge(scraped)])
    if not scraped:
        widgets.empty(t("Prometheus answers, but scrapes nothing."), t("Add a job to its configuration and reload it."))
    history = cache.up_history(system.id, HISTORY_SECONDS)
    for number, target in enumerate(targets.ordered(scraped)):
        targets.card(target, number, history)
    targets.expected_but_unknown(system, scraped)


draw()
with st.expander(t("Why api:8000 and not localhost:8000")):
    st.markdown(t(WHY_SERVICE_NAME))
exports.rules_section(system)
widgets.ready("targets")
