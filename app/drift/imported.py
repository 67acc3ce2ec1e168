"""A comparison made elsewhere, read from the JSON of Evidently 0.4, 0.7.15 or today: what it says, and nothing more.

Pure and without Evidently. Three forms are known: `metric_name` with `config` (today's), `metric_id` alone (up to
0.7.15: the arguments are in that string), and `metric` with `result` (0.4). What a form does not say is unknown.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from app.base.text import one_line
from app.drift.evidently_json import metric_arguments, metric_type
from app.drift.methods import METHODS, method_of
from app.drift.result import Column, Months, Policy, Result, Side, Target, Verdict
from app.drift.sentence import decision_line, sentence
from app.drift.what_if import Change, recompute
from app.errors import ReportError
from app.words.message import on_one_line, t

# A page shows some hundred columns; a report of more than this was not made to be looked at.
MAX_COLUMNS: Final = 2000
# Names of columns and methods: what fits a cell, three times over. A reason is a paragraph at most.
MAX_COLUMN_NAME: Final = 200
MAX_REASON: Final = 2000
# Evidently rounds nothing, but a share goes through JSON as text.
SHARE_ERROR: Final = 1e-6
TODAY: Final = t("today's Evidently (metric_name)")
OLDER: Final = t("Evidently 0.7.15 or older (metric_id)")
OLDEST: Final = t("Evidently 0.4 (metric and result)")
HINT: Final = t("Give the JSON that Evidently saved with the report.")
UNSAID: Final = t("the report does not say how this column was judged")
PERCENTILE_TEXT: Final = "percentile text content drift"  # no catalogue: a name of Evidently
# Column types as Evidently 0.4 writes them.
_KINDS: Final = {"num": "number", "cat": "category", "text": "text"}


@dataclass(slots=True)
class Said:
    """What a report says. `counted` are the columns its share counts, `total` how many they are, where it reports it.

    `judged` are those with a drift metric, also when it gives no number.
    """

    form: str
    count: float | None = None
    share: float | None = None
    threshold: float | None = None
    counted: tuple[str, ...] = ()
    total: int | None = None
    judged: set[str] = field(default_factory=set)
    columns: dict[str, Column] = field(default_factory=dict)
    rows_ref: int | None = None
    rows_cur: int | None = None


@dataclass(frozen=True, slots=True)
class Names:
    """Whose run it becomes: id, system, the months as the caller names them, and a name for it (may be "")."""

    run: str
    system: str
    ref: str
    cur: str
    title: str


def read(data: bytes, names: Names, own_threshold: float) -> Result:
    """The report as our run. `own_threshold` serves a report that names no threshold for its share.

    Raises ReportError when it is no report with a share of drifted columns, or contradicts itself.
    """
    report = _said(data)
    if report.count is None or report.share is None:
        raise ReportError(t("There is no share of drifted columns in this report."), hint=t(HINT))
    k, n = _counts(report)
    threshold = own_threshold if report.threshold is None else report.threshold
    columns, policy = _judged(report, k, n, threshold)
    # A share of 0 may be one over nothing, which is not the calm it looks like.
    share = report.share if n else None
    if share is None:
        verdict = Verdict.UNDECIDED
    else:
        verdict = Verdict.RETRAINING_TRIGGERED if share >= threshold else Verdict.NO_ACTION
    result = Result(
        run=names.run,
        system=names.system,
        ref=Months(names.ref, report.rows_ref),
        cur=Months(names.cur, report.rows_cur),
        policy=policy,
        share=share,
        k=k if n else None,
        n=n,
        share_features=None,
        columns=columns,
        target_drift=Target(reason=t("an imported report does not say it")),
        decision=verdict,
        reason="",
        line="",
        seconds=None,
        peak_bytes=None,
        notes=_notes(report, columns, policy, k),
    )
    decision = recompute(result, Change()).decision
    words: str
    if share is None and report.total == 0:
        words = t("a share of 0, of no column: nothing follows from it.")
    elif share is None:
        words = t("a share of 0, and the report does not say of how many columns: nothing follows from it.")
    else:
        drifted = t("{k} of {n} columns drifted.", k=k, n=n)
        words = t(
            "share {share:.2f} {sign} {threshold:limit}, {why}",
            share=share,
            sign="≥" if share >= threshold else "<",
            threshold=threshold,
            why=sentence(policy, decision, columns) if decision.counted.k == k and k else drifted,
        )
    reason = on_one_line(from_elsewhere(report.form, names.title, words))
    reason = reason if len(reason) <= MAX_REASON else reason[:MAX_REASON]
    return replace(result, reason=reason, line=decision_line(policy, decision, result.target_drift))


def from_elsewhere(form: str, title: str, words: str) -> str:
    """The reason of an imported run."""
    if title:
        return t("imported from {form}, {name}: {why}", form=form, name=title, why=words)
    return t("imported from {form}: {why}", form=form, why=words)


def _said(data: bytes) -> Said:
    """What the file says, in each of its forms."""
    try:
        raw = json.loads(data)
    except (ValueError, RecursionError) as error:
        message = t("This file is not JSON ({why}).", why=one_line(str(error))[:200])
        raise ReportError(message, hint=t(HINT)) from error
    metrics = raw.get("metrics") if isinstance(raw, dict) else None
    listed = [metric for metric in metrics if isinstance(metric, dict)] if isinstance(metrics, list) else []
    if not listed:
        raise ReportError(t("This is no report of Evidently: it has no list of metrics."), hint=t(HINT))
    if any("result" in metric and "metric" in metric for metric in listed):
        return _oldest(listed)
    report = Said(TODAY if any("metric_name" in metric or "config" in metric for metric in listed) else OLDER)
    for metric in listed:
        _take(report, metric_type(metric), metric_arguments(metric), metric.get("value"))
    return report


def _take(report: Said, kind: str, arguments: Mapping[str, Any], value: Any) -> None:
    """Add what one metric says."""
    name = str(arguments.get("column", ""))[:MAX_COLUMN_NAME]
    match kind:
        case "DriftedColumnsCount" if report.count is None and isinstance(value, Mapping):
            report.count, report.share = _number(value.get("count")), _number(value.get("share"))
            report.threshold = _number(arguments.get("drift_share"))
            report.counted = _names(arguments.get("columns"))
        case "ValueDrift" if name:
            report.judged.add(name)
            _put(
                report,
                name,
                method=_method(arguments.get("method")),
                score=_number(value),
                threshold=_number(arguments.get("threshold")),
            )
        case "RowCount":
            # Of the current data: the JSON does not say how many rows the reference has.
            report.rows_cur = _whole(value)
        case "MeanValue" if name:
            _put(report, name, kind="number", cur=Side(mean=_number(value)))
        case "UniqueValueCount" if name:
            _put(report, name, kind="category")


def _oldest(metrics: Sequence[Mapping[str, Any]]) -> Said:
    """The form of Evidently 0.4."""
    report = Said(OLDEST)
    for metric in metrics:
        result = metric.get("result")
        if not isinstance(result, Mapping):
            continue
        if "share_of_drifted_columns" in result and report.count is None:
            report.count = _number(result.get("number_of_drifted_columns"))
            report.share = _number(result.get("share_of_drifted_columns"))
            report.total = _whole(result.get("number_of_columns"))
        if metric.get("metric") == "DatasetDriftMetric":
            # The table next to it has its own fixed threshold.
            report.threshold = _number(result.get("drift_share"))
        table = result.get("drift_by_columns")
        for name, row in (table if isinstance(table, Mapping) else {}).items():
            if isinstance(row, Mapping):
                report.judged.add(str(name)[:MAX_COLUMN_NAME])
                _put_oldest(report, str(name)[:MAX_COLUMN_NAME], row)
        for side in ("reference", "current"):
            table = result.get(side)
            rows = _whole(table.get("number_of_rows")) if isinstance(table, Mapping) else None
            if rows is not None:
                setattr(report, "rows_ref" if side == "reference" else "rows_cur", rows)
    return report


def _put_oldest(report: Said, name: str, row: Mapping[str, Any]) -> None:
    flag, method = row.get("drift_detected"), row.get("stattest_name")
    _put(
        report,
        name,
        kind=_KINDS.get(str(row.get("column_type")), "unknown"),
        method=_method(method),
        score=_number(row.get("drift_score")),
        threshold=_number(row.get("stattest_threshold", row.get("threshold"))),
        drifted=flag if isinstance(flag, bool) else None,
    )


def _method(value: Any) -> str | None:
    return str(value)[:MAX_COLUMN_NAME] if value else None


def _put(report: Said, name: str, **values: Any) -> None:
    report.columns[name] = replace(report.columns.get(name, Column(name, "unknown")), **values)
    if len(report.columns) > MAX_COLUMNS:
        message = t("This report has more than {most} columns.", most=MAX_COLUMNS)
        raise ReportError(message, hint=t("Import one that compares fewer columns."))


# --- what follows from it --------------------------------------------------------------------------------------------


def _counts(report: Said) -> tuple[int, int]:
    """How many columns drifted, and of how many: the report says the one and the share; the other follows."""
    count, share = report.count or 0.0, report.share or 0.0
    whole = 0 <= count <= MAX_COLUMNS and count == int(count) and 0 <= share <= 1 and (count == 0) == (share == 0)
    if whole and count == 0:
        return 0, report.total or len(report.counted) or len(report.judged)
    n = round(count / share) if whole and share >= count / MAX_COLUMNS else 0
    if n < 1 or not math.isclose(count / n, share, abs_tol=SHARE_ERROR):
        figures = {"drifted": count, "share": share}
        message = t("This report contradicts itself: {drifted:g} drifted columns, and a share of {share:g}.", **figures)
        raise ReportError(message, hint=t(HINT))
    return int(count), n


def _scored(report: Said) -> list[Column]:
    """The columns that were judged; others are only described in the report."""
    return [one for one in report.columns.values() if one.name in report.judged]


def _judged(report: Said, k: int, n: int, threshold: float) -> tuple[tuple[Column, ...], Policy]:
    """The columns with their flags, and the policy that counts as the report does."""
    columns = _scored(report)
    counted = set(report.counted) or {column.name for column in columns}
    apart = [column.name for column in columns if column.name not in counted]
    # A separate score for one column next to the others: that is how the label is watched.
    label = apart[0] if len(apart) == 1 else None
    policy = Policy(
        columns="features" if label else "all",
        threshold=threshold,
        # The report was decided on as it is: nothing is too little any more.
        min_rows=0,
        comparable=0.0,
        label=label,
        left_out=() if label else tuple(sorted(apart)),
    )
    flags = {column.name: _flag(column) for column in columns}
    named = [column for column in columns if column.name in counted]
    texts = [column.name for column in named if (column.method or "").lower() == PERCENTILE_TEXT]
    others = sum(flags[column.name] is True for column in named)
    for name in texts[:1]:
        # Judged against a percentile that is not written down: it drifted when the count is one above the others'.
        flags[name] = k > others
    if k in (0, n) and len(named) == n:
        # None, or all: then it is known of each, even if the form does not say it.
        flags |= {column.name: k > 0 for column in named if flags[column.name] is None}
    return tuple(_column(column, flags[column.name]) for column in columns), policy


def _flag(column: Column) -> bool | None:
    """Whether the column drifted, by the report's own flag or by score and threshold; None when it is unknown."""
    if column.drifted is not None:
        return column.drifted
    if column.method is None or column.score is None or column.threshold is None:
        return None
    method = method_of(column.method)
    if method not in METHODS or column.method.lower() == PERCENTILE_TEXT:
        return None
    return method.drifted(column.score, column.threshold)


