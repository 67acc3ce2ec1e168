"""Prometheus rules and Grafana dashboards, made from the panels and alerts of the system files. Pure."""

from app.export.dashboards import dashboard_json
from app.export.rules import Rule, rules_file, rules_of

__all__ = ["Rule", "dashboard_json", "rules_file", "rules_of"]
