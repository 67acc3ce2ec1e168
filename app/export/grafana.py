"""A panel of a system file as a panel of Grafana (11.2): expressions, units, thresholds, legends."""

from __future__ import annotations

import re
from typing import Any

from app.config import Gauge, Panel, System
from app.prometheus import names
from app.prometheus.promql import GRAFANA_LENGTHS
from app.words.message import t

RATE_INTERVAL, RANGE = GRAFANA_LENGTHS
# A dashboard's data source is chosen by this variable when it is imported; it holds no address and no uid.
DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
UNITS = {
    "1/s": "reqps",
    "s": "s",
    "ratio": "percentunit",
    "bytes": "decbytes",
    "bytes/s": "Bps",
    "count": "short",
    "1": "none",
    "celsius": "celsius",
}
# Tiles with a word in them; more of them next to each other are too narrow for it.
MAX_STATS = 6
# A share goes from nothing to all; other units find their own scale.
RATIO_FLOOR = 0
AVERAGED = t("Averaged over Grafana's rate interval: at least four scrapes, longer when a long time is shown.")
NO_VALUE = t("no data")
NOT_COMPARED = t("no comparison yet")
RETRAIN, CALM, OPEN = "RETRAINING_TRIGGERED", "NO_ACTION", "UNDECIDED"

_WINDOW = r"\$\{?(?:window|rate_interval)\}?"
# In English, and in French.
_WINDOW_WORDS = re.compile(rf"[,;:]?\s*(?:{_WINDOW}\s+window|fenêtre (?:de )?{_WINDOW})")
_PLACEHOLDER = re.compile(r"\$\{?(selector|window|rate_interval|range)\}?")


def datasource_variable() -> dict[str, Any]:
    """The variable `datasource`: every Prometheus that this Grafana knows."""
    return {
        "type": "datasource",
        "name": "datasource",
        "label": "Prometheus",
        "query": "prometheus",
        "current": {"selected": False, "text": "default", "value": "default"},
        "hide": 0,
        "includeAll": False,
        "multi": False,
        "options": [],
        "refresh": 1,
        "regex": "",
        "skipUrlSync": False,
    }


def draw(system: System, panel: Panel) -> dict[str, Any]:
    """A panel as a time series, or as a tile with a word when it is a state. Raises ConfigError."""
    if panel.kind == "state":
        return status(system, panel)
    expressions = panel.expr if isinstance(panel.expr, dict) else {"": panel.expr}
    texts = {name: filled(system, f"panels.{panel.id}", expr) for name, expr in expressions.items()}
    custom: dict[str, Any] = {
        "drawStyle": "line",
        "lineInterpolation": "linear",
        "lineWidth": 2,
        "fillOpacity": 20 if panel.kind == "area" else 0,
        "showPoints": "auto",
        # A gap is a gap: a line drawn over it would be a value that was not measured.
        "spanNulls": False,
        "stacking": {"mode": "normal" if panel.kind == "area" else "none", "group": "A"},
        "thresholdsStyle": {"mode": "dashed" if _bounds(system, panel) else "off"},
    }
    defaults = {**_defaults(system, panel), "color": {"mode": "palette-classic"}, "custom": custom}
    if panel.unit != "celsius":
        defaults["min"] = RATIO_FLOOR
    return {
        **_frame("timeseries", title(panel.title, system), description(system, panel, list(texts.values()))),
        "targets": [_target(place, expr, legend(panel, name)) for place, (name, expr) in enumerate(texts.items())],
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": {
            "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True, "calcs": []},
            "tooltip": {"mode": "multi", "sort": "desc"},
        },
    }


def status(system: System, panel: Panel) -> dict[str, Any]:
    """A gauge of 0 or 1 as a tile that says UP or DOWN; "no data" when it is not there."""
    expressions = panel.expr if isinstance(panel.expr, dict) else {"": panel.expr}
    texts = {name: filled(system, f"panels.{panel.id}", expr) for name, expr in expressions.items()}
    words = {
        "type": "value",
        "options": {
            "0": {"text": "DOWN", "color": "red", "index": 0},
            "1": {"text": "UP", "color": "green", "index": 1},
        },
    }
    steps = [{"color": "red", "value": None}, {"color": "green", "value": 1}]
    return {
        **_frame("stat", title(panel.title, system), description(system, panel, list(texts.values()))),
        "targets": [
            _target(place, expr, legend(panel, name), instant=True) for place, (name, expr) in enumerate(texts.items())
        ],
        "fieldConfig": {
            "defaults": {
                "unit": "none",
                "noValue": t(NO_VALUE),
                "mappings": [words],
                "thresholds": {"mode": "absolute", "steps": steps},
                "color": {"mode": "thresholds"},
            },
            "overrides": [],
        },
        "options": _tile("value"),
    }


