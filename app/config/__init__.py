"""Settings (environment) and System files (TOML): every default and bound, with its reason."""

from app.config.drift import Drift, Gauge
from app.config.settings import Settings
from app.config.system import (
    Alert,
    Api,
    Field,
    Load,
    Metrics,
    Panel,
    PrometheusSource,
    Quality,
    Request,
    RequestError,
    Status,
    System,
    Systems,
    load_system,
    load_systems,
    parse_system,
)

__all__ = [
    "Alert",
    "Api",
    "Drift",
    "Field",
    "Gauge",
    "Load",
    "Metrics",
    "Panel",
    "PrometheusSource",
    "Quality",
    "Request",
    "RequestError",
    "Settings",
    "Status",
    "System",
    "Systems",
    "load_system",
    "load_systems",
    "parse_system",
]
