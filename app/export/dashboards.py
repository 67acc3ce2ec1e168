"""A Grafana dashboard per system: its panels in titled rows, its status gauges, its drift."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from app.config import Panel, System
from app.drift import panels as drift_panels
from app.export import grafana
from app.prometheus.promql import matcher
from app.words.message import t

# Grafana's grid is 24 columns wide; a panel of height 8 is about 300 pixels high.
GRID, HEIGHT, STAT_HEIGHT, TITLE_HEIGHT = 24, 8, 4, 1
# More charts next to each other than this have no room for a legend.
BESIDE = 3
# What Grafana 11.2 writes; later versions read it and bring it up to date themselves.
SCHEMA_VERSION = 39
# Long enough to see a peak rise and fall.
SPAN = "now-15m"
REFRESH_CHOICES = ("5s", "10s", "30s", "1m", "5m", "15m")
# Tab of the console's charts -> row of the dashboard, in this order.
ROWS = {"service": t("API"), "resources": t("System"), "drift": t("Drift")}
# The same rows when the system file has put the important panels into its own rows.
FURTHER_ROWS = ROWS | {"service": t("API, further")}
# Every open dashboard asks each panel again at each refresh: the cost of 5 s is in its description.
ABOUT = t(
    "Made from the panels of the system file; the console shows the same ones. Traffic, latency and errors tell "
    "whether the service answers and how fast, not whether its predictions are right (F1, AUC, accuracy need labels). "
    "Each refresh asks Prometheus once per panel and per open dashboard: 5 s for one person, 30 s for a room."
)


def dashboard_json(system: System) -> str:
    """The dashboard as Grafana's provisioning and its import page read it; equal systems give equal bytes.

    Raises ConfigError for an expression whose placeholders cannot be filled.
    """
    return json.dumps(dashboard(system), indent=2, ensure_ascii=False) + "\n"


def dashboard(system: System) -> dict[str, Any]:
    """The dashboard as plain values."""
    return {
        "uid": f"vigie-{system.id}",
        "title": t(system.dashboard.title or system.title),
        "description": t(ABOUT),
        "tags": ["vigie", system.id],
        "schemaVersion": SCHEMA_VERSION,
        "timezone": "browser",
        "editable": False,
        "graphTooltip": 1,
        "time": {"from": SPAN, "to": "now"},
        "refresh": system.dashboard.refresh,
        "timepicker": {"refresh_intervals": list(REFRESH_CHOICES)},
        "links": [_link()],
        "templating": {"list": [grafana.datasource_variable()]},
        "annotations": {"list": [_alerts(system)]},
        "panels": list(_numbered(_rows(system))),
    }


def _link() -> dict[str, Any]:
    return {
        "type": "dashboards",
        "title": t("Other systems"),
        "tags": ["vigie"],
        "asDropdown": True,
        "icon": "external link",
        "includeVars": False,
        "keepTime": True,
        "targetBlank": False,
        "tooltip": "",
        "url": "",
    }


def _alerts(system: System) -> dict[str, Any]:
    """Marks where an alert of this system fired."""
    return {
        "name": t("Alerts"),
        "datasource": grafana.DATASOURCE,
        "enable": True,
        "iconColor": "red",
        "expr": f'ALERTS{{alertstate="firing", {matcher("system", system.id)}}}',
        "step": "60s",
        "titleFormat": "{{alertname}}",
        "textFormat": "{{severity}}",
        "tagKeys": "alertname,severity",
    }


# --- what is where -----------------------------------------------------------------------------------------------

# A title, its lines of panels, and whether the row is closed at first.
_Row = tuple[str, Sequence[Sequence[dict[str, Any]]], bool]


def _rows(system: System) -> Iterator[_Row]:
    """The rows the system file asks for, then the other panels by tab."""
    by_id = {panel.id: panel for panel in system.panels}
    for row in system.dashboard.rows:
        yield t(row.title), [[grafana.draw(system, by_id[name]) for name in row.panels]], False
    named = {name for row in system.dashboard.rows for name in row.panels}
    states = [grafana.status(system, one) for one in _statuses(system)]
    if states:
        yield t("Status"), _lines(states, beside=grafana.MAX_STATS), bool(named)
    for tab, title in (FURTHER_ROWS if named else ROWS).items():
        rest = [grafana.draw(system, panel) for panel in system.panels if panel.tab == tab and panel.id not in named]
        if tab == "drift":
            rest += _drift(system)
        if rest:
            yield t(title), _lines(rest), bool(named)


def _statuses(system: System) -> list[Panel]:
    """Status gauges that no panel shows already."""
    shown = {panel.expr for panel in system.panels if isinstance(panel.expr, str)}
    return [
        Panel(id=f"status-{place}", title=status.title, expr=status.expr, kind="state")
        for place, status in enumerate(system.status)
        if status.expr not in shown
    ]


def _drift(system: System) -> list[dict[str, Any]]:
    """What the console exports of the newest comparison, unless the service measures its drift itself."""
    if system.drift is None or not system.compares:
        return []
    own = matcher("system", system.id)
    drawn = []
    for panel in drift_panels.panels(system):
        if panel.id == "drift_scores":
            bars = f"vigie_drift_column_score{{{own}}}"
            drawn.append(grafana.bars(system, t("Drift score by column"), bars, "{{column}}"))
        else:
            drawn.append(grafana.draw(system, panel))
    drawn.insert(1, grafana.decision(system, f"vigie_decision{{{own}}} == 1"))
    return drawn


def _lines(panels: Sequence[dict[str, Any]], beside: int = BESIDE) -> list[list[dict[str, Any]]]:
    """Panels in as few lines as `beside` allows, evenly filled: five are three and two."""
    count = -(-len(panels) // beside)
    size = -(-len(panels) // count)
    return [list(panels[start : start + size]) for start in range(0, len(panels), size)]


def _numbered(rows: Iterator[_Row]) -> Iterator[dict[str, Any]]:
    """Rows and panels with ids and places on the grid; a closed row holds its panels inside."""
    top, number = 0, 0
    for title, lines, closed in rows:
        number += 1
        row: dict[str, Any] = {
            "type": "row",
            "id": number,
            "title": title,
            "collapsed": closed,
            "gridPos": {"x": 0, "y": top, "w": GRID, "h": TITLE_HEIGHT},
        }
        top += TITLE_HEIGHT
        inside: list[dict[str, Any]] = []
        below = top
        for line in lines:
            height = STAT_HEIGHT if all(panel["type"] == "stat" for panel in line) else HEIGHT
            width = GRID // len(line)
            for place, panel in enumerate(line):
                number += 1
                at = {"x": place * width, "y": below, "w": width, "h": height}
                inside.append({**panel, "id": number, "gridPos": at})
            below += height
        # What is closed takes no room: the next row follows at once.
        top = top if closed else below
        row["panels"] = inside if closed else []
        yield row
        yield from () if closed else inside
