"""Two runs of the library side by side: both decisions, what moved between them, column by column, and as CSV."""

from __future__ import annotations

from typing import Any, Final

import pandas as pd
import streamlit as st

from app.charts.export import versus_csv
from app.drift.result import Result
from app.drift.sentence import method_words
from app.drift.versus import Change, Row, Versus, versus
from app.errors import VigieError
from app.runs.run import Run
from app.runs.words import share_words, state_word
from app.ui import cache, palette, reports, widgets
from app.ui.banner import FRAME_OF, TONE_OF, read
from app.ui.palette import MARKDOWN, SHAPES, TONES
from app.verdict import Tone
from app.words.message import clauses, t
from app.words.numbers import number
from app.words.shared import RUN_ELSEWHERE, counting

_SWAPPED: Final = "versus_swapped"
# Of so many rows the table is as high as it is long; a longer one scrolls by itself.
MOST_ROWS: Final = 20
# A shape for each change, as everywhere.
MARKS: Final[dict[Change, tuple[str, Tone]]] = {
    Change.NEWLY_DRIFTED: ("▲", "bad"),
    Change.RECOVERED: ("▼", "good"),
    Change.STILL_DRIFTED: ("■", "bad"),
    Change.STILL_CALM: ("●", "unknown"),
    Change.UNKNOWN: ("○", "warning"),
    Change.ONLY_A: ("◁", "warning"),
    Change.ONLY_B: ("▷", "warning"),
}


def show(first: str, second: str) -> None:
    """Both runs, the earlier one first unless the reader swapped them."""
    both = [cache.ledger().get(one) for one in (first, second)]
    runs = sorted((run for run in both if run is not None), key=lambda run: (run.created, run.id))
    if len(runs) < 2:
        widgets.empty(t("One of these two runs is not known."), t(RUN_ELSEWHERE))
        return
    if st.session_state.get(_SWAPPED):
        runs.reverse()
    results = [_result(run) for run in runs]
    if results[0] is None or results[1] is None:
        return
    two = versus(results[0], results[1])
    with st.container(key="versus"):
        _heads(runs, two)
        st.markdown(f"**{widgets.plain(two.sentence)}**")
        for note in two.notes:
            st.caption(f":material/info: {widgets.plain(note)}")
        _table(two)


def _result(run: Run) -> Result | None:
    """The numbers of a run; without them it is reported which run has none, and why."""
    try:
        return read(run)
    except VigieError as error:
        if not run.done:
            reason: str = t("it is {state}.", state=state_word(run.state))
        elif run.outcome == "":
            reason = t("it came without numbers.")
        else:
            reason = t("its files were deleted.") if run.gone else t(error.message)
        widgets.empty(
            t("Run {run} cannot be compared: {reason}", run=run.id, reason=reason),
            t("Only a run whose numbers were kept can be put beside another one."),
        )
        return None


def _heads(runs: list[Run], two: Versus) -> None:
    left, middle, right = st.columns([10, 1, 10], vertical_alignment="center", gap="small")
    for place, run, result, side, word in (
        (left, runs[0], two.a, "first", t("first")),
        (right, runs[1], two.b, "second", t("second")),
    ):
        with place:
            _head(run, result, side, word)
    with middle, st.container(horizontal_alignment="center"):
        st.button(
            "",
            icon=":material/swap_horiz:",
            help=t("Swap first and second"),
            key="versus-swap",
            on_click=_swap,
            # As it was when the button was drawn: a press that is handed in twice is one.
            args=(not st.session_state.get(_SWAPPED),),
        )


def _swap(swapped: bool) -> None:
    st.session_state[_SWAPPED] = swapped


def _head(run: Run, result: Result, side: str, word: str) -> None:
    tone = TONE_OF[result.decision]
    with st.container(border=True, key=f"verdict-{FRAME_OF[result.decision]}-{side}"):
        st.markdown(f"**:{MARKDOWN[tone]}[{SHAPES[tone]} {result.decision}]** · {widgets.plain(word)}")
        st.markdown(widgets.plain(f"{result.ref.key} → {result.cur.key}"))
        policy = result.policy
        facts = (
            t("share {share}", share=share_words(run)),
            t("target drift {drift:number}", drift=result.target_drift.value),
            t(
                "policy: {counting}, threshold {threshold:g}",
                counting=counting(policy.columns),
                threshold=policy.threshold,
            ),
            t("{before:count} → {after:count} rows", before=result.ref.rows, after=result.cur.rows),
            run.id,
        )
        st.caption(widgets.plain(" · ".join(facts)))


def _table(two: Versus) -> None:
    if not two.rows:
        widgets.empty(t("No column was compared in either run."), t("The notes above say why."))
        return
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        changed = st.toggle(t("Only what is not the same"), key="versus-changed")
        st.space("stretch")
        st.download_button(
            t("Download CSV"),
            data=lambda: versus_csv(two),
            file_name=f"versus_{two.a.run}_{two.b.run}.csv",
            mime="text/csv",
            icon=":material/download:",
            on_click="ignore",
            key="get-versus",
        )
    shown = [row for row in two.rows if not (changed and row.change.same)]
    if not shown:
        widgets.empty(t("Every column says the same in both runs."), t("Turn the switch off to see their scores."))
        return
    frame = pd.DataFrame([_cells(row) for row in shown])
    if not any(row.remarks for row in shown):
        frame = frame.drop(columns="remarks")
    st.dataframe(
        frame.style.apply(lambda _: [_colour(row.change) for row in shown], subset=["change"]),
        hide_index=True,
        key="versus-table",
        height=reports.HEAD_PIXELS + reports.ROW_PIXELS * min(len(frame), MOST_ROWS),
        row_height=reports.ROW_PIXELS,
        column_config=_columns(),
    )


def _cells(row: Row) -> dict[str, Any]:
    return {
        "column": row.name,
        "change": f"{MARKS[row.change][0]} {row.change.words}",
        "score": row.scores,
        "difference": t("not comparable") if row.score_moved is None else _signed(row.score_moved),
        "moves": row.moves,
        "threshold": _pair(*(number(one.threshold) if one else "–" for one in (row.a, row.b))),
        "method": _pair(*(method_words(one.method or "") or t("unknown") if one else "–" for one in (row.a, row.b))),
        "remarks": clauses(row.remarks) or t("none"),
    }


def _pair(first: str, second: str) -> str:
    return first if first == second else f"{first} | {second}"


def _signed(value: float) -> str:
    return f"{'+' if value > 0 else '−' if value < 0 else ''}{number(abs(value))}"


def _colour(change: Change) -> str:
    return f"color: {TONES[palette.theme()][MARKS[change][1]]}"


def _columns() -> dict[str, Any]:
    columns = {
        "column": (t("column"), 170),
        "change": (t("change"), 140),
        "score": (t("score"), 130),
        "difference": (t("difference"), 100),
        "moves": (t("mean or share, reference → current"), 380),
        "threshold": (t("threshold"), 90),
        "method": (t("method"), 190),
        "remarks": (t("remarks"), 420),
    }
    right = ("score", "difference", "threshold")
    return {
        name: st.column_config.TextColumn(title, width=width, alignment="right" if name in right else "left")
        for name, (title, width) in columns.items()
    }
