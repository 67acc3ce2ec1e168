"""Charts of a report as SVG text, each with its numbers as CSV. Pure: no browser, no further library.

A drawing has no script, no reference and no id, so that many stand in one page. Lines differ by their dashes and points
by their shape, and so can be told apart on black and white paper. Whatever comes from data is escaped.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from html import escape
from typing import Final

import numpy as np

from app.base.text import one_line
from app.charts.columns import COLOURS, DOTS, by_nearness, trimmed, widest_of
from app.charts.export import answer_csv, safe_cell
from app.charts.figure import HEADROOM, LABEL_WIDTH, MAX_MARKS, PALETTES, THIN, THRESHOLD_REACH, Mark
from app.drift.decide import nearness
from app.drift.result import Column
from app.drift.sentence import method_words
from app.prometheus import Answer, Series, State, TimeRange
from app.words.message import t
from app.words.numbers import number
from app.words.units import Clock, Scale, format_number, format_value, scale

__all__ = ["bars", "dot_plot", "line_chart"]

INK: Final = PALETTES["light"]
# In drawing units; a page scales the whole to its width.
WIDTH: Final = 760.0
PLOT_HEIGHT: Final = 210.0
LINE: Final = 16.0
ROW: Final = 22.0
# A sans-serif letter of the size used here is about so wide; no font is measured.
LETTER: Final = 6.2
# Dashes of the lines one after the other: with four colours, sixteen lines differ.
DASHES: Final = ("", "7 3", "2 3", "9 3 2 3")
# More names than these would push the chart off its page; every line is drawn, and the CSV names all.
MOST_NAMES: Final = 12
# A name of a legend longer than half the chart's width is cut in the middle.
LONGEST: Final = 56
# More bars than this are a table, not a picture; the CSV has all.
MOST_BARS: Final = 30
# Samples further apart than so many steps have a gap between them.
GAP_STEPS: Final = 1.6
TICKS: Final = 5
TIME_TICKS: Final = 7
DAY: Final = 86_400
TIME_STEPS: Final = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10_800, 21_600, 43_200, DAY)
# The share of a value axis below zero that keeps a line at zero off the frame.
FOOT: Final = 0.02
# A number larger than this cannot be told apart from its neighbours in a drawing, and overflows when scaled.
LARGEST: Final = 1e250


@dataclass(frozen=True, slots=True)
class _Plot:
    """Where the axes are: x in epoch seconds, y in the unit of the values."""

    left: float
    top: float
    span: TimeRange
    low: float
    high: float

    @property
    def right(self) -> float:
        return WIDTH - 10

    @property
    def bottom(self) -> float:
        return self.top + PLOT_HEIGHT

    def x(self, at: float) -> float:
        return self.left + (at - self.span.start) / (self.span.seconds or 1.0) * (self.right - self.left)

    def y(self, value: float) -> float:
        return self.bottom - (value - self.low) / (self.high - self.low) * PLOT_HEIGHT


def line_chart(
    title: str,
    unit: str,
    series: Sequence[Series],
    span: TimeRange,
    marks: Sequence[Mark] = (),
    *,
    clock: Clock | None = None,
    steps: bool = False,
    warn: float | None = None,
    bad: float | None = None,
) -> tuple[str, str]:
    """Lines over time as (SVG, CSV). A missing sample is a gap; `steps` holds a value until the next, as states do.

    `warn` and `bad` are levels to draw where the data come near them.
    """
    clock = clock or Clock()
    cut = [_within(one, span) for one in series]
    values = np.concatenate([one.values for one in cut]) if cut else np.array([])
    values = values[np.isfinite(values)]
    top, lowest = float(values.max(initial=0.0)), float(values.min(initial=0.0))
    levels = [(name, level, colour) for name, level, colour in _levels(warn, bad) if level <= top * THRESHOLD_REACH]
    low, high = _range(lowest, max([top, *(level for _, level, _ in levels)]))
    shown = scale(unit, max(abs(low), abs(high)))
    ticks = _nice(low * shown.factor, high * shown.factor)
    words = [f"{format_number(tick)}{shown.suffix}" for tick in ticks]
    head, top_edge = _head(title, [one.name or "value" for one in series] if len(series) > 1 else [])
    plot = _Plot(max(40.0, 14 + LETTER * max(map(len, words), default=0)), top_edge + 4, span, low, high)
    body = [*_marks(plot, marks), *_grid(plot, ticks, words, shown), *_times(plot, clock)]
    body += _level_lines(plot, levels, unit)
    body += [_line(plot, one, at, steps=steps) for at, one in enumerate(cut)]
    if not values.size:
        middle = (plot.left + plot.right) / 2
        body.append(_text(middle, plot.top + PLOT_HEIGHT / 2, t("no data"), anchor="middle", size=13))
    table = answer_csv(Answer(State.OK if values.size else State.EMPTY, series=tuple(series)))
    return _svg(title, plot.bottom + 46, [*head, *body]), table.decode()


def _within(series: Series, span: TimeRange) -> Series:
    """The samples in the range; what is no finite number of a size that can be drawn is a gap."""
    inside = (series.times >= span.start - 1e-6) & (series.times <= span.end + 1e-6)
    values = series.values[inside]
    drawable = np.isfinite(values) & (np.abs(np.where(np.isfinite(values), values, 0.0)) < LARGEST)
    return Series(series.labels, series.times[inside], np.where(drawable, values, np.nan), series.name)


def _levels(warn: float | None, bad: float | None) -> list[tuple[str, float, str]]:
    both = ((t("warning"), warn, INK.warn), (t("bad"), bad, INK.bad))
    return [(name, level, colour) for name, level, colour in both if level is not None and 0 < level < LARGEST]


def _range(lowest: float, top: float) -> tuple[float, float]:
    """From zero for everything that is not negative; a flat zero line still gets an axis."""
    if lowest < 0:
        room = (max(top, 0.0) - lowest) * (HEADROOM - 1)
        return lowest - room, max(top, 0.0) + room
    top = top if top > 0 else 1.0
    return -FOOT * top, top * HEADROOM


def _nice(low: float, high: float) -> list[float]:
    """About TICKS round numbers in a range."""
    rough = (high - low) / TICKS
    power = 10.0 ** math.floor(math.log10(rough)) if rough > 0 else 0.0
    step = next((power * by for by in (1, 2, 2.5, 5, 10) if power * by >= rough), 0.0)
    if not step or not math.isfinite(step):
        return []
    return [at * step for at in range(math.ceil(low / step), math.floor(high / step) + 1)][: 3 * TICKS]


def _grid(plot: _Plot, ticks: Sequence[float], words: Sequence[str], shown: Scale) -> list[str]:
    drawn = []
    for tick, word in zip(ticks, words, strict=True):
        y = plot.y(tick / shown.factor)
        drawn.append(_rule(plot.left, y, plot.right, y, INK.grid if tick else INK.muted))
        drawn.append(_text(plot.left - 6, y + 4, word, anchor="end"))
    return [*drawn, _rule(plot.left, plot.bottom, plot.right, plot.bottom, INK.muted)]


def _times(plot: _Plot, clock: Clock) -> list[str]:
    """Ticks at round local times; the date stands below the first one and wherever it changes."""
    span, offset = plot.span, clock.offset(plot.span.end)
    whole = span.seconds / TIME_TICKS
    step = next((one for one in TIME_STEPS if one >= whole), DAY * max(1, math.ceil(whole / DAY)))
    shift = offset.total_seconds()
    first = math.ceil((span.start + shift) / step) * step - shift
    form = "%H:%M:%S" if step < 60 else "%H:%M"
    drawn, day = [], ""
    for at in range(max(0, math.floor((span.end - first) / step) + 1)):
        moment = first + at * step
        x, local = plot.x(moment), datetime.fromtimestamp(moment, UTC) + offset
        drawn.append(_rule(x, plot.bottom, x, plot.bottom + 4, INK.muted))
        hour, date = local.strftime(form), local.strftime("%Y-%m-%d")
        if step < DAY:
            drawn.append(_text(x, plot.bottom + 17, hour, anchor="middle"))
        if date != day:
            drawn.append(_text(x, plot.bottom + (31 if step < DAY else 17), date, anchor="middle"))
        day = date
    return [*drawn, _text(plot.right, plot.bottom + 42, t("time, {zone}", zone=clock.zone(span.end)), anchor="end")]


def _marks(plot: _Plot, marks: Sequence[Mark]) -> list[str]:
    """Bands and lines of what happened, the newest first; a label that would cover another is left out."""
    tint = {"load": INK.accent, "drift": INK.series[1], "alert": INK.bad, "restart": INK.muted}
    span, drawn = plot.span, []
    room = (plot.right - plot.left) * LABEL_WIDTH
    free = plot.right + room
    seen = [(mark, span.end if mark.end is None and mark.kind in ("load", "alert") else mark.end) for mark in marks]
    seen = [(mark, end) for mark, end in seen if mark.start <= span.end and (end or mark.start) >= span.start]
    for mark, end in sorted(seen, key=lambda pair: pair[0].start, reverse=True)[:MAX_MARKS]:
        x = plot.x(max(mark.start, span.start))
        until = plot.x(min(end or mark.start, span.end))
        colour = tint[mark.kind]
        if until - x >= (plot.right - plot.left) * THIN:
            drawn.append(_box(x, plot.top, until - x, PLOT_HEIGHT, colour, opacity=0.12))
        drawn.append(_rule(x, plot.top, x, plot.bottom, colour, dash="2 3"))
        left = x + room > plot.right
        if (x if left else x + room) <= free:
            free = x - room if left else x
            anchor = "end" if left else "start"
            label = trimmed(t(mark.text), int(room / LETTER))
            drawn.append(_text(x + (-3 if left else 3), plot.top + 11, label, anchor=anchor, colour=colour))
    return drawn


def _level_lines(plot: _Plot, levels: Sequence[tuple[str, float, str]], unit: str) -> list[str]:
    drawn = []
    for name, level, colour in levels:
        y = plot.y(level)
        drawn.append(_rule(plot.left, y, plot.right, y, colour, dash="6 4"))
        drawn.append(_text(plot.right, y - 3, f"{name} {format_value(level, unit)}", anchor="end", colour=colour))
    return drawn


def _line(plot: _Plot, series: Series, at: int, *, steps: bool) -> str:
    """One series; a point between two gaps is a dot."""
    colour, dash = INK.series[at % len(INK.series)], _dash(at)
    stretches: list[list[tuple[float, float]]] = [[]]
    before = -math.inf
    for moment, value in zip(series.times.tolist(), series.values.tolist(), strict=True):
        if math.isnan(value) or moment - before > GAP_STEPS * plot.span.step:
            stretches.append([])
        before = moment
        if not math.isnan(value):
            if steps and stretches[-1]:
                stretches[-1].append((plot.x(moment), stretches[-1][-1][1]))
            stretches[-1].append((plot.x(moment), plot.y(value)))
    path = "".join("M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in stretch) for stretch in stretches if len(stretch) > 1)
    dots = "".join(
        f'<circle cx="{stretch[0][0]:.1f}" cy="{stretch[0][1]:.1f}" r="2.6" fill="{colour}"/>'
        for stretch in stretches
        if len(stretch) == 1
    )
    stroke = f'fill="none" stroke="{colour}" stroke-width="1.7" stroke-linejoin="round"{dash}'
    return (f'<path d="{path}" {stroke}/>' if path else "") + dots


def _dash(at: int) -> str:
    """The dashes of the line at a place: colours go round first, then the dashes go one on with each of them too."""
    dash = DASHES[(at + at // len(INK.series)) % len(DASHES)]
    return f' stroke-dasharray="{dash}"' if dash else ""


def _head(title: str, names: Sequence[str]) -> tuple[list[str], float]:
    """Title and legend, and the y below them."""
    drawn = [_text(8, 20, trimmed(title, 100), size=14, colour=INK.text, bold=True)]
    x, y = 8.0, 38.0
    for at, name in enumerate(names[:MOST_NAMES]):
        shown = trimmed(name, LONGEST)
        width = 34 + LETTER * len(shown) + 14
        if x > 8 and x + width > WIDTH:
            x, y = 8.0, y + LINE
        colour = INK.series[at % len(INK.series)]
        drawn.append(f'<path d="M{x:.1f} {y - 4:.1f}h26" stroke="{colour}" stroke-width="2"{_dash(at)}/>')
        drawn.append(_text(x + 32, y, shown, colour=INK.text))
        x += width
    if len(names) > MOST_NAMES:
        y += LINE
        drawn.append(_text(8, y, t("and {n} more, in the CSV", n=len(names) - MOST_NAMES)))
    return drawn, y + 8 if names else 28.0


def dot_plot(columns: Sequence[Column], title: str = "") -> tuple[str, str]:
    """How near each compared column came to its threshold, nearest first, as (SVG, CSV): a line at 1, ◆ drifted."""
    near_by = [(column, nearness(column)) for column in by_nearness(columns)]
    scored = [(column, near) for column, near in near_by if column.comparable and near is not None][:DOTS]
    widest = widest_of([near for _, near in scored])
    edge = max([1.35, *(min(near, widest) * 1.15 for _, near in scored)])
    title = title or t("score ÷ threshold")
    head, top = _head(title, [])
    left = 20 + LETTER * max((len(trimmed(column.name)) for column, _ in scored), default=0)
    right, bottom = WIDTH - 60, top + ROW * max(3, len(scored))
    unit = (right - left) / edge
    body = [_rule(left, bottom, right, bottom, INK.muted)]
    for tick in _nice(0, edge):
        x = left + tick * unit
        body += [_rule(x, top, x, bottom, INK.grid), _text(x, bottom + 16, format_number(tick), anchor="middle")]
    body.append(_rule(left + unit, top, left + unit, bottom, INK.bad, dash="6 4", width=1.5))
    colours = COLOURS["light"]
    for at, (column, near) in enumerate(scored):
        x, y = left + min(near, widest) * unit, top + ROW * (at + 0.5)
        body.append(_text(left - 8, y + 4, trimmed(column.name), anchor="end", colour=INK.text))
        body.append(_rule(left, y, x, y, INK.grid))
        if column.drifted:
            body.append(f'<path d="M{x:.1f} {y - 6:.1f}l6 6l-6 6l-6 -6z" fill="{colours["bad"]}"/>')
        else:
            body.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5" fill="{colours["cur"]}"/>')
        text = number(column.score) + (" →" if near > widest else "")
        body.append(_text(x + 10, y + 4, text, colour=INK.text))
    if not scored:
        body.append(_text((left + right) / 2, (top + bottom) / 2, t("no data"), anchor="middle", size=13))
    legend = "   ".join((f"◆ {t('drifted')}", f"● {t('not drifted')}", f"┆ {t('threshold')}"))
    body.append(_text(left, bottom + 34, legend))
    body.append(_text(right, bottom + 34, t("score ÷ threshold"), anchor="end"))
    return _svg(title, bottom + 44, [*head, *body]), _dots_csv(near_by)


def _dots_csv(near_by: Sequence[tuple[Column, float | None]]) -> str:
    # no catalogue: programs read these columns
    rows: list[Sequence[object]] = [("column", "method", "score", "threshold", "score/threshold", "drifted")]
    # no catalogue: programs read it
    words = {True: "yes", False: "no", None: "not comparable"}
    for column, near in near_by:
        numbers = ("unknown" if one is None else repr(float(one)) for one in (column.score, column.threshold, near))
        drifted = words[column.drifted if column.comparable else None]
        rows.append((safe_cell(column.name), safe_cell(method_words(column.method or "")), *numbers, drifted))
    return _csv(rows)


def bars(title: str, unit: str, values: Sequence[tuple[str, float | None]]) -> tuple[str, str]:
    """One bar a name, in the order given, as (SVG, CSV); what is unknown is a word and no bar."""
    shown = values[:MOST_BARS]
    drawable = [value for _, value in shown if value is not None and math.isfinite(value) and abs(value) < LARGEST]
    low, high = min([0.0, *drawable]), max([0.0, *drawable])
    head, top = _head(title, [])
    left = 20 + LETTER * max((len(trimmed(name)) for name, _ in shown), default=0)
    unit_width = (WIDTH - 100 - left) / ((high - low) or 1.0)
    zero, bottom = left - low * unit_width, top + ROW * max(1, len(shown))
    body = []
    for at, (name, value) in enumerate(shown):
        y, width = top + ROW * at, (value * unit_width if value in drawable and value is not None else 0.0)
        body.append(_text(left - 8, y + 15, trimmed(name), anchor="end", colour=INK.text))
        body.append(_box(zero + min(0.0, width), y + 3, abs(width), ROW - 6, INK.series[0]))
        body.append(_text(zero + max(0.0, width) + 6, y + 15, format_value(value, unit), colour=INK.text))
    body.append(_rule(zero, top, zero, bottom, INK.muted))
    if len(values) > MOST_BARS:
        bottom += ROW
        body.append(_text(left, bottom - 6, t("and {n} more, in the CSV", n=len(values) - MOST_BARS)))
    # no catalogue: programs read these columns
    rows = [("name", "value"), *((safe_cell(name), "" if one is None else repr(float(one))) for name, one in values)]
    return _svg(title, bottom + 10, [*head, *body]), _csv(rows)


def _csv(rows: Sequence[Sequence[object]]) -> str:
    out = io.StringIO()
    csv.writer(out, lineterminator="\r\n").writerows(rows)
    return out.getvalue().encode("utf-8", "replace").decode()


def _svg(title: str, height: float, body: Sequence[str]) -> str:
    name = escape(one_line(title))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH:g} {height:.0f}" role="img" aria-label="{name}"'
        f' font-family="Helvetica, Arial, sans-serif" font-size="11"><title>{name}</title>'
        f'<rect width="{WIDTH:g}" height="{height:.0f}" fill="{INK.surface}"/>' + "\n".join(body) + "</svg>\n"
    )


def _text(
    x: float, y: float, text: str, *, anchor: str = "start", size: int = 11, colour: str = INK.muted, bold: bool = False
) -> str:
    extra = f' font-size="{size}"' if size != 11 else ""
    extra += ' font-weight="600"' if bold else ""
    place = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}"'
    return f"<text {place}{extra}>{escape(one_line(text))}</text>"


def _rule(x: float, y: float, to_x: float, to_y: float, colour: str, *, dash: str = "", width: float = 1.0) -> str:
    dashes = f' stroke-dasharray="{dash}"' if dash else ""
    return f'<path d="M{x:.1f} {y:.1f}L{to_x:.1f} {to_y:.1f}" stroke="{colour}" stroke-width="{width:g}"{dashes}/>'


def _box(x: float, y: float, width: float, height: float, colour: str, *, opacity: float = 1.0) -> str:
    see = f' fill-opacity="{opacity:g}"' if opacity < 1 else ""
    return f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" fill="{colour}"{see}/>'
