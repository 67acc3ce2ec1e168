"""The verdict of one comparison: banner, facts, files, notes. Shared by the pages that show a run."""

from __future__ import annotations

from dataclasses import fields
from functools import partial
from pathlib import Path

import streamlit as st

from app.charts.columns import escaped, methods
from app.config import System
from app.drift.decide import Decision, counted_columns
from app.drift.result import Policy, Result, Verdict
from app.drift.sentence import countings_differ, method_words
from app.drift.versus import POLICY_WORDS
from app.drift.what_if import Change, recompute
from app.errors import VigieError
from app.runs import reports
from app.runs.kinds import DRIFT
from app.runs.result import read_result_in
from app.runs.run import Run
from app.runs.source import APART
from app.ui import widgets
from app.ui.notes import notes
from app.ui.palette import MARKDOWN, SHAPES
from app.verdict import Tone
from app.words.explain import COUNTINGS, COVARIATE, TARGET, VALUE_DRIFT
from app.words.numbers import limit, number, share_apart
from app.words.shared import capital, counting
from app.words.units import format_time, format_value

TONE_OF: dict[str, Tone] = {
    Verdict.NO_ACTION: "good",
    Verdict.RETRAINING_TRIGGERED: "bad",
    Verdict.UNDECIDED: "unknown",
}
FRAME_OF = {Verdict.NO_ACTION: "none", Verdict.RETRAINING_TRIGGERED: "trigger", Verdict.UNDECIDED: "undecided"}
# High enough for Evidently's report without a scroll bar inside a scroll bar on a laptop.
REPORT_HEIGHT = 900
# Methods named in the quiet line; the table names that of every column.
METHODS_NAMED = 3
# A policy that differs in more than this is another policy: naming every rule would be a list, not a sentence.
PARTS_NAMED = 2


# Results of two screens of runs; the other pages ask for the newest ones again and again.
@st.cache_data(max_entries=40, show_spinner=False)
def _result(path: str) -> Result:
    return read_result_in(Path(path), DRIFT, Result)


def result_of(run: Run) -> Result | None:
    """The stored result of a finished comparison; None when it cannot be read."""
    try:
        return read(run)
    except VigieError:
        return None


def read(run: Run) -> Result:
    """The stored result of a finished comparison. Raises ReportError in words."""
    return _result(str(run.path))


def decision_of(result: Result) -> Decision:
    """The stored decision with both ways of counting."""
    return recompute(result, Change()).decision


def headline(result: Result) -> str:
    """The verdict in numbers: `1 of 16 columns drifted: 0.06 < 0.30`; by target drift alone it says so first."""
    return headline_of(result.policy, decision_of(result))


def headline_of(policy: Policy, decision: Decision) -> str:
    """The same for any decision, stored or not."""
    counted, least = decision.counted, policy.threshold
    if decision.share is None:
        few = counted.comparable < counted.n
        return f"{counted.comparable} of {counted.n} columns comparable" if few else "nothing is decided"
    sign = "≥" if counted.reaches(least) else "<"
    share = f"{counted.k} of {counted.n} columns drifted: {share_apart(decision.share, least)} {sign} {limit(least)}"
    if decision.by_target and decision.target is not None:
        return f"target drift {number(decision.target.value)} ≥ {limit(policy.target_threshold or 0.0)}; {share}"
    return share


def frame(name: str, title: str, tone: Tone) -> None:
    """The first line of a banner: shape, word and colour, then `title`, Markdown that says what it means."""
    st.markdown(f"### :{MARKDOWN[tone]}[{SHAPES[tone]} {widgets.plain(name)}]{title}")


def verdict(system: System, run: Run, result: Result) -> None:
    """The banner: decision, numbers, reason, target drift, files, notes."""
    with st.container(border=True, key=f"verdict-{FRAME_OF[result.decision]}"):
        frame(result.decision, f"{_simulated(result)} · {widgets.plain(headline(result))}", TONE_OF[result.decision])
        st.markdown(widgets.plain(_pair(result) + _sentence(result)))
        decision = decision_of(result)
        if countings_differ(result.policy, decision):
            st.markdown(
                ":orange[:material/warning: **The two ways of counting decide differently.**] "
                + widgets.plain(_other_counting(result, decision))
            )
        _facts(result, decision)
        _remarks(system, result)
        files(run)
        decision_line(result.line)
        st.caption(widgets.plain(_quiet(run, result)))
        notes(run)


def _simulated(result: Result) -> str:
    return " (SIMULÉ)" if result.decision is Verdict.RETRAINING_TRIGGERED else ""


def _pair(result: Result) -> str:
    rows = [
        f"{side.key} ({side.rows:,} rows)" if side.rows is not None else side.key for side in (result.ref, result.cur)
    ]
    return f"{rows[0]} → {rows[1]}. "


def _sentence(result: Result) -> str:
    return capital(result.reason)


def _other_counting(result: Result, decision: Decision) -> str:
    threshold = result.policy.threshold
    parts = []
    for name, counts in (("features alone", decision.features), ("with label and identifier", decision.everything)):
        share = counts.share or 0.0
        sign = "≥" if counts.reaches(threshold) else "<"
        parts.append(f"{name} {counts.k} of {counts.n} = {share:.3f} {sign} {limit(threshold)}")
    counted = "all columns" if result.policy.columns == "all" else "features alone"
    return f"{'; '.join(parts)}. The policy counts {counted}."


