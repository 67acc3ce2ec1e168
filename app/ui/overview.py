"""The parts of the Overview page: one look at everything, the answer as text, tiles, services, first steps."""

from __future__ import annotations

import numpy as np
import streamlit as st

from app import verdict
from app.charts import Context, kpis
from app.config import System
from app.errors import VigieError
from app.prometheus import Answer, State, TimeRange
from app.runs.words import state_word
from app.services import service_state, start_hint
from app.ui import cache, exports, traffic, widgets
from app.ui.banner import result_of
from app.ui.markdown import link
from app.ui.palette import MARKDOWN, SHAPES
from app.ui.picked import link_params
from app.verdict import Now, Tone
from app.words.message import clauses, t, tn

# What the sparklines of all tiles show.
RANGE = 300.0
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


def look(system: System) -> Now:
    """Ask Prometheus and the ledger; what fails is part of the answer."""
    targets, error = cache.targets(system.id)
    panels = kpis.panels(system)
    span = TimeRange.last(RANGE, scrape=cache.scrape_interval(system))
    context = Context.of(system, None, span, targets)
    answers: dict[str, Answer] = {}
    if error is None:
        asked = cache.answers(system, panels, span, None, str(widgets.zone()))
        answers = {panel.id: answer for panel, answer in zip(panels, asked, strict=True)}
    loads = [run for run in cache.runs(system.id, "load", traffic.EARLIER) if not run.background]
    drifts = [run for run in cache.runs(system.id, "drift", RECENT_DRIFT) if run.done]
    results = [result_of(run) for run in drifts]
    return Now(
        system=system,
        context=context,
        targets=targets,
        targets_error=error,
        answers=answers,
        stack=cache.stack(),
        start_hint=start_hint(cache.settings(), system),
        load=loads[0] if loads else None,
        drift=drifts[0] if drifts else None,
        compared=results[0] if results else None,
        shares=[one.share for one in reversed(results) if one is not None and one.share is not None],
    )


def answer(now: Now) -> str:
    """The page in one or two sentences."""
    return widgets.plain(f"{verdict.behaviour(now)} {verdict.last_decision(now, widgets.clock())}")


def _spark(now: Now, name: str) -> list[float] | None:
    """One value per step of the page's range, so that all tiles have one time axis; NaN where nothing was measured."""
    answer = now.answers.get(name)
    if answer is None or not answer.series:
        return None
    values = now.context.span.grid(answer.series[0].times, answer.series[0].values)
    return values.tolist() if np.isfinite(values).sum() > 1 else None


def tiles(now: Now) -> None:
    """Five numbers with their last minutes."""
    cells = st.columns(5)
    kinds = {"kpi-rps": "1/s", "kpi-p95": "s", "kpi-errors": "ratio"}
    titles = {panel.id: panel.title for panel in kpis.panels(now.system)}
    for cell, (name, unit) in zip(cells, kinds.items(), strict=False):
        title = titles.get(name)
        if title is None:
            cell.metric(
                widgets.plain(kpis.title(name)),
                t("not configured"),
                border=True,
                height=TILE_HEIGHT,
                help=t("The system file names no metric for this."),
            )
            continue
        why = now.why_unknown(name)
        if name in now.answers and now.answers[name].state is not State.ERROR:
            title = t("{number}, {window:duration}", number=title, window=now.context.window)
        cell.metric(
            widgets.plain(title),
            widgets.plain(now.shown(name, unit)),
            border=True,
            height=TILE_HEIGHT,
            chart_data=_spark(now, name),
            chart_type="area",
            help=widgets.plain(why) or None,
        )
    _drift_tile(cells[3], now)
    _load_tile(cells[4], now)


def _drift_tile(cell: st.delta_generator.DeltaGenerator, now: Now) -> None:
    result = now.compared
    if result is None or result.share is None:
        value = t("none yet") if now.drift is None else t("undecided")
        cell.metric(t("Drift share"), value, border=True, height=TILE_HEIGHT)
        return
    threshold = t("Threshold {threshold:.2f}; the last comparison of this system.", threshold=result.policy.threshold)
    cell.metric(
        t("Drift share"),
        t("{share:.2f}", share=result.share),
        t("{drifted} of {columns} columns", drifted=result.k, columns=result.n),
        delta_color="off",
        delta_arrow="off",
        help=threshold,
        border=True,
        height=TILE_HEIGHT,
        chart_data=now.shares if len(now.shares) > 1 else None,
        chart_type="bar",
    )


