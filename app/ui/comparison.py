"""The parts of the Compare months page: pickers, a run in progress, the verdict, the table of columns, earlier runs."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import datetime

import pandas as pd
import streamlit as st

from app import jobs
from app.charts import Context
from app.config import Drift, System
from app.drift.gauge import look
from app.drift.request import job_args, job_key
from app.drift.result import Policy, Verdict
from app.errors import JobError, VigieError
from app.ledger import Run
from app.periods import Period
from app.prometheus import TimeRange
from app.ui import cache, widgets
from app.ui import panels as charts
from app.ui.palette import MARKDOWN, SHAPES
from app.ui.verdict import FRAME_OF, TONE_OF, read, report_name, verdict, why

# How often a running comparison is looked at, in seconds: a stage lasts about a second.
LOOK_EVERY = 0.5
# Earlier runs on this page; the library has them all.
EARLIER = 20
# The gauge of a system that measures its own drift: the last half hour, as the charts show it.
GAUGE_RANGE = 1800.0
GAUGE_WINDOW = 60.0
# High enough for Evidently's report without a scroll bar inside a scroll bar on a laptop.
REPORT_HEIGHT = 900
VIEWS = ("Why", "Evidently report", "Earlier runs")


def period_label(period: Period) -> str:
    """`month_001 · 2024-02-29 · 7,043 rows`, and what a reader must know before picking it."""
    rows = f"{period.rows:,} rows" if period.rows is not None else "rows not counted"
    labels = " · no labels" if period.labelled == 0 else ""
    parts = [period.name, *([str(period.date)] if period.date and str(period.date) != period.name else []), rows]
    return " · ".join(parts) + labels


def defaults(keys: Sequence[str], *, newest: bool = False) -> None:
    """First visit: the pair of the address (`?ref=…&cur=…`), else the first two, of rolling windows the newest two.

    A month that has vanished is dropped.
    """
    for name, fallback in zip(("ref", "cur"), keys[-2:] if newest else keys[:2], strict=True):
        if st.session_state.get(name) not in keys:
            asked = st.query_params.get(name)
            st.session_state[name] = asked if asked in keys else fallback


def swap() -> None:
    """Exchange reference and current."""
    st.session_state["ref"], st.session_state["cur"] = st.session_state["cur"], st.session_state["ref"]


def start(system: System, ref: str, cur: str, policy: Policy) -> None:
    """Start the comparison, or join the one that runs, and follow it, here and after a reload."""
    try:
        key, args = job_key(system, ref, cur, policy), job_args(ref, cur, policy)
        started = jobs.start(cache.settings(), "drift", system.id, key, args)
    except JobError as error:
        # What was compared earlier is still worth reading.
        widgets.problem(error, title="Nothing was started.")
        return
    st.query_params["run"] = started.run
    if started.joined:
        st.toast("The same comparison is already running: this page follows it.")


def warm() -> None:
    """Have the worker load its libraries while the reader picks; without a job host, say so."""
    try:
        jobs.warm(cache.settings(), "drift")
    except JobError as error:
        widgets.problem(error, title="Months cannot be compared now.")


def follow(system: System, run_id: str | None) -> None:
    """The run of the address, else the newest one: progress while it goes, its verdict once it is done."""
    earlier = cache.runs(system.id, "drift", EARLIER)
    if run_id is None:
        run_id = earlier[0].id if earlier else None
    if run_id is None:
        widgets.empty("Nothing compared yet.", "Pick two months and press Compare months: it takes a few seconds.")
        return
    run = cache.ledger().get(run_id)
    if run is None or run.system != system.id:
        widgets.empty("That run is not known for this system.", "It was deleted, or belongs to another system.")
        _earlier_table(earlier)
        return
    if run.state in ("queued", "running"):
        _progress(run)
    elif run.state == "done":
        _done(system, run, earlier)
    else:
        _ended(run)
        _earlier_table(earlier)


def _progress(run: Run) -> None:
    @st.fragment(run_every=LOOK_EVERY)
    @widgets.guarded
    def look() -> None:
        progress = jobs.read_progress(cache.settings(), run.id)
        if progress is None or progress.final or progress.state == "interrupted":
            cache.forget_runs()
            st.rerun()
        with st.container(border=True, key="running"):
            seconds = max(0, round(time.time() - (progress.started or progress.created)))
            counted = f" · {progress.done} of {progress.total}" if progress.total and progress.done is not None else ""
            stage = progress.stage or "waiting for the worker"
            st.progress(progress.share or 0.0, text=f"{widgets.plain(stage)}{counted} · {seconds} s")
            if st.button("Cancel", icon=":material/stop_circle:", key="cancel"):
                jobs.cancel(cache.settings(), run.id)

    look()


def _ended(run: Run) -> None:
    words = {"failed": "The comparison failed.", "cancelled": "The comparison was cancelled."}
    title = words.get(run.state, "The comparison was interrupted.")
    if run.state == "failed":
        widgets.problem(JobError(run.reason or "No reason was written down."), title=title)
    else:
        widgets.empty(title, run.reason or "Nothing was kept of it. Press Compare months to run it again.")


def _done(system: System, run: Run, earlier: Sequence[Run]) -> None:
    try:
        result = read(run)
    except VigieError as error:
        widgets.problem(error)
        _earlier_table(earlier)
        return
    verdict(system, run, result)
    has_report = report_name(result) is not None
    views = [view for view in VIEWS if has_report or view != "Evidently report"]
    view = st.segmented_control(
        "View", views, key="view", default=views[0], required=True, label_visibility="collapsed"
    )
    if view == "Why":
        why(result)
    elif view == "Evidently report":
        # Served by our own route under a sandboxing policy: values in a report can carry script.
        st.iframe(widgets.route(f"/reports/view/{run.id}"), height=REPORT_HEIGHT)
    else:
        _earlier_table(earlier)


def _earlier_table(runs: Sequence[Run]) -> None:
    if not runs:
        return
    zone = widgets.zone()
    rows = [
        {
            "when": datetime.fromtimestamp(run.created, tz=zone),
            "months": _months(run),
            "state": run.state,
            "decision": run.outcome or "—",
            "reason": run.reason,
            "open": f"?system={run.system}&run={run.id}",
        }
        for run in runs
    ]
    st.dataframe(
        pd.DataFrame(rows),
        hide_index=True,
        key="earlier",
        column_config={
            "when": st.column_config.DatetimeColumn(format="YYYY-MM-DD HH:mm:ss", timezone=str(zone)),
            "open": st.column_config.LinkColumn(display_text="open"),
        },
    )


def _months(run: Run) -> str:
    parts = run.key.split(":")
    return f"{parts[2]} → {parts[3]}" if len(parts) > 3 else run.key


def gauge(system: System, drift: Drift) -> None:
    """A system that measures its own drift: the banner on its gauge, and the gauge over time."""
    found = look(cache.prometheus(system), system)
    tone = TONE_OF[found.decision]
    with st.container(border=True, key=f"verdict-{FRAME_OF[found.decision]}"):
        sign = "≥" if found.decision is Verdict.RETRAINING_TRIGGERED else "<"
        shown = "gauge unknown" if found.value is None else f"{found.value:.3g} {sign} {drift.threshold:g}"
        simulated = " (SIMULÉ)" if found.decision is Verdict.RETRAINING_TRIGGERED else ""
        st.markdown(f"### :{MARKDOWN[tone]}[{SHAPES[tone]} {found.decision}]{simulated} · {shown}")
        st.markdown(widgets.plain(f"{found.reason[:1].upper()}{found.reason[1:]}"))
        st.markdown("The service measures this itself: no months are compared, and there is no report.")
        if found.value is None:
            st.markdown("A score over the last requests needs enough of them first: generate traffic, then look again.")
        st.code(found.line, language=None, wrap_lines=True)
    span = TimeRange.last(GAUGE_RANGE, scrape=cache.scrape_interval(system))
    own = [panel for panel in system.panels if panel.tab == "drift"]
    found_answers = cache.answers(system, own, span, GAUGE_WINDOW, str(widgets.zone()))
    context = Context.of(system, GAUGE_WINDOW, span)
    for panel, answer in zip(own, found_answers, strict=True):
        charts.chart(system, panel, answer, cache.marks(system.id, span.start, span.end), context)
