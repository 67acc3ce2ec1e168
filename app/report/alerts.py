"""Alerts: the rules that Prometheus has loaded, what fires now, and what fired in the range."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from app.errors import VigieError
from app.prometheus import AlertNow, Answer, Rule, Series, State, TimeRange
from app.prometheus.promql import quote
from app.report.asking import Asking
from app.report.document import Block, Cell, Gap, Number, Section, Table, Text
from app.report.origin import again, gap, instant, moment, selector, silent, whole
from app.words.message import sentences, t
from app.words.units import format_duration

# A rule that fires every few minutes fills pages; the newest of its alerts are listed and the rest counted.
MOST_FIRED: Final = 50
MOST_RULES: Final = 60
# Labels that every alert has, and that the table says in columns of their own.
OWN_LABELS: Final = ("__name__", "alertname", "alertstate")


@dataclass(frozen=True, slots=True)
class Fired:
    """One stretch of time in which an alert fired: number `place` of its series, from its first to its last sample."""

    series: Series
    place: int
    start: float
    end: float


def alerts(asking: Asking) -> Section:
    """The rules on this system, and its alerts."""
    title = t("Alerts")
    if missing := silent(asking):
        return Section(title, [missing])
    return Section(title, [], parts=[_rules(asking), _now(asking), _fired(asking)])


def _of_system(asking: Asking, labels: Mapping[str, str]) -> bool:
    """Whether a rule or an alert is on this system: ours carry its id, those of others carry none."""
    return labels.get("system", asking.system.id) == asking.system.id


def _rules(asking: Asking) -> Section:
    title = t("Rules that are loaded")
    try:
        every = asking.prometheus.rules()
    except VigieError as error:
        return Section(title, [gap(error)])
    rules = [rule for rule in every if rule.kind == "alerting" and _of_system(asking, rule.labels)]
    if not rules:
        why = t("Prometheus has no rule on this system loaded.")
        step = t(
            "Run `{command}` and name the file under `rule_files` of Prometheus.", command="python -m app export rules"
        )
        return Section(title, [Gap(why, sentences([step, again()]))])
    heads = [t("rule"), t("expression"), t("for"), t("severity"), t("state"), t("health")]
    blocks: list[Block] = [Table(heads, [_rule(rule) for rule in rules[:MOST_RULES]])]
    if len(rules) > MOST_RULES:
        blocks.append(Text(t("{shown} of {total:count} rules are listed.", shown=MOST_RULES, total=len(rules))))
    return Section(title, blocks)


def _rule(rule: Rule) -> list[Cell]:
    health = rule.health if not rule.last_error else f"{rule.health}: {rule.last_error}"
    severity = rule.labels.get("severity", t("none"))
    length = format_duration(rule.for_seconds) if rule.for_seconds else t("at once")
    return [rule.name, rule.expr, length, severity, _state(rule.state), health]


def _state(state: str) -> str:
    return {"firing": t("firing"), "pending": t("pending"), "inactive": t("inactive")}.get(state, state)


def _now(asking: Asking) -> Section:
    title = t("Firing or pending when the report was written")
    try:
        every = [one for one in asking.prometheus.alerts() if _of_system(asking, one.labels)]
    except VigieError as error:
        return Section(title, [gap(error)])
    if not every:
        return Section(title, [Text(t("None."))])
    heads = [t("alert"), t("state"), t("since"), t("labels")]
    return Section(title, [Table(heads, [_alert(asking, one) for one in every[:MOST_FIRED]])])


def _alert(asking: Asking, one: AlertNow) -> list[Cell]:
    return [one.name, _state(one.state), moment(asking, one.since), _labels(one.labels)]


def _labels(labels: Mapping[str, str]) -> str:
    return ", ".join(f"{name}={value}" for name, value in sorted(labels.items()) if name not in OWN_LABELS)


def fired(asking: Asking) -> tuple[list[Fired], str, Answer]:
    """What fired in the range, the newest first, by the series that Prometheus writes of every alert; and its query."""
    # An alert without the label is everyone's: to PromQL a label that is not there is empty.
    # no catalogue: PromQL
    expr = f'ALERTS{{alertstate="firing", system=~{quote(f"|{asking.system.id}")}}}'
    answer = asking.heard(asking.prometheus.query_range(expr, asking.context.span))
    stretches = [one for series in answer.series for one in _stretches(series, asking.context.span)]
    return sorted(stretches, key=lambda one: -one.start), expr, answer


def _fired(asking: Asking) -> Section:
    title, span = t("Fired in the range"), asking.context.span
    stretches, expr, answer = fired(asking)
    if answer.state is State.ERROR:
        return Section(title, [Gap(whole(answer.reason), sentences([answer.hint, again()]))])
    if not stretches:
        return Section(title, [Text(t("No alert fired in this range."))])
    note = t("Looked at every {step:duration}: an alert that fired for less may be missing.", step=span.step)
    table = Table(
        [t("alert"), t("condition held from"), t("fired from"), t("to"), t("labels")],
        [_stretch(asking, one, expr, span) for one in stretches[:MOST_FIRED]],
    )
    left = answer.total_series > len(answer.series) or len(stretches) > MOST_FIRED
    more = [Text(t("The newest {shown} are listed; there were more.", shown=MOST_FIRED))] if left else []
    return Section(title, [table, Text(note), *more])


def _stretches(series: Series, span: TimeRange) -> Sequence[Fired]:
    """The samples of an alert as stretches without a gap."""
    times = series.times.tolist()
    starts = [place for place, at in enumerate(times) if not place or at - times[place - 1] > 1.5 * span.step]
    ends = [*starts[1:], len(times)]
    return [
        Fired(series, place, times[start], times[end - 1])
        for place, (start, end) in enumerate(zip(starts, ends, strict=True))
    ]


def _stretch(asking: Asking, one: Fired, expr: str, span: TimeRange) -> list[Cell]:
    labels = one.series.labels
    name = labels.get("alertname", "")
    origin: dict[str, Any] = {
        "query": expr,
        "start": span.start,
        "end": span.end,
        "step": span.step,
        "labels": dict(labels),
        "stretch": one.place,
    }
    start, end = moment(asking, one.start), moment(asking, one.end)
    if one.start <= span.start:
        start = t("{moment} or earlier: the range begins there", moment=start)
    if one.end >= span.end - span.step:
        end = t("{moment}, the end of the range: it was still firing", moment=end)
    # Prometheus keeps since when the condition holds, by the alert's labels without its state.
    same = {label: value for label, value in labels.items() if label not in ("__name__", "alertstate")}
    return [
        name,
        instant(
            asking,
            t("the condition of {alert} held from", alert=name),
            selector("ALERTS_FOR_STATE", same),
            partial(moment, asking),
            t("Prometheus did not keep it"),
            at=one.start,
        ),
        Number(t("{alert} fired from", alert=name), one.start, start, {**origin, "take": "from"}),
        Number(t("{alert} fired to", alert=name), one.end, end, {**origin, "take": "to"}),
        _labels(labels),
    ]
