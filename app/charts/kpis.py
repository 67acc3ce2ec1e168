"""The three numbers everyone asks for first, as panels made from a system's `[metrics]`. Pure.

Scrapes and health checks are no traffic: a service that counts them too would never be idle.
"""

from __future__ import annotations

from app.config import Panel, System
from app.load.counting import traffic_matchers
from app.words.message import t


def title(name: str) -> str:
    """What one of the three numbers is called."""
    return {"kpi-rps": t("Requests a second"), "kpi-p95": t("p95 latency"), "kpi-errors": t("Error rate")}[name]


def panels(system: System) -> tuple[Panel, ...]:
    """`kpi-rps`, `kpi-p95` and `kpi-errors`, as far as the system names its metrics."""
    metrics, made, own = system.metrics, [], traffic_matchers(system)
    if metrics.requests:
        expr = f"sum(rate({metrics.requests}{{{own}}}[$window]))"
        made.append(Panel(id="kpi-rps", title=title("kpi-rps"), expr=expr, unit="1/s", legend="requests"))
    if metrics.latency:
        buckets = f"sum by (le) (rate({metrics.latency}_bucket{{{own}}}[$window]))"
        expr = f"histogram_quantile(0.95, {buckets})"
        made.append(Panel(id="kpi-p95", title=title("kpi-p95"), expr=expr, unit="s", legend="p95"))
    if metrics.requests and metrics.errors:
        made.append(
            Panel(id="kpi-errors", title=title("kpi-errors"), expr=_errors(system, own), unit="ratio", legend="errors")
        )
    return tuple(made)


def status_panels(system: System) -> tuple[Panel, ...]:
    """One panel per `[[status]]` of the system: a gauge that is 1 while something holds."""
    return tuple(
        Panel(id=f"status-{number}", title=status.title, expr=status.expr, kind="state")
        for number, status in enumerate(system.status)
    )


def _errors(system: System, own: str) -> str:
    """Failed requests as a share of all; 0 where there is traffic and no failing series yet."""
    requests, errors = system.metrics.requests, system.metrics.errors or ""
    total = f"sum(rate({requests}{{{own}}}[$window]))"
    if any(sign in errors for sign in "=~"):
        failed = f"sum(rate({requests}{{{own}, {errors}}}[$window]))"
    else:
        failed = f"sum(rate({errors}{{{own}}}[$window]))"
    # No failing series at all is no failure, as long as the counter itself exists.
    return f"({failed} or 0 * {total}) / {total}"
