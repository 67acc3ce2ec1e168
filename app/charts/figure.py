"""An answer as a Plotly figure: pure, small and calm. Colours are those of the two themes of the console.

The payload is a third of the usual one: regular series carry `x0` and `dx`, values four significant digits, and missing
steps are null so that gaps stay gaps. Whole numbers of things stay whole: their hover is read as the number itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from html import escape
from typing import Any, Literal

import numpy as np
import plotly.graph_objects as go

from app.config import Panel
from app.prometheus import Answer, Series, State, TimeRange
from app.prometheus.model import Column
from app.words.language import localised
from app.words.message import t
from app.words.units import Clock, Scale, format_time, format_value, scale

Theme = Literal["light", "dark"]

# One height for all charts of a page, so that nothing jumps when one is empty.
HEIGHT = 240
# What a chart can resolve; the rest is payload.
SIGNIFICANT = 4
# Units of numbers that people compare digit by digit: bytes, ports, times since 1970, counts.
EXACT_UNITS = ("1", "count")
# Whole numbers from here on are not exact in themselves.
EXACT_BELOW = 2.0**53
# Room above the highest value, so that a peak does not touch the frame.
HEADROOM = 1.12
# Room below zero, so that a line at zero is not half hidden by the frame.
FOOTROOM = 0.02
# A threshold further away than this many times the data would flatten the data; it is left outside then.
THRESHOLD_REACH = 3.0
# More marks than this cover the chart; the newest are kept.
MAX_MARKS = 20
# A label such as RETRAINING_TRIGGERED takes about this part of a chart of half a laptop's width.
LABEL_WIDTH = 0.2
# Pixels between a mark's line and its label.
LABEL_GAP = 2
# A mark narrower than this share of the range cannot be seen: it is drawn as a line.
THIN = 0.002


@dataclass(frozen=True, slots=True)
class Palette:
    """The colours of one theme; status colours mean status only."""

    text: str
    muted: str
    grid: str
    surface: str
    accent: str
    warn: str
    bad: str
    series: tuple[str, ...]


PALETTES: dict[Theme, Palette] = {
    "light": Palette(
        text="#1B2430",
        muted="#5B6674",
        grid="#E3E8EE",
        surface="#FFFFFF",
        accent="#0B6E99",
        warn="#8A5A00",
        bad="#B3261E",
        series=("#2563A8", "#6D4FA3", "#1F7A7A", "#5B6674"),
    ),
    "dark": Palette(
        text="#E6EDF3",
        muted="#93A4B8",
        grid="#243140",
        surface="#17212C",
        accent="#4FB3D9",
        warn="#E3B341",
        bad="#FF7B72",
        series=("#6CB2F0", "#B49CF0", "#58C7C0", "#A7B3C0"),
    ),
}
DASHES = ("solid", "dash", "dot", "dashdot")

MarkKind = Literal["load", "drift", "alert", "restart"]


@dataclass(frozen=True, slots=True)
class Mark:
    """Something that happened: `start`, `end` in epoch seconds; end None is an instant (drift, restart) or still on.

    `link` is a path of the console (`/traffic?run=…`) or an http(s) address.
    """

    start: float
    end: float | None
    kind: MarkKind
    text: str
    link: str = ""


def figure(
    panel: Panel,
    answer: Answer,
    marks: Sequence[Mark] = (),
    theme: Theme = "light",
    span: TimeRange | None = None,
    *,
    clock: Clock | None = None,
    height: int = HEIGHT,
) -> go.Figure:
    """The chart of an answer. An empty or failed one is an empty frame of equal size: the sentence says why."""
    clock, colours = clock or Clock(), PALETTES[theme]
    span = span or _span(answer.series)
    shown = scale(panel.unit, _largest(answer.series))
    top = _top(panel, answer.series)
    frame = _Frame(shown, span, clock, colours)
    traces = [_trace(panel, one, index, frame) for index, one in enumerate(answer.series)]
    shapes, notes = _marks(marks, span, clock, colours)
    lines, labels = _thresholds(panel, top, shown, colours)
    layout = _layout(span, clock, colours, height, legend=_legend(panel, answer.series))
    layout["yaxis"] |= {"ticksuffix": shown.suffix.replace(" ", "\u00a0"), "range": _y_range(answer, top, shown)}
    layout |= {"shapes": shapes + lines, "annotations": notes + labels}
    if answer.state in (State.ERROR, State.EMPTY):
        layout["annotations"].append(_centre(answer, colours))
    return go.Figure({"data": traces, "layout": layout})


@dataclass(frozen=True, slots=True)
class _Frame:
    """What all traces of a chart share."""

    shown: Scale
    span: TimeRange
    clock: Clock
    colours: Palette


def _trace(panel: Panel, series: Series, index: int, frame: _Frame) -> dict[str, Any]:
    colours, span, clock, shown = frame.colours, frame.span, frame.clock, frame.shown
    colour = colours.series[index % len(colours.series)]
    dash = DASHES[index // len(colours.series) % len(DASHES)]
    # `%{…}` is Plotly's own placeholder in hover texts; a label value must not become one.
    name = escape(series.name or "value").replace("%{", "% {")
    trace: dict[str, Any] = {
        "type": "scatter",
        "mode": "lines",
        "name": name,
        "line": {"color": colour, "width": 1.75, "dash": dash, "shape": "hv" if panel.kind == "state" else "linear"},
        "connectgaps": False,
        "hovertemplate": f"%{{y:{_hover(panel.unit)}}}{escape(shown.suffix)}<extra>{name}</extra>",
    }
    if panel.kind == "area":
        trace |= {"fill": "tozeroy", "fillcolor": _see_through(colour, 0.18)}
    if series.times.size == 1:
        trace["mode"] = "markers"
    regular, whole = _regular(series, span), panel.unit in EXACT_UNITS
    if regular is None:
        trace["x"] = [_stamp(float(at), span, clock) for at in series.times]
        trace["y"] = compact(series.values * shown.factor, whole=whole)
        return trace
    start, values = regular
    trace |= {
        "x0": _stamp(start, span, clock),
        "dx": span.step * 1000.0,
        "y": compact(values * shown.factor, whole=whole),
    }
    return trace


def _regular(series: Series, span: TimeRange) -> tuple[float, Column] | None:
    """(first time, values with NaN at missing steps) when all samples are on the steps of the range."""
    if not series.times.size:
        return span.start, series.values
    places = (series.times - series.times[0]) / span.step
    index = np.rint(places).astype(np.int64)
    if np.abs(places - index).max() > 1e-3 or index[-1] > 2 * span.points or (np.diff(index) <= 0).any():
        return None
    values = np.full(int(index[-1]) + 1, np.nan)
    values[index] = series.values
    return float(series.times[0]), values


def _hover(unit: str) -> str:
    """How a value is written under the pointer: never as a power, never with more digits than the chart was given."""
    return ",.15~g" if unit in EXACT_UNITS else f",.{SIGNIFICANT}~r"


def compact(values: Column, *, whole: bool = False) -> list[float | None]:
    """Values with four significant digits, as the shortest floats; None for NaN and infinity.

    With `whole`, whole numbers keep all their digits.
    """
    good = np.isfinite(values) & (values != 0)
    safe = np.where(good, values, 1.0)
    power = (SIGNIFICANT - 1 - np.floor(np.log10(np.abs(safe)))).clip(-300, 300)
    # Dividing a whole number by a power of ten rounds once, so that 0.0123 does not become 0.012300000000000002.
    up, down = 10.0 ** power.clip(0), 10.0 ** (-power).clip(0)
    rounded = np.where(power >= 0, np.rint(safe * up) / up, np.rint(safe / down) * down)
    if whole:
        exact = good & (np.abs(safe) < EXACT_BELOW)
        rounded = np.where(exact & (np.rint(safe) == safe), safe, rounded)
    rounded = np.where(values == 0, 0.0, rounded)
    kept = np.isfinite(values) & np.isfinite(rounded)
    return [value if fine else None for value, fine in zip(rounded.tolist(), kept.tolist(), strict=True)]


def _stamp(at: float, span: TimeRange, clock: Clock) -> str:
    """Local time for Plotly, which knows no zones; one distance from UTC holds for the whole axis, which names it."""
    moment = datetime.fromtimestamp(at, UTC) + clock.offset(span.end)
    return moment.strftime("%Y-%m-%d %H:%M:%S") + (f".{moment.microsecond // 1000:03d}" if moment.microsecond else "")


def _layout(span: TimeRange, clock: Clock, colours: Palette, height: int, *, legend: bool) -> dict[str, Any]:
    axis = {"gridcolor": colours.grid, "linecolor": colours.grid, "zeroline": False, "automargin": True}
    small = {"size": 11, "color": colours.muted}
    return {
        "template": {},  # Plotly's default template is 7 kB in every chart, and every value in it is set here
        "height": height,
        "margin": {"l": 8, "r": 8, "t": 18, "b": 8},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"size": 12, "color": colours.text},
        "showlegend": legend,
        "legend": {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom", "font": {"size": 11}},
        "hovermode": "x unified",
        "hoverlabel": {"bgcolor": colours.surface, "font": {"color": colours.text}},
        "dragmode": "zoom",
        "uirevision": "keep",
        "separators": localised(".,"),
        "xaxis": axis
        | {
            "type": "date",
            "range": [_stamp(span.start, span, clock), _stamp(span.end, span, clock)],
            "title": {"text": t("time, {zone}", zone=escape(clock.zone(span.end))), "font": small, "standoff": 4},
            "tickfont": small,
            "hoverformat": "%Y-%m-%d %H:%M:%S",
            "nticks": 7,
        },
        "yaxis": axis | {"tickfont": small, "nticks": 5, "fixedrange": True, "exponentformat": "none"},
    }


def _legend(panel: Panel, series: Sequence[Series]) -> bool:
    return len(series) > 1 or (len(series) == 1 and isinstance(panel.expr, dict))


def _largest(series: Sequence[Series]) -> float:
    return max((float(np.abs(one.values[np.isfinite(one.values)]).max(initial=0.0)) for one in series), default=0.0)


def _top(panel: Panel, series: Sequence[Series]) -> float:
    """The highest value the axis should hold, in the panel's unit; thresholds within reach are held too."""
    top = max((float(one.values[np.isfinite(one.values)].max(initial=0.0)) for one in series), default=0.0)
    near = [line for line in (panel.warn, panel.bad) if line is not None and 0 < line <= top * THRESHOLD_REACH]
    return max([top, *near])


