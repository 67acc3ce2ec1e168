"""Reports: every run with its decision, found by filter and sort; opened, compared, imported; reports to hand in."""

from __future__ import annotations

import streamlit as st

from app.errors import LedgerError
from app.ui import import_report, kept_run, picked, reports, run_filters, side_by_side, widgets, write_reports
from app.words.message import t

system = picked.system()

with st.container(horizontal=True, vertical_alignment="center", gap="small"):
    widgets.head(t("Reports"))
    run_filters.every_system()
    write_reports.button(system)
    import_report.button(system)
try:
    filters = run_filters.filters(system)
    reports.made_anew()
    write_reports.going_on(system)
    listing = reports.look(filters)
except LedgerError as error:
    reports.sick(error)
    widgets.ready("reports")
    st.stop()
ids: list[str] = []
if listing.total:
    ids = reports.table(filters, listing)
else:
    reports.nothing(system, filters)
    ids = reports.picked()
reports.picked_line(ids)
if len(ids) == 1:
    kept_run.show(ids[0])
elif len(ids) == 2:
    side_by_side.show(*ids)
elif len(ids) > 2:
    reports.too_many(ids)
widgets.ready("reports")
