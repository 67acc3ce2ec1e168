"""The comparison itself: Evidently's data summary, data drift and value drift of the label, read back by type.

Only for workers: Evidently is imported inside the functions.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import math
import os
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import pandas as pd

from app.drift.decide import count, counted_columns
from app.drift.evidently_json import metric_arguments, metric_type
from app.drift.methods import Method, method_of
from app.drift.result import Column, Policy
from app.errors import DataError, VigieError
from app.words.message import t

# Without it Evidently reports its use to its makers when a report is made.
os.environ.setdefault("DO_NOT_TRACK", "1")

# Comparing identifiers as text trains a classifier, half of all time at a million rows: beyond this they are left out
# unless the policy counts them.
IDENTIFIER_ROWS: Final = 50_000

# Enough rows for every method to have something to do.
WARM_ROWS: Final = 40
PERCENTILE_TEXT: Final = "Percentile text content drift"  # no catalogue: a name of Evidently


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


@dataclass(frozen=True, slots=True)
class Comparison:
    """Scored columns, and Evidently's own files ("" when no counted column can be compared)."""

    columns: tuple[Column, ...]
    html: str
    json: str


def preload() -> None:
    """Load Evidently, so that the first comparison does not wait for it."""
    # A first small comparison imports what Evidently itself imports late, a second of the first person's wait.
    count = 2 * WARM_ROWS
    frame = pd.DataFrame(
        {"warm": np.arange(count) % WARM_ROWS + np.linspace(0, 1, count), "up": ["a", "b"] * WARM_ROWS}
    )
    columns = [Column("warm", "number", comparable=True), Column("up", "category", comparable=True)]
    compare(frame, frame.iloc[::2], columns, Policy("features", 0.5, 1, 0.5))
    # Plotly's way to read frames of pandas, which that comparison is too small to need. It may move elsewhere.
    with contextlib.suppress(ImportError):
        importlib.import_module("narwhals._pandas_like.dataframe")


def compare(reference: pd.DataFrame, current: pd.DataFrame, columns: Sequence[Column], policy: Policy) -> Comparison:
    """Score every comparable column. Both frames come from the gate; they hold the comparable columns alone.

    A column whose chosen method cannot judge its values comes back as not comparable with the reason. Raises DataError
    when Evidently fails or contradicts itself.
    """
    columns = tuple(_suited(column, reference, current, policy) for column in columns)
    counted = [column.name for column in counted_columns(columns, policy) if column.comparable]
    label = next((one.name for one in columns if one.name == policy.label and one.comparable), None)
    label = None if label in policy.left_out else label
    kinds = {column.name: column.kind for column in columns if column.comparable}
    shown = list(dict.fromkeys([*counted, *([label] if label else [])]))
    if not counted:
        # No report, and nothing to decide on: the reasons next to the columns say why.
        return Comparison(columns, "", "")
    try:
        snapshot = _run(reference[shown], current[shown], kinds, _metrics(counted, label, kinds, policy))
    except DataError:
        kept = tuple(_tried(column, reference, current, policy) for column in columns)
        if kept == columns:
            raise
        return compare(reference, current, kept, policy)
    text = snapshot.json()
    reading = read_scores(text)
    scores = _with_text_flag(reading)
    try:
        extra = _identifier_score(reference, current, columns, policy, shown)
        scores |= {} if extra is None else {extra.column: extra}
    except DataError as error:
        # It does not count: the report and the verdict can do without it.
        why = t("Evidently fails on its values: {why}", why=_said(error))
        columns = tuple(_unfit(one, why) if one.name == policy.identifier else one for one in columns)
    scored = tuple(_scored(column, scores, reference, current) for column in columns)
    if any(
        old.comparable and not new.comparable and new.name in shown for old, new in zip(columns, scored, strict=True)
    ):
        # A method gave no number for some column: the report must not count it either.
        kept = tuple(replace(new, score=None, drifted=None) for new in scored)
        return compare(reference, current, kept, policy)
    _agree(reading, scored, policy)
    return Comparison(scored, snapshot.get_html_str(as_iframe=False), text)


