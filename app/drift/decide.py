"""From scored columns and a policy to a decision, its sentence and its two lines. Pure: no Evidently, no files.

What-if calls the same functions on stored columns.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from app.base.text import one_line
from app.drift.methods import method_of
from app.drift.result import Column, Policy, Target, Verdict
from app.words.numbers import apart, limit, moved, number, share_moved

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


def low_is_drift(method: str) -> bool:
    """True when a low score of this method means drift (p-values)."""
    return method_of(method).p_value


def is_drifted(method: str, score: float, threshold: float) -> bool:
    """Evidently's own rule for one column, for any threshold."""
    return method_of(method).drifted(score, threshold)


def nearness(column: Column) -> float | None:
    """How near a column is to its threshold: 1 at it, above 1 drifted; None when it was not scored."""
    if column.score is None or column.threshold is None or column.method is None:
        return None
    if column.kind == "text":
        # Its threshold may be a percentile, and nobody asks how near an identifier came.
        return None
    if low_is_drift(column.method):
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
    it, but never where nothing can be decided; where it is not measured, it leaves a calm share undecided.
    """
    counted = count(columns, policy)
    features = count(columns, replace(policy, columns="features"))
    everything = count(columns, replace(policy, columns="all"))
    reached = target_reached(policy, target)
    reason = refusal or too_little(policy, columns) or _hangs(policy, columns, counted, reached=reached)
    reason = reason or target_unknown(policy, target, counted)
    if reason and reached and target is not None:
        reason = f"{reason.rstrip('.')}; {_target_rule(policy, target)} would trigger by itself."
    by_share = counted.reaches(policy.threshold)
    if reason:
        verdict = Verdict.UNDECIDED
    else:
        verdict = Verdict.RETRAINING_TRIGGERED if by_share or reached else Verdict.NO_ACTION
    return Decision(
        verdict,
        one_line(reason),
        counted,
        features,
        everything,
        target=None if policy.target_threshold is None else target,
        by_target=verdict is Verdict.RETRAINING_TRIGGERED and not by_share,
    )


def too_little(policy: Policy, columns: Sequence[Column]) -> str:
    """Why too few of the counted columns can be compared to decide anything, or "".

    A column that differs no more than by chance was looked at: it is no want of data, and matters only where the
    verdict hangs on it.
    """
    counted = count(columns, policy)
    if not counted.n:
        return "there is no column to compare."
    seen = counted.comparable + sum(column.uncertain for column in counted_columns(columns, policy))
    if seen / counted.n < policy.comparable or not counted.comparable:
        return (
            f"only {counted.comparable} of {counted.n} columns can be compared and {policy.comparable * 100:.4g}% are"
            f" needed (comparable): {_left_out(counted_columns(columns, policy))}."
        )
    return ""


def _hangs(policy: Policy, columns: Sequence[Column], counted: Counting, *, reached: bool) -> str:
    """Why the share hangs on columns that cannot be compared, or "". `reached`: target drift triggers by itself."""
    if counted.reaches(policy.threshold):
        return ""
    among = Counting(counted.k, counted.comparable, counted.comparable)
    left_out = _left_out(counted_columns(columns, policy))
    if among.reaches(policy.threshold):
        return (
            f"{counted.k} of {counted.comparable} comparable columns drifted, which reaches {limit(policy.threshold)},"
            f" but not of all {counted.n}: it hangs on {left_out}."
        )
    if not reached and counted.at_most.reaches(policy.threshold):
        return (
            f"{counted.k} of {counted.n} columns drifted and {counted.n - counted.comparable} cannot be judged:"
            f" {counted.at_most.k} of {counted.n} would reach {limit(policy.threshold)}, so it hangs on {left_out}."
        )
    return ""


def target_unknown(policy: Policy, target: Target | None, counted: Counting) -> str:
    """Why the policy's rule on the target leaves the verdict open, or "": it was not measured, and it might trigger."""
    if policy.target_threshold is None or counted.reaches(policy.threshold):
        return ""
    target = target or Target(reason="nothing is known of the labels")
    if target.value is not None:
        return ""
    below = f"{counted.k} of {counted.n} columns drifted, below {limit(policy.threshold)}"
    return f"{below}; {_target_rule(policy, target)}."


