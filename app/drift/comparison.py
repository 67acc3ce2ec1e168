"""From two loaded tables to a saved run: gate, Evidently, decision, report directory."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from app.base import memory
from app.config import Drift, System
from app.drift.decide import Decision, decide, opinions, policy_notes, second_opinion, too_little
from app.drift.early import publish
from app.drift.result import Column, Months, Policy, Result, Target, Verdict
from app.drift.sentence import decision_line, sentence
from app.drift.target import measure
from app.errors import DataError
from app.periods import Period
from app.runs import reports
from app.runs.html import safe_html
from app.runs.job import Job
from app.runs.kinds import DRIFT
from app.runs.own_source import source_of
from app.runs.result import RESULT
from app.runs.source import Source
from app.words.message import clauses, t

if TYPE_CHECKING:
    import pandas as pd

    from app.drift.gate import Gate
    from app.drift.once import Answers
    from app.periods import Frame


# Two loadings, the gate, describing and comparing each column, the writing: what a progress bar counts.
STEPS: Final = 6
# Progress is a file that is replaced: of a wide table one in so many columns is enough.
SAID_EVERY: Final = 10
# Gate and Evidently take 2.3 to 2.5 times what the two loaded tables hold (measured at 100,000 and 1,000,000 rows of
# 16 columns, of which one is text), and this much at any size.
GROWTH: Final = 2.5
OWN_BYTES: Final = 100_000_000
# So many rows say how long the text of a table is.
SAMPLED_ROWS: Final = 1000


@dataclass(frozen=True, slots=True)
class Pair:
    """The two periods of a run, and what they are judged by.

    With a `source` the rows are not the system's: nothing of the run is published flat. `folder` is where
    it is kept, in place of the system's. Without `report` the decision is all.
    """

    system: System
    drift: Drift
    policy: Policy
    ref: Period
    cur: Period
    source: Source | None = None
    folder: Path | None = None
    report: bool = True

    @property
    def stem(self) -> str:
        """The name of the report's files without ending."""
        return f"drift_{self.ref.key}_vs_{self.cur.key}"


@dataclass(frozen=True, slots=True)
class Evidence:
    """Columns with their scores, and Evidently's own files; `refusal` says why nothing was compared."""

    columns: tuple[Column, ...]
    refusal: str
    notes: tuple[str, ...]
    html: str | None = None
    json: str | None = None


@dataclass(frozen=True, slots=True)
class Verdicts:
    """What the middle of a run brings: the decision, its columns, and Evidently's files when there are any."""

    decision: Decision
    columns: tuple[Column, ...]
    target: Target
    notes: tuple[str, ...]
    html: str | None
    json: str | None
    refusal: str = ""


def compared(job: Job, pair: Pair, frames: tuple[Frame, Frame], begun: float) -> tuple[Result, Path]:
    """Judge and save. The decision is beside the progress of the run while its report is made."""
    verdicts = judge(job, pair, *frames, lambda early: publish(job, written(job, pair, frames, early, begun)[0]))
    return save(job, pair, frames, verdicts, begun)


def judge(
    job: Job, pair: Pair, reference: Frame, current: Frame, decided: Callable[[Verdicts], None] | None = None
) -> Verdicts:
    """Gate, compare, decide: everything between loading and saving. `decided` hears the decision before the report."""
    target = measure(reference, current, pair.drift.label, pair.policy.min_rows)

    def heard(evidence: Evidence) -> bool:
        verdicts = conclude(pair, evidence, target)
        if decided is not None:
            decided(verdicts)
        # An undecided run embeds no report: the report next to it would decide.
        return verdicts.decision.verdict is not Verdict.UNDECIDED

    return conclude(pair, examine(job, pair, reference, current, heard), target)


def examine(
    job: Job, pair: Pair, reference: Frame, current: Frame, heard: Callable[[Evidence], bool] | None = None
) -> Evidence:
    """Say what may be compared, score it, and let Evidently report on it unless `heard`, given the scores, says no."""
    from app.drift.once import Answers
    from app.drift.scoring import scored

    job.progress(t("checking what can be compared"), 2, STEPS)
    _fits(reference, current)
    gate = _gate(pair, reference, current)
    notes = (*reference.notes, *current.notes, *gate.notes, *policy_notes(pair.policy, gate.columns))
    # What cannot be decided for want of columns needs no score.
    if gate.refusal or too_little(pair.policy, gate.columns):
        return Evidence(gate.columns, gate.refusal, notes)
    answers = Answers()

    def told(done: int) -> None:
        if done % SAID_EVERY == 0:
            job.progress(t("scoring"), 2, STEPS, columns=len(gate.columns), compared=done)

    frames = gate.reference, gate.current
    columns = scored(gate.columns, *frames, pair.policy, counts=gate.counts, answers=answers, listener=told)
    columns = opinions(pair.policy, columns)
    evidence = Evidence(columns, "", notes)
    if not (heard is None or heard(evidence)) or not pair.report:
        return evidence
    return _reported(job, pair, gate, evidence, answers)


