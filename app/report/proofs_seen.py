"""What exercises ask of traffic and of what shows it: the calls, their peak, the dashboard, states and alerts."""

from __future__ import annotations

from collections.abc import Sequence

from app.charts import kpis
from app.config import Panel
from app.errors import VigieError
from app.export import dashboard_json, rules_file, rules_of
from app.prometheus import Answer, Rule, State
from app.prometheus.names import texts_of
from app.report import alerts as fired
from app.report import traffic as sent
from app.report.document import Block, Cell, Code, Evidence, Gap, Section, Table, Text
from app.report.facts import ENOUGH_REQUESTS, Facts
from app.report.origin import gap, instant, whole
from app.report.proof import Proof
from app.report.proofs import chart, no_metric, no_traffic
from app.words.message import joined, t
from app.words.numbers import count
from app.words.units import format_number

# Panels of rate and latency, by what a system file may call them.
MAIN = ("rps", "latency_mean", "latency_p95")
# The queries of so many of them are shown.
QUERIES_SHOWN = 2
# What a rule says of itself.
ABOUT = ("condition", "impact", "action")


# --- traffic --------------------------------------------------------------------------------------------------------


def traffic(facts: Facts) -> Proof:
    """Fifty calls or more, and what both sides counted of them."""
    what = t("{n} calls or more, counted on both sides", n=ENOUGH_REQUESTS)
    load = facts.load
    if load is None:
        return Proof(what, "traffic", missing=no_traffic(facts))
    result, missing = load.result, None
    if result.ok < ENOUGH_REQUESTS:
        why = t("The newest run had {ok:count} good answers to {sent:count} requests.", ok=result.ok, sent=result.sent)
        missing = Gap(why, no_traffic(facts).step)

    def draw() -> Section:
        table = Table([t("number"), t("value")], list(sent.sides(load)))
        return Section(what, [Text(t(result.sentence)), table])

    return Proof(what, "traffic", t("{sent:count} sent", sent=result.sent), missing, draw)


def refused(facts: Facts) -> Proof:
    """Requests that must fail, and the service refused them."""
    what = t("Invalid requests are refused, and counted as errors")
    load = facts.refused
    if load is None:
        # no catalogue: a command
        command = f"python -m app load --system {facts.system.id} --count 50 --duration 10 --errors 0.2"
        step = t(
            "Generate traffic, Your own plan: give a share of requests that must fail and press Start, or run "
            "`{command}`.",
            command=command,
        )
        return Proof(what, "traffic", missing=Gap(t("No request of this range was meant to fail."), step))
    result, missing = load.result, None
    if not result.refused:
        missing = Gap(t("None of them was refused as asked."), t("Look at the answers by status on Generate traffic."))
    state = t("{refused:count} of {meant:count} refused", refused=result.refused, meant=result.meant_to_fail)

    def draw() -> Section:
        names = {"meant_to_fail": t("meant to fail"), "refused": t("refused as asked")}
        names |= {f"by_status.{status}": t("answered {status}", status=status) for status in result.by_status}
        rows: list[list[Cell]] = [[name, load.kept.number(name, place, count)] for place, name in names.items()]
        return Section(what, [Table([t("number"), t("value")], rows)])

    return Proof(what, "traffic", state, missing, draw)


# --- panels ---------------------------------------------------------------------------------------------------------


def peak(facts: Facts) -> Proof:
    """The traffic peak on the panels of rate and latency."""
    what, panels = t("Panels of rate and latency, the traffic peak on them"), _main(facts)
    if not panels:
        return Proof(what, "charts", missing=no_metric(facts))
    if facts.load is None:
        return Proof(what, "charts", missing=no_traffic(facts))
    highest = None if facts.asking.targets[1] else facts.highest(texts_of(panels[0].expr)[0])
    missing = None
    if not highest:
        error = facts.asking.targets[1]
        step = t("Look at Charts over the time of the run; then send traffic again.")
        missing = gap(error) if error else Gap(t("Prometheus shows no request at the time of the run."), step)
    state = t("peak {rate:rate}", rate=highest) if highest else ""
    return Proof(what, "charts", state, missing, lambda: _charts(facts, what, panels))


def _main(facts: Facts) -> list[Panel]:
    own = [facts.panels[name] for name in MAIN if name in facts.panels]
    return own or [panel for panel in kpis.panels(facts.system) if panel.id != "kpi-errors"]


def _charts(facts: Facts, what: str, panels: Sequence[Panel]) -> Section:
    return Section(what, [], parts=[chart(facts, panel) for panel in panels])


def panel_query(facts: Facts) -> Proof:
    """What the panels of rate and latency ask."""
    what, panels = t("The query of a panel"), _main(facts)[:QUERIES_SHOWN]
    if not panels:
        return Proof(what, "charts", missing=no_metric(facts))

    def draw() -> Section:
        blocks: list[Block] = []
        for panel in panels:
            texts = [facts.peak.context.fill(text) for text in texts_of(panel.expr)]
            blocks += [Text(f"**{_titled(panel)}**"), Code("\n".join(texts), "promql")]
        return Section(what, blocks)

    return Proof(what, "charts", draw=draw)


def _titled(panel: Panel) -> str:
    """A panel without its window, which is not yet known here."""
    return t(panel.title).partition(",")[0]


