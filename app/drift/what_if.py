"""What a stored run would have decided under another policy, and how little would turn its verdict. Pure and quick.

Everything is computed again from the stored scores by the functions that decided the run: Evidently is not asked, and
nothing is stored. What was never scored stays undecided.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import Final, Literal

from app.config.drift import RULES, Rule
from app.drift.decide import (
    Counting,
    Decision,
    counted_columns,
    decide,
    nearness,
    opinions,
    second_opinion,
    target_reached,
    target_unknown,
)
from app.drift.methods import method_of
from app.drift.result import Column, Policy, Result, Second, Target, Verdict
from app.drift.sentence import sentence
from app.words.message import on_one_line, some, t, tn

# A turning point is given with so many digits, rounded to the side on which it has turned.
FLIP_DIGITS: Final = 4
# So many columns without a score are named; more would bury the sentence.
NAMED: Final = 3

Kind = Literal["share", "column", "distance", "p_value", "left_out", "target", "rule"]


@dataclass(frozen=True, slots=True)
class Change:
    """What to try instead of a run's own policy; None and empty leave it as it was.

    `threshold` is the share of drifted columns. `distance` and `p_value` are thresholds of every column judged by one
    or the other, except those that the policy gives a separate one; `thresholds` are of single columns and beat both.
    `left_out` come to those that the policy leaves out. `rule` is whose drifted columns are counted.
    """

    threshold: float | None = None
    distance: float | None = None
    p_value: float | None = None
    thresholds: Mapping[str, float] = field(default_factory=dict)
    left_out: frozenset[str] = frozenset()
    columns: Literal["features", "all"] | None = None
    target_threshold: float | None = None
    rule: Rule | None = None


@dataclass(frozen=True, slots=True)
class Flip:
    """The smallest change of one kind that turns the verdict to `to`; `change` is the whole of it, ready to be applied.

    `value` is the new threshold (None for a column left out), `column` which column's, where it is one column's.
    """

    kind: Kind
    to: Verdict
    value: float | None
    column: str | None
    change: Change
    words: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """What would have been decided, on which columns with which flags, and the flips from there."""

    policy: Policy
    columns: tuple[Column, ...]
    decision: Decision
    sentence: str
    flips: tuple[Flip, ...]
    opinion: Second | None = None


@dataclass(frozen=True, slots=True)
class Again:
    """How many of `of` runs would have triggered, and how many would have stayed undecided."""

    triggered: int
    of: int
    undecided: int


def recompute(result: Result, change: Change) -> Outcome:
    """The decision on a stored run under a changed policy. An empty change gives the stored decision."""
    base = _Base.of(result)
    policy, columns, decision = base.decided(change)
    words = result.reason if base.total is not None and change == Change() else sentence(policy, decision, columns)
    flips = tuple(_flips(base, change, policy, columns, decision))
    second = None if base.total is not None else second_opinion(policy, columns, base.refusal, result.target_drift)
    return Outcome(policy, columns, decision, words, flips, second)


def again(results: Sequence[Result], change: Change) -> Again:
    """Would have triggered m of these runs: each under its own policy with the change."""
    verdicts = [_Base.of(result).decided(change)[2].verdict for result in results]
    return Again(verdicts.count(Verdict.RETRAINING_TRIGGERED), len(verdicts), verdicts.count(Verdict.UNDECIDED))


@dataclass(frozen=True, slots=True)
class _Base:
    """A stored run, why it can never be decided (`refusal`), or its bare count where its columns do not carry it."""

    result: Result
    refusal: str = ""
    total: Counting | None = None

    @classmethod
    def of(cls, result: Result) -> _Base:
        own = decide(result.policy, result.columns, "", result.target_drift)
        if result.decision is Verdict.UNDECIDED:
            # What the columns do not report was the gate's word: no other policy takes it back.
            return cls(result, "" if own.reason == result.reason else result.reason)
        same = own.verdict is result.decision and (own.counted.k, own.counted.n) == (result.k, result.n)
        if same and not _unscored(result.policy, result.columns):
            return cls(result)
        # An imported report may know how many columns drifted, and not which.
        return cls(result, "", Counting(result.k or 0, result.n, result.n))

    def decided(self, change: Change) -> tuple[Policy, tuple[Column, ...], Decision]:
        """The policy with the change, the columns that are left with their flags, and the decision on them."""
        policy, columns = _applied(self.result, change)
        target = self.result.target_drift
        if self.total is not None:
            return policy, columns, self._on_total(change, policy, target)
        if self.refusal:
            measured = target if policy.target_threshold is not None else None
            return policy, columns, replace(decide(policy, columns, self.refusal), target=measured)
        return policy, columns, _decision(policy, columns, target)

    def _on_total(self, change: Change, policy: Policy, target: Target) -> Decision:
        """On k of n alone: the share's threshold and the rule on the target can change, and nothing else."""
        total = self.total or Counting(0, 0, 0)
        if change != Change(threshold=change.threshold, target_threshold=change.target_threshold):
            reason: str = t("this run keeps no scores of single columns: only the share threshold can be tried on it.")
            if any(column.drifted is not None for column in self.result.columns):
                reason = t(
                    "this run was decided by an earlier rule; compare the months again to try more than the share."
                )
            return replace(decide(policy, (), reason), counted=total, features=total, everything=total)
        measured = target if policy.target_threshold is not None else None
        if reason := target_unknown(policy, target, total):
            return Decision(Verdict.UNDECIDED, on_one_line(reason), total, total, total, measured)
        reached, by_share = target_reached(policy, target), total.reaches(policy.threshold)
        verdict = Verdict.RETRAINING_TRIGGERED if by_share or reached else Verdict.NO_ACTION
        return Decision(verdict, "", total, total, total, measured, by_target=reached and not by_share)


