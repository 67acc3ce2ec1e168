"""The parts of the Overview page: one look at everything, the answer in words, tiles, services, first steps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import streamlit as st

from app.charts import Context, kpis
from app.charts.sentence import LATE_STEPS, idle, steady_from
from app.config import System
from app.drift.result import Result
from app.errors import VigieError
from app.prometheus import Answer, State, Target, TimeRange
from app.runs.run import Run
from app.ui import cache, traffic, verdict, widgets
from app.ui.markdown import link
from app.ui.palette import MARKDOWN, SHAPES, Tone
from app.ui.picked import link_params
from app.words.numbers import count
from app.words.units import format_duration, format_time, format_value

# What the sparklines of all tiles show.
RANGE = 300.0
# From this share of failed requests on a tile is no longer green, and from this one red.
ERRORS_WARN, ERRORS_BAD = 0.01, 0.05
RECENT_DRIFT = 20
# Tiles of one row are equally high, with a sparkline or without.
TILE_HEIGHT = 150
# How far back "since when" looks: an hour at steps of ten seconds.
STATUS_RANGE = 3600.0
TONE_OF_STATE: dict[str, Tone] = {
    "up": "good",
    "starting": "warning",
    "not configured": "unknown",
    "unknown": "unknown",
    "absent": "unknown",
}


@dataclass(frozen=True, slots=True)
class Now:
    """Everything the page shows, asked once: all rates over `context.window`, all sparklines over `context.span`."""

    context: Context
    targets: list[Target]
    targets_error: VigieError | None
    answers: dict[str, Answer]
    load: Run | None
    drift: Run | None
    shares: list[float]


def look(system: System) -> Now:
    """Ask Prometheus and the ledger; what fails is part of the answer."""
    targets, error = cache.targets(system.id)
    wanted = kpis.panels(system)
    span = TimeRange.last(RANGE, scrape=cache.scrape_interval(system))
    context = Context.of(system, None, span, targets)
    answers: dict[str, Answer] = {}
    if error is None:
        found = cache.answers(system, wanted, span, None, str(widgets.zone()))
        answers = {panel.id: answer for panel, answer in zip(wanted, found, strict=True)}
    loads = [run for run in cache.runs(system.id, "load", traffic.EARLIER) if not run.key.endswith(":background")]
    drifts = [run for run in cache.runs(system.id, "drift", RECENT_DRIFT) if run.state == "done"]
    load, drift = loads[0] if loads else None, drifts[0] if drifts else None
    return Now(context, targets, error, answers, load, drift, _shares(drifts))


def _shares(runs: Sequence[Run]) -> list[float]:
    results = (verdict.result_of(run) for run in reversed(runs))
    return [result.share for result in results if result is not None and result.share is not None]


def badges(system: System, now: Now) -> list[tuple[str, Tone]]:
    """How many targets are up, in a word and a colour."""
    services = cache.stack().services
    begins = [name for name in (system.id, "prometheus") if name in services and services[name].state == "starting"]
    if now.targets_error is not None:
        starting = "prometheus" in begins
        return [("Prometheus is starting", "warning") if starting else ("Prometheus does not answer", "bad")]
    up = sum(target.health == "up" for target in now.targets)
    waiting = sum(target.waiting for target in now.targets)
    if not now.targets:
        return [("no targets", "unknown")]
    if waiting == len(now.targets):
        return [("waiting for the first scrape", "unknown")]
    tone: Tone = "good" if up == len(now.targets) else "unknown" if up + waiting == len(now.targets) else "bad"
    if system.id in begins:
        # Prometheus is told of a service when it is launched, and may find nobody for the seconds until it answers.
        return [(f"{up} of {len(now.targets)} targets up", "unknown"), (f"{system.title} is starting", "warning")]
    text = f"{up} of {len(now.targets)} targets up"
    found: list[tuple[str, Tone]] = [(text + (f", {waiting} waiting for the first scrape" if waiting else ""), tone)]
    if not any(cache.belongs(system, target) for target in now.targets):
        found.append((f"{system.title} is not scraped", "unknown"))
    return found


def answer(system: System, now: Now) -> str:
    """The page in one or two sentences."""
    return f"{_behaviour(system, now)} {_decision(system, now)}"


def _behaviour(system: System, now: Now) -> str:
    if now.targets_error is not None:
        return widgets.plain(f"{now.targets_error.text} {cache.stack_activity()}")
    own = [target for target in now.targets if cache.belongs(system, target)]
    down = [target for target in own if target.health == "down"]
    row = cache.stack().services.get(system.id)
    if row is not None and row.state == "starting" and (down or not own):
        # Prometheus is told of a service when it is launched, and finds nobody for the seconds until it answers.
        return widgets.plain(f"{system.title} is starting: {row.reason}.")
    if not own:
        return widgets.plain(f"Prometheus does not scrape {system.title}. {cache.start_hint(system)}")
    if down:
        meaning = down[0].meaning
        return widgets.plain(f"{system.title} is down: {meaning.text}. {meaning.hint}")
    if all(target.waiting for target in own):
        return f"Waiting for the first scrape of {widgets.plain(system.title)}: a few seconds."
    rps, p95, errors = (_last(now, f"kpi-{name}") for name in ("rps", "p95", "errors"))
    if rps is None:
        kpi = now.answers.get("kpi-rps")
        why = f": {kpi.reason}. {kpi.hint}" if kpi is not None and kpi.reason else "."
        return widgets.plain(f"The rate of requests is not known yet{why}")
    if rps == 0:
        return widgets.plain(f"{idle(now.answers['kpi-rps'].series[0], now.context.span)}.")
    parts = [f"{format_value(rps, '1/s', words=True)} requests".replace(" a second requests", " requests a second")]
    if p95 is not None:
        parts.append(f"p95 {format_value(p95, 's')}")
    if errors is not None:
        parts.append("no errors" if errors == 0 else f"{format_value(errors, 'ratio')} errors")
    unknown = "; error rate unknown" if errors is None and "kpi-errors" in now.answers else ""
    return widgets.plain(f"{', '.join(parts)} in the last {format_duration(now.context.window)}{unknown}.")


def _decision(system: System, now: Now) -> str:
    if system.drift is None:
        return ""
    if system.drift.source == "gauge":
        return "This system measures its own drift: see Compare months."
    if now.drift is None:
        return "No months compared yet."
    result = verdict.result_of(now.drift)
    if result is None:
        return "The last comparison cannot be read: see Compare months."
    share = f"{result.k} of {result.n} columns drifted" if result.share is not None else "not decided"
    word = {"NO_ACTION": "no action", "RETRAINING_TRIGGERED": "retraining triggered (SIMULÉ)"}.get(
        result.decision, "undecided"
    )
    when = format_time(now.drift.finished, widgets.clock())
    return widgets.plain(f"Last decision: {result.ref.key} → {result.cur.key}, {share}, {word}, compared {when}.")


def _last(now: Now, name: str) -> float | None:
    found = now.answers.get(name)
    if found is None or not found.series or found.state is State.ERROR:
        return None
    at, value = found.series[0].newest
    # Only the newest step is "now": an older value would be a wrong number.
    fresh = at >= now.context.span.end - LATE_STEPS * now.context.span.step
    return value if fresh and math.isfinite(value) else None


def _spark(now: Now, name: str) -> list[float] | None:
    """One value per step of the page's range, so that all tiles have one time axis; NaN where nothing was measured."""
    found = now.answers.get(name)
    if found is None or not found.series:
        return None
    values = now.context.span.grid(found.series[0].times, found.series[0].values)
    return values.tolist() if np.isfinite(values).sum() > 1 else None