def _reported(job: Job, pair: Pair, gate: Gate, evidence: Evidence, answers: Answers) -> Evidence:
    """The evidence with Evidently's report."""
    from app.drift.compare import REPORT_COLUMNS, reported
    from app.drift.once import COMPARING, DESCRIBING, once

    columns = min(sum(column.comparable for column in evidence.columns), REPORT_COLUMNS)
    steps = {DESCRIBING: 3, COMPARING: 4}

    def told(stage: str, done: int) -> None:
        job.progress(stage, steps[stage], STEPS, columns=columns, compared=min(done, columns))

    told(DESCRIBING, 0)
    with once(told, answers):
        made = reported(gate.reference, gate.current, evidence.columns, pair.policy)
    return replace(evidence, columns=made.columns, notes=(*evidence.notes, *made.notes), html=made.html, json=made.json)


def _fits(reference: Frame, current: Frame) -> None:
    """DataError when the comparison would need more memory than may be taken, before it takes any."""
    free = memory.usable()
    size = sum(_held(frame.data) for frame in (reference, current))
    needed = GROWTH * size + OWN_BYTES
    if free is not None and needed > free:
        raise DataError(
            t(
                "Comparing {reference:count} and {current:count} rows in {columns} columns needs about {needed} of"
                " memory; {free} may be taken on this machine.",
                reference=reference.rows,
                current=current.rows,
                columns=len(reference.data.columns),
                needed=memory.words(needed),
                free=memory.words(free),
            ),
            hint=t("Compare shorter periods, a sample of the rows, or fewer columns (`features`)."),
        )


def _held(data: pd.DataFrame) -> int:
    """Bytes of a table; those of its text by the first values, for all of it takes a second a million rows."""
    words = data.select_dtypes(object).head(SAMPLED_ROWS)
    each = int(words.memory_usage(deep=True).sum() - words.memory_usage().sum()) / max(len(words), 1)
    return int(data.memory_usage().sum() + each * len(data))


def conclude(pair: Pair, evidence: Evidence, target: Target) -> Verdicts:
    """Decide on what was found."""
    decision = decide(pair.policy, evidence.columns, evidence.refusal, target)
    undecided = decision.verdict is Verdict.UNDECIDED
    files = (None, None) if undecided else (evidence.html, evidence.json)
    return Verdicts(decision, evidence.columns, target, evidence.notes, *files, evidence.refusal)


def _gate(pair: Pair, reference: Frame, current: Frame) -> Gate:
    from app.drift.gate import Names, check

    return check(
        reference.data,
        current.data,
        pair.policy,
        Names(pair.ref.key, pair.cur.key),
        features=pair.drift.feature_names,
        ignored=[pair.drift.time] if pair.drift.time else [],
        label_reason=clauses(dict.fromkeys((reference.label_reason, current.label_reason))),
    )


def save(job: Job, pair: Pair, frames: tuple[Frame, Frame], verdicts: Verdicts, begun: float) -> tuple[Result, Path]:
    """Write the run's directory; its result and path. `begun` is the moment of time.monotonic() at the start."""
    job.progress(t("writing the report"), 5, STEPS)
    result, files = written(job, pair, frames, verdicts, begun)
    directory = pair.folder or reports.report_dir(job.settings, pair.system)
    published = [name for name in files if name != RESULT] if pair.source is None else []
    return result, reports.save(directory, job.run, DRIFT, files, published)


def written(
    job: Job, pair: Pair, frames: tuple[Frame, Frame], verdicts: Verdicts, begun: float
) -> tuple[Result, dict[str, bytes]]:
    """The result of a run and the files to be kept of it, by name."""
    decision = verdicts.decision
    ref, cur = (
        Months(period.key, frame.rows, frame.labelled)
        for period, frame in zip((pair.ref, pair.cur), frames, strict=True)
    )
    files: dict[str, bytes] = {}
    shown: dict[str, str] = {}
    if verdicts.html is not None and verdicts.json is not None:
        files[f"{pair.stem}.html"] = safe_html(verdicts.html.encode("utf-8", "replace"))
        files[f"{pair.stem}.json"] = verdicts.json.encode("utf-8", "replace")
        for ending in ("html", "json"):
            shown[ending] = _shown(job, pair, f"{pair.stem}.{ending}")
    counted = decision.counted
    result = Result(
        run=job.run,
        system=pair.system.id,
        ref=ref,
        cur=cur,
        policy=pair.policy,
        share=decision.share,
        k=None if decision.share is None else counted.k,
        n=counted.n,
        share_features=None if decision.share is None else decision.features.share,
        columns=verdicts.columns,
        target_drift=verdicts.target,
        decision=decision.verdict,
        reason=sentence(pair.policy, decision, verdicts.columns),
        line=decision_line(pair.policy, decision, verdicts.target, **shown),
        seconds=time.monotonic() - begun,
        peak_bytes=memory.peak(),
        notes=verdicts.notes,
        own=pair.policy == Policy.of(pair.drift) if pair.source is None else None,
        source=pair.source or source_of(job.settings, pair.system),
        opinion=second_opinion(pair.policy, verdicts.columns, verdicts.refusal, verdicts.target),
    )
    files[RESULT] = result.to_json()
    return result, files


def _shown(job: Job, pair: Pair, name: str) -> str:
    """The path of a file of this run as the decision line prints it: flat where it is published, else in its folder."""
    if pair.source is None:
        return reports.shown_path(job.settings, pair.system, name)
    if pair.folder is not None:
        return str(pair.folder / "runs" / job.run / name)
    return reports.shown_path(job.settings, pair.system, f"runs/{job.run}/{name}")
