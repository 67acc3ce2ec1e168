"""What-if: the verdict of a stored run under another policy, recomputed from its scores. Nothing is stored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Literal

import pandas as pd
import streamlit as st

from app.charts.columns import by_nearness, trimmed
from app.config import System
from app.drift.methods import method_of
from app.drift.result import Column, Policy, Result, Side, Verdict
from app.drift.sentence import method_words
from app.drift.what_if import Again, Change, Outcome, again, can_change, recompute
from app.errors import VigieError
from app.propose.writer import assign, comment
from app.runs.kinds import DRIFT
from app.runs.result import read_result_in
from app.runs.run import Run, State
from app.runs.source import APART
from app.ui import cache, widgets
from app.ui.banner import TONE_OF
from app.ui.palette import MARKDOWN, SHAPES
from app.verdict import headline
from app.words.message import clauses, sentences, t, tn
from app.words.shared import SHARE_THRESHOLD, capital

# Back so many runs: a few years of months, and under 0.1 s to decide again.
RECENT = 50
# Their stored results, without the distributions that what-if never looks at.
KEPT = 4 * RECENT
SHARE_STEP = 0.01
SCORE_STEP = 0.005
# A p-value above this is no sign of anything, under any policy.
HIGHEST_P = 0.5
# Distances of most methods end at 1; others (PSI, Wasserstein) have no end, and the slider follows the scores.
LEAST_HIGHEST_DISTANCE = 1.0
# Rows of the editor before it scrolls by itself.
EDITOR_HEIGHT = 250
COUNTED: Final = {
    "features": t("Features alone"),
    "all": t("Label and identifier too"),
}
# The keys of [drift] that are policy, in the order of the documentation.
KEYS = (
    "columns",
    "label",
    "identifier",
    "threshold",
    "min_rows",
    "comparable",
    "left_out",
    "thresholds",
    "methods",
    "target_threshold",
    "sentinels",
    "rule",
    "material_spread",
    "material_share",
)


def what_if(system: System, run: Run, result: Result) -> None:
    """Controls on the left; on the right the verdict they would give, what turns it, and the lines for the file."""

    @st.fragment
    @widgets.guarded
    def draw() -> None:
        state = f"what-if-{run.id}"
        start: Start = st.session_state.setdefault(state, Start())
        left, right = st.columns([2, 3], gap="large")
        with left:
            change = _controls(result, start, state)
        outcome = recompute(result, change)
        with right:
            _outcome(result, change, outcome)
            _again(system, change)
            _flips(outcome, start, state)
            if run.source.kind not in APART:
                _lines(system, outcome.policy)

    draw()


@dataclass(frozen=True, slots=True)
class Start:
    """What the controls begin with. A new `turn` makes all of them anew: Reset, and a turning point that is tried."""

    change: Change = field(default_factory=Change)
    turn: int = 0

    def next(self, change: Change) -> Start:
        """Begin again with this change."""
        return Start(change, self.turn + 1)


def _begin(state: str, start: Start) -> None:
    st.session_state[state] = start


# --- the controls ----------------------------------------------------------------------------------------------------


def _controls(result: Result, start: Start, state: str) -> Change:
    policy, asked, key = result.policy, start.change, f"{state}-{start.turn}"
    free = [column for column in result.columns if can_change(column) and column.name not in policy.thresholds]
    threshold = st.slider(
        t("Share threshold"),
        0.0,
        1.0,
        policy.threshold if asked.threshold is None else asked.threshold,
        SHARE_STEP,
        format="%.3g",
        key=f"{key}-share",
        help=t(SHARE_THRESHOLD),
    )
    distances = [column for column in free if not method_of(column.method or "").p_value]
    p_values = [column for column in free if method_of(column.method or "").p_value]
    highest = max(
        [LEAST_HIGHEST_DISTANCE, *(1.2 * (column.score or 0.0) for column in distances), asked.distance or 0.0]
    )
    distance = _score_slider(t("Distance threshold"), distances, asked.distance, highest, f"{key}-distance")
    p_value = _score_slider(t("p-value threshold"), p_values, asked.p_value, HIGHEST_P, f"{key}-p-value")
    counting = _counting(result, asked, f"{key}-columns")
    names = [column.name for column in by_nearness(result.columns)]
    left_out = st.multiselect(
        t("Columns left out"),
        names,
        default=[name for name in names if name in asked.left_out],
        format_func=trimmed,
        key=f"{key}-left-out",
        placeholder=t("none"),
    )
    target = _target(result, asked, f"{key}-target")
    thresholds = _own_thresholds(result.columns, asked, f"{key}-own")
    unchanged = (state, start.next(Change()))
    st.button(t("Reset"), icon=":material/restart_alt:", key=f"{key}-reset", on_click=_begin, args=unchanged)
    return Change(
        threshold=None if threshold == policy.threshold else threshold,
        distance=distance,
        p_value=p_value,
        thresholds=thresholds,
        left_out=frozenset(left_out),
        columns=counting,
        target_threshold=target,
    )


def _score_slider(label: str, columns: Sequence[Column], asked: float | None, highest: float, key: str) -> float | None:
    """The threshold of all columns of one kind; None when it is as compared, or no column is of that kind."""
    levels = sorted({column.threshold for column in columns if column.threshold is not None})
    if not levels:
        return None
    judged = tn(
        "Of the {n} column judged so, but those with one of their own.",
        "Of the {n} columns judged so, but those with one of their own.",
        len(columns),
    )
    if len(levels) > 1:
        as_compared = t("As compared, from {low:limit} to {high:limit}.", low=levels[0], high=levels[-1])
    else:
        as_compared = t("As compared: {level:limit}.", level=levels[0])
    value = st.slider(
        widgets.plain(label),
        0.0,
        max(highest, levels[-1]),
        levels[0] if asked is None else asked,
        SCORE_STEP,
        format="%.3g",
        key=key,
        help=sentences([judged, as_compared]),
    )
    return None if value == levels[0] else value


def _counting(result: Result, asked: Change, key: str) -> Literal["features", "all"] | None:
    policy = result.policy
    if not {column.name for column in result.columns} & {policy.label, policy.identifier}:
        return None
    picked = widgets.segments(t("Columns counted"), COUNTED, key=key, default=asked.columns or policy.columns)
    return None if picked == policy.columns else "all" if picked == "all" else "features"


def _target(result: Result, asked: Change, key: str) -> float | None:
    """The rule on target drift; 0 and empty are no change."""
    own, measured = result.policy.target_threshold, result.target_drift.value is not None
    hint = t("A difference of the label rates from which target drift alone triggers.")
    value = st.number_input(
        t("Target drift triggers from"),
        min_value=0.0,
        max_value=1.0,
        value=own if asked.target_threshold is None else asked.target_threshold,
        step=SHARE_STEP,
        format="%.4g",
        key=key,
        placeholder=t("no rule"),
        disabled=not measured,
        help=sentences([hint, "" if measured else t("Not measured in this run.")]),
    )
    return None if not value or value == own else value


def _own_thresholds(columns: Sequence[Column], asked: Change, key: str) -> dict[str, float]:
    """Thresholds of single columns, written into the last column of a small table."""
    able = [column for column in by_nearness(columns) if can_change(column)]
    if not able:
        return {}
    with st.expander(t("Thresholds of single columns"), expanded=bool(asked.thresholds)):
        edited = st.data_editor(
            pd.DataFrame(
                {
                    "column": [column.name for column in able],
                    "own": pd.Series([asked.thresholds.get(column.name) for column in able], dtype="float64"),
                    "threshold": [column.threshold for column in able],
                    "score": [column.score for column in able],
                    "method": [method_words(column.method or "") for column in able],
                }
            ),
            hide_index=True,
            disabled=["column", "method", "score", "threshold"],
            height=EDITOR_HEIGHT,
            placeholder="–",
            key=key,
            column_config={
                "column": st.column_config.TextColumn(t("column"), width=150, pinned=True),
                "own": st.column_config.NumberColumn(t("try"), min_value=0.0, format="%.4g", width=70),
                "threshold": st.column_config.NumberColumn(t("threshold"), format="%.3g", width=75),
                "score": st.column_config.NumberColumn(t("score"), format="%.3g", width=70),
                "method": t("method"),
            },
        )
    return {column.name: float(value) for column, value in zip(able, edited["own"], strict=True) if value > 0}


# --- what would come of it -------------------------------------------------------------------------------------------


def _outcome(result: Result, change: Change, outcome: Outcome) -> None:
    """The hypothetical verdict, in a frame that no stored verdict has."""
    verdict = outcome.decision.verdict
    tone = TONE_OF[verdict]
    simulated = " (SIMULÉ)" if verdict is Verdict.RETRAINING_TRIGGERED else ""
    with st.container(border=True, key="what-if"):
        st.caption(f":material/science: {t('A hypothesis: nothing is stored, no gauge moves')}")
        numbers = widgets.plain(headline(outcome.policy, outcome.decision))
        shown = f":{MARKDOWN[tone]}[{SHAPES[tone]} {verdict}]{simulated}"
        st.markdown(t("#### What if: {decision} · {numbers}", decision=shown, numbers=numbers))
        st.markdown(widgets.plain(capital(outcome.sentence)))
        if change == Change():
            st.caption(
                t("Nothing is changed: this is the verdict as compared. Move a control, or try a turning point below.")
            )
            return
        before = headline(result.policy, recompute(result, Change()).decision)
        stored = widgets.plain(t("As compared: {decision}, {numbers}.", decision=str(result.decision), numbers=before))
        turned = t("The same verdict.") if verdict is result.decision else t("**This turns the verdict.**")
        st.caption(f"{turned} {stored}")


@st.cache_resource(max_entries=KEPT, show_spinner=False)
def _bare(path: str) -> Result:
    """A stored result without its distributions: deciding needs the scores alone. Raises ReportError."""
    result = read_result_in(Path(path), DRIFT, Result)
    empty = Side()
    return replace(result, columns=tuple(replace(column, ref=empty, cur=empty) for column in result.columns))


def _recent(system: System) -> list[Result]:
    results = []
    source = cache.source(system.id)
    for run in cache.ledger().runs(kind="drift", system=system.id, states=(State.DONE,), source=source, limit=RECENT):
        try:
            result = _bare(run.path)
        except VigieError:
            # Its files are gone or damaged: the history reports it, and there is nothing to decide again.
            continue
        if not result.captured:
            results.append(result)
    return results


def _again(system: System, change: Change) -> None:
    results = _recent(system)
    if not results:
        return
    now, before = again(results, change), again(results, Change())
    st.markdown(f":material/history: {_of_the_last(now, before, changed=change != Change())}")


def _of_the_last(now: Again, before: Again, *, changed: bool) -> str:
    """How many of the last runs would have triggered, and how many did."""
    if now.of == 1:
        outcome = (
            t("The last run would have triggered") if now.triggered else t("The last run would not have triggered")
        )
        then = t("as compared it did") if before.triggered else t("as compared it did not")
        return f"{clauses([outcome, then if changed else ''])}."
    values = {"runs": now.triggered, "all": now.of, "before": before.triggered}
    if changed:
        outcome = t("Would have triggered **{runs} of the last {all} runs**, as compared {before}", **values)
    else:
        outcome = t("Would have triggered **{runs} of the last {all} runs** as compared", **values)
    return f"{clauses([outcome, t('{runs} undecided', runs=now.undecided) if now.undecided else ''])}."


def _flips(outcome: Outcome, start: Start, state: str) -> None:
    st.markdown(t("**What would turn it**"), help=t("The smallest change of each kind that turns the verdict above."))
    flips = outcome.flips
    if not flips and all(column.score is None for column in outcome.columns):
        st.caption(
            t(
                "Nothing was scored in this run, so nobody knows. Compare the months again under another policy, or "
                "without the columns that cannot be compared."
            )
        )
    elif not flips:
        st.caption(t("No single change of a threshold, and no column left out, turns this verdict."))
    with st.container(key="flips", gap="xsmall"):
        for number, flip in enumerate(flips):
            with st.container(horizontal=True, wrap=False, vertical_alignment="center", key=f"flip-{number}"):
                st.button(
                    t("Try"),
                    key=f"{state}-{start.turn}-try-{number}",
                    on_click=_begin,
                    args=(state, start.next(flip.change)),
                )
                st.markdown(widgets.plain(t(flip.words)))


def _lines(system: System, policy: Policy) -> None:
    """The lines that would make this policy the system's own."""
    if system.drift is None:
        return
    own = Policy.of(system.drift)
    if policy == own:
        st.caption(t("This is the system's own policy of today."))
        return
    lines = policy_lines(policy, own)
    made = t("To make this the system's own policy, set in the [drift] table of {system}.toml:", system=system.id)
    st.caption(widgets.plain(made))
    st.code("\n".join(lines), language="toml", wrap_lines=True)


def policy_lines(policy: Policy, own: Policy) -> list[str]:
    """`key = value` for each key of `[drift]` in which a policy differs from the system's own, as TOML."""
    lines = []
    for name in KEYS:
        value: Any = getattr(policy, name)
        if value == getattr(own, name):
            continue
        if value is None:
            lines.append(comment(t("without {key}", key=name)))
        else:
            lines.append(assign(name, list(value) if isinstance(value, tuple) else value))
    return lines
