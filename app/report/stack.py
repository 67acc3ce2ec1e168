"""What runs and in which version, and what Prometheus scrapes."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from importlib import metadata

from app import egress
from app.base.version import VERSION
from app.errors import VigieError
from app.openapi import mapping
from app.prometheus import State, Target
from app.prometheus.promql import duration
from app.prometheus.targets import of_system
from app.report.asking import Asking
from app.report.document import Block, Cell, Code, Gap, Section, Table, Text
from app.report.origin import again, instant, moment, selector, silent, unknown, whole
from app.services import PROBE_SECONDS, Address, address, reach, read_state, service_state, start_hint
from app.words.message import sentences, t
from app.words.units import format_duration, format_value

# What a page is worth reading; a server that watches hundreds of services has a page of its own for them.
MOST_TARGETS = 20
# Names of `…_info` metrics that say something of a program; a service may export any number.
MOST_INFOS = 10
HEALTHY = {"prometheus": "/-/healthy", "grafana": "/api/health"}


def services(asking: Asking) -> Section:
    """Each service with its state, and each program with its version."""
    settings, system = asking.settings, asking.system
    state = read_state(settings)
    own = {name: address(settings, system, name) for name in ("prometheus", "api")}
    others = (name for name in (*state.services, "grafana") if name not in (*own, system.id))
    places = own | {name: address(settings, None, name) for name in others}
    rows = [_service(asking, name, place) for name, place in places.items()]
    blocks: list[Block] = [Table([t("service"), t("address"), t("state"), t("address from")], rows)]
    if state.reason and any(place.url is None for place in own.values()):
        blocks.append(Gap(whole(state.reason), sentences([t("Start it with `python -m stack up`."), again()])))
    states = {"waiting": t("waiting"), "running": t("running"), "failed": t("failed")}
    blocks += [
        Text(t("{task}: {state}. {why}", task=task.about, state=states[task.state], why=task.reason))
        for task in state.tasks
        if task.state in states
    ]
    blocks += [Table([t("program"), t("version")], list(_versions(asking, places["api"])))]
    return Section(t("Services and versions"), blocks)


def _service(asking: Asking, name: str, place: Address) -> list[Cell]:
    origins = {"environment": t("environment"), "system file": t("system file"), "stack": t("stack")}
    titles = {
        "api": t("API of {system}", system=t(asking.system.title)),
        "prometheus": "Prometheus",
        "grafana": "Grafana",
    }
    title = titles.get(name, name.replace("_", " "))
    shown = egress.shown(place.url) if place.url else t("none")
    return [title, shown, _state(asking, name, place), origins.get(place.origin, t("none"))]


def _state(asking: Asking, name: str, place: Address) -> str:
    """The state that the stack publishes; of a service that it does not run, whether it answers."""
    if place.url is None and place.origin == "none":
        return service_state("not configured") if name == "grafana" else unknown(place.reason)
    state, reason = place.state, place.reason
    if state == "unknown" and place.url is not None:
        path = asking.system.api.health if name == "api" else HEALTHY.get(name, "/metrics")
        error = reach(place.url.rstrip("/") + path)
        state, reason = ("up", "") if error is None else ("does not answer", error.message)
    return t("{state} ({reason})", state=service_state(state), reason=reason) if reason else service_state(state)


def _versions(asking: Asking, api: Address) -> Iterator[list[Cell]]:
    yield ["Vigie", VERSION]
    yield ["Python", platform.python_version()]
    yield ["Evidently", _installed("evidently")]
    try:
        yield ["Prometheus", asking.prometheus.build() if silent(asking) is None else unknown(silent_why(asking))]
    except VigieError as error:
        yield ["Prometheus", unknown(error.message)]
    yield [t("API of {system}", system=t(asking.system.title)), _api(api)]
    if silent(asking) is None:
        yield from _exported(asking)


def silent_why(asking: Asking) -> str:
    """Why Prometheus does not answer; "" where it does."""
    missing = silent(asking)
    return "" if missing is None else missing.why


def _installed(package: str) -> str:
    """The version of a package from what is installed; it is not imported."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return t("not installed")


