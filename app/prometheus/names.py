"""What a system's expressions name: their placeholders tried, their metrics listed. Nothing is asked."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping

from app.config import Gauge, System
from app.errors import ConfigError, QueryError, VigieError
from app.prometheus.promql import STRING, fill, parse_selector
from app.words.message import t

# Placeholder values with which a system file's expressions are tried without a Prometheus; any will do.
TRIED = {"window": 60.0, "rate_interval": 8.0, "range_": 300.0}

_STRINGS = re.compile(rf"{STRING}|#[^\n]*")
_NAMES = re.compile(r"([a-zA-Z_:][a-zA-Z0-9_:]*)\s*\{")


def expression_problems(system: System) -> list[VigieError]:
    """What is wrong with the placeholders of a system's expressions and with its selector; nothing is asked."""
    try:
        parse_selector(system.prometheus.selector)
    except ConfigError as error:
        return [_wrong(system, "prometheus.selector", error)]
    problems: list[VigieError] = []
    for place, expr in _all_expressions(system):
        try:
            filled(system, place, expr, **TRIED)
        except ConfigError as error:
            problems.append(error)
    return problems


def filled(system: System, place: str, expr: str, **lengths: str | float) -> str:
    """`expr` of a system file with the selector and these lengths put in. Raises ConfigError that names the key."""
    try:
        return fill(expr, selector=system.prometheus.selector, **lengths)
    except QueryError as error:
        raise _wrong(system, f"{place}.expr", error) from error


def _wrong(system: System, key: str, error: VigieError) -> ConfigError:
    return ConfigError(
        t("{file}: key {key}: {why}", file=f"{system.id}.toml", key=key, why=error.message), hint=error.hint
    )


def _all_expressions(system: System) -> Iterator[tuple[str, str]]:
    for panel in system.panels:
        yield from ((f"panels.{panel.id}", text) for text in texts_of(panel.expr))
    yield from ((f"alerts.{one.name}", one.expr) for one in system.alerts)
    yield from ((f"status.{one.title}", one.expr) for one in system.status)
    if isinstance(system.drift, Gauge):
        yield from (("drift", text) for text in (system.drift.expr, system.drift.has) if text)


def texts_of(expr: str | Mapping[str, str]) -> list[str]:
    """The expressions of a panel, which has one or several by legend name."""
    return [expr] if isinstance(expr, str) else list(expr.values())


def metric_names(texts: Iterable[str]) -> list[str]:
    """Names of the metrics that PromQL texts select, each once."""
    return list(dict.fromkeys(name for text in texts for name in _NAMES.findall(_STRINGS.sub('""', text))))