def _metrics(counted: list[str], label: str | None, kinds: Mapping[str, str], policy: Policy) -> list[Any]:
    """Evidently's presets with the policy's own choices, so that the report says what the banner does."""
    from evidently.metrics import ValueDrift
    from evidently.presets import DataDriftPreset, DataSummaryPreset

    chosen = {name: policy.methods[name] for name in counted if kinds[name] != "text" and name in policy.methods}
    thresholds = {
        name: policy.thresholds[name] for name in counted if kinds[name] != "text" and name in policy.thresholds
    }
    drift = DataDriftPreset(
        columns=counted,
        drift_share=policy.threshold,
        # An empty mapping is not the same to Evidently as none.
        per_column_method=chosen or None,
        per_column_threshold=thresholds or None,
    )
    metrics: list[Any] = [DataSummaryPreset(), drift]
    if label is None:
        return metrics
    return [
        *metrics,
        ValueDrift(column=label, method=policy.methods.get(label), threshold=policy.thresholds.get(label)),
    ]


def _suited(column: Column, reference: pd.DataFrame, current: pd.DataFrame, policy: Policy) -> Column:
    """The column, or the same as not comparable when its chosen method would raise, or count what it cannot judge."""
    chosen = policy.methods.get(column.name)
    if chosen is None or not column.comparable or column.kind == "text":
        return column
    method = method_of(chosen)
    if reason := method.misfit(column.kind):
        return _unfit(column, reason)
    if not _fits(method, column.kind, reference[column.name].dropna(), current[column.name].dropna()):
        return _unfit(
            column, t("the method chosen for it ({method}) needs {needs}", method=chosen, needs=t(method.needs))
        )
    return column


def _unfit(column: Column, reason: str) -> Column:
    return replace(column, comparable=False, reason=reason, method=None, score=None, threshold=None, drifted=None)


def _fits(method: Method, kind: str, reference: pd.Series, current: pd.Series) -> bool:
    """Whether this method has an answer on these values. Evidently raises on some, and answers wrongly with z."""
    if method.name in ("fisher_exact", "g_test") and len(reference) != len(current):
        return False
    if method.name in ("fisher_exact", "z"):
        return len({*reference.unique(), *current.unique()}) <= 2
    if method.name == "anderson":
        return not _one_value(reference, current)
    if method.name == "hellinger" and kind == "number":
        values = list({*reference.unique(), *current.unique()})
        return len(values) == 1 or len(np.histogram_bin_edges(values, bins="sturges")) > 2
    if method.name == "es":
        quarter, three = np.percentile(np.hstack((reference.to_numpy(), current.to_numpy())), (25, 75))
        return bool(three > quarter)
    return True


def _tried(column: Column, reference: pd.DataFrame, current: pd.DataFrame, policy: Policy) -> Column:
    """After a failure: the column, or the same as not comparable when it is this one that Evidently fails on."""
    if not column.comparable or column.name not in reference.columns:
        return column
    from evidently.metrics import ValueDrift
    from evidently.presets import DataSummaryPreset

    name = column.name
    chosen = None if column.kind == "text" else policy.methods.get(name)
    metrics = [DataSummaryPreset(), ValueDrift(column=name, method=chosen)]
    try:
        _run(reference[[name]], current[[name]], {name: column.kind}, metrics)
    except DataError as error:
        why = _said(error)
        if not chosen:
            return _unfit(column, t("Evidently fails on its values: {why}", why=why))
        return _unfit(
            column, t("the method chosen for it ({method}) fails on its values: {why}", method=chosen, why=why)
        )
    return column


def _said(error: DataError) -> str:
    cause = error.__cause__
    return str(error).rstrip(".") if cause is None else f"{type(cause).__name__}, {_first_line(cause).rstrip('.')}"


