"""System files: what is wrong with them."""

from __future__ import annotations

import argparse
from collections.abc import Mapping

from app.cli.common import Exit, error_object
from app.config import Settings, System, load_system, load_systems
from app.errors import ConfigError, QueryError, VigieError
from app.terminal import say_error, say_json

# Placeholder values with which a system file's expressions are tried; any will do.
TRIED = {"window": 60.0, "rate_interval": 8.0, "range_": 300.0}


def systems_check(settings: Settings, options: argparse.Namespace) -> int:
    """Read system files; every expression's placeholders and every selector are tried as well."""
    good: list[System] = []
    broken: list[VigieError] = []
    if options.files:
        for path in options.files:
            try:
                good.append(load_system(path.absolute(), settings))
            except ConfigError as error:
                broken.append(error)
    else:
        found = load_systems(settings)
        good, broken = list(found.by_id.values()), list(found.broken)
    for system in list(good):
        problems = expression_problems(system)
        broken += problems
        if problems:
            good.remove(system)
    if options.json:
        say_json(
            {
                "systems": [{"id": one.id, "title": one.title} for one in good],
                "broken": [error_object(one) for one in broken],
            }
        )
    else:
        for system in good:
            print(f"ok {system.id}: {system.title}, {len(system.panels)} panels, {len(system.alerts)} alerts")
        for problem in broken:
            say_error(f"error: {problem.text}")
    return Exit.ERROR if broken else Exit.DONE


def expression_problems(system: System) -> list[VigieError]:
    """What is wrong with the placeholders of a system's expressions and with its selector."""
    from app.prometheus.promql import fill

    expressions = [(f"panels.{one.id}", text) for one in system.panels for text in _texts(one.expr)]
    expressions += [(f"alerts.{one.name}", one.expr) for one in system.alerts]
    expressions += [(f"status.{one.title}", one.expr) for one in system.status]
    if system.drift is not None and system.drift.expr:
        expressions.append(("drift", system.drift.expr))
    found: list[VigieError] = []
    for place, expr in expressions:
        try:
            fill(expr, selector=system.prometheus.selector, **TRIED)
        except QueryError as error:
            found.append(ConfigError(f"{system.id}.toml: key {place}.expr: {error}", hint=error.hint))
        except ConfigError as error:
            return [ConfigError(f"{system.id}.toml: key prometheus.selector: {error}", hint=error.hint)]
    return found


def _texts(expr: str | Mapping[str, str]) -> list[str]:
    return [expr] if isinstance(expr, str) else list(expr.values())
