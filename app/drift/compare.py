"""Evidently's report over columns that have their scores: data summary, data drift, value drift of the label.

It is made of all rows and columns up to a size, beyond it of a sample that says so. What it scores on the same rows is
what the columns have, or the run says so. Only for workers: Evidently is imported inside the functions.
"""

from __future__ import annotations

import contextlib
import html
import importlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import pandas as pd

from app.drift.decide import count, counted_columns, nearness
from app.drift.evidently_json import Reading, Score, metric_scores, read_scores
from app.drift.evidently_run import run, why
from app.drift.methods import method_of
from app.drift.result import Column, Policy
from app.drift.scoring import failing, scored, with_identifier
from app.errors import DataError
from app.words.message import english, some, t

# A report of more rows takes seconds for each 50,000, and shows the same pictures.
REPORT_ROWS: Final = 50_000
# A report of more columns has tens of megabytes, and nobody looks through it.
REPORT_COLUMNS: Final = 100
# Two comparisons of the same rows draw the same sample.
SEED: Final = 0
# What two sums of the same numbers in another order differ by at most, as a part of the score.
SAME: Final = 1e-9
# So many columns are named in a note.
NAMED: Final = 6

# Enough rows for every method to have something to do.
WARM_ROWS: Final = 40
PERCENTILE_TEXT: Final = "Percentile text content drift"  # no catalogue: a name of Evidently
BODY: Final = "<body>"


@dataclass(frozen=True, slots=True)
class Comparison:
    """Scored columns, and Evidently's own files ("" when no counted column can be compared).

    `notes` say what part of the data the report shows, and where it differs.
    """

    columns: tuple[Column, ...]
    html: str
    json: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Drawn:
    """What a report draws: names of counted columns and of all it shows, and both frames, whole or sampled."""

    counted: list[str]
    shown: list[str]
    label: str | None
    reference: pd.DataFrame
    current: pd.DataFrame
    # What a part it is of the data, in sentences; none of a whole one.
    parts: tuple[str, ...]
    every_column: bool


def preload() -> None:
    """Load Evidently, so that the first report does not wait for it."""
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
    """Score the columns and make their report. Both frames come from the gate; they hold the comparable columns."""
    return reported(reference, current, scored(columns, reference, current, policy), policy)


def reported(reference: pd.DataFrame, current: pd.DataFrame, columns: Sequence[Column], policy: Policy) -> Comparison:
    """The report over scored columns. A whole one has its say in their last digits: it lies next to them.

    A column that Evidently fails on comes back as not comparable with the reason. Raises DataError when Evidently fails
    as a whole, or contradicts a score.
    """
    columns = with_identifier(columns, reference, current, policy)
    drawn = _drawn(reference, current, columns, policy)
    if not drawn.counted:
        # No report, and nothing to decide on: the reasons next to the columns say why.
        return Comparison(columns, "", "")
    kinds = {column.name: column.kind for column in columns}
    try:
        snapshot = _run(drawn, kinds, policy, verdict=drawn.every_column)
    except DataError:
        kept = tuple(_tried(column, drawn, policy) for column in columns)
        if kept == columns:
            raise
        return reported(reference, current, kept, policy)
    text = snapshot.json()
    if not drawn.parts:
        columns, notes = _agreed(read_scores(text), columns, policy)
        return Comparison(columns, snapshot.get_html_str(as_iframe=False), text, notes)
    differing = _differing(metric_scores(json.loads(text)["metrics"]), columns)
    if differing and drawn.every_column:
        # A count of drifted columns that is another one than the verdict's has no place beside it.
        snapshot = _run(drawn, kinds, policy, verdict=False)
        text = snapshot.json()
    return _labelled(snapshot.get_html_str(as_iframe=False), text, columns, policy, [*drawn.parts, *differing])


