"""Compare months: two pickers, one button, the verdict with its reason, the report, what-if, the history."""

from __future__ import annotations

import streamlit as st

from app.drift.result import Policy
from app.services import activity
from app.ui import cache, comparison, picked, two_files, widgets
from app.words.explain import COVARIATE_AND_TARGET, SIMULATED
from app.words.message import sentences, t
from app.words.shared import TWO_MONTHS

system = picked.system()
drift = system.drift

widgets.head(t("Compare months"))
if drift is None:
    widgets.empty(
        t("This system names no data to compare."), t("Add a [drift] table to {system}.toml.", system=system.id)
    )
    two_files.alone(system)
if not system.compares:
    comparison.gauge(system, drift)
    two_files.alone(system)

periods = two_files.months(system)
if len(periods) < 2:
    months = t("It has {months} so far.", months=len(periods)) if periods else t("It has none so far.")
    widgets.empty(t("Two months are needed for a comparison."), sentences([months, activity(cache.stack())]))
    two_files.alone(system)

labels = {period.key: comparison.period_label(period, labels=drift.label is not None) for period in periods}
comparison.defaults(list(labels), newest=drift.rolling)
with st.container(key="form", horizontal=True, vertical_alignment="bottom", gap="small"):
    ref = comparison.month(t("Reference"), "ref", labels)
    st.button(
        "",
        icon=":material/swap_horiz:",
        help=t("Swap reference and current"),
        on_click=comparison.swap,
        args=comparison.pair(),
    )
    cur = comparison.month(t("Current"), "cur", labels)
    # A key of the system and of its policy: another system, or a changed file, begins with its own threshold.
    key = f"threshold-{system.id}-{drift.threshold:g}"
    threshold = st.number_input(
        t("Threshold"), 0.0, 1.0, drift.threshold, 0.05, "%g", key=key, width=120,
        help=t(
            "Share of drifted columns from which retraining is triggered; the system's own policy is {threshold:g}.",
            threshold=drift.threshold,
        ),
    )  # fmt: skip
    # A month against itself would become the current verdict, and say nothing.
    clicked = st.button(
        t("Compare months"),
        type="primary",
        icon=":material/compare_arrows:",
        disabled=ref == cur,
        help=t(TWO_MONTHS) if ref == cur else None,
    )
    with st.popover(t("What is measured"), icon=":material/help:", type="tertiary"):
        st.markdown(f"{t(COVARIATE_AND_TARGET)}\n\n{t(SIMULATED)}")

two_files.section(system)
if clicked:
    comparison.start(system, ref, cur, Policy.of(drift, threshold))
else:
    comparison.warm()

names = {period.key: comparison.period_name(period) for period in periods}
comparison.follow(system, st.query_params.get("run"), names, threshold)
widgets.ready("drift")