def _api(api: Address) -> str:
    """The version that the service's own description names."""
    if api.url is None:
        return unknown(api.reason)
    try:
        answer = egress.get(f"{api.url.rstrip('/')}/openapi.json", deadline=PROBE_SECONDS)  # no catalogue: a path
        document = mapping(answer.check().json())
    except VigieError as error:
        return unknown(error.message)
    version = mapping(document.get("info")).get("version")
    return version if isinstance(version, str) and version else unknown(t("its description names none"))


def _exported(asking: Asking) -> Iterator[list[Cell]]:
    """What the service exports of itself: metrics called `…_info` with a label `version`."""
    own = asking.system.prometheus.selector.strip().strip(",")
    # no catalogue: PromQL
    answer = asking.heard(
        asking.prometheus.query(f'{{__name__=~".+_info", version!=""{", " if own else ""}{own}}}', asking.until)
    )
    if answer.state is State.ERROR:
        return
    for series in answer.series[:MOST_INFOS]:
        name = series.labels.get("__name__", "").removesuffix("_info")
        yield [t("{name}, as the API exports it", name=name), series.labels.get("version", "")]


def targets(asking: Asking) -> Section:
    """What Prometheus scrapes: state, last scrape, how long each was up, and each error with its meaning."""
    title = t("Targets")
    if missing := silent(asking):
        return Section(title, [missing])
    every, _ = asking.targets
    own = of_system(every, asking.system.prometheus.selector)
    ordered = [*own, *(target for target in every if target not in own)]
    blocks: list[Block] = []
    if not own:
        expects = asking.system.prometheus.selector
        why = t("Prometheus scrapes nothing that fits {selector}.", selector=f"`{expects}`")
        blocks.append(Gap(why, sentences([start_hint(asking.settings, asking.system), again()])))
    if ordered:
        heads = [t("job"), t("address"), t("state"), t("last scrape"), t("it took"), t("up in the range")]
        blocks.append(Table(heads, [_target(asking, target) for target in ordered[:MOST_TARGETS]]))
    if len(ordered) > MOST_TARGETS:
        blocks.append(Text(_rest(len(ordered))))
    for target in ordered[:MOST_TARGETS]:
        blocks += _meaning(target)
    return Section(title, blocks)


def _rest(total: int) -> str:
    return t("{shown} of {total:count} targets are listed, those of the system first.", shown=MOST_TARGETS, total=total)


def _target(asking: Asking, target: Target) -> list[Cell]:
    name = f"{target.job} {target.instance}"
    up, took = (selector(metric, target.labels) for metric in ("up", "scrape_duration_seconds"))
    width = duration(max(1.0, round(asking.until - asking.since)))
    unseen = t("not scraped in the five minutes before")
    return [
        target.job,
        target.address,
        service_state(target.health) if not target.waiting else t("waiting"),
        instant(
            asking, t("last scrape of {target}", target=name), f"timestamp({up})", lambda at: moment(asking, at), unseen
        ),
        instant(asking, t("length of the last scrape of {target}", target=name), took, format_duration, unseen),
        instant(
            asking,
            t("share of scrapes of {target} that it answered", target=name),
            f"avg_over_time({up}[{width}])",
            lambda share: format_value(share, "ratio"),
            t("never scraped in this range"),
        ),
    ]


def _meaning(target: Target) -> list[Block]:
    """Why a target is not up, in Prometheus' own words and in plain ones."""
    if target.health == "up" and target.samples != 0:
        return []
    meaning = target.meaning
    text = t("{target}: {meaning}. {hint}", target=target.job, meaning=meaning.text, hint=meaning.hint)
    return [Text(text), *([Code(target.last_error)] if target.last_error else [])]
