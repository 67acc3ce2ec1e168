"""From scored columns and a policy to a decision. Pure: no Evidently, no files.

What-if calls the same functions on stored columns.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from app.config.drift import Rule
from app.drift.methods import method_of
from app.drift.result import Column, Policy, Second, Target, Verdict
from app.drift.second import corrected, second, under
from app.words.message import clauses, figure, on_one_line, some, t
from app.words.numbers import apart, share_moved

# So many columns are named in a sentence; the table below it has them all.
NAMED: Final = 3


@dataclass(frozen=True, slots=True)
class Counting:
    """k drifted of n counted columns, `comparable` of which could be compared."""

    k: int
    n: int
    comparable: int

    @property
    def share(self) -> float | None:
        """The unrounded k / n; None without columns."""
        return self.k / self.n if self.n else None

    @property
    def at_most(self) -> Counting:
        """The same if every column that could not be compared had drifted."""
        return Counting(self.k + self.n - self.comparable, self.n, self.n)

    def reaches(self, threshold: float) -> bool:
        """Whether the unrounded share is at the threshold or above."""
        return self.n > 0 and self.k / self.n >= threshold


@dataclass(frozen=True, slots=True)
class Decision:
    """The verdict, why nothing could be decided (else ""), and both ways of counting.

    `target` is the target drift the policy has a rule on, None where it has none; `by_target` is True when the verdict
    rests on that rule alone: the share of columns does not reach its threshold.
    """

    verdict: Verdict
    reason: str
    counted: Counting
    features: Counting
    everything: Counting
    target: Target | None = None
    by_target: bool = False

    @property
    def share(self) -> float | None:
        """The share the verdict rests on; None when undecided."""
        return None if self.verdict is Verdict.UNDECIDED else self.counted.share


def nearness(column: Column) -> float | None:
    """How near a column is to its threshold: 1 at it, above 1 drifted; None when it was not scored."""
    if column.score is None or column.threshold is None or column.method is None:
        return None
    if column.kind == "text":
        # Its threshold may be a percentile, and no one asks how near an identifier came.
        return None
    if method_of(column.method).p_value:
        return column.threshold / column.score if column.score > 0 else math.inf
    return column.score / column.threshold if column.threshold > 0 else math.inf


def counted_columns(columns: Sequence[Column], policy: Policy) -> tuple[Column, ...]:
    """The columns that count under this policy."""
    apart = set(policy.left_out)
    if policy.columns == "features":
        apart |= {name for name in (policy.label, policy.identifier) if name}
    return tuple(column for column in columns if column.name not in apart)


def count(columns: Sequence[Column], policy: Policy) -> Counting:
    """Count drifted and comparable columns under this policy."""
    counted = counted_columns(columns, policy)
    comparable = [column for column in counted if column.comparable]
    return Counting(sum(column.drifted is True for column in comparable), len(counted), len(comparable))


def target_reached(policy: Policy, target: Target | None) -> bool:
    """Whether target drift alone triggers: the policy has a rule on it, and what was measured is at it or above."""
    if policy.target_threshold is None or target is None or target.value is None:
        return False
    return target.value >= policy.target_threshold


def decide(policy: Policy, columns: Sequence[Column], refusal: str = "", target: Target | None = None) -> Decision:
    """The decision on these columns. `refusal` is the gate's reason not to decide at all.

    A column that cannot be compared counts in n and not as drifted. Where the verdict would be another one if such
    columns had drifted, or were left out as the Evidently report leaves them out, nothing is decided: what is unknown
    is not calm, and banner and report must not disagree. Target drift triggers where the policy has a threshold for
    it, but never where nothing can be decided; where it is not measured, it leaves a calm share undecided. Which
    columns drifted is the policy's `rule`.
    """
    columns = under(policy, columns)
    counted = count(columns, policy)
    features = count(columns, replace(policy, columns="features"))
    everything = count(columns, replace(policy, columns="all"))
    reached = target_reached(policy, target)
    reason = refusal or too_little(policy, columns) or _hangs(policy, columns, counted, reached=reached)
    reason = reason or target_unknown(policy, target, counted)
    if reason and reached and target is not None:
        rule = target_rule(policy, target)
        reason = t("{reason:clause}; {rule} would trigger by itself.", reason=reason, rule=rule)
    by_share = counted.reaches(policy.threshold)
    if reason:
        verdict = Verdict.UNDECIDED
    else:
        verdict = Verdict.RETRAINING_TRIGGERED if by_share or reached else Verdict.NO_ACTION
    return Decision(
        verdict,
        on_one_line(reason),
        counted,
        features,
        everything,
        target=None if policy.target_threshold is None else target,
        by_target=verdict is Verdict.RETRAINING_TRIGGERED and not by_share,
    )


def opinions(policy: Policy, columns: Sequence[Column]) -> tuple[Column, ...]:
    """The columns with the second opinion on each corrected over those that count."""
    return corrected(columns, [column.name for column in counted_columns(columns, policy)], policy)


def second_opinion(
    policy: Policy, columns: Sequence[Column], refusal: str = "", target: Target | None = None
) -> Second | None:
    """What the columns that moved significantly and materially would decide; None where no column was tested."""
    rules: tuple[Rule, Rule] = ("evidently", "significant-and-material")
    theirs, ours = (decide(replace(policy, rule=rule), columns, refusal, target) for rule in rules)
    evidently, tested = ((one.verdict, one.counted.k, one.counted.n) for one in (theirs, ours))
    return second(policy, evidently, tested, counted_columns(columns, policy))


def too_little(policy: Policy, columns: Sequence[Column]) -> str:
    """Why too few of the counted columns can be compared to decide anything, or "".

    A column that differs no more than by chance was looked at: it is no want of data, and matters only where the
    verdict hangs on it.
    """
    counted = count(columns, policy)
    if not counted.n:
        return t("there is no column to compare.")
    seen = counted.comparable + sum(column.uncertain for column in counted_columns(columns, policy))
    if seen / counted.n < policy.comparable or not counted.comparable:
        return t(
            "only {k} of {n} columns can be compared and {share:.4g}% are needed (comparable): {columns}.",
            k=counted.comparable,
            n=counted.n,
            share=policy.comparable * 100,
            columns=left_out(counted_columns(columns, policy)),
        )
    return ""


def _hangs(policy: Policy, columns: Sequence[Column], counted: Counting, *, reached: bool) -> str:
    """Why the share hangs on columns that cannot be compared, or "". `reached`: target drift triggers by itself."""
    if counted.reaches(policy.threshold):
        return ""
    among = Counting(counted.k, counted.comparable, counted.comparable)
    absent = left_out(counted_columns(columns, policy))
    if among.reaches(policy.threshold):
        return t(
            "{k} of {comparable} comparable columns drifted, which reaches {threshold:limit}, but not of all {n}:"
            " it hangs on {columns}.",
            k=counted.k,
            comparable=counted.comparable,
            threshold=policy.threshold,
            n=counted.n,
            columns=absent,
        )
    if not reached and counted.at_most.reaches(policy.threshold):
        return t(
            "{k} of {n} columns drifted and {unknown} cannot be judged: {most} of {n} would reach {threshold:limit},"
            " so it hangs on {columns}.",
            k=counted.k,
            n=counted.n,
            unknown=counted.n - counted.comparable,
            most=counted.at_most.k,
            threshold=policy.threshold,
            columns=absent,
        )
    return ""


def target_unknown(policy: Policy, target: Target | None, counted: Counting) -> str:
    """Why the policy's rule on the target leaves the verdict open, or "": it was not measured, and it might trigger."""
    if policy.target_threshold is None or counted.reaches(policy.threshold):
        return ""
    target = target or Target(reason=t("nothing is known of the labels"))
    if target.value is not None:
        return ""
    return t(
        "{k} of {n} columns drifted, below {threshold:limit}; {rule}.",
        k=counted.k,
        n=counted.n,
        threshold=policy.threshold,
        rule=target_rule(policy, target),
    )


