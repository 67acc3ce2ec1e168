"""The share of drifted columns over all runs of a system, as a Plotly figure. Pure."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, Literal

import plotly.graph_objects as go

from app.charts.columns import COLOURS, Theme, escaped, framed
from app.drift.result import Verdict
from app.words.message import t
from app.words.numbers import number
from app.words.units import Clock, format_time

if TYPE_CHECKING:
    from app.runs.run import Run

Axis = Literal["ran", "month"]
# As high as two KPI rows: a history is looked at next to its table, not instead of it.
HEIGHT: Final = 320
# Room above the highest point or the threshold, so that neither touches the frame.
HEADROOM: Final = 1.15
# Room next to the first and the last point, as a share of the time between them; in seconds, where that is no time.
ROOM: Final = 0.03
LEAST_ROOM: Final = 60.0
# A month's name in the hover; keys of dates are shorter.
LONGEST_KEY: Final = 40
SHAPE_OF: Final = {Verdict.NO_ACTION: ("circle", "good"), Verdict.RETRAINING_TRIGGERED: ("diamond", "bad")}


def share_history(
    runs: Sequence[Run],
    threshold: float,
    *,
    theme: Theme,
    axis: Axis = "ran",
    clock: Clock | None = None,
    shown: str | None = None,
) -> go.Figure:
    """One point per run whose share is known, shaped and coloured by its decision, and the system's share threshold.

    `customdata` of a point is its run id. A hollow point ran under another policy than the system's own; the run
    `shown` on the page has a ring.
    """
    clock, colours = clock or Clock(), COLOURS[theme]
    shown_runs = [run for run in runs if run.share is not None]
    figure = go.Figure()
    for decision, (symbol, colour) in SHAPE_OF.items():
        part = [run for run in shown_runs if run.outcome == decision]
        figure.add_scatter(
            x=[_place(run, axis, clock) for run in part],
            y=[run.share for run in part],
            customdata=[run.id for run in part],
            mode="markers",
            name=str(decision),
            marker={
                "size": [15 if run.id == shown else 11 for run in part],
                "color": colours[colour],
                "opacity": 1.0,
                "symbol": [f"{symbol}-open" if run.own is False else symbol for run in part],
                "line": {
                    "width": [3 if run.id == shown else 1.5 if run.own is False else 0 for run in part],
                    "color": [colours["text"] if run.id == shown else colours[colour] for run in part],
                },
            },
            unselected={"marker": {"opacity": 1.0}},
            hovertext=[_hover(run, clock) for run in part],
            hoverinfo="text",
        )
    figure.add_hline(
        y=threshold,
        line={"color": colours["bad"], "width": 1.5, "dash": "dash"},
        annotation={
            "text": t("threshold {threshold:limit}", threshold=threshold),
            "font": {"color": colours["quiet"], "size": 11},
            "xanchor": "right",
            "yanchor": "bottom",
        },
    )
    top = max([threshold, *(run.share for run in shown_runs if run.share is not None)], default=1.0)
    figure.update_yaxes(
        title=t("share of drifted columns"),
        range=[-0.03 * top, max(top * HEADROOM, 0.1)],
        gridcolor=colours["grid"],
        zeroline=False,
    )
    figure.update_xaxes(gridcolor=colours["grid"], **_axis(shown_runs, axis, clock))
    return framed(figure, theme, height=HEIGHT)


def _place(run: Run, axis: Axis, clock: Clock) -> str:
    """Where a run is: when it was asked for, or its current month."""
    return escaped(run.cur, LONGEST_KEY) if axis == "month" else _local(run.created, clock)


def _axis(runs: Sequence[Run], axis: Axis, clock: Clock) -> dict[str, object]:
    if axis == "ran":
        if not runs:
            return {"type": "date"}
        first, last = (pick(run.created for run in runs) for pick in (min, max))
        room = max(LEAST_ROOM, ROOM * (last - first))
        return {"type": "date", "range": [_local(first - room, clock), _local(last + room, clock)]}
    keys = sorted({escaped(run.cur, LONGEST_KEY) for run in runs})
    if keys and all(_is_date(key) for key in keys):
        return {"type": "date", "title": t("current month")}
    return {"type": "category", "categoryorder": "array", "categoryarray": keys, "title": t("current month")}


def _local(moment: float, clock: Clock) -> str:
    """The reader's local time, without its zone: Plotly shows what it gets."""
    return dt.datetime.fromtimestamp(moment, clock.tz).replace(tzinfo=None).isoformat(timespec="seconds")


def _is_date(key: str) -> bool:
    try:
        dt.date.fromisoformat(key)
    except ValueError:
        return False
    return True


def _hover(run: Run, clock: Clock) -> str:
    """Months, k of n, decision and moment, line by line."""
    of = t("share")
    if run.drifted is not None and run.counted is not None:
        of = t("{drifted} of {columns} columns", drifted=run.drifted, columns=run.counted)
    share = f"{of} = {number(run.share, 3)}"
    if run.threshold is not None:
        share = f"{share}, {t('threshold {threshold:limit}', threshold=run.threshold)}"
    lines = [
        f"{escaped(run.ref, LONGEST_KEY)} → {escaped(run.cur, LONGEST_KEY)}",
        share,
        escaped(run.outcome, LONGEST_KEY),
        t("compared {when}", when=format_time(run.created, clock)),
    ]
    if run.own is False:
        lines.append(t("not the system's own policy"))
    return "<br>".join(lines)
