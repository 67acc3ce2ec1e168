"""The history of comparisons, of one pair of months or of all: the share with its threshold, a table of the newest."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import pandas as pd
import streamlit as st

from app.charts.history import Axis, share_history
from app.config import System
from app.runs.run import Run
from app.runs.words import months_of, state_word, why
from app.ui import cache, palette, widgets
from app.words.message import t, tn

AXES = {"ran": t("When it ran"), "month": t("Current month")}
# Rows in the table of this page; the library has them all.
EARLIER = 50
# Whose runs: those of the picked pair, or all of the system.
THESE = "these"
WHOSE = {THESE: t("These months"), "all": t("All months")}
# Rows of the table before it scrolls by itself.
TABLE_HEIGHT = 400


def history(system: System, months: tuple[str, str], shown: str | None = None) -> None:
    """Every run with a share as a point, and the newest runs of any end as rows: picking one opens it.

    Those of one pair of months, unless the reader asks for all.
    """
    head = st.container(horizontal=True, vertical_alignment="center", gap="medium", key="history-head")
    with head:
        whose = widgets.segments(t("Whose runs"), WHOSE, key="history-of", hidden=True)
    threshold = system.drift.threshold if system.drift else 0.0
    source = cache.source(system.id)
    runs = cache.ledger().history(system.id, source=source)
    if whose == THESE:
        runs = [run for run in runs if run.months == months]
        newest = cache.ledger().runs(kind="drift", system=system.id, source=source, months=months, limit=EARLIER)
    else:
        newest = cache.runs(system.id, "drift", EARLIER)
    if runs:
        with head:
            axis = _axis(runs, shown)
        _figure(runs, threshold, axis, shown)
    else:
        why_none = t("Each comparison that comes to a decision is a point here.")
        widgets.empty(t("No run with a share yet."), why_none)
    if newest:
        _table(newest)


def _axis(runs: Sequence[Run], shown: str | None) -> Axis:
    """What the points are placed by, with how many there are and what their marks mean."""
    axis = widgets.segments(t("Axis"), AXES, key="history-axis", hidden=True)
    texts = [tn("{n:count} run with a share.", "{n:count} runs with a share.", len(runs))]
    if any(run.own is False for run in runs):
        texts.append(t("Hollow: under another policy than the system's own."))
    if shown in {run.id for run in runs}:
        texts.append(t("Ringed: shown above."))
    texts.append(t("Click a point to open its run."))
    st.caption(" ".join(texts))
    return "month" if axis == "month" else "ran"


def _figure(runs: Sequence[Run], threshold: float, axis: Axis, shown: str | None) -> None:
    chart = f"history-{axis}"
    st.plotly_chart(
        share_history(runs, threshold, theme=palette.theme(), axis=axis, clock=widgets.clock(), shown=shown),
        key=chart,
        config=palette.plotly(),
        on_select=lambda: _open_point(chart),
        selection_mode="points",
    )


def _open_point(chart: str) -> None:
    points: list[dict[str, Any]] = st.session_state[chart]["selection"]["points"]
    if points and isinstance(run := points[0].get("customdata"), str):
        st.query_params["run"] = run


def _table(runs: Sequence[Run]) -> None:
    zone = widgets.zone()
    rows = [
        {
            "when": datetime.fromtimestamp(run.created, tz=zone),
            "months": months_of(run),
            "decision": run.outcome or state_word(run.state),
            "share": run.share,
            "target": run.target_drift,
            "seconds": run.seconds,
            "reason": why(run),
        }
        for run in runs
    ]
    ids = [run.id for run in runs]

    def open_row() -> None:
        chosen: list[int] = st.session_state["earlier"]["selection"]["rows"]
        if chosen:
            st.query_params["run"] = ids[chosen[0]]

    st.dataframe(
        pd.DataFrame(rows),
        hide_index=True,
        key="earlier",
        height="auto" if len(rows) < 11 else TABLE_HEIGHT,
        on_select=open_row,
        placeholder=t("unknown"),
        selection_mode="single-row",
        column_config={
            "when": st.column_config.DatetimeColumn(t("when"), format="YYYY-MM-DD HH:mm:ss", timezone=str(zone)),
            "months": st.column_config.TextColumn(t("months")),
            "decision": st.column_config.TextColumn(t("decision")),
            "share": st.column_config.NumberColumn(
                t("share"), format="%.3g", width=90, help=t("Of drifted columns, unrounded.")
            ),
            "target": st.column_config.NumberColumn(t("target drift"), format="%.3g", width=90),
            "seconds": st.column_config.NumberColumn(t("took"), format="%.1f s"),
            "reason": st.column_config.TextColumn(t("why"), width="large"),
        },
    )
    st.caption(t("The newest {n}, of any end. Click the left edge of a row to open its run.", n=len(runs)))
