"""Which columns decided a run: dot plot, the two distributions of one column, and the table of all of them."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import pandas as pd
import streamlit as st

from app.charts.columns import DOTS, change, dot_plot, methods, role, rows, trimmed, two_histograms
from app.drift.chance import METHOD_SWITCH_ROWS
from app.drift.decide import nearness
from app.drift.gate import METHOD_SWITCH_MARGIN
from app.drift.result import Column, Result
from app.ui import palette, widgets
from app.words.explain import SIGNIFICANCE_OR_DISTANCE
from app.words.message import t

# Rows of the table before it scrolls by itself: those of a usual system, without a scroll bar inside the page.
TABLE_ROWS = 16
# Height of a table row and of its header in pixels.
TABLE_ROW_HEIGHT = 32
# Width of the column of names in pixels, and the length in letters from which on they get more.
NAME_WIDTH, LONG_NAME_WIDTH, LONG_NAME = 200, 300, 30
# A name on the picker; the table has it whole.
PICKER_NAME = 60


def why(result: Result) -> None:
    """Dot plot, distributions, table. A row of the table or a dot picks the column whose distributions are shown."""
    if not result.columns:
        widgets.empty(t("No column was compared."), result.reason)
        return

    @st.fragment
    @widgets.guarded
    def draw() -> None:
        _draw(result)

    draw()


def _draw(result: Result) -> None:
    table = rows(result)
    by_name = {column.name: column for column in result.columns}
    ordered = [by_name[row.column] for row in table]
    key = f"column-{result.run}"
    if st.session_state.get(key) not in by_name:
        st.session_state[key] = ordered[0].name
    left, right = st.columns([3, 2], gap="medium")
    with left:
        _dots(result, ordered, key)
    with right:
        picked = st.selectbox(
            t("Distribution of"),
            [column.name for column in ordered],
            key=key,
            format_func=lambda n: trimmed(n, PICKER_NAME),
        )
        column = by_name[picked]
        st.plotly_chart(
            two_histograms(column, theme=palette.theme()), key=f"pair-{result.run}", config=palette.plotly()
        )
        text = t(column.reason) or f"{change(column)} · {role(column, result.policy)}"
        st.caption(widgets.plain(text))
    _table(result, table, key)


def _dots(result: Result, ordered: list[Column], key: str) -> None:
    scored = [column for column in ordered if column.comparable and nearness(column) is not None]
    if not scored:
        widgets.empty(t("No column has a score."), t("The table below says of each why not."))
        return
    chart = f"dots-{result.run}"
    st.plotly_chart(
        dot_plot(ordered, theme=palette.theme()),
        key=chart,
        config=palette.plotly(),
        on_select=lambda: _pick_dot(chart, key),
        selection_mode="points",
    )
    texts = [
        t(
            "Score divided by its threshold (p-values: threshold divided by score): at 1 and beyond a column counts as "
            "drifted; → means further than drawn."
        )
    ]
    if len(scored) > DOTS:
        bound = t("{shown} of {all} columns, the furthest along first; the table has all.", shown=DOTS, all=len(scored))
        texts.insert(0, bound)
    st.caption(" ".join(texts))


def _pick_dot(chart: str, key: str) -> None:
    points: list[dict[str, Any]] = st.session_state[chart]["selection"]["points"]
    if points and isinstance(name := points[0].get("customdata"), str):
        st.session_state[key] = name


def _table(result: Result, table: list[Any], key: str) -> None:
    frame = pd.DataFrame([asdict(row) for row in table])
    names = list(frame["column"])
    shown = frame.drop(columns=[name for name in ("reason",) if not any(frame[name])])
    place = f"columns-{result.run}"

    def pick() -> None:
        chosen: list[int] = st.session_state[place]["selection"]["rows"]
        if chosen:
            st.session_state[key] = names[chosen[0]]

    st.dataframe(
        shown,
        hide_index=True,
        key=place,
        height=(min(len(table), TABLE_ROWS) + 1) * TABLE_ROW_HEIGHT + 3,
        row_height=TABLE_ROW_HEIGHT,
        on_select=pick,
        placeholder="–",
        selection_mode="single-row",
        column_config={
            "column": st.column_config.TextColumn(
                t("column"), width=NAME_WIDTH if len(max(names, key=len)) < LONG_NAME else LONG_NAME_WIDTH, pinned=True
            ),
            "verdict": st.column_config.TextColumn(
                t("drifted"), width=95 if all(row.reason == "" for row in table) else 130
            ),
            "score": st.column_config.NumberColumn(t("score"), format="%.3g", width=70),
            "threshold": st.column_config.NumberColumn(t("threshold"), format="%.3g", width=70),
            "distance": st.column_config.NumberColumn(
                t("÷ threshold"),
                format="%.3g",
                width=80,
                help=t(
                    "Distance to the threshold: score ÷ threshold, 1 is at it. For p-values threshold ÷ score, so that "
                    "more is nearer; 1000 is a thousand or more. An identifier has none."
                ),
            ),
            "change": st.column_config.TextColumn(t("reference → current"), width=230),
            "method": st.column_config.TextColumn(t("method"), width=135),
            "nulls": st.column_config.TextColumn(t("nulls"), width=75, help=t("Rows without a value, both months.")),
            "infinite": st.column_config.TextColumn(t("infinities"), width=75, help=t("Infinite values, both months.")),
            "role": st.column_config.TextColumn(t("role"), width=80),
            "reason": st.column_config.TextColumn(t("not compared because"), width=280),
        },
    )
    st.caption(_method_note(result))


def _method_note(result: Result) -> str:
    """Which kind of method judged, where it changes, and which columns the policy leaves out."""
    used = methods(result.columns)
    parts: list[str] = [t("Click the left edge of a row to see its two distributions.")]
    if used:
        parts.append(widgets.plain(t("Methods: {methods}.", methods=", ".join(used))))
        parts.append(t(SIGNIFICANCE_OR_DISTANCE))
    rows_ref = result.ref.rows
    if rows_ref is not None and abs(rows_ref - METHOD_SWITCH_ROWS) <= METHOD_SWITCH_MARGIN * METHOD_SWITCH_ROWS:
        near = t(
            "**{rows:count} reference rows are near that switch:** a slightly different month may be judged by another "
            "method.",
            rows=rows_ref,
        )
        parts.append(f":orange[:material/warning: {near}]")
    if result.policy.left_out:
        names = ", ".join(trimmed(name) for name in result.policy.left_out)
        left_out = t("Left out by the policy, neither compared nor counted: {columns}.", columns=names)
        parts.append(widgets.plain(left_out))
    return " ".join(parts)
