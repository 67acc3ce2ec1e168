"""Generate traffic: a preset or your own plan, live numbers, Stop, and what both sides counted."""

from __future__ import annotations

import streamlit as st

from app.ui import picked, traffic, widgets
from app.words.message import t

system = picked.system()

widgets.head(t("Generate traffic"))
if system.request is None:
    widgets.empty(
        t("This system has no request to send."), t("Add a [request] table to {system}.toml.", system=system.id)
    )
    widgets.ready("traffic")
    st.stop()

running = traffic.running(system)
st.markdown(traffic.target_line(system))
plan_args = traffic.presets(system, disabled=running is not None)
own_args = traffic.own_plan(system, disabled=running is not None)
chosen = plan_args or own_args
if chosen is not None:
    traffic.start(system, chosen)
traffic.background_switch(system)
traffic.follow(system, st.query_params.get("run"))
traffic.earlier(system)
widgets.ready("traffic")