def _run(
    reference: pd.DataFrame, current: pd.DataFrame, kinds: Mapping[str, str], metrics: list[Any], *, tests: bool = False
) -> Any:
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


def _identifier_score(
    reference: pd.DataFrame, current: pd.DataFrame, columns: Sequence[Column], policy: Policy, shown: list[str]
) -> Score | None:
    """The identifier's score for the other way of counting, outside the report, while it is cheap."""
    name = next((one.name for one in columns if one.name == policy.identifier and one.comparable), None)
    if name is None or name in shown or name in policy.left_out or len(reference) + len(current) > IDENTIFIER_ROWS:
        return None
    from evidently.metrics import ValueDrift

    snapshot = _run(reference[[name]], current[[name]], {name: "text"}, [ValueDrift(column=name)], tests=True)
    raw = json.loads(snapshot.json())
    return replace(_metric_scores(raw["metrics"])[name], drifted=raw["tests"][0]["status"] == "FAIL")


def _with_text_flag(reading: Reading) -> dict[str, Score]:
    """The scores; the flag of a text column that was compared with a random classifier comes from the report's count.

    Up to 1000 rows Evidently judges text against a percentile it does not write down; there is one text column, the
    identifier, so it drifted exactly when the count is one above that of the others.
    """
    scores = dict(reading.scores)
    for name, score in scores.items():
        if score.method == PERCENTILE_TEXT:
            others = sum(
                method_of(one.method).drifted(one.value, one.threshold)
                for one in scores.values()
                if one is not score and one.method and one.value is not None and one.threshold is not None
            )
            scores[name] = replace(score, drifted=reading.drifted > others)
    return scores


def _scored(column: Column, scores: Mapping[str, Score], reference: pd.DataFrame, current: pd.DataFrame) -> Column:
    if not column.comparable:
        return column
    score = scores.get(column.name)
    if score is None:
        return replace(column, comparable=False, reason=t("left out: comparing it as text takes too long at this size"))
    if score.method is None or score.threshold is None:
        message = t("Evidently gives no method for {column}.", column=column.name)
        raise DataError(message, hint=t("Install the pinned Evidently."))
    value = score.value
    if value is None or not math.isfinite(value):
        if not _one_value(reference[column.name], current[column.name]):
            reason = t("{method} gives no number for these values", method=score.method)
            return replace(column, comparable=False, reason=reason)
        # A test has nothing to test on one value that is the same on both sides: there is no drift, and that is known.
        value = 1.0 if method_of(score.method).p_value else 0.0
    drifted = method_of(score.method).drifted(value, score.threshold) if score.drifted is None else score.drifted
    return replace(column, method=score.method, score=value, threshold=score.threshold, drifted=drifted)


def _one_value(reference: pd.Series, current: pd.Series) -> bool:
    return len({*reference.dropna().unique(), *current.dropna().unique()}) == 1


def _agree(reading: Reading, columns: Sequence[Column], policy: Policy) -> None:
    """Our count and the report's own must be the same: they are next to each other on the page."""
    ours = count(columns, policy)
    if reading.drifted == ours.k and math.isclose(reading.share * ours.comparable, ours.k, abs_tol=1e-6):
        return
    names = ", ".join(column.name for column in counted_columns(columns, policy) if column.drifted) or "none"
    raise DataError(
        t(
            "Evidently counts {drifted} drifted columns (share {share:.4f}), their scores say {k} of {n} ({columns}).",
            drifted=reading.drifted,
            share=reading.share,
            k=ours.k,
            n=ours.comparable,
            columns=names,
        ),
        hint=t("Nothing is decided on figures that disagree; look at the columns named for odd values."),
    )


# --- reading a report's JSON -----------------------------------------------------------------------------------------


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
            scores=_metric_scores(metrics),
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        message = t("This is no report of Evidently ({why}).", why=type(error).__name__)
        raise DataError(message, hint=hint) from error


def _metric_scores(metrics: Iterable[Mapping[str, Any]]) -> dict[str, Score]:
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
