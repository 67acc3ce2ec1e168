"""The verdict of one comparison: banner, files, why, the table of columns. Shared by the pages that show a run."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pandas as pd
import streamlit as st

from app import reports
from app.charts.columns import dot_plot, two_histograms
from app.config import System
from app.drift import decide
from app.drift.result import Result, Verdict
from app.errors import VigieError
from app.ledger import Run
from app.ui import palette, widgets
from app.ui.palette import MARKDOWN, SHAPES, Tone

TONE_OF: dict[str, Tone] = {
    Verdict.NO_ACTION: "good",
    Verdict.RETRAINING_TRIGGERED: "bad",
    Verdict.UNDECIDED: "unknown",
}
FRAME_OF = {Verdict.NO_ACTION: "none", Verdict.RETRAINING_TRIGGERED: "trigger", Verdict.UNDECIDED: "undecided"}


@st.cache_data(max_entries=40, show_spinner=False)
def _result(path: str) -> Result:
    return Result.from_json(reports.read_file(Path(path), "result.json"))


def result_of(run: Run) -> Result | None:
    """The stored result of a finished comparison; None when it cannot be read."""
    try:
        return read(run)
    except VigieError:
        return None


def read(run: Run) -> Result:
    """The stored result of a finished comparison. Raises ReportError in words."""
    return _result(str(run.path))


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


def why(result: Result) -> None:
    """Which columns decided it: dot plot, table, the two distributions of one column."""
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
