"""The explorer: any PromQL expression as table and chart, with the server's own error and its position."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import streamlit as st

from app.charts import Context, figure
from app.charts.export import answer_csv
from app.charts.panel import merge
from app.config import Panel, System
from app.errors import QueryError, VigieError
from app.prometheus import Answer, State, TimeRange
from app.ui import cache, palette, widgets
from app.ui.charts import View
from app.words.explain import FIRST_QUERIES
from app.words.message import t
from app.words.shared import text_value
from app.words.units import Clock, format_time, format_value

HISTORY_KEY = "explorer_history"
# A person goes back a few steps, not hundreds.
KEPT = 12
# The column of values. No label can be called so: a label name has no space.
VALUE = "value "


def draw(system: System, view: View) -> None:
    """Expression, result as table and chart, CSV, history."""
    examples = _examples(system)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        picked = st.selectbox(
            t("Begin with"), list(examples), index=None, placeholder=t("An example, or type below"), key="example"
        )
        history = st.session_state.setdefault(HISTORY_KEY, [])
        again = st.selectbox(
            t("Asked before"), history, index=None, placeholder=t("Your last expressions"), key="again"
        )
    _take(picked, again)
    # no catalogue: PromQL
    expr = st.text_area("PromQL", key="expr", bind="query-params", height=80, placeholder="rate(…[$window])")
    st.button(t("Run"), type="primary", icon=":material/play_arrow:")
    if picked and examples.get(picked) and expr == picked:
        st.caption(widgets.plain(examples[picked]))
    if not expr.strip():
        widgets.empty(
            t("Type an expression, or begin with an example."),
            t("$selector, $window, $rate_interval and $range are filled in."),
        )
        return
    span = TimeRange.last(view.range, scrape=cache.scrape_interval(system))
    context = Context.of(system, view.window, span, cache.targets(system.id)[0])
    try:
        client = cache.prometheus(system)
        filled = context.fill(expr)
    except VigieError as error:
        widgets.problem(error)
        return
    now = client.query(filled)
    if isinstance(now.error, QueryError):
        _refused(filled, now.error)
        return
    if filled != expr:
        st.code(filled, language="promql", wrap_lines=True)
    if expr not in history:
        st.session_state[HISTORY_KEY] = [expr, *history][:KEPT]
    _table(now)
    if now.state is State.ERROR or now.kind == "string":
        return
    _chart(merge({"": client.query_range(filled, span)}), context)


def _examples(system: System) -> dict[str, str]:
    names = {
        "requests": system.metrics.requests,
        "latency": system.metrics.latency,
        "selector": system.prometheus.selector,
    }
    examples: dict[str, str] = {}
    for expr, explained in FIRST_QUERIES:
        if ("{requests}" in expr and not names["requests"]) or ("{latency}" in expr and not names["latency"]):
            continue
        examples[expr.format(**names) if "{" in expr else expr] = t(explained)
    return examples


def _take(picked: str | None, again: str | None) -> None:
    """A newly picked example or earlier expression replaces the text."""
    for key, value in (("taken_example", picked), ("taken_again", again)):
        if value and st.session_state.get(key) != value:
            st.session_state["expr"] = value
        st.session_state[key] = value


def _refused(expr: str, error: QueryError) -> None:
    """The server's message, and a caret under the place it names."""
    widgets.problem(error, title=t("Prometheus refuses this expression."))
    if error.position:
        line, column = error.position
        lines = expr.splitlines() or [expr]
        if 1 <= line <= len(lines):
            st.code("\n".join([*lines[:line], " " * (column - 1) + "^", *lines[line:]]), language=None)


def _table(answer: Answer) -> None:
    if answer.state is State.ERROR:
        widgets.problem(VigieError(answer.reason, hint=answer.hint))
        return
    if answer.text:
        st.markdown(widgets.plain(text_value(answer.text)))
        return
    if answer.state is State.EMPTY:
        widgets.empty(t("Nothing now: {why}.", why=answer.reason), answer.hint)
        return
    for warning in answer.warnings:
        st.caption(f":orange[:material/warning:] {widgets.plain(t(warning))}")
    frame, at = rows(answer, widgets.clock())
    series = t("{shown} of {all} series", shown=len(answer.series), all=answer.total_series)
    if at:
        series = t("{shown} of {all} series at {time}", shown=len(answer.series), all=answer.total_series, time=at)
    st.caption(f"{widgets.plain(series)} · {format_value(answer.seconds, 's')}")
    # `%g` without a length is the whole number as JavaScript writes it; the column stays a number and sorts as one.
    config = {VALUE: st.column_config.NumberColumn(format="%g")}
    st.dataframe(frame, hide_index=True, key="explorer-table", column_config=config)


def rows(answer: Answer, clock: Clock) -> tuple[pd.DataFrame, str]:
    """The newest sample of each series, unrounded, one row each, and their common moment ("" where they differ).

    Columns: labels, the value as a number; where moments differ, when each was; where some value is no finite number,
    what it is (`NaN`, `+Inf`, `-Inf`), which no column of numbers shows.
    """
    newest = [one.newest for one in answer.series]
    frame = pd.DataFrame([dict(one.labels) for one in answer.series], index=range(len(newest)))
    moments = [format_time(at, clock) for at, _ in newest]
    same = len({at for at, _ in newest}) == 1
    if not same:
        frame[_free(t("time"), frame)] = moments
    frame[VALUE] = [value for _, value in newest]
    if not np.isfinite(frame[VALUE]).all():
        frame[_free(t("not finite"), frame)] = [
            "" if math.isfinite(value) else "NaN" if math.isnan(value) else "+Inf" if value > 0 else "-Inf"
            for _, value in newest
        ]
    return frame, moments[0] if same else ""


def _free(name: str, frame: pd.DataFrame) -> str:
    """A column name that no label has: a space is in no label of Prometheus 2."""
    return name if name not in frame else f"{name} "


def _chart(answer: Answer, context: Context) -> None:
    if answer.state is State.ERROR:
        widgets.problem(VigieError(answer.reason, hint=answer.hint))
        return
    panel = Panel(id="explorer", title="explorer", expr="up", unit="1")
    drawn = figure(panel, answer, (), palette.theme(), context.span, clock=widgets.clock(), height=360)
    st.plotly_chart(drawn, key="plot-explorer", config=palette.plotly(), theme=None)
    for warning in answer.warnings:
        st.caption(f":orange[:material/warning:] {widgets.plain(t(warning))}")
    st.download_button(
        t("Download CSV"),
        lambda: answer_csv(answer),
        "explorer.csv",
        "text/csv",
        icon=":material/download:",
        on_click="ignore",
    )