def _drawn(reference: pd.DataFrame, current: pd.DataFrame, columns: Sequence[Column], policy: Policy) -> _Drawn:
    """The part of the data that goes into the report."""
    comparable = [column for column in counted_columns(columns, policy) if column.comparable]
    nearest = {one.name for one in sorted(comparable, key=lambda one: -(nearness(one) or 0.0))[:REPORT_COLUMNS]}
    counted = [column.name for column in comparable if column.name in nearest]
    label = next((one.name for one in columns if one.name == policy.label and one.comparable), None)
    label = None if label in policy.left_out else label
    shown = list(dict.fromkeys([*counted, *([label] if label else [])]))
    parts = []
    if max(len(reference), len(current)) > REPORT_ROWS:
        parts.append(
            t(
                "The report draws a sample, at most {most:count} rows of each side ({reference:count} and"
                " {current:count}); the verdict is over all rows.",
                most=REPORT_ROWS,
                reference=len(reference),
                current=len(current),
            )
        )
    if len(counted) < len(comparable):
        parts.append(
            t(
                "The report draws the {most} columns that drifted most, or nearly, of {n:count}; the verdict is over"
                " all columns.",
                most=len(counted),
                n=len(comparable),
            )
        )
    whole = len(counted) == len(comparable)
    return _Drawn(counted, shown, label, _rows(reference, shown), _rows(current, shown), tuple(parts), whole)


def _rows(frame: pd.DataFrame, names: list[str]) -> pd.DataFrame:
    """These columns, of all rows or of a sample in the order of the rows."""
    if len(frame) <= REPORT_ROWS:
        return frame[names]
    places = np.sort(np.random.default_rng(SEED).choice(len(frame), REPORT_ROWS, replace=False))
    return pd.DataFrame({name: frame[name].iloc[places].reset_index(drop=True) for name in names})


def _run(drawn: _Drawn, kinds: Mapping[str, str], policy: Policy, *, verdict: bool) -> Any:
    """Evidently's presets with the policy's own choices, so that the report says what the banner does.

    Without `verdict` it scores the same columns and counts none.
    """
    from evidently.metrics import ValueDrift
    from evidently.presets import DataDriftPreset, DataSummaryPreset

    own = [name for name in drawn.counted if kinds[name] != "text"]
    chosen = {name: policy.methods[name] for name in own if name in policy.methods}
    thresholds = {name: policy.thresholds[name] for name in own if name in policy.thresholds}
    metrics: list[Any] = [DataSummaryPreset()]
    if verdict:
        # An empty mapping is not the same to Evidently as none.
        metrics.append(
            DataDriftPreset(
                columns=drawn.counted,
                drift_share=policy.threshold,
                per_column_method=chosen or None,
                per_column_threshold=thresholds or None,
            )
        )
    else:
        metrics += [
            ValueDrift(column=name, method=chosen.get(name), threshold=thresholds.get(name)) for name in drawn.counted
        ]
    if drawn.label is not None and (verdict or drawn.label not in drawn.counted):
        label = {"method": policy.methods.get(drawn.label), "threshold": policy.thresholds.get(drawn.label)}
        metrics.append(ValueDrift(column=drawn.label, **label))
    return run(drawn.reference, drawn.current, kinds, metrics)


def _tried(column: Column, drawn: _Drawn, policy: Policy) -> Column:
    """After a failure: the column, or the same as not comparable when it is this one that Evidently fails on."""
    if not column.comparable or column.name not in drawn.shown:
        return column
    from evidently.metrics import ValueDrift
    from evidently.presets import DataSummaryPreset

    name = column.name
    chosen = None if column.kind == "text" else policy.methods.get(name)
    metrics = [DataSummaryPreset(), ValueDrift(column=name, method=chosen)]
    try:
        run(drawn.reference[[name]], drawn.current[[name]], {name: column.kind}, metrics)
    except DataError as error:
        return failing(column, policy, why(error))
    return column


