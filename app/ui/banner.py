"""The verdict of one comparison: banner, facts, files, notes. Shared by the pages that show a run."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path

import streamlit as st

from app.charts.columns import escaped, methods
from app.config import System
from app.drift.decide import Counting, Decision, counted_columns
from app.drift.result import Result, Verdict
from app.drift.sentence import countings_differ, method_words
from app.drift.what_if import Change, recompute
from app.errors import VigieError
from app.runs import reports
from app.runs.kinds import DRIFT
from app.runs.result import read_result_in
from app.runs.run import Run
from app.ui import widgets
from app.ui.notes import notes
from app.ui.palette import MARKDOWN, SHAPES
from app.verdict import Tone, headline, not_own
from app.words.explain import COUNTINGS, COVARIATE, TARGET, VALUE_DRIFT
from app.words.message import t, tn
from app.words.numbers import number
from app.words.shared import capital, counting
from app.words.units import format_time

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
    """The stored result of a finished comparison. Raises ReportError."""
    return _result(str(run.path))


def decision_of(result: Result) -> Decision:
    """The stored decision with both ways of counting."""
    return recompute(result, Change()).decision


def frame(name: str, title: str, tone: Tone) -> None:
    """The first line of a banner: shape, word and colour, then `title`, Markdown that says what it means."""
    st.markdown(f"### :{MARKDOWN[tone]}[{SHAPES[tone]} {widgets.plain(name)}]{title}")


def verdict(system: System, run: Run, result: Result) -> None:
    """The banner: decision, numbers, reason, target drift, files, notes."""
    decision = decision_of(result)
    with st.container(border=True, key=f"verdict-{FRAME_OF[result.decision]}"):
        simulated = " (SIMULÉ)" if result.decision is Verdict.RETRAINING_TRIGGERED else ""
        numbers = widgets.plain(headline(result.policy, decision))
        frame(result.decision, f"{simulated} · {numbers}", TONE_OF[result.decision])
        st.markdown(widgets.plain(f"{_pair(result)} {capital(t(result.reason))}"))
        if countings_differ(result.policy, decision):
            differ = widgets.plain(t("The two ways of counting decide differently."))
            counts = widgets.plain(_other_counting(result, decision))
            st.markdown(f":orange[:material/warning: **{differ}**] {counts}")
        _facts(result, decision)
        _remarks(system, result)
        files(run)
        decision_line(result.line)
        st.caption(widgets.plain(_quiet(run, result)))
        notes(run)


def _pair(result: Result) -> str:
    ref, cur = (
        side.key
        if side.rows is None
        else tn("{month} ({n:count} row)", "{month} ({n:count} rows)", side.rows, month=side.key)
        for side in (result.ref, result.cur)
    )
    return f"{ref} → {cur}."


def _other_counting(result: Result, decision: Decision) -> str:
    def of(counts: Counting) -> str:
        sign = "≥" if counts.reaches(threshold) else "<"
        values = {"drifted": counts.k, "columns": counts.n, "share": counts.share or 0.0, "threshold": threshold}
        return t("{drifted} of {columns} = {share:.3f} {sign} {threshold:limit}", sign=sign, **values)

    threshold = result.policy.threshold
    parts = (
        t("features alone {counts}", counts=of(decision.features)),
        t("with label and identifier {counts}", counts=of(decision.everything)),
    )
    every = result.policy.columns == "all"
    policy = t("The policy counts all columns.") if every else t("The policy counts features alone.")
    return f"{'; '.join(parts)}. {policy}"


def _facts(result: Result, decision: Decision) -> None:
    """The measures side by side, each with its explanation under the question mark."""
    target, label = result.target_drift, result.policy.label
    with st.container(horizontal=True, gap="medium", key="facts"):
        if result.share is not None:
            counted = decision.counted
            below = t("{drifted} of {columns} columns", drifted=counted.k, columns=counted.n)
            _fact(t("Covariate drift"), number(result.share, 4), below, t(COVARIATE))
            other = decision.features if result.policy.columns == "all" else decision.everything
            if other != counted and other.share is not None:
                name = t("Features alone") if result.policy.columns == "all" else t("With label and identifier")
                if countings_differ(result.policy, decision):
                    below = t("{drifted} of {columns}, decides differently", drifted=other.k, columns=other.n)
                else:
                    below = t("{drifted} of {columns}, same decision", drifted=other.k, columns=other.n)
                _fact(name, number(other.share, 4), below, t(COUNTINGS))
        if target.value is not None:
            rates = ""
            if target.ref_rate is not None and target.cur_rate is not None:
                of, before, after = escaped(label or t("label")), target.ref_rate * 100, target.cur_rate * 100
                rates = t("{label} {before:.1f} → {after:.1f} %", label=of, before=before, after=after)
            _fact(t("Target drift"), number(target.value, 3), rates, t(TARGET))
        column = next((one for one in result.columns if one.name == label and one.score is not None), None)
        if column is not None:
            threshold = column.threshold or 0.0
            if column.drifted:
                against = t("drifted, threshold {threshold:limit}", threshold=threshold)
            else:
                against = t("not drifted, threshold {threshold:limit}", threshold=threshold)
            explained = f"{t(VALUE_DRIFT)} {t('Here: {method}.', method=method_words(column.method or ''))}"
            _fact(t("Value drift of the label"), number(column.score), against, explained)
    if target.value is None:
        reason = t(target.reason or t("no reason is known."))
        st.markdown(f":material/help: {widgets.plain(t('Target drift not measured: {why}', why=reason))}")


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


def report_of(run: Run, suffix: str = "html") -> str | None:
    """The file of this run that is its report, as it was kept (an imported run may have only one); None without one."""
    try:
        names = sorted(reports.read_meta(Path(str(run.path))).files)
    except VigieError:
        return None
    fitting = [name for name in names if name.endswith(f".{suffix}") and name != "result.json"]
    return next(iter([name for name in fitting if name.startswith("drift_")] or fitting), None)


def report(run: Run) -> None:
    """The report of a run in the page."""
    # Served by our own route under a sandboxing policy: values in a report can carry script.
    st.iframe(widgets.route(f"/reports/frame/{run.id}"), height=REPORT_HEIGHT)


def _remarks(system: System, result: Result) -> None:
    """Where the second opinion differs, notes of the run, and that it moves no gauge."""
    remarks = [f":material/info: {widgets.plain(t(note))}" for note in result.notes]
    if result.opinion is not None and result.opinion.line:
        remarks.insert(0, f":material/balance: {widgets.plain(t(result.opinion.line))}")
    if difference := not_own(system, result):
        remarks.append(f":material/visibility_off: {widgets.plain(difference)}")
    if remarks:
        with st.container(key="remarks", gap=None):
            for remark in remarks:
                st.caption(remark)


def files(run: Run) -> None:
    """Download and full page of the report that the run has."""
    with st.container(horizontal=True, gap="small", key="files"):
        for label, suffix, mime in (
            (t("Download HTML"), "html", "text/html"),
            (t("Download JSON"), "json", "application/json"),
            (t("Download Markdown"), "md", "text/markdown"),
            (t("Download ZIP"), "zip", "application/zip"),
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
            st.link_button(t("Full page"), widgets.route(f"/reports/view/{run.id}"), icon=":material/open_in_new:")


def decision_line(line: str) -> None:
    """The decision line under its label: the copy button of a code block shows itself to the pointer alone."""
    with st.container(key="decision-line", gap=None):
        st.caption(t("Copy decision line :material/content_copy: – the last line of the command line's output"))
        st.code(line, language=None, wrap_lines=True)


def _quiet(run: Run, result: Result) -> str:
    """By which rules, with which methods, at which cost: on one line under everything else."""
    policy = result.policy
    rules = [counting(policy.columns), t("share threshold {threshold:limit}", threshold=policy.threshold)]
    if policy.target_threshold is not None:
        rules.append(t("target drift triggers from {threshold:limit}", threshold=policy.target_threshold))
    rules.append(tn("at least {n} row", "at least {n} rows", policy.min_rows))
    rules.append(t("{share:.4g} % of the columns comparable", share=policy.comparable * 100))
    if policy.thresholds:
        rules.append(t("own thresholds: {columns}", columns=_pairs(policy.thresholds)))
    if policy.methods:
        rules.append(t("own methods: {columns}", columns=_pairs(policy.methods)))
    if policy.left_out:
        rules.append(t("left out: {columns}", columns=", ".join(escaped(name) for name in policy.left_out)))
    used = methods(counted_columns(result.columns, policy))
    named = ", ".join(used[:METHODS_NAMED])
    if used[METHODS_NAMED:]:
        named = t("{names} and {n} more", names=named, n=len(used) - METHODS_NAMED)
    cost = t("took {took:seconds}", took=result.seconds)
    if result.peak_bytes:
        cost = t("took {took:seconds}, peak memory {memory:bytes}", took=result.seconds, memory=result.peak_bytes)
    parts = [t("Policy: {rules}.", rules=", ".join(rules))]
    parts += [t("Methods: {methods}.", methods=named)] if used else []
    when = format_time(run.finished, widgets.clock())
    return " ".join([*parts, t("Compared {when}, {cost}.", when=when, cost=cost)])


def _pairs(own: Mapping[str, object]) -> str:
    return ", ".join(f"{escaped(name)} {value}" for name, value in own.items())