def policy_notes(policy: Policy, columns: Sequence[Column]) -> list[str]:
    """What to know of the methods and thresholds that the policy gives to columns. `columns` are the gate's."""
    notes = []
    for key, names in (("thresholds", policy.thresholds), ("methods", policy.methods)):
        if any(column.kind == "text" and column.name in names for column in columns):
            notes.append(f"{key} names {policy.identifier}: an identifier is judged as text, by Evidently's rule.")
    for column in columns:
        beware = method_of(policy.methods.get(column.name, "")).beware
        if beware and column.comparable:
            notes.append(f"{column.name} is judged by {policy.methods[column.name]}. {beware}.")
    return [one_line(note) for note in notes]


def _left_out(columns: Sequence[Column]) -> str:
    """The columns that cannot be compared with their reasons; columns that share a reason share its mention."""
    by_reason: dict[str, list[str]] = {}
    for column in columns:
        if not column.comparable:
            by_reason.setdefault(column.reason, []).append(column.name)
    parts = [f"{_names(names)} ({reason})" for reason, names in list(by_reason.items())[:NAMED]]
    rest = sum(len(names) for names in list(by_reason.values())[NAMED:])
    return "; ".join(parts) + (f"; and {rest} more" if rest else "")


def _names(names: Sequence[str]) -> str:
    shown = ", ".join(names[:NAMED])
    return shown if len(names) <= NAMED else f"{shown} and {len(names) - NAMED} more"


# --- words -----------------------------------------------------------------------------------------------------------


def sentence(policy: Policy, decision: Decision, columns: Sequence[Column]) -> str:
    """One sentence of why: both countings, the drifted columns with size, the nearest miss, the rule on the target."""
    if decision.verdict is Verdict.UNDECIDED:
        return decision.reason
    counted = decision.counted
    head = f"{counted.k} of {counted.n} columns drifted{_other_counting(policy, decision)}"
    shown = counted_columns(columns, policy)
    drifted = sorted((column for column in shown if column.drifted), key=_order, reverse=True)
    missed = [column for column in shown if column.comparable and column.drifted is False]
    parts = [head]
    if drifted:
        parts[0] += f": {_described(drifted[0])}"
        parts += [_described(column) for column in drifted[1:NAMED]]
        parts += [f"and {len(drifted) - NAMED} more"] if len(drifted) > NAMED else []
    nearest = max(missed, key=_order, default=None)
    if nearest is not None and _order(nearest) > 0:
        parts.append(f"nearest miss {nearest.name} {_score(nearest)}")
    if counted.comparable < counted.n:
        parts.append(f"not comparable: {_left_out(shown)}")
    if decision.target is not None:
        rule = _target_rule(policy, decision.target)
        if decision.by_target:
            parts.insert(0, f"{rule} triggers by itself")
        else:
            parts.append(f"{rule} triggers too" if target_reached(policy, decision.target) else rule)
    return one_line("; ".join(parts) + ".")


def _order(column: Column) -> float:
    return nearness(column) or 0.0


def _other_counting(policy: Policy, decision: Decision) -> str:
    """The other way of counting in brackets, with a warning when it decides differently."""
    features = policy.columns == "all"
    other = decision.features if features else decision.everything
    if other == decision.counted:
        return ""
    name = "features alone" if features else "with label and identifier"
    differs = countings_differ(policy, decision)
    return f" ({name} {other.k} of {other.n}{', which decides differently' if differs else ''})"


def countings_differ(policy: Policy, decision: Decision) -> bool:
    """Whether features alone and all columns lead to different decisions at this threshold."""
    if decision.verdict is Verdict.UNDECIDED or not decision.features.n or not decision.everything.n:
        return False
    if decision.target is not None and target_reached(policy, decision.target):
        return False
    return decision.features.reaches(policy.threshold) != decision.everything.reaches(policy.threshold)


def _target_rule(policy: Policy, target: Target) -> str:
    """The measured target drift against the policy's rule: `target drift 0.031 ≥ 0.02 (rate 26.5% → 29.6%)`."""
    least = policy.target_threshold or 0.0
    if target.value is None:
        return f"target drift, which would trigger from {limit(least)} on, is not measured: {target.reason.rstrip('.')}"
    sign = "≥" if target.value >= least else "<"
    text = f"target drift {apart(target.value, least)} {sign} {limit(least)}"
    if target.ref_rate is None or target.cur_rate is None:
        return text
    return f"{text} (rate of {policy.label or 'the label'} {share_moved(target.ref_rate, target.cur_rate)})"


