"""Reports: every run with its decision, found by filter and sort; one opened, two compared, older ones imported."""

from __future__ import annotations

import streamlit as st

from app.errors import LedgerError
from app.ui import import_report, kept_run, library, side_by_side, widgets

system = widgets.system()

with st.container(horizontal=True, vertical_alignment="center", gap="small"):
    widgets.head("Reports")
    library.every_system()
    import_report.button(system)
try:
    wanted = library.filters(system)
    library.made_anew()
    listing = library.look(wanted)
except LedgerError as error:
    library.sick(error)
    widgets.ready("reports")
    st.stop()
picked: list[str] = []
if listing.total:
    picked = library.table(wanted, listing)
else:
    library.nothing(system, wanted)
    picked = library.picked()
library.picked_line(picked)
if len(picked) == 1:
    kept_run.show(picked[0])
elif len(picked) == 2:
    side_by_side.show(*picked)
elif len(picked) > 2:
    library.too_many(picked)
widgets.ready("reports")