def tiles(system: System, now: Now) -> None:
    """Five numbers with their last minutes."""
    cells = st.columns(5)
    kinds = {"kpi-rps": "1/s", "kpi-p95": "s", "kpi-errors": "ratio"}
    wanted = {panel.id: panel.title for panel in kpis.panels(system)}
    for cell, (name, unit) in zip(cells, kinds.items(), strict=False):
        title = wanted.get(name)
        if title is None:
            label = {"kpi-rps": "Requests a second", "kpi-p95": "p95 latency", "kpi-errors": "Error rate"}[name]
            cell.metric(
                label,
                "not configured",
                border=True,
                height=TILE_HEIGHT,
                help="The system file names no metric for this.",
            )
            continue
        value, found = _last(now, name), now.answers.get(name)
        why = _why_unknown(found, now)
        cell.metric(
            f"{widgets.plain(title)}, {format_duration(now.context.window)}",
            _shown(value, unit, why, idle=_last(now, "kpi-rps") == 0),
            border=True,
            height=TILE_HEIGHT,
            chart_data=_spark(now, name),
            chart_type="area",
            help=widgets.plain(why) or None,
        )
    _drift_tile(cells[3], now)
    _load_tile(cells[4], now)


def _why_unknown(found: Answer | None, now: Now) -> str:
    if now.targets_error is not None:
        return now.targets_error.text
    if found is None or found.state in (State.EMPTY, State.ERROR):
        return f"{found.reason}. {found.hint}" if found is not None else "not asked"
    return ""


