"""What exercises ask of a service that is watched: its stack, its metrics, its targets, the first queries."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence

from app import charts
from app.base.processes import begun
from app.config import Panel
from app.errors import VigieError
from app.load import plan as plans
from app.load.readings import own_lines
from app.prometheus import Answer, Series, State
from app.prometheus.targets import Health
from app.report import panels, stack, traffic
from app.report.document import Block, Cell, Code, Gap, Number, Section, Table, Text
from app.report.facts import Facts, Reply
from app.report.origin import dated, gap, moment, unknown, whole
from app.report.proof import Proof
from app.services import Service, service_state, start_hint
from app.words.message import joined, t, tn
from app.words.units import format_value

# Series of one query in a table: a reader sees the shape of it, the chart beside it has more.
MOST_SERIES = 12
# A scrape is recent for so many intervals, and on a target that tells none for so many times this.
RECENT_INTERVALS, USUAL_INTERVAL = 3, 60.0
# Of an answer to a health check so much is shown.
MOST_CHARS = 1000


# --- the stack ------------------------------------------------------------------------------------------------------


def services(facts: Facts) -> Proof:
    """Every service runs, as a terminal lists them."""
    what = t("Every service runs: state, process, since when, address")
    own = {name: row for name, row in facts.stack.services.items() if row.state != "absent"}
    if facts.asking.settings.attached or not own:
        (heads, *lines), missing = _answering(facts)
        about = [Text(t("`docker compose ps` adds what Docker alone knows: container names, images, published ports."))]
    else:
        heads, about = ("SERVICE", "STATE", "PID", "SINCE", "URL"), []
        lines = [
            tuple(str(cell or "-") for cell in (row.name, row.state, row.pid, _since(facts, row), row.url))
            for row in own.values()
        ]
        missing = next((_not_up(row) for row in own.values() if row.state != "up"), None)
    up = sum(line[1] == "up" for line in lines)
    terminal = Code(_aligned([heads, *lines]), "text")

    def draw() -> Section:
        return Section(what, [terminal, *about], parts=[stack.services(facts.asking)])

    return Proof(what, "overview", t("{n} of {all} up", n=up, all=len(lines)), missing, draw)


def _since(facts: Facts, row: Service) -> str:
    at = begun(row.started or "")
    return row.started or "" if at is None else moment(facts.asking, at)


def _not_up(row: Service) -> Gap:
    why = t("{service} is {state}.", service=row.name, state=service_state(row.state))
    if row.reason:
        why = t("{service} is {state}: {why}", service=row.name, state=service_state(row.state), why=t(row.reason))
    return Gap(whole(why), t("Wait for it; Overview, Services, says what it is doing."))


def _answering(facts: Facts) -> tuple[list[tuple[str, ...]], Gap | None]:
    """Services that this console did not start, as they answer it; the heads of the list first."""
    version, silent = facts.prometheus
    name = f"Prometheus {version}".strip()  # no catalogue: name and version
    lines: list[tuple[str, ...]] = [("SERVICE", "STATE", "URL")]
    lines.append((name, "down" if silent else "up", facts.place("prometheus").url or "-"))
    for title, reply in (("API", facts.health), ("Grafana", facts.grafana)):
        if reply.url:
            lines.append((title, "down" if reply.error else "up", reply.url))
    if silent is not None:
        return lines, gap(silent)
    return lines, None if _well(facts.health) else _no_api(facts)


def _well(reply: Reply) -> bool:
    return bool(reply.url) and reply.error is None


def _no_api(facts: Facts) -> Gap:
    error = facts.health.error
    why = whole(t(error.message)) if error else t("The address of the service is not known.")
    return Gap(why, start_hint(facts.asking.settings, facts.system))


def _aligned(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    return "\n".join(line.rstrip() for line in lines)


def prometheus(facts: Facts) -> Proof:
    """Prometheus answers."""
    what, (version, error) = t("Prometheus answers"), facts.prometheus
    table = Table([t("address"), t("version")], [[facts.place("prometheus").url or "", version or t("it tells none")]])
    return Proof(what, "targets", version, gap(error) if error else None, lambda: Section(what, [table]))


def grafana(facts: Facts) -> Proof:
    """Grafana answers; the embedded stack has none, and says how to get one."""
    reply, what = facts.grafana, t("Grafana answers")
    if not reply.url:
        step = t(
            "Start the full stack (`docker compose --profile full up -d`), or set VIGIE_GRAFANA_URL to your own and "
            "import the dashboard: Overview, Services, has it as a download."
        )
        return Proof(what, "overview", missing=Gap(t("No Grafana is configured."), step))
    if reply.error is not None:
        return Proof(what, "overview", missing=gap(reply.error))
    version = _version(reply)
    table = Table([t("address"), t("version")], [[reply.url, version or t("it tells none")]])
    return Proof(what, "overview", version, draw=lambda: Section(what, [table]))


def _version(reply: Reply) -> str:
    try:
        return str(json.loads(reply.body).get("version") or "")
    except (ValueError, AttributeError, RecursionError):
        return ""


def health(facts: Facts) -> Proof:
    """The prediction service answers its health check."""
    reply, what = facts.health, t("The API answers")
    if not _well(reply):
        return Proof(what, "overview", missing=_no_api(facts))
    terminal = Code(f"$ curl {reply.url}{facts.system.api.health}\n{reply.body[:MOST_CHARS]}", "console")
    return Proof(what, "overview", draw=lambda: Section(what, [terminal]))


# --- /metrics -------------------------------------------------------------------------------------------------------


def metrics(facts: Facts) -> Proof:
    """Counter and histogram as the service writes them, before and after calls."""
    system = facts.system
    names = [name for name in (system.metrics.requests, system.metrics.latency) if name]
    what = t("/metrics before and after calls: {names}", names=joined(names, ", "))
    if not names:
        return Proof(what, "traffic", missing=no_metric(facts))
    if facts.scraped is None:
        if facts.load is None:
            return Proof(what, "traffic", missing=no_traffic(facts))
        why = t("The traffic of this range left no copy of /metrics.")
        return Proof(what, "traffic", missing=Gap(why, no_traffic(facts).step))
    load, _, after = facts.scraped
    text = after.decode("utf-8", "replace")
    lines = own_lines(system, text)
    unseen = [name for name in names if not any(line.startswith(name) for line in lines)]
    missing = None
    if unseen:
        step = t("Correct [metrics] in {system}.toml; Targets links to the raw metrics.", system=system.id)
        missing = Gap(t("/metrics holds no {names}.", names=joined(unseen, ", ")), step)
    state = tn("{n:count} line", "{n:count} lines", len(lines))

    def draw() -> Section:
        raw = traffic.raw(facts.asking, load)
        return Section(what, raw.blocks, raw.evidence)

    return Proof(what, "traffic", state, missing, draw)


def no_traffic(facts: Facts) -> Gap:
    """Nothing was sent in the range: which button sends what is asked for; or why that is not known."""
    system = facts.system
    if facts.unread is not None:
        return gap(facts.unread)
    if system.request is None:
        step = t("Add a [request] table to {system}.toml.", system=system.id)
        return Gap(t("This system has no request to send."), step)
    step = t(
        "Generate traffic: press “{button}”, or run `{command}`.",
        button=plans.presets(system)[0].title,
        command=f"python -m app load --system {system.id} --count 100 --duration 10",  # no catalogue: a command
    )
    return Gap(t("No traffic was sent in this range."), step)


def no_metric(facts: Facts) -> Gap:
    """The system file names neither counter nor histogram."""
    step = t("Add [metrics] with `requests` and `latency` to {system}.toml.", system=facts.system.id)
    return Gap(t("The system file names no metric."), step)


# --- Prometheus -----------------------------------------------------------------------------------------------------


def targets(facts: Facts) -> Proof:
    """Prometheus scrapes the service: UP, and a moment ago."""
    what = t("The target of the API is UP, its last scrape recent")
    scraped, error = facts.asking.targets
    if error is not None:
        return Proof(what, "targets", missing=gap(error))
    missing = None
    if not facts.own:
        why = t("Prometheus scrapes nothing that fits {selector}.", selector=f"`{facts.system.prometheus.selector}`")
        missing = Gap(why, start_hint(facts.asking.settings, facts.system))
    for target in facts.own:
        longest = (target.interval or USUAL_INTERVAL) * RECENT_INTERVALS
        if target.health is not Health.UP:
            missing = Gap(whole(target.last_error or t(target.meaning.text)), t(target.meaning.hint))
        elif target.last_scrape is not None and facts.asking.until - target.last_scrape > longest:
            why = t("Its last scrape was {when}.", when=moment(facts.asking, target.last_scrape))
            missing = Gap(why, t("Look at Targets: Prometheus may hang, or the range ends in the future."))
    up = sum(target.health is Health.UP for target in scraped)

    def draw() -> Section:
        part = stack.targets(facts.asking)
        return Section(what, part.blocks, part.evidence)

    return Proof(what, "targets", t("{n} of {all} up", n=up, all=len(scraped)), missing, draw)


def queries(facts: Facts) -> list[Proof]:
    """The first queries, each with value, curve and one line of what it says."""
    return [query(facts, expr, about, place) for place, (expr, about) in enumerate(facts.first_queries)]


# What the first queries ask for, by what is in them; the first that fits.
ASKED = (
    ("histogram_quantile", t("The latency of the slow minority, p95")),
    ("_sum", t("The mean latency")),
    ("rate(", t("Requests a second")),
    ("{", t("Requests counted")),
    ("", t("Targets that answer")),
)


def query(facts: Facts, expr: str, about: str, place: int) -> Proof:
    """One query: its values at the end of the peak, its curve, and what it says."""
    what = next(t(words) for part, words in ASKED if part in expr)
    unit, seen = _unit(facts, expr), facts.answer(expr)
    finite = [one.newest[1] for one in seen.series if math.isfinite(one.newest[1])]
    state = format_value(finite[0], unit) if len(seen.series) == 1 and finite else ""
    if len(seen.series) > 1:
        state = tn("{n} series", "{n} series", len(seen.series))
    missing = None if finite else _no_value(facts, seen)

    def draw() -> Section:
        legend = t("value") if len(seen.series) == 1 and not seen.series[0].labels else ""
        series = charts.panel.merge({"": seen}, legend).series[:MOST_SERIES]
        shown: list[list[Cell]] = [[one.name, _value(facts, expr, one, unit)] for one in series]
        at = t("value at {when}", when=moment(facts.asking, facts.peak.until))
        asked: list[Block] = [Code(expr, "promql"), Text(t(about))]
        if missing is not None:
            return Section(what, asked)
        fields = {"id": f"query-{place}", "title": what, "expr": expr, "unit": unit, "legend": legend}
        table = Table([t("series"), at], shown)
        return Section(what, [*asked, table, *chart(facts, Panel.model_validate(fields)).blocks])

    return Proof(what, "charts", state, missing, draw, expr)


def _unit(facts: Facts, expr: str) -> str:
    latency = facts.system.metrics.latency
    if latency and f"{latency}_" in expr:
        return "s"
    return "1/s" if "rate(" in expr else "1" if expr == "up" else "count"


def _no_value(facts: Facts, seen: Answer) -> Gap:
    if seen.state is State.ERROR:
        return Gap(whole(t(seen.reason)), t(seen.hint))
    step = no_traffic(facts).step
    if seen.series:
        return Gap(t("It has no value: no request fell into its window."), step)
    return Gap(whole(t("It has no value: {why}", why=t(seen.reason))), step if facts.load is None else t(seen.hint))


def _value(facts: Facts, expr: str, series: Series, unit: str) -> Number:
    value = series.newest[1]
    finite = value if math.isfinite(value) else None
    shown = unknown(t("no request fell into its window")) if finite is None else format_value(finite, unit)
    origin = {"query": expr, "at": facts.peak.until, "labels": dict(series.labels)}
    return Number(f"{expr} {series.name}", finite, shown, origin)


def chart(facts: Facts, panel: Panel) -> Section:
    """A panel round the peak: picture, sentence and numbers, or why there is nothing to draw."""
    asking = facts.peak
    try:
        answer = charts.ask(asking.prometheus, panel, asking.context, dated(asking))
        return panels.chart(asking, panel, answer, facts.marks)
    except VigieError as error:
        return Section(t(panel.title).partition(",")[0], [gap(error)])
