"""Reports of Evidently over columns of the gate. Only for workers: Evidently is imported inside the functions."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from app.drift.evidently_json import Score, metric_scores
from app.errors import DataError, VigieError
from app.words.message import t

# Without it Evidently reports its use to its makers when a report is made.
os.environ.setdefault("DO_NOT_TRACK", "1")


def run(
    reference: pd.DataFrame, current: pd.DataFrame, kinds: Mapping[str, str], metrics: list[Any], *, tests: bool = False
) -> Any:
    """Evidently's snapshot of these metrics. DataError when it fails."""
    from evidently import DataDefinition, Dataset, Report

    def of(kind: str) -> list[str]:
        return [name for name in reference.columns if kinds[name] == kind]

    definition = DataDefinition(
        numerical_columns=of("number"), categorical_columns=of("category"), text_columns=of("text")
    )
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            # Divisions by a standard deviation of zero are what the scores say, not something to print.
            warnings.simplefilter("ignore")
            return Report(metrics, include_tests=tests).run(
                current_data=Dataset.from_pandas(current, data_definition=definition),
                reference_data=Dataset.from_pandas(reference, data_definition=definition),
            )
    except (VigieError, MemoryError):
        raise
    except Exception as error:
        # Evidently raises what pandas, numpy, scipy and scikit-learn raise below it.
        raise DataError(
            t(
                "Evidently could not compare these data ({error}: {why}).",
                error=type(error).__name__,
                why=_first_line(error),
            ),
            hint=t("The log of the jobs has the details; leave out the column it names in `features`."),
        ) from error


def _first_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200]


def value_drift(
    reference: pd.Series, current: pd.Series, kind: str, method: str | None = None, threshold: float | None = None
) -> Score:
    """The score and the flag that Evidently gives one column alone. DataError when it fails."""
    from evidently.metrics import ValueDrift

    name = str(reference.name)
    asked = [ValueDrift(column=name, method=method, threshold=threshold)]
    raw = json.loads(run(reference.to_frame(), current.to_frame(), {name: kind}, asked, tests=True).json())
    return replace(metric_scores(raw["metrics"])[name], drifted=raw["tests"][0]["status"] == "FAIL")


def why(error: DataError) -> str:
    """What Evidently failed with, for the middle of a sentence."""
    cause = error.__cause__
    return str(error).rstrip(".") if cause is None else f"{type(cause).__name__}, {_first_line(cause).rstrip('.')}"