def _decision(policy: Policy, columns: Sequence[Column], target: Target) -> Decision:
    decision = decide(policy, columns, "", target)
    missing = some(_unscored(policy, columns), NAMED)
    if decision.verdict is Verdict.UNDECIDED or not missing:
        return decision
    reason = t("not scored in this run: {columns}. Compare the months again.", columns=missing)
    return decide(policy, columns, on_one_line(reason), target)


def _unscored(policy: Policy, columns: Sequence[Column]) -> list[str]:
    """The counted columns that can be compared, but that run did not come to it."""
    return [one.name for one in counted_columns(columns, policy) if one.comparable and one.drifted is None]


# --- applying a change -----------------------------------------------------------------------------------------------


def _applied(result: Result, change: Change) -> tuple[Policy, tuple[Column, ...]]:
    policy = result.policy
    apart = change.left_out | set(policy.left_out)
    columns, thresholds = [], dict(policy.thresholds)
    for column in result.columns:
        if column.name in apart:
            continue
        threshold = _threshold(column, policy, change)
        if threshold is not None and threshold != column.threshold and column.score is not None:
            drifted = method_of(column.method or "").drifted(column.score, threshold)
            columns.append(replace(column, threshold=threshold, drifted=drifted))
            thresholds[column.name] = threshold
        else:
            columns.append(column)
    if change == Change():
        return policy, tuple(columns)
    changed = replace(
        policy,
        columns=change.columns or policy.columns,
        threshold=policy.threshold if change.threshold is None else change.threshold,
        left_out=tuple(sorted(apart)),
        thresholds=thresholds,
        target_threshold=policy.target_threshold if change.target_threshold is None else change.target_threshold,
        rule=change.rule or policy.rule,
    )
    return changed, opinions(changed, columns)


def _threshold(column: Column, policy: Policy, change: Change) -> float | None:
    """The threshold that the change asks of this column; None where it asks none, or none can be set."""
    if not can_change(column):
        return None
    if column.name in change.thresholds:
        return change.thresholds[column.name]
    if column.name in policy.thresholds:
        return None
    return change.p_value if method_of(column.method or "").p_value else change.distance


def can_change(column: Column) -> bool:
    """Whether another threshold can be tried on a column: text is judged by a percentile no one wrote down."""
    scored = column.score is not None and column.threshold is not None and column.method is not None
    return scored and column.comparable and column.drifted is not None and column.kind != "text"


# --- what would turn the verdict -------------------------------------------------------------------------------------


