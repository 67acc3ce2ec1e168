"""Alerting rules for Prometheus: those of the system files, and one per system on its drift."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from app.config import System
from app.errors import ConfigError, QueryError
from app.prometheus.promql import fill, matcher

# A rule has no chart to take its window from: the length at which a short burst no longer wakes anybody.
WINDOW = "5m"
# Four scrapes of the slowest job (10 s), rounded up to what people read.
RATE_INTERVAL = "1m"
# `$range` is the width of a chart; a rule looks back an hour in its place.
RANGE = "1h"
# A share moves only when somebody compares two months: there is nothing to wait out.
SHARE_FOR = "0m"
# A gauge moves with every request: two minutes tell a burst from a change.
GAUGE_FOR = "2m"

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
    """The rules of a system, in the order of its file; the one on drift last. Raises ConfigError."""
    found = [
        Rule(
            alert=alert.name,
            expr=_filled(system, f"alerts.{alert.name}", alert.expr),
            for_=alert.for_,
            labels={"severity": alert.severity, "system": system.id},
            annotations=_annotations(condition=alert.condition, impact=alert.impact, action=alert.action),
        )
        for alert in system.alerts
    ]
    drift = _drift_rule(system)
    return [*found, drift] if drift else found


def _drift_rule(system: System) -> Rule | None:
    """The decision on drift as an alert; None without `[drift]`, or when a rule of the file asks the same already."""
    if system.drift is None:
        return None
    if system.drift.source == "gauge" and system.drift.expr:
        subject, for_ = _filled(system, "drift", system.drift.expr), GAUGE_FOR
        expr = f"{bracketed(subject)} >= {system.drift.threshold:g}"
        condition = f"The service's own drift score is at or above {system.drift.threshold:g}."
        action = "Find the feature that moved, then decide on retraining."
    else:
        own = matcher("system", system.id)
        subject, for_ = "vigie_drift_share", SHARE_FOR
        expr = f"vigie_drift_share{{{own}}} >= vigie_drift_threshold{{{own}}}"
        condition = "The share of drifted columns in the newest comparison is at or above its threshold."
        action = "Open the comparison in the console, find the columns that moved, then decide on retraining."
    if any(subject in _filled(system, f"alerts.{alert.name}", alert.expr) for alert in system.alerts):
        return None
    impact = "The model answers for data it was not trained on; its predictions may be wrong."
    return Rule(
        alert="DataDrift",
        expr=expr,
        for_=for_,
        labels={"severity": "warning", "system": system.id},
        annotations=_annotations(condition=condition, impact=impact, action=action),
    )


def bracketed(expr: str) -> str:
    """`expr` as an operand; on lines of its own when a comment at its end would swallow the bracket."""
    return f"(\n{expr}\n)" if "#" in expr or "\n" in expr else f"({expr})"


def _filled(system: System, place: str, expr: str) -> str:
    try:
        selector = system.prometheus.selector
        return fill(expr, selector=selector, window=WINDOW, rate_interval=RATE_INTERVAL, range_=RANGE)
    except QueryError as error:
        raise ConfigError(f"{system.id}.toml: key {place}.expr: {error}", hint=error.hint) from error


def _annotations(**texts: str) -> dict[str, str]:
    """Texts that are there, protected: Prometheus reads annotations as templates, ours are sentences."""
    return {name: text.replace("{{", '{{"{{"}}') for name, text in texts.items() if text}


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
