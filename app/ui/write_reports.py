"""Writing reports: the dialog on Reports, the one click at the end of the story, and reports that are being written."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Final

import streamlit as st

from app import jobs
from app.config import System
from app.errors import VigieError
from app.report.request import LAB, LAST_HOUR, LONGEST, MONITORING, TITLES, Asked, title
from app.runs.kinds import REPORT
from app.runs.run import LIVE, Run
from app.ui import cache, reports, widgets
from app.ui.access import act
from app.ui.language import NAMES
from app.ui.live import live
from app.ui.palette import SHAPES
from app.ui.picked import link_params
from app.words.language import language, offered
from app.words.message import t
from app.words.shared import NO_REASON, capital

OWN: Final = "own"
RANGES: Final[Mapping[str, tuple[str, float]]] = {
    "hour": (t("last hour"), LAST_HOUR),
    "six": (t("last 6 hours"), 6 * LAST_HOUR),
    "day": (t("last day"), 24 * LAST_HOUR),
    "week": (t("last 7 days"), 7 * 24 * LAST_HOUR),
    OWN: (t("from … to …"), 0.0),
}
# A chart of a shorter range than this is one stroke.
SHORTEST: Final = 900.0
# What a chart shows before the first run of a story, so that its rise is seen.
BEFORE: Final = 300.0
# Newest reports in which those of the story are looked for.
RECENT: Final = 20


def _start(system: System, names: Sequence[str], since: float, until: float, chosen: str) -> list[str]:
    """Start these reports; the ids of those that run now. What is refused is shown."""
    started = []
    for name in names:
        try:
            args = {"report": name, "since": since, "until": until, "lang": chosen}
            asked = Asked.of(args, time.time())
            run = act(jobs.start, cache.settings(), REPORT, system.id, asked.key(system.id), asked.args)
            started.append(run.run)
        except VigieError as error:
            widgets.problem(error, title=t("The {report} was not started.", report=t(TITLES[name])))
    cache.forget_runs()
    return started


def _runs(system: System, since: float | None = None) -> list[Run]:
    """Read each time: a report that has just ended must not look as if it went on."""
    return cache.ledger().runs(kind=REPORT, system=system.id, since=since, limit=RECENT)


def going_on(system: System) -> bool:
    """Draw each report of the system that is being written, with the way to end it; whether there is one."""
    runs = cache.ledger().runs(kind=REPORT, system=system.id, states=LIVE, limit=RECENT)
    for run in reversed(runs):
        live(run, partial(_progress, run), key=f"report-{run.id}", end=t("Cancel"))
    return bool(runs)


def _progress(run: Run, progress: jobs.Progress, seconds: float) -> None:
    stage = t(progress.stage or t("starting"))
    text = t("{report}: {stage}, for {seconds:duration}", report=capital(title(run.key)), stage=stage, seconds=seconds)
    st.markdown(f":material/hourglass_top: {widgets.plain(text)}")


# --- the page Reports ------------------------------------------------------------------------------------------------


def button(system: System) -> None:
    """The way in, on the head of the page."""
    if st.button(t("Write a report"), icon=":material/description:", key="write-report"):
        _ask(system)


def _ask(system: System) -> None:
    @st.dialog(t("Write a report"), width="medium", icon=":material/description:")
    @widgets.guarded
    def ask() -> None:
        about = t(
            "Of **{system}**, as Markdown, one HTML page that opens without a network, and a ZIP of evidence. Each "
            "number names the query or the run it comes from; what has no data says how to bring it.",
            system=widgets.plain(t(system.title)),
        )
        st.markdown(about)
        with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
            picked = st.selectbox(
                t("Range"), list(RANGES), key="report-range", format_func=lambda one: t(RANGES[one][0])
            )
            chosen = st.selectbox(
                t("Language"),
                offered(),
                index=offered().index(language()),
                key="report-language",
                format_func=lambda one: NAMES[one],
            )
        since, until = _own() if picked == OWN else _last(RANGES[picked][1])
        with st.container(horizontal=True, gap="small"):
            for name, label in ((MONITORING, t("Write monitoring report")), (LAB, t("Write the lab report"))):
                if st.button(label, type="primary", icon=":material/edit_document:", key=f"write-{name}"):
                    _begin(system, name, since, until, chosen)

    ask()


def _last(seconds: float) -> tuple[float, float]:
    now = time.time()
    return now - seconds, now


def _own() -> tuple[float, float]:
    """The two moments that were picked, on the reader's clock."""
    now = datetime.now(widgets.zone()).replace(second=0, microsecond=0, tzinfo=None)
    with st.container(horizontal=True, gap="small"):
        begin = st.datetime_input(t("From"), now - timedelta(hours=1), key="report-since", format="YYYY-MM-DD")
        end = st.datetime_input(t("To"), now, key="report-until", format="YYYY-MM-DD")
    since, until = (moment.replace(tzinfo=widgets.zone()).timestamp() if moment else 0.0 for moment in (begin, end))
    return since, until