def decision(system: System, expr: str) -> dict[str, Any]:
    """The decision of the newest comparison as a tile that shows its name."""
    colours = {RETRAIN: "red", CALM: "green", OPEN: "orange"}
    text = t("Decision of the newest comparison with the system's own policy. Retraining is simulated.")
    return {
        **_frame("stat", t("Decision"), text),
        "targets": [_target(0, filled(system, "drift", expr), "{{decision}}", instant=True)],
        "fieldConfig": {
            "defaults": {
                "unit": "none",
                "noValue": t(NOT_COMPARED),
                "mappings": [],
                "thresholds": {"mode": "absolute", "steps": [{"color": "text", "value": None}]},
            },
            "overrides": [
                {
                    "matcher": {"id": "byName", "options": name},
                    "properties": [{"id": "color", "value": {"mode": "fixed", "fixedColor": colour}}],
                }
                for name, colour in colours.items()
            ],
        },
        "options": _tile("name"),
    }


def bars(system: System, name: str, expr: str, legend_text: str) -> dict[str, Any]:
    """The newest value of each series as a bar."""
    text = t("Newest comparison. Methods differ by column (see the report), so bars compare with their own past only.")
    return {
        **_frame("bargauge", name, text),
        "targets": [_target(0, filled(system, "drift", expr), legend_text, instant=True)],
        "fieldConfig": {
            "defaults": {
                "unit": "none",
                "min": 0,
                "noValue": t(NOT_COMPARED),
                "mappings": [],
                "thresholds": {"mode": "absolute", "steps": [{"color": "blue", "value": None}]},
                "color": {"mode": "thresholds"},
            },
            "overrides": [],
        },
        "options": {
            "orientation": "horizontal",
            "displayMode": "basic",
            "valueMode": "text",
            "namePlacement": "left",
            "showUnfilled": True,
            "sizing": "auto",
            "minVizWidth": 8,
            "minVizHeight": 16,
            "maxVizHeight": 300,
            "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
            "legend": {"displayMode": "list", "placement": "bottom", "showLegend": False, "calcs": []},
        },
    }


def filled(system: System, place: str, expr: str) -> str:
    """`expr` with the system's selector and Grafana's own lengths. Raises ConfigError naming the key."""
    return names.filled(system, place, expr, window=RATE_INTERVAL, rate_interval=RATE_INTERVAL, range_=RANGE)


def title(text: str, system: System) -> str:
    """A title without the console's window, which no dashboard has: `p95 latency, $window window` is `p95 latency`."""
    interval, selector = t("rate interval"), system.prometheus.selector
    words = {"window": interval, "rate_interval": interval, "range": t("time shown"), "selector": selector}
    return _PLACEHOLDER.sub(lambda hit: words[hit[1]], _WINDOW_WORDS.sub("", t(text))).strip() or text


def description(system: System, panel: Panel, expressions: list[str]) -> str:
    """The panel's help, how it is averaged, and without help what is asked."""
    text = title(panel.help, system) if panel.help else "; ".join(expressions)
    return f"{text}\n\n{t(AVERAGED)}" if any(RATE_INTERVAL in expr for expr in expressions) else text


def legend(panel: Panel, name: str) -> str:
    """The name of a line as the console gives it: key, template, or what tells the series apart."""
    if isinstance(panel.expr, dict) or name:
        return f"{t(name)} · {t(panel.legend)}" if panel.legend else t(name)
    return t(panel.legend) or "__auto"


def _frame(kind: str, name: str, text: str) -> dict[str, Any]:
    return {"type": kind, "title": name, "description": text, "datasource": DATASOURCE, "transparent": False}


def _target(place: int, expr: str, name: str, *, instant: bool = False) -> dict[str, Any]:
    return {
        "refId": _letters(place),
        "datasource": DATASOURCE,
        "expr": expr,
        "legendFormat": name,
        "editorMode": "code",
        # A tile asks for now: the newest value of a quarter of an hour may be of a service that has gone.
        "instant": instant,
        "range": not instant,
    }


def _letters(place: int) -> str:
    """A … Z, then A1 …: a panel's queries are distinguished by these."""
    return chr(ord("A") + place % 26) + (str(place // 26) if place >= 26 else "")


def _bounds(system: System, panel: Panel) -> list[tuple[str, float]]:
    """Where warnings begin: the panel's own values, or for the service's drift score the threshold it is decided by."""
    bad = panel.bad
    if bad is None and isinstance(system.drift, Gauge) and panel.expr == system.drift.expr:
        bad = system.drift.threshold
    named = (("orange", panel.warn), ("red", bad))
    return [(colour, value) for colour, value in named if value is not None]


def _defaults(system: System, panel: Panel) -> dict[str, Any]:
    steps: list[dict[str, Any]] = [{"color": "green", "value": None}]
    steps += [{"color": colour, "value": value} for colour, value in _bounds(system, panel)]
    return {
        "unit": UNITS[panel.unit],
        "noValue": t(NO_VALUE),
        "mappings": [],
        "thresholds": {"mode": "absolute", "steps": steps},
    }


def _tile(shown: str) -> dict[str, Any]:
    return {
        "colorMode": "background",
        "graphMode": "none",
        "justifyMode": "auto",
        "orientation": "auto",
        "textMode": shown,
        "wideLayout": True,
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
    }
