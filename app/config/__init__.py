"""Settings (environment) and System files (TOML): every default and bound, with its reason."""

from app.config.settings import Address, Service, Settings, StackState, address, read_state
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
)
from app.config.wanted import want

__all__ = [
    "Address",
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
    "Service",
    "Settings",
    "StackState",
    "Status",
    "System",
    "Systems",
    "address",
    "load_system",
    "load_systems",
    "read_state",
    "want",
]
