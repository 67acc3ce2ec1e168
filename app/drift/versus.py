"""Two runs side by side, column by column: decisions, policies, scores, means, and what changed as text. Pure.

`a` is the earlier or first-named run, `b` the other one; every difference is b - a.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Any, Final

from app.drift.decide import counted_columns
from app.drift.result import Column, Policy, Result
from app.drift.sentence import method_words
from app.words.message import clauses, figure, joined, listed, on_one_line, some, t, tn
from app.words.numbers import moved, number, share_moved

# Words for the fields of a policy, in the order a reader cares for them.
POLICY_WORDS: Final = {
    "threshold": t("threshold of the share"),
    "target_threshold": t("threshold of target drift"),
    "columns": t("columns counted"),
    "left_out": t("columns left out"),
    "thresholds": t("thresholds of single columns"),
    "methods": t("methods of single columns"),
    "sentinels": t("values that stand for none"),
    "rule": t("rule of a drifted column"),
    "material_spread": t("least move of numbers that matters"),
    "material_share": t("least move of categories that matters"),
    "min_rows": t("rows needed"),
    "comparable": t("comparable columns needed"),
    "label": t("label"),
    "identifier": t("identifier"),
}
# So many columns are named in one note; the table has them all.
NAMED: Final = 5


class Change(StrEnum):
    """What became of a column between two runs, as the CSV of a page names it; in the order of a list.

    What turned round is on top, what is unknown before what stayed.
    """

    NEWLY_DRIFTED = "newly drifted"  # no catalogue: a key
    RECOVERED = "recovered"
    ONLY_A = "only in the first"  # no catalogue: a key
    ONLY_B = "only in the second"
    UNKNOWN = "not comparable"  # no catalogue: a key
    STILL_DRIFTED = "drifted in both"  # no catalogue: a key
    STILL_CALM = "drifted in neither"

    @property
    def words(self) -> str:
        """The same for a reader."""
        return {
            Change.NEWLY_DRIFTED: t("newly drifted"),
            Change.RECOVERED: t("recovered"),
            Change.ONLY_A: t("only in the first"),
            Change.ONLY_B: t("only in the second"),
            Change.UNKNOWN: t("not comparable"),
            Change.STILL_DRIFTED: t("drifted in both"),
            Change.STILL_CALM: t("drifted in neither"),
        }[self]

    @property
    def same(self) -> bool:
        """True when the column says the same in both runs."""
        return self in (Change.STILL_DRIFTED, Change.STILL_CALM)


@dataclass(frozen=True, slots=True)
class Row:
    """One column in both runs; a side is None where the run did not have the column.

    `score_moved` is b - a in the unit of the method; None when the methods differ or a score is unknown. `scores` and
    `moves` are words: `0.05 → 0.21`, `mean: first 2.3 → 2.6, second 2.3 → 3.1`. `remarks` is what a reader must know
    before comparing the two numbers.
    """

    name: str
    a: Column | None
    b: Column | None
    change: Change
    score_moved: float | None
    scores: str
    moves: str
    remarks: tuple[str, ...]

    @property
    def words(self) -> str:
        """The change and every remark on it, in one line."""
        return clauses([self.change.words, *self.remarks])


@dataclass(frozen=True, slots=True)
class Versus:
    """Two runs side by side."""

    a: Result
    b: Result
    rows: tuple[Row, ...]
    sentence: str
    notes: tuple[str, ...]

    def count(self, *changes: Change) -> int:
        """How many columns went through one of these changes."""
        return sum(row.change in changes for row in self.rows)


class _Side:
    """One of the two runs: whether it is the first, and the names of the columns that count in it."""

    def __init__(self, result: Result, *, first: bool) -> None:
        self.result = result
        self.first = first
        self.counted = frozenset(column.name for column in counted_columns(result.columns, result.policy))


def versus(a: Result, b: Result) -> Versus:
    """Put two runs side by side, the columns that turned round first."""
    sides = (_Side(a, first=True), _Side(b, first=False))
    pairs = _paired(a.columns, b.columns)
    order = list(Change)
    rows = sorted(
        (_row(name, left, right, sides) for name, left, right in pairs),
        key=lambda row: (order.index(row.change), -abs(row.score_moved or 0.0), row.name),
    )
    return Versus(
        a=a,
        b=b,
        rows=tuple(rows),
        sentence=_sentence(a, b, rows),
        notes=tuple(_notes(a, b, rows)),
    )


def _paired(left: Sequence[Column], right: Sequence[Column]) -> list[tuple[str, Column | None, Column | None]]:
    """Columns by name; one that is in a run twice (two metrics on it) is paired in order."""
    first, second = _keyed(left), _keyed(right)
    return [(name, first.get((name, n)), second.get((name, n))) for name, n in dict.fromkeys([*first, *second])]


def _keyed(columns: Sequence[Column]) -> dict[tuple[str, int], Column]:
    keyed: dict[tuple[str, int], Column] = {}
    for column in columns:
        n = 0
        while (column.name, n) in keyed:
            n += 1
        keyed[column.name, n] = column
    return keyed


def _row(name: str, a: Column | None, b: Column | None, sides: tuple[_Side, _Side]) -> Row:
    change = _change(a, b)
    same = _same_method(a, b)
    return Row(
        name=name,
        a=a,
        b=b,
        change=change,
        score_moved=_difference(a.score, b.score) if a and b and same else None,
        scores=_scores(a, b),
        moves=_moves(a, b),
        remarks=tuple(on_one_line(remark) for remark in _remarks(name, a, b, sides)),
    )


def _change(a: Column | None, b: Column | None) -> Change:
    if a is None or b is None:
        return Change.ONLY_B if a is None else Change.ONLY_A
    if a.drifted is None or b.drifted is None:
        return Change.UNKNOWN
    if a.drifted == b.drifted:
        return Change.STILL_DRIFTED if a.drifted else Change.STILL_CALM
    return Change.NEWLY_DRIFTED if b.drifted else Change.RECOVERED


def _same_method(a: Column | None, b: Column | None) -> bool:
    """Two scores are numbers of one kind only when one known method made both."""
    return a is not None and b is not None and a.method is not None and a.method == b.method


def _difference(a: float | None, b: float | None) -> float | None:
    return None if a is None or b is None else b - a


def _score(column: Column | None) -> str:
    return t("no such column") if column is None else number(column.score)


def _scores(a: Column | None, b: Column | None) -> str:
    """Both scores; an arrow promises that they are readings of one instrument."""
    if a is None or b is None:
        return f"{_score(a)} → {_score(b)}"
    if a.score is None or b.score is None or not _same_method(a, b):
        return f"{_score(a)} | {_score(b)}"
    return moved(a.score, b.score)


def _remarks(name: str, a: Column | None, b: Column | None, sides: tuple[_Side, _Side]) -> list[str]:
    """What a reader must know before comparing the two numbers."""
    parts: list[str] = []
    if a is None or b is None:
        if name in sides[0 if a is None else 1].result.policy.left_out:
            parts.append(t("left out by the policy of the other run"))
    else:
        parts += [
            t("first: {why}", why=why) if side.first else t("second: {why}", why=why)
            for one, side, why in zip((a, b), sides, (_why(a), _why(b)), strict=True)
            if one.drifted is None
        ]
        parts += _other_measure(a, b)
    parts += [
        t("not counted in the first") if side.first else t("not counted in the second")
        for one, side in zip((a, b), sides, strict=True)
        if one is not None and name not in side.counted
    ]
    return parts


def _why(column: Column) -> str:
    return column.reason or t("no reason was kept")


def _other_measure(a: Column, b: Column) -> list[str]:
    """What makes two scores of a column something else than two readings of one instrument."""
    parts: list[str] = []
    if a.drifted is not None and b.drifted is not None and not _same_method(a, b):
        methods = listed([method_words(one.method) if one.method else t("unknown") for one in (a, b)])
        parts.append(t("different methods ({methods}): the scores are not comparable", methods=methods))
    if a.threshold is not None and b.threshold is not None and a.threshold != b.threshold:
        parts.append(t("threshold {levels:figure}", levels=figure(moved, a.threshold, b.threshold)))
    return parts


# --- means and shares ------------------------------------------------------------------------------------------------


def _moves(a: Column | None, b: Column | None) -> str:
    """Reference → current of both runs: the means, or the share of the value that moved most in either."""
    columns = [one for one in (a, b) if one is not None]
    value = _value(columns)
    means = any(one.ref.mean is not None or one.cur.mean is not None for one in columns)
    what = t("mean") if means else value
    if not what:
        return t("unknown")
    first = None if a is None else t("first {move}", move=_move(a, value))
    second = None if b is None else t("second {move}", move=_move(b, value))
    moves = joined([move for move in (first, second) if move], ", ")
    return on_one_line(t("{what}: {moves}", what=what, moves=moves))


def _move(column: Column, value: str | None) -> str:
    ref, cur = column.ref, column.cur
    if ref.mean is not None and cur.mean is not None:
        return moved(ref.mean, cur.mean)
    if ref.mean is not None or cur.mean is not None:
        return f"{number(ref.mean)} → {number(cur.mean)}"
    if value is None or ref.shares is None or cur.shares is None:
        return t("unknown")
    return share_moved(ref.shares.get(value, 0.0), cur.shares.get(value, 0.0))


def _value(columns: Sequence[Column]) -> str | None:
    """The category whose share moved most in any of these columns, so that both name the same one."""
    size: dict[str, float] = {}
    for column in columns:
        ref, cur = column.ref.shares or {}, column.cur.shares or {}
        for value in {*ref, *cur}:
            size[value] = max(size.get(value, 0.0), abs(cur.get(value, 0.0) - ref.get(value, 0.0)))
    return min(size, key=lambda value: (-size[value], value)) if size else None


# --- the head --------------------------------------------------------------------------------------------------------


def _sentence(a: Result, b: Result, rows: Sequence[Row]) -> str:
    same_decision = a.decision == b.decision
    verdicts = t("Both {decision}", decision=a.decision) if same_decision else f"{a.decision} → {b.decision}"
    counts = {change: sum(row.change is change for row in rows) for change in Change}
    same = counts[Change.STILL_DRIFTED] + counts[Change.STILL_CALM]
    parts = [
        tn("{n} newly drifted", "{n} newly drifted", counts[Change.NEWLY_DRIFTED]),
        tn("{n} recovered", "{n} recovered", counts[Change.RECOVERED]),
        tn("{n} the same", "{n} the same", same),
    ]
    alone = counts[Change.ONLY_A] + counts[Change.ONLY_B]
    unknown = counts[Change.UNKNOWN]
    parts += [tn("{n} not comparable", "{n} not comparable", unknown)] if unknown else []
    parts += [tn("{n} in one run only", "{n} in one run only", alone)] if alone else []
    heads = {"verdicts": verdicts, "share": _share_words(a, b), "target": _target_words(a, b)}
    return on_one_line(t("{verdicts}: {share}; {target}; {columns}.", **heads, columns=joined(parts, ", ")))


def _target_words(a: Result, b: Result) -> str:
    before, after = a.target_drift.value, b.target_drift.value
    if before is None or after is None:
        return t("target drift {before:number} → {after:number}", before=before, after=after)
    return t("target drift {values:figure}", values=figure(moved, before, after))


def _share_words(a: Result, b: Result) -> str:
    if a.share is None or b.share is None:
        return t("share {before} → {after}", before=_share(a), after=_share(b))
    texts = f"{a.share:.2f}", f"{b.share:.2f}"
    return t(
        "share {shares:figure} ({k} of {n} → {later_k} of {later_n} columns)",
        shares=" → ".join(texts) if texts[0] != texts[1] else figure(moved, a.share, b.share),
        k=a.k,
        n=a.n,
        later_k=b.k,
        later_n=b.n,
    )


def _share(result: Result) -> str:
    if result.share is None:
        return t("unknown")
    return t("{share:number} ({k} of {n})", share=result.share, k=result.k, n=result.n)


def _notes(a: Result, b: Result, rows: Sequence[Row]) -> list[str]:
    """What makes the two runs less comparable than they look."""
    notes: list[str] = []
    if a.system != b.system:
        systems = {"first": a.system, "second": b.system}
        notes.append(t("Two systems: {first} and {second}. Columns of one name need not mean the same.", **systems))
    if a.ref.key != b.ref.key:
        notes.append(t("The references differ: {first} and {second}.", first=a.ref.key, second=b.ref.key))
    changed = policy_changes(a.policy, b.policy)
    if changed:
        notes.append(t("The policies differ: {changes}.", changes=clauses(changed)))
    other = [row.name for row in rows if _methods_differ(row)]
    if other:
        named = some(other, NAMED)
        notes.append(
            t(
                "Different methods on {columns}: their scores are not comparable, only whether they drifted.",
                columns=named,
            )
        )
    unkept = t("the reason was not kept.")
    if not a.columns:
        notes.append(t("The first run has no column by column result: {why}", why=a.reason or unkept))
    if not b.columns:
        notes.append(t("The second run has no column by column result: {why}", why=b.reason or unkept))
    return [on_one_line(note) for note in notes]


def _methods_differ(row: Row) -> bool:
    if row.a is None or row.b is None or row.a.method is None or row.b.method is None:
        return False
    return row.a.method != row.b.method


def policy_changes(a: Policy, b: Policy) -> list[str]:
    """What differs between two policies, each as text: `threshold of the share 0.3 → 0.05`."""
    return [
        t("{rule} {before} → {after}", rule=rule, before=_shown(getattr(a, name)), after=_shown(getattr(b, name)))
        for name, rule in _policy_fields()
        if getattr(a, name) != getattr(b, name)
    ]


def _policy_fields() -> list[tuple[str, str]]:
    # A field that a later policy brings is compared too, under its own name until it has a better one.
    names = [field.name for field in fields(Policy)]
    named = [name for name in POLICY_WORDS if name in names]
    return [(name, t(POLICY_WORDS.get(name, name))) for name in dict.fromkeys([*named, *names])]


def _shown(value: Any) -> str:
    if value is None or (isinstance(value, Mapping | tuple) and not value):
        return t("none")
    if isinstance(value, float):
        return t("{value:g}", value=value)
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_shown(one)}" for name, one in value.items())
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)