def _shown(value: float | None, unit: str, why: str, *, idle: bool) -> str:
    if value is not None:
        return format_value(value, unit)
    told = "no request" in why or "older than" in why or "0 divided" in why
    return "no traffic" if idle or told else "unknown"


def _drift_tile(cell: st.delta_generator.DeltaGenerator, now: Now) -> None:
    result: Result | None = verdict.result_of(now.drift) if now.drift else None
    if result is None or result.share is None:
        cell.metric("Drift share", "none yet" if now.drift is None else "undecided", border=True, height=TILE_HEIGHT)
        return
    cell.metric(
        "Drift share",
        f"{result.share:.2f}",
        f"{result.k} of {result.n} columns",
        delta_color="off",
        delta_arrow="off",
        help=f"Threshold {result.policy.threshold:.2f}; the last comparison of this system.",
        border=True,
        height=TILE_HEIGHT,
        chart_data=now.shares if len(now.shares) > 1 else None,
        chart_type="bar",
    )


def _load_tile(cell: st.delta_generator.DeltaGenerator, now: Now) -> None:
    result = traffic.result_of(now.load) if now.load else None
    if result is None:
        cell.metric(
            "Last traffic", "none yet" if now.load is None else str(now.load.state), border=True, height=TILE_HEIGHT
        )
        return
    counted = (result.get("counted") or {}).get("delta")
    words = "not counted" if counted is None else f"{counted:,.0f} counted by the service"
    cell.metric(
        "Last traffic",
        f"{count(result.get('sent'))} sent",
        words,
        delta_color="off",
        delta_arrow="off",
        border=True,
        height=TILE_HEIGHT,
    )


def status_tiles(system: System, now: Now) -> None:
    """What the service says of itself: each status gauge as a tile, with since when it holds."""
    wanted = kpis.status_panels(system)
    if not wanted or now.targets_error is not None:
        return
    span = TimeRange.last(STATUS_RANGE, scrape=cache.scrape_interval(system))
    answers = cache.answers(system, wanted, span, None, str(widgets.zone()))
    for cell, panel, found in zip(st.columns(len(wanted)), wanted, answers, strict=True):
        with cell.container(border=True, key=panel.id):
            tone, words = _status(found, span)
            st.markdown(f":{MARKDOWN[tone]}[{SHAPES[tone]}] **{widgets.plain(panel.title)}**")
            st.caption(widgets.plain(words))


