"""The parts of the Compare months page: pickers, a run in progress, the verdict, the table of columns, earlier runs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Final

import streamlit as st

from app import jobs
from app.charts import Context
from app.config import Drift, System
from app.drift.gauge import look
from app.drift.request import job_args, job_key
from app.drift.result import Policy, Verdict
from app.errors import JobError, VigieError
from app.periods import Period
from app.prometheus import TimeRange
from app.runs.run import Run, State
from app.runs.source import APART
from app.runs.words import months_of
from app.ui import cache, charts, traffic, widgets
from app.ui.access import act
from app.ui.banner import FRAME_OF, TONE_OF, decision_line, frame, read, report, report_of, verdict
from app.ui.history import history
from app.ui.kept_run import elsewhere, files_deleted
from app.ui.live import live
from app.ui.notes import notes
from app.ui.picked import link_params
from app.ui.what_if import what_if
from app.ui.why import why
from app.verdict import Tone
from app.words.message import t, tn
from app.words.shared import NO_REASON, RUN_UNKNOWN, TWO_MONTHS, capital
from app.words.units import format_time

# A month with its rows and label coverage on one line, in pixels.
PICKER_WIDTH = 390
# Runs of a pair that are looked through for its last decision; the library has them all.
EARLIER = 50
# The gauge of a system that measures its own drift: the last half hour, as the charts show it.
GAUGE_RANGE = 1800.0
VIEWS: Final = {"why": t("Why"), "report": t("Evidently report"), "if": t("What if"), "history": t("History")}
WAITING: Final = t("waiting for the worker")
# The end of a run without a verdict: name, tone, why when no one wrote it down, what to do next.
ENDS: Final[dict[str, tuple[str, Tone, str, str]]] = {
    "failed": (
        t("The comparison failed."),
        "bad",
        NO_REASON,
        t("Nothing was decided and no gauge moved. Mend what it names and compare again, or pick other months above."),
    ),
    "cancelled": (
        t("The comparison was cancelled."),
        "unknown",
        t("It was stopped from this page or the command line."),
        t("Nothing was decided and nothing was kept of it."),
    ),
    "interrupted": (
        t("The comparison was interrupted."),
        "unknown",
        t("The process that ran it ended."),
        t("Nothing was decided and nothing was kept of it."),
    ),
}
# The pair that this page wrote into the address last: tells a new address from a new pick.
_PAIR_IN_ADDRESS = "pair_in_address"


def period_name(period: Period) -> str:
    """`month_001 (2024-02-29)`: a period in a sentence."""
    return f"{period.name} ({period.date})" if period.date and str(period.date) != period.name else period.name


def period_label(period: Period, *, labels: bool = True) -> str:
    """`month_001 · 2024-02-29 · 7,043 rows · 7,043 labelled`: what a reader must know before picking it.

    Without `labels` the system names no label, and there is nothing to say of its coverage.
    """
    rows = t("rows not counted") if period.rows is None else tn("{n:count} row", "{n:count} rows", period.rows)
    parts = [period.name, *([str(period.date)] if period.date and str(period.date) != period.name else []), rows]
    return " · ".join([*parts, *([_coverage(period)] if labels else [])])


def _coverage(period: Period) -> str:
    if period.labelled is None:
        return t("labels not counted")
    return tn("{n:count} labelled", "{n:count} labelled", period.labelled) if period.labelled else t("no labels")


def defaults(keys: Sequence[str], *, newest: bool = False) -> None:
    """Before the pickers are drawn: the pair of the run in the address, else that of the address, else the first two.

    Of rolling windows the newest two. A month that has vanished is dropped; an address that has changed since it was
    last seen (a link, the back button) wins over what is picked.
    """
    changed = st.session_state.get(_PAIR_IN_ADDRESS) != _in_address()
    of_run = _pair_of_address() if changed else {}
    for name, fallback in zip(("ref", "cur"), keys[-2:] if newest else keys[:2], strict=True):
        if changed or st.session_state.get(name) not in keys:
            asked = of_run.get(name) or st.query_params.get(name)
            st.session_state[name] = asked if asked in keys else fallback
    st.session_state[_PAIR_IN_ADDRESS] = _in_address()


def _in_address() -> dict[str, str | None]:
    """What the address says of the pair."""
    return {name: st.query_params.get(name) for name in ("ref", "cur", "run")}


def _pair_of_address() -> dict[str, str]:
    """The months of the run in the address."""
    run = cache.ledger().get(st.query_params["run"]) if "run" in st.query_params else None
    return {} if run is None else dict(zip(("ref", "cur"), run.months, strict=True))


def pair() -> tuple[str, str]:
    """Reference and current as they are picked."""
    return st.session_state.get("ref", ""), st.session_state.get("cur", "")


def month(title: str, key: str, labels: Mapping[str, str]) -> str:
    """One of the two pickers; `labels` by period key."""
    return st.selectbox(
        widgets.plain(title),
        list(labels),
        key=key,
        format_func=labels.__getitem__,
        on_change=keep_address,
        width=PICKER_WIDTH,
    )


def keep_address() -> None:
    """Write the pair into the address once someone has picked it, so that a reload and a link show the same.

    Not the pair a page begins with: the address would change under the reader, and the back button lead nowhere. A run
    in the address is that of the pair picked before.
    """
    picked = dict(zip(("ref", "cur"), pair(), strict=True))
    kept = {name: st.query_params.get_all(name) for name in st.query_params if name != "run"}
    # At once: each single change would be its own step for the back button.
    st.query_params.from_dict({**kept, **picked})
    st.session_state[_PAIR_IN_ADDRESS] = _in_address()


def swap(ref: str, cur: str) -> None:
    """Exchange the two, as they were when the button was drawn: a press that is handed in twice is one."""
    st.session_state["ref"], st.session_state["cur"] = cur, ref
    keep_address()


def start(system: System, ref: str, cur: str, policy: Policy) -> bool:
    """Start the comparison, or join the one that runs, and follow it, here and after a reload; False says why not."""
    try:
        key, args = job_key(system, ref, cur, policy), job_args(ref, cur, policy)
        started = act(jobs.start, cache.settings(), "drift", system.id, key, args)
    except VigieError as error:
        # What was compared earlier is still worth reading.
        widgets.problem(error, title=t("Nothing was started."))
        return False
    _open(started.run)
    if started.joined:
        st.toast(t("The same comparison is already running: this page follows it."))
    return True


def warm() -> None:
    """Have the worker load its libraries while the reader picks; without a job host, report it."""
    try:
        jobs.warm(cache.settings(), "drift")
    except JobError as error:
        widgets.problem(error, title=t("Months cannot be compared now."))


def _open(run_id: str) -> None:
    """Show this run: its pair is picked with it."""
    st.query_params["run"] = run_id


def follow(system: System, run_id: str | None, names: Mapping[str, str], threshold: float) -> None:
    """The run of the address, else the last one of the picked pair: progress while it goes, then its verdict.

    `names` are the periods as text by key; `threshold` is the one picked.
    """
    run = cache.ledger().get(run_id) if run_id is not None else _last(system, threshold)
    if run_id is None and run is None:
        _never_compared(system, names, threshold)
    elif run is None or run.system != system.id:
        widgets.empty(*map(t, RUN_UNKNOWN))
        history(system, pair())
    elif not run.state.final:
        live(run, partial(_progress, run), key="running", end=t("Cancel"))
    elif run.state is State.DONE:
        _done(system, run, threshold)
    else:
        _ended(system, run)
        history(system, run.months, run.id)


def follow_given(system: System) -> None:
    """For a system without months: the run of the address, when it is of files that were given."""
    run = cache.ledger().get(st.query_params["run"]) if "run" in st.query_params else None
    if run is not None and run.source.kind in APART:
        follow(system, run.id, {}, run.threshold or 0.0)


def _last(system: System, threshold: float) -> Run | None:
    """Of the picked pair: the run that goes now, else the newest decision, first under the picked threshold."""
    source = cache.source(system.id)
    runs = cache.ledger().runs(kind="drift", system=system.id, source=source, months=pair(), limit=EARLIER)
    done = [run for run in runs if run.state is State.DONE]
    candidates = (
        *(run for run in runs if not run.state.final),
        *(run for run in done if run.threshold == threshold),
        *done,
        *runs,
    )
    return next(iter(candidates), None)


def _never_compared(system: System, names: Mapping[str, str], threshold: float) -> None:
    """No run of the picked pair: that, the button, and where the last decision of other months is."""
    ref, cur = pair()
    if ref == cur:
        widgets.empty(t("A month is not compared with itself."), t(TWO_MONTHS))
        return
    decided = [run for run in cache.runs(system.id, "drift", EARLIER) if run.state is State.DONE]
    with st.container(border=True, key="never-compared"):
        never = t("{ref} with {cur} has not been compared.", ref=names[ref], cur=names[cur])
        st.markdown(f"**{widgets.plain(never)}**")
        if not decided:
            st.markdown(t("Nothing compared yet. A comparison takes a few seconds."))
        with st.container(horizontal=True, vertical_alignment="center", gap="medium"):
            clicked = st.button(t("Compare months"), icon=":material/compare_arrows:", key="compare-now")
            if decided:
                run = decided[0]
                when = format_time(run.finished, widgets.clock())
                label = t(
                    "last decision: {months}, {decision}, {when} ▸",
                    months=months_of(run),
                    decision=run.outcome or t("no decision"),
                    when=when,
                )
                st.button(widgets.plain(label), type="tertiary", key="last-decision", on_click=_open, args=(run.id,))
    if clicked and system.drift is not None and start(system, ref, cur, Policy.of(system.drift, threshold)):
        st.rerun()


def _progress(run: Run, progress: jobs.Progress, elapsed: float) -> None:
    """What is compared, and how far it is."""
    months = widgets.plain(months_of(run))
    st.markdown(t("**Comparing {months}** · {seconds:.0f} s", months=months, seconds=elapsed))
    st.progress(progress.share or 0.0, text=widgets.plain(_stage(progress)))


def _stage(progress: jobs.Progress) -> str:
    """`comparing, 16 columns · step 4 of 5`: what is being done, on how many columns, and how far it is."""
    columns, done = progress.detail.get("columns"), progress.detail.get("compared")
    stage: str = t(progress.stage or WAITING)
    if columns is not None and done is not None:
        stage = tn("{stage}, {done} of {n} column", "{stage}, {done} of {n} columns", columns, stage=stage, done=done)
    elif columns is not None:
        stage = tn("{stage}, {n} column", "{stage}, {n} columns", columns, stage=stage)
    if not progress.total or progress.done is None:
        return stage
    return t("{stage} · step {step} of {steps}", stage=stage, step=progress.done + 1, steps=progress.total)


def _ended(system: System, run: Run) -> None:
    """A run without a verdict in the frame a verdict would have: what, why, and what to do."""
    name, tone, why_so, then = ENDS.get(run.state, ENDS["interrupted"])
    ref, cur = run.months
    with st.container(border=True, key=f"verdict-{run.state}"):
        frame(t(name), f" · {widgets.plain(months_of(run))}", tone)
        st.markdown(widgets.plain(t(run.reason or why_so)))
        st.markdown(t(then))
        if ref and cur and system.drift is not None and run.source.kind not in APART:
            again = st.button(t("Compare these months again"), icon=":material/replay:", key=f"again-{run.id}")
            if again and start(system, ref, cur, Policy.of(system.drift)):
                st.rerun()
        notes(run)


def _say_which(run: Run, threshold: float) -> None:
    """Lines above a verdict that was decided on other data, months or another threshold than the page shows."""
    elsewhere(run)
    if run.source.kind in APART:
        return
    if run.months != pair():
        shown = widgets.plain(months_of(run))
        st.caption(t("Shown below: {months}. The system's data no longer has these months.", months=shown))
    if run.threshold is not None and run.threshold != threshold:
        words = t(
            "Decided for a threshold of {decided:limit}; the one above is {picked:limit}. "
            "Compare months decides for that one, What if shows what it would be.",
            decided=run.threshold,
            picked=threshold,
        )
        st.caption(f":material/tune: {words}")


def _done(system: System, run: Run, threshold: float) -> None:
    months = run.months
    if run.gone:
        _say_which(run, threshold)
        files_deleted(run)
        history(system, months, run.id)
        return
    try:
        result = read(run)
    except VigieError as error:
        widgets.problem(error)
        history(system, months, run.id)
        return
    _say_which(run, threshold)
    verdict(system, run, result)
    has_report = report_of(run) is not None
    views = {view: words for view, words in VIEWS.items() if has_report or view != "report"}
    view = widgets.segments(t("View"), views, key="view", hidden=True)
    if view == "why":
        why(result)
    elif view == "report":
        report(run)
    elif view == "if":
        what_if(system, run, result)
    else:
        history(system, months, run.id)


def _send_missing(system: System, count: int) -> None:
    """A button that sends as many requests as the gauge is short of, and follows them where traffic is shown."""
    label = tn("Send {n:count} request", "Send {n:count} requests", count)
    if not st.button(label, type="primary", icon=":material/bolt:", key="send-missing"):
        return
    try:
        run = traffic.begin(system, {"count": count, "duration": max(10.0, math.ceil(count / system.load.max_rate))})
    except VigieError as error:
        widgets.problem(error, title=t("No traffic was started."))
        return
    st.switch_page("../pages/traffic.py", query_params={**link_params(), "run": run})


def gauge(system: System, drift: Drift) -> None:
    """A system that measures its own drift: the banner on its gauge, and the gauge over time."""
    reading = look(cache.prometheus(system), system)
    tone = TONE_OF[reading.decision]
    with st.container(border=True, key=f"verdict-{FRAME_OF[reading.decision]}"):
        triggered = reading.decision is Verdict.RETRAINING_TRIGGERED
        if reading.value is None:
            shown = t("gauge unknown")
        else:
            sign = "≥" if triggered else "<"
            shown = t("{value:.3g} {sign} {limit:g}", value=reading.value, sign=sign, limit=drift.threshold)
        frame(reading.decision, f"{' (SIMULÉ)' if triggered else ''} · {shown}", tone)
        st.markdown(widgets.plain(capital(t(reading.reason))))
        st.markdown(t("The service measures this itself: no months are compared, and there is no report."))
        if reading.missing and system.request is not None:
            _send_missing(system, reading.missing)
        elif reading.value is None:
            st.markdown(
                t("A score over the last requests needs enough of them first: generate traffic, then look again.")
            )
        decision_line(reading.line)
    span = TimeRange.last(GAUGE_RANGE, scrape=cache.scrape_interval(system))
    own = [panel for panel in system.panels if panel.tab == "drift"]
    answers = cache.answers(system, own, span, None, str(widgets.zone()))
    context = Context.of(system, None, span, cache.targets(system.id)[0])
    for panel, answer in zip(own, answers, strict=True):
        marks = charts.linked(cache.marks(system.id, span.start, span.end))
        charts.chart(system, panel, answer, marks, context)
