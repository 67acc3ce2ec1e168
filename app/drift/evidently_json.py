"""Evidently's JSON of any age: its metrics, their arguments, and the scores in it. Pure and without Evidently.

Today's file has `config` next to `metric_name`; up to 0.7.15 the arguments are in the string `metric_id` alone.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from app.drift.methods import method_of
from app.errors import DataError
from app.words.message import t

_CALL: Final = re.compile(r"(?P<type>[A-Za-z]+)\((?P<arguments>.*)\)", re.DOTALL)
# A comma inside a list of columns is not one between arguments.
_ARGUMENT: Final = re.compile(r",(?=[a-z_]+=)")


@dataclass(frozen=True, slots=True)
class Score:
    """One ValueDrift metric. `method` and `threshold` are None in files older than Evidently 0.7.16.

    `method` is the name that reports show, also where the file has the other. `drifted` is Evidently's own flag where
    the report carries its test, which it does on request only.
    """

    column: str
    value: float | None
    method: str | None
    threshold: float | None
    drifted: bool | None = None


@dataclass(frozen=True, slots=True)
class Reading:
    """What an Evidently report says: drifted columns, their share (unrounded), the share's threshold, the scores."""

    drifted: int
    share: float
    drift_share: float | None
    scores: Mapping[str, Score]


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


def read_scores(text: str | bytes) -> Reading:
    """Read Evidently's JSON: today's (`metric_name`, `config.type`) or older (`metric_id`). DataError without a share.

    The original course script looked for `metric_id` alone: on today's files it found nothing and called that 0.0.
    """
    hint = t("Give the JSON that Evidently saved with the report.")
    try:
        metrics = json.loads(text)["metrics"]
        rows = [metric for metric in metrics if metric_type(metric) == "DriftedColumnsCount"]
        if not rows:
            raise DataError(t("There is no share of drifted columns in this report."), hint=hint)
        value, arguments = rows[0]["value"], metric_arguments(rows[0])
        drift_share = arguments.get("drift_share")
        return Reading(
            drifted=round(float(value["count"])),
            share=float(value["share"]),
            drift_share=None if drift_share is None else float(drift_share),
            scores=metric_scores(metrics),
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        message = t("This is no report of Evidently ({why}).", why=type(error).__name__)
        raise DataError(message, hint=hint) from error


def metric_scores(metrics: Iterable[Mapping[str, Any]]) -> dict[str, Score]:
    """The score of each column among these metrics."""
    scores = {}
    for metric in metrics:
        if metric_type(metric) == "ValueDrift":
            arguments = metric_arguments(metric)
            value = metric["value"]
            threshold = arguments.get("threshold")
            method = arguments.get("method")
            scores[str(arguments["column"])] = Score(
                column=str(arguments["column"]),
                value=None if value is None else float(value),
                # A method that was chosen is there by its short name, one that Evidently took by the other.
                method=None if method is None else method_of(str(method)).shown,
                threshold=None if threshold is None else float(threshold),
            )
    return scores