def _facts(result: Result, decision: Decision) -> None:
    """The measures side by side, each with its explanation under the question mark."""
    target, label = result.target_drift, result.policy.label
    with st.container(horizontal=True, gap="medium", key="facts"):
        if result.share is not None:
            counted = decision.counted
            _fact("Covariate drift", f"{result.share:.4g}", f"{counted.k} of {counted.n} columns", COVARIATE)
            other = decision.features if result.policy.columns == "all" else decision.everything
            if other != counted and other.share is not None:
                name = "Features alone" if result.policy.columns == "all" else "With label and identifier"
                differs = "decides differently" if countings_differ(result.policy, decision) else "same decision"
                _fact(name, f"{other.share:.4g}", f"{other.k} of {other.n}, {differs}", COUNTINGS)
        if target.value is not None:
            rates = ""
            if target.ref_rate is not None and target.cur_rate is not None:
                rates = f"{escaped(label or 'label')} {target.ref_rate * 100:.1f} → {target.cur_rate * 100:.1f} %"
            _fact("Target drift", f"{target.value:.3g}", rates, TARGET)
        column = next((one for one in result.columns if one.name == label and one.score is not None), None)
        if column is not None:
            against = f"{'drifted' if column.drifted else 'not drifted'}, threshold {limit(column.threshold or 0.0)}"
            method = method_words(column.method or "")
            _fact("Value drift of the label", number(column.score), against, f"{VALUE_DRIFT} Here: {method}.")
    if target.value is None:
        st.markdown(
            f":material/help: {widgets.plain('Target drift not measured: ' + (target.reason or 'no reason is known.'))}"
        )


def _fact(label: str, value: str, below: str, explained: str) -> None:
    st.metric(
        widgets.plain(label),
        widgets.plain(value),
        delta=widgets.plain(below) or None,
        delta_color="off",
        delta_arrow="off",
        help=widgets.plain(explained),
        width="content",
    )


def _not_own(system: System, result: Result) -> str:
    """Why a run moves no gauge: its policy is not the system's own; "" when it is."""
    if system.drift is None or (result.source is not None and result.source.kind in APART):
        return ""
    own = Policy.of(system.drift)
    parts = [
        POLICY_WORDS.get(one.name, one.name)
        for one in fields(Policy)
        if getattr(own, one.name) != getattr(result.policy, one.name)
    ]
    if not parts:
        return ""
    what = f"the {' and the '.join(parts)}" if len(parts) <= PARTS_NAMED else "several of its rules"
    verb = "differs" if len(parts) == 1 else "differ"
    return f"Not the system's own policy of today ({what} {verb}): this run moves no gauge."


def report_of(run: Run, suffix: str = "html") -> str | None:
    """The file of this run that is its report, as it was kept (an imported run may have only one); None without one."""
    try:
        names = sorted(reports.read_meta(Path(str(run.path))).files)
    except VigieError:
        return None
    found = [name for name in names if name.endswith(f".{suffix}") and name != "result.json"]
    return next(iter([name for name in found if name.startswith("drift_")] or found), None)


def report(run: Run) -> None:
    """Evidently's report in the page."""
    # Served by our own route under a sandboxing policy: values in a report can carry script.
    st.iframe(widgets.route(f"/reports/frame/{run.id}"), height=REPORT_HEIGHT)


def _remarks(system: System, result: Result) -> None:
    """What to know beside the numbers: notes of the run, and that it moves no gauge."""
    remarks = [f":material/info: {widgets.plain(note)}" for note in result.notes]
    if difference := _not_own(system, result):
        remarks.append(f":material/visibility_off: {widgets.plain(difference)}")
    if remarks:
        with st.container(key="remarks", gap=None):
            for remark in remarks:
                st.caption(remark)


def files(run: Run) -> None:
    """Download and full page of whatever report the run has."""
    with st.container(horizontal=True, gap="small", key="files"):
        for label, suffix, mime in (
            ("Download HTML", "html", "text/html"),
            ("Download JSON", "json", "application/json"),
        ):
            name = report_of(run, suffix)
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
        if report_of(run):
            st.link_button("Full page", widgets.route(f"/reports/view/{run.id}"), icon=":material/open_in_new:")


def decision_line(line: str) -> None:
    """The decision line under its label: the copy button of a code block shows itself to the pointer alone."""
    with st.container(key="decision-line", gap=None):
        st.caption("Copy decision line :material/content_copy: – the last line of the command line's output")
        st.code(line, language=None, wrap_lines=True)


def _quiet(run: Run, result: Result) -> str:
    """By which rules, with which methods, at which cost: on one line under everything else."""
    policy = result.policy
    rules = [counting(policy.columns), f"share threshold {limit(policy.threshold)}"]
    if policy.target_threshold is not None:
        rules.append(f"target drift triggers from {limit(policy.target_threshold)}")
    rules += [f"at least {policy.min_rows} rows", f"{policy.comparable * 100:.4g} % of the columns comparable"]
    for name, found in (("own thresholds", policy.thresholds), ("own methods", policy.methods)):
        if found:
            rules.append(f"{name}: {', '.join(f'{escaped(key)} {value}' for key, value in found.items())}")
    if policy.left_out:
        rules.append(f"left out: {', '.join(escaped(name) for name in policy.left_out)}")
    used = methods(counted_columns(result.columns, policy))
    named = (
        f"{', '.join(used[:METHODS_NAMED])}{f' and {len(used) - METHODS_NAMED} more' if used[METHODS_NAMED:] else ''}"
    )
    cost = [f"took {format_value(result.seconds, 's')}"]
    if result.peak_bytes:
        cost.append(f"peak memory {format_value(result.peak_bytes, 'bytes')}")
    parts = [f"Policy: {', '.join(rules)}."]
    parts += [f"Methods: {named}."] if used else []
    return " ".join([*parts, f"Compared {format_time(run.finished, widgets.clock())}, {', '.join(cost)}."])