def dashboard(facts: Facts) -> Proof:
    """The dashboard as a file that Grafana imports."""
    what, system = t("The dashboard as Grafana imports it"), facts.system
    try:
        text = dashboard_json(system)
    except VigieError as error:
        return Proof(what, "overview", missing=gap(error))

    def draw() -> Section:
        by_id = {panel.id: panel for panel in system.panels}
        rows = [(t(row.title), row.panels) for row in system.dashboard.rows]
        named = {name for _, names in rows for name in names}
        rest = tuple(name for name in by_id if name not in named)
        rows += [(t("further panels") if rows else t("panels"), rest)] if rest else []
        cells = [[title, joined([_titled(by_id[name]) for name in names], ", ")] for title, names in rows]
        about = Text(t("In Grafana: Dashboards, New, Import. It asks which Prometheus is the data source."))
        file = Evidence(f"grafana/{system.id}.json", text.encode(), t("dashboard for Grafana"))
        return Section(what, [Table([t("row"), t("panels")], cells), about], [file])

    return Proof(what, "overview", draw=draw)


def resources(facts: Facts, what: str) -> Proof:
    """The panels of resources: each has a value."""
    return _all_there(facts, what, [one for one in facts.system.panels if one.tab == "resources"])


def board(facts: Facts) -> Proof:
    """The panels of the dashboard's own rows: each has a value."""
    names = [name for row in facts.system.dashboard.rows for name in row.panels]
    return _all_there(facts, t("Every panel of the dashboard shows something"), [facts.panels[name] for name in names])


def _all_there(facts: Facts, what: str, panels: Sequence[Panel]) -> Proof:
    if not panels:
        step = t("Add [[panels]] to {system}.toml.", system=facts.system.id)
        return Proof(what, "charts", missing=Gap(t("The system file has no such panel."), step))
    looked = [(panel, [facts.answer(text) for text in texts_of(panel.expr)]) for panel in panels]
    empty = [(panel, answers[0]) for panel, answers in looked if not any(one.series for one in answers)]
    missing = _no_number(facts, _titled(empty[0][0]), empty[0][1]) if empty else None
    state = t("{n} of {all}", n=len(panels) - len(empty), all=len(panels))
    return Proof(what, "charts", state, missing, lambda: _charts(facts, what, panels))


def _no_number(facts: Facts, title: str, seen: Answer) -> Gap:
    why = whole(t("{panel} has no value: {why}", panel=title, why=t(seen.reason) or t("nothing was answered")))
    if seen.state is not State.ERROR and facts.load is None:
        return Gap(why, no_traffic(facts).step)
    return Gap(why, t(seen.hint) or t("Look at Charts: it says why."))


# --- states and alerts ----------------------------------------------------------------------------------------------


def status(facts: Facts) -> Proof:
    """The gauges by which the service says what holds."""
    what, own = t("The states that the service reports of itself"), facts.system.status
    if not own:
        step = t("Add [[status]] to {system}.toml.", system=facts.system.id)
        return Proof(what, "overview", missing=Gap(t("The system file names no status gauge."), step))
    unknown = [(one, seen) for one in own if (seen := facts.answer(one.expr)).value is None]
    missing = _no_number(facts, t(unknown[0][0].title), unknown[0][1]) if unknown else None

    def draw() -> Section:
        peak = facts.peak
        rows: list[list[Cell]] = [
            [t(one.title), instant(peak, t(one.title), peak.context.fill(one.expr), format_number)] for one in own
        ]
        return Section(what, [Table([t("state"), t("1: it holds, 0: it does not")], rows)])

    return Proof(what, "overview", t("{n} of {all}", n=len(own) - len(unknown), all=len(own)), missing, draw)


def alerts(facts: Facts) -> Proof:
    """The alerting rules of the system, as Prometheus runs them."""
    what = t("Alerting rules, each with condition, impact and action")
    try:
        own, file = rules_of(facts.system), rules_file([facts.system])
    except VigieError as error:
        return Proof(what, "targets", missing=gap(error))
    loaded = facts.rules
    if unread := facts.asking.targets[1] or facts.rules_unread:
        return Proof(what, "targets", missing=gap(unread))
    running = {rule.name: rule for rule in loaded if rule.labels.get("system") == facts.system.id}
    absent = [rule.alert for rule in own if rule.alert not in running]
    missing = None
    if absent:
        step = t("Targets, Alerting rules: download the file, name it under rule_files of Prometheus, and reload it.")
        missing = Gap(t("Prometheus does not run {names}.", names=joined(absent, ", ")), step)

    def draw() -> Section:
        rows = [
            [
                rule.alert,
                rule.for_,
                _state(running.get(rule.alert)),
                *(rule.annotations.get(name, "–") for name in ABOUT),
            ]
            for rule in own
        ]
        heads = [t("alert"), t("for"), t("now"), t("condition"), t("impact"), t("action")]
        kept = Evidence(f"prometheus/{facts.system.id}.yml", file.encode(), t("alerting rules for Prometheus"))
        return Section(what, [Table(heads, rows)], [kept], fired.alerts(facts.asking).parts)

    return Proof(what, "targets", t("{n} of {all}", n=len(own) - len(absent), all=len(own)), missing, draw)


def _state(rule: Rule | None) -> str:
    if rule is None:
        return t("not loaded")
    return {"firing": t("firing"), "pending": t("pending"), "inactive": t("inactive")}.get(rule.state, rule.state)