def _begin(system: System, name: str, since: float, until: float, chosen: str) -> None:
    if started := _start(system, (name,), since, until, chosen):
        reports.pick(started)
        st.rerun()


# --- the page Lab ----------------------------------------------------------------------------------------------------


def lab_button(system: System, seconds: float) -> None:
    """The way in on the page whose proofs are of the last `seconds`."""
    what = t("Every proof below with its numbers and pictures, and what is missing, as Markdown, HTML and a ZIP.")
    label, icon = t("Write the lab report"), ":material/edit_document:"
    if st.button(label, type="primary", icon=icon, key="lab-report", help=what):
        now = time.time()
        if _start(system, (LAB,), now - seconds, now, language()):
            st.rerun()


def newest_lab(system: System) -> None:
    """The lab report that is being written, else where the newest one is; nothing before the first."""
    if going_on(system):
        return
    run = next((run for run in _runs(system) if run.key.split(":")[2:3] == [LAB]), None)
    if run is not None:
        with st.container(horizontal=True, vertical_alignment="center", gap="small", key="newest-lab"):
            st.caption(widgets.plain(capital(t(run.reason or NO_REASON))), width="content")
            if run.done:
                _open_link(run)


# --- the end of the story --------------------------------------------------------------------------------------------


def after_story(system: System, runs: Sequence[Run]) -> None:
    """Both reports of a story whose `runs` are done: the one click, then their progress, then where they are."""
    if going_on(system):
        return
    begun, ended = min(run.created for run in runs), max(run.created for run in runs)
    written = {title(run.key): run for run in reversed(_runs(system, ended))}
    for name, run in written.items():
        shape = f":green[{SHAPES['good']}] " if run.done else ""
        with st.container(horizontal=True, vertical_alignment="center", gap="small"):
            st.markdown(f"{shape}**{widgets.plain(capital(name))}**", width="content")
            if run.done:
                _open_link(run)
        st.caption(widgets.plain(capital(t(run.reason or NO_REASON))))
    if all(run.done for run in written.values()) and len(written) == len(TITLES):
        return
    label = t("Write the reports")
    what = t(
        "The monitoring report and the lab report of these runs, to hand in: Markdown, HTML and a ZIP of evidence."
    )
    if st.button(label, type="primary", icon=":material/edit_document:", key="story-reports"):
        now = time.time()
        since = max(min(begun - BEFORE, now - SHORTEST), now - LONGEST + 1)
        if _start(system, tuple(TITLES), since, now, language()):
            st.rerun()
    st.caption(widgets.plain(what))


def _open_link(run: Run) -> None:
    query = {**link_params(), reports.RUN_KEY: run.id}
    st.page_link("../pages/reports.py", label=t("Open in Reports"), icon=":material/description:", query_params=query)
