"""The parts of the Targets page: a card per target, the console's own probes when Prometheus is away, log tails."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from urllib.parse import urlsplit

import streamlit as st

from app.config import System
from app.errors import VigieError
from app.prometheus import Answer, State, Target
from app.prometheus.targets import of_system
from app.services import Service, service_state, start_hint
from app.ui import cache, widgets
from app.ui.markdown import link
from app.ui.palette import MARKDOWN, SHAPES
from app.verdict import Tone
from app.words.message import t, tn
from app.words.shared import PROMETHEUS_SILENT, capital

# So many scrapes are drawn as strokes on a card.
STROKES = 30
# Lines of a service's log on a card of a target that is down, and how much of the file is read for them.
LOG_LINES = 12
LOG_BYTES = 20_000
TONES: dict[str, Tone] = {"up": "good", "down": "bad", "unknown": "unknown"}


def ordered(targets: Sequence[Target]) -> list[Target]:
    """Down first, then unknown, then up; by job within."""
    order = {"down": 0, "unknown": 1, "up": 2}
    return sorted(targets, key=lambda target: (order.get(target.health, 1), target.job, target.instance))


def card(target: Target, number: int, history: Answer | None) -> None:
    """One target: state, when, how long, what its error means and what to do."""
    tone = TONES.get(target.health, "unknown")
    with st.container(border=True, key=f"card-{target.health}-{number}"):
        state = t("WAITING") if target.waiting else service_state(target.health).upper()
        job, address = widgets.plain(target.job), widgets.plain(target.address)
        st.markdown(f":{MARKDOWN[tone]}[{SHAPES[tone]} **{widgets.plain(state)}**] &nbsp; **{job}** &nbsp; {address}")
        strokes, since = _history(target, history)
        facts = [widgets.plain(part) for part in (_scraped(target), since, strokes) if part]
        st.caption(" · ".join([*facts, link(t("raw metrics"), target.url)]))
        if target.health == "up":
            return
        meaning = target.meaning
        if target.last_error:
            st.markdown(f"“{widgets.plain(target.last_error)}”")
        st.markdown(widgets.plain(f"{capital(t(meaning.text))}. {t(meaning.hint)}"))
        if target.health == "down":
            _own_look(target)
            _log(target)


def _scraped(target: Target) -> str:
    if target.last_scrape is None:
        return t("not scraped yet")
    age = max(0.0, time.time() - target.last_scrape)
    scraped = t("scraped {age:.0f} s ago", age=age)
    if target.duration is not None:
        scraped = t("scraped {age:.0f} s ago in {took:seconds}", age=age, took=target.duration)
    limit = f" ({t('timeout {timeout:g} s', timeout=target.timeout)})" if target.timeout else ""
    every = f", {t('every {interval:g} s', interval=target.interval)}" if target.interval else ""
    return f"{scraped}{limit}{every}"


def _history(target: Target, answer: Answer | None) -> tuple[str, str]:
    """The last scrapes as strokes (tall up, short down, dot unknown), and since when the state holds."""
    if answer is None or answer.state is State.ERROR:
        return "", ""
    for series in answer.series:
        if series.labels.get("job") != target.job or series.labels.get("instance") != target.instance:
            continue
        values = series.values[-STROKES:]
        strokes = "".join("·" if math.isnan(value) else "┃" if value == 1 else "╷" for value in values)
        changes = [i for i in range(1, len(series.values)) if series.values[i] != series.values[i - 1]]
        since = ""
        if changes:
            at = float(series.times[changes[-1]])
            minutes = (time.time() - at) / 60
            ago = f"{minutes:.0f} min" if minutes >= 1 else f"{minutes * 60:.0f} s"
            moment = f"{datetime.fromtimestamp(at, tz=widgets.zone()):%H:%M:%S}"
            since = t("since {moment} ({ago})", moment=moment, ago=ago)
        return tn("last scrape {strokes}", "last {n} scrapes {strokes}", len(values), strokes=strokes), since
    return "", ""


def _own_look(target: Target) -> None:
    """Whether this machine can reach what Prometheus cannot: tells a dead service from a wrong network."""
    reached = cache.probe(target.url)
    if reached is None:
        text = t("The console itself reaches {url}: look at the network between Prometheus and it.", url=target.url)
    else:
        text = t("The console cannot reach it either: {why}", why=reached)
    st.markdown(widgets.plain(text))


def _service_of(target: Target) -> Service | None:
    place = urlsplit(target.url).netloc
    for service in cache.stack().services.values():
        if service.url and urlsplit(service.url).netloc == place:
            return service
    return None


def _log(target: Target) -> None:
    service = _service_of(target)
    if service is None or service.log is None:
        return
    if service.reason:
        st.markdown(widgets.plain(t("The stack says: {reason}", reason=service.reason)))
    tail = log_tail(service.log)
    with st.expander(widgets.plain(t("Last lines of {file}", file=service.log.name))):
        st.code(tail or t("The log is empty."), language=None)


def log_tail(path: Path) -> str:
    """The last lines of a log file, or why it cannot be read."""
    try:
        with path.open("rb") as file:
            file.seek(0, 2)
            file.seek(max(0, file.tell() - LOG_BYTES))
            text = file.read().decode("utf-8", "replace")
    except OSError as error:
        return t("{file} cannot be read: {why}", file=path.name, why=error.strerror)
    return "\n".join(text.splitlines()[-LOG_LINES:])


def expected_but_unknown(system: System, targets: Sequence[Target]) -> None:
    """A system whose selector fits no target: the file expects a job that Prometheus does not scrape."""
    if of_system(targets, system.prometheus.selector):
        return
    with st.container(border=True, key="card-unknown-expected"):
        selector = system.prometheus.selector
        state = widgets.plain(t("NOT SCRAPED"))
        st.markdown(f":gray[{SHAPES['unknown']} **{state}**] &nbsp; {widgets.plain(selector)}")
        text = t(
            "The file of {system} expects targets with {selector}; this Prometheus knows none.",
            system=t(system.title),
            selector=selector,
        )
        st.markdown(widgets.plain(f"{text} {start_hint(cache.settings(), system)}"))


def without_prometheus(system: System, error: VigieError) -> None:
    """No Prometheus: report it, then probe the services from here, so that one still sees what answers."""
    row = cache.stack().services.get("prometheus")
    widgets.problem(error, title=f"{t(PROMETHEUS_SILENT)}.")
    if row is not None and row.reason:
        st.markdown(widgets.plain(t("The stack says: {reason}", reason=row.reason)))
    st.markdown(t("Until it does, the console looks for itself:"))
    for number, (name, url, path) in enumerate(_probes(system)):
        reason = cache.probe(f"{url}{path}") if url else t("its address is not known")
        health = "up" if reason is None else "down"
        tone = TONES[health]
        with st.container(border=True, key=f"card-{health}-probe-{number}"):
            place = widgets.plain((url or "").partition("://")[2] or t("no address"))
            service, state = widgets.plain(name), widgets.plain(service_state(health).upper())
            st.markdown(f":{MARKDOWN[tone]}[{SHAPES[tone]} **{state}**] &nbsp; **{service}** &nbsp; {place}")
            st.caption(widgets.plain(reason or t("answers on {path} (probed by the console, not scraped)", path=path)))


def _probes(system: System) -> list[tuple[str, str | None, str]]:
    probes = [("API", cache.where(system, "api").url, system.api.health)]
    for name, service in cache.stack().services.items():
        if name not in (system.id, "prometheus"):
            probes.append((name.replace("_", " "), service.url, "/metrics" if name == "node_exporter" else "/health"))
    return probes
