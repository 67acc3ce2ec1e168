"""Figures of a load run: the arrivals a plan asks for, and what came back second by second. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go

from app.charts.columns import COLOURS, Theme
from app.load.plan import Preview
from app.words.language import localised
from app.words.message import t

PREVIEW_HEIGHT = 130
TIMELINE_HEIGHT = 280
LINES = {
    "light": {"ok": "#2563A8", "failed": "#B3261E", "p95": "#6D4FA3"},
    "dark": {"ok": "#6CB2F0", "failed": "#FF7B72", "p95": "#B49CF0"},
}


def arrivals_preview(preview: Preview, *, theme: Theme) -> go.Figure:
    """The rate the plan asks for, in equal steps."""
    figure = go.Figure(
        go.Bar(
            x=[round(float(at), 3) for at in preview.seconds],
            y=[round(float(rate), 3) for rate in preview.rates],
            marker_color=LINES[theme]["ok"],
            offset=0,
            width=preview.step,
            hovertemplate=t("{rate}/s at {time} s", rate="%{y:,.3~r}", time="%{x:.1f}") + "<extra></extra>",
        )
    )
    _frame(figure, theme, PREVIEW_HEIGHT)
    figure.update_xaxes(title=t("seconds after the start"))
    figure.update_yaxes(title="/s")
    return figure


def timeline(rows: Sequence[Mapping[str, Any]], *, theme: Theme) -> go.Figure:
    """Answers a second as bars, failures on top in red, and the p95 of each second (ms, right axis)."""
    colours = LINES[theme]
    seconds = [row.get("t", number) for number, row in enumerate(rows)]
    figure = go.Figure()
    for name, key in ((t("as asked"), "ok"), (t("failed"), "failed")):
        figure.add_bar(
            x=seconds,
            y=[row.get(key) or 0 for row in rows],
            name=name,
            marker_color=colours[key],
            opacity=1.0 if key == "failed" else 0.45,
        )
    p95 = [None if row.get("p95") is None else round(row["p95"] * 1000, 2) for row in rows]
    figure.add_scatter(
        x=seconds,
        y=p95,
        name=t("p95, ms"),
        yaxis="y2",
        mode="lines+markers",
        line={"color": colours["p95"], "width": 2},
    )
    _frame(figure, theme, TIMELINE_HEIGHT)
    figure.update_layout(
        barmode="stack",
        yaxis2={
            "overlaying": "y",
            "side": "right",
            "rangemode": "tozero",
            "showgrid": False,
            "title": t("p95, ms"),
            "nticks": 5,
            "tickmode": "auto",
            "tickformat": ",.3~r",
        },
    )
    figure.update_xaxes(title=t("seconds after the start"))
    figure.update_yaxes(title=t("requests"), selector={"overlaying": None}, rangemode="tozero")
    return figure


def _frame(figure: go.Figure, theme: Theme, height: int) -> None:
    colours = COLOURS[theme]
    figure.update_layout(
        height=height,
        margin={"l": 8, "r": 8, "t": 28, "b": 36},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"color": colours["text"], "size": 12},
        legend={"orientation": "h", "y": 1.0, "yanchor": "bottom", "x": 0},
        bargap=0.1,
        separators=localised(".,"),
    )
    figure.update_xaxes(gridcolor=colours["grid"], zeroline=False)
    figure.update_yaxes(gridcolor=colours["grid"], zerolinecolor=colours["grid"])
