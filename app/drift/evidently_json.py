"""The metrics in Evidently's JSON, of any age: their class, their arguments. Pure and without Evidently.

Today's file has `config` next to `metric_name`; up to 0.7.15 the arguments are in the string `metric_id` alone.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

_CALL: Final = re.compile(r"(?P<type>[A-Za-z]+)\((?P<arguments>.*)\)", re.DOTALL)
# A comma inside a list of columns is not one between arguments.
_ARGUMENT: Final = re.compile(r",(?=[a-z_]+=)")


def metric_type(metric: Mapping[str, Any]) -> str:
    """The metric's class, from `config.type` or, in older files, from its name; "" when it has none."""
    config = metric.get("config")
    if isinstance(config, Mapping) and config.get("type"):
        return str(config["type"]).rpartition(":")[2]
    return _name(metric).partition("(")[0]


def metric_arguments(metric: Mapping[str, Any]) -> Mapping[str, Any]:
    """What the metric was made with; in older files every value is text, and {} where there is nothing to read."""
    config = metric.get("config")
    if isinstance(config, Mapping) and config.get("type"):
        return config
    match = _CALL.fullmatch(_name(metric))
    if match is None:
        return {}
    return dict(part.split("=", 1) for part in _ARGUMENT.split(match["arguments"]) if "=" in part)


def _name(metric: Mapping[str, Any]) -> str:
    return str(metric.get("metric_name") or metric.get("metric_id") or "")
