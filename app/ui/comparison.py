"""The parts of the Compare months page: pickers, a run in progress, the verdict, the table of columns, earlier runs."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import datetime
from functools import partial
from pathlib import Path

import pandas as pd
import streamlit as st

from app import jobs, reports
from app.charts import Context
from app.charts.columns import dot_plot, two_histograms
from app.config import Drift, System
from app.drift import decide
from app.drift.gauge import look
from app.drift.request import job_args, job_key
from app.drift.result import Policy, Result, Verdict
from app.errors import JobError, VigieError
from app.ledger import Run
from app.periods import Period
from app.prometheus import TimeRange
from app.ui import cache, palette, widgets
from app.ui import panels as charts
from app.ui.palette import MARKDOWN, SHAPES, Tone

# How often a running comparison is looked at, in seconds: a stage lasts about a second.
LOOK_EVERY = 0.5
# Earlier runs on this page; the library has them all.
EARLIER = 20
# The gauge of a system that measures its own drift: the last half hour, as the charts show it.
GAUGE_RANGE = 1800.0
GAUGE_WINDOW = 60.0
# High enough for Evidently's report without a scroll bar inside a scroll bar on a laptop.
REPORT_HEIGHT = 900
TONE_OF: dict[str, Tone] = {
    Verdict.NO_ACTION: "good",
    Verdict.RETRAINING_TRIGGERED: "bad",
    Verdict.UNDECIDED: "unknown",
}
FRAME_OF = {Verdict.NO_ACTION: "none", Verdict.RETRAINING_TRIGGERED: "trigger", Verdict.UNDECIDED: "undecided"}
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


@st.cache_data(max_entries=40, show_spinner=False)
def _result(path: str) -> Result:
    return Result.from_json(reports.read_file(Path(path), "result.json"))


def result_of(run: Run) -> Result | None:
    """The stored result of a finished comparison; None when it cannot be read."""
    try:
        return _result(str(run.path))
    except VigieError:
        return None


def _done(system: System, run: Run, earlier: Sequence[Run]) -> None:
    try:
        result = _result(str(run.path))
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
        _why(result)
    elif view == "Evidently report":
        # Served by our own route under a sandboxing policy: values in a report can carry script.
        st.iframe(widgets.route(f"/reports/view/{run.id}"), height=REPORT_HEIGHT)
    else:
        _earlier_table(earlier)


def report_name(result: Result, suffix: str = "html") -> str | None:
    """The file name of Evidently's report; None for a run without one (UNDECIDED)."""
    return None if result.decision is Verdict.UNDECIDED else f"drift_{result.ref.key}_vs_{result.cur.key}.{suffix}"


def headline(result: Result) -> str:
    """The verdict in numbers: `1 of 16 columns drifted: 0.06 < 0.30`."""
    if result.share is None or result.k is None:
        return "not decided"
    sign = "≥" if result.decision is Verdict.RETRAINING_TRIGGERED else "<"
    return f"{result.k} of {result.n} columns drifted: {result.share:.2f} {sign} {result.policy.threshold:.2f}"


def verdict(system: System, run: Run, result: Result) -> None:
    """The banner: decision, numbers, reason, target drift, files."""
    tone = TONE_OF[result.decision]
    with st.container(border=True, key=f"verdict-{FRAME_OF[result.decision]}"):
        st.markdown(f"### :{MARKDOWN[tone]}[{SHAPES[tone]} {result.decision}]{_simulated(result)} · {headline(result)}")
        st.markdown(widgets.plain(_pair(result) + result.reason))
        st.markdown(widgets.plain(_target(result)))
        if result.policy.threshold != (system.drift.threshold if system.drift else None):
            st.caption("Compared with a threshold of your own: this run moves no gauge.")
        for note in result.notes:
            st.caption(widgets.plain(note))
        _buttons(run, result)
        st.code(result.line, language=None, wrap_lines=True)


def _simulated(result: Result) -> str:
    return " (SIMULÉ)" if result.decision is Verdict.RETRAINING_TRIGGERED else ""


def _pair(result: Result) -> str:
    rows = [
        f"{side.key} ({side.rows:,} rows)" if side.rows is not None else side.key for side in (result.ref, result.cur)
    ]
    return f"{rows[0]} → {rows[1]}. "


def _target(result: Result) -> str:
    target = result.target_drift
    if target.value is None or target.ref_rate is None or target.cur_rate is None:
        return f"Target drift not measured: {target.reason}"
    return f"Target drift {target.value:.3f}: label rate {target.ref_rate * 100:.1f} % → {target.cur_rate * 100:.1f} %."


def _buttons(run: Run, result: Result) -> None:
    with st.container(horizontal=True, gap="small", key="files"):
        for label, suffix, mime in (
            ("Download HTML", "html", "text/html"),
            ("Download JSON", "json", "application/json"),
        ):
            name = report_name(result, suffix)
            if name is None:
                continue
            st.download_button(
                label,
                data=partial(reports.read_file, Path(str(run.path)), name),
                file_name=name,
                mime=mime,
                icon=":material/download:",
                on_click="ignore",
                key=f"get-{suffix}-{run.id}",
            )
        if report_name(result):
            st.link_button("Full page", widgets.route(f"/reports/view/{run.id}"), icon=":material/open_in_new:")


def _why(result: Result) -> None:
    if not result.columns:
        widgets.empty("No column was compared.", result.reason)
        return
    ordered = sorted(result.columns, key=lambda column: decide.nearness(column) or -1.0, reverse=True)
    left, right = st.columns([3, 2], gap="medium")
    with left:
        st.plotly_chart(
            dot_plot(ordered, theme=palette.theme()), key=f"dots-{result.run}", config={"displayModeBar": False}
        )
        st.caption(
            "Score divided by its threshold: at 1 and beyond a column counts as drifted; → means further than drawn."
        )
    with right:
        names = [column.name for column in ordered]
        picked = st.selectbox("Distribution of", names, key=f"column-{result.run}")
        column = next(column for column in ordered if column.name == picked)
        st.plotly_chart(
            two_histograms(column, theme=palette.theme()), key=f"pair-{result.run}", config={"displayModeBar": False}
        )
    st.dataframe(
        pd.DataFrame(
            [
                {
                    "column": column.name,
                    "drifted": {True: "drifted", False: "no", None: "not comparable"}[column.drifted],
                    "score": column.score,
                    "threshold": column.threshold,
                    "method": decide.method_words(column.method or "") or column.reason,
                    "reference": widgets.side_words(column.ref),
                    "current": widgets.side_words(column.cur),
                    "nulls": f"{column.ref.nulls:,} → {column.cur.nulls:,}"
                    if column.ref.nulls is not None and column.cur.nulls is not None
                    else "unknown",
                }
                for column in ordered
            ]
        ),
        hide_index=True,
        key=f"columns-{result.run}",
        column_config={
            "score": st.column_config.NumberColumn(format="%.4f"),
            "threshold": st.column_config.NumberColumn(format="%.2f"),
        },
    )


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