def _load_tile(cell: st.delta_generator.DeltaGenerator, now: Now) -> None:
    result = traffic.result_of(now.load) if now.load else None
    if result is None:
        value = t("none yet") if now.load is None else state_word(now.load.state)
        cell.metric(t("Last traffic"), value, border=True, height=TILE_HEIGHT)
        return
    counted = (result.get("counted") or {}).get("delta")
    below = t("not counted") if counted is None else t("{requests:count} counted by the service", requests=counted)
    cell.metric(
        t("Last traffic"),
        t("{requests:count} sent", requests=result.get("sent")),
        below,
        delta_color="off",
        delta_arrow="off",
        border=True,
        height=TILE_HEIGHT,
    )


def status_tiles(now: Now) -> None:
    """What the service says of itself: each status gauge as a tile, with since when it holds."""
    panels = kpis.status_panels(now.system)
    if not panels or now.targets_error is not None:
        return
    span = TimeRange.last(STATUS_RANGE, scrape=cache.scrape_interval(now.system))
    answers = cache.answers(now.system, panels, span, None, str(widgets.zone()))
    for cell, panel, answer in zip(st.columns(len(panels)), panels, answers, strict=True):
        with cell.container(border=True, key=panel.id):
            tone, text = verdict.status(answer, span, widgets.clock())
            st.markdown(f":{MARKDOWN[tone]}[{SHAPES[tone]}] **{widgets.plain(t(panel.title))}**")
            st.caption(widgets.plain(text))


def first_steps(now: Now) -> None:
    """For someone who has just arrived: three clicks that show what this is."""
    if now.load is not None and now.drift is not None:
        return
    with st.container(border=True, key="first-steps"):
        st.markdown(f"**{widgets.plain(t('First steps'))}**")
        params = link_params()
        with st.container(horizontal=True, gap="medium"):
            done = ":material/check_circle:" if now.load is not None else ":material/counter_1:"
            st.page_link("../pages/traffic.py", label=t("Generate traffic"), icon=done, query_params=params)
            st.page_link(
                "../pages/charts.py", label=t("Watch it arrive"), icon=":material/counter_2:", query_params=params
            )
            if now.system.compares:
                done = ":material/check_circle:" if now.drift is not None else ":material/counter_3:"
                st.page_link("../pages/drift.py", label=t("Compare two months"), icon=done, query_params=params)


def services(now: Now) -> None:
    """What runs, in which state, and where it answers."""
    system = now.system
    st.subheader(t("Services"), anchor=False)
    rows: list[tuple[str, str, str, str, str]] = []
    for label, service in (("API", "api"), ("Prometheus", "prometheus"), ("Grafana", "grafana")):
        where = cache.where(system, service)
        if service == "grafana" and where.url is None:
            # no catalogue: a state
            why = t("runs in the full stack (docker compose); your own can import the dashboard below")
            rows.append((label, "not configured", "", why, ""))
            continue
        state = where.state
        if service == "prometheus" and now.targets_error is not None and where.url:
            # Something may answer at this address: it is not the Prometheus that is needed.
            state = "does not answer"  # no catalogue: a state
        elif where.origin in ("environment", "system file") and where.url:
            healthy = {"api": system.api.health, "prometheus": "/-/healthy", "grafana": "/api/health"}[service]
            state = "up" if cache.probe(where.url + healthy) is None else "down"
        rows.append((label, state, cache.shown_address(system, service) or "", where.reason, where.origin))
    for name, row in cache.stack().services.items():
        if name not in (system.id, "prometheus", "grafana"):
            rows.append((name.replace("_", " "), row.state, row.url or "", row.reason, "stack"))
    rows.append((t("Job host"), *_job_host(), "console"))
    heads = (t("state"), t("service"), t("address"), "")
    lines = [f"| {' | '.join(heads)} |", "|---|---|---|---|"]
    sources = {"environment": t("from the environment"), "system file": t("from the system file")}
    for label, state, url, reason, origin in rows:
        tone = TONE_OF_STATE.get(state, "bad")
        place = link(url.partition("://")[2], url) if url else "—"
        facts = " · ".join(widgets.plain(text) for text in (sources.get(origin), t(reason)) if text)
        status = f":{MARKDOWN[tone]}[{SHAPES[tone]} {widgets.plain(service_state(state))}]"
        lines.append(f"| {status} | **{widgets.plain(label)}** | {place} | {facts} |")
    st.markdown("\n".join(lines))
    exports.downloads(system)


def _job_host() -> tuple[str, str, str]:
    from app import jobs

    try:
        status = jobs.ping(cache.settings())
    except VigieError as error:
        return "down", "", error.text
    warm = "drift" in status.warm
    worker = t("drift worker warm") if warm else t("drift worker loads on the first visit of Compare months")
    return "up", "", clauses([worker, tn("{n} running", "{n} running", len(status.running))])