def _status(found: Answer, span: TimeRange) -> tuple[Tone, str]:
    """(tone, words) of a gauge that is 1 or 0: `yes, since 14:02:11`, or why it is not known."""
    if len(found.series) != 1 or not found.series[0].values.size or not math.isfinite(found.series[0].values[-1]):
        return "unknown", f"unknown: {found.reason or 'the gauge has no value now'}"
    series = found.series[0]
    now, at = series.values[-1], steady_from(series, span)
    moment = format_time(float(series.times[at]), widgets.clock())
    if at and series.values[at - 1] != now:
        since = f"since {moment}"
    elif at:
        since = f"since {moment} at least: nothing was measured before"
    elif series.times[0] > span.start + LATE_STEPS * span.step:
        since = f"since it was first seen at {moment}"
    else:
        since = "all through the last hour"
    word = "yes" if now == 1 else "no" if now == 0 else format_value(float(now))
    return ("good" if now == 1 else "bad"), f"{word}, {since}"


def first_steps(system: System, now: Now) -> None:
    """For somebody who has just arrived: three clicks that show what this is."""
    if now.load is not None and now.drift is not None:
        return
    with st.container(border=True, key="first-steps"):
        st.markdown("**First steps**")
        params = link_params()
        with st.container(horizontal=True, gap="medium"):
            done = ":material/check_circle:" if now.load is not None else ":material/counter_1:"
            st.page_link("../pages/traffic.py", label="Generate traffic", icon=done, query_params=params)
            st.page_link(
                "../pages/charts.py", label="Watch it arrive", icon=":material/counter_2:", query_params=params
            )
            if system.drift is not None and system.drift.source != "gauge":
                done = ":material/check_circle:" if now.drift is not None else ":material/counter_3:"
                st.page_link("../pages/drift.py", label="Compare two months", icon=done, query_params=params)


def services(system: System, now: Now) -> None:
    """What runs, in which state, and where it answers."""
    st.subheader("Services", anchor=False)
    rows: list[tuple[str, str, str, str, str]] = []
    for label, service in (("API", "api"), ("Prometheus", "prometheus"), ("Grafana", "grafana")):
        found = cache.where(system, service)
        if service == "grafana" and found.url is None:
            rows.append((label, "not configured", "", "runs in the full stack (docker compose)", ""))
            continue
        state = found.state
        if service == "prometheus" and now.targets_error is not None and found.url:
            # Whatever answers at this address, it is not the Prometheus we need.
            state = "does not answer"
        elif found.origin in ("environment", "system file") and found.url:
            healthy = {"api": system.api.health, "prometheus": "/-/healthy", "grafana": "/api/health"}[service]
            state = "up" if cache.probe(found.url + healthy) is None else "down"
        rows.append((label, state, cache.shown_address(system, service) or "", found.reason, found.origin))
    known = {system.id, "prometheus", "grafana"}
    for name, row in cache.stack().services.items():
        if name not in known:
            rows.append((name.replace("_", " "), row.state, row.url or "", row.reason, "stack"))
    rows.append(("Job host", *_job_host(), "console"))
    lines = ["| state | service | address | |", "|---|---|---|---|"]
    for label, state, url, reason, origin in rows:
        tone = TONE_OF_STATE.get(state, "bad")
        place = link(url.partition("://")[2], url) if url else "—"
        told = f"from the {widgets.plain(origin)} · " if origin in ("environment", "system file") else ""
        status = f":{MARKDOWN[tone]}[{SHAPES[tone]} {widgets.plain(state)}]"
        lines.append(f"| {status} | **{widgets.plain(label)}** | {place} | {told}{widgets.plain(reason)} |")
    st.markdown("\n".join(lines))


def _job_host() -> tuple[str, str, str]:
    from app import jobs

    try:
        status = jobs.ping(cache.settings())
    except VigieError as error:
        return "down", "", error.text
    warm = "drift worker warm" if "drift" in status.warm else "drift worker loads on the first visit of Compare months"
    return "up", "", f"{warm}; {len(status.running)} running"