def _flips(
    base: _Base, change: Change, policy: Policy, columns: Sequence[Column], decision: Decision
) -> Iterator[Flip]:
    """The smallest change of each kind. Each is tried before it is shown."""
    if base.refusal or not decision.counted.n:
        return
    counted = [] if base.total is not None else list(counted_columns(columns, policy))
    for to in (Verdict.RETRAINING_TRIGGERED, Verdict.NO_ACTION):
        if to is decision.verdict:
            continue
        flips = [*_share(change, policy, decision, to), *_target(change, policy, decision, to)]
        flips += _rules(change, policy, to)
        if to is Verdict.RETRAINING_TRIGGERED or not target_reached(policy, decision.target):
            needed = _needed(policy, decision.counted, to)
            flips += _columns(base, change, counted, needed, to)
            flips += _without(change, counted, to)
        yield from (one for one in flips if base.decided(one.change)[2].verdict is to)


def _needed(policy: Policy, counted: Counting, to: Verdict) -> int:
    """How many more columns (fewer: negative) must have drifted; 0 when no number of them turns it."""
    k, n, comparable, unknown = counted.k, counted.n, counted.comparable, counted.n - counted.comparable
    if to is Verdict.RETRAINING_TRIGGERED:
        return next((more - k for more in range(k + 1, comparable + 1) if more / n >= policy.threshold), 0)
    return next((fewer - k for fewer in range(k - 1, -1, -1) if (fewer + unknown) / n < policy.threshold), 0)


def _share(change: Change, policy: Policy, decision: Decision, to: Verdict) -> Iterator[Flip]:
    counted = decision.counted
    if to is Verdict.RETRAINING_TRIGGERED:
        point = value = counted.k / counted.n
        drifted = t("{k} of {n} columns drifted", k=counted.k, n=counted.n)
    else:
        most = counted.at_most
        point, value = most.k / most.n, math.nextafter(most.k / most.n, math.inf)
        if most.k > counted.k:
            drifted = t("at most {k} of {n} columns drifted", k=most.k, n=most.n)
        else:
            drifted = t("{k} of {n} columns drifted", k=most.k, n=most.n)
    # At a threshold of zero everything triggers: true, and of no use to anyone.
    if point and value <= 1:
        words = t(
            "{decision} with a share threshold {bound} (now {now:limit}): {drifted}",
            decision=to,
            bound=_bound(point, value, policy.threshold),
            now=policy.threshold,
            drifted=drifted,
        )
        yield Flip("share", to, value, None, replace(change, threshold=value), words)


def _target(change: Change, policy: Policy, decision: Decision, to: Verdict) -> Iterator[Flip]:
    now, target = policy.target_threshold, decision.target
    if now is None or target is None or not target.value:
        return
    lower = to is Verdict.RETRAINING_TRIGGERED
    value = target.value if lower else math.nextafter(target.value, math.inf)
    words = t(
        "{decision} with a target threshold {bound} (now {now:limit})",
        decision=to,
        bound=_bound(target.value, value, now),
        now=now,
    )
    yield Flip("target", to, value, None, replace(change, target_threshold=value), words)


def _rules(change: Change, policy: Policy, to: Verdict) -> Iterator[Flip]:
    for rule in RULES:
        if rule != policy.rule:
            words = t("{decision} with the rule {rule} (now {now})", decision=to, rule=rule, now=policy.rule)
            yield Flip("rule", to, None, None, replace(change, rule=rule), words)


