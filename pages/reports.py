"""Reports: every run with its decision, found by filter and sort; one opened, two compared, older ones imported."""

from __future__ import annotations

import streamlit as st

from app.errors import LedgerError
from app.ui import import_report, kept_run, reports, side_by_side, widgets

system = widgets.system()

with st.container(horizontal=True, vertical_alignment="center", gap="small"):
    widgets.head("Reports")
    reports.every_system()
    import_report.button(system)
try:
    wanted = reports.filters(system)
    reports.made_anew()
    listing = reports.look(wanted)
except LedgerError as error:
    reports.sick(error)
    widgets.ready("reports")
    st.stop()
picked: list[str] = []
if listing.total:
    picked = reports.table(wanted, listing)
else:
    reports.nothing(system, wanted)
    picked = reports.picked()
reports.picked_line(picked)
if len(picked) == 1:
    kept_run.show(picked[0])
elif len(picked) == 2:
    side_by_side.show(*picked)
elif len(picked) > 2:
    reports.too_many(picked)
widgets.ready("reports")
