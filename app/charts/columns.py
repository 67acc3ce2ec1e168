"""Figures and rows of a drift run: how near each column is to its threshold, and the two sides of one column. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import plotly.graph_objects as go

from app.base.text import one_line
from app.drift.aggregates import OTHER
from app.drift.decide import nearness
from app.drift.methods import method_of
from app.drift.result import Column, Policy, Result, Side
from app.drift.sentence import largest_move, method_words
from app.words.language import localised
from app.words.message import t
from app.words.numbers import counts_moved, moved, number, share_moved

Theme = Literal["light", "dark"]
COLOURS: Final[dict[Theme, dict[str, str]]] = {
    "light": {
        "ref": "#7A8796",
        "cur": "#6D4FA3",
        "bad": "#B3261E",
        "good": "#2E7D4F",
        "text": "#1B2430",
        "quiet": "#5B6674",
        "grid": "#E3E8EE",
        "surface": "#FFFFFF",
    },
    "dark": {
        "ref": "#93A4B8",
        "cur": "#B49CF0",
        "bad": "#FF7B72",
        "good": "#5BC98C",
        "text": "#E6EDF3",
        "quiet": "#A7B3C0",
        "grid": "#263342",
        "surface": "#0F1720",
    },
}
ROW_HEIGHT: Final = 24
PAIR_HEIGHT: Final = 330
# So many rows fit on a laptop's screen under the banner; the table below the plot has every column.
DOTS: Final = 20
# A column far beyond its threshold would squeeze all others against zero; it is drawn at the edge with its number,
# unless many are as far: then they are what must be seen.
WIDEST: Final = 3.0
# p-values of 1e-100 are common where months are large: the axis ends here in any case ...
END_OF_AXIS: Final = 10.0
# ... and the table's distance here.
FARTHEST: Final = 1000.0
# More categories than this make bars too thin to read; the rest is one bar.
MOST_CATEGORIES: Final = 12
# A rest below this is rounding.
LEAST_REST: Final = 0.0005
# A longer name would leave no room for the plot next to it.
LONGEST_NAME: Final = 28
# A value of data inside a sentence; longer ones push the numbers out of sight.
LONGEST_VALUE: Final = 40
# Nearer to the line than this, a number on the right of its dot would be on the line.
JUST_BELOW: Final = 0.7
# A word and a shape, those of the dot plot.
WORDS_OF: Final[dict[bool | None, str]] = {True: t("◆ drifted"), False: t("● no"), None: t("? not comparable")}
# A column of a run that ended before anything was scored.
NOT_SCORED: Final = t("○ not scored")
WHY_NOT_SCORED: Final = t("could be compared, but nothing was scored in this run")
# What is shown where a column has neither mean nor shares: an identifier has no size.
NO_SIZE: Final = "–"


@dataclass(frozen=True, slots=True)
class Row:
    """One column as a person reads it. `distance` is score ÷ threshold (p-values: threshold ÷ score), 1 at the line.

    `change` is direction and size in the feature's unit; `role` says whether the column counts under the policy.
    """

    column: str
    verdict: str
    reason: str
    score: float | None
    threshold: float | None
    distance: float | None
    change: str
    method: str
    nulls: str
    infinite: str
    role: str


def by_nearness(columns: Sequence[Column]) -> list[Column]:
    """Nearest to its threshold first; columns without a distance last."""

    def order(column: Column) -> tuple[bool, float]:
        near = nearness(column)
        return near is not None, near or 0.0

    return sorted(columns, key=order, reverse=True)


def rows(result: Result) -> list[Row]:
    """The table of a run, nearest first: every compared column, counted or not."""
    return [_row(column, result.policy) for column in by_nearness(result.columns)]


def _row(column: Column, policy: Policy) -> Row:
    near, scored = nearness(column), not column.comparable or column.drifted is not None
    method = method_words(column.method or "")
    return Row(
        column=column.name,
        role=role(column, policy),
        verdict=t(WORDS_OF[column.drifted if column.comparable else None] if scored else NOT_SCORED),
        score=column.score,
        threshold=column.threshold,
        distance=None if near is None else min(near, FARTHEST),
        method=t("{method} (low is drift)", method=method) if method_of(column.method or "").p_value else method,
        change=change(column),
        nulls=counts_moved(column.ref.nulls, column.cur.nulls),
        infinite=counts_moved(column.ref.infinite, column.cur.infinite) if column.kind != "text" else NO_SIZE,
        reason=t(column.reason if scored else WHY_NOT_SCORED),
    )


def role(column: Column, policy: Policy) -> str:
    """What a column is to the model, and whether it counts: `feature`, `label`, `label, not counted`."""
    counted = policy.columns == "all"
    if column.name == policy.identifier:
        return t("identifier") if counted else t("identifier, not counted")
    if column.name == policy.label:
        return t("label") if counted else t("label, not counted")
    return t("feature")


def change(column: Column) -> str:
    """Direction and size in the feature's unit.

    A number says `↑ mean 2.3 → 2.6 (+0.3, +13 %)`, a category the value that moved most, `↓ fibre 39.1% → 34.4% (−4.7
    points)`.
    """
    before, after = column.ref.mean, column.cur.mean
    if before is not None and after is not None:
        if before == after:
            return t("= mean {mean:number}", mean=before)
        by = after - before
        size = _signed(by)
        if before and abs(by / before) < 10:
            size = f"{size}, {_signed(by / abs(before) * 100)} %"
        return t("{arrow} mean {means} ({size})", arrow=_arrow(by), means=moved(before, after), size=size)
    move = largest_move(column)
    if move is None:
        return NO_SIZE
    value, first, second = move
    shown = trimmed(value, LONGEST_VALUE)
    if first == second:
        return t("= {value} {share:.1%}", value=shown, share=first)
    return t(
        "{arrow} {value} {shares} ({points} points)",
        arrow=_arrow(second - first),
        value=shown,
        shares=share_moved(first, second),
        points=_signed((second - first) * 100),
    )


def _arrow(by: float) -> str:
    return "↑" if by > 0 else "↓"


def _signed(value: float) -> str:
    return ("+" if value > 0 else "−") + number(abs(value))


def trimmed(text: str, longest: int = LONGEST_NAME) -> str:
    """A name or value on one line, cut in the middle when it is long: both ends of long names tell them apart."""
    line = one_line(text) or t("(empty)")
    if len(line) <= longest:
        return line
    head = (longest - 1) * 2 // 3
    return f"{line[:head]}…{line[len(line) - (longest - 1 - head) :]}"


def escaped(text: str, longest: int = LONGEST_NAME) -> str:
    """A value from data for a Plotly label, which reads a little HTML: as text, and of bounded length."""
    return trimmed(text, longest).replace("&", "＆").replace("<", "‹").replace(">", "›")


def methods(columns: Sequence[Column]) -> list[str]:
    """The methods of the compared columns as text, the commonest first."""
    names = [method_words(column.method) for column in columns if column.method and column.comparable]
    return sorted(set(names), key=lambda name: (-names.count(name), name))


def dot_plot(columns: Sequence[Column], *, theme: Theme) -> go.Figure:
    """One row per column, nearest to its threshold on top, `DOTS` at most: score divided by threshold, a line at 1.

    `customdata` of a point is its column's name.
    """
    colours = COLOURS[theme]
    near_by = [(column, nearness(column)) for column in by_nearness(columns) if column.comparable]
    scored = [(column, near) for column, near in near_by if near is not None][:DOTS]
    widest = widest_of([near for _, near in scored])
    figure = go.Figure()
    for drifted in (True, False):
        part = [(at, *pair) for at, pair in enumerate(scored) if bool(pair[0].drifted) is drifted]
        figure.add_scatter(
            x=[round(min(near, widest), 4) for _, _, near in part],
            y=[at for at, _, _ in part],
            customdata=[column.name for _, column, _ in part],
            mode="markers+text",
            name=t("drifted") if drifted else t("not drifted"),
            marker={
                "size": 11,
                "color": colours["bad"] if drifted else colours["cur"],
                "symbol": "diamond" if drifted else "circle",
            },
            # A picked point is shown by its distributions; fading all others would hide what is being compared.
            unselected={"marker": {"opacity": 1.0}},
            text=[number(column.score) + (" →" if near > widest else "") for _, column, near in part],
            # left of a dot just below the line, so that the number does not cover it
            # no catalogue: places of Plotly
            textposition=["middle left" if JUST_BELOW < near < 1 else "middle right" for _, _, near in part],
            textfont={"color": colours["text"], "size": 12},
            hovertext=[_hover(column) for _, column, _ in part],
            hoverinfo="text",
        )
    edge = max([1.35, *(min(near, widest) * 1.15 for _, near in scored)])
    figure.add_vline(x=1, line={"color": colours["bad"], "width": 1.5, "dash": "dash"})
    figure.update_xaxes(range=[-0.06, edge], title=t("score ÷ threshold"), gridcolor=colours["grid"], zeroline=False)
    figure.update_yaxes(
        tickmode="array",
        tickvals=list(range(len(scored))),
        ticktext=[escaped(column.name) for column, _ in scored],
        range=[max(3, len(scored)) - 0.5, -0.5],
        gridcolor=colours["grid"],
        zeroline=False,
        ticklabelstandoff=8,
    )
    return framed(figure, theme, height=90 + ROW_HEIGHT * max(3, len(scored)))


def widest_of(distances: Sequence[float]) -> float:
    """Where the plot ends: at `WIDEST`, or where a quarter of the columns is beyond, at most at `END_OF_AXIS`."""
    finite = sorted(one for one in distances if math.isfinite(one))
    return min(END_OF_AXIS, max(WIDEST, finite[len(finite) * 3 // 4])) if finite else WIDEST


def _hover(column: Column) -> str:
    """The words under the pointer, line by line."""
    score = t(
        "score {score}, threshold {threshold:number} ({method})",
        score=number(column.score, 3),
        threshold=column.threshold,
        method=escaped(method_words(column.method or "")),
    )
    lines = (
        escaped(column.name, 2 * LONGEST_NAME),
        score,
        escaped(change(column), 100),
    )
    return "<br>".join(lines)


def two_histograms(column: Column, *, theme: Theme) -> go.Figure:
    """Reference (grey) and current (violet) of one column as shares of their rows, from the stored aggregates."""
    figure = go.Figure()
    colours = COLOURS[theme]
    if column.ref.histogram and column.cur.histogram:
        figure.add_trace(_steps(t("reference"), column.ref, colours["ref"], "dot"))
        figure.add_trace(_steps(t("current"), column.cur, colours["cur"], "solid"))
        figure.update_xaxes(title=escaped(column.name))
    elif column.ref.shares is not None and column.cur.shares is not None:
        values = _values(column.ref, column.cur)
        sides = ((t("reference"), column.ref.shares, "ref"), (t("current"), column.cur.shares, "cur"))
        rests = [max(0.0, 1.0 - sum(shares.get(value, 0.0) for value in values)) for _, shares, _ in sides]
        names = [escaped(value) for value in values]
        if max(rests) > LEAST_REST:
            names.append(t("(all others)"))
        for (name, shares, key), rest in zip(sides, rests, strict=True):
            # By place and not by name: two long values may be cut to the same label.
            heights = [*(shares.get(value, 0.0) for value in values), rest][: len(names)]
            figure.add_bar(x=list(range(len(names))), y=heights, name=name, marker_color=colours[key])
        figure.update_xaxes(
            tickmode="array", tickvals=list(range(len(names))), ticktext=names, title=escaped(column.name)
        )
    else:
        for axis in (figure.update_xaxes, figure.update_yaxes):
            axis(visible=False)
        names_alone = t("no distribution is kept: its values are names, each as good as the next")
        none = names_alone if column.kind == "text" else t("no distribution is kept of it")
        why = escaped(t(column.reason or none), 100)
        figure.add_annotation(text=why, showarrow=False, x=0.5, y=0.5, xref="paper", yref="paper")
        return framed(figure, theme, height=PAIR_HEIGHT)
    figure.update_yaxes(title=t("share of rows"), tickformat=".0%", gridcolor=colours["grid"], rangemode="tozero")
    return framed(figure, theme, height=PAIR_HEIGHT)


def _steps(name: str, side: Side, colour: str, dash: str) -> go.Scatter:
    bins = side.histogram
    assert bins is not None
    total = sum(bins.counts) or 1
    heights = [count / total for count in bins.counts]
    return go.Scatter(
        x=list(bins.edges),
        y=[*heights, heights[-1] if heights else 0],
        mode="lines",
        line={"shape": "hv", "color": colour, "width": 2, "dash": dash},
        fill="tozeroy",
        fillcolor=f"rgba{(*_rgb(colour), 0.12)}",
        name=name,
    )


def _rgb(colour: str) -> tuple[int, int, int]:
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)


def _values(ref: Side, cur: Side) -> list[str]:
    both = {
        value: max((ref.shares or {}).get(value, 0.0), (cur.shares or {}).get(value, 0.0))
        for value in {*(ref.shares or {}), *(cur.shares or {})} - {OTHER}
    }
    return sorted(both, key=lambda value: (-both[value], value))[:MOST_CATEGORIES]


def framed(figure: go.Figure, theme: Theme, *, height: int) -> go.Figure:
    """The figure with margins, colours and legend of this theme."""
    colours = COLOURS[theme]
    figure.update_layout(
        height=height,
        margin={"l": 8, "r": 24, "t": 30, "b": 36},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"color": colours["text"], "size": 12},
        legend={"orientation": "h", "y": 1.0, "yanchor": "bottom", "x": 0},
        bargap=0.25,
        separators=localised(".,"),
        hoverlabel={"namelength": -1},
    )
    return figure