def _columns(base: _Base, change: Change, counted: Sequence[Column], needed: int, to: Verdict) -> Iterator[Flip]:
    """One column's threshold, where one column is enough; the threshold of all distances, or of all p-values."""
    if not needed:
        return
    turning = [(column, point) for column in counted if (point := _turning(column, drifted=needed > 0)) is not None]
    if abs(needed) == 1 and turning:
        column, value = min(turning, key=lambda pair: abs(math.log(pair[1] / (pair[0].threshold or 1.0))))
        now = column.threshold or 0.0
        words = t(
            "{decision} with a threshold {bound} for {column} (now {now:limit})",
            decision=to,
            bound=_bound(column.score or 0.0, value, now),
            column=column.name,
            now=now,
        )
        changed = replace(change, thresholds={**change.thresholds, column.name: value})
        yield Flip("column", to, value, column.name, changed, on_one_line(words))
    own = {*base.result.policy.thresholds, *change.thresholds}
    for kind in ("distance", "p_value"):
        common = [
            column for column in counted if can_change(column) and column.name not in own and _kind(column) == kind
        ]
        levels = {column.threshold for column in common}
        now = next(iter(levels)) or 0.0 if len(levels) == 1 else 0.0
        if not now:
            # Thresholds that differ have no common one to start from.
            continue
        names = {column.name for column in common}
        points = sorted(
            ((point, column.score or 0.0) for column, point in turning if column.name in names),
            # All are on one side of it; their differences from it may round to the same number.
            key=lambda pair: pair[0] if pair[0] > now else -pair[0],
        )
        if len(points) < abs(needed):
            continue
        value, score = points[abs(needed) - 1]
        about = {"decision": to, "bound": _bound(score, value, now), "now": now}
        if kind == "distance":
            words = t("{decision} with a threshold {bound} for every distance (now {now:limit})", **about)
            yield Flip(kind, to, value, None, replace(change, distance=value), words)
        else:
            words = t("{decision} with a threshold {bound} for every p-value (now {now:limit})", **about)
            yield Flip(kind, to, value, None, replace(change, p_value=value), words)


def _kind(column: Column) -> Literal["distance", "p_value"]:
    return "p_value" if method_of(column.method or "").p_value else "distance"


def _turning(column: Column, *, drifted: bool) -> float | None:
    """The threshold nearest to the present one at which the column's flag becomes `drifted`; None if there is none."""
    if not can_change(column) or column.drifted is drifted or column.score is None:
        return None
    method = method_of(column.method or "")
    value = column.score
    if method.drifted(value, value) is not drifted:
        # At the score itself it is not yet the other way: one step beyond it.
        value = math.nextafter(value, math.inf if method.p_value is drifted else -math.inf)
    # No threshold is zero, and no p-value above one.
    return value if 0 < value <= (1.0 if method.p_value else math.inf) and math.isfinite(value) else None


def _without(change: Change, counted: Sequence[Column], to: Verdict) -> Iterator[Flip]:
    """Leaving one column out: the most drifted, else one that cannot be compared, else one that did not drift."""
    order = sorted(counted, key=lambda column: nearness(column) or 0.0, reverse=True)
    groups = {
        "drifted": [column.name for column in order if column.comparable and column.drifted],
        "incomparable": [column.name for column in order if not column.comparable],
        "calm": [column.name for column in reversed(order) if column.comparable and not column.drifted],
    }
    helpful = {Verdict.NO_ACTION: ("drifted", "incomparable"), Verdict.RETRAINING_TRIGGERED: ("incomparable", "calm")}
    for group in helpful[to]:
        names = groups[group]
        if names:
            words: str = t("{decision} without {column}", decision=to, column=names[0])
            if len(names) > 1:
                words = t("{without}, or any other of {group}", without=words, group=_group(group, len(names)))
            left_out = replace(change, left_out=change.left_out | {names[0]})
            yield Flip("left_out", to, None, names[0], left_out, on_one_line(words))


def _group(group: str, n: int) -> str:
    if group == "drifted":
        return tn("the {n} drifted column", "the {n} drifted columns", n)
    if group == "incomparable":
        return tn("the {n} column that cannot be compared", "the {n} columns that cannot be compared", n)
    return tn("the {n} calm column", "the {n} calm columns", n)


def _bound(point: float, value: float, now: float) -> str:
    """`of 0.0887 or lower`, `above 0.25`: a number that has turned the verdict itself, seen from `now`."""
    lower = value < now
    short = float(f"{point:.{FLIP_DIGITS}g}")
    if short == point:
        if value == point:
            return (
                t("of {value:limit} or lower", value=point) if lower else t("of {value:limit} or higher", value=point)
            )
        return t("below {value:limit}", value=point) if lower else t("above {value:limit}", value=point)
    exact = Decimal(value)
    step = Decimal(1).scaleb(exact.adjusted() - FLIP_DIGITS + 1)
    rounded = exact.quantize(step, rounding=ROUND_FLOOR if lower else ROUND_CEILING)
    text = f"{rounded.normalize():f}"
    return t("of {value:figure} or lower", value=text) if lower else t("of {value:figure} or higher", value=text)
