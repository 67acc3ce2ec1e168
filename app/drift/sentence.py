"""A decision as text: its sentence, what moved most, and the two lines that a comparison prints. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from app.base.text import one_line
from app.drift.decide import NAMED, Counting, Decision, counted_columns, left_out, nearness, target_reached, target_rule
from app.drift.methods import method_of
from app.drift.result import Column, Policy, Target, Verdict
from app.drift.second import effect_words, under
from app.words.message import clauses, english, figure, on_one_line, sentences, t
from app.words.numbers import apart, moved, number, share_moved


def sentence(policy: Policy, decision: Decision, columns: Sequence[Column]) -> str:
    """One sentence of why: both countings, the drifted columns with size, the nearest miss, the rule on the target."""
    if decision.verdict is Verdict.UNDECIDED:
        return decision.reason
    counted = decision.counted
    columns = under(policy, columns)
    head = _head(policy, counted)
    if other := _other_counting(policy, decision):
        head = t("{counted} ({other})", counted=head, other=other)
    shown = counted_columns(columns, policy)
    order = _order if policy.rule == "evidently" else _size
    drifted = sorted((column for column in shown if column.drifted), key=order, reverse=True)
    missed = [column for column in shown if column.comparable and column.drifted is False]
    parts = [head]
    if drifted:
        described = _described if policy.rule == "evidently" else _tested
        parts[0] = t("{counted}: {column}", counted=head, column=described(drifted[0]))
        parts += [described(column) for column in drifted[1:NAMED]]
        parts += [t("and {n} more", n=len(drifted) - NAMED)] if len(drifted) > NAMED else []
    nearest = max(missed, key=_order, default=None)
    if nearest is not None and _order(nearest) > 0 and policy.rule == "evidently":
        parts.append(t("nearest miss {column} {score:figure}", column=nearest.name, score=_score(nearest)))
    if counted.comparable < counted.n:
        parts.append(t("not comparable: {columns}", columns=left_out(shown)))
    if decision.target is not None:
        rule = target_rule(policy, decision.target)
        if decision.by_target:
            parts.insert(0, t("{rule} triggers by itself", rule=rule))
        else:
            reached = target_reached(policy, decision.target)
            parts.append(t("{rule} triggers too", rule=rule) if reached else rule)
    return on_one_line(t("{parts}.", parts=clauses(parts)))


def _head(policy: Policy, counted: Counting) -> str:
    counts = {"k": counted.k, "n": counted.n}
    if policy.rule == "both":
        return t("{k} of {n} columns drifted by Evidently and moved significantly and materially", **counts)
    if policy.rule == "significant-and-material":
        return t("{k} of {n} columns moved significantly and materially", **counts)
    return t("{k} of {n} columns drifted", **counts)


def _tested(column: Column) -> str:
    """A column in the words of the second opinion; one without an opinion in Evidently's."""
    if column.opinion is None:
        return _described(column)
    return t("{column} {effect}", column=column.name, effect=effect_words(column))


def _order(column: Column) -> float:
    return nearness(column) or 0.0


def _size(column: Column) -> float:
    return 0.0 if column.opinion is None else column.opinion.size


def _other_counting(policy: Policy, decision: Decision) -> str:
    """The other way of counting, with a warning when it decides differently; or ""."""
    features = policy.columns == "all"
    other = decision.features if features else decision.everything
    if other == decision.counted:
        return ""
    counts = {"k": other.k, "n": other.n}
    counting = (
        t("features alone {k} of {n}", **counts) if features else t("with label and identifier {k} of {n}", **counts)
    )
    differs = countings_differ(policy, decision)
    return t("{counting}, which decides differently", counting=counting) if differs else counting


def countings_differ(policy: Policy, decision: Decision) -> bool:
    """Whether features alone and all columns lead to different decisions at this threshold."""
    if decision.verdict is Verdict.UNDECIDED or not decision.features.n or not decision.everything.n:
        return False
    if decision.target is not None and target_reached(policy, decision.target):
        return False
    return decision.features.reaches(policy.threshold) != decision.everything.reaches(policy.threshold)