def _agreed(reading: Reading, columns: Sequence[Column], policy: Policy) -> tuple[tuple[Column, ...], tuple[str, ...]]:
    """The columns with the digits of a report over the same rows, and a note on scores that are others.

    DataError when one of the two calls a column drifted and the other does not: one page shows both.
    """
    scores = _with_text_flag(reading)
    apart = []
    done = []
    for column in columns:
        theirs = scores.get(column.name)
        if theirs is None or column.score is None or theirs.value is None or not math.isfinite(theirs.value):
            done.append(column)
            continue
        if not math.isclose(theirs.value, column.score, rel_tol=SAME, abs_tol=SAME):
            apart.append(f"{column.name} {theirs.value:.6g} ({column.score:.6g})")
        done.append(replace(column, score=theirs.value))
        if _flag(theirs) is not column.drifted:
            apart.append(column.name)
            raise _contradicted(reading, columns, policy, apart)
    ours = count(done, policy)
    if reading.drifted != ours.k or not math.isclose(reading.share * ours.comparable, ours.k, abs_tol=1e-6):
        raise _contradicted(reading, columns, policy, apart)
    if not apart:
        return tuple(done), ()
    note = t("Evidently's scores are not those of our own counts (in brackets): {columns}.", columns=some(apart, NAMED))
    return tuple(done), (note,)


def _contradicted(reading: Reading, columns: Sequence[Column], policy: Policy, names: Sequence[str]) -> DataError:
    ours = count(columns, policy)
    drifted = [column.name for column in counted_columns(columns, policy) if column.drifted]
    return DataError(
        t(
            "Evidently counts {drifted} drifted columns (share {share:.4f}), their scores say {k} of {n} ({columns}).",
            drifted=reading.drifted,
            share=reading.share,
            k=ours.k,
            n=ours.comparable,
            columns=", ".join(dict.fromkeys([*drifted, *names])) or "none",
        ),
        hint=t("Nothing is decided on figures that disagree; look at the columns named for odd values."),
    )


def _flag(score: Score) -> bool | None:
    if score.drifted is not None or score.method is None or score.value is None or score.threshold is None:
        return score.drifted
    return method_of(score.method).drifted(score.value, score.threshold)


def _with_text_flag(reading: Reading) -> dict[str, Score]:
    """The scores; the flag of a text column that was compared with a random classifier comes from the report's count.

    Up to 1000 rows Evidently judges text against a percentile it does not write down; there is one text column, the
    identifier, so it drifted exactly when the count is one above that of the others.
    """
    scores = dict(reading.scores)
    for name, score in scores.items():
        if score.method == PERCENTILE_TEXT:
            others = sum(bool(_flag(one)) for one in scores.values() if one is not score)
            scores[name] = replace(score, drifted=reading.drifted > others)
    return scores


def _differing(scores: Mapping[str, Score], columns: Sequence[Column]) -> list[str]:
    """What a report over a part of the rows calls drifted that has not, or the other way round, in one sentence."""
    names = [
        one.name
        for one in columns
        if one.name in scores and one.drifted is not None and _flag(scores[one.name]) is not one.drifted
        # Of text nothing says whether it drifted, there.
        if scores[one.name].method != PERCENTILE_TEXT
    ]
    if not names:
        return []
    return [
        t("Drawn from that part, it judges {columns} otherwise; the verdict does not.", columns=some(names, NAMED)),
    ]


def _labelled(page: str, text: str, columns: Sequence[Column], policy: Policy, sentences: Sequence[str]) -> Comparison:
    """The report with what it is a part of at its top, in both files."""
    ours = count(columns, policy)
    about = [*(english(one) for one in sentences)]
    about.append(f"Over everything {ours.k} of {ours.n} columns drifted.")  # no catalogue: a file of Evidently's
    box = "margin:12px;padding:12px;border:2px solid #b45309;background:#fff7ed;color:#1f2937;font:15px sans-serif"
    banner = f'<div style="{box}" data-vigie="part">{" ".join(html.escape(one) for one in about)}</div>'
    page = page.replace(BODY, BODY + banner, 1) if BODY in page else banner + page
    raw = {"vigie": {"part": about, "drifted": ours.k, "columns": ours.n, "seed": SEED}, **json.loads(text)}
    return Comparison(tuple(columns), page, json.dumps(raw), tuple(sentences))
