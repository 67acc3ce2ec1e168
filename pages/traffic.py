"""Generate traffic: a preset or a plan of one's own, live numbers, Stop, and what both sides counted."""

from __future__ import annotations

import streamlit as st

from app.ui import load_run, widgets

system = widgets.system()

widgets.head("Generate traffic")
if system.request is None:
    widgets.empty("This system has no request to send.", f"Add a [request] table to {system.id}.toml.")
    widgets.ready("traffic")
    st.stop()

running = load_run.running(system)
st.markdown(load_run.target_line(system))
plan_args = load_run.presets(system, disabled=running is not None)
own_args = load_run.own_plan(system, disabled=running is not None)
chosen = plan_args or own_args
if chosen is not None:
    load_run.start(system, chosen)
load_run.background_switch(system)
load_run.follow(system, st.query_params.get("run"))
load_run.earlier(system)
widgets.ready("traffic")
