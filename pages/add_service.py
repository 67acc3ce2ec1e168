"""Add a service: an address is read, a system file proposed, each part tried, and the file saved."""

from __future__ import annotations

import streamlit as st

from app.ui import add_service, cache, widgets
from app.words.message import t

widgets.head(t("Add a service"))
st.markdown(
    t(
        "Type the address of a prediction service. Its `/openapi.json` and `/metrics` are read, nothing else; what "
        "they say becomes a system file that you can change, try and save."
    )
)
add_service.address_form()
draft = add_service.proposal()
if draft is None:
    widgets.ready("add_service")
    st.stop()

system, error = add_service.validated(cache.settings())
report = add_service.tried(cache.settings(), system) if system is not None else None
add_service.verdict(draft, error, report)
first, second, third, fourth = st.tabs([t(title) for title in add_service.TABS])
with first:
    add_service.parts(draft)
with second:
    add_service.editor(error)
with third:
    add_service.table(report)
with fourth:
    add_service.job(draft, system)
widgets.ready("add_service")
