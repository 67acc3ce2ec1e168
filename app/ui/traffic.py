"""The parts of the Generate traffic page: presets, your own plan, a run in progress, what came out of it."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final, Literal

import pandas as pd
import streamlit as st

from app import jobs
from app.charts.traffic import arrivals_preview, timeline
from app.config import System
from app.errors import JobError, VigieError
from app.load import plan as plans
from app.load import result as load_result
from app.load.stats import UNANSWERED
from app.runs.result import read_result
from app.runs.run import Run, State
from app.runs.words import state_word
from app.services import start_hint
from app.ui import cache, palette, widgets
from app.ui.access import act
from app.ui.live import live
from app.ui.markdown import code
from app.ui.palette import MARKDOWN, SHAPES
from app.ui.picked import link_params
from app.verdict import Tone
from app.words.message import t, tn
from app.words.numbers import count
from app.words.shared import NO_REASON, RUN_UNKNOWN
from app.words.units import format_value

EARLIER = 15
QUANTILES: Final = {"mean": t("mean"), "p50": "p50", "p95": "p95", "p99": "p99", "max": t("max")}
# How requests are sent, and the shapes of a rate: id -> its name on screen.
MODES: Final = {"count": t("N requests"), "rate": t("a rate for a time"), "closed": t("one after another")}
RATES: Final = {"steady": t("steady"), "ramp": t("ramp"), "spike": t("spike")}
ORIGINS: Final = {
    "environment": t("address from the environment"),
    "system file": t("address from the system file"),
    "stack": t("address from the stack"),
}
STARTING: Final = t("starting")


def target_line(system: System) -> str:
    """Where the requests go, and what named the address."""
    place = cache.where(system, "api")
    request = system.request
    assert request is not None
    if place.url is None:
        hint = start_hint(cache.settings(), system)
        why = t("No address for {system}: {reason}. {hint}", system=t(system.title), reason=place.reason, hint=hint)
        return f":gray[{SHAPES['unknown']}] {widgets.plain(why)}"
    bound = t("never more than {rate:g} requests a second", rate=system.load.max_rate)
    origin = widgets.plain(t(ORIGINS.get(place.origin, place.origin)))
    return f"{widgets.plain(request.method)} {code(place.url + request.path)} · {origin} · {bound}"


def _runs(system: System) -> list[Run]:
    return cache.runs(system.id, "load", EARLIER)


def running(system: System) -> Run | None:
    """The foreground run that is going now."""
    return next((run for run in _runs(system) if run.live and not run.background), None)


def presets(system: System, *, disabled: bool) -> Mapping[str, Any] | None:
    """The buttons; the arguments of the one pressed."""
    pressed = None
    with st.container(horizontal=True, gap="small", key="presets"):
        for number, preset in enumerate(plans.presets(system)):
            first = number == 0
            icon = ":material/bolt:" if first else None
            kind: Literal["primary", "secondary"] = "primary" if first else "secondary"
            title = widgets.plain(t(preset.title))
            if st.button(title, type=kind, icon=icon, disabled=disabled, key=f"preset-{number}"):
                pressed = preset.args
    return pressed


def own_plan(system: System, *, disabled: bool) -> Mapping[str, Any] | None:
    """Your own plan with a preview of its arrivals; its arguments when Start was pressed."""
    with st.expander(t("Your own plan")):
        args = _form(system, widgets.segments(t("Send"), MODES, key="load-mode"))
        with st.container(horizontal=True, vertical_alignment="bottom"):
            months = _months(system)
            if months:
                args["period"] = st.selectbox(
                    t("Ids from"),
                    [None, *months],
                    key="load-period",
                    format_func=lambda key: months.get(key, t("any month")),
                    width=320,
                )
            if system.request is not None and system.request.errors:
                label = t("Requests that must fail, %")
                share = st.number_input(label, 0, 100, 0, 5, key="load-errors", width=220)
                args["errors"] = share / 100
        try:
            plan = plans.Plan.from_args(args, system)
        except VigieError as error:
            st.warning(widgets.plain(error.text))
            return None
        preview = plans.preview(plan)
        if preview.reason:
            st.caption(widgets.plain(t(preview.reason)))
        else:
            st.plotly_chart(arrivals_preview(preview, theme=palette.theme()), key="preview", config=palette.plotly())
        planned = tn("{n:count} request: {plan}.", "{n:count} requests: {plan}.", plan.requests, plan=plan.words)
        st.caption(widgets.plain(planned))
        icon = ":material/play_arrow:"
        pressed = st.button(t("Start"), type="primary", icon=icon, disabled=disabled, key="start-own")
        return args if pressed else None


def _form(system: System, mode: str) -> dict[str, Any]:
    top = system.load.max_rate
    with st.container(horizontal=True, vertical_alignment="bottom"):
        if mode == "rate":
            shape = st.selectbox(
                t("Shape"), list(RATES), key="load-shape", format_func=lambda one: t(RATES[one]), width=140
            )
            label = t("Rate, requests a second")
            rate = st.number_input(label, 0.1, top, min(10.0, top), key="load-rate", width=220)
            seconds = st.number_input(t("For, seconds"), 1.0, plans.MAX_SECONDS, 30.0, key="load-duration", width=160)
            return {"shape": shape, "rate": rate, "duration": seconds}
        count = st.number_input(t("Requests"), 1, plans.MAX_REQUESTS, 100, key="load-count", width=160)
        if mode == "count":
            seconds = st.number_input(t("Over, seconds"), 1.0, plans.MAX_SECONDS, 10.0, key="load-over", width=160)
            return {"count": count, "duration": seconds}
        label = t("Pause after each answer, seconds")
        pause = st.number_input(label, 0.0, plans.MAX_PAUSE, 0.1, 0.05, key="load-pause", width=260)
        return {"count": count, "pause": pause}


def _months(system: System) -> dict[str | None, str]:
    fields = system.request.fields.values() if system.request else ()
    if not any(field.from_ == "period" for field in fields):
        return {}
    try:
        return {period.key: period.name for period in cache.periods(system)}
    except VigieError as error:
        st.caption(widgets.plain(error.text))
        return {}


def start(system: System, args: Mapping[str, Any]) -> None:
    """Start the plan and follow it, here and after a reload."""
    try:
        run = begin(system, args)
    except VigieError as error:
        # What was sent earlier is still worth reading.
        widgets.problem(error, title=t("No traffic was started."))
        return
    if not args.get("background"):
        st.query_params["run"] = run
    st.rerun()


def begin(system: System, args: Mapping[str, Any]) -> str:
    """Start the plan; its run. Raises VigieError."""
    plan = plans.Plan.from_args(args, system)
    started = act(jobs.start, cache.settings(), "load", system.id, plan.key, dict(args))
    cache.forget_runs()
    return started.run


def background_switch(system: System) -> None:
    """One request a second, so that no chart is empty; off at first, and off by itself after a working day."""
    going = next((run for run in _runs(system) if run.live and run.background), None)
    # The switch shows what is, not what was clicked here: another tab may have changed it.
    on = st.toggle(
        tn(
            "Background traffic, {n:g} request a second",
            "Background traffic, {n:g} requests a second",
            plans.BACKGROUND_RATE,
        ),
        value=going is not None,
        key=f"background-{system.id}-{going.id if going else 'off'}",
        help=t(
            "Keeps the charts alive. Ends by itself after {hours:g} hours. "
            "Its requests are counted by the service like all others.",
            hours=plans.MAX_BACKGROUND_SECONDS / 3600,
        ),
    )
    if on and going is None:
        start(system, {"background": True})
    elif not on and going is not None:
        act(jobs.cancel, cache.settings(), going.id)
        _await_end(going.id)
        cache.forget_runs()
        st.rerun()


def _await_end(run: str, seconds: float = 4.0) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        progress = jobs.read_progress(cache.settings(), run)
        if progress is None or progress.final:
            return
        time.sleep(0.1)


def follow(system: System, run_id: str | None) -> None:
    """The run of the address, else the one going, else the newest: live numbers or its result."""
    now = running(system)
    newest = next((run for run in _runs(system) if not run.background), None)
    run = cache.ledger().get(run_id) if run_id else now or newest
    if run is None or run.system != system.id or run.kind != "load":
        if run_id:
            widgets.empty(*map(t, RUN_UNKNOWN))
        else:
            widgets.empty(
                t("No traffic was generated yet."),
                t("Press the first button: ten seconds later every chart has moved."),
            )
        return
    if run.live:
        live(run, _numbers, key="live", end=t("Stop"), kind="primary")
    else:
        _ended(run)


def _numbers(progress: jobs.Progress, elapsed: float) -> None:
    """What a run that goes on has sent, and what came of it."""
    detail = progress.detail
    parts = [widgets.plain(t(progress.stage or STARTING))]
    if progress.total and progress.done is not None:
        parts.append(t("{done:count} of {total:count}", done=progress.done, total=progress.total))
    st.progress(progress.share or 0.0, text=" · ".join([*parts, t("{seconds:.0f} s", seconds=elapsed)]))
    cells = st.columns(6)
    cells[0].metric(t("asked"), format_value(detail.get("asked_rate"), "1/s"))
    cells[1].metric(t("achieved"), format_value(detail.get("achieved_rate"), "1/s"))
    classes = detail.get("classes") or {}
    cells[2].metric(t("answered 2xx"), count(classes.get("2xx")))
    cells[3].metric(t("failed"), count(detail.get("failed")))
    cells[4].metric(t("in flight"), count(detail.get("in_flight")))
    cells[5].metric(t("p95"), format_value(detail.get("p95"), "s"))
    words = _answers(detail)
    if words:
        st.caption(widgets.plain(words))


def _answers(numbers: Mapping[str, Any]) -> str:
    """Answers by class, unless all are 2xx, and what became of the requests that were meant to fail."""
    classes, meant = numbers.get("classes") or {}, numbers.get("meant_to_fail") or 0
    if not meant and not any(count for name, count in classes.items() if name != "2xx"):
        return ""
    words = load_result.class_words(classes)
    silent = classes.get(UNANSWERED) or 0
    parts = [words] if words else []
    parts += [t("{requests:count} without an answer", requests=silent)] if silent else []
    if meant:
        refused = numbers.get("refused") or 0
        parts.append(t("{refused:count} of {meant:count} meant to fail refused as asked", refused=refused, meant=meant))
    return " · ".join(parts)


def result_of(run: Run) -> dict[str, Any] | None:
    """The stored result of a load run; None when it has none that can be read, or goes on."""
    # What a run that goes on has on disk is for the case that it is killed.
    if run.live:
        return None
    try:
        return read_result(run, load_result.Result).to_dict()
    except VigieError:
        return None


def _tone(run: Run, result: Mapping[str, Any] | None) -> Tone:
    if run.done and result is not None and not result.get("failed"):
        return "good"
    return "bad" if run.state is State.FAILED else "warning"


def _ended(run: Run) -> None:
    result = result_of(run)
    if result is None:
        if run.state is State.FAILED:
            # Its result is written from the first request on: without one there was none.
            widgets.problem(JobError(t(run.reason or NO_REASON)), title=t("No traffic was sent."))
        else:
            ended = t("This run was {state}.", state=state_word(run.state))
            widgets.empty(ended, t(run.reason) or t("It left no result."))
        return
    tone = _tone(run, result)
    with st.container(border=True, key="load-result"):
        words = (result.get("plan") or {}).get("words", "")
        state = t("stopped") if run.state is State.CANCELLED else state_word(run.state)
        st.markdown(f"#### :{MARKDOWN[tone]}[{SHAPES[tone]} {widgets.plain(state)}] · {widgets.plain(t(words))}")
        with st.container(key="answer"):
            sentence = result.get("sentence")
            whole = run.state in (State.DONE, State.CANCELLED) or not run.reason
            st.markdown(widgets.plain(t(sentence if whole and sentence else run.reason)))
        left, right = st.columns([3, 2], gap="medium")
        with left:
            st.plotly_chart(
                timeline(result.get("timeline") or [], theme=palette.theme()),
                key=f"timeline-{run.id}",
                config=palette.plotly(),
            )
        with right:
            _latencies(result)
            _outcomes(result)
        with st.container(horizontal=True):
            st.page_link(
                "../pages/charts.py",
                label=t("Watch it on the charts"),
                icon=":material/show_chart:",
                query_params=link_params(),
            )
            st.caption(t("run {run}", run=run.id))


def _latencies(result: Mapping[str, Any]) -> None:
    response, service = (result.get(kind) or {} for kind in ("response", "service"))
    rows = [
        {
            t("latency"): t(title),
            t("response time"): format_value(response.get(name), "s"),
            t("service time"): format_value(service.get(name), "s"),
        }
        for name, title in QUANTILES.items()
    ]
    st.dataframe(pd.DataFrame(rows), hide_index=True, key=f"latency-{result.get('run')}")
    st.caption(t("Response time counts from the intended send, service time from the actual one."))


def _outcomes(result: Mapping[str, Any]) -> None:
    # no catalogue: a status
    rows = [(f"HTTP {status}", number) for status, number in sorted((result.get("by_status") or {}).items())]
    # "HTTP 500" is a status above and a cause here: one row.
    causes = {cause: number for cause, number in (result.get("errors") or {}).items() if not cause.startswith("HTTP ")}
    rows += [(t(cause), number) for cause, number in causes.items()]
    if result.get("not_sent"):
        rows.append((t("not sent"), result["not_sent"]))
    words = _answers(result)
    if words:
        st.caption(widgets.plain(words))
    table = pd.DataFrame(rows or [(t("none"), 0)], columns=[t("answer"), t("requests")])
    st.dataframe(table, hide_index=True, key=f"outcomes-{result.get('run')}")


def earlier(system: System) -> None:
    """The last runs, newest first."""
    runs = _runs(system)
    if not runs:
        return
    zone = widgets.zone()
    st.subheader(t("Earlier runs"), anchor=False)
    rows: Sequence[Mapping[str, Any]] = [
        {
            "when": datetime.fromtimestamp(run.created, tz=zone),
            "kind": t("background") if run.background else t("run"),
            "state": state_word(run.state),
            "what came out": t(run.reason),
            "open": f"?system={run.system}&run={run.id}",
        }
        for run in runs
    ]
    st.dataframe(
        pd.DataFrame(rows),
        hide_index=True,
        key="earlier",
        column_config={
            "when": st.column_config.DatetimeColumn(t("when"), format="YYYY-MM-DD HH:mm:ss", timezone=str(zone)),
            "kind": t("kind"),
            "state": t("state"),
            "what came out": st.column_config.TextColumn(t("what came out"), width="large"),
            "open": st.column_config.LinkColumn(t("open"), display_text=t("open")),
        },
    )