def target_words(policy: Policy, target: Target, columns: Sequence[Column]) -> str:
    """Both measures of target drift in one sentence: the difference of the label rates, and Evidently's value drift."""
    label = policy.label or "the label"
    if target.value is None:
        words = f"Target drift is not measured: {target.reason.rstrip('.') or 'no reason is known'}."
    elif target.ref_rate is None or target.cur_rate is None:
        words = f"Target drift {number(target.value)}."
    else:
        rates = share_moved(target.ref_rate, target.cur_rate)
        words = f"Target drift {number(target.value)}: the rate of {label} went {rates}."
    column = next((one for one in columns if one.name == policy.label), None)
    if column is None or column.method is None or column.score is None or column.threshold is None:
        return one_line(words)
    drifted = "drifted" if column.drifted else "did not drift"
    return one_line(f"{words} By Evidently's value drift {label} {drifted}: {_against(column)}.")


def _described(column: Column) -> str:
    text = f"{column.name} {_against(column)}"
    if column.ref.mean is not None and column.cur.mean is not None:
        return f"{text}, mean {moved(column.ref.mean, column.cur.mean)}"
    move = largest_move(column)
    if move is not None:
        value, before, after = move
        return f"{text}, {value} {share_moved(before, after)}"
    return text


def _against(column: Column) -> str:
    """`0.21 ≥ 0.10 (normed Wasserstein)`: score, threshold and method of a scored column, drifted or not."""
    method = method_of(column.method or "")
    if method.name == "perc_text_content_drift":
        # Its threshold is a percentile of what a random classifier reaches: no number to hold the score against.
        return f"{number(column.score)} ({method.words})"
    opposite = {"≥": "<", ">": "≤", "≤": ">", "<": "≥"}
    sign = method.sign if column.drifted else opposite[method.sign]
    return f"{_score(column)} {sign} {limit(column.threshold or 0.0)} ({method.words})"


def _score(column: Column) -> str:
    """The score with as many digits as tell it from its threshold."""
    if column.score is None or column.threshold is None:
        return number(column.score)
    return apart(column.score, column.threshold)


def largest_move(column: Column) -> tuple[str, float, float] | None:
    """The category whose share moved most: value, share in reference, share in current."""
    if column.ref.shares is None or column.cur.shares is None:
        return None
    ref, cur = column.ref.shares, column.cur.shares
    values = sorted({*ref, *cur})
    if not values:
        return None
    value = max(values, key=lambda name: abs(cur.get(name, 0.0) - ref.get(name, 0.0)))
    return value, ref.get(value, 0.0), cur.get(value, 0.0)


def method_words(method: str) -> str:
    """Evidently's name of a method in the words people use."""
    return method_of(method).words


# --- the two lines of a drift run (contracts.md) ---------------------------------------------------------------------


def target_line(target: Target) -> str:
    """`[Target drift] …`: rates and difference with four decimals, or the reason."""
    if target.value is None or target.ref_rate is None or target.cur_rate is None:
        return f"[Target drift] not measured: {one_line(target.reason)}"
    return f"[Target drift] ref_rate={target.ref_rate:.4f} cur_rate={target.cur_rate:.4f} abs_diff={target.value:.4f}"


def decision_line(policy: Policy, decision: Decision, target: Target, *, html: str = "-", json: str = "-") -> str:
    """`[Evidently] …`: the line the original course script prints, byte for byte; `-` where there is no file.

    That script knows no rule on the target. Where it alone triggers, its comparison stands before that of the share.
    """
    head = f"[Evidently] report_html={html or '-'} report_json={json or '-'}"
    share = decision.share
    if share is None:
        return f"{head} drift_share=NaN -> {Verdict.UNDECIDED} {decision.reason}"
    drift = "NaN" if target.value is None else repr(float(target.value))
    sign = ">=" if decision.counted.reaches(policy.threshold) else "<"
    words = f"drift_share={share:.2f} {sign} {policy.threshold:.2f}"
    if decision.by_target and target.value is not None:
        words = f"target_drift={target.value:.4f} >= {policy.target_threshold:.4f} {words}"
    if decision.verdict is Verdict.RETRAINING_TRIGGERED:
        words = f"{Verdict.RETRAINING_TRIGGERED} (SIMULÉ) {words}"
    else:
        words = f"{Verdict.NO_ACTION} {words}"
    return f"{head} drift_share={share:.2f} -> {words} (target_drift={drift})"