def policy_notes(policy: Policy, columns: Sequence[Column]) -> list[str]:
    """What to know of the methods and thresholds that the policy gives to columns. `columns` are the gate's."""
    notes = []
    for key, names in (("thresholds", policy.thresholds), ("methods", policy.methods)):
        if any(column.kind == "text" and column.name in names for column in columns):
            rule = {"key": key, "column": policy.identifier}
            notes.append(t("{key} names {column}: an identifier is judged as text, by Evidently's rule.", **rule))
    idle = [
        column.name for column in columns if column.name in policy.sentinels and column.kind in ("category", "text")
    ]
    if idle:
        notes.append(t("sentinels names {columns}: only numbers stand for no value.", columns=some(idle, NAMED)))
    for column in columns:
        beware = method_of(policy.methods.get(column.name, "")).beware
        if beware and column.comparable:
            judged = {"column": column.name, "method": policy.methods[column.name], "beware": t(beware)}
            notes.append(t("{column} is judged by {method}. {beware}.", **judged))
    return [on_one_line(note) for note in notes]


def left_out(columns: Sequence[Column]) -> str:
    """The columns that cannot be compared with their reasons; columns that share a reason share its mention."""
    by_reason: dict[str, list[str]] = {}
    for column in columns:
        if not column.comparable:
            by_reason.setdefault(column.reason, []).append(column.name)
    groups = list(by_reason.items())
    parts = [t("{columns} ({reason})", columns=some(names, NAMED), reason=why) for why, names in groups[:NAMED]]
    rest = sum(len(names) for _, names in groups[NAMED:])
    return clauses([*parts, t("and {n} more", n=rest)] if rest else parts)


def target_rule(policy: Policy, target: Target) -> str:
    """The measured target drift against the policy's rule: `target drift 0.031 ≥ 0.02 (rate 26.5% → 29.6%)`."""
    least = policy.target_threshold or 0.0
    if target.value is None:
        return t(
            "target drift, which would trigger from {least:limit} on, is not measured: {why:clause}",
            least=least,
            why=target.reason,
        )
    rule = t(
        "target drift {value:figure} {sign} {least:limit}",
        value=figure(apart, target.value, least),
        sign="≥" if target.value >= least else "<",
        least=least,
    )
    if target.ref_rate is None or target.cur_rate is None:
        return rule
    rates = figure(share_moved, target.ref_rate, target.cur_rate)
    return t("{rule} (rate of {label} {rates:figure})", rule=rule, label=policy.label or t("the label"), rates=rates)