def _column(column: Column, flag: bool | None) -> Column:
    reason = ""
    if flag is None:
        reason = t("the report gives no number for it") if column.score is None else t(UNSAID)
    return replace(column, drifted=flag, comparable=flag is not None, reason=reason)


def _notes(report: Said, columns: Sequence[Column], policy: Policy, k: int) -> tuple[str, ...]:
    form = report.form
    notes = [t("Imported from {form}: rows, label and histograms that it does not carry are unknown.", form=form)]
    if report.threshold is None:
        own = policy.threshold
        notes.append(
            t("The report names no threshold for its share; the system's own {threshold:limit} is used.", threshold=own)
        )
    apart = {policy.label, *policy.left_out}
    flags = [column.drifted for column in columns if column.name not in apart]
    if None not in flags and sum(flag is True for flag in flags) != k:
        scored = flags.count(True)
        notes.append(t("The report counts {k} drifted columns; by the scores in it they are {n}.", k=k, n=scored))
    return tuple(notes)


# --- reading ---------------------------------------------------------------------------------------------------------


def _names(value: Any) -> tuple[str, ...]:
    """The columns of a list, or of the text `a,b,c`."""
    given = value.split(",") if isinstance(value, str) else value
    return tuple(str(name)[:MAX_COLUMN_NAME] for name in given) if isinstance(given, list) else ()


def _number(value: Any) -> float | None:
    """A finite number, also when it is written as text; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _whole(value: Any) -> int | None:
    number = _number(value)
    return int(number) if number is not None and number >= 0 and number == int(number) else None
