"""The parts of the Charts page: the controls, the grid of panels, a chart with its sentence."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import streamlit as st

from app.charts import Context, Mark, figure, sentence, title
from app.config import Panel, System
from app.drift import panels as drift_panels
from app.prometheus import Answer, State, TimeRange
from app.ui import cache, palette, widgets
from app.words.explain import REFRESH_COST, WINDOW_AUTO
from app.words.units import format_duration

AUTO = "auto"
WINDOWS: dict[str, float | None] = {AUTO: None, "30 s": 30.0, "1 min": 60.0, "5 min": 300.0}
RANGES = {"5 min": 300.0, "30 min": 1800.0, "6 h": 21_600.0, "24 h": 86_400.0}
REFRESHES: dict[str, int | None] = {"off": None, "5 s": 5, "10 s": 10, "30 s": 30}
TABS = {"service": "Service", "resources": "Resources", "drift": "Drift"}
EXPLORER = "Explorer"
# Two charts side by side are wide enough to read on a laptop.
COLUMNS = 2
PLOT = {"displayModeBar": False, "displaylogo": False}
STALE_KEY = "last_good_answers"
# Last good answers kept per session: two screens of panels.
MAX_STALE = 40


@dataclass(frozen=True, slots=True)
class View:
    """What the reader picked: window (None is auto) and range in seconds, refresh in seconds (None is off)."""

    window: float | None
    range: float
    refresh: int | None


def controls() -> View:
    """Window, range and refresh in one row; part of the address."""
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium", key="controls"):
        window = st.segmented_control(
            "Window",
            list(WINDOWS),
            default=AUTO,
            required=True,
            key="window",
            bind="query-params",
            help=WINDOW_AUTO,
        )
        span = st.segmented_control(
            "Range", list(RANGES), default="5 min", required=True, key="range", bind="query-params"
        )
        refresh = st.segmented_control(
            "Refresh",
            list(REFRESHES),
            default="5 s",
            required=True,
            key="refresh",
            bind="query-params",
            help=REFRESH_COST,
        )
    return View(
        widgets.chosen(window, WINDOWS, AUTO),
        widgets.chosen(span, RANGES, "5 min"),
        widgets.chosen(refresh, REFRESHES, "5 s"),
    )


def tabs(system: System) -> list[str]:
    """The tabs that have panels, then the explorer."""
    used = {panel.tab for panel in every(system)}
    return [title for key, title in TABS.items() if key in used] + [EXPLORER]


def of_tab(system: System, name: str) -> list[Panel]:
    """The panels of one tab, in the order of the file; those on comparisons of months last."""
    return [panel for panel in every(system) if TABS[panel.tab] == name]


def every(system: System) -> tuple[Panel, ...]:
    """The panels of the file and those that every system with comparisons of months has."""
    return (*system.panels, *drift_panels.panels(system))


def grid(system: System, panels: Sequence[Panel], view: View) -> None:
    """Every panel over the same range, two side by side, each with its sentence."""
    scrape = cache.scrape_interval(system)
    span = TimeRange.last(view.range, scrape=scrape)
    answers = cache.answers(system, panels, span, view.window, str(widgets.zone()))
    marks = linked(cache.marks(system.id, span.start, span.end))
    context = Context.of(system, view.window, span, cache.targets(system.id)[0])
    if view.window is not None and context.window > view.window:
        st.caption(widened(view.window, context))
    for start in range(0, len(panels), COLUMNS):
        columns = st.columns(COLUMNS, gap="medium")
        for column, panel, answer in zip(columns, panels[start:], answers[start:], strict=False):
            with column:
                chart(system, panel, answer, marks, context)
    if marks:
        st.caption(
            "Shaded bands are traffic runs, dotted lines comparisons of months: see Generate traffic, Compare months."
        )


def widened(chosen: float, context: Context) -> str:
    """Why the window is longer than the one that was picked."""
    every = f", scraped every {format_duration(context.scrape)}" if context.scrape else ""
    return (
        f"The window is {format_duration(context.window)}: with a point every {format_duration(context.span.step)}"
        f"{every}, one of {format_duration(chosen)} would leave out what happens between two points."
    )


def linked(marks: Sequence[Mark]) -> list[Mark]:
    """The marks with links that lead to their runs behind a path prefix too."""
    return [replace(mark, link=widgets.route(mark.link)) for mark in marks]


def chart(system: System, panel: Panel, answer: Answer, marks: Sequence[Mark], context: Context) -> None:
    """One panel: title, figure, one sentence. An error keeps showing the last good values, with their age."""
    answer, age = _last_good(f"{system.id}:{panel.id}:{context.window}:{context.span.seconds}", answer)
    clock = widgets.clock()
    with st.container(key=f"panel-{panel.id}"):
        st.markdown(f"**{widgets.plain(title(panel, context))}**", help=widgets.plain(panel.help) or None)
        drawn = figure(panel, answer, marks, palette.theme(), None if age else context.span, clock=clock)
        st.plotly_chart(drawn, key=f"plot-{panel.id}", config=PLOT, theme=None)
        with st.container(key=f"sentence-{panel.id}"):
            if age is not None:
                st.markdown(
                    f":orange[:material/history: **{format_duration(age)} old.**] "
                    f"{widgets.plain(answer.reason)} {widgets.plain(answer.hint)}"
                )
                return
            icon = {State.ERROR: ":red[:material/error:] ", State.PARTIAL: ":orange[:material/warning:] "}.get(
                answer.state, ""
            )
            st.markdown(icon + widgets.plain(sentence(panel, answer, context.span, clock)))


def _last_good(key: str, answer: Answer) -> tuple[Answer, float | None]:
    """The answer, or in place of a failed one the last good of this session and its age in seconds."""
    kept: dict[str, tuple[float, Answer]] = st.session_state.setdefault(STALE_KEY, {})
    if answer.state is not State.ERROR:
        kept.pop(key, None)
        kept[key] = (time.time(), answer)
        while len(kept) > MAX_STALE:
            kept.pop(next(iter(kept)))
        return answer, None
    if key not in kept:
        return answer, None
    at, good = kept[key]
    return good.stale(answer.reason, answer.hint), max(1.0, time.time() - at)
