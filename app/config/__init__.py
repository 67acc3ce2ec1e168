"""Settings (environment) and System files (TOML): every default and bound, with its reason."""

from app.config.settings import Settings
from app.config.system import (
    Alert,
    Api,
    Drift,
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
