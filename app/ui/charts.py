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
from app.ui.address import picked_one
from app.words.explain import REFRESH_COST, WINDOW_AUTO
from app.words.message import t

AUTO = "auto"
WINDOWS: dict[str, float | None] = {AUTO: None, "30 s": 30.0, "1 min": 60.0, "5 min": 300.0}
LAST_5_MIN = "5 min"
RANGES = {LAST_5_MIN: 300.0, "30 min": 1800.0, "6 h": 21_600.0, "24 h": 86_400.0}
OFF = "off"
EVERY_5_S = "5 s"
REFRESHES: dict[str, int | None] = {OFF: None, EVERY_5_S: 5, "10 s": 10, "30 s": 30}
TABS = {"service": t("Service"), "resources": t("Resources"), "drift": t("Drift")}
EXPLORER = "explorer"
# Two charts side by side are wide enough to read on a laptop.
COLUMNS = 2
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
            t("Window"),
            list(WINDOWS),
            default=AUTO,
            required=True,
            key="window",
            bind="query-params",
            help=t(WINDOW_AUTO),
        )
        span = st.segmented_control(
            t("Range"), list(RANGES), default=LAST_5_MIN, required=True, key="range", bind="query-params"
        )
        refresh = picked_one(
            t("Refresh"),
            list(REFRESHES),
            key="refresh",
            words=lambda name: t("off") if name == OFF else name,
            default=EVERY_5_S,
            draw=st.segmented_control,
            required=True,
            help=t(REFRESH_COST),
        )
    return View(
        widgets.chosen(window, WINDOWS, AUTO),
        widgets.chosen(span, RANGES, LAST_5_MIN),
        REFRESHES[refresh],
    )


def tabs(system: System) -> dict[str, str]:
    """The tabs that have panels, then the explorer, with their titles."""
    used = {panel.tab for panel in every(system)}
    return {name: title for name, title in TABS.items() if name in used} | {EXPLORER: t("Explorer")}


def of_tab(system: System, name: str) -> list[Panel]:
    """The panels of one tab, in the order of the file; those on comparisons of months last."""
    return [panel for panel in every(system) if panel.tab == name]


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
        st.caption(widgets.plain(widened(view.window, context)))
    for start in range(0, len(panels), COLUMNS):
        columns = st.columns(COLUMNS, gap="medium")
        for column, panel, answer in zip(columns, panels[start:], answers[start:], strict=False):
            with column:
                chart(system, panel, answer, marks, context)
    if marks:
        text = t(
            "Shaded bands are traffic runs, dotted lines comparisons of months: see Generate traffic, Compare months."
        )
        st.caption(text)


def widened(chosen: float, context: Context) -> str:
    """Why the window is longer than the one that was picked."""
    values = {"window": context.window, "step": context.span.step, "chosen": chosen}
    if context.scrape:
        return t(
            "The window is {window:duration}: with a point every {step:duration}, scraped every {scrape:duration}, one "
            "of {chosen:duration} would leave out what happens between two points.",
            scrape=context.scrape,
            **values,
        )
    return t(
        "The window is {window:duration}: with a point every {step:duration}, one of {chosen:duration} would leave out "
        "what happens between two points.",
        **values,
    )


def linked(marks: Sequence[Mark]) -> list[Mark]:
    """The marks with links that lead to their runs behind a path prefix too."""
    return [replace(mark, link=widgets.route(mark.link)) for mark in marks]


def chart(system: System, panel: Panel, answer: Answer, marks: Sequence[Mark], context: Context) -> None:
    """One panel: title, figure, one sentence. An error keeps showing the last good values, with their age."""
    answer, context, age = _last_good(f"{system.id}:{panel.id}:{context.span.seconds}", answer, context)
    clock = widgets.clock()
    with st.container(key=f"panel-{panel.id}"):
        asked = answer.state is not State.ERROR
        st.markdown(
            f"**{widgets.plain(title(panel, context, asked=asked))}**", help=widgets.plain(t(panel.help)) or None
        )
        drawn = figure(panel, answer, marks, palette.theme(), None if age else context.span, clock=clock)
        st.plotly_chart(drawn, key=f"plot-{panel.id}", config=palette.plotly(), theme=None)
        with st.container(key=f"sentence-{panel.id}"):
            if age is not None:
                old = widgets.plain(t("{age:duration} old.", age=age))
                why = widgets.plain(f"{t(answer.reason)} {t(answer.hint)}")
                st.markdown(f":orange[:material/history: **{old}**] {why}")
                return
            icon = {State.ERROR: ":red[:material/error:] ", State.PARTIAL: ":orange[:material/warning:] "}.get(
                answer.state, ""
            )
            st.markdown(icon + widgets.plain(sentence(panel, answer, context.span, clock)))


def _last_good(key: str, answer: Answer, context: Context) -> tuple[Answer, Context, float | None]:
    """The answer, or in place of a failed one the last good of this session, as what it was asked, and its age."""
    kept: dict[str, tuple[float, Answer, Context]] = st.session_state.setdefault(STALE_KEY, {})
    if answer.state is not State.ERROR:
        kept.pop(key, None)
        kept[key] = (time.time(), answer, context)
        while len(kept) > MAX_STALE:
            kept.pop(next(iter(kept)))
        return answer, context, None
    if key not in kept:
        return answer, context, None
    at, good, asked = kept[key]
    return good.stale(answer.reason, answer.hint), asked, max(1.0, time.time() - at)