def target_words(policy: Policy, target: Target, columns: Sequence[Column]) -> str:
    """Both measures of target drift in one sentence: the difference of the label rates, and Evidently's value drift."""
    label = policy.label or t("the label")
    if target.value is None:
        words = t("Target drift is not measured: {why:clause}.", why=target.reason or t("no reason is known"))
    elif target.ref_rate is None or target.cur_rate is None:
        words = t("Target drift {value:number}.", value=target.value)
    else:
        words = t(
            "Target drift {value:number}: the rate of {label} went {rates:figure}.",
            value=target.value,
            label=label,
            rates=figure(share_moved, target.ref_rate, target.cur_rate),
        )
    column = next((one for one in columns if one.name == policy.label), None)
    if column is None or column.method is None or column.score is None or column.threshold is None:
        return on_one_line(words)
    about = {"label": label, "score": _against(column)}
    if column.drifted:
        drifted = t("By Evidently's value drift {label} drifted: {score}.", **about)
    else:
        drifted = t("By Evidently's value drift {label} did not drift: {score}.", **about)
    return on_one_line(sentences([words, drifted]))


def _described(column: Column) -> str:
    judged = t("{column} {score}", column=column.name, score=_against(column))
    if column.ref.mean is not None and column.cur.mean is not None:
        means = figure(moved, column.ref.mean, column.cur.mean)
        return t("{judged}, mean {means:figure}", judged=judged, means=means)
    move = largest_move(column)
    if move is not None:
        value, before, after = move
        shares = figure(share_moved, before, after)
        return t("{judged}, {value} {shares:figure}", judged=judged, value=value, shares=shares)
    return judged


def _against(column: Column) -> str:
    """`0.21 ≥ 0.10 (normed Wasserstein)`: score, threshold and method of a scored column, drifted or not."""
    method = method_of(column.method or "")
    if method.name == "perc_text_content_drift":
        # Its threshold is a percentile of what a random classifier reaches: no number to hold the score against.
        return t("{score:number} ({method})", score=column.score, method=method.words)
    opposite = {"≥": "<", ">": "≤", "≤": ">", "<": "≥"}
    return t(
        "{score:figure} {sign} {threshold:limit} ({method})",
        score=_score(column),
        sign=method.sign if column.drifted else opposite[method.sign],
        threshold=column.threshold or 0.0,
        method=method.words,
    )


def _score(column: Column) -> str:
    """A figure: the score with as many digits as tell it from its threshold."""
    if column.score is None or column.threshold is None:
        return figure(number, column.score)
    return figure(apart, column.score, column.threshold)


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
    return t(method_of(method).words)


# --- the two lines of a drift run (contracts.md): English for every reader --------------------------------------------


def target_line(target: Target) -> str:
    """`[Target drift] …`: rates and difference with four decimals, or the reason."""
    if target.value is None or target.ref_rate is None or target.cur_rate is None:
        return f"[Target drift] not measured: {one_line(english(target.reason))}"  # no catalogue: as above
    # no catalogue: as above
    return f"[Target drift] ref_rate={target.ref_rate:.4f} cur_rate={target.cur_rate:.4f} abs_diff={target.value:.4f}"


def decision_line(policy: Policy, decision: Decision, target: Target, *, html: str = "-", json: str = "-") -> str:
    """`[Evidently] …`: the line the original course script prints, byte for byte; `-` where there is no file.

    That script knows no rule on the target. Where it alone triggers, its comparison is before that of the share.
    """
    head = f"[Evidently] report_html={html or '-'} report_json={json or '-'}"
    share = decision.share
    if share is None:
        return f"{head} drift_share=NaN -> {Verdict.UNDECIDED} {english(decision.reason)}"
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
