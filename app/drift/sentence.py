"""A decision as text: its sentence, what moved most, and the two lines that a comparison prints. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from app.base.text import one_line
from app.drift.decide import NAMED, Decision, counted_columns, left_out, nearness, target_reached, target_rule
from app.drift.methods import method_of
from app.drift.result import Column, Policy, Target, Verdict
from app.words.numbers import apart, limit, moved, number, share_moved


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
        parts.append(f"not comparable: {left_out(shown)}")
    if decision.target is not None:
        rule = target_rule(policy, decision.target)
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


def target_line(target: Target) -> str:
    """`[Target drift] …`: rates and difference with four decimals, or the reason."""
    if target.value is None or target.ref_rate is None or target.cur_rate is None:
        return f"[Target drift] not measured: {one_line(target.reason)}"
    return f"[Target drift] ref_rate={target.ref_rate:.4f} cur_rate={target.cur_rate:.4f} abs_diff={target.value:.4f}"


def decision_line(policy: Policy, decision: Decision, target: Target, *, html: str = "-", json: str = "-") -> str:
    """`[Evidently] …`: the line the original course script prints, byte for byte; `-` where there is no file.

    That script knows no rule on the target. Where it alone triggers, its comparison is before that of the share.
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
