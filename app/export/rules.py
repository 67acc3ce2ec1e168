"""Alerting rules for Prometheus: those of the system files, and those on each system's drift."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from app.config import Gauge, System
from app.prometheus.names import filled
from app.prometheus.promql import matcher
from app.words.message import t
from app.words.numbers import entire

# A rule has no chart to take its window from: the length at which a short burst no longer wakes anyone.
WINDOW = "5m"
# Four scrapes of the slowest job (10 s), rounded up to what people read.
RATE_INTERVAL = "1m"
# `$range` is the width of a chart; a rule looks back an hour in its place.
RANGE = "1h"
# A share moves only when someone compares two months: there is nothing to wait out.
SHARE_FOR = "0m"
# A gauge moves with every request: two minutes tell a burst from a change.
GAUGE_FOR = "2m"
STALE_MODEL = t("The model answers for data it was not trained on; its predictions may be wrong.")

# no catalogue: a comment of the file
HEADER = """\
# Made by `python -m app export rules` from app/systems/*.toml: change a rule there, then make this file again.
"""


@dataclass(frozen=True, slots=True)
class Rule:
    """One alerting rule, its placeholders filled."""

    alert: str
    expr: str
    for_: str
    labels: Mapping[str, str]
    annotations: Mapping[str, str]


def rules_of(system: System) -> list[Rule]:
    """The rules of a system, in the order of its file; those on drift last. Raises ConfigError."""
    own = [
        Rule(
            alert=alert.name,
            expr=_filled(system, f"alerts.{alert.name}", alert.expr),
            for_=alert.for_,
            labels={"severity": alert.severity, "system": system.id},
            annotations=_annotations(condition=alert.condition, impact=alert.impact, action=alert.action),
        )
        for alert in system.alerts
    ]
    asked = [rule.expr for rule in own]
    # A rule of the file that asks for the same already is the better one: someone thought about it.
    return own + [rule for subject, rule in _drift_rules(system) if not any(subject in expr for expr in asked)]


def _drift_rules(system: System) -> Iterator[tuple[str, Rule]]:
    """The rules on drift, each with the expression that it is about; none without `[drift]`."""
    drift = system.drift
    if drift is None:
        return
    if isinstance(drift, Gauge):
        subject = _filled(system, "drift", drift.expr)
        condition = t("The service's own drift score is at or above {threshold:g}.", threshold=drift.threshold)
        action = t("Find the feature that moved, then decide on retraining.")
        texts = {"condition": condition, "impact": t(STALE_MODEL), "action": action}
        yield (
            subject,
            _rule(system, "DataDrift", f"{bracketed(subject)} >= {entire(drift.threshold)}", texts, for_=GAUGE_FOR),
        )
        return
    own = matcher("system", system.id)
    texts = {
        "condition": t("The share of drifted columns in the newest comparison is at or above its threshold."),
        "impact": t(STALE_MODEL),
        "action": t("Open the comparison in the console, find the columns that moved, then decide on retraining."),
    }
    expr = f"vigie_drift_share{{{own}}} >= vigie_drift_threshold{{{own}}}"
    yield "vigie_drift_share", _rule(system, "DataDrift", expr, texts)
    if drift.target_threshold is not None:
        yield "vigie_target_drift", _target_rule(system, own, drift.target_threshold)
    texts = {
        "condition": t("The newest comparison could not decide: too little of it can be compared."),
        "impact": t("Drift is not watched until a comparison decides; an alert on drift before it has ended with it."),
        "action": t("Open the comparison in the console: it says what is missing."),
    }
    expr = f'vigie_decision{{{own}, decision="UNDECIDED"}} == 1'
    yield "vigie_decision", _rule(system, "DriftUndecided", expr, texts, severity="info")


def _target_rule(system: System, own: str, threshold: float) -> Rule:
    """Target drift from its threshold on, where the newest comparison decided at all."""
    texts = {
        "condition": t(
            "The rate of the label in the newest comparison moved by {threshold:g} or more.", threshold=threshold
        ),
        "impact": t("What is predicted has become more or less frequent; the model's probabilities may be off."),
        "action": t("Open the comparison in the console, look at the rates of both months, then decide on retraining."),
    }
    decided = f'vigie_decision{{{own}, decision="RETRAINING_TRIGGERED"}} == 1'
    expr = f"vigie_target_drift{{{own}}} >= {entire(threshold)} and on (system) {decided}"
    return _rule(system, "TargetDrift", expr, texts)


def _rule(
    system: System, alert: str, expr: str, texts: Mapping[str, str], *, for_: str = SHARE_FOR, severity: str = "warning"
) -> Rule:
    return Rule(alert, expr, for_, {"severity": severity, "system": system.id}, _annotations(**texts))


def bracketed(expr: str) -> str:
    """`expr` as an operand; on its own lines when a comment at its end would swallow the bracket."""
    return f"(\n{expr}\n)" if "#" in expr or "\n" in expr else f"({expr})"


def _filled(system: System, place: str, expr: str) -> str:
    return filled(system, place, expr, window=WINDOW, rate_interval=RATE_INTERVAL, range_=RANGE)


def _annotations(**texts: str) -> dict[str, str]:
    """Texts that are there, protected: Prometheus reads annotations as templates, ours are sentences."""
    return {name: t(text).replace("{{", '{{"{{"}}') for name, text in texts.items() if text}


def rules_file(systems: Iterable[System]) -> str:
    """A rules file for Prometheus, one group a system: equal systems give equal bytes. Raises ConfigError."""
    groups = [(system.id, rules_of(system)) for system in systems]
    lines = [HEADER + "groups:"]
    for name, rules in groups:
        if rules:
            lines += [f"  - name: {name}", "    rules:"]
            lines += [line for rule in rules for line in _rule_lines(rule)]
    return "\n".join(lines if len(lines) > 1 else [HEADER + "groups: []"]) + "\n"


def _rule_lines(rule: Rule) -> list[str]:
    lines = [f"      - alert: {rule.alert}", f"        expr: {_scalar(rule.expr)}", f"        for: {rule.for_}"]
    for title, pairs in (("labels", rule.labels), ("annotations", rule.annotations)):
        if pairs:
            lines.append(f"        {title}:")
            lines += [f"          {name}: {_scalar(value)}" for name, value in pairs.items()]
    return lines


def _scalar(text: str) -> str:
    """A YAML string: in single quotes when it is one plain line, in double quotes with escapes otherwise."""
    if text.isprintable():
        return "'" + text.replace("'", "''") + "'"
    escaped = {"\\": "\\\\", '"': '\\"', "\n": "\\n"}
    return '"' + "".join(escaped.get(c, c if c.isprintable() else f"\\U{ord(c):08X}") for c in text) + '"'