def _y_range(answer: Answer, top: float, shown: Scale) -> list[float | None]:
    """From zero for everything that cannot be negative; a flat zero line still gets an axis."""
    lowest = min(
        (float(one.values[np.isfinite(one.values)].min(initial=np.inf)) for one in answer.series), default=np.inf
    )
    if lowest < 0:
        room = (max(top, 0.0) - lowest) * (HEADROOM - 1)
        return [(lowest - room) * shown.factor, (max(top, 0.0) + room) * shown.factor]
    if top <= 0:
        top = 1.0
    return [-FOOTROOM * top * shown.factor, top * HEADROOM * shown.factor]


def _thresholds(
    panel: Panel, top: float, shown: Scale, colours: Palette
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    lines, labels = [], []
    for level, value, colour, dash in (
        (t("warning"), panel.warn, colours.warn, "dash"),
        (t("bad"), panel.bad, colours.bad, "dot"),
    ):
        if value is None or value > top * HEADROOM or top <= 0:
            continue
        height = value * shown.factor
        line = {"color": colour, "width": 1, "dash": dash}
        lines.append({"type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": height, "y1": height, "line": line})
        text = f"{level} {escape(format_value(value, panel.unit))}"
        labels.append(
            {"text": text, "xref": "paper", "x": 1, "y": height, "xanchor": "right", "yanchor": "bottom"}
            | {"showarrow": False, "font": {"size": 10, "color": colour}}
        )
    return lines, labels


def _marks(
    marks: Sequence[Mark], span: TimeRange, clock: Clock, colours: Palette
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Bands and lines with their labels, of what overlaps the range."""
    tint = {
        "load": colours.accent,
        "drift": colours.series[1],
        "alert": colours.bad,
        "restart": colours.muted,
    }
    shapes, notes = [], []
    room = span.seconds * LABEL_WIDTH
    free = span.end + room
    seen = [one for one in marks if one.start <= span.end and _until(one, span) >= span.start]
    # From the newest back: where labels would be on each other, the newest is the one that is looked for.
    for mark in sorted(seen, key=lambda one: one.start, reverse=True)[:MAX_MARKS]:
        start, end = max(mark.start, span.start), min(_until(mark, span), span.end)
        thin = end - start < span.seconds * THIN
        place = {"x0": _stamp(start, span, clock), "x1": _stamp(start if thin else end, span, clock)}
        edge = {"color": tint[mark.kind], "width": 1 if thin else 0, "dash": "dot"}
        shape = {"type": "line" if thin else "rect", "yref": "paper", "y0": 0, "y1": 1, "line": edge, "layer": "below"}
        if not thin:
            shape["fillcolor"] = _see_through(tint[mark.kind], 0.12)
        shapes.append(place | shape)
        # Near the end of the chart a label to the right of its line would be cut.
        left = start + room > span.end
        if (start if left else start + room) > free:
            continue  # two labels on one place cannot be read; the band itself is drawn
        free = start - room if left else start
        notes.append(
            {"x": place["x0"], "yref": "paper", "y": 1, "text": _label(mark, tint[mark.kind]), "showarrow": False}
            | {"xanchor": "right" if left else "left", "yanchor": "top", "xshift": -LABEL_GAP if left else LABEL_GAP}
            | {"font": {"size": 10, "color": tint[mark.kind]}}
            | {"hovertext": f"{escape(t(mark.text))}, {format_time(mark.start, clock)}"}
        )
    return shapes[::-1], notes[::-1]


def _until(mark: Mark, span: TimeRange) -> float:
    """Its end; a run or alert without one still goes on, a comparison or restart is an instant."""
    if mark.end is not None:
        return mark.end
    return span.end if mark.kind in ("load", "alert") else mark.start


def _label(mark: Mark, colour: str) -> str:
    """The mark's text, linked; only paths of the console and http(s) addresses become links."""
    text = escape(t(mark.text))
    if mark.link.startswith(("/", "?", "http://", "https://")) and not mark.link.startswith("//"):
        return f'<a href="{escape(mark.link, quote=True)}" target="_self" style="color:{colour}">{text}</a>'
    return text


def _centre(answer: Answer, colours: Palette) -> dict[str, Any]:
    text = t("no data") if answer.state is State.EMPTY else t("not drawn")
    place = {"xref": "paper", "yref": "paper", "x": 0.5, "y": 0.5, "showarrow": False}
    return place | {"text": text, "font": {"size": 13, "color": colours.muted}}


def _see_through(colour: str, share: float) -> str:
    red, green, blue = (int(colour[at : at + 2], 16) for at in (1, 3, 5))
    return f"rgba({red},{green},{blue},{share})"


def _span(series: Sequence[Series]) -> TimeRange:
    """The range that the samples cover, when none is given."""
    times = np.concatenate([one.times for one in series]) if series else np.array([])
    if not times.size:
        return TimeRange.last(300)
    steps = [float(np.diff(one.times).min()) for one in series if one.times.size > 1]
    step = min(steps, default=1.0) or 1.0
    return TimeRange(float(times.min()), max(float(times.max()), float(times.min()) + step), step)
