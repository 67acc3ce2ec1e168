"""Figures of a drift run: how near each column is to its threshold, and the two distributions of one column. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal

import plotly.graph_objects as go

from app.drift.decide import method_words, nearness, number
from app.drift.result import Column, Side

Theme = Literal["light", "dark"]
COLOURS: Final[dict[Theme, dict[str, str]]] = {
    "light": {"ref": "#7A8796", "cur": "#6D4FA3", "bad": "#B3261E", "text": "#1B2430", "grid": "#E3E8EE"},
    "dark": {"ref": "#93A4B8", "cur": "#B49CF0", "bad": "#FF7B72", "text": "#E6EDF3", "grid": "#263342"},
}
ROW_HEIGHT: Final = 24
# A column far beyond its threshold would squeeze all others against zero; it is drawn at the edge with its number.
WIDEST: Final = 3.0
# More categories than this make bars too thin to read; the rest is one bar.
MOST_CATEGORIES: Final = 12
LONGEST_NAME: Final = 28
# Nearer to the line than this, a number on the right of its dot would stand on the line.
JUST_BELOW: Final = 0.7


def dot_plot(columns: Sequence[Column], *, theme: Theme) -> go.Figure:
    """One row per column, nearest to its threshold on top: score divided by threshold, a line at 1."""
    colours = COLOURS[theme]
    rows = [(column, nearness(column)) for column in columns if column.comparable]
    scored = [(column, near) for column, near in rows if near is not None]
    figure = go.Figure()
    for drifted in (True, False):
        part = [(column, near) for column, near in scored if bool(column.drifted) is drifted]
        figure.add_scatter(
            x=[round(min(near, WIDEST), 4) for _, near in part],
            y=[column.name for column, _ in part],
            mode="markers+text",
            name="drifted" if drifted else "not drifted",
            marker={
                "size": 11,
                "color": colours["bad"] if drifted else colours["cur"],
                "symbol": "diamond" if drifted else "circle",
            },
            text=[number(column.score) + (" →" if near > WIDEST else "") for column, near in part],
            # left of a dot just below the line, so that the number does not stand on it
            textposition=["middle left" if JUST_BELOW < near < 1 else "middle right" for _, near in part],
            textfont={"color": colours["text"], "size": 12},
            hovertext=[
                f"{method_words(column.method or '')}, threshold {number(column.threshold)}" for column, _ in part
            ],
            hoverinfo="y+text",
        )
    edge = max([1.35, *(min(near, WIDEST) * 1.15 for _, near in scored)])
    figure.add_vline(x=1, line={"color": colours["bad"], "width": 1.5, "dash": "dash"})
    figure.update_xaxes(range=[-0.03, edge], title="score ÷ threshold", gridcolor=colours["grid"], zeroline=False)
    order = [column.name for column, _ in scored]
    figure.update_yaxes(
        categoryorder="array", categoryarray=order[::-1], gridcolor=colours["grid"], ticklabelstandoff=8
    )
    return _framed(figure, theme, height=90 + ROW_HEIGHT * max(3, len(order)))


def two_histograms(column: Column, *, theme: Theme) -> go.Figure:
    """Reference (grey) and current (violet) of one column as shares of their rows, from the stored aggregates."""
    figure = go.Figure()
    colours = COLOURS[theme]
    if column.ref.histogram and column.cur.histogram:
        for name, side, key in (("reference", column.ref, "ref"), ("current", column.cur, "cur")):
            figure.add_trace(_steps(name, side, colours[key]))
        figure.update_xaxes(title=column.name)
    elif column.ref.shares is not None and column.cur.shares is not None:
        values = _values(column.ref, column.cur)
        for name, side, key in (("reference", column.ref, "ref"), ("current", column.cur, "cur")):
            shares = side.shares or {}
            rest = max(0.0, 1.0 - sum(shares.get(value, 0.0) for value in values))
            more = [rest] if rest > 0.0005 else []
            labels = [_short(value) for value in values] + (["(all others)"] if more else [])
            figure.add_bar(
                x=labels, y=[shares.get(value, 0.0) for value in values] + more, name=name, marker_color=colours[key]
            )
        figure.update_xaxes(type="category", title=column.name)
    else:
        why = column.reason or "no distribution was kept for this column"
        figure.add_annotation(text=why[:120], showarrow=False, x=0.5, y=0.5, xref="paper", yref="paper")
    figure.update_yaxes(title="share of rows", tickformat=".0%", gridcolor=colours["grid"], rangemode="tozero")
    return _framed(figure, theme, height=330)


def _steps(name: str, side: Side, colour: str) -> go.Scatter:
    bins = side.histogram
    assert bins is not None
    total = sum(bins.counts) or 1
    heights = [count / total for count in bins.counts]
    return go.Scatter(
        x=list(bins.edges),
        y=[*heights, heights[-1] if heights else 0],
        mode="lines",
        line={"shape": "hv", "color": colour, "width": 2, "dash": "dot" if name == "reference" else "solid"},
        fill="tozeroy",
        fillcolor=f"rgba{(*_rgb(colour), 0.12)}",
        name=name,
    )


def _rgb(colour: str) -> tuple[int, int, int]:
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)


def _values(ref: Side, cur: Side) -> list[str]:
    both = {
        value: max((ref.shares or {}).get(value, 0.0), (cur.shares or {}).get(value, 0.0))
        for value in {*(ref.shares or {}), *(cur.shares or {})}
    }
    return sorted(both, key=lambda value: (-both[value], value))[:MOST_CATEGORIES]


def _short(value: str) -> str:
    # Plotly reads a little HTML in labels; a value from data is text.
    text = value.replace("<", "‹").replace(">", "›").replace("&", "＆")
    return text if len(text) <= LONGEST_NAME else text[: LONGEST_NAME - 1] + "…"


def _framed(figure: go.Figure, theme: Theme, *, height: int) -> go.Figure:
    colours = COLOURS[theme]
    figure.update_layout(
        height=height,
        margin={"l": 8, "r": 24, "t": 30, "b": 40},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"color": colours["text"], "size": 12},
        legend={"orientation": "h", "y": 1.0, "yanchor": "bottom", "x": 0},
        bargap=0.25,
        hoverlabel={"namelength": -1},
    )
    return figure
